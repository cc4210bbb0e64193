/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The translation ledger of debug builds (make DEBUG=1): who flushed what.
 *
 * Emulators flush at every world switch, so a flush that is missing cannot be
 * seen in what a guest does. The ledger sees it: for each CPU and tag (ASID or
 * VPID) it knows whose translations of which generation may be there, and each
 * entry is held against it. The parameter drop_flush leaves one flush out, to
 * show that the ledger notices.
 */
#ifndef WISP_LEDGER_H
#define WISP_LEDGER_H

#include <linux/types.h>

struct wisp_vcpu;

/* Why a backend flushes; the number is drop_flush's. */
enum wisp_flush_reason {
	WISP_FLUSH_NOT = 0,
	WISP_FLUSH_GENERATION = 1,	/* a mapping was revoked */
	WISP_FLUSH_VCPU = 2,		/* the tag was another vCPU's */
	WISP_FLUSH_ENABLE = 3,		/* the hardware was off in between */
	WISP_FLUSH_STATE = 4,		/* control registers were set from outside */
};

#ifdef WISP_DEBUG
void wisp_ledger_enable(void);
void wisp_ledger_expect(struct wisp_vcpu *vcpu);
bool wisp_ledger_flush(struct wisp_vcpu *vcpu, enum wisp_flush_reason reason);
void wisp_ledger_enter(struct wisp_vcpu *vcpu);
#else
/* This CPU's hardware was turned on: its translations are anybody's. */
static inline void wisp_ledger_enable(void) { }
/* An entry begins; what was revoked until now must be flushed. */
static inline void wisp_ledger_expect(struct wisp_vcpu *vcpu) { }
/* The entry flushes its tag. Returns false where the flush is to be dropped. */
static inline bool wisp_ledger_flush(struct wisp_vcpu *vcpu,
				     enum wisp_flush_reason reason)
{
	return true;
}

/* The guest is entered now. */
static inline void wisp_ledger_enter(struct wisp_vcpu *vcpu) { }
#endif

#endif
