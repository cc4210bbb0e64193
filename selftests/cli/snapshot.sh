#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# wisp run --snapshot, resume and fork: a Linux with a shell is saved where it
# says so, or by a signal, goes on where it was, and is there a hundred times.

. "${0%/*}/tap"

# Whoever ended early is found out by its status.
trap '' PIPE
dir=$tmp/saved
# What the guest does to be saved: 1 to port 0x5d5.
save='printf "\001" | dd of=/dev/port bs=1 seek=1493 count=1 2>/dev/null'

# 16 bytes that no other machine has.
generation='dd if=/dev/port bs=1 skip=1496 count=16 2>/dev/null | hexdump -e "16/1 \"%02x\""'

# boot COMMAND...: its console is $tmp/console, its input descriptor 9
boot() {
	rm -f "$tmp/fifo"
	mkfifo "$tmp/fifo"
	: >"$tmp/console"
	"$@" <"$tmp/fifo" >"$tmp/console" 2>"$tmp/err" &
	wisp=$!
	exec 9>"$tmp/fifo"
}

# await TEXT: on the console; up to five minutes, or until the command has ended
await() {
	for tick in $(seq 3000); do
		grep -q "$1" "$tmp/console" && return 0
		[ -e /proc/$wisp/exe ] || return 1
		sleep 0.1
	done
	return 1
}

# ended STATUS NAME
ended() {
	exec 9>&-
	wait $wisp
	status=$?
	cp "$tmp/console" "$tmp/out"
	[ "$status" -eq "$1" ]
	result "$2"
}

run_linux() {
	boot wisp run --kernel $KERNEL --initrd $INITRD --mem 128M --timeout 300 \
		--append 'console=ttyS0 quiet' "$@"
	await 'guest# '
}

run_linux --snapshot "$dir" --json="$tmp/json"
echo 'x=40; date +%s >/tmp/then; cd /tmp' >&9
echo "$save; echo going \$((x + 2))" >&9
ended 7 'saved where the guest says so' || finish
grep -q '^wisp: the guest is saved' "$tmp/err" &&
	grep -q '"ending":"saved","status":7' "$tmp/json" &&
	! grep -q 'going 42' "$tmp/console"
result 'and ended there'
[ "$(stat -c '%a %s' "$dir/memory")" = '600 134221824' ] &&
	[ "$(stat -c %b "$dir/memory")" -lt 200000 ]
result 'its memory is a sparse file, for its owner'
echo "# memory: $(($(stat -c %b "$dir/memory") / 2)) KiB of 128 MiB"
held=$(stat -c %b "$dir/memory")

for i in 1 2; do
	boot wisp resume "$dir" --timeout 200 --stats
	await 'going 42'
	echo 'pwd; ls; echo then $(($(date +%s) - $(cat then)))' >&9
	echo 'hwclock -r -u >/dev/null && echo has a clock; touch mine' >&9
	echo "echo id \$($generation)" >&9
	echo 'sleep 1; poweroff -f' >&9
	ended 0 "resumed, time $i"
	grep -o '^id [0-9a-f]*' "$tmp/console" >>"$tmp/ids"
	grep -q '^/tmp' "$tmp/console" && grep -q '^then [0-9]' "$tmp/console" &&
		! grep -q '^mine' "$tmp/console"
	result 'it is where it was, and not where another one went on'
	faults=$(sed -n 's/^faults  *//p' "$tmp/err")
	[ "$faults" -gt 100 ] && [ "$faults" -lt 3200 ]
	result 'it touched less than a tenth of its pages'
	# What is read of a hole of tmpfs is a block of it from then on.
	read=$(($(stat -c %b "$dir/memory") - held))
	[ "$read" -lt 400 ]
	result 'of what was a hole little was read'
	echo "# $faults faults of 32768 pages; $((read / 8)) pages of holes were read"
done

# A guest is told whether it is one that goes on.
boot wisp resume "$dir" --timeout 200
echo 'dd if=/dev/port bs=1 skip=1493 count=1 2>/dev/null | hexdump' >&9
echo 'poweroff -f' >&9
ended 0 'resumed, with input that comes early'
grep -q '^0000000 0001' "$tmp/console"
result 'the control port says so'

# From one that goes on another is taken; by a signal, while it sleeps. It is on a
# disk, so that what is read of it can be counted.
second=$tmp/disk/second
mkdir "$tmp/disk"
insmod /disk/brd.ko rd_nr=1 rd_size=131072 && insmod /disk/minix.ko &&
	mkfs.minix -3 /dev/ram0 >/dev/null && mount -t minix /dev/ram0 "$tmp/disk"
result 'a disk'
boot wisp resume "$dir" --timeout 200 --snapshot "$second"
await 'going 42'
echo 'echo ready $((x + 3)); sleep 5; echo later $((x + 4))' >&9
await 'ready 43'
kill -USR1 $wisp
ended 7 'saved by SIGUSR1'
echo 1 >/proc/sys/vm/drop_caches
boot wisp resume "$second" --timeout 200
await 'later 44'
read=$(($(sed -n 's/^read_bytes: //p' /proc/$wisp/io) / 4096))
echo 'poweroff -f' >&9
ended 0 'a timer goes on'
[ "$read" -gt 100 ] && [ "$read" -lt 1900 ]
result 'what was read of the disk is what it touched'
echo "# $read pages were read"
run wisp fork "$second" --exec 'true'
[ "$status" -eq 0 ]
result 'a busy shell takes what is typed when it is done'
umount "$tmp/disk"

run wisp fork "$dir" -n 100 --exec 'echo $((x + 1)) $(ls); touch here; pwd'
[ "$status" -eq 0 ] && [ ! -s "$tmp/err" ] &&
	[ "$(wc -l <"$tmp/out")" -eq 200 ] &&
	for i in $(seq 100); do
		echo "$i: 41 then"
		echo "$i: /tmp"
	done | cmp -s - "$tmp/out"
result 'a hundred forks'
run wisp fork "$dir" -n 20 --exec "echo id \$($generation)"
[ "$status" -eq 0 ]
result 'forks look at their generation ids'
sed 's/^[0-9]*: //' "$tmp/out" >>"$tmp/ids"
[ "$(grep -c '^id [0-9a-f]\{32\}$' "$tmp/ids")" -eq 22 ] &&
	[ "$(sort -u "$tmp/ids" | wc -l)" -eq 22 ]
result 'all generation ids differ'
run wisp fork "$dir" -n 2 --json --exec 'printf "a\"b"; exit 3'
[ "$status" -eq 1 ] && [ "$(wc -l <"$tmp/out")" -eq 2 ] &&
	grep -q '^{"fork":2,"status":3,"output":"a\\"b\\n","ns":[0-9]*}' "$tmp/out"
result 'fork --json, and a command that fails'

mkfifo "$tmp/hold"
wisp fork "$dir" -n 5 --keep --exec 'echo here' <"$tmp/hold" >"$tmp/out" 2>"$tmp/err" &
forker=$!
exec 3>"$tmp/hold"
wait_for '^5: here' "$tmp/out"
result 'fork --keep: each answers'
[ "$(ls -l /proc/$forker/fd | grep -c 'wisp-vm')" -eq 5 ]
result 'fork --keep: all are there until the input ends'
exec 3>&-
wait $forker
result 'fork --keep: then it ends'
run sh -c "ulimit -n 20; wisp fork '$dir' -n 20 --keep --exec 'echo here'"
[ "$status" -eq 1 ] && grep -q '^1: here' "$tmp/out" &&
	grep -q '^wisp: guest [0-9]*: .*raise the limit of open files' "$tmp/err"
result 'fork --keep, of more than files may be open for'
run wisp fork "$dir" --exec 'exit 3'
[ "$status" -eq 1 ] && grep -q '^wisp: guest 1: the command failed: .* 3$' "$tmp/err"
result 'a command that fails'
run wisp fork "$dir" --timeout 10 --exec 'echo early; sleep 100'
[ "$status" -eq 1 ] && grep -q '^1: early' "$tmp/out" &&
	grep -q '^wisp: guest 1: the command did not end: ' "$tmp/err"
result 'a command that does not end'
run wisp fork "$dir" --exec 'poweroff -f'
[ "$status" -eq 1 ] && grep -q 'did not end: the guest powered off' "$tmp/err"
result 'a command that ends the guest'
run wisp fork "$dir" --json --exec 'poweroff -f'
[ "$status" -eq 1 ] && grep -q '"message":"the guest powered off"' "$tmp/out"
result 'and what JSON says of it'
run wisp fork "$dir" --json --exec 'printf "a\377\303\251"'
[ "$status" -eq 0 ] && grep -qF "$(printf '"output":"a\357\277\275\303\251\\n"')" "$tmp/out"
result 'fork --json, of bytes that are no text'
run wisp fork "$dir" --exec 'cat; echo "unclosed'
[ "$status" -eq 1 ] && grep -q '^wisp: guest 1: the command failed: ' "$tmp/err"
result 'a command that is none'
run wisp fork "$dir" --exec '# nothing'
[ "$status" -eq 0 ] && [ ! -s "$tmp/out" ]
result 'and one that is nothing'
# What a line editor would take for its own, and would have no room for.
long=$(printf '%4000s' '' | tr ' ' x)
run wisp fork "$dir" --exec "$(printf "echo '\t\003\033!%s\303\251' |\n\twc -c" "$long")"
[ "$status" -eq 0 ] && [ "$(cat "$tmp/out")" = '1: 4007' ]
result 'a command of any bytes, and of many'
# All of them: the output is lost, not the forks.
wisp fork "$dir" -n 2 --exec 'echo $$' </dev/null >/dev/full 2>"$tmp/err"
status=$?
[ "$status" -eq 1 ] && grep -q '^wisp: some of the output is lost: ' "$tmp/err"
result 'no room for the output'

# ---- what is refused -------------------------------------------------------

refused 64 'no folder' resume
refused 64 'is a second folder' resume "$dir" "$dir"
refused 64 'no folder' fork --exec true
refused 64 'no command' fork "$dir"
for wrong in 0 -1 x 1x 9999999; do
	refused 64 "-n $wrong is no number" fork "$dir" --exec true "-n$wrong"
done
refused 1 'No such file' resume /nothing
refused 1 'Not a directory' resume $KERNEL
refused 1 'No such file' resume /tmp
refused 1 'No such file' fork /tmp --exec true
refused 1 'there is a snapshot already' run --kernel $KERNEL --snapshot "$dir"
refused 1 'Not a directory' run --kernel $KERNEL --snapshot $KERNEL
mkdir "$tmp/mine"
: >"$tmp/mine/memory"
refused 1 'there is a file "memory"' run --kernel $KERNEL --snapshot "$tmp/mine"

# copy: of $dir, to be spoiled; put OFFSET TEXT: in its state
bad=$tmp/bad
copy() {
	rm -rf "$bad"
	cp -r "$dir" "$bad"
}
put() {
	printf "$2" | dd of="$bad/state" bs=1 seek="$1" conv=notrunc 2>/dev/null
}
# The CRC-32 of a file is in what gzip makes of it.
sum() {
	put 12 '\0\0\0\0'
	gzip -c "$bad/state" | tail -c 8 | head -c 4 |
		dd of="$bad/state" bs=1 seek=12 conv=notrunc 2>/dev/null
}

copy
sum
run wisp fork "$bad" --exec true
[ "$status" -eq 0 ]
result 'the checksum is the one that is documented'

# What a guest was told of its CPU, such as its name, is saved again as it was.
copy
entries=$(hexdump -s 52 -n 4 -e '1/4 "%u"' "$bad/state")
for at in $(seq 136 32 $((104 + 32 * entries))); do
	[ "$(hexdump -s "$at" -n 4 -e '1/4 "%x"' "$bad/state")" != 80000002 ] ||
		put $((at + 16)) Wisp
done
sum
cpuid() {
	dd if="$1/state" bs=8 skip=17 count=$((4 * entries)) 2>/dev/null | md5sum
}
boot wisp resume "$bad" --timeout 200 --snapshot "$tmp/third"
await 'going 42'
kill -USR1 $wisp
ended 7 'told of another CPU, and saved again'
[ "$(cpuid "$bad")" != "$(cpuid "$dir")" ] &&
	[ "$(cpuid "$bad")" = "$(cpuid "$tmp/third")" ]
result 'it keeps what it was told'

head -c 1000 "$dir/state" >"$bad/state"
refused 1 'the snapshot is truncated' resume "$bad"
: >"$bad/state"
refused 1 'no snapshot' resume "$bad"
copy
put 2000 x
refused 1 'the snapshot is damaged' resume "$bad"
refused 1 'the snapshot is damaged' fork "$bad" --exec true
copy
put 8 '\2'
refused 1 'has version 2 of the format' resume "$bad"
copy
put 72 CyrixInstead
sum
refused 1 'does not fit this CPU: its vendor' resume "$bad"
copy
truncate -s 4M "$bad/memory"
refused 1 'its memory is not whole' resume "$bad"
rm "$bad/memory"
refused 1 'No such file' resume "$bad"
copy
exec 8>>"$bad/memory"
refused 1 'open for writing' resume "$bad"
exec 8>&-
# The version of the devices' first section, behind its name: they are the end.
copy
devices=$(hexdump -s 64 -n 4 -e '1/4 "%u"' "$bad/state")
put $(($(stat -c %s "$bad/state") - devices + 4)) '\7'
sum
refused 1 'other devices' resume "$bad"
chmod 666 /dev/wisp
chmod -R a+rX "$tmp" "$dir"
run su nobody -s /bin/sh -c "wisp resume $dir"
[ "$status" -eq 1 ] && grep -q "^wisp: .*another user's: copy" "$tmp/err"
result 'of another user'
mkdir "$tmp/theirs"
run su nobody -s /bin/sh -c "wisp run --kernel $KERNEL --snapshot $tmp/theirs"
[ "$status" -eq 1 ] && grep -q 'Permission denied: give a folder' "$tmp/err"
result 'into a folder of another user'

finish
