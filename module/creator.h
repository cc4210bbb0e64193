/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Creators: how many VMs and vCPUs a user may have.
 */
#ifndef WISP_CREATOR_H
#define WISP_CREATOR_H

#include <linux/types.h>

struct wisp_creator;

/* What a creator is counted for. */
enum wisp_counted {
	WISP_COUNTED_VMS,
	WISP_COUNTED_VCPUS,
	WISP_COUNTED_MAX,
};

struct wisp_creator *wisp_creator_get(void);
void wisp_creator_put(struct wisp_creator *creator);
int wisp_creator_charge(struct wisp_creator *creator, enum wisp_counted what);
void wisp_creator_uncharge(struct wisp_creator *creator, enum wisp_counted what);

#endif
