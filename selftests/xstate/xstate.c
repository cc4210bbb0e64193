// SPDX-License-Identifier: GPL-2.0
/*
 * What only some CPUs have: opmasks, all of ZMM0-31, PKRU. Those of the host, of two
 * vCPUs that take turns, and of a snapshot stay apart.
 */
#include "../harness.h"
#include "../guest/guest.h"

#define XCR0_AVX512	(7ULL << 5)
#define XCR0_PKRU	(1ULL << 9)
#define CR4_PKE		(1ULL << 22)
#define VCPUS		2
#define ROUNDS		4
#define SHOWN(vcpu)	(GUEST_DATA + (vcpu) * PAGE)
#define SEED		0x5eed5eed00000000ULL

/* As wide_call() keeps them. */
struct wide {
	__u8 zmm[32][64];
	__u64 opmask[8];
};

#define ALL_32								\
	"0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, "	\
	"17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31"
#define ALL_8	"0, 1, 2, 3, 4, 5, 6, 7"

asm(".pushsection .text\n"
	".globl wide_call\n"
	".type wide_call, @function\n"
	"wide_call:\n"
	"	movq	%rcx, %r9\n"
	"	.irp	n, " ALL_32 "\n"
	"	vmovdqu64	\\n * 64(%r9), %zmm\\n\n"
	"	.endr\n"
	"	.irp	n, " ALL_8 "\n"
	"	kmovq	2048 + \\n * 8(%r9), %k\\n\n"
	"	.endr\n"
	"	movl	$16, %eax\n"	/* ioctl */
	"	syscall\n"
	"	.irp	n, " ALL_32 "\n"
	"	vmovdqu64	%zmm\\n, \\n * 64(%r9)\n"
	"	.endr\n"
	"	.irp	n, " ALL_8 "\n"
	"	kmovq	%k\\n, 2048 + \\n * 8(%r9)\n"
	"	.endr\n"
	"	vzeroupper\n"
	"	ret\n"
	".size wide_call, . - wide_call\n"
	".popsection\n");

/* Fills them with RBX; after the exit shows at RSI what they have. */
SNIPPET(wide, 64,
	"vpbroadcastq %rbx, %zmm0; vmovdqa64 %zmm0, %zmm15\n"
	"vmovdqa64 %zmm0, %zmm16; vmovdqa64 %zmm0, %zmm31\n"
	"kmovq %rbx, %k1; kmovq %rbx, %k7; hlt\n"
	"vmovdqu64 %zmm0, (%rsi); vmovdqu64 %zmm15, 0x40(%rsi)\n"
	"vmovdqu64 %zmm16, 0x80(%rsi); vmovdqu64 %zmm31, 0xc0(%rsi)\n"
	"kmovq %k1, 0x100(%rsi); kmovq %k7, 0x108(%rsi); hlt");
#define WIDE_WORDS	(0x110 / 8)

/* The same with PKRU and EBX. */
SNIPPET(keys, 64,
	"xor %ecx, %ecx; xor %edx, %edx; mov %ebx, %eax; wrpkru; hlt\n"
	"xor %ecx, %ecx; rdpkru; mov %rax, (%rsi); hlt");

FIXTURE(xstate) {
	struct guest g;
};

FIXTURE_SETUP(xstate)
{
	ASSERT_EQ(0, guest_create(&self->g));
	ASSERT_EQ(0, guest_add_vcpu(&self->g, 1));
}

FIXTURE_TEARDOWN(xstate)
{
	guest_destroy(&self->g);
}

/* The ioctl, with @w in the registers before and after. */
long wide_call(int fd, long call, long arg, struct wide *w);

static __u64 value_of(int vcpu)
{
	return SEED | (vcpu + 1) << 4;
}

/* @components: of XCR0, which the guests turn on. */
static void load(struct guest *g, const char *code, const char *end, __u64 components,
		 __u64 cr4)
{
	for (int vcpu = 0; vcpu < VCPUS; vcpu++) {
		struct wisp_state *s = &g->pages[vcpu]->state;

		guest_load_at(g, vcpu, LONG64, GUEST_CODE + vcpu * PAGE / 2, code, end);
		s->control.cr4 |= CR4_OSXSAVE | cr4;
		s->control.xcr0 = XCR0_X87 | XCR0_SSE | components;
		s->general.rbx = value_of(vcpu);
		s->general.rsi = SHOWN(vcpu);
	}
}

/* Whether the guest has shown its own, @words times. */
static bool shows_its_own(struct guest *g, int vcpu, int words, __u64 mask)
{
	const __u64 *shown = guest_at(g, SHOWN(vcpu));

	for (int i = 0; i < words; i++)
		if (shown[i] != (value_of(vcpu) & mask))
			return false;
	return true;
}

/* The first ends at the guests' first exits; the others go on from there, by *@snapshot. */
static void begin_round(struct __test_metadata *_metadata, struct guest *g, int round,
			int *snapshot)
{
	if (round == 1) {
		*snapshot = raw_snapshot(g->vm);
		ASSERT_LE(0, *snapshot);
	} else if (round) {
		ASSERT_EQ(0, raw_reset(g->vm, *snapshot));
		for (int vcpu = 0; vcpu < VCPUS; vcpu++)
			EXPECT_FALSE(shows_its_own(g, vcpu, 1, ~0U));
	}
}

static void fill(struct wide *w, int seed)
{
	__u8 *bytes = (__u8 *)w;

	for (size_t i = 0; i < sizeof(*w); i++)
		bytes[i] = seed + i * 7 + i / 64;
}

TEST_F(xstate, avx512)
{
	struct guest *g = &self->g;
	struct wide before, now;
	int s = -1;

	if (!(g->query.xcr0 & XCR0_AVX512))
		SKIP(return, "no AVX-512 on this host");
	load(g, wide, wide_end, XCR0_YMM | XCR0_AVX512, 0);
	for (int i = 0; i < ROUNDS; i++) {
		begin_round(_metadata, g, i, &s);
		for (int vcpu = 0; vcpu < VCPUS; vcpu++) {
			fill(&before, i * VCPUS + vcpu);
			now = before;
			g->pages[vcpu]->complete = !!i;
			ASSERT_EQ(0, wide_call(g->vm, WISP_RUN, vcpu, &now));
			ASSERT_EQ((__u32)WISP_EXIT_HLT, g->pages[vcpu]->exit.reason);
			EXPECT_EQ(0, memcmp(&before, &now, sizeof(now)));
			if (i)
				EXPECT_TRUE(shows_its_own(g, vcpu, WIDE_WORDS, ~0ULL));
		}
	}
	close(s);
}

static __u32 read_pkru(void)
{
	__u32 eax;

	asm volatile("rdpkru" : "=a" (eax) : "c" (0) : "edx");
	return eax;
}

static void write_pkru(__u32 eax)
{
	asm volatile("wrpkru" : : "a" (eax), "c" (0), "d" (0) : "memory");
}

TEST_F(xstate, pkru)
{
	struct guest *g = &self->g;
	__u32 saved, ecx;
	int s = -1;

	asm volatile("cpuid" : "=c" (ecx) : "a" (7), "c" (0) : "ebx", "edx");
	/* OSPKE */
	if (!(ecx & 1 << 4) || !(g->query.xcr0 & XCR0_PKRU))
		SKIP(return, "no PKU on this host");
	saved = read_pkru();
	load(g, keys, keys_end, XCR0_PKRU, CR4_PKE);
	for (int i = 0; i < ROUNDS; i++) {
		begin_round(_metadata, g, i, &s);
		for (int vcpu = 0; vcpu < VCPUS; vcpu++) {
			/* Key 0 is what all of this program's memory has. */
			__u32 pkru = (0x11111110 << (i & 3)) & ~3U, now;

			write_pkru(pkru);
			g->pages[vcpu]->complete = !!i;
			ASSERT_EQ(0, raw_run(g->vm, vcpu));
			now = read_pkru();
			write_pkru(saved);
			ASSERT_EQ((__u32)WISP_EXIT_HLT, g->pages[vcpu]->exit.reason);
			EXPECT_EQ(pkru, now);
			if (i)
				EXPECT_TRUE(shows_its_own(g, vcpu, 1, ~0U));
		}
	}
	close(s);
}

TEST_HARNESS_MAIN
