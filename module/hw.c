// SPDX-License-Identifier: GPL-2.0
/*
 * The hardware of each CPU: who holds it, and from when to when.
 *
 * A CPU is turned on in the first run window that finds it off, and turned off
 * when the last VM ends, the CPU goes offline, the machine suspends or reboots;
 * or, as the backend wants it, at the end of each window, so that nothing is
 * left to be turned off then.
 */
#include "hw.h"

#include <linux/cleanup.h>
#include <linux/cpuhotplug.h>
#include <linux/gfp.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/reboot.h>
#include <linux/smp.h>

#include "backend.h"
#include "compat.h"
#include "ledger.h"

/* Touched by its own CPU only, with interrupts off. */
struct hw_cpu {
	void *page;		/* constant after init */
	bool on;

	/* Whose translations are in the tag that guests of this CPU have. */
	u64 vcpu_id;
	u64 generation;
};

static DEFINE_PER_CPU(struct hw_cpu, hw_cpus);

static DEFINE_MUTEX(hw_lock);

/* Protected by hw_lock. */
static unsigned int hw_users;

/* Set once, on the way down: no CPU is turned on again. */
static bool hw_stopped;

static enum cpuhp_state hw_cpuhp_state;

static void disable_cpu(void *unused)
{
	if (this_cpu_read(hw_cpus.on)) {
		this_cpu_write(hw_cpus.on, false);
		wisp_backend->cpu_disable();
	}
}

static int enable_cpu(void)
{
	int ret;

	if (READ_ONCE(hw_stopped))
		return -EBUSY;
	ret = wisp_backend->cpu_enable();
	if (ret)
		return ret;
	this_cpu_write(hw_cpus.on, true);
	return 0;
}

/**
 * wisp_hw_enter() - have the hardware on for a window
 *
 * Interrupts off. Returns 0, or -EBUSY where somebody else holds it.
 */
int wisp_hw_enter(void)
{
	lockdep_assert_irqs_disabled();
	if (likely(this_cpu_read(hw_cpus.on)))
		return 0;
	return enable_cpu();
}

/**
 * wisp_hw_leave() - the window is over
 *
 * Interrupts off. The hardware stays on until the last VM has ended, unless it
 * is held for windows only.
 */
void wisp_hw_leave(void)
{
	lockdep_assert_irqs_disabled();
	if (wisp_backend->per_window)
		disable_cpu(NULL);
}

void wisp_hw_lost(void)
{
	this_cpu_write(hw_cpus.on, false);
}

/* Others may have used the tag of this CPU's guests. Interrupts off. */
void wisp_hw_forget(void)
{
	this_cpu_write(hw_cpus.vcpu_id, 0);
	wisp_ledger_enable();
}

static enum wisp_flush_reason flush_reason(const struct hw_cpu *cpu,
					   const struct wisp_vcpu *vcpu)
{
	if (!cpu->vcpu_id)
		return WISP_FLUSH_ENABLE;
	if (cpu->vcpu_id != vcpu->id)
		return WISP_FLUSH_VCPU;
	if (cpu->generation != vcpu->slat_generation)
		return WISP_FLUSH_GENERATION;
	return vcpu->tlb_stale ? WISP_FLUSH_STATE : WISP_FLUSH_NOT;
}

/**
 * wisp_hw_flush() - must this entry flush the guest's translations
 * @vcpu: about to be entered, in its window
 *
 * One tag (ASID, VPID) serves each CPU. It is flushed at the first entry after
 * another vCPU used it, a mapping was revoked, the vCPU's control registers were
 * set from outside, or the hardware was off. True: the caller flushes.
 */
bool wisp_hw_flush(struct wisp_vcpu *vcpu)
{
	struct hw_cpu *cpu = this_cpu_ptr(&hw_cpus);
	enum wisp_flush_reason reason = flush_reason(cpu, vcpu);

	if (likely(reason == WISP_FLUSH_NOT))
		return false;
	cpu->vcpu_id = vcpu->id;
	cpu->generation = vcpu->slat_generation;
	vcpu->tlb_stale = false;
	return wisp_ledger_flush(vcpu, reason);
}

/**
 * wisp_hw_get() - a VM begins
 *
 * May sleep. Returns 0, or -EBUSY where somebody else holds this CPU.
 */
int wisp_hw_get(void)
{
	int ret;

	guard(mutex)(&hw_lock);
	scoped_guard(irq) {
		ret = wisp_hw_enter();
		if (!ret)
			wisp_hw_leave();
	}
	if (!ret)
		hw_users++;
	return ret;
}

/* A VM has ended, and none of its vCPUs runs. May sleep. */
void wisp_hw_put(void)
{
	guard(mutex)(&hw_lock);
	if (!--hw_users)
		on_each_cpu(disable_cpu, NULL, 1);
}

/* The CPU goes down; its tasks have left it. */
static int hw_offline(unsigned int cpu)
{
	guard(irq)();
	disable_cpu(NULL);
	return 0;
}

static int hw_suspend(void *unused)
{
	disable_cpu(NULL);
	return 0;
}

WISP_SYSCORE(hw_syscore, hw_suspend);

static int hw_reboot(struct notifier_block *block, unsigned long action, void *data)
{
	WRITE_ONCE(hw_stopped, true);
	on_each_cpu(disable_cpu, NULL, 1);
	return NOTIFY_OK;
}

static struct notifier_block hw_reboot_block = {
	.notifier_call = hw_reboot,
};

void *wisp_hw_page(void)
{
	return this_cpu_read(hw_cpus.page);
}

static void free_pages_of_cpus(void)
{
	int i;

	for_each_possible_cpu(i) {
		free_pages((unsigned long)per_cpu(hw_cpus, i).page, 1);
		per_cpu(hw_cpus, i).page = NULL;
	}
}

static int alloc_pages_of_cpus(void)
{
	void *page;
	int i;

	for_each_possible_cpu(i) {
		page = (void *)__get_free_pages(GFP_KERNEL | __GFP_ZERO, 1);
		if (!page)
			return -ENOMEM;
		per_cpu(hw_cpus, i).page = page;
	}
	return 0;
}

static int register_all(void)
{
	int ret;

	ret = cpuhp_setup_state_nocalls(CPUHP_AP_ONLINE_DYN, "x86/wisp:online",
					NULL, hw_offline);
	if (ret < 0)
		return ret;
	hw_cpuhp_state = ret;
	ret = register_reboot_notifier(&hw_reboot_block);
	if (ret) {
		cpuhp_remove_state_nocalls(hw_cpuhp_state);
		return ret;
	}
	register_syscore(&hw_syscore);
	return 0;
}

int wisp_hw_init(void)
{
	int ret = alloc_pages_of_cpus();

	if (!ret)
		ret = register_all();
	if (ret)
		free_pages_of_cpus();
	return ret;
}

void wisp_hw_exit(void)
{
	unregister_syscore(&hw_syscore);
	unregister_reboot_notifier(&hw_reboot_block);
	cpuhp_remove_state_nocalls(hw_cpuhp_state);
	free_pages_of_cpus();
}
