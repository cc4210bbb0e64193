/* SPDX-License-Identifier: MIT */
/* A file, or what was packed, in memory. */
#ifndef WISP_CLI_FILE_H
#define WISP_CLI_FILE_H

#include <stddef.h>
#include <stdint.h>

struct file {
	uint8_t *data;
	size_t size;
	size_t room;
};

/* Each returns 0 or a negative errno. */
int file_read(struct file *file, const char *path);
int file_append(struct file *file, const void *data, size_t size);

/*
 * Another fd for the terminal or the pipe that @fd is, which does not wait, or else a
 * copy of @fd; -1 with errno.
 */
int file_reopen(int fd);

void file_free(struct file *file);

#endif
