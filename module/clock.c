// SPDX-License-Identifier: GPL-2.0
/*
 * The clock: the guest's TSC is tsc_offset and something.
 *
 * That is the host's TSC in most VMs. A stopped clock goes with the host's in
 * windows only: between two of them the offset is the time itself. So is that of
 * a deterministic VM, always: there only what the guest does counts, of that
 * what is the same whenever the host interrupts it and whatever is mapped.
 */
#include "clock.h"

#include <asm/msr.h>

#include "backend.h"

u64 wisp_clock_at(const struct wisp_vcpu *vcpu, u64 tsc)
{
	u32 flags = vcpu->vm->flags;

	if (flags & WISP_VM_DETERMINISTIC ||
	    (flags & WISP_VM_STOPPED_CLOCK && READ_ONCE(vcpu->running_cpu) < 0))
		return 0;
	return tsc;
}

/*
 * Instructions that always exit, and accesses that no mapping would help. Not:
 * debug registers (the first access in a window), exceptions (the driver steps),
 * windows for events (one may be open at once).
 */
static bool is_guests(u32 reason)
{
	switch (reason) {
	case WISP_EXIT_PORT:
	case WISP_EXIT_MEMORY:
	case WISP_EXIT_MSR:
	case WISP_EXIT_HLT:
	case WISP_EXIT_HYPERCALL:
	case WISP_EXIT_TASK_SWITCH:
	case WISP_EXIT_CPUID:
	case WISP_EXIT_XSETBV:
	case WISP_EXIT_SKIP:
	case WISP_EXIT_CR_WRITE:
	case WISP_EXIT_CR4_READ:
	case WISP_EXIT_UNDEFINED:
	case WISP_EXIT_DENIED:
		return true;
	default:
		return false;
	}
}

void wisp_clock_step(struct wisp_vcpu *vcpu)
{
	if (is_guests(vcpu->exit.reason))
		vcpu->tsc_offset += WISP_TICKS_PER_EXIT;
}

void wisp_clock_handle(struct wisp_vcpu *vcpu)
{
	u64 tsc = vcpu->tsc_offset + wisp_clock_at(vcpu, rdtsc());

	vcpu->general.rax = (u32)tsc;
	vcpu->general.rdx = tsc >> 32;
	if (vcpu->exit.reason == WISP_EXIT_RDTSCP)
		vcpu->general.rcx = (u32)vcpu->tsc_aux;
	vcpu->tsc_offset += WISP_TICKS_PER_READ;
}
