// SPDX-License-Identifier: GPL-2.0
/*
 * The ABI's layout, asserted at build time. Compiled for 64 and for 32 bits,
 * which must have the same. Figures here are never edited: a struct that ships
 * grows at its end only.
 */
#include <linux/wisp.h>

#define SIZE(type, bytes) \
	_Static_assert(sizeof(struct type) == (bytes), #type " has changed")
#define AT(type, member, offset)					\
	_Static_assert(__builtin_offsetof(struct type, member) == (offset), \
		       #type "." #member " has moved")
#define CALL(call, value) \
	_Static_assert((call) == (value), #call " has changed")

CALL(WISP_QUERY, 0xd500);
CALL(WISP_CREATE_MEMORY, 0xd501);
CALL(WISP_CREATE_VM, 0xd502);
CALL(WISP_DISCARD, 0xd520);
CALL(WISP_SET_SLOT, 0xd540);
CALL(WISP_PROTECT, 0xd541);
CALL(WISP_SET_CPUID, 0xd542);
CALL(WISP_SET_MSR_POLICY, 0xd543);
CALL(WISP_CREATE_VCPU, 0xd544);
CALL(WISP_RUN, 0xd545);
CALL(WISP_KICK, 0xd546);
CALL(WISP_GET_STATE, 0xd547);
CALL(WISP_SET_STATE, 0xd548);
CALL(WISP_STATS, 0xd549);

SIZE(wisp_cpuid_entry, 32);
AT(wisp_cpuid_entry, leaf, 0);
AT(wisp_cpuid_entry, subleaf, 4);
AT(wisp_cpuid_entry, flags, 8);
AT(wisp_cpuid_entry, reserved, 12);
AT(wisp_cpuid_entry, eax, 16);
AT(wisp_cpuid_entry, ebx, 20);
AT(wisp_cpuid_entry, ecx, 24);
AT(wisp_cpuid_entry, edx, 28);

SIZE(wisp_query, 88);
AT(wisp_query, size, 0);
AT(wisp_query, flags, 4);
AT(wisp_query, abi_version, 8);
AT(wisp_query, backend, 12);
AT(wisp_query, features, 16);
AT(wisp_query, quirks, 24);
AT(wisp_query, state_groups, 32);
AT(wisp_query, max_vcpus, 36);
AT(wisp_query, max_slots, 40);
AT(wisp_query, gpa_bits, 44);
AT(wisp_query, max_memory_size, 48);
AT(wisp_query, xcr0, 56);
AT(wisp_query, xsave_size, 64);
AT(wisp_query, tsc_khz, 68);
AT(wisp_query, cpuid_count, 72);
AT(wisp_query, reserved, 76);
AT(wisp_query, cpuid, 80);

SIZE(wisp_create_memory, 32);
AT(wisp_create_memory, size, 0);
AT(wisp_create_memory, flags, 4);
AT(wisp_create_memory, memory_size, 8);
AT(wisp_create_memory, file, 16);
AT(wisp_create_memory, reserved, 20);
AT(wisp_create_memory, file_offset, 24);

SIZE(wisp_create_vm, 40);
AT(wisp_create_vm, size, 0);
AT(wisp_create_vm, flags, 4);
AT(wisp_create_vm, snapshot, 8);
AT(wisp_create_vm, reserved, 12);
AT(wisp_create_vm, max_private_pages, 16);
AT(wisp_create_vm, max_run_time_ns, 24);
AT(wisp_create_vm, window_offset, 32);

SIZE(wisp_snapshot, 8);
AT(wisp_snapshot, size, 0);
AT(wisp_snapshot, flags, 4);

SIZE(wisp_reset, 24);
AT(wisp_reset, size, 0);
AT(wisp_reset, flags, 4);
AT(wisp_reset, snapshot, 8);
AT(wisp_reset, reserved, 12);
AT(wisp_reset, audit, 16);

SIZE(wisp_audit, 24);
AT(wisp_audit, what, 0);
AT(wisp_audit, vcpu, 4);
AT(wisp_audit, field, 8);
AT(wisp_audit, reserved, 12);
AT(wisp_audit, gpa, 16);

SIZE(wisp_dirty, 24);
AT(wisp_dirty, size, 0);
AT(wisp_dirty, flags, 4);
AT(wisp_dirty, count, 8);
AT(wisp_dirty, reserved, 12);
AT(wisp_dirty, pages, 16);

SIZE(wisp_discard, 24);
AT(wisp_discard, size, 0);
AT(wisp_discard, flags, 4);
AT(wisp_discard, offset, 8);
AT(wisp_discard, discard_size, 16);

SIZE(wisp_set_slot, 48);
AT(wisp_set_slot, size, 0);
AT(wisp_set_slot, flags, 4);
AT(wisp_set_slot, slot, 8);
AT(wisp_set_slot, memory, 12);
AT(wisp_set_slot, gpa, 16);
AT(wisp_set_slot, slot_size, 24);
AT(wisp_set_slot, offset, 32);
AT(wisp_set_slot, prot, 40);
AT(wisp_set_slot, reserved, 44);

SIZE(wisp_protect_range, 24);
AT(wisp_protect_range, gpa, 0);
AT(wisp_protect_range, range_size, 8);
AT(wisp_protect_range, prot, 16);
AT(wisp_protect_range, reserved, 20);

SIZE(wisp_protect, 24);
AT(wisp_protect, size, 0);
AT(wisp_protect, flags, 4);
AT(wisp_protect, count, 8);
AT(wisp_protect, reserved, 12);
AT(wisp_protect, ranges, 16);

SIZE(wisp_set_cpuid, 24);
AT(wisp_set_cpuid, size, 0);
AT(wisp_set_cpuid, flags, 4);
AT(wisp_set_cpuid, count, 8);
AT(wisp_set_cpuid, reserved, 12);
AT(wisp_set_cpuid, entries, 16);

SIZE(wisp_msr_range, 16);
AT(wisp_msr_range, first, 0);
AT(wisp_msr_range, last, 4);
AT(wisp_msr_range, read, 8);
AT(wisp_msr_range, write, 12);

SIZE(wisp_set_msr_policy, 24);
AT(wisp_set_msr_policy, size, 0);
AT(wisp_set_msr_policy, flags, 4);
AT(wisp_set_msr_policy, count, 8);
AT(wisp_set_msr_policy, reserved, 12);
AT(wisp_set_msr_policy, ranges, 16);

SIZE(wisp_create_vcpu, 24);
AT(wisp_create_vcpu, size, 0);
AT(wisp_create_vcpu, flags, 4);
AT(wisp_create_vcpu, vcpu, 8);
AT(wisp_create_vcpu, reserved, 12);
AT(wisp_create_vcpu, page_offset, 16);

SIZE(wisp_general, 144);
AT(wisp_general, rax, 0);
AT(wisp_general, rcx, 8);
AT(wisp_general, rdx, 16);
AT(wisp_general, rbx, 24);
AT(wisp_general, rsp, 32);
AT(wisp_general, rbp, 40);
AT(wisp_general, rsi, 48);
AT(wisp_general, rdi, 56);
AT(wisp_general, r8, 64);
AT(wisp_general, r9, 72);
AT(wisp_general, r10, 80);
AT(wisp_general, r11, 88);
AT(wisp_general, r12, 96);
AT(wisp_general, r13, 104);
AT(wisp_general, r14, 112);
AT(wisp_general, r15, 120);
AT(wisp_general, rip, 128);
AT(wisp_general, rflags, 136);

SIZE(wisp_segment, 16);
AT(wisp_segment, base, 0);
AT(wisp_segment, limit, 8);
AT(wisp_segment, selector, 12);
AT(wisp_segment, attributes, 14);

SIZE(wisp_segments, 160);
AT(wisp_segments, cs, 0);
AT(wisp_segments, ds, 16);
AT(wisp_segments, es, 32);
AT(wisp_segments, fs, 48);
AT(wisp_segments, gs, 64);
AT(wisp_segments, ss, 80);
AT(wisp_segments, tr, 96);
AT(wisp_segments, ldtr, 112);
AT(wisp_segments, gdt, 128);
AT(wisp_segments, idt, 144);

SIZE(wisp_control, 64);
AT(wisp_control, cr0, 0);
AT(wisp_control, cr2, 8);
AT(wisp_control, cr3, 16);
AT(wisp_control, cr4, 24);
AT(wisp_control, cr8, 32);
AT(wisp_control, efer, 40);
AT(wisp_control, xcr0, 48);
AT(wisp_control, reserved, 56);

SIZE(wisp_debug, 48);
AT(wisp_debug, dr0, 0);
AT(wisp_debug, dr1, 8);
AT(wisp_debug, dr2, 16);
AT(wisp_debug, dr3, 24);
AT(wisp_debug, dr6, 32);
AT(wisp_debug, dr7, 40);

SIZE(wisp_msrs, 128);
AT(wisp_msrs, star, 0);
AT(wisp_msrs, lstar, 8);
AT(wisp_msrs, cstar, 16);
AT(wisp_msrs, sfmask, 24);
AT(wisp_msrs, kernel_gs_base, 32);
AT(wisp_msrs, sysenter_cs, 40);
AT(wisp_msrs, sysenter_esp, 48);
AT(wisp_msrs, sysenter_eip, 56);
AT(wisp_msrs, pat, 64);
AT(wisp_msrs, tsc, 72);
AT(wisp_msrs, tsc_aux, 80);
AT(wisp_msrs, reserved, 88);

SIZE(wisp_event, 8);
AT(wisp_event, type, 0);
AT(wisp_event, vector, 1);
AT(wisp_event, has_error_code, 2);
AT(wisp_event, reserved, 3);
AT(wisp_event, error_code, 4);

SIZE(wisp_events, 32);
AT(wisp_events, injected, 0);
AT(wisp_events, interrupt, 8);
AT(wisp_events, nmi_pending, 16);
AT(wisp_events, nmi_blocked, 17);
AT(wisp_events, interrupt_shadow, 18);
AT(wisp_events, reserved, 19);

SIZE(wisp_state, 3840);
AT(wisp_state, general, 0);
AT(wisp_state, segments, 144);
AT(wisp_state, control, 304);
AT(wisp_state, debug, 368);
AT(wisp_state, msrs, 416);
AT(wisp_state, events, 544);
AT(wisp_state, reserved, 576);
AT(wisp_state, xsave, 768);

SIZE(wisp_vcpu_state, 32);
AT(wisp_vcpu_state, size, 0);
AT(wisp_vcpu_state, flags, 4);
AT(wisp_vcpu_state, vcpu, 8);
AT(wisp_vcpu_state, groups, 12);
AT(wisp_vcpu_state, state, 16);
AT(wisp_vcpu_state, field, 24);
AT(wisp_vcpu_state, reserved, 28);

SIZE(wisp_exit, 96);
AT(wisp_exit, reason, 0);
AT(wisp_exit, flags, 4);
AT(wisp_exit, rip, 8);
AT(wisp_exit, rflags, 16);
AT(wisp_exit, inst_len, 24);
AT(wisp_exit, reserved, 25);
AT(wisp_exit, port, 32);
AT(wisp_exit, memory, 32);
AT(wisp_exit, msr, 32);
AT(wisp_exit, task_switch, 32);
AT(wisp_exit, debug, 32);
AT(wisp_exit, hw, 32);
AT(wisp_exit, raw, 32);

SIZE(wisp_breakpoints, 40);
AT(wisp_breakpoints, address, 0);
AT(wisp_breakpoints, dr7, 32);

SIZE(wisp_vcpu_page, 4096);
AT(wisp_vcpu_page, size, 0);
AT(wisp_vcpu_page, flags, 4);
AT(wisp_vcpu_page, want, 8);
AT(wisp_vcpu_page, dirty, 12);
AT(wisp_vcpu_page, complete, 16);
AT(wisp_vcpu_page, field, 20);
AT(wisp_vcpu_page, budget_ns, 24);
AT(wisp_vcpu_page, reply, 32);
AT(wisp_vcpu_page, inject, 40);
AT(wisp_vcpu_page, reserved, 48);
AT(wisp_vcpu_page, exit, 64);
AT(wisp_vcpu_page, breakpoints, 160);
AT(wisp_vcpu_page, reserved2, 200);
AT(wisp_vcpu_page, state, 256);

AT(wisp_exit, port.size, 34);
AT(wisp_exit, port.flags, 36);
AT(wisp_exit, port.data, 40);
AT(wisp_exit, memory.access, 40);
AT(wisp_exit, memory.flags, 44);
AT(wisp_exit, memory.inst_bytes_len, 48);
AT(wisp_exit, memory.inst_bytes, 49);
AT(wisp_exit, msr.write, 36);
AT(wisp_exit, msr.data, 40);
AT(wisp_exit, task_switch.source, 34);
AT(wisp_exit, task_switch.has_error_code, 35);
AT(wisp_exit, task_switch.error_code, 36);
AT(wisp_exit, debug.dr6, 32);
AT(wisp_exit, debug.vector, 40);
AT(wisp_exit, hw.code, 32);
AT(wisp_exit, hw.info1, 40);
AT(wisp_exit, hw.info2, 48);

SIZE(wisp_stats, 312);
AT(wisp_stats, size, 0);
AT(wisp_stats, flags, 4);
AT(wisp_stats, vcpus, 8);
AT(wisp_stats, slots, 12);
AT(wisp_stats, run_time_ns, 16);
AT(wisp_stats, entries, 24);
AT(wisp_stats, host_exits, 32);
AT(wisp_stats, faults, 40);
AT(wisp_stats, injections, 48);
AT(wisp_stats, exits, 56);
