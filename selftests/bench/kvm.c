// SPDX-License-Identifier: GPL-2.0
/*
 * KVM as a back end of the benchmark, by raw ioctls, used as those use it who
 * need what Wisp does: state by the run page where that is faster; for resets
 * the dirty ring, copies from a memfd and the state by ioctls; for forks private
 * mappings of that memfd.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define RING_ENTRIES	4096
#define RING_SIZE	(RING_ENTRIES * sizeof(struct kvm_dirty_gfn))
#define MAX_CPUID	100

struct cpu_state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_xsave xsave;
	struct kvm_xcrs xcrs;
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entries[10];
	} msrs;
};

struct machine {
	int vm, vcpu;
	enum memory kind;
	uint64_t gpa, size;
	int memfd;		/* -1: the memory is anonymous or private */
	char *ram;
	struct kvm_run *run;
	struct kvm_dirty_gfn *ring;
	uint32_t next;		/* in the ring */
};

struct snapshot {
	int memfd;
	uint64_t gpa, size;
	char *ram;
	struct cpu_state state;
};

static const uint32_t msrs[10] = {
	0x10, 0x174, 0x175, 0x176, 0x277,	/* TSC, SYSENTER, PAT */
	0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000102,
};

static int sys = -1;
static size_t run_size;
static struct {
	struct kvm_cpuid2 header;
	struct kvm_cpuid_entry2 entries[MAX_CPUID];
} cpuid;

static int call(int fd, unsigned long request, void *argument, const char *what)
{
	int result = ioctl(fd, request, argument);

	return must(result < 0 ? -errno : result, what);
}

static const char *open_kvm(void)
{
	sys = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (sys < 0)
		err(1, "/dev/kvm");
	run_size = call(sys, KVM_GET_VCPU_MMAP_SIZE, NULL, "run size");
	cpuid.header.nent = MAX_CPUID;
	call(sys, KVM_GET_SUPPORTED_CPUID, &cpuid, "supported CPUID");
	return NULL;
}

static void null_ioctl(void)
{
	ioctl(sys, KVM_GET_API_VERSION, 0);
}

static void put_slot(struct machine *m, unsigned int slot, uint64_t gpa,
		     uint64_t size, uint32_t flags)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)m->ram,
	};

	call(m->vm, KVM_SET_USER_MEMORY_REGION, &region, "set slot");
}

static void add_slot(struct machine *m, unsigned int slot, uint64_t gpa,
		     uint64_t size)
{
	put_slot(m, slot, gpa, size, 0);
}

static void *map(size_t size, int flags, int fd, off_t offset)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, offset);

	if (p == MAP_FAILED)
		err(1, "mmap");
	return p;
}

static void create_vcpu(struct machine *m)
{
	m->vcpu = call(m->vm, KVM_CREATE_VCPU, NULL, "create vCPU");
	m->run = map(run_size, MAP_SHARED, m->vcpu, 0);
	call(m->vcpu, KVM_SET_CPUID2, &cpuid, "set CPUID");
}

/* The log is on from the first snapshot on. */
static void make_tracked(struct machine *m)
{
	struct kvm_enable_cap ring = {
		.cap = KVM_CAP_DIRTY_LOG_RING, .args = { RING_SIZE },
	};

	call(m->vm, KVM_ENABLE_CAP, &ring, "dirty ring");
	m->memfd = must(memfd_create("guest", MFD_CLOEXEC), "memfd");
	if (ftruncate(m->memfd, m->size))
		err(1, "memfd");
}

static struct machine *create_vm(uint64_t gpa, uint64_t size, enum memory kind)
{
	struct machine *m = calloc(1, sizeof(*m));

	m->gpa = gpa;
	m->size = size;
	m->kind = kind;
	m->memfd = -1;
	m->vm = call(sys, KVM_CREATE_VM, NULL, "create VM");
	if (kind == MEMORY_TRACKED)
		make_tracked(m);
	return m;
}

static void add_memory(struct machine *m)
{
	m->ram = map(m->size, m->memfd < 0 ?
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED,
		     m->memfd, 0);
	if (m->kind == MEMORY_HUGE && madvise(m->ram, m->size, MADV_HUGEPAGE))
		err(1, "2 MiB pages");
	put_slot(m, 0, m->gpa, m->size, 0);
}

static void destroy(struct machine *m)
{
	if (m->ring)
		munmap(m->ring, RING_SIZE);
	munmap(m->run, run_size);
	close(m->vcpu);
	close(m->vm);
	munmap(m->ram, m->size);
	if (m->memfd >= 0)
		close(m->memfd);
	free(m);
}

static void write_memory(struct machine *m, uint64_t gpa, const void *data,
			 size_t size)
{
	memcpy(m->ram + (gpa - m->gpa), data, size);
}

static void read_memory(struct machine *m, uint64_t gpa, void *data, size_t size)
{
	memcpy(data, m->ram + (gpa - m->gpa), size);
}

static void start(struct machine *m, const struct guest *guest)
{
	int is64 = guest->bits == 64;
	struct kvm_segment code = {
		.limit = 0xffffffff, .selector = 0x08, .type = 0xb, .present = 1,
		.s = 1, .g = 1, .l = is64, .db = !is64,
	};
	struct kvm_segment data = {
		.limit = 0xffffffff, .selector = 0x10, .type = 0x3, .present = 1,
		.s = 1, .g = 1, .db = 1,
	};
	struct kvm_regs regs = {
		.rip = CODE, .rsp = GDT, .rflags = 2,
		.rcx = guest->rcx, .rdx = guest->rdx, .rbx = guest->rbx,
		.rdi = guest->rdi,
	};
	struct kvm_sregs sregs;

	call(m->vcpu, KVM_GET_SREGS, &sregs, "get sregs");
	sregs.cs = code;
	sregs.ds = data;
	sregs.es = data;
	sregs.ss = data;
	sregs.gdt = (struct kvm_dtable){ .base = GDT, .limit = 23 };
	sregs.idt = (struct kvm_dtable){ .base = IDT, .limit = 0xfff };
	sregs.cr0 = is64 ? 0x80000011 : 0x11;
	sregs.cr3 = is64 ? PML4 : 0;
	sregs.cr4 = is64 ? 0x20 : 0;
	sregs.efer = is64 ? 0x500 : 0;
	/* The last stop is completed at the next run: before, not after. */
	m->run->immediate_exit = 1;
	ioctl(m->vcpu, KVM_RUN, 0);
	m->run->immediate_exit = 0;
	call(m->vcpu, KVM_SET_SREGS, &sregs, "set sregs");
	call(m->vcpu, KVM_SET_REGS, &regs, "set regs");
}

static void run(struct machine *m, enum stop why)
{
	static const uint32_t reasons[] = {
		[STOP_HLT] = KVM_EXIT_HLT,
		[STOP_PORT] = KVM_EXIT_IO,
		[STOP_MEMORY] = KVM_EXIT_MMIO,
	};

	if (ioctl(m->vcpu, KVM_RUN, 0) < 0)
		err(1, "run");
	if (m->run->exit_reason != reasons[why])
		errx(1, "the guest ended with %u, not with %u",
		     m->run->exit_reason, reasons[why]);
}

static void interrupt(struct machine *m, unsigned int vector)
{
	struct kvm_interrupt irq = { .irq = vector };

	call(m->vcpu, KVM_INTERRUPT, &irq, "interrupt");
}

static void want_state(struct machine *m, int wanted)
{
	m->run->kvm_valid_regs =
		wanted ? KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS : 0;
}

static void change_state(struct machine *m)
{
	m->run->s.regs.regs.rax++;
	m->run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
}

static void get_cpu(struct machine *m, struct cpu_state *s)
{
	call(m->vcpu, KVM_GET_REGS, &s->regs, "get regs");
	call(m->vcpu, KVM_GET_SREGS, &s->sregs, "get sregs");
	call(m->vcpu, KVM_GET_XSAVE, &s->xsave, "get xsave");
	call(m->vcpu, KVM_GET_XCRS, &s->xcrs, "get xcrs");
	s->msrs.header.nmsrs = 10;
	for (int i = 0; i < 10; i++)
		s->msrs.entries[i].index = msrs[i];
	if (call(m->vcpu, KVM_GET_MSRS, &s->msrs, "get MSRs") != 10)
		errx(1, "not all MSRs");
}

static void set_cpu(struct machine *m, struct cpu_state *s)
{
	call(m->vcpu, KVM_SET_REGS, &s->regs, "set regs");
	call(m->vcpu, KVM_SET_SREGS, &s->sregs, "set sregs");
	call(m->vcpu, KVM_SET_XSAVE, &s->xsave, "set xsave");
	call(m->vcpu, KVM_SET_XCRS, &s->xcrs, "set xcrs");
	if (call(m->vcpu, KVM_SET_MSRS, &s->msrs, "set MSRs") != 10)
		errx(1, "not all MSRs");
}

/* Copies what the ring lists, one way or the other. */
static void copy_dirty(struct machine *m, char *to, const char *from)
{
	struct kvm_dirty_gfn *entry;
	uint64_t at;

	for (;; m->next++) {
		entry = &m->ring[m->next % RING_ENTRIES];
		if (!(__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) &
		      KVM_DIRTY_GFN_F_DIRTY))
			break;
		at = entry->offset * PAGE;
		memcpy(to + at, from + at, PAGE);
		__atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET,
				 __ATOMIC_RELEASE);
	}
	call(m->vm, KVM_RESET_DIRTY_RINGS, NULL, "reset the ring");
}

static void copy_all(struct machine *m, int memfd)
{
	ssize_t n;

	for (uint64_t done = 0; done < m->size; done += n) {
		n = write(memfd, m->ram + done, m->size - done);
		if (n <= 0)
			err(1, "write the snapshot");
	}
}

static struct snapshot *take_snapshot(struct machine *m, struct snapshot *old)
{
	struct snapshot *s = old;

	if (old) {
		copy_dirty(m, s->ram, m->ram);
		get_cpu(m, &s->state);
		return s;
	}
	s = calloc(1, sizeof(*s));
	s->gpa = m->gpa;
	s->size = m->size;
	get_cpu(m, &s->state);
	s->memfd = must(memfd_create("snapshot", MFD_CLOEXEC), "memfd");
	copy_all(m, s->memfd);
	s->ram = map(s->size, MAP_SHARED | MAP_POPULATE, s->memfd, 0);
	m->ring = map(RING_SIZE, MAP_SHARED, m->vcpu,
		      KVM_DIRTY_LOG_PAGE_OFFSET * PAGE);
	put_slot(m, 0, m->gpa, m->size, KVM_MEM_LOG_DIRTY_PAGES);
	return s;
}

static void drop(struct snapshot *s)
{
	munmap(s->ram, s->size);
	close(s->memfd);
	free(s);
}

static void reset(struct machine *m, struct snapshot *s)
{
	copy_dirty(m, m->ram, s->ram);
	set_cpu(m, &s->state);
}

static void reset_and_run(struct machine *m, struct snapshot *s, enum stop why)
{
	reset(m, s);
	run(m, why);
}

static struct machine *fork_machine(struct snapshot *s)
{
	struct machine *m = calloc(1, sizeof(*m));

	m->gpa = s->gpa;
	m->size = s->size;
	m->memfd = -1;
	m->vm = call(sys, KVM_CREATE_VM, NULL, "create VM");
	m->ram = map(m->size, MAP_PRIVATE | MAP_NORESERVE, s->memfd, 0);
	put_slot(m, 0, m->gpa, m->size, 0);
	create_vcpu(m);
	set_cpu(m, &s->state);
	return m;
}

/* Of all VMs: there is no such counter of one in all kernels. */
static uint64_t faults(struct machine *m)
{
	FILE *f = fopen("/sys/kernel/debug/kvm/pf_fixed", "r");
	unsigned long long n;

	(void)m;
	if (!f || fscanf(f, "%llu", &n) != 1)
		err(1, "pf_fixed");
	fclose(f);
	return n;
}

const struct backend kvm_backend = {
	.name = "kvm",
	.max_alive = 1000,
	.open = open_kvm,
	.null_ioctl = null_ioctl,
	.create_vm = create_vm,
	.add_memory = add_memory,
	.create_vcpu = create_vcpu,
	.destroy = destroy,
	.add_slot = add_slot,
	.write = write_memory,
	.read = read_memory,
	.start = start,
	.run = run,
	.interrupt = interrupt,
	.want_state = want_state,
	.change_state = change_state,
	.snapshot = take_snapshot,
	.drop = drop,
	.snapshots = 1,
	.reset = reset,
	.reset_and_run = reset_and_run,
	.fork = fork_machine,
	.faults = faults,
};
