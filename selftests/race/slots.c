// SPDX-License-Identifier: GPL-2.0
/*
 * Slots are set, replaced, protected and removed, and their pages taken back,
 * while two vCPUs write all pages and check what they read.
 */
#include <stdlib.h>

#include "../harness.h"
#include "../guest/guest.h"
#include "random.h"

#define BASE		0x1000000
#define NPAGES		192
#define RANGE		(NPAGES * PAGE)
#define CHANGES		2000
#define BAD_PORT	0x99
#define MAGIC		0x5a5a0000ULL

/*
 * Each vCPU has a word of each page. It finds there what it wrote some time
 * ago, or zero: the magic number of RBX in the upper half, else it says so. The
 * lower half counts the rounds.
 */
SNIPPET(work, 64,
	"2: incl %r8d\n"
	"mov %rsi, %rdi\n"
	"mov $" STR(NPAGES) ", %ecx\n"
	"mov %rbx, %r9\n"
	"shl $32, %r9\n"
	"or %r8, %r9\n"
	"1: mov (%rdi), %rax\n"
	"test %rax, %rax\n"
	"jz 3f\n"
	"mov %rax, %rdx\n"
	"shr $32, %rdx\n"
	"cmp %rbx, %rdx\n"
	"jne 4f\n"
	"3: mov %r9, (%rdi)\n"
	"add $0x1000, %rdi\n"
	"loop 1b\n"
	"incq " STR(GUEST_DATA) "(,%r10,8)\n"
	"jmp 2b\n"
	"4: out %al, $" STR(BAD_PORT) "\n"
	"jmp 2b");

struct runner {
	struct guest *guest;
	int vcpu;
	bool *stop;
	pthread_t thread;
	int bad;		/* reads of what was never written there */
	int odd;		/* the last exit or error that cannot be */
	int faults;
};

FIXTURE(slots) {
	struct guest g;
	struct runner runners[2];
	bool stop;
	int fds[2];
	__u64 *memory[2];
};

static void *run_on(void *data)
{
	struct runner *r = data;
	int reason;

	while (!__atomic_load_n(r->stop, __ATOMIC_ACQUIRE)) {
		reason = guest_run_vcpu(r->guest, r->vcpu);
		if (reason == WISP_EXIT_PORT) {
			r->bad++;
			r->guest->pages[r->vcpu]->complete = 1;
		} else if (reason == WISP_EXIT_MEMORY) {
			/* It may be there next time. */
			r->faults++;
			sched_yield();
		} else if (reason != WISP_EXIT_KICKED) {
			r->odd = reason;
			break;
		}
	}
	return NULL;
}

FIXTURE_SETUP(slots)
{
	struct guest *g = &self->g;

	ASSERT_EQ(0, guest_create(g));
	ASSERT_EQ(0, guest_add_vcpu(g, 1));
	for (int i = 0; i < 2; i++) {
		self->fds[i] = raw_create_memory(g->sys, RANGE);
		ASSERT_LE(0, self->fds[i]);
		self->memory[i] = mmap(NULL, RANGE, PROT_READ | PROT_WRITE,
				       MAP_SHARED, self->fds[i], 0);
		ASSERT_NE(MAP_FAILED, self->memory[i]);
	}
	ASSERT_EQ(0, raw_set_slot(g->vm, 1, BASE, RANGE, self->fds[0], 0,
				  PROT_RW));
	for (int i = 0; i < 2; i++) {
		struct wisp_general *general = &g->pages[i]->state.general;

		guest_load_at(g, i, LONG64, GUEST_CODE, work, work_end);
		g->pages[i]->want = 0;
		g->pages[i]->budget_ns = 0;
		general->rsi = BASE + 64 * i;
		general->rbx = MAGIC + i;
		general->r10 = i;
		self->runners[i] = (struct runner){
			.guest = g, .vcpu = i, .stop = &self->stop,
		};
		ASSERT_EQ(0, pthread_create(&self->runners[i].thread, NULL,
					    run_on, &self->runners[i]));
	}
	for (int i = 0; i < 2; i++)
		guest_wait_counting(g, GUEST_DATA + 8 * i);
}

FIXTURE_TEARDOWN(slots)
{
	__atomic_store_n(&self->stop, true, __ATOMIC_RELEASE);
	for (int i = 0; i < 2; i++) {
		raw_kick(self->g.vm, i);
		pthread_join(self->runners[i].thread, NULL);
		EXPECT_EQ(0, self->runners[i].bad);
		EXPECT_EQ(0, self->runners[i].odd);
		munmap(self->memory[i], RANGE);
		close(self->fds[i]);
	}
	guest_destroy(&self->g);
}

static int set(struct _test_data_slots *self, int which, __u32 prot)
{
	return raw_set_slot(self->g.vm, 1, BASE, RANGE, self->fds[which], 0,
			    prot);
}

static int protect(struct _test_data_slots *self, __u64 first, __u64 npages,
		   __u32 prot)
{
	struct wisp_protect_range range = {
		.gpa = BASE + first * PAGE, .range_size = npages * PAGE,
		.prot = prot,
	};

	return raw_protect(self->g.vm, &range, 1);
}

static int discard(struct _test_data_slots *self, int which, __u64 first,
		   __u64 npages)
{
	struct wisp_discard arg = {
		.size = sizeof(arg), .offset = first * PAGE,
		.discard_size = npages * PAGE,
	};

	return raw(self->fds[which], WISP_DISCARD, &arg);
}

/* A vCPU's word of a page; ~0 if it cannot be read. Makes no page. */
static __u64 word_of(struct _test_data_slots *self, int which, __u64 page, int vcpu)
{
	__u64 word;

	if (pread(self->fds[which], &word, 8, page * PAGE + 64 * vcpu) != 8)
		return ~0ULL;
	return word;
}

/* Both vCPUs' words of the pages, mixed. */
static __u64 sum(struct _test_data_slots *self, int which, __u64 first,
		 __u64 npages)
{
	__u64 s = 0;

	for (__u64 i = first; i < first + npages; i++)
		for (int vcpu = 0; vcpu < 2; vcpu++)
			s = s * 31 + word_of(self, which, i, vcpu);
	return s;
}

/* Nobody writes these pages any more. */
static bool still(struct _test_data_slots *self, int which, __u64 first,
		  __u64 npages)
{
	__u64 before = sum(self, which, first, npages);

	for (int i = 0; i < 3; i++) {
		sched_yield();
		if (sum(self, which, first, npages) != before)
			return false;
	}
	return true;
}

static bool zero(struct _test_data_slots *self, int which, __u64 first,
		 __u64 npages)
{
	for (__u64 i = first; i < first + npages; i++)
		for (int vcpu = 0; vcpu < 2; vcpu++)
			if (word_of(self, which, i, vcpu))
				return false;
	return true;
}

/* All of it at random; what the guest sees is checked in there. */
TEST_F(slots, change_at_random)
{
	__u64 seed = 3;

	for (int i = 0; i < CHANGES; i++) {
		__u64 first = random_below(&seed, NPAGES);
		__u64 npages = 1 + random_below(&seed, NPAGES - first);
		int which = random_next(&seed) & 1;
		int ret = 0;

		switch (random_below(&seed, 8)) {
		case 0:
		case 1:
			ret = set(self, which, PROT_RW);
			break;
		case 2:
			ret = set(self, which, PROT_R);
			break;
		case 3:
			ret = raw_remove_slot(self->g.vm, 1);
			ret = ret == -ENOENT ? 0 : ret;
			break;
		case 4:
			ret = protect(self, first, npages, PROT_R);
			break;
		case 5:
			ret = protect(self, 0, NPAGES, PROT_RWX);
			break;
		default:
			ret = discard(self, which, first, npages);
			break;
		}
		ASSERT_EQ(0, ret);
	}
	/* The vCPUs are alive: once all is theirs again, they get on. */
	ASSERT_EQ(0, protect(self, 0, NPAGES, PROT_RWX));
	ASSERT_EQ(0, set(self, 0, PROT_RW));
	for (int i = 0; i < 2; i++)
		guest_wait_counting(&self->g, GUEST_DATA + 8 * i);
}

TEST_F(slots, a_removed_one_is_not_written)
{
	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(0, raw_remove_slot(self->g.vm, 1));
		ASSERT_TRUE(still(self, 0, 0, NPAGES))
			TH_LOG("round %d", i);
		ASSERT_EQ(0, set(self, 0, PROT_RW));
		guest_wait_counting(&self->g, GUEST_DATA + 8 * (i & 1));
	}
	EXPECT_LT(0, self->runners[0].faults + self->runners[1].faults);
}

TEST_F(slots, a_replaced_one_is_not_written)
{
	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(0, set(self, !(i & 1), PROT_RW));
		ASSERT_TRUE(still(self, i & 1, 0, NPAGES))
			TH_LOG("round %d", i);
		guest_wait_counting(&self->g, GUEST_DATA + 8 * (i >> 1 & 1));
	}
}

TEST_F(slots, a_protected_one_is_not_written)
{
	for (int i = 0; i < 100; i++) {
		__u64 first = i, npages = NPAGES - i;

		ASSERT_EQ(0, protect(self, first, npages, i & 1 ? PROT_R : 0));
		ASSERT_TRUE(still(self, 0, first, npages))
			TH_LOG("round %d", i);
		ASSERT_EQ(0, protect(self, first, npages, PROT_RWX));
		guest_wait_counting(&self->g, GUEST_DATA + 8 * (i & 1));
	}
	EXPECT_LT(0, self->runners[0].faults + self->runners[1].faults);
}

/* Its pages are zero, and stay so. */
TEST_F(slots, a_discarded_one_is_empty)
{
	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(0, discard(self, 0, 0, NPAGES));
		ASSERT_EQ(0, protect(self, 0, NPAGES, PROT_R));
		ASSERT_EQ(0, discard(self, 0, i, NPAGES - i));
		ASSERT_TRUE(zero(self, 0, i, NPAGES - i))
			TH_LOG("round %d", i);
		ASSERT_EQ(0, protect(self, 0, NPAGES, PROT_RWX));
		guest_wait_counting(&self->g, GUEST_DATA + 8 * (i & 1));
	}
}

struct discarder {
	struct _test_data_slots *self;
	bool stop;
	int failed;
};

static void *discard_on(void *data)
{
	struct discarder *d = data;

	while (!__atomic_load_n(&d->stop, __ATOMIC_ACQUIRE))
		d->failed |= discard(d->self, 0, 0, NPAGES);
	return NULL;
}

/*
 * Pages are taken back while their slot goes: whoever gets them next must not
 * find the guest writing to them. Here that is the other object, whose pages
 * are new all the time, and nobody's but the test's.
 */
TEST_F(slots, discard_against_remove)
{
	struct discarder d = { .self = self };
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, discard_on, &d));
	for (int i = 0; i < 50; i++) {
		int ret = i & 1 ? protect(self, 0, NPAGES, PROT_R) :
				  raw_remove_slot(self->g.vm, 1);

		ASSERT_EQ(0, ret);
		memset(self->memory[1], 0, RANGE);
		for (__u64 w = 0; w < RANGE / 8; w++) {
			ASSERT_EQ(0UL, self->memory[1][w])
				TH_LOG("round %d, word %llu", i, w);
		}
		ASSERT_EQ(0, discard(self, 1, 0, NPAGES));
		ASSERT_EQ(0, protect(self, 0, NPAGES, PROT_RWX));
		ASSERT_EQ(0, set(self, 0, PROT_RW));
		guest_wait_counting(&self->g, GUEST_DATA + 8 * (i & 1));
	}
	__atomic_store_n(&d.stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, d.failed);
}

TEST_HARNESS_MAIN
