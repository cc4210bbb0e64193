/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The VM: slots, policy and vCPUs.
 */
#ifndef WISP_VM_H
#define WISP_VM_H

#include <linux/maple_tree.h>
#include <linux/mutex.h>
#include <linux/nospec.h>
#include <linux/rwsem.h>
#include <linux/types.h>
#include <linux/xarray.h>

#include "memory.h"
#include "slat.h"
#include "vcpu.h"

struct file;
struct iov_iter;
struct wisp_cpuid;
struct wisp_creator;
struct wisp_msr_policy;

#define WISP_MAX_SLOTS	1024

struct wisp_slot {
	/* Protected by the memory object's lock. */
	struct wisp_memory_user user;

	/* Constant after create. */
	struct wisp_vm *vm;
	u64 gpa;
	u64 size;
	u64 offset;
	u32 prot;
	u32 number;
	struct file *file;
	struct wisp_memory *memory;
};

struct wisp_vm {
	/* Constant after create. */
	struct wisp_creator *creator;

	/* Serialises creation of vCPUs and changes of policy. */
	struct mutex lock;

	/* Protected by @lock; read by vCPUs: set only while there is none. */
	const struct wisp_cpuid *cpuid;
	struct wisp_cpuid *own_cpuid;	/* what @cpuid is, unless the default */
	struct wisp_msr_policy *msr_policy;

	/* Changed under @lock; entries live as long as the VM. */
	struct xarray vcpus;

	/* Faults take it shared, changes of slots exclusive. */
	struct rw_semaphore slots_sem;

	/* Protected by @slots_sem: ascending by gpa. */
	struct wisp_slot **slots;
	unsigned int nslots;
	unsigned int room;

	/* By gfn: the WISP_PROT_* of wisp_vm_protect(), as a value entry. */
	struct maple_tree protections;

	/* Entries are added with @slots_sem shared, removed with it exclusive. */
	struct wisp_slat slat;
};

int wisp_vm_protect(struct wisp_vm *vm, const struct wisp_protect_range *ranges,
		    u32 count);
void wisp_vm_stats(struct wisp_vm *vm, struct wisp_stats *stats);

struct wisp_vm *wisp_vm_create(void);
void wisp_vm_destroy(struct wisp_vm *vm);
int wisp_vm_set_slot(struct wisp_vm *vm, struct wisp_slot *slot);
int wisp_vm_remove_slot(struct wisp_vm *vm, u32 number);
int wisp_vm_fault(struct wisp_vm *vm, struct wisp_exit *exit);
ssize_t wisp_vm_read(struct wisp_vm *vm, u64 gpa, struct iov_iter *to);
ssize_t wisp_vm_write(struct wisp_vm *vm, u64 gpa, struct iov_iter *from);

void wisp_slot_free(struct wisp_slot *slot);

static inline struct wisp_vcpu *wisp_vm_find_vcpu(struct wisp_vm *vm, u64 index)
{
	/* The index is a user's: no guess of the CPU's may go past the end. */
	return index < WISP_MAX_VCPUS ?
		       xa_load(&vm->vcpus, array_index_nospec(index, WISP_MAX_VCPUS)) :
		       NULL;
}

#endif
