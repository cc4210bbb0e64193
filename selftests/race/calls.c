// SPDX-License-Identifier: GPL-2.0
/* Calls on a VM against each other: kicks, state, new vCPUs, runs. */
#include <stdlib.h>

#include "../harness.h"
#include "../guest/guest.h"
#include "random.h"

#define KICKS	20000
#define STATES	2000

SNIPPET(spin, 64, "1: incq " STR(GUEST_DATA) "(,%r10,8); jmp 1b");
SNIPPET(once, 64, "hlt");

FIXTURE(calls) {
	struct guest g;
	bool stop;
};

FIXTURE_SETUP(calls)
{
	ASSERT_EQ(0, guest_create(&self->g));
	ASSERT_EQ(0, guest_add_vcpu(&self->g, 1));
	for (int i = 0; i < 2; i++) {
		guest_load_at(&self->g, i, LONG64, GUEST_CODE, spin, spin_end);
		self->g.pages[i]->budget_ns = 0;
		self->g.pages[i]->want = 0;
		self->g.pages[i]->state.general.r10 = i;
	}
}

FIXTURE_TEARDOWN(calls)
{
	guest_destroy(&self->g);
}

struct runner {
	struct guest *guest;
	bool *stop;
	int vcpu;
	pthread_t thread;
	int runs;
	int odd;
};

static void *run_on(void *data)
{
	struct runner *r = data;

	while (!__atomic_load_n(r->stop, __ATOMIC_ACQUIRE)) {
		int reason = guest_run_vcpu(r->guest, r->vcpu);

		if (reason == WISP_EXIT_KICKED)
			r->runs++;
		else if (reason != -EBUSY)
			r->odd = reason;
		/* On one CPU others find it running, or come here. */
		sched_yield();
	}
	return NULL;
}

static void start(struct _test_data_calls *self, struct runner *r, int vcpu)
{
	*r = (struct runner){
		.guest = &self->g, .stop = &self->stop, .vcpu = vcpu,
	};
	if (pthread_create(&r->thread, NULL, run_on, r))
		abort();
}

/* Kicked until it is seen: the run that is on may not be the last. */
static int finish(struct _test_data_calls *self, struct runner *r)
{
	__atomic_store_n(&self->stop, true, __ATOMIC_RELEASE);
	while (pthread_tryjoin_np(r->thread, NULL)) {
		raw_kick(self->g.vm, r->vcpu);
		sched_yield();
	}
	return r->odd;
}

static void *kick_both(void *data)
{
	struct guest *g = data;

	for (int i = 0; i < KICKS; i++)
		raw_kick(g->vm, i & 1);
	return NULL;
}

TEST_F(calls, kick_storm)
{
	struct runner r[2];
	pthread_t kickers[2];

	for (int i = 0; i < 2; i++)
		start(self, &r[i], i);
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&kickers[i], NULL, kick_both,
					    &self->g));
	for (int i = 0; i < 2; i++)
		pthread_join(kickers[i], NULL);
	for (int i = 0; i < 2; i++)
		guest_wait_counting(&self->g, GUEST_DATA + 8 * i);
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(0, finish(self, &r[i]));
		EXPECT_LT(0, r[i].runs);
	}

	/* At most one kick is left over. */
	GUEST_LOAD(&self->g, LONG64, once);
	if (guest_run(&self->g) == WISP_EXIT_KICKED)
		EXPECT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
}

/* Two threads want the same vCPU: one has it, the other is told. */
TEST_F(calls, two_runners)
{
	struct runner r[2];

	for (int i = 0; i < 2; i++)
		start(self, &r[i], 0);
	for (int i = 0; i < KICKS; i++)
		raw_kick(self->g.vm, 0);
	guest_wait_counting(&self->g, GUEST_DATA);
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(0, finish(self, &r[i]));
	EXPECT_LT(0, r[0].runs + r[1].runs);
}

/* Between two runs the state is whole, and what was set is there. */
TEST_F(calls, state_against_run)
{
	struct wisp_state state = { 0 }, back;
	struct runner r;
	__u64 set = 0;
	int got = 0, busy = 0, ret;

	start(self, &r, 0);
	guest_wait_counting(&self->g, GUEST_DATA);
	for (int i = 0; i < STATES || !got || !busy; i++) {
		ret = raw_get_state(self->g.vm, 0, STATE_ALL, &state);
		if (ret == -EBUSY) {
			busy++;
			raw_kick(self->g.vm, 0);
			sched_yield();
			continue;
		}
		ASSERT_EQ(0, ret);
		got++;
		ASSERT_EQ(set, state.general.r13);
		ASSERT_LE((__u64)GUEST_CODE, state.general.rip);
		ASSERT_GE((__u64)GUEST_CODE + 10, state.general.rip);
		ASSERT_EQ((__u64)GUEST_PML4, state.control.cr3);
		state.general.r13 = i;
		ret = raw_set_state(self->g.vm, 0, WISP_STATE_GENERAL, &state,
				    NULL);
		if (ret == -EBUSY)
			continue;
		ASSERT_EQ(0, ret);
		set = i;
		sched_yield();
	}
	EXPECT_EQ(0, finish(self, &r));
	ASSERT_EQ(0, raw_get_state(self->g.vm, 0, WISP_STATE_GENERAL, &back));
	EXPECT_EQ(set, back.general.r13);
}

struct creator {
	int vm;
	int created;
	int odd;
};

#define VCPUS	64

static void *create_all(void *data)
{
	struct creator *c = data;

	for (__u32 i = 1; i < VCPUS; i++) {
		struct wisp_create_vcpu arg = { .size = sizeof(arg), .vcpu = i };
		int ret = raw(c->vm, WISP_CREATE_VCPU, &arg);

		c->created += !ret;
		if (ret && ret != -EEXIST)
			c->odd = ret;
		ret = raw_kick(c->vm, i);
		if (ret)
			c->odd = ret;
	}
	return NULL;
}

/* Slots change meanwhile: that looks at all vCPUs there are. */
TEST_F(calls, vcpus_made_while_others_run)
{
	for (int round = 0; round < 20; round++) {
		struct creator c[2];
		pthread_t threads[2];
		struct guest_thread t;
		struct guest g;
		__u64 *counter;

		ASSERT_EQ(0, guest_create(&g));
		GUEST_LOAD(&g, LONG64, spin);
		g.page->budget_ns = 0;
		counter = guest_at(&g, GUEST_DATA);
		guest_thread_start(&t, &g, 0);
		guest_wait_counting(&g, GUEST_DATA);
		for (int i = 0; i < 2; i++) {
			c[i] = (struct creator){ .vm = g.vm };
			ASSERT_EQ(0, pthread_create(&threads[i], NULL,
						    create_all, &c[i]));
		}
		for (int i = 0; i < 50; i++) {
			ASSERT_EQ(0, raw_set_slot(g.vm, 1, 0x1000000, PAGE,
						  g.fd, 0, PROT_RW));
			ASSERT_EQ(0, raw_remove_slot(g.vm, 1));
		}
		for (int i = 0; i < 2; i++) {
			pthread_join(threads[i], NULL);
			EXPECT_EQ(0, c[i].odd);
		}
		/* Each was made once, by one of them. */
		EXPECT_EQ(VCPUS - 1, c[0].created + c[1].created);
		guest_wait_counting(&g, GUEST_DATA);
		EXPECT_LT(0UL, *counter);
		raw_kick(g.vm, 0);
		EXPECT_EQ(WISP_EXIT_KICKED, guest_thread_join(&t));
		guest_destroy(&g);
	}
}

TEST_HARNESS_MAIN
