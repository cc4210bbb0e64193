// SPDX-License-Identifier: GPL-2.0
/*
 * What every call that takes a struct does with its size, flags, reserved
 * fields and pointer; what every fd does with calls that it has not got.
 */
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <sys/resource.h>

#include "../harness.h"
#include "../raw.h"

enum fd_kind { FD_SYSTEM, FD_MEMORY, FD_VM, FD_SNAPSHOT, FD_KINDS };

struct context {
	int fds[FD_KINDS];
	struct wisp_vcpu_page *page;
	struct wisp_state *state;
	/* One page for arguments, between two that cannot be touched. */
	char *args;
	unsigned int count;
};

FIXTURE(call) {
	struct context c;
};

union argument {
	struct {
		__u32 size;
		__u32 flags;
	};
	struct wisp_query query;
	struct wisp_create_memory create_memory;
	struct wisp_create_vm create_vm;
	struct wisp_set_slot set_slot;
	struct wisp_set_cpuid set_cpuid;
	struct wisp_set_msr_policy set_msr_policy;
	struct wisp_create_vcpu create_vcpu;
	struct wisp_vcpu_state vcpu_state;
	struct wisp_discard discard;
	struct wisp_protect protect;
	struct wisp_stats stats;
	struct wisp_snapshot snapshot;
	struct wisp_reset reset;
	struct wisp_dirty dirty;
	char bytes[384];
};

FIXTURE_VARIANT(call) {
	unsigned long call;
	size_t first_size;	/* of the struct's first version */
	enum fd_kind fd;
	bool returns_fd;
	bool writes;		/* results into the struct */
	size_t reserved;	/* offset of a reserved __u32, or 0 */
	bool all_used;		/* nothing is reserved */
	__u32 known_flags;
	bool with_vcpu;		/* needs vCPU 0 */
	/* Fills in arguments that work, however often it is called. */
	void (*fill)(struct context *c, union argument *arg);
};

static void fill_query(struct context *c, union argument *arg)
{
	(void)c;
	arg->query.size = sizeof(arg->query);
}

FIXTURE_VARIANT_ADD(call, query) {
	.call = WISP_QUERY,
	.first_size = 88,
	.fd = FD_SYSTEM,
	.writes = true,
	.reserved = offsetof(struct wisp_query, reserved),
	.fill = fill_query,
};

static void fill_create_memory(struct context *c, union argument *arg)
{
	(void)c;
	arg->create_memory.size = sizeof(arg->create_memory);
	arg->create_memory.memory_size = PAGE;
}

FIXTURE_VARIANT_ADD(call, create_memory) {
	.call = WISP_CREATE_MEMORY,
	.first_size = 16,
	.fd = FD_SYSTEM,
	.returns_fd = true,
	.reserved = offsetof(struct wisp_create_memory, reserved),
	.known_flags = WISP_MEMORY_HUGE | WISP_MEMORY_FILE |
		       WISP_MEMORY_OF_SLOT,
	.fill = fill_create_memory,
};

static void fill_create_vm(struct context *c, union argument *arg)
{
	(void)c;
	arg->create_vm.size = sizeof(arg->create_vm);
}

FIXTURE_VARIANT_ADD(call, create_vm) {
	.call = WISP_CREATE_VM,
	.first_size = 8,
	.fd = FD_SYSTEM,
	.returns_fd = true,
	.reserved = offsetof(struct wisp_create_vm, reserved),
	.known_flags = WISP_VM_FORK | WISP_VM_STOPPED_CLOCK |
		       WISP_VM_DETERMINISTIC | WISP_VM_WINDOW,
	.fill = fill_create_vm,
};

static void fill_discard(struct context *c, union argument *arg)
{
	(void)c;
	arg->discard.size = sizeof(arg->discard);
	arg->discard.discard_size = PAGE;
}

FIXTURE_VARIANT_ADD(call, discard) {
	.call = WISP_DISCARD,
	.first_size = 24,
	.fd = FD_MEMORY,
	.all_used = true,
	.fill = fill_discard,
};

static void fill_set_slot(struct context *c, union argument *arg)
{
	arg->set_slot.size = sizeof(arg->set_slot);
	arg->set_slot.memory = c->fds[FD_MEMORY];
	arg->set_slot.slot_size = PAGE;
	arg->set_slot.prot = PROT_R;
}

FIXTURE_VARIANT_ADD(call, set_slot) {
	.call = WISP_SET_SLOT,
	.first_size = 48,
	.fd = FD_VM,
	.reserved = offsetof(struct wisp_set_slot, reserved),
	.fill = fill_set_slot,
};

static const struct wisp_protect_range protect_range = {
	.gpa = PAGE,
	.range_size = PAGE,
	.prot = PROT_R,
};

static void fill_protect(struct context *c, union argument *arg)
{
	(void)c;
	arg->protect.size = sizeof(arg->protect);
	arg->protect.count = 1;
	arg->protect.ranges = (uintptr_t)&protect_range;
}

FIXTURE_VARIANT_ADD(call, protect) {
	.call = WISP_PROTECT,
	.first_size = 24,
	.fd = FD_VM,
	.reserved = offsetof(struct wisp_protect, reserved),
	.fill = fill_protect,
};

static void fill_stats(struct context *c, union argument *arg)
{
	(void)c;
	arg->stats.size = sizeof(arg->stats);
}

FIXTURE_VARIANT_ADD(call, stats) {
	.call = WISP_STATS,
	.first_size = 312,
	.fd = FD_VM,
	.writes = true,
	.all_used = true,
	.fill = fill_stats,
};

static void fill_set_cpuid(struct context *c, union argument *arg)
{
	(void)c;
	arg->set_cpuid.size = sizeof(arg->set_cpuid);
}

FIXTURE_VARIANT_ADD(call, set_cpuid) {
	.call = WISP_SET_CPUID,
	.first_size = 24,
	.fd = FD_VM,
	.reserved = offsetof(struct wisp_set_cpuid, reserved),
	.fill = fill_set_cpuid,
};

static void fill_set_msr_policy(struct context *c, union argument *arg)
{
	(void)c;
	arg->set_msr_policy.size = sizeof(arg->set_msr_policy);
}

FIXTURE_VARIANT_ADD(call, set_msr_policy) {
	.call = WISP_SET_MSR_POLICY,
	.first_size = 24,
	.fd = FD_VM,
	.reserved = offsetof(struct wisp_set_msr_policy, reserved),
	.fill = fill_set_msr_policy,
};

static void fill_create_vcpu(struct context *c, union argument *arg)
{
	arg->create_vcpu.size = sizeof(arg->create_vcpu);
	arg->create_vcpu.vcpu = c->count++;
}

FIXTURE_VARIANT_ADD(call, create_vcpu) {
	.call = WISP_CREATE_VCPU,
	.first_size = 24,
	.fd = FD_VM,
	.writes = true,
	.reserved = offsetof(struct wisp_create_vcpu, reserved),
	.fill = fill_create_vcpu,
};

static void fill_vcpu_state(struct context *c, union argument *arg)
{
	arg->vcpu_state.size = sizeof(arg->vcpu_state);
	arg->vcpu_state.groups = STATE_ALL;
	arg->vcpu_state.state = (uintptr_t)c->state;
}

FIXTURE_VARIANT_ADD(call, get_state) {
	.call = WISP_GET_STATE,
	.first_size = 32,
	.fd = FD_VM,
	.writes = true,
	.reserved = offsetof(struct wisp_vcpu_state, reserved),
	.with_vcpu = true,
	.fill = fill_vcpu_state,
};

FIXTURE_VARIANT_ADD(call, set_state) {
	.call = WISP_SET_STATE,
	.first_size = 32,
	.fd = FD_VM,
	.writes = true,
	.reserved = offsetof(struct wisp_vcpu_state, reserved),
	.with_vcpu = true,
	.fill = fill_vcpu_state,
};

static void fill_snapshot(struct context *c, union argument *arg)
{
	(void)c;
	arg->snapshot.size = sizeof(arg->snapshot);
}

FIXTURE_VARIANT_ADD(call, snapshot) {
	.call = WISP_SNAPSHOT,
	.first_size = 8,
	.fd = FD_VM,
	.returns_fd = true,
	.all_used = true,
	.known_flags = WISP_SNAPSHOT_KICK,
	.with_vcpu = true,
	.fill = fill_snapshot,
};

static void fill_reset(struct context *c, union argument *arg)
{
	arg->reset.size = sizeof(arg->reset);
	arg->reset.snapshot = c->fds[FD_SNAPSHOT];
}

FIXTURE_VARIANT_ADD(call, reset) {
	.call = WISP_RESET,
	.first_size = 16,
	.fd = FD_VM,
	.reserved = offsetof(struct wisp_reset, reserved),
	.known_flags = WISP_RESET_KICK | WISP_RESET_AUDIT,
	.with_vcpu = true,
	.fill = fill_reset,
};

static void fill_dirty(struct context *c, union argument *arg)
{
	(void)c;
	arg->dirty.size = sizeof(arg->dirty);
}

FIXTURE_VARIANT_ADD(call, dirty) {
	.call = WISP_DIRTY,
	.first_size = 24,
	.fd = FD_VM,
	.writes = true,
	.reserved = offsetof(struct wisp_dirty, reserved),
	.with_vcpu = true,
	.fill = fill_dirty,
};

/* Of a VM that is closed again. */
static int any_snapshot(int sys)
{
	struct wisp_vcpu_page *page = NULL;
	int vm = raw_create_vm(sys), snapshot;

	if (vm < 0 || raw_create_vcpu(vm, 0, &page))
		return -1;
	snapshot = raw_snapshot(vm);
	munmap(page, PAGE);
	close(vm);
	return snapshot;
}

FIXTURE_SETUP(call)
{
	self->c.fds[FD_SYSTEM] = raw_open();
	ASSERT_LE(0, self->c.fds[FD_SYSTEM]);
	self->c.fds[FD_MEMORY] = raw_create_memory(self->c.fds[FD_SYSTEM], PAGE);
	ASSERT_LE(0, self->c.fds[FD_MEMORY]);
	self->c.fds[FD_VM] = raw_create_vm(self->c.fds[FD_SYSTEM]);
	ASSERT_LE(0, self->c.fds[FD_VM]);
	self->c.state = calloc(1, sizeof(*self->c.state));
	ASSERT_NE(NULL, self->c.state);
	if (variant->with_vcpu) {
		ASSERT_EQ(0, raw_create_vcpu(self->c.fds[FD_VM], 0, &self->c.page));
		ASSERT_EQ(0, raw_get_state(self->c.fds[FD_VM], 0, STATE_ALL,
					   self->c.state));
		self->c.fds[FD_SNAPSHOT] = raw_snapshot(self->c.fds[FD_VM]);
	} else {
		self->c.fds[FD_SNAPSHOT] = any_snapshot(self->c.fds[FD_SYSTEM]);
	}
	ASSERT_LE(0, self->c.fds[FD_SNAPSHOT]);
	self->c.args = mmap(NULL, 3 * PAGE, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->c.args);
	self->c.args += PAGE;
	ASSERT_EQ(0, mprotect(self->c.args, PAGE, PROT_READ | PROT_WRITE));
}

FIXTURE_TEARDOWN(call)
{
	free(self->c.state);
	for (int kind = 0; kind < FD_KINDS; kind++)
		close(self->c.fds[kind]);
}

/* The argument at the very end of the page, so that nothing follows it. */
static void *at_end(struct context *c, const union argument *arg,
		    size_t size)
{
	return memcpy(c->args + PAGE - size, arg, size);
}

static bool is_success(bool returns_fd, int ret)
{
	if (!returns_fd)
		return ret == 0;
	if (ret < 0)
		return false;
	close(ret);
	return true;
}

TEST_F(call, exact_size)
{
	union argument arg = { .size = 0 };
	size_t size;
	int ret;

	variant->fill(&self->c, &arg);
	size = arg.size;
	/* The driver must not look behind the struct. */
	ret = raw(self->c.fds[variant->fd], variant->call,
		  at_end(&self->c, &arg, size));
	EXPECT_TRUE(is_success(variant->returns_fd, ret))
		TH_LOG("returned %d", ret);
}

TEST_F(call, too_short)
{
	for (size_t size = 0; size < variant->first_size; size++) {
		union argument arg = { .size = 0 };

		variant->fill(&self->c, &arg);
		arg.size = size;
		EXPECT_EQ(-EINVAL, raw(self->c.fds[variant->fd], variant->call,
				       &arg))
			TH_LOG("size %zu", size);
	}
}

TEST_F(call, first_size)
{
	union argument arg = { .size = 0 };
	int ret;

	variant->fill(&self->c, &arg);
	arg.size = variant->first_size;
	ret = raw(self->c.fds[variant->fd], variant->call,
		  at_end(&self->c, &arg, arg.size));
	EXPECT_TRUE(is_success(variant->returns_fd, ret))
		TH_LOG("returned %d", ret);
}

TEST_F(call, longer_with_zeros)
{
	static const size_t extra[] = { 1, 7, 8, 64 };

	for (size_t i = 0; i < ARRAY_SIZE(extra); i++) {
		union {
			union argument arg;
			char bytes[512];
		} u = { .bytes = { 0 } };
		int ret;

		variant->fill(&self->c, &u.arg);
		u.arg.size += extra[i];
		ret = raw(self->c.fds[variant->fd], variant->call, &u);
		EXPECT_TRUE(is_success(variant->returns_fd, ret))
			TH_LOG("%zu bytes more: returned %d", extra[i], ret);
	}
}

TEST_F(call, longer_with_nonzero)
{
	static const size_t extra[] = { 1, 7, 8, 64 };

	for (size_t i = 0; i < ARRAY_SIZE(extra); i++) {
		union {
			union argument arg;
			char bytes[512];
		} u = { .bytes = { 0 } };

		variant->fill(&self->c, &u.arg);
		u.arg.size += extra[i];
		u.bytes[u.arg.size - 1] = 1;
		EXPECT_EQ(-E2BIG, raw(self->c.fds[variant->fd], variant->call,
				      &u))
			TH_LOG("%zu bytes more", extra[i]);
	}
}

TEST_F(call, huge_size)
{
	static const __u32 sizes[] = { 0x10000, 0x7fffffff, 0x80000000,
				       0xffffffff };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		union argument arg = { .size = 0 };
		int ret;

		memset(self->c.args, 0, PAGE);
		variant->fill(&self->c, &arg);
		arg.size = sizes[i];
		memcpy(self->c.args, &arg, sizeof(arg));
		ret = raw(self->c.fds[variant->fd], variant->call, self->c.args);
		EXPECT_TRUE(ret == -E2BIG || ret == -EFAULT)
			TH_LOG("size %#x returned %d", sizes[i], ret);
	}
}

TEST_F(call, bad_pointer)
{
	int fd = self->c.fds[variant->fd];
	union argument arg = { .size = 0 };

	EXPECT_EQ(-EFAULT, raw(fd, variant->call, NULL));
	EXPECT_EQ(-EFAULT, raw(fd, variant->call, self->c.args + PAGE));
	EXPECT_EQ(-EFAULT, raw(fd, variant->call, (void *)(1UL << 47)));
	EXPECT_EQ(-EFAULT, raw(fd, variant->call,
			       (void *)0xffff888000000000UL));
	EXPECT_EQ(-EFAULT, raw(fd, variant->call, (void *)-8L));

	/* Only a part of the struct can be read. */
	variant->fill(&self->c, &arg);
	if (arg.size > 8) {
		EXPECT_EQ(-EFAULT, raw(fd, variant->call,
				       memcpy(self->c.args + PAGE - 8, &arg, 8)));
	}
	EXPECT_EQ(-EFAULT, raw(fd, variant->call,
			       memcpy(self->c.args + PAGE - 4, &arg, 4)));
}

TEST_F(call, unknown_flags)
{
	for (int bit = 0; bit < 32; bit++) {
		union argument arg = { .size = 0 };

		if (variant->known_flags & 1U << bit)
			continue;
		variant->fill(&self->c, &arg);
		arg.flags = 1U << bit;
		EXPECT_EQ(-EOPNOTSUPP, raw(self->c.fds[variant->fd],
					   variant->call, &arg))
			TH_LOG("flag %#x", 1U << bit);
	}
}

TEST_F(call, reserved_not_zero)
{
	for (int bit = 0; variant->reserved && bit < 32; bit++) {
		union argument arg = { .size = 0 };
		__u32 value = 1U << bit;

		variant->fill(&self->c, &arg);
		memcpy(arg.bytes + variant->reserved, &value, sizeof(value));
		EXPECT_EQ(-EINVAL, raw(self->c.fds[variant->fd], variant->call,
				       &arg))
			TH_LOG("reserved %#x", value);
	}
	if (!variant->reserved && !variant->all_used) {
		EXPECT_LE(variant->first_size, 16UL)
			TH_LOG("a reserved field is not tested");
	}
}

/* Results that cannot be copied out: the call has failed and done nothing. */
TEST_F(call, results_cannot_be_written)
{
	union argument arg = { .size = 0 };
	int fd = self->c.fds[variant->fd];

	variant->fill(&self->c, &arg);
	memcpy(self->c.args, &arg, sizeof(arg));
	ASSERT_EQ(0, mprotect(self->c.args, PAGE, PROT_READ));
	if (variant->writes) {
		EXPECT_EQ(-EFAULT, raw(fd, variant->call, self->c.args));
		if (variant->call == WISP_CREATE_VCPU) {
			EXPECT_EQ(-ENOENT, raw_run(fd, arg.create_vcpu.vcpu));
			EXPECT_EQ(-ENOENT, raw_kick(fd, arg.create_vcpu.vcpu));
			/* Its index is still to be had. */
			EXPECT_EQ(0, raw(fd, variant->call, &arg));
		}
	} else {
		int ret = raw(fd, variant->call, self->c.args);

		EXPECT_TRUE(is_success(variant->returns_fd, ret))
			TH_LOG("returned %d", ret);
	}
}

TEST_F(call, wrong_kind_of_fd)
{
	for (int kind = 0; kind < FD_KINDS; kind++) {
		union argument arg = { .size = 0 };

		if (kind == (int)variant->fd ||
		    (kind == FD_SNAPSHOT && variant->call == WISP_GET_STATE))
			continue;
		variant->fill(&self->c, &arg);
		EXPECT_EQ(-ENOTTY, raw(self->c.fds[kind], variant->call, &arg))
			TH_LOG("fd kind %d", kind);
	}
}

FIXTURE(fds) {
	int fds[FD_KINDS];
};

FIXTURE_SETUP(fds)
{
	self->fds[FD_SYSTEM] = raw_open();
	ASSERT_LE(0, self->fds[FD_SYSTEM]);
	self->fds[FD_MEMORY] = raw_create_memory(self->fds[FD_SYSTEM], PAGE);
	ASSERT_LE(0, self->fds[FD_MEMORY]);
	self->fds[FD_VM] = raw_create_vm(self->fds[FD_SYSTEM]);
	ASSERT_LE(0, self->fds[FD_VM]);
	self->fds[FD_SNAPSHOT] = any_snapshot(self->fds[FD_SYSTEM]);
	ASSERT_LE(0, self->fds[FD_SNAPSHOT]);
}

FIXTURE_TEARDOWN(fds)
{
	for (int kind = 0; kind < FD_KINDS; kind++)
		close(self->fds[kind]);
}

static bool is_call_of(enum fd_kind kind, unsigned int nr)
{
	switch (kind) {
	case FD_SYSTEM:
		return nr <= 0x02;
	case FD_MEMORY:
		return nr == 0x20;
	case FD_VM:
		return nr >= 0x40 && nr <= 0x4c;
	case FD_SNAPSHOT:
		return nr == 0x47;
	default:
		return false;
	}
}

TEST_F(fds, unknown_calls)
{
	union argument arg;

	for (int kind = 0; kind < FD_KINDS; kind++) {
		for (unsigned int nr = 0; nr < 256; nr++) {
			memset(&arg, 0, sizeof(arg));
			arg.size = sizeof(arg);
			if (!is_call_of(kind, nr)) {
				EXPECT_EQ(-ENOTTY,
					  raw(self->fds[kind],
					      _IO(WISP_IOCTL_TYPE, nr), &arg))
					TH_LOG("fd kind %d, nr %#x", kind, nr);
			}
			/* Same number, but not the same call. */
			EXPECT_EQ(-ENOTTY,
				  raw(self->fds[kind],
				      _IOW(WISP_IOCTL_TYPE, nr, int), &arg))
				TH_LOG("fd kind %d, _IOW nr %#x", kind, nr);
			EXPECT_EQ(-ENOTTY,
				  raw(self->fds[kind], _IO(0xd6, nr), &arg))
				TH_LOG("fd kind %d, type 0xd6 nr %#x", kind,
				       nr);
		}
	}
}

TEST_F(fds, run_and_kick_on_the_wrong_fd)
{
	EXPECT_EQ(-ENOTTY, raw_run(self->fds[FD_SYSTEM], 0));
	EXPECT_EQ(-ENOTTY, raw_run(self->fds[FD_MEMORY], 0));
	EXPECT_EQ(-ENOTTY, raw_kick(self->fds[FD_SYSTEM], 0));
	EXPECT_EQ(-ENOTTY, raw_kick(self->fds[FD_MEMORY], 0));
	EXPECT_EQ(-ENOTTY, raw_run(self->fds[FD_SNAPSHOT], 0));
	EXPECT_EQ(-ENOTTY, raw_kick(self->fds[FD_SNAPSHOT], 0));
}

TEST_F(fds, are_close_on_exec)
{
	EXPECT_EQ(FD_CLOEXEC, fcntl(self->fds[FD_MEMORY], F_GETFD));
	EXPECT_EQ(FD_CLOEXEC, fcntl(self->fds[FD_VM], F_GETFD));
}

TEST_F(fds, none_left)
{
	struct rlimit limit = { .rlim_cur = 3, .rlim_max = 3 };

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	EXPECT_EQ(-EMFILE, raw_create_memory(self->fds[FD_SYSTEM], PAGE));
	EXPECT_EQ(-EMFILE, raw_create_vm(self->fds[FD_SYSTEM]));
}

/* They hold each other: the order of closing them is free. */
TEST_F(fds, outlive_each_other)
{
	char c = 'w';

	ASSERT_EQ(0, raw_set_slot(self->fds[FD_VM], 0, 0, PAGE,
				  self->fds[FD_MEMORY], 0, PROT_RW));
	ASSERT_EQ(0, close(self->fds[FD_SYSTEM]));
	EXPECT_EQ(1, pwrite(self->fds[FD_MEMORY], &c, 1, 7));
	ASSERT_EQ(0, close(self->fds[FD_MEMORY]));
	c = 0;
	EXPECT_EQ(1, pread(self->fds[FD_VM], &c, 1, 7));
	EXPECT_EQ('w', c);
}

TEST_F(fds, are_not_files)
{
	char c = 0;

	/* The system fd has nothing to read or write. */
	EXPECT_GT(0, read(self->fds[FD_SYSTEM], &c, 1));
	EXPECT_GT(0, write(self->fds[FD_SYSTEM], &c, 1));
}

FIXTURE(query) {
	int sys;
	struct wisp_query query;
};

FIXTURE_SETUP(query)
{
	self->sys = raw_open();
	ASSERT_LE(0, self->sys);
	ASSERT_EQ(0, raw_query(self->sys, &self->query));
}

FIXTURE_TEARDOWN(query)
{
	close(self->sys);
}

TEST_F(query, says_what_the_host_can_do)
{
	const struct wisp_query *q = &self->query;

	EXPECT_EQ((__u32)WISP_ABI_VERSION, q->abi_version);
	EXPECT_TRUE(q->backend == WISP_BACKEND_SVM ||
		    q->backend == WISP_BACKEND_VMX);
	EXPECT_EQ(0UL, q->features & ~WISP_FEATURE_INST_BYTES);
	EXPECT_EQ(0UL, q->quirks & ~(WISP_QUIRK_NO_NRIP | WISP_QUIRK_NO_HUGE |
				     WISP_QUIRK_RANDOM | WISP_QUIRK_NO_DIRTY));
	EXPECT_EQ((__u32)STATE_ALL, q->state_groups);
	EXPECT_LE(1U, q->max_vcpus);
	EXPECT_LE(8U, q->max_slots);
	EXPECT_LE(36U, q->gpa_bits);
	EXPECT_GE(52U, q->gpa_bits);
	EXPECT_LE(1UL << 30, q->max_memory_size);
	EXPECT_EQ(0UL, q->max_memory_size % PAGE);
	EXPECT_EQ(3UL, q->xcr0 & 3);
	EXPECT_LE(576U, q->xsave_size);
	EXPECT_GE((__u32)WISP_XSAVE_SIZE, q->xsave_size);
	EXPECT_LT(0U, q->tsc_khz);
	EXPECT_LT(0U, q->cpuid_count);
	EXPECT_GE((__u32)WISP_MAX_CPUID, q->cpuid_count);
}

TEST_F(query, cpuid_table)
{
	__u32 count = self->query.cpuid_count;
	struct wisp_cpuid_entry *table = calloc(count + 1, sizeof(*table));
	struct wisp_cpuid_entry *part = calloc(count + 1, sizeof(*part));

	ASSERT_NE(NULL, table);
	ASSERT_NE(NULL, part);
	memset(table, 0xa5, (count + 1) * sizeof(*table));
	memset(part, 0xa5, (count + 1) * sizeof(*part));

	self->query.cpuid_count = count + 1;
	self->query.cpuid = (uintptr_t)table;
	ASSERT_EQ(0, raw(self->sys, WISP_QUERY, &self->query));
	EXPECT_EQ(count, self->query.cpuid_count);
	/* Nothing behind the last entry is written. */
	EXPECT_EQ(0xa5a5a5a5, table[count].leaf);
	for (__u32 i = 0; i < count; i++) {
		EXPECT_EQ(0U, table[i].reserved);
		EXPECT_EQ(0U, table[i].flags & ~WISP_CPUID_SUBLEAF);
	}

	/* Room for two: two are written, and the count is still the whole. */
	self->query.cpuid_count = 2;
	self->query.cpuid = (uintptr_t)part;
	ASSERT_EQ(0, raw(self->sys, WISP_QUERY, &self->query));
	EXPECT_EQ(count, self->query.cpuid_count);
	EXPECT_EQ(0, memcmp(table, part, 2 * sizeof(*table)));
	EXPECT_EQ(0xa5a5a5a5, part[2].leaf);

	self->query.cpuid_count = count;
	self->query.cpuid = 8;
	self->query.abi_version = 77;
	EXPECT_EQ(-EFAULT, raw(self->sys, WISP_QUERY, &self->query));
	EXPECT_EQ(77U, self->query.abi_version)
		TH_LOG("a call that fails changes nothing");
	free(table);
	free(part);
}

/*
 * The same struct from a 32-bit caller, which int $0x80 makes of us for one
 * call (54 is ioctl there, 20 getpid).
 */
static long call32(long nr, long a, long b, long c)
{
	long ret;

	asm volatile("int $0x80"
		     : "=a" (ret)
		     : "a" (nr), "b" (a), "c" (b), "d" (c)
		     : "memory", "r8", "r9", "r10", "r11");
	return ret;
}

static void no_compat(int sig)
{
	(void)sig;
	_exit(255);	/* the harness takes it for "skipped" */
}

TEST_F(query, from_a_32_bit_caller)
{
	struct wisp_query *low;

	signal(SIGSEGV, no_compat);
	ASSERT_EQ(getpid(), call32(20, 0, 0, 0));
	signal(SIGSEGV, SIG_DFL);

	low = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	ASSERT_NE(MAP_FAILED, low);
	low->size = sizeof(*low);
	EXPECT_EQ(0, call32(54, self->sys, WISP_QUERY, (long)low));
	EXPECT_EQ(self->query.max_memory_size, low->max_memory_size);
	EXPECT_EQ(self->query.xcr0, low->xcr0);
	EXPECT_EQ(-ENOTTY, call32(54, self->sys, WISP_RUN, 0));
}

TEST_HARNESS_MAIN
