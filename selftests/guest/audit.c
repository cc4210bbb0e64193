// SPDX-License-Identifier: GPL-2.0
/*
 * Nothing of a guest survives a reset: what a hostile one leaves is compared with
 * the snapshot, by the driver and, where it is MSRs, by the next guest.
 */
#include "../harness.h"
#include "hostile.h"

#define GUESTS	1000
/* One in as many is followed by a look at the MSRs, which takes Bochs long. */
#define READ	(guest_on_bochs() ? 50 : 1)

FIXTURE(audit) {
	struct guest g;
	int snapshot;
	int nmsrs;
	__u64 msrs[HOSTILE_MAX_MSRS];
};

/* The values of the MSRs that were found, as the guest sees them after a reset. */
static int read_msrs(struct _test_data_audit *self, __u64 *values)
{
	struct guest *g = &self->g;
	int ret = raw_reset(g->vm, self->snapshot);

	g->page->state.general.rbx = 1;
	g->page->dirty = WISP_STATE_GENERAL;
	ret = ret ?: raw_get_state(g->vm, 0, WISP_STATE_GENERAL,
				   &g->page->state);
	g->page->state.general.rbx = 1;
	ret = ret ?: guest_complete(g, 0);
	memcpy(values, guest_at(g, HOSTILE_READ), self->nmsrs * sizeof(*values));
	return ret;
}

FIXTURE_SETUP(audit)
{
	struct guest *g = &self->g;

	ASSERT_EQ(0, guest_create(g));
	self->nmsrs = hostile_find_msrs(g);
	ASSERT_EQ(WISP_EXIT_HLT, hostile_stand(g));
	self->snapshot = raw_snapshot(g->vm);
	ASSERT_LE(0, self->snapshot);
	ASSERT_EQ(WISP_EXIT_HLT, read_msrs(self, self->msrs));
	ASSERT_EQ(0, raw_reset(g->vm, self->snapshot));
}

FIXTURE_TEARDOWN(audit)
{
	close(self->snapshot);
	guest_destroy(&self->g);
}

static const struct hostile_msr *find(struct guest *g, __u32 index)
{
	const struct hostile_msr *msr = guest_at(g, HOSTILE_MSRS);

	while (msr->index != index && msr->index != ~0U)
		msr++;
	return msr->index == index ? msr : NULL;
}

/* The search does find: those that no driver can do without. */
TEST_F(audit, msrs_are_found)
{
	static const __u32 some[] = {
		0x174, 0x175, 0x176, 0x277, 0xc0000080, 0xc0000081, 0xc0000082,
		0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102,
	};

	printf("# %d MSRs can be changed:", self->nmsrs);
	for (int i = 0; i < self->nmsrs; i++)
		printf(" %x", ((struct hostile_msr *)guest_at(&self->g,
						HOSTILE_MSRS))[i].index);
	printf("\n");
	for (unsigned int i = 0; i < sizeof(some) / sizeof(*some); i++) {
		EXPECT_NE(NULL, find(&self->g, some[i]))
			TH_LOG("MSR %#x", some[i]);
	}
}

TEST_F(audit, a_thousand_hostile_guests)
{
	__u64 now[HOSTILE_MAX_MSRS];
	struct wisp_audit audit;

	for (int i = 0; i < GUESTS; i++) {
		ASSERT_EQ(WISP_EXIT_PORT, hostile_run(&self->g, i))
			TH_LOG("guest %d", i);
		/* Now and then not the way that is used most. */
		ASSERT_EQ(0, raw_audit(self->g.vm, i % 7 ? -1 : self->snapshot,
				       &audit));
		ASSERT_EQ(WISP_AUDIT_SAME, audit.what)
			TH_LOG("guest %d: %u, vCPU %u field %#x, gpa %#llx", i,
			       audit.what, audit.vcpu, audit.field, audit.gpa);
		if (i % READ)
			continue;
		ASSERT_EQ(WISP_EXIT_PORT, hostile_run(&self->g, ~i));
		ASSERT_EQ(WISP_EXIT_HLT, read_msrs(self, now));
		for (int j = 0; j < self->nmsrs; j++) {
			ASSERT_EQ(self->msrs[j], now[j])
				TH_LOG("guest %d, MSR number %d", i, j);
		}
		ASSERT_EQ(0, raw_reset(self->g.vm, -1));
	}
}

/* Forks come to the same, in another way. */
TEST_F(audit, forks)
{
	struct wisp_audit audit;
	struct guest fork = self->g;

	for (int i = 0; i < 20; i++) {
		fork.vm = raw_fork(self->g.sys, self->snapshot);
		ASSERT_LE(0, fork.vm);
		fork.page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
				 fork.vm, 0);
		ASSERT_NE(MAP_FAILED, fork.page);
		fork.pages[0] = fork.page;
		fork.fd = raw_memory_of_slot(fork.sys, fork.vm, 0);
		ASSERT_LE(0, fork.fd);
		fork.memory = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE,
				   MAP_SHARED, fork.fd, 0);
		ASSERT_NE(MAP_FAILED, fork.memory);
		ASSERT_EQ(0, raw_audit(fork.vm, -1, &audit));
		EXPECT_EQ(WISP_AUDIT_SAME, audit.what);
		EXPECT_EQ(WISP_EXIT_PORT, hostile_run(&fork, i));
		ASSERT_EQ(0, raw_audit(fork.vm, -1, &audit));
		EXPECT_EQ(WISP_AUDIT_SAME, audit.what);
		munmap(fork.memory, GUEST_SIZE);
		munmap(fork.page, PAGE);
		close(fork.fd);
		close(fork.vm);
	}
}

TEST_F(audit, refuses)
{
	struct wisp_reset reset = { .size = sizeof(reset), .snapshot = -1 };
	struct wisp_audit audit;

	reset.audit = (uintptr_t)&audit;
	EXPECT_EQ(-EINVAL, raw(self->g.vm, WISP_RESET, &reset));
	reset.flags = WISP_RESET_AUDIT;
	EXPECT_EQ(0, raw(self->g.vm, WISP_RESET, &reset));
	/* Before anything is done. */
	*(__u64 *)guest_at(&self->g, HOSTILE_FREE) = 55;
	reset.audit = 8;
	EXPECT_EQ(-EFAULT, raw(self->g.vm, WISP_RESET, &reset));
	EXPECT_EQ(55ULL, *(__u64 *)guest_at(&self->g, HOSTILE_FREE));
}

TEST_HARNESS_MAIN
