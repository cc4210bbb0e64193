// SPDX-License-Identifier: GPL-2.0
/*
 * Private pages: see privates.h. A page has its number there in page_private(),
 * beside what pages.c keeps.
 */
#include "privates.h"

#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "pages.h"
#include "slat.h"

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
	unsigned long room = privates->room ? 2 * privates->room : 8, i;
	size_t size = room * sizeof(*privates->pages);
	struct wisp_private *pages;

	if (privates->count < privates->room)
		return 0;
	/* What more than 128 GiB of pages take, kvmalloc() refuses. */
	pages = size > INT_MAX ? __vmalloc(size, WISP_GFP) : kvmalloc(size, WISP_GFP);
	if (!pages)
		return -ENOMEM;
	for (i = 0; i < privates->count; i++) {
		if (!(i % 1024))
			cond_resched();
		pages[i] = privates->pages[i];
	}
	kvfree(privates->pages);
	privates->pages = pages;
	privates->room = room;
	return 0;
}

static void put_at(struct wisp_privates *privates, unsigned long number,
		   const struct wisp_private *private)
{
	set_page_private(private->page,
			 (page_private(private->page) & WISP_PAGE_LIMITED) |
			 number << NUMBER_SHIFT);
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
	unsigned long i;
	pgoff_t index;

	for (i = privates->count; i--;) {
		if (!(i % 1024))
			cond_resched();
		index = privates->pages[i].index;
		if (index >= first && index <= last && i != --privates->count)
			put_at(privates, i, &privates->pages[privates->count]);
	}
}

/* Some tables lead to none any more: by which others are written nobody sees. */
void wisp_privates_unmapped(struct wisp_privates *privates)
{
	unsigned long i;

	for (i = 0; i < privates->count; i++) {
		if (!(i % 1024))
			cond_resched();
		privates->pages[i].shown |= !!privates->pages[i].leaf;
		privates->pages[i].leaf = NULL;
	}
}

static bool is_dirty(const struct wisp_private *private,
		     const struct wisp_slat_format *format)
{
	return private->shown || private->written || !private->leaf ||
	       wisp_slat_dirty(format, private->leaf);
}

/* All that were written are as their origins again. Returns how many there were. */
unsigned long wisp_privates_reset(struct wisp_privates *privates,
				  const struct wisp_slat_format *format)
{
	struct wisp_private *private;
	unsigned long i, count = 0;

	for (i = 0; i < privates->count; i++) {
		private = &privates->pages[i];
		if (!(i % 1024))
			cond_resched();
		if (!is_dirty(private, format))
			continue;
		if (private->origin)
			copy_page(page_address(private->page),
				  page_address(private->origin));
		else
			clear_page(page_address(private->page));
		private->written = false;
		if (private->leaf)
			wisp_slat_clean(format, private->leaf);
		count++;
	}
	return count;
}

/* As wisp_memory_dirty(). */
u64 wisp_privates_list(const struct wisp_privates *privates,
		       const struct wisp_slat_format *format, u64 offset, u64 size,
		       u64 gpa, u64 *gpas, u64 room)
{
	const struct wisp_private *private;
	u64 at, count = 0;
	unsigned long i;

	for (i = 0; i < privates->count; i++) {
		private = &privates->pages[i];
		at = ((u64)private->index << PAGE_SHIFT) - offset;
		if (!(i % 1024))
			cond_resched();
		if (at >= size || !is_dirty(private, format))
			continue;
		if (count < room)
			gpas[count] = gpa + at;
		count++;
	}
	return count;
}

void wisp_privates_drop(struct wisp_privates *privates)
{
	kvfree(privates->pages);
	*privates = (struct wisp_privates){};
}
