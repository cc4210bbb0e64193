#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# VMX that the firmware has locked off: the driver and the command say so.

. "${0%/*}/tap"

run insmod /wisp.ko
[ "$status" -ne 0 ] && grep -q 'Permission denied' "$tmp/err" &&
	dmesg | grep -q 'wisp: VMX is disabled by the firmware'
result 'insmod fails, and the log has the reason'

run wisp info
[ "$status" -eq 1 ] && [ "$(wc -l <"$tmp/err")" -eq 1 ] &&
	grep -q '^wisp: the firmware has turned VMX off: .*set-up' "$tmp/err"
result 'info'

run wisp info --json
[ "$status" -eq 1 ] && [ ! -s "$tmp/err" ] &&
	grep -q '"usable": *false' "$tmp/out" &&
	grep -q '"reason": *"the firmware has turned VMX off' "$tmp/out"
result 'info --json'

refused 1 'the firmware has turned VMX off' run --kernel $KERNEL

finish
