// SPDX-License-Identifier: GPL-2.0
/*
 * The shared page is rewritten by a second thread while its vCPU runs. That
 * spoils this vCPU only: the one beside it goes on, memory outside of the slots
 * stays as it is, and the vCPU itself works again once it is left alone.
 */
#include <stdlib.h>

#include "../harness.h"
#include "../guest/guest.h"
#include "random.h"

#define WRITES	40000

SNIPPET(spin, 64, "1: incq " STR(GUEST_DATA) "; cpuid; out %al, $0x80; jmp 1b");
SNIPPET(beside, 64, "1: incq " STR(GUEST_DATA) "+8; jmp 1b");
SNIPPET(once, 64, "movq $0x77, " STR(GUEST_DATA) "+16; hlt");

FIXTURE(page) {
	struct guest g;
	struct guest other;
	int canary_fd;
	__u64 *canary;
};

#define CANARY_WORDS	(16 * PAGE / 8)

FIXTURE_SETUP(page)
{
	ASSERT_EQ(0, guest_create(&self->g));
	ASSERT_EQ(0, guest_create(&self->other));
	self->canary_fd = raw_create_memory(self->g.sys, 16 * PAGE);
	ASSERT_LE(0, self->canary_fd);
	self->canary = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			    self->canary_fd, 0);
	ASSERT_NE(MAP_FAILED, self->canary);
	for (__u64 i = 0; i < CANARY_WORDS; i++)
		self->canary[i] = ~i;
}

FIXTURE_TEARDOWN(page)
{
	munmap(self->canary, 16 * PAGE);
	close(self->canary_fd);
	guest_destroy(&self->other);
	guest_destroy(&self->g);
}

/* Where in the page a scribbler writes, and with which bits. */
struct scribble {
	struct guest *guest;
	bool runs_on;		/* more runs than refusals */
	__u64 seed;
	bool done;
	int calls;		/* of WISP_RUN that have returned */
};

/*
 * QEMU leaves a guest's data breakpoints behind, and may crash on the next: see
 * Documentation/testing.rst. On real hardware every bit is fair.
 */
static bool arms_breakpoints(size_t offset)
{
	return offset == WISP_FIELD(breakpoints.dr7) ||
	       offset == WISP_FIELD(state.debug.dr7);
}

static void scribble_word(struct scribble *s)
{
	volatile __u64 *words = (__u64 *)s->guest->page;
	__u64 value = random_hostile(&s->seed);
	__u64 r = random_next(&s->seed);
	size_t word = r % (PAGE / 8);

	/* Half of them where what matters is. */
	if (r & 1ULL << 40)
		word = (r >> 20) % (WISP_FIELD(state.xsave) / 8);
	if (guest_on_tcg() && arms_breakpoints(word * 8))
		value &= ~0xffULL;
	/* Requests that are refused leave the page as it is. */
	if (s->runs_on && word < WISP_FIELD(exit) / 8)
		value &= word == WISP_FIELD(want) / 8 ? STATE_ALL : 0;
	words[word] = value;
}

/*
 * A page that can run again, with a random part of the state that is in it; not
 * more words until it was looked at. The call that is on may have looked before.
 */
static void let_run(struct scribble *s)
{
	int calls = __atomic_load_n(&s->calls, __ATOMIC_ACQUIRE);
	__u64 r = random_next(&s->seed);

	memset(s->guest->page, 0, WISP_FIELD(state));
	s->guest->page->dirty = r & 3 ? 0 : r >> 32 & STATE_ALL;
	while (__atomic_load_n(&s->calls, __ATOMIC_ACQUIRE) - calls < 2)
		raw_kick(s->guest->vm, 0);
}

static void *scribble(void *data)
{
	struct scribble *s = data;

	for (int i = 0; i < WRITES; i++) {
		scribble_word(s);
		/* It may have taken the budget away. */
		if (!(i % 16))
			raw_kick(s->guest->vm, 0);
		if (!(i % 64))
			let_run(s);
	}
	__atomic_store_n(&s->done, true, __ATOMIC_RELEASE);
	/* The run that is on may have begun after the last kick. */
	raw_kick(s->guest->vm, 0);
	return NULL;
}

static bool errno_expected(int ret)
{
	return ret == 0 || ret == -EINVAL || ret == -EOPNOTSUPP || ret == -EBUSY;
}

static int runs_while_scribbled(struct scribble *s, int *odd)
{
	pthread_t thread;
	int ret, runs = 0;

	if (pthread_create(&thread, NULL, scribble, s))
		abort();
	while (!__atomic_load_n(&s->done, __ATOMIC_ACQUIRE)) {
		ret = raw_run(s->guest->vm, 0);
		runs += !ret;
		__atomic_fetch_add(&s->calls, 1, __ATOMIC_RELEASE);
		if (!errno_expected(ret))
			*odd = ret;
	}
	pthread_join(thread, NULL);
	return runs;
}

static void scribble_test(struct __test_metadata *_metadata,
			  struct _test_data_page *self, bool runs_on)
{
	struct scribble s = {
		.guest = &self->g, .seed = 1 + runs_on, .runs_on = runs_on,
	};
	struct guest_thread t;
	int odd = 0;

	GUEST_LOAD(&self->other, LONG64, beside);
	self->other.page->budget_ns = 0;
	guest_thread_start(&t, &self->other, 0);
	guest_wait_counting(&self->other, GUEST_DATA + 8);

	GUEST_LOAD(&self->g, LONG64, spin);
	EXPECT_LT(100, runs_while_scribbled(&s, &odd));
	EXPECT_EQ(0, odd);

	/* The other one has seen nothing of it. */
	guest_wait_counting(&self->other, GUEST_DATA + 8);
	ASSERT_EQ(0, raw_kick(self->other.vm, 0));
	EXPECT_EQ(WISP_EXIT_KICKED, guest_thread_join(&t));
	EXPECT_LE((__u64)GUEST_CODE, self->other.page->exit.rip);
	EXPECT_GE((__u64)GUEST_CODE + 10, self->other.page->exit.rip);
	for (__u64 i = 0; i < CANARY_WORDS; i++)
		ASSERT_EQ(~i, self->canary[i]);

	/* And this one is as good as new. */
	memset(self->g.page, 0, sizeof(*self->g.page));
	guest_destroy(&self->other);
	ASSERT_EQ(0, guest_create(&self->other));
	ASSERT_EQ(0, raw_kick(self->g.vm, 0));
	GUEST_LOAD(&self->g, LONG64, once);
	memcpy(guest_at(&self->g, 0x1000), guest_at(&self->other, 0x1000),
	       GUEST_CODE - 0x1000);
	EXPECT_EQ(WISP_EXIT_KICKED, guest_run(&self->g));
	EXPECT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ(0x77UL, ((__u64 *)guest_at(&self->g, GUEST_DATA))[2]);
}

TEST_F(page, rewritten)
{
	scribble_test(_metadata, self, false);
}

TEST_F(page, rewritten_where_state_is)
{
	scribble_test(_metadata, self, true);
}

TEST_HARNESS_MAIN
