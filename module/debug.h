/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Debugging from outside: steps and breakpoints that the guest does not see.
 */
#ifndef WISP_DEBUG_H
#define WISP_DEBUG_H

#include <linux/types.h>

#include "vcpu.h"

/* A run begins with these WISP_RUN_* flags and breakpoints. */
void wisp_debug_set(struct wisp_vcpu *vcpu, u32 flags);

/* One instruction, then wisp_debug_trap(): see enum wisp_step. */
void wisp_debug_step(struct wisp_vcpu *vcpu, enum wisp_step step);

/* Round each entry. */
void wisp_debug_enter(struct wisp_vcpu *vcpu);
void wisp_debug_leave(struct wisp_vcpu *vcpu);

/* What a #DB was for. */
enum wisp_debug_trap {
	WISP_DEBUG_GUEST,	/* the guest: it is to be delivered */
	WISP_DEBUG_DRIVER,	/* the driver: done */
	WISP_DEBUG_VMM,		/* the VMM: exit.debug is set */
};

enum wisp_debug_trap wisp_debug_trap(struct wisp_vcpu *vcpu);

/* An instruction was completed for the guest: true if that was a whole step. */
bool wisp_debug_stepped(struct wisp_vcpu *vcpu);

/* The run ends: TF is the guest's again. */
void wisp_debug_end(struct wisp_vcpu *vcpu);

#endif
