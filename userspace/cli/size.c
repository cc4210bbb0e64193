// SPDX-License-Identifier: MIT
#include "size.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char units[] = "KMGT";

int size_parse(const char *text, uint64_t *size)
{
	unsigned long long value;
	unsigned int shift = 0;
	const char *unit;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -1;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno)
		return -1;
	if (*end) {
		unit = strchr(units, toupper((unsigned char)*end));
		if (!unit || end[1])
			return -1;
		shift = 10 * (unsigned int)(unit - units + 1);
	}
	if (value > UINT64_MAX >> shift)
		return -1;
	*size = (uint64_t)value << shift;
	return 0;
}

char *size_format(uint64_t size, char *text)
{
	unsigned int unit = 0;
	const char *name;

	/* Four digits tell enough. */
	while (unit < 4 && size >> 10 * (unit + 1) && size >> 10 * unit > 9999)
		unit++;
	while (unit < 4 && size && !(size & ((1ULL << 10 * (unit + 1)) - 1)))
		unit++;
	name = unit ? &units[unit - 1] : "";
	snprintf(text, SIZE_TEXT, "%" PRIu64 "%.1s", size >> 10 * unit, name);
	return text;
}
