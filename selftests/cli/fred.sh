#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# A host that uses FRED, or believes that it does: the driver refuses it, and says why.

. "${0%/*}/tap"

run insmod /lab/planted.ko what=fred
[ "$status" -eq 0 ]
result 'a host with FRED'

run insmod /wisp.ko
[ "$status" -ne 0 ] && grep -q 'not supported' "$tmp/err" &&
	dmesg | grep -q 'wisp: FRED is not supported: boot with fred=off'
result 'insmod fails, and the log has the reason'

run rmmod planted
run insmod /wisp.ko
[ "$status" -eq 0 ]
result 'without FRED it does not'

finish
