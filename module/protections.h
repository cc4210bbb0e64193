/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What WISP_PROTECT has set: WISP_PROT_* as value entries, by ranges of gfn. NULL is a
 * tree with none. Changed with the VM's slots_sem exclusive.
 */
#ifndef WISP_PROTECTIONS_H
#define WISP_PROTECTIONS_H

#include <linux/maple_tree.h>
#include <linux/types.h>

#include <uapi/linux/wisp.h>

#define PROT_ALL	(WISP_PROT_READ | WISP_PROT_WRITE | WISP_PROT_EXEC)

int wisp_protections_reserve(struct maple_tree **protections,
			     const struct wisp_protect_range *ranges, u32 count);
int wisp_protections_store(struct maple_tree *protections, unsigned long first,
			   unsigned long last, u32 prot);
void *wisp_protections_next(struct ma_state *mas);
int wisp_protections_copy(struct maple_tree **to, struct maple_tree *from);
void wisp_protections_free(struct maple_tree *protections);

#endif
