// SPDX-License-Identifier: GPL-2.0
/* What a VM costs from nothing to its first exit and back to nothing. */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define LIFE_SIZE	(2UL << 20)
#define TOP		(1ULL << 32)
#define RESET_VECTOR	0xfffffff0
#define LIVES		20
#define SETTLE_US	200000
#define MAX_ALIVE	10000

static struct machine *alive[MAX_ALIVE];
static unsigned int nalive;

unsigned int max_alive(const struct bench *b, unsigned int n)
{
	unsigned int most = b->on->max_alive < b->alive ? b->on->max_alive : b->alive;

	return n < most ? n : most;
}

/* It runs as it is after its creation: just below 4 GiB. */
static uint64_t gpa_for(uint64_t size)
{
	return size < TOP ? TOP - size : 0;
}

static void run_once(struct bench *b, struct machine *m)
{
	static const char hlt = 0xf4;

	b->on->write(m, RESET_VECTOR, &hlt, 1);
	b->on->run(m, STOP_HLT);
}

static struct machine *born_with(struct bench *b, uint64_t size)
{
	struct machine *m = create(b, gpa_for(size), size, MEMORY_PLAIN);

	run_once(b, m);
	return m;
}

static struct machine *born(struct bench *b)
{
	return born_with(b, LIFE_SIZE);
}

static void end_all(struct bench *b)
{
	while (nalive)
		b->on->destroy(alive[--nalive]);
}

/* The sum of what @format finds in the lines of @path. */
static uint64_t sum_of(const char *path, const char *format)
{
	unsigned long long sum = 0, value;
	char line[256];
	FILE *f = fopen(path, "r");

	if (!f)
		err(1, "%s", path);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, format, &value) == 1)
			sum += value;
	fclose(f);
	return sum;
}

/*
 * With all free that is about to be when RCU's grace periods end, and with what
 * lies in the CPUs' lists of free pages, which MemFree leaves out.
 */
uint64_t memory_free(void)
{
	usleep(SETTLE_US);
	return sum_of("/proc/meminfo", "MemFree: %llu kB") +
	       sum_of("/proc/zoneinfo", " count: %llu") * PAGE / 1024;
}

/* All work that the CPU does for it, by whomever; waiting is not in it. */
void measure_life_of(struct bench *b, const char *op, uint64_t size)
{
	uint64_t ticks[LIVES], start;

	soak_start();
	for (int i = -1; i < LIVES; i++) {
		start = work();
		b->on->destroy(born_with(b, size));
		if (i >= 0)
			ticks[i] = work() - start;
	}
	soak_stop();
	add_ticks(b, op, ticks, LIVES, 1);
}

enum step { VM, SLOT, VCPU, RUN, END, STEPS };

/* The same work step by step; the run's is that of the page it needs, too. */
static void measure_steps(struct bench *b)
{
	static const char *const ops[STEPS] = {
		[VM] = "vm life: vm", [SLOT] = "vm life: slot",
		[VCPU] = "vm life: vcpu", [RUN] = "vm life: run",
		[END] = "vm life: end",
	};
	uint64_t ticks[STEPS][LIVES], start[STEPS + 1];
	struct machine *m;

	soak_start();
	for (int i = -1; i < LIVES; i++) {
		start[VM] = work();
		m = b->on->create_vm(gpa_for(LIFE_SIZE), LIFE_SIZE, MEMORY_PLAIN);
		start[SLOT] = work();
		b->on->add_memory(m);
		start[VCPU] = work();
		b->on->create_vcpu(m);
		start[RUN] = work();
		run_once(b, m);
		start[END] = work();
		b->on->destroy(m);
		start[STEPS] = work();
		for (int step = 0; i >= 0 && step < STEPS; step++)
			ticks[step][i] = start[step + 1] - start[step];
	}
	soak_stop();
	for (int step = 0; step < STEPS; step++)
		add_ticks(b, ops[step], ticks[step], LIVES, 1);
}

static void measure_elapsed(struct bench *b)
{
	uint64_t ticks[LIVES], start;

	for (int i = -1; i < LIVES; i++) {
		start = rdtsc();
		b->on->destroy(born(b));
		if (i >= 0)
			ticks[i] = rdtsc() - start;
	}
	add_ticks(b, "vm life elapsed", ticks, LIVES, 1);
}

/* Another one is alive in any case: the first of all costs KVM more. */
static void measure_at(struct bench *b, unsigned int n)
{
	char op[32];

	if (max_alive(b, n) < n)
		return;
	while (nalive < n)
		alive[nalive++] = born(b);
	snprintf(op, sizeof(op), "vm life at %u", n);
	measure_life_of(b, op, LIFE_SIZE);
}

/* Of the second half: the first takes what is left in half empty slabs. */
static void measure_memory(struct bench *b)
{
	unsigned int n = max_alive(b, 1000);
	uint64_t before, kib;

	while (nalive < n / 2)
		alive[nalive++] = born(b);
	before = memory_free();
	while (nalive < n)
		alive[nalive++] = born(b);
	kib = (before - memory_free()) / (n - n / 2);
	add_values(b, "vm memory", &kib, 1, n - n / 2, "KiB");
}

/*
 * KiB per VM where there are so many in all, with all that the first one takes.
 * Twice: what the first time leaves in half empty slabs is not the last one's.
 */
static void measure_density(struct bench *b, unsigned int n)
{
	uint64_t before, kib = 0;
	char op[32];

	if (max_alive(b, n) < n)
		return;
	for (int i = 0; i < 2; i++) {
		before = memory_free();
		while (nalive < n)
			alive[nalive++] = born(b);
		kib = (before - memory_free()) / n;
		end_all(b);
	}
	snprintf(op, sizeof(op), "vm memory at %u", n);
	add_values(b, op, &kib, 1, n, "KiB");
}

void measure_lives(struct bench *b)
{
	measure_life_of(b, "vm life cold", LIFE_SIZE);
	alive[nalive++] = born(b);
	measure_life_of(b, "vm life", LIFE_SIZE);
	measure_steps(b);
	measure_elapsed(b);
	trace_begin(b, "vm life");
	b->on->destroy(born(b));
	trace_end();
	if (b->curves) {
		measure_at(b, 10);
		measure_at(b, 100);
	}
	measure_memory(b);
	measure_at(b, 1000);
	measure_at(b, 10000);
	end_all(b);
	for (unsigned int n = 1; b->curves && n <= MAX_ALIVE; n *= n == 1 ? 100 : 10)
		measure_density(b, n);
}
