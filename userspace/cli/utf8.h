/* SPDX-License-Identifier: MIT */
/* Text that anybody wrote, as text that JSON may have. */
#ifndef WISP_CLI_UTF8_H
#define WISP_CLI_UTF8_H

#include "file.h"

/*
 * Appends it to @file, with U+FFFD for each byte that is no part of a character.
 * Returns 0 or -ENOMEM.
 */
int utf8_append(struct file *file, const uint8_t *text, size_t size);

#endif
