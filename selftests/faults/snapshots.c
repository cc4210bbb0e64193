// SPDX-License-Identifier: GPL-2.0
/* Faults in snapshots, resets and forks. */
#include "walk.h"

static int call_snapshot(struct machine *m)
{
	return raw_snapshot(m->vm);
}

static bool worked_snapshot(struct machine *m, int ret)
{
	return returns_fd(m, ret) && byte_is(m, ret, 0x55) &&
	       !write_byte(m, 1) && byte_is(m, ret, 0x55) &&
	       !raw_reset(m->vm, ret) && byte_is(m, m->vm, 0x55);
}

/* There is none that it could be reset to. */
static bool unchanged_snapshot(struct machine *m)
{
	return raw_reset(m->vm, -1) == -EINVAL && byte_is(m, m->vm, 0x55);
}

FIXTURE_VARIANT_ADD(fail_nth, snapshot) {
	.name = "ioctl WISP_SNAPSHOT",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT, ENFILE },
	.prepare = prepare_replace_slot,
	.call = call_snapshot,
	.worked = worked_snapshot,
	.unchanged = unchanged_snapshot,
};

/* One snapshot has 0x55, a later one 1, and the VM 2. */
static int prepare_reset(struct machine *m)
{
	for (int i = 0; i < 2; i++) {
		if (i ? write_byte(m, 1) : prepare_replace_slot(m))
			return -EIO;
		m->snapshots[i] = raw_snapshot(m->vm);
		if (m->snapshots[i] < 0)
			return m->snapshots[i];
	}
	return write_byte(m, 2);
}

static int call_reset(struct machine *m)
{
	return raw_reset(m->vm, -1);
}

static bool worked_reset(struct machine *m, int ret)
{
	return !ret && byte_is(m, m->vm, 1);
}

static bool unchanged_reset(struct machine *m)
{
	return byte_is(m, m->vm, 2);
}

FIXTURE_VARIANT_ADD(fail_nth, reset) {
	.name = "ioctl WISP_RESET",
	.stage = VCPU,
	.errnos = { EFAULT },
	.prepare = prepare_reset,
	.call = call_reset,
	.worked = worked_reset,
	.unchanged = unchanged_reset,
};

static int call_audit(struct machine *m)
{
	struct wisp_audit audit;
	int ret = raw_audit(m->vm, -1, &audit);

	return ret ?: -(int)audit.what;
}

FIXTURE_VARIANT_ADD(fail_nth, audit) {
	.name = "ioctl WISP_RESET, with an audit",
	.stage = VCPU,
	.errnos = { EFAULT },
	.prepare = prepare_reset,
	.call = call_audit,
	.worked = worked_reset,
	.unchanged = unchanged_reset,
};

static int call_reset_to_first(struct machine *m)
{
	return raw_reset(m->vm, m->snapshots[0]);
}

static bool worked_reset_to_first(struct machine *m, int ret)
{
	return !ret && byte_is(m, m->vm, 0x55);
}

FIXTURE_VARIANT_ADD(fail_nth, reset_to_another) {
	.name = "ioctl WISP_RESET, to another snapshot",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_reset,
	.call = call_reset_to_first,
	.worked = worked_reset_to_first,
	.unchanged = unchanged_reset,
};

/* Without a slot the VM has nothing of the object: it must be forked again. */
static int prepare_reset_layout(struct machine *m)
{
	return prepare_reset(m) ?: raw_remove_slot(m->vm, 0) ?:
				   raw_remove_slot(m->vm, 1);
}

static bool unchanged_reset_layout(struct machine *m)
{
	return pread(m->vm, m->buffer, 1, 0) < 0;
}

FIXTURE_VARIANT_ADD(fail_nth, reset_layout) {
	.name = "ioctl WISP_RESET, which brings slots back",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_reset_layout,
	.call = call_reset,
	.worked = worked_reset,
	.unchanged = unchanged_reset_layout,
};

static int call_dirty(struct machine *m)
{
	return raw_dirty(m->vm, m->pages, ARRAY_SIZE(m->pages));
}

static bool worked_dirty(struct machine *m, int ret)
{
	return ret == 1 && m->pages[0] == 0x1000;
}

FIXTURE_VARIANT_ADD(fail_nth, dirty) {
	.name = "ioctl WISP_DIRTY",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_reset,
	.call = call_dirty,
	.worked = worked_dirty,
	.unchanged = unchanged_reset,
};

static int call_fork(struct machine *m)
{
	return raw_fork(m->sys, m->snapshots[0]);
}

static bool worked_fork(struct machine *m, int ret)
{
	return returns_fd(m, ret) && byte_is(m, ret, 0x55) &&
	       !raw_get_state(ret, 0, STATE_ALL, m->state);
}

static bool unchanged_fork(struct machine *m)
{
	return byte_is(m, m->snapshots[0], 0x55) && unchanged_reset(m);
}

FIXTURE_VARIANT_ADD(fail_nth, fork) {
	.name = "ioctl WISP_CREATE_VM, as a fork",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT, ENFILE },
	.prepare = prepare_reset,
	.call = call_fork,
	.worked = worked_fork,
	.unchanged = unchanged_fork,
};

/* Its page is a new one of the window each time: those that were there stay. */
static int call_fork_in_window(struct machine *m)
{
	static __u64 page;
	struct wisp_create_vm arg = {
		.size = sizeof(arg),
		.flags = WISP_VM_FORK | WISP_VM_WINDOW,
		.snapshot = m->snapshots[0],
		.window_offset = page++ * PAGE,
	};

	return raw(m->sys, WISP_CREATE_VM, &arg);
}

FIXTURE_VARIANT_ADD(fail_nth, fork_in_window) {
	.name = "ioctl WISP_CREATE_VM, as a fork in the window",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT, ENFILE },
	.prepare = prepare_reset,
	.call = call_fork_in_window,
	.worked = worked_fork,
	.unchanged = unchanged_fork,
};

/* The fork takes the VM's place; what it will write its parent has touched. */
static int prepare_run_fork(struct machine *m)
{
	if (prepare_replace_slot(m) || write_byte(m, 0) ||
	    write_at(m->vm, "", 1, 0x3000) ||
	    raw_set_state(m->vm, 0, STATE_ALL, m->before, NULL))
		return -EIO;
	m->snapshots[0] = raw_snapshot(m->vm);
	munmap(m->page, PAGE);
	m->page = NULL;
	close(m->vm);
	m->vm = raw_fork(m->sys, m->snapshots[0]);
	if (m->vm < 0)
		return m->vm;
	m->page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, m->vm, 0);
	if (m->page == MAP_FAILED)
		return -errno;
	/* The kernel is not to find it missing. */
	m->page->want = 0;
	return 0;
}

static bool unchanged_run_fork(struct machine *m)
{
	return byte_is(m, m->vm, 0) && byte_is(m, m->snapshots[0], 0);
}

/* Not even the vCPU is there before: without it there is no exit to end with. */
FIXTURE_VARIANT_ADD(fail_nth, run_fork) {
	.name = "ioctl WISP_RUN, the first of a fork",
	.stage = VCPU,
	.errnos = { ENOMEM },
	.prepare = prepare_run_fork,
	.call = call_run,
	.worked = worked_run,
	.unchanged = unchanged_run_fork,
};

TEST_HARNESS_MAIN
