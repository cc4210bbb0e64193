/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Modules of the kernel's own, which the lab has in a folder: its file "modules"
 * names them as they are to be loaded.
 */
#ifndef WISP_SELFTESTS_MODULES_H
#define WISP_SELFTESTS_MODULES_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MODULES_MAX	8
#define MODULE_NAME_MAX	60

/* Returns how many there are. */
static inline int modules_list(const char *folder, char names[][MODULE_NAME_MAX])
{
	char path[100];
	int n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/modules", folder);
	f = fopen(path, "r");
	while (f && n < MODULES_MAX && fscanf(f, "%59s", names[n]) == 1)
		n++;
	if (f)
		fclose(f);
	return n;
}

static inline int modules_load_one(const char *folder, const char *name)
{
	char path[600];
	int fd, ret;

	snprintf(path, sizeof(path), "%s/%s.ko", folder, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, "", 0) ? -errno : 0;
	close(fd);
	return ret == -EEXIST ? 0 : ret;
}

/* All that are not there yet. Returns 0, or -errno: -ENOENT where none is named. */
static inline int modules_load(const char *folder)
{
	char names[MODULES_MAX][MODULE_NAME_MAX];
	int n = modules_list(folder, names), ret = n ? 0 : -ENOENT;

	for (int i = 0; i < n && !ret; i++)
		ret = modules_load_one(folder, names[i]);
	return ret;
}

#endif
