// SPDX-License-Identifier: GPL-2.0
/*
 * The translation ledger: see ledger.h. Only debug builds have it.
 */
#include "ledger.h"

#include <linux/bug.h>
#include <linux/moduleparam.h>
#include <linux/percpu.h>

#include "vm.h"

struct wisp_ledger {
	/* Whose translations the tag may hold, up to which generation. */
	u64 vcpu_id;
	u64 generation;

	/* What the entry that goes on must be able to show. */
	u64 expected;
	bool stale;
};

/* A backend uses one tag per CPU. Touched with interrupts off, by its CPU. */
static DEFINE_PER_CPU(struct wisp_ledger, ledger);

static unsigned int drop_flush;
module_param(drop_flush, uint, 0444);
MODULE_PARM_DESC(drop_flush, "leave out flushes for this reason (test)");

void wisp_ledger_enable(void)
{
	this_cpu_write(ledger.vcpu_id, 0);
}

void wisp_ledger_expect(struct wisp_vcpu *vcpu)
{
	this_cpu_write(ledger.expected,
		       atomic64_read(&vcpu->vm->slat.generation));
	this_cpu_write(ledger.stale, vcpu->tlb_stale);
}

bool wisp_ledger_flush(struct wisp_vcpu *vcpu, enum wisp_flush_reason reason)
{
	if (reason == drop_flush)
		return false;
	this_cpu_write(ledger.vcpu_id, vcpu->id);
	this_cpu_write(ledger.generation, vcpu->slat_generation);
	this_cpu_write(ledger.stale, false);
	return true;
}

void wisp_ledger_enter(struct wisp_vcpu *vcpu)
{
	struct wisp_ledger *here = this_cpu_ptr(&ledger);

	WARN_ONCE(here->vcpu_id != vcpu->id,
		  "wisp: vCPU %llu entered on translations of vCPU %llu\n",
		  vcpu->id, here->vcpu_id);
	WARN_ONCE(here->generation < here->expected,
		  "wisp: entered on translations of generation %llu, now %llu\n",
		  here->generation, here->expected);
	WARN_ONCE(here->stale,
		  "wisp: vCPU %llu entered on translations of older registers\n",
		  vcpu->id);
}
