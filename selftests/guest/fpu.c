// SPDX-License-Identifier: GPL-2.0
/*
 * The FPU and its kin: what the host has in its registers is there after a
 * run, and what a guest has is there after others have run.
 */
#include <stddef.h>
#include <stdlib.h>

#include "../harness.h"
#include "guest.h"

/* YMM 0-15 and MXCSR, as this file keeps them. */
struct vectors {
	__u8 ymm[16][32];
	__u32 mxcsr;
	__u16 fcw;
};

FIXTURE(fpu) {
	struct guest g;
	bool avx;
};

FIXTURE_SETUP(fpu)
{
	ASSERT_EQ(0, guest_create(&self->g));
	ASSERT_EQ(0, guest_add_vcpu(&self->g, 1));
	self->avx = self->g.query.xcr0 & XCR0_YMM;
}

FIXTURE_TEARDOWN(fpu)
{
	guest_destroy(&self->g);
}

/* host.S: the ioctl, with @v in the registers before and after. */
long host_call(int fd, long call, long arg, struct vectors *v, int avx);

static long run_with(int vm, long vcpu, struct vectors *v, bool avx)
{
	return host_call(vm, WISP_RUN, vcpu, v, avx);
}

static void fill(struct vectors *v, int seed)
{
	for (int i = 0; i < 16; i++)
		for (int j = 0; j < 32; j++)
			v->ymm[i][j] = seed + 32 * i + j;
	v->mxcsr = 0x1f80 | (seed & 1 ? 0x6000 : 0x8000);
	v->fcw = seed & 1 ? 0xf7f : 0x27f;
}

/* Overwrites all that it has. RDI: whether YMM is enabled. */
SNIPPET(clobber, 64,
	"fninit; fldpi; fldl2e\n"
	"movl $0x1f80, -8(%rsp); ldmxcsr -8(%rsp)\n"
	"pcmpeqd %xmm0, %xmm0; movdqa %xmm0, %xmm1; movdqa %xmm0, %xmm2\n"
	"movdqa %xmm0, %xmm7; movdqa %xmm0, %xmm8; movdqa %xmm0, %xmm15\n"
	"test %edi, %edi; jz 1f\n"
	"vpcmpeqd %xmm3, %xmm3, %xmm3; vinsertf128 $1, %xmm3, %ymm3, %ymm3\n"
	"vmovaps %ymm3, %ymm0; vmovaps %ymm3, %ymm9; vmovaps %ymm3, %ymm14\n"
	"1: hlt");

static void enable_avx(struct wisp_state *s, __u64 xcr0)
{
	s->control.cr4 |= CR4_OSXSAVE;
	s->control.xcr0 = xcr0;
	s->general.rdi = !!(xcr0 & XCR0_YMM);
}

TEST_F(fpu, the_host_keeps_its_own)
{
	struct vectors before, after;
	unsigned int xcr0, now;

	asm volatile("xgetbv" : "=a" (xcr0) : "c" (0) : "edx");
	for (int seed = 1; seed < 20; seed++) {
		/* With the guest's XCR0 like the host's, and smaller. */
		__u64 guest_xcr0 = seed & 1 ? self->g.query.xcr0 : XCR0_X87;

		GUEST_LOAD(&self->g, LONG64, clobber);
		enable_avx(&self->g.page->state, guest_xcr0);
		fill(&before, seed);
		after = before;
		ASSERT_EQ(0, run_with(self->g.vm, 0, &after, self->avx));
		ASSERT_EQ((__u32)WISP_EXIT_HLT, self->g.page->exit.reason);
		EXPECT_EQ(0, memcmp(before.ymm, after.ymm, sizeof(after.ymm)));
		EXPECT_EQ(before.mxcsr, after.mxcsr);
		EXPECT_EQ(before.fcw, after.fcw);
		asm volatile("xgetbv" : "=a" (now) : "c" (0) : "edx");
		EXPECT_EQ(xcr0, now);
	}
}

/* Stores what is there. RDI: whether YMM is enabled; RSI: where to. */
SNIPPET(show, 64,
	"test %edi, %edi; jz 1f\n"
	"vmovups %ymm0, (%rsi); vmovups %ymm5, 0x20(%rsi)\n"
	"vmovups %ymm15, 0x40(%rsi); jmp 2f\n"
	"1: movups %xmm0, (%rsi); movups %xmm5, 0x20(%rsi)\n"
	"movups %xmm15, 0x40(%rsi)\n"
	"2: stmxcsr 0x60(%rsi); fnstcw 0x64(%rsi); hlt");

/* A guest that never wrote them sees what a reset leaves, not the host's. */
TEST_F(fpu, the_host_does_not_show)
{
	__u8 *seen = guest_at(&self->g, GUEST_DATA);
	struct vectors v;
	__u8 zeros[0x60] = { 0 };
	__u32 mxcsr;
	__u16 fcw;

	for (int run = 0; run < 4; run++) {
		memset(seen, 0xee, 0x80);
		GUEST_LOAD(&self->g, LONG64, show);
		enable_avx(&self->g.page->state, self->g.query.xcr0);
		self->g.page->state.general.rsi = GUEST_DATA;
		fill(&v, 7 + run);
		ASSERT_EQ(0, run_with(self->g.vm, 0, &v, self->avx));
		ASSERT_EQ((__u32)WISP_EXIT_HLT, self->g.page->exit.reason);
		if (self->avx) {
			EXPECT_EQ(0, memcmp(seen, zeros, sizeof(zeros)));
		} else {
			EXPECT_EQ(0, memcmp(seen, zeros, 16));
			EXPECT_EQ(0, memcmp(seen + 0x20, zeros, 16));
			EXPECT_EQ(0, memcmp(seen + 0x40, zeros, 16));
		}
		memcpy(&mxcsr, seen + 0x60, 4);
		memcpy(&fcw, seen + 0x64, 2);
		EXPECT_EQ(0x1f80U, mxcsr);
		EXPECT_EQ(0x37f, fcw);
	}
}

/*
 * Doubles XMM3 at each step (and YMM3's upper half), exits, and does it again.
 */
SNIPPET(count_xmm, 64, "1: paddd %xmm3, %xmm3; paddd %xmm4, %xmm3; hlt; jmp 1b");

/* Two vCPUs that take turns, and a host that works with the same registers. */
TEST_F(fpu, each_vcpu_keeps_its_own)
{
	__u32 *xmm3[2], want[2] = { 0, 0 };
	struct vectors v;

	for (int vcpu = 0; vcpu < 2; vcpu++) {
		struct wisp_vcpu_page *page = self->g.pages[vcpu];
		__u32 add = 1 + vcpu;

		guest_load_at(&self->g, vcpu, LONG64, GUEST_CODE, count_xmm,
			      count_xmm_end);
		memcpy(page->state.xsave + XSAVE_XMM0 + 16 * 4, &add, 4);
		page->state.xsave[XSAVE_HEADER] = 3;
		xmm3[vcpu] = (void *)(page->state.xsave + XSAVE_XMM0 + 16 * 3);
	}
	for (int i = 0; i < 40; i++) {
		int vcpu = i % 3 == 0;

		fill(&v, i);
		want[vcpu] = 2 * want[vcpu] + 1 + vcpu;
		ASSERT_EQ(0, run_with(self->g.vm, vcpu, &v, self->avx));
		ASSERT_EQ((__u32)WISP_EXIT_HLT,
			  self->g.pages[vcpu]->exit.reason);
		EXPECT_EQ(want[vcpu], *xmm3[vcpu]);
		self->g.pages[vcpu]->complete = 1;
	}
}

/* SET_STATE reaches the registers, and the registers reach GET_STATE. */
TEST_F(fpu, goes_through_the_state)
{
	struct wisp_vcpu_page *page = self->g.page;
	__u8 *seen = guest_at(&self->g, GUEST_DATA);
	__u32 mxcsr = 0x9fc0;
	__u16 fcw = 0x27f;
	struct wisp_state s;

	GUEST_LOAD(&self->g, LONG64, show);
	enable_avx(&page->state, self->g.query.xcr0);
	page->state.general.rsi = GUEST_DATA;
	for (int i = 0; i < 16 * 16; i++)
		page->state.xsave[XSAVE_XMM0 + i] = i ^ 0x5a;
	for (int i = 0; i < 8; i++)
		memset(page->state.xsave + XSAVE_ST0 + 16 * i, 0x40 + i, 10);
	page->state.xsave[XSAVE_FTW] = 0xff;
	memcpy(page->state.xsave + XSAVE_MXCSR, &mxcsr, 4);
	memcpy(page->state.xsave + XSAVE_FCW, &fcw, 2);
	page->state.xsave[XSAVE_HEADER] = 3;
	s = page->state;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ(0, memcmp(seen, s.xsave + XSAVE_XMM0, 16));
	EXPECT_EQ(0, memcmp(seen + 0x20, s.xsave + XSAVE_XMM0 + 16 * 5, 16));
	EXPECT_EQ(0, memcmp(seen + 0x40, s.xsave + XSAVE_XMM0 + 16 * 15, 16));
	EXPECT_EQ(0, memcmp(seen + 0x60, &mxcsr, 4));
	EXPECT_EQ(0, memcmp(seen + 0x64, &fcw, 2));
	/* What the guest has not touched comes back as it was. */
	EXPECT_EQ(0, memcmp(s.xsave + XSAVE_ST0, page->state.xsave + XSAVE_ST0,
			    16 * 24));
	EXPECT_EQ(0, memcmp(s.xsave, page->state.xsave, 5));
	EXPECT_EQ(3, page->state.xsave[XSAVE_HEADER] & 3);
}

SNIPPET(set_ymm, 64,
	"pcmpeqd %xmm0, %xmm0; vinsertf128 $1, %xmm0, %ymm0, %ymm6; hlt");

TEST_F(fpu, ymm_is_in_the_state)
{
	struct wisp_vcpu_page *page = self->g.page;
	__u8 ones[16];
	__u32 offset;

	if (!self->avx)
		SKIP(return, "no AVX on this host");
	/* Where: CPUID leaf 0xd, subleaf 2. */
	asm volatile("cpuid" : "=b" (offset) : "a" (0xd), "c" (2) : "edx");
	memset(ones, 0xff, sizeof(ones));
	GUEST_LOAD(&self->g, LONG64, set_ymm);
	enable_avx(&page->state, self->g.query.xcr0);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ(XCR0_YMM, page->state.xsave[XSAVE_HEADER] & XCR0_YMM);
	EXPECT_EQ(0, memcmp(page->state.xsave + offset + 16 * 6, ones, 16));
	EXPECT_LE(offset + 256, self->g.query.xsave_size);
}

/* The upper half of YMM6 in an image: @value, and whether the component is in use. */
static void put_ymm(struct wisp_state *s, __u32 offset, __u8 value, bool in_use)
{
	memset(s->xsave + offset + 16 * 6, value, 16);
	s->xsave[XSAVE_HEADER] = in_use ? 3 | XCR0_YMM : 3;
}

TEST_F(fpu, what_is_not_in_use_is_zero)
{
	struct wisp_state *used = calloc(1, sizeof(*used));
	struct wisp_state *unused = calloc(1, sizeof(*unused));
	struct wisp_state *now = calloc(1, sizeof(*now));
	const __u32 fpu = WISP_STATE_FPU;
	const __u8 none[16] = { 0 };
	int vm = self->g.vm, s, t;
	__u32 offset;

	if (!self->avx)
		SKIP(return, "no AVX on this host");
	asm volatile("cpuid" : "=b" (offset) : "a" (0xd), "c" (2) : "edx");
	ASSERT_EQ(0, raw_get_state(vm, 0, fpu, used));
	*unused = *used;
	put_ymm(used, offset, 0x66, true);
	put_ymm(unused, offset, 0x99, false);

	ASSERT_EQ(0, raw_set_state(vm, 0, fpu, used, NULL));
	s = raw_snapshot(vm);
	ASSERT_LE(0, s);
	ASSERT_EQ(0, raw_set_state(vm, 0, fpu, unused, NULL));
	t = raw_snapshot(vm);
	ASSERT_LE(0, t);
	ASSERT_EQ(0, raw_get_state(vm, 0, fpu, now));
	EXPECT_EQ(3, now->xsave[XSAVE_HEADER]);
	EXPECT_EQ(0, memcmp(now->xsave + offset + 16 * 6, none, 16));

	/* There and back: each brings what it has, and nothing of the other. */
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, raw_reset(vm, s));
		ASSERT_EQ(0, raw_get_state(vm, 0, fpu, now));
		EXPECT_EQ(0, memcmp(now->xsave, used->xsave, sizeof(now->xsave)));
		ASSERT_EQ(0, raw_reset(vm, t));
		ASSERT_EQ(0, raw_get_state(vm, 0, fpu, now));
		EXPECT_EQ(3, now->xsave[XSAVE_HEADER]);
		EXPECT_EQ(0, memcmp(now->xsave + offset + 16 * 6, none, 16));
	}
	close(s);
	close(t);
	free(used);
	free(unused);
	free(now);
}

SNIPPET(use_x87, 64, "nop; fld1; hlt");
SNIPPET(use_ymm, 64, "nop; vmovaps %ymm0, %ymm1; hlt");
SNIPPET(divide_x87, 64,
	"fninit; movw $0x37b, -8(%rsp); fldcw -8(%rsp)\n"
	"fld1; fldz; fdivrp; fwait; hlt");

TEST_F(fpu, faults_are_the_guests)
{
	struct wisp_state *s = &self->g.page->state;

	GUEST_LOAD(&self->g, LONG64, use_x87);
	s->control.cr0 |= CR0_TS;
	guest_run(&self->g);
	EXPECT_TRUE(guest_has_trapped(&self->g, 7));

	/* XCR0 without YMM. */
	GUEST_LOAD(&self->g, LONG64, use_ymm);
	enable_avx(s, XCR0_X87 | XCR0_SSE);
	guest_run(&self->g);
	EXPECT_TRUE(guest_has_trapped(&self->g, 6));
	EXPECT_EQ((__u64)GUEST_CODE + 1, guest_trap(&self->g)->rip);

	/* An exception that the guest does not mask; the host does. */
	GUEST_LOAD(&self->g, LONG64, divide_x87);
	guest_run(&self->g);
	EXPECT_TRUE(guest_has_trapped(&self->g, 16));
}

TEST_HARNESS_MAIN
