#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# wisp info, for people and for programs.

. "${0%/*}/tap"

backend=svm
grep -qw vmx /proc/cpuinfo && backend=vmx

run wisp info
[ "$status" -eq 0 ] && grep -q 'can run guests' "$tmp/out" &&
	grep -q "^backend  *$backend$" "$tmp/out"
result 'info'

run wisp info --json
[ "$status" -eq 0 ] && [ ! -s "$tmp/err" ]
result 'info --json'

# One object, with as many braces and brackets opened as closed.
balanced() {
	[ "$(tr -cd "$1" <"$tmp/out" | wc -c)" -eq \
		"$(tr -cd "$2" <"$tmp/out" | wc -c)" ]
}
[ "$(head -n 1 "$tmp/out")" = '{' ] && [ "$(tail -n 1 "$tmp/out")" = '}' ] &&
	balanced '{' '}' && balanced '[' ']'
result 'it is one object'
for key in '"usable": *true' '"reason": *""' "\"backend\": *\"$backend\"" \
	'"abi_version": *1' '"features": *\[' '"quirks": *\[' \
	'"max_memory_size": *[0-9]' '"gpa_bits": *[0-9]' '"tsc_khz": *[1-9]' \
	'"nested_paging": *true'; do
	grep -q "$key" "$tmp/out"
	result "it has $key"
done

run wisp --version
[ "$status" -eq 0 ] && grep -q '^wisp .*ABI 1' "$tmp/out"
result '--version'
run wisp run --help
[ "$status" -eq 0 ] && grep -q 'powered off' "$tmp/out"
result 'run --help tells the exit statuses'

# Without the driver, and without permission: why not, and what to do.
mv /dev/wisp /dev/wisp.away
run wisp info
mv /dev/wisp.away /dev/wisp
[ "$status" -eq 1 ] && grep -q '^wisp: .*insmod' "$tmp/err"
result 'no device'
chmod 600 /dev/wisp
run su nobody -s /bin/sh -c 'wisp info'
[ "$status" -eq 1 ] && grep -q '^wisp: no permission.*: ' "$tmp/err"
result 'no permission'

finish
