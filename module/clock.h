/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The clock: what the guest's TSC is, and when it stands still.
 */
#ifndef WISP_CLOCK_H
#define WISP_CLOCK_H

#include <linux/types.h>

#include <asm/msr.h>

#include "vm.h"

/* What vcpu->tsc_offset is to be added to when the host's TSC is @tsc. */
u64 wisp_clock_at(const struct wisp_vcpu *vcpu, u64 tsc);

/*
 * The vCPU's TSC was @tsc when its VM was made, or was reset: what all vCPUs begin
 * from at once, whenever each of them is looked at.
 */
static inline void wisp_clock_begin(struct wisp_vcpu *vcpu, u64 tsc)
{
	/* The host's begins anew with some suspends. */
	u64 origin = min(vcpu->vm->tsc_origin, rdtsc());

	vcpu->tsc_offset = tsc - wisp_clock_at(vcpu, origin);
}

/* A window begins, or ends. Interrupts off. */
static inline void wisp_clock_enter(struct wisp_vcpu *vcpu)
{
	if (unlikely(vcpu->vm->flags & WISP_VM_STOPPED_CLOCK))
		vcpu->tsc_offset -= rdtsc();
}

static inline void wisp_clock_leave(struct wisp_vcpu *vcpu)
{
	if (unlikely(vcpu->vm->flags & WISP_VM_STOPPED_CLOCK))
		vcpu->tsc_offset += rdtsc();
}

/* An exit that came, of a deterministic VM: its clock may go on by one step. */
void wisp_clock_step(struct wisp_vcpu *vcpu);

static inline void wisp_clock_count(struct wisp_vcpu *vcpu)
{
	if (unlikely(vcpu->vm->flags & WISP_VM_DETERMINISTIC))
		wisp_clock_step(vcpu);
}

/* RDTSC or RDTSCP, which exit; RIP is the caller's to advance. */
void wisp_clock_handle(struct wisp_vcpu *vcpu);

#endif
