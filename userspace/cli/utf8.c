// SPDX-License-Identifier: MIT
#include "utf8.h"

/* Bytes of the character that @text begins with, or 0: RFC 3629. */
static size_t character_size(const uint8_t *text, size_t size)
{
	/* Smaller ones would be longer than need be. */
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint8_t first = *text;
	size_t n = first < 0x80 ? 1 : first >> 5 == 0x6 ? 2 :
		   first >> 4 == 0xe ? 3 : first >> 3 == 0x1e ? 4 : 0;
	uint32_t value = first & (0x7f >> n);

	if (n < 2)
		return n;
	if (n > size)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if (text[i] >> 6 != 2)
			return 0;
		value = value << 6 | (text[i] & 0x3f);
	}
	return value < least[n] || value > 0x10ffff || value >> 11 == 0x1b ?
		       0 : n;
}

int utf8_append(struct file *file, const uint8_t *text, size_t size)
{
	static const uint8_t replacement[] = { 0xef, 0xbf, 0xbd };
	int ret = 0;

	while (size && !ret) {
		size_t good = 0, n;

		while (good < size &&
		       (n = character_size(text + good, size - good)))
			good += n;
		ret = file_append(file, text, good);
		text += good;
		size -= good;
		if (ret || !size)
			break;
		ret = file_append(file, replacement, sizeof(replacement));
		text++;
		size--;
	}
	return ret;
}
