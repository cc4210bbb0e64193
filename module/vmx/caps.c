// SPDX-License-Identifier: GPL-2.0
/*
 * What this CPU's VMX can do: SDM Vol. 3, "VMX Capability Reporting Facility".
 * Where a control that Wisp cannot do without is missing, the log has its name; the
 * others are used where they are.
 */
#define pr_fmt(fmt) "wisp: " fmt

#include <linux/cpu.h>
#include <linux/moduleparam.h>
#include <linux/printk.h>

#include <asm/cpufeature.h>
#include <asm/hypervisor.h>
#include <asm/processor.h>
#include <asm/tsc.h>

#include "../compat.h"
#include "vmx.h"

struct vmx_caps vmx_caps;

/* What is optional: bits of vmx_without. */
#define NO_VPID		BIT(0)
#define NO_AD		BIT(1)
#define NO_HUGE		BIT(2)
#define NO_TIMER	BIT(3)
#define NO_RDTSCP	BIT(4)
#define NO_INVPCID	BIT(5)
#define NO_ENCLS	BIT(6)
#define NO_PERF		BIT(7)
#define NO_RANDOM	BIT(8)
#define NO_SMAP		BIT(9)

#ifdef CONFIG_WISP_DEBUG
static unsigned int vmx_without;
module_param(vmx_without, uint, 0444);
MODULE_PARM_DESC(vmx_without,
		 "do without 1 VPID, 2 EPT A/D, 4 2-MiB pages, 8 the timer, 16 RDTSCP, 32 INVPCID, 64 ENCLS exiting, 128 PERF_GLOBAL_CTRL, 256 RDRAND and RDSEED exiting, 512 CR4.SMAP (test)");
#else
#define vmx_without	0
#endif

enum { PIN, PRIMARY, SECONDARY, EXIT, ENTRY };

static const struct {
	const char *name;
	u32 field;
	u32 msr;
	u32 *chosen;
} groups[] = {
	[PIN] = { "pin-based", PIN_BASED_VM_EXEC_CONTROL,
		  MSR_IA32_VMX_TRUE_PINBASED_CTLS, &vmx_caps.pin },
	[PRIMARY] = { "primary", CPU_BASED_VM_EXEC_CONTROL,
		      MSR_IA32_VMX_TRUE_PROCBASED_CTLS, &vmx_caps.primary },
	[SECONDARY] = { "secondary", SECONDARY_VM_EXEC_CONTROL,
			MSR_IA32_VMX_PROCBASED_CTLS2, &vmx_caps.secondary },
	[EXIT] = { "exit", VM_EXIT_CONTROLS, MSR_IA32_VMX_TRUE_EXIT_CTLS,
		   &vmx_caps.exit },
	[ENTRY] = { "entry", VM_ENTRY_CONTROLS, MSR_IA32_VMX_TRUE_ENTRY_CTLS,
		    &vmx_caps.entry },
};

#define AT_TIMES	BIT(31)	/* it is not always on */

/* By the SDM's names. What is not one of the above is required. */
static const struct control {
	u32 group;
	u32 bit;
	const char *name;
	u32 flags;
} controls[] = {
	{ PIN, PIN_BASED_EXT_INTR_MASK, "external-interrupt exiting" },
	{ PIN, PIN_BASED_NMI_EXITING, "NMI exiting" },
	{ PIN, PIN_BASED_VIRTUAL_NMIS, "virtual NMIs" },
	{ PIN, PIN_BASED_VMX_PREEMPTION_TIMER, "activate VMX-preemption timer",
	  NO_TIMER },
	{ PRIMARY, CPU_BASED_INTR_WINDOW_EXITING, "interrupt-window exiting",
	  AT_TIMES },
	{ PRIMARY, CPU_BASED_USE_TSC_OFFSETTING, "use TSC offsetting" },
	{ PRIMARY, CPU_BASED_HLT_EXITING, "HLT exiting" },
	{ PRIMARY, CPU_BASED_MWAIT_EXITING, "MWAIT exiting" },
	{ PRIMARY, CPU_BASED_RDPMC_EXITING, "RDPMC exiting" },
	{ PRIMARY, CPU_BASED_RDTSC_EXITING, "RDTSC exiting", AT_TIMES },
	{ PRIMARY, CPU_BASED_TPR_SHADOW, "use TPR shadow" },
	{ PRIMARY, CPU_BASED_NMI_WINDOW_EXITING, "NMI-window exiting", AT_TIMES },
	{ PRIMARY, CPU_BASED_MOV_DR_EXITING, "MOV-DR exiting" },
	{ PRIMARY, CPU_BASED_UNCOND_IO_EXITING, "unconditional I/O exiting" },
	{ PRIMARY, CPU_BASED_USE_MSR_BITMAPS, "use MSR bitmaps" },
	{ PRIMARY, CPU_BASED_MONITOR_EXITING, "MONITOR exiting" },
	{ PRIMARY, CPU_BASED_ACTIVATE_SECONDARY_CONTROLS,
	  "activate secondary controls" },
	{ SECONDARY, SECONDARY_EXEC_ENABLE_EPT, "enable EPT" },
	{ SECONDARY, SECONDARY_EXEC_ENABLE_RDTSCP, "enable RDTSCP", NO_RDTSCP },
	{ SECONDARY, SECONDARY_EXEC_ENABLE_VPID, "enable VPID", NO_VPID },
	{ SECONDARY, SECONDARY_EXEC_WBINVD_EXITING, "WBINVD exiting" },
	{ SECONDARY, SECONDARY_EXEC_UNRESTRICTED_GUEST, "unrestricted guest" },
	{ SECONDARY, SECONDARY_EXEC_RDRAND_EXITING, "RDRAND exiting",
	  NO_RANDOM | AT_TIMES },
	{ SECONDARY, SECONDARY_EXEC_ENABLE_INVPCID, "enable INVPCID", NO_INVPCID },
	{ SECONDARY, SECONDARY_EXEC_ENCLS_EXITING, "enable ENCLS exiting",
	  NO_ENCLS },
	{ SECONDARY, SECONDARY_EXEC_RDSEED_EXITING, "RDSEED exiting",
	  NO_RANDOM | AT_TIMES },
	{ EXIT, VM_EXIT_SAVE_DEBUG_CONTROLS, "save debug controls" },
	{ EXIT, VM_EXIT_HOST_ADDR_SPACE_SIZE, "host address-space size" },
	{ EXIT, VM_EXIT_SAVE_IA32_EFER, "save IA32_EFER" },
	{ EXIT, VM_EXIT_LOAD_IA32_EFER, "load IA32_EFER" },
	{ ENTRY, VM_ENTRY_LOAD_DEBUG_CONTROLS, "load debug controls" },
	{ ENTRY, VM_ENTRY_IA32E_MODE, "IA-32e mode guest", AT_TIMES },
	{ ENTRY, VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL,
	  "load IA32_PERF_GLOBAL_CTRL", NO_PERF },
	{ ENTRY, VM_ENTRY_LOAD_IA32_EFER, "load IA32_EFER" },
};

/* In each MSR the low half says what must be 1, the high half what may. */
static bool choose_controls(void)
{
	const struct control *control;
	bool complete = true;
	unsigned int i, group = PIN;
	u32 must, may;

	/* Where a group lacks something, the next one's MSR may not be there. */
	for (i = 0; i < ARRAY_SIZE(controls); i++) {
		control = &controls[i];
		if (!complete && control->group != group)
			break;
		group = control->group;
		rdmsr(groups[group].msr, must, may);
		if (vmx_without & control->flags)
			may &= ~control->bit;
		*groups[group].chosen |= must;
		if (!(control->flags & AT_TIMES))
			*groups[group].chosen |= control->bit & may;
		else if (control->flags & NO_RANDOM)
			vmx_caps.no_random |= control->bit & may;
		if (control->flags & ~AT_TIMES || control->bit & may)
			continue;
		pr_err("this CPU's VMX lacks the %s control \"%s\"\n",
		       groups[group].name, control->name);
		complete = false;
	}
	return complete;
}

static void report_wrong(unsigned int group, unsigned long bits, unsigned int right)
{
	const char *name;
	unsigned int bit, i;

	for_each_set_bit(bit, &bits, 32) {
		name = "unknown";
		for (i = 0; i < ARRAY_SIZE(controls); i++)
			if (controls[i].group == group && controls[i].bit == BIT(bit))
				name = controls[i].name;
		pr_err_ratelimited("%s control %u (%s) must be %u\n",
				   groups[group].name, bit, name, right);
	}
}

/* SDM Vol. 3, "VM Instruction Error Numbers" */
void vmx_caps_report(u32 error)
{
	u32 must, may, value;
	unsigned int i;

	pr_err_ratelimited("VM entry failed: VM-instruction error %u%s\n", error,
			   error == 7 ? ", control fields" :
			   error == 8 ? ", host-state fields" : "");
	for (i = 0; i < ARRAY_SIZE(groups) && error == 7; i++) {
		rdmsr(groups[i].msr, must, may);
		value = vmx_read(groups[i].field);
		report_wrong(i, value & ~may, 0);
		report_wrong(i, must & ~value, 1);
	}
}

/* What guests must be able to set: of CR4, what CPUID shows whether they can or not. */
#define CR0_NEEDED	(WISP_CR0_WRITTEN & U32_MAX & ~(u64)(X86_CR0_NW | X86_CR0_CD))
#define CR4_NEEDED                                                        \
	(X86_CR4_TSD | X86_CR4_DE | X86_CR4_PSE | X86_CR4_PAE |           \
	 X86_CR4_MCE | X86_CR4_PGE | X86_CR4_PCE | X86_CR4_OSFXSR |       \
	 X86_CR4_OSXMMEXCPT | X86_CR4_OSXSAVE)

/*
 * SDM Vol. 3, "VMX-Fixed Bits in CR0" and "VMX-Fixed Bits in CR4": what must be 1, and
 * what may. PE and PG are an unrestricted guest's own; NE and VMXE are always 1.
 */
static bool choose_registers(void)
{
	u64 must, may, cr0, cr4;

	rdmsrq(MSR_IA32_VMX_CR0_FIXED0, must);
	rdmsrq(MSR_IA32_VMX_CR0_FIXED1, may);
	cr0 = (must & ~(X86_CR0_PE | X86_CR0_NE | X86_CR0_PG)) | (CR0_NEEDED & ~may);
	rdmsrq(MSR_IA32_VMX_CR4_FIXED0, must);
	rdmsrq(MSR_IA32_VMX_CR4_FIXED1, may);
	cr4 = (must & ~X86_CR4_VMXE) | (CR4_NEEDED & ~may);
	if (cr0 | cr4)
		pr_err("this CPU's VMX fixes %#llx in CR0, %#llx in CR4\n", cr0, cr4);
	vmx_caps.cr4 = may & ~(vmx_without & NO_SMAP ? X86_CR4_SMAP : 0);
	return !(cr0 | cr4);
}

/*
 * iTLB multihit: a guest may not have a large page that it can execute, and one
 * that it cannot would have to be split at its first fetch. So it has none.
 */
static void choose_options(u64 ept, u64 misc)
{
	vmx_caps.eptp = VMX_EPTP_MT_WB | VMX_EPTP_PWL_4;
	if (ept & VMX_EPT_AD_BIT && !(vmx_without & NO_AD))
		vmx_caps.eptp |= VMX_EPTP_AD_ENABLE_BIT;
	vmx_caps.huge = ept & VMX_EPT_2MB_PAGE_BIT && !(vmx_without & NO_HUGE) &&
			(!boot_cpu_has_bug(X86_BUG_ITLB_MULTIHIT) ||
			 cpu_mitigations_off());
	vmx_caps.timer = tsc_khz >> vmx_misc_preemption_timer_rate(misc);
}

/*
 * Whether VERW before an entry clears what the host left in the CPU's buffers.
 * For MMIO stale data alone the kernel has no flag that modules can see.
 */
static bool verw_clears(void)
{
	return boot_cpu_has(X86_FEATURE_CLEAR_CPU_BUF) ||
	       boot_cpu_has(X86_FEATURE_CLEAR_CPU_BUF_VM) ||
	       (boot_cpu_has_bug(X86_BUG_MMIO_STALE_DATA) &&
		boot_cpu_has(X86_FEATURE_MD_CLEAR) && !cpu_mitigations_off());
}

#define HYPERV_RECOMMENDATIONS	0x40000004
#define HYPERV_ENLIGHTENED_VMCS	BIT(14)

/*
 * Under Hyper-V, or what is like it, KVM may enter by an enlightened VMCS ("Hypervisor
 * Top Level Functional Specification"). While one is active, an instruction about
 * another VMCS goes wrong or never ends: so there are no windows beside KVM then, and
 * what GET_STATE may ask for between two is read before.
 */
static void choose_sharing(void)
{
	vmx_caps.enlightened = hypervisor_is_type(X86_HYPER_MS_HYPERV) &&
			       cpuid_eax(HYPERV_RECOMMENDATIONS) & HYPERV_ENLIGHTENED_VMCS;
	/* KERNEL_GS_BASE is in the CPU, where the host's will be. */
	vmx_caps.read_groups = vmx_caps.enlightened ? VMX_GROUPS : WISP_STATE_MSRS;
}

int vmx_caps_init(void)
{
	const u64 ept_required = VMX_EPT_PAGE_WALK_4_BIT | VMX_EPTP_WB_BIT |
				 VMX_EPT_INVEPT_BIT | VMX_EPT_EXTENT_CONTEXT_BIT;
	u64 basic, ept, misc;

	rdmsrq(MSR_IA32_VMX_BASIC, basic);
	if (!(basic & VMX_BASIC_TRUE_CTLS) || !choose_controls() ||
	    !choose_registers())
		return -EOPNOTSUPP;
	rdmsrq(MSR_IA32_VMX_EPT_VPID_CAP, ept);
	if (ept_required & ~ept) {
		pr_err("this CPU's EPT is not enough: %#llx\n", ept);
		return -EOPNOTSUPP;
	}
	rdmsrq(MSR_IA32_VMX_MISC, misc);
	vmx_caps.revision = vmx_basic_vmcs_revision_id(basic);
	choose_options(ept, misc);
	vmx_caps.enter_flags = verw_clears() ? VMX_ENTER_VERW : 0;
	choose_sharing();
	return 0;
}
