// SPDX-License-Identifier: GPL-2.0
/*
 * How costs grow with what a VM has: its slots, its memory. With how many there
 * are, lives.c and snapshots.c say.
 */
#include <stdio.h>

#include "bench.h"

#define MEMORY_SIZE	(16UL << 20)
#define MOST_SLOTS	1000
#define SLOTS		0x40000000	/* one page each, from here on */
#define MIB		(1ULL << 20)

static void measure_slots(struct bench *b)
{
	char op[32];
	unsigned int there = 1;

	b->m = create(b, 0, MEMORY_SIZE, MEMORY_PLAIN);
	for (unsigned int n = 1; n <= MOST_SLOTS; n *= 10) {
		for (; there < n; there++)
			b->on->add_slot(b->m, there, SLOTS + 2 * there * PAGE, PAGE);
		snprintf(op, sizeof(op), "port at slots %u", n);
		measure_port(b, op);
	}
	b->on->destroy(b->m);
}

/* A touch is what looks a slot up, and needs pages that nobody has touched. */
static void measure_slots_touch(struct bench *b, unsigned int n)
{
	char op[32];

	b->m = create(b, 0, MEMORY_SIZE, MEMORY_PLAIN);
	for (unsigned int i = 1; i < n; i++)
		b->on->add_slot(b->m, i, SLOTS + 2 * i * PAGE, PAGE);
	snprintf(op, sizeof(op), "first touch at slots %u", n);
	measure_touch(b, op);
	b->on->destroy(b->m);
}

static void measure_sizes(struct bench *b)
{
	char op[32];

	for (unsigned int mib = 64; mib <= 65536; mib *= 4) {
		snprintf(op, sizeof(op), "vm life at MiB %u", mib);
		measure_life_of(b, op, mib * MIB);
		if (!b->on->forks_forks)
			continue;
		snprintf(op, sizeof(op), " at MiB %u", mib);
		measure_fork_of(b, op, mib * MIB);
	}
}

void measure_curves(struct bench *b)
{
	measure_slots(b);
	for (unsigned int n = 1; n <= MOST_SLOTS; n *= 10)
		measure_slots_touch(b, n);
	measure_sizes(b);
}
