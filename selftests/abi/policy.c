// SPDX-License-Identifier: GPL-2.0
/* The CPUID table and the MSR policy: what is refused when they are set. */
#include "../harness.h"
#include "../raw.h"

FIXTURE(policy) {
	int sys;
	int vm;
};

FIXTURE_SETUP(policy)
{
	self->sys = raw_open();
	ASSERT_LE(0, self->sys);
	self->vm = raw_create_vm(self->sys);
	ASSERT_LE(0, self->vm);
}

FIXTURE_TEARDOWN(policy)
{
	close(self->vm);
	close(self->sys);
}

static int set_cpuid(int vm, const void *entries, __u32 count)
{
	struct wisp_set_cpuid arg = {
		.size = sizeof(arg),
		.count = count,
		.entries = (uintptr_t)entries,
	};

	return raw(vm, WISP_SET_CPUID, &arg);
}

static int set_msrs(int vm, const void *ranges, __u32 count)
{
	struct wisp_set_msr_policy arg = {
		.size = sizeof(arg),
		.count = count,
		.ranges = (uintptr_t)ranges,
	};

	return raw(vm, WISP_SET_MSR_POLICY, &arg);
}

TEST_F(policy, cpuid_counts)
{
	static struct wisp_cpuid_entry table[WISP_MAX_CPUID + 1];

	for (int i = 0; i < WISP_MAX_CPUID + 1; i++)
		table[i].leaf = i;
	EXPECT_EQ(0, set_cpuid(self->vm, NULL, 0));
	EXPECT_EQ(0, set_cpuid(self->vm, table, 1));
	EXPECT_EQ(0, set_cpuid(self->vm, table, WISP_MAX_CPUID));
	EXPECT_EQ(-E2BIG, set_cpuid(self->vm, table, WISP_MAX_CPUID + 1));
	EXPECT_EQ(-E2BIG, set_cpuid(self->vm, table, ~0U));
	/* A count that would wrap when it is made bytes. */
	EXPECT_EQ(-E2BIG, set_cpuid(self->vm, table, 1U << 27));
	EXPECT_EQ(-EFAULT, set_cpuid(self->vm, NULL, 1));
	EXPECT_EQ(-EFAULT, set_cpuid(self->vm, (void *)-4096L, 1));
}

TEST_F(policy, cpuid_entries)
{
	static const struct {
		const char *what;
		struct wisp_cpuid_entry table[3];
		int result;
	} rows[] = {
		{ "three leaves, in any order", {
			{ .leaf = 0x80000000 }, { .leaf = 1 }, { .leaf = 0 },
		}, 0 },
		{ "a leaf's subleaves", {
			{ .leaf = 4, .flags = WISP_CPUID_SUBLEAF },
			{ .leaf = 4, .subleaf = 1,
			  .flags = WISP_CPUID_SUBLEAF },
			{ .leaf = 4, .subleaf = ~0U,
			  .flags = WISP_CPUID_SUBLEAF },
		}, 0 },
		{ "a leaf twice", {
			{ .leaf = 1 }, { .leaf = 2 }, { .leaf = 1, .eax = 1 },
		}, -EINVAL },
		{ "a subleaf twice", {
			{ .leaf = 4, .subleaf = 2,
			  .flags = WISP_CPUID_SUBLEAF },
			{ .leaf = 1 },
			{ .leaf = 4, .subleaf = 2,
			  .flags = WISP_CPUID_SUBLEAF },
		}, -EINVAL },
		{ "a subleaf without the flag", {
			{ .leaf = 1 }, { .leaf = 2 },
			{ .leaf = 4, .subleaf = 2 },
		}, -EINVAL },
		{ "reserved not zero", {
			{ .leaf = 1 }, { .leaf = 2 },
			{ .leaf = 3, .reserved = 1 },
		}, -EINVAL },
		{ "an unknown flag", {
			{ .leaf = 1 }, { .leaf = 2 }, { .leaf = 3, .flags = 2 },
		}, -EOPNOTSUPP },
		{ "the top flag", {
			{ .leaf = 1 }, { .leaf = 2 },
			{ .leaf = 3, .flags = 1U << 31 },
		}, -EOPNOTSUPP },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		EXPECT_EQ(rows[i].result, set_cpuid(self->vm, rows[i].table, 3))
			TH_LOG("%s", rows[i].what);
	}
}

TEST_F(policy, own_default_table_is_taken)
{
	struct wisp_cpuid_entry table[WISP_MAX_CPUID];
	struct wisp_query query = {
		.size = sizeof(query),
		.cpuid_count = WISP_MAX_CPUID,
		.cpuid = (uintptr_t)table,
	};

	ASSERT_EQ(0, raw(self->sys, WISP_QUERY, &query));
	EXPECT_EQ(0, set_cpuid(self->vm, table, query.cpuid_count));
}

TEST_F(policy, msr_counts)
{
	static struct wisp_msr_range ranges[WISP_MAX_MSR_RANGES + 1];

	for (int i = 0; i < WISP_MAX_MSR_RANGES + 1; i++) {
		ranges[i].first = 2 * i;
		ranges[i].last = 2 * i + 1;
		ranges[i].read = WISP_MSR_EXIT;
	}
	EXPECT_EQ(0, set_msrs(self->vm, NULL, 0));
	EXPECT_EQ(0, set_msrs(self->vm, ranges, 1));
	EXPECT_EQ(0, set_msrs(self->vm, ranges, WISP_MAX_MSR_RANGES));
	EXPECT_EQ(-E2BIG, set_msrs(self->vm, ranges, WISP_MAX_MSR_RANGES + 1));
	EXPECT_EQ(-E2BIG, set_msrs(self->vm, ranges, ~0U));
	EXPECT_EQ(-E2BIG, set_msrs(self->vm, ranges, 1U << 28));
	EXPECT_EQ(-EFAULT, set_msrs(self->vm, NULL, 1));
	EXPECT_EQ(-EFAULT, set_msrs(self->vm, (void *)-4096L, 1));
}

TEST_F(policy, msr_ranges)
{
	static const struct {
		const char *what;
		struct wisp_msr_range ranges[2];
		int result;
	} rows[] = {
		{ "apart", {
			{ 0, 1, WISP_MSR_GP, WISP_MSR_EXIT },
			{ 3, 3, WISP_MSR_IGNORE, WISP_MSR_EXIT },
		}, 0 },
		{ "side by side, to the last MSR", {
			{ 0, 1, WISP_MSR_EXIT, WISP_MSR_EXIT },
			{ 2, ~0U, WISP_MSR_EXIT, WISP_MSR_EXIT },
		}, 0 },
		{ "descending", {
			{ 3, 3, WISP_MSR_EXIT, WISP_MSR_EXIT },
			{ 0, 1, WISP_MSR_EXIT, WISP_MSR_EXIT },
		}, -EINVAL },
		{ "overlapping by one", {
			{ 0, 2, WISP_MSR_EXIT, WISP_MSR_EXIT },
			{ 2, 3, WISP_MSR_EXIT, WISP_MSR_EXIT },
		}, -EINVAL },
		{ "one in the other", {
			{ 0, 100, WISP_MSR_EXIT, WISP_MSR_EXIT },
			{ 2, 3, WISP_MSR_EXIT, WISP_MSR_EXIT },
		}, -EINVAL },
		{ "behind the last MSR", {
			{ 0, ~0U, WISP_MSR_EXIT, WISP_MSR_EXIT },
			{ 0, 0, WISP_MSR_EXIT, WISP_MSR_EXIT },
		}, -EINVAL },
		{ "the last before the first", {
			{ 2, 1, WISP_MSR_EXIT, WISP_MSR_EXIT },
			{ 8, 9, WISP_MSR_EXIT, WISP_MSR_EXIT },
		}, -EINVAL },
		{ "unknown read action", {
			{ 0, 0, WISP_MSR_EXIT, WISP_MSR_EXIT },
			{ 1, 1, WISP_MSR_IGNORE + 1, WISP_MSR_EXIT },
		}, -EOPNOTSUPP },
		{ "unknown write action", {
			{ 0, 0, WISP_MSR_EXIT, ~0U },
			{ 1, 1, WISP_MSR_EXIT, WISP_MSR_EXIT },
		}, -EOPNOTSUPP },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		EXPECT_EQ(rows[i].result, set_msrs(self->vm, rows[i].ranges, 2))
			TH_LOG("%s", rows[i].what);
	}
}

TEST_F(policy, only_before_the_first_vcpu)
{
	struct wisp_vcpu_page *page;

	ASSERT_EQ(0, set_cpuid(self->vm, NULL, 0));
	ASSERT_EQ(0, set_msrs(self->vm, NULL, 0));
	ASSERT_EQ(0, raw_create_vcpu(self->vm, 0, &page));
	EXPECT_EQ(-EBUSY, set_cpuid(self->vm, NULL, 0));
	EXPECT_EQ(-EBUSY, set_msrs(self->vm, NULL, 0));
}

TEST_HARNESS_MAIN
