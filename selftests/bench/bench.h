/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of the benchmark share. */
#ifndef WISP_SELFTESTS_BENCH_H
#define WISP_SELFTESTS_BENCH_H

#include <stdint.h>
#include <sys/utsname.h>
#include <wisp.h>

struct json_object;

struct bench {
	int sys;
	int vm;
	struct wisp_vcpu_page *page;
	struct wisp_io io;
	const char *ram;
	const char *backend;
	const char *lab;
	const char *mitigations;
	const char *unit;
	struct utsname host;
	struct json_object *rows;
};

static inline uint64_t rdtsc(void)
{
	uint32_t low, high;

	asm volatile("rdtsc" : "=a" (low), "=d" (high) : : "memory");
	return (uint64_t)high << 32 | low;
}

/* Ends the program where @result is a negative errno. */
int must(int result, const char *what);

/* Sorts @ticks and adds a row: the median, the least and the most of them. */
void add_ticks(struct bench *b, const char *op, uint64_t *ticks, int n, int each);

/* snapshots.c */
void measure_snapshots(struct bench *b);

#endif
