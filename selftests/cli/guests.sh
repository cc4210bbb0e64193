#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Three guests at once, of 128 MiB to 3.25 GiB, with Debian's stock and cloud
# kernels. Each fills its memory with words that no other has, and checks them
# over and over while all the others do the same: selftests/linux/pattern.c.

. "${0%/*}/tap"

CLOUD=/boot/vmlinuz-cloud

root=$tmp/root
mkdir -p "$root/dev"
mknod "$root/dev/console" c 5 1
cp /selftests/linux/pattern "$root/init"

# start NAME "SEED [MIB]" MEM KERNEL: a guest, whose input stays open
start() {
	mkfifo "$tmp/$1.in"
	: >"$tmp/$1.out"
	wisp run --kernel "$4" --root "$root" --mem "$3" --timeout 300 \
		--append "console=ttyS0 quiet panic=-1 -- $2" <"$tmp/$1.in" \
		>"$tmp/$1.out" 2>"$tmp/$1.err" &
	echo $! >"$tmp/$1.pid"
	sleep 1000 <>"$tmp/$1.in" &
	echo $! >"$tmp/$1.holder"
}

# until_has NAME LINES TEXT: waits for as many lines with it, or the guest's end
until_has() {
	until [ "$(grep -c "$3" "$tmp/$1.out")" -ge "$2" ]; do
		kill -0 "$(cat "$tmp/$1.pid")" 2>/dev/null || return 1
		sleep 0.1
	done
}

# judge NAME MIB: ends the guest, which then tells what it saw
judge() {
	echo >"$tmp/$1.in"
	wait "$(cat "$tmp/$1.pid")"
	status=$?
	kill "$(cat "$tmp/$1.holder")"
	mv "$tmp/$1.out" "$tmp/out"
	mv "$tmp/$1.err" "$tmp/err"
	total=$(sed -n 's/^filled [0-9]* of \([0-9]*\) MiB.*/\1/p' "$tmp/out")
	[ "$status" -eq 0 ] && grep -q '^good [1-9]' "$tmp/out"
	result "$1: its memory has what it wrote, and only that"
	[ "${total:-0}" -ge "$2" ]
	result "$1: has $2 MiB at least"
	sed -n 's/^\(filled .*\|good .*\)\r*$/# '"$1"': \1/p' "$tmp/out"
}

# What is above 3 GiB goes on above the hole below 4 GiB, and is used first.
start stock-3328M '1 2816' 3328M $KERNEL
start cloud-128M 2 128M $CLOUD
start cloud-512M 3 512M $CLOUD
guests='stock-3328M cloud-128M cloud-512M'

# Once all have filled it, each has to check all of it once more.
for name in $guests; do
	until_has "$name" 1 '^filled'
done
for name in $guests; do
	grep -c '^round' "$tmp/$name.out" >"$tmp/$name.rounds"
done
for name in $guests; do
	until_has "$name" $(($(cat "$tmp/$name.rounds") + 2)) '^round'
done

judge stock-3328M 3073
judge cloud-128M 64
judge cloud-512M 420

finish
