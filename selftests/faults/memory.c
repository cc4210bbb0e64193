// SPDX-License-Identifier: GPL-2.0
/* Faults in what makes memory, and in all accesses to it. */
#include <setjmp.h>
#include <signal.h>

#include "../files.h"
#include "walk.h"

static int call_create_memory(struct machine *m)
{
	return raw_create_memory(m->sys, MEMORY_SIZE);
}

FIXTURE_VARIANT_ADD(fail_nth, create_memory) {
	.name = "ioctl WISP_CREATE_MEMORY",
	.errnos = { ENOMEM, EFAULT, ENFILE },
	.call = call_create_memory,
	.worked = returns_fd,
};

FIXTURE_VARIANT_ADD(fail_nth, create_memory_over) {
	.name = "ioctl WISP_CREATE_MEMORY, over a file",
	.errnos = { ENOMEM, EFAULT, ENFILE },
	.prepare = prepare_file,
	.call = call_create_memory_over,
	.worked = returns_fd,
};

#define WHOLE_SLOT	5	/* shows all of its object */
#define WHOLE_GPA	0x40000000ULL

static int prepare_slot_memory(struct machine *m)
{
	int memory = raw_create_memory(m->sys, LOW_SIZE), ret;

	if (memory < 0)
		return memory;
	ret = raw_set_slot(m->vm, WHOLE_SLOT, WHOLE_GPA, LOW_SIZE, memory, 0,
			   PROT_RWX);
	close(memory);
	return ret;
}

static int call_slot_memory(struct machine *m)
{
	struct wisp_create_memory arg = {
		.size = sizeof(arg),
		.flags = WISP_MEMORY_OF_SLOT,
		.file = m->vm,
		.file_offset = WHOLE_SLOT,
	};

	return raw(m->sys, WISP_CREATE_MEMORY, &arg);
}

static bool unchanged_slot_memory(struct machine *m)
{
	return pread(m->vm, m->buffer, 1, WHOLE_GPA) == 1;
}

FIXTURE_VARIANT_ADD(fail_nth, slot_memory) {
	.name = "ioctl WISP_CREATE_MEMORY, of a slot",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT, ENFILE },
	.prepare = prepare_slot_memory,
	.call = call_slot_memory,
	.worked = returns_fd,
	.unchanged = unchanged_slot_memory,
};

/* A page in the middle of what the guest has touched. */
static int call_discard(struct machine *m)
{
	struct wisp_discard arg = {
		.size = sizeof(arg),
		.offset = PAGE,
		.discard_size = PAGE,
	};

	return raw(m->memory, WISP_DISCARD, &arg);
}

static bool worked_discard(struct machine *m, int ret)
{
	return !ret && pread(m->vm, m->buffer, 1, 0x1000) == 1 && !m->buffer[0];
}

FIXTURE_VARIANT_ADD(fail_nth, discard) {
	.name = "ioctl WISP_DISCARD",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_replace_slot,
	.call = call_discard,
	.worked = worked_discard,
	.unchanged = unchanged_replace_slot,
};

/* Slot 0 is an object over m->file. */
static int set_over(struct machine *m)
{
	m->fd = call_create_memory_over(m);
	return m->fd < 0 ? m->fd :
			   raw_set_slot(m->vm, 0, 0, LOW_SIZE, m->fd, 0, PROT_RWX);
}

static int prepare_over(struct machine *m)
{
	return prepare_file(m) ? -EIO : set_over(m);
}

/* A page is read from the file, and copied. */
FIXTURE_VARIANT_ADD(fail_nth, run_over) {
	.name = "ioctl WISP_RUN, over a file",
	.stage = VCPU,
	.never_fails = true,
	.prepare = prepare_over,
	.call = call_run,
	.worked = worked_run,
};

static int make_hole(int fd)
{
	return ftruncate(fd, LOW_SIZE);
}

/* Of a file system whose pages are read as those of one on a disk are. */
static int prepare_over_ramfs(struct machine *m)
{
	m->file = file_on("ramfs", NULL, make_hole);
	return m->file < 0 ? -EIO : set_over(m);
}

FIXTURE_VARIANT_ADD(fail_nth, run_over_ramfs) {
	.name = "ioctl WISP_RUN, over a file that is read",
	.stage = VCPU,
	.never_fails = true,
	.prepare = prepare_over_ramfs,
	.call = call_run,
	.worked = worked_run,
};

/* What the file had is not to come back. */
static int call_discard_over(struct machine *m)
{
	struct wisp_discard arg = {
		.size = sizeof(arg),
		.offset = PAGE,
		.discard_size = PAGE,
	};

	return raw(m->fd, WISP_DISCARD, &arg);
}

static bool unchanged_over(struct machine *m)
{
	return byte_is(m, m->vm, FILE_BYTE);
}

FIXTURE_VARIANT_ADD(fail_nth, discard_over) {
	.name = "ioctl WISP_DISCARD, over a file",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_over,
	.call = call_discard_over,
	.worked = worked_discard,
	.unchanged = unchanged_over,
};

/* ---- 2 MiB at a time ------------------------------------------------------ */

#define HUGE_SIZE	(1024 * PAGE)

/* Slot 0 is all of it. */
static int prepare_huge(struct machine *m)
{
	struct wisp_create_memory arg = {
		.size = sizeof(arg),
		.flags = WISP_MEMORY_HUGE,
		.memory_size = HUGE_SIZE,
	};

	m->fd = raw(m->sys, WISP_CREATE_MEMORY, &arg);
	if (m->fd < 0 || m->vm < 0)
		return m->fd < 0 ? m->fd : 0;
	return raw_set_slot(m->vm, 0, 0, HUGE_SIZE, m->fd, 0, PROT_RWX);
}

/*
 * There is the code, and what it touches is in the same 2 MiB: that is a second
 * fault or, where there are single pages or no such entries, one for each.
 */
static bool worked_run_huge(struct machine *m, int ret)
{
	struct wisp_stats stats = { .size = sizeof(stats) };
	struct wisp_query query;

	if (!worked_run(m, ret) || raw(m->vm, WISP_STATS, &stats) ||
	    raw_query(m->sys, &query))
		return false;
	m->fell_back = stats.faults == 3;
	m->untold = query.quirks & WISP_QUIRK_NO_HUGE;
	return m->fell_back || (stats.faults == 2 && !m->untold);
}

FIXTURE_VARIANT_ADD(fail_nth, run_huge) {
	.name = "ioctl WISP_RUN, that touches 2 MiB",
	.stage = VCPU,
	.never_fails = true,
	.falls_back = true,
	.prepare = prepare_huge,
	.call = call_run,
	.worked = worked_run_huge,
};

/* Of 2 MiB, which a snapshot has, too, with zeroes where it writes. */
static int prepare_shared_huge(struct machine *m)
{
	if (prepare_huge(m) || call_run(m) ||
	    m->page->exit.reason != WISP_EXIT_HLT || write_byte(m, 0) ||
	    write_at(m->vm, "", 1, 0x3000) ||
	    raw_set_state(m->vm, 0, STATE_ALL, m->before, NULL))
		return -EIO;
	m->snapshots[0] = raw_snapshot(m->vm);
	return m->snapshots[0] < 0 ? m->snapshots[0] : 0;
}

static bool worked_run_shared(struct machine *m, int ret)
{
	return worked_run(m, ret) && byte_is(m, m->snapshots[0], 0);
}

FIXTURE_VARIANT_ADD(fail_nth, run_shared_huge) {
	.name = "ioctl WISP_RUN, that parts 2 MiB",
	.stage = VCPU,
	.never_fails = true,
	.prepare = prepare_shared_huge,
	.call = call_run,
	.worked = worked_run_shared,
};

static int prepare_discard_huge(struct machine *m)
{
	if (prepare_huge(m) || call_run(m) ||
	    m->page->exit.reason != WISP_EXIT_HLT)
		return -EIO;
	m->snapshots[0] = raw_snapshot(m->vm);
	return m->snapshots[0] < 0 ? m->snapshots[0] : 0;
}

static bool worked_discard_huge(struct machine *m, int ret)
{
	return worked_discard(m, ret) && byte_is(m, m->snapshots[0], 0x55);
}

/* The first page is what tells that there are 2 MiB. */
static int call_discard_huge(struct machine *m)
{
	struct wisp_discard arg = {
		.size = sizeof(arg),
		.discard_size = 2 * PAGE,
	};

	return raw(m->fd, WISP_DISCARD, &arg);
}

FIXTURE_VARIANT_ADD(fail_nth, discard_huge) {
	.name = "ioctl WISP_DISCARD, that parts 2 MiB",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_discard_huge,
	.call = call_discard_huge,
	.worked = worked_discard_huge,
	.unchanged = unchanged_replace_slot,
};

/* ---- mappings ------------------------------------------------------------ */

static int map_at(struct machine *m, int fd, size_t size, __u64 offset)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);

	if (p == MAP_FAILED)
		return -errno;
	m->map = p;
	m->map_size = size;
	return 0;
}

static int map(struct machine *m, int fd, size_t size)
{
	return map_at(m, fd, size, 0);
}

static int call_mmap_memory(struct machine *m)
{
	return map(m, m->memory, MEMORY_SIZE);
}

static bool worked_mmap(struct machine *m, int ret)
{
	return !ret && m->map;
}

FIXTURE_VARIANT_ADD(fail_nth, mmap_memory) {
	.name = "mmap of a memory fd",
	.stage = MEMORY,
	.errnos = { ENOMEM },
	.call = call_mmap_memory,
	.worked = worked_mmap,
};

static int call_mmap_vm(struct machine *m)
{
	return map(m, m->vm, PAGE);
}

static bool worked_mmap_vm(struct machine *m, int ret)
{
	return !ret && ((struct wisp_vcpu_page *)m->map)->size == m->page->size;
}

FIXTURE_VARIANT_ADD(fail_nth, mmap_vm) {
	.name = "mmap of a vm fd",
	.stage = VCPU,
	.errnos = { ENOMEM },
	.call = call_mmap_vm,
	.worked = worked_mmap_vm,
};

/* Far enough for a tree of its own; each machine has a window that is empty. */
#define WINDOW_FIRST	5000
#define WINDOW_VCPU	3

static int prepare_window(struct machine *m)
{
	struct wisp_create_vm arg = {
		.size = sizeof(arg),
		.flags = WISP_VM_WINDOW,
		.window_offset = WINDOW_FIRST * PAGE,
	};

	m->vm = raw(m->sys, WISP_CREATE_VM, &arg);
	return m->vm < 0 ? m->vm : 0;
}

static int call_vcpu_in_window(struct machine *m)
{
	struct wisp_create_vcpu arg = {
		.size = sizeof(arg), .vcpu = WINDOW_VCPU,
	};

	return raw(m->vm, WISP_CREATE_VCPU, &arg);
}

static int map_window(struct machine *m)
{
	return map_at(m, m->sys, PAGE, (WINDOW_FIRST + WINDOW_VCPU) * PAGE);
}

static bool window_has_page(struct machine *m)
{
	return ((struct wisp_vcpu_page *)m->map)->size ==
	       sizeof(struct wisp_vcpu_page);
}

static bool worked_vcpu_in_window(struct machine *m, int ret)
{
	return !ret && !map_window(m) && window_has_page(m) &&
	       !raw_get_state(m->vm, WINDOW_VCPU, STATE_ALL, m->state);
}

static bool unchanged_vcpu_in_window(struct machine *m)
{
	return raw_get_state(m->vm, WINDOW_VCPU, STATE_ALL, m->state) == -ENOENT;
}

FIXTURE_VARIANT_ADD(fail_nth, vcpu_in_window) {
	.name = "ioctl WISP_CREATE_VCPU, in the window",
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_window,
	.call = call_vcpu_in_window,
	.worked = worked_vcpu_in_window,
	.unchanged = unchanged_vcpu_in_window,
};

static int prepare_mmap_window(struct machine *m)
{
	return prepare_window(m) ?: call_vcpu_in_window(m);
}

static bool worked_mmap_window(struct machine *m, int ret)
{
	return !ret && window_has_page(m);
}

FIXTURE_VARIANT_ADD(fail_nth, mmap_window) {
	.name = "mmap of a system fd",
	.errnos = { ENOMEM },
	.prepare = prepare_mmap_window,
	.call = map_window,
	.worked = worked_mmap_window,
};

/* So much of the window that the page's table has no other page's entry. */
#define BESIDE		512

static int prepare_touch_window(struct machine *m)
{
	return prepare_mmap_window(m) ?:
	       map_at(m, m->sys, 2 * BESIDE * PAGE,
		      (WINDOW_FIRST + WINDOW_VCPU - BESIDE) * PAGE);
}

static int call_touch_window(struct machine *m)
{
	const struct wisp_vcpu_page *page = (void *)(m->map + BESIDE * PAGE);

	return page->size == sizeof(*page) ? 0 : -EIO;
}

/* For that table; the kernel asks again. */
FIXTURE_VARIANT_ADD(fail_nth, touch_window) {
	.name = "first access to a page of the window",
	.retries = true,
	.prepare = prepare_touch_window,
	.call = call_touch_window,
	.worked = returns_0,
};

static sigjmp_buf after_fault;

static void on_sigbus(int signal)
{
	(void)signal;
	siglongjmp(after_fault, 1);
}

static int prepare_fault_of(struct machine *m, int fd, size_t size)
{
	struct sigaction action = { .sa_handler = on_sigbus };

	return sigaction(SIGBUS, &action, NULL) ?: map(m, fd, size);
}

static int prepare_fault(struct machine *m)
{
	return prepare_fault_of(m, m->memory, MEMORY_SIZE);
}

/* SIGBUS is how this one fails; the same word stands for an errno here. */
static int call_fault_write(struct machine *m)
{
	if (sigsetjmp(after_fault, 1))
		return -ENOMEM;
	*(volatile char *)(m->map + 7 * PAGE) = 0x55;
	return 0;
}

static bool worked_fault_write(struct machine *m, int ret)
{
	return !ret && pread(m->memory, m->buffer, 1, 7 * PAGE) == 1 &&
	       m->buffer[0] == 0x55;
}

static bool unchanged_fault(struct machine *m)
{
	return pread(m->memory, m->buffer, 1, 7 * PAGE) == 1 && !m->buffer[0];
}

FIXTURE_VARIANT_ADD(fail_nth, fault_write) {
	.name = "first write to a mapped page",
	.stage = MEMORY,
	.errnos = { ENOMEM },
	.prepare = prepare_fault,
	.call = call_fault_write,
	.worked = worked_fault_write,
	.unchanged = unchanged_fault,
};

static int call_fault_read(struct machine *m)
{
	if (sigsetjmp(after_fault, 1))
		return -ENOMEM;
	return *(volatile char *)(m->map + 7 * PAGE);
}

FIXTURE_VARIANT_ADD(fail_nth, fault_read) {
	.name = "first read of a mapped page",
	.stage = MEMORY,
	.errnos = { ENOMEM },
	.prepare = prepare_fault,
	.call = call_fault_read,
	.worked = returns_0,
	.unchanged = unchanged_fault,
};

static int prepare_fault_huge(struct machine *m)
{
	return prepare_huge(m) ?: prepare_fault_of(m, m->fd, HUGE_SIZE);
}

static bool worked_fault_huge(struct machine *m, int ret)
{
	return !ret && pread(m->fd, m->buffer, 1, 7 * PAGE) == 1 &&
	       m->buffer[0] == 0x55;
}

FIXTURE_VARIANT_ADD(fail_nth, fault_huge) {
	.name = "first write to 2 MiB that are mapped",
	.stage = MEMORY,
	.retries = true,
	.prepare = prepare_fault_huge,
	.call = call_fault_write,
	.worked = worked_fault_huge,
};

static int prepare_fault_over(struct machine *m)
{
	return prepare_over(m) ?: prepare_fault_of(m, m->fd, LOW_SIZE);
}

/* A hole, for which the file is to have a page. What fails without mmap_lock is tried again. */
FIXTURE_VARIANT_ADD(fail_nth, fault_read_over) {
	.name = "first read of a mapped page of a file",
	.stage = VCPU,
	.retries = true,
	.errnos = { ENOMEM },
	.prepare = prepare_fault_over,
	.call = call_fault_read,
	.worked = returns_0,
	.unchanged = unchanged_over,
};

static bool worked_fault_write_over(struct machine *m, int ret)
{
	return !ret && pread(m->vm, m->buffer, 1, 7 * PAGE) == 1 &&
	       m->buffer[0] == 0x55 &&
	       pread(m->file, m->buffer, 1, 7 * PAGE) == 1 && !m->buffer[0];
}

/* The same, before it is copied. */
FIXTURE_VARIANT_ADD(fail_nth, fault_write_over) {
	.name = "first write to a mapped page of a file",
	.stage = VCPU,
	.errnos = { ENOMEM },
	.prepare = prepare_fault_over,
	.call = call_fault_write,
	.worked = worked_fault_write_over,
	.unchanged = unchanged_over,
};

/* The page at 0x1000, which is mapped for reading, is a snapshot's, too. */
static int prepare_fault_shared(struct machine *m)
{
	if (prepare_replace_slot(m) || prepare_fault(m))
		return -EIO;
	m->snapshots[0] = raw_snapshot(m->vm);
	return m->snapshots[0] < 0 || m->map[PAGE] != 0x55 ? -EIO : 0;
}

static int call_fault_shared(struct machine *m)
{
	if (sigsetjmp(after_fault, 1))
		return -ENOMEM;
	*(volatile char *)(m->map + PAGE) = 1;
	return 0;
}

static bool worked_fault_shared(struct machine *m, int ret)
{
	return !ret && byte_is(m, m->vm, 1) && byte_is(m, m->snapshots[0], 0x55);
}

FIXTURE_VARIANT_ADD(fail_nth, fault_shared) {
	.name = "first write to a page that was mapped for reading",
	.stage = VCPU,
	.errnos = { ENOMEM },
	.prepare = prepare_fault_shared,
	.call = call_fault_shared,
	.worked = worked_fault_shared,
	.unchanged = unchanged_replace_slot,
};

/* ---- read and write: over a border, from one page that is there ---------- */

static const char pattern[] = "two pages' border";

#define BORDER	(2 * PAGE - 8)

/* Over a file that has no page there. */
static int prepare_holes(struct machine *m)
{
	m->file = memfd_create("holes", MFD_ALLOW_SEALING);
	if (m->file < 0 || ftruncate(m->file, LOW_SIZE) ||
	    fcntl(m->file, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK))
		return -EIO;
	return set_over(m);
}

static int prepare_read(struct machine *m)
{
	return write_at(m->memory, pattern, sizeof(pattern), BORDER);
}

static int read_from(struct machine *m, int fd)
{
	int ret = pread(fd, m->buffer, sizeof(pattern), BORDER);

	return ret < 0 ? -errno : ret;
}

/* A short count is an answer too, if it is true. */
static bool worked_read(struct machine *m, int ret)
{
	return ret > 0 && !memcmp(m->buffer, pattern, ret);
}

static int call_read_memory(struct machine *m)
{
	return read_from(m, m->memory);
}

FIXTURE_VARIANT_ADD(fail_nth, read_memory) {
	.name = "read of a memory fd",
	.stage = MEMORY,
	.retries = true,
	.prepare = prepare_read,
	.call = call_read_memory,
	.worked = worked_read,
};

static int call_read_vm(struct machine *m)
{
	return read_from(m, m->vm);
}

FIXTURE_VARIANT_ADD(fail_nth, read_vm) {
	.name = "read of a vm fd",
	.stage = SLOTS,
	.retries = true,
	.prepare = prepare_read,
	.call = call_read_vm,
	.worked = worked_read,
};

static int write_to(int fd)
{
	int ret = pwrite(fd, pattern, sizeof(pattern), BORDER);

	return ret < 0 ? -errno : ret;
}

static bool written_to(struct machine *m, int fd, size_t size)
{
	static const char zero[sizeof(pattern)];

	return pread(fd, m->buffer, sizeof(pattern), BORDER) ==
		       sizeof(pattern) &&
	       !memcmp(m->buffer, pattern, size) &&
	       !memcmp(m->buffer + size, zero, sizeof(pattern) - size);
}

static bool written(struct machine *m, size_t size)
{
	return written_to(m, m->memory, size);
}

static bool worked_write(struct machine *m, int ret)
{
	return ret > 0 && written(m, ret);
}

static bool unchanged_write(struct machine *m)
{
	return written(m, 0);
}

static int call_write_memory(struct machine *m)
{
	return write_to(m->memory);
}

FIXTURE_VARIANT_ADD(fail_nth, write_memory) {
	.name = "write to a memory fd",
	.stage = MEMORY,
	.errnos = { ENOMEM, EFAULT },
	.call = call_write_memory,
	.worked = worked_write,
	.unchanged = unchanged_write,
};

static int call_write_vm(struct machine *m)
{
	return write_to(m->vm);
}

FIXTURE_VARIANT_ADD(fail_nth, write_vm) {
	.name = "write to a vm fd",
	.stage = SLOTS,
	.errnos = { ENOMEM, EFAULT },
	.call = call_write_vm,
	.worked = worked_write,
	.unchanged = unchanged_write,
};

static int call_write_made(struct machine *m)
{
	return write_to(m->fd);
}

static bool worked_write_made(struct machine *m, int ret)
{
	return ret > 0 && written_to(m, m->fd, ret);
}

static bool unchanged_write_made(struct machine *m)
{
	return written_to(m, m->fd, 0);
}

FIXTURE_VARIANT_ADD(fail_nth, write_huge) {
	.name = "write to a memory fd, of 2 MiB",
	.stage = MEMORY,
	.retries = true,
	.prepare = prepare_huge,
	.call = call_write_made,
	.worked = worked_write_made,
};

FIXTURE_VARIANT_ADD(fail_nth, write_over) {
	.name = "write to a memory fd, over a file",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_holes,
	.call = call_write_made,
	.worked = worked_write_made,
	.unchanged = unchanged_write_made,
};

/* Nothing of it is in the page cache. */
static int call_read_over(struct machine *m)
{
	return read_from(m, m->fd);
}

static bool worked_read_over(struct machine *m, int ret)
{
	static const char zero[sizeof(pattern)];

	return ret > 0 && !memcmp(m->buffer, zero, ret);
}

FIXTURE_VARIANT_ADD(fail_nth, read_over) {
	.name = "read of a memory fd, over a file",
	.stage = VCPU,
	.errnos = { ENOMEM },
	.prepare = prepare_holes,
	.call = call_read_over,
	.worked = worked_read_over,
};

static int call_read_vm_over(struct machine *m)
{
	return read_from(m, m->vm);
}

FIXTURE_VARIANT_ADD(fail_nth, read_vm_over) {
	.name = "read of a vm fd, over a file",
	.stage = VCPU,
	.errnos = { ENOMEM },
	.prepare = prepare_holes,
	.call = call_read_vm_over,
	.worked = worked_read_over,
};

TEST_HARNESS_MAIN
