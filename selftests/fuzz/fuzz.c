// SPDX-License-Identifier: GPL-2.0
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../unit/tap.h"
#include "fuzz.h"

#define MAX_KINDS	1024
#define KIND_SIZE	64
/* A run says where it is, so that one that dies can be done again from there. */
#define SAY_EVERY	250
/* Enough to see what is wrong. */
#define MAX_SAID	20

static struct {
	char name[KIND_SIZE];
	__u64 times;
} kinds[MAX_KINDS];
static unsigned int kind_count;

static struct fuzz *fuzz;
static __u64 seed = 1, first, executions, entries, wrong;
static long seconds = -1;	/* not limited by time; 0: endless */
static bool bounded = true;	/* the run that the recorded minima are for */

void fuzz_saw(struct fuzz *f, const char *format, ...)
{
	char name[KIND_SIZE];
	unsigned int i = 0;
	va_list args;

	va_start(args, format);
	vsnprintf(name, sizeof(name), format, args);
	va_end(args);
	if (f->verbose)
		printf("#   %s\n", name);
	while (i < kind_count && strcmp(kinds[i].name, name))
		i++;
	if (i == MAX_KINDS)
		return;
	if (i == kind_count)
		strcpy(kinds[kind_count++].name, name);
	kinds[i].times++;
}

void fuzz_wrong(struct fuzz *f, const char *format, ...)
{
	va_list args;

	if (wrong++ >= MAX_SAID)
		return;
	printf("# --seed %llu --first %llu --count 1: ", seed, f->number);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
}

static bool at_end(time_t start)
{
	if (seconds < 0)
		return executions == fuzz->count;
	return seconds && time(NULL) - start >= seconds;
}

static void execute(void)
{
	fuzz->number = first + executions;
	fuzz->random = seed;
	/* Neighbours share nothing. */
	fuzz->random = random_next(&fuzz->random) ^ fuzz->number << 20;
	fuzz->entered = false;
	if (fuzz->verbose || !(executions % SAY_EVERY))
		printf("# at %llu\n", fuzz->number);
	fuzz->execute(fuzz);
	entries += fuzz->entered;
	executions++;
}

static int by_name(const void *left, const void *right)
{
	return strcmp(left, right);
}

static void nothing_wrong(void)
{
	time_t start = time(NULL);

	printf("# --seed %llu --first %llu\n", seed, first);
	while (!at_end(start))
		execute();
	qsort(kinds, kind_count, sizeof(kinds[0]), by_name);
	for (unsigned int i = 0; i < kind_count; i++)
		printf("# %8llu %s\n", kinds[i].times, kinds[i].name);
	printf("# %llu executions, %llu of use, %u distinct ends, %ld s\n",
	       executions, entries, kind_count, (long)(time(NULL) - start));
	CHECK_EQUAL(wrong, 0);
}

static void executions_of_use(void)
{
	CHECK(!bounded || entries >= fuzz->least_entries);
}

static void distinct_ends(void)
{
	CHECK(!bounded || kind_count >= fuzz->least_kinds);
}

static const struct tap_test tests[] = {
	TAP_TEST(nothing_wrong),
	TAP_TEST(executions_of_use),
	TAP_TEST(distinct_ends),
};

static const struct option options[] = {
	{ "seed", required_argument, NULL, 's' },
	{ "first", required_argument, NULL, 'f' },
	{ "count", required_argument, NULL, 'c' },
	{ "seconds", required_argument, NULL, 't' },
	{ "verbose", no_argument, NULL, 'v' },
	{ 0 },
};

static void say_usage(const char *program)
{
	fprintf(stderr,
		"usage: %s [--seed N] [--first N] [--count N | --seconds N] [--verbose]\n"
		"--seconds 0 is without end\n", program);
	exit(2);
}

static void parse(int argc, char **argv)
{
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		bounded = false;
		switch (option) {
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'f':
			first = strtoull(optarg, NULL, 0);
			break;
		case 'c':
			fuzz->count = strtoull(optarg, NULL, 0);
			seconds = -1;
			break;
		case 't':
			seconds = strtol(optarg, NULL, 0);
			break;
		case 'v':
			fuzz->verbose = true;
			break;
		default:
			say_usage(argv[0]);
		}
	}
	if (optind != argc)
		say_usage(argv[0]);
}

int fuzz_main(struct fuzz *f, int argc, char **argv)
{
	int ret;

	fuzz = f;
	parse(argc, argv);
	ret = f->setup(f);
	if (ret) {
		printf("Bail out! %s\n", strerror(-ret));
		return 1;
	}
	return TAP_RUN(tests);
}
