/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The pages that a layered memory object has and its base has not, or has otherwise:
 * what a reset copies back. All is protected by the object's lock.
 */
#ifndef WISP_PRIVATES_H
#define WISP_PRIVATES_H

#include <linux/types.h>

struct page;
struct wisp_slat_format;

struct wisp_private {
	u64 index : 62;
	u64 shown : 1;		/* somebody may write it unseen: always dirty */
	u64 written : 1;	/* by the driver, since the last reset */
	struct page *page;
	struct page *origin;	/* NULL: the base has zeroes there */
	u64 *leaf;		/* the one that leads to it, or NULL */
};

struct wisp_privates {
	struct wisp_private *pages;
	unsigned long count;
	unsigned long room;
};

struct wisp_private *wisp_privates_find(const struct wisp_privates *privates,
					const struct page *page);
int wisp_privates_reserve(struct wisp_privates *privates);
void wisp_privates_add(struct wisp_privates *privates, pgoff_t index,
		       struct page *page, struct page *origin);
void wisp_privates_forget(struct wisp_privates *privates, pgoff_t first,
			  pgoff_t last);
void wisp_privates_unmapped(struct wisp_privates *privates);
unsigned long wisp_privates_reset(struct wisp_privates *privates,
				  const struct wisp_slat_format *format);
u64 wisp_privates_list(const struct wisp_privates *privates,
		       const struct wisp_slat_format *format, u64 offset, u64 size,
		       u64 gpa, u64 *gpas, u64 room);
void wisp_privates_drop(struct wisp_privates *privates);

#endif
