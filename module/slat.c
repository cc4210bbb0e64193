// SPDX-License-Identifier: GPL-2.0
/*
 * Second-level address translation: the one walker.
 *
 * Mapping goes on in several vCPUs at once: it only ever turns an empty entry
 * into a full one, by cmpxchg. Unmapping excludes mapping (the VM's slots_sem)
 * but not the hardware: entries are cleared first, then the VM's generation is
 * bumped and every running vCPU made to exit and flush, and only then is a
 * table's page given back.
 *
 * Tables are shared with snapshots and forks; a table's page counts the entries
 * that lead to it. An entry that lets nothing be written leads to a table that
 * may be shared: it is never changed, but copied first. The root is always one's
 * own, and what is mapped at the moment of sharing becomes read-only with one
 * bit per root entry.
 */
#include "slat.h"

#include <linux/cleanup.h>
#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/mem_encrypt.h>
#include <linux/mm.h>
#include <linux/sched.h>

#include <uapi/linux/wisp.h>

#define ENTRY_BITS	9
#define ENTRIES		(1U << ENTRY_BITS)
#define PFN_MASK	GENMASK_ULL(51, PAGE_SHIFT)

#define TABLE_GFP \
	(GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN | __GFP_ZERO)

static unsigned int shift_of(unsigned int level)
{
	return PAGE_SHIFT + level * ENTRY_BITS;
}

static u64 *table_of(u64 entry)
{
	return __va(__sme_clr(entry) & PFN_MASK);
}

static u64 table_entry(const struct wisp_slat *slat, const u64 *table)
{
	return __sme_pa(table) | slat->format->table;
}

static u64 leaf_entry(const struct wisp_slat_format *format, u64 pfn, u32 prot)
{
	u64 entry = __sme_set(pfn << PAGE_SHIFT) | format->leaf;

	if (prot & WISP_PROT_READ)
		entry |= format->readable;
	if (prot & WISP_PROT_WRITE)
		entry |= format->writable;
	entry |= prot & WISP_PROT_EXEC ? format->executable :
					 format->not_executable;
	return entry;
}

static bool is_own(const struct wisp_slat *slat, u64 entry)
{
	return entry & slat->format->writable;
}

static bool is_table(const struct wisp_slat *slat, u64 entry, unsigned int level)
{
	return level && entry & slat->format->present &&
	       !(level == 1 && entry & slat->format->huge);
}

/* Most tables are nearly empty: look at a cache line at a time. */
#define LINE	8

static bool line_empty(const u64 *entry)
{
	return !(entry[0] | entry[1] | entry[2] | entry[3] | entry[4] |
		 entry[5] | entry[6] | entry[7]);
}

static void put_table(struct wisp_slat *slat, u64 *table, unsigned int level)
{
	struct page *page = virt_to_page(table);
	unsigned int i, j;

	if (!put_page_testzero(page))
		return;
	for (i = 0; level && i < ENTRIES; i += LINE)
		for (j = i; !line_empty(&table[i]) && j < i + LINE; j++)
			if (is_table(slat, table[j], level))
				put_table(slat, table_of(table[j]), level - 1);
	init_page_count(page);
	__free_page(page);
	if (level)
		cond_resched();
}

static void get_tables(struct wisp_slat *slat, const u64 *line, unsigned int level)
{
	unsigned int i;

	for (i = 0; i < LINE; i++)
		if (is_table(slat, line[i], level))
			page_ref_inc(virt_to_page(table_of(line[i])));
}

/* What @from leads to may be written no more through @to, and counts as clean. */
static void copy_frozen(struct wisp_slat *slat, u64 *to, const u64 *from,
			unsigned int level)
{
	u64 keep = ~(slat->format->writable | slat->format->dirty);
	unsigned int i, j;

	for (i = 0; i < ENTRIES; i += LINE) {
		for (j = i; j < i + LINE; j++)
			to[j] = from[j] & keep;
		if (level && to != from && !line_empty(&from[i]))
			get_tables(slat, &from[i], level);
	}
}

/*
 * Makes the shared table behind *@entry this tree's own. NULL: no memory. The
 * other trees do not change it, nor does this one until it is here alone.
 */
static u64 *own_table(struct wisp_slat *slat, u64 *entry, unsigned int level)
{
	u64 *old, *table;

	guard(mutex)(&slat->lock);
	old = table = table_of(*entry);
	if (is_own(slat, *entry))
		return old;
	if (page_count(virt_to_page(old)) > 1) {
		table = (u64 *)__get_free_page(TABLE_GFP & ~__GFP_ZERO);
		if (!table)
			return NULL;
	}
	copy_frozen(slat, table, old, level - 1);
	/* The hardware must find the copy whole. */
	smp_wmb();
	WRITE_ONCE(*entry, table_entry(slat, table));
	if (table != old) {
		slat->revoke(slat);
		put_table(slat, old, level - 1);
	}
	return table;
}

/*
 * The table that *@entry leads to, allocated if there is none. NULL: no memory,
 * or a 2 MiB leaf is there.
 */
static u64 *next_table(struct wisp_slat *slat, u64 *entry, unsigned int level)
{
	u64 old = READ_ONCE(*entry);
	u64 *table;

	if (!(old & slat->format->present)) {
		table = (u64 *)__get_free_page(TABLE_GFP);
		if (!table)
			return NULL;
		old = cmpxchg64(entry, 0, table_entry(slat, table));
		if (!old)
			return table;
		free_page((unsigned long)table);
	}
	if (!is_table(slat, old, level))
		return NULL;
	return is_own(slat, old) ? table_of(old) : own_table(slat, entry, level);
}

/**
 * wisp_slat_init() - make a tree without tables
 * @slat: zeroed
 * @format: of the backend
 * @revoke: bumps the generation and returns once every CPU that used the tree
 *	has left it
 */
void wisp_slat_init(struct wisp_slat *slat, const struct wisp_slat_format *format,
		    void (*revoke)(struct wisp_slat *slat))
{
	slat->format = format;
	slat->revoke = revoke;
	mutex_init(&slat->lock);
	atomic64_set(&slat->generation, 1);
}

/**
 * wisp_slat_share() - lead to the same pages, read-only, from two trees
 * @slat: gets what @with has, instead of what it had
 * @with: loses the right to write
 *
 * No CPU uses either, and each flushes before it does: the caller bumps the
 * generations. May sleep.
 */
void wisp_slat_share(struct wisp_slat *slat, struct wisp_slat *with)
{
	unsigned int level = slat->format->levels - 1, i, j;
	u64 old[LINE];

	for (i = 0; i < ENTRIES; i += LINE) {
		if (line_empty(&slat->root[i]) && line_empty(&with->root[i]))
			continue;
		memcpy(old, &slat->root[i], sizeof(old));
		for (j = i; j < i + LINE; j++) {
			/* Only once: other forks may be at it, too. */
			if (is_own(slat, with->root[j]))
				with->root[j] &= ~slat->format->writable;
			slat->root[j] = with->root[j];
		}
		get_tables(slat, &slat->root[i], level);
		for (j = 0; j < LINE; j++)
			if (old[j])
				put_table(slat, table_of(old[j]), level - 1);
	}
}

/**
 * wisp_slat_populate() - make the root, which is there from then on
 * @slat: the tree
 * @with: share what it has, or NULL
 *
 * May sleep. Returns 0 or -ENOMEM.
 */
int wisp_slat_populate(struct wisp_slat *slat, struct wisp_slat *with)
{
	guard(mutex)(&slat->lock);
	if (slat->root)
		return 0;
	slat->root = (u64 *)__get_free_page(TABLE_GFP);
	if (!slat->root)
		return -ENOMEM;
	if (with)
		wisp_slat_share(slat, with);
	return 0;
}

/**
 * wisp_slat_map() - let a guest-physical page lead to a host page
 * @slat: the tree
 * @gpa: guest-physical address, page-aligned
 * @pfn: host page frame
 * @prot: WISP_PROT_*
 * @huge: @gpa and @pfn begin 2 MiB that may be one leaf. They are not where a
 *	table is there already
 * @leaf: gets the entry
 *
 * What is mapped already stays as it is: another vCPU was faster. The caller
 * keeps unmapping out. May sleep. Returns 0; -ENOMEM; or -EEXIST: @huge is not
 * possible, or it is what is there already.
 */
int wisp_slat_map(struct wisp_slat *slat, u64 gpa, u64 pfn, u32 prot, bool huge,
		  u64 **leaf)
{
	unsigned int level = slat->format->levels - 1;
	u64 *table = slat->root;
	u64 *entry, new;

	if (huge && !slat->format->huge)
		return -EEXIST;
	for (;; level--) {
		entry = &table[(gpa >> shift_of(level)) & (ENTRIES - 1)];
		if (level == (huge ? 1 : 0))
			break;
		table = next_table(slat, entry, level);
		if (!table)
			return READ_ONCE(*entry) ? -EEXIST : -ENOMEM;
	}
	new = leaf_entry(slat->format, pfn, prot);
	if (huge)
		new |= slat->format->huge;
	*leaf = entry;
	return cmpxchg64(entry, 0, new) && huge ? -EEXIST : 0;
}

/* Translations may always be forgotten: all that a shared table leads to. */
static void cut(struct wisp_slat *slat, u64 *entry, unsigned int level)
{
	u64 *table = table_of(*entry);

	WRITE_ONCE(*entry, 0);
	slat->revoke(slat);
	put_table(slat, table, level - 1);
}

/*
 * Empties [@gpa, @last] below @table; true if anything was there. Tables that
 * are wholly inside go to @freed, if there is one, through their struct page:
 * the hardware may still be walking them, so their contents stay entries. Of a
 * 2 MiB leaf, and of a shared table that cannot be copied, nothing remains.
 */
static bool unmap_level(struct wisp_slat *slat, u64 *table, unsigned int level,
			u64 gpa, u64 last, struct list_head *freed)
{
	u64 span = 1ULL << shift_of(level);
	u64 *entry, *lower, end, old;
	bool found = false;

	for (;; gpa = end + 1) {
		end = min(gpa | (span - 1), last);
		entry = &table[(gpa >> shift_of(level)) & (ENTRIES - 1)];
		old = *entry;
		if (is_table(slat, old, level)) {
			lower = is_own(slat, old) ? table_of(old) :
						    own_table(slat, entry, level);
			if (!lower) {
				cut(slat, entry, level);
				found = true;
			} else {
				found |= unmap_level(slat, lower, level - 1,
						     gpa, end, freed);
				if (freed && end - gpa == span - 1) {
					WRITE_ONCE(*entry, 0);
					list_add(&virt_to_page(lower)->lru, freed);
				}
			}
		} else if (old & slat->format->present) {
			WRITE_ONCE(*entry, 0);
			found = true;
		}
		if (end == last)
			return found;
		if (level)
			cond_resched();
	}
}

/**
 * wisp_slat_unmap() - empty a range
 * @slat: the tree
 * @gpa: first guest-physical address, page-aligned
 * @size: bytes, not 0, a multiple of PAGE_SIZE
 * @freed: gets the tables that are no longer needed; wisp_slat_free() takes
 *	them once every CPU that may walk them has flushed. NULL: they stay
 *
 * The caller keeps mapping in the range out and, with @freed, any unmapping. May sleep. Returns whether a page was mapped.
 */
bool wisp_slat_unmap(struct wisp_slat *slat, u64 gpa, u64 size,
		     struct list_head *freed)
{
	if (!slat->root)
		return false;
	return unmap_level(slat, slat->root, slat->format->levels - 1, gpa,
			   gpa + size - 1, freed);
}

/* Gives back the tables that unmapping collected. */
void wisp_slat_free(struct list_head *freed)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, freed, lru) {
		list_del(&page->lru);
		__free_page(page);
	}
}

/**
 * wisp_slat_exit() - free all tables
 * @slat: no CPU uses it any more
 */
void wisp_slat_exit(struct wisp_slat *slat)
{
	if (slat->root)
		put_table(slat, slat->root, slat->format->levels - 1);
	slat->root = NULL;
	mutex_destroy(&slat->lock);
}
