// SPDX-License-Identifier: GPL-2.0
/*
 * Trees of pages: see pages.h. Nodes are plain arrays without parent pointers or
 * tags, so that one can be in many trees at once.
 */
#include "pages.h"

#include <linux/moduleparam.h>
#include <linux/percpu_counter.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "compat.h"

struct wisp_node {
	refcount_t refs;

	/* Changed by the tree that has the only reference, under its lock. */
	void *slots[WISP_NODE_SLOTS];
};

static struct kmem_cache *node_cache;

static unsigned long max_memory_mib;
module_param(max_memory_mib, ulong, 0444);
MODULE_PARM_DESC(max_memory_mib,
		 "guest memory of all who lack CAP_SYS_RESOURCE (0: half of RAM)");

/* Pages that are limited, and how many there may be. */
static struct percpu_counter used_pages;
static s64 limit_pages;
static atomic_long_t all_pages;	/* of debug builds: kmemleak sees none */

/* ---- pages --------------------------------------------------------------- */

/* Counts pages that a user holds. False: they would be more than there may be. */
bool wisp_page_charge(s64 npages, bool limited)
{
	if (limited) {
		percpu_counter_add(&used_pages, npages);
		if (percpu_counter_compare(&used_pages, limit_pages) > 0) {
			percpu_counter_sub(&used_pages, npages);
			return false;
		}
	}
	if (IS_ENABLED(CONFIG_WISP_DEBUG))
		atomic_long_add(npages, &all_pages);
	return true;
}

void wisp_page_uncharge(s64 npages, bool limited)
{
	if (limited)
		percpu_counter_sub(&used_pages, npages);
	if (IS_ENABLED(CONFIG_WISP_DEBUG))
		atomic_long_sub(npages, &all_pages);
}

/*
 * The trees' references. The kernel's own count of a page is 1 for all of them: who
 * comes across it elsewhere, as KVM does by a mapping, may hold it for a while, and
 * then it is not the trees' any more, but is not free either.
 */
static refcount_t *refs_of(struct page *page)
{
	return (refcount_t *)&page->__folio_index;
}

/**
 * wisp_page_alloc() - allocate pages, split into single ones
 * @order: of them, 0 or WISP_HUGE_ORDER
 * @limited: they count against max_memory_mib until they are freed
 * @zero: they are to be zeroed; else the caller writes all of them
 *
 * Charged to the active memory cgroup. May sleep. Returns the first or NULL.
 */
struct page *wisp_page_alloc(unsigned int order, bool limited, bool zero)
{
	gfp_t gfp = order ? (WISP_GFP & ~__GFP_RETRY_MAYFAIL) |
			    __GFP_NORETRY | __GFP_NOWARN : WISP_GFP;
	struct page *page;
	unsigned int i;

	if (!wisp_page_charge(1 << order, limited))
		return NULL;
	page = alloc_pages(zero ? gfp | __GFP_ZERO : gfp, order);
	if (!page) {
		wisp_page_uncharge(1 << order, limited);
		return NULL;
	}
	if (order)
		split_page(page, order);
	for (i = 0; i < 1U << order; i++) {
		set_page_private(page + i, limited ? WISP_PAGE_LIMITED : 0);
		refcount_set(refs_of(page + i), 1);
	}
	return page;
}

static void free_page_of_tree(struct page *page)
{
	wisp_page_uncharge(1, page_private(page) & WISP_PAGE_LIMITED);
	set_page_private(page, 0);
	__free_page(page);
}

void wisp_page_put(struct page *page)
{
	if (refcount_dec_and_test(refs_of(page)))
		free_page_of_tree(page);
}

/* Whether there is something behind an entry, of any level, that is counted. */
static bool is_counted(const void *entry)
{
	return entry && entry != WISP_ENTRY_FILE;
}

/* What a tree has at its last level. */
void wisp_entry_put(void *entry)
{
	if (is_counted(entry))
		wisp_page_put(wisp_entry_page(entry));
}

/* ---- nodes --------------------------------------------------------------- */

static unsigned int slot_of(pgoff_t index, unsigned int level)
{
	return (index >> (level * WISP_NODE_BITS)) & (WISP_NODE_SLOTS - 1);
}

static __always_inline bool put_was_last(struct wisp_node *node)
{
	return is_counted(node) && refcount_dec_and_test(&node->refs);
}

/* Most of what it leads to is another tree's, too: no call for each of those. */
static void free_node(struct wisp_node *node, unsigned int level)
{
	struct page *page;
	unsigned int i;

	for (i = 0; i < WISP_NODE_SLOTS; i++) {
		if (level) {
			if (put_was_last(node->slots[i]))
				free_node(node->slots[i], level - 1);
		} else if (is_counted(node->slots[i])) {
			page = wisp_entry_page(node->slots[i]);
			if (refcount_dec_and_test(refs_of(page)))
				free_page_of_tree(page);
		}
	}
	kmem_cache_free(node_cache, node);
	if (level)
		cond_resched();
}

static void put_node(struct wisp_node *node, unsigned int level)
{
	if (put_was_last(node))
		free_node(node, level);
}

static void copy_slots(struct wisp_node *to, struct wisp_node *from,
		       unsigned int level)
{
	struct wisp_node *lower;
	unsigned int i;

	for (i = 0; i < WISP_NODE_SLOTS; i++) {
		lower = from->slots[i];
		to->slots[i] = lower;
		if (!is_counted(lower))
			continue;
		if (level)
			refcount_inc(&lower->refs);
		else
			refcount_inc(refs_of(wisp_entry_page(lower)));
	}
}

/* *@link, for this tree alone: copied if it is shared, made if it is missing. */
static struct wisp_node *own_node(struct wisp_node **link, unsigned int level)
{
	struct wisp_node *old = *link, *node;

	/* Nobody else can reach it, so nobody can take a reference. */
	if (is_counted(old) && refcount_read(&old->refs) == 1)
		return old;
	node = kmem_cache_alloc(node_cache, WISP_GFP);
	if (!node)
		return NULL;
	refcount_set(&node->refs, 1);
	if (is_counted(old)) {
		copy_slots(node, old, level);
		put_node(old, level);
	} else {
		memset_p(node->slots, old, WISP_NODE_SLOTS);
	}
	*link = node;
	return node;
}

/* ---- trees --------------------------------------------------------------- */

unsigned int wisp_pages_levels(u64 npages)
{
	unsigned int levels = 1;

	while (npages > 1ULL << (levels * WISP_NODE_BITS))
		levels++;
	return levels;
}

/* Another tree with the same pages: what both have is frozen. */
struct wisp_pages wisp_pages_get(const struct wisp_pages *pages)
{
	if (is_counted(pages->root))
		refcount_inc(&pages->root->refs);
	return *pages;
}

/* Frees what no other tree has. May sleep. */
void wisp_pages_put(struct wisp_pages *pages)
{
	put_node(pages->root, pages->levels - 1);
	pages->root = NULL;
}

/**
 * wisp_pages_find() - look an entry up
 * @pages: frozen, or its lock is held
 * @index: of a page
 * @level: 0 for the entry of a page, 1 for that of the node it is in
 *
 * Returns the entry, or one above that stands for it, too; or NULL where a node
 * above it is missing.
 */
void **wisp_pages_find(const struct wisp_pages *pages, pgoff_t index,
		       unsigned int level)
{
	void **entry = (void **)&pages->root;
	unsigned int at = pages->levels;

	while (at > level && *entry != WISP_ENTRY_FILE) {
		if (!*entry)
			return NULL;
		entry = &((struct wisp_node *)*entry)->slots[slot_of(index, --at)];
	}
	return entry;
}

/* As far as there are nodes, unless they are to be made. NULL: no memory. */
static __always_inline void **own_path(struct wisp_pages *pages, pgoff_t index, bool make)
{
	struct wisp_node **link = &pages->root, *node;
	unsigned int level = pages->levels;

	while (level && (make || *link)) {
		node = own_node(link, --level);
		if (!node)
			return NULL;
		link = (struct wisp_node **)&node->slots[slot_of(index, level)];
	}
	return (void **)link;
}

/**
 * wisp_pages_own() - an entry that may be changed
 * @pages: its lock is held
 * @index: of the page
 *
 * The page itself may still be another tree's, too. May sleep. Returns the
 * entry, or NULL where there was no memory for nodes.
 */
void **wisp_pages_own(struct wisp_pages *pages, pgoff_t index)
{
	return own_path(pages, index, true);
}

/* Those at the edges are owned by now, those in the middle may be shared. */
static void clear_level(struct wisp_node *node, unsigned int level,
			pgoff_t first, pgoff_t last)
{
	pgoff_t span = 1UL << (level * WISP_NODE_BITS), end;
	void **slot;

	for (;; first = end + 1) {
		end = min(first | (span - 1), last);
		slot = &node->slots[slot_of(first, level)];
		if (*slot && level && end - first < span - 1) {
			clear_level(*slot, level - 1, first, end);
		} else if (*slot) {
			if (level)
				put_node(*slot, level - 1);
			else
				wisp_entry_put(*slot);
			*slot = NULL;
		}
		if (end == last)
			return;
	}
}

/* A stretch that loses a page is no longer whole. Returns 0 or -ENOMEM. */
int wisp_pages_split(struct wisp_pages *pages, pgoff_t index)
{
	pgoff_t head = index & ~(WISP_HUGE_PAGES - 1);
	void **entry = wisp_pages_find(pages, head, 0);

	if (!entry || !((unsigned long)*entry & WISP_ENTRY_HUGE))
		return 0;
	entry = wisp_pages_own(pages, head);
	if (!entry)
		return -ENOMEM;
	*entry = wisp_entry_page(*entry);
	return 0;
}

/**
 * wisp_pages_clear() - take the pages of a range out
 * @pages: its lock is held
 * @first: index of the first page
 * @last: index of the last one
 *
 * May sleep. Returns 0, or -ENOMEM: nothing has changed.
 */
int wisp_pages_clear(struct wisp_pages *pages, pgoff_t first, pgoff_t last)
{
	if (!pages->root)
		return 0;
	if (wisp_pages_split(pages, first) || wisp_pages_split(pages, last) ||
	    !own_path(pages, first, false) || !own_path(pages, last, false))
		return -ENOMEM;
	clear_level(pages->root, pages->levels - 1, first, last);
	return 0;
}

/**
 * wisp_pages_differ() - look for pages that only one of two trees has
 * @pages: its lock is held
 * @with: frozen, of as many levels
 * @index: of the first page to look at; becomes that of the first one found
 * @last: of the last one
 *
 * May sleep. Returns how many there are in a row, as far as is seen at once, or 0 for
 * none. They may well have the same contents.
 */
u64 wisp_pages_differ(const struct wisp_pages *pages, const struct wisp_pages *with,
		      pgoff_t *index, pgoff_t last)
{
	const struct wisp_node *a, *b;
	unsigned int at;
	pgoff_t end;

	for (; *index <= last; *index = end + 1) {
		cond_resched();
		a = pages->root;
		b = with->root;
		at = pages->levels;
		while (a != b && at && (is_counted(a) || is_counted(b))) {
			at--;
			if (is_counted(a))
				a = a->slots[slot_of(*index, at)];
			if (is_counted(b))
				b = b->slots[slot_of(*index, at)];
		}
		/* As it is here, so it is with all that is behind them. */
		end = *index | (BIT(at * WISP_NODE_BITS) - 1);
		if (a != b)
			return min(end, last) - *index + 1;
	}
	return 0;
}

int wisp_pages_init(void)
{
	int ret;

	limit_pages = max_memory_mib ? (s64)max_memory_mib << (20 - PAGE_SHIFT) :
				       (s64)totalram_pages() / 2;
	ret = percpu_counter_init(&used_pages, 0, GFP_KERNEL);
	if (ret)
		return ret;
	node_cache = KMEM_CACHE(wisp_node, 0);
	if (!node_cache) {
		percpu_counter_destroy(&used_pages);
		return -ENOMEM;
	}
	return 0;
}

void wisp_pages_exit(void)
{
	WARN_ON(percpu_counter_sum(&used_pages) || atomic_long_read(&all_pages));
	kmem_cache_destroy(node_cache);
	percpu_counter_destroy(&used_pages);
}
