#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# A stock gdb at a stock Linux, which is interrupted, looked at, and let go.

. "${0%/*}/gdb"

start --kernel $KERNEL --initrd $INITRD --mem 128M \
	--append 'console=ttyS0 -- sh -c "sleep 5; echo I am alive"'
debug <<'END'
printf "start %d\n", ($cr0 & 0x80000000) != 0
shell (sleep 6; kill -INT $PPID) &
continue
printf "paging %d\n", ($cr3 & 0xfff) == 0
x/4xb $sp
stepi
stepi
stepi
info registers rip
detach
END
says 'Linux: attaches' '^start 1$'
says 'Linux: Ctrl-C' 'SIGINT'
says 'Linux: registers' '^paging 1$'
says 'Linux: steps' '^rip '
ended 0 'Linux: goes on to its end'
grep -q '^I am alive' "$tmp/console"
result 'Linux: and has run'

finish
