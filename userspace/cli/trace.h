/* SPDX-License-Identifier: MIT */
/* A line for each exit of the guest. */
#ifndef WISP_CLI_TRACE_H
#define WISP_CLI_TRACE_H

#include <stdbool.h>
#include <stdio.h>
#include <wisp.h>

struct console;

struct trace {
	FILE *stream;		/* NULL: off */
	bool is_json;
	bool is_broken;		/* nothing more can be written */
	int fd;
	const struct console *console;
	uint64_t start;		/* nanoseconds: what times are told from */
};

/*
 * @path NULL: standard error. While @console is not over, whoever reads it is waited
 * for. Returns 0 or a negative errno.
 */
int trace_open(struct trace *trace, const char *path, bool is_json,
	       const struct console *console);

/* Returns 0, or a negative errno if something could not be written. */
int trace_close(struct trace *trace);

void trace_exit(struct trace *trace, uint64_t now, const struct wisp_exit *exit);

/* A word for WISP_PROT_*: what the guest was about to do. */
const char *trace_access_name(uint32_t access);

#endif
