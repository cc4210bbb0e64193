/* SPDX-License-Identifier: GPL-2.0 */
/* The parameters of the ledger: module/ledger.h. */
#ifndef WISP_SELFTESTS_LEDGER_H
#define WISP_SELFTESTS_LEDGER_H

#include <stdbool.h>

#include "parameter.h"

enum {
	NO_FLUSH, FLUSH_GENERATION, FLUSH_VCPU, FLUSH_ENABLE, FLUSH_STATE,
	FLUSH_OTHERS, FLUSH_CPU, NOTE_ENABLE, NOTE_STATE,
};
enum {
	NO_REVOKE, REVOKE_MEMORY, REVOKE_SLOT, REVOKE_PROTECT, REVOKE_TABLE,
	REVOKE_SNAPSHOT, REVOKE_RESET,
};
/* What it objects to. */
#define OTHER_VCPU	1
#define REVOKED		2
#define OLD_REGISTERS	4
#define LEFT_TO_OTHERS	8

/* No reason: nothing is left out, but nothing warns either. */
#define NOTHING		99

static inline unsigned int objections(void)
{
	return parameter_get("objections");
}

static inline bool leave_out(unsigned int flush, unsigned int revoke)
{
	return !parameter_set("objections", 0) &&
	       !parameter_set("drop_flush", flush) &&
	       !parameter_set("drop_revoke", revoke);
}

#endif
