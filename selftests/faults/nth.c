// SPDX-License-Identifier: GPL-2.0
/* Faults in the calls of the system fd, and in what a VM and a vCPU are set up by. */
#include <linux/capability.h>
#include <sys/syscall.h>

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

/* From here on the user has bounds, for which there is an entry of their own. */
static int prepare_bounded(struct machine *m)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];

	(void)m;
	if (syscall(SYS_capget, &header, data))
		return -errno;
	data[0].effective &= ~(1U << CAP_SYS_RESOURCE);
	return syscall(SYS_capset, &header, data) ? -errno : 0;
}

FIXTURE_VARIANT_ADD(fail_nth, create_vm_bounded) {
	.name = "ioctl WISP_CREATE_VM, of a user with bounds",
	.errnos = { ENOMEM, EFAULT, ENFILE },
	.prepare = prepare_bounded,
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

/* There is room for four. */
static int prepare_fifth_slot(struct machine *m)
{
	return raw_set_slot(m->vm, 2, 0x20000, PAGE, m->memory, 0, PROT_R) ?:
	       raw_set_slot(m->vm, 3, 0x30000, PAGE, m->memory, 0, PROT_R);
}

static int call_fifth_slot(struct machine *m)
{
	return raw_set_slot(m->vm, 4, 0x40000, PAGE, m->memory, 0, PROT_R);
}

static bool worked_fifth_slot(struct machine *m, int ret)
{
	return !ret && pread(m->vm, m->buffer, 1, 0x40000) == 1 &&
	       pread(m->vm, m->buffer, 1, 0x30000) == 1;
}

static bool unchanged_fifth_slot(struct machine *m)
{
	return pread(m->vm, m->buffer, 1, 0x40000) < 0 &&
	       pread(m->vm, m->buffer, 1, 0x30000) == 1;
}

FIXTURE_VARIANT_ADD(fail_nth, fifth_slot) {
	.name = "ioctl WISP_SET_SLOT, the fifth",
	.stage = SLOTS,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_fifth_slot,
	.call = call_fifth_slot,
	.worked = worked_fifth_slot,
	.unchanged = unchanged_fifth_slot,
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

/* Every second page, so that each range has entries of its own. */
#define MANY_RANGES	200

static int call_protect_many(struct machine *m)
{
	static struct wisp_protect_range ranges[MANY_RANGES];

	for (__u32 i = 0; i < MANY_RANGES; i++)
		ranges[i] = (struct wisp_protect_range){
			.gpa = 2 * i * PAGE, .range_size = PAGE, .prot = PROT_R,
		};
	return raw_protect(m->vm, ranges, MANY_RANGES);
}

/* What is protected there is one of those, the rest is as it was. */
static bool worked_protect_many(struct machine *m, int ret)
{
	static const __u8 write_2000[] = { 0xa2, 0x00, 0x20, 0xf4 };
	static const __u8 write_e000[] = { 0xa2, 0x00, 0xe0, 0xf4 };
	const struct wisp_exit *exit = &m->page->exit;

	return !ret && run_code(m, touch, sizeof(touch)) == WISP_EXIT_HLT &&
	       run_code(m, write_2000, sizeof(write_2000)) == WISP_EXIT_MEMORY &&
	       exit->memory.flags == WISP_MEMORY_PROTECTED &&
	       run_code(m, write_e000, sizeof(write_e000)) == WISP_EXIT_MEMORY &&
	       exit->memory.flags == WISP_MEMORY_PROTECTED;
}

/* Some may be protected already: it says so. */
FIXTURE_VARIANT_ADD(fail_nth, protect_many) {
	.name = "ioctl WISP_PROTECT, of many ranges",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.call = call_protect_many,
	.worked = worked_protect_many,
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
	struct wisp_cpuid_entry entry = {
		.subleaf = MSR, .flags = WISP_CPUID_SUBLEAF, .eax = eax,
	};
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

/* Its 4 KiB at a time count against the limit, those that failed do not. */
static bool worked_run_limited(struct machine *m, int ret)
{
	static const __u8 write_5000[] = { 0xa2, 0x00, 0x50, 0xf4 };

	return worked_run(m, ret) &&
	       run_code(m, write_5000, sizeof(write_5000)) == WISP_EXIT_LIMIT &&
	       m->page->exit.limit.which == WISP_LIMIT_PRIVATE_PAGES;
}

FIXTURE_VARIANT_ADD(fail_nth, run_limited) {
	.name = "ioctl WISP_RUN, with as many pages as it needs",
	.stage = VCPU,
	.max_pages = 2,
	.never_fails = true,
	.call = call_run,
	.worked = worked_run_limited,
};

/* One page brings the next ones, of which none need be there. */
static int prepare_run_through(struct machine *m)
{
	return write_at(m->memory, touch_many, sizeof(touch_many),
			RESET_OFFSET + RESET_RIP);
}

FIXTURE_VARIANT_ADD(fail_nth, run_through) {
	.name = "ioctl WISP_RUN, page after page",
	.stage = VCPU,
	.never_fails = true,
	.prepare = prepare_run_through,
	.call = call_run,
	.worked = worked_run_through,
};

FIXTURE_VARIANT_ADD(fail_nth, run_stopped) {
	.name = "ioctl WISP_RUN, with a stopped clock",
	.stage = VCPU,
	.vm_flags = WISP_VM_STOPPED_CLOCK,
	.never_fails = true,
	.call = call_run,
	.worked = worked_run,
};

static int prepare_run_deterministic(struct machine *m)
{
	m->page->want = WISP_STATE_MSRS;
	return 0;
}

/* A page that cannot be had is nothing that the guest could see by its clock. */
static bool worked_run_deterministic(struct machine *m, int ret)
{
	return worked_run(m, ret) &&
	       m->page->state.msrs.tsc == WISP_TICKS_PER_EXIT;
}

FIXTURE_VARIANT_ADD(fail_nth, run_deterministic) {
	.name = "ioctl WISP_RUN, deterministic",
	.stage = VCPU,
	.vm_flags = WISP_VM_DETERMINISTIC,
	.never_fails = true,
	.prepare = prepare_run_deterministic,
	.call = call_run,
	.worked = worked_run_deterministic,
};

/* To the instruction that touches memory. */
static int prepare_step(struct machine *m)
{
	m->page->flags = WISP_RUN_STEP | WISP_RUN_BREAKPOINTS |
			 WISP_RUN_TRAP_INT3 | WISP_RUN_INTR_WINDOW;
	return raw_run(m->vm, 0) ||
	       m->page->exit.reason != WISP_EXIT_DEBUG ? -EIO : 0;
}

/* The step that a fault cut short is made when it is made again. */
static bool worked_step(struct machine *m, int ret)
{
	const struct wisp_exit *exit = &m->page->exit;

	if (ret)
		return false;
	m->refused = exit->reason == WISP_EXIT_NOMEM;
	if (m->refused && (exit->rip != RESET_IP + 2 || raw_run(m->vm, 0)))
		return false;
	return exit->reason == WISP_EXIT_DEBUG && exit->debug.vector == 1 &&
	       exit->rip == RESET_IP + 5 && byte_is(m, m->vm, 0x55);
}

FIXTURE_VARIANT_ADD(fail_nth, step) {
	.name = "ioctl WISP_RUN, a step",
	.stage = VCPU,
	.never_fails = true,
	.prepare = prepare_step,
	.call = call_run,
	.worked = worked_step,
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
