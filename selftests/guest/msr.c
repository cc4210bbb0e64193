// SPDX-License-Identifier: GPL-2.0
/* MSRs: those the driver keeps, those the policy decides about, all others. */
#include <stddef.h>

#include "../harness.h"
#include "guest.h"

#define MSR_TSC			0x10
#define MSR_SYSENTER_CS		0x174
#define MSR_SYSENTER_ESP	0x175
#define MSR_SYSENTER_EIP	0x176
#define MSR_PAT			0x277
#define MSR_EFER		0xc0000080
#define MSR_STAR		0xc0000081
#define MSR_LSTAR		0xc0000082
#define MSR_CSTAR		0xc0000083
#define MSR_SFMASK		0xc0000084
#define MSR_FS_BASE		0xc0000100
#define MSR_GS_BASE		0xc0000101
#define MSR_KERNEL_GS_BASE	0xc0000102
#define MSR_TSC_AUX		0xc0000103

FIXTURE(msr) {
	struct guest g;
};

FIXTURE_SETUP(msr)
{
	ASSERT_EQ(0, guest_create_vm(&self->g));
}

FIXTURE_TEARDOWN(msr)
{
	guest_destroy(&self->g);
}

static const struct {
	__u32 index;
	size_t offset;		/* in struct wisp_state */
	__u64 value;
} kept[] = {
#define STATE(member) offsetof(struct wisp_state, member)
	{ MSR_SYSENTER_CS, STATE(msrs.sysenter_cs), 0x10 },
	{ MSR_SYSENTER_ESP, STATE(msrs.sysenter_esp), 0xffffc90000001ff8 },
	{ MSR_SYSENTER_EIP, STATE(msrs.sysenter_eip), 0xffffffff81000010 },
	{ MSR_PAT, STATE(msrs.pat), 0x0105040600070406 },
	{ MSR_EFER, STATE(control.efer), EFER_LME | EFER_LMA | EFER_NXE },
	{ MSR_STAR, STATE(msrs.star), 0x0023001012345678 },
	{ MSR_LSTAR, STATE(msrs.lstar), 0xffffffff81000080 },
	{ MSR_CSTAR, STATE(msrs.cstar), 0xffffffff810000c0 },
	{ MSR_SFMASK, STATE(msrs.sfmask), 0x47700 },
	{ MSR_FS_BASE, STATE(segments.fs.base), 0x00007f0012345678 },
	{ MSR_GS_BASE, STATE(segments.gs.base), 0xffff888012345678 },
	{ MSR_KERNEL_GS_BASE, STATE(msrs.kernel_gs_base), 0xffff888087654321 },
	{ MSR_TSC_AUX, STATE(msrs.tsc_aux), 0x87654321 },
#undef STATE
};

/* ECX: which; EDX:EAX is written, EDX:EAX is read. */
SNIPPET(msr_write_read, 64, "wrmsr; xor %eax, %eax; xor %edx, %edx; rdmsr; hlt");
SNIPPET(msr_read, 64, "rdmsr; hlt");
SNIPPET(msr_write, 64, "wrmsr; hlt");

static void load(struct guest *g, const char *code, const char *end,
		 __u32 index, __u64 value)
{
	guest_load(g, LONG64, code, end);
	/* RCX: QEMU looks at its upper half too, and then misses the exit. */
	g->page->state.general.rcx = index;
	g->page->state.general.rax = 0xffffffff00000000 | value;
	g->page->state.general.rdx = 0xffffffff00000000 | value >> 32;
}

static __u64 result(struct guest *g)
{
	return g->page->state.general.rdx << 32 | g->page->state.general.rax;
}

static __u64 in_state(struct guest *g, size_t offset)
{
	return *(__u64 *)((char *)&g->page->state + offset);
}

TEST_F(msr, kept_ones_are_written_and_read)
{
	struct guest *g = &self->g;

	ASSERT_EQ(0, guest_add_vcpu(g, 0));
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
		load(g, msr_write_read, msr_write_read_end, kept[i].index,
		     kept[i].value);
		EXPECT_EQ(WISP_EXIT_HLT, guest_run(g))
			TH_LOG("MSR %#x", kept[i].index);
		EXPECT_EQ(kept[i].value, result(g))
			TH_LOG("MSR %#x", kept[i].index);
		EXPECT_EQ(0UL, g->page->state.general.rax >> 32);
		EXPECT_EQ(0UL, g->page->state.general.rdx >> 32);
		EXPECT_EQ(kept[i].value, in_state(g, kept[i].offset))
			TH_LOG("MSR %#x in the state", kept[i].index);
		/* And nothing else is: all others are as they were loaded. */
		for (size_t j = 0; j < ARRAY_SIZE(kept); j++) {
			struct wisp_state fresh;

			state_long(&fresh, GUEST_PML4, 0);
			if (i == j)
				continue;
			EXPECT_EQ(*(__u64 *)((char *)&fresh + kept[j].offset),
				  in_state(g, kept[j].offset))
				TH_LOG("MSR %#x changed %#x", kept[i].index,
				       kept[j].index);
		}
	}
}

TEST_F(msr, kept_ones_are_in_the_state)
{
	struct guest *g = &self->g;

	ASSERT_EQ(0, guest_add_vcpu(g, 0));
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
		load(g, msr_read, msr_read_end, kept[i].index, ~0ULL);
		memcpy((char *)&g->page->state + kept[i].offset,
		       &kept[i].value, sizeof(kept[i].value));
		EXPECT_EQ(WISP_EXIT_HLT, guest_run(g))
			TH_LOG("MSR %#x", kept[i].index);
		EXPECT_EQ(kept[i].value, result(g))
			TH_LOG("MSR %#x", kept[i].index);
	}
}

SNIPPET(msr_tsc, 64, "wrmsr; rdmsr; hlt; rdtsc; hlt");

TEST_F(msr, tsc_is_kept)
{
	struct guest *g = &self->g;

	ASSERT_EQ(0, guest_add_vcpu(g, 0));
	load(g, msr_tsc, msr_tsc_end, MSR_TSC, 1ULL << 50);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(g));
	EXPECT_LE(1ULL << 50, result(g));
	EXPECT_GT((1ULL << 50) + (1ULL << 40), result(g));
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(g, 0));
	EXPECT_LE(1ULL << 50, result(g));
	EXPECT_GT((1ULL << 50) + (1ULL << 40), result(g));
}

struct bad_value {
	const char *what;
	__u32 index;
	__u64 value;
};

/* What these MSRs cannot hold is #GP, and leaves them as they were. */
static void refuse(struct __test_metadata *_metadata, struct guest *g,
		   const struct bad_value *row)
{
	struct wisp_state before;

	load(g, msr_write, msr_write_end, row->index, row->value);
	before = g->page->state;
	EXPECT_EQ(WISP_EXIT_PORT, guest_run(g))
		TH_LOG("%s", row->what);
	EXPECT_TRUE(guest_has_trapped(g, 13))
		TH_LOG("%s", row->what);
	EXPECT_EQ(0UL, guest_trap(g)->error);
	EXPECT_EQ((__u64)GUEST_CODE, guest_trap(g)->rip);
	before.msrs.tsc = g->page->state.msrs.tsc;
	EXPECT_EQ(0, memcmp(&before.msrs, &g->page->state.msrs,
			    sizeof(before.msrs)))
		TH_LOG("%s", row->what);
	EXPECT_EQ(before.control.efer, g->page->state.control.efer);
	EXPECT_EQ(before.segments.fs.base, g->page->state.segments.fs.base);
	EXPECT_EQ(before.segments.gs.base, g->page->state.segments.gs.base);
}

TEST_F(msr, bad_values)
{
	static const struct bad_value rows[] = {
		{ "EFER.SVME", MSR_EFER,
		  EFER_LME | EFER_LMA | EFER_NXE | EFER_SVME },
		{ "EFER bit 1", MSR_EFER, EFER_LME | EFER_LMA | 2 },
		{ "EFER bit 63", MSR_EFER,
		  EFER_LME | EFER_LMA | 1ULL << 63 },
		{ "EFER without LME, in long mode", MSR_EFER, EFER_LMA },
		{ "PAT type 2", MSR_PAT, 0x0007040600070402 },
		{ "PAT type 8", MSR_PAT, 0x0807040600070406 },
		{ "TSC_AUX bit 32", MSR_TSC_AUX, 1ULL << 32 },
	};

	ASSERT_EQ(0, guest_add_vcpu(&self->g, 0));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		refuse(_metadata, &self->g, &rows[i]);
}

/* The guest writes the bases without an exit. Five levels do not reach these, either. */
TEST_F(msr, bases_that_are_not_canonical)
{
	static const struct bad_value rows[] = {
		{ "FS_BASE", MSR_FS_BASE, 1ULL << 56 },
		{ "GS_BASE", MSR_GS_BASE, 1ULL << 63 },
		{ "KERNEL_GS_BASE", MSR_KERNEL_GS_BASE, 0xfe00000000000000 },
		{ "LSTAR", MSR_LSTAR, 1ULL << 56 },
		{ "CSTAR", MSR_CSTAR, 1ULL << 56 },
		{ "SYSENTER_ESP", MSR_SYSENTER_ESP, 1ULL << 57 },
		{ "SYSENTER_EIP", MSR_SYSENTER_EIP, 1ULL << 57 },
	};

	if (guest_on_tcg())
		SKIP(return, "TCG: WRMSR takes any base");
	ASSERT_EQ(0, guest_add_vcpu(&self->g, 0));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		refuse(_metadata, &self->g, &rows[i]);
}

/* ---- the policy -------------------------------------------------------------- */

static int set_policy(struct guest *g, const struct wisp_msr_range *ranges,
		      __u32 count)
{
	struct wisp_set_msr_policy arg = {
		.size = sizeof(arg),
		.count = count,
		.ranges = (uintptr_t)ranges,
	};

	return raw(g->vm, WISP_SET_MSR_POLICY, &arg);
}

TEST_F(msr, policy)
{
	static const struct wisp_msr_range ranges[] = {
		{ 0x100, 0x1ff, WISP_MSR_EXIT, WISP_MSR_IGNORE },
		{ 0x200, 0x200, WISP_MSR_IGNORE, WISP_MSR_EXIT },
		{ 0x201, 0x2ff, WISP_MSR_GP, WISP_MSR_EXIT },
		{ 0x4b564d00, 0x4b564dff, WISP_MSR_EXIT, WISP_MSR_EXIT },
		{ 0xc0010000, 0xffffffff, WISP_MSR_EXIT, WISP_MSR_GP },
	};
	static const struct {
		__u32 index;
		int read;
		int write;
	} rows[] = {
		{ 0x0ff, WISP_MSR_GP, WISP_MSR_GP },
		{ 0x100, WISP_MSR_EXIT, WISP_MSR_IGNORE },
		{ 0x1ff, WISP_MSR_EXIT, WISP_MSR_IGNORE },
		{ 0x200, WISP_MSR_IGNORE, WISP_MSR_EXIT },
		{ 0x201, WISP_MSR_GP, WISP_MSR_EXIT },
		{ 0x2ff, WISP_MSR_GP, WISP_MSR_EXIT },
		{ 0x300, WISP_MSR_GP, WISP_MSR_GP },
		{ 0x4b564cff, WISP_MSR_GP, WISP_MSR_GP },
		{ 0x4b564d00, WISP_MSR_EXIT, WISP_MSR_EXIT },
		{ 0x4b564dff, WISP_MSR_EXIT, WISP_MSR_EXIT },
		{ 0x4b564e00, WISP_MSR_GP, WISP_MSR_GP },
		{ 0xc000ffff, WISP_MSR_GP, WISP_MSR_GP },
		{ 0xc0010000, WISP_MSR_EXIT, WISP_MSR_GP },
		{ 0xc0010015, WISP_MSR_EXIT, WISP_MSR_GP },
		{ 0xffffffff, WISP_MSR_EXIT, WISP_MSR_GP },
	};
	const __u64 value = 0x1122334455667788, reply = 0xfedcba9876543210;
	struct guest *g = &self->g;
	const struct wisp_exit *exit;

	ASSERT_EQ(0, set_policy(g, ranges, ARRAY_SIZE(ranges)));
	ASSERT_EQ(0, guest_add_vcpu(g, 0));
	exit = &g->page->exit;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		load(g, msr_read, msr_read_end, rows[i].index, value);
		switch (rows[i].read) {
		case WISP_MSR_GP:
			guest_run(g);
			EXPECT_TRUE(guest_has_trapped(g, 13))
				TH_LOG("RDMSR %#x", rows[i].index);
			EXPECT_EQ(value & 0xffffffff,
				  (__u32)g->page->state.general.rax);
			break;
		case WISP_MSR_IGNORE:
			EXPECT_EQ(WISP_EXIT_HLT, guest_run(g))
				TH_LOG("RDMSR %#x", rows[i].index);
			EXPECT_EQ(0UL, g->page->state.general.rax |
				  g->page->state.general.rdx);
			break;
		case WISP_MSR_EXIT:
			EXPECT_EQ(WISP_EXIT_MSR, guest_run(g))
				TH_LOG("RDMSR %#x", rows[i].index);
			EXPECT_EQ(rows[i].index, exit->msr.index);
			EXPECT_EQ(0U, exit->msr.write);
			EXPECT_EQ((__u64)GUEST_CODE, exit->rip);
			EXPECT_EQ(WISP_EXIT_HLT, guest_complete(g, reply));
			EXPECT_EQ(reply, result(g));
			EXPECT_EQ(0UL, g->page->state.general.rax >> 32);
			EXPECT_EQ((__u64)GUEST_CODE + 2, exit->rip);
			break;
		}

		load(g, msr_write, msr_write_end, rows[i].index, value);
		switch (rows[i].write) {
		case WISP_MSR_GP:
			guest_run(g);
			EXPECT_TRUE(guest_has_trapped(g, 13))
				TH_LOG("WRMSR %#x", rows[i].index);
			break;
		case WISP_MSR_IGNORE:
			EXPECT_EQ(WISP_EXIT_HLT, guest_run(g))
				TH_LOG("WRMSR %#x", rows[i].index);
			break;
		case WISP_MSR_EXIT:
			EXPECT_EQ(WISP_EXIT_MSR, guest_run(g))
				TH_LOG("WRMSR %#x", rows[i].index);
			EXPECT_EQ(rows[i].index, exit->msr.index);
			EXPECT_EQ(1U, exit->msr.write);
			EXPECT_EQ(value, exit->msr.data);
			EXPECT_EQ(WISP_EXIT_HLT, guest_complete(g, reply));
			EXPECT_EQ(value & 0xffffffff,
				  (__u32)g->page->state.general.rax);
			break;
		}
	}
}

/* An exit may also end in #GP, which the VMM injects. */
TEST_F(msr, exit_answered_with_gp)
{
	static const struct wisp_msr_range all = {
		0, ~0U, WISP_MSR_EXIT, WISP_MSR_EXIT,
	};
	struct guest *g = &self->g;

	ASSERT_EQ(0, set_policy(g, &all, 1));
	ASSERT_EQ(0, guest_add_vcpu(g, 0));
	load(g, msr_read, msr_read_end, 0x1234, 0);
	ASSERT_EQ(WISP_EXIT_MSR, guest_run(g));
	g->page->inject = (struct wisp_event){
		.type = WISP_EVENT_EXCEPTION,
		.vector = 13,
		.has_error_code = 1,
	};
	guest_run(g);
	EXPECT_TRUE(guest_has_trapped(g, 13));
	EXPECT_EQ((__u64)GUEST_CODE, guest_trap(g)->rip);

	/* The policy has no say in what the driver keeps. */
	load(g, msr_read, msr_read_end, MSR_STAR, 0);
	g->page->state.msrs.star = 77;
	EXPECT_EQ(WISP_EXIT_HLT, guest_run(g));
	EXPECT_EQ(77UL, result(g));
}

/* ---- all of them --------------------------------------------------------------- */

#define LIST		0x100000
#define RESULTS		0x200000
#define SEED		0x57697370ULL
#define RANDOM		10000

#define READ_OK		1	/* RDMSR */
#define RANDOM_OK	2	/* WRMSR of something */
#define ONES_OK		4	/* WRMSR of all ones */
#define BACK_OK		8	/* WRMSR of what was read */
#define NONZERO		16	/* what was read */

/*
 * For each of R9 numbers at R8: reads it, writes it thrice, and puts what went
 * well into the byte at R10. #GP goes on at the next step.
 */
#define STEP(next) \
	"lea " #next "(%rip), %rbp; mov %rbp, " STR(GUEST_TRAP) "+" \
	STR(TRAP_RESUME) "\n"
SNIPPET(sweep, 64,
	"9: mov (%r8), %ecx; xor %edi, %edi; xor %eax, %eax; xor %edx, %edx\n"
	STEP(1f)
	"rdmsr; or $1, %edi\n"
	"mov %eax, %r12d; or %edx, %r12d; jz 1f; or $16, %edi\n"
	"1: mov %eax, %r12d; mov %edx, %r13d\n"
	"imul %r14, %r11; inc %r11; mov %r11d, %eax; mov %r11, %rdx\n"
	"shr $32, %rdx\n"
	STEP(2f)
	"wrmsr; or $2, %edi\n"
	"2:\n"
	STEP(3f)
	"mov $-1, %eax; mov $-1, %edx; wrmsr; or $4, %edi\n"
	"3: mov %r12d, %eax; mov %r13d, %edx\n"
	STEP(4f)
	"wrmsr; or $8, %edi\n"
	"4: mov %dil, (%r10); inc %r10; add $4, %r8; dec %r9; jnz 9b\n"
	"hlt");

static __u32 make_list(__u32 *list)
{
	static const __u32 ranges[][2] = {
		{ 0x00000000, 0x00001fff }, { 0x40000000, 0x400000ff },
		{ 0xc0000000, 0xc0001fff }, { 0xc0010000, 0xc0011fff },
	};
	__u64 x = SEED;
	__u32 count = 0;

	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++)
		for (__u64 n = ranges[i][0]; n <= ranges[i][1]; n++)
			list[count++] = n;
	for (int i = 0; i < RANDOM; i++) {
		x = x * 6364136223846793005ULL + 1442695040888963407ULL;
		list[count++] = x >> 32;
	}
	return count;
}

static bool is_kept(__u32 index)
{
	if (index == MSR_TSC)
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		if (kept[i].index == index)
			return true;
	return false;
}

static void run_sweep(struct __test_metadata *_metadata, struct guest *g,
		      int others)
{
	__u32 *list = guest_at(g, LIST);
	__u8 *results = guest_at(g, RESULTS);
	__u32 count = make_list(list);
	__u64 faults = 0;
	int bad = 0;

	GUEST_LOAD(g, LONG64, sweep);
	g->page->state.general.r8 = LIST;
	g->page->state.general.r9 = count;
	g->page->state.general.r10 = RESULTS;
	g->page->state.general.r11 = SEED;
	g->page->state.general.r14 = 6364136223846793005ULL;
	g->page->budget_ns = 250000000000ULL;
	guest_trap(g)->action = GUEST_TRAP_RESUME;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(g))
		TH_LOG("%s at MSR %#llx", guest_exit_name(g->page->exit.reason),
		       g->page->state.general.rcx);
	for (__u32 i = 0; i < count; i++) {
		int want = is_kept(list[i]) ? READ_OK | BACK_OK : others;
		int mask = is_kept(list[i]) ? READ_OK | BACK_OK : ~0;

		for (int bit = 1; bit <= BACK_OK; bit <<= 1)
			faults += !(results[i] & bit);
		if ((results[i] & mask) == want || bad++ > 20)
			continue;
		EXPECT_EQ(want, results[i])
			TH_LOG("MSR %#x", list[i]);
	}
	EXPECT_EQ(0, bad);
	/* Each that did not go well was a #GP, and nothing else was. */
	EXPECT_EQ(faults, guest_trap(g)->count);
	EXPECT_EQ(13UL, guest_trap(g)->vector);
	EXPECT_EQ(0UL, guest_trap(g)->error);
}

TEST_F(msr, all_others_are_gp)
{
	ASSERT_EQ(0, guest_add_vcpu(&self->g, 0));
	run_sweep(_metadata, &self->g, 0);
}

TEST_F(msr, all_others_are_ignored)
{
	static const struct wisp_msr_range all = {
		0, ~0U, WISP_MSR_IGNORE, WISP_MSR_IGNORE,
	};

	ASSERT_EQ(0, set_policy(&self->g, &all, 1));
	ASSERT_EQ(0, guest_add_vcpu(&self->g, 0));
	run_sweep(_metadata, &self->g, READ_OK | RANDOM_OK | ONES_OK | BACK_OK);
}

/* The host's own are untouched by all that. */
TEST_F(msr, every_exit_is_reported)
{
	static const struct wisp_msr_range all = {
		0, ~0U, WISP_MSR_EXIT, WISP_MSR_EXIT,
	};
	struct guest *g = &self->g;
	__u32 *list = guest_at(g, LIST);
	__u32 count = make_list(list);

	ASSERT_EQ(0, set_policy(g, &all, 1));
	ASSERT_EQ(0, guest_add_vcpu(g, 0));
	for (__u32 i = 0; i < count; i += 16) {
		if (is_kept(list[i]))
			continue;
		load(g, msr_write, msr_write_end, list[i], ~(__u64)list[i]);
		ASSERT_EQ(WISP_EXIT_MSR, guest_run(g))
			TH_LOG("MSR %#x", list[i]);
		ASSERT_EQ(list[i], g->page->exit.msr.index);
		ASSERT_EQ(~(__u64)list[i], g->page->exit.msr.data);
	}
}

TEST_HARNESS_MAIN
