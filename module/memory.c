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

#include <linux/cleanup.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uio.h>

#include "compat.h"

#define NODE_BITS	6
#define NODE_SLOTS	(1U << NODE_BITS)

struct wisp_node {
	/* Protected by the object's lock: nodes, or pages at the last level. */
	void *slots[NODE_SLOTS];
};

struct wisp_memory {
	/* Constant after create. */
	u64 size;
	unsigned int levels;
	struct mem_cgroup *memcg;
	struct address_space mapping;

	struct mutex lock;

	/* Protected by @lock. */
	struct wisp_node *root;
};

static struct kmem_cache *node_cache;

/*
 * Out of memory is an error of the call or an exit of the guest that asked; it
 * must not have the OOM killer choose somebody else.
 */
#define MEMORY_GFP	(GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_ZERO)

static unsigned int slot_of(pgoff_t index, unsigned int level)
{
	return (index >> (level * NODE_BITS)) & (NODE_SLOTS - 1);
}

/* Returns the entry for @index, or NULL: absent, or @create and no memory. */
static struct page **find_entry(struct wisp_memory *memory, pgoff_t index,
				bool create)
{
	struct wisp_node **node = &memory->root;
	unsigned int level = memory->levels;

	lockdep_assert_held(&memory->lock);
	for (;;) {
		if (!*node) {
			if (!create)
				return NULL;
			*node = kmem_cache_alloc(node_cache, MEMORY_GFP);
			if (!*node)
				return NULL;
		}
		if (!--level)
			return (struct page **)&(*node)->slots[slot_of(index, 0)];
		node = (struct wisp_node **)&(*node)->slots[slot_of(index, level)];
	}
}

static struct page *find_page(struct wisp_memory *memory, pgoff_t index)
{
	struct page **entry = find_entry(memory, index, false);

	return entry ? *entry : NULL;
}

/* The page at @index, allocated and zeroed if it was missing, or NULL. */
static struct page *alloc_page_at(struct wisp_memory *memory, pgoff_t index)
{
	struct mem_cgroup *old;
	struct page **entry;

	entry = find_entry(memory, index, false);
	if (entry && *entry)
		return *entry;

	old = set_active_memcg(memory->memcg);
	entry = find_entry(memory, index, true);
	if (entry)
		*entry = alloc_page(MEMORY_GFP);
	set_active_memcg(old);
	return entry ? *entry : NULL;
}

static void free_node(struct wisp_node *node, unsigned int level)
{
	unsigned int i;

	for (i = 0; i < NODE_SLOTS; i++) {
		if (!node->slots[i])
			continue;
		if (level)
			free_node(node->slots[i], level - 1);
		else
			__free_page(node->slots[i]);
	}
	kmem_cache_free(node_cache, node);
	cond_resched();
}

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
 *
 * Returns the object, or ERR_PTR of -EINVAL (@size) or -ENOMEM.
 */
struct wisp_memory *wisp_memory_create(u64 size)
{
	struct wisp_memory *memory;

	if (!size || size > WISP_MEMORY_MAX_SIZE || !PAGE_ALIGNED(size))
		return ERR_PTR(-EINVAL);

	memory = kzalloc(sizeof(*memory), GFP_KERNEL_ACCOUNT);
	if (!memory)
		return ERR_PTR(-ENOMEM);
	memory->size = size;
	memory->levels = levels_for(size >> PAGE_SHIFT);
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
	if (memory->root)
		free_node(memory->root, memory->levels - 1);
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
		    int (*use)(void *arg, struct page *page), void *arg)
{
	struct page *page;

	guard(mutex)(&memory->lock);
	page = alloc_page_at(memory, index);
	return page ? use(arg, page) : -ENOMEM;
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

static int insert_page(void *arg, struct page *page)
{
	struct insert *insert = arg;

	insert->fault = vmf_insert_pfn(insert->vma, insert->hva,
				       page_to_pfn(page));
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
	node_cache = KMEM_CACHE(wisp_node, 0);
	return node_cache ? 0 : -ENOMEM;
}

void wisp_memory_exit(void)
{
	kmem_cache_destroy(node_cache);
}
