#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The package as it was installed: udev and modprobe bring /dev/wisp, and the
# command boots a guest.

. /selftests/cli/tap

export PATH=/usr/bin:/sbin:/bin

run systemd-udevd --daemon
[ "$status" -eq 0 ]
result 'udev starts'
run modprobe wisp
[ "$status" -eq 0 ] && [ -d /sys/module/wisp ]
result 'modprobe wisp'
run udevadm settle
run stat -c '%G %a' /dev/wisp
grep -qx 'wisp 660' "$tmp/out"
result '/dev/wisp is for the group'

[ "$(command -v wisp)" = /usr/bin/wisp ]
result 'the command is that of the package'
run wisp info
[ "$status" -eq 0 ]
result 'wisp info'
echo 'member:x:1000:1000::/:/bin/sh' >>/etc/passwd
sed -i 's/^wisp:.*/&member/' /etc/group
run su member -s /bin/sh -c 'wisp info'
[ "$status" -eq 0 ]
result 'wisp info, by a member of the group'
run su nobody -s /bin/sh -c 'wisp info'
[ "$status" -eq 1 ] && grep -q '^wisp: no permission' "$tmp/err"
result 'wisp info, by somebody else'
guest 0 'wisp run' '-- uname -r'
grep -q "^$(uname -r)" "$tmp/out"
result 'what the guest says'

kill "$(pidof systemd-udevd)"
finish
