// SPDX-License-Identifier: MIT
/* Names for people. */
#include <wisp.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

struct field_name {
	uint32_t offset;
	uint32_t size;
	const char *name;
};

#define FIELD(member) {                                               \
	.offset = WISP_FIELD(member),                                 \
	.size = sizeof(((struct wisp_vcpu_page *)NULL)->member),      \
	.name = #member,                                              \
}

#define GENERAL(member)	FIELD(state.general.member)
#define CONTROL(member)	FIELD(state.control.member)
#define DEBUG(member)	FIELD(state.debug.member)
#define MSR(member)	FIELD(state.msrs.member)
#define EVENT(event, member)	FIELD(event.member)
#define SEGMENT(seg, member)	FIELD(state.segments.seg.member)

static const struct field_name fields[] = {
	FIELD(flags), FIELD(want), FIELD(dirty), FIELD(complete), FIELD(field),
	FIELD(budget_ns), FIELD(reply), FIELD(reserved), FIELD(exit),
	FIELD(breakpoints.address), FIELD(breakpoints.dr7), FIELD(reserved2),
	EVENT(inject, type), EVENT(inject, vector),
	EVENT(inject, has_error_code), EVENT(inject, reserved),
	EVENT(inject, error_code),
	GENERAL(rax), GENERAL(rcx), GENERAL(rdx), GENERAL(rbx),
	GENERAL(rsp), GENERAL(rbp), GENERAL(rsi), GENERAL(rdi),
	GENERAL(r8), GENERAL(r9), GENERAL(r10), GENERAL(r11),
	GENERAL(r12), GENERAL(r13), GENERAL(r14), GENERAL(r15),
	GENERAL(rip), GENERAL(rflags),
	SEGMENT(cs, base), SEGMENT(cs, limit),
	SEGMENT(cs, selector), SEGMENT(cs, attributes),
	SEGMENT(ds, base), SEGMENT(ds, limit),
	SEGMENT(ds, selector), SEGMENT(ds, attributes),
	SEGMENT(es, base), SEGMENT(es, limit),
	SEGMENT(es, selector), SEGMENT(es, attributes),
	SEGMENT(fs, base), SEGMENT(fs, limit),
	SEGMENT(fs, selector), SEGMENT(fs, attributes),
	SEGMENT(gs, base), SEGMENT(gs, limit),
	SEGMENT(gs, selector), SEGMENT(gs, attributes),
	SEGMENT(ss, base), SEGMENT(ss, limit),
	SEGMENT(ss, selector), SEGMENT(ss, attributes),
	SEGMENT(tr, base), SEGMENT(tr, limit),
	SEGMENT(tr, selector), SEGMENT(tr, attributes),
	SEGMENT(ldtr, base), SEGMENT(ldtr, limit),
	SEGMENT(ldtr, selector), SEGMENT(ldtr, attributes),
	SEGMENT(gdt, base), SEGMENT(gdt, limit),
	SEGMENT(gdt, selector), SEGMENT(gdt, attributes),
	SEGMENT(idt, base), SEGMENT(idt, limit),
	SEGMENT(idt, selector), SEGMENT(idt, attributes),
	CONTROL(cr0), CONTROL(cr2), CONTROL(cr3), CONTROL(cr4), CONTROL(cr8),
	CONTROL(efer), CONTROL(xcr0), CONTROL(reserved),
	DEBUG(dr0), DEBUG(dr1), DEBUG(dr2), DEBUG(dr3), DEBUG(dr6), DEBUG(dr7),
	MSR(star), MSR(lstar), MSR(cstar), MSR(sfmask), MSR(kernel_gs_base),
	MSR(sysenter_cs), MSR(sysenter_esp), MSR(sysenter_eip), MSR(pat),
	MSR(tsc), MSR(tsc_aux), MSR(reserved),
	EVENT(state.events.injected, type), EVENT(state.events.injected, vector),
	EVENT(state.events.injected, has_error_code), EVENT(state.events.injected, reserved),
	EVENT(state.events.injected, error_code),
	EVENT(state.events.interrupt, type), EVENT(state.events.interrupt, vector),
	EVENT(state.events.interrupt, has_error_code), EVENT(state.events.interrupt, reserved),
	EVENT(state.events.interrupt, error_code),
	FIELD(state.events.nmi_pending), FIELD(state.events.nmi_blocked),
	FIELD(state.events.interrupt_shadow), FIELD(state.events.reserved),
	FIELD(state.reserved), FIELD(state.xsave),
};

static const char * const exits[] = {
	[WISP_EXIT_NONE] = "none",
	[WISP_EXIT_PORT] = "port",
	[WISP_EXIT_MEMORY] = "memory",
	[WISP_EXIT_MSR] = "msr",
	[WISP_EXIT_HLT] = "hlt",
	[WISP_EXIT_HYPERCALL] = "hypercall",
	[WISP_EXIT_SHUTDOWN] = "shutdown",
	[WISP_EXIT_INTR_WINDOW] = "intr-window",
	[WISP_EXIT_TASK_SWITCH] = "task-switch",
	[WISP_EXIT_KICKED] = "kicked",
	[WISP_EXIT_BUDGET] = "budget",
	[WISP_EXIT_NOMEM] = "nomem",
	[WISP_EXIT_ENTRY_FAILED] = "entry-failed",
	[WISP_EXIT_UNEXPECTED] = "unexpected",
	[WISP_EXIT_DEBUG] = "debug",
	[WISP_EXIT_LIMIT] = "limit",
};

const char *wisp_exit_name(uint32_t reason)
{
	return reason < ARRAY_SIZE(exits) ? exits[reason] : "unknown";
}

const char *wisp_field_name(uint32_t field)
{
	if (!field)
		return "none";
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (field - fields[i].offset < fields[i].size)
			return fields[i].name;
	return "unknown";
}

const char *wisp_backend_name(uint32_t backend)
{
	switch (backend) {
	case WISP_BACKEND_SVM:
		return "svm";
	case WISP_BACKEND_VMX:
		return "vmx";
	default:
		return "unknown";
	}
}
