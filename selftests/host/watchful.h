/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A guest that counts in memory and in a register, and looks after other state, for what
 * comes in its middle and must not show.
 */
#ifndef WISP_SELFTESTS_WATCHFUL_H
#define WISP_SELFTESTS_WATCHFUL_H

#include "host.h"

#define WATCHFUL_STOP	(GUEST_DATA + 0x8000)
#define WATCHFUL_SEED	0x5eed5eed5eed5eedUL

/* RDI: its counter, RSI: another word, which stops it, R9, R15 and XMM7: what they are. */
SNIPPET(watchful, 64,
	"movq %r9, %xmm7\n"
	"1: inc %r8\n"
	"incq (%rdi)\n"
	"cmp %r8, (%rdi)\n"
	"jne 2f\n"
	"movq %xmm7, %rax\n"
	"cmp %r9, %rax\n"
	"jne 2f\n"
	"cmp %r15, %rax\n"
	"jne 2f\n"
	"cmpq $0, (%rsi)\n"
	"je 1b\n"
	"hlt\n"
	"2: ud2");

/* It is vCPU 0, and counts at COUNTER(0). */
static inline void watchful_load(struct guest *g)
{
	struct wisp_general *general = &g->page->state.general;

	GUEST_LOAD(g, LONG64, watchful);
	general->rdi = COUNTER(0);
	general->rsi = WATCHFUL_STOP;
	general->r9 = WATCHFUL_SEED;
	general->r15 = WATCHFUL_SEED;
}

static inline void watchful_stop(struct guest *g)
{
	__atomic_store_n((__u64 *)guest_at(g, WATCHFUL_STOP), 1, __ATOMIC_RELAXED);
}

/* It has stopped, and lost nothing. */
static inline bool watchful_is_well(struct guest *g)
{
	const struct wisp_general *general = &g->page->state.general;

	return general->r8 == counted(g, 0) && general->r9 == WATCHFUL_SEED &&
	       general->r15 == WATCHFUL_SEED && !guest_trap(g)->count;
}

#endif
