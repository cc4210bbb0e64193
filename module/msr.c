// SPDX-License-Identifier: GPL-2.0
/*
 * MSRs: those the driver keeps, and the VM's policy about the others.
 *
 * A backend lets the guest at most of those that are kept without an exit; what
 * comes here is the rest, or all of them where the hardware cannot.
 */
#include "msr.h"

#include <asm/msr-index.h>
#include <asm/processor-flags.h>

#include "backend.h"
#include "compat.h"
#include "policy.h"
#include "state.h"

/* Returns 0, -EINVAL (order) or -EOPNOTSUPP (action). */
int wisp_msr_check(struct wisp_policy *policy)
{
	const struct wisp_msr_range *range;
	u32 i;

	for (i = 0; i < policy->count; i++) {
		range = &policy->msrs[i];
		if (range->read > WISP_MSR_IGNORE || range->write > WISP_MSR_IGNORE)
			return -EOPNOTSUPP;
		if (range->last < range->first ||
		    (i && range->first <= range[-1].last))
			return -EINVAL;
	}
	return 0;
}

static enum wisp_msr_action policy_action(const struct wisp_policy *policy,
					  u32 index, bool write)
{
	const struct wisp_msr_range *range;
	u32 low = 0, high = policy ? policy->count : 0, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		range = &policy->msrs[middle];
		if (index < range->first)
			high = middle;
		else if (index > range->last)
			low = middle + 1;
		else
			return write ? range->write : range->read;
	}
	return WISP_MSR_GP;
}

/*
 * Where the kept MSR is in @regs, and the group to get and set; or NULL. Guests reach
 * FS_BASE, GS_BASE and KERNEL_GS_BASE without an exit.
 */
static u64 *kept(struct wisp_registers *regs, u32 index, u32 *group)
{
	*group = WISP_STATE_MSRS;
	switch (index) {
	case MSR_STAR:
		return &regs->msrs.star;
	case MSR_LSTAR:
		return &regs->msrs.lstar;
	case MSR_CSTAR:
		return &regs->msrs.cstar;
	case MSR_SYSCALL_MASK:
		return &regs->msrs.sfmask;
	case MSR_IA32_SYSENTER_CS:
		return &regs->msrs.sysenter_cs;
	case MSR_IA32_SYSENTER_ESP:
		return &regs->msrs.sysenter_esp;
	case MSR_IA32_SYSENTER_EIP:
		return &regs->msrs.sysenter_eip;
	case MSR_IA32_CR_PAT:
		return &regs->msrs.pat;
	case MSR_IA32_TSC:
		return &regs->msrs.tsc;
	case MSR_TSC_AUX:
		return &regs->msrs.tsc_aux;
	}
	*group = WISP_STATE_CONTROL;
	return index == MSR_EFER ? &regs->control.efer : NULL;
}

/* LMA is the CPU's, and LME cannot change under paging. */
static bool efer_write(const struct wisp_control *control, u64 old, u64 *new)
{
	if (*new & ~wisp_efer_allowed)
		return false;
	if ((old ^ *new) & EFER_LME && control->cr0 & X86_CR0_PG)
		return false;
	*new = (*new & ~EFER_LMA) | (old & EFER_LMA);
	return true;
}

static enum wisp_msr_action write_kept(struct wisp_vcpu *vcpu, u64 *value,
				       u32 index, u32 group)
{
	struct wisp_registers *regs = &vcpu->scratch;
	u64 old = *value, tsc_offset = vcpu->tsc_offset;

	*value = vcpu->exit.msr.data;
	if (index == MSR_EFER && !efer_write(&regs->control, old, value))
		return WISP_MSR_GP;
	/* A selector and a flags mask: the upper halves are dropped. */
	if (index == MSR_IA32_SYSENTER_CS || index == MSR_SYSCALL_MASK)
		*value = (u32)*value;
	if (wisp_state_check(regs, group))
		return WISP_MSR_GP;
	wisp_vcpu_set_registers(vcpu, group, regs);
	/* The group's TSC is a little old by now: only a write to it counts. */
	if (index != MSR_IA32_TSC)
		vcpu->tsc_offset = tsc_offset;
	return WISP_MSR_IGNORE;
}

/**
 * wisp_msr_handle() - RDMSR or WRMSR
 * @vcpu: in its window; exit.msr says which
 *
 * Returns what to do: WISP_MSR_GP, WISP_MSR_EXIT, or WISP_MSR_IGNORE where it is
 * done and RIP is the caller's to advance.
 */
enum wisp_msr_action wisp_msr_handle(struct wisp_vcpu *vcpu)
{
	struct wisp_registers *regs = &vcpu->scratch;
	u32 index = vcpu->exit.msr.index, group;
	bool write = vcpu->exit.msr.write;
	enum wisp_msr_action action;
	u64 *value, read = 0;

	value = kept(regs, index, &group);
	if (value) {
		wisp_vcpu_get_registers(vcpu, group | WISP_STATE_CHECKED, regs);
		if (write)
			return write_kept(vcpu, value, index, group);
		read = *value;
	} else {
		action = policy_action(vcpu->vm->msrs, index, write);
		if (action != WISP_MSR_IGNORE || write)
			return action;
	}
	vcpu->general.rax = (u32)read;
	vcpu->general.rdx = read >> 32;
	return WISP_MSR_IGNORE;
}
