#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# wisp run --trace and --stats, for people and for programs.

. "${0%/*}/tap"

GUEST=/selftests/pvh/guest

# gdb's guest counts for ever; Linux ends.
guest 0 'trace to a file' '-- poweroff -f' --trace="$tmp/trace" --stats
grep -q '^ *[0-9.]* port *rip 0x[0-9a-f]* out 0x3f8 size 1 data 0x' "$tmp/trace" &&
	grep -q '^ *[0-9.]* budget *rip 0x[0-9a-f]*$' "$tmp/trace"
result 'it has a line for each exit'
! grep -qv '^ *[0-9]*\.[0-9]\{6\} [a-z-]*  *rip 0x[0-9a-f]*' "$tmp/trace"
result 'and nothing else'
ports=$(grep -c ' port ' "$tmp/trace")
grep -q "^exits port  *$ports$" "$tmp/err"
result 'as many as the driver counted'
grep -q '^run time  *[0-9.]* s$' "$tmp/err" && grep -q '^faults' "$tmp/err" &&
	grep -q '^injections  *[1-9]' "$tmp/err"
result 'counters'

guest 0 'trace as JSON' '-- poweroff -f' --trace="$tmp/trace" --stats \
	--json="$tmp/json"
ports=$(grep -c '^{"seconds":[0-9.]*,"exit":"port","rip":"0x[0-9a-f]*","access":"[a-z]*","port":[0-9]*,"size":[124].*}$' "$tmp/trace")
[ "$ports" -gt 100 ]
result 'an object a line'
! grep -qv '^{"seconds":[0-9.]*,"exit":"[a-z-]*","rip":"0x[0-9a-f]*".*}$' \
	"$tmp/trace"
result 'and nothing else'
grep -q "\"stats\":{\"run_time_ns\":[0-9]*,.*\"exits\":{.*\"port\":$ports[,}]" \
	"$tmp/json"
result 'counters as JSON'

run wisp run --kernel $GUEST --timeout 2 --trace
[ "$status" -eq 4 ] && grep -q ' memory .* read gpa 0x30000000$' "$tmp/err"
result 'trace to standard error'

refused 1 '--trace /: ' run --kernel $GUEST --trace=/
run wisp run --kernel $GUEST --timeout 1 --trace=/dev/full
[ "$status" -eq 4 ] && grep -q '^wisp: --trace: not all' "$tmp/err"
result 'no room for the trace'

# held_up OPTION...: a guest whose command waits for who has "$tmp/fifo"
held_up() {
	wisp run --kernel $GUEST "$@" >"$tmp/out" 2>"$tmp/err" &
	wisp=$!
	sleep 3
}

# ended STATUS: it has, at once
ended() {
	(
		sleep 20
		kill -KILL $wisp
	) 2>/dev/null &
	guard=$!
	wait $wisp 2>/dev/null
	status=$?
	kill $guard 2>/dev/null
	[ $status -eq "$1" ]
}

mkfifo "$tmp/fifo"
held_up --trace="$tmp/fifo"
kill -TERM $wisp
ended 143
result 'SIGTERM, while nobody opens the trace'
held_up --timeout 1 --json="$tmp/fifo"
kill -TERM $wisp
ended 143
result 'SIGTERM, while nobody opens the JSON file'

# Who reads nothing does not hold up the end, by a signal or by the time. The pipe is
# full before, however slow the guest is.
sleep 1000 <>"$tmp/fifo" &
sleeper=$!
dd if=/dev/zero of="$tmp/fifo" bs=4096 count=16 2>/dev/null
held_up --trace="$tmp/fifo"
kill -TERM $wisp
ended 5 && grep -q '^wisp: --trace: not all' "$tmp/err"
result 'SIGTERM, while nobody reads the trace'
held_up --timeout 2 --trace="$tmp/fifo"
ended 4 && grep -q '^wisp: --trace: not all' "$tmp/err"
result 'timeout, while nobody reads the trace'
kill $sleeper

finish
