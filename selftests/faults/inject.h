/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fault number n in what a thread has the kernel do next. See
 * Documentation/fault-injection/fault-injection.rst of the kernel on fail-nth, which
 * counts what failslab, fail_page_alloc and fail_usercopy have in their way.
 */
#ifndef WISP_SELFTESTS_INJECT_H
#define WISP_SELFTESTS_INJECT_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../harness.h"

static inline bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) > 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

/*
 * By default allocations that may sleep do not fail, that is, none of ours. No
 * traces: in the log they would look like splats.
 */
static inline bool inject_setup(void)
{
#define DIR "/sys/kernel/debug/"
	return write_file(DIR "failslab/ignore-gfp-wait", "N") &&
	       write_file(DIR "failslab/cache-filter", "N") &&
	       write_file(DIR "failslab/verbose", "0") &&
	       write_file(DIR "fail_page_alloc/ignore-gfp-wait", "N") &&
	       write_file(DIR "fail_page_alloc/ignore-gfp-highmem", "N") &&
	       write_file(DIR "fail_page_alloc/min-order", "0") &&
	       write_file(DIR "fail_page_alloc/verbose", "0") &&
	       write_file(DIR "fail_usercopy/verbose", "0");
#undef DIR
}

static inline void inject(int fail_nth, unsigned int n)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", n);
	if (pwrite(fail_nth, text, strlen(text), 0) < 0)
		ksft_exit_fail_msg("fail-nth: %s\n", strerror(errno));
}

/* Whether the fault came. Looking is a user copy that may get it instead. */
static inline bool injected(int fail_nth)
{
	char text[16] = "";
	ssize_t n = pread(fail_nth, text, sizeof(text) - 1, 0);

	/* The same goes for this one. */
	if (n > 0 && atoi(text) && pwrite(fail_nth, "0", 1, 0) < 0 &&
	    errno != EFAULT)
		ksft_exit_fail_msg("fail-nth: %s\n", strerror(errno));
	return n > 0 && !atoi(text);
}

/* Of the thread that calls it. Returns an fd, or -1. */
static inline int inject_open(void)
{
	return open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
}

#endif
