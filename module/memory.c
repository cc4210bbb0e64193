// SPDX-License-Identifier: GPL-2.0
/*
 * Memory objects.
 *
 * The pages of an object hang in a radix tree of its own. Its nodes are plain
 * arrays without parent pointers or tags, so that a subtree can later belong to
 * several objects at once.
 *
 * The mapping that userspace gets is PFNMAP: get_user_pages() refuses it, so
 * nobody can hold a page of a guest behind the driver's back.
 */
#include "memory.h"

#include <linux/capability.h>
#include <linux/cleanup.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/percpu_counter.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uio.h>

#include "compat.h"

#define NODE_BITS	6
#define NODE_SLOTS	(1U << NODE_BITS)

/*
 * A page whose entry has HUGE begins 2 MiB of adjacent pages that were allocated
 * together. Each of them has an entry and a reference of its own.
 */
#define HUGE		1UL
#define HUGE_ORDER	9
#define HUGE_PAGES	(1UL << HUGE_ORDER)

struct wisp_node {
	/* Protected by the object's lock: nodes, or pages at the last level. */
	void *slots[NODE_SLOTS];
};

struct wisp_memory {
	/* Constant after create. */
	u64 size;
	unsigned int levels;
	bool huge;
	bool unlimited;
	struct mem_cgroup *memcg;
	struct address_space mapping;

	struct mutex lock;

	/* Protected by @lock. */
	struct wisp_node *root;
	struct list_head users;
};

static struct kmem_cache *node_cache;

static unsigned long max_memory_mib;
module_param(max_memory_mib, ulong, 0444);
MODULE_PARM_DESC(max_memory_mib,
		 "guest memory of all who lack CAP_SYS_RESOURCE (0: half of RAM)");

/* Pages of the objects that are limited, and how many there may be. */
static struct percpu_counter used_pages;
static s64 limit_pages;

/*
 * Out of memory is an error of the call or an exit of the guest that asked; it
 * must not have the OOM killer choose somebody else.
 */
#define MEMORY_GFP	(GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_ZERO)

static unsigned int slot_of(pgoff_t index, unsigned int level)
{
	return (index >> (level * NODE_BITS)) & (NODE_SLOTS - 1);
}

static struct page *page_of(void *entry)
{
	return (struct page *)((unsigned long)entry & ~HUGE);
}

/*
 * Returns the entry for @index at @level: 0 for a page. NULL: a node above it is
 * absent or, with @create, there was no memory for it.
 */
static void **find_entry(struct wisp_memory *memory, pgoff_t index,
			 unsigned int level, bool create)
{
	struct wisp_node **node = &memory->root;
	unsigned int at = memory->levels;

	lockdep_assert_held(&memory->lock);
	for (;;) {
		if (!*node) {
			if (!create)
				return NULL;
			*node = kmem_cache_alloc(node_cache, MEMORY_GFP);
			if (!*node)
				return NULL;
		}
		if (--at == level)
			return &(*node)->slots[slot_of(index, level)];
		node = (struct wisp_node **)&(*node)->slots[slot_of(index, at)];
	}
}

static struct page *find_page(struct wisp_memory *memory, pgoff_t index)
{
	void **entry = find_entry(memory, index, 0, false);

	return entry ? page_of(*entry) : NULL;
}

/* ---- allocation ---------------------------------------------------------- */

static bool charge(struct wisp_memory *memory, s64 npages)
{
	if (memory->unlimited)
		return true;
	percpu_counter_add(&used_pages, npages);
	if (percpu_counter_compare(&used_pages, limit_pages) <= 0)
		return true;
	percpu_counter_sub(&used_pages, npages);
	return false;
}

static void uncharge(struct wisp_memory *memory, s64 npages)
{
	if (!memory->unlimited)
		percpu_counter_sub(&used_pages, npages);
}

static struct page *alloc_charged(struct wisp_memory *memory, unsigned int order)
{
	gfp_t gfp = order ? (MEMORY_GFP & ~__GFP_RETRY_MAYFAIL) | __GFP_NORETRY |
			    __GFP_NOWARN : MEMORY_GFP;
	struct page *page;

	if (!charge(memory, 1 << order))
		return NULL;
	page = alloc_pages(gfp, order);
	if (!page)
		uncharge(memory, 1 << order);
	return page;
}

/* Whether nothing at all is in the 2 MiB round @index. */
static bool stretch_empty(struct wisp_memory *memory, pgoff_t index)
{
	void **entry = find_entry(memory, index, 1, false);
	unsigned int i;

	/* Eight nodes side by side: their index in the parent is aligned. */
	for (i = 0; entry && i < HUGE_PAGES / NODE_SLOTS; i++)
		if (entry[i])
			return false;
	return true;
}

/* All of the 2 MiB at @first, or nothing. */
static bool fill_stretch(struct wisp_memory *memory, pgoff_t first)
{
	void **entry = NULL;
	struct page *page;
	pgoff_t i;

	/* The nodes first, so that nothing can fail once pages are there. */
	for (i = 0; i < HUGE_PAGES; i += NODE_SLOTS)
		if (!find_entry(memory, first + i, 0, true))
			return false;
	page = alloc_charged(memory, HUGE_ORDER);
	if (!page)
		return false;
	split_page(page, HUGE_ORDER);
	for (i = 0; i < HUGE_PAGES; i++) {
		if (!slot_of(i, 0))
			entry = find_entry(memory, first + i, 0, false);
		*entry++ = page + i;
	}
	entry = find_entry(memory, first, 0, false);
	*entry = (void *)((unsigned long)page | HUGE);
	return true;
}

static bool try_huge(struct wisp_memory *memory, pgoff_t index)
{
	pgoff_t first = index & ~(HUGE_PAGES - 1);

	return memory->huge && first + HUGE_PAGES <= memory->size >> PAGE_SHIFT &&
	       stretch_empty(memory, first) && fill_stretch(memory, first);
}

/* The page at @index, allocated and zeroed if it was missing, or NULL. */
static struct page *alloc_page_at(struct wisp_memory *memory, pgoff_t index)
{
	struct page *page = find_page(memory, index);
	struct mem_cgroup *old;
	void **entry;

	if (page)
		return page;
	old = set_active_memcg(memory->memcg);
	if (try_huge(memory, index)) {
		page = find_page(memory, index);
	} else {
		entry = find_entry(memory, index, 0, true);
		if (entry)
			*entry = page = alloc_charged(memory, 0);
	}
	set_active_memcg(old);
	return page;
}

/* ---- giving pages back --------------------------------------------------- */

/* Moves the pages of [@first, @last] below @node to @pages. */
static void take_pages(struct wisp_node *node, unsigned int level,
		       pgoff_t first, pgoff_t last, struct list_head *pages)
{
	pgoff_t span = 1UL << (level * NODE_BITS), end;
	void **entry;

	for (;; first = end + 1) {
		end = min(first | (span - 1), last);
		entry = &node->slots[slot_of(first, level)];
		if (*entry && level) {
			take_pages(*entry, level - 1, first, end, pages);
			if (end - first == span - 1) {
				kmem_cache_free(node_cache, *entry);
				*entry = NULL;
			}
		} else if (*entry) {
			list_add(&page_of(*entry)->lru, pages);
			*entry = NULL;
		}
		if (end == last)
			break;
	}
	cond_resched();
}

static void free_taken(struct wisp_memory *memory, struct list_head *pages)
{
	struct page *page, *next;
	s64 count = 0;

	list_for_each_entry_safe(page, next, pages, lru) {
		list_del(&page->lru);
		__free_page(page);
		if (!(++count % HUGE_PAGES))
			cond_resched();
	}
	uncharge(memory, count);
}

/* The stretches at both ends of a range that is taken out are no longer whole. */
static void split_stretch(struct wisp_memory *memory, pgoff_t index)
{
	void **entry = find_entry(memory, index & ~(HUGE_PAGES - 1), 0, false);

	if (entry)
		*entry = page_of(*entry);
}

/**
 * wisp_memory_discard() - free the pages of a range: it reads as zero again
 * @memory: the object
 * @offset: bytes, a multiple of PAGE_SIZE
 * @size: bytes, a multiple of PAGE_SIZE, not 0; the range is in the object
 *
 * Nobody sees the old pages when this returns. May sleep.
 */
void wisp_memory_discard(struct wisp_memory *memory, u64 offset, u64 size)
{
	pgoff_t first = offset >> PAGE_SHIFT;
	pgoff_t last = (offset + size - 1) >> PAGE_SHIFT;
	struct wisp_memory_user *user;
	LIST_HEAD(pages);

	scoped_guard(mutex, &memory->lock) {
		if (!memory->root)
			return;
		split_stretch(memory, first);
		split_stretch(memory, last);
		take_pages(memory->root, memory->levels - 1, first, last, &pages);
		if (list_empty(&pages))
			return;
		list_for_each_entry(user, &memory->users, list)
			user->revoke(user, offset, size);
		unmap_mapping_range(&memory->mapping, offset, size, 1);
	}
	free_taken(memory, &pages);
}

/* @user's tables get the object's pages from now on. May sleep. */
void wisp_memory_attach(struct wisp_memory *memory, struct wisp_memory_user *user)
{
	guard(mutex)(&memory->lock);
	list_add(&user->list, &memory->users);
}

/* Its revoke() is not called any more, nor is it running. May sleep. */
void wisp_memory_detach(struct wisp_memory *memory, struct wisp_memory_user *user)
{
	guard(mutex)(&memory->lock);
	list_del(&user->list);
}

/* ---- the object ---------------------------------------------------------- */

static unsigned int levels_for(u64 npages)
{
	unsigned int levels = 1;

	while (npages > 1ULL << (levels * NODE_BITS))
		levels++;
	return levels;
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

	memory = kzalloc(sizeof(*memory), GFP_KERNEL_ACCOUNT);
	if (!memory)
		return ERR_PTR(-ENOMEM);
	memory->size = size;
	memory->levels = levels_for(size >> PAGE_SHIFT);
	memory->huge = huge && memory->levels > 1;
	memory->unlimited = capable(CAP_SYS_RESOURCE);
	INIT_LIST_HEAD(&memory->users);
	memory->memcg = get_mem_cgroup_from_mm(current->mm);
	address_space_init_once(&memory->mapping);
	mutex_init(&memory->lock);
	return memory;
}

/**
 * wisp_memory_destroy() - free the object and its pages
 * @memory: nobody else refers to it; nothing maps it
 */
void wisp_memory_destroy(struct wisp_memory *memory)
{
	LIST_HEAD(pages);

	if (memory->root) {
		take_pages(memory->root, memory->levels - 1, 0,
			   (1UL << (memory->levels * NODE_BITS)) - 1, &pages);
		kmem_cache_free(node_cache, memory->root);
	}
	free_taken(memory, &pages);
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
	file->f_mode |= FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE;
}

u64 wisp_memory_size(const struct wisp_memory *memory)
{
	return memory->size;
}

/**
 * wisp_memory_use() - do something with a page while it cannot go away
 * @memory: the object
 * @index: page index, below the object's size
 * @use: called with the page, allocated if it was missing, and @arg
 * @arg: for @use
 *
 * May sleep. Returns what @use returned, or -ENOMEM.
 */
int wisp_memory_use(struct wisp_memory *memory, pgoff_t index,
		    int (*use)(void *arg, const struct wisp_memory_page *page),
		    void *arg)
{
	struct wisp_memory_page found = {};
	void **entry;

	guard(mutex)(&memory->lock);
	found.page = alloc_page_at(memory, index);
	if (!found.page)
		return -ENOMEM;
	if (memory->huge) {
		entry = find_entry(memory, index & ~(HUGE_PAGES - 1), 0, false);
		found.huge = entry && (unsigned long)*entry & HUGE;
	}
	return use(arg, &found);
}

static ssize_t read_page(struct wisp_memory *memory, u64 offset, size_t len,
			 struct iov_iter *to)
{
	struct page *page;
	size_t copied;

	scoped_guard(mutex, &memory->lock) {
		page = find_page(memory, offset >> PAGE_SHIFT);
		if (page)
			get_page(page);
	}
	if (!page)
		return iov_iter_zero(len, to);
	copied = copy_page_to_iter(page, offset_in_page(offset), len, to);
	put_page(page);
	return copied;
}

/*
 * The copy is made under the lock, so that no page is written after it was
 * taken away; user memory that is not there is faulted in outside of it, where
 * the fault may be on this very object.
 */
static ssize_t write_page(struct wisp_memory *memory, u64 offset, size_t len,
			  struct iov_iter *from)
{
	struct page *page;
	size_t copied;

	for (;;) {
		scoped_guard(mutex, &memory->lock) {
			page = alloc_page_at(memory, offset >> PAGE_SHIFT);
			if (!page)
				return -ENOMEM;
			pagefault_disable();
			copied = copy_from_iter(page_address(page) +
						offset_in_page(offset),
						len, from);
			pagefault_enable();
		}
		if (copied)
			return copied;
		if (fault_in_iov_iter_readable(from, len) == len)
			return -EFAULT;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
}

static ssize_t rw(struct wisp_memory *memory, u64 offset, struct iov_iter *iter,
		  ssize_t (*rw_page)(struct wisp_memory *memory, u64 offset,
				     size_t len, struct iov_iter *iter))
{
	ssize_t total = 0, n;
	size_t len;

	while (iov_iter_count(iter) && offset < memory->size) {
		len = min3((u64)iov_iter_count(iter), memory->size - offset,
			   (u64)(PAGE_SIZE - offset_in_page(offset)));
		n = rw_page(memory, offset, len, iter);
		if (n <= 0)
			return total ?: n ?: -EFAULT;
		total += n;
		offset += n;
		if (fatal_signal_pending(current))
			return total;
		cond_resched();
	}
	return total;
}

/**
 * wisp_memory_read() - copy out
 * @memory: the object
 * @offset: bytes into the object
 * @to: where to; what is behind the object's end is not copied
 *
 * Returns bytes copied, or -EFAULT.
 */
ssize_t wisp_memory_read(struct wisp_memory *memory, u64 offset,
			 struct iov_iter *to)
{
	return rw(memory, offset, to, read_page);
}

/**
 * wisp_memory_write() - copy in
 * @memory: the object
 * @offset: bytes into the object
 * @from: what; nothing is written behind the object's end
 *
 * Returns bytes copied, or -EFAULT, -EINTR or -ENOMEM.
 */
ssize_t wisp_memory_write(struct wisp_memory *memory, u64 offset,
			  struct iov_iter *from)
{
	return rw(memory, offset, from, write_page);
}

struct insert {
	struct vm_area_struct *vma;
	unsigned long hva;
	vm_fault_t fault;
};

static int insert_page(void *arg, const struct wisp_memory_page *page)
{
	struct insert *insert = arg;

	insert->fault = vmf_insert_pfn(insert->vma, insert->hva,
				       page_to_pfn(page->page));
	return 0;
}

static vm_fault_t memory_fault(struct vm_fault *vmf)
{
	struct wisp_memory *memory = vmf->vma->vm_private_data;
	struct insert insert = { .vma = vmf->vma, .hva = vmf->address };

	if (vmf->pgoff >= memory->size >> PAGE_SHIFT)
		return VM_FAULT_SIGBUS;
	if (wisp_memory_use(memory, vmf->pgoff, insert_page, &insert))
		return VM_FAULT_SIGBUS;
	return insert.fault;
}

static const struct vm_operations_struct memory_vm_ops = {
	.fault = memory_fault,
};

/**
 * wisp_memory_mmap() - map the object into a process
 * @memory: the object
 * @vma: shared, within the object
 *
 * Returns 0 or -EINVAL.
 */
int wisp_memory_mmap(struct wisp_memory *memory, struct vm_area_struct *vma)
{
	u64 npages = memory->size >> PAGE_SHIFT;

	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_pgoff >= npages || vma_pages(vma) > npages - vma->vm_pgoff)
		return -EINVAL;
	vm_flags_set(vma, VM_PFNMAP | VM_IO | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_ops = &memory_vm_ops;
	vma->vm_private_data = memory;
	return 0;
}

int wisp_memory_init(void)
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

void wisp_memory_exit(void)
{
	kmem_cache_destroy(node_cache);
	percpu_counter_destroy(&used_pages);
}
