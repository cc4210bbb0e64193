/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between the kernels that Wisp builds against. The rest of the
 * driver uses the newest name; this is the only file that knows versions.
 */
#ifndef WISP_COMPAT_H
#define WISP_COMPAT_H

#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/mm.h>
#include <linux/version.h>

#include <asm/cpufeatures.h>
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 16, 0)
#include <asm/cpuid.h>
#else
#include <asm/cpuid/api.h>
#endif
#include <asm/msr.h>
#include <asm/nospec-branch.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static inline void vm_flags_set(struct vm_area_struct *vma, vm_flags_t flags)
{
	vma->vm_flags |= flags;
}

#define file_mnt_idmap(file)	file_mnt_user_ns(file)
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 16, 0)
#define __folio_index	index	/* in struct page */
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
#define mapping_min_folio_order(mapping)	0
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
static inline void hrtimer_setup(struct hrtimer *timer,
				 enum hrtimer_restart (*function)(struct hrtimer *),
				 clockid_t clock_id, enum hrtimer_mode mode)
{
	hrtimer_init(timer, clock_id, mode);
	timer->function = function;
}
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 18, 0)
#include <linux/entry-kvm.h>
/* Takes KVM's vCPU, to note in it that a signal came: see compat.c. */
#define WISP_HOST_WORK_WANTS_VCPU
int wisp_handle_host_work(void);
#else
#include <linux/entry-virt.h>
#define wisp_handle_host_work()	xfer_to_guest_mode_handle_work()
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
#define release_fault_lock(vmf)		mmap_read_unlock((vmf)->vma->vm_mm)
#endif

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
#include <linux/cc_platform.h>

#define wisp_host_snp()		cc_platform_has(CC_ATTR_HOST_SEV_SNP)
#else
#define wisp_host_snp()		false
#endif

/* 7.x knows cpu_feature_enabled(), which drops what the kernel is built without. */
#ifndef static_cpu_has
#define static_cpu_has(bit)	_static_cpu_has(bit)
#endif

#ifdef X86_FEATURE_IBPB_EXIT_TO_USER
#define wisp_ibpb_before_user()						\
	do {								\
		if (static_cpu_has(X86_FEATURE_IBPB_EXIT_TO_USER))	\
			this_cpu_write(x86_ibpb_exit_to_user, true);	\
	} while (0)
#elif defined(X86_BUG_VMSCAPE)
#error "this kernel has another way to keep a guest's branches from its VMM"
#else
#define wisp_ibpb_before_user()	do { } while (0)
#endif

#ifndef X86_FEATURE_USE_IBPB	/* where the CPU has it, it is used */
#define X86_FEATURE_USE_IBPB	X86_FEATURE_IBPB
#endif

#ifndef X86_FEATURE_SHSTK	/* no user shadow stacks: U_CET stays 0 */
#define X86_FEATURE_SHSTK	X86_FEATURE_IBT
#endif

/*
 * In windows: MSRs that are known to be there, without a call that looks for a
 * tracer of the host's first.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 16, 0)
static __always_inline u64 native_rdmsrq(u32 msr)
{
	return __rdmsr(msr);
}

#define native_wrmsrq(msr, val)	native_wrmsrl(msr, val)
#endif

#ifndef rdmsrq
#define rdmsrq(msr, val)	rdmsrl(msr, val)
#define wrmsrq(msr, val)	wrmsrl(msr, val)
#define rdmsrq_safe(msr, val)	rdmsrl_safe(msr, val)
#endif

#endif
