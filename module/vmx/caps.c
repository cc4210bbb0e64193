// SPDX-License-Identifier: GPL-2.0
/*
 * What this CPU's VMX can do: SDM Vol. 3, "VMX Capability Reporting Facility".
 * Controls that Wisp cannot do without are refused by their group's name; the
 * others are used where they are.
 */
#define pr_fmt(fmt) "wisp: " fmt

#include <linux/cpu.h>
#include <linux/moduleparam.h>
#include <linux/printk.h>

#include <asm/cpufeature.h>
#include <asm/processor.h>
#include <asm/tsc.h>

#include "../compat.h"
#include "vmx.h"

struct vmx_caps vmx_caps;

#ifdef CONFIG_WISP_DEBUG
static unsigned int vmx_without;
module_param(vmx_without, uint, 0444);
MODULE_PARM_DESC(vmx_without,
		 "do without 1 VPID, 2 EPT A/D, 4 2-MiB pages, 8 the timer (test)");
#else
#define vmx_without	0
#endif

static const struct {
	const char *name;
	u32 field;
	u32 msr;
	u32 *chosen;
	u32 required;
	u32 optional;
} controls[] = {
	{ "pin-based", PIN_BASED_VM_EXEC_CONTROL,
	  MSR_IA32_VMX_TRUE_PINBASED_CTLS, &vmx_caps.pin,
	  PIN_BASED_EXT_INTR_MASK | PIN_BASED_NMI_EXITING |
	  PIN_BASED_VIRTUAL_NMIS,
	  PIN_BASED_VMX_PREEMPTION_TIMER },
	{ "primary", CPU_BASED_VM_EXEC_CONTROL,
	  MSR_IA32_VMX_TRUE_PROCBASED_CTLS, &vmx_caps.primary,
	  CPU_BASED_USE_TSC_OFFSETTING | CPU_BASED_HLT_EXITING |
	  CPU_BASED_MWAIT_EXITING | CPU_BASED_RDPMC_EXITING |
	  CPU_BASED_TPR_SHADOW | CPU_BASED_UNCOND_IO_EXITING |
	  CPU_BASED_MOV_DR_EXITING | CPU_BASED_USE_MSR_BITMAPS |
	  CPU_BASED_MONITOR_EXITING | CPU_BASED_ACTIVATE_SECONDARY_CONTROLS, 0 },
	{ "secondary", SECONDARY_VM_EXEC_CONTROL,
	  MSR_IA32_VMX_PROCBASED_CTLS2, &vmx_caps.secondary,
	  SECONDARY_EXEC_ENABLE_EPT | SECONDARY_EXEC_UNRESTRICTED_GUEST |
	  SECONDARY_EXEC_WBINVD_EXITING,
	  SECONDARY_EXEC_ENABLE_VPID | SECONDARY_EXEC_ENABLE_RDTSCP |
	  SECONDARY_EXEC_ENABLE_INVPCID | SECONDARY_EXEC_ENCLS_EXITING },
	{ "exit", VM_EXIT_CONTROLS, MSR_IA32_VMX_TRUE_EXIT_CTLS, &vmx_caps.exit,
	  VM_EXIT_SAVE_DEBUG_CONTROLS | VM_EXIT_HOST_ADDR_SPACE_SIZE |
	  VM_EXIT_SAVE_IA32_EFER | VM_EXIT_LOAD_IA32_EFER, 0 },
	{ "entry", VM_ENTRY_CONTROLS, MSR_IA32_VMX_TRUE_ENTRY_CTLS, &vmx_caps.entry,
	  VM_ENTRY_LOAD_DEBUG_CONTROLS | VM_ENTRY_LOAD_IA32_EFER,
	  VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL },
};

/* In each MSR the low half says what must be 1, the high half what may. */
static bool choose_controls(void)
{
	u32 must, may, missing;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(controls); i++) {
		rdmsr(controls[i].msr, must, may);
		missing = controls[i].required & ~may;
		if (missing) {
			pr_err("this CPU's VMX lacks %s controls %#x\n",
			       controls[i].name, missing);
			return false;
		}
		*controls[i].chosen =
			(controls[i].required | controls[i].optional | must) & may;
	}
	return true;
}

/* SDM Vol. 3, "VM Instruction Error Numbers" */
void vmx_caps_report(u32 error)
{
	u32 must, may, value, wrong;
	unsigned int i;

	pr_err_ratelimited("VM entry failed: VM-instruction error %u%s\n", error,
			   error == 7 ? ", control fields" :
			   error == 8 ? ", host-state fields" : "");
	for (i = 0; i < ARRAY_SIZE(controls) && error == 7; i++) {
		rdmsr(controls[i].msr, must, may);
		value = vmx_read(controls[i].field);
		wrong = (value & ~may) | (must & ~value);
		if (wrong)
			pr_err_ratelimited("%s controls %#x: wrong are %#x\n",
					   controls[i].name, value, wrong);
	}
}

/*
 * iTLB multihit: a guest may not have a large page that it can execute, and one
 * that it cannot would have to be split at its first fetch. So it has none.
 */
static void choose_options(u64 ept, u64 misc)
{
	vmx_caps.eptp = VMX_EPTP_MT_WB | VMX_EPTP_PWL_4;
	if (ept & VMX_EPT_AD_BIT && !(vmx_without & 2))
		vmx_caps.eptp |= VMX_EPTP_AD_ENABLE_BIT;
	vmx_caps.huge = ept & VMX_EPT_2MB_PAGE_BIT && !(vmx_without & 4) &&
			(!boot_cpu_has_bug(X86_BUG_ITLB_MULTIHIT) ||
			 cpu_mitigations_off());
	if (vmx_without & 1)
		vmx_caps.secondary &= ~SECONDARY_EXEC_ENABLE_VPID;
	if (vmx_without & 8)
		vmx_caps.pin &= ~PIN_BASED_VMX_PREEMPTION_TIMER;
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

int vmx_caps_init(void)
{
	const u64 ept_required = VMX_EPT_PAGE_WALK_4_BIT | VMX_EPTP_WB_BIT |
				 VMX_EPT_INVEPT_BIT | VMX_EPT_EXTENT_CONTEXT_BIT;
	u64 basic, ept, misc, secondary;

	rdmsrq(MSR_IA32_VMX_BASIC, basic);
	if (!(basic & VMX_BASIC_TRUE_CTLS) || !choose_controls())
		return -EOPNOTSUPP;
	rdmsrq(MSR_IA32_VMX_EPT_VPID_CAP, ept);
	if (ept_required & ~ept) {
		pr_err("this CPU's EPT is not enough: %#llx\n", ept);
		return -EOPNOTSUPP;
	}
	rdmsrq(MSR_IA32_VMX_PROCBASED_CTLS2, secondary);
	vmx_caps.no_random = secondary >> 32 & (SECONDARY_EXEC_RDRAND_EXITING |
						SECONDARY_EXEC_RDSEED_EXITING);
	rdmsrq(MSR_IA32_VMX_MISC, misc);
	vmx_caps.revision = vmx_basic_vmcs_revision_id(basic);
	choose_options(ept, misc);
	vmx_caps.enter_flags = verw_clears() ? VMX_ENTER_VERW : 0;
	return 0;
}
