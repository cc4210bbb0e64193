/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Debugging from outside: steps and breakpoints that the guest does not see.
 */
#ifndef WISP_DEBUG_H
#define WISP_DEBUG_H

#include <linux/types.h>

/* The last one of 6.1 needs the others. */
#include <asm/cpufeature.h>
#include <asm/processor.h>
#include <asm/debugreg.h>

#include "vcpu.h"

/* One instruction, then wisp_debug_trap(): see enum wisp_step. */
void wisp_debug_step(struct wisp_vcpu *vcpu, enum wisp_step step);

/* The same for an access to debug registers, with the guest's own. */
void wisp_debug_step_access(struct wisp_vcpu *vcpu, bool writes_dr6);

/* A run begins with these WISP_RUN_* flags and breakpoints. */
static inline void wisp_debug_set(struct wisp_vcpu *vcpu, u32 flags)
{
	vcpu->trap_int3 = flags & WISP_RUN_TRAP_INT3;
	vcpu->breakpoints_live = flags & WISP_RUN_BREAKPOINTS;
	if (flags & WISP_RUN_STEP)
		wisp_debug_step(vcpu, WISP_STEP_VMM);
}

/*
 * Round each entry, hence inline. DR6 is sticky: to see what is new, the guest's
 * is kept back.
 */
static inline void wisp_debug_enter(struct wisp_vcpu *vcpu)
{
	vcpu->guest_dr6 = vcpu->debug.dr6;
	vcpu->dr6_kept = (vcpu->step && vcpu->step != WISP_STEP_DR) ||
			 vcpu->breakpoints_live;
	vcpu->traps_dr = false;
	if (unlikely(vcpu->dr6_kept)) {
		vcpu->traps_dr = vcpu->step == WISP_STEP_VMM ||
				 vcpu->step == WISP_STEP_SHADOW;
		vcpu->debug.dr6 = DR6_RESERVED;
	}
}

static inline void wisp_debug_leave(struct wisp_vcpu *vcpu)
{
	vcpu->new_dr6 = vcpu->debug.dr6;
	if (unlikely(vcpu->dr6_kept))
		vcpu->debug.dr6 = vcpu->guest_dr6;
	else if (!vcpu->guest_has_dr)
		/* DR0-3 are not the guest's: what matches is not its either. */
		vcpu->debug.dr6 = (vcpu->new_dr6 & ~DR_TRAP_BITS) |
				  (vcpu->guest_dr6 & DR_TRAP_BITS);
}

/* What a #DB was for. */
enum wisp_debug_trap {
	WISP_DEBUG_GUEST,	/* the guest: it is to be delivered */
	WISP_DEBUG_DRIVER,	/* the driver: done */
	WISP_DEBUG_VMM,		/* the VMM: exit.debug is set */
};

enum wisp_debug_trap wisp_debug_trap(struct wisp_vcpu *vcpu);

/* An instruction was completed for the guest: true if that was a whole step. */
bool wisp_debug_stepped(struct wisp_vcpu *vcpu);

/* TF is the guest's again. */
void wisp_debug_end_step(struct wisp_vcpu *vcpu);

/* The run ends. An IRET that was let through may be still to come. */
static inline void wisp_debug_end(struct wisp_vcpu *vcpu)
{
	vcpu->breakpoints_live = false;
	vcpu->iret_window = vcpu->events.nmi_blocked;
	if (unlikely(vcpu->step))
		wisp_debug_end_step(vcpu);
}

#endif
