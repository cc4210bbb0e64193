#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# However a guest ends, the exit status says it.

. "${0%/*}/tap"

guest 0 'power off' '-- poweroff -f'
[ ! -s "$tmp/err" ]
result 'power off says nothing'

guest 2 'reboot' '-- reboot -f' --json
grep -q '^wisp: the guest rebooted' "$tmp/err" &&
	tail -n 1 "$tmp/out" | grep -q '^{"ending":"reset","status":2,.*}$'
result 'reboot: --json'
guest 2 'reboot by the keyboard controller' 'reboot=k -- reboot -f'
guest 2 'reboot by port 0xcf9' 'reboot=p -- reboot -f'
guest 2 'panic=-1' 'panic=-1 rdinit=/nothing'

guest 3 'triple fault' 'reboot=t -- reboot -f' --json="$tmp/json"
grep -q '^wisp: the guest crashed: triple fault at 0x' "$tmp/err" &&
	grep -q 'rip [0-9a-f]\{16\}' "$tmp/err" &&
	grep -q ' cs 0010 ' "$tmp/err"
result 'triple fault: registers'
grep -q '^{"ending":"crash","status":3,.*"exit":"shutdown"' "$tmp/json" &&
	grep -q '"rip":"0x[0-9a-f]*"' "$tmp/json"
result 'triple fault: --json=FILE'

guest 6 'halt' '-- halt -f'
grep -q 'halted with interrupts off' "$tmp/err"
result 'halt: why'

guest 4 'timeout, asleep' '-- sh -c "printf prompt; sleep 1000"' --timeout 5 --json
tail -n 1 "$tmp/out" | grep -q '^{"ending":"timeout","status":4,.*}$'
result 'timeout: --json has a line of its own'
guest 4 'timeout, busy' '-- sh -c "while :; do :; done"' --timeout 5
guest 4 'timeout, before there is a console' '' --timeout 0.01

printf '\001x' >"$tmp/in"
guest 5 'Ctrl-A x' ''
grep -q '^wisp: quit by Ctrl-A x' "$tmp/err"
result 'Ctrl-A x: why'

# In the foreground: the shell has SIGINT ignored in the background, and the lab's
# first one SIGQUIT for all.
for signal in INT TERM HUP; do
	: >"$tmp/out"
	{
		wait_for 'Linux version' "$tmp/out"
		killall -$signal wisp
	} &
	run wisp run --kernel $KERNEL --initrd $INITRD --mem 128M --timeout 60 \
		--append 'console=ttyS0 earlyprintk=serial'
	[ $status -eq 5 ] && grep -q '^wisp: quit by signal' "$tmp/err"
	result "SIG$signal"
done

# What whoever started it has ignored is ignored, as nohup has it.
(trap '' HUP; exec wisp run --kernel $KERNEL --initrd $INITRD --mem 128M \
	--timeout 60 --append 'console=ttyS0 earlyprintk=serial -- poweroff -f' \
	</dev/null >"$tmp/out" 2>"$tmp/err") &
wait_for 'Linux version' "$tmp/out"
kill -HUP $!
wait $!
status=$?
[ $status -eq 0 ]
result 'SIGHUP that is ignored'

wisp run --kernel $KERNEL --initrd $INITRD --mem 128M --timeout 60 \
	--append 'console=ttyS0 -- poweroff -f' </dev/null >/dev/full 2>"$tmp/err"
status=$?
[ $status -eq 0 ] && grep -q '^wisp: the guest.s output is lost: No space' "$tmp/err"
result 'no room for the output'

# Nor may what is opened take the place of what was closed.
wisp run --kernel $KERNEL --initrd $INITRD --mem 128M --timeout 60 \
	--append 'console=ttyS0 earlyprintk=serial -- poweroff -f' --trace <&- >&- 2>&-
status=$?
[ $status -eq 0 ]
result 'no standard files'

# A reader that has gone does not hold the guest up.
{
	wisp run --kernel $KERNEL --initrd $INITRD --mem 128M --timeout 60 \
		--append 'console=ttyS0 -- poweroff -f' </dev/null \
		2>"$tmp/err"
	echo $? >"$tmp/status"
} | head -n 1 >"$tmp/out"
status=$(cat "$tmp/status")
[ "$status" -eq 0 ]
result 'closed output'

finish
