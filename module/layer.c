// SPDX-License-Identifier: GPL-2.0
/*
 * Files as layers: see layer.h.
 *
 * What is mapped into guests must not change under them. So the file is one that
 * nobody has open for writing, and nobody can open so or truncate while the
 * layer lives, as that of a program that runs. For this the caller needs a right
 * to the file: who may only read it must not keep its writers out. A memfd's
 * own descriptor writes without having asked; it must have been sealed.
 */
#include "layer.h"

#include <linux/capability.h>
#include <linux/cleanup.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/overflow.h>
#include <linux/pagemap.h>
#include <linux/refcount.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/xarray.h>

#include "compat.h"
#include "pages.h"

struct wisp_layer {
	/* Constant after open. */
	struct file *file;
	pgoff_t first;			/* page of the file where it begins */
	bool denies;			/* writers, by their count */
	bool limited;

	refcount_t refs;

	/*
	 * Folios of the file's cache by all their indexes there; none is removed. Has
	 * a lock of its own.
	 */
	struct xarray held;
};

static bool is_shmem(const struct inode *inode)
{
	return inode->i_sb->s_magic == TMPFS_MAGIC;
}

/* Returns 0 where nobody writes from now on, -EINVAL, -EPERM or -ETXTBSY. */
static int deny_writers(struct wisp_layer *layer)
{
	const unsigned int seals = F_SEAL_WRITE | F_SEAL_SHRINK;
	struct inode *inode = file_inode(layer->file);

	/* Files without a path are open for writing, and not counted. */
	if (inode->i_sb->s_flags & (SB_KERNMOUNT | SB_NOUSER)) {
		if (!is_shmem(inode))
			return -EINVAL;
		return ~SHMEM_I(inode)->seals & seals ? -EPERM : 0;
	}
	if (!inode_owner_or_capable(file_mnt_idmap(layer->file), inode) &&
	    file_permission(layer->file, MAY_WRITE))
		return -EPERM;
	if (deny_write_access(layer->file))
		return -ETXTBSY;
	layer->denies = true;
	return 0;
}

/* Whether it can be read by page. A memory object's mapping has no operations at all. */
static int check_file(struct file *file)
{
	const struct address_space_operations *ops = file->f_mapping->a_ops;
	struct inode *inode = file_inode(file);

	if (!(file->f_mode & FMODE_READ))
		return -EBADF;
	if (!S_ISREG(inode->i_mode) || IS_DAX(inode) ||
	    (!is_shmem(inode) && !(ops && ops->read_folio)))
		return -EINVAL;
	return 0;
}

/**
 * wisp_layer_open() - make a part of a file a layer
 * @fd: the file's, open for reading
 * @offset: where the part begins
 * @size: bytes; the part ends within the file
 *
 * May sleep. Returns the layer, or ERR_PTR of -EBADF (@fd), -EINVAL (not a file
 * that can be read by page; an alignment; past its end), -ENOMEM, -EPERM (it is
 * neither the caller's, nor may they write it; or a memfd that is not sealed) or
 * -ETXTBSY (somebody has it open for writing).
 */
struct wisp_layer *wisp_layer_open(int fd, u64 offset, u64 size)
{
	struct wisp_layer *layer;
	u64 end;
	int ret;

	if (!PAGE_ALIGNED(offset) || check_add_overflow(offset, size, &end))
		return ERR_PTR(-EINVAL);
	layer = kzalloc(sizeof(*layer), WISP_GFP);
	if (!layer)
		return ERR_PTR(-ENOMEM);
	layer->first = offset >> PAGE_SHIFT;
	layer->limited = !capable(CAP_SYS_RESOURCE);
	refcount_set(&layer->refs, 1);
	xa_init_flags(&layer->held, XA_FLAGS_ACCOUNT);
	layer->file = fget(fd);
	ret = layer->file ? check_file(layer->file) : -EBADF;
	if (!ret)
		ret = deny_writers(layer);
	/* It does not shrink any more. */
	if (!ret && end > i_size_read(file_inode(layer->file)))
		ret = -EINVAL;
	if (!ret)
		return layer;
	wisp_layer_put(layer);
	return ERR_PTR(ret);
}

struct wisp_layer *wisp_layer_get(struct wisp_layer *layer)
{
	if (layer)
		refcount_inc(&layer->refs);
	return layer;
}

/* Nobody has its pages mapped where this was the last reference. May sleep. */
void wisp_layer_put(struct wisp_layer *layer)
{
	struct folio *folio;
	unsigned long index;

	if (!layer || !refcount_dec_and_test(&layer->refs))
		return;
	/* One by one: xa_destroy(), for what a failed store left, has interrupts off. */
	xa_for_each(&layer->held, index, folio) {
		xa_erase(&layer->held, index);
		wisp_page_uncharge(folio_nr_pages(folio), layer->limited);
		folio_put(folio);
		cond_resched();
	}
	xa_destroy(&layer->held);
	if (layer->denies)
		allow_write_access(layer->file);
	if (layer->file)
		fput(layer->file);
	kfree(layer);
}

struct page *wisp_layer_find(struct wisp_layer *layer, pgoff_t index)
{
	struct folio *folio = xa_load(&layer->held, layer->first + index);

	return folio ? folio_file_page(folio, layer->first + index) : NULL;
}

/*
 * What the file's cache has at @index, or a page to read into: where the kernel adds
 * one by itself, a full memory cgroup has it kill. Returns it with a reference, so that
 * it stays there, or ERR_PTR.
 */
static struct folio *cached(struct address_space *mapping, pgoff_t index, gfp_t gfp)
{
	struct folio *folio;
	int ret;

	do {
		folio = filemap_get_folio(mapping, index);
		if (!IS_ERR_OR_NULL(folio))
			return folio;
		folio = folio_alloc(gfp, 0);
		if (!folio)
			return ERR_PTR(-ENOMEM);
		ret = filemap_add_folio(mapping, folio, index, gfp);
		if (!ret) {
			folio_unlock(folio);
			return folio;
		}
		folio_put(folio);
	} while (ret == -EEXIST);
	return ERR_PTR(ret);
}

/* The folio of the file's cache, read, with a reference, or ERR_PTR. */
static struct folio *read_folio(struct wisp_layer *layer, pgoff_t index)
{
	struct address_space *mapping = layer->file->f_mapping;
	/* It is held for long: not where pages have to move. */
	gfp_t gfp = (mapping_gfp_mask(mapping) & ~__GFP_MOVABLE) |
		    __GFP_RETRY_MAYFAIL | __GFP_NOWARN;
	struct folio *folio, *room = NULL;
	struct page *page;

	if (is_shmem(file_inode(layer->file))) {
		page = shmem_read_mapping_page_gfp(mapping, index, gfp);
		return IS_ERR(page) ? ERR_CAST(page) : page_folio(page);
	}
	/* What has no single pages the kernel must add. */
	if (!mapping_min_folio_order(mapping))
		room = cached(mapping, index, gfp);
	if (IS_ERR(room))
		return room;
	/* Somebody else reads it: the kernel would wait for that whatever signal comes. */
	if (room && !folio_test_uptodate(room) && folio_wait_locked_killable(room)) {
		folio_put(room);
		return ERR_PTR(-EINTR);
	}
	folio = read_mapping_folio(mapping, index, layer->file);
	if (room)
		folio_put(room);
	return folio;
}

/* Returns 0, -EEXIST where something is held already, or -ENOMEM. */
static int hold(struct wisp_layer *layer, struct folio *folio)
{
	XA_STATE_ORDER(xas, &layer->held, folio->index, folio_order(folio));
	bool found;

	do {
		xas_lock(&xas);
		found = xas_find_conflict(&xas);
		if (!found)
			xas_store(&xas, folio);
		xas_unlock(&xas);
	} while (xas_nomem(&xas, WISP_GFP));
	return found ? -EEXIST : xas_error(&xas);
}

/**
 * wisp_layer_hold() - have a page, from the disk if need be
 * @layer: the layer
 * @index: of the page, within the layer
 *
 * All of its folio is held, and counts. Charged to the active memory cgroup. Sleeps,
 * and a signal that kills ends it: hold no lock that others wait for. Returns 0,
 * -EINTR, -EIO or -ENOMEM.
 */
int wisp_layer_hold(struct wisp_layer *layer, pgoff_t index)
{
	struct folio *folio = read_folio(layer, layer->first + index);
	long npages;
	int ret;

	if (IS_ERR(folio)) {
		ret = PTR_ERR(folio);
		return ret == -EINTR || ret == -ENOMEM ? ret : -EIO;
	}
	npages = folio_nr_pages(folio);
	ret = -ENOMEM;
	if (wisp_page_charge(npages, layer->limited)) {
		ret = hold(layer, folio);
		if (!ret)
			return 0;
		wisp_page_uncharge(npages, layer->limited);
	}
	folio_put(folio);
	/* Somebody else was faster; or the cache has other folios than it had. */
	if (ret == -EEXIST)
		return wisp_layer_find(layer, index) ? 0 : -EIO;
	return ret;
}
