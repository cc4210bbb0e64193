/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The budget: a limit on guest run time.
 */
#ifndef WISP_BUDGET_H
#define WISP_BUDGET_H

#include <linux/types.h>

#include <asm/msr.h>

#include "vm.h"

void wisp_budget_init(struct wisp_vcpu *vcpu);
void wisp_budget_exit(struct wisp_vcpu *vcpu);

/* In TSC ticks, at least one. */
u64 wisp_budget_ticks(u64 ns);

/* A run begins: @ns of guest run time, or 0 for no limit. */
void wisp_budget_set(struct wisp_vcpu *vcpu, u64 ns);

/* Round each window, interrupts off. */
void wisp_budget_enter(struct wisp_vcpu *vcpu);

static inline void wisp_budget_leave(struct wisp_vcpu *vcpu)
{
	u64 ticks = rdtsc() - vcpu->window_start;

	vcpu->run_time += ticks;
	if (vcpu->vm->max_run_time)
		atomic64_add(ticks, &vcpu->vm->run_time);
}

/* In the window, before each entry: WISP_EXIT_BUDGET, WISP_EXIT_LIMIT, or 0. */
static inline u32 wisp_budget_used_up(struct wisp_vcpu *vcpu)
{
	u64 now;

	if (!vcpu->window_end)
		return 0;
	now = vcpu->run_time + (rdtsc() - vcpu->window_start);
	if (likely(now < vcpu->window_end))
		return 0;
	return vcpu->budget_end && now >= vcpu->budget_end ? WISP_EXIT_BUDGET :
							     WISP_EXIT_LIMIT;
}

#endif
