/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The translation ledger of debug builds (make DEBUG=1): who flushed what.
 *
 * Emulators flush at every world switch, so a flush that is missing cannot be
 * seen in what a guest does. The ledger sees it: it counts what a tree has lost,
 * apart from the tree's generation; for each CPU and tag (ASID or VPID) it knows
 * whose translations may be there and how much had been lost when they were
 * flushed; and each entry is held against what it may see no more. The parameters
 * drop_flush and drop_revoke leave out one reason to flush or to revoke, or the
 * driver's note of it, to show that the ledger notices, which is told besides: what
 * it objects to is then in "objections".
 */
#ifndef WISP_LEDGER_H
#define WISP_LEDGER_H

#include <linux/types.h>

#include "slat.h"

struct wisp_vcpu;

/* Why a backend flushes; the number is drop_flush's. */
enum wisp_flush_reason {
	WISP_FLUSH_NOT = 0,
	WISP_FLUSH_GENERATION = 1,	/* a mapping was revoked */
	WISP_FLUSH_VCPU = 2,		/* the tag was another vCPU's */
	WISP_FLUSH_ENABLE = 3,		/* others may have used the tag */
	WISP_FLUSH_STATE = 4,		/* control registers were set from outside */
	WISP_FLUSH_OTHERS = 5,		/* others may use the tag next */
	WISP_FLUSH_CPU = 6,		/* the vCPU ran on another CPU meanwhile */
	/* No flush, but the driver's note that one is due. */
	WISP_NOTE_ENABLE = 7,		/* of FLUSH_ENABLE */
	WISP_NOTE_STATE = 8,		/* of FLUSH_STATE */
};

/* Why the generation is bumped; the number is drop_revoke's. */
enum wisp_revoke_reason {
	WISP_REVOKE_MEMORY = 1,		/* the memory object took pages back */
	WISP_REVOKE_SLOT = 2,		/* a slot was removed */
	WISP_REVOKE_PROTECT = 3,	/* a protection was set */
	WISP_REVOKE_TABLE = 4,		/* a shared table was copied */
	WISP_REVOKE_SNAPSHOT = 5,	/* what was writable is frozen */
	WISP_REVOKE_RESET = 6,		/* so it is again, or counts as clean */
};

#ifdef CONFIG_WISP_DEBUG
void wisp_ledger_narrow(struct wisp_slat *slat);
void wisp_ledger_revoke(struct wisp_slat *slat, enum wisp_revoke_reason reason);
void wisp_ledger_enable(void);
void wisp_ledger_stale(struct wisp_vcpu *vcpu);
void wisp_ledger_expect(struct wisp_vcpu *vcpu);
bool wisp_ledger_drops(enum wisp_flush_reason reason);
void wisp_ledger_flushed(struct wisp_vcpu *vcpu);
void wisp_ledger_enter(struct wisp_vcpu *vcpu);
void wisp_ledger_leave(void);
#else
/* Something that the tree led to, or that counted as dirty, is so no more. */
static inline void wisp_ledger_narrow(struct wisp_slat *slat) { }

/* Nor may an entry from now on see it: bumps the generation. */
static inline void wisp_ledger_revoke(struct wisp_slat *slat,
				      enum wisp_revoke_reason reason)
{
	atomic64_inc(&slat->generation);
}

/* This CPU's tag may have others' translations, or has none. */
static inline void wisp_ledger_enable(void) { }
/* The vCPU's control registers were set: the tag has what the old ones led to. */
static inline void wisp_ledger_stale(struct wisp_vcpu *vcpu) { }
/* An entry begins; what was revoked until now must be flushed. */
static inline void wisp_ledger_expect(struct wisp_vcpu *vcpu) { }
/* Is a flush for this reason, or a note of one, to be left out? */
static inline bool wisp_ledger_drops(enum wisp_flush_reason reason)
{
	return false;
}

/* The tag is flushed, or will be by the entry: as the hardware was told. */
static inline void wisp_ledger_flushed(struct wisp_vcpu *vcpu) { }

/* The guest is entered now. */
static inline void wisp_ledger_enter(struct wisp_vcpu *vcpu) { }

/* The window is over, and others may use the tag. */
static inline void wisp_ledger_leave(void) { }
#endif

#endif
