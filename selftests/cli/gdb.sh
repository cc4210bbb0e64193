#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# A stock gdb at "wisp run --gdb": selftests/pvh/guest.S is what it debugs.

. "${0%/*}/gdb"

start --kernel $GUEST
debug $GUEST <<'END'
printf "start %d\n", $pc == &start32
printf "ebx 0x%lx cr0 0x%lx\n", $rbx, $cr0
break start64
continue
printf "at start64 %d\n", $pc == &start64
printf "efer 0x%lx\n", $efer
delete
stepi
printf "stepped 0x%lx\n", $pc - (long)&start64
x/i $pc
break *&own_int3
continue
printf "rbx 0x%lx\n", $rbx
delete
break *&behind_port
continue
printf "traps %ld\n", *(long *)&traps
printf "behind_port %d counter %ld\n", $pc == &behind_port, *(long *)&counter
continue
printf "counter %ld\n", *(long *)&counter
delete
set var *(long *)&limit = 5
set var $rbx = 0x1122334455667788
set var $xmm3.v2_int64[1] = 0x99
printf "limit %ld rbx 0x%lx xmm3 0x%lx\n", *(long *)&limit, $rbx, $xmm3.v2_int64[1]
printf "fctrl 0x%x mxcsr 0x%x\n", $fctrl, $mxcsr
break *&finished
continue
printf "finished %d counter %ld rbx 0x%lx\n", $pc == &finished, *(long *)&counter, $rbx
printf "xmm3 0x%lx\n", $xmm3.v2_int64[1]
info registers eflags cs fs_base
detach
END
says 'attaches before the first instruction' '^start 1$'
says 'reads registers' '^ebx 0x7000 cr0 0x11$'
says 'breaks at an address' '^at start64 1$'
says 'reads system registers' '^efer 0x500$'
says 'steps' '^stepped 0x5$'
says 'disassembles' 'mov .*ds'
says 'breaks at an INT3 of the guest' '^rbx 0x123456789abcdef0$'
says 'INT3 of the guest is the guest'"'"'s' '^traps 1$'
says 'breaks behind OUT' '^behind_port 1 counter 1$'
says 'continues from a breakpoint' '^counter 2$'
says 'writes memory and registers' '^limit 5 rbx 0x1122334455667788 xmm3 0x99$'
says 'reads the FPU' '^fctrl 0x37f mxcsr 0x1f80$'
says 'runs on with what was written' '^finished 1 counter 5 rbx 0x1122334455667788$'
says 'keeps the FPU' '^xmm3 0x99$'
says 'detaches' 'detached'
ended 2 'the guest ends as without gdb'

start --kernel $GUEST
debug $GUEST <<'END'
break *&write_port
continue
printf "limit %ld\n", *(long *)&limit
set var *(long *)&limit = 1
delete
stepi
printf "stepped over OUT %d\n", $pc == &behind_port
stepi
printf "stepped to nowhere %d\n", $pc == &nowhere
stepi
printf "stepped over MMIO %d edx 0x%x\n", $pc == &behind_nowhere, $edx
set can-use-hw-watchpoints 0
set var *(long *)&limit = 1000
watch *(long *)&counter
continue
printf "watched %ld\n", *(long *)&counter
delete
hbreak *&finished
watch *(long *)&traps
tbreak *&again
continue
printf "again %d\n", $pc == &again
delete
stepi 100
kill
END
says 'steps over OUT' '^stepped over OUT 1$'
says 'and on' '^stepped to nowhere 1$'
says 'steps over an access to no memory' '^stepped over MMIO 1 edx 0xffffffff$'
says 'watches by stepping' '^watched 2$'
says 'takes hardware breakpoints' '^Hardware assisted breakpoint'
says 'goes on with them' '^again 1$'
ended 5 'kill'
grep -q '^wisp: killed by gdb' "$tmp/wisp"
result 'kill: why'

# An idle guest, whose next tick comes while it stands at its HLT.
start --kernel /selftests/pvh/idle
debug /selftests/pvh/idle <<'END'
shell (sleep 1; kill -INT $PPID) &
continue
printf "idle %d\n", $pc == &idle + 1 || $pc == &idle + 2
shell sleep 1
detach
END
says 'idle: stands at its HLT' '^idle 1$'
ended 2 'idle: goes on'

# gdb is killed: the guest goes on. Another comes later, and interrupts it.
start --kernel $GUEST
debug $GUEST <<'END'
break *&write_port
continue
shell kill -9 $PPID
END
debug $GUEST <<'END'
printf "running %d\n", *(long *)&counter > 1
set var $before = *(long *)&counter
shell (sleep 2; kill -INT $PPID) &
continue
printf "interrupted %d\n", *(long *)&counter > $before
set var *(long *)&limit = 1
continue
END
says 'attaches to a guest that runs' '^running 1$'
says 'Ctrl-C' 'SIGINT'
says 'Ctrl-C stops it' '^interrupted 1$'
says 'is told of the end' 'exited with code 02'
ended 2 'reset while gdb is there'

# Errors, which are no end: behind -ex gdb goes on.
start --kernel $GUEST
run gdb -nx -q -batch -ex 'set debuginfod enabled off' \
	-ex "target remote 127.0.0.1:$port" -ex 'break *&start64' -ex continue \
	-ex 'x/gx 0x7fffffff0000' -ex 'print *(int *)0x40000000' \
	-ex 'set var *(int *)0x40000000 = 1' -ex 'set var $cr0 = 1' \
	-ex 'printf "cr0 0x%lx\n", $cr0' -ex 'break *0x40000000' -ex continue \
	-ex 'delete' -ex 'set var *(long *)&limit = 1' -ex continue $GUEST
grep -q 'Cannot access memory at address 0x7fffffff0000' "$tmp/err" &&
	grep -q 'Cannot access memory at address 0x40000000' "$tmp/err"
result 'memory that is not there'
grep -q 'Could not write register "cr0"' "$tmp/err"
result 'a register that the CPU would refuse'
says 'and it stays as it was' 'cr0 0x80000011$'
grep -q 'Cannot insert breakpoint' "$tmp/err"
result 'a breakpoint where no memory is'
ended 2 'goes on after errors'

# Saved while breakpoints are in: who goes on with it has no gdb.
start --kernel $GUEST --snapshot "$tmp/saved"
WISP=$wisp
export WISP
debug $GUEST <<'END'
break *&start64
continue
delete
set var *(long *)&limit = 1000000000000
printf "at %ld: 0x%02x\n", (long)&finished, *(unsigned char *)&finished
break *&finished
shell (sleep 2; kill -USR1 $WISP) &
continue
END
says 'is told that the guest was saved' 'exited with code 07'
at=$(sed -n 's/^at \([0-9]*\): 0x..$/\1/p' "$tmp/out")
byte=$(dd if="$tmp/saved/memory" bs=1 skip="$at" count=1 | hexdump -e '1/1 "0x%02x"')
says 'what is saved has no breakpoint' "^at $at: $byte\$"
ended 7 'saved while gdb is there'

# Saved while the guest stands: before gdb is there, and while it looks at a register
# that it has written.
start --kernel $GUEST --snapshot "$tmp/first"
kill -USR1 $wisp
ended 7 'saved before gdb is there'
wait_for_gdb resume "$tmp/first"
debug $GUEST <<'END'
printf "first %d\n", $pc == &start32
kill
END
says 'at its first instruction' '^first 1$'
ended 5 'and killed there'
start --kernel $GUEST --snapshot "$tmp/standing"
WISP=$wisp
debug $GUEST <<'END'
break *&write_port
continue
set var *(long *)&limit = 1
set var $rbx = 0x1357
shell kill -USR1 $WISP; while [ -e /proc/$WISP/exe ]; do sleep 0.1; done
END
ended 7 'saved while gdb holds it'
wait_for_gdb resume "$tmp/standing"
debug $GUEST <<'END'
printf "resumed %d rbx 0x%lx\n", $pc == &write_port, $rbx
continue
END
says 'it is where gdb held it, with what gdb wrote' '^resumed 1 rbx 0x1357$'
ended 2 'and goes on'

# gdb may send its Ctrl-C together with what it is to interrupt.
start --kernel $GUEST
{
	printf '$vCont;c#a8\003'
	sleep 2
} | nc -w 5 127.0.0.1 "$port" >"$tmp/out" 2>"$tmp/err"
grep -qF '$T02thread:1;#' "$tmp/out"
result 'Ctrl-C right behind a continue'
kill -TERM $wisp
ended 5 'and SIGTERM'

# Noise instead of gdb.
start --kernel $GUEST
printf '$zz#00$g#ff\003$m0,0#2e+-$X0,ffffffff:#00$%01000d' 7 |
	nc -w 1 127.0.0.1 "$port" >/dev/null 2>&1
kill -TERM $wisp
ended 5 'noise, then SIGTERM'
refused 64 '--gdb x is not a port' run --kernel $GUEST --gdb x
refused 64 '--gdb 65536 is not a port' run --kernel $GUEST --gdb 65536
refused 64 '--gdb -1 is not a port' run --kernel $GUEST --gdb=-1
start --kernel $GUEST
refused 1 'Address already in use' run --kernel $GUEST --gdb "$port"
netstat -ltn >"$tmp/out" 2>&1
grep -q "127.0.0.1:$port " "$tmp/out" && ! grep -q "0.0.0.0:$port " "$tmp/out"
result 'listens on 127.0.0.1 only'
kill -TERM $wisp
ended 5 'SIGTERM while it waits for gdb'

finish
