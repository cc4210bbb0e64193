// SPDX-License-Identifier: GPL-2.0
/*
 * What Wisp has of each CPU: two pages for the backend, and the one tag that
 * translations of guests have there.
 *
 * The hardware itself is on in run windows only, with interrupts off: backends
 * turn it on and off. So another hypervisor can come and go as it likes, and a
 * CPU that goes offline, sleeps, or starts another kernel has nothing to be
 * turned off.
 */
#include "hw.h"

#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/mem_encrypt.h>

#include "ledger.h"
#include "vcpu.h"
#include "vm.h"

/* Touched by its own CPU only, with interrupts off. */
struct hw_cpu {
	void *page;		/* constant after init */

	/* Whose translations are in the tag that guests of this CPU have. */
	u64 vcpu_id;
	u64 generation;
};

static DEFINE_PER_CPU(struct hw_cpu, hw_cpus);
DEFINE_PER_CPU(u64, wisp_hw_hpa);	/* constant after init */

/* Others may have used the tag of this CPU's guests. Interrupts off. */
void wisp_hw_forget(void)
{
	wisp_ledger_enable();
	if (!wisp_ledger_drops(WISP_NOTE_ENABLE))
		this_cpu_write(hw_cpus.vcpu_id, 0);
}

static enum wisp_flush_reason flush_reason(const struct hw_cpu *cpu,
					   const struct wisp_vcpu *vcpu)
{
	if (!cpu->vcpu_id)
		return WISP_FLUSH_ENABLE;
	if (cpu->vcpu_id != vcpu->id)
		return WISP_FLUSH_VCPU;
	if (vcpu->tlb_cpu != cpu)
		return WISP_FLUSH_CPU;
	if (cpu->generation != vcpu->slat_generation)
		return WISP_FLUSH_GENERATION;
	return vcpu->tlb_stale ? WISP_FLUSH_STATE : WISP_FLUSH_NOT;
}

/**
 * wisp_hw_flush() - must this entry flush the guest's translations
 * @vcpu: about to be entered, in its window
 *
 * One tag (ASID, VPID) serves each CPU. It is flushed at the first entry after
 * another vCPU used it, the vCPU ran on another CPU, where the guest may have
 * flushed, a mapping was revoked, the vCPU's control registers were set from
 * outside, or another hypervisor may have used it. True: the caller flushes.
 */
bool wisp_hw_flush(struct wisp_vcpu *vcpu)
{
	struct hw_cpu *cpu = this_cpu_ptr(&hw_cpus);
	enum wisp_flush_reason reason = flush_reason(cpu, vcpu);

	if (likely(reason == WISP_FLUSH_NOT))
		return false;
	cpu->vcpu_id = vcpu->id;
	cpu->generation = vcpu->slat_generation;
	vcpu->tlb_cpu = cpu;
	vcpu->tlb_stale = false;
	return !wisp_ledger_drops(reason);
}

void *wisp_hw_page(void)
{
	return this_cpu_read(hw_cpus.page);
}

void wisp_hw_exit(void)
{
	int i;

	for_each_possible_cpu(i)
		if (per_cpu(hw_cpus, i).page)
			free_pages((unsigned long)per_cpu(hw_cpus, i).page - PAGE_SIZE,
				   2);
}

int wisp_hw_init(void)
{
	void *page;
	int i;

	/* Those in the middle: as alloc_vmcb(), neither may begin 2 MiB. */
	for_each_possible_cpu(i) {
		page = (void *)__get_free_pages(GFP_KERNEL | __GFP_ZERO, 2);
		if (!page) {
			wisp_hw_exit();
			return -ENOMEM;
		}
		per_cpu(hw_cpus, i).page = page + PAGE_SIZE;
		per_cpu(wisp_hw_hpa, i) = __sme_pa(page + PAGE_SIZE);
	}
	return 0;
}
