// SPDX-License-Identifier: GPL-2.0
/*
 * The SVM backend: AMD's hardware, its VMCB, one entry. One ASID serves each
 * CPU: see wisp_hw_flush().
 */
#define pr_fmt(fmt) "wisp: " fmt

#include <linux/mem_encrypt.h>
#include <linux/mm.h>
#include <linux/pgtable.h>

#include <asm/cpufeature.h>
#include <asm/msr.h>
#include <asm/trapnr.h>

#include "../backend.h"
#include "../compat.h"
#include "../event.h"
#include "../hw.h"
#include "../ledger.h"
#include "svm.h"

#define ATTRIBUTE_G	BIT(15)

#define MSRPM_ORDER	1	/* 8 KiB */
#define IOPM_ORDER	2	/* 12 KiB, rounded up */

/* Constant after init, the same for all VMs. */
static void *msrpm;
static void *iopm;
static u32 asid;
static bool cr4_exits;	/* the CPU tells the register of MOV to and from CR4 */

/* ---- state --------------------------------------------------------------- */

/* Of cs to idt in struct wisp_segments, in the VMCB. */
static const u8 segment_index[] = { 1, 3, 0, 4, 5, 2, 9, 7, 6, 8 };
#define FIRST_TABLE	8	/* gdt */

static u16 attributes_of(const struct vmcb_seg *seg)
{
	u16 attributes = (seg->attrib & 0xff) | (seg->attrib & 0xf00) << 4;

	/* CPUs keep the limit, but not all of them G, which SVM ignores. */
	if (seg->limit > 0xfffff)
		attributes |= ATTRIBUTE_G;
	/* Nor all of them that it was accessed. */
	if (seg->attrib & SVM_SELECTOR_S_MASK)
		attributes |= 1;
	return attributes;
}

static void get_segments(const struct vmcb_save_area *save, bool vm86,
			 struct wisp_segments *segments)
{
	struct wisp_segment *segment = &segments->cs;
	const struct vmcb_seg *seg;
	unsigned int i;

#pragma GCC unroll 16
	for (i = 0; i < ARRAY_SIZE(segment_index); i++) {
		seg = &save->es + segment_index[i];
		segment[i] = (struct wisp_segment){
			.base = seg->base,
			.limit = seg->limit,
			/* What GDT and IDT have there means nothing. */
			.selector = i < FIRST_TABLE ? seg->selector : 0,
			.attributes = i < FIRST_TABLE ? attributes_of(seg) : 0,
		};
	}
	for (i = 0; unlikely(vm86) && segment + i <= &segments->ss; i++)
		segment[i].attributes = WISP_ATTR_VM86;
	/* SVM keeps the CPL apart; SS.DPL may be older. */
	segments->ss.attributes &= ~WISP_ATTR_DPL;
	segments->ss.attributes |= save->cpl << 5;
	/* A TSS that is loaded is busy; not every CPU shows what LTR made it. */
	segments->tr.attributes |= 2;
}

static void set_segments(struct vmcb_save_area *save,
			 const struct wisp_segments *segments)
{
	const struct wisp_segment *segment = &segments->cs;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(segment_index); i++, segment++)
		(&save->es)[segment_index[i]] = (struct vmcb_seg){
			.base = segment->base,
			.limit = segment->limit,
			.selector = segment->selector,
			.attrib = (segment->attributes & 0xff) |
				  (segment->attributes >> 4 & 0xf00),
		};
	save->cpl = segments->ss.attributes >> 5 & 3;
}

/* Eight, from star to sysenter_eip, stand in the same order in both. */
#define SVM_MSRS	8
static_assert(offsetofend(struct wisp_msrs, sysenter_eip) ==
	      SVM_MSRS * sizeof(u64));
static_assert(offsetofend(struct vmcb_save_area, sysenter_eip) -
	      offsetof(struct vmcb_save_area, star) == SVM_MSRS * sizeof(u64));

/*
 * MCE decides what a machine check does, whoever runs: the guest has its own only to
 * look at, where the CPU allows that.
 */
static u64 svm_cr4(struct wisp_vcpu *vcpu)
{
	return cr4_exits ? svm_of(vcpu)->cr4 : svm_of(vcpu)->vmcb->save.cr4;
}

static void set_cr4(struct svm_vcpu *svm, u64 cr4)
{
	svm->cr4 = cr4;
	if (cr4_exits)
		cr4 |= __read_cr4() & X86_CR4_MCE;
	svm->vmcb->save.cr4 = cr4;
}

static void svm_get_state(struct wisp_vcpu *vcpu, u32 groups,
			  struct wisp_registers *regs)
{
	const struct vmcb *vmcb = svm_of(vcpu)->vmcb;
	const struct vmcb_save_area *save = &vmcb->save;
	unsigned int i;

	if (groups & WISP_STATE_SEGMENTS)
		get_segments(save, vcpu->general.rflags & X86_EFLAGS_VM &&
			     !(save->efer & EFER_LMA), &regs->segments);
	if (groups & WISP_STATE_CONTROL) {
		regs->control.cr0 = save->cr0;
		regs->control.cr2 = save->cr2;
		regs->control.cr3 = save->cr3;
		regs->control.cr4 = svm_cr4(vcpu);
		regs->control.cr8 = vmcb->control.int_ctl & V_TPR_MASK;
		regs->control.efer = save->efer & ~EFER_SVME;
	}
	if (groups & WISP_STATE_MSRS) {
		for (i = 0; i < SVM_MSRS; i++)
			(&regs->msrs.star)[i] = (&save->star)[i];
		regs->msrs.pat = save->g_pat;
	}
}

static void svm_set_state(struct wisp_vcpu *vcpu, u32 groups,
			  const struct wisp_registers *regs)
{
	struct vmcb *vmcb = svm_of(vcpu)->vmcb;
	struct vmcb_save_area *save = &vmcb->save;
	unsigned int i;

	if (groups & WISP_STATE_SEGMENTS)
		set_segments(save, &regs->segments);
	if (groups & WISP_STATE_CONTROL) {
		save->cr0 = regs->control.cr0;
		save->cr2 = regs->control.cr2;
		save->cr3 = regs->control.cr3;
		set_cr4(svm_of(vcpu), regs->control.cr4);
		vmcb->control.int_ctl &= ~V_TPR_MASK;
		vmcb->control.int_ctl |= regs->control.cr8;
		save->efer = regs->control.efer | EFER_SVME;
	}
	if (groups & WISP_STATE_MSRS) {
		for (i = 0; i < SVM_MSRS; i++)
			(&save->star)[i] = (&regs->msrs.star)[i];
		save->g_pat = regs->msrs.pat;
	}
}

/* ---- events -------------------------------------------------------------- */

static void set_intercept(struct vmcb_control_area *control, unsigned int bit,
			  bool on)
{
	if (on)
		control->intercepts[bit / 32] |= BIT(bit % 32);
	else
		control->intercepts[bit / 32] &= ~BIT(bit % 32);
}

static void come_back(struct irq_work *work)
{
}

static void svm_inject(struct wisp_vcpu *vcpu, const struct wisp_event *event)
{
	struct vmcb_control_area *control = &svm_of(vcpu)->vmcb->control;

	control->event_inj = wisp_event_encode(event);
	control->event_inj_err = event->error_code;
	/* Of #BP and #OF these CPUs push this one: RIP is where they lead back to. */
	if (boot_cpu_has(X86_FEATURE_NRIPS))
		control->next_rip = vcpu->general.rip;
	/* An NMI is next, and has no window: an interrupt ends this entry. */
	if (vcpu->events.nmi_pending && !vcpu->events.nmi_blocked)
		irq_work_queue(&svm_of(vcpu)->come_back);
}

/* For interrupts, a virtual one that is intercepted when it would be taken. */
static void write_intercepts(struct svm_vcpu *svm)
{
	struct vmcb_control_area *control = &svm->vmcb->control;
	const struct wisp_vcpu *vcpu = &svm->vcpu;

	svm->to_exit = vcpu->to_exit;
	set_intercept(control, INTERCEPT_VINTR, vcpu->intr_window);
	control->int_ctl &= ~V_IRQ_INJECTION_BITS_MASK;
	if (vcpu->intr_window)
		control->int_ctl |= V_IRQ_MASK | V_INTR_PRIO_MASK |
				    V_IGN_TPR_MASK;
	set_intercept(control, INTERCEPT_IRET, vcpu->iret_window);
	set_intercept(control, INTERCEPT_EXCEPTION * 32 + X86_TRAP_BP,
		      vcpu->trap_int3);
	control->intercepts[INTERCEPT_DR] =
		vcpu->guest_has_dr && !vcpu->traps_dr ? 0 : ~0U;
}

/* ---- running ------------------------------------------------------------- */

static void svm_window_enter(struct wisp_vcpu *vcpu)
{
	asm volatile("vmsave %%rax" : : "a"(svm_host_hpa()) : "memory");
}

u8 svm_flush_tlb_ctl(void)
{
	return boot_cpu_has(X86_FEATURE_FLUSHBYASID) ?
		       TLB_CONTROL_FLUSH_ASID : TLB_CONTROL_FLUSH_ALL_ASID;
}

static void svm_run(struct wisp_vcpu *vcpu)
{
	struct svm_vcpu *svm = svm_of(vcpu);
	struct vmcb_control_area *control = &svm->vmcb->control;
	struct vmcb_save_area *save = &svm->vmcb->save;
	int lost;

	if (unlikely(svm->to_exit != vcpu->to_exit))
		write_intercepts(svm);
	save->rax = vcpu->general.rax;
	save->rsp = vcpu->general.rsp;
	save->rip = vcpu->general.rip;
	save->rflags = vcpu->general.rflags;
	save->dr6 = vcpu->debug.dr6;
	save->dr7 = vcpu->breakpoints_live ? vcpu->breakpoints.dr7 :
					     vcpu->debug.dr7;
	control->int_state = vcpu->events.interrupt_shadow;
	control->tsc_offset = vcpu->tsc_offset;
	control->tlb_ctl = TLB_CONTROL_DO_NOTHING;
	if (unlikely(wisp_hw_flush(vcpu)))
		control->tlb_ctl = svm_flush_tlb_ctl();
	if (control->tlb_ctl != TLB_CONTROL_DO_NOTHING)
		wisp_ledger_flushed(vcpu);
	wisp_ledger_enter(vcpu);

	lost = svm_enter(svm->vmcb_hpa, &vcpu->general, svm_host_hpa());
	control->event_inj = 0;
	if (unlikely(lost)) {
		wisp_hw_forget();
		vcpu->exit.reason = WISP_EXIT_LOST;
		return;
	}

	if (unlikely(svm_refused(control))) {
		/*
		 * Whether it flushed nobody knows. The guest's registers are as
		 * they were: what QEMU's TCG leaves in the VMCB is the host's.
		 */
		wisp_hw_forget();
		svm_decode(svm);
		return;
	}
	vcpu->general.rax = save->rax;
	vcpu->general.rsp = save->rsp;
	vcpu->general.rip = save->rip;
	vcpu->general.rflags = save->rflags;
	vcpu->debug.dr6 = save->dr6;
	if (!vcpu->breakpoints_live)
		vcpu->debug.dr7 = save->dr7;
	vcpu->events.interrupt_shadow =
		control->int_state & SVM_INTERRUPT_SHADOW_MASK;
	svm_decode(svm);
	if (unlikely(vcpu->events.nmi_blocked && !vcpu->iret_window))
		wisp_event_iret_over(vcpu);
}

/* ---- vCPUs --------------------------------------------------------------- */

/* INTR to SHUTDOWN, then VMRUN to RDPRU: numbers of enum in <asm/svm.h>. */
static const u8 intercepts[] = {
	INTERCEPT_INTR, INTERCEPT_NMI, INTERCEPT_SMI, INTERCEPT_INIT,
	INTERCEPT_RDPMC, INTERCEPT_CPUID, INTERCEPT_RSM, INTERCEPT_INVD,
	INTERCEPT_HLT, INTERCEPT_INVLPGA, INTERCEPT_IOIO_PROT,
	INTERCEPT_MSR_PROT, INTERCEPT_TASK_SWITCH, INTERCEPT_FERR_FREEZE,
	INTERCEPT_SHUTDOWN, INTERCEPT_VMRUN, INTERCEPT_VMMCALL,
	INTERCEPT_VMLOAD, INTERCEPT_VMSAVE, INTERCEPT_STGI, INTERCEPT_CLGI,
	INTERCEPT_SKINIT, INTERCEPT_ICEBP, INTERCEPT_WBINVD,
	INTERCEPT_MONITOR, INTERCEPT_MWAIT, INTERCEPT_XSETBV, INTERCEPT_RDPRU,
};

/* As far as it is the same for all VMCBs. @control is zeroed. */
void svm_init_control(struct vmcb_control_area *control)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(intercepts); i++)
		set_intercept(control, intercepts[i], true);
	set_intercept(control, INTERCEPT_CR4_READ, cr4_exits);
	set_intercept(control, INTERCEPT_CR4_WRITE, cr4_exits);
	control->intercepts[INTERCEPT_DR] = ~0U;
	/* A guest whose handler raises them again would keep the core. */
	control->intercepts[INTERCEPT_EXCEPTION] =
		BIT(X86_TRAP_DB) | BIT(X86_TRAP_AC) | BIT(X86_TRAP_MC);
	control->iopm_base_pa = __sme_pa(iopm);
	control->msrpm_base_pa = __sme_pa(msrpm);
	control->asid = asid;
	control->int_ctl = V_INTR_MASKING_MASK;
	control->misc_ctl = SVM_MISC_ENABLE_NP;
	if (boot_cpu_has(X86_FEATURE_LBRV))
		control->misc_ctl2 = SVM_MISC2_ENABLE_V_LBR;
}

/*
 * A host with SNP takes a page fault on whatever lies in the same 2 MiB as a VMCB that
 * begins them: then the second of two pages.
 */
static void *alloc_vmcb(void)
{
	const gfp_t gfp = WISP_GFP | __GFP_ZERO;
	struct page *page;

	if (!wisp_host_snp())
		return (void *)__get_free_page(gfp);
	page = alloc_pages(gfp, 1);
	if (!page)
		return NULL;
	split_page(page, 1);
	__free_page(page);
	return page_address(page + 1);
}

static int svm_vcpu_init(struct wisp_vcpu *vcpu)
{
	struct svm_vcpu *svm = svm_of(vcpu);
	struct vmcb_control_area *control;

	svm->vmcb = alloc_vmcb();
	if (!svm->vmcb)
		return -ENOMEM;
	svm->vmcb_hpa = __sme_pa(svm->vmcb);
	svm->come_back = IRQ_WORK_INIT_HARD(come_back);
	control = &svm->vmcb->control;
	svm_init_control(control);
	if (vcpu->vm->flags & WISP_VM_DETERMINISTIC) {
		set_intercept(control, INTERCEPT_RDTSC, true);
		set_intercept(control, INTERCEPT_RDTSCP, true);
	}
	control->nested_cr3 = __sme_pa(vcpu->vm->slat.root);
	return 0;
}

static void svm_vcpu_exit(struct wisp_vcpu *vcpu)
{
	irq_work_sync(&svm_of(vcpu)->come_back);
	free_page((unsigned long)svm_of(vcpu)->vmcb);
}

/* ---- init ---------------------------------------------------------------- */

/* What VMRUN, VMLOAD and VMSAVE switch, a guest may read and write. */
static const u32 open_msrs[] = {
	MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SYSCALL_MASK, MSR_FS_BASE,
	MSR_GS_BASE, MSR_KERNEL_GS_BASE, MSR_IA32_SYSENTER_CS,
	MSR_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_EIP,
};

/* Two bits each, read and write: APM Vol. 2, "MSR Intercepts". */
static void open_msr(u32 msr)
{
	u32 bit = (msr & 0x1fff) * 2;

	if (msr >= 0xc0000000)
		bit += 0x800 * 8;
	__clear_bit(bit, msrpm);
	__clear_bit(bit + 1, msrpm);
}

static void *alloc_map(unsigned int order)
{
	void *map = (void *)__get_free_pages(GFP_KERNEL, order);

	if (map)
		memset(map, 0xff, PAGE_SIZE << order);
	return map;
}

static void svm_exit(void)
{
	free_pages((unsigned long)msrpm, MSRPM_ORDER);
	free_pages((unsigned long)iopm, IOPM_ORDER);
}

static int svm_probe(void)
{
	u64 vm_cr;

	if (!boot_cpu_has(X86_FEATURE_SVM))
		return -ENODEV;
	if (rdmsrq_safe(MSR_VM_CR, &vm_cr))
		return -ENODEV;
	if (vm_cr & SVM_VM_CR_SVM_DIS_MASK) {
		pr_err("SVM is disabled by the firmware: enable it in the firmware's set-up\n");
		return -EACCES;
	}
	if (!boot_cpu_has(X86_FEATURE_NPT)) {
		pr_err("this CPU's SVM has no nested paging\n");
		return -EOPNOTSUPP;
	}
	return 0;
}

static int svm_init(void)
{
	unsigned int i;
	int ret;

	ret = svm_probe();
	if (ret)
		return ret;

	msrpm = alloc_map(MSRPM_ORDER);
	iopm = alloc_map(IOPM_ORDER);
	if (!msrpm || !iopm) {
		svm_exit();
		return -ENOMEM;
	}
	for (i = 0; i < ARRAY_SIZE(open_msrs); i++)
		open_msr(open_msrs[i]);

	/* KVM hands them out from below. */
	asid = cpuid_ebx(SVM_CPUID_FUNC) - 1;
	/* The nested tables are walked in the host's own paging mode. */
	svm_backend.format.levels = pgtable_l5_enabled() ? 5 : 4;
	svm_backend.gpa_bits = min_t(u32, boot_cpu_data.x86_phys_bits, 48);
	static_call_update(wisp_cpu_enable, svm_cpu_enable);
	static_call_update(wisp_cpu_disable, svm_cpu_disable);
	static_call_update(wisp_window_enter, svm_window_enter);
	static_call_update(wisp_window_leave, svm_window_leave);
	static_call_update(wisp_run, svm_run);
	if (boot_cpu_has(X86_FEATURE_DECODEASSISTS))
		svm_backend.features |= WISP_FEATURE_INST_BYTES;
	cr4_exits = boot_cpu_has(X86_FEATURE_DECODEASSISTS) &&
		    boot_cpu_has(X86_FEATURE_NRIPS);
	if (!boot_cpu_has(X86_FEATURE_NRIPS))
		svm_backend.quirks |= WISP_QUIRK_NO_NRIP;
	if (boot_cpu_has(X86_FEATURE_RDRAND) || boot_cpu_has(X86_FEATURE_RDSEED))
		svm_backend.quirks |= WISP_QUIRK_RANDOM;
	return 0;
}

struct wisp_backend svm_backend = {
	.id = WISP_BACKEND_SVM,
	.name = "SVM",
	.vcpu_size = sizeof(struct svm_vcpu),
	/* Nested accesses are user accesses; AVL bits stay free. */
	.format = {
		.table = _PAGE_PRESENT | _PAGE_RW | _PAGE_USER | _PAGE_ACCESSED,
		.leaf = _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED,
		.huge = _PAGE_PSE,
		.present = _PAGE_PRESENT,
		.writable = _PAGE_RW,
		.not_executable = _PAGE_NX,
		.dirty = _PAGE_DIRTY,
	},
	.init = svm_init,
	.exit = svm_exit,
	.vcpu_init = svm_vcpu_init,
	.vcpu_exit = svm_vcpu_exit,
	.get_state = svm_get_state,
	.set_state = svm_set_state,
	.cr4 = svm_cr4,
	.inject = svm_inject,
};
