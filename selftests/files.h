/* SPDX-License-Identifier: GPL-2.0 */
/* Files of file systems that are there for a test, to be below memory objects. */
#ifndef WISP_SELFTESTS_FILES_H
#define WISP_SELFTESTS_FILES_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

/*
 * @fill gives it what it is to have, and returns 0. Then nobody has it open for
 * writing, and it has no name any more: all goes with the fd that this returns, or -1.
 */
static inline int file_on(const char *type, const char *options, int (*fill)(int fd))
{
	char dir[] = "/tmp/wisp-XXXXXX", path[sizeof(dir) + 5];
	int fd, file;

	if (!mkdtemp(dir) || mount(type, dir, type, 0, options))
		return -1;
	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	file = fill(fd) ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	close(fd);
	umount2(dir, MNT_DETACH);
	rmdir(dir);
	return file;
}

#endif
