/* SPDX-License-Identifier: MIT */
/* Sizes as people write them: 4096, 64K, 256M, 2G, 1T. */
#ifndef WISP_CLI_SIZE_H
#define WISP_CLI_SIZE_H

#include <stdint.h>

#define SIZE_TEXT	24

/* Returns 0, or -1 where @text is no size or more than 64 bits. */
int size_parse(const char *text, uint64_t *size);

/* Rounded down to a unit; returns @text, which has SIZE_TEXT bytes. */
char *size_format(uint64_t size, char *text);

#endif
