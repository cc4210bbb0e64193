/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A guest that checks, round by round, that all it has is still its own: memory,
 * registers, MSRs, vectors and time. The same code for Wisp and for KVM, at the
 * same addresses; what it checks for follows from a seed.
 */
#ifndef WISP_SELFTESTS_CHECKER_H
#define WISP_SELFTESTS_CHECKER_H

#include "../guest/guest.h"

/* An exit at the end of a round is an OUT to this port. */
#define CHECKER_PORT	0xe9

/* Guest-physical addresses. */
#define CHECKER_GPRS	(GUEST_DATA + 0x000)	/* in the order of checker_guest.S */
#define CHECKER_SEED	(GUEST_DATA + 0x100)
#define CHECKER_ROUNDS	(GUEST_DATA + 0x108)
#define CHECKER_QUIET	(GUEST_DATA + 0x110)	/* exits where ROUNDS & QUIET is 0 */
#define CHECKER_TSC	(GUEST_DATA + 0x118)
#define CHECKER_XMASK	(GUEST_DATA + 0x120)	/* of XSAVE's components */
#define CHECKER_WRONG	(GUEST_DATA + 0x128)	/* enum checker_wrong */
#define CHECKER_WHERE	(GUEST_DATA + 0x130)	/* the MSR, or the address */
#define CHECKER_NMSRS	(GUEST_DATA + 0x138)
#define CHECKER_MSRS	(GUEST_DATA + 0x200)	/* pairs: index, value */
#define CHECKER_IMAGE	(GUEST_DATA + 0x1000)	/* what XRSTOR loads */
#define CHECKER_SCRATCH	(GUEST_DATA + 0x2000)	/* what XSAVE stores */
#define CHECKER_PAGES	0x100000
#define CHECKER_END	0x110000

#define WRONG_REGISTER	1
#define WRONG_MEMORY	2
#define WRONG_MSR	3
#define WRONG_TSC	4
#define WRONG_VECTOR	5

#ifndef __ASSEMBLER__

extern const char checker[], checker_end[];

struct checker {
	char *memory;
	unsigned int seed;
	__u64 rounds;
	/*
	 * What the guest's TSC may be ahead of the host's. KVM changes that each
	 * time the vCPU is scheduled in, where the host's is not stable.
	 */
	bool tsc_is_steady;
	__s64 tsc_least, tsc_most;
};

/* Prepares the data of a guest whose code is to be at GUEST_CODE. */
void checker_init(struct checker *c, char *memory, unsigned int seed, __u64 xcr0,
		  __u64 quiet);
/* What the guest's TSC is to start with. */
__u64 checker_tsc(unsigned int seed);
/*
 * After a run that ended with an OUT, and began and ended at these TSCs of the
 * host's. Says what is wrong; returns whether nothing is.
 */
bool checker_passed(struct checker *c, const char *who, __u64 began, __u64 ended);
/* The same after any other exit. Returns false. */
bool checker_failed(struct checker *c, const char *who, int exit);

#endif
#endif
