// SPDX-License-Identifier: GPL-2.0
/*
 * The VM: its slots, and the faults on them.
 */
#include "vm.h"

#include <linux/cleanup.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uio.h>

#include <asm/msr.h>
#include <asm/tsc.h>

#include "backend.h"
#include "budget.h"
#include "compat.h"
#include "creator.h"
#include "ledger.h"
#include "memory.h"
#include "policy.h"
#include "window.h"

/*
 * When this returns, no vCPU runs on translations from before. A runner
 * publishes its CPU, then reads the generation; here it is the other way round.
 */
static void revoke(struct wisp_vm *vm, enum wisp_revoke_reason reason)
{
	struct wisp_vcpu *vcpu;
	u32 index;

	wisp_ledger_revoke(&vm->slat, reason);
	wisp_vm_for_each_vcpu(vm, index, vcpu)
		wisp_vcpu_interrupt(vcpu, true);
}

static atomic64_t last_lineage = ATOMIC64_INIT(0);

/* With the VM's slots_sem or a memory object's lock. */
static void revoke_slat(struct wisp_slat *slat)
{
	revoke(container_of(slat, struct wisp_vm, slat), WISP_REVOKE_TABLE);
}

/**
 * wisp_vm_create() - make a VM without slots and vCPUs
 * @flags: WISP_VM_*
 * @window: where its vCPUs have their shared pages, or NULL
 * @first: the index in @window of the first of these pages
 *
 * May sleep. Returns it, or ERR_PTR of -EDQUOT or -ENOMEM.
 */
struct wisp_vm *wisp_vm_create(u32 flags, struct wisp_window *window, u64 first)
{
	struct wisp_vm *vm;
	int ret;

	vm = kzalloc(sizeof(*vm), WISP_GFP);
	if (!vm)
		return ERR_PTR(-ENOMEM);
	mutex_init(&vm->lock);
	init_rwsem(&vm->slots_sem);
	refcount_set(&vm->refs, 1);
	vm->tsc_origin = rdtsc();
	vm->flags = flags;
	vm->lineage = atomic64_inc_return(&last_lineage);
	vm->marks_dirty = true;
	wisp_slat_init(&vm->slat, &wisp_backend->format, revoke_slat);

	vm->creator = wisp_creator_get();
	if (IS_ERR(vm->creator)) {
		ret = PTR_ERR(vm->creator);
		goto err_free;
	}
	ret = wisp_creator_charge(vm->creator, WISP_COUNTED_VMS);
	if (ret)
		goto err_creator;
	if (window)
		vm->window = wisp_window_get(window);
	vm->window_first = first;
	return vm;

err_creator:
	wisp_creator_put(vm->creator);
err_free:
	kfree(vm);
	return ERR_PTR(ret);
}

/* What is limited is counted from here on; nobody runs. */
void wisp_vm_restart_limits(struct wisp_vm *vm)
{
	atomic64_set(&vm->pages_left, vm->max_pages);
	atomic64_set(&vm->run_time, 0);
}

/**
 * wisp_vm_limit() - set limits
 * @vm: nobody else knows it yet
 * @max_pages: allocated for its accesses; 0: as it is
 * @max_run_time_ns: of all vCPUs; 0: as it is
 *
 * Returns 0 or -EINVAL.
 */
int wisp_vm_limit(struct wisp_vm *vm, u64 max_pages, u64 max_run_time_ns)
{
	if (max_run_time_ns && vm->flags & WISP_VM_DETERMINISTIC)
		return -EINVAL;
	if (max_pages)
		vm->max_pages = min_t(u64, max_pages, S64_MAX);
	if (max_run_time_ns)
		vm->max_run_time = wisp_budget_ticks(max_run_time_ns);
	wisp_vm_restart_limits(vm);
	return 0;
}

struct wisp_vm *wisp_vm_get(struct wisp_vm *vm)
{
	refcount_inc(&vm->refs);
	return vm;
}

static void destroy(struct wisp_vm *vm)
{
	struct wisp_vcpu *vcpu;
	u32 index;
	unsigned int i;

	for (i = 0; i < vm->nslots; i++) {
		wisp_memory_detach(vm->slots[i]->memory, &vm->slots[i]->user);
		cond_resched();
	}
	wisp_vm_for_each_vcpu(vm, index, vcpu)
		wisp_vcpu_destroy(vcpu);
	wisp_slat_exit(&vm->slat);
	for (i = 0; i < vm->nslots; i++)
		wisp_slot_free(vm->slots[i]);
	kfree(vm->slots);
	wisp_protections_drop(&vm->protections);
	wisp_policy_put(vm->cpuid);
	wisp_policy_put(vm->msrs);
	wisp_vm_put(vm->base);
	wisp_window_put(vm->window);
	wisp_creator_uncharge(vm->creator, WISP_COUNTED_VMS);
	wisp_creator_put(vm->creator);
	mutex_destroy(&vm->lock);
	kfree(vm);
}

/* Nothing of it is in use where this was the last reference. May sleep. */
void wisp_vm_put(struct wisp_vm *vm)
{
	if (vm && refcount_dec_and_test(&vm->refs))
		destroy(vm);
}

void wisp_slot_free(struct wisp_slot *slot)
{
	wisp_memory_put(slot->memory);
	kfree(slot);
}

/* The first slot that ends behind @gpa, or nslots. */
static unsigned int slot_after(const struct wisp_vm *vm, u64 gpa)
{
	unsigned int low = 0, high = vm->nslots, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (gpa - vm->slots[middle]->gpa < vm->slots[middle]->size ||
		    gpa < vm->slots[middle]->gpa)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static const struct wisp_slot *find_slot(const struct wisp_vm *vm, u64 gpa)
{
	unsigned int i = slot_after(vm, gpa);

	lockdep_assert_held(&vm->slots_sem);
	return i < vm->nslots && gpa >= vm->slots[i]->gpa ? vm->slots[i] : NULL;
}

/* Where in vm->slots slot @number is, or -ENOENT. */
static int find_number(const struct wisp_vm *vm, u32 number)
{
	unsigned int i;

	for (i = 0; i < vm->nslots; i++)
		if (vm->slots[i]->number == number)
			return i;
	return -ENOENT;
}

/*
 * The memory object takes pages back: out of this slot's part of the tables.
 * Where nothing is mapped any more, whoever unmapped it may still be about to
 * revoke: the pages are not to be freed before that.
 */
static void revoke_slot(struct wisp_memory_user *user, u64 offset, u64 size)
{
	struct wisp_slot *slot = container_of(user, struct wisp_slot, user);
	u64 first = max(offset, slot->offset);
	u64 end = min(offset + size, slot->offset + slot->size);

	if (first >= end)
		return;
	wisp_slat_unmap(&slot->vm->slat, slot->gpa + first - slot->offset,
			end - first, NULL);
	revoke(slot->vm, WISP_REVOKE_MEMORY);
}

/* @slot is known to its memory object from now on. Returns 0 or -EBUSY. */
int wisp_slot_attach(struct wisp_vm *vm, struct wisp_slot *slot)
{
	slot->vm = vm;
	slot->user = (struct wisp_memory_user){
		.owner = vm,
		.writes = slot->prot & WISP_PROT_WRITE,
		.revoke = revoke_slot,
	};
	return wisp_memory_attach(slot->memory, &slot->user);
}

/*
 * Of one that was never in a list of slots: nothing of it is mapped, and what the tables
 * have there is another's.
 */
void wisp_slot_drop(struct wisp_slot *slot)
{
	wisp_memory_unlist(slot->memory, &slot->user);
	wisp_slot_free(slot);
}

/* Takes @slot out of the tables and frees it; it is in no list of slots. */
void wisp_slot_detach(struct wisp_slot *slot)
{
	struct wisp_vm *vm = slot->vm;
	struct page *freed = NULL;

	wisp_slat_unmap(&vm->slat, slot->gpa, slot->size, &freed);
	/* Even if nothing was mapped: whoever unmapped it may still be at it. */
	revoke(vm, WISP_REVOKE_SLOT);
	/* Until here the object must tell when it takes pages back, and may read entries. */
	wisp_memory_detach(slot->memory, &slot->user);
	wisp_slat_free(&vm->slat, freed);
	wisp_slot_free(slot);
}

static void take_slot(struct wisp_vm *vm, unsigned int i)
{
	struct wisp_slot *slot = vm->slots[i];

	lockdep_assert_held_write(&vm->slots_sem);
	vm->nslots--;
	memmove(&vm->slots[i], &vm->slots[i + 1],
		(vm->nslots - i) * sizeof(*vm->slots));
	wisp_slot_detach(slot);
}

/*
 * Whether @slot goes with those that stay. Returns 0; -EEXIST: one is in its range; or
 * -EBUSY: one shows another object that was forked from the same one as @slot's, and a
 * snapshot would take the one for the other.
 */
static int check_slot(const struct wisp_vm *vm, const struct wisp_slot *slot)
{
	const struct wisp_slot *other;
	unsigned int i;
	int ret = 0;

	for (i = 0; i < vm->nslots; i++) {
		other = vm->slots[i];
		if (other->number == slot->number)
			continue;
		if (other->gpa < slot->gpa + slot->size &&
		    slot->gpa < other->gpa + other->size)
			return -EEXIST;
		if (other->memory != slot->memory &&
		    wisp_memory_id(other->memory) == wisp_memory_id(slot->memory))
			ret = -EBUSY;
	}
	return ret;
}

static int check_range(const struct wisp_protect_range *range)
{
	u64 limit = 1ULL << wisp_backend->gpa_bits;

	if (range->prot & ~PROT_ALL)
		return -EOPNOTSUPP;
	if ((range->prot && !(range->prot & WISP_PROT_READ)) || range->reserved ||
	    !range->range_size || !PAGE_ALIGNED(range->gpa | range->range_size) ||
	    range->range_size > limit || range->gpa > limit - range->range_size)
		return -EINVAL;
	return 0;
}

/**
 * wisp_vm_protect() - WISP_PROTECT
 * @vm: the VM
 * @ranges: in kernel memory
 * @count: of them
 *
 * May sleep. Returns 0, -EINTR (by a signal that kills), -EINVAL, -ENOMEM, -ENOSPC
 * (too many) or -EOPNOTSUPP.
 */
int wisp_vm_protect(struct wisp_vm *vm, const struct wisp_protect_range *ranges,
		    u32 count)
{
	int ret = 0;
	u32 i;

	for (i = 0; i < count && !ret; i++)
		ret = check_range(&ranges[i]);
	if (ret)
		return ret;
	guard(rwsem_write)(&vm->slots_sem);
	vm->changed = true;
	for (i = 0; i < count && !ret; i++) {
		ret = wisp_protections_set(&vm->protections,
					   ranges[i].gpa >> PAGE_SHIFT,
					   (ranges[i].gpa + ranges[i].range_size - 1) >>
						   PAGE_SHIFT,
					   ranges[i].prot);
		wisp_slat_unmap(&vm->slat, ranges[i].gpa, ranges[i].range_size,
				NULL);
		if (!ret && fatal_signal_pending(current))
			ret = -EINTR;
		cond_resched();
	}
	/* Even if nothing was mapped: whoever unmapped it may still be at it. */
	revoke(vm, WISP_REVOKE_PROTECT);
	return ret;
}

/* For one more. */
static int make_room(struct wisp_vm *vm)
{
	struct wisp_slot **slots = krealloc_array(vm->slots, vm->nslots + 1,
						  sizeof(*slots), WISP_GFP);

	if (!slots)
		return -ENOMEM;
	vm->slots = slots;
	return 0;
}

/**
 * wisp_vm_set_slot() - add a slot, or put it in its number's place
 * @vm: the VM
 * @slot: checked against its memory object and gpa_bits; the VM's from now on,
 *	freed on failure
 *
 * May sleep. Returns 0, -EBUSY (another VM writes the layered object, or another
 * slot has a fork of it), -EEXIST (overlaps another) or -ENOMEM.
 */
int wisp_vm_set_slot(struct wisp_vm *vm, struct wisp_slot *slot)
{
	unsigned int at;
	int old, ret;

	guard(rwsem_write)(&vm->slots_sem);
	ret = check_slot(vm, slot) ?: make_room(vm);
	if (!ret)
		ret = wisp_slot_attach(vm, slot);
	if (ret) {
		wisp_slot_free(slot);
		return ret;
	}
	vm->changed = true;
	old = find_number(vm, slot->number);
	if (old >= 0)
		take_slot(vm, old);
	at = slot_after(vm, slot->gpa);
	memmove(&vm->slots[at + 1], &vm->slots[at],
		(vm->nslots - at) * sizeof(*vm->slots));
	vm->slots[at] = slot;
	vm->nslots++;
	return 0;
}

/* May sleep. Returns 0, or -ENOENT where there is no such slot. */
int wisp_vm_remove_slot(struct wisp_vm *vm, u32 number)
{
	int i;

	guard(rwsem_write)(&vm->slots_sem);
	i = find_number(vm, number);
	if (i < 0)
		return i;
	vm->changed = true;
	take_slot(vm, i);
	return 0;
}

/**
 * wisp_vm_slot_memory() - the memory object that a slot shows
 * @vm: the VM
 * @number: of the slot
 *
 * Returns it with a reference, or ERR_PTR of -ENOENT or -EPERM: there is more in
 * the object than who has the VM can write anyway.
 */
struct wisp_memory *wisp_vm_slot_memory(struct wisp_vm *vm, u64 number)
{
	const struct wisp_slot *slot;
	int i;

	if (number >= WISP_MAX_SLOTS)
		return ERR_PTR(-ENOENT);
	guard(rwsem_read)(&vm->slots_sem);
	i = find_number(vm, number);
	if (i < 0)
		return ERR_PTR(i);
	slot = vm->slots[i];
	if (slot->offset || slot->size != wisp_memory_size(slot->memory) ||
	    !(slot->prot & WISP_PROT_WRITE))
		return ERR_PTR(-EPERM);
	return wisp_memory_get(slot->memory);
}

struct map {
	struct wisp_vm *vm;
	u64 gpa;
	u32 prot;
	bool huge;
	bool ahead;		/* only what may be written at once */
};

/* Whether the 2 MiB round @gpa are in the slot, and in step with its object. */
static bool huge_fits(const struct wisp_slot *slot, u64 gpa)
{
	u64 first = gpa & PMD_MASK;

	return first >= slot->gpa &&
	       first + PMD_SIZE <= slot->gpa + slot->size &&
	       !((slot->offset - slot->gpa) & ~PMD_MASK);
}

static int map_page(void *arg, const struct wisp_memory_page *page)
{
	struct map *map = arg;
	u32 prot = page->writable ? map->prot : map->prot & ~WISP_PROT_WRITE;
	u64 pfn = page_to_pfn(page->page);
	u64 mask = PMD_SIZE / PAGE_SIZE - 1;
	int ret = -EEXIST;
	u64 *leaf;

	if (map->ahead && !page->writable)
		return -ENOENT;
	/* What the entry knew that was emptied since. */
	if (page->private && page->private->leaf)
		page->private->written |= wisp_slat_dirty(map->vm->slat.format,
							  page->private->leaf);
	if (page->huge && map->huge)
		ret = wisp_slat_map(&map->vm->slat, map->gpa & PMD_MASK,
				    pfn & ~mask, prot, true, &leaf);
	if (ret == -EEXIST)
		ret = wisp_slat_map(&map->vm->slat, map->gpa, pfn, prot, false,
				    &leaf);
	if (!ret && page->private) {
		/* Two leaves: one of them is always unseen. */
		if (!map->vm->marks_dirty ||
		    (page->private->leaf && page->private->leaf != leaf))
			page->private->shown = true;
		page->private->leaf = leaf;
	}
	return ret == -EEXIST ? 0 : ret;
}

/* Narrows @map by what protects its page; a protection is for 4 KiB leaves. */
static void apply_protection(struct wisp_vm *vm, struct map *map)
{
	u64 first = (map->gpa & PMD_MASK) >> PAGE_SHIFT;

	if (!vm->protections.count)
		return;
	map->prot &= wisp_protections_prot(&vm->protections, map->gpa >> PAGE_SHIFT);
	if (wisp_protections_any(&vm->protections, first,
				 first + PMD_SIZE / PAGE_SIZE - 1))
		map->huge = false;
}

/* -EAGAIN: @memory, with a reference, is to be asked for the page at @index. */
static int map_fault(struct wisp_vm *vm, struct wisp_exit *exit, bool ahead,
		     struct wisp_memory **memory, pgoff_t *index)
{
	struct map map = {
		.vm = vm, .gpa = exit->memory.gpa & PAGE_MASK, .ahead = ahead,
	};
	const struct wisp_slot *slot;
	int ret;

	guard(rwsem_read)(&vm->slots_sem);
	slot = find_slot(vm, map.gpa);
	if (!slot)
		return -EFAULT;
	map.prot = slot->prot;
	map.huge = huge_fits(slot, map.gpa);
	apply_protection(vm, &map);
	if (exit->memory.access & ~map.prot) {
		exit->memory.flags |= exit->memory.access & ~slot->prot ?
					      WISP_MEMORY_SLOT :
					      WISP_MEMORY_PROTECTED;
		if (!(map.prot & WISP_PROT_READ))
			exit->memory.flags |= WISP_MEMORY_UNREADABLE;
		return -EFAULT;
	}
	*index = (slot->offset + map.gpa - slot->gpa) >> PAGE_SHIFT;
	ret = wisp_memory_use(slot->memory, *index,
			      exit->memory.access & WISP_PROT_WRITE,
			      vm->max_pages ? &vm->pages_left : NULL, map_page,
			      &map);
	if (ret == -EAGAIN)
		*memory = wisp_memory_get(slot->memory);
	return ret;
}

/*
 * Who goes through memory page by page, as a guest that boots, gets the pages ahead
 * at the same exit: twice as many each time, so that no more are in vain than were
 * touched. None that is yet to become a VM's own in a layered object.
 */
static void map_ahead(struct wisp_vm *vm, u64 gpa, struct wisp_ahead *ahead)
{
	bool goes_on = gpa == ahead->gpa && !vm->max_pages;
	unsigned int i;

	ahead->pages = goes_on ? min(2 * ahead->pages + 1, WISP_AHEAD_MAX) : 0;
	ahead->gpa = gpa + (ahead->pages + 1) * PAGE_SIZE;
	for (i = 1; i <= ahead->pages; i++) {
		struct wisp_exit exit = {
			.memory.gpa = gpa + i * PAGE_SIZE,
			.memory.access = WISP_PROT_READ,
		};
		struct wisp_memory *memory;
		pgoff_t index;
		int ret = map_fault(vm, &exit, true, &memory, &index);

		if (ret == -EAGAIN)
			wisp_memory_put(memory);
		if (ret)
			break;
	}
}

/**
 * wisp_vm_fault() - a vCPU touched guest-physical memory that is not mapped
 * @vm: the VM
 * @exit: memory.gpa and memory.access as the hardware has them; WISP_MEMORY_SLOT,
 *	PROTECTED, UNREADABLE or IO is added where it applies
 * @ahead: the vCPU's
 *
 * May sleep. Returns 0 (go on), -EDQUOT (the VM's limit), -EFAULT (outside the
 * slots or against their protection), -EINTR (by a signal that kills), -EIO or
 * -ENOMEM.
 */
int wisp_vm_fault(struct wisp_vm *vm, struct wisp_exit *exit,
		  struct wisp_ahead *ahead)
{
	struct wisp_memory *memory;
	pgoff_t index;
	int ret;

	while ((ret = map_fault(vm, exit, false, &memory, &index)) == -EAGAIN) {
		ret = wisp_memory_fetch(memory, index);
		wisp_memory_put(memory);
		if (ret)
			break;
	}
	if (!ret)
		map_ahead(vm, exit->memory.gpa & PAGE_MASK, ahead);
	if (ret == -EIO)
		exit->memory.flags |= WISP_MEMORY_IO;
	return ret;
}

/*
 * As much of @iter as lies in the slot at @gpa and can be had without a wait: that is
 * for when the semaphore is let go, and then the slot may be another. Returns 0 after
 * a wait.
 */
static ssize_t rw_slot(struct wisp_vm *vm, u64 gpa, struct iov_iter *iter)
{
	bool write = iov_iter_rw(iter) == WRITE;
	size_t rest = iov_iter_count(iter);
	const struct wisp_slot *slot;
	struct wisp_memory *memory;
	u64 offset;
	ssize_t n;

	scoped_guard(rwsem_read, &vm->slots_sem) {
		slot = find_slot(vm, gpa);
		if (!slot || (write && !(slot->prot & WISP_PROT_WRITE)))
			return -EFAULT;
		offset = slot->offset + gpa - slot->gpa;
		iov_iter_truncate(iter, slot->gpa + slot->size - gpa);
		n = wisp_memory_copy(slot->memory, offset, iter);
		iov_iter_reexpand(iter, rest - max_t(ssize_t, n, 0));
		if (n > 0)
			return n;
		memory = wisp_memory_get(slot->memory);
	}
	n = wisp_memory_wait(memory, offset, iter, n);
	wisp_memory_put(memory);
	return n;
}

/**
 * wisp_vm_rw() - copy out of guest-physical memory, or in
 * @vm: the VM
 * @gpa: where it begins
 * @iter: the other side, which says which way
 *
 * A slot without WISP_PROT_WRITE is not written: a VMM that completes a guest's access
 * gets no further than the guest would. Who fills such memory writes through its own
 * fd. May sleep. Returns bytes copied up to the first address outside the slots,
 * or -EFAULT where that is @gpa itself, or what wisp_memory_wait() gives.
 */
ssize_t wisp_vm_rw(struct wisp_vm *vm, u64 gpa, struct iov_iter *iter)
{
	ssize_t total = 0, n;

	while (iov_iter_count(iter)) {
		n = rw_slot(vm, gpa + total, iter);
		if (n < 0)
			return total ?: n;
		total += n;
		if (fatal_signal_pending(current))
			break;
	}
	return total;
}

/**
 * wisp_vm_mmap() - map vCPUs' shared pages into a process
 * @vm: the VM
 * @vma: shared; its pages are those of the vCPUs with these indices
 *
 * They are few and there already, so that no fault is needed. Returns 0, -EINVAL
 * (or they are in a window) or -ENOMEM.
 */
int wisp_vm_mmap(struct wisp_vm *vm, struct vm_area_struct *vma)
{
	struct wisp_vcpu *vcpu;
	unsigned long i;
	int ret = 0;

	if (!(vma->vm_flags & VM_SHARED) || vm->window)
		return -EINVAL;
	vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP);
	for (i = 0; !ret && i < vma_pages(vma); i++) {
		vcpu = wisp_vm_find_vcpu(vm, vma->vm_pgoff + i);
		if (!vcpu)
			return -EINVAL;
		ret = vm_insert_page(vma, vma->vm_start + i * PAGE_SIZE,
				     virt_to_page(vcpu->page));
	}
	return ret;
}

/* Sums up; a vCPU that runs is read as it stands. */
void wisp_vm_stats(struct wisp_vm *vm, struct wisp_stats *stats)
{
	struct wisp_vcpu *vcpu;
	u32 index;
	unsigned int i;
	u64 run_time = 0;

	scoped_guard(rwsem_read, &vm->slots_sem)
		stats->slots = vm->nslots;
	wisp_vm_for_each_vcpu(vm, index, vcpu) {
		stats->vcpus++;
		run_time += READ_ONCE(vcpu->run_time);
		stats->entries += READ_ONCE(vcpu->stats.entries);
		stats->host_exits += READ_ONCE(vcpu->stats.host_exits);
		stats->faults += READ_ONCE(vcpu->stats.faults);
		stats->injections += READ_ONCE(vcpu->stats.injections);
		for (i = 0; i < ARRAY_SIZE(vcpu->stats.exits); i++)
			stats->exits[i] += READ_ONCE(vcpu->stats.exits[i]);
	}
	stats->run_time_ns = mul_u64_u32_div(run_time, 1000000, tsc_khz);
}
