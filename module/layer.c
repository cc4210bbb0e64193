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

	/* Pages by index; none is removed. Has a lock of its own. */
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

/* Whether it can be read by page. */
static int check_file(struct file *file)
{
	struct inode *inode = file_inode(file);

	if (!(file->f_mode & FMODE_READ))
		return -EBADF;
	if (!S_ISREG(inode->i_mode) || IS_DAX(inode) ||
	    (!is_shmem(inode) && !file->f_mapping->a_ops->read_folio))
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
	struct page *page;
	unsigned long index;

	if (!layer || !refcount_dec_and_test(&layer->refs))
		return;
	xa_for_each(&layer->held, index, page) {
		put_page(page);
		wisp_page_uncharge(1, layer->limited);
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
	return xa_load(&layer->held, index);
}

/*
 * Has a page in the file's cache to read into: where the kernel adds one by itself, a
 * full memory cgroup has it kill. Returns 0 or -ENOMEM.
 */
static int cache_page(struct address_space *mapping, pgoff_t index, gfp_t gfp)
{
	struct folio *folio;
	int ret;

	if (xa_load(&mapping->i_pages, index) || mapping_min_folio_order(mapping))
		return 0;
	folio = folio_alloc(gfp, 0);
	if (!folio)
		return -ENOMEM;
	ret = filemap_add_folio(mapping, folio, index, gfp);
	if (!ret)
		folio_unlock(folio);
	folio_put(folio);
	return ret == -EEXIST ? 0 : ret;
}

/* The page of the file's cache, with a reference, or ERR_PTR. */
static struct page *read_page(struct wisp_layer *layer, pgoff_t index)
{
	struct address_space *mapping = layer->file->f_mapping;
	gfp_t gfp = mapping_gfp_mask(mapping) | __GFP_RETRY_MAYFAIL | __GFP_NOWARN;
	struct folio *folio;
	int ret;

	if (is_shmem(file_inode(layer->file)))
		return shmem_read_mapping_page_gfp(mapping, index, gfp);
	ret = cache_page(mapping, index, gfp);
	if (ret)
		return ERR_PTR(ret);
	folio = read_mapping_folio(mapping, index, layer->file);
	return IS_ERR(folio) ? ERR_CAST(folio) : folio_file_page(folio, index);
}

/**
 * wisp_layer_hold() - have a page, from the disk if need be
 * @layer: the layer
 * @index: of the page, within the layer
 *
 * Charged to the active memory cgroup. Sleeps, and a signal that kills ends it:
 * hold no lock that others wait for. Returns 0, -EINTR, -EIO or -ENOMEM.
 */
int wisp_layer_hold(struct wisp_layer *layer, pgoff_t index)
{
	struct page *page;
	int ret;

	if (!wisp_page_charge(1, layer->limited))
		return -ENOMEM;
	page = read_page(layer, layer->first + index);
	ret = PTR_ERR_OR_ZERO(page);
	if (!ret) {
		ret = xa_insert(&layer->held, index, page, WISP_GFP);
		if (!ret)
			return 0;
		put_page(page);
	}
	wisp_page_uncharge(1, layer->limited);
	/* Somebody else was faster. */
	if (ret == -EBUSY)
		return 0;
	return ret == -EINTR || ret == -ENOMEM ? ret : -EIO;
}
