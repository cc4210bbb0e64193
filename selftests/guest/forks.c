// SPDX-License-Identifier: GPL-2.0
/*
 * Forks that are changed before they are used, objects of one origin, and calls that
 * fail half-way: what the guest sees is what the VM has.
 */
#include "../harness.h"
#include "guest.h"

/* Reads, then writes, a page whose address is in RDI; HLT before, between, behind. */
SNIPPET(read_write, 64,
	"1: hlt; mov (%rdi), %rax; hlt; incq (%rdi); jmp 1b");

#define OTHER	0x400000ULL	/* where slot 1 is */

FIXTURE(forks) {
	struct guest g;
	struct wisp_vcpu_page *page;	/* of @vm */
	int snapshot;
	int vm;				/* a fork of it */
};

static int read_by_guest(int vm, struct wisp_vcpu_page *page)
{
	page->complete = 1;
	page->want = WISP_STATE_GENERAL;
	return raw_run(vm, 0) ?: (int)page->exit.reason;
}

/* The guest has read and written its page, where there was 7; so has the snapshot. */
FIXTURE_SETUP(forks)
{
	__u64 *word;

	ASSERT_EQ(0, guest_create(&self->g));
	word = guest_at(&self->g, GUEST_DATA);
	*word = 6;
	GUEST_LOAD(&self->g, LONG64, read_write);
	self->g.page->state.general.rdi = GUEST_DATA;
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(WISP_EXIT_HLT, i ? read_by_guest(self->g.vm, self->g.page) :
					     guest_run(&self->g));
	ASSERT_EQ(7ULL, *word);
	self->snapshot = raw_snapshot(self->g.vm);
	ASSERT_LE(0, self->snapshot);
	self->vm = raw_fork(self->g.sys, self->snapshot);
	ASSERT_LE(0, self->vm);
	self->page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, self->vm, 0);
	ASSERT_NE(MAP_FAILED, self->page);
}

FIXTURE_TEARDOWN(forks)
{
	munmap(self->page, PAGE);
	close(self->vm);
	close(self->snapshot);
	guest_destroy(&self->g);
}

/* What the fork's guest finds, or minus the exit's reason; and it can write it. */
static __s64 found(struct _test_data_forks *self)
{
	struct wisp_vcpu_page *page = self->page;
	int reason = read_by_guest(self->vm, page);

	if (reason != WISP_EXIT_HLT)
		return -reason;
	if (read_by_guest(self->vm, page) != WISP_EXIT_HLT)
		return -(int)page->exit.reason;
	return page->state.general.rax;
}

static __u64 word(int vm, __u64 gpa)
{
	__u64 value;

	return pread(vm, &value, 8, gpa) == 8 ? value : ~0ULL;
}

TEST_F(forks, untouched)
{
	EXPECT_EQ(7, found(self));
	EXPECT_EQ(8ULL, word(self->vm, GUEST_DATA));
	EXPECT_EQ(7ULL, word(self->snapshot, GUEST_DATA));
}

TEST_F(forks, written_before_use)
{
	__u64 value = 40;

	ASSERT_EQ(8, pwrite(self->vm, &value, 8, GUEST_DATA));
	EXPECT_EQ(40, found(self));
	EXPECT_EQ(41ULL, word(self->vm, GUEST_DATA));
	EXPECT_EQ(7ULL, word(self->snapshot, GUEST_DATA));
}

TEST_F(forks, written_by_a_mapping_before_use)
{
	int fd = raw_memory_of_slot(self->g.sys, self->vm, 0);
	__u64 *mapped;

	ASSERT_LE(0, fd);
	mapped = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, GUEST_DATA);
	ASSERT_NE(MAP_FAILED, mapped);
	*mapped = 50;
	EXPECT_EQ(50, found(self));
	EXPECT_EQ(51ULL, *mapped);
	munmap(mapped, PAGE);
	close(fd);
}

TEST_F(forks, discarded_before_use)
{
	struct wisp_discard discard = {
		.size = sizeof(discard), .offset = GUEST_DATA, .discard_size = PAGE,
	};
	int fd = raw_memory_of_slot(self->g.sys, self->vm, 0);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, raw(fd, WISP_DISCARD, &discard));
	EXPECT_EQ(0, found(self));
	EXPECT_EQ(1ULL, word(self->vm, GUEST_DATA));
	close(fd);
}

TEST_F(forks, protected_before_use)
{
	struct wisp_protect_range range = {
		.gpa = GUEST_DATA, .range_size = PAGE, .prot = PROT_R,
	};

	ASSERT_EQ(0, raw_protect(self->vm, &range, 1));
	EXPECT_EQ(-WISP_EXIT_MEMORY, found(self));
	EXPECT_EQ(WISP_MEMORY_PROTECTED, self->page->exit.memory.flags);
	EXPECT_EQ((__u32)WISP_PROT_WRITE, self->page->exit.memory.access);
}

TEST_F(forks, without_its_slot_before_use)
{
	ASSERT_EQ(0, raw_remove_slot(self->vm, 0));
	EXPECT_EQ(-WISP_EXIT_MEMORY, found(self));
}

TEST_F(forks, reset_before_use)
{
	__u64 value = 40;

	ASSERT_EQ(8, pwrite(self->vm, &value, 8, GUEST_DATA));
	ASSERT_EQ(0, raw_reset(self->vm, self->snapshot));
	EXPECT_EQ(7, found(self));
}

/* From the second on by what the hardware marked: the page is its own, and stays so. */
TEST_F(forks, reset_in_each_round)
{
	for (int round = 0; round < 5; round++) {
		EXPECT_EQ(7, found(self));
		EXPECT_EQ(8ULL, word(self->vm, GUEST_DATA));
		EXPECT_TRUE(guest_is_dirty(self->vm, GUEST_DATA));
		ASSERT_EQ(0, raw_reset(self->vm, -1));
		EXPECT_EQ(7ULL, word(self->vm, GUEST_DATA));
	}
}

/*
 * EPT has no accessed and dirty flags until a fork is reset, so that the CPU's walks of
 * the guest's tables, where nothing is to be marked any more, copy no page. SVM's do.
 */
TEST_F(forks, walks_write_nothing)
{
	__u64 pages[16];
	int n;

	EXPECT_EQ(7, found(self));
	n = raw_dirty(self->vm, pages, 16);
	if (self->g.query.backend == WISP_BACKEND_SVM) {
		EXPECT_LT(1, n);
		return;
	}
	EXPECT_EQ(1, n);
	EXPECT_EQ(GUEST_DATA, pages[0]);
}

/* The pages that a fork's guest no longer has are not read when they are gone. */
TEST_F(forks, discarded_and_frozen)
{
	struct wisp_discard discard = {
		.size = sizeof(discard), .offset = GUEST_DATA, .discard_size = PAGE,
	};
	int fd = raw_memory_of_slot(self->g.sys, self->vm, 0), s;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, raw(fd, WISP_DISCARD, &discard));
	s = raw_snapshot(self->vm);
	ASSERT_LE(0, s);
	close(self->snapshot);
	self->snapshot = s;
	guest_destroy(&self->g);
	ASSERT_EQ(0, guest_create(&self->g));
	EXPECT_EQ(0, found(self));
	ASSERT_EQ(0, raw_reset(self->vm, -1));
	EXPECT_EQ(0, found(self));
	close(fd);
}

/* ---- objects of one origin -------------------------------------------------------- */

TEST_F(forks, one_of_each_origin)
{
	int fd = raw_memory_of_slot(self->g.sys, self->vm, 0);
	const __u64 size = GUEST_SIZE;

	ASSERT_LE(0, fd);
	munmap(self->page, PAGE);
	close(self->vm);
	EXPECT_EQ(-EBUSY, raw_set_slot(self->g.vm, 1, OTHER, size, fd, 0, PROT_RWX));
	/* In the place of the other it may be. */
	EXPECT_EQ(0, raw_set_slot(self->g.vm, 0, 0, size, fd, 0, PROT_RWX));
	EXPECT_EQ(7ULL, word(self->g.vm, GUEST_DATA));
	EXPECT_EQ(0, raw_reset(self->g.vm, self->snapshot));
	EXPECT_EQ(7ULL, word(self->g.vm, GUEST_DATA));
	close(fd);
	self->vm = raw_fork(self->g.sys, self->snapshot);
	self->page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, self->vm, 0);
}

/* One object in two slots is one in the snapshot, too. */
TEST_F(forks, one_object_twice)
{
	__u64 value = 9;
	int s, fork;

	ASSERT_EQ(0, raw_set_slot(self->g.vm, 1, OTHER, GUEST_SIZE, self->g.fd, 0,
				  PROT_RWX));
	s = raw_snapshot(self->g.vm);
	ASSERT_LE(0, s);
	fork = raw_fork(self->g.sys, s);
	ASSERT_LE(0, fork);
	ASSERT_EQ(8, pwrite(fork, &value, 8, OTHER + GUEST_DATA));
	EXPECT_EQ(9ULL, word(fork, GUEST_DATA));
	ASSERT_EQ(0, raw_reset(fork, s));
	EXPECT_EQ(7ULL, word(fork, GUEST_DATA));
	EXPECT_EQ(7ULL, word(fork, OTHER + GUEST_DATA));
	close(fork);
	close(s);
}

/* ---- calls that fail half-way -------------------------------------------------------- */

/* Another VM has an object, too: a snapshot is EBUSY, and changes nothing. */
TEST_F(forks, failed_snapshot)
{
	int memory = raw_create_memory(self->g.sys, PAGE);
	struct guest other;

	ASSERT_LE(0, memory);
	ASSERT_EQ(0, guest_create(&other));
	ASSERT_EQ(0, raw_set_slot(other.vm, 1, OTHER, PAGE, memory, 0, PROT_RW));
	ASSERT_EQ(WISP_EXIT_HLT, read_by_guest(self->g.vm, self->g.page));
	ASSERT_EQ(WISP_EXIT_HLT, read_by_guest(self->g.vm, self->g.page));
	ASSERT_TRUE(guest_is_dirty(self->g.vm, GUEST_DATA));
	ASSERT_EQ(0, raw_set_slot(self->g.vm, 1, OTHER, PAGE, memory, 0, PROT_RW));
	EXPECT_EQ(-EBUSY, raw_snapshot(self->g.vm));
	EXPECT_TRUE(guest_is_dirty(self->g.vm, GUEST_DATA));
	EXPECT_EQ(8ULL, word(self->g.vm, GUEST_DATA));
	EXPECT_EQ(0, raw_reset(self->g.vm, self->snapshot));
	EXPECT_EQ(7ULL, word(self->g.vm, GUEST_DATA));
	guest_destroy(&other);
	close(memory);
}

/* A reset that would need what another VM has leaves all as it was. */
TEST_F(forks, failed_reset)
{
	int memory = raw_create_memory(self->g.sys, PAGE), sa, sb;
	struct guest *g = &self->g, other;

	ASSERT_LE(0, memory);
	ASSERT_EQ(0, raw_set_slot(g->vm, 1, OTHER, PAGE, memory, 0, PROT_RW));
	sa = raw_snapshot(g->vm);
	ASSERT_LE(0, sa);
	ASSERT_EQ(0, raw_set_slot(g->vm, 1, OTHER, PAGE, memory, 0, PROT_R));
	sb = raw_snapshot(g->vm);
	ASSERT_LE(0, sb);
	ASSERT_EQ(0, guest_create(&other));
	ASSERT_EQ(0, raw_set_slot(other.vm, 1, OTHER, PAGE, memory, 0, PROT_R));
	ASSERT_EQ(WISP_EXIT_HLT, read_by_guest(g->vm, g->page));
	ASSERT_EQ(WISP_EXIT_HLT, read_by_guest(g->vm, g->page));
	EXPECT_EQ(-EBUSY, raw_reset(g->vm, sa));
	EXPECT_EQ(8ULL, word(g->vm, GUEST_DATA));
	EXPECT_TRUE(guest_is_dirty(g->vm, GUEST_DATA));
	ASSERT_EQ(0, raw_reset(g->vm, -1));
	EXPECT_EQ(7ULL, word(g->vm, GUEST_DATA));
	guest_destroy(&other);
	close(sa);
	close(sb);
	close(memory);
}

/* ---- objects that several VMs have had ---------------------------------------------- */

/* Each comes back to its own snapshot, whatever the other did to what both read. */
TEST_F(forks, reset_of_what_another_has_reset)
{
	int memory = raw_create_memory(self->g.sys, PAGE), s, so;
	struct guest *g = &self->g, other;
	__u64 one = 1, two = 2;

	ASSERT_LE(0, memory);
	ASSERT_EQ(0, guest_create(&other));
	ASSERT_EQ(8, pwrite(memory, &one, 8, 0));
	ASSERT_EQ(0, raw_set_slot(g->vm, 1, OTHER, PAGE, memory, 0, PROT_R));
	s = raw_snapshot(g->vm);
	ASSERT_LE(0, s);
	ASSERT_EQ(0, raw_remove_slot(g->vm, 1));
	ASSERT_EQ(8, pwrite(memory, &two, 8, 0));
	ASSERT_EQ(0, raw_set_slot(other.vm, 1, OTHER, PAGE, memory, 0, PROT_R));
	so = raw_snapshot(other.vm);
	ASSERT_LE(0, so);
	ASSERT_EQ(0, raw_set_slot(g->vm, 1, OTHER, PAGE, memory, 0, PROT_R));
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, raw_reset(g->vm, -1));
		EXPECT_EQ(1ULL, word(g->vm, OTHER));
		ASSERT_EQ(0, raw_reset(other.vm, -1));
		EXPECT_EQ(2ULL, word(other.vm, OTHER));
	}
	guest_destroy(&other);
	close(s);
	close(so);
	close(memory);
}

/* Pages that the VM wrote are dirty, also where another has frozen them since. */
TEST_F(forks, dirty_after_another_has_frozen_it)
{
	int memory = raw_create_memory(self->g.sys, 4 * PAGE), s, so;
	struct guest *g = &self->g, other;
	__u64 value = 1, pages[8];

	ASSERT_LE(0, memory);
	ASSERT_EQ(0, guest_create(&other));
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(8, pwrite(memory, &value, 8, i * PAGE));
	ASSERT_EQ(0, raw_set_slot(g->vm, 1, OTHER, 4 * PAGE, memory, 0, PROT_RW));
	s = raw_snapshot(g->vm);
	ASSERT_LE(0, s);
	EXPECT_EQ(0, raw_dirty(g->vm, pages, 8));
	ASSERT_EQ(8, pwrite(g->vm, &value, 8, OTHER + PAGE));
	ASSERT_EQ(8, pwrite(g->vm, &value, 8, OTHER + 2 * PAGE));
	ASSERT_EQ(0, raw_remove_slot(g->vm, 1));
	EXPECT_EQ(0, raw_dirty(g->vm, pages, 8));
	ASSERT_EQ(0, raw_set_slot(other.vm, 1, OTHER, 4 * PAGE, memory, 0, PROT_RW));
	so = raw_snapshot(other.vm);
	ASSERT_LE(0, so);
	EXPECT_EQ(0, raw_dirty(other.vm, pages, 8));
	ASSERT_EQ(0, raw_remove_slot(other.vm, 1));
	ASSERT_EQ(0, raw_set_slot(g->vm, 1, OTHER, 4 * PAGE, memory, 0, PROT_RW));
	ASSERT_EQ(2, raw_dirty(g->vm, pages, 8));
	EXPECT_EQ(OTHER + PAGE, pages[0]);
	EXPECT_EQ(OTHER + 2 * PAGE, pages[1]);
	ASSERT_EQ(0, raw_reset(g->vm, -1));
	EXPECT_EQ(0, raw_dirty(g->vm, pages, 8));
	EXPECT_EQ(0ULL, word(g->vm, OTHER + 2 * PAGE));
	guest_destroy(&other);
	close(s);
	close(so);
	close(memory);
}

/* ---- what is dirty ------------------------------------------------------------------- */

/* An object that came later is as written as it has pages. */
TEST_F(forks, new_object_is_dirty)
{
	int memory = raw_create_memory(self->g.sys, 1024 * PAGE);
	struct guest *g = &self->g;
	__u64 value = 1, pages[8];

	ASSERT_LE(0, memory);
	ASSERT_EQ(0, raw_set_slot(g->vm, 1, OTHER, 512 * PAGE, memory, 512 * PAGE,
				  PROT_RW));
	EXPECT_EQ(0, raw_dirty(g->vm, pages, 8));
	ASSERT_EQ(8, pwrite(memory, &value, 8, 3 * PAGE));
	ASSERT_EQ(8, pwrite(memory, &value, 8, 515 * PAGE));
	ASSERT_EQ(8, pwrite(g->vm, &value, 8, OTHER + 511 * PAGE));
	ASSERT_EQ(2, raw_dirty(g->vm, pages, 1));
	EXPECT_EQ(OTHER + 3 * PAGE, pages[0]);
	ASSERT_EQ(2, raw_dirty(g->vm, pages, 8));
	EXPECT_EQ(OTHER + 511 * PAGE, pages[1]);
	close(memory);
}

/* Nor is what the guest wrote by one slot forgotten where another one goes. */
TEST_F(forks, dirty_by_the_slot_that_stays)
{
	struct guest *g = &self->g;
	struct wisp_query query;
	int s;

	ASSERT_EQ(0, raw_query(g->sys, &query));
	ASSERT_EQ(0, raw_set_slot(g->vm, 1, OTHER, GUEST_SIZE, g->fd, 0, PROT_RWX));
	s = raw_snapshot(g->vm);
	ASSERT_LE(0, s);
	/* A page of its own, whose entry is clean. */
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(WISP_EXIT_HLT, read_by_guest(g->vm, g->page));
	ASSERT_EQ(0, raw_reset(g->vm, -1));
	ASSERT_EQ(!!(query.quirks & WISP_QUIRK_NO_DIRTY),
		  guest_is_dirty(g->vm, GUEST_DATA));
	/* The other slot comes anew, and the page is read there. */
	ASSERT_EQ(0, raw_set_slot(g->vm, 1, OTHER, GUEST_SIZE, g->fd, 0, PROT_RWX));
	g->page->state.general.rdi = OTHER + GUEST_DATA;
	g->page->state.general.rip = GUEST_CODE + 1;
	g->page->dirty = WISP_STATE_GENERAL;
	g->page->complete = 0;
	ASSERT_EQ(0, raw_run(g->vm, 0));
	ASSERT_EQ(WISP_EXIT_HLT, g->page->exit.reason);
	EXPECT_EQ(7ULL, g->page->state.general.rax);
	/* And then written by the first. */
	g->page->state.general.rdi = GUEST_DATA;
	g->page->dirty = WISP_STATE_GENERAL;
	ASSERT_EQ(WISP_EXIT_HLT, read_by_guest(g->vm, g->page));
	EXPECT_EQ(8ULL, word(g->vm, GUEST_DATA));
	EXPECT_TRUE(guest_is_dirty(g->vm, GUEST_DATA));
	close(s);
}

/* Nor where PROTECT took the entry by which it was written, and another one came. */
TEST_F(forks, dirty_behind_a_new_entry)
{
	struct wisp_protect_range range = {
		.gpa = GUEST_DATA, .range_size = PAGE, .prot = PROT_R,
	};
	struct guest *g = &self->g;

	/* First a page of its own, whose entry is clean then; this is written by. */
	for (int round = 0; round < 2; round++) {
		ASSERT_EQ(0, raw_reset(g->vm, -1));
		for (int i = 0; i < 2; i++)
			ASSERT_EQ(WISP_EXIT_HLT, read_by_guest(g->vm, g->page));
	}
	ASSERT_EQ(0, raw_protect(g->vm, &range, 1));
	ASSERT_EQ(WISP_EXIT_HLT, read_by_guest(g->vm, g->page));
	EXPECT_EQ(8ULL, g->page->state.general.rax);
	EXPECT_TRUE(guest_is_dirty(g->vm, GUEST_DATA));
}

static __u64 tsc(int vm, int vcpu)
{
	struct wisp_state state = {};

	raw_get_state(vm, vcpu, WISP_STATE_MSRS, &state);
	return state.msrs.tsc;
}

/* One that is looked at later than the other is not behind it. */
static void expect_same_tsc(struct __test_metadata *_metadata, int vm)
{
	__u64 first, other;

	first = tsc(vm, 0);
	usleep(2000);
	for (int i = 0; i < 10; i++) {
		other = tsc(vm, 1);
		EXPECT_LT(first, other);
		first = tsc(vm, 0);
		EXPECT_LT(other, first);
	}
}

TEST_F(forks, tscs_stay_together)
{
	int vm, s, fork;

	ASSERT_EQ(0, guest_pin(0));
	vm = raw_create_vm(self->g.sys);
	ASSERT_LE(0, vm);
	for (__u32 i = 0; i < 2; i++) {
		ASSERT_EQ(0, raw(vm, WISP_CREATE_VCPU, &((struct wisp_create_vcpu){
			.size = sizeof(struct wisp_create_vcpu), .vcpu = i,
		})));
		usleep(2000);
	}
	expect_same_tsc(_metadata, vm);
	s = raw_snapshot(vm);
	ASSERT_LE(0, s);
	EXPECT_EQ(tsc(s, 0), tsc(s, 1));
	fork = raw_fork(self->g.sys, s);
	ASSERT_LE(0, fork);
	expect_same_tsc(_metadata, fork);
	ASSERT_EQ(0, raw_reset(fork, s));
	expect_same_tsc(_metadata, fork);
	ASSERT_EQ(0, raw_reset(vm, s));
	expect_same_tsc(_metadata, vm);
	/* A snapshot has all of them at one moment. */
	close(s);
	s = raw_snapshot(fork);
	ASSERT_LE(0, s);
	EXPECT_EQ(tsc(s, 0), tsc(s, 1));
	close(s);
	s = raw_snapshot(vm);
	ASSERT_LE(0, s);
	EXPECT_EQ(tsc(s, 0), tsc(s, 1));
	close(fork);
	close(s);
	close(vm);
}

/*
 * A relative's snapshot may have a vCPU that the VM lacks, which it has then; and one
 * that a snapshot lacks is as after INIT.
 */
TEST_F(forks, added_vcpu)
{
	struct wisp_state state, added;
	int s;

	ASSERT_EQ(0, raw(self->g.vm, WISP_CREATE_VCPU, &((struct wisp_create_vcpu){
		.size = sizeof(struct wisp_create_vcpu), .vcpu = 1,
	})));
	ASSERT_EQ(0, raw_get_state(self->g.vm, 1, WISP_STATE_GENERAL, &state));
	added = state;
	added.general.rbx = 5;
	ASSERT_EQ(0, raw_set_state(self->g.vm, 1, WISP_STATE_GENERAL, &added, NULL));
	s = raw_snapshot(self->g.vm);
	ASSERT_LE(0, s);
	/* One of the same origin, without it. */
	ASSERT_EQ(-ENOENT, raw_get_state(self->vm, 1, WISP_STATE_GENERAL, &added));
	ASSERT_EQ(0, raw_reset(self->vm, s));
	ASSERT_EQ(-EEXIST, raw(self->vm, WISP_CREATE_VCPU, &((struct wisp_create_vcpu){
		.size = sizeof(struct wisp_create_vcpu), .vcpu = 1,
	})));
	ASSERT_EQ(0, raw_get_state(self->vm, 1, WISP_STATE_GENERAL, &added));
	EXPECT_EQ(5ULL, added.general.rbx);
	ASSERT_EQ(0, raw_reset(self->vm, self->snapshot));
	ASSERT_EQ(0, raw_get_state(self->vm, 1, WISP_STATE_GENERAL, &added));
	EXPECT_EQ(0, memcmp(&state.general, &added.general, sizeof(state.general)));
	ASSERT_EQ(0, raw_reset(self->vm, s));
	ASSERT_EQ(0, raw_get_state(self->vm, 1, WISP_STATE_GENERAL, &added));
	EXPECT_EQ(5ULL, added.general.rbx);
	close(s);
}

/* What was discarded is not dirty, and what was written again once. */
TEST_F(forks, discarded_is_not_dirty)
{
	struct wisp_discard discard = {
		.size = sizeof(discard), .offset = GUEST_DATA, .discard_size = 4 * PAGE,
	};
	struct guest *g = &self->g;
	__u64 value = 3, pages[64];
	int n;

	for (__u64 i = 0; i < 8; i++)
		ASSERT_EQ(8, pwrite(g->vm, &value, 8, GUEST_DATA + i * PAGE));
	n = raw_dirty(g->vm, pages, 64);
	for (int round = 0; round < 50; round++) {
		ASSERT_EQ(0, raw(g->fd, WISP_DISCARD, &discard));
		EXPECT_EQ(n - 4, raw_dirty(g->vm, pages, 64));
		EXPECT_FALSE(guest_is_dirty(g->vm, GUEST_DATA + PAGE));
		EXPECT_TRUE(guest_is_dirty(g->vm, GUEST_DATA + 5 * PAGE));
		for (__u64 i = 0; i < 4; i++)
			ASSERT_EQ(8, pwrite(g->vm, &value, 8, GUEST_DATA + i * PAGE));
		EXPECT_EQ(n, raw_dirty(g->vm, pages, 64));
	}
	ASSERT_EQ(0, raw_reset(g->vm, -1));
	EXPECT_EQ(7ULL, word(g->vm, GUEST_DATA));
	EXPECT_EQ(0ULL, word(g->vm, GUEST_DATA + PAGE));
}

TEST_HARNESS_MAIN
