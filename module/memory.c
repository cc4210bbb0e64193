// SPDX-License-Identifier: GPL-2.0
/*
 * Memory objects.
 */
#include "memory.h"

#include <linux/capability.h>
#include <linux/cleanup.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uio.h>

#include "compat.h"
#include "layer.h"
#include "slat.h"

struct wisp_memory {
	/* Constant after create. */
	u64 size;
	u64 id;				/* the same in its forks */
	bool huge;
	bool limited;
	struct mem_cgroup *memcg;
	struct wisp_layer *layer;	/* below all else, or NULL */
	struct address_space mapping;

	refcount_t refs;
	struct mutex lock;

	/* Protected by @lock. */
	struct wisp_pages pages;
	struct list_head users;
	const void *claimed;		/* the only owner that there may be, or NULL */

	/* Protected by @lock: of a layered object. */
	bool layered;
	bool discarded;			/* a page of the base was */
	struct wisp_pages base;
	struct wisp_privates privates;
	u32 cold_resets;		/* one after the other */
};

static atomic64_t last_id = ATOMIC64_INIT(0);

/* ---- layers -------------------------------------------------------------- */

/* Nobody sees what was at [@offset, @offset + @size) when this returns. */
static void revoke(struct wisp_memory *memory, u64 offset, u64 size)
{
	struct wisp_memory_user *user;

	lockdep_assert_held(&memory->lock);
	list_for_each_entry(user, &memory->users, list)
		user->revoke(user, offset, size);
	if (mapping_mapped(&memory->mapping))
		unmap_mapping_range(&memory->mapping, offset, size, 1);
}

/* A page of our own at @index, where the object has @old or zeroes. */
static int replace_page(struct wisp_memory *memory, pgoff_t index,
			struct page *old, struct wisp_memory_page *found)
{
	struct mem_cgroup *memcg;
	struct page *page;
	void **entry;

	if (memory->layered && wisp_privates_reserve(&memory->privates))
		return -ENOMEM;
	page = wisp_page_alloc(0, memory->limited, !old);
	if (!page)
		return -ENOMEM;
	entry = wisp_pages_split(&memory->pages, index) ? NULL :
		wisp_pages_own(&memory->pages, index);
	if (!entry) {
		wisp_page_put(page);
		return -ENOMEM;
	}
	if (old)
		copy_page(page_address(page), page_address(old));
	if (memory->layered) {
		/* Tables that it makes somebody's own are not the object's. */
		memcg = set_active_memcg(NULL);
		revoke(memory, (u64)index << PAGE_SHIFT, PAGE_SIZE);
		set_active_memcg(memcg);
	}
	wisp_entry_put(xchg(entry, page));
	if (memory->layered)
		wisp_privates_add(&memory->privates, index, page, old);
	found->page = page;
	found->private = wisp_privates_find(&memory->privates, page);
	found->writable = true;
	return 0;
}

/* ---- allocation ---------------------------------------------------------- */

/* Whether nothing at all is in the 2 MiB at @first. */
static bool stretch_empty(struct wisp_memory *memory, pgoff_t first)
{
	void **entry;
	pgoff_t i;

	for (i = 0; i < WISP_HUGE_PAGES; i += WISP_NODE_SLOTS) {
		entry = wisp_pages_find(&memory->pages, first + i, 1);
		if (entry && *entry)
			return false;
	}
	return true;
}

/* All of the 2 MiB at @first, or nothing. */
static bool fill_stretch(struct wisp_memory *memory, pgoff_t first)
{
	void **entry = NULL;
	struct page *page;
	pgoff_t i;

	/* The nodes first, so that nothing can fail once pages are there. */
	for (i = 0; i < WISP_HUGE_PAGES; i += WISP_NODE_SLOTS)
		if (!wisp_pages_own(&memory->pages, first + i))
			return false;
	page = wisp_page_alloc(WISP_HUGE_ORDER, memory->limited, true);
	if (!page)
		return false;
	for (i = 0; i < WISP_HUGE_PAGES; i++) {
		if (!(i % WISP_NODE_SLOTS))
			entry = wisp_pages_own(&memory->pages, first + i);
		*entry++ = page + i;
	}
	entry = wisp_pages_own(&memory->pages, first);
	*entry = (void *)((unsigned long)page | WISP_ENTRY_HUGE);
	return true;
}

static bool try_huge(struct wisp_memory *memory, pgoff_t index)
{
	pgoff_t first = index & ~(WISP_HUGE_PAGES - 1);

	return memory->huge && !memory->layered &&
	       first + WISP_HUGE_PAGES <= memory->size >> PAGE_SHIFT &&
	       stretch_empty(memory, first) && fill_stretch(memory, first);
}

/*
 * The page at @index as it can be had now: one that others share may be read
 * only, and zeroes of a layered object are nobody's page. Returns 0; -ENOENT
 * where there is none; or -EAGAIN: wisp_memory_fetch() it.
 */
static int find_page(struct wisp_memory *memory, pgoff_t index,
		     struct wisp_memory_page *found)
{
	void **entry = wisp_pages_find(&memory->pages, index, 0);

	if (entry && *entry == WISP_ENTRY_FILE) {
		found->page = wisp_layer_find(memory->layer, index);
		return found->page ? 0 : -EAGAIN;
	}
	if (entry && *entry) {
		found->page = wisp_entry_page(*entry);
		found->private = wisp_privates_find(&memory->privates, found->page);
		found->writable = !memory->layered || found->private;
	} else if (memory->layered) {
		found->page = ZERO_PAGE(0);
	}
	return found->page ? 0 : -ENOENT;
}

/*
 * Finds the page at @index, or makes it: one of those that there still is @room
 * for, unless that is NULL. Returns 0, -EAGAIN, -EDQUOT or -ENOMEM.
 */
static int get_page_at(struct wisp_memory *memory, pgoff_t index, bool write,
		       atomic64_t *room, struct wisp_memory_page *found)
{
	struct mem_cgroup *memcg;
	struct page *old;
	int ret = find_page(memory, index, found);

	if (ret == -EAGAIN)
		return ret;
	if (ret || (write && !found->writable)) {
		if (room && atomic64_dec_if_positive(room) < 0)
			return -EDQUOT;
		old = found->page == ZERO_PAGE(0) ? NULL : found->page;
		memcg = set_active_memcg(memory->memcg);
		if (!old && !room && try_huge(memory, index))
			ret = find_page(memory, index, found);
		else
			ret = replace_page(memory, index, old, found);
		set_active_memcg(memcg);
		if (ret && room)
			atomic64_inc(room);
	}
	return ret;
}

/* ---- the object ---------------------------------------------------------- */

/*
 * Somebody's tables get the object's pages from now on. May sleep. Returns 0, or
 * -EBUSY: a layered object is written by one VM only, or another VM has claimed it.
 */
int wisp_memory_attach(struct wisp_memory *memory, struct wisp_memory_user *user)
{
	struct wisp_memory_user *other;

	guard(mutex)(&memory->lock);
	if (memory->claimed && memory->claimed != user->owner)
		return -EBUSY;
	list_for_each_entry(other, &memory->users, list)
		if (memory->layered && other->owner != user->owner &&
		    (other->writes || user->writes))
			return -EBUSY;
	list_add(&user->list, &memory->users);
	return 0;
}

/* Its revoke() is not called any more, nor is it running. May sleep. */
void wisp_memory_detach(struct wisp_memory *memory, struct wisp_memory_user *user)
{
	guard(mutex)(&memory->lock);
	list_del(&user->list);
	wisp_privates_unmapped(&memory->privates);
}

/* The same for tables that never had any of the pages. */
void wisp_memory_unlist(struct wisp_memory *memory, struct wisp_memory_user *user)
{
	guard(mutex)(&memory->lock);
	list_del(&user->list);
}

static struct wisp_memory *alloc_memory(u64 size)
{
	struct wisp_memory *memory;

	memory = kzalloc(sizeof(*memory), WISP_GFP);
	if (!memory)
		return NULL;
	memory->size = size;
	memory->pages.levels = wisp_pages_levels(size >> PAGE_SHIFT);
	memory->limited = !capable(CAP_SYS_RESOURCE);
	refcount_set(&memory->refs, 1);
	INIT_LIST_HEAD(&memory->users);
	memory->memcg = get_mem_cgroup_from_mm(current->mm);
	address_space_init_once(&memory->mapping);
	mutex_init(&memory->lock);
	return memory;
}

/**
 * wisp_memory_create() - make a memory object without pages
 * @size: bytes, a multiple of PAGE_SIZE
 * @huge: allocate 2 MiB at a time where possible
 *
 * Returns the object, or ERR_PTR of -EINVAL (@size) or -ENOMEM.
 */
struct wisp_memory *wisp_memory_create(u64 size, bool huge)
{
	struct wisp_memory *memory;

	if (!size || size > WISP_MEMORY_MAX_SIZE || !PAGE_ALIGNED(size))
		return ERR_PTR(-EINVAL);
	memory = alloc_memory(size);
	if (!memory)
		return ERR_PTR(-ENOMEM);
	memory->id = atomic64_inc_return(&last_id);
	memory->huge = huge && memory->pages.levels > 1;
	return memory;
}

/**
 * wisp_memory_create_over() - make a memory object over a file
 * @size: as for wisp_memory_create()
 * @fd: the file's
 * @offset: where in it the object begins; the object ends in it, too
 *
 * Returns the object, or ERR_PTR of -EINVAL or what wisp_layer_open() gives.
 */
struct wisp_memory *wisp_memory_create_over(u64 size, int fd, u64 offset)
{
	struct wisp_memory *memory = wisp_memory_create(size, false);
	struct wisp_layer *layer;

	if (IS_ERR(memory))
		return memory;
	layer = wisp_layer_open(fd, offset, size);
	if (IS_ERR(layer)) {
		wisp_memory_put(memory);
		return ERR_CAST(layer);
	}
	memory->layer = layer;
	memory->layered = true;
	memory->pages.root = WISP_ENTRY_FILE;
	memory->base = memory->pages;
	return memory;
}

struct wisp_memory *wisp_memory_get(struct wisp_memory *memory)
{
	refcount_inc(&memory->refs);
	return memory;
}

/* Nothing maps it where this was the last reference. May sleep. */
void wisp_memory_put(struct wisp_memory *memory)
{
	if (!memory || !refcount_dec_and_test(&memory->refs))
		return;
	wisp_pages_put(&memory->pages);
	wisp_pages_put(&memory->base);
	wisp_privates_drop(&memory->privates);
	wisp_layer_put(memory->layer);
	mem_cgroup_put(memory->memcg);
	mutex_destroy(&memory->lock);
	kfree(memory);
}

/*
 * Anonymous inodes share one address_space; a mapping of its own lets the
 * object's pages be unmapped without touching anybody else's.
 */
void wisp_memory_bind(struct wisp_memory *memory, struct file *file)
{
	memory->mapping.host = file_inode(file);
	file->f_mapping = &memory->mapping;
}

u64 wisp_memory_size(const struct wisp_memory *memory)
{
	return memory->size;
}

/* What an object has in common with its forks. */
u64 wisp_memory_id(const struct wisp_memory *memory)
{
	return memory->id;
}

/**
 * wisp_memory_discard() - free the pages of a range: it reads as zero again
 * @memory: the object
 * @offset: bytes, a multiple of PAGE_SIZE
 * @size: bytes, a multiple of PAGE_SIZE, not 0; the range is in the object
 *
 * Nobody sees the old pages when this returns. May sleep. Returns 0, or -ENOMEM
 * where others share the pages and there is no memory to tell them apart.
 */
int wisp_memory_discard(struct wisp_memory *memory, u64 offset, u64 size)
{
	pgoff_t first = offset >> PAGE_SHIFT;
	pgoff_t last = (offset + size - 1) >> PAGE_SHIFT;
	struct mem_cgroup *memcg;
	int ret;

	guard(mutex)(&memory->lock);
	/* Nobody uses the pages from here on, nor comes to them meanwhile. */
	revoke(memory, offset, size);
	memcg = set_active_memcg(memory->memcg);
	ret = wisp_pages_clear(&memory->pages, first, last);
	set_active_memcg(memcg);
	if (ret)
		return ret;
	wisp_privates_forget(&memory->privates, first, last);
	memory->discarded = memory->pages.root != memory->base.root;
	return 0;
}

/**
 * wisp_memory_use() - do something with a page while it cannot go away
 * @memory: the object
 * @index: page index, below the object's size
 * @write: the page is to be written: it must be the object's own
 * @room: how many pages may still be allocated, or NULL
 * @use: called with the page, allocated if it was missing, and @arg
 * @arg: for @use
 *
 * May sleep. Returns what @use returned, or -EDQUOT or -ENOMEM; or -EAGAIN: let
 * locks go, wisp_memory_fetch() it, and try again.
 */
int wisp_memory_use(struct wisp_memory *memory, pgoff_t index, bool write,
		    atomic64_t *room,
		    int (*use)(void *arg, const struct wisp_memory_page *page),
		    void *arg)
{
	struct wisp_memory_page found = {};
	void **entry;
	int ret;

	guard(mutex)(&memory->lock);
	ret = get_page_at(memory, index, write, room, &found);
	if (ret)
		return ret;
	if (memory->huge) {
		entry = wisp_pages_find(&memory->pages,
					index & ~(WISP_HUGE_PAGES - 1), 0);
		found.huge = entry && (unsigned long)*entry & WISP_ENTRY_HUGE;
	}
	return use(arg, &found);
}

/**
 * wisp_memory_fetch() - read a page from the file below
 * @memory: the object
 * @index: of the page, for which there was -EAGAIN
 *
 * May wait for a disk: with no lock held. Returns 0, -EINTR (by a signal that
 * kills), -EIO or -ENOMEM.
 */
int wisp_memory_fetch(struct wisp_memory *memory, pgoff_t index)
{
	struct mem_cgroup *memcg = set_active_memcg(memory->memcg);
	int ret = wisp_layer_hold(memory->layer, index);

	set_active_memcg(memcg);
	return ret;
}

/* ---- snapshots ----------------------------------------------------------- */

/* What the object has becomes its base. */
static void set_base(struct wisp_memory *memory)
{
	lockdep_assert_held(&memory->lock);
	memory->layered = true;
	wisp_pages_put(&memory->base);
	memory->base = wisp_pages_get(&memory->pages);
	wisp_privates_drop(&memory->privates);
	memory->cold_resets = 0;
	memory->discarded = false;
	if (mapping_mapped(&memory->mapping))
		unmap_mapping_range(&memory->mapping, 0, 0, 1);
}

static bool is_used_by_others(const struct wisp_memory *memory, const void *owner)
{
	const struct wisp_memory_user *user;

	lockdep_assert_held(&memory->lock);
	list_for_each_entry(user, &memory->users, list)
		if (user->owner != owner)
			return true;
	return false;
}

/* Nobody else gets it until wisp_memory_release(). Returns 0, or -EBUSY: they have. */
int wisp_memory_claim(struct wisp_memory *memory, const void *owner)
{
	guard(mutex)(&memory->lock);
	if (is_used_by_others(memory, owner))
		return -EBUSY;
	memory->claimed = owner;
	return 0;
}

void wisp_memory_release(struct wisp_memory *memory)
{
	guard(mutex)(&memory->lock);
	memory->claimed = NULL;
}

/**
 * wisp_memory_fork() - make an object that is to have the same pages
 * @memory: the object
 *
 * wisp_memory_freeze() or wisp_memory_rebase() gives it the pages. May sleep.
 * Returns the new object, or NULL.
 */
struct wisp_memory *wisp_memory_fork(struct wisp_memory *memory)
{
	struct wisp_memory *fork = alloc_memory(memory->size);

	if (!fork)
		return NULL;
	fork->id = memory->id;
	fork->huge = memory->huge;
	fork->layered = true;
	fork->layer = wisp_layer_get(memory->layer);
	return fork;
}

/**
 * wisp_memory_freeze() - give the pages of an object to its fork
 * @memory: the object, which is frozen or claimed; what it has is its base from now
 *	on, and from the claimant's tables the caller takes the write permission
 * @fork: by wisp_memory_fork(), and nobody knows it yet
 *
 * May sleep.
 */
void wisp_memory_freeze(struct wisp_memory *memory, struct wisp_memory *fork)
{
	guard(mutex)(&memory->lock);
	/* Or else not a page was written since the last time. */
	if (!memory->layered || memory->base.root != memory->pages.root)
		set_base(memory);
	/* By another slot it may have them. */
	wisp_pages_put(&fork->pages);
	wisp_pages_put(&fork->base);
	fork->pages = wisp_pages_get(&memory->pages);
	fork->base = wisp_pages_get(&memory->pages);
}

/**
 * wisp_memory_rebase() - have the pages of a frozen object, and no others
 * @memory: the object
 * @frozen: constant
 * @owner: of tables that are not in use, and which the caller empties
 *
 * May sleep.
 */
void wisp_memory_rebase(struct wisp_memory *memory,
			const struct wisp_memory *frozen, const void *owner)
{
	struct wisp_pages old;
	struct wisp_memory_user *user;

	guard(mutex)(&memory->lock);
	if (memory->pages.root == frozen->pages.root)
		return;
	old = memory->pages;
	memory->pages = wisp_pages_get(&frozen->pages);
	set_base(memory);
	list_for_each_entry(user, &memory->users, list)
		if (user->owner != owner)
			user->revoke(user, 0, memory->size);
	wisp_pages_put(&old);
}

/* Pages that were written once keep their place only while that goes on. */
static bool too_cold(struct wisp_memory *memory, unsigned long hot)
{
	if (memory->privates.count < 64 || hot > memory->privates.count / 4)
		memory->cold_resets = 0;
	else
		memory->cold_resets++;
	return memory->cold_resets > 16;
}

/**
 * wisp_memory_reset() - copy back what was written since the base
 * @memory: the object
 * @frozen: whose pages its base is to be
 * @format: of the entries that lead to it; no CPU uses them
 *
 * The pages stay where they are mapped; who uses entries flushes before. May
 * sleep. Returns false where wisp_memory_rebase() must do it.
 */
bool wisp_memory_reset(struct wisp_memory *memory,
		       const struct wisp_memory *frozen,
		       const struct wisp_slat_format *format)
{
	guard(mutex)(&memory->lock);
	/* Another VM's snapshot may be its base by now. */
	return !memory->discarded && memory->base.root == frozen->pages.root &&
	       !too_cold(memory, wisp_privates_reset(&memory->privates, format));
}

/* What is not as @frozen has it, or as a new object begins. Other parameters as below. */
static u64 list_differing(struct wisp_memory *memory,
			  const struct wisp_memory *frozen, u64 offset, u64 size,
			  u64 gpa, u64 *gpas, u64 room)
{
	const struct wisp_pages none = {
		.root = memory->layer ? WISP_ENTRY_FILE : NULL,
		.levels = memory->pages.levels,
	};
	const struct wisp_pages *with = frozen ? &frozen->pages : &none;
	pgoff_t index = offset >> PAGE_SHIFT, last = (offset + size - 1) >> PAGE_SHIFT;
	u64 count = 0, n, i;

	while (!fatal_signal_pending(current) &&
	       (n = wisp_pages_differ(&memory->pages, with, &index, last))) {
		for (i = 0; i < n && count + i < room; i++)
			gpas[count + i] = gpa + ((u64)(index + i) << PAGE_SHIFT) - offset;
		count += n;
		index += n;
	}
	return count;
}

/**
 * wisp_memory_dirty() - list the pages written since a snapshot
 * @memory: the object
 * @frozen: what the snapshot has of it, or NULL where it came later
 * @format: as for wisp_memory_reset()
 * @offset: of the range, in bytes
 * @size: of the range, in bytes
 * @gpa: where in the guest the range begins
 * @gpas: gets the pages' guest-physical addresses
 * @room: in @gpas
 *
 * Returns how many there are.
 */
u64 wisp_memory_dirty(struct wisp_memory *memory, const struct wisp_memory *frozen,
		      const struct wisp_slat_format *format, u64 offset, u64 size,
		      u64 gpa, u64 *gpas, u64 room)
{
	guard(mutex)(&memory->lock);
	/* Privates are those since the last snapshot, of whichever VM had it then. */
	if (!frozen || memory->base.root != frozen->pages.root)
		return list_differing(memory, frozen, offset, size, gpa, gpas, room);
	return wisp_privates_list(&memory->privates, format, offset, size, gpa, gpas,
				  room);
}

/* Where in its page at @index an object differs, or PAGE_SIZE. Its lock is held. */
static u32 page_differs(struct wisp_memory *memory, struct wisp_memory *frozen,
			pgoff_t index)
{
	struct wisp_memory_page page = {}, with = {};
	const u8 *a, *b;
	u32 at = 0;

	/* In a file that no one has read yet. */
	if (find_page(memory, index, &page) == -EAGAIN ||
	    find_page(frozen, index, &with) == -EAGAIN)
		return 0;
	a = page_address(page.page ?: ZERO_PAGE(0));
	b = page_address(with.page ?: ZERO_PAGE(0));
	while (at < PAGE_SIZE && a[at] == b[at])
		at++;
	return at;
}

/**
 * wisp_memory_differ() - look for a byte that is not as in a frozen object
 * @memory: the object
 * @frozen: constant
 * @offset: of the first byte to look at, page-aligned; becomes that of the one found
 * @size: of the range, in bytes
 *
 * May sleep. Returns whether there is one; false to who is killed, and does not hear it.
 */
bool wisp_memory_differ(struct wisp_memory *memory, struct wisp_memory *frozen,
			u64 *offset, u64 size)
{
	pgoff_t index = *offset >> PAGE_SHIFT;
	pgoff_t last = (*offset + size - 1) >> PAGE_SHIFT;
	u32 at;

	for (; !fatal_signal_pending(current); index++) {
		guard(mutex)(&memory->lock);
		if (!wisp_pages_differ(&memory->pages, &frozen->pages, &index, last))
			return false;
		at = page_differs(memory, frozen, index);
		if (at < PAGE_SIZE) {
			*offset = ((u64)index << PAGE_SHIFT) + at;
			return true;
		}
	}
	return false;
}

/* ---- reading and writing ------------------------------------------------- */

/*
 * Copies are made under the lock, so that no page is used after it was taken
 * away; user memory that is not there is faulted in outside of it, where the
 * fault may be on this very object.
 */
static ssize_t rw_page(struct wisp_memory *memory, u64 offset,
		       struct iov_iter *iter)
{
	bool write = iov_iter_rw(iter) == WRITE;
	struct wisp_memory_page found = {};
	pgoff_t index = offset >> PAGE_SHIFT;
	size_t n, len = PAGE_SIZE - offset_in_page(offset);
	void *at;
	int ret;

	guard(mutex)(&memory->lock);
	ret = write ? get_page_at(memory, index, true, NULL, &found) :
		      find_page(memory, index, &found);
	if (ret == -ENOENT)
		found.page = ZERO_PAGE(0);
	else if (ret)
		return ret;
	at = page_address(found.page) + offset_in_page(offset);
	pagefault_disable();
	n = write ? copy_from_iter(at, len, iter) : copy_to_iter(at, len, iter);
	pagefault_enable();
	if (write && found.private)
		found.private->written = true;
	return n;
}

/*
 * As wisp_memory_rw(), but as much as goes without a wait, and some 2 MiB at most: locks
 * may be held. Where that is none it returns 0, -EAGAIN or -ENOMEM, which is for
 * wisp_memory_wait().
 */
ssize_t wisp_memory_copy(struct wisp_memory *memory, u64 offset,
			 struct iov_iter *iter)
{
	ssize_t total = 0, n;

	while (iov_iter_count(iter) && offset < memory->size && total < PMD_SIZE) {
		n = rw_page(memory, offset, iter);
		if (n <= 0)
			return total ?: n;
		total += n;
		offset += n;
		cond_resched();
	}
	return total;
}

/*
 * For what wisp_memory_copy() lacked, which returned @ret; with no lock held. Returns 0
 * (try again), -EFAULT, -EINTR (by a signal that kills), -EIO (a file's page) or
 * -ENOMEM.
 */
int wisp_memory_wait(struct wisp_memory *memory, u64 offset, struct iov_iter *iter,
		     int ret)
{
	if (ret == -EAGAIN)
		return wisp_memory_fetch(memory, offset >> PAGE_SHIFT);
	if (ret)
		return ret;
	if ((iov_iter_rw(iter) == WRITE ?
	     fault_in_iov_iter_readable(iter, PAGE_SIZE) :
	     fault_in_iov_iter_writeable(iter, PAGE_SIZE)) == PAGE_SIZE)
		return -EFAULT;
	cond_resched();
	return fatal_signal_pending(current) ? -EINTR : 0;
}

/**
 * wisp_memory_rw() - copy out or in
 * @memory: the object
 * @offset: bytes into the object
 * @iter: the other side, which says which way; nothing is copied behind the object's end
 *
 * Returns bytes copied, or what wisp_memory_wait() gives.
 */
ssize_t wisp_memory_rw(struct wisp_memory *memory, u64 offset,
		       struct iov_iter *iter)
{
	ssize_t total = 0, n;

	while (iov_iter_count(iter) && offset + total < memory->size) {
		n = wisp_memory_copy(memory, offset + total, iter);
		if (n <= 0)
			n = wisp_memory_wait(memory, offset + total, iter, n);
		if (n < 0)
			return total ?: n;
		total += n;
		if (fatal_signal_pending(current))
			break;
	}
	return total;
}
