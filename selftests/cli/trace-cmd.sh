#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The driver's tracepoints, by a stock trace-cmd. What is traced is a suite whose
# guests start at 0x10000, fault there, and are sent interrupts and NMIs.

. "${0%/*}/tap"

TRACED=/selftests/guest/debug

run trace-cmd record -q -e wisp -o "$tmp/trace.dat" $TRACED
[ "$status" -eq 0 ] && ! grep -q '^not ok' "$tmp/out"
result 'records while a suite runs'
run trace-cmd report -q -i "$tmp/trace.dat"
mv "$tmp/out" "$tmp/report"
[ "$status" -eq 0 ] && ! grep -q 'EVENTS DROPPED' "$tmp/report"
result 'reports all of it'

# has NAME TEXT: the report has a line that matches
has() {
	grep -q -e "$2" "$tmp/report"
	result "$1"
}

has 'an entry' ' wisp_entry: *vcpu [0-9]* rip 0x10000$'
has 'an exit to the VMM: HLT' \
	' wisp_exit: *vcpu [0-9]* reason 0x4 rip 0x1[0-9a-f]* info 0'
has 'an exit for the driver: CPUID' \
	' wisp_exit: *vcpu [0-9]* reason 0x10002 rip 0x10000 info 0'
has 'a fault that mapped the code' \
	' wisp_fault: *vcpu [0-9]* gpa 0x10000 access 4 result 0$'
has 'an interrupt' ' wisp_inject: *vcpu [0-9]* type 1 vector 64 error 0'
has 'an NMI' ' wisp_inject: *vcpu [0-9]* type 2 vector 2 error 0'
[ "$(grep -c ' wisp_entry: ' "$tmp/report")" -eq \
	"$(grep -c ' wisp_exit: ' "$tmp/report")" ]
result 'as many exits as entries'

finish
