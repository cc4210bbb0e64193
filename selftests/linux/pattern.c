// SPDX-License-Identifier: GPL-2.0
/*
 * Process 1 of a Linux guest: "pattern SEED [MIB]" fills most of the memory that
 * is free, or as much, with words that no other seed has, and checks them over
 * and over until it is sent a character. Prints "filled", "round" behind each
 * check, and at the end "good" or what was wrong. Then the guest powers off.
 */
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define MIB		(1UL << 20)
/* A word in each cache line: what goes astray is a page, or a line. */
#define STEP		(64 / sizeof(uint64_t))

static unsigned long total_mib(void)
{
	struct sysinfo info;

	sysinfo(&info);
	return info.totalram * info.mem_unit / MIB;
}

/* The kernel needs page tables for it, and what it keeps free. */
static size_t free_size(void)
{
	struct sysinfo info;

	sysinfo(&info);
	return info.freeram * info.mem_unit / 8 * 7 / MIB * MIB;
}

/* Different for each line of each seed: multiplication by an odd number. */
static uint64_t word(uint64_t seed, size_t i)
{
	return (seed << 40 | i) * 0x9e3779b97f4a7c15ULL;
}

static void fill(uint64_t *memory, size_t words, uint64_t seed)
{
	for (size_t i = 0; i < words; i += STEP)
		memory[i] = word(seed, i);
}

/* Returns how many lines are wrong, and shows the first few. */
static unsigned long check(const uint64_t *memory, size_t words, uint64_t seed)
{
	unsigned long wrong = 0;

	for (size_t i = 0; i < words; i += STEP)
		if (memory[i] != word(seed, i) && ++wrong <= 8)
			printf("at 0x%zx: 0x%lx, not 0x%lx\n", i * 8,
			       memory[i], word(seed, i));
	return wrong;
}

/* Waits for it a little: the others need the CPU, too. */
static int told_to_end(void)
{
	struct pollfd fd = { .fd = STDIN_FILENO, .events = POLLIN };

	return poll(&fd, 1, 100) > 0;
}

/* As process 1 it must not return: that would be a panic. */
static void end(const char *verdict, unsigned long count)
{
	printf("%s %lu\n", verdict, count);
	sync();
	reboot(RB_POWER_OFF);
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 0;
	size_t most = argc > 2 ? strtoull(argv[2], NULL, 0) * MIB : SIZE_MAX;
	size_t size = free_size() < most ? free_size() : most;
	unsigned long wrong = 0, rounds = 0;
	uint64_t *memory;

	setvbuf(stdout, NULL, _IOLBF, 0);
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		end("no memory", size / MIB);
	fill(memory, size / sizeof(*memory), seed);
	printf("filled %zu of %lu MiB\n", size / MIB, total_mib());
	do {
		wrong += check(memory, size / sizeof(*memory), seed);
		printf("round %lu\n", ++rounds);
	} while (!wrong && !told_to_end());
	end(wrong ? "wrong" : "good", wrong ?: rounds);
	return 1;
}
