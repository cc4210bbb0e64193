#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# A stock Linux up to its shell, which is talked to, and switches it off; and a guest
# that does nothing but talk.

. "${0%/*}/tap"

# The other one is packed by XZ, which takes Bochs a minute.
CLOUD=/boot/vmlinuz-cloud
[ ! -e $CLOUD ] || KERNEL=$CLOUD

mkfifo "$tmp/fifo"
: >"$tmp/out"
(
	exec >"$tmp/fifo"
	wait_for 'guest# ' "$tmp/out"
	printf 'echo first $((20 + 22))\nuname -m\ncat /proc/cmdline\n'
	wait_for 'tsc_early_khz' "$tmp/out"
	printf 'poweroff -f\n'
) &
wisp run --kernel $KERNEL --initrd $INITRD --mem 128M --timeout 300 --stats \
	--append 'console=ttyS0 quiet cryptomgr.notests' \
	<"$tmp/fifo" >"$tmp/out" 2>"$tmp/err"
status=$?
[ $status -eq 0 ]
result 'switches itself off'
grep -q '^first 42' "$tmp/out" && grep -q '^x86_64' "$tmp/out"
result 'its shell does as it is told'
grep -q 'tsc_early_khz=[1-9]' "$tmp/out"
result 'is told of the TSC'
grep -q '^injections  *[1-9][0-9][0-9]' "$tmp/err"
result 'has had interrupts'

# seen TEXT: within ten seconds the console has it, which ends no line
seen() {
	for tick in $(seq 100); do
		[ "$(cat "$tmp/out")" = "$1" ] && return 0
		sleep 0.1
	done
	return 1
}

mkfifo "$tmp/keys"
wisp run --kernel /selftests/pvh/prompt --mem 64M \
	<"$tmp/keys" >"$tmp/out" 2>"$tmp/err" &
exec 9>"$tmp/keys"
seen '?'
result 'a prompt is seen while the guest looks for an answer'
printf y >&9
seen '?y'
result 'and its last word, when it has no more exits'
kill -TERM $!
wait $!
status=$?
[ $status -eq 5 ]
result 'which a signal ends'

finish
