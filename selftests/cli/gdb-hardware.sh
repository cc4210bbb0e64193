#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# A stock gdb, and what the CPU does for it: breakpoints by INT3 and in DR0-3,
# watchpoints there. Not in QEMU, where VMRUN arms none (testing.rst).

. "${0%/*}/gdb"

# traced NAME TEXT: an exit of the guest's is so
traced() {
	grep -q -e "$2" "$tmp/trace"
	result "$1"
}

# never NAME TEXT: none is
never() {
	! grep -q -e "$2" "$tmp/trace"
	result "$1"
}

STEP='vector 1 dr6 0xffff4ff0$'

# Its own INT3 is the guest's, also where gdb's stands in for another one.
start --kernel $GUEST --trace="$tmp/trace"
debug $GUEST <<'END'
break *&behind_port
continue
printf "behind_port %d counter %ld\n", $pc == &behind_port, *(long *)&counter
printf "traps %ld\n", *(long *)&traps
continue
printf "counter %ld\n", *(long *)&counter
kill
END
says 'INT3: breaks' '^behind_port 1 counter 1$'
says 'INT3: the guest has its own' '^traps 1$'
says 'INT3: breaks again' '^counter 2$'
ended 5 'INT3: kill'
traced 'INT3: it was one' ' vector 3 '
[ "$(grep -c ' vector 3 ' "$tmp/trace")" -eq 3 ]
result 'INT3: two of them, and the guest'"'"'s'

# Once inserted each stays in its register.
start --kernel $GUEST --trace="$tmp/trace"
debug $GUEST <<'END'
set breakpoint always-inserted on
hbreak *&start64
hbreak *&on_int3
hbreak *&again
hbreak *&write_port
continue
printf "start64 %d\n", $pc == &start64
continue
printf "on_int3 %d from %d\n", $pc == &on_int3, *(long *)$sp == &behind_int3
continue
printf "again %d counter %ld\n", $pc == &again, *(long *)&counter
continue
printf "write_port %d counter %ld\n", $pc == &write_port, *(long *)&counter
stepi
printf "stepped over OUT %d traps %ld\n", $pc == &behind_port, *(long *)&traps
delete
set breakpoint always-inserted off
hbreak *&finished if *(long *)&counter == 9
set var *(long *)&limit = 9
continue
printf "finished %d counter %ld\n", $pc == &finished, *(long *)&counter
detach
END
says 'hbreak: breaks' '^start64 1$'
says 'hbreak: at the handler of an INT3' '^on_int3 1 from 1$'
says 'hbreak: in a loop' '^again 1 counter 0$'
says 'hbreak: at OUT' '^write_port 1 counter 1$'
says 'hbreak: steps on from it' '^stepped over OUT 1 traps 1$'
says 'hbreak: with a condition' '^finished 1 counter 9$'
ended 2 'hbreak: the guest ends as without gdb'
for i in 1 2 4 8; do
	traced "hbreak: DR6 has bit $i" " vector 1 dr6 0xffff0ff$i\$"
done
never 'hbreak: INT3 is left to the guest' ' vector 3 '

# gdb lets a guest go on that has stopped at one that it does not know of, without
# a step over it: the guest must not stop there again at once.
start --kernel $GUEST --trace="$tmp/trace"
debug $GUEST <<'END'
eval "maint packet Z1,%lx,1", &behind_port
set var *(long *)&limit = 5
continue
END
says 'hbreak: goes on where it stands' 'exited with code 02'
ended 2 'hbreak: and the guest ends'
[ "$(grep -c ' vector 1 dr6 0xffff0ff1$' "$tmp/trace")" -eq 5 ]
result 'hbreak: once a round'
never 'hbreak: without a step' "$STEP"

start --kernel $GUEST --trace="$tmp/trace"
debug $GUEST <<'END'
watch *(long *)&counter
continue
printf "watch %d counter %ld\n", $pc == &write_port, *(long *)&counter
continue
printf "watch %d counter %ld\n", $pc == &write_port, *(long *)&counter
delete
rwatch *(long *)&limit
continue
x/i $pc
delete
awatch *(long *)&counter
continue
printf "awatch, write %d counter %ld\n", $pc == &write_port, *(long *)&counter
continue
printf "awatch, read %d counter %ld\n", $pc == &nowhere, *(long *)&counter
delete
watch *(short *)&counter if *(long *)&counter == 20
rwatch *(char *)&limit if *(long *)&counter == 30
awatch *(int *)&traps
continue
printf "2 bytes: %d counter %ld\n", $pc == &write_port, *(long *)&counter
continue
printf "1 byte: counter %ld\n", *(long *)&counter
set var *(long *)&limit = 31
continue
END
says 'watch: stops behind a write' '^watch 1 counter 1$'
says 'watch: and behind the next' '^watch 1 counter 2$'
says 'watch: gdb shows both values' '^New value = 2$'
says 'rwatch: stops behind a read' 'jb .*again'
says 'awatch: stops behind a write' '^awatch, write 1 counter 3$'
says 'awatch: and behind a read' '^awatch, read 1 counter 3$'
says 'watch: 2 bytes, with a condition' '^2 bytes: 1 counter 20$'
says 'rwatch: 1 byte, with a condition' '^1 byte: counter 30$'
says 'watch: the guest goes on' 'exited with code 02'
ended 2 'watch: and ends as without gdb'
traced 'watch: DR6 names it' ' vector 1 dr6 0xffff0ff1$'
never 'watch: nothing was stepped' "$STEP"

# Errors: what DR0-3 and DR7 cannot hold.
start --kernel $GUEST
run gdb -nx -q -batch -ex 'set debuginfod enabled off' \
	-ex "target remote 127.0.0.1:$port" \
	-ex 'watch *(long *)((char *)&counter + 1)' -ex continue -ex 'delete 1' \
	-ex 'hbreak *&finished' -ex 'hbreak *&again' -ex 'hbreak *&work' \
	-ex 'hbreak *&nowhere' -ex 'watch *(long *)&counter' -ex continue \
	-ex 'delete 6' -ex continue -ex 'printf "again %d\n", $pc == &again' \
	-ex kill $GUEST
grep -q 'Could not insert hardware watchpoint 1' "$tmp/err"
result 'a watchpoint across two words'
grep -q 'Could not insert hardware watchpoint 6' "$tmp/err"
result 'a fifth one'
says 'four are none too many' '^again 1$'
ended 5 'goes on after errors'

finish
