// SPDX-License-Identifier: GPL-2.0
/*
 * Second-level address translation: the one walker.
 *
 * Mapping goes on in several vCPUs at once: it only ever turns an empty entry
 * into a full one, by cmpxchg. Unmapping excludes mapping (the VM's slots_sem)
 * but not the hardware: entries are cleared first, then the VM's generation is
 * bumped and every running vCPU made to exit and flush, and only then is a
 * table's page given back.
 */
#include "slat.h"

#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/mem_encrypt.h>
#include <linux/mm.h>
#include <linux/sched.h>

#include <uapi/linux/wisp.h>

#define ENTRY_BITS	9
#define ENTRIES		(1U << ENTRY_BITS)
#define PFN_MASK	GENMASK_ULL(51, PAGE_SHIFT)

#define TABLE_GFP	(GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_ZERO)

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

static bool is_table(const struct wisp_slat *slat, u64 entry, unsigned int level)
{
	return level && entry & slat->format->present &&
	       !(level == 1 && entry & slat->format->huge);
}

/*
 * The table that *@entry leads to, allocated if there is none. NULL: no memory,
 * or a 2 MiB leaf is there.
 */
static u64 *next_table(struct wisp_slat *slat, u64 *entry, unsigned int level)
{
	u64 old = READ_ONCE(*entry);
	u64 *table;

	if (old & slat->format->present)
		return is_table(slat, old, level) ? table_of(old) : NULL;

	table = (u64 *)__get_free_page(TABLE_GFP);
	if (!table)
		return NULL;
	old = cmpxchg64(entry, 0, table_entry(slat, table));
	if (old) {
		free_page((unsigned long)table);
		return is_table(slat, old, level) ? table_of(old) : NULL;
	}
	return table;
}

/**
 * wisp_slat_init() - make an empty tree
 * @slat: zeroed
 * @format: of the backend
 *
 * Returns 0 or -ENOMEM.
 */
int wisp_slat_init(struct wisp_slat *slat, const struct wisp_slat_format *format)
{
	slat->format = format;
	atomic64_set(&slat->generation, 1);
	slat->root = (u64 *)__get_free_page(TABLE_GFP);
	return slat->root ? 0 : -ENOMEM;
}

/**
 * wisp_slat_map() - let a guest-physical page lead to a host page
 * @slat: the tree
 * @gpa: guest-physical address, page-aligned
 * @pfn: host page frame
 * @prot: WISP_PROT_*
 * @huge: @gpa and @pfn begin 2 MiB that may be one leaf. They are not where a
 *	table is there already
 *
 * What is mapped already stays as it is: another vCPU was faster. The caller
 * keeps unmapping out. May sleep. Returns 0; -ENOMEM; or -EEXIST: @huge is not
 * possible, or it is what is there already.
 */
int wisp_slat_map(struct wisp_slat *slat, u64 gpa, u64 pfn, u32 prot, bool huge)
{
	unsigned int level = slat->format->levels - 1;
	u64 *table = slat->root;
	u64 *entry, leaf;

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
	leaf = leaf_entry(slat->format, pfn, prot);
	if (huge)
		leaf |= slat->format->huge;
	return cmpxchg64(entry, 0, leaf) && huge ? -EEXIST : 0;
}

/*
 * Empties [@gpa, @last] below @table; true if anything was there. Tables that
 * are wholly inside go to @freed, if there is one, through their struct page:
 * the hardware may still be walking them, so their contents stay entries. Of a
 * 2 MiB leaf nothing remains.
 */
static bool unmap_level(struct wisp_slat *slat, u64 *table, unsigned int level,
			u64 gpa, u64 last, struct list_head *freed)
{
	u64 span = 1ULL << shift_of(level);
	bool found = false;
	u64 *entry, end;

	for (;; gpa = end + 1) {
		end = min(gpa | (span - 1), last);
		entry = &table[(gpa >> shift_of(level)) & (ENTRIES - 1)];
		if (*entry & slat->format->present) {
			u64 *lower = is_table(slat, *entry, level) ?
					     table_of(*entry) : NULL;

			found |= !lower;
			if (lower)
				found |= unmap_level(slat, lower, level - 1,
						     gpa, end, freed);
			if (!lower)
				WRITE_ONCE(*entry, 0);
			else if (freed && end - gpa == span - 1) {
				WRITE_ONCE(*entry, 0);
				list_add(&virt_to_page(lower)->lru, freed);
			}
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

/* Most tables are nearly empty: look at a cache line at a time. */
static bool line_empty(const u64 *entry)
{
	return !(entry[0] | entry[1] | entry[2] | entry[3] | entry[4] |
		 entry[5] | entry[6] | entry[7]);
}

static void free_level(struct wisp_slat *slat, u64 *table, unsigned int level)
{
	unsigned int i, j;

	for (i = 0; level && i < ENTRIES; i += 8)
		for (j = i; !line_empty(&table[i]) && j < i + 8; j++)
			if (is_table(slat, table[j], level))
				free_level(slat, table_of(table[j]), level - 1);
	free_page((unsigned long)table);
	if (level)
		cond_resched();
}

/**
 * wisp_slat_exit() - free all tables
 * @slat: no CPU uses it any more
 */
void wisp_slat_exit(struct wisp_slat *slat)
{
	if (slat->root)
		free_level(slat, slat->root, slat->format->levels - 1);
	slat->root = NULL;
}
