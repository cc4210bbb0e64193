// SPDX-License-Identifier: GPL-2.0
/*
 * The machine suspends while guests run: by /sys/power/pm_test, as far as each
 * of its levels goes and back. What was counted before stays, and all go on.
 */
#include "../harness.h"
#include "host.h"

/* RDI: its place. */
SNIPPET(count, 64, "1: incq %r8; incq (%rdi); jmp 1b");

FIXTURE(suspend) {
	struct guest g;
	struct host_runner runners[2];
};

FIXTURE_VARIANT(suspend) {
	const char *level;
};

FIXTURE_VARIANT_ADD(suspend, freezer) {
	.level = "freezer",
};

FIXTURE_VARIANT_ADD(suspend, devices) {
	.level = "devices",
};

FIXTURE_VARIANT_ADD(suspend, platform) {
	.level = "platform",
};

FIXTURE_VARIANT_ADD(suspend, processors) {
	.level = "processors",
};

FIXTURE_VARIANT_ADD(suspend, core) {
	.level = "core",
};

FIXTURE_SETUP(suspend)
{
	struct guest *g = &self->g;

	ASSERT_EQ(0, guest_create(g));
	ASSERT_EQ(0, guest_add_vcpu(g, 1));
	for (int i = 0; i < 2; i++) {
		guest_load_at(g, i, LONG64, GUEST_CODE, count, count_end);
		g->pages[i]->state.general.rdi = COUNTER(i);
	}
	/* Else each level waits for 5 seconds before it comes back. */
	write_file("/sys/module/suspend/parameters/pm_test_delay", "0");
	ASSERT_EQ(0, write_file("/sys/power/pm_test", variant->level));
}

FIXTURE_TEARDOWN(suspend)
{
	EXPECT_EQ(0, write_file("/sys/power/pm_test", "none"));
	guest_destroy(&self->g);
}

TEST_F(suspend, guests_go_on)
{
	struct guest *g = &self->g;

	for (int i = 0; i < 2; i++) {
		host_start(&self->runners[i], g, i, -1);
		guest_wait_counting(g, COUNTER(i));
	}
	for (int round = 0; round < 3; round++) {
		ASSERT_EQ(0, write_file("/sys/power/state", "mem"));
		for (int i = 0; i < 2; i++)
			guest_wait_counting(g, COUNTER(i));
	}
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(0, host_stop(&self->runners[i]));
		/* The freezer reaches a run as a signal does. */
		EXPECT_LE(1, self->runners[i].interrupted);
		/* It may have been between its two counts. */
		EXPECT_GE(1UL, g->pages[i]->state.general.r8 - counted(g, i));
	}
}

TEST_HARNESS_MAIN
