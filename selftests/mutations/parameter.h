/* SPDX-License-Identifier: GPL-2.0 */
/* Parameters of the module that only debug builds have. */
#ifndef WISP_SELFTESTS_PARAMETER_H
#define WISP_SELFTESTS_PARAMETER_H

#include <errno.h>
#include <stdio.h>

static inline FILE *parameter_open(const char *name, const char *mode)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/module/wisp/parameters/%s", name);
	return fopen(path, mode);
}

/* Returns 0 or -errno. */
static inline int parameter_set(const char *name, unsigned int value)
{
	FILE *f = parameter_open(name, "w");

	if (!f)
		return -errno;
	fprintf(f, "%u\n", value);
	return fclose(f) ? -errno : 0;
}

/* ~0: there is none. */
static inline unsigned int parameter_get(const char *name)
{
	FILE *f = parameter_open(name, "r");
	unsigned int value;

	if (!f)
		return ~0U;
	if (fscanf(f, "%u", &value) != 1)
		value = ~0U;
	fclose(f);
	return value;
}

#endif
