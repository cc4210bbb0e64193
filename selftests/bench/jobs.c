// SPDX-License-Identifier: GPL-2.0
/*
 * Whole jobs, as their users see them, waiting included: requests that get a
 * sandbox each, and a fuzzer's executions of one target. In time, not in ticks.
 */
#include <err.h>
#include <time.h>

#include "../snippet.h"
#include "bench.h"

#define JOBS		1000
#define FUZZINGS	3

/* A request's sandbox. */
#define MEMORY_SIZE	(512UL << 20)
#define WRITES		20
#define READS		100
#define APART		(131 * PAGE)

/* The fuzzer's target: its input, its coverage, and what it writes else. */
#define TARGET_SIZE	(16UL << 20)
#define INPUT		0x20000
#define INPUT_SIZE	64
#define COVERAGE	0x21000
#define COVERAGE_SIZE	256
#define TABLE		0x100000

/*
 * A state machine over the input: each byte counts an edge, and one in four also
 * writes one of 64 pages.
 */
SNIPPET(guest_target, 64,
	"1:	hlt\n"
	"	mov $" STR(INPUT) ", %esi\n"
	"	mov $" STR(INPUT_SIZE) ", %ecx\n"
	"	xor %r8d, %r8d\n"
	"2:	movzbl (%rsi), %eax\n"
	"	inc %rsi\n"
	"	rol $5, %r8d\n"
	"	xor %eax, %r8d\n"
	"	movzbl %r8b, %edx\n"
	"	incb " STR(COVERAGE) "(%rdx)\n"
	"	cmp $0xc0, %al\n"
	"	jb 3f\n"
	"	and $63, %eax\n"
	"	shl $12, %eax\n"
	"	incq " STR(TABLE) "(%rax)\n"
	"3:	dec %ecx\n"
	"	jnz 2b\n"
	"	jmp 1b");

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000ULL + t.tv_nsec / 1000;
}

static void measure_requests(struct bench *b)
{
	struct machine *m = touched(b, MEMORY_SIZE);
	uint64_t start, us;
	struct snapshot *s;

	stand(b, m, job(WRITES, READS, APART));
	s = b->on->snapshot(m, NULL);
	b->on->destroy(m);
	start = now_us();
	for (int n = 0; n < JOBS; n++)
		b->on->destroy(ran(b, s));
	us = now_us() - start;
	b->on->drop(s);
	add_values(b, "1000 requests", &us, 1, JOBS, "us");
}

/* Both back ends get the same inputs. */
static void next_input(uint32_t *random, uint8_t input[INPUT_SIZE])
{
	for (int i = 0; i < INPUT_SIZE; i++) {
		*random = *random * 1664525 + 1013904223;
		input[i] = *random >> 24;
	}
}

/* How many edges there are that no input before had. */
static unsigned int new_edges(uint8_t seen[COVERAGE_SIZE],
			      const uint8_t coverage[COVERAGE_SIZE])
{
	unsigned int n = 0;

	for (int i = 0; i < COVERAGE_SIZE; i++) {
		n += coverage[i] && !seen[i];
		seen[i] |= !!coverage[i];
	}
	return n;
}

static void measure_fuzzing(struct bench *b)
{
	const struct guest target = { GUEST_CODE(guest_target), .bits = 64 };
	struct machine *m = create(b, 0, TARGET_SIZE, MEMORY_TRACKED);
	uint8_t input[INPUT_SIZE], coverage[COVERAGE_SIZE];
	uint64_t us[FUZZINGS], start;
	struct snapshot *s;

	load(b->on, m, &target);
	b->on->run(m, STOP_HLT);
	s = b->on->snapshot(m, NULL);
	for (int i = 0; i < FUZZINGS; i++) {
		uint8_t seen[COVERAGE_SIZE] = { 0 };
		unsigned int edges = 0, bytes = 0;
		uint32_t random = 1;

		start = now_us();
		for (int n = 0; n < JOBS; n++) {
			next_input(&random, input);
			b->on->write(m, INPUT, input, sizeof(input));
			b->on->run(m, STOP_HLT);
			b->on->read(m, COVERAGE, coverage, sizeof(coverage));
			b->on->reset(m, s);
			edges += new_edges(seen, coverage);
			for (int j = 0; j < COVERAGE_SIZE; j++)
				bytes += coverage[j];
		}
		us[i] = now_us() - start;
		/* Each began with a coverage of nothing, and found something. */
		if (bytes != JOBS * INPUT_SIZE || edges < COVERAGE_SIZE / 2)
			errx(1, "%s: the target of the fuzzer went wrong", b->on->name);
	}
	b->on->drop(s);
	b->on->destroy(m);
	add_values(b, "1000 executions", us, FUZZINGS, JOBS, "us");
}

void measure_jobs(struct bench *b)
{
	measure_requests(b);
	measure_fuzzing(b);
}
