/* SPDX-License-Identifier: MIT */
/*
 * A command for a shell that waits on the guest's console: types it, and finds
 * its output and its exit status in what comes back.
 */
#ifndef WISP_CLI_SCRIPT_H
#define WISP_CLI_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "file.h"

struct script {
	char *text;		/* what is typed */
	size_t typed;
	struct file line;	/* the last one, as far as it came */
	struct file output;	/* of the command; a line ends with \n */
	bool has_begun;
	bool has_ended;
	int status;		/* the command's, once it has ended */
};

/* Returns 0 or -ENOMEM. */
int script_init(struct script *script, const char *command);
void script_free(struct script *script);

/* What to type next, up to @size bytes; returns how many. */
size_t script_read(struct script *script, uint8_t *data, size_t size);

/* Takes what the guest printed; returns whether the command has ended. */
bool script_put(struct script *script, uint8_t byte);

#endif
