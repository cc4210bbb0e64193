// SPDX-License-Identifier: GPL-2.0
#include <stdlib.h>

#include "../modules.h"
#include "kvm.h"

#define CPUID_MAX	200

/* ---- the machine ---------------------------------------------------------- */

static int set_cpuid(struct kvm *k)
{
	size_t size = sizeof(struct kvm_cpuid2) +
		      CPUID_MAX * sizeof(struct kvm_cpuid_entry2);
	struct kvm_cpuid2 *cpuid = calloc(1, size);
	int ret;

	cpuid->nent = CPUID_MAX;
	ret = raw(k->sys, KVM_GET_SUPPORTED_CPUID, cpuid) ?:
	      raw(k->vcpu, KVM_SET_CPUID2, cpuid);
	for (__u32 i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == 0xd &&
		    !cpuid->entries[i].index)
			k->xcr0 = cpuid->entries[i].eax;
	k->xcr0 &= XCR0_X87 | XCR0_SSE | XCR0_YMM;
	free(cpuid);
	return ret;
}

static int add_memory(struct kvm *k)
{
	struct kvm_userspace_memory_region region = {
		.memory_size = GUEST_SIZE,
	};

	k->memory = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (k->memory == MAP_FAILED)
		return -errno;
	region.userspace_addr = (uintptr_t)k->memory;
	return raw(k->vm, KVM_SET_USER_MEMORY_REGION, &region);
}

static void write_tables(struct kvm *k)
{
	__u64 *pml4 = (__u64 *)(k->memory + GUEST_PML4);
	__u64 *pdpt = (__u64 *)(k->memory + GUEST_PDPT);
	__u64 *pd = (__u64 *)(k->memory + GUEST_PD);

	pml4[0] = GUEST_PDPT | 3;
	pdpt[0] = GUEST_PD | 3;
	for (__u64 i = 0; i < 512; i++)
		pd[i] = i << 21 | 0x83;
}

int kvm_create(struct kvm *k)
{
	memset(k, 0, sizeof(*k));
	k->sys = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (k->sys < 0)
		return -errno;
	k->vm = raw_index(k->sys, KVM_CREATE_VM, 0);
	if (k->vm < 0)
		return k->vm;
	k->vcpu = raw_index(k->vm, KVM_CREATE_VCPU, 0);
	if (k->vcpu < 0)
		return k->vcpu;
	k->run_size = raw_index(k->sys, KVM_GET_VCPU_MMAP_SIZE, 0);
	k->run = mmap(NULL, k->run_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		      k->vcpu, 0);
	if (k->run == MAP_FAILED)
		return -errno;
	return add_memory(k) ?: set_cpuid(k);
}

void kvm_destroy(struct kvm *k)
{
	munmap(k->run, k->run_size);
	close(k->vcpu);
	close(k->vm);
	close(k->sys);
	munmap(k->memory, GUEST_SIZE);
}

static int set_sregs(struct kvm *k, __u64 efer)
{
	struct kvm_segment segment = {
		.limit = 0xffffffff, .selector = GUEST_DS, .type = 3,
		.present = 1, .s = 1, .db = 1, .g = 1,
	};
	struct kvm_sregs sregs;
	int ret = raw(k->vcpu, KVM_GET_SREGS, &sregs);

	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment;
	sregs.cs = segment;
	sregs.cs.selector = GUEST_CS64;
	sregs.cs.type = 11;
	sregs.cs.db = 0;
	sregs.cs.l = 1;
	sregs.cr0 = CR0_PG | CR0_WP | CR0_PE | CR0_MP | CR0_ET | CR0_NE;
	sregs.cr3 = GUEST_PML4;
	sregs.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	sregs.efer = efer;
	return ret ?: raw(k->vcpu, KVM_SET_SREGS, &sregs);
}

int kvm_start(struct kvm *k, __u64 efer, __u64 tsc, const char *code,
	      const char *end)
{
	struct kvm_regs regs = { .rip = GUEST_CODE, .rflags = RFLAGS_FIXED };
	struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs = { { .value = k->xcr0 } } };
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msrs = { .head = { .nmsrs = 1 }, .entry = { .index = 0x10, .data = tsc } };
	int ret;

	write_tables(k);
	memcpy(k->memory + GUEST_CODE, code, end - code);
	ret = set_sregs(k, efer) ?: raw(k->vcpu, KVM_SET_REGS, &regs) ?:
	      raw(k->vcpu, KVM_SET_XCRS, &xcrs);
	if (ret)
		return ret;
	return raw(k->vcpu, KVM_SET_MSRS, &msrs) == 1 ? 0 : -EINVAL;
}

int kvm_run(struct kvm *k)
{
	int ret = raw_index(k->vcpu, KVM_RUN, 0);

	return ret ?: (int)k->run->exit_reason;
}

/* ---- the modules ---------------------------------------------------------- */

int kvm_load_modules(void)
{
	return modules_load("/kvm");
}

/* A file's end may lag behind its last close, and with it the reference. */
static int unload_module(const char *name)
{
	int ret = 0;

	for (int i = 0; i < 10000; i++) {
		ret = syscall(SYS_delete_module, name, O_NONBLOCK) ? -errno : 0;
		if (ret != -EWOULDBLOCK)
			break;
		usleep(1000);
	}
	return ret == -ENOENT ? 0 : ret;
}

int kvm_unload_modules(void)
{
	char names[MODULES_MAX][MODULE_NAME_MAX];
	int ret = 0;

	for (int i = modules_list("/kvm", names) - 1; i >= 0 && !ret; i--) {
		for (char *p = names[i]; *p; p++)
			if (*p == '-')
				*p = '_';
		ret = unload_module(names[i]);
	}
	return ret;
}
