// SPDX-License-Identifier: GPL-2.0
/*
 * Memory under a guest: pages that are discarded, ranges that are protected, in
 * 4 KiB and in 2 MiB pages, and what is counted of it.
 */
#include <stdlib.h>

#include "../harness.h"
#include "guest.h"

#define BASE		0x20000000ULL	/* slot 1 */
#define HUGE		0x200000ULL
#define NPAGES		(HUGE / PAGE)
#define SIZE		(4 * HUGE)
#define RET		0xc3

/* Where a protection is 0. */
#define FORBIDDEN	(WISP_MEMORY_PROTECTED | WISP_MEMORY_UNREADABLE)

FIXTURE(memory) {
	struct guest g;
	struct wisp_vcpu_page *page;
	int fd;
	__u8 *mapped;
	bool huge;		/* 2 MiB may be one entry */
	__u64 faults;		/* to touch all of them */
};

/* Pages of the object and of the tables that lead to it. */
FIXTURE_VARIANT(memory) {
	__u32 flags;
};

FIXTURE_VARIANT_ADD(memory, small) { .flags = 0 };
FIXTURE_VARIANT_ADD(memory, huge) { .flags = WISP_MEMORY_HUGE };

SNIPPET(do_read, 64, "mov (%rdi), %al; hlt");
SNIPPET(do_write, 64, "mov %sil, (%rdi); hlt");
SNIPPET(do_exec, 64, "call *%rdi; hlt");

static int run(struct guest *g, __u64 gpa, const char *code, const char *end)
{
	guest_load(g, LONG64, code, end);
	g->page->state.general.rdi = gpa;
	g->page->state.general.rsi = RET;
	return guest_run(g);
}

/* One access; returns the exit's reason: HLT if it went through. */
static int access_by_guest(struct guest *g, __u64 gpa, __u32 access)
{
	switch (access) {
	case WISP_PROT_READ:
		return run(g, gpa, do_read, do_read_end);
	case WISP_PROT_WRITE:
		return run(g, gpa, do_write, do_write_end);
	default:
		return run(g, gpa, do_exec, do_exec_end);
	}
}

static bool goes_through(struct guest *g, __u64 gpa, __u32 access)
{
	return access_by_guest(g, gpa, access) == WISP_EXIT_HLT;
}

/* What the guest reads at @gpa, or -1 where it cannot. */
static int read_by_guest(struct guest *g, __u64 gpa)
{
	if (!goes_through(g, gpa, WISP_PROT_READ))
		return -1;
	return g->page->state.general.rax & 0xff;
}

static bool writes(struct guest *g, __u64 gpa)
{
	return goes_through(g, gpa, WISP_PROT_WRITE);
}

/* The access ends the run, with nothing but @flags to say of it. */
static bool refused(struct guest *g, __u64 gpa, __u32 access, __u32 flags)
{
	const struct wisp_exit *exit = &g->page->exit;

	if (access_by_guest(g, gpa, access) != WISP_EXIT_MEMORY)
		return false;
	return exit->memory.gpa == gpa && exit->memory.access == access &&
	       exit->memory.flags == flags;
}

static int create_memory(int sys, __u64 size, __u32 flags)
{
	struct wisp_create_memory arg = {
		.size = sizeof(arg), .flags = flags, .memory_size = size,
	};

	return raw(sys, WISP_CREATE_MEMORY, &arg);
}

static int discard(int fd, __u64 first, __u64 npages)
{
	struct wisp_discard arg = {
		.size = sizeof(arg),
		.offset = first * PAGE,
		.discard_size = npages * PAGE,
	};

	return raw(fd, WISP_DISCARD, &arg);
}

static struct wisp_protect_range range_of(__u64 first, __u64 npages, __u32 prot)
{
	return (struct wisp_protect_range){
		.gpa = BASE + first * PAGE,
		.range_size = npages * PAGE,
		.prot = prot,
	};
}

/* Pages count from BASE. */
static int protect(struct guest *g, __u64 first, __u64 npages, __u32 prot)
{
	struct wisp_protect_range range = range_of(first, npages, prot);

	return raw_protect(g->vm, &range, 1);
}

static struct wisp_stats stats_of(int vm)
{
	struct wisp_stats stats = { .size = sizeof(stats) };

	if (raw(vm, WISP_STATS, &stats))
		memset(&stats, 0xff, sizeof(stats));
	return stats;
}

SNIPPET(touch, 64, "1: mov (%rdi), %al; add %rsi, %rdi; dec %ecx; jnz 1b; hlt");

/*
 * Second-level faults until @npages have been read, of which the first is at @gpa and
 * each @step bytes behind the last; -1: they cannot be.
 */
static __u64 faults_on_the_way(struct guest *g, __u64 gpa, __u64 npages, __s64 step)
{
	__u64 before;

	/* The pages of the snippet and of the guest's tables are not to count. */
	if (!goes_through(g, GUEST_DATA, WISP_PROT_READ))
		return -1;
	before = stats_of(g->vm).faults;
	GUEST_LOAD(g, LONG64, touch);
	g->page->state.general.rdi = gpa;
	g->page->state.general.rsi = step;
	g->page->state.general.rcx = npages;
	if (guest_run(g) != WISP_EXIT_HLT)
		return -1;
	return stats_of(g->vm).faults - before;
}

/* For all of 2 MiB, from above, so that there is one for each entry. */
static __u64 faults_to_touch(struct guest *g, __u64 gpa)
{
	return faults_on_the_way(g, gpa + HUGE - PAGE, NPAGES, -PAGE);
}

FIXTURE_SETUP(memory)
{
	ASSERT_EQ(0, guest_create(&self->g));
	self->page = self->g.page;
	self->fd = create_memory(self->g.sys, SIZE, variant->flags);
	ASSERT_LE(0, self->fd);
	self->mapped = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			    self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->mapped);
	ASSERT_EQ(0, raw_set_slot(self->g.vm, 1, BASE, SIZE, self->fd, 0,
				  PROT_RWX));
	self->huge = variant->flags &&
		     !(self->g.query.quirks & WISP_QUIRK_NO_HUGE);
	self->faults = self->huge ? 1 : NPAGES;
}

FIXTURE_TEARDOWN(memory)
{
	munmap(self->mapped, SIZE);
	close(self->fd);
	guest_destroy(&self->g);
}

/* ---- 2 MiB pages --------------------------------------------------------------- */

TEST_F(memory, first_touch)
{
	EXPECT_EQ(self->faults, faults_to_touch(&self->g, BASE));
	EXPECT_EQ(self->faults, faults_to_touch(&self->g, BASE + HUGE));
	EXPECT_EQ(0UL, faults_to_touch(&self->g, BASE));
}

/* Whoever comes first, both see the same pages. */
TEST_F(memory, first_touch_by_the_mapping)
{
	for (__u64 i = 0; i < NPAGES; i++)
		self->mapped[i * PAGE + 1] = i;
	self->mapped[2 * HUGE] = 0x77;
	EXPECT_EQ(self->faults, faults_to_touch(&self->g, BASE));
	EXPECT_EQ(255, read_by_guest(&self->g, BASE + HUGE - PAGE + 1));
	EXPECT_EQ(0x77, read_by_guest(&self->g, BASE + 2 * HUGE));
	ASSERT_TRUE(writes(&self->g, BASE + 3 * HUGE + 5 * PAGE + 7));
	EXPECT_EQ(RET, self->mapped[3 * HUGE + 5 * PAGE + 7]);
	EXPECT_EQ(0, self->mapped[3 * HUGE + 6 * PAGE]);
}

/* Slot and object are not in step, or not all of the 2 MiB is in the slot. */
TEST_F(memory, slots_that_do_not_fit)
{
	struct guest *g = &self->g;

	ASSERT_EQ(0, raw_set_slot(g->vm, 1, BASE, 2 * HUGE, self->fd, PAGE,
				  PROT_RWX));
	EXPECT_EQ(NPAGES, faults_to_touch(g, BASE));
	ASSERT_EQ(0, raw_set_slot(g->vm, 1, BASE + PAGE, 2 * HUGE, self->fd,
				  PAGE, PROT_RWX));
	/* 511 pages by themselves, and what the last one brings. */
	EXPECT_EQ(NPAGES, faults_to_touch(g, BASE + PAGE));
	EXPECT_EQ(self->huge ? 0 : NPAGES - 1,
		  faults_to_touch(g, BASE + HUGE));
}

TEST_F(memory, split_by_protect)
{
	struct guest *g = &self->g;

	self->mapped[4 * PAGE] = 0x44;
	self->mapped[HUGE - 1] = 0x55;
	EXPECT_EQ(self->faults, faults_to_touch(g, BASE));
	ASSERT_EQ(0, protect(g, 3, 1, PROT_R));
	/* All of a 2 MiB entry goes, of small ones one. */
	EXPECT_EQ(self->huge ? NPAGES : 1, faults_to_touch(g, BASE));
	EXPECT_EQ(0x44, read_by_guest(g, BASE + 4 * PAGE));
	EXPECT_EQ(0x55, read_by_guest(g, BASE + HUGE - 1));
	EXPECT_TRUE(refused(g, BASE + 3 * PAGE, WISP_PROT_WRITE,
			    WISP_MEMORY_PROTECTED));
	EXPECT_TRUE(writes(g, BASE + 2 * PAGE));
	EXPECT_TRUE(writes(g, BASE + 4 * PAGE));
	ASSERT_EQ(0, protect(g, 3, 1, PROT_RWX));
	EXPECT_EQ(1UL, faults_to_touch(g, BASE));
	EXPECT_TRUE(writes(g, BASE + 3 * PAGE));
	/* The next 2 MiB never were concerned. */
	EXPECT_EQ(self->faults, faults_to_touch(g, BASE + HUGE));
}

TEST_F(memory, split_by_discard)
{
	struct guest *g = &self->g;

	memset(self->mapped, 0x33, HUGE);
	EXPECT_EQ(self->faults, faults_to_touch(g, BASE));
	ASSERT_EQ(0, discard(self->fd, 5, 1));
	EXPECT_EQ(self->huge ? NPAGES : 1, faults_to_touch(g, BASE));
	EXPECT_EQ(0x33, read_by_guest(g, BASE + 5 * PAGE - 1));
	EXPECT_EQ(0, read_by_guest(g, BASE + 5 * PAGE));
	EXPECT_EQ(0, read_by_guest(g, BASE + 6 * PAGE - 1));
	EXPECT_EQ(0x33, read_by_guest(g, BASE + 6 * PAGE));
	EXPECT_EQ(0, self->mapped[5 * PAGE]);
	EXPECT_EQ(0x33, self->mapped[6 * PAGE]);
}

/* ---- pages ahead --------------------------------------------------------------- */

TEST_F(memory, ahead_of_who_goes_on)
{
	struct guest *g = &self->g;

	/* With the first 1 page, then 2, 4, 8, and 16 each. */
	EXPECT_EQ(self->huge ? 1 : 4 + 4, faults_on_the_way(g, BASE, 15 + 4 * 16, PAGE));
	EXPECT_EQ(0UL, faults_on_the_way(g, BASE, 15 + 4 * 16, PAGE));
	/* Never more than there were. */
	EXPECT_EQ(self->huge ? 1 : 2, faults_on_the_way(g, BASE + HUGE, 2, PAGE));
	EXPECT_EQ(0UL, faults_on_the_way(g, BASE + HUGE, 3, PAGE));
	EXPECT_EQ(self->huge ? 0 : 1,
		  faults_on_the_way(g, BASE + HUGE + 4 * PAGE, 1, PAGE));
	/* All are zeroes, and may be written. */
	EXPECT_EQ(0, read_by_guest(g, BASE + 78 * PAGE));
	EXPECT_TRUE(writes(g, BASE + 78 * PAGE));
	EXPECT_EQ(RET, self->mapped[78 * PAGE]);
}

TEST_F(memory, not_ahead_of_others)
{
	EXPECT_EQ(self->huge ? 1 : 100,
		  faults_on_the_way(&self->g, BASE, 100, 2 * PAGE));
}

/* What is protected, or in no slot, is not ahead of anybody. */
TEST_F(memory, ahead_to_a_border)
{
	struct guest *g = &self->g;

	ASSERT_EQ(0, raw_set_slot(g->vm, 1, BASE, 8 * PAGE, self->fd, 0, PROT_RWX));
	ASSERT_EQ(0, protect(g, 5, 1, 0));
	EXPECT_EQ(3UL, faults_on_the_way(g, BASE, 5, PAGE));
	EXPECT_TRUE(refused(g, BASE + 5 * PAGE, WISP_PROT_READ, FORBIDDEN));
	EXPECT_EQ(1UL, faults_on_the_way(g, BASE + 6 * PAGE, 1, PAGE));
	EXPECT_EQ(1UL, faults_on_the_way(g, BASE + 7 * PAGE, 1, PAGE));
	EXPECT_TRUE(refused(g, BASE + 8 * PAGE, WISP_PROT_READ, 0));
}

/* ---- DISCARD ----------------------------------------------------------------------- */

/* From within one stretch of 2 MiB into another. */
TEST_F(memory, discard)
{
	struct guest *g = &self->g;
	const __u64 first = NPAGES - 2;

	memset(self->mapped, 0x66, 2 * HUGE);
	EXPECT_EQ(self->faults, faults_to_touch(g, BASE));
	EXPECT_EQ(self->faults, faults_to_touch(g, BASE + HUGE));
	ASSERT_EQ(0, discard(self->fd, first, 4));
	for (__u64 i = first - 1; i < first + 5; i++) {
		int want = i >= first && i < first + 4 ? 0 : 0x66;

		EXPECT_EQ(want, read_by_guest(g, BASE + i * PAGE + 9))
			TH_LOG("page %llu", i);
		EXPECT_EQ(want, self->mapped[i * PAGE + 9]);
	}
	/* They can be used again. */
	ASSERT_TRUE(writes(g, BASE + first * PAGE));
	EXPECT_EQ(RET, self->mapped[first * PAGE]);
}

/* All of it: the object is as new, and so are its 2 MiB pages. */
TEST_F(memory, discard_all)
{
	memset(self->mapped, 0x66, SIZE);
	EXPECT_EQ(self->faults, faults_to_touch(&self->g, BASE));
	ASSERT_EQ(0, discard(self->fd, 0, SIZE / PAGE));
	EXPECT_EQ(self->faults, faults_to_touch(&self->g, BASE + HUGE));
	for (__u64 i = 0; i < SIZE; i += PAGE)
		ASSERT_EQ(0, self->mapped[i]);
}

/* ---- PROTECT ------------------------------------------------------------------------- */

static const __u32 all_prots[] = { 0, PROT_R, PROT_RW, PROT_RX, PROT_RWX };
static const __u32 accesses[] = {
	WISP_PROT_READ, WISP_PROT_WRITE, WISP_PROT_EXEC
};

TEST_F(memory, protect_each_access)
{
	struct guest *g = &self->g;
	const __u64 gpa = BASE + 7 * PAGE + 0x123;

	self->mapped[gpa - BASE] = RET;
	for (size_t i = 0; i < ARRAY_SIZE(all_prots); i++) {
		ASSERT_EQ(0, protect(g, 7, 1, all_prots[i]));
		for (size_t j = 0; j < ARRAY_SIZE(accesses); j++) {
			__u32 access = accesses[j];

			EXPECT_TRUE(all_prots[i] & access ?
				    goes_through(g, gpa, access) :
				    refused(g, gpa, access, all_prots[i] ?
					    WISP_MEMORY_PROTECTED : FORBIDDEN))
				TH_LOG("%#x of %#x", access, all_prots[i]);
		}
	}
}

/* The slot's rights and the protection: what both allow; the slot is named first. */
TEST_F(memory, protect_and_the_slot)
{
	const __u32 forbidden = WISP_MEMORY_SLOT | WISP_MEMORY_UNREADABLE;
	struct guest *g = &self->g;

	self->mapped[0] = RET;
	for (size_t i = 1; i < ARRAY_SIZE(all_prots); i++) {
		__u32 slot = all_prots[i];

		ASSERT_EQ(0, raw_set_slot(g->vm, 1, BASE, SIZE, self->fd, 0,
					  slot));
		ASSERT_EQ(0, protect(g, 0, 1, PROT_RX));
		EXPECT_EQ(RET, read_by_guest(g, BASE));
		EXPECT_TRUE(refused(g, BASE, WISP_PROT_WRITE,
				    slot & WISP_PROT_WRITE ?
				    WISP_MEMORY_PROTECTED : WISP_MEMORY_SLOT));
		EXPECT_TRUE(slot & WISP_PROT_EXEC ?
			    goes_through(g, BASE, WISP_PROT_EXEC) :
			    refused(g, BASE, WISP_PROT_EXEC,
				    WISP_MEMORY_SLOT));
		ASSERT_EQ(0, protect(g, 0, 1, 0));
		EXPECT_TRUE(refused(g, BASE, WISP_PROT_WRITE,
				    slot & WISP_PROT_WRITE ? FORBIDDEN : forbidden));
	}
}

/* One page of each two, in one call; then all of them free again. */
TEST_F(memory, protect_many_ranges)
{
	static struct wisp_protect_range ranges[SIZE / PAGE / 2];
	struct guest *g = &self->g;
	struct wisp_protect_range all = range_of(0, SIZE / PAGE, PROT_RWX);

	EXPECT_EQ(self->faults, faults_to_touch(g, BASE));
	for (__u64 i = 0; i < ARRAY_SIZE(ranges); i++)
		ranges[i] = range_of(2 * i + 1, 1, PROT_R);
	ASSERT_EQ(0, raw_protect(g->vm, ranges, ARRAY_SIZE(ranges)));
	for (__u64 i = 0; i < SIZE / PAGE; i += 37) {
		EXPECT_TRUE(i & 1 ? refused(g, BASE + i * PAGE, WISP_PROT_WRITE,
					    WISP_MEMORY_PROTECTED) :
				    writes(g, BASE + i * PAGE));
	}
	ASSERT_EQ(0, raw_protect(g->vm, &all, 1));
	for (__u64 i = 0; i < SIZE / PAGE; i += 37)
		EXPECT_TRUE(writes(g, BASE + i * PAGE));
}

/* What is read and written of the first pages, as "r", "w" or "-". */
static void expect_rights(struct __test_metadata *_metadata, struct guest *g,
			  const char *want)
{
	for (int i = 0; want[i]; i++) {
		char is = writes(g, BASE + i * PAGE) ? 'w' :
			  read_by_guest(g, BASE + i * PAGE) >= 0 ? 'r' : '-';

		EXPECT_EQ(want[i], is)
			TH_LOG("page %d of %s: %c", i, want, is);
	}
}

/*
 * There is a bound; and what is full to the last can be emptied. That is some seconds,
 * but minutes under KASAN in Bochs.
 */
TEST_F(memory, protect_too_many_ranges)
{
	const __u32 most = WISP_MAX_PROTECT_RANGES, npages = 8 * most;
	struct wisp_protect_range *ranges = calloc(most, sizeof(*ranges));
	struct guest *g = &self->g;

	ASSERT_NE(NULL, ranges);
	/* Each parts the one that is there, and so makes two more. */
	ASSERT_EQ(0, protect(g, 0, npages, PROT_R));
	for (__u32 half = 0; half < 2; half++) {
		for (__u32 i = 0; i < most; i++)
			ranges[i] = range_of(4 * (half * most + i) + 1, 1, 0);
		if (half)
			EXPECT_EQ(-ENOSPC, raw_protect(g->vm, ranges, most));
		ASSERT_EQ(0, raw_protect(g->vm, ranges, most - half));
	}
	EXPECT_EQ(0, protect(g, npages, 1, PROT_R));
	EXPECT_EQ(-ENOSPC, protect(g, npages + 2, 1, PROT_R));
	/* To take away from the midst of one is to make one more. */
	EXPECT_EQ(-ENOSPC, protect(g, 7, 1, PROT_RWX));
	EXPECT_TRUE(refused(g, BASE + 7 * PAGE, WISP_PROT_WRITE,
			    WISP_MEMORY_PROTECTED));
	EXPECT_EQ(0, protect(g, 6, 1, PROT_RWX));
	EXPECT_EQ(0, protect(g, 0, 3, PROT_RWX));
	EXPECT_EQ(0, protect(g, 7, 1, 0));
	expect_rights(_metadata, g, "wwwrr-w-r-");
	EXPECT_EQ(0, protect(g, 0, npages + 1, PROT_RWX));
	expect_rights(_metadata, g, "wwwwwwwwww");
	EXPECT_EQ(0, raw_protect(g->vm, ranges, most));
	free(ranges);
}

TEST_F(memory, protect_splits_and_merges)
{
	struct guest *g = &self->g;
	struct wisp_protect_range later_wins[] = {
		range_of(1, 5, 0), range_of(2, 1, PROT_RW),
		range_of(4, 4, PROT_R),
	};

	ASSERT_EQ(0, protect(g, 0, 8, PROT_R));
	expect_rights(_metadata, g, "rrrrrrrrw");
	ASSERT_EQ(0, protect(g, 2, 3, PROT_RW));
	expect_rights(_metadata, g, "rrwwwrrrw");
	ASSERT_EQ(0, protect(g, 3, 1, 0));
	expect_rights(_metadata, g, "rrw-wrrrw");
	ASSERT_EQ(0, protect(g, 1, 4, PROT_RWX));
	expect_rights(_metadata, g, "rwwwwrrrw");
	ASSERT_EQ(0, protect(g, 1, 4, PROT_R));
	expect_rights(_metadata, g, "rrrrrrrrw");
	ASSERT_EQ(0, raw_protect(g->vm, later_wins, ARRAY_SIZE(later_wins)));
	expect_rights(_metadata, g, "r-w-rrrrw");
	ASSERT_EQ(0, protect(g, 0, 8, PROT_RWX));
	expect_rights(_metadata, g, "wwwwwwwww");
}

/* It belongs to the addresses: over slots' borders, and while there is none. */
TEST_F(memory, protect_over_slots)
{
	struct guest *g = &self->g;
	const __u64 border = BASE + SIZE, end = border + 4 * PAGE;
	struct wisp_protect_range range = {
		.gpa = border - PAGE, .range_size = 8 * PAGE, .prot = PROT_R,
	};

	ASSERT_EQ(0, raw_set_slot(g->vm, 2, border, 4 * PAGE, self->fd, 0,
				  PROT_RWX));
	ASSERT_EQ(0, raw_protect(g->vm, &range, 1));
	EXPECT_TRUE(writes(g, border - 2 * PAGE));
	EXPECT_TRUE(refused(g, border - 8, WISP_PROT_WRITE,
			    WISP_MEMORY_PROTECTED));
	EXPECT_TRUE(refused(g, border, WISP_PROT_WRITE, WISP_MEMORY_PROTECTED));
	EXPECT_TRUE(refused(g, end, WISP_PROT_WRITE, 0));
	ASSERT_EQ(0, raw_remove_slot(g->vm, 2));
	EXPECT_TRUE(refused(g, border, WISP_PROT_WRITE, 0));
	ASSERT_EQ(0, raw_set_slot(g->vm, 3, border, 8 * PAGE, self->fd, HUGE,
				  PROT_RWX));
	EXPECT_TRUE(refused(g, border, WISP_PROT_WRITE, WISP_MEMORY_PROTECTED));
	EXPECT_TRUE(refused(g, end, WISP_PROT_WRITE, WISP_MEMORY_PROTECTED));
	EXPECT_TRUE(writes(g, border + 7 * PAGE));
}

SNIPPET(writer, 64, "1: incq (%rdi); jmp 1b");

/* When the call returns, the other vCPU obeys. */
TEST_F(memory, protect_under_a_running_guest)
{
	struct guest *g = &self->g;
	struct guest_thread t = { .vcpu = 1 };
	__u64 *counter = (__u64 *)self->mapped, last;

	ASSERT_EQ(0, guest_add_vcpu(g, 1));
	for (int i = 0; i < 30; i++) {
		guest_load_at(g, 1, LONG64, GUEST_CODE, writer, writer_end);
		g->pages[1]->state.general.rdi = BASE;
		last = __atomic_load_n(counter, __ATOMIC_RELAXED);
		guest_thread_start(&t, g, 1);
		while (__atomic_load_n(counter, __ATOMIC_RELAXED) == last)
			;
		ASSERT_EQ(0, protect(g, 0, 1, i & 1 ? PROT_R : 0));
		last = __atomic_load_n(counter, __ATOMIC_SEQ_CST);
		ASSERT_EQ(WISP_EXIT_MEMORY, guest_thread_join(&t));
		EXPECT_EQ(i & 1 ? WISP_MEMORY_PROTECTED : FORBIDDEN,
			  g->pages[1]->exit.memory.flags);
		EXPECT_EQ(last, __atomic_load_n(counter, __ATOMIC_SEQ_CST));
		ASSERT_EQ(0, protect(g, 0, 1, PROT_RWX));
	}
}

/* ---- read-only slots -------------------------------------------------------------------- */

TEST_F(memory, read_only_slot)
{
	struct guest *g = &self->g;
	const __u64 gpa = BASE + HUGE + 3;
	char byte = 1;

	ASSERT_EQ(0, raw_set_slot(g->vm, 1, BASE, SIZE, self->fd, 0, PROT_R));
	EXPECT_EQ(0, read_by_guest(g, gpa));
	EXPECT_TRUE(refused(g, gpa, WISP_PROT_WRITE, WISP_MEMORY_SLOT));
	EXPECT_TRUE(refused(g, gpa, WISP_PROT_EXEC, WISP_MEMORY_SLOT));
	EXPECT_EQ(-1, pwrite(g->vm, &byte, 1, gpa));
	EXPECT_EQ(EFAULT, errno);
	/* The object itself can be written, and the guest sees it. */
	EXPECT_EQ(1, pwrite(self->fd, "\x5e", 1, gpa - BASE));
	EXPECT_EQ(0x5e, read_by_guest(g, gpa));
	self->mapped[gpa - BASE] = 0x5f;
	EXPECT_EQ(0x5f, read_by_guest(g, gpa));
}

/* ---- counters ------------------------------------------------------------------------------ */

#define COUNTED(hypercall)                                         \
	"cpuid; cpuid; out %al, $0x10; in $0x11, %al\n"            \
	"mov %al, (%rdi); mov %al, 0x1000(%rdi); " hypercall "\n"  \
	"sti; nop; cpuid; mov " STR(GUEST_NOWHERE) ", %al; hlt"

SNIPPET(counted_svm, 64, COUNTED("vmmcall"));
SNIPPET(counted_vmx, 64, COUNTED("vmcall"));

/* All that a run did, and nothing else. */
TEST_F(memory, stats)
{
	struct guest *g = &self->g;
	struct wisp_stats s;
	__u64 exits = 0;

	/* The tables, of which one brings the next; the code, and two pages of data. */
	const __u64 first_faults = 3 + 1 + 2;
	/* IDT, GDT, stack, stubs. Of these one page, and their record, came before. */
	const __u64 interrupt_faults = 4;

	if (g->query.backend == WISP_BACKEND_SVM)
		GUEST_LOAD(g, LONG64, counted_svm);
	else
		GUEST_LOAD(g, LONG64, counted_vmx);
	guest_trap(g)->action = GUEST_TRAP_RETURN;
	self->page->state.general.rdi = GUEST_DATA;
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(g));
	ASSERT_EQ(WISP_EXIT_PORT, guest_complete(g, 0));
	ASSERT_EQ(WISP_EXIT_HYPERCALL, guest_complete(g, 0));
	s = stats_of(g->vm);
	EXPECT_EQ(first_faults, s.faults);
	EXPECT_EQ(0UL, s.injections);
	/* Two CPUIDs were the driver's. */
	EXPECT_EQ(s.faults + 2 + 3 + s.host_exits, s.entries);

	self->page->inject = (struct wisp_event){
		.type = WISP_EVENT_INTERRUPT, .vector = 0x40,
	};
	ASSERT_EQ(WISP_EXIT_MEMORY, guest_complete(g, 0));
	ASSERT_EQ(0, raw_kick(g->vm, 0));
	ASSERT_EQ(WISP_EXIT_KICKED, guest_run(g));
	s = stats_of(g->vm);
	EXPECT_EQ(first_faults + interrupt_faults, s.faults);
	EXPECT_LE(1UL, s.injections);
	EXPECT_EQ(1U, s.vcpus);
	EXPECT_EQ(2U, s.slots);
	EXPECT_LT(0UL, s.run_time_ns);
	for (size_t i = 0; i < ARRAY_SIZE(s.exits); i++)
		exits += s.exits[i];
	EXPECT_EQ(5UL, exits);
	EXPECT_EQ(2UL, s.exits[WISP_EXIT_PORT]);
	EXPECT_EQ(1UL, s.exits[WISP_EXIT_HYPERCALL]);
	EXPECT_EQ(1UL, s.exits[WISP_EXIT_MEMORY]);
	EXPECT_EQ(1UL, s.exits[WISP_EXIT_KICKED]);
	/* Sums: another vCPU adds its own. */
	ASSERT_EQ(0, guest_add_vcpu(g, 1));
	ASSERT_EQ(0, raw_kick(g->vm, 1));
	ASSERT_EQ(WISP_EXIT_KICKED, guest_run_vcpu(g, 1));
	EXPECT_EQ(2UL, stats_of(g->vm).exits[WISP_EXIT_KICKED]);
	EXPECT_EQ(2U, stats_of(g->vm).vcpus);
}

TEST_HARNESS_MAIN
