// SPDX-License-Identifier: GPL-2.0
/*
 * After an exit: from the VMCS's words (SDM Vol. 3, "VMX Basic Exit Reasons", and "Basic
 * VM-Exit Information" for their qualifications) to neutral ones. Nothing is decided here.
 */
#include <linux/string.h>

#include <asm/cpufeature.h>
#include <asm/processor.h>

#include <asm/debugreg.h>
#include <asm/trapnr.h>

#include "../backend.h"
#include "../event.h"
#include "../host.h"
#include "vmx.h"

/* Not in every kernel's <asm/vmx.h>. */
#define REASON_GETSEC	11
#define REASON_RSM	17
#define REASON_ENCLS	60
#define REASON_SEAMCALL	76
#define REASON_TDCALL	77

#define DR6_BD		BIT(13)
/* 6, and without CR4.DE 4. */
#define DR_NUMBER_DR6	4
#define DR_NUMBER_MASK	(DEBUG_REG_ACCESS_NUM & ~2)

/* Exceptions and EPT violations: see iret_faulted(). */
#define UNBLOCKED_NMI	BIT(12)

static void decode_port(struct wisp_vcpu *vcpu, u64 info)
{
	wisp_exit_port(vcpu, info >> 16, (info & 7) + 1,
		       (info & BIT(3) ? WISP_PORT_IN : 0) |
		       (info & BIT(4) ? WISP_PORT_STRING : 0) |
		       (info & BIT(5) ? WISP_PORT_REP : 0));
}

static void decode_hw(struct wisp_vcpu *vcpu, u32 reason, u64 code, u64 info2)
{
	vcpu->exit.reason = reason;
	vcpu->exit.hw.code = code;
	vcpu->exit.hw.info1 = vmx_read(EXIT_QUALIFICATION);
	vcpu->exit.hw.info2 = info2;
}

/*
 * IRET had opened NMIs before it faulted. Where an event was in delivery, the bit means
 * nothing.
 */
static bool iret_faulted(u32 info)
{
	return info & UNBLOCKED_NMI &&
	       !(vmx_read(IDT_VECTORING_INFO_FIELD) & WISP_INFO_VALID);
}

/*
 * With A/D bits a walk of the guest's tables counts as a write. Where PDPTEs are loaded
 * there is no linear address.
 */
static void decode_fault(struct wisp_vcpu *vcpu, u64 info)
{
	struct wisp_exit *exit = &vcpu->exit;

	exit->reason = WISP_EXIT_FAULT;
	exit->memory.gpa = vmx_read(GUEST_PHYSICAL_ADDRESS);
	exit->memory.access = info & EPT_VIOLATION_ACC_INSTR ? WISP_PROT_EXEC :
			      info & EPT_VIOLATION_ACC_WRITE ? WISP_PROT_WRITE :
							       WISP_PROT_READ;
	if (!(info & EPT_VIOLATION_GVA_TRANSLATED))
		exit->memory.flags = WISP_MEMORY_WALK;
	vcpu->events.nmi_blocked |= iret_faulted(info);
}

/* Where an event's gate led there, the error code is the event's. */
static void decode_task_switch(struct wisp_vcpu *vcpu, u64 info)
{
	const struct wisp_event *event = &vcpu->events.injected;
	struct wisp_exit *exit = &vcpu->exit;
	u8 source = info >> 30 & 3;

	exit->reason = WISP_EXIT_TASK_SWITCH;
	exit->task_switch.selector = info;
	if (source < 3 || !event->type)
		exit->inst_len = vmx_read(VM_EXIT_INSTRUCTION_LEN);
	if (source < 3) {
		exit->task_switch.source = source;
		return;
	}
	exit->task_switch.has_error_code = event->has_error_code;
	exit->task_switch.error_code = event->error_code;
}

/* MOV to CR0 or CR4: nothing else exits. */
static void decode_cr_write(struct wisp_vcpu *vcpu, u64 info)
{
	const u64 *registers = &vcpu->general.rax;

	vcpu->exit.reason = WISP_EXIT_CR_WRITE;
	vcpu->exit.raw[0] = info & CONTROL_REG_ACCESS_NUM;
	vcpu->exit.raw[1] = registers[info >> 8 & 0xf];
}

/* What #DB would have done to DR6. INT1 does nothing to it, and has a length. */
static void decode_debug(struct wisp_vcpu *vcpu, bool int1)
{
	u64 info = vmx_read(EXIT_QUALIFICATION);

	if (int1) {
		vcpu->exit.inst_len = vmx_read(VM_EXIT_INSTRUCTION_LEN);
		return;
	}
	vcpu->debug.dr6 |= info & (DR_TRAP_BITS | DR_STEP | DR6_BD);
}

static void decode_debug_access(struct wisp_exit *exit, u64 info)
{
	exit->reason = WISP_EXIT_DEBUG_ACCESS;
	exit->raw[0] = (info & (DEBUG_REG_ACCESS_TYPE | DR_NUMBER_MASK)) ==
		       (TYPE_MOV_TO_DR | DR_NUMBER_DR6);
}

static void decode_exception(struct wisp_vcpu *vcpu, u32 info)
{
	u32 type = info & INTR_INFO_INTR_TYPE_MASK;
	u8 vector = info;

	vcpu->events.nmi_blocked |= iret_faulted(info);
	vcpu->exit.reason = WISP_EXIT_HOST;
	if (type == INTR_TYPE_NMI_INTR) {
		vmx_host_nmi();
	} else if (vector == X86_TRAP_MC) {
		wisp_host_machine_check();
	} else {
		if (vector == X86_TRAP_DB)
			decode_debug(vcpu, type == INTR_TYPE_PRIV_SW_EXCEPTION);
		wisp_exit_exception(vcpu, vector, vector == X86_TRAP_AC,
				    vmx_read(VM_EXIT_INTR_ERROR_CODE));
	}
}

/* Reasons that need no more than their name, by number. */
static const u32 plain[] = {
	[EXIT_REASON_EXTERNAL_INTERRUPT] = WISP_EXIT_HOST,
	[EXIT_REASON_INIT_SIGNAL] = WISP_EXIT_HOST,
	[EXIT_REASON_SIPI_SIGNAL] = WISP_EXIT_HOST,
	[EXIT_REASON_PREEMPTION_TIMER] = WISP_EXIT_HOST,
	[EXIT_REASON_INTERRUPT_WINDOW] = WISP_EXIT_INTR_WINDOW,
	[EXIT_REASON_NMI_WINDOW] = WISP_EXIT_AGAIN,
	[EXIT_REASON_CPUID] = WISP_EXIT_CPUID,
	[EXIT_REASON_HLT] = WISP_EXIT_HLT,
	[EXIT_REASON_VMCALL] = WISP_EXIT_HYPERCALL,
	[EXIT_REASON_XSETBV] = WISP_EXIT_XSETBV,
	[EXIT_REASON_INVD] = WISP_EXIT_SKIP,
	[EXIT_REASON_WBINVD] = WISP_EXIT_SKIP,
	[EXIT_REASON_RDPMC] = WISP_EXIT_DENIED,
	[EXIT_REASON_RDTSC] = WISP_EXIT_RDTSC,
	[REASON_GETSEC] = WISP_EXIT_UNDEFINED,
	[REASON_RSM] = WISP_EXIT_UNDEFINED,
	[EXIT_REASON_VMCLEAR ... EXIT_REASON_VMON] = WISP_EXIT_UNDEFINED,
	[EXIT_REASON_MWAIT_INSTRUCTION] = WISP_EXIT_UNDEFINED,
	[EXIT_REASON_MONITOR_INSTRUCTION] = WISP_EXIT_UNDEFINED,
	[EXIT_REASON_INVEPT] = WISP_EXIT_UNDEFINED,
	[EXIT_REASON_RDTSCP] = WISP_EXIT_RDTSCP,
	[EXIT_REASON_INVVPID] = WISP_EXIT_UNDEFINED,
	[EXIT_REASON_RDRAND] = WISP_EXIT_UNDEFINED,
	[REASON_ENCLS] = WISP_EXIT_UNDEFINED,
	[EXIT_REASON_RDSEED] = WISP_EXIT_UNDEFINED,
	[REASON_SEAMCALL ... REASON_TDCALL] = WISP_EXIT_UNDEFINED,
};

static void decode_reason(struct wisp_vcpu *vcpu, u32 reason)
{
	switch (reason) {
	case EXIT_REASON_EXCEPTION_NMI:
		decode_exception(vcpu, vmx_read(VM_EXIT_INTR_INFO));
		return;
	case EXIT_REASON_EPT_VIOLATION:
		decode_fault(vcpu, vmx_read(EXIT_QUALIFICATION));
		return;
	case EXIT_REASON_IO_INSTRUCTION:
		decode_port(vcpu, vmx_read(EXIT_QUALIFICATION));
		return;
	case EXIT_REASON_MSR_READ:
	case EXIT_REASON_MSR_WRITE:
		wisp_exit_msr(vcpu, reason == EXIT_REASON_MSR_WRITE);
		return;
	case EXIT_REASON_CR_ACCESS:
		decode_cr_write(vcpu, vmx_read(EXIT_QUALIFICATION));
		return;
	case EXIT_REASON_DR_ACCESS:
		decode_debug_access(&vcpu->exit, vmx_read(EXIT_QUALIFICATION));
		return;
	case EXIT_REASON_TASK_SWITCH:
		decode_task_switch(vcpu, vmx_read(EXIT_QUALIFICATION));
		return;
	case EXIT_REASON_TRIPLE_FAULT:
		decode_hw(vcpu, WISP_EXIT_SHUTDOWN, reason, 0);
		return;
	}
	if (reason < ARRAY_SIZE(plain) && plain[reason])
		vcpu->exit.reason = plain[reason];
	else
		decode_hw(vcpu, WISP_EXIT_UNEXPECTED, reason, 0);
}

/* Whether it may have come while an event was delivered. Instructions have not. */
static bool is_in_delivery(u32 reason)
{
	return reason <= EXIT_REASON_TASK_SWITCH ||
	       reason == EXIT_REASON_EPT_VIOLATION ||
	       reason == EXIT_REASON_EPT_MISCONFIG;
}

void vmx_decode(struct wisp_vcpu *vcpu, u32 reason)
{
	bool in_delivery = is_in_delivery(reason);
	u32 info = in_delivery ? vmx_read(IDT_VECTORING_INFO_FIELD) : 0;

	wisp_exit_clear(&vcpu->exit);
	wisp_event_delivered(vcpu, info, info & WISP_INFO_VALID ?
			     vmx_read(IDT_VECTORING_ERROR_CODE) : 0);
	/* The others are not of an instruction, or a task switch, which may be. */
	if (!in_delivery)
		vcpu->exit.inst_len = vmx_read(VM_EXIT_INSTRUCTION_LEN);
	decode_reason(vcpu, reason);
}

/* A machine check on the way in is not the guest's. */
void vmx_decode_failure(struct wisp_vcpu *vcpu, u32 reason, u32 error)
{
	memset(&vcpu->exit, 0, sizeof(vcpu->exit));
	decode_hw(vcpu, WISP_EXIT_ENTRY_FAILED, reason, error);
	if (error)
		vmx_caps_report(error);
	if ((u16)reason == EXIT_REASON_MCE_DURING_VMENTRY) {
		wisp_host_machine_check();
		vcpu->exit.reason = WISP_EXIT_HOST;
	}
}
