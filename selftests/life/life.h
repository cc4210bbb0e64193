/* SPDX-License-Identifier: GPL-2.0 */
/* What the tests of lifetimes share; each is used by some of them only. */
#ifndef WISP_SELFTESTS_LIFE_H
#define WISP_SELFTESTS_LIFE_H

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "../guest/guest.h"

#define NOBODY		65534
#define SOMEBODY	65533

/* Files of the driver that are open anywhere; each counts once. */
static inline int module_refs(void)
{
	FILE *f = fopen("/sys/module/wisp/refcnt", "r");
	int refs = -1;

	if (f && fscanf(f, "%d", &refs) != 1)
		refs = -1;
	if (f)
		fclose(f);
	return refs;
}

/* What /proc/meminfo has by this name. */
static inline long kilobytes(const char *name)
{
	FILE *f = fopen("/proc/meminfo", "r");
	char line[100];
	long found = -1;

	while (f && found < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)))
			found = atol(line + strlen(name));
	if (f)
		fclose(f);
	return found;
}

/* A file's end may lag behind its last close; but it comes. */
static inline int wait_refs(int want)
{
	int refs = module_refs();

	for (int i = 0; i < 10000 && refs != want; i++) {
		usleep(1000);
		refs = module_refs();
	}
	return refs;
}

static inline int unload(void)
{
	return syscall(SYS_delete_module, "wisp", O_NONBLOCK) ? -errno : 0;
}

static inline int load(const char *parameters)
{
	int fd = open("/wisp.ko", O_RDONLY | O_CLOEXEC);
	int ret = syscall(SYS_finit_module, fd, parameters, 0) ? -errno : 0;

	close(fd);
	return ret;
}

/* The module's parameters as they are, for load(). */
static inline void save_parameters(char *text, size_t size)
{
	DIR *dir = opendir("/sys/module/wisp/parameters");
	struct dirent *entry;
	char name[300], value[80];

	*text = 0;
	while (dir && (entry = readdir(dir))) {
		FILE *f;

		snprintf(name, sizeof(name), "/sys/module/wisp/parameters/%s",
			 entry->d_name);
		f = entry->d_name[0] == '.' ? NULL : fopen(name, "r");
		if (f && fscanf(f, "%79s", value) == 1)
			snprintf(text + strlen(text), size - strlen(text),
				 "%s=%s ", entry->d_name, value);
		if (f)
			fclose(f);
	}
	if (dir)
		closedir(dir);
}

static inline void set_parameter(const char *name, unsigned int value)
{
	char path[100];
	FILE *f;

	snprintf(path, sizeof(path), "/sys/module/wisp/parameters/%s", name);
	f = fopen(path, "w");
	if (!f || fprintf(f, "%u", value) < 0 || fclose(f))
		abort();
}

/* Fork a child that is another user, who may nothing. */
static inline pid_t fork_user(uid_t uid)
{
	pid_t pid = fork();

	if (!pid && uid && (setresgid(uid, uid, uid) || setresuid(uid, uid, uid)))
		_exit(100);
	return pid;
}

/* The child's exit status, or 1000 + the signal that ended it. */
static inline int wait_child(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

#define FDS_MAX 4

static inline void send_fds(int socket, const int *fds, int count)
{
	char control[CMSG_SPACE(sizeof(int) * FDS_MAX)] = { 0 };
	char byte = 0;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = CMSG_SPACE(sizeof(int) * count),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int) * count);
	memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * count);
	if (sendmsg(socket, &msg, 0) != 1)
		abort();
}

/* Returns whether @count came. */
static inline bool receive_fds(int socket, int *fds, int count)
{
	char control[CMSG_SPACE(sizeof(int) * FDS_MAX)];
	char byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg;

	if (recvmsg(socket, &msg, 0) != 1)
		return false;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg || cmsg->cmsg_len != CMSG_LEN(sizeof(int) * count))
		return false;
	memcpy(fds, CMSG_DATA(cmsg), sizeof(int) * count);
	return true;
}

#endif
