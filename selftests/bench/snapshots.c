// SPDX-License-Identifier: GPL-2.0
/*
 * What snapshots, forks and resets cost. The VM has 512 MiB, all of it touched;
 * its guest runs on 2 MiB pages of its own.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../snippet.h"
#include "bench.h"

#define MEMORY_SIZE	(512UL << 20)
#define DATA		0x40000

/* Pages that are written lie this far apart, so that no two share a table's line. */
#define SCATTERED	(131 * PAGE)
#define FORK_APART	(1001 * PAGE)
#define ROUNDS		15
#define WARM		4
#define DEPTH		64
#define MAX_ALIVE	10000
#define READS		1000

/* Writes ECX pages from RDI on, RBX apart, and reads EDX more; then again. */
SNIPPET(guest_job, 64,
	"1:	hlt\n"
	"	mov %ecx, %r8d\n"
	"	mov %rdi, %rsi\n"
	"2:	dec %r8d\n"
	"	js 3f\n"
	"	incq (%rsi)\n"
	"	add %rbx, %rsi\n"
	"	jmp 2b\n"
	"3:	mov %edx, %r8d\n"
	"4:	dec %r8d\n"
	"	js 1b\n"
	"	mov (%rsi), %rax\n"
	"	add %rbx, %rsi\n"
	"	jmp 4b");

static struct machine *alive[MAX_ALIVE];
static unsigned int nalive;

struct guest job(uint64_t writes, uint64_t reads, uint64_t apart)
{
	return (struct guest){
		GUEST_CODE(guest_job), .bits = 64,
		.rcx = writes, .rdx = reads, .rbx = apart, .rdi = DATA,
	};
}

void stand(struct bench *b, struct machine *m, struct guest what)
{
	b->on->start(m, &what);
	b->on->run(m, STOP_HLT);
}

/* Its guest has written @npages, one behind the other. */
static struct machine *boot(struct bench *b, uint64_t size, uint64_t npages)
{
	struct machine *m = create(b, 0, size, MEMORY_TRACKED);
	const struct guest all = job(npages, 0, PAGE);

	load(b->on, m, &all);
	b->on->run(m, STOP_HLT);
	b->on->run(m, STOP_HLT);
	return m;
}

struct machine *touched(struct bench *b, uint64_t size)
{
	return boot(b, size, (size - DATA) / PAGE);
}

static struct snapshot *measure_snapshot(struct bench *b, struct machine *m)
{
	struct snapshot *s = NULL;
	uint64_t ticks[ROUNDS], before;

	stand(b, m, job(1, 0, PAGE));
	for (int i = 0; i < b->on->snapshots; i++) {
		b->on->run(m, STOP_HLT);
		if (s)
			b->on->drop(s);
		trace_begin(b, i == 1 ? "snapshot" : NULL);
		before = rdtsc();
		s = b->on->snapshot(m, NULL);
		ticks[i] = rdtsc() - before;
		trace_end();
	}
	add_ticks(b, "snapshot", ticks, b->on->snapshots, 1);
	return s;
}

static void measure_resets(struct bench *b, struct machine *m,
			   struct snapshot **s, int npages)
{
	uint64_t resets[ROUNDS], rounds[ROUNDS], start, ticks;
	char op[32], round[32];

	snprintf(op, sizeof(op), "reset %d", npages);
	snprintf(round, sizeof(round), "round %d", npages);
	stand(b, m, job(npages, 0, SCATTERED));
	*s = b->on->snapshot(m, *s);
	for (int i = -WARM; i < ROUNDS; i++) {
		b->on->run(m, STOP_HLT);
		trace_begin(b, !i && npages < 1000 ? op : NULL);
		start = rdtsc();
		b->on->reset(m, *s);
		ticks = rdtsc() - start;
		trace_end();
		if (i >= 0)
			resets[i] = ticks;
	}
	for (int i = -WARM; i < ROUNDS; i++) {
		trace_begin(b, !i && npages < 1000 ? round : NULL);
		start = rdtsc();
		b->on->reset_and_run(m, *s, STOP_HLT);
		ticks = rdtsc() - start;
		trace_end();
		if (i >= 0)
			rounds[i] = ticks;
	}
	add_ticks(b, op, resets, ROUNDS, 1);
	add_ticks(b, round, rounds, ROUNDS, 1);
}

struct machine *ran(struct bench *b, struct snapshot *s)
{
	struct machine *m = b->on->fork(s);

	b->on->run(m, STOP_HLT);
	return m;
}

/* All work that the CPU does for them; waiting is not in it. */
static void measure_forks(struct bench *b, struct snapshot *s, const char *suffix)
{
	uint64_t forks[ROUNDS], ends[ROUNDS], start, forked;
	char op[32], end[32];
	struct machine *m;

	snprintf(op, sizeof(op), "fork%s", suffix);
	snprintf(end, sizeof(end), "fork end%s", suffix);
	soak_start();
	for (int i = -WARM; i < ROUNDS; i++) {
		start = work();
		m = ran(b, s);
		forked = work();
		b->on->destroy(m);
		if (i < 0)
			continue;
		ends[i] = work() - forked;
		forks[i] = forked - start;
	}
	soak_stop();
	add_ticks(b, op, forks, ROUNDS, 1);
	add_ticks(b, end, ends, ROUNDS, 1);
}

static void trace_fork(struct bench *b, struct snapshot *s)
{
	struct machine *m;

	trace_begin(b, "fork");
	m = ran(b, s);
	trace_end();
	trace_begin(b, "fork end");
	b->on->destroy(m);
	trace_end();
}

static void measure_elapsed(struct bench *b, struct snapshot *s)
{
	uint64_t ticks[ROUNDS], start;
	struct machine *m;

	for (int i = 0; i < ROUNDS; i++) {
		m = ran(b, s);
		start = rdtsc();
		b->on->destroy(m);
		ticks[i] = rdtsc() - start;
	}
	add_ticks(b, "fork end elapsed", ticks, ROUNDS, 1);
}

/*
 * KiB for each of the second half of @n forks, which all stay: the first half
 * takes what is left in half empty slabs.
 */
static void measure_memory(struct bench *b, struct snapshot *s, const char *op,
			   struct machine *(*make)(struct bench *b,
						   struct snapshot *s),
			   unsigned int n)
{
	uint64_t before, kib;

	while (nalive < n / 2)
		alive[nalive++] = make(b, s);
	before = memory_free();
	while (nalive < n)
		alive[nalive++] = make(b, s);
	kib = (before - memory_free()) / (n - n / 2);
	add_values(b, op, &kib, 1, n - n / 2, "KiB");
}

static void end_all(struct bench *b)
{
	while (nalive)
		b->on->destroy(alive[--nalive]);
}

static struct machine *never_ran(struct bench *b, struct snapshot *s)
{
	return b->on->fork(s);
}

static void measure_at(struct bench *b, struct snapshot *s, unsigned int n)
{
	char suffix[32];

	if (max_alive(b, n) < n)
		return;
	while (nalive < n)
		alive[nalive++] = ran(b, s);
	snprintf(suffix, sizeof(suffix), " at %u", n);
	measure_forks(b, s, suffix);
}

static void measure_alive(struct bench *b, struct snapshot *s)
{
	measure_memory(b, s, "fork memory idle", never_ran, max_alive(b, 1000));
	end_all(b);
	if (b->curves) {
		measure_at(b, s, 10);
		measure_at(b, s, 100);
		end_all(b);
	}
	measure_memory(b, s, "fork memory", ran, max_alive(b, 1000));
	measure_at(b, s, 1000);
	measure_at(b, s, 10000);
	end_all(b);
}

/* A fork of a fork of a fork... */
static void measure_depth(struct bench *b, struct snapshot *s)
{
	static struct machine *chain[DEPTH];
	static struct snapshot *snapshots[DEPTH];
	char suffix[32];

	snapshots[0] = s;
	for (int i = 1; i < DEPTH; i++) {
		chain[i] = ran(b, snapshots[i - 1]);
		snapshots[i] = b->on->snapshot(chain[i], NULL);
		/* At depths that are powers of two. */
		if (i + 1 != DEPTH && (!b->curves || i & (i + 1)))
			continue;
		snprintf(suffix, sizeof(suffix), " at depth %d", i + 1);
		measure_forks(b, snapshots[i], suffix);
	}
	for (int i = DEPTH - 1; i > 0; i--) {
		b->on->drop(snapshots[i]);
		b->on->destroy(chain[i]);
	}
}

static void measure_faults(struct bench *b, struct snapshot *s)
{
	struct machine *m = b->on->fork(s);
	uint64_t before = b->on->faults(m), faults;

	b->on->run(m, STOP_HLT);
	faults = b->on->faults(m) - before;
	add_values(b, "fork faults", &faults, 1, READS, "faults");
	b->on->destroy(m);
}

void measure_fork_of(struct bench *b, const char *suffix, uint64_t size)
{
	struct machine *m = boot(b, size, 1024);
	struct snapshot *s;

	stand(b, m, job(1, 10, FORK_APART));
	s = b->on->snapshot(m, NULL);
	b->on->destroy(m);
	measure_forks(b, s, suffix);
	b->on->drop(s);
}

void measure_snapshots(struct bench *b)
{
	struct machine *m = touched(b, MEMORY_SIZE);
	struct snapshot *s = measure_snapshot(b, m);

	measure_resets(b, m, &s, 1);
	measure_resets(b, m, &s, 100);
	measure_resets(b, m, &s, 1000);

	stand(b, m, job(0, READS, SCATTERED));
	s = b->on->snapshot(m, s);
	measure_faults(b, s);

	stand(b, m, job(1, 10, FORK_APART));
	s = b->on->snapshot(m, s);
	b->on->destroy(m);
	/* One is alive in any case: the first of all costs KVM more. */
	alive[nalive++] = ran(b, s);
	measure_forks(b, s, "");
	measure_elapsed(b, s);
	trace_fork(b, s);
	end_all(b);
	if (b->on->forks_forks)
		measure_depth(b, s);
	measure_alive(b, s);
	b->on->drop(s);
}
