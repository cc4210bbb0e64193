/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A guest of KVM's, on raw ioctls: one vCPU in 64-bit mode, memory of GUEST_SIZE
 * bytes and the addresses that guest.h has. And KVM's modules, which the lab
 * has in /kvm.
 */
#ifndef WISP_SELFTESTS_KVM_H
#define WISP_SELFTESTS_KVM_H

#include <linux/kvm.h>

#include "../guest/guest.h"

struct kvm {
	int sys;
	int vm;
	int vcpu;
	struct kvm_run *run;
	size_t run_size;
	char *memory;
	__u64 xcr0;		/* what the vCPU may and does have */
};

/* Everything returns 0 or -errno. */
int kvm_create(struct kvm *k);
void kvm_destroy(struct kvm *k);
/* Copies code to GUEST_CODE, and has the vCPU there. */
int kvm_start(struct kvm *k, __u64 efer, __u64 tsc, const char *code,
	      const char *end);

/* Runs until an exit; returns its reason, or -errno. */
int kvm_run(struct kvm *k);

/* All of KVM's modules, with what they need; does nothing where they are there. */
int kvm_load_modules(void);
/* Waits until they are unused. */
int kvm_unload_modules(void);

#endif
