// SPDX-License-Identifier: GPL-2.0
/*
 * The translation ledger: see ledger.h. Only debug builds have it.
 */
#include "ledger.h"

#include <linux/atomic.h>
#include <linux/bug.h>
#include <linux/moduleparam.h>
#include <linux/percpu.h>
#include <linux/smp.h>

#include "vm.h"

struct wisp_ledger {
	/* Whose translations the tag may hold, and what is not among them. */
	u64 vcpu_id;
	u64 narrowed;

	/* What the entry that goes on must be able to show. */
	u64 expected;
};

/*
 * A backend uses one tag per CPU. Touched with interrupts off, by its CPU; but for
 * @vcpu_id, see give_up_elsewhere().
 */
static DEFINE_PER_CPU(struct wisp_ledger, ledger);

static unsigned int drop_flush;
module_param(drop_flush, uint, 0644);
MODULE_PARM_DESC(drop_flush, "leave out flushes for this reason (test)");

static unsigned int drop_revoke;
module_param(drop_revoke, uint, 0644);
MODULE_PARM_DESC(drop_revoke, "leave out revocations for this reason (test)");

static unsigned int objections;
module_param(objections, uint, 0644);
MODULE_PARM_DESC(objections,
		 "what was missed: 1 another vCPU's or CPU's flush, 2 a revocation, 4 a flush of old registers, 8 one for others");

/* A warning, but where somebody asked for it. */
#define OBJECT_IF(wrong, number, ...)                                  \
do {                                                                   \
	bool wrong_ = (wrong);                                         \
								       \
	if (drop_flush || drop_revoke)                                 \
		objections |= wrong_ ? (number) : 0;                   \
	else                                                           \
		WARN_ONCE(wrong_, __VA_ARGS__);                        \
} while (0)

void wisp_ledger_narrow(struct wisp_slat *slat)
{
	atomic64_inc(&slat->narrowed);
}

/*
 * What is narrowed by somebody else meanwhile is not revoked yet; and who sees
 * what is must see the generation, too.
 */
void wisp_ledger_revoke(struct wisp_slat *slat, enum wisp_revoke_reason reason)
{
	s64 narrowed = atomic64_read(&slat->narrowed);
	s64 old = atomic64_read(&slat->revoked);

	if (reason != drop_revoke)
		atomic64_inc(&slat->generation);
	/* The generation first, then what is counted as revoked by it. */
	smp_mb__after_atomic();
	while (old < narrowed &&
	       !atomic64_try_cmpxchg(&slat->revoked, &old, narrowed))
		;
}

void wisp_ledger_enable(void)
{
	this_cpu_write(ledger.vcpu_id, 0);
}

void wisp_ledger_stale(struct wisp_vcpu *vcpu)
{
	vcpu->ledger_stale = true;
}

void wisp_ledger_expect(struct wisp_vcpu *vcpu)
{
	this_cpu_write(ledger.expected,
		       atomic64_read(&vcpu->vm->slat.revoked));
	/* The entry reads the generation next. */
	smp_rmb();
}

bool wisp_ledger_drops(enum wisp_flush_reason reason)
{
	return reason == drop_flush;
}

void wisp_ledger_flushed(struct wisp_vcpu *vcpu)
{
	this_cpu_write(ledger.vcpu_id, vcpu->id);
	this_cpu_write(ledger.narrowed,
		       atomic64_read(&vcpu->vm->slat.narrowed));
	vcpu->ledger_stale = false;
}

/*
 * What the guest flushes from here on it flushes on this CPU only. Others may change
 * theirs meanwhile, but not to this vCPU's.
 */
static void give_up_elsewhere(u64 vcpu_id)
{
	int cpu;

	for_each_possible_cpu(cpu)
		if (cpu != smp_processor_id())
			cmpxchg(per_cpu_ptr(&ledger.vcpu_id, cpu), vcpu_id, 0);
}

void wisp_ledger_enter(struct wisp_vcpu *vcpu)
{
	struct wisp_ledger *here = this_cpu_ptr(&ledger);

	give_up_elsewhere(vcpu->id);
	OBJECT_IF(here->vcpu_id != vcpu->id, 1,
		  "wisp: vCPU %llu entered on translations of vCPU %llu\n",
		  vcpu->id, here->vcpu_id);
	OBJECT_IF(here->narrowed < here->expected, 2,
		  "wisp: vCPU %llu entered on translations that were revoked\n",
		  vcpu->id);
	OBJECT_IF(vcpu->ledger_stale, 4,
		  "wisp: vCPU %llu entered on translations of older registers\n",
		  vcpu->id);
}

void wisp_ledger_leave(void)
{
	u64 id = this_cpu_read(ledger.vcpu_id);

	OBJECT_IF(id, 8, "wisp: translations of vCPU %llu are left to others\n", id);
}
