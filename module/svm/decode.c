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
		return 2;
	case SVM_EXIT_XSETBV:
	case SVM_EXIT_VMMCALL:
		return 3;
	default:
		return 0;
	}
}

static u8 instruction_length(const struct vmcb_control_area *control, u64 rip)
{
	if (control->exit_code == SVM_EXIT_IOIO)
		return control->exit_info_2 - rip;
	if (!length_of(control->exit_code))
		return 0;
	if (control->next_rip)
		return control->next_rip - rip;
	return length_of(control->exit_code);
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

static void decode_code(struct svm_vcpu *svm)
{
	const struct vmcb_control_area *control = &svm->vmcb->control;
	struct wisp_vcpu *vcpu = &svm->vcpu;
	struct wisp_exit *exit = &vcpu->exit;

	switch (control->exit_code) {
	case SVM_EXIT_INTR:
	case SVM_EXIT_NMI:
	case SVM_EXIT_SMI:
	case SVM_EXIT_INIT:
		exit->reason = WISP_EXIT_HOST;
		break;
	case SVM_EXIT_NPF:
		decode_fault(exit, control);
		break;
	case SVM_EXIT_IOIO:
		decode_port(vcpu, control->exit_info_1);
		break;
	case SVM_EXIT_CPUID:
		exit->reason = WISP_EXIT_CPUID;
		break;
	case SVM_EXIT_MSR:
		wisp_exit_msr(vcpu, control->exit_info_1);
		break;
	case SVM_EXIT_HLT:
		exit->reason = WISP_EXIT_HLT;
		break;
	case SVM_EXIT_VMMCALL:
		exit->reason = WISP_EXIT_HYPERCALL;
		break;
	case SVM_EXIT_VINTR:
		exit->reason = WISP_EXIT_INTR_WINDOW;
		break;
	case SVM_EXIT_IRET:
		exit->reason = WISP_EXIT_IRET;
		break;
	case SVM_EXIT_XSETBV:
		exit->reason = WISP_EXIT_XSETBV;
		break;
	case SVM_EXIT_INVD:
	case SVM_EXIT_WBINVD:
		exit->reason = WISP_EXIT_SKIP;
		break;
	case SVM_EXIT_READ_DR0 ... SVM_EXIT_READ_DR7:
	case SVM_EXIT_WRITE_DR0 ... SVM_EXIT_WRITE_DR7:
		exit->reason = WISP_EXIT_DEBUG_ACCESS;
		break;
	case SVM_EXIT_EXCP_BASE + X86_TRAP_DB:
	case SVM_EXIT_EXCP_BASE + X86_TRAP_BP:
	case SVM_EXIT_EXCP_BASE + X86_TRAP_AC:
		wisp_exit_exception(vcpu, control->exit_code - SVM_EXIT_EXCP_BASE,
				    control->exit_code ==
					    SVM_EXIT_EXCP_BASE + X86_TRAP_AC,
				    control->exit_info_1);
		break;
	case SVM_EXIT_ICEBP:
		/* A trap: its #DB points behind it. DR6 stays as it is. */
		vcpu->general.rip += exit->inst_len;
		wisp_exit_exception(vcpu, X86_TRAP_DB, false, 0);
		break;
	case SVM_EXIT_EXCP_BASE + X86_TRAP_MC:
		wisp_host_machine_check();
		exit->reason = WISP_EXIT_HOST;
		break;
	case SVM_EXIT_RDPMC:
		exit->reason = WISP_EXIT_DENIED;
		break;
	case SVM_EXIT_RSM:
	case SVM_EXIT_INVLPGA:
	case SVM_EXIT_VMRUN:
	case SVM_EXIT_VMLOAD:
	case SVM_EXIT_VMSAVE:
	case SVM_EXIT_STGI:
	case SVM_EXIT_CLGI:
	case SVM_EXIT_SKINIT:
	case SVM_EXIT_MONITOR:
	case SVM_EXIT_MWAIT:
	case SVM_EXIT_RDPRU:
		exit->reason = WISP_EXIT_UNDEFINED;
		break;
	case SVM_EXIT_FERR_FREEZE:
		exit->reason = WISP_EXIT_AGAIN;
		break;
	case SVM_EXIT_TASK_SWITCH:
		decode_task_switch(exit, control->exit_info_1,
				   control->exit_info_2);
		break;
	case SVM_EXIT_SHUTDOWN:
		decode_hw(exit, WISP_EXIT_SHUTDOWN, control);
		break;
	default:
		decode_hw(exit, WISP_EXIT_UNEXPECTED, control);
		break;
	}
}

void svm_decode(struct svm_vcpu *svm)
{
	const struct vmcb_control_area *control = &svm->vmcb->control;
	struct wisp_vcpu *vcpu = &svm->vcpu;

	memset(&vcpu->exit, 0, sizeof(vcpu->exit));
	if (unlikely(control->exit_code == SVM_EXIT_ERR)) {
		decode_hw(&vcpu->exit, WISP_EXIT_ENTRY_FAILED, control);
		return;
	}
	wisp_event_delivered(vcpu, control->exit_int_info,
			     control->exit_int_info_err);
	vcpu->exit.inst_len = instruction_length(control, vcpu->general.rip);
	decode_code(svm);
}
