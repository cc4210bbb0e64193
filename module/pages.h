/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Trees of pages that share what they have in common.
 *
 * A tree is a value: one reference on its root. Whoever takes a second one has
 * frozen what is there: a node that more than one path leads to is never
 * changed, but copied by who wants to change it. So a snapshot is a reference,
 * lookup does not depend on how many there are, and what only a snapshot had
 * goes when it does.
 */
#ifndef WISP_PAGES_H
#define WISP_PAGES_H

#include <linux/mm.h>
#include <linux/types.h>

struct wisp_node;

/*
 * A node holds 2^4 entries; nine levels of them cover any object. What is small is
 * cheap to copy: the first page that a fork writes copies one node of each level.
 */
#define WISP_NODE_BITS		4
#define WISP_NODE_SLOTS		(1U << WISP_NODE_BITS)

/*
 * An entry of the last level is a page and this flag: it begins 2 MiB of adjacent
 * pages, each of them with an entry and a reference of its own.
 */
#define WISP_ENTRY_HUGE		1UL

/* An entry of any level: all that it stands for is as the file below has it. */
#define WISP_ENTRY_FILE		((void *)2UL)

#define WISP_HUGE_ORDER		9
#define WISP_HUGE_PAGES		(1UL << WISP_HUGE_ORDER)

/*
 * All that a user makes the driver allocate. Out of memory is an error of the call
 * or an exit of the guest that asked; it must not have the OOM killer choose
 * somebody else.
 */
#define WISP_GFP	(GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)

/* In page_private(); what is above is the owner's. */
#define WISP_PAGE_LIMITED	1UL

struct wisp_pages {
	struct wisp_node *root;		/* an entry: NULL, no page at all */
	unsigned int levels;
};

static inline struct page *wisp_entry_page(void *entry)
{
	return (struct page *)((unsigned long)entry & ~WISP_ENTRY_HUGE);
}

bool wisp_page_charge(s64 npages, bool limited);
void wisp_page_uncharge(s64 npages, bool limited);
struct page *wisp_page_alloc(unsigned int order, bool limited, bool zero);
void wisp_page_put(struct page *page);
void wisp_entry_put(void *entry);

unsigned int wisp_pages_levels(u64 npages);
struct wisp_pages wisp_pages_get(const struct wisp_pages *pages);
void wisp_pages_put(struct wisp_pages *pages);

void **wisp_pages_find(const struct wisp_pages *pages, pgoff_t index,
		       unsigned int level);
void **wisp_pages_own(struct wisp_pages *pages, pgoff_t index);
int wisp_pages_split(struct wisp_pages *pages, pgoff_t index);
int wisp_pages_clear(struct wisp_pages *pages, pgoff_t first, pgoff_t last);

u64 wisp_pages_differ(const struct wisp_pages *pages, const struct wisp_pages *with,
		      pgoff_t *index, pgoff_t last);

int wisp_pages_init(void);
void wisp_pages_exit(void);

#endif
