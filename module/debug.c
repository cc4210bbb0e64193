// SPDX-License-Identifier: GPL-2.0
/*
 * Debugging from outside: steps and breakpoints that the guest does not see.
 *
 * A step sets RFLAGS.TF behind the guest's back and takes the #DB. What shows
 * through: PUSHF and the frame of an exception or interrupt in the stepped
 * instruction have TF set; IRET brings it back, so that such a step ends when
 * the handler returns.
 *
 * With the VMM's breakpoints in DR0-3 the guest's own are in memory, and in a step
 * its DR6 is. When the guest touches a debug register it gets its own for that one
 * instruction, which is stepped.
 */
#include "debug.h"

#include <linux/string.h>

#include <asm/trapnr.h>

#include "backend.h"
#include "event.h"
#include "host.h"

#define DEBUGGER	(WISP_RUN_STEP | WISP_RUN_BREAKPOINTS)

void wisp_debug_step(struct wisp_vcpu *vcpu, enum wisp_step step)
{
	if (!vcpu->step)
		vcpu->step_tf = vcpu->general.rflags & X86_EFLAGS_TF;
	vcpu->step = step;
	vcpu->general.rflags |= X86_EFLAGS_TF;
}

void wisp_debug_step_access(struct wisp_vcpu *vcpu, bool writes_dr6)
{
	wisp_debug_step(vcpu, WISP_STEP_DR);
	vcpu->access_rip = vcpu->general.rip;
	vcpu->access_writes_dr6 = writes_dr6;
	vcpu->breakpoints_live = false;
	wisp_host_give_debug(vcpu);
}

void wisp_debug_end_step(struct wisp_vcpu *vcpu)
{
	vcpu->step = WISP_STEP_NOT;
	if (!vcpu->step_tf)
		vcpu->general.rflags &= ~X86_EFLAGS_TF;
}

/* Of the breakpoints that @dr7 enables, those that were hit. */
static u64 hits(const struct wisp_vcpu *vcpu, u64 dr7)
{
	u64 hit = 0;
	int i;

	for (i = 0; i < 4; i++, dr7 >>= DR_ENABLE_SIZE)
		if (dr7 & (DR_LOCAL_ENABLE | DR_GLOBAL_ENABLE))
			hit |= vcpu->new_dr6 & DR_TRAP0 << i;
	return hit;
}

static bool vmm_was_hit(const struct wisp_vcpu *vcpu)
{
	return vcpu->breakpoints_live && hits(vcpu, vcpu->breakpoints.dr7);
}

static enum wisp_debug_trap trap_of_vmm(struct wisp_vcpu *vcpu)
{
	struct wisp_exit *exit = &vcpu->exit;

	memset(exit, 0, sizeof(*exit));
	exit->reason = WISP_EXIT_DEBUG;
	exit->debug.vector = X86_TRAP_DB;
	/* Without breakpoints DR0-3 are nobody's: what matches says nothing. */
	exit->debug.dr6 = vcpu->breakpoints_live ? vcpu->new_dr6 :
						   vcpu->new_dr6 & ~DR_TRAP_BITS;
	return WISP_DEBUG_VMM;
}

/* Debug registers are the VMM's again, where it has breakpoints. */
static void end_access(struct wisp_vcpu *vcpu)
{
	if (!(vcpu->run_flags & WISP_RUN_BREAKPOINTS))
		return;
	wisp_host_take_debug(vcpu);
	vcpu->breakpoints_live = true;
	wisp_host_give_debug(vcpu);
}

/* GD forbids the access that was stepped: a fault, whatever else DR6 has kept. */
static bool access_faulted(struct wisp_vcpu *vcpu)
{
	if (vcpu->step != WISP_STEP_DR || vcpu->general.rip != vcpu->access_rip)
		return false;
	if (vcpu->run_flags & WISP_RUN_STEP)
		vcpu->step = WISP_STEP_VMM;
	else
		wisp_debug_end_step(vcpu);
	end_access(vcpu);
	return true;
}

/*
 * IRET brought its own TF: the guest's, or, where the VMM's step had led into what it
 * returned from, that step's. True: that one goes on.
 */
static bool end_iret_step(struct wisp_vcpu *vcpu)
{
	bool goes_on = vcpu->run_flags & WISP_RUN_STEP &&
		       vcpu->general.rflags & X86_EFLAGS_TF;

	vcpu->step = goes_on ? WISP_STEP_VMM : WISP_STEP_NOT;
	return goes_on;
}

/**
 * wisp_debug_trap() - whose is this #DB
 * @vcpu: in its window, after the exit; RIP is behind what trapped
 *
 * One may be several's: then the VMM sees it first, and the guest gets what is its own.
 * Under the VMM's steps that is nothing.
 */
enum wisp_debug_trap wisp_debug_trap(struct wisp_vcpu *vcpu)
{
	bool stepped_by_vmm = vcpu->run_flags & WISP_RUN_STEP;
	enum wisp_step step = vcpu->step;
	u64 own = 0;

	if ((!vcpu->dr6_kept && step != WISP_STEP_DR) || access_faulted(vcpu))
		return WISP_DEBUG_GUEST;
	if (!(vcpu->new_dr6 & DR_STEP)) {
		if (vmm_was_hit(vcpu))
			return trap_of_vmm(vcpu);
		if (vcpu->dr6_kept)
			vcpu->debug.dr6 |= vcpu->new_dr6;
		return WISP_DEBUG_GUEST;
	}
	if (!step || (vcpu->step_tf && !stepped_by_vmm))
		own = DR_STEP;
	if (step == WISP_STEP_IRET)
		stepped_by_vmm &= !end_iret_step(vcpu);
	else if (step)
		wisp_debug_end_step(vcpu);
	if (step == WISP_STEP_DR) {
		/* The step's is not to be told from one that was written: few write it. */
		if (vcpu->access_writes_dr6 || !(vcpu->guest_dr6 & DR_STEP))
			vcpu->debug.dr6 &= ~DR_STEP;
		vcpu->new_dr6 = DR6_RESERVED | DR_STEP;
		end_access(vcpu);
	}
	if (stepped_by_vmm)
		return trap_of_vmm(vcpu);
	if (vcpu->guest_has_dr)
		own |= hits(vcpu, vcpu->debug.dr7);
	vcpu->debug.dr6 |= own;
	if (!vmm_was_hit(vcpu))
		return own ? WISP_DEBUG_GUEST : WISP_DEBUG_DRIVER;
	if (own)
		wisp_event_raise(vcpu, X86_TRAP_DB);
	vcpu->new_dr6 &= ~DR_STEP;
	return trap_of_vmm(vcpu);
}

bool wisp_debug_stepped(struct wisp_vcpu *vcpu)
{
	enum wisp_step step = vcpu->step;

	if (step == WISP_STEP_VMM || step == WISP_STEP_SHADOW)
		wisp_debug_end_step(vcpu);
	if (step != WISP_STEP_VMM)
		return false;
	vcpu->new_dr6 = DR6_RESERVED | DR_STEP;
	trap_of_vmm(vcpu);
	return true;
}
