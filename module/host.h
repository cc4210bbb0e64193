/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The run window: what of the host must make room for the guest's, and comes
 * back before interrupts are enabled again. The same on both vendors.
 */
#ifndef WISP_HOST_H
#define WISP_HOST_H

#include <linux/types.h>

#include <asm/cpufeature.h>

struct wisp_vcpu;
struct wisp_xsave_head;

struct wisp_fpu {
	void *xsave;	/* standard format, 64-byte aligned, wisp_host_xsave_size */
};

#define WISP_TRACERS	9

/* Host values, read at the window's start, never kept longer. */
struct wisp_host {
	u64 xcr0;
	u32 pkru;
	bool shared;	/* KVM has the hardware on, and maybe a guest here */
	bool split_lock;	/* is detected, but not in this window any more */
	u64 tsc_aux;
	u64 xss;
	u64 u_cet;
	u64 dr[4];		/* where the host has breakpoints */
	unsigned long dr7;
	u64 traced[WISP_TRACERS];
};

extern u64 wisp_host_xcr0;	/* XCR0 bits that guests may have */
extern u32 wisp_host_xsave_size;

/* Else there is nothing to switch, nor to write to. */
static __always_inline bool wisp_host_has_tsc_aux(void)
{
	return cpu_feature_enabled(X86_FEATURE_RDTSCP) ||
	       cpu_feature_enabled(X86_FEATURE_RDPID);
}

int wisp_host_init(void);
void wisp_host_exit(void);
int wisp_fpu_alloc(struct wisp_fpu *fpu);
void wisp_fpu_reset(struct wisp_fpu *fpu);
void wisp_fpu_free(struct wisp_fpu *fpu);
void wisp_fpu_copy(struct wisp_fpu *to, const struct wisp_fpu *from);
void wisp_fpu_get(const struct wisp_fpu *fpu, void *image);
void wisp_fpu_set(struct wisp_fpu *fpu, const void *image,
		  const struct wisp_xsave_head *head);

/* How many NMIs this CPU has had, as far as it matters whether there was one. */
unsigned int wisp_host_nmis(void);
void wisp_host_quiet(struct wisp_vcpu *vcpu);
void wisp_host_unquiet(struct wisp_vcpu *vcpu);
void wisp_host_enter(struct wisp_vcpu *vcpu);
void wisp_host_leave(struct wisp_vcpu *vcpu);
void wisp_host_give_debug(struct wisp_vcpu *vcpu);
void wisp_host_take_debug(struct wisp_vcpu *vcpu);
void wisp_host_set_xcr0(struct wisp_vcpu *vcpu, u64 xcr0);
u64 wisp_host_sync_xcr0(struct wisp_vcpu *vcpu);
bool wisp_host_allow_split_lock(struct wisp_vcpu *vcpu);
void wisp_host_machine_check(void);

#endif
