// SPDX-License-Identifier: GPL-2.0
/*
 * Snapshots: freeze, fork, reset.
 *
 * A snapshot is a VM that is frozen: it has slots, policy and vCPUs as others
 * have, but they never run and nothing of it changes. So to freeze a VM and to
 * fork a frozen one is the same: a copy is made that has a second reference on
 * the pages and the tables, and both sides copy what they change from then on.
 */
#include "snapshot.h"

#include <linux/cleanup.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>

#include <asm/msr.h>

#include "audit.h"
#include "backend.h"
#include "clock.h"
#include "ledger.h"
#include "memory.h"
#include "policy.h"
#include "vm.h"

#ifdef CONFIG_WISP_DEBUG
static unsigned int reset_without;
module_param(reset_without, uint, 0644);
MODULE_PARM_DESC(reset_without,
		 "leave WISP_STATE_* out of resets; 256: memory, 512: completions, 1024: slots and protections (test)");
#else
#define reset_without	0
#endif

#define WITHOUT_MEMORY		256
#define WITHOUT_COMPLETION	512
#define WITHOUT_LAYOUT		1024

/* ---- all vCPUs at once --------------------------------------------------- */

/* Nobody has the vCPU's lock when this returns 0, and nobody gets it. */
static int drain_vcpu(struct wisp_vcpu *vcpu, bool kick)
{
	int ret = 0;

	if (!mutex_trylock(&vcpu->lock)) {
		if (!kick)
			return -EBUSY;
		wisp_vcpu_interrupt(vcpu, false);
		ret = mutex_lock_killable(&vcpu->lock);
	}
	if (!ret)
		mutex_unlock(&vcpu->lock);
	return ret;
}

static void resume_vcpus(struct wisp_vm *vm)
{
	/* Whoever takes a vCPU's lock and sees this sees all that was done. */
	smp_store_release(&vm->pause, WISP_PAUSE_NOT);
}

/*
 * None of them runs from here on, and none is added. Their locks are not held,
 * since there may be many, but who takes one gives it back. Returns 0, -EBUSY
 * (without @kick) or -EINTR.
 */
static int pause_vcpus(struct wisp_vm *vm, bool kick)
{
	struct wisp_vcpu *vcpu;
	u32 index;
	int ret = 0;

	lockdep_assert_held(&vm->lock);
	WRITE_ONCE(vm->pause, kick ? WISP_PAUSE_RUNS : WISP_PAUSE_STARTS);
	wisp_vm_for_each_vcpu(vm, index, vcpu) {
		ret = drain_vcpu(vcpu, kick);
		if (ret)
			break;
	}
	if (ret)
		resume_vcpus(vm);
	return ret;
}

void wisp_snapshot_load_vcpu(struct wisp_vcpu *vcpu, const struct wisp_vcpu *from)
{
	u32 groups = WISP_STATE_ALL & ~reset_without;

	if (!(reset_without & WITHOUT_COMPLETION)) {
		vcpu->completion = from->completion;
		vcpu->completion_size = from->completion_size;
		vcpu->exit = from->exit;
	}
	wisp_vcpu_set_registers(vcpu, groups & ~WISP_STATE_FPU, &from->scratch);
	if (groups & WISP_STATE_MSRS)
		wisp_clock_begin(vcpu, from->scratch.msrs.tsc);
	if (groups & WISP_STATE_FPU)
		wisp_fpu_copy(&vcpu->fpu, &from->fpu);
}

/* The other way: a frozen vCPU keeps its registers in @scratch. */
static void save_vcpu(struct wisp_vcpu *frozen, struct wisp_vcpu *from)
{
	frozen->completion = from->completion;
	frozen->completion_size = from->completion_size;
	frozen->exit = from->exit;
	wisp_vcpu_get_registers(from, WISP_STATE_ALL & ~WISP_STATE_FPU,
				&frozen->scratch);
	/* All at the same moment. */
	frozen->scratch.msrs.tsc = from->tsc_offset +
		wisp_clock_at(from, frozen->vm->tsc_origin);
	wisp_fpu_copy(&frozen->fpu, &from->fpu);
}

/* Those that @to has not: they wait for their first run, or are frozen with all they are. */
static int copy_vcpus(struct wisp_vm *to, struct wisp_vm *from)
{
	struct wisp_vcpu *vcpu;
	u32 index;
	int ret = 0;

	wisp_vm_for_each_vcpu(from, index, vcpu) {
		if (to->frozen)
			ret = wisp_vcpu_populate(vcpu);
		if (!ret && !wisp_vm_find_vcpu(to, index))
			ret = wisp_vcpu_create(to, index, false);
		if (ret)
			return ret;
		if (to->frozen)
			save_vcpu(wisp_vm_find_vcpu(to, index), vcpu);
	}
	return 0;
}

/* ---- slots and protections ----------------------------------------------- */

/* Of those that were forked from the same, a VM has one: wisp_vm_set_slot(). */
static struct wisp_memory *find_memory(struct wisp_slot **slots, u32 nslots, u64 id)
{
	u32 i;

	for (i = 0; i < nslots; i++)
		if (wisp_memory_id(slots[i]->memory) == id)
			return slots[i]->memory;
	return NULL;
}

/*
 * A slot of @vm that shows what @from shows: through an object that @vm has or
 * has got already, or else a fork.
 */
static struct wisp_slot *copy_slot(struct wisp_vm *vm, struct wisp_slot **slots,
				   u32 nslots, const struct wisp_slot *from)
{
	u64 id = wisp_memory_id(from->memory);
	struct wisp_memory *memory;
	struct wisp_slot *slot;
	int ret = -ENOMEM;

	slot = kzalloc(sizeof(*slot), WISP_GFP);
	if (!slot)
		return ERR_PTR(ret);
	slot->gpa = from->gpa;
	slot->size = from->size;
	slot->offset = from->offset;
	slot->prot = from->prot;
	slot->number = from->number;
	memory = find_memory(slots, nslots, id) ?:
		 find_memory(vm->slots, vm->nslots, id);
	slot->memory = memory ? wisp_memory_get(memory) :
				wisp_memory_fork(from->memory);
	if (slot->memory)
		ret = wisp_slot_attach(vm, slot);
	if (!ret)
		return slot;
	wisp_slot_free(slot);
	return ERR_PTR(ret);
}

/* @to gets the slots and protections of @from instead of its own, or an error. */
static int copy_layout(struct wisp_vm *to, struct wisp_vm *from)
{
	struct wisp_protections protections = {};
	struct wisp_slot **slots;
	u32 i, n;
	int ret;

	slots = kcalloc(from->nslots, sizeof(*slots), WISP_GFP);
	if (!slots)
		return -ENOMEM;
	ret = wisp_protections_copy(&protections, &from->protections);
	for (n = 0; n < from->nslots && !ret; n++) {
		slots[n] = copy_slot(to, slots, n, from->slots[n]);
		ret = PTR_ERR_OR_ZERO(slots[n]);
		n -= !!ret;
	}
	if (!ret) {
		swap(to->slots, slots);
		swap(to->protections, protections);
		n = to->nslots;
		to->nslots = from->nslots;
	}
	/* What is not @to's: the old ones, or those that came too early. */
	for (i = 0; i < n; i++)
		if (ret)
			wisp_slot_drop(slots[i]);
		else
			wisp_slot_detach(slots[i]);
	wisp_protections_drop(&protections);
	kfree(slots);
	return ret;
}

/* ---- freeze and fork ----------------------------------------------------- */

static void change_base(struct wisp_vm *vm, struct wisp_vm *base)
{
	struct wisp_vm *old = vm->base;

	vm->base = wisp_vm_get(base);
	vm->changed = false;
	wisp_vm_put(old);
}

static void release_memory(struct wisp_vm *vm, u32 nslots)
{
	u32 i;

	for (i = 0; i < nslots; i++)
		wisp_memory_release(vm->slots[i]->memory);
}

/* No other VM gets a slot on what it has. Returns 0, or -EBUSY: one has. */
static int claim_memory(struct wisp_vm *vm)
{
	int ret;
	u32 i;

	for (i = 0; i < vm->nslots; i++) {
		ret = wisp_memory_claim(vm->slots[i]->memory, vm);
		if (ret) {
			release_memory(vm, i);
			return ret;
		}
	}
	return 0;
}

/* A VM that has all that @from has, which does not run. */
static struct wisp_vm *copy_vm(struct wisp_vm *from, bool frozen,
			       struct wisp_window *window, u64 first)
{
	struct wisp_vm *vm;
	int ret;
	u32 i;

	vm = wisp_vm_create(from->flags, window, first);
	if (IS_ERR(vm))
		return vm;
	vm->frozen = frozen;
	vm->lineage = from->lineage;
	vm->max_pages = from->max_pages;
	vm->max_run_time = from->max_run_time;
	vm->cpuid = wisp_policy_get(from->cpuid);
	vm->msrs = wisp_policy_get(from->msrs);
	ret = copy_vcpus(vm, from);
	if (!ret && frozen)
		ret = wisp_slat_populate(&vm->slat);
	if (!ret)
		ret = copy_layout(vm, from);
	if (ret) {
		wisp_vm_put(vm);
		return ERR_PTR(ret);
	}
	/* All that can be had is there: now @from changes, if it is not frozen. */
	for (i = 0; i < from->nslots; i++)
		wisp_memory_freeze(from->slots[i]->memory, vm->slots[i]->memory);
	if (frozen)
		wisp_slat_freeze(&vm->slat, &from->slat);
	else
		wisp_slat_share(&vm->slat, &from->slat);
	return vm;
}

/**
 * wisp_snapshot_take() - WISP_SNAPSHOT
 * @vm: the VM
 * @flags: WISP_SNAPSHOT_*
 *
 * May sleep. Returns the frozen VM, or ERR_PTR of -EBUSY (a vCPU runs, or another
 * VM has a slot on the same object), -EDQUOT, -EINTR (a signal that kills),
 * -EINVAL (no vCPU) or -ENOMEM.
 */
struct wisp_vm *wisp_snapshot_take(struct wisp_vm *vm, u32 flags)
{
	struct wisp_vm *frozen;
	int ret;

	CLASS(vm_lock, locked)(vm);
	if (!locked)
		return ERR_PTR(-EINTR);
	if (!vm->vcpu_end)
		return ERR_PTR(-EINVAL);
	ret = pause_vcpus(vm, flags & WISP_SNAPSHOT_KICK);
	if (ret)
		return ERR_PTR(ret);
	scoped_guard(rwsem_write, &vm->slots_sem) {
		ret = claim_memory(vm);
		frozen = ret ? ERR_PTR(ret) : copy_vm(vm, true, NULL, 0);
		if (!ret)
			release_memory(vm, vm->nslots);
		if (!IS_ERR(frozen))
			change_base(vm, frozen);
		wisp_ledger_revoke(&vm->slat, WISP_REVOKE_SNAPSHOT);
	}
	resume_vcpus(vm);
	return frozen;
}

/**
 * wisp_snapshot_fork() - WISP_CREATE_VM with a snapshot
 * @frozen: the snapshot
 * @window: where the vCPUs have their shared pages, or NULL
 * @first: the index in @window of the first of these pages
 *
 * What the vCPUs need to run is allocated when they do. May sleep. Returns the
 * VM, or ERR_PTR of -EBUSY, -EDQUOT or -ENOMEM.
 */
struct wisp_vm *wisp_snapshot_fork(struct wisp_vm *frozen,
				   struct wisp_window *window, u64 first)
{
	struct wisp_vm *vm = copy_vm(frozen, false, window, first);

	if (IS_ERR(vm))
		return vm;
	change_base(vm, frozen);
	/* Most are never reset; where runs are to be the same, exits are, too. */
	vm->marks_dirty = vm->flags & WISP_VM_DETERMINISTIC ||
			  !wisp_backend->marking_costs;
	return vm;
}

/* ---- reset --------------------------------------------------------------- */

/* Whether a slot before the @i-th has the same object. */
static bool shown_before(const struct wisp_vm *vm, u32 i)
{
	u32 j;

	for (j = 0; j < i && vm->slots[j]->memory != vm->slots[i]->memory; j++)
		;
	return j < i;
}

/* The usual case: what was written since is copied back, where it stands. */
static bool reset_pages(struct wisp_vm *vm)
{
	u32 i;

	if (reset_without & WITHOUT_MEMORY)
		return true;
	for (i = 0; i < vm->nslots; i++)
		if (!shown_before(vm, i) &&
		    !wisp_memory_reset(vm->slots[i]->memory,
				       vm->base->slots[i]->memory,
				       &wisp_backend->format))
			return false;
	wisp_ledger_narrow(&vm->slat);
	return true;
}

static void rebase_slots(struct wisp_vm *vm, struct wisp_vm *frozen)
{
	u32 i;

	for (i = 0; i < vm->nslots; i++)
		wisp_memory_rebase(vm->slots[i]->memory, frozen->slots[i]->memory,
				   vm);
}

/* The other: all that the VM has is dropped for what the snapshot has. */
static int rebuild(struct wisp_vm *vm, struct wisp_vm *frozen)
{
	int ret = 0;

	if (frozen != vm->base || vm->changed)
		ret = copy_layout(vm, frozen);
	if (ret)
		return ret;
	/*
	 * Twice: after the first nothing of the objects leads into the tables that
	 * go; the second takes back what others wrote before the new ones were there.
	 */
	rebase_slots(vm, frozen);
	wisp_slat_share(&vm->slat, &frozen->slat);
	rebase_slots(vm, frozen);
	change_base(vm, frozen);
	return 0;
}

/* One that came later is as new; one that was never used still waits. */
static void reset_vcpus(struct wisp_vm *vm)
{
	struct wisp_vcpu *vcpu, *from;
	u32 index;

	wisp_vm_for_each_vcpu(vm, index, vcpu) {
		from = wisp_vm_find_vcpu(vm->base, index);
		if (vcpu->populated && from)
			wisp_snapshot_load_vcpu(vcpu, from);
		else if (vcpu->populated)
			wisp_vcpu_reset(vcpu);
	}
}

/**
 * wisp_snapshot_reset() - WISP_RESET
 * @vm: the VM
 * @frozen: a snapshot of its lineage; NULL: the one last used
 * @flags: WISP_RESET_*
 * @audit: with AUDIT: zero; gets what differs
 *
 * May sleep. Returns 0, -EBUSY (a vCPU runs, or another VM has a slot on what would be
 * written here again, or a vCPU that it lacks has no place in the window), -EDQUOT (for
 * such a vCPU), -EINTR (a signal that kills), -EINVAL (another lineage, or no snapshot
 * yet) or -ENOMEM: the VM is as it was, but that it may have such vCPUs now.
 */
int wisp_snapshot_reset(struct wisp_vm *vm, struct wisp_vm *frozen, u32 flags,
			struct wisp_audit *audit)
{
	int ret;

	CLASS(vm_lock, locked)(vm);
	if (!locked)
		return -EINTR;
	if (!frozen)
		frozen = vm->base;
	if (!frozen || frozen->lineage != vm->lineage)
		return -EINVAL;
	/* A relative's snapshot may have more vCPUs. */
	ret = frozen == vm->base ? 0 : copy_vcpus(vm, frozen);
	if (!ret)
		ret = pause_vcpus(vm, flags & WISP_RESET_KICK);
	if (ret)
		return ret;
	scoped_guard(rwsem_write, &vm->slots_sem) {
		if (reset_without & WITHOUT_LAYOUT)
			vm->changed = false;
		/* Pages that stay would be free of the next round's limit. */
		if (frozen != vm->base || vm->changed || vm->max_pages ||
		    !vm->marks_dirty || !reset_pages(vm))
			ret = rebuild(vm, frozen);
		vm->marks_dirty = true;
		/* One flush for all of it, at each vCPU's next entry. */
		wisp_ledger_revoke(&vm->slat, WISP_REVOKE_RESET);
	}
	if (!ret) {
		vm->tsc_origin = rdtsc();
		reset_vcpus(vm);
		wisp_vm_restart_limits(vm);
		if (flags & WISP_RESET_AUDIT)
			wisp_audit(vm, audit);
	}
	resume_vcpus(vm);
	return ret;
}

/**
 * wisp_snapshot_dirty() - WISP_DIRTY
 * @vm: the VM
 * @gpas: gets the addresses
 * @room: in @gpas
 *
 * May sleep. Returns how many there are, -EINTR (a signal that kills) or -EINVAL
 * where there is no snapshot.
 */
s64 wisp_snapshot_dirty(struct wisp_vm *vm, u64 *gpas, u64 room)
{
	const struct wisp_memory *frozen;
	const struct wisp_slot *slot;
	struct wisp_vm *base;
	u64 count = 0, used;
	u32 i;

	CLASS(vm_lock, locked)(vm);
	if (!locked)
		return -EINTR;
	base = vm->base;
	if (!base)
		return -EINVAL;
	guard(rwsem_read)(&vm->slots_sem);
	for (i = 0; i < vm->nslots; i++) {
		if (fatal_signal_pending(current))
			return -EINTR;
		slot = vm->slots[i];
		used = min(count, room);
		frozen = find_memory(base->slots, base->nslots,
				     wisp_memory_id(slot->memory));
		count += wisp_memory_dirty(slot->memory, frozen,
					   &wisp_backend->format, slot->offset,
					   slot->size, slot->gpa, gpas + used,
					   room - used);
	}
	return count;
}
