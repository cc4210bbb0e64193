/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory objects: guest memory that the driver owns. A page exists once it is
 * touched, reads as zero before, and is charged to the cgroup of the creator.
 *
 * Once it was part of a snapshot, an object is layered: it has a base, the pages
 * of that snapshot, and knows which pages it has written since.
 */
#ifndef WISP_MEMORY_H
#define WISP_MEMORY_H

#include <linux/atomic.h>
#include <linux/list.h>
#include <linux/types.h>

#include "pages.h"
#include "privates.h"

struct file;
struct iov_iter;
struct vm_area_struct;
struct wisp_memory;
struct wisp_slat_format;

#define WISP_MEMORY_MAX_SIZE	(1ULL << 46)

/* Somebody whose page tables hold the object's pages. */
struct wisp_memory_user {
	/* Protected by the object's lock. */
	struct list_head list;

	/* Constant after attach: whose tables, and may they be written. */
	const void *owner;
	bool writes;

	/*
	 * Takes all pages of a range out of the tables and returns once no CPU
	 * uses them. With the object locked. May sleep.
	 */
	void (*revoke)(struct wisp_memory_user *user, u64 offset, u64 size);
};

/* What wisp_memory_use() found: one page, of a 2 MiB stretch if @huge. */
struct wisp_memory_page {
	struct page *page;
	struct wisp_private *private;	/* or NULL: not of a layered object */
	bool writable;
	bool huge;
};

struct wisp_memory *wisp_memory_create(u64 size, bool huge);
struct wisp_memory *wisp_memory_create_over(u64 size, int fd, u64 offset);
int wisp_memory_claim(struct wisp_memory *memory, const void *owner);
void wisp_memory_release(struct wisp_memory *memory);
struct wisp_memory *wisp_memory_fork(struct wisp_memory *memory);
void wisp_memory_freeze(struct wisp_memory *memory, struct wisp_memory *fork);
struct wisp_memory *wisp_memory_get(struct wisp_memory *memory);
void wisp_memory_put(struct wisp_memory *memory);

/* Makes @file, of an anonymous inode, an fd of the object. */
void wisp_memory_bind(struct wisp_memory *memory, struct file *file);

u64 wisp_memory_size(const struct wisp_memory *memory);
u64 wisp_memory_id(const struct wisp_memory *memory);
int wisp_memory_mmap(struct wisp_memory *memory, struct vm_area_struct *vma);
ssize_t wisp_memory_copy(struct wisp_memory *memory, u64 offset,
			 struct iov_iter *iter);
int wisp_memory_wait(struct wisp_memory *memory, u64 offset, struct iov_iter *iter,
		     int ret);
ssize_t wisp_memory_rw(struct wisp_memory *memory, u64 offset,
		       struct iov_iter *iter);

/*
 * The page at @index is handed to @use() with the object locked: what @use()
 * puts into a page table is there before anybody can take the page back.
 */
int wisp_memory_use(struct wisp_memory *memory, pgoff_t index, bool write,
		    atomic64_t *room,
		    int (*use)(void *arg, const struct wisp_memory_page *page),
		    void *arg);
int wisp_memory_fetch(struct wisp_memory *memory, pgoff_t index);
int wisp_memory_attach(struct wisp_memory *memory, struct wisp_memory_user *user);
void wisp_memory_detach(struct wisp_memory *memory, struct wisp_memory_user *user);
void wisp_memory_unlist(struct wisp_memory *memory, struct wisp_memory_user *user);
int wisp_memory_discard(struct wisp_memory *memory, u64 offset, u64 size);

void wisp_memory_rebase(struct wisp_memory *memory,
			const struct wisp_memory *frozen, const void *owner);
bool wisp_memory_reset(struct wisp_memory *memory,
		       const struct wisp_memory *frozen,
		       const struct wisp_slat_format *format);
bool wisp_memory_differ(struct wisp_memory *memory, struct wisp_memory *frozen,
			u64 *offset, u64 size);
u64 wisp_memory_dirty(struct wisp_memory *memory, const struct wisp_memory *frozen,
		      const struct wisp_slat_format *format, u64 offset, u64 size,
		      u64 gpa, u64 *gpas, u64 room);

#endif
