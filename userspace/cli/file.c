// SPDX-License-Identifier: MIT
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int grow(struct file *file, size_t size)
{
	size_t room = file->room;
	uint8_t *data;

	if (size > SIZE_MAX / 2 - file->size)
		return -EFBIG;
	while (room < file->size + size)
		room = room ? room * 2 : 65536;
	if (room == file->room)
		return 0;
	data = realloc(file->data, room);
	if (!data)
		return -ENOMEM;
	file->data = data;
	file->room = room;
	return 0;
}

int file_append(struct file *file, const void *data, size_t size)
{
	int ret = grow(file, size);

	if (ret)
		return ret;
	if (size)
		memcpy(file->data + file->size, data, size);
	file->size += size;
	return 0;
}

/* The file may change meanwhile: at most what it had when it was opened. */
static int read_all(struct file *file, int fd, size_t size)
{
	int ret = grow(file, size);

	while (!ret && size) {
		ssize_t n = read(fd, file->data + file->size, size);

		if (n < 0 && errno != EINTR)
			ret = -errno;
		if (!n)
			break;
		if (n > 0) {
			file->size += (size_t)n;
			size -= (size_t)n;
		}
	}
	return ret;
}

int file_read(struct file *file, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	int ret;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st))
		ret = -errno;
	else if (S_ISDIR(st.st_mode))
		ret = -EISDIR;
	else if (!S_ISREG(st.st_mode))
		ret = -ENODEV;
	else
		ret = read_all(file, fd, (size_t)st.st_size);
	close(fd);
	return ret;
}

/*
 * A terminal or pipe that has room for a byte may not have it for the next: a
 * write that waits there could not be ended. The descriptor that is ours to be
 * made non-blocking is another one, since others share @fd's.
 */
int file_reopen(int fd)
{
	struct stat stat;
	char path[32];
	int other = -1;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (!fstat(fd, &stat) &&
	    (S_ISCHR(stat.st_mode) || S_ISFIFO(stat.st_mode)))
		other = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return other < 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : other;
}

void file_free(struct file *file)
{
	free(file->data);
	*file = (struct file){ 0 };
}
