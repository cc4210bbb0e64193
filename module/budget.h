/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The budget: a limit on guest run time.
 */
#ifndef WISP_BUDGET_H
#define WISP_BUDGET_H

#include <linux/types.h>

struct wisp_vcpu;

void wisp_budget_init(struct wisp_vcpu *vcpu);
void wisp_budget_exit(struct wisp_vcpu *vcpu);

/* In TSC ticks, at least one. */
u64 wisp_budget_ticks(u64 ns);

/* A run begins: @ns of guest run time, or 0 for no limit. */
void wisp_budget_set(struct wisp_vcpu *vcpu, u64 ns);

/* Round each window, interrupts off. */
void wisp_budget_enter(struct wisp_vcpu *vcpu);
void wisp_budget_leave(struct wisp_vcpu *vcpu);

/* In the window, before each entry: WISP_EXIT_BUDGET, WISP_EXIT_LIMIT, or 0. */
u32 wisp_budget_used_up(struct wisp_vcpu *vcpu);

#endif
