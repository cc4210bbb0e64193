// SPDX-License-Identifier: GPL-2.0
/*
 * Windows: who keeps thousands of VMs maps their vCPUs' shared pages once, and not
 * at each creation. A page stays when its vCPU ends, for the next one that has its
 * place; so nothing has to be unmapped before the window ends.
 *
 * The mapping is PFNMAP: nobody else holds a page, and none outlives the window.
 */
#include "window.h"

#include <linux/capability.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/refcount.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/xarray.h>

#include <uapi/linux/wisp.h>

#include "compat.h"
#include "pages.h"

struct wisp_window {
	/* The system fd, and each VM that has its pages here. */
	refcount_t refs;

	/* Constant after create. */
	bool limited;

	/* By index; none is removed before the end. */
	struct xarray pages;
};

/* Bit of page_private(), beside WISP_PAGE_LIMITED: a vCPU has the page. */
#define TAKEN_BIT	1

/* May sleep. Returns it or NULL. */
struct wisp_window *wisp_window_create(void)
{
	struct wisp_window *window = kzalloc(sizeof(*window), WISP_GFP);

	if (!window)
		return NULL;
	refcount_set(&window->refs, 1);
	window->limited = !capable(CAP_SYS_RESOURCE);
	xa_init_flags(&window->pages, XA_FLAGS_ACCOUNT);
	return window;
}

struct wisp_window *wisp_window_get(struct wisp_window *window)
{
	refcount_inc(&window->refs);
	return window;
}

void wisp_window_put(struct wisp_window *window)
{
	unsigned long index;
	struct page *page;

	if (!window || !refcount_dec_and_test(&window->refs))
		return;
	/* One by one: xa_destroy(), for what a failed store left, has interrupts off. */
	xa_for_each(&window->pages, index, page) {
		xa_erase(&window->pages, index);
		wisp_page_put(page);
		cond_resched();
	}
	xa_destroy(&window->pages);
	kfree(window);
}

/**
 * wisp_window_take() - the page of a new vCPU
 * @window: the window
 * @index: below WISP_WINDOW_PAGES
 *
 * May sleep. Returns it, zeroed, or ERR_PTR of -EBUSY (another vCPU has it) or
 * -ENOMEM.
 */
struct page *wisp_window_take(struct wisp_window *window, unsigned long index)
{
	struct page *page = xa_load(&window->pages, index), *old;

	if (!page) {
		page = wisp_page_alloc(0, window->limited, true);
		if (!page)
			return ERR_PTR(-ENOMEM);
		set_bit(TAKEN_BIT, &page->private);
		old = xa_cmpxchg(&window->pages, index, NULL, page, WISP_GFP);
		if (!old)
			return page;
		wisp_page_put(page);
		if (xa_is_err(old))
			return ERR_PTR(-ENOMEM);
		page = old;
	}
	if (test_and_set_bit(TAKEN_BIT, &page->private))
		return ERR_PTR(-EBUSY);
	clear_highpage(page);
	return page;
}

/* Its vCPU has ended. */
void wisp_window_return(struct page *page)
{
	clear_bit_unlock(TAKEN_BIT, &page->private);
}

static vm_fault_t fault(struct vm_fault *vmf)
{
	struct wisp_window *window = vmf->vma->vm_private_data;
	struct page *page = xa_load(&window->pages, vmf->pgoff);

	/* As in mapping.c. */
	if (!page || fatal_signal_pending(current))
		return VM_FAULT_SIGBUS;
	return vmf_insert_pfn(vmf->vma, vmf->address, page_to_pfn(page));
}

static const struct vm_operations_struct vm_ops = {
	.fault = fault,
};

/**
 * wisp_window_mmap() - map a window, whatever is in it by now
 * @window: the window, which lives as long as the mapping's file
 * @vma: shared; an access where no vCPU has been gets SIGBUS
 *
 * Returns 0 or -EINVAL.
 */
int wisp_window_mmap(struct wisp_window *window, struct vm_area_struct *vma)
{
	if (!(vma->vm_flags & VM_SHARED) || vma->vm_pgoff >= WISP_WINDOW_PAGES ||
	    vma_pages(vma) > WISP_WINDOW_PAGES - vma->vm_pgoff)
		return -EINVAL;
	vm_flags_set(vma, VM_PFNMAP | VM_IO | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_private_data = window;
	vma->vm_ops = &vm_ops;
	return 0;
}
