// SPDX-License-Identifier: GPL-2.0
/*
 * The budget: a limit on guest run time.
 *
 * Time is counted by the TSC from window to window. The timer's only work is to
 * interrupt the CPU that the guest runs on; whether the budget is used up is
 * decided before the next entry. So a timer may fire early, and one that is
 * armed stays armed from run to run: it is set anew only where it would fire
 * too late or on another CPU.
 */
#include "budget.h"

#include <linux/math64.h>
#include <linux/smp.h>

#include <asm/tsc.h>

#include "compat.h"
#include "vm.h"

static enum hrtimer_restart fire(struct hrtimer *timer)
{
	return HRTIMER_NORESTART;
}

void wisp_budget_init(struct wisp_vcpu *vcpu)
{
	hrtimer_setup(&vcpu->timer, fire, CLOCK_MONOTONIC,
		      HRTIMER_MODE_REL_PINNED_HARD);
}

void wisp_budget_exit(struct wisp_vcpu *vcpu)
{
	hrtimer_cancel(&vcpu->timer);
}

/* Two years, for who asks for more: neither way a product or quotient overflows. */
#define MAX_NS	(1ULL << 56)

u64 wisp_budget_ticks(u64 ns)
{
	return mul_u64_u32_div(min(ns, MAX_NS), tsc_khz, 1000000) ?: 1;
}

void wisp_budget_set(struct wisp_vcpu *vcpu, u64 ns)
{
	vcpu->budget_end = ns ? vcpu->run_time + wisp_budget_ticks(ns) : 0;
}

/*
 * The budget's end, or the VM's if that is earlier. What other vCPUs have used
 * of the latter is looked at once in a window, which the host's tick ends.
 */
static u64 end_of_window(const struct wisp_vcpu *vcpu)
{
	u64 end = vcpu->budget_end, max = vcpu->vm->max_run_time, used;

	if (likely(!max))
		return end;
	used = atomic64_read(&vcpu->vm->run_time);
	max = vcpu->run_time + (used < max ? max - used : 0) ?: 1;
	return end ? min(end, max) : max;
}

static bool timer_serves(struct wisp_vcpu *vcpu, u64 deadline)
{
	return hrtimer_is_queued(&vcpu->timer) &&
	       vcpu->timer_cpu == smp_processor_id() &&
	       vcpu->timer_tsc <= deadline;
}

/* Not inline: most windows have none to arm. */
static noinline void arm(struct wisp_vcpu *vcpu)
{
	u64 left = vcpu->window_end - vcpu->run_time;
	u64 deadline = rdtsc() + left;
	u64 ns;

	if (timer_serves(vcpu, deadline))
		return;
	/* From a CPU that is calling it just now it would not come to this one. */
	while (hrtimer_try_to_cancel(&vcpu->timer) < 0)
		cpu_relax();
	vcpu->timer_cpu = smp_processor_id();
	vcpu->timer_tsc = deadline;
	ns = mul_u64_u32_div(left, 1000000, tsc_khz);
	hrtimer_start(&vcpu->timer, ns_to_ktime(ns), HRTIMER_MODE_REL_PINNED_HARD);
}

void wisp_budget_enter(struct wisp_vcpu *vcpu)
{
	vcpu->window_end = end_of_window(vcpu);
	if (vcpu->window_end > vcpu->run_time)
		arm(vcpu);
}
