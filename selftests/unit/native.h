/* SPDX-License-Identifier: GPL-2.0 */
/* Instructions that this CPU runs itself. */
#ifndef SELFTESTS_UNIT_NATIVE_H
#define SELFTESTS_UNIT_NATIVE_H

#include <stdint.h>

/**
 * struct native - registers before and after
 * @general: in the order of their encoding; RSP is not used
 * @rflags: all of it
 */
struct native {
	uint64_t general[16];
	uint64_t rflags;
};

struct native_case {
	const char *text;
	const uint8_t *code;	/* ends with RET */
	const uint8_t *end;	/* where that RET is */
};

/* The last one has no text. */
extern struct native_case native_cases[];

void native_run(struct native *native, const void *code);

#endif
