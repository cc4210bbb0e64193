// SPDX-License-Identifier: GPL-2.0
/* userspace/cli/utf8.c: whatever a guest prints becomes text. */
#include <string.h>

#include "tap.h"
#include "utf8.h"

#define NONE	"\xef\xbf\xbd"

static bool becomes(const char *text, const char *expected)
{
	struct file file = { 0 };
	bool same = !utf8_append(&file, (const uint8_t *)text, strlen(text)) &&
		    file.size == strlen(expected) &&
		    !memcmp(file.data ?: (uint8_t *)"", expected, file.size);

	file_free(&file);
	return same;
}

static void text_stays(void)
{
	static const char *const texts[] = {
		"", "a", "a\n\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80",
		"\xed\x9f\xbf", "\xee\x80\x80", NONE, "\xf0\x90\x80\x80",
		"\xf4\x8f\xbf\xbf", "a\xc3\xa9\xe2\x82\xac",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		CHECK(becomes(texts[i], texts[i]));
}

static void bytes_are_replaced(void)
{
	CHECK(becomes("\xff", NONE));
	CHECK(becomes("a\377b\x80\xbf", "a" NONE "b" NONE NONE));
	/* Longer than need be, no characters, too large. */
	CHECK(becomes("\xc0\x80", NONE NONE));
	CHECK(becomes("\xe0\x9f\xbf", NONE NONE NONE));
	CHECK(becomes("\xf0\x8f\xbf\xbf", NONE NONE NONE NONE));
	CHECK(becomes("\xed\xa0\x80", NONE NONE NONE));
	CHECK(becomes("\xf4\x90\x80\x80", NONE NONE NONE NONE));
	CHECK(becomes("\xf8", NONE));
}

static void cut_off(void)
{
	CHECK(becomes("\xc3", NONE));
	CHECK(becomes("a\xe2\x82", "a" NONE NONE));
	CHECK(becomes("\xf0\x90\x80", NONE NONE NONE));
	CHECK(becomes("\342ab", NONE "ab"));
}

int main(void)
{
	static const struct tap_test tests[] = {
		TAP_TEST(text_stays),
		TAP_TEST(bytes_are_replaced),
		TAP_TEST(cut_off),
	};

	return TAP_RUN(tests);
}
