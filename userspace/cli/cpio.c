// SPDX-License-Identifier: MIT
/* "initramfs buffer format" of the kernel's documentation. */
#include "cpio.h"

#include <errno.h>
#include <fts.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define TRAILER		"TRAILER!!!"

struct archive {
	struct file *file;
	uint32_t ino;
};

static int pad(struct file *file)
{
	static const uint8_t zeros[4];

	return file_append(file, zeros, -file->size & 3);
}

static int add_header(struct archive *archive, const char *name,
		      const struct stat *st, size_t size)
{
	size_t name_size = strlen(name) + 1;
	char header[111];
	int ret;

	if (size > UINT32_MAX)
		return -EFBIG;
	snprintf(header, sizeof(header),
		 "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		 archive->ino++, (uint32_t)st->st_mode, 0, 0, 1,
		 (uint32_t)st->st_mtime, (uint32_t)size, 0, 0,
		 major(st->st_rdev), minor(st->st_rdev), (uint32_t)name_size,
		 0);
	ret = file_append(archive->file, header, 110);
	if (!ret)
		ret = file_append(archive->file, name, name_size);
	return ret ?: pad(archive->file);
}

static int add_data(struct archive *archive, const char *name,
		    const struct stat *st, const void *data, size_t size)
{
	int ret = add_header(archive, name, st, size);

	if (!ret)
		ret = file_append(archive->file, data, size);
	return ret ?: pad(archive->file);
}

static int add_regular(struct archive *archive, const char *name,
		       const struct stat *st, const char *path)
{
	struct file content = { 0 };
	int ret = file_read(&content, path);

	if (!ret)
		ret = add_data(archive, name, st, content.data, content.size);
	file_free(&content);
	return ret;
}

static int add_link(struct archive *archive, const char *name,
		    const struct stat *st, const char *path)
{
	char target[PATH_MAX];
	ssize_t size = readlink(path, target, sizeof(target));

	if (size < 0)
		return -errno;
	return add_data(archive, name, st, target, (size_t)size);
}

static int add_entry(struct archive *archive, FTSENT *entry, size_t prefix)
{
	const char *name = entry->fts_path + prefix;
	const struct stat *st = entry->fts_statp;

	while (*name == '/')
		name++;
	switch (entry->fts_info) {
	case FTS_DP:
		return 0;
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS:
		return -entry->fts_errno;
	case FTS_F:
		return add_regular(archive, name, st, entry->fts_accpath);
	case FTS_SL:
	case FTS_SLNONE:
		return add_link(archive, name, st, entry->fts_accpath);
	default:
		/* The folder itself is the guest's root, which is there. */
		if (!*name || S_ISSOCK(st->st_mode))
			return 0;
		return add_header(archive, name, st, 0);
	}
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

int cpio_pack(struct file *file, const char *folder, char **path)
{
	char *const roots[2] = { (char *)folder, NULL };
	struct archive archive = { .file = file, .ino = 1 };
	const struct stat none = { 0 };
	FTSENT *entry;
	int ret = 0;
	FTS *fts;

	*path = NULL;
	fts = fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR,
		       by_name);
	if (!fts)
		return -errno;
	errno = 0;
	while (!ret && (entry = fts_read(fts))) {
		ret = add_entry(&archive, entry, strlen(folder));
		if (ret)
			*path = strdup(entry->fts_path);
		errno = 0;
	}
	if (!ret && errno)
		ret = -errno;
	fts_close(fts);
	return ret ?: add_header(&archive, TRAILER, &none, 0);
}
