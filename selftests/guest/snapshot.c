// SPDX-License-Identifier: GPL-2.0
/*
 * Snapshots: what was, is again, and what one VM writes no other sees.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "../harness.h"
#include "../race/random.h"
#include "guest.h"

/* Counts in each of the pages from GUEST_DATA on; how many are in ECX. */
SNIPPET(count, 64,
	"1: hlt\n"
	"	mov %ecx, %edx\n"
	"	mov $" STR(GUEST_DATA) ", %esi\n"
	"2:	incq (%rsi)\n"
	"	add $0x1000, %rsi\n"
	"	dec %edx\n"
	"	jnz 2b\n"
	"	jmp 1b");

/* Reads the first word of as many pages, and sums them up in RAX. */
SNIPPET(sum, 64,
	"1: hlt\n"
	"	xor %eax, %eax\n"
	"	mov %ecx, %edx\n"
	"	mov $" STR(GUEST_DATA) ", %esi\n"
	"2:	add (%rsi), %rax\n"
	"	add $0x1000, %rsi\n"
	"	dec %edx\n"
	"	jnz 2b\n"
	"	jmp 1b");

SNIPPET(look, 64, "1: hlt; mov 0x400000, %rax; jmp 1b");
SNIPPET(spin, 64, "1: incq " STR(GUEST_DATA) "; jmp 1b");

#define ALL_GROUPS	STATE_ALL

FIXTURE(snapshot) {
	struct guest g;
};

FIXTURE_SETUP(snapshot)
{
	ASSERT_EQ(0, guest_create(&self->g));
}

FIXTURE_TEARDOWN(snapshot)
{
	guest_destroy(&self->g);
}

/* A VM by its fd: a fork has no mapping of its memory. */
struct machine {
	int vm;
	struct wisp_vcpu_page *page;
};

static int map_page(struct machine *m)
{
	void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, m->vm, 0);

	m->page = p == MAP_FAILED ? NULL : p;
	return p == MAP_FAILED ? -errno : 0;
}

static int fork_of(int sys, int snapshot, struct machine *m)
{
	m->vm = raw_fork(sys, snapshot);
	return m->vm < 0 ? m->vm : map_page(m);
}

static void end(struct machine *m)
{
	munmap(m->page, PAGE);
	close(m->vm);
}

static __u64 word(int vm, __u64 gpa)
{
	__u64 value = ~0ULL;

	if (pread(vm, &value, sizeof(value), gpa) != sizeof(value))
		return ~0ULL;
	return value;
}

/* Goes on from the HLT it is at to the next. */
static int go(struct machine *m)
{
	m->page->complete = 1;
	return raw_run(m->vm, 0) ?: (int)m->page->exit.reason;
}

/* The guest stands at its HLT, and counts or sums @npages when it goes on. */
static void stand(struct __test_metadata *_metadata, struct guest *g,
		  const char *code, const char *code_end, __u64 npages)
{
	guest_load(g, LONG64, code, code_end);
	g->page->dirty |= WISP_STATE_GENERAL;
	g->page->state.general.rcx = npages;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(g));
}

static struct machine of(struct guest *g)
{
	return (struct machine){ .vm = g->vm, .page = g->page };
}

static void expect_words(struct __test_metadata *_metadata, int vm, int npages,
			 __u64 value)
{
	for (int i = 0; i < npages; i++) {
		EXPECT_EQ(value, word(vm, GUEST_DATA + (__u64)i * PAGE))
			TH_LOG("page %d", i);
	}
}

TEST_F(snapshot, memory_comes_back)
{
	struct machine m = of(&self->g);
	int s;

	stand(_metadata, &self->g, count, count_end, 20);
	ASSERT_EQ(WISP_EXIT_HLT, go(&m));
	s = raw_snapshot(m.vm);
	ASSERT_LE(0, s);
	for (int round = 0; round < 5; round++) {
		ASSERT_EQ(WISP_EXIT_HLT, go(&m));
		ASSERT_EQ(WISP_EXIT_HLT, go(&m));
		expect_words(_metadata, m.vm, 20, 3);
		ASSERT_EQ(0, raw_reset(m.vm, s));
		expect_words(_metadata, m.vm, 20, 1);
	}
	close(s);
}

TEST_F(snapshot, registers_come_back)
{
	struct wisp_state *was = calloc(1, sizeof(*was));
	struct wisp_state *now = calloc(1, sizeof(*now));
	struct machine m = of(&self->g);
	int s;

	stand(_metadata, &self->g, count, count_end, 1);
	ASSERT_EQ(0, raw_get_state(m.vm, 0, ALL_GROUPS, was));
	was->general.r15 = 0x1515;
	was->msrs.lstar = 0x123456;
	was->msrs.tsc_aux = 77;
	was->debug.dr0 = 0x4000;
	was->xsave[32] = 0x55;
	was->xsave[512] |= 1;
	ASSERT_EQ(0, raw_set_state(m.vm, 0, ALL_GROUPS, was, NULL));
	s = raw_snapshot(m.vm);
	ASSERT_LE(0, s);
	ASSERT_EQ(0, raw_get_state(s, 0, ALL_GROUPS, was));
	now->general = was->general;
	now->general.r15 = 1;
	now->general.rip = 0x5000;
	now->msrs = was->msrs;
	now->msrs.lstar = 2;
	now->msrs.tsc_aux = 3;
	now->debug = was->debug;
	now->debug.dr0 = 4;
	memcpy(now->xsave, was->xsave, sizeof(now->xsave));
	now->xsave[32] = 0;
	ASSERT_EQ(0, raw_set_state(m.vm, 0, WISP_STATE_GENERAL | WISP_STATE_MSRS |
				   WISP_STATE_DEBUG | WISP_STATE_FPU, now, NULL));
	ASSERT_EQ(0, raw_reset(m.vm, s));
	ASSERT_EQ(0, raw_get_state(m.vm, 0, ALL_GROUPS, now));
	/* Time goes on. */
	EXPECT_LE(was->msrs.tsc, now->msrs.tsc);
	now->msrs.tsc = was->msrs.tsc;
	EXPECT_EQ(0, memcmp(was, now, sizeof(*was)));
	close(s);
	free(was);
	free(now);
}

TEST_F(snapshot, a_fork_is_on_its_own)
{
	struct machine m = of(&self->g), child, other;
	int s;

	stand(_metadata, &self->g, count, count_end, 20);
	ASSERT_EQ(WISP_EXIT_HLT, go(&m));
	s = raw_snapshot(m.vm);
	ASSERT_LE(0, s);
	ASSERT_EQ(0, fork_of(self->g.sys, s, &child));
	ASSERT_EQ(0, fork_of(self->g.sys, s, &other));
	expect_words(_metadata, child.vm, 20, 1);
	ASSERT_EQ(WISP_EXIT_HLT, go(&child));
	ASSERT_EQ(WISP_EXIT_HLT, go(&child));
	ASSERT_EQ(WISP_EXIT_HLT, go(&m));
	expect_words(_metadata, child.vm, 20, 3);
	expect_words(_metadata, m.vm, 20, 2);
	expect_words(_metadata, other.vm, 20, 1);
	expect_words(_metadata, s, 20, 1);
	ASSERT_EQ(0, raw_reset(child.vm, -1));
	expect_words(_metadata, child.vm, 20, 1);
	ASSERT_EQ(WISP_EXIT_HLT, go(&child));
	expect_words(_metadata, child.vm, 20, 2);
	end(&child);
	end(&other);
	expect_words(_metadata, m.vm, 20, 2);
	close(s);
}

TEST_F(snapshot, a_fork_outlives_its_parents)
{
	struct machine m = of(&self->g), child = { .vm = -1 }, next;
	int s, sys = dup(self->g.sys);

	stand(_metadata, &self->g, count, count_end, 20);
	for (int depth = 0; depth < 64; depth++) {
		ASSERT_EQ(WISP_EXIT_HLT, go(depth ? &child : &m));
		s = raw_snapshot(depth ? child.vm : m.vm);
		ASSERT_LE(0, s);
		ASSERT_EQ(0, fork_of(sys, s, &next));
		close(s);
		if (depth)
			end(&child);
		child = next;
	}
	expect_words(_metadata, child.vm, 20, 64);
	expect_words(_metadata, m.vm, 20, 1);
	ASSERT_EQ(WISP_EXIT_HLT, go(&child));
	expect_words(_metadata, child.vm, 20, 65);
	end(&child);
	close(sys);
}

TEST_F(snapshot, any_of_the_tree_can_be_had_again)
{
	struct machine m = of(&self->g), child;
	int s[4];

	stand(_metadata, &self->g, count, count_end, 20);
	for (int i = 0; i < 3; i++) {
		s[i] = raw_snapshot(m.vm);
		ASSERT_LE(0, s[i]);
		ASSERT_EQ(WISP_EXIT_HLT, go(&m));
	}
	ASSERT_EQ(0, fork_of(self->g.sys, s[1], &child));
	for (int i = 0; i < 5; i++)
		ASSERT_EQ(WISP_EXIT_HLT, go(&child));
	s[3] = raw_snapshot(child.vm);
	ASSERT_LE(0, s[3]);
	for (int i = 0; i < 12; i++) {
		int which = (i * 7 + i / 4) % 4;

		ASSERT_EQ(0, raw_reset(m.vm, s[which]));
		expect_words(_metadata, m.vm, 20, which == 3 ? 6 : which);
		ASSERT_EQ(WISP_EXIT_HLT, go(&m));
		expect_words(_metadata, m.vm, 20, which == 3 ? 7 : which + 1);
	}
	end(&child);
	for (int i = 0; i < 4; i++)
		close(s[i]);
}

TEST_F(snapshot, what_the_vmm_writes_comes_back_too)
{
	struct machine m = of(&self->g), child;
	__u64 *mapped = guest_at(&self->g, GUEST_DATA);
	__u64 value = 55, pages[8];
	int s;

	stand(_metadata, &self->g, count, count_end, 20);
	mapped[0] = 7;
	s = raw_snapshot(m.vm);
	ASSERT_LE(0, s);
	ASSERT_EQ(0, fork_of(self->g.sys, s, &child));
	for (int round = 0; round < 4; round++) {
		EXPECT_EQ(7ULL, mapped[0]);
		mapped[0] = 8;
		EXPECT_EQ(8ULL, word(m.vm, GUEST_DATA));
		ASSERT_EQ(8, pwrite(m.vm, &value, 8, GUEST_DATA + PAGE));
		ASSERT_EQ(8, pwrite(self->g.fd, &value, 8, GUEST_DATA + 2 * PAGE));
		EXPECT_EQ(55ULL, mapped[2 * PAGE / 8]);
		/* These, and no others: the guest has not run. */
		EXPECT_EQ(3, raw_dirty(m.vm, pages, 8));
		for (int i = 0; i < 3; i++)
			EXPECT_TRUE(guest_is_dirty(m.vm, GUEST_DATA + i * PAGE));
		expect_words(_metadata, s, 1, 7);
		expect_words(_metadata, child.vm, 1, 7);
		EXPECT_EQ(0ULL, word(child.vm, GUEST_DATA + PAGE));
		EXPECT_EQ(0ULL, word(child.vm, GUEST_DATA + 2 * PAGE));
		EXPECT_EQ(0, raw_dirty(child.vm, pages, 8));
		if (round == 3)
			ASSERT_EQ(WISP_EXIT_HLT, go(&m));
		EXPECT_EQ(round == 3 ? 9ULL : 8ULL, mapped[0]);
		EXPECT_EQ(7ULL, word(s, GUEST_DATA));
		ASSERT_EQ(0, raw_reset(m.vm, s));
		EXPECT_EQ(7ULL, mapped[0]);
		EXPECT_EQ(0ULL, mapped[PAGE / 8]);
		EXPECT_EQ(0ULL, word(m.vm, GUEST_DATA + 2 * PAGE));
	}
	end(&child);
	close(s);
}

/* What it reads first is mapped to be read only; that it has to write, too. */
TEST_F(snapshot, one_instruction_reads_and_writes)
{
	char *page = guest_at(&self->g, GUEST_DATA), *from = page, *to = page + 1;
	int s;

	page[0] = 'x';
	s = raw_snapshot(self->g.vm);
	ASSERT_LE(0, s);
	asm volatile("movsb" : "+S"(from), "+D"(to) : : "memory");
	EXPECT_EQ('x', page[1]);
	ASSERT_EQ(0, raw_reset(self->g.vm, s));
	EXPECT_EQ(0, page[1]);
	asm volatile("incb %0" : "+m"(page[1]));
	EXPECT_EQ(1, page[1]);
	close(s);
}

/* How many of @n pages that were written are listed after a reset. */
static int written_once(const struct guest *g, int n)
{
	return g->query.quirks & WISP_QUIRK_NO_DIRTY ? n : 0;
}

/* Counts in each page of a list of addresses at RSI; 0 ends it. */
SNIPPET(count_listed, 64,
	"1: hlt\n"
	"2:	mov (%rsi), %rdi\n"
	"	test %rdi, %rdi\n"
	"	jz 1b\n"
	"	incq -8(%rdi)\n"
	"	add $8, %rsi\n"
	"	jmp 2b");

#define SPACE_SIZE	0x40000000	/* what the guest's tables map */
#define SETS		6
#define SET_MAX		512		/* addresses, with the 0 behind them */
#define SETS_GPA	0x20000000
#define SETS_SIZE	(SETS * SET_MAX * 8)

/* Any page of these may be written, but the guest's own before @first. */
static const struct {
	__u64 gpa, npages, first;
} dirty_slots[] = {
	{ 0, GUEST_SIZE / PAGE, GUEST_DATA / PAGE },
	{ GUEST_SIZE, 1, 0 },
	{ 0x10000000, 700, 0 },
	{ SPACE_SIZE - 16 * PAGE, 16, 0 },
};

/* Pages that the guest is to write, as a seed has it. */
struct set {
	__u64 ends[SET_MAX];
	int count;
	__u8 has[SPACE_SIZE / PAGE], had[SPACE_SIZE / PAGE];
};

static void set_add(struct set *set, __u64 gpa)
{
	if (set->has[gpa / PAGE])
		return;
	set->has[gpa / PAGE] = 1;
	set->ends[set->count++] = gpa + PAGE;
}

/* The first and the last page of each slot, and up to 100 more. */
static void set_choose(struct set *set, __u64 seed)
{
	memset(set->has, 0, sizeof(set->has));
	memset(set->ends, 0, sizeof(set->ends));
	set->count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(dirty_slots); i++) {
		__u64 gpa = dirty_slots[i].gpa, first = dirty_slots[i].first;
		__u64 npages = dirty_slots[i].npages;

		set_add(set, gpa);
		set_add(set, gpa + (npages - 1) * PAGE);
		for (__u64 n = random_below(&seed, 101); n; n--)
			set_add(set, gpa + PAGE * (first +
				random_below(&seed, npages - first)));
	}
}

/*
 * The slots, and in one that the guest only reads the sets: the VMM writes them
 * before there is a snapshot.
 */
static void add_sets(struct __test_metadata *_metadata, struct guest *g,
		     struct set *set)
{
	int memory;

	for (size_t i = 1; i < ARRAY_SIZE(dirty_slots); i++) {
		__u64 size = dirty_slots[i].npages * PAGE;

		memory = raw_create_memory(g->sys, size);
		ASSERT_LE(0, memory);
		ASSERT_EQ(0, raw_set_slot(g->vm, i, dirty_slots[i].gpa, size, memory,
					  0, PROT_RW));
		close(memory);
	}
	memory = raw_create_memory(g->sys, SETS_SIZE);
	ASSERT_LE(0, memory);
	ASSERT_EQ(0, raw_set_slot(g->vm, ARRAY_SIZE(dirty_slots), SETS_GPA, SETS_SIZE,
				  memory, 0, PROT_R));
	for (int i = 0; i < SETS; i++) {
		set_choose(set, i);
		ASSERT_EQ((ssize_t)sizeof(set->ends),
			  pwrite(memory, set->ends, sizeof(set->ends),
				 i * sizeof(set->ends)));
	}
	close(memory);
}

/* Where the CPU sets accessed and dirty bits. */
static bool is_guest_table(__u64 gpa)
{
	return gpa >= GUEST_PML4 && gpa <= GUEST_PT;
}

/*
 * Each page of the set is listed, once, and what else is listed may be: the guest's
 * tables and, where the CPU notes nothing, what was written before the last reset.
 */
static void expect_listed(struct __test_metadata *_metadata, const struct guest *g,
			  struct set *set)
{
	static __u64 pages[4096];
	int n = raw_dirty(g->vm, pages, ARRAY_SIZE(pages)), found = 0;

	ASSERT_LE(set->count, n);
	ASSERT_GE(ARRAY_SIZE(pages), (size_t)n);
	for (int i = 0; i < n; i++) {
		__u64 page = pages[i] / PAGE;

		ASSERT_GT(SPACE_SIZE / PAGE, page);
		ASSERT_NE(2, set->has[page])
			TH_LOG("%#llx is there twice", pages[i]);
		if (set->has[page] == 1) {
			found++;
		} else {
			ASSERT_TRUE(is_guest_table(pages[i]) ||
				    written_once(g, set->had[page]))
				TH_LOG("%#llx was not written", pages[i]);
		}
		set->has[page] = 2;
		set->had[page] = 1;
	}
	EXPECT_EQ(set->count, found);
	EXPECT_EQ(n, raw_dirty(g->vm, pages, 1));
}

TEST_F(snapshot, dirty_lists_what_was_written)
{
	struct wisp_dirty nowhere = {
		.size = sizeof(nowhere), .count = 7, .pages = 8,
	};
	struct set *set = calloc(1, sizeof(*set));
	struct machine m = of(&self->g);
	__u64 pages[1];
	int s, n;

	ASSERT_NE(NULL, set);
	EXPECT_EQ(-EINVAL, raw_dirty(m.vm, pages, 1));
	add_sets(_metadata, &self->g, set);
	GUEST_LOAD(&self->g, LONG64, count_listed);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	s = raw_snapshot(m.vm);
	ASSERT_LE(0, s);
	EXPECT_EQ(0, raw_dirty(m.vm, pages, 1));
	for (int i = 0; i < SETS; i++) {
		set_choose(set, i);
		printf("# seed %d: %d pages\n", i, set->count);
		m.page->dirty = WISP_STATE_GENERAL;
		m.page->state.general.rsi = SETS_GPA + i * sizeof(set->ends);
		ASSERT_EQ(WISP_EXIT_HLT, go(&m));
		expect_listed(_metadata, &self->g, set);
		n = raw_dirty(m.vm, pages, 1);
		EXPECT_EQ(-EFAULT, raw(m.vm, WISP_DIRTY, &nowhere));
		EXPECT_EQ(7U, nowhere.count);
		ASSERT_EQ(0, raw_reset(m.vm, s));
		EXPECT_EQ(written_once(&self->g, n), raw_dirty(m.vm, pages, 1));
	}
	close(s);
	free(set);
}

TEST_F(snapshot, slots_and_protections_come_back)
{
	struct wisp_protect_range range = {
		.gpa = GUEST_DATA, .range_size = PAGE, .prot = PROT_R,
	};
	struct machine m = of(&self->g);
	int s, s2, more;

	stand(_metadata, &self->g, count, count_end, 4);
	s = raw_snapshot(m.vm);
	ASSERT_LE(0, s);
	more = raw_create_memory(self->g.sys, PAGE);
	ASSERT_LE(0, more);
	ASSERT_EQ(0, raw_set_slot(m.vm, 5, GUEST_NOWHERE, PAGE, more, 0, PROT_RW));
	ASSERT_EQ(0, raw_protect(m.vm, &range, 1));
	s2 = raw_snapshot(m.vm);
	ASSERT_LE(0, s2);
	for (int round = 0; round < 2; round++) {
		ASSERT_EQ(0, raw_reset(m.vm, s));
		EXPECT_EQ(~0ULL, word(m.vm, GUEST_NOWHERE));
		ASSERT_EQ(WISP_EXIT_HLT, go(&m));
		expect_words(_metadata, m.vm, 4, 1);
		ASSERT_EQ(0, raw_reset(m.vm, s2));
		EXPECT_EQ(0ULL, word(m.vm, GUEST_NOWHERE));
		ASSERT_EQ(WISP_EXIT_MEMORY, go(&m));
		EXPECT_EQ(WISP_MEMORY_PROTECTED, m.page->exit.memory.flags);
		ASSERT_EQ(0, raw_remove_slot(m.vm, 5));
	}
	close(s);
	close(s2);
	close(more);
}

TEST_F(snapshot, what_was_discarded_comes_back)
{
	struct wisp_discard discard = {
		.size = sizeof(discard), .offset = GUEST_DATA,
		.discard_size = 4 * PAGE,
	};
	struct machine m = of(&self->g);
	int s;

	stand(_metadata, &self->g, count, count_end, 20);
	ASSERT_EQ(WISP_EXIT_HLT, go(&m));
	s = raw_snapshot(m.vm);
	ASSERT_LE(0, s);
	for (int round = 0; round < 3; round++) {
		if (round)
			ASSERT_EQ(WISP_EXIT_HLT, go(&m));
		ASSERT_EQ(0, raw(self->g.fd, WISP_DISCARD, &discard));
		expect_words(_metadata, m.vm, 4, 0);
		ASSERT_EQ(WISP_EXIT_HLT, go(&m));
		expect_words(_metadata, m.vm, 4, 1);
		ASSERT_EQ(0, raw_reset(m.vm, s));
		expect_words(_metadata, m.vm, 20, 1);
	}
	close(s);
}

TEST_F(snapshot, run_resets_first)
{
	struct machine m = of(&self->g);
	int s;

	stand(_metadata, &self->g, count, count_end, 20);
	m.page->flags = WISP_RUN_RESET;
	EXPECT_EQ(-EINVAL, raw_run(m.vm, 0));
	s = raw_snapshot(m.vm);
	ASSERT_LE(0, s);
	for (int round = 0; round < 5; round++) {
		m.page->flags = WISP_RUN_RESET;
		/* The HLT of the snapshot is the one that is completed. */
		ASSERT_EQ(WISP_EXIT_HLT, go(&m));
		EXPECT_EQ(0U, m.page->flags);
		expect_words(_metadata, m.vm, 20, 1);
	}
	ASSERT_EQ(WISP_EXIT_HLT, go(&m));
	expect_words(_metadata, m.vm, 20, 2);
	close(s);
}

SNIPPET(spin_counting, 64, "1: mov %rbx, (%rdi); incq 8(%rdi); jmp 1b");

static void on_signal(int sig)
{
	(void)sig;
}

/* The same call again goes on: what it was given is not lost to a second reset. */
TEST_F(snapshot, an_interrupted_run_resets_once)
{
	struct machine m = of(&self->g);
	struct guest_thread t;
	int s;

	signal(SIGUSR1, on_signal);
	GUEST_LOAD(&self->g, LONG64, spin_counting);
	m.page->state.general.rdi = GUEST_DATA;
	m.page->budget_ns = 0;
	ASSERT_EQ(0, raw_kick(m.vm, 0));
	ASSERT_EQ(WISP_EXIT_KICKED, guest_run(&self->g));
	s = raw_snapshot(m.vm);
	ASSERT_LE(0, s);
	m.page->flags = WISP_RUN_RESET;
	m.page->state.general.rbx = 77;
	m.page->dirty = WISP_STATE_GENERAL;
	guest_thread_start(&t, &self->g, 0);
	guest_wait_counting(&self->g, GUEST_DATA + 8);
	ASSERT_EQ(0, pthread_kill(t.thread, SIGUSR1));
	EXPECT_EQ(-EINTR, guest_thread_join(&t));
	EXPECT_EQ(0U, m.page->flags);
	EXPECT_EQ(0U, m.page->dirty);
	ASSERT_EQ(0, raw_kick(m.vm, 0));
	EXPECT_EQ(WISP_EXIT_KICKED, guest_run(&self->g));
	EXPECT_EQ(77UL, m.page->state.general.rbx);
	EXPECT_EQ(77UL, word(m.vm, GUEST_DATA));
	close(s);
}

/* A run that could not be leaves the guest where it is. */
TEST_F(snapshot, a_refused_run_does_not_reset)
{
	static const struct {
		size_t field;
		__u32 bits;
		int result;
	} rows[] = {
		{ WISP_FIELD(flags), 1U << 31, -EOPNOTSUPP },
		{ WISP_FIELD(want), 1U << 31, -EOPNOTSUPP },
		{ WISP_FIELD(dirty), 1U << 31, -EOPNOTSUPP },
		{ WISP_FIELD(complete), 2, -EINVAL },
		{ WISP_FIELD(reserved), 1, -EINVAL },
		{ WISP_FIELD(reserved2), 1, -EINVAL },
		{ WISP_FIELD(breakpoints.dr7), 1 << 13, -EINVAL },
	};
	struct machine m = of(&self->g);
	int s;

	stand(_metadata, &self->g, count, count_end, 20);
	s = raw_snapshot(m.vm);
	ASSERT_LE(0, s);
	ASSERT_EQ(WISP_EXIT_HLT, go(&m));
	m.page->flags = WISP_RUN_RESET | WISP_RUN_BREAKPOINTS;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		__u32 *word = (void *)((char *)m.page + rows[i].field);

		*word |= rows[i].bits;
		EXPECT_EQ(rows[i].result, raw_run(m.vm, 0))
			TH_LOG("row %zu", i);
		EXPECT_EQ(rows[i].field, m.page->field);
		expect_words(_metadata, m.vm, 20, 1);
		*word &= ~rows[i].bits;
	}
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	expect_words(_metadata, m.vm, 20, 0);
	close(s);
}

TEST_F(snapshot, refuses_what_is_not_its_own)
{
	struct guest other;
	struct guest_thread t;
	int s, foreign;

	EXPECT_EQ(-EINVAL, raw_reset(self->g.vm, -1));
	EXPECT_EQ(-EBADF, raw_reset(self->g.vm, 9999));
	EXPECT_EQ(-EINVAL, raw_reset(self->g.vm, self->g.vm));
	EXPECT_EQ(-EBADF, raw_fork(self->g.sys, 9999));
	EXPECT_EQ(-EINVAL, raw_fork(self->g.sys, self->g.fd));
	ASSERT_EQ(0, guest_create(&other));
	foreign = raw_snapshot(other.vm);
	ASSERT_LE(0, foreign);
	EXPECT_EQ(-EINVAL, raw_reset(self->g.vm, foreign));

	s = raw_snapshot(self->g.vm);
	ASSERT_LE(0, s);
	GUEST_LOAD(&self->g, LONG64, spin);
	guest_thread_start(&t, &self->g, 0);
	guest_wait_counting(&self->g, GUEST_DATA);
	EXPECT_EQ(-EBUSY, raw_snapshot(self->g.vm));
	EXPECT_EQ(-EBUSY, raw_reset(self->g.vm, s));
	ASSERT_EQ(0, raw_kick(self->g.vm, 0));
	EXPECT_EQ(WISP_EXIT_KICKED, guest_thread_join(&t));
	EXPECT_EQ(0, raw_reset(self->g.vm, s));

	/* One VM writes a layered object, and what two write is not frozen. */
	EXPECT_EQ(-EBUSY, raw_set_slot(other.vm, 7, GUEST_NOWHERE, PAGE,
				       self->g.fd, 0, PROT_RW));
	EXPECT_EQ(-EBUSY, raw_set_slot(self->g.vm, 7, GUEST_NOWHERE, PAGE,
				       other.fd, 0, PROT_RW));
	close(foreign);
	close(s);
	guest_destroy(&other);
}

static __u64 faults(int vm)
{
	struct wisp_stats stats = { .size = sizeof(stats) };

	return raw(vm, WISP_STATS, &stats) ? ~0ULL : stats.faults;
}

/* Reads of what the parent had mapped are not faults of the child's. */
TEST_F(snapshot, translations_are_shared)
{
	struct machine m = of(&self->g), child;
	int s;

	stand(_metadata, &self->g, sum, sum_end, 500);
	ASSERT_EQ(WISP_EXIT_HLT, go(&m));
	s = raw_snapshot(m.vm);
	ASSERT_LE(0, s);
	ASSERT_EQ(0, fork_of(self->g.sys, s, &child));
	ASSERT_EQ(WISP_EXIT_HLT, go(&child));
	EXPECT_GE(20ULL, faults(child.vm));
	end(&child);
	close(s);
}

/* To discard what was never there makes one reset slow at most, not all. */
TEST_F(snapshot, nothing_was_discarded)
{
	struct wisp_discard discard = { .size = sizeof(discard), .discard_size = PAGE };
	int memory = raw_create_memory(self->g.sys, PAGE), s;
	struct machine m = of(&self->g);
	__u64 before = 0;

	ASSERT_LE(0, memory);
	ASSERT_EQ(0, raw_set_slot(m.vm, 5, GUEST_NOWHERE, PAGE, memory, 0, PROT_RW));
	stand(_metadata, &self->g, count, count_end, 4);
	s = raw_snapshot(m.vm);
	ASSERT_LE(0, s);
	ASSERT_EQ(0, raw(memory, WISP_DISCARD, &discard));
	for (int round = 0; round < 4; round++) {
		before = faults(m.vm);
		ASSERT_EQ(WISP_EXIT_HLT, go(&m));
		ASSERT_EQ(0, raw_reset(m.vm, -1));
	}
	EXPECT_EQ(before, faults(m.vm));
	close(s);
	close(memory);
}

/* Writes to @npages of GUEST_DATA from the one at @first on. */
static void write_pages(struct __test_metadata *_metadata, int vm, int first, int npages)
{
	const __u64 value = 1;

	for (int i = first; i < first + npages; i++)
		ASSERT_EQ(8, pwrite(vm, &value, 8, GUEST_DATA + (__u64)i * PAGE));
}

/* Those that stay are found again, and are no others. */
TEST_F(snapshot, discarded_from_among_many)
{
	struct wisp_discard discard = {
		.size = sizeof(discard), .offset = GUEST_DATA + 50 * PAGE,
		.discard_size = 101 * PAGE,
	};
	int s = raw_snapshot(self->g.vm);

	ASSERT_LE(0, s);
	for (int round = 0; round < 3; round++) {
		write_pages(_metadata, self->g.vm, 0, 200);
		EXPECT_EQ(200, raw_dirty(self->g.vm, NULL, 0));
		ASSERT_EQ(0, raw(self->g.fd, WISP_DISCARD, &discard));
		EXPECT_EQ(99, raw_dirty(self->g.vm, NULL, 0));
		write_pages(_metadata, self->g.vm, 0, 50);
		write_pages(_metadata, self->g.vm, 151, 49);
		EXPECT_EQ(99, raw_dirty(self->g.vm, NULL, 0));
		for (int i = 0; i < 200; i++) {
			EXPECT_EQ(i < 50 || i > 150,
				  guest_is_dirty(self->g.vm, GUEST_DATA + i * PAGE))
				TH_LOG("page %d", i);
		}
		write_pages(_metadata, self->g.vm, 50, 101);
		EXPECT_EQ(200, raw_dirty(self->g.vm, NULL, 0));
		ASSERT_EQ(0, raw_reset(self->g.vm, s));
		expect_words(_metadata, self->g.vm, 200, 0);
	}
	close(s);
}

/* What is mapped is what the VM has, also when a reset drops pages. */
TEST_F(snapshot, a_mapping_comes_back_with_pages)
{
	struct wisp_discard discard = {
		.size = sizeof(discard), .offset = GUEST_DATA + 50 * PAGE,
		.discard_size = PAGE,
	};
	volatile __u64 *mapped = guest_at(&self->g, GUEST_DATA);
	int s;

	mapped[0] = 7;
	s = raw_snapshot(self->g.vm);
	ASSERT_LE(0, s);
	for (int round = 0; round < 3; round++) {
		mapped[0] = 8;
		ASSERT_EQ(0, raw(self->g.fd, WISP_DISCARD, &discard));
		ASSERT_EQ(0, raw_reset(self->g.vm, s));
		EXPECT_EQ(7ULL, word(self->g.vm, GUEST_DATA));
		EXPECT_EQ(7ULL, mapped[0]);
	}
	close(s);
}

/*
 * A page that is mapped writable is not written through the old mapping any more:
 * whether it was written, or only read, which maps it so before the first snapshot.
 */
TEST_F(snapshot, held_writable_when_it_is_taken)
{
	static const __u64 gpa = GUEST_SIZE, size = 512 * PAGE;
	static const __u32 flags[] = { 0, WISP_MEMORY_HUGE };
	int s[4], memory;

	for (size_t kind = 0; kind < ARRAY_SIZE(flags); kind++) {
		struct wisp_create_memory arg = {
			.size = sizeof(arg), .flags = flags[kind],
			.memory_size = size,
		};
		volatile __u64 *mapped;

		memory = raw(self->g.sys, WISP_CREATE_MEMORY, &arg);
		ASSERT_LE(0, memory);
		ASSERT_EQ(0, raw_set_slot(self->g.vm, 5, gpa, size, memory, 0,
					  PROT_RW));
		mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
			      memory, 0);
		ASSERT_NE(MAP_FAILED, (void *)mapped);
		mapped[0] = 0;
		ASSERT_EQ(0, mapped[PAGE / 8]);
		for (__u64 i = 0; i < ARRAY_SIZE(s); i++) {
			s[i] = raw_snapshot(self->g.vm);
			ASSERT_LE(0, s[i]);
			EXPECT_FALSE(guest_is_dirty(self->g.vm, gpa));
			for (__u64 page = 0; page < 3; page++) {
				mapped[page * PAGE / 8] = i + 1;
				EXPECT_TRUE(guest_is_dirty(self->g.vm,
							   gpa + page * PAGE));
			}
		}
		for (__u64 i = 0; i < ARRAY_SIZE(s); i++) {
			for (__u64 page = 0; page < 3; page++)
				EXPECT_EQ(i, word(s[i], gpa + page * PAGE));
			close(s[i]);
		}
		munmap((void *)mapped, size);
		close(memory);
	}
}

/* A page stays dirty when its translation goes. */
TEST_F(snapshot, dirty_survives_protect)
{
	struct wisp_protect_range range = {
		.gpa = GUEST_DATA, .range_size = PAGE, .prot = PROT_R,
	};
	struct machine m = of(&self->g);
	int s;

	stand(_metadata, &self->g, count, count_end, 1);
	s = raw_snapshot(m.vm);
	ASSERT_LE(0, s);
	ASSERT_EQ(WISP_EXIT_HLT, go(&m));
	ASSERT_EQ(0, raw_reset(m.vm, s));
	ASSERT_EQ(WISP_EXIT_HLT, go(&m));
	ASSERT_EQ(0, raw_protect(m.vm, &range, 1));
	EXPECT_TRUE(guest_is_dirty(m.vm, GUEST_DATA));
	close(s);
}

/* Another VM that reads an object sees what its owner's reset made of it. */
TEST_F(snapshot, readers_see_a_reset)
{
	struct wisp_discard discard = {
		.size = sizeof(discard), .offset = PAGE, .discard_size = PAGE,
	};
	struct machine m;
	struct guest other;
	__u64 value = 8;
	int s, memory;

	memory = raw_create_memory(self->g.sys, 2 * PAGE);
	ASSERT_LE(0, memory);
	ASSERT_EQ(0, raw_set_slot(self->g.vm, 5, GUEST_NOWHERE, 2 * PAGE, memory,
				  0, PROT_R));
	s = raw_snapshot(self->g.vm);
	ASSERT_LE(0, s);
	ASSERT_EQ(0, guest_create(&other));
	m = of(&other);
	ASSERT_EQ(0, raw_set_slot(other.vm, 5, 0x400000, 2 * PAGE, memory, 0,
				  PROT_R));
	ASSERT_EQ(8, pwrite(memory, &value, 8, 0));
	guest_load(&other, LONG64, look, look_end);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&other));
	ASSERT_EQ(WISP_EXIT_HLT, go(&m));
	EXPECT_EQ(8ULL, m.page->state.general.rax);
	ASSERT_EQ(0, raw(memory, WISP_DISCARD, &discard));
	ASSERT_EQ(0, raw_reset(self->g.vm, s));
	EXPECT_EQ(0ULL, word(other.vm, 0x400000));
	ASSERT_EQ(WISP_EXIT_HLT, go(&m));
	EXPECT_EQ(0ULL, m.page->state.general.rax);
	close(s);
	close(memory);
	guest_destroy(&other);
}

/* It would have to be written again, which somebody else is by now to see. */
TEST_F(snapshot, readers_hold_up_a_reset)
{
	struct guest other;
	int s, memory;

	memory = raw_create_memory(self->g.sys, PAGE);
	ASSERT_LE(0, memory);
	ASSERT_EQ(0, raw_set_slot(self->g.vm, 5, GUEST_NOWHERE, PAGE, memory, 0,
				  PROT_RW));
	s = raw_snapshot(self->g.vm);
	ASSERT_LE(0, s);
	ASSERT_EQ(0, raw_set_slot(self->g.vm, 5, GUEST_NOWHERE, PAGE, memory, 0,
				  PROT_R));
	ASSERT_EQ(0, guest_create(&other));
	ASSERT_EQ(0, raw_set_slot(other.vm, 5, GUEST_NOWHERE, PAGE, memory, 0,
				  PROT_R));
	EXPECT_EQ(-EBUSY, raw_reset(self->g.vm, s));
	ASSERT_EQ(0, raw_remove_slot(other.vm, 5));
	EXPECT_EQ(0, raw_reset(self->g.vm, s));
	EXPECT_EQ(1, pwrite(self->g.vm, "x", 1, GUEST_NOWHERE));
	close(s);
	close(memory);
	guest_destroy(&other);
}

#define SECOND	(4UL << 20)

SNIPPET(store, 64, "mov %rax, (%rdi); hlt");

/* What has come in the place of a slot keeps its tables, if the reset fails behind that. */
TEST_F(snapshot, a_reset_that_fails_changes_nothing)
{
	struct guest *g = &self->g;
	struct machine m = of(g);
	__u64 pages[256], value = 7;
	int memory, instead, s, s2;
	struct guest other;

	memory = raw_create_memory(g->sys, PAGE);
	instead = raw_create_memory(g->sys, 2UL << 20);
	ASSERT_LE(0, memory);
	ASSERT_LE(0, instead);
	ASSERT_EQ(0, raw_set_slot(g->vm, 1, SECOND, 2UL << 20, g->fd, 0, PROT_RW));
	ASSERT_EQ(0, raw_set_slot(g->vm, 5, GUEST_NOWHERE, PAGE, memory, 0, PROT_RW));
	s = raw_snapshot(g->vm);
	ASSERT_LE(0, s);
	ASSERT_EQ(0, raw_set_slot(g->vm, 1, SECOND, 2UL << 20, instead, 0, PROT_RW));
	ASSERT_EQ(0, raw_set_slot(g->vm, 5, GUEST_NOWHERE, PAGE, memory, 0, PROT_R));
	s2 = raw_snapshot(g->vm);
	ASSERT_LE(0, s2);
	ASSERT_EQ(0, guest_create(&other));
	ASSERT_EQ(0, raw_set_slot(other.vm, 5, GUEST_NOWHERE, PAGE, memory, 0, PROT_R));

	GUEST_LOAD(g, LONG64, store);
	m.page->state.general.rdi = SECOND + PAGE;
	m.page->state.general.rax = value;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(g));
	ASSERT_EQ(value, word(g->vm, SECOND + PAGE));
	EXPECT_EQ(-EBUSY, raw_reset(g->vm, s));
	/* These look at, and write, the entries that lead to it. */
	EXPECT_LT(0, raw_dirty(g->vm, pages, 256));
	EXPECT_EQ(value, word(g->vm, SECOND + PAGE));
	EXPECT_EQ(0, raw_reset(g->vm, -1));
	EXPECT_EQ(0ULL, word(g->vm, SECOND + PAGE));
	close(s);
	close(s2);
	close(memory);
	close(instead);
	guest_destroy(&other);
}

/* To look at a page is not to write it. */
TEST_F(snapshot, reading_makes_nothing_dirty)
{
	struct machine m = of(&self->g);
	__u64 pages[256];
	int s, n;

	stand(_metadata, &self->g, count, count_end, 4);
	s = raw_snapshot(m.vm);
	ASSERT_LE(0, s);
	ASSERT_EQ(WISP_EXIT_HLT, go(&m));
	n = raw_dirty(m.vm, pages, 256);
	ASSERT_EQ(0, raw_reset(m.vm, s));
	expect_words(_metadata, m.vm, 4, 0);
	EXPECT_EQ(written_once(&self->g, n), raw_dirty(m.vm, pages, 256));
	close(s);
}

/* One that fails is as if it had not been. */
TEST_F(snapshot, no_fd_no_snapshot)
{
	struct rlimit limit = { 0, 0 }, old;
	__u64 pages[1];

	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &old));
	limit.rlim_max = old.rlim_max;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	EXPECT_EQ(-EMFILE, raw_snapshot(self->g.vm));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &old));
	EXPECT_EQ(-EINVAL, raw_reset(self->g.vm, -1));
	EXPECT_EQ(-EINVAL, raw_dirty(self->g.vm, pages, 1));
}

TEST_HARNESS_MAIN
