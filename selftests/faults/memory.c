// SPDX-License-Identifier: GPL-2.0
/* Faults in what makes memory, and in all accesses to it. */
#include <setjmp.h>
#include <signal.h>

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

static int prepare_over(struct machine *m)
{
	if (prepare_file(m))
		return -EIO;
	m->fd = call_create_memory_over(m);
	return m->fd < 0 ? m->fd :
			   raw_set_slot(m->vm, 0, 0, LOW_SIZE, m->fd, 0, PROT_RWX);
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

/* ---- mappings ------------------------------------------------------------ */

static int map(struct machine *m, int fd, size_t size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	m->map = p;
	m->map_size = size;
	return 0;
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

static sigjmp_buf after_fault;

static void on_sigbus(int signal)
{
	(void)signal;
	siglongjmp(after_fault, 1);
}

static int prepare_fault(struct machine *m)
{
	struct sigaction action = { .sa_handler = on_sigbus };

	return sigaction(SIGBUS, &action, NULL) ?: call_mmap_memory(m);
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

/* ---- read and write: over a border, from one page that is there ---------- */

static const char pattern[] = "two pages' border";

#define BORDER	(2 * PAGE - 8)

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

static bool written(struct machine *m, size_t size)
{
	static const char zero[sizeof(pattern)];

	return pread(m->memory, m->buffer, sizeof(pattern), BORDER) ==
		       sizeof(pattern) &&
	       !memcmp(m->buffer, pattern, size) &&
	       !memcmp(m->buffer + size, zero, sizeof(pattern) - size);
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

TEST_HARNESS_MAIN
