/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What WISP_PROTECT has set, by ranges of gfn. Changed with the VM's slots_sem
 * exclusive.
 */
#ifndef WISP_PROTECTIONS_H
#define WISP_PROTECTIONS_H

#include <linux/types.h>

#include <uapi/linux/wisp.h>

#define PROT_ALL	(WISP_PROT_READ | WISP_PROT_WRITE | WISP_PROT_EXEC)

struct wisp_protection {
	u64 first, last;
	u32 prot;
	u32 unused;		/* 0: they are compared as a whole */
};

struct wisp_protections {
	struct wisp_protection *entries;	/* ascending, apart */
	u32 count;
	u32 room;
};

int wisp_protections_set(struct wisp_protections *p, u64 first, u64 last, u32 prot);
u32 wisp_protections_prot(const struct wisp_protections *p, u64 gfn);
bool wisp_protections_any(const struct wisp_protections *p, u64 first, u64 last);
int wisp_protections_copy(struct wisp_protections *to,
			  const struct wisp_protections *from);
bool wisp_protections_differ(const struct wisp_protections *p,
			     const struct wisp_protections *with);
void wisp_protections_drop(struct wisp_protections *p);

#endif
