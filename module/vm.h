/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The VM: slots, policy and vCPUs.
 */
#ifndef WISP_VM_H
#define WISP_VM_H

#include <linux/cleanup.h>
#include <linux/mutex.h>
#include <linux/nospec.h>
#include <linux/refcount.h>
#include <linux/rwsem.h>
#include <linux/types.h>

#include "memory.h"
#include "protections.h"
#include "slat.h"
#include "vcpu.h"

struct iov_iter;
struct vm_area_struct;
struct wisp_creator;
struct wisp_policy;
struct wisp_window;

#define WISP_MAX_SLOTS	1024
#define WISP_MAX_WINDOW_OFFSET	\
	((u64)(WISP_WINDOW_PAGES - WISP_MAX_VCPUS) << PAGE_SHIFT)

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
	struct wisp_memory *memory;
};

/* What a snapshot or reset asks of the runners. */
enum wisp_pause {
	WISP_PAUSE_NOT,
	WISP_PAUSE_STARTS,	/* no run begins */
	WISP_PAUSE_RUNS,	/* and those that are on end */
};

struct wisp_vm {
	/* Constant after create. */
	struct wisp_creator *creator;
	u64 lineage;			/* the same in its snapshots and forks */
	u32 flags;			/* WISP_VM_* */
	bool frozen;			/* it is a snapshot: nothing changes */
	struct wisp_window *window;	/* the vCPUs' shared pages are there, or NULL */
	u64 window_first;
	u64 max_pages;			/* limits; 0: none */
	u64 max_run_time;		/* in TSC ticks */

	refcount_t refs;

	/* The host's when it was made, or reset; under @lock, while no vCPU runs. */
	u64 tsc_origin;

	/* Changed by runners; set anew while there are none. With a limit only. */
	atomic64_t pages_left;
	atomic64_t run_time;

	/* Serialises creation of vCPUs, changes of policy and snapshots. */
	struct mutex lock;

	/* Protected by @lock; read by vCPUs: set only while there is none. */
	struct wisp_policy *cpuid;
	struct wisp_policy *msrs;

	/* Protected by @lock: the snapshot last taken, reset to or forked from. */
	struct wisp_vm *base;

	/*
	 * Written under @lock, read by runners: by the holder of a vCPU's lock
	 * once it has that, and before each entry. See pause_vcpus().
	 */
	enum wisp_pause pause;

	/* By index, below @vcpu_end; set once under @lock, and as old as the VM. */
	struct wisp_vcpu *vcpus[WISP_MAX_VCPUS];
	u32 vcpu_end;

	/* Faults take it shared, changes of slots exclusive. */
	struct rw_semaphore slots_sem;

	/* Protected by @slots_sem: ascending by gpa. */
	struct wisp_slot **slots;
	unsigned int nslots;
	struct wisp_protections protections;
	bool changed;			/* they, or @protections, since @base */

	/*
	 * The hardware marks what is written; set once, while no vCPU runs. Where it
	 * can do without (see struct wisp_backend), a fork begins so.
	 */
	bool marks_dirty;

	/* Entries are added with @slots_sem shared, removed with it exclusive. */
	struct wisp_slat slat;
};

int wisp_vm_protect(struct wisp_vm *vm, const struct wisp_protect_range *ranges,
		    u32 count);
void wisp_vm_stats(struct wisp_vm *vm, struct wisp_stats *stats);

struct wisp_vm *wisp_vm_create(u32 flags, struct wisp_window *window, u64 first);
int wisp_vm_limit(struct wisp_vm *vm, u64 max_pages, u64 max_run_time_ns);
void wisp_vm_restart_limits(struct wisp_vm *vm);
struct wisp_vm *wisp_vm_get(struct wisp_vm *vm);
void wisp_vm_put(struct wisp_vm *vm);
int wisp_vm_set_slot(struct wisp_vm *vm, struct wisp_slot *slot);
int wisp_vm_remove_slot(struct wisp_vm *vm, u32 number);
struct wisp_memory *wisp_vm_slot_memory(struct wisp_vm *vm, u64 number);
int wisp_vm_fault(struct wisp_vm *vm, struct wisp_exit *exit,
		  struct wisp_ahead *ahead);
ssize_t wisp_vm_rw(struct wisp_vm *vm, u64 gpa, struct iov_iter *iter);
int wisp_vm_mmap(struct wisp_vm *vm, struct vm_area_struct *vma);

void wisp_slot_free(struct wisp_slot *slot);
int wisp_slot_attach(struct wisp_vm *vm, struct wisp_slot *slot);
void wisp_slot_drop(struct wisp_slot *slot);
void wisp_slot_detach(struct wisp_slot *slot);

/* A reset of another thread's may wait long for a run: a signal that kills ends that. */
static inline struct wisp_vm *wisp_vm_lock(struct wisp_vm *vm)
{
	return mutex_lock_killable(&vm->lock) ? NULL : vm;
}

static inline void wisp_vm_unlock(struct wisp_vm *vm)
{
	if (vm)
		mutex_unlock(&vm->lock);
}

/* CLASS(vm_lock, locked)(vm); locked is NULL where it was killed. */
DEFINE_CLASS(vm_lock, struct wisp_vm *, wisp_vm_unlock(_T), wisp_vm_lock(vm),
	     struct wisp_vm *vm)

/* The first vCPU whose index is at least *@index, which becomes its; or NULL. */
static inline struct wisp_vcpu *wisp_vm_next_vcpu(struct wisp_vm *vm, u32 *index)
{
	struct wisp_vcpu *vcpu;

	for (; *index < READ_ONCE(vm->vcpu_end); (*index)++) {
		/* Pairs with the release in wisp_vcpu_create(). */
		vcpu = smp_load_acquire(&vm->vcpus[*index]);
		if (vcpu)
			return vcpu;
	}
	return NULL;
}

#define wisp_vm_for_each_vcpu(vm, index, vcpu)                               \
	for ((index) = 0; ((vcpu) = wisp_vm_next_vcpu(vm, &(index))); (index)++)

static inline struct wisp_vcpu *wisp_vm_find_vcpu(struct wisp_vm *vm, u64 index)
{
	if (index >= WISP_MAX_VCPUS)
		return NULL;
	/* The index is a user's: no guess of the CPU's may go past the end. */
	index = array_index_nospec(index, WISP_MAX_VCPUS);
	/* Pairs with the release in wisp_vcpu_create(). */
	return smp_load_acquire(&vm->vcpus[index]);
}

#endif
