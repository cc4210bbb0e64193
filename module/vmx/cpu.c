// SPDX-License-Identifier: GPL-2.0
/*
 * The CPU: VMX on and off, and what of the host an entry overwrites.
 *
 * VMX is on in windows only. Between two of them nothing of it is left: no
 * current VMCS, no CR4.VMXE. So KVM can come and go as it likes, and a CPU that
 * goes offline, sleeps, or starts another kernel has nothing to be turned off.
 * Where KVM has VMX on already it stays on, with KVM's VMCS current again.
 */
#include <linux/io.h>
#include <linux/percpu.h>
#include <linux/sched.h>

#include <asm/cpu_entry_area.h>
#include <asm/cpufeature.h>
#include <asm/fsgsbase.h>
#include <asm/segment.h>
#include <asm/special_insns.h>

#include "../backend.h"
#include "../compat.h"
#include "../hw.h"
#include "vmx.h"

#define NO_VMCS	(~0ULL)

/* Touched by its own CPU, in a window. */
struct vmx_cpu {
	u64 previous;		/* KVM's VMCS, or NO_VMCS */
	unsigned long cr4;	/* as it was */
	bool shared;		/* VMX is on, and not ours */
	bool nmi;		/* one came while the guest ran */
};

static DEFINE_PER_CPU(struct vmx_cpu, vmx_cpus);

/* False where the instruction fails or faults. */
#define VMX_OP(op, hpa)                                                    \
({                                                                         \
	bool done_ = false;                                                \
									   \
	asm volatile("1: " op " %1\n seta %0\n2:\n" _ASM_EXTABLE(1b, 2b)   \
		     : "+r"(done_), "+m"(hpa) : : "cc", "memory");         \
	done_;                                                             \
})

static void write_cr4(unsigned long cr4)
{
	asm volatile("mov %0, %%cr4" : : "r"(cr4) : "memory");
}

int vmx_cpu_enable(void)
{
	struct vmx_cpu *cpu = this_cpu_ptr(&vmx_cpus);

	cpu->cr4 = __read_cr4();
	cpu->shared = false;
	if (cpu->cr4 & X86_CR4_VMXE) {
		if (vmx_caps.enlightened)
			return -EBUSY;
		/* Whoever it is may have turned VMX off and on again. */
		wisp_hw_forget();
		/* Not on, where its thread was interrupted behind CR4, or before. */
		cpu->shared = VMX_OP("vmptrst", cpu->previous);
		if (cpu->shared)
			return cpu->previous != NO_VMCS;
	}
	write_cr4(cpu->cr4 | X86_CR4_VMXE);
	*(u32 *)wisp_hw_page() = vmx_caps.revision;
	if (VMX_OP("vmxon", *this_cpu_ptr(&wisp_hw_hpa)))
		return 0;
	write_cr4(cpu->cr4);
	return -EBUSY;
}

/* The NMI's handler may end in another kernel: VMX is off before it runs. */
void vmx_cpu_disable(void)
{
	struct vmx_cpu *cpu = this_cpu_ptr(&vmx_cpus);

	if (!cpu->shared) {
		asm volatile("1: vmxoff\n2:\n" _ASM_EXTABLE(1b, 2b) : : : "cc");
		write_cr4(cpu->cr4);
	} else if (cpu->previous != NO_VMCS) {
		VMX_OP("vmptrld", cpu->previous);
	}
	if (cpu->nmi) {
		cpu->nmi = false;
		asm volatile("int $2");
	}
}

/* NMIs are blocked from the exit on until the handler's IRET. */
void vmx_host_nmi(void)
{
	this_cpu_write(vmx_cpus.nmi, true);
}

/* Makes the vCPU's VMCS the current one. */
void vmx_load(struct vmx_vcpu *vmx)
{
	VMX_OP("vmptrld", vmx->vmcs_hpa);
	vmx->loaded = true;
	vmx->launched = false;
}

/* All of it is in memory, and the CPU knows nothing of it any more. */
void vmx_unload(struct vmx_vcpu *vmx)
{
	VMX_OP("vmclear", vmx->vmcs_hpa);
	vmx->loaded = false;
}

/* ---- the host's state ---------------------------------------------------- */

/* As the first of struct wisp_msrs. */
static const u32 msr_index[VMX_MSRS] = {
	MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SYSCALL_MASK, MSR_KERNEL_GS_BASE,
};

static_assert(offsetofend(struct wisp_msrs, kernel_gs_base) ==
	      VMX_MSRS * sizeof(u64));

/* Those that differ from @old, which is what the CPU has. */
void vmx_write_msrs(const u64 *values, const u64 *old)
{
	unsigned int i;

#pragma GCC unroll 8
	for (i = 0; i < VMX_MSRS; i++)
		if (values[i] != old[i])
			native_wrmsrq(msr_index[i], values[i]);
}

/* What is the same on this CPU whoever runs on it. */
static noinline_for_stack void write_host_cpu(struct vmx_vcpu *vmx)
{
	static const struct { u32 field, msr; } msrs[] = {
		{ HOST_GS_BASE, MSR_GS_BASE },
		{ HOST_IA32_SYSENTER_CS, MSR_IA32_SYSENTER_CS },
		{ HOST_IA32_SYSENTER_ESP, MSR_IA32_SYSENTER_ESP },
		{ HOST_IA32_SYSENTER_EIP, MSR_IA32_SYSENTER_EIP },
	};
	struct desc_ptr idt;
	unsigned int i;
	u64 value;

	vmx->cpu = smp_processor_id();
	store_idt(&idt);
	vmx_write(HOST_IDTR_BASE, idt.address);
	vmx_write(HOST_GDTR_BASE, vmx->host.gdt.address);
	vmx_write(HOST_TR_BASE,
		  (unsigned long)&get_cpu_entry_area(vmx->cpu)->tss.x86_tss);
	for (i = 0; i < ARRAY_SIZE(msrs); i++) {
		value = native_rdmsrq(msrs[i].msr);
		vmx_write(msrs[i].field, value);
	}
}

/*
 * An exit loads what the VMCS has as the host's. That cannot hold LDTR or
 * selectors with an RPL, and the limits of GDTR, IDTR and TR are its own.
 */
void vmx_host_enter(struct vmx_vcpu *vmx)
{
	struct vmx_host *host = &vmx->host;
	unsigned int i;

	native_store_gdt(&host->gdt);
	store_idt(&host->idt);
	store_ldt(host->ldt);
	savesegment(ds, host->ds);
	savesegment(es, host->es);
	savesegment(fs, host->fs);
	savesegment(gs, host->gs);
	host->fs_base = x86_fsbase_read_cpu();
	host->nmis = wisp_host_nmis();
	host->debugctl = native_rdmsrq(MSR_IA32_DEBUGCTLMSR);
	if (unlikely(vmx->cpu != smp_processor_id()))
		write_host_cpu(vmx);
	vmx_update(HOST_CR0, read_cr0(), &vmx->have.host_cr0);
	vmx_update(HOST_CR3, __read_cr3(), &vmx->have.host_cr3);
	vmx_update(HOST_CR4, __read_cr4(), &vmx->have.host_cr4);
	vmx_update(HOST_FS_BASE, host->fs_base, &vmx->have.host_fs_base);
	/* Until KVM's runner is in user mode again, it may be KVM's guest's. */
	vmx_update(HOST_IA32_EFER, native_rdmsrq(MSR_EFER), &vmx->have.host_efer);
#pragma GCC unroll 8
	for (i = 0; i < VMX_MSRS; i++)
		host->msrs[i] = native_rdmsrq(msr_index[i]);
	vmx_write_msrs(&vmx->regs.msrs.star, host->msrs);
}

/* BTS whose buffer was full an NMI's handler has stopped: it stays so, as in host.c. */
static void restore_debugctl(const struct vmx_host *host)
{
	native_wrmsrq(MSR_IA32_DEBUGCTLMSR, host->debugctl);
	if (host->nmis != wisp_host_nmis())
		native_wrmsrq(MSR_IA32_DEBUGCTLMSR, host->debugctl &
			      ~(DEBUGCTLMSR_TR | DEBUGCTLMSR_BTS | DEBUGCTLMSR_BTINT));
}

void vmx_host_leave(struct vmx_vcpu *vmx)
{
	struct vmx_host *host = &vmx->host;

	vmx_write_msrs(host->msrs, &vmx->regs.msrs.star);
	native_load_gdt(&host->gdt);
	native_load_idt(&host->idt);
	invalidate_tss_limit();
	if (host->ldt)
		asm volatile("lldt %0" : : "rm"(host->ldt));
	if (host->ds)
		loadsegment(ds, host->ds);
	if (host->es)
		loadsegment(es, host->es);
	if (host->fs) {
		loadsegment(fs, host->fs);
		native_wrmsrq(MSR_FS_BASE, host->fs_base);
	}
	if (host->gs) {
		/* Sets KERNEL_GS_BASE too. */
		load_gs_index(host->gs);
		native_wrmsrq(MSR_KERNEL_GS_BASE, host->msrs[VMX_MSRS - 1]);
	}
	if (unlikely(host->debugctl))
		restore_debugctl(host);
}
