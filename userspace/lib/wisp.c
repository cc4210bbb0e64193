// SPDX-License-Identifier: MIT
/* One call per ioctl. */
#include <wisp.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

static int call(int fd, unsigned long request, void *arg)
{
	int ret = ioctl(fd, request, arg);

	return ret < 0 ? -errno : ret;
}

int wisp_open(void)
{
	int fd = open("/dev/wisp", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int wisp_query(int sys, struct wisp_query *query)
{
	*query = (struct wisp_query){
		.size = sizeof(*query),
		.cpuid_count = query->cpuid_count,
		.cpuid = query->cpuid,
	};
	return call(sys, WISP_QUERY, query);
}

int wisp_create_memory(int sys, uint64_t size)
{
	return wisp_create_memory_flags(sys, size, 0);
}

int wisp_create_memory_flags(int sys, uint64_t size, uint32_t flags)
{
	struct wisp_create_memory arg = {
		.size = sizeof(arg),
		.flags = flags,
		.memory_size = size,
	};

	return call(sys, WISP_CREATE_MEMORY, &arg);
}

int wisp_create_memory_file(int sys, uint64_t size, int file, uint64_t offset)
{
	struct wisp_create_memory arg = {
		.size = sizeof(arg),
		.flags = WISP_MEMORY_FILE,
		.memory_size = size,
		.file = file,
		.file_offset = offset,
	};

	return call(sys, WISP_CREATE_MEMORY, &arg);
}

int wisp_slot_memory(int sys, int vm, uint32_t slot)
{
	struct wisp_create_memory arg = {
		.size = sizeof(arg),
		.flags = WISP_MEMORY_OF_SLOT,
		.file = vm,
		.file_offset = slot,
	};

	return call(sys, WISP_CREATE_MEMORY, &arg);
}

int wisp_discard(int memory, uint64_t offset, uint64_t size)
{
	struct wisp_discard arg = {
		.size = sizeof(arg),
		.offset = offset,
		.discard_size = size,
	};

	return call(memory, WISP_DISCARD, &arg);
}

int wisp_create_vm(int sys)
{
	return wisp_create_vm_as(sys, &(struct wisp_create_vm){ .flags = 0 });
}

int wisp_create_vm_as(int sys, const struct wisp_create_vm *vm)
{
	struct wisp_create_vm arg = *vm;

	arg.size = sizeof(arg);
	return call(sys, WISP_CREATE_VM, &arg);
}

int wisp_fork(int sys, int snapshot)
{
	return wisp_create_vm_as(sys, &(struct wisp_create_vm){
		.flags = WISP_VM_FORK,
		.snapshot = snapshot,
	});
}

int wisp_set_slot(int vm, uint32_t slot, uint64_t gpa, uint64_t size,
		  int memory, uint64_t offset, uint32_t prot)
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

	/* To the driver an empty slot is a removal. */
	return size ? call(vm, WISP_SET_SLOT, &arg) : -EINVAL;
}

int wisp_remove_slot(int vm, uint32_t slot)
{
	struct wisp_set_slot arg = { .size = sizeof(arg), .slot = slot };

	return call(vm, WISP_SET_SLOT, &arg);
}

int wisp_protect(int vm, const struct wisp_protect_range *ranges,
		 uint32_t count)
{
	struct wisp_protect arg = {
		.size = sizeof(arg),
		.count = count,
		.ranges = (uintptr_t)ranges,
	};

	return call(vm, WISP_PROTECT, &arg);
}

int wisp_stats(int vm, struct wisp_stats *stats)
{
	*stats = (struct wisp_stats){ .size = sizeof(*stats) };
	return call(vm, WISP_STATS, stats);
}

int wisp_snapshot(int vm)
{
	return wisp_snapshot_flags(vm, 0);
}

int wisp_snapshot_flags(int vm, uint32_t flags)
{
	struct wisp_snapshot arg = { .size = sizeof(arg), .flags = flags };

	return call(vm, WISP_SNAPSHOT, &arg);
}

int wisp_reset(int vm, int snapshot)
{
	return wisp_reset_flags(vm, snapshot, 0);
}

int wisp_reset_flags(int vm, int snapshot, uint32_t flags)
{
	struct wisp_reset arg = {
		.size = sizeof(arg),
		.flags = flags,
		.snapshot = snapshot,
	};

	return call(vm, WISP_RESET, &arg);
}

int wisp_reset_audit(int vm, int snapshot, uint32_t flags,
		     struct wisp_audit *audit)
{
	struct wisp_reset arg = {
		.size = sizeof(arg),
		.flags = flags | WISP_RESET_AUDIT,
		.snapshot = snapshot,
		.audit = (uintptr_t)audit,
	};

	return call(vm, WISP_RESET, &arg);
}

int wisp_generation_renew(int vm, uint64_t gpa)
{
	uint8_t id[WISP_GENERATION_SIZE];
	ssize_t n;

	/* So few come at once, or not at all. */
	do
		n = getrandom(id, sizeof(id), 0);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : wisp_write(vm, gpa, id, sizeof(id));
}

int wisp_fork_renewed(int sys, int snapshot, uint64_t gpa)
{
	int vm = wisp_fork(sys, snapshot);
	int ret = vm < 0 ? vm : wisp_generation_renew(vm, gpa);

	if (vm >= 0 && ret)
		close(vm);
	return ret ?: vm;
}

int wisp_dirty(int vm, uint64_t *pages, uint32_t *count)
{
	struct wisp_dirty arg = {
		.size = sizeof(arg),
		.count = *count,
		.pages = (uintptr_t)pages,
	};
	int ret = call(vm, WISP_DIRTY, &arg);

	if (!ret)
		*count = arg.count;
	return ret;
}

int wisp_set_cpuid(int vm, const struct wisp_cpuid_entry *entries,
		   uint32_t count)
{
	struct wisp_set_cpuid arg = {
		.size = sizeof(arg),
		.count = count,
		.entries = (uintptr_t)entries,
	};

	return call(vm, WISP_SET_CPUID, &arg);
}

int wisp_set_msr_policy(int vm, const struct wisp_msr_range *ranges,
			uint32_t count)
{
	struct wisp_set_msr_policy arg = {
		.size = sizeof(arg),
		.count = count,
		.ranges = (uintptr_t)ranges,
	};

	return call(vm, WISP_SET_MSR_POLICY, &arg);
}

static int map_pages(int fd, uint64_t offset, size_t size,
		     struct wisp_vcpu_page **pages)
{
	void *hva = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			 (off_t)offset);

	if (hva == MAP_FAILED)
		return -errno;
	*pages = hva;
	return 0;
}

int wisp_map_window(int sys, uint32_t npages, struct wisp_vcpu_page **window)
{
	return map_pages(sys, 0, (size_t)npages * WISP_PAGE_SIZE, window);
}

/* Where its page is the call says even if there is such a vCPU already. */
static int have_vcpu(int vm, uint32_t vcpu, int may_exist,
		     struct wisp_vcpu_page **page)
{
	struct wisp_create_vcpu arg = { .size = sizeof(arg), .vcpu = vcpu };
	int ret = call(vm, WISP_CREATE_VCPU, &arg);

	if (ret < 0 && !(ret == -EEXIST && may_exist))
		return ret;
	return page ? map_pages(vm, arg.page_offset, WISP_PAGE_SIZE, page) : 0;
}

int wisp_create_vcpu(int vm, uint32_t vcpu, struct wisp_vcpu_page **page)
{
	return have_vcpu(vm, vcpu, 0, page);
}

int wisp_map_vcpu(int vm, uint32_t vcpu, struct wisp_vcpu_page **page)
{
	return have_vcpu(vm, vcpu, 1, page);
}

int wisp_run(int vm, uint32_t vcpu)
{
	return call(vm, WISP_RUN, (void *)(uintptr_t)vcpu);
}

int wisp_kick(int vm, uint32_t vcpu)
{
	return call(vm, WISP_KICK, (void *)(uintptr_t)vcpu);
}

int wisp_get_state(int vm, uint32_t vcpu, uint32_t groups,
		   struct wisp_state *state)
{
	struct wisp_vcpu_state arg = {
		.size = sizeof(arg),
		.vcpu = vcpu,
		.groups = groups,
		.state = (uintptr_t)state,
	};

	return call(vm, WISP_GET_STATE, &arg);
}

int wisp_set_state(int vm, uint32_t vcpu, uint32_t groups,
		   const struct wisp_state *state, uint32_t *field)
{
	struct wisp_vcpu_state arg = {
		.size = sizeof(arg),
		.vcpu = vcpu,
		.groups = groups,
		.state = (uintptr_t)state,
	};
	int ret = call(vm, WISP_SET_STATE, &arg);

	if (field)
		*field = arg.field;
	return ret;
}

int wisp_read(int vm, uint64_t gpa, void *data, size_t size)
{
	uint8_t *to = data;

	while (size) {
		ssize_t n = pread(vm, to, size, (off_t)gpa);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EFAULT;
		to += n;
		gpa += (uint64_t)n;
		size -= (size_t)n;
	}
	return 0;
}

int wisp_write(int vm, uint64_t gpa, const void *data, size_t size)
{
	const uint8_t *from = data;

	while (size) {
		ssize_t n = pwrite(vm, from, size, (off_t)gpa);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EFAULT;
		from += n;
		gpa += (uint64_t)n;
		size -= (size_t)n;
	}
	return 0;
}
