// SPDX-License-Identifier: GPL-2.0
/* Faults in the calls of the system fd, and in what a VM and a vCPU are set up by. */
#include "walk.h"

/* cpuid; hlt */
static const __u8 ask_cpuid[] = { 0x0f, 0xa2, 0xf4 };
/* rdmsr; hlt */
static const __u8 ask_msr[] = { 0x0f, 0x32, 0xf4 };

static int call_open(struct machine *m)
{
	(void)m;
	return raw_open();
}

FIXTURE_VARIANT_ADD(fail_nth, open) {
	.name = "open",
	.errnos = { ENOMEM, EFAULT, ENFILE },
	.call = call_open,
	.worked = returns_fd,
};

static int call_query(struct machine *m)
{
	struct wisp_cpuid_entry entries[8];
	struct wisp_query query = {
		.size = sizeof(query),
		.cpuid_count = ARRAY_SIZE(entries),
		.cpuid = (uintptr_t)entries,
	};

	return raw(m->sys, WISP_QUERY, &query);
}

FIXTURE_VARIANT_ADD(fail_nth, query) {
	.name = "ioctl WISP_QUERY",
	.errnos = { EFAULT },
	.call = call_query,
	.worked = returns_0,
};

/* The only VM, so that the hardware is turned on for it. */
static int call_create_vm(struct machine *m)
{
	return raw_create_vm(m->sys);
}

FIXTURE_VARIANT_ADD(fail_nth, create_vm) {
	.name = "ioctl WISP_CREATE_VM",
	.errnos = { ENOMEM, EFAULT, ENFILE },
	.call = call_create_vm,
	.worked = returns_fd,
};

static int call_set_slot(struct machine *m)
{
	return raw_set_slot(m->vm, 0, 0, LOW_SIZE, m->memory, 0, PROT_RWX);
}

static bool worked_set_slot(struct machine *m, int ret)
{
	return !ret && pread(m->vm, m->buffer, 1, 0) == 1;
}

static bool unchanged_set_slot(struct machine *m)
{
	return pread(m->vm, m->buffer, 1, 0) < 0;
}

FIXTURE_VARIANT_ADD(fail_nth, set_slot) {
	.name = "ioctl WISP_SET_SLOT",
	.stage = VM,
	.errnos = { ENOMEM, EFAULT },
	.call = call_set_slot,
	.worked = worked_set_slot,
	.unchanged = unchanged_set_slot,
};

static int call_replace_slot(struct machine *m)
{
	return raw_set_slot(m->vm, 0, 0, LOW_SIZE, m->memory, 32 * 1024 * PAGE,
			    PROT_RWX);
}

static bool worked_replace_slot(struct machine *m, int ret)
{
	return !ret && pread(m->vm, m->buffer, 4, 0) == 4 &&
	       !strcmp(m->buffer, "far");
}

FIXTURE_VARIANT_ADD(fail_nth, replace_slot) {
	.name = "ioctl WISP_SET_SLOT, in place of one",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_replace_slot,
	.call = call_replace_slot,
	.worked = worked_replace_slot,
	.unchanged = unchanged_replace_slot,
};

static int call_remove_slot(struct machine *m)
{
	return raw_remove_slot(m->vm, 0);
}

static bool worked_remove_slot(struct machine *m, int ret)
{
	return !ret && pread(m->vm, m->buffer, 1, 0) < 0;
}

FIXTURE_VARIANT_ADD(fail_nth, remove_slot) {
	.name = "ioctl WISP_SET_SLOT, to remove one",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_replace_slot,
	.call = call_remove_slot,
	.worked = worked_remove_slot,
	.unchanged = unchanged_replace_slot,
};

static int call_protect(struct machine *m)
{
	struct wisp_protect_range range = {
		.gpa = 0x3000,
		.range_size = PAGE,
		.prot = PROT_R,
	};

	return raw_protect(m->vm, &range, 1);
}

static bool worked_protect(struct machine *m, int ret)
{
	return !ret && run_code(m, touch, sizeof(touch)) == WISP_EXIT_MEMORY;
}

static int prepare_protect(struct machine *m)
{
	return m->page ? 0 : raw_create_vcpu(m->vm, 0, &m->page);
}

/* The page that the guest has not touched: it would stay writable. */
static bool unchanged_protect(struct machine *m)
{
	static const __u8 write[] = { 0xa2, 0x00, 0x30, 0xf4 };

	return run_code(m, write, sizeof(write)) == WISP_EXIT_HLT;
}

FIXTURE_VARIANT_ADD(fail_nth, protect) {
	.name = "ioctl WISP_PROTECT",
	.stage = SLOTS,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_protect,
	.call = call_protect,
	.worked = worked_protect,
	.unchanged = unchanged_protect,
};

static int call_stats(struct machine *m)
{
	struct wisp_stats arg = { .size = sizeof(arg) };
	int ret = raw(m->vm, WISP_STATS, &arg);

	return ret ?: (int)arg.vcpus;
}

static bool worked_stats(struct machine *m, int ret)
{
	(void)m;
	return ret == 1;
}

FIXTURE_VARIANT_ADD(fail_nth, stats) {
	.name = "ioctl WISP_STATS",
	.stage = VCPU,
	.errnos = { EFAULT },
	.call = call_stats,
	.worked = worked_stats,
};

static int set_cpuid(struct machine *m, __u32 eax)
{
	struct wisp_cpuid_entry entry = { .eax = eax };
	struct wisp_set_cpuid arg = {
		.size = sizeof(arg),
		.count = 1,
		.entries = (uintptr_t)&entry,
	};

	return raw(m->vm, WISP_SET_CPUID, &arg);
}

static int prepare_set_cpuid(struct machine *m)
{
	return set_cpuid(m, 1);
}

static int call_set_cpuid(struct machine *m)
{
	return set_cpuid(m, 2);
}

static bool cpuid_is(struct machine *m, __u32 eax)
{
	return run_code(m, ask_cpuid, sizeof(ask_cpuid)) == WISP_EXIT_HLT &&
	       m->page->state.general.rax == eax;
}

static bool worked_set_cpuid(struct machine *m, int ret)
{
	return !ret && cpuid_is(m, 2);
}

static bool unchanged_set_cpuid(struct machine *m)
{
	return cpuid_is(m, 1);
}

FIXTURE_VARIANT_ADD(fail_nth, set_cpuid) {
	.name = "ioctl WISP_SET_CPUID",
	.stage = SLOTS,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_set_cpuid,
	.call = call_set_cpuid,
	.worked = worked_set_cpuid,
	.unchanged = unchanged_set_cpuid,
};

static int set_msr_policy(struct machine *m, __u32 read)
{
	struct wisp_msr_range range = { .first = MSR, .last = MSR, .read = read };
	struct wisp_set_msr_policy arg = {
		.size = sizeof(arg),
		.count = 1,
		.ranges = (uintptr_t)&range,
	};

	return raw(m->vm, WISP_SET_MSR_POLICY, &arg);
}

static int prepare_set_msr_policy(struct machine *m)
{
	return set_msr_policy(m, WISP_MSR_IGNORE);
}

static int call_set_msr_policy(struct machine *m)
{
	return set_msr_policy(m, WISP_MSR_EXIT);
}

static bool worked_set_msr_policy(struct machine *m, int ret)
{
	return !ret && run_code(m, ask_msr, sizeof(ask_msr)) == WISP_EXIT_MSR;
}

static bool unchanged_set_msr_policy(struct machine *m)
{
	return run_code(m, ask_msr, sizeof(ask_msr)) == WISP_EXIT_HLT;
}

FIXTURE_VARIANT_ADD(fail_nth, set_msr_policy) {
	.name = "ioctl WISP_SET_MSR_POLICY",
	.stage = SLOTS,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_set_msr_policy,
	.call = call_set_msr_policy,
	.worked = worked_set_msr_policy,
	.unchanged = unchanged_set_msr_policy,
};

static int call_create_vcpu(struct machine *m)
{
	struct wisp_create_vcpu arg = { .size = sizeof(arg), .vcpu = 3 };

	return raw(m->vm, WISP_CREATE_VCPU, &arg);
}

static bool worked_create_vcpu(struct machine *m, int ret)
{
	return !ret && !raw_get_state(m->vm, 3, STATE_ALL, m->state);
}

static bool unchanged_create_vcpu(struct machine *m)
{
	return raw_get_state(m->vm, 3, STATE_ALL, m->state) == -ENOENT;
}

FIXTURE_VARIANT_ADD(fail_nth, create_vcpu) {
	.name = "ioctl WISP_CREATE_VCPU",
	.stage = VM,
	.errnos = { ENOMEM, EFAULT },
	.call = call_create_vcpu,
	.worked = worked_create_vcpu,
	.unchanged = unchanged_create_vcpu,
};

FIXTURE_VARIANT_ADD(fail_nth, run) {
	.name = "ioctl WISP_RUN",
	.stage = VCPU,
	.never_fails = true,
	.call = call_run,
	.worked = worked_run,
};

static int call_kick(struct machine *m)
{
	return raw_kick(m->vm, 0);
}

static bool worked_kick(struct machine *m, int ret)
{
	return !ret && !raw_run(m->vm, 0) &&
	       m->page->exit.reason == WISP_EXIT_KICKED;
}

FIXTURE_VARIANT_ADD(fail_nth, kick) {
	.name = "ioctl WISP_KICK",
	.stage = VCPU,
	.nothing = true,
	.call = call_kick,
	.worked = worked_kick,
};

static int call_get_state(struct machine *m)
{
	return raw_get_state(m->vm, 0, STATE_ALL, m->state);
}

static bool worked_get_state(struct machine *m, int ret)
{
	return !ret && state_is(m, m->state);
}

FIXTURE_VARIANT_ADD(fail_nth, get_state) {
	.name = "ioctl WISP_GET_STATE",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.call = call_get_state,
	.worked = worked_get_state,
	.unchanged = unchanged_state,
};

static int prepare_set_state(struct machine *m)
{
	m->state->general.rbx = 1;
	m->state->control.cr2 = 2;
	m->state->msrs.lstar = 3;
	return 0;
}

static int call_set_state(struct machine *m)
{
	return raw_set_state(m->vm, 0, STATE_ALL, m->state, NULL);
}

static bool worked_set_state(struct machine *m, int ret)
{
	return !ret && state_is(m, m->state);
}

FIXTURE_VARIANT_ADD(fail_nth, set_state) {
	.name = "ioctl WISP_SET_STATE",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_set_state,
	.call = call_set_state,
	.worked = worked_set_state,
	.unchanged = unchanged_state,
};

TEST_HARNESS_MAIN
