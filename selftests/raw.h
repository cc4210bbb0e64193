/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The calls as the kernel has them, without libwisp: what it gets wrong must
 * not hide what the driver gets wrong. Each returns the call's result, or
 * -errno.
 */
#ifndef WISP_SELFTESTS_RAW_H
#define WISP_SELFTESTS_RAW_H

#include <errno.h>
#include <fcntl.h>
#include <linux/wisp.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE		((uint64_t)WISP_PAGE_SIZE)

#define PROT_R		WISP_PROT_READ
#define PROT_RW		(WISP_PROT_READ | WISP_PROT_WRITE)
#define PROT_RX		(WISP_PROT_READ | WISP_PROT_EXEC)
#define PROT_RWX	(WISP_PROT_READ | WISP_PROT_WRITE | WISP_PROT_EXEC)

#define STATE_ALL							\
	(WISP_STATE_GENERAL | WISP_STATE_SEGMENTS | WISP_STATE_CONTROL | \
	 WISP_STATE_DEBUG | WISP_STATE_MSRS | WISP_STATE_EVENTS |	\
	 WISP_STATE_FPU)

static inline int raw(int fd, unsigned long call, const void *arg)
{
	int ret = ioctl(fd, call, arg);

	return ret < 0 ? -errno : ret;
}

static inline int raw_index(int fd, unsigned long call, unsigned long index)
{
	int ret = ioctl(fd, call, index);

	return ret < 0 ? -errno : ret;
}

static inline int raw_open(void)
{
	int fd = open("/dev/wisp", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static inline int raw_query(int sys, struct wisp_query *query)
{
	memset(query, 0, sizeof(*query));
	query->size = sizeof(*query);
	return raw(sys, WISP_QUERY, query);
}

static inline int raw_create_memory(int sys, uint64_t size)
{
	struct wisp_create_memory arg = {
		.size = sizeof(arg),
		.memory_size = size,
	};

	return raw(sys, WISP_CREATE_MEMORY, &arg);
}

static inline int raw_protect(int vm, const struct wisp_protect_range *ranges,
			      uint32_t count)
{
	struct wisp_protect arg = {
		.size = sizeof(arg), .count = count, .ranges = (uintptr_t)ranges,
	};

	return raw(vm, WISP_PROTECT, &arg);
}

static inline int raw_create_memory_over(int sys, uint64_t size, int file,
					 uint64_t offset)
{
	struct wisp_create_memory arg = {
		.size = sizeof(arg),
		.flags = WISP_MEMORY_FILE,
		.memory_size = size,
		.file = file,
		.file_offset = offset,
	};

	return raw(sys, WISP_CREATE_MEMORY, &arg);
}

/* Another fd of the object that the VM has in the slot. */
static inline int raw_memory_of_slot(int sys, int vm, uint64_t slot)
{
	struct wisp_create_memory arg = {
		.size = sizeof(arg),
		.flags = WISP_MEMORY_OF_SLOT,
		.file = vm,
		.file_offset = slot,
	};

	return raw(sys, WISP_CREATE_MEMORY, &arg);
}

static inline int raw_create_vm(int sys)
{
	struct wisp_create_vm arg = { .size = sizeof(arg) };

	return raw(sys, WISP_CREATE_VM, &arg);
}

static inline int raw_set_slot(int vm, uint32_t slot, uint64_t gpa,
			       uint64_t size, int memory, uint64_t offset,
			       uint32_t prot)
{
	struct wisp_set_slot arg = {
		.size = sizeof(arg),
		.slot = slot,
		.memory = memory,
		.gpa = gpa,
		.slot_size = size,
		.offset = offset,
		.prot = prot,
	};

	return raw(vm, WISP_SET_SLOT, &arg);
}

static inline int raw_remove_slot(int vm, uint32_t slot)
{
	return raw_set_slot(vm, slot, 0, 0, 0, 0, 0);
}

static inline int raw_create_vcpu(int vm, uint32_t vcpu,
				  struct wisp_vcpu_page **page)
{
	struct wisp_create_vcpu arg = { .size = sizeof(arg), .vcpu = vcpu };
	int ret = raw(vm, WISP_CREATE_VCPU, &arg);
	void *p;

	if (ret)
		return ret;
	p = mmap(NULL, WISP_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, vm,
		 arg.page_offset);
	if (p == MAP_FAILED)
		return -errno;
	*page = p;
	return 0;
}

static inline int raw_run(int vm, unsigned long vcpu)
{
	return raw_index(vm, WISP_RUN, vcpu);
}

static inline int raw_kick(int vm, unsigned long vcpu)
{
	return raw_index(vm, WISP_KICK, vcpu);
}

static inline int raw_snapshot_flags(int vm, uint32_t flags)
{
	struct wisp_snapshot arg = { .size = sizeof(arg), .flags = flags };

	return raw(vm, WISP_SNAPSHOT, &arg);
}

static inline int raw_snapshot(int vm)
{
	return raw_snapshot_flags(vm, 0);
}

static inline int raw_fork_limited(int sys, int snapshot, uint64_t pages,
				   uint64_t run_time_ns)
{
	struct wisp_create_vm arg = {
		.size = sizeof(arg),
		.flags = WISP_VM_FORK,
		.snapshot = snapshot,
		.max_private_pages = pages,
		.max_run_time_ns = run_time_ns,
	};

	return raw(sys, WISP_CREATE_VM, &arg);
}

static inline int raw_fork(int sys, int snapshot)
{
	return raw_fork_limited(sys, snapshot, 0, 0);
}

static inline int raw_reset_flags(int vm, int snapshot, uint32_t flags)
{
	struct wisp_reset arg = {
		.size = sizeof(arg),
		.flags = flags,
		.snapshot = snapshot,
	};

	return raw(vm, WISP_RESET, &arg);
}

static inline int raw_reset(int vm, int snapshot)
{
	return raw_reset_flags(vm, snapshot, 0);
}

static inline int raw_audit(int vm, int snapshot, struct wisp_audit *audit)
{
	struct wisp_reset arg = {
		.size = sizeof(arg),
		.flags = WISP_RESET_AUDIT,
		.snapshot = snapshot,
		.audit = (uintptr_t)audit,
	};

	return raw(vm, WISP_RESET, &arg);
}

/* Returns how many pages there are, or -errno. */
static inline int raw_dirty(int vm, __u64 *pages, uint32_t room)
{
	struct wisp_dirty arg = {
		.size = sizeof(arg),
		.count = room,
		.pages = (uintptr_t)pages,
	};
	int ret = raw(vm, WISP_DIRTY, &arg);

	return ret ? ret : (int)arg.count;
}

static inline int raw_get_state(int vm, uint32_t vcpu, uint32_t groups,
				struct wisp_state *state)
{
	struct wisp_vcpu_state arg = {
		.size = sizeof(arg),
		.vcpu = vcpu,
		.groups = groups,
		.state = (uintptr_t)state,
	};

	return raw(vm, WISP_GET_STATE, &arg);
}

static inline int raw_set_state(int vm, uint32_t vcpu, uint32_t groups,
				const struct wisp_state *state, uint32_t *field)
{
	struct wisp_vcpu_state arg = {
		.size = sizeof(arg),
		.vcpu = vcpu,
		.groups = groups,
		.state = (uintptr_t)state,
	};
	int ret = raw(vm, WISP_SET_STATE, &arg);

	if (field)
		*field = arg.field;
	return ret;
}

#endif
