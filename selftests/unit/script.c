// SPDX-License-Identifier: GPL-2.0
/* userspace/cli/script.c: a command's output among what a console shows. */
#include <string.h>

#include "script.h"
#include "tap.h"

static struct script script;

static void start(const char *command)
{
	script_free(&script);
	CHECK_EQUAL(script_init(&script, command), 0);
}

/* Returns whether it has ended by then. */
static bool show(const char *text)
{
	bool ended = false;

	for (; *text; text++)
		ended = script_put(&script, (uint8_t)*text);
	return ended;
}

static bool output_is(const char *text)
{
	return script.output.size == strlen(text) &&
	       !memcmp(script.output.data ?: (uint8_t *)"", text,
		       script.output.size);
}

static void types_it_in_parts(void)
{
	char typed[1024] = "";
	size_t n, size = 0;

	start("uname -a; echo 'a\tb\\' !");
	do {
		n = script_read(&script, (uint8_t *)typed + size, 7);
		size += n;
	} while (n);
	CHECK(strstr(typed, "'uname \\0055a\\0073 echo \\0047a\\0011b\\0134\\0047 \\0041'"));
	CHECK(typed[size - 1] == '\n');
	/* What the terminal echoes is not taken for what it stands for. */
	CHECK(!show(typed));
	CHECK(!script.has_begun);
}

static void finds_output_and_status(void)
{
	start("ls");
	CHECK(!show("noise\r\n> > wisp-begin\r\n"));
	CHECK(!show("a b\r\n\r\nc\r\n"));
	CHECK(!show("wisp-end-17"));
	CHECK(show("\r\n"));
	CHECK_EQUAL(script.status, 17);
	CHECK(output_is("a b\n\nc\n"));
}

static void takes_output_that_ends_no_line(void)
{
	start("printf x");
	CHECK(show("wisp-begin\nxwisp-end-0\n"));
	CHECK_EQUAL(script.status, 0);
	CHECK(output_is("x\n"));
}

static void takes_no_output(void)
{
	start("true");
	CHECK(show("wisp-begin\nwisp-end-1\n"));
	CHECK(output_is(""));
	CHECK_EQUAL(script.status, 1);
}

static void bounds_a_line(void)
{
	start("yes");
	CHECK(!show("wisp-begin\n"));
	for (int i = 0; i < 200000; i++)
		script_put(&script, 'y');
	script_put(&script, 0);
	CHECK(script.line.size < 100000);
	CHECK(!show("\n") && show("wisp-end-0\n"));
}

/* However long the line is that its output leaves open. */
static void finds_the_status_behind_a_long_line(void)
{
	static const size_t sizes[] = {
		65000, 65526, 65527, 65528, 65536, 65600, 200000,
	};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		start("cat image");
		for (size_t n = 0; n < sizes[i]; n++)
			script_put(&script, 'y');
		CHECK(!show("wisp-begin\n"));
		CHECK(script.has_begun);
		for (size_t n = 0; n < sizes[i]; n++)
			script_put(&script, 'y');
		CHECK(show("wisp-end-213\n"));
		CHECK_EQUAL(script.status, 213);
		CHECK(script.output.size >= 60000 && script.output.size < 100000);
	}
}

static void a_mark_without_a_status_is_output(void)
{
	start("echo wisp-end-");
	CHECK(!show("wisp-begin\nwisp-end-\n"));
	CHECK(show("wisp-end-3\n"));
	CHECK_EQUAL(script.status, 3);
	CHECK(output_is("wisp-end-\n"));
}

int main(void)
{
	static const struct tap_test tests[] = {
		TAP_TEST(types_it_in_parts),
		TAP_TEST(finds_output_and_status),
		TAP_TEST(takes_output_that_ends_no_line),
		TAP_TEST(takes_no_output),
		TAP_TEST(bounds_a_line),
		TAP_TEST(finds_the_status_behind_a_long_line),
		TAP_TEST(a_mark_without_a_status_is_output),
	};

	return TAP_RUN(tests);
}
