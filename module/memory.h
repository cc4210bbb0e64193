/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory objects: guest memory that the driver owns. A page exists once it is
 * touched, reads as zero before, and is charged to the cgroup of the creator.
 */
#ifndef WISP_MEMORY_H
#define WISP_MEMORY_H

#include <linux/list.h>
#include <linux/types.h>

struct file;
struct iov_iter;
struct page;
struct vm_area_struct;
struct wisp_memory;

/* Radix nodes hold 2^6 entries; six levels of them cover any object. */
#define WISP_MEMORY_MAX_SIZE	(1ULL << 46)

/* Somebody whose page tables hold the object's pages. */
struct wisp_memory_user {
	/* Protected by the object's lock. */
	struct list_head list;

	/*
	 * Takes all pages of a range out of the tables and returns once no CPU
	 * uses them. With the object locked. May sleep.
	 */
	void (*revoke)(struct wisp_memory_user *user, u64 offset, u64 size);
};

/* What wisp_memory_use() found: one page, of a 2 MiB stretch if @huge. */
struct wisp_memory_page {
	struct page *page;
	bool huge;
};

struct wisp_memory *wisp_memory_create(u64 size, bool huge);
void wisp_memory_destroy(struct wisp_memory *memory);

/* Makes @file, of an anonymous inode, the object's fd. */
void wisp_memory_bind(struct wisp_memory *memory, struct file *file);

u64 wisp_memory_size(const struct wisp_memory *memory);
int wisp_memory_mmap(struct wisp_memory *memory, struct vm_area_struct *vma);
ssize_t wisp_memory_read(struct wisp_memory *memory, u64 offset,
			 struct iov_iter *to);
ssize_t wisp_memory_write(struct wisp_memory *memory, u64 offset,
			  struct iov_iter *from);

/*
 * The page at @index is handed to @use() with the object locked: what @use()
 * puts into a page table is there before anybody can take the page back.
 */
int wisp_memory_use(struct wisp_memory *memory, pgoff_t index,
		    int (*use)(void *arg, const struct wisp_memory_page *page),
		    void *arg);
void wisp_memory_attach(struct wisp_memory *memory, struct wisp_memory_user *user);
void wisp_memory_detach(struct wisp_memory *memory, struct wisp_memory_user *user);
void wisp_memory_discard(struct wisp_memory *memory, u64 offset, u64 size);

int wisp_memory_init(void);
void wisp_memory_exit(void);

#endif
