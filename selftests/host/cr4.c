// SPDX-License-Identifier: GPL-2.0
/*
 * The host's CR4 changes between two entries: with each thread that may, or may
 * not, read the TSC. It is the host's again after each run, whatever it was at
 * the one before, and whatever the guest has in its own.
 */
#include <setjmp.h>
#include <signal.h>
#include <sys/prctl.h>

#include "../harness.h"
#include "host.h"

#define ROUNDS	20

SNIPPET(once, 64, "1: hlt; jmp 1b");

static sigjmp_buf fault;

static void on_fault(int signal)
{
	siglongjmp(fault, signal);
}

/* What RDTSC does here: 0, or the signal that it raises. */
static int rdtsc(void)
{
	int signal = sigsetjmp(fault, 1);

	if (!signal)
		asm volatile("rdtsc" : : : "eax", "edx");
	return signal;
}

TEST(host_cr4_stays_the_hosts)
{
	struct sigaction action = { .sa_handler = on_fault };
	struct guest g;

	ASSERT_EQ(0, guest_pin(0));
	ASSERT_EQ(0, sigaction(SIGSEGV, &action, NULL));
	ASSERT_EQ(0, guest_create(&g));
	for (int i = 0; i < ROUNDS; i++) {
		bool denied = i & 1;

		GUEST_LOAD(&g, LONG64, once);
		if (i & 2)
			g.page->state.control.cr4 |= CR4_TSD;
		ASSERT_EQ(0, prctl(PR_SET_TSC, denied ? PR_TSC_SIGSEGV :
						PR_TSC_ENABLE));
		EXPECT_EQ(WISP_EXIT_HLT, guest_run(&g));
		EXPECT_EQ(denied ? SIGSEGV : 0, rdtsc());
		EXPECT_EQ(i & 2 ? CR4_TSD : 0,
			  g.page->state.control.cr4 & CR4_TSD);
	}
	ASSERT_EQ(0, prctl(PR_SET_TSC, PR_TSC_ENABLE));
	guest_destroy(&g);
}

TEST_HARNESS_MAIN
