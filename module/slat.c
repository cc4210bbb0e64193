// SPDX-License-Identifier: GPL-2.0
/*
 * Second-level address translation: the one walker.
 *
 * Mapping goes on in several vCPUs at once: it only ever turns an empty entry
 * into a full one, by cmpxchg. Unmapping excludes mapping of the same pages (by the
 * VM's slots_sem or their object's lock), other unmapping and all that moves tables
 * (by the tree's lock), but not the hardware: entries are cleared first, then the
 * VM's generation is bumped and every running vCPU made to exit and flush, and only
 * then is a table's page given back.
 *
 * Tables are shared with snapshots and forks. A table is owned by the one whose
 * entry it was made for; others borrow it, by a copy of that entry without the
 * right to write. They copy it before they change anything in it, and the copy
 * has a reference on what it was copied from, its origin, which keeps all that it
 * borrows. So a copy costs the same however much it leads to. The root is always
 * one's own, and what is mapped at the moment of sharing becomes read-only with
 * one bit per root entry.
 */
#include "slat.h"

#include <linux/bitfield.h>
#include <linux/bitmap.h>
#include <linux/cleanup.h>
#include <linux/gfp.h>
#include <linux/mem_encrypt.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/refcount.h>
#include <linux/sched.h>

#include <uapi/linux/wisp.h>

#include "compat.h"
#include "ledger.h"
#include "pages.h"

#define ENTRY_BITS	9
#define ENTRIES		(1U << ENTRY_BITS)
#define PFN_MASK	GENMASK_ULL(51, PAGE_SHIFT)

/*
 * In page_private() of a table, beside its origin's struct page: its level, and
 * whether it was copied. From then on its entries are as the copies have them,
 * without writable and dirty bits, and those it owns are marked.
 */
#define TABLE_FROZEN	BIT(0)
#define TABLE_LEVEL	GENMASK(3, 1)
#define TABLE_ORIGIN	(~15UL)

/* The kernel's array of them begins at a page. */
static_assert(!(sizeof(struct page) & ~TABLE_ORIGIN));

/* In an entry of a frozen table; the hardware ignores it. */
#define ENTRY_OWNED	BIT_ULL(11)

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

/* Above the last level: a page of 2 MiB. */
static bool is_leaf(const struct wisp_slat *slat, u64 entry, unsigned int level)
{
	return entry & slat->format->present && !is_table(slat, entry, level);
}

/*
 * In lru of a table: its references, of which the kernel's own count knows one (as for
 * pages.c), and the next one of those that unmapping collected.
 */
static refcount_t *refs_of(struct page *page)
{
	return (refcount_t *)&page->lru.prev;
}

static struct page **next_of(struct page *page)
{
	return (struct page **)&page->lru.next;
}

static u64 *alloc_table(unsigned int level, gfp_t zero)
{
	struct page *page = alloc_page(WISP_GFP | zero);

	if (!page)
		return NULL;
	set_page_private(page, FIELD_PREP(TABLE_LEVEL, level));
	page->__folio_index = 0;
	refcount_set(refs_of(page), 1);
	return page_address(page);
}

static struct page *origin_of(const struct page *page)
{
	return (struct page *)(page_private(page) & TABLE_ORIGIN);
}

static unsigned int level_of(const struct page *page)
{
	return FIELD_GET(TABLE_LEVEL, page_private(page));
}

/* Most tables have little of interest: look at a cache line at a time. */
#define LINE	8
#define LINES	(ENTRIES / LINE)

static_assert(LINES == BITS_PER_LONG);

/*
 * In __folio_index of a table: a bit for each line that may have an entry which
 * leads to a table of its own. To be set before the entry is.
 */
static unsigned long *owning_lines(struct page *page)
{
	return &page->__folio_index;
}

static void note_owned(u64 *entry)
{
	set_bit(offset_in_page(entry) / sizeof(*entry) / LINE,
		owning_lines(virt_to_page(entry)));
}

static u64 line_bits(const u64 *entry)
{
	return entry[0] | entry[1] | entry[2] | entry[3] | entry[4] | entry[5] |
	       entry[6] | entry[7];
}

static void put_table(struct wisp_slat *slat, struct page *page);

/* What the table owns. */
static void put_lower(struct wisp_slat *slat, struct page *page)
{
	bool frozen = page_private(page) & TABLE_FROZEN;
	u64 owned = frozen ? ENTRY_OWNED : slat->format->writable;
	unsigned int level = level_of(page), i, j;
	u64 *table = page_address(page);

	if (!level)
		return;
	for_each_set_bit(i, owning_lines(page), LINES)
		for (j = i * LINE; j < (i + 1) * LINE; j++)
			if (table[j] & owned && is_table(slat, table[j], level))
				put_table(slat, virt_to_page(table_of(table[j])));
	cond_resched();
}

static void free_table(struct page *page)
{
	set_page_private(page, 0);
	__free_page(page);
}

/* Origins may be many: one after the other, not one inside of the other. */
static void put_table(struct wisp_slat *slat, struct page *page)
{
	struct page *origin;

	while (page && refcount_dec_and_test(refs_of(page))) {
		put_lower(slat, page);
		origin = origin_of(page);
		free_table(page);
		page = origin;
	}
}

/*
 * Only @page still has a reference on @origin: it becomes the owner of what it
 * borrows there, and the rest is nobody's.
 */
static void absorb(struct wisp_slat *slat, struct page *page, struct page *origin)
{
	const u64 *from = page_address(origin);
	unsigned int level = level_of(origin), i;
	u64 *table = page_address(page);

	for (i = 0; i < ENTRIES; i++) {
		if (!(from[i] & ENTRY_OWNED) || !is_table(slat, from[i], level))
			continue;
		if (is_table(slat, table[i], level) &&
		    table_of(table[i]) == table_of(from[i])) {
			note_owned(&table[i]);
			WRITE_ONCE(table[i], table[i] | ENTRY_OWNED);
		} else {
			put_table(slat, virt_to_page(table_of(from[i])));
		}
	}
	WRITE_ONCE(page->private, (page->private & ~TABLE_ORIGIN) |
				  (unsigned long)origin_of(origin));
}

/*
 * The origins of @page that closed snapshots have left, however many live ones
 * lie between. Each is locked before what leads to it is unlocked, so that nobody
 * absorbs the one that another is at; @page is locked, and unlocked at the end.
 */
static void absorb_origins(struct wisp_slat *slat, struct page *page)
{
	struct page *origin;

	while ((origin = origin_of(page))) {
		lock_page(origin);
		if (refcount_read(refs_of(origin)) > 1) {
			unlock_page(page);
			page = origin;
			continue;
		}
		absorb(slat, page, origin);
		unlock_page(origin);
		free_table(origin);
	}
	unlock_page(page);
}

/*
 * Before a table's first copy is made. What leads to it lets nothing be written,
 * so that the hardware does not care; several trees may be at it.
 */
static void freeze_table(struct wisp_slat *slat, u64 *table)
{
	u64 drop = slat->format->writable | slat->format->dirty | ENTRY_OWNED;
	struct page *page = virt_to_page(table);
	unsigned int i, j;

	/* Pairs with the release below. */
	if (smp_load_acquire(&page->private) & TABLE_FROZEN)
		return;
	lock_page(page);
	if (page->private & TABLE_FROZEN) {
		unlock_page(page);
		return;
	}
	for (i = 0; i < ENTRIES; i += LINE) {
		if (!(line_bits(&table[i]) & drop))
			continue;
		for (j = i; j < i + LINE; j++)
			WRITE_ONCE(table[j], (table[j] & ~drop) |
				   (is_own(slat, table[j]) ? ENTRY_OWNED : 0));
	}
	/* Who sees the mark sees the entries. */
	smp_store_release(&page->private, page->private | TABLE_FROZEN);
	absorb_origins(slat, page);
}

/* @table, which owns nothing, becomes a copy of @origin. */
static void borrow(struct wisp_slat *slat, u64 *table, u64 *origin)
{
	struct page *page = virt_to_page(table);

	freeze_table(slat, origin);
	copy_page(table, origin);
	/* The last level borrows nothing: pages are not the tables'. */
	if (!level_of(page))
		return;
	refcount_inc(refs_of(virt_to_page(origin)));
	*owning_lines(page) = 0;
	set_page_private(page, FIELD_PREP(TABLE_LEVEL, level_of(page)) |
			       (unsigned long)virt_to_page(origin));
}

/*
 * Has a copy of the table behind *@entry instead, unless that is this tree's own
 * already. NULL: no memory.
 */
static u64 *own_table(struct wisp_slat *slat, u64 *entry, unsigned int level)
{
	u64 *table;

	lockdep_assert_held(&slat->lock);
	if (is_own(slat, *entry))
		return table_of(*entry);
	table = alloc_table(level - 1, 0);
	if (!table)
		return NULL;
	borrow(slat, table, table_of(*entry));
	note_owned(entry);
	/* The hardware must find the copy whole. */
	smp_wmb();
	WRITE_ONCE(*entry, table_entry(slat, table));
	wisp_ledger_narrow(slat);
	slat->revoke(slat);
	return table;
}

/*
 * The table that *@entry leads to, allocated if there is none. NULL: no memory,
 * or a 2 MiB leaf is there.
 */
static u64 *next_table(struct wisp_slat *slat, u64 *entry, unsigned int level)
{
	u64 *table;
	u64 old;

	for (;;) {
		old = READ_ONCE(*entry);
		if (!(old & slat->format->present)) {
			table = alloc_table(level - 1, __GFP_ZERO);
			if (!table)
				return NULL;
			note_owned(entry);
			if (!cmpxchg64(entry, 0, table_entry(slat, table)))
				return table;
			free_table(virt_to_page(table));
			continue;
		}
		if (!is_table(slat, old, level))
			return NULL;
		if (is_own(slat, old))
			return table_of(old);
		/* Without memory for a copy, unmapping may have emptied it by then. */
		guard(mutex)(&slat->lock);
		if (READ_ONCE(*entry) == old)
			return own_table(slat, entry, level);
	}
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
 * wisp_slat_share() - lead to the same pages as a frozen tree, read-only
 * @slat: gets what @frozen has, instead of what it had; without a root yet, it does
 *	when it gets one
 * @frozen: by wisp_slat_freeze(); it stays as long as @slat is without a root
 *
 * No CPU uses @slat, and each flushes before it does: the caller bumps the
 * generation. May sleep.
 */
void wisp_slat_share(struct wisp_slat *slat, struct wisp_slat *frozen)
{
	struct page *page;

	guard(mutex)(&slat->lock);
	slat->base = frozen;
	if (!slat->root)
		return;
	page = virt_to_page(slat->root);
	put_lower(slat, page);
	put_table(slat, origin_of(page));
	borrow(slat, slat->root, frozen->root);
	wisp_ledger_narrow(slat);
}

/**
 * wisp_slat_freeze() - take over a tree
 * @frozen: with an empty root: gets the tables of @slat
 * @slat: borrows them from now on. As for wisp_slat_share()
 *
 * May sleep.
 */
void wisp_slat_freeze(struct wisp_slat *frozen, struct wisp_slat *slat)
{
	struct page *from = virt_to_page(slat->root);
	struct page *to = virt_to_page(frozen->root);

	guard(mutex)(&slat->lock);
	copy_page(frozen->root, slat->root);
	set_page_private(to, page_private(from));
	*owning_lines(to) = *owning_lines(from);
	borrow(slat, slat->root, frozen->root);
	wisp_ledger_narrow(slat);
}

static int populate(struct wisp_slat *slat)
{
	u64 *root;

	if (slat->root)
		return 0;
	root = alloc_table(slat->format->levels - 1, slat->base ? 0 : __GFP_ZERO);
	if (!root)
		return -ENOMEM;
	if (slat->base)
		borrow(slat, root, slat->base->root);
	slat->root = root;
	return 0;
}

/**
 * wisp_slat_populate() - make the root, which is there from then on
 * @slat: the tree
 *
 * May sleep. Returns 0 or -ENOMEM.
 */
int wisp_slat_populate(struct wisp_slat *slat)
{
	guard(mutex)(&slat->lock);
	return populate(slat);
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
			return is_leaf(slat, READ_ONCE(*entry), level) ? -EEXIST :
									 -ENOMEM;
	}
	new = leaf_entry(slat->format, pfn, prot);
	if (huge)
		new |= slat->format->huge;
	*leaf = entry;
	return cmpxchg64(entry, 0, new) && huge ? -EEXIST : 0;
}

/*
 * Empties [@gpa, @last] below @table. Own tables that are wholly inside go to
 * @freed, if there is one, through their struct page: the hardware may still be
 * walking them, so their contents stay entries. Of a 2 MiB leaf, and of a borrowed
 * table that is wholly inside or cannot be copied, nothing remains: translations
 * may always be forgotten.
 */
static void unmap_level(struct wisp_slat *slat, u64 *table, unsigned int level,
			u64 gpa, u64 last, struct page **freed)
{
	u64 span = 1ULL << shift_of(level);
	u64 *entry, *lower, end, old;
	bool whole;

	for (;; gpa = end + 1) {
		end = min(gpa | (span - 1), last);
		whole = end - gpa == span - 1;
		entry = &table[(gpa >> shift_of(level)) & (ENTRIES - 1)];
		old = *entry;
		lower = NULL;
		if (is_table(slat, old, level) && is_own(slat, old))
			lower = table_of(old);
		else if (is_table(slat, old, level) && !whole)
			lower = own_table(slat, entry, level);
		if (lower)
			unmap_level(slat, lower, level - 1, gpa, end, freed);
		if (old & slat->format->present && (!lower || (freed && whole))) {
			WRITE_ONCE(*entry, 0);
			wisp_ledger_narrow(slat);
		}
		if (lower && freed && whole) {
			*next_of(virt_to_page(lower)) = *freed;
			*freed = virt_to_page(lower);
		}
		if (end == last)
			return;
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
 * The caller keeps mapping in the range out. May sleep.
 */
void wisp_slat_unmap(struct wisp_slat *slat, u64 gpa, u64 size,
		     struct page **freed)
{
	guard(mutex)(&slat->lock);
	if (!slat->root && !slat->base)
		return;
	/* What a fork is still to borrow is to be without this range; or nothing is. */
	if (populate(slat))
		slat->base = NULL;
	else
		unmap_level(slat, slat->root, slat->format->levels - 1, gpa,
			    gpa + size - 1, freed);
}

/* Gives back the tables that unmapping collected. */
void wisp_slat_free(struct wisp_slat *slat, struct page *freed)
{
	struct page *next;

	for (; freed; freed = next) {
		next = *next_of(freed);
		put_table(slat, freed);
	}
}

/**
 * wisp_slat_exit() - free all tables
 * @slat: no CPU uses it any more
 */
void wisp_slat_exit(struct wisp_slat *slat)
{
	if (slat->root)
		put_table(slat, virt_to_page(slat->root));
	slat->root = NULL;
	mutex_destroy(&slat->lock);
}
