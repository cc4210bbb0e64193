// SPDX-License-Identifier: GPL-2.0
/* What a VM may use, and what happens when it has. */
#include <stdlib.h>

#include "../harness.h"
#include "guest.h"

#define PAGES		40
#define RUN_TIME_NS	100000000ULL

/* Counts in each page from GUEST_DATA on, R8 of them. */
SNIPPET(count, 64,
	"1:	hlt\n"
	"	mov %r8, %rcx\n"
	"	mov $" STR(GUEST_DATA) ", %esi\n"
	"2:	incq (%rsi)\n"
	"	add $0x1000, %rsi\n"
	"	loop 2b\n"
	"	jmp 1b");

SNIPPET(spin, 64, "1: incq " STR(GUEST_DATA) "; jmp 1b");

FIXTURE(limits) {
	struct guest g;
};

FIXTURE_SETUP(limits)
{
}

FIXTURE_TEARDOWN(limits)
{
	guest_destroy(&self->g);
}

static int create(struct guest *g, __u64 pages, __u64 run_time_ns)
{
	struct wisp_create_vm arg = {
		.max_private_pages = pages, .max_run_time_ns = run_time_ns,
	};

	return guest_create_as(g, &arg);
}

static __u64 word(int vm, int page)
{
	__u64 value;

	return pread(vm, &value, 8, GUEST_DATA + (__u64)page * PAGE) == 8 ?
		       value : ~0ULL;
}

/* Runs from a HLT, to count in @npages. */
static int count_in(int vm, struct wisp_vcpu_page *page, __u64 npages)
{
	int ret = raw_get_state(vm, 0, WISP_STATE_GENERAL, &page->state);

	page->state.general.r8 = npages;
	page->dirty = WISP_STATE_GENERAL;
	page->complete = 1;
	return ret ?: raw_run(vm, 0) ?: (int)page->exit.reason;
}

static bool hit(const struct wisp_vcpu_page *page, __u32 which)
{
	return page->exit.reason == WISP_EXIT_LIMIT &&
	       page->exit.limit.which == which;
}

static void stand(struct __test_metadata *_metadata, struct guest *g)
{
	GUEST_LOAD(g, LONG64, count);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(g));
}

/* The page that would be one too many is not there; what the VMM had written is. */
TEST_F(limits, private_pages)
{
	struct guest *g = &self->g;

	ASSERT_EQ(0, create(g, PAGES, 0));
	stand(_metadata, g);
	ASSERT_EQ(WISP_EXIT_HLT, count_in(g->vm, g->page, PAGES));
	ASSERT_EQ(WISP_EXIT_HLT, count_in(g->vm, g->page, PAGES));
	ASSERT_EQ(WISP_EXIT_LIMIT, count_in(g->vm, g->page, PAGES + 1));
	for (int i = 0; i < 3; i++) {
		EXPECT_TRUE(hit(g->page, WISP_LIMIT_PRIVATE_PAGES));
		EXPECT_EQ(3ULL, word(g->vm, PAGES - 1));
		EXPECT_EQ(0ULL, word(g->vm, PAGES));
		ASSERT_EQ(WISP_EXIT_LIMIT, guest_run(g));
	}
	/* The VMM's pages are not counted: with this one it goes on. */
	*(__u64 *)guest_at(g, GUEST_DATA + PAGES * PAGE) = 7;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(g));
	EXPECT_EQ(8ULL, word(g->vm, PAGES));
}

/* Always the same, whatever the round before has written. */
TEST_F(limits, private_pages_after_a_reset)
{
	struct guest *g = &self->g;
	__u64 rip = 0, rcx = 0;
	int s;

	ASSERT_EQ(0, create(g, PAGES, 0));
	stand(_metadata, g);
	s = raw_snapshot(g->vm);
	ASSERT_LE(0, s);
	for (int round = 0; round < 20; round++) {
		ASSERT_EQ(0, raw_reset(g->vm, round % 2 ? s : -1));
		if (round % 3 == 2) {
			ASSERT_EQ(WISP_EXIT_HLT, count_in(g->vm, g->page, 5));
			continue;
		}
		ASSERT_EQ(WISP_EXIT_LIMIT, count_in(g->vm, g->page, 2 * PAGES));
		EXPECT_TRUE(hit(g->page, WISP_LIMIT_PRIVATE_PAGES));
		EXPECT_EQ(PAGES, raw_dirty(g->vm, NULL, 0));
		if (!round) {
			rip = g->page->exit.rip;
			rcx = g->page->state.general.rcx;
		}
		EXPECT_EQ(rip, g->page->exit.rip);
		EXPECT_EQ(rcx, g->page->state.general.rcx);
	}
	close(s);
}

static int run_fork(int sys, int s, __u64 limit, __u64 npages, int *dirty)
{
	struct wisp_vcpu_page *page;
	int vm = raw_fork_limited(sys, s, limit, 0), ret;

	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, vm, 0);
	if (vm < 0 || page == MAP_FAILED)
		return -EIO;
	ret = count_in(vm, page, npages);
	*dirty = raw_dirty(vm, NULL, 0);
	munmap(page, PAGE);
	close(vm);
	return ret;
}

/* A fork has those of its parent, or its own. */
TEST_F(limits, private_pages_of_forks)
{
	struct guest *g = &self->g;
	int s, dirty;

	ASSERT_EQ(0, create(g, PAGES, 0));
	stand(_metadata, g);
	ASSERT_EQ(WISP_EXIT_HLT, count_in(g->vm, g->page, PAGES));
	s = raw_snapshot(g->vm);
	ASSERT_LE(0, s);
	for (int round = 0; round < 3; round++) {
		EXPECT_EQ(WISP_EXIT_LIMIT, run_fork(g->sys, s, 0, 100, &dirty));
		EXPECT_EQ(PAGES, dirty);
		EXPECT_EQ(WISP_EXIT_LIMIT, run_fork(g->sys, s, 10, 100, &dirty));
		EXPECT_EQ(10, dirty);
		EXPECT_EQ(WISP_EXIT_HLT, run_fork(g->sys, s, 200, 100, &dirty));
		EXPECT_LE(100, dirty);
	}
	close(s);
}

static __u64 run_time(int vm)
{
	struct wisp_stats stats = { .size = sizeof(stats) };

	return raw(vm, WISP_STATS, &stats) ? 0 : stats.run_time_ns;
}

TEST_F(limits, run_time)
{
	struct guest *g = &self->g;
	__u64 before = 0, used;
	int s;

	ASSERT_EQ(0, create(g, 0, RUN_TIME_NS));
	GUEST_LOAD(g, LONG64, spin);
	/* A run that was has registers; the budget ends before the limit. */
	g->page->budget_ns = RUN_TIME_NS / 10;
	ASSERT_EQ(WISP_EXIT_BUDGET, guest_run(g));
	s = raw_snapshot(g->vm);
	ASSERT_LE(0, s);
	for (int round = 0; round < 3; round++) {
		g->page->budget_ns = round ? 0 : 10 * RUN_TIME_NS;
		ASSERT_EQ(WISP_EXIT_LIMIT, guest_run(g));
		EXPECT_TRUE(hit(g->page, WISP_LIMIT_RUN_TIME));
		used = run_time(g->vm);
		EXPECT_LE(RUN_TIME_NS - 1, used - before);
		ASSERT_EQ(WISP_EXIT_LIMIT, guest_run(g));
		EXPECT_GT(RUN_TIME_NS / 2, run_time(g->vm) - used);
		before = run_time(g->vm);
		ASSERT_EQ(0, raw_reset(g->vm, s));
	}
	close(s);
}

/* As much as can be asked for is as good as none. */
TEST_F(limits, run_time_without_end)
{
	static const __u64 times[] = { ~0ULL, ~0ULL / 2, 1ULL << 62, 1ULL << 56 };
	struct guest *g = &self->g;

	ASSERT_EQ(0, create(g, 0, ~0ULL));
	stand(_metadata, g);
	for (int i = 0; i < 4; i++) {
		g->page->budget_ns = times[i];
		ASSERT_EQ(WISP_EXIT_HLT, count_in(g->vm, g->page, PAGES));
	}
}

/* Neither may use it alone. */
TEST_F(limits, run_time_of_two)
{
	struct guest_thread t[2];
	struct guest *g = &self->g;

	ASSERT_EQ(0, create(g, 0, 20 * RUN_TIME_NS));
	ASSERT_EQ(0, guest_add_vcpu(g, 1));
	for (int i = 0; i < 2; i++) {
		guest_load_at(g, i, LONG64, GUEST_CODE, spin, spin_end);
		guest_thread_start(&t[i], g, i);
	}
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(WISP_EXIT_LIMIT, guest_thread_join(&t[i]));
	EXPECT_LE(20 * RUN_TIME_NS - 1, run_time(g->vm));
	/* Twice as much would be without a common account. */
	EXPECT_GT(38 * RUN_TIME_NS, run_time(g->vm));
}

TEST_F(limits, no_run_time_where_nothing_is_timed)
{
	struct wisp_create_vm arg = {
		.size = sizeof(arg), .flags = WISP_VM_DETERMINISTIC,
		.max_private_pages = PAGES,
	};
	struct guest *g = &self->g;
	int s;

	ASSERT_EQ(0, guest_create_as(g, &arg));
	s = raw_snapshot(g->vm);
	ASSERT_LE(0, s);
	arg.max_run_time_ns = 1;
	EXPECT_EQ(-EINVAL, raw(g->sys, WISP_CREATE_VM, &arg));
	EXPECT_EQ(-EINVAL, raw_fork_limited(g->sys, s, 0, 1));
	close(s);
}

TEST_HARNESS_MAIN
