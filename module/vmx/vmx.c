// SPDX-License-Identifier: GPL-2.0
/*
 * The VMX backend: Intel's hardware, its VMCS, one entry.
 *
 * A VMCS can be reached in a window only. What GET_STATE and SET_STATE see is a
 * copy: it is read from the VMCS when somebody wants it, and written before the
 * next entry where somebody changed it.
 */
#define pr_fmt(fmt) "wisp: " fmt

#include <linux/bitmap.h>
#include <linux/cpu.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/moduleparam.h>
#include <linux/printk.h>

#include <asm/cpufeature.h>
#include <asm/debugreg.h>
#include <asm/msr.h>
#include <asm/trapnr.h>

#include "../backend.h"
#include "../compat.h"
#include "../event.h"
#include "../hw.h"
#include "../ledger.h"
#include "vmx.h"

/* KVM numbers its own from 1 upwards. */
#define WISP_VPID	0xffff

/* LAM_U48 and LAM_U57 */
#define CR3_LAM		(3ULL << 61)

/* Bits that are the host's; the guest reads its own from a shadow. */
#define CR0_HOST	(X86_CR0_NE | X86_CR0_NW | X86_CR0_CD)
#define CR4_HOST	(~wisp_cr4_allowed | X86_CR4_MCE)

/* The host's, and those whose handler, raising them again, would keep the core. */
#define ALWAYS_TAKEN	(BIT(X86_TRAP_DB) | BIT(X86_TRAP_AC) | BIT(X86_TRAP_MC))

#define AR_UNUSABLE	BIT(16)
#define APIC_TASKPRI	0x80
#define PENDING_BS	BIT(14)
#define PENDING_HITS	(DR_TRAP_BITS | BIT(12))	/* of MOV SS's operand */
#define SHADOW_BITS	(GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS)

/* Of the memory that is read where no command flushes the L1D cache: 64 KiB. */
#define L1D_ORDER	4
#define L1D_BYTES	(PAGE_SIZE << L1D_ORDER)

/* Constant after init. */
static void *msr_bitmap;
static u8 *l1d_pages;

static bool l1d_flush = true;
module_param(l1d_flush, bool, 0444);
MODULE_PARM_DESC(l1d_flush, "flush the L1D cache before a guest runs, where L1TF needs it");

#ifdef CONFIG_WISP_DEBUG
static unsigned int vmx_spoil;
module_param(vmx_spoil, uint, 0644);
MODULE_PARM_DESC(vmx_spoil, "add these secondary controls (test)");
#else
#define vmx_spoil	0
#endif

/* ---- state --------------------------------------------------------------- */

/* Of cs to ldtr in struct wisp_segments, in the VMCS: fields are 2 apart. */
static const u8 segment_index[] = { 1, 3, 0, 4, 5, 2, 7, 6 };

static void read_segments(struct wisp_segments *segments)
{
	struct wisp_segment *segment = &segments->cs;
	unsigned int i, at;
	u32 rights;

#pragma GCC unroll 8
	for (i = 0; i < ARRAY_SIZE(segment_index); i++, segment++) {
		at = segment_index[i] * 2;
		rights = vmx_read(GUEST_ES_AR_BYTES + at);
		segment->base = vmx_read(GUEST_ES_BASE + at);
		segment->limit = vmx_read(GUEST_ES_LIMIT + at);
		segment->selector = vmx_read(GUEST_ES_SELECTOR + at);
		segment->attributes = rights & 0xf0ff;
		if (rights & AR_UNUSABLE)
			segment->attributes &= ~VMX_AR_P_MASK;
	}
#pragma GCC unroll 2
	for (at = 0; at < 4; at += 2, segment++) {
		segment->base = vmx_read(GUEST_GDTR_BASE + at);
		segment->limit = vmx_read(GUEST_GDTR_LIMIT + at);
	}
}

static void write_segments(const struct wisp_segments *segments)
{
	const struct wisp_segment *segment = &segments->cs;
	unsigned int i, at;
	u32 rights;

#pragma GCC unroll 8
	for (i = 0; i < ARRAY_SIZE(segment_index); i++, segment++) {
		at = segment_index[i] * 2;
		rights = segment->attributes;
		if (!(rights & VMX_AR_P_MASK))
			rights |= AR_UNUSABLE;
		vmx_write(GUEST_ES_AR_BYTES + at, rights);
		vmx_write(GUEST_ES_BASE + at, segment->base);
		vmx_write(GUEST_ES_LIMIT + at, segment->limit);
		vmx_write(GUEST_ES_SELECTOR + at, segment->selector);
	}
#pragma GCC unroll 2
	for (at = 0; at < 4; at += 2, segment++) {
		vmx_write(GUEST_GDTR_BASE + at, segment->base);
		vmx_write(GUEST_GDTR_LIMIT + at, segment->limit);
	}
}

/* CR2, and of CR0 and CR4 what is the host's, are in @control already. */
static void read_control(struct vmx_vcpu *vmx, struct wisp_control *control)
{
	control->cr0 &= CR0_HOST;
	control->cr0 |= vmx_read(GUEST_CR0) & ~(u64)CR0_HOST;
	control->cr4 &= CR4_HOST;
	control->cr4 |= vmx_read(GUEST_CR4) & ~CR4_HOST;
	/* Without LAM, which CPUID hides and MOV to CR3 does not refuse. */
	control->cr3 = vmx_read(GUEST_CR3) & ~CR3_LAM;
	control->cr8 = *(u8 *)(vmx->vapic + APIC_TASKPRI) >> 4;
	control->efer = vmx_read(GUEST_IA32_EFER);
}

/*
 * NE and VMXE must be set; CD and NW would stay set in the host; MCE decides what
 * a machine check does, whoever runs.
 */
static void write_control(struct vmx_vcpu *vmx, const struct wisp_control *control)
{
	u32 entry = vmx_caps.entry;

	vmx_write(GUEST_CR0, (control->cr0 & ~(u64)CR0_HOST) | X86_CR0_NE);
	vmx_write(CR0_READ_SHADOW, control->cr0);
	vmx_write(GUEST_CR4, (control->cr4 & ~CR4_HOST) | X86_CR4_VMXE |
				     (__read_cr4() & X86_CR4_MCE));
	vmx_write(CR4_READ_SHADOW, control->cr4);
	vmx_write(GUEST_CR3, control->cr3);
	*(u8 *)(vmx->vapic + APIC_TASKPRI) = control->cr8 << 4;
	vmx_write(GUEST_IA32_EFER, control->efer);
	if (control->efer & EFER_LMA)
		entry |= VM_ENTRY_IA32E_MODE;
	vmx_write(VM_ENTRY_CONTROLS, entry);
}

static void write_dirty(struct vmx_vcpu *vmx)
{
	const struct wisp_msrs *msrs = &vmx->regs.msrs;

	if (vmx->dirty & WISP_STATE_SEGMENTS) {
		write_segments(&vmx->regs.segments);
		/* What is pending was of an SS that is no more. */
		vmx_write(GUEST_PENDING_DBG_EXCEPTIONS, 0);
	}
	if (vmx->dirty & WISP_STATE_CONTROL)
		write_control(vmx, &vmx->regs.control);
	if (vmx->dirty & WISP_STATE_MSRS) {
		vmx_write(GUEST_SYSENTER_CS, msrs->sysenter_cs);
		vmx_write(GUEST_SYSENTER_ESP, msrs->sysenter_esp);
		vmx_write(GUEST_SYSENTER_EIP, msrs->sysenter_eip);
	}
	vmx->dirty = 0;
}

static void read_groups(struct vmx_vcpu *vmx, u32 groups)
{
	if (groups & WISP_STATE_SEGMENTS)
		read_segments(&vmx->regs.segments);
	if (groups & WISP_STATE_CONTROL)
		read_control(vmx, &vmx->regs.control);
	/* The only one that a guest changes without an exit. */
	if (groups & WISP_STATE_MSRS)
		vmx->regs.msrs.kernel_gs_base = native_rdmsrq(MSR_KERNEL_GS_BASE);
	vmx->valid |= groups;
}

/* Outside of a window the VMCS is reached by a short one. */
static void fetch(struct vmx_vcpu *vmx, u32 groups)
{
	unsigned long flags;

	if (!vmx->loaded)
		vmx->wanted |= groups;
	groups &= VMX_GROUPS & ~vmx->valid;
	if (groups && vmx->loaded)
		read_groups(vmx, groups);
	if (!(groups & ~vmx->valid))
		return;
	local_irq_save(flags);
	wisp_host_quiet(&vmx->vcpu);
	if (vmx_cpu_enable() >= 0) {
		vmx_load(vmx);
		read_groups(vmx, groups);
		vmx_unload(vmx);
		vmx_cpu_disable();
	}
	wisp_host_unquiet(&vmx->vcpu);
	local_irq_restore(flags);
}

static void vmx_get_state(struct wisp_vcpu *vcpu, u32 groups,
			  struct wisp_registers *regs)
{
	struct vmx_vcpu *vmx = vmx_of(vcpu);

	fetch(vmx, groups);
	if (groups & WISP_STATE_SEGMENTS)
		regs->segments = vmx->regs.segments;
	if (groups & WISP_STATE_CONTROL)
		regs->control = vmx->regs.control;
	if (groups & WISP_STATE_MSRS)
		regs->msrs = vmx->regs.msrs;
}

static void vmx_set_state(struct wisp_vcpu *vcpu, u32 groups,
			  const struct wisp_registers *regs)
{
	struct vmx_vcpu *vmx = vmx_of(vcpu);

	if (groups & WISP_STATE_SEGMENTS)
		vmx->regs.segments = regs->segments;
	if (groups & WISP_STATE_CONTROL) {
		vmx->regs.control = regs->control;
		vmx->pdptes_stale = true;
		vcpu->has_pdptes = false;
	}
	if (groups & WISP_STATE_MSRS) {
		/* In its window the guest has them in the CPU. */
		if (vmx->loaded) {
			fetch(vmx, WISP_STATE_MSRS);
			vmx_write_msrs(&regs->msrs.star, &vmx->regs.msrs.star);
		}
		vmx->regs.msrs = regs->msrs;
	}
	vmx->valid |= groups & VMX_GROUPS;
	vmx->dirty |= groups & VMX_GROUPS;
}

static u64 vmx_cr4(struct wisp_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = vmx_of(vcpu);

	if (vmx->valid & WISP_STATE_CONTROL)
		return vmx->regs.control.cr4;
	return (vmx->regs.control.cr4 & CR4_HOST) |
	       (vmx_read(GUEST_CR4) & ~CR4_HOST);
}

/* ---- events -------------------------------------------------------------- */

static void vmx_inject(struct wisp_vcpu *vcpu, const struct wisp_event *event)
{
	struct vmx_vcpu *vmx = vmx_of(vcpu);

	vmx->inject = wisp_event_encode(event);
	vmx_write(VM_ENTRY_INTR_INFO_FIELD, vmx->inject);
	vmx_write(VM_ENTRY_EXCEPTION_ERROR_CODE, event->error_code);
}

/* ---- running ------------------------------------------------------------- */

static u64 eptp(const struct vmx_vcpu *vmx)
{
	const struct wisp_vm *vm = vmx->vcpu.vm;
	u64 eptp = __pa(vm->slat.root) | vmx_caps.eptp;

	return vm->marks_dirty ? eptp : eptp & ~VMX_EPTP_AD_ENABLE_BIT;
}

static noinline_for_stack bool flush_ept(struct vmx_vcpu *vmx)
{
	const struct { u64 eptp, reserved; } operand = { eptp(vmx) };
	bool done = false;

	/* A reset, which flushes, too, may have the CPU mark what is written. */
	vmx_write(EPT_POINTER, operand.eptp);
	asm volatile("1: invept %1, %2\n seta %0\n2:\n" _ASM_EXTABLE(1b, 2b)
		     : "+r"(done)
		     : "m"(operand), "r"((u64)VMX_EPT_EXTENT_CONTEXT)
		     : "cc", "memory");
	return done;
}

/* What a new VMCS holds is not defined. */
static const u32 zero_fields[] = {
	PAGE_FAULT_ERROR_CODE_MASK, PAGE_FAULT_ERROR_CODE_MATCH,
	CR3_TARGET_COUNT, VM_EXIT_MSR_STORE_COUNT, VM_EXIT_MSR_LOAD_COUNT,
	VM_ENTRY_MSR_LOAD_COUNT, VM_ENTRY_INTR_INFO_FIELD, TPR_THRESHOLD,
	TSC_OFFSET, GUEST_IA32_DEBUGCTL, GUEST_PENDING_DBG_EXCEPTIONS,
	GUEST_ACTIVITY_STATE, GUEST_INTERRUPTIBILITY_INFO, GUEST_RIP, GUEST_RSP,
	GUEST_RFLAGS, GUEST_DR7, GUEST_IA32_PERF_GLOBAL_CTRL, HOST_DS_SELECTOR,
	HOST_ES_SELECTOR, HOST_FS_SELECTOR, HOST_GS_SELECTOR, HOST_FS_BASE,
};

static bool is_deterministic(const struct vmx_vcpu *vmx)
{
	return vmx->vcpu.vm->flags & WISP_VM_DETERMINISTIC;
}

/* The fields that stay as they are, in the first window. */
static void write_constants(struct vmx_vcpu *vmx)
{
	u32 no_random = is_deterministic(vmx) ? vmx_caps.no_random : 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(zero_fields); i++)
		vmx_write(zero_fields[i], 0);
	vmx_write(PIN_BASED_VM_EXEC_CONTROL, vmx_caps.pin);
	vmx_write(SECONDARY_VM_EXEC_CONTROL,
		  vmx_caps.secondary | no_random | vmx_spoil);
	vmx_write(VM_EXIT_CONTROLS, vmx_caps.exit);
	vmx_write(EPT_POINTER, eptp(vmx));
	if (vmx_caps.secondary & SECONDARY_EXEC_ENABLE_VPID)
		vmx_write(VIRTUAL_PROCESSOR_ID, WISP_VPID);
	/* However deaf it is to interrupts, a guest comes back soon. */
	if (vmx_caps.pin & PIN_BASED_VMX_PREEMPTION_TIMER)
		vmx_write(VMX_PREEMPTION_TIMER_VALUE, vmx_caps.timer);
	if (vmx_caps.secondary & SECONDARY_EXEC_ENCLS_EXITING)
		vmx_write(ENCLS_EXITING_BITMAP, ~0ULL);
	vmx_write(MSR_BITMAP, __pa(msr_bitmap));
	vmx_write(VIRTUAL_APIC_PAGE_ADDR, __pa(vmx->vapic));
	vmx_write(CR0_GUEST_HOST_MASK, CR0_HOST);
	vmx_write(CR4_GUEST_HOST_MASK, CR4_HOST);
	vmx_write(VMCS_LINK_POINTER, ~0ULL);
	vmx_write(HOST_CS_SELECTOR, __KERNEL_CS);
	vmx_write(HOST_SS_SELECTOR, __KERNEL_DS);
	vmx_write(HOST_TR_SELECTOR, GDT_ENTRY_TSS * 8);
	vmx_write(HOST_RIP, (unsigned long)vmx_exited);
	vmx->have.to_exit = ~vmx->vcpu.to_exit;
	vmx->written = true;
}

/* L1TF: what other code left in the cache since the last window. */
static void flush_l1d(void)
{
	unsigned int at;

	if (!l1d_pages) {
		native_wrmsrq(MSR_IA32_FLUSH_CMD, L1D_FLUSH);
		return;
	}
	/* The TLB first: what walks of tables load would be in the cache, too. */
	for (at = 0; at < L1D_BYTES; at += PAGE_SIZE)
		READ_ONCE(l1d_pages[at]);
	/* These end before the others begin, and those before the guest runs. */
	rmb();
	for (at = 0; at < L1D_BYTES; at += SMP_CACHE_BYTES)
		READ_ONCE(l1d_pages[at]);
	/* As said. */
	rmb();
}

static void vmx_window_enter(struct wisp_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = vmx_of(vcpu);

	if (!vmx->written)
		vmx_unload(vmx);	/* initialises it */
	vmx_load(vmx);
	if (!vmx->written)
		write_constants(vmx);
	vmx_host_enter(vmx);
	if (l1d_flush)
		flush_l1d();
}

/*
 * Behind the window the VMCS costs another one. So what was wanted behind the last is
 * read now; and CONTROL, which is little, for up to 16 more.
 */
static void vmx_window_leave(struct wisp_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = vmx_of(vcpu);

	read_groups(vmx, (vmx->wanted | vmx_caps.read_groups) & ~vmx->valid);
	vmx->wanted &= ++vmx->windows % 16 ? WISP_STATE_CONTROL : 0;
	vmx_host_leave(vmx);
	vmx_unload(vmx);
}

/*
 * One with a reserved bit would fail the entry. Here it is as if not present, until the
 * guest loads CR3 itself: then the CPU raises #GP for it.
 */
static u64 valid_pdpte(u64 pdpte)
{
	const u64 reserved = GENMASK_ULL(8, 5) | GENMASK_ULL(2, 1);

	return pdpte & reserved || pdpte >> boot_cpu_data.x86_phys_bits ? 0 : pdpte;
}

/* With PAE paging four entries are loaded with CR3; whoever sets CR3 does it. */
static bool write_pdptes(struct vmx_vcpu *vmx)
{
	const struct wisp_control *control = &vmx->regs.control;
	struct wisp_vcpu *vcpu = &vmx->vcpu;
	unsigned int i;

	vmx->pdptes_stale = control->cr0 & X86_CR0_PG &&
			    control->cr4 & X86_CR4_PAE &&
			    !(control->efer & EFER_LMA);
	if (!vmx->pdptes_stale)
		return true;
	if (!vcpu->has_pdptes) {
		vcpu->exit = (struct wisp_exit){
			.reason = WISP_EXIT_PDPTES,
			.memory.gpa = (u32)control->cr3 & ~0x1fU,
			.memory.access = WISP_PROT_READ,
			.memory.flags = WISP_MEMORY_WALK,
		};
		return false;
	}
	for (i = 0; i < ARRAY_SIZE(vcpu->pdptes); i++)
		vmx_write(GUEST_PDPTR0 + 2 * i, valid_pdpte(vcpu->pdptes[i]));
	vmx->pdptes_stale = false;
	return true;
}

/*
 * What blocks events. An event that is injected ends the shadow. Behind STI a
 * step has nothing to wait for; behind MOV SS its #DB must be pending.
 */
static void write_shadow(struct vmx_vcpu *vmx)
{
	const struct wisp_vcpu *vcpu = &vmx->vcpu;
	u64 rflags = vcpu->general.rflags, shadow = 0, pending;
	bool step = rflags & X86_EFLAGS_TF;

	if (likely(!step && !vcpu->events.interrupt_shadow &&
		   !vcpu->events.nmi_blocked && !vmx->have.shadow))
		return;
	if (vcpu->events.interrupt_shadow && !vmx->inject) {
		shadow = vmx->have.shadow & SHADOW_BITS ?: GUEST_INTR_STATE_STI;
		if (!(rflags & X86_EFLAGS_IF))
			shadow = GUEST_INTR_STATE_MOV_SS;
		if (step && shadow == GUEST_INTR_STATE_STI)
			shadow = 0;
	}
	/* Bochs says so, too, where a step's instruction is still to come. */
	if (step || (shadow | vmx->have.shadow) & SHADOW_BITS) {
		pending = vmx_read(GUEST_PENDING_DBG_EXCEPTIONS) & PENDING_HITS;
		vmx_write(GUEST_PENDING_DBG_EXCEPTIONS,
			  shadow && step ? pending | PENDING_BS : pending);
	}
	if (vcpu->events.nmi_blocked &&
	    (vmx->inject & INTR_INFO_INTR_TYPE_MASK) != INTR_TYPE_NMI_INTR)
		shadow |= GUEST_INTR_STATE_NMI;
	vmx_update(GUEST_INTERRUPTIBILITY_INFO, shadow, &vmx->have.shadow);
}

static void write_controls(struct vmx_vcpu *vmx)
{
	u32 primary = vmx_caps.primary, exceptions = ALWAYS_TAKEN;
	const struct wisp_vcpu *vcpu = &vmx->vcpu;
	struct vmx_fields *have = &vmx->have;

	if (vcpu->intr_window)
		primary |= CPU_BASED_INTR_WINDOW_EXITING;
	if (vcpu->nmi_window)
		primary |= CPU_BASED_NMI_WINDOW_EXITING;
	if (is_deterministic(vmx))
		primary |= CPU_BASED_RDTSC_EXITING;
	if (vcpu->trap_int3)
		exceptions |= BIT(X86_TRAP_BP);
	if (vcpu->guest_has_dr && !vcpu->traps_dr)
		primary &= ~CPU_BASED_MOV_DR_EXITING;
	vmx_update(CPU_BASED_VM_EXEC_CONTROL, primary, &have->primary);
	vmx_update(EXCEPTION_BITMAP, exceptions, &have->exceptions);
	have->to_exit = vcpu->to_exit;
}

/* What the core keeps; most of it is as it was at the last exit. */
static void write_general(struct vmx_vcpu *vmx)
{
	const struct wisp_vcpu *vcpu = &vmx->vcpu;
	struct vmx_fields *have = &vmx->have;

	if (unlikely(have->to_exit != vcpu->to_exit))
		write_controls(vmx);
	vmx_update(TSC_OFFSET, vcpu->tsc_offset, &have->tsc_offset);
	vmx_update(GUEST_DR7, vcpu->breakpoints_live ? vcpu->breakpoints.dr7 :
						       vcpu->debug.dr7, &have->dr7);
	vmx_update(GUEST_RIP, vcpu->general.rip, &have->rip);
	vmx_update(GUEST_RSP, vcpu->general.rsp, &have->rsp);
	vmx_update(GUEST_RFLAGS, vcpu->general.rflags, &have->rflags);
	if (native_read_cr2() != vmx->regs.control.cr2)
		native_write_cr2(vmx->regs.control.cr2);
	if (vcpu->guest_has_dr)
		set_debugreg((unsigned long)vcpu->debug.dr6, 6);
}

static void read_general(struct vmx_vcpu *vmx)
{
	struct wisp_vcpu *vcpu = &vmx->vcpu;
	struct vmx_fields *have = &vmx->have;
	unsigned long dr6;

	have->rip = vmx_read(GUEST_RIP);
	have->rsp = vmx_read(GUEST_RSP);
	have->rflags = vmx_read(GUEST_RFLAGS);
	vcpu->general.rip = have->rip;
	vcpu->general.rsp = have->rsp;
	vcpu->general.rflags = have->rflags;
	vmx->regs.control.cr2 = native_read_cr2();
	have->shadow = vmx_read(GUEST_INTERRUPTIBILITY_INFO);
	vcpu->events.interrupt_shadow = !!(have->shadow & SHADOW_BITS);
	vcpu->events.nmi_blocked = !!(have->shadow & GUEST_INTR_STATE_NMI);
	if (!vcpu->guest_has_dr)
		return;
	get_debugreg(dr6, 6);
	vcpu->debug.dr6 = dr6;
	have->dr7 = vmx_read(GUEST_DR7);
	if (!vcpu->breakpoints_live)
		vcpu->debug.dr7 = have->dr7;
}

/*
 * VMX was turned off under us, and what the VMCS had is nowhere. Of the guest's MSRs one
 * is in the CPU still, which the end of the window is to find there.
 */
static void lose_vmcs(struct vmx_vcpu *vmx)
{
	pr_warn_ratelimited("VMX was turned off in a run: its vCPU begins anew\n");
	read_groups(vmx, WISP_STATE_MSRS & ~vmx->valid);
	wisp_hw_forget();
	memset(&vmx->have, 0, sizeof(vmx->have));
	vmx->written = false;
	vmx->cpu = -1;
	vmx->inject = 0;
	vmx->valid = VMX_GROUPS;
	vmx->vcpu.exit.reason = WISP_EXIT_GONE;
}

static void vmx_run(struct wisp_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = vmx_of(vcpu);
	u32 flags = vmx_caps.enter_flags, reason, error;
	int failed;

	if (unlikely(vmx->pdptes_stale) && !write_pdptes(vmx)) {
		/* The next window's, if it is still wanted then. */
		vmx_write(VM_ENTRY_INTR_INFO_FIELD, 0);
		vmx->inject = 0;
		return;
	}
	if (unlikely(vmx->dirty))
		write_dirty(vmx);
	write_general(vmx);
	write_shadow(vmx);
	if (unlikely(wisp_hw_flush(vcpu))) {
		if (!flush_ept(vmx))
			return lose_vmcs(vmx);
		wisp_ledger_flushed(vcpu);
	}
	wisp_ledger_enter(vcpu);

	if (vmx->launched)
		flags |= VMX_ENTER_RESUME;
	failed = vmx_enter(&vcpu->general, flags, &vmx->have.host_rsp);
	if (unlikely(failed))
		vmx->have.host_rsp = 0;	/* written or not */
	if (vmx->inject)
		vmx_write(VM_ENTRY_INTR_INFO_FIELD, 0);
	vmx->inject = 0;
	error = unlikely(failed == 1) ? vmx_read(VM_INSTRUCTION_ERROR) : 0;
	/* A fault, or VMfailInvalid. */
	if (unlikely(failed && !error))
		return lose_vmcs(vmx);
	reason = failed ? 0 : vmx_read(VM_EXIT_REASON);
	if (unlikely(failed || reason & VMX_EXIT_REASONS_FAILED_VMENTRY)) {
		vmx_decode_failure(vcpu, reason, error);
		return;
	}
	vmx->launched = true;
	vmx->valid = 0;
	read_general(vmx);
	vmx_decode(vcpu, reason);
}

/* ---- vCPUs --------------------------------------------------------------- */

static int vmx_vcpu_init(struct wisp_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = vmx_of(vcpu);

	vmx->vmcs = vmx->vmcs ?: (void *)get_zeroed_page(WISP_GFP);
	vmx->vapic = vmx->vapic ?: (void *)get_zeroed_page(WISP_GFP);
	if (!vmx->vmcs || !vmx->vapic)
		return -ENOMEM;
	vmx->vmcs_hpa = __pa(vmx->vmcs);
	*(u32 *)vmx->vmcs = vmx_caps.revision;
	vmx->cpu = -1;
	return 0;
}

static void vmx_vcpu_exit(struct wisp_vcpu *vcpu)
{
	free_page((unsigned long)vmx_of(vcpu)->vmcs);
	free_page((unsigned long)vmx_of(vcpu)->vapic);
}

/* ---- init ---------------------------------------------------------------- */

/* The kernel takes the flag away where the firmware locked VMX off. */
static int probe(void)
{
	u64 control;

	if (!(cpuid_ecx(1) & BIT(X86_FEATURE_VMX & 31)))
		return -ENODEV;
	if (rdmsrq_safe(MSR_IA32_FEAT_CTL, &control) ||
	    !(control & FEAT_CTL_VMX_ENABLED_OUTSIDE_SMX) ||
	    !(control & FEAT_CTL_LOCKED)) {
		pr_err("VMX is disabled by the firmware: enable it in the firmware's set-up\n");
		return -EACCES;
	}
#ifdef X86_FEATURE_FRED
	if (cpu_feature_enabled(X86_FEATURE_FRED)) {
		pr_err("FRED is not supported: boot with fred=off\n");
		return -EOPNOTSUPP;
	}
#endif
	return 0;
}

static void vmx_exit(void)
{
	free_page((unsigned long)msr_bitmap);
	free_pages((unsigned long)l1d_pages, L1D_ORDER);
}

static int l1d_init(void)
{
	unsigned int i;

	l1d_flush &= boot_cpu_has_bug(X86_BUG_L1TF) && !cpu_mitigations_off();
	if (!l1d_flush || boot_cpu_has(X86_FEATURE_FLUSH_L1D))
		return 0;
	l1d_pages = (void *)__get_free_pages(GFP_KERNEL, L1D_ORDER);
	if (!l1d_pages)
		return -ENOMEM;
	/* Each other than the rest: a hypervisor below would merge them. */
	for (i = 0; i < BIT(L1D_ORDER); i++)
		memset(l1d_pages + i * PAGE_SIZE, i, PAGE_SIZE);
	return 0;
}

static int vmx_init(void)
{
	/* From 0xc0000000 on: 1 KiB of bits for reads; 2 KiB on for writes. */
	const u32 bases = (MSR_FS_BASE & 0x1fff) + 0x400 * 8;
	int ret = probe();

	if (!ret)
		ret = vmx_caps_init();
	if (!ret)
		ret = l1d_init();
	if (ret)
		return ret;
	msr_bitmap = (void *)__get_free_page(GFP_KERNEL);
	if (!msr_bitmap) {
		vmx_exit();
		return -ENOMEM;
	}
	memset(msr_bitmap, 0xff, PAGE_SIZE);
	/* FS_BASE, GS_BASE and KERNEL_GS_BASE are the guest's own. */
	bitmap_clear(msr_bitmap, bases, 3);
	bitmap_clear(msr_bitmap, bases + 0x800 * 8, 3);

	vmx_backend.format.huge = vmx_caps.huge ? BIT(7) : 0;
	vmx_backend.marking_costs = vmx_caps.eptp & VMX_EPTP_AD_ENABLE_BIT;
	if (vmx_backend.marking_costs)
		vmx_backend.format.dirty = VMX_EPT_DIRTY_BIT;
	vmx_backend.quirks = (vmx_caps.huge ? 0 : WISP_QUIRK_NO_HUGE) |
			     (vmx_backend.format.dirty ? 0 : WISP_QUIRK_NO_DIRTY);
	if ((boot_cpu_has(X86_FEATURE_RDRAND) &&
	     !(vmx_caps.no_random & SECONDARY_EXEC_RDRAND_EXITING)) ||
	    (boot_cpu_has(X86_FEATURE_RDSEED) &&
	     !(vmx_caps.no_random & SECONDARY_EXEC_RDSEED_EXITING)))
		vmx_backend.quirks |= WISP_QUIRK_RANDOM;
	vmx_backend.no_rdtscp = !(vmx_caps.secondary & SECONDARY_EXEC_ENABLE_RDTSCP);
	vmx_backend.no_invpcid = !(vmx_caps.secondary & SECONDARY_EXEC_ENABLE_INVPCID);
	vmx_backend.no_cr4 = ~vmx_caps.cr4;
	vmx_backend.gpa_bits = min_t(u32, boot_cpu_data.x86_phys_bits, 48);
	static_call_update(wisp_cpu_enable, vmx_cpu_enable);
	static_call_update(wisp_cpu_disable, vmx_cpu_disable);
	static_call_update(wisp_window_enter, vmx_window_enter);
	static_call_update(wisp_window_leave, vmx_window_leave);
	static_call_update(wisp_run, vmx_run);
	return 0;
}

struct wisp_backend vmx_backend = {
	.id = WISP_BACKEND_VMX,
	.name = "VMX",
	.vcpu_size = sizeof(struct vmx_vcpu),
	/* Write-back, whatever the guest's PAT and MTRRs say. */
	.format = {
		.table = VMX_EPT_RWX_MASK,
		.leaf = VMX_EPTP_MT_WB << VMX_EPT_MT_EPTE_SHIFT | VMX_EPT_IPAT_BIT,
		.present = VMX_EPT_RWX_MASK,
		.readable = VMX_EPT_READABLE_MASK,
		.writable = VMX_EPT_WRITABLE_MASK,
		.executable = VMX_EPT_EXECUTABLE_MASK,
		.levels = 4,
	},
	.init = vmx_init,
	.exit = vmx_exit,
	.vcpu_init = vmx_vcpu_init,
	.vcpu_exit = vmx_vcpu_exit,
	.get_state = vmx_get_state,
	.set_state = vmx_set_state,
	.cr4 = vmx_cr4,
	.inject = vmx_inject,
};
