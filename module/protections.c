// SPDX-License-Identifier: GPL-2.0
/*
 * Protections: see protections.h. The kernel allocates the nodes of its trees without
 * charging them to a cgroup, so they count as pages of the user's, and are bounded.
 */
#include "protections.h"

#include <linux/capability.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "pages.h"

#define MAX_ENTRIES	(4 * WISP_MAX_PROTECT_RANGES)

/* An entry and the gap behind it, in nodes that are a third full. */
#define ENTRIES_PER_PAGE	32

struct protections {
	struct maple_tree tree;
	u32 count;		/* there are not more entries */
	u32 recount;		/* where it is time to look how many there are */
	bool limited;
};

static struct protections *of(struct maple_tree *tree)
{
	return container_of(tree, struct protections, tree);
}

static u32 pages_for(u32 count)
{
	return DIV_ROUND_UP(count, ENTRIES_PER_PAGE);
}

/* False: so many would be too much. Fewer never are. */
static bool set_count(struct protections *p, u32 count)
{
	s64 more = (s64)pages_for(count) - pages_for(p->count);

	if (more > 0 && !wisp_page_charge(more, p->limited))
		return false;
	if (more < 0)
		wisp_page_uncharge(-more, p->limited);
	p->count = count;
	return true;
}

static int create(struct maple_tree **protections)
{
	struct protections *p = kzalloc(sizeof(*p), WISP_GFP);

	if (!p)
		return -ENOMEM;
	mt_init(&p->tree);
	p->limited = !capable(CAP_SYS_RESOURCE);
	*protections = &p->tree;
	return 0;
}

static u32 count_entries(struct maple_tree *protections)
{
	MA_STATE(mas, protections, 0, 0);
	u32 count = 0;

	while (wisp_protections_next(&mas))
		count++;
	return count;
}

/* Whether @range is in the midst of an entry, both ends of which would stay. */
static bool parts(struct maple_tree *tree, const struct wisp_protect_range *range)
{
	MA_STATE(mas, tree, range->gpa >> PAGE_SHIFT, ULONG_MAX);
	u64 end = range->gpa + range->range_size;

	return wisp_protections_next(&mas) && mas.index < range->gpa >> PAGE_SHIFT &&
	       mas.last >= end >> PAGE_SHIFT;
}

/*
 * How many entries more @ranges may make: one that is set two, it and the end of one that
 * it parts; one that is taken away such an end, of what is there or is set before it.
 */
static u32 count_more(struct maple_tree *tree, const struct wisp_protect_range *ranges,
		      u32 count)
{
	u32 i, set = 0, parted = 0;

	for (i = 0; i < count; i++)
		if (ranges[i].prot != PROT_ALL)
			set++;
		else if (set || parts(tree, &ranges[i]))
			parted++;
	return 2 * set + parted;
}

/**
 * wisp_protections_reserve() - be ready for more ranges
 * @protections: made, if there is none
 * @ranges: that are to be stored
 * @count: of them
 *
 * May sleep. Returns 0, -ENOMEM or -ENOSPC.
 */
int wisp_protections_reserve(struct maple_tree **protections,
			     const struct wisp_protect_range *ranges, u32 count)
{
	struct protections *p;
	u32 more;

	if (!*protections && create(protections))
		return -ENOMEM;
	p = of(*protections);
	more = count_more(*protections, ranges, count);
	if (p->count + more > min_t(u32, p->recount, MAX_ENTRIES)) {
		set_count(p, count_entries(&p->tree));
		p->recount = 2 * (p->count + ENTRIES_PER_PAGE) + more;
	}
	if (p->count + more > MAX_ENTRIES)
		return -ENOSPC;
	return set_count(p, p->count + more) ? 0 : -ENOMEM;
}

/* PROT_ALL takes the protection away. Returns 0 or -ENOMEM. */
int wisp_protections_store(struct maple_tree *protections, unsigned long first,
			   unsigned long last, u32 prot)
{
	void *entry = prot == PROT_ALL ? NULL : xa_mk_value(prot);

	return mtree_store_range(protections, first, last, entry, WISP_GFP);
}

/* The next one, with its range in @mas, of a tree that may be NULL; or NULL. May sleep. */
void *wisp_protections_next(struct ma_state *mas)
{
	void *entry;

	if (!mas->tree)
		return NULL;
	rcu_read_lock();
	entry = mas_find(mas, ULONG_MAX);
	mas_pause(mas);
	rcu_read_unlock();
	cond_resched();
	return entry;
}

/* @to is NULL, and to be freed even on failure. Returns 0 or -ENOMEM. */
int wisp_protections_copy(struct maple_tree **to, struct maple_tree *from)
{
	MA_STATE(mas, from, 0, 0);
	void *entry;
	int ret = 0;

	if (!from)
		return 0;
	if (create(to) || !set_count(of(*to), count_entries(from)))
		return -ENOMEM;
	while (!ret && (entry = wisp_protections_next(&mas)))
		ret = wisp_protections_store(*to, mas.index, mas.last,
					     xa_to_value(entry));
	return ret;
}

void wisp_protections_free(struct maple_tree *protections)
{
	if (!protections)
		return;
	set_count(of(protections), 0);
	mtree_destroy(protections);
	kfree(of(protections));
}
