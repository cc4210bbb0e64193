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

/* The fork takes the VM's place. */
static int take_place(struct machine *m, int fork)
{
	munmap(m->page, PAGE);
	m->page = NULL;
	close(m->vm);
	m->vm = fork;
	if (m->vm < 0)
		return m->vm;
	m->page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, m->vm, 0);
	if (m->page == MAP_FAILED)
		return -errno;
	/* The kernel is not to find it missing. */
	m->page->want = 0;
	return 0;
}

/* What @code will touch its parent has touched. */
static int prepare_fork_with(struct machine *m, const void *code, size_t size)
{
	if (prepare_replace_slot(m) || write_byte(m, 0) ||
	    write_at(m->vm, "", 1, 0x3000) ||
	    write_at(m->memory, code, size, RESET_OFFSET + RESET_RIP) ||
	    raw_set_state(m->vm, 0, STATE_ALL, m->before, NULL))
		return -EIO;
	m->snapshots[0] = raw_snapshot(m->vm);
	return take_place(m, raw_fork(m->sys, m->snapshots[0]));
}

static int prepare_run_fork(struct machine *m)
{
	return prepare_fork_with(m, touch, sizeof(touch));
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

/* More of its own than there is room for at first. */
static int prepare_run_through_shared(struct machine *m)
{
	if (write_at(m->memory, touch_many, sizeof(touch_many),
		     RESET_OFFSET + RESET_RIP))
		return -EIO;
	m->snapshots[0] = raw_snapshot(m->vm);
	return m->snapshots[0] < 0 ? m->snapshots[0] : 0;
}

FIXTURE_VARIANT_ADD(fail_nth, run_through_shared) {
	.name = "ioctl WISP_RUN, page after page of a snapshot",
	.stage = VCPU,
	.never_fails = true,
	.prepare = prepare_run_through_shared,
	.call = call_run,
	.worked = worked_run_through,
};

/* ---- forks that nobody has used ------------------------------------------- */

static int prepare_fork_limited(struct machine *m)
{
	m->snapshots[0] = raw_snapshot(m->vm);
	return take_place(m, raw_fork_limited(m->sys, m->snapshots[0], 2, 0));
}

/* It has as many as it needs, with those that could not be had. */
FIXTURE_VARIANT_ADD(fail_nth, run_fork_limited) {
	.name = "ioctl WISP_RUN, the first of a fork with a limit",
	.stage = VCPU,
	.errnos = { ENOMEM },
	.prepare = prepare_fork_limited,
	.call = call_run,
	.worked = worked_run,
};

static int call_get_state(struct machine *m)
{
	return raw_get_state(m->vm, 0, STATE_ALL, m->state);
}

static bool worked_get_state(struct machine *m, int ret)
{
	return !ret && state_is(m, m->state);
}

FIXTURE_VARIANT_ADD(fail_nth, get_state_of_fork) {
	.name = "ioctl WISP_GET_STATE, of a fork",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_run_fork,
	.call = call_get_state,
	.worked = worked_get_state,
	.unchanged = unchanged_state,
};

static int prepare_set_state_of_fork(struct machine *m)
{
	m->state->general.rbx = 1;
	m->state->msrs.lstar = 3;
	return prepare_run_fork(m);
}

static int call_set_state(struct machine *m)
{
	return raw_set_state(m->vm, 0, STATE_ALL, m->state, NULL);
}

FIXTURE_VARIANT_ADD(fail_nth, set_state_of_fork) {
	.name = "ioctl WISP_SET_STATE, of a fork",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_set_state_of_fork,
	.call = call_set_state,
	.worked = worked_get_state,
	.unchanged = unchanged_state,
};

static bool worked_snapshot_of_fork(struct machine *m, int ret)
{
	return returns_fd(m, ret) && byte_is(m, ret, 0) && !write_byte(m, 1) &&
	       byte_is(m, ret, 0) && !raw_reset(m->vm, ret) &&
	       byte_is(m, m->vm, 0);
}

FIXTURE_VARIANT_ADD(fail_nth, snapshot_of_fork) {
	.name = "ioctl WISP_SNAPSHOT, of a fork",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT, ENFILE },
	.prepare = prepare_run_fork,
	.call = call_snapshot,
	.worked = worked_snapshot_of_fork,
	.unchanged = unchanged_run_fork,
};

static int call_remove_slot(struct machine *m)
{
	return raw_remove_slot(m->vm, 0);
}

/* What the snapshot's tables have is not to come in by them. */
static bool worked_remove_slot(struct machine *m, int ret)
{
	return !ret && !raw_run(m->vm, 0) &&
	       m->page->exit.reason == WISP_EXIT_MEMORY &&
	       m->page->exit.memory.gpa == 0x1000 && !m->page->exit.memory.flags;
}

FIXTURE_VARIANT_ADD(fail_nth, remove_slot_of_fork) {
	.name = "ioctl WISP_SET_SLOT, to remove one of a fork",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_run_fork,
	.call = call_remove_slot,
	.worked = worked_remove_slot,
	.unchanged = unchanged_run_fork,
};

/* ---- protections ---------------------------------------------------------- */

/* The last of them is the page that the guest touches last, or none. */
static int protect(struct machine *m, __u32 prot)
{
	struct wisp_protect_range ranges[24];

	for (__u32 i = 0; i < ARRAY_SIZE(ranges); i++)
		ranges[i] = (struct wisp_protect_range){
			.gpa = 0x3000 + 2 * (ARRAY_SIZE(ranges) - 1 - i) * PAGE,
			.range_size = PAGE,
			.prot = prot,
		};
	return raw_protect(m->vm, ranges, ARRAY_SIZE(ranges));
}

static int call_protect(struct machine *m)
{
	return protect(m, PROT_R);
}

static bool at_protected(const struct wisp_vcpu_page *page)
{
	return page->exit.reason == WISP_EXIT_MEMORY &&
	       page->exit.memory.gpa == 0x3000 &&
	       page->exit.memory.flags == WISP_MEMORY_PROTECTED;
}

static bool worked_protect(struct machine *m, int ret)
{
	return !ret && !raw_run(m->vm, 0) && at_protected(m->page);
}

/* Mapped writable before, and borrowed since. */
static int prepare_protect_shared(struct machine *m)
{
	if (prepare_replace_slot(m) ||
	    raw_set_state(m->vm, 0, STATE_ALL, m->before, NULL))
		return -EIO;
	m->snapshots[0] = raw_snapshot(m->vm);
	return m->snapshots[0] < 0 ? m->snapshots[0] : 0;
}

FIXTURE_VARIANT_ADD(fail_nth, protect_shared) {
	.name = "ioctl WISP_PROTECT, of what a snapshot has",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_protect_shared,
	.call = call_protect,
	.worked = worked_protect,
	.unchanged = unchanged_replace_slot,
};

/* mov al, [0x1000]; hlt */
static const __u8 read_1000[] = { 0xa0, 0x00, 0x10, 0xf4 };

static int prepare_protect_fork(struct machine *m)
{
	return prepare_fork_with(m, read_1000, sizeof(read_1000));
}

static int call_protect_fork(struct machine *m)
{
	const struct wisp_protect_range range = {
		.gpa = 0x1000, .range_size = PAGE,
	};

	return raw_protect(m->vm, &range, 1);
}

/* What the parent may read is not to come in by its tables. */
static bool worked_protect_fork(struct machine *m, int ret)
{
	return !ret && !raw_run(m->vm, 0) &&
	       m->page->exit.reason == WISP_EXIT_MEMORY &&
	       m->page->exit.memory.gpa == 0x1000 &&
	       m->page->exit.memory.flags == (WISP_MEMORY_PROTECTED |
					      WISP_MEMORY_UNREADABLE);
}

FIXTURE_VARIANT_ADD(fail_nth, protect_fork) {
	.name = "ioctl WISP_PROTECT, of a fork",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_protect_fork,
	.call = call_protect_fork,
	.worked = worked_protect_fork,
	.unchanged = unchanged_run_fork,
};

static int prepare_protected(struct machine *m)
{
	return protect(m, PROT_R);
}

/* It is protected in a fork of @snapshot. */
static bool protects(struct machine *m, int snapshot)
{
	return snapshot >= 0 && !take_place(m, raw_fork(m->sys, snapshot)) &&
	       worked_protect(m, 0);
}

static bool worked_snapshot_protected(struct machine *m, int ret)
{
	return returns_fd(m, ret) && protects(m, ret);
}

static bool unchanged_snapshot_protected(struct machine *m)
{
	return raw_reset(m->vm, -1) == -EINVAL;
}

FIXTURE_VARIANT_ADD(fail_nth, snapshot_protected) {
	.name = "ioctl WISP_SNAPSHOT, with protections",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT, ENFILE },
	.prepare = prepare_protected,
	.call = call_snapshot,
	.worked = worked_snapshot_protected,
	.unchanged = unchanged_snapshot_protected,
};

static int prepare_fork_protected(struct machine *m)
{
	if (protect(m, PROT_R))
		return -EIO;
	m->snapshots[0] = raw_snapshot(m->vm);
	return m->snapshots[0] < 0 ? m->snapshots[0] : 0;
}

static bool worked_fork_protected(struct machine *m, int ret)
{
	return fcntl(ret, F_GETFD) == FD_CLOEXEC && !take_place(m, ret) &&
	       worked_protect(m, 0);
}

FIXTURE_VARIANT_ADD(fail_nth, fork_protected) {
	.name = "ioctl WISP_CREATE_VM, as a fork with protections",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT, ENFILE },
	.prepare = prepare_fork_protected,
	.call = call_fork,
	.worked = worked_fork_protected,
};

static int prepare_reset_protections(struct machine *m)
{
	return prepare_fork_protected(m) ?: protect(m, PROT_RWX);
}

FIXTURE_VARIANT_ADD(fail_nth, reset_protections) {
	.name = "ioctl WISP_RESET, which brings protections back",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_reset_protections,
	.call = call_reset,
	.worked = worked_protect,
};

/* ---- a reset and a run in one --------------------------------------------- */

/* A run without a reset would end at once, at the HLT. */
static int prepare_run_reset(struct machine *m)
{
	m->snapshots[0] = raw_snapshot(m->vm);
	if (m->snapshots[0] < 0 || call_run(m) ||
	    m->page->exit.reason != WISP_EXIT_HLT || write_byte(m, 2))
		return -EIO;
	m->page->flags = WISP_RUN_RESET;
	return 0;
}

/* The pages that it wrote before are still there: it needs no others. */
FIXTURE_VARIANT_ADD(fail_nth, run_reset) {
	.name = "ioctl WISP_RUN, with a reset",
	.stage = VCPU,
	.nothing = true,
	.prepare = prepare_run_reset,
	.call = call_run,
	.worked = worked_run,
};

static int prepare_run_reset_layout(struct machine *m)
{
	return prepare_run_reset(m) ?: raw_remove_slot(m->vm, 0) ?:
				       raw_remove_slot(m->vm, 1);
}

FIXTURE_VARIANT_ADD(fail_nth, run_reset_layout) {
	.name = "ioctl WISP_RUN, with a reset that brings slots back",
	.stage = VCPU,
	.errnos = { ENOMEM },
	.prepare = prepare_run_reset_layout,
	.call = call_run,
	.worked = worked_run,
	.unchanged = unchanged_reset_layout,
};

/* ---- while the guest runs -------------------------------------------------- */

/* 1: inc word [0x1000]; jmp 1b */
static const __u8 count[] = { 0xff, 0x06, 0x00, 0x10, 0xeb, 0xfa };

static __u16 counted(struct machine *m, int fd)
{
	__u16 n = 0;

	if (pread(fd, &n, sizeof(n), 0x1000) != sizeof(n))
		m->ended = -EIO;
	return n;
}

/* The guest still counts, or again. */
static bool goes_on(struct machine *m)
{
	__u16 before = counted(m, m->vm);

	while (!__atomic_load_n(&m->ended, __ATOMIC_ACQUIRE))
		if (counted(m, m->vm) != before)
			return true;
	return false;
}

static void *run_on(void *data)
{
	struct machine *m = data;
	int ret;

	while (!__atomic_load_n(&m->stop, __ATOMIC_ACQUIRE)) {
		ret = raw_run(m->vm, 0);
		/* Meanwhile the call has all vCPUs. */
		if (ret == -EBUSY || (!ret && m->page->exit.reason ==
						      WISP_EXIT_KICKED))
			continue;
		__atomic_store_n(&m->ended, ret ?: (int)m->page->exit.reason,
				 __ATOMIC_RELEASE);
		break;
	}
	return NULL;
}

static int start_runner(struct machine *m)
{
	if (pthread_create(&m->runner, NULL, run_on, m))
		return -EIO;
	m->has_runner = true;
	return goes_on(m) ? 0 : -EIO;
}

static int prepare_running(struct machine *m)
{
	return write_at(m->memory, count, sizeof(count),
			RESET_OFFSET + RESET_RIP) ?: start_runner(m);
}

static int call_snapshot_kick(struct machine *m)
{
	return raw_snapshot_flags(m->vm, WISP_SNAPSHOT_KICK);
}

/* What it has stands still. */
static bool worked_snapshot_kick(struct machine *m, int ret)
{
	__u16 before;

	if (!returns_fd(m, ret))
		return false;
	before = counted(m, ret);
	return goes_on(m) && counted(m, ret) == before;
}

static bool unchanged_snapshot_kick(struct machine *m)
{
	return raw_reset_flags(m->vm, -1, WISP_RESET_KICK) == -EINVAL &&
	       goes_on(m);
}

FIXTURE_VARIANT_ADD(fail_nth, snapshot_kick) {
	.name = "ioctl WISP_SNAPSHOT, of a guest that runs",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT, ENFILE },
	.prepare = prepare_running,
	.call = call_snapshot_kick,
	.worked = worked_snapshot_kick,
	.unchanged = unchanged_snapshot_kick,
};

/* At 0x3000 there is what only the VMM writes. */
static int prepare_reset_kick(struct machine *m)
{
	if (write_at(m->memory, count, sizeof(count), RESET_OFFSET + RESET_RIP) ||
	    write_at(m->memory, "1", 1, 0x3000))
		return -EIO;
	m->snapshots[0] = raw_snapshot(m->vm);
	return m->snapshots[0] < 0 ? m->snapshots[0] :
		       write_at(m->vm, "2", 1, 0x3000) ?: start_runner(m);
}

static int call_reset_kick(struct machine *m)
{
	struct wisp_audit audit;
	struct wisp_reset arg = {
		.size = sizeof(arg),
		.flags = WISP_RESET_KICK | WISP_RESET_AUDIT,
		.snapshot = m->snapshots[0],
		.audit = (uintptr_t)&audit,
	};

	return raw(m->vm, WISP_RESET, &arg) ?: -(int)audit.what;
}

static bool word_is(struct machine *m, char byte)
{
	return pread(m->vm, m->buffer, 1, 0x3000) == 1 && m->buffer[0] == byte &&
	       goes_on(m);
}

static bool worked_reset_kick(struct machine *m, int ret)
{
	return !ret && word_is(m, '1');
}

static bool unchanged_reset_kick(struct machine *m)
{
	return word_is(m, '2');
}

FIXTURE_VARIANT_ADD(fail_nth, reset_kick) {
	.name = "ioctl WISP_RESET, of a guest that runs, with an audit",
	.stage = VCPU,
	.errnos = { EFAULT },
	.prepare = prepare_reset_kick,
	.call = call_reset_kick,
	.worked = worked_reset_kick,
	.unchanged = unchanged_reset_kick,
};

/* ---- the snapshot's own calls ---------------------------------------------- */

static int prepare_snapshot_fd(struct machine *m)
{
	if (prepare_replace_slot(m))
		return -EIO;
	m->snapshots[0] = raw_snapshot(m->vm);
	return m->snapshots[0] < 0 ? m->snapshots[0] :
		       raw_get_state(m->vm, 0, STATE_ALL, m->before);
}

static int call_get_state_of_snapshot(struct machine *m)
{
	return raw_get_state(m->snapshots[0], 0, STATE_ALL, m->state);
}

/* But for its clock, which stands still. */
static bool worked_get_state_of_snapshot(struct machine *m, int ret)
{
	m->before->msrs.tsc = m->state->msrs.tsc;
	return !ret && !memcmp(m->before, m->state, sizeof(*m->state));
}

FIXTURE_VARIANT_ADD(fail_nth, get_state_of_snapshot) {
	.name = "ioctl WISP_GET_STATE, of a snapshot",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_snapshot_fd,
	.call = call_get_state_of_snapshot,
	.worked = worked_get_state_of_snapshot,
};

static int call_read_snapshot(struct machine *m)
{
	int ret = pread(m->snapshots[0], m->buffer, 1, 0x1000);

	return ret < 0 ? -errno : ret;
}

static bool worked_read_snapshot(struct machine *m, int ret)
{
	return ret == 1 && m->buffer[0] == 0x55;
}

FIXTURE_VARIANT_ADD(fail_nth, read_snapshot) {
	.name = "read of a snapshot fd",
	.stage = VCPU,
	.retries = true,
	.prepare = prepare_snapshot_fd,
	.call = call_read_snapshot,
	.worked = worked_read_snapshot,
};

TEST_HARNESS_MAIN
