// SPDX-License-Identifier: GPL-2.0
/*
 * CPUs go and come while guests run. vCPUs are where their threads are: they
 * migrate and go on, count all that they have to, and a CPU that is back serves
 * as before. CPU 0 stays: a stock kernel does not let it go.
 */
#include "../harness.h"
#include "host.h"

/* Bochs takes a second for each. */
#define ROUNDS	(guest_on_bochs() ? 8 : 25)

/*
 * Counts in memory, in a register and by an exit; says so when the sum of them
 * is not what it was. RDI: its place, RSI: another word that stops it.
 */
SNIPPET(count, 64,
	"1: inc %r8\n"
	"incq (%rdi)\n"
	"cmp %r8, (%rdi)\n"
	"jne 2f\n"
	"xor %eax, %eax\n"
	"cpuid\n"
	"cmpq $0, (%rsi)\n"
	"je 1b\n"
	"hlt\n"
	"2: ud2");

#define STOP	(GUEST_DATA + 0x8000)

FIXTURE(cpus) {
	struct guest g;
	struct host_runner runners[2];
};

static void load(struct guest *g, int vcpu)
{
	struct wisp_general *general = &g->pages[vcpu]->state.general;

	guest_load_at(g, vcpu, LONG64, GUEST_CODE, count, count_end);
	if (guest_on_bochs())
		general->rflags |= RFLAGS_IF;
	general->rdi = COUNTER(vcpu);
	general->rsi = STOP;
}

FIXTURE_SETUP(cpus)
{
	ASSERT_EQ(0, guest_create(&self->g));
	ASSERT_EQ(0, guest_add_vcpu(&self->g, 1));
	load(&self->g, 0);
	load(&self->g, 1);
}

FIXTURE_TEARDOWN(cpus)
{
	set_online(1, true);
	guest_destroy(&self->g);
}

static void stop_all(struct guest *g)
{
	__atomic_store_n((__u64 *)guest_at(g, STOP), 1, __ATOMIC_RELAXED);
}

/* What a vCPU has counted is whole: in memory and in its register. */
static bool whole(struct guest *g, int vcpu)
{
	return counted(g, vcpu) == g->pages[vcpu]->state.general.r8;
}

TEST_F(cpus, off_and_on_while_guests_run)
{
	struct guest *g = &self->g;
	__u64 before[2];

	for (int i = 0; i < 2; i++)
		host_start(&self->runners[i], g, i, -1);
	for (int round = ROUNDS; round; round--) {
		ASSERT_EQ(0, set_online(1, false));
		before[0] = counted(g, 0);
		before[1] = counted(g, 1);
		for (int i = 0; i < 2; i++)
			guest_wait_counting(g, COUNTER(i));
		ASSERT_EQ(0, set_online(1, true));
		for (int i = 0; i < 2; i++) {
			guest_wait_counting(g, COUNTER(i));
			EXPECT_LT(before[i], counted(g, i));
			ASSERT_FALSE(host_done(&self->runners[i]));
		}
	}
	stop_all(g);
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(WISP_EXIT_HLT, host_join(&self->runners[i]));
		EXPECT_TRUE(whole(g, i));
	}
}

/* Its thread is bound to the CPU that goes: it is moved, and can come back. */
TEST_F(cpus, pinned_to_the_one_that_goes)
{
	struct host_runner *r = &self->runners[1];
	struct guest *g = &self->g;

	host_start(r, g, 1, 1);
	for (int round = 0; round < 5; round++) {
		cpu_set_t set;

		guest_wait_counting(g, COUNTER(1));
		ASSERT_EQ(0, set_online(1, false));
		guest_wait_counting(g, COUNTER(1));
		ASSERT_EQ(0, set_online(1, true));
		CPU_ZERO(&set);
		CPU_SET(guest_cpu(1), &set);
		ASSERT_EQ(0, pthread_setaffinity_np(r->thread, sizeof(set), &set));
	}
	guest_wait_counting(g, COUNTER(1));
	stop_all(g);
	EXPECT_EQ(WISP_EXIT_HLT, host_join(r));
	EXPECT_TRUE(whole(g, 1));
}

/* The first VM is made, and the last one ends, while a CPU is not there. */
TEST_F(cpus, vm_made_and_ended_while_one_is_off)
{
	struct guest *g = &self->g;

	for (int round = 0; round < 3; round++) {
		host_start(&self->runners[0], g, 0, 1);
		guest_wait_counting(g, COUNTER(0));
		stop_all(g);
		EXPECT_EQ(WISP_EXIT_HLT, host_join(&self->runners[0]));
		EXPECT_TRUE(whole(g, 0));

		ASSERT_EQ(0, set_online(1, false));
		guest_destroy(g);
		ASSERT_EQ(0, guest_create(g));
		ASSERT_EQ(0, set_online(1, true));
		load(g, 0);
	}
	ASSERT_EQ(0, guest_add_vcpu(g, 1));
}

TEST_HARNESS_MAIN
