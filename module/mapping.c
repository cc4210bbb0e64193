// SPDX-License-Identifier: GPL-2.0
/*
 * What userspace maps of a memory object.
 *
 * The mapping is PFNMAP: get_user_pages() refuses it, so nobody can hold a page of a
 * guest behind the driver's back.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>

#include "compat.h"
#include "memory.h"
#include "privates.h"

struct insert {
	struct vm_fault *vmf;
	vm_fault_t fault;
};

/* What is mapped writable is always dirty: nobody sees when it is written. */
static int insert_page(void *arg, const struct wisp_memory_page *page)
{
	struct insert *insert = arg;
	struct vm_fault *vmf = insert->vmf;
	unsigned long flags = vmf->vma->vm_flags;

	if (vmf->flags & FAULT_FLAG_WRITE && page->private)
		page->private->shown = true;
	else if (!page->writable || page->private)
		flags &= ~VM_WRITE;
	insert->fault = vmf_insert_pfn_prot(vmf->vma, vmf->address,
					    page_to_pfn(page->page),
					    vm_get_page_prot(flags));
	return 0;
}

/*
 * A file's page, while nobody waits for the process's mappings; a second try, which
 * finds it or reads again, may not let go of them.
 */
static vm_fault_t fetch_unlocked(struct wisp_memory *memory, struct vm_fault *vmf)
{
	pgoff_t index = vmf->pgoff;
	struct file *file;

	if (vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
		return VM_FAULT_RETRY;
	/* The object's, and the module's. */
	file = get_file(vmf->vma->vm_file);
	release_fault_lock(vmf);
	wisp_memory_fetch(memory, index);
	fput(file);
	return VM_FAULT_RETRY;
}

static vm_fault_t memory_fault(struct vm_fault *vmf)
{
	struct wisp_memory *memory = vmf->vma->vm_private_data;
	struct insert insert = { .vmf = vmf };
	int ret;

	if (vmf->pgoff >= wisp_memory_size(memory) >> PAGE_SHIFT)
		return VM_FAULT_SIGBUS;
	/* A marker of userfaultfd keeps the page out: the kernel would come back for ever. */
	if (fatal_signal_pending(current))
		return VM_FAULT_SIGBUS;
	do {
		ret = wisp_memory_use(memory, vmf->pgoff, vmf->flags & FAULT_FLAG_WRITE,
				      NULL, insert_page, &insert);
		if (ret == -EAGAIN && fault_flag_allow_retry_first(vmf->flags) &&
		    !(vmf->flags & FAULT_FLAG_MKWRITE))
			return fetch_unlocked(memory, vmf);
	} while (ret == -EAGAIN && !wisp_memory_fetch(memory, vmf->pgoff));
	return ret ? VM_FAULT_SIGBUS : insert.fault;
}

/*
 * A page that was read is to be written. It is mapped for that at once: an
 * instruction that reads it first would otherwise begin anew for ever.
 */
static vm_fault_t memory_mkwrite(struct vm_fault *vmf)
{
	unmap_mapping_range(vmf->vma->vm_file->f_mapping, (u64)vmf->pgoff << PAGE_SHIFT,
			    PAGE_SIZE, 1);
	return memory_fault(vmf);
}

static const struct vm_operations_struct memory_vm_ops = {
	.fault = memory_fault,
	.pfn_mkwrite = memory_mkwrite,
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
	u64 npages = wisp_memory_size(memory) >> PAGE_SHIFT;

	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_pgoff >= npages || vma_pages(vma) > npages - vma->vm_pgoff)
		return -EINVAL;
	vm_flags_set(vma, VM_PFNMAP | VM_IO | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_ops = &memory_vm_ops;
	vma->vm_private_data = memory;
	return 0;
}
