// SPDX-License-Identifier: GPL-2.0
/*
 * The CPU: SVM on and off, and what others who use it find again.
 *
 * SVM is on in windows only. Where KVM has it on already it stays on, and KVM
 * finds all that it keeps in the CPU between two runs of its guests: see
 * Documentation/beside-kvm.rst.
 */
#include <linux/bug.h>
#include <linux/mem_encrypt.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/pgtable.h>

#include <asm/cpufeature.h>
#include <asm/debugreg.h>
#include <asm/msr.h>
#include <asm/processor-flags.h>

#include "../compat.h"
#include "../hw.h"
#include "../ledger.h"
#include "svm.h"

/* Touched by its own CPU, in a window. */
struct svm_cpu {
	u64 efer;		/* the host's */
	u64 hsave;		/* VM_HSAVE_PA, as it was found last, if that was not ours alone */
	u64 tsc_ratio;		/* KVM's, where it is shared */
	bool shared;		/* SVM is on, and not ours */
};

static DEFINE_PER_CPU(struct svm_cpu, svm_cpus);

/*
 * VM_HSAVE_PA keeps our page's address when the window closes: nobody reads it
 * without SVME, and whoever sets SVME sets it, too. So where it is still there,
 * nobody else has run guests on this CPU since.
 *
 * Where SVME is set it need not be somebody's page yet, nor any more: KVM writes the
 * one before the other, in a thread that may be held up in between. With 0 there VMRUN
 * faults, and the guest's GS and TR are loaded by then. So it is ours in each window.
 */
int svm_cpu_enable(void)
{
	struct svm_cpu *cpu = this_cpu_ptr(&svm_cpus);
	u64 own = this_cpu_read(wisp_hw_hpa), found;

	cpu->efer = native_rdmsrq(MSR_EFER);
	cpu->shared = cpu->efer & EFER_SVME;
	if (!cpu->shared)
		native_wrmsrq(MSR_EFER, cpu->efer | EFER_SVME);
	found = native_rdmsrq(MSR_VM_HSAVE_PA);
	if (likely(found == own && !cpu->shared))
		return 0;
	cpu->hsave = found;
	native_wrmsrq(MSR_VM_HSAVE_PA, own);
	wisp_hw_forget();
	if (boot_cpu_has(X86_FEATURE_TSCRATEMSR)) {
		cpu->tsc_ratio = native_rdmsrq(MSR_AMD64_TSC_RATIO);
		if (cpu->tsc_ratio != SVM_TSC_RATIO_DEFAULT)
			wrmsr(MSR_AMD64_TSC_RATIO,
			      lower_32_bits(SVM_TSC_RATIO_DEFAULT),
			      upper_32_bits(SVM_TSC_RATIO_DEFAULT));
	}
	return cpu->shared;
}

/* GIF is set outside of svm_enter(), so nothing else is to be undone. */
void svm_cpu_disable(void)
{
	struct svm_cpu *cpu = this_cpu_ptr(&svm_cpus);

	/* The firmware starts SNP only where the CPUs have 0 there. */
	if (cpu->shared || wisp_host_snp())
		native_wrmsrq(MSR_VM_HSAVE_PA, cpu->hsave);
	if (!cpu->shared) {
		native_wrmsrq(MSR_EFER, cpu->efer);
		return;
	}
	wisp_ledger_leave();
	if (boot_cpu_has(X86_FEATURE_TSCRATEMSR) &&
	    cpu->tsc_ratio != SVM_TSC_RATIO_DEFAULT)
		native_wrmsrq(MSR_AMD64_TSC_RATIO, cpu->tsc_ratio);
}

/* A guest whose first fetch finds no nested table, after a flush. */
static void init_stub(struct vmcb *stub)
{
	svm_init_control(&stub->control);
	stub->control.tlb_ctl = svm_flush_tlb_ctl();
	stub->control.nested_cr3 = __sme_set(page_to_phys(ZERO_PAGE(0)));
	stub->save.cs.attrib = 0x9b;
	stub->save.cs.limit = 0xffff;
	stub->save.efer = EFER_SVME;
	stub->save.cr0 = X86_CR0_ET;
	stub->save.rflags = X86_EFLAGS_FIXED;
	stub->save.dr6 = DR6_RESERVED;
}

/*
 * KVM flushes an ASID when it hands it out, not each time it runs a guest. The
 * guest that it runs next may have ours, so nothing of it may be left by then.
 */
static void flush_tag(void)
{
	struct vmcb *stub = wisp_hw_page() + PAGE_SIZE;

	if (unlikely(!stub->control.asid))
		init_stub(stub);
	asm volatile("1: clgi\n\tvmrun %%rax\n\tstgi\n2:\n"
		     _ASM_EXTABLE(1b, 2b)
		     : : "a"(svm_host_hpa()) : "cc", "memory");
	WARN_ONCE(svm_refused(&stub->control), "wisp: VMRUN flushed nothing\n");
	wisp_ledger_enable();
}

void svm_window_leave(struct wisp_vcpu *vcpu)
{
	if (unlikely(this_cpu_read(svm_cpus.shared)) &&
	    !wisp_ledger_drops(WISP_FLUSH_OTHERS))
		flush_tag();
}
