// SPDX-License-Identifier: GPL-2.0
/*
 * Protections: see protections.h. An array, which is charged as all else: the nodes of
 * the kernel's trees are not.
 */
#include "protections.h"

#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "pages.h"

#define MAX_ENTRIES	(4 * WISP_MAX_PROTECT_RANGES)
#define MIN_ROOM	16

/* The first one that ends at @gfn or behind it, or as many as there are. */
static u32 find(const struct wisp_protections *p, u64 gfn)
{
	u32 low = 0, high = p->count, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (p->entries[middle].last >= gfn)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static int make_room(struct wisp_protections *p, u32 room)
{
	struct wisp_protection *entries;

	entries = kvmalloc_array(room, sizeof(*entries), WISP_GFP);
	if (!entries)
		return -ENOMEM;
	memcpy(entries, p->entries, p->count * sizeof(*entries));
	kvfree(p->entries);
	p->entries = entries;
	p->room = room;
	return 0;
}

/**
 * wisp_protections_set() - protect a range, in place of what it had
 * @p: the VM's
 * @first: gfn
 * @last: gfn, not below @first
 * @prot: WISP_PROT_*; PROT_ALL takes the protection away
 *
 * May sleep. Returns 0, -ENOMEM or -ENOSPC: nothing has changed.
 */
int wisp_protections_set(struct wisp_protections *p, u64 first, u64 last, u32 prot)
{
	u32 from = find(p, first), to = find(p, last), n = 0, count;
	const struct wisp_protection *old = p->entries;
	struct wisp_protection new[3];

	if (to < p->count && old[to].first <= last)
		to++;
	/* What stays of those at both ends, which may be one. */
	if (from < to && old[from].first < first)
		new[n++] = (struct wisp_protection){
			.first = old[from].first, .last = first - 1,
			.prot = old[from].prot,
		};
	if (prot != PROT_ALL)
		new[n++] = (struct wisp_protection){
			.first = first, .last = last, .prot = prot,
		};
	if (from < to && old[to - 1].last > last)
		new[n++] = (struct wisp_protection){
			.first = last + 1, .last = old[to - 1].last,
			.prot = old[to - 1].prot,
		};

	count = p->count - (to - from) + n;
	if (count > MAX_ENTRIES)
		return -ENOSPC;
	/* At most two more than there were. */
	if (count > p->room && make_room(p, max(2 * p->room, MIN_ROOM)))
		return -ENOMEM;
	memmove(&p->entries[from + n], &p->entries[to],
		(p->count - to) * sizeof(*p->entries));
	memcpy(&p->entries[from], new, n * sizeof(*p->entries));
	p->count = count;
	return 0;
}

/* What a page's protection allows. */
u32 wisp_protections_prot(const struct wisp_protections *p, u64 gfn)
{
	u32 i = find(p, gfn);

	return i < p->count && p->entries[i].first <= gfn ? p->entries[i].prot :
							    PROT_ALL;
}

/* Whether one of these pages has a protection. */
bool wisp_protections_any(const struct wisp_protections *p, u64 first, u64 last)
{
	u32 i = find(p, first);

	return i < p->count && p->entries[i].first <= last;
}

/* @to has none. Returns 0 or -ENOMEM. */
int wisp_protections_copy(struct wisp_protections *to,
			  const struct wisp_protections *from)
{
	if (!from->count)
		return 0;
	if (make_room(to, from->count))
		return -ENOMEM;
	memcpy(to->entries, from->entries, from->count * sizeof(*from->entries));
	to->count = from->count;
	return 0;
}

bool wisp_protections_differ(const struct wisp_protections *p,
			     const struct wisp_protections *with)
{
	return p->count != with->count ||
	       memcmp(p->entries, with->entries, p->count * sizeof(*p->entries));
}

void wisp_protections_drop(struct wisp_protections *p)
{
	kvfree(p->entries);
	*p = (struct wisp_protections){};
}
