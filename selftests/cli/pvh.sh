#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# An ELF kernel with a PVH entry: Debian's, taken out of its bzImage.

. "${0%/*}/tap"

KERNEL=/boot/vmlinux

guest 0 'power off' '-- cat /proc/meminfo /proc/cmdline'
grep -q '^console=ttyS0 quiet\|tsc_early_khz=.*console=ttyS0' "$tmp/out"
result 'its command line'
total=$(sed -n 's/^MemTotal: *\([0-9]*\) kB.*/\1/p' "$tmp/out")
[ "${total:-0}" -gt 60000 ] && [ "$total" -lt 131072 ]
result 'its memory'
guest 2 'reboot' '-- reboot -f'

for size in 64 4096 100000 40000000; do
	head -c $size $KERNEL >"$tmp/cut"
	refused 1 'truncated or damaged' run --kernel "$tmp/cut"
done
refused 1 'MiB of memory to start' run --kernel $KERNEL --mem 32M

finish
