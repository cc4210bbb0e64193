/* SPDX-License-Identifier: MIT */
/* How a guest ended, and how that is told. */
#ifndef WISP_CLI_ENDING_H
#define WISP_CLI_ENDING_H

#include <stdbool.h>
#include <stdio.h>
#include <wisp.h>

/* These are the command's exit statuses, too. */
enum ending_kind {
	ENDING_POWEROFF = 0,
	ENDING_ERROR = 1,
	ENDING_RESET = 2,
	ENDING_CRASH = 3,
	ENDING_TIMEOUT = 4,
	ENDING_QUIT = 5,
	ENDING_HALT = 6,
	ENDING_SAVED = 7,
	ENDING_USAGE = 64,
};

struct ending {
	enum ending_kind kind;
	bool ended;
	char message[512];		/* one line, or empty */
	uint64_t runs;			/* calls of wisp_run() */
	uint64_t duration_ns;

	bool has_stats;
	struct wisp_stats stats;

	/* Of a crash. */
	bool has_state;
	struct wisp_exit exit;
	uint32_t field;
	struct wisp_state state;
};

/* The first call counts. */
__attribute__((format(printf, 3, 4)))
void ending_set(struct ending *ending, enum ending_kind kind,
		const char *format, ...);

/* On standard error: the message, the registers of a crash, the counters. */
void ending_print(const struct ending *ending);

/* One JSON object on one line. Returns 0 or -1. */
int ending_print_json(const struct ending *ending, FILE *stream);

#endif
