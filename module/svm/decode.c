// SPDX-License-Identifier: GPL-2.0
/*
 * After an exit: from the VMCB's words (APM Vol. 2, "SVM Intercept Exit Codes")
 * to neutral ones. Nothing is decided here.
 */
#include <asm/trapnr.h>

#include "../backend.h"
#include "../event.h"
#include "svm.h"

/* EXITINFO1 of a nested page fault, besides the page-fault error code's. */
#define NPF_WRITE	BIT_ULL(1)
#define NPF_RESERVED	BIT_ULL(3)
#define NPF_FETCH	BIT_ULL(4)
#define NPF_GUEST_WALK	BIT_ULL(33)

/*
 * Exits in which the instruction is of one opcode, and its length without
 * prefixes: for CPUs that do not tell.
 */
static u8 length_of(u64 code)
{
	switch (code) {
	case SVM_EXIT_HLT:
	case SVM_EXIT_ICEBP:
		return 1;
	case SVM_EXIT_CPUID:
	case SVM_EXIT_MSR:
	case SVM_EXIT_INVD:
	case SVM_EXIT_WBINVD:
	case SVM_EXIT_RDTSC:
		return 2;
	case SVM_EXIT_RDTSCP:
	case SVM_EXIT_XSETBV:
	case SVM_EXIT_VMMCALL:
	case SVM_EXIT_READ_CR4:
	case SVM_EXIT_WRITE_CR4:
		return 3;
	default:
		return 0;
	}
}

static u8 instruction_length(const struct vmcb_control_area *control, u64 rip)
{
	u8 length;

	if (control->exit_code == SVM_EXIT_IOIO)
		return control->exit_info_2 - rip;
	length = length_of(control->exit_code);
	return length && control->next_rip ? control->next_rip - rip : length;
}

static void decode_port(struct wisp_vcpu *vcpu, u64 info)
{
	wisp_exit_port(vcpu, info >> 16,
		       (info & SVM_IOIO_SIZE_MASK) >> SVM_IOIO_SIZE_SHIFT,
		       (info & SVM_IOIO_TYPE_MASK ? WISP_PORT_IN : 0) |
		       (info & SVM_IOIO_STR_MASK ? WISP_PORT_STRING : 0) |
		       (info & BIT(SVM_IOIO_REP_SHIFT) ? WISP_PORT_REP : 0));
}

static void decode_hw(struct wisp_exit *exit, u32 reason,
		      const struct vmcb_control_area *control)
{
	exit->reason = reason;
	exit->hw.code = control->exit_code | SVM_EXIT_CODE_HI(control);
	exit->hw.info1 = control->exit_info_1;
	exit->hw.info2 = control->exit_info_2;
}

static void decode_fault(struct wisp_exit *exit,
			 const struct vmcb_control_area *control)
{
	u64 info = control->exit_info_1;

	/* A reserved bit in our own tables would be our own fault. */
	if (info & NPF_RESERVED) {
		decode_hw(exit, WISP_EXIT_UNEXPECTED, control);
		return;
	}
	exit->reason = WISP_EXIT_FAULT;
	exit->memory.gpa = control->exit_info_2;
	exit->memory.access = info & NPF_FETCH ? WISP_PROT_EXEC :
			      info & NPF_WRITE ? WISP_PROT_WRITE :
						 WISP_PROT_READ;
	if (info & NPF_GUEST_WALK)
		exit->memory.flags = WISP_MEMORY_WALK;
	if (wisp_backend->features & WISP_FEATURE_INST_BYTES) {
		exit->memory.inst_bytes_len = min_t(u8, control->insn_len & 0xf,
						    sizeof(exit->memory.inst_bytes));
		memcpy(exit->memory.inst_bytes, control->insn_bytes,
		       exit->memory.inst_bytes_len);
	}
}

/* MOV from or to CR4, where decode assists tell the register. */
static void decode_cr4(struct wisp_vcpu *vcpu, u8 reg, bool write)
{
	const u64 *registers = &vcpu->general.rax;

	vcpu->exit.reason = write ? WISP_EXIT_CR_WRITE : WISP_EXIT_CR4_READ;
	vcpu->exit.raw[0] = write ? 4 : reg;
	vcpu->exit.raw[1] = registers[reg];
}

static void decode_task_switch(struct wisp_exit *exit, u64 info1, u64 info2)
{
	exit->reason = WISP_EXIT_TASK_SWITCH;
	exit->task_switch.selector = info1;
	if (info2 & BIT_ULL(SVM_EXITINFOSHIFT_TS_REASON_IRET))
		exit->task_switch.source = 1;
	else if (info2 & BIT_ULL(SVM_EXITINFOSHIFT_TS_REASON_JMP))
		exit->task_switch.source = 2;
	if (info2 & BIT_ULL(SVM_EXITINFOSHIFT_TS_HAS_ERROR_CODE)) {
		exit->task_switch.has_error_code = 1;
		exit->task_switch.error_code = info2;
	}
}

/* Codes that need no more than their name. */
static const u32 plain[] = {
	[SVM_EXIT_INTR ... SVM_EXIT_INIT] = WISP_EXIT_HOST,
	[SVM_EXIT_READ_DR0 ... SVM_EXIT_READ_DR7] = WISP_EXIT_DEBUG_ACCESS,
	[SVM_EXIT_WRITE_DR0 ... SVM_EXIT_WRITE_DR7] = WISP_EXIT_DEBUG_ACCESS,
	[SVM_EXIT_VINTR] = WISP_EXIT_INTR_WINDOW,
	[SVM_EXIT_RDTSC] = WISP_EXIT_RDTSC,
	[SVM_EXIT_RDPMC] = WISP_EXIT_DENIED,
	[SVM_EXIT_CPUID] = WISP_EXIT_CPUID,
	[SVM_EXIT_RSM] = WISP_EXIT_UNDEFINED,
	[SVM_EXIT_IRET] = WISP_EXIT_IRET,
	[SVM_EXIT_INVD] = WISP_EXIT_SKIP,
	[SVM_EXIT_HLT] = WISP_EXIT_HLT,
	[SVM_EXIT_INVLPGA] = WISP_EXIT_UNDEFINED,
	[SVM_EXIT_FERR_FREEZE] = WISP_EXIT_AGAIN,
	[SVM_EXIT_VMRUN] = WISP_EXIT_UNDEFINED,
	[SVM_EXIT_VMMCALL] = WISP_EXIT_HYPERCALL,
	[SVM_EXIT_VMLOAD ... SVM_EXIT_SKINIT] = WISP_EXIT_UNDEFINED,
	[SVM_EXIT_RDTSCP] = WISP_EXIT_RDTSCP,
	[SVM_EXIT_WBINVD] = WISP_EXIT_SKIP,
	[SVM_EXIT_MONITOR ... SVM_EXIT_MWAIT] = WISP_EXIT_UNDEFINED,
	[SVM_EXIT_XSETBV] = WISP_EXIT_XSETBV,
	[SVM_EXIT_RDPRU] = WISP_EXIT_UNDEFINED,
};

static void decode_code(struct wisp_vcpu *vcpu,
			const struct vmcb_control_area *control)
{
	struct wisp_exit *exit = &vcpu->exit;
	u32 code = control->exit_code;
	u8 vector = code - SVM_EXIT_EXCP_BASE;

	switch (code) {
	case SVM_EXIT_NPF:
		decode_fault(exit, control);
		return;
	case SVM_EXIT_IOIO:
		decode_port(vcpu, control->exit_info_1);
		return;
	case SVM_EXIT_MSR:
		wisp_exit_msr(vcpu, control->exit_info_1);
		return;
	case SVM_EXIT_EXCP_BASE + X86_TRAP_DB:
	case SVM_EXIT_EXCP_BASE + X86_TRAP_BP:
	case SVM_EXIT_EXCP_BASE + X86_TRAP_AC:
		wisp_exit_exception(vcpu, vector, vector == X86_TRAP_AC,
				    control->exit_info_1);
		return;
	case SVM_EXIT_ICEBP:
		/* With a length, and DR6 as it is. */
		wisp_exit_exception(vcpu, X86_TRAP_DB, false, 0);
		return;
	case SVM_EXIT_EXCP_BASE + X86_TRAP_MC:
		wisp_host_machine_check();
		exit->reason = WISP_EXIT_HOST;
		return;
	case SVM_EXIT_READ_CR4:
	case SVM_EXIT_WRITE_CR4:
		decode_cr4(vcpu, control->exit_info_1 & 0xf,
			   code == SVM_EXIT_WRITE_CR4);
		return;
	/* The same without CR4.DE, and with it no exit. */
	case SVM_EXIT_WRITE_DR4:
	case SVM_EXIT_WRITE_DR6:
		exit->reason = WISP_EXIT_DEBUG_ACCESS;
		exit->raw[0] = true;
		return;
	case SVM_EXIT_TASK_SWITCH:
		decode_task_switch(exit, control->exit_info_1,
				   control->exit_info_2);
		return;
	case SVM_EXIT_SHUTDOWN:
		decode_hw(exit, WISP_EXIT_SHUTDOWN, control);
		return;
	}
	if (code < ARRAY_SIZE(plain) && plain[code])
		exit->reason = plain[code];
	else
		decode_hw(exit, WISP_EXIT_UNEXPECTED, control);
}

void svm_decode(struct svm_vcpu *svm)
{
	const struct vmcb_control_area *control = &svm->vmcb->control;
	struct wisp_vcpu *vcpu = &svm->vcpu;

	wisp_exit_clear(&vcpu->exit);
	if (unlikely(svm_refused(control))) {
		decode_hw(&vcpu->exit, WISP_EXIT_ENTRY_FAILED, control);
		return;
	}
	wisp_event_delivered(vcpu, control->exit_int_info,
			     control->exit_int_info_err);
	vcpu->exit.inst_len = instruction_length(control, vcpu->general.rip);
	decode_code(vcpu, control);
}
