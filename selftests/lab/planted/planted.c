// SPDX-License-Identifier: GPL-2.0
/*
 * A module that does wrong when told to, so that the lab can show that it
 * notices. Stands in for wisp.ko in selftests/lab/selftest.
 */
#include <linux/io.h>
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/kvm_types.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

#include <asm/apic.h>
#include <asm/cpufeature.h>
#include <asm/msr.h>
#include <asm/processor-flags.h>
#include <asm/tlbflush.h>

static char *what = "nothing";
module_param(what, charp, 0444);
MODULE_PARM_DESC(what, "a fault, or nothing");

/* The one name that all kernels have for it. */
static void write_msr(u32 msr, u64 value)
{
	wrmsr(msr, lower_32_bits(value), upper_32_bits(value));
}

static void plant_warn(void)
{
	WARN(1, "planted");
}

static void plant_msr(void)
{
	write_msr(MSR_VM_HSAVE_PA, 1); /* not aligned */
}

static void plant_oops(void)
{
	WRITE_ONCE(*(int *)8, 0);
}

static void plant_hang(void)
{
	local_irq_disable();
	for (;;)
		cpu_relax();
}

/* What a host may be like, and no fault: see selftests/lab/half-on. */

/* 7.x keeps these functions of CR4 for KVM. */
#ifndef EXPORT_SYMBOL_FOR_KVM
#define HAS_VMXE

static void plant_vmxe(void)
{
	unsigned long flags;

	local_irq_save(flags);
	cr4_set_bits_irqsoff(X86_CR4_VMXE);
	local_irq_restore(flags);
}

static void take_vmxe(void)
{
	unsigned long flags;

	local_irq_save(flags);
	WARN_ON(!(__read_cr4() & X86_CR4_VMXE));
	cr4_clear_bits_irqsoff(X86_CR4_VMXE);
	local_irq_restore(flags);
}

#endif

/* With SVM VMRUN would save the host's state in page 0 then. */
static u8 page0[PAGE_SIZE];

static void plant_svme(void)
{
	unsigned long flags;

	memcpy(page0, __va(0), PAGE_SIZE);
	local_irq_save(flags);
	write_msr(MSR_EFER, __rdmsr(MSR_EFER) | EFER_SVME);
	write_msr(MSR_VM_HSAVE_PA, 0);
	local_irq_restore(flags);
}

static void take_svme(void)
{
	unsigned long flags;

	local_irq_save(flags);
	WARN_ON(!(__rdmsr(MSR_EFER) & EFER_SVME));
	WARN_ON(__rdmsr(MSR_VM_HSAVE_PA));
	write_msr(MSR_EFER, __rdmsr(MSR_EFER) & ~EFER_SVME);
	local_irq_restore(flags);
	WARN_ON(memcmp(page0, __va(0), PAGE_SIZE));
}

/*
 * A machine check for each CPU: in the lab's Bochs a delivery mode that hardware
 * reserves means that. See selftests/mce.
 */
static void plant_mce(void)
{
	u32 icr = APIC_DEST_ALLINC | 3 << 8;

	if (__rdmsr(MSR_IA32_APICBASE) & X2APIC_ENABLE)
		write_msr(APIC_BASE_MSR + (APIC_ICR >> 4), icr);
	else
		writel(icr, (void __iomem *)(APIC_BASE + APIC_ICR));
}

/* That the kernel uses FRED, which neither emulator has. */
static void plant_fred(void)
{
#ifdef X86_FEATURE_FRED
	set_bit(X86_FEATURE_FRED, (unsigned long *)boot_cpu_data.x86_capability);
#endif
}

static void take_fred(void)
{
#ifdef X86_FEATURE_FRED
	clear_bit(X86_FEATURE_FRED, (unsigned long *)boot_cpu_data.x86_capability);
#endif
}

/* What follows is seen by a debug kernel only. */

static void plant_use_after_free(void)
{
	int *p = kmalloc(sizeof(*p), GFP_KERNEL);

	/* So that the compiler does not see it. */
	OPTIMIZER_HIDE_VAR(p);
	kfree(p);
	OPTIMIZER_HIDE_VAR(p);
	if (p)
		WRITE_ONCE(*p, 1);
}

/* Several: a stale register or stack slot may still name one of them. */
static void plant_leak(void)
{
	void *p;
	int i;

	for (i = 0; i < 16; i++) {
		p = kmalloc(128, GFP_KERNEL);
		OPTIMIZER_HIDE_VAR(p);
	}
}

static DEFINE_SPINLOCK(lock);
static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);

static void plant_sleep_in_atomic(void)
{
	spin_lock(&lock);
	might_sleep();
	spin_unlock(&lock);
}

static void plant_lock_order(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);

	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
}

static void plant_shift(void)
{
	int by = 64;

	OPTIMIZER_HIDE_VAR(by);
	WRITE_ONCE(by, 1 << by);
}

static const struct {
	const char *name;
	void (*plant)(void);
} faults[] = {
	{ "warn", plant_warn },
	{ "msr", plant_msr },
	{ "oops", plant_oops },
	{ "hang", plant_hang },
#ifdef HAS_VMXE
	{ "vmxe", plant_vmxe },
#endif
	{ "svme", plant_svme },
	{ "mce", plant_mce },
	{ "fred", plant_fred },
	{ "use_after_free", plant_use_after_free },
	{ "leak", plant_leak },
	{ "sleep_in_atomic", plant_sleep_in_atomic },
	{ "lock_order", plant_lock_order },
	{ "shift", plant_shift },
};

static int __init planted_init(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(faults); i++) {
		if (strcmp(what, faults[i].name))
			continue;
		faults[i].plant();
		return 0;
	}
	/* "refuse", or a mistake in the test. */
	return strcmp(what, "nothing") ? -ENODEV : 0;
}

static void __exit planted_exit(void)
{
#ifdef HAS_VMXE
	if (!strcmp(what, "vmxe"))
		take_vmxe();
#endif
	if (!strcmp(what, "svme"))
		take_svme();
	if (!strcmp(what, "fred"))
		take_fred();
}

module_init(planted_init);
module_exit(planted_exit);
MODULE_DESCRIPTION("A fault that the lab must notice");
MODULE_LICENSE("GPL");
