// SPDX-License-Identifier: GPL-2.0
/*
 * Private pages: see privates.h. A page has its number there in page_private(),
 * beside what pages.c keeps.
 */
#include "privates.h"

#include <linux/mm.h>
#include <linux/slab.h>

#include "pages.h"

#define NUMBER_SHIFT	1

/* NULL: others share the page, or the object is not layered. */
struct wisp_private *wisp_privates_find(const struct wisp_privates *privates,
					const struct page *page)
{
	unsigned long number = page_private(page) >> NUMBER_SHIFT;

	/* Another object's number is that of another page here. */
	return number < privates->count && privates->pages[number].page == page ?
		       &privates->pages[number] : NULL;
}

/* For one more. Returns 0 or -ENOMEM. */
int wisp_privates_reserve(struct wisp_privates *privates)
{
	u32 room = privates->room ? 2 * privates->room : 8;
	struct wisp_private *pages;

	if (privates->count < privates->room)
		return 0;
	pages = kvmalloc_array(room, sizeof(*pages), WISP_GFP);
	if (!pages)
		return -ENOMEM;
	memcpy(pages, privates->pages, privates->count * sizeof(*pages));
	kvfree(privates->pages);
	privates->pages = pages;
	privates->room = room;
	return 0;
}

static void put_at(struct wisp_privates *privates, u32 number,
		   const struct wisp_private *private)
{
	set_page_private(private->page,
			 (page_private(private->page) & WISP_PAGE_LIMITED) |
			 (unsigned long)number << NUMBER_SHIFT);
	privates->pages[number] = *private;
}

/* There is room for it. */
void wisp_privates_add(struct wisp_privates *privates, pgoff_t index,
		       struct page *page, struct page *origin)
{
	const struct wisp_private private = {
		.index = index,
		.written = true,
		.page = page,
		.origin = origin,
	};

	put_at(privates, privates->count++, &private);
}

/* Those from @first to @last, whose pages are gone: the last takes the place of each. */
void wisp_privates_forget(struct wisp_privates *privates, pgoff_t first,
			  pgoff_t last)
{
	pgoff_t index;
	u32 i;

	for (i = privates->count; i--;) {
		index = privates->pages[i].index;
		if (index >= first && index <= last && i != --privates->count)
			put_at(privates, i, &privates->pages[privates->count]);
	}
}

/* No table leads to any. */
void wisp_privates_unmapped(struct wisp_privates *privates)
{
	u32 i;

	for (i = 0; i < privates->count; i++)
		privates->pages[i].leaf = NULL;
}

void wisp_privates_drop(struct wisp_privates *privates)
{
	kvfree(privates->pages);
	*privates = (struct wisp_privates){};
}
