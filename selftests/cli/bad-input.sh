#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# What is wrong gets one line: what it is, and what to do.

. "${0%/*}/tap"

refused 64 'no command'
refused 64 'no command "boot"' boot
refused 64 'belongs to no option' info host
refused 64 'no kernel' run
refused 64 'belongs to no option' run --kernel $KERNEL extra
refused 64 'both --initrd and --root' run --kernel $KERNEL \
	--initrd $INITRD --root /bin

for mem in '' x 1.5G -1 0x100 10MB 1P 99999999999999999999; do
	refused 64 "--mem $mem is not a size" run --kernel $KERNEL "--mem=$mem"
done
refused 64 '--mem 0 is not' run --kernel $KERNEL --mem 0
refused 64 '--mem 5000 is not' run --kernel $KERNEL --mem 5000
refused 64 '--mem 1T is more than this host has' run --kernel $KERNEL --mem 1T
refused 64 'is more than this host has' run --kernel $KERNEL \
	--mem 16777215T
for mem in 4K 1M 16M; do
	refused 1 'MiB of memory to start' run --kernel $KERNEL --mem $mem
done

for timeout in '' 0 -1 x 1x nan inf 1e99; do
	refused 64 "--timeout $timeout is no number" run --kernel $KERNEL \
		"--timeout=$timeout"
done

refused 1 'No such file' run --kernel /nothing
refused 1 'No such file' run --kernel "$(printf '/\377')" --json="$tmp/json"
grep -qF "$(printf '/\357\277\275: No such file')" "$tmp/json"
result 'what JSON says of a name that is no text'
refused 1 'not a regular file' run --kernel /tmp
refused 1 'not a regular file' run --kernel /dev/zero
refused 1 'No such file' run --kernel $KERNEL --initrd /nothing
refused 1 'not a regular file' run --kernel $KERNEL --initrd /tmp
refused 1 'No such file' run --kernel $KERNEL --root /nothing
refused 1 'no init in it' run --kernel $KERNEL --root /proc
refused 1 'Not a directory' run --kernel $KERNEL --root $KERNEL

: >"$tmp/empty"
refused 1 'whole bzImage' run --kernel "$tmp/empty"
dd if=/dev/urandom of="$tmp/noise" bs=1M count=1 2>/dev/null
refused 1 'HdrS' run --kernel "$tmp/noise"
for size in 600 1000 16384 4000000; do
	head -c $size $KERNEL >"$tmp/cut"
	refused 1 'whole bzImage' run --kernel "$tmp/cut"
done

# ELF, but no kernel: a program of the lab, and one that is cut off.
refused 1 'no PVH entry' run --kernel /bin/busybox
printf '\177ELF' >"$tmp/elf"
refused 1 'truncated or damaged' run --kernel "$tmp/elf"

truncate -s 256M "$tmp/large"
refused 1 'initrd of 256 MiB does not fit' run --kernel $KERNEL \
	--initrd "$tmp/large" --mem 256M
long=$(head -c 4096 /dev/zero | tr '\0' x)
refused 1 'command line has' run --kernel $KERNEL --append "$long"

# What a user may have: here nothing.
chmod 666 /dev/wisp
few() {
	limit=/sys/module/wisp/parameters/$1
	most=$(cat "$limit")
	echo 0 >"$limit"
	run su nobody -s /bin/sh -c "wisp run --kernel $KERNEL --timeout 20"
	echo "$most" >"$limit"
	[ "$status" -eq 1 ] && grep -q "^wisp: no $2: .*$1.*: end some" "$tmp/err"
	result "$1=0"
}
few max_vms_per_user VM
few max_vcpus_per_user vCPU

finish
