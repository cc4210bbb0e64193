/* SPDX-License-Identifier: MIT */
/* Packs a folder as an initramfs. */
#ifndef WISP_CLI_CPIO_H
#define WISP_CLI_CPIO_H

#include "file.h"

/*
 * Appends a "newc" archive of @folder to @file, in order of the names and
 * owned by root. Returns 0 or a negative errno; @path then names the culprit
 * (malloc, may be NULL).
 */
int cpio_pack(struct file *file, const char *folder, char **path);

#endif
