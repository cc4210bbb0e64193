// SPDX-License-Identifier: GPL-2.0
#include <cpuid.h>
#include <limits.h>
#include <stdio.h>

#include "checker.h"

/* Leaf 0x80000001, EDX */
#define CPUID_RDTSCP	(1U << 27)

#define MSR_PAT		0x277
#define MSR_TSC_AUX	0xc0000103

/* For seeds from 1 on; each differs from what the host has, too. */
static const struct {
	__u32 index;
	__u64 value, step;
} msrs[] = {
	{ 0x174, 0x10, 0x8 },				/* SYSENTER_CS */
	{ 0x175, 0xffffc90000001ff8, 0x1000 },		/* SYSENTER_ESP */
	{ 0x176, 0xffffffff81000010, 0x1000 },		/* SYSENTER_EIP */
	{ MSR_PAT, 0x0004040600070406, 0x0001000000000000 },
	{ 0xc0000081, 0x0023001012345678, 0x1 },	/* STAR */
	{ 0xc0000082, 0xffffffff81000080, 0x1000 },	/* LSTAR */
	{ 0xc0000083, 0xffffffff810000c0, 0x1000 },	/* CSTAR */
	{ 0xc0000084, 0x40000, 0x100 },			/* SFMASK */
	{ 0xc0000100, 0x00007f0012345678, 0x1000 },	/* FS_BASE */
	{ 0xc0000101, 0xffff888012345678, 0x1000 },	/* GS_BASE */
	{ 0xc0000102, 0xffff888087654321, 0x1000 },	/* KERNEL_GS_BASE */
	{ MSR_TSC_AUX, 0x87654321, 0x1 },
};

static bool has_tsc_aux(void)
{
	__u32 eax, ebx, ecx, edx;

	return __get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) &&
	       edx & CPUID_RDTSCP;
}

static __u64 *word(const struct checker *c, __u64 gpa)
{
	return (__u64 *)(c->memory + gpa);
}

static void init_msrs(struct checker *c, unsigned int seed)
{
	__u64 *pair = word(c, CHECKER_MSRS);

	for (unsigned int i = 0; i < sizeof(msrs) / sizeof(*msrs); i++) {
		/* Of PAT's types only four are in a row. */
		__u64 n = msrs[i].index == MSR_PAT ? seed % 4 : seed;

		if (msrs[i].index == MSR_TSC_AUX && !has_tsc_aux())
			continue;
		*pair++ = msrs[i].index;
		*pair++ = msrs[i].value + n * msrs[i].step;
		++*word(c, CHECKER_NMSRS);
	}
}

static void init_image(struct checker *c, unsigned int seed, __u64 xcr0)
{
	__u8 *image = (__u8 *)word(c, CHECKER_IMAGE);
	__u16 fcw = seed & 1 ? 0x27f : 0xf7f;
	__u32 mxcsr = 0x1f80 | (seed & 1 ? 0x6000 : 0x8000);

	*word(c, CHECKER_XMASK) = xcr0;
	memset(image, 0, 1024);
	memcpy(image + XSAVE_FCW, &fcw, sizeof(fcw));
	memcpy(image + XSAVE_MXCSR, &mxcsr, sizeof(mxcsr));
	image[XSAVE_FTW] = 0xff;
	for (int st = 0; st < 8; st++)
		memset(image + XSAVE_ST0 + 16 * st, seed * 16 + st, 10);
	for (int i = 0; i < 256; i++)
		image[XSAVE_XMM0 + i] = seed * 31 + i;
	memcpy(image + XSAVE_HEADER, &xcr0, sizeof(xcr0));
	if (xcr0 & XCR0_YMM)
		for (int i = 0; i < 256; i++)
			image[XSAVE_YMM + i] = seed * 67 + i;
}

void checker_init(struct checker *c, char *memory, unsigned int seed, __u64 xcr0,
		  __u64 quiet)
{
	*c = (struct checker){
		.memory = memory,
		.seed = seed,
		.tsc_least = LLONG_MIN,
		.tsc_most = LLONG_MAX,
	};
	memset(memory + GUEST_DATA, 0, 0x1000);
	for (int i = 0; i < 16; i++)
		word(c, CHECKER_GPRS)[i] = seed * 0x0123456789abcdefULL + i;
	*word(c, CHECKER_SEED) = (__u64)seed << 32;
	*word(c, CHECKER_QUIET) = quiet;
	init_msrs(c, seed);
	init_image(c, seed, xcr0);
	for (__u64 gpa = CHECKER_PAGES; gpa < CHECKER_END; gpa += PAGE)
		*word(c, gpa) = ((__u64)seed << 32) + gpa;
}

__u64 checker_tsc(unsigned int seed)
{
	return (__u64)seed << 48;
}

bool checker_failed(struct checker *c, const char *who, int exit)
{
	static const char * const wrongs[] = {
		"nothing", "a register", "memory", "an MSR", "the TSC", "a vector",
	};

	printf("# %s: round %llu of %llu: exit %d; wrong: %s at %#llx\n", who,
	       *word(c, CHECKER_ROUNDS), c->rounds, exit,
	       wrongs[*word(c, CHECKER_WRONG) % 6], *word(c, CHECKER_WHERE));
	return false;
}

bool checker_passed(struct checker *c, const char *who, __u64 began, __u64 ended)
{
	__u64 quiet = *word(c, CHECKER_QUIET), tsc = *word(c, CHECKER_TSC);

	if (*word(c, CHECKER_ROUNDS) != c->rounds) {
		printf("# %s: %llu rounds, not %llu\n", who,
		       *word(c, CHECKER_ROUNDS), c->rounds);
		return false;
	}
	c->rounds += quiet + 1;
	/* The first exit comes before the first round. */
	if (!tsc)
		return true;
	if (c->tsc_least < (__s64)(tsc - ended))
		c->tsc_least = tsc - ended;
	if (c->tsc_most > (__s64)(tsc - began))
		c->tsc_most = tsc - began;
	if (tsc >> 48 == c->seed &&
	    (!c->tsc_is_steady || c->tsc_least <= c->tsc_most))
		return true;
	printf("# %s: TSC %#llx, %lld to %lld ahead of the host's\n", who, tsc,
	       c->tsc_least, c->tsc_most);
	return false;
}
