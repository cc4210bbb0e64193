/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The SVM backend's own: the vCPU's hardware part, and its assembly.
 */
#ifndef WISP_SVM_H
#define WISP_SVM_H

#ifndef __ASSEMBLY__

#include <linux/irq_work.h>
#include <linux/types.h>

#include <asm/svm.h>

#include "../hw.h"
#include "../vcpu.h"

/* The names that 7.x has for them; the exit code is one field there. */
#ifndef SVM_MISC_ENABLE_NP
#define SVM_MISC_ENABLE_NP	SVM_NESTED_CTL_NP_ENABLE
#define SVM_MISC2_ENABLE_V_LBR	LBR_CTL_ENABLE_MASK
#define misc_ctl		nested_ctl
#define misc_ctl2		virt_ext
#define SVM_EXIT_CODE_HI(control)	((u64)(control)->exit_code_hi << 32)
#else
#define SVM_EXIT_CODE_HI(control)	0
#endif

/* VMRUN refused the state. QEMU's TCG writes the lower half of the code only. */
static inline bool svm_refused(const struct vmcb_control_area *control)
{
	return (u32)control->exit_code == (u32)SVM_EXIT_ERR;
}

struct svm_vcpu {
	struct wisp_vcpu vcpu;

	/* Constant after create. */
	struct vmcb *vmcb;
	u64 vmcb_hpa;

	/* Owned by the holder of the vCPU's lock. */
	u64 cr4;		/* as the guest has it, where MOV CR4 exits */

	/* Owned by the runner. */
	struct irq_work come_back;	/* ends an entry */
	u64 to_exit;		/* what the VMCB has: see write_intercepts() */
};

static inline struct svm_vcpu *svm_of(struct wisp_vcpu *vcpu)
{
	return container_of(vcpu, struct svm_vcpu, vcpu);
}

/*
 * Of the CPU's two pages the first is VM_HSAVE_PA's. The other is VMSAVE's and,
 * in what that leaves alone, the VMCB of flush_tag().
 */
static inline u64 svm_host_hpa(void)
{
	return this_cpu_read(wisp_hw_hpa) + PAGE_SIZE;
}

/* enter.S. Returns 0, or 1 where SVM is off: the guest was not entered. */
int svm_enter(u64 vmcb_hpa, struct wisp_general *general, u64 host_hpa);

/* svm.c */
void svm_init_control(struct vmcb_control_area *control);
u8 svm_flush_tlb_ctl(void);

/* cpu.c: the CPU, and what others who use it find again. Interrupts off. */
int svm_cpu_enable(void);
void svm_cpu_disable(void);
void svm_window_leave(struct wisp_vcpu *vcpu);

/* decode.c: what the VMCB says after an exit, in neutral words. */
void svm_decode(struct svm_vcpu *svm);

#endif /* !__ASSEMBLY__ */

#endif
