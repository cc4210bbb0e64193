/* SPDX-License-Identifier: GPL-2.0 */
/* The machine of guest/, which an execution may spoil and the next finds new. */
#ifndef WISP_SELFTESTS_FUZZ_MACHINE_H
#define WISP_SELFTESTS_FUZZ_MACHINE_H

#include "../guest/guest.h"

/* All of its memory that guests reach. */
#define MACHINE_SIZE	0x42000

extern const char * const machine_mode_names[];

/* MSRs that end the run, and that are ignored; others are as they are. */
#define MACHINE_MSR_EXITS	0x1000
#define MACHINE_MSR_IGNORED	0x2000

/* Has vCPUs 0 and 1. Returns 0 or -errno. */
int machine_create(struct guest *g);
void machine_reset(struct guest *g);

#endif
