#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The howto's server: each request runs in a Linux of its own.

. "${0%/*}/tap"

PORT=7777
ifconfig lo up
: >"$tmp/out"
/selftests/howto/server $KERNEL $INITRD "$tmp/warm" $PORT 2>"$tmp/err" &
server=$!
wait_for ready "$tmp/err"
result 'a Linux is warm'

# request COMMAND: its reply is in $out
request() {
	echo "$1" | nc 127.0.0.1 $PORT >"$tmp/out"
}

# replied TEXT NAME: the reply is the object that has this
replied() {
	grep -q '^{"fork":1,' "$tmp/out" && grep -qF -e "$1" "$tmp/out"
	result "$2"
}

request 'echo $((6 * 7)); touch /tmp/mine; ls /tmp'
replied '"status":0,"output":"42\nmine\n"' 'a request'
request 'ls /tmp; exit 3'
replied '"status":3,"output":""' 'the next finds nothing of it'
request 'poweroff -f'
replied '"message":' 'one that ends its guest'
for n in 1 2 3; do
	echo "echo $n; sleep 1; ls /tmp" | nc 127.0.0.1 $PORT >"$tmp/reply.$n" &
	clients="$clients $!"
done
wait $clients
cat "$tmp"/reply.* >"$tmp/out"
for n in 1 2 3; do
	grep -qF '"output":"'$n'\n"' "$tmp/reply.$n"
	result "at once with others: $n"
done
kill $server
finish
