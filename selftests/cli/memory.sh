#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Memory of all sizes, and folders as an initramfs.

. "${0%/*}/tap"

# total_between LOW HIGH: what the guest says it has, in KiB
total_between() {
	total=$(sed -n 's/^MemTotal: *\([0-9]*\) kB.*/\1/p' "$tmp/out")
	[ "${total:-0}" -ge "$1" ] && [ "${total:-0}" -le "$2" ]
}

guest 0 '96 MiB' '-- cat /proc/meminfo' --mem 96M
total_between 20000 98304
result '96 MiB: MemTotal'
guest 0 '700 MiB' '-- cat /proc/meminfo' --mem 700M
total_between 600000 716800
result '700 MiB: MemTotal'

root=$tmp/root
mkdir -p "$root/bin" "$root/dev" "$root/proc"
cp /bin/busybox "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
mknod "$root/dev/null" c 1 3
cat >"$root/init" <<'END'
#!/bin/sh
export PATH=/bin
busybox echo "hello from $(busybox readlink /bin/sh)"
busybox stat -c '%n %a %t,%T %U' /init /dev/null 2>/dev/null
busybox mknod /dev/mem c 1 1
for width in 8 16 32 64; do
	echo "mmio $width $(busybox devmem 0xd0000ff8 $width)"
done
busybox devmem 0xd0000000 32 0x12345678 && echo written
busybox poweroff -f
END
chmod 755 "$root/init"
run wisp run --kernel $KERNEL --root "$root" --timeout 60 \
	--append 'console=ttyS0 quiet'
[ "$status" -eq 0 ] && grep -q '^hello from busybox' "$tmp/out" &&
	grep -q '^/init 755' "$tmp/out" && grep -q '^/dev/null .* 1,3' "$tmp/out"
result '--root'
grep -q '^mmio 8 0xFF.$' "$tmp/out" && grep -q '^mmio 16 0xFFFF.$' "$tmp/out" &&
	grep -q '^mmio 32 0xFFFFFFFF.$' "$tmp/out" &&
	grep -q '^mmio 64 0xFFFFFFFFFFFFFFFF.$' "$tmp/out" &&
	grep -q '^written' "$tmp/out"
result 'where no memory is, there are ones'

finish
