/* SPDX-License-Identifier: GPL-2.0 */
/* TAP for programs that run anywhere: a table of functions, a line for each. */
#ifndef SELFTESTS_UNIT_TAP_H
#define SELFTESTS_UNIT_TAP_H

#include <stdbool.h>
#include <stdio.h>

struct tap_test {
	const char *name;
	void (*run)(void);
};

#define TAP_TEST(function)	{ .name = #function, .run = function }

static bool tap_failed;

/* Goes on after a failure, so that all of them are seen. */
#define CHECK(what) \
	tap_check(what, __FILE__, __LINE__, #what)

#define CHECK_EQUAL(left, right) \
	tap_equal((unsigned long long)(left), (unsigned long long)(right), \
		  __FILE__, __LINE__, #left)

static inline bool tap_check(bool good, const char *file, int line,
			     const char *text)
{
	if (!good) {
		printf("# %s:%d: not so: %s\n", file, line, text);
		tap_failed = true;
	}
	return good;
}

static inline bool tap_equal(unsigned long long left, unsigned long long right,
			     const char *file, int line, const char *text)
{
	if (left != right) {
		printf("# %s:%d: %s is 0x%llx, not 0x%llx\n", file, line, text,
		       left, right);
		tap_failed = true;
	}
	return left == right;
}

static inline int tap_run(const struct tap_test *tests, unsigned int count)
{
	unsigned int failures = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n1..%u\n", count);
	for (unsigned int i = 0; i < count; i++) {
		tap_failed = false;
		tests[i].run();
		failures += tap_failed;
		printf("%s %u %s\n", tap_failed ? "not ok" : "ok", i + 1,
		       tests[i].name);
	}
	return failures != 0;
}

#define TAP_RUN(tests)	tap_run(tests, sizeof(tests) / sizeof((tests)[0]))

#endif
