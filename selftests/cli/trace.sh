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

finish
