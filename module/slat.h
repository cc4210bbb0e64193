/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Second-level address translation: guest-physical to host-physical.
 *
 * One walker serves NPT and EPT. What differs is data: a struct
 * wisp_slat_format that the backend fills.
 */
#ifndef WISP_SLAT_H
#define WISP_SLAT_H

#include <linux/atomic.h>
#include <linux/compiler.h>
#include <linux/mutex.h>
#include <linux/types.h>

struct page;

/**
 * struct wisp_slat_format - the bits of an entry
 * @table: set in an entry that leads to a lower table
 * @leaf: set in every leaf
 * @huge: set in a 2 MiB leaf besides; 0: there are none
 * @present: an entry with none of these is empty
 * @readable: set in a leaf that may be read
 * @writable: set in a leaf that may be written; in @table, too: permissions are
 *	those that all levels give
 * @executable: set in a leaf that may be executed
 * @not_executable: set in a leaf that may not be executed
 * @dirty: set by the hardware in a leaf that was written; 0: it tells nothing
 * @levels: of tables, 4 or 5
 */
struct wisp_slat_format {
	u64 table;
	u64 leaf;
	u64 huge;
	u64 present;
	u64 readable;
	u64 writable;
	u64 executable;
	u64 not_executable;
	u64 dirty;
	unsigned int levels;
};

struct wisp_slat {
	/* Constant after init. */
	const struct wisp_slat_format *format;
	void (*revoke)(struct wisp_slat *slat);

	/* One at a time: tables stop being shared, and entries are taken out. */
	struct mutex lock;

	/* Set once, under @lock. */
	u64 *root;

	/* Protected by @lock: what the root is to lead to when there is one. */
	struct wisp_slat *base;

	/*
	 * Bumped by each revocation. Read at each entry, after the vCPU has
	 * published that it is running; see revoke() in vm.c.
	 */
	atomic64_t generation;

#ifdef CONFIG_WISP_DEBUG
	/* The ledger's: how much was taken away, and of that revoked. */
	atomic64_t narrowed;
	atomic64_t revoked;
#endif
};

void wisp_slat_init(struct wisp_slat *slat, const struct wisp_slat_format *format,
		    void (*revoke)(struct wisp_slat *slat));
int wisp_slat_populate(struct wisp_slat *slat);
void wisp_slat_exit(struct wisp_slat *slat);
int wisp_slat_map(struct wisp_slat *slat, u64 gpa, u64 pfn, u32 prot, bool huge,
		  u64 **leaf);

void wisp_slat_unmap(struct wisp_slat *slat, u64 gpa, u64 size,
		     struct page **freed);
void wisp_slat_free(struct wisp_slat *slat, struct page *freed);

void wisp_slat_freeze(struct wisp_slat *frozen, struct wisp_slat *slat);
void wisp_slat_share(struct wisp_slat *slat, struct wisp_slat *frozen);

/* Was the page behind @leaf written, as far as is known? */
static inline bool wisp_slat_dirty(const struct wisp_slat_format *format,
				   const u64 *leaf)
{
	u64 entry = READ_ONCE(*leaf);

	return !format->dirty || !(entry & format->present) ||
	       entry & format->dirty;
}

/*
 * From here on. No CPU writes by the entry, and flushes before it does again; but
 * another VM, which shows the page read-only, may empty it meanwhile.
 */
static inline void wisp_slat_clean(const struct wisp_slat_format *format, u64 *leaf)
{
	if (READ_ONCE(*leaf) & format->dirty)
		atomic64_andnot(format->dirty, (atomic64_t *)leaf);
}

#endif
