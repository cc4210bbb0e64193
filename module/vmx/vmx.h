/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The VMX backend's own: the vCPU's hardware part, and its assembly.
 */
#ifndef WISP_VMX_H
#define WISP_VMX_H

/* vmx_enter()'s flags */
#define VMX_ENTER_RESUME	1
#define VMX_ENTER_VERW		2

#ifndef __ASSEMBLY__

#include <linux/types.h>

#include <asm/asm.h>
#include <asm/desc.h>
#include <asm/vmx.h>

#include "../vcpu.h"

/* What the capability MSRs allow, and Wisp uses. Constant after init. */
struct vmx_caps {
	u32 revision;
	u32 pin;
	u32 primary;
	u32 secondary;
	u32 no_random;		/* secondary, too: RDRAND and RDSEED exit */
	u32 exit;
	u32 entry;
	u32 timer;		/* the preemption timer's ticks in a millisecond */
	u32 enter_flags;
	u64 eptp;		/* but for the root */
	u64 cr4;		/* bits that may be 1 */
	u32 read_groups;	/* at each window's end */
	bool huge;		/* 2 MiB pages */
	bool enlightened;	/* KVM's VMCS may be */
};

extern struct vmx_caps vmx_caps;

/* Of WISP_STATE_*, those that are the backend's. */
#define VMX_GROUPS	(WISP_STATE_SEGMENTS | WISP_STATE_CONTROL | WISP_STATE_MSRS)

/* STAR, LSTAR, CSTAR, SYSCALL_MASK, KERNEL_GS_BASE */
#define VMX_MSRS	5

/* The host's, while a window is open. */
struct vmx_host {
	u64 msrs[VMX_MSRS];
	u64 fs_base;
	u64 debugctl;
	unsigned int nmis;		/* when @debugctl was read */
	u16 ds, es, fs, gs, ldt;
	struct desc_ptr gdt, idt;
};

/* Fields of the VMCS that follow the core's, or the host's. */
struct vmx_fields {
	u64 to_exit;			/* what the next two were made of */
	u64 primary;
	u64 exceptions;
	u64 tsc_offset;
	u64 dr7;
	u64 rip;
	u64 rsp;
	u64 rflags;
	u64 shadow;			/* GUEST_INTERRUPTIBILITY_INFO */
	u64 host_cr0, host_cr3, host_cr4, host_fs_base, host_efer, host_rsp;
};

struct vmx_vcpu {
	struct wisp_vcpu vcpu;

	/* Constant after create. */
	void *vmcs;
	u64 vmcs_hpa;
	void *vapic;			/* the hardware uses its TPR */

	/* Owned by the holder of the vCPU's lock. */
	struct wisp_registers regs;	/* SEGMENTS, CONTROL and MSRS */
	u32 valid;			/* the groups of @regs that are up to date */
	u32 dirty;			/* and newer than the VMCS */
	u32 wanted;			/* between two windows, lately */
	u32 windows;
	bool pdptes_stale;		/* CR3 was set from outside */
	bool written;			/* the VMCS has its constant fields */
	bool loaded;			/* it is the CPU's current one */
	bool launched;
	int cpu;			/* whose state the VMCS has as the host's */
	u32 inject;			/* VM_ENTRY_INTR_INFO_FIELD, for one entry */
	struct vmx_fields have;
	struct vmx_host host;
};

static inline struct vmx_vcpu *vmx_of(struct wisp_vcpu *vcpu)
{
	return container_of(vcpu, struct vmx_vcpu, vcpu);
}

/* 0 where there is no VMCS, or VMX is off. */
static inline u64 vmx_read(unsigned long field)
{
	u64 value = 0;

	asm volatile("1: vmread %1, %0\n2:\n" _ASM_EXTABLE(1b, 2b)
		     : "+r"(value) : "r"(field) : "cc");
	return value;
}

/* A field that is not there fails the entry, which tells. */
static inline void vmx_write(unsigned long field, u64 value)
{
	asm volatile("1: vmwrite %1, %0\n2:\n" _ASM_EXTABLE(1b, 2b)
		     : : "r"(field), "r"(value) : "cc");
}

static inline void vmx_update(unsigned long field, u64 value, u64 *have)
{
	if (value == *have)
		return;
	vmx_write(field, value);
	*have = value;
}

/*
 * enter.S. Returns 0 after an exit; 1 where VMLAUNCH or VMRESUME failed, 2 where
 * VMX is off: the guest was not entered.
 */
int vmx_enter(struct wisp_general *general, u32 flags, u64 *host_rsp);
extern const char vmx_exited[];

/* caps.c. Returns 0 or -EOPNOTSUPP, and says why in the log. */
int vmx_caps_init(void);
/* VMLAUNCH failed with this VM-instruction error: the log says of what. */
void vmx_caps_report(u32 error);

/* cpu.c: the CPU, and what of the host an entry overwrites. Interrupts off. */
int vmx_cpu_enable(void);
void vmx_cpu_disable(void);
void vmx_load(struct vmx_vcpu *vmx);
void vmx_unload(struct vmx_vcpu *vmx);
void vmx_host_enter(struct vmx_vcpu *vmx);
void vmx_host_leave(struct vmx_vcpu *vmx);
void vmx_write_msrs(const u64 *values, const u64 *old);
void vmx_host_nmi(void);

/* decode.c: what the VMCS says after an exit, or a failure, in neutral words. */
void vmx_decode(struct wisp_vcpu *vcpu, u32 reason);
void vmx_decode_failure(struct wisp_vcpu *vcpu, u32 reason, u32 error);

#endif /* !__ASSEMBLY__ */

#endif
