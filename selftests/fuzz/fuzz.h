/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the fuzzers have in common: options, counting, TAP.
 *
 * An execution has a number, and what it does follows from that and the seed
 * alone, so that it can be done again without those before it.
 */
#ifndef WISP_SELFTESTS_FUZZ_H
#define WISP_SELFTESTS_FUZZ_H

#include <stdbool.h>
#include <linux/types.h>

#include "../race/random.h"

struct fuzz {
	/* The fuzzer's own: a run without options, and what it reaches. */
	__u64 count;
	__u64 least_entries;		/* executions that were of use */
	unsigned int least_kinds;
	int (*setup)(struct fuzz *f);	/* 0 or -errno */
	void (*execute)(struct fuzz *f);

	/* Of the execution. */
	__u64 number;
	__u64 random;
	bool verbose;
	bool entered;			/* set where it was of use */
};

int fuzz_main(struct fuzz *f, int argc, char **argv);

/* Counts something that happened, by its name: an exit, an errno. */
__attribute__((format(printf, 2, 3)))
void fuzz_saw(struct fuzz *f, const char *format, ...);

/* What must not happen did: the run fails, and goes on. */
__attribute__((format(printf, 2, 3)))
void fuzz_wrong(struct fuzz *f, const char *format, ...);

static inline __u64 fuzz_below(struct fuzz *f, __u64 limit)
{
	return random_below(&f->random, limit);
}

/* True once in @n times. */
static inline bool fuzz_once_in(struct fuzz *f, __u64 n)
{
	return !fuzz_below(f, n);
}

#endif
