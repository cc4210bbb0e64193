// SPDX-License-Identifier: GPL-2.0
/*
 * The vCPU: creation and state. run.c runs it.
 */
#include "vcpu.h"

#include <linux/cleanup.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <linux/smp.h>

#include <asm/debugreg.h>
#include <asm/msr.h>

#include "backend.h"
#include "budget.h"
#include "clock.h"
#include "compat.h"
#include "creator.h"
#include "ledger.h"
#include "snapshot.h"
#include "vm.h"
#include "window.h"

static_assert(sizeof(struct wisp_vcpu_page) == WISP_PAGE_SIZE);
static_assert(PAGE_SIZE == WISP_PAGE_SIZE);

/* Groups that the backend has a part of. */
#define BACKEND_GROUPS \
	(WISP_STATE_SEGMENTS | WISP_STATE_CONTROL | WISP_STATE_MSRS)

/* RFLAGS that no other register has a say in. */
#define FREE_FLAGS                                                        \
	(X86_EFLAGS_CF | X86_EFLAGS_PF | X86_EFLAGS_AF | X86_EFLAGS_ZF | \
	 X86_EFLAGS_SF | X86_EFLAGS_OF | X86_EFLAGS_DF | X86_EFLAGS_RF)

static atomic64_t last_id = ATOMIC64_INIT(0);

#ifdef CONFIG_WISP_DEBUG
static bool unchecked;
module_param(unchecked, bool, 0644);
MODULE_PARM_DESC(unchecked, "take any registers, for the hardware to refuse (test)");
#else
#define unchecked	false
#endif

/* Never waits for a guest. Returns 0, or -EBUSY: it runs, or its VM is paused. */
int wisp_vcpu_lock(struct wisp_vcpu *vcpu)
{
	if (!mutex_trylock(&vcpu->lock))
		return -EBUSY;
	/* Pairs with resume_vcpus(). */
	if (likely(!smp_load_acquire(&vcpu->vm->pause)))
		return 0;
	mutex_unlock(&vcpu->lock);
	return -EBUSY;
}

/* ---- state -------------------------------------------------------------- */

/**
 * wisp_vcpu_get_registers() - read register groups
 * @vcpu: its lock is held
 * @groups: WISP_STATE_*, without FPU
 * @regs: gets them; other groups are not touched
 */
void wisp_vcpu_get_registers(struct wisp_vcpu *vcpu, u32 groups,
			     struct wisp_registers *regs)
{
	if (groups & WISP_STATE_GENERAL)
		regs->general = vcpu->general;
	if (groups & BACKEND_GROUPS)
		wisp_backend->get_state(vcpu, groups, regs);
	if (groups & WISP_STATE_CONTROL) {
		regs->control.xcr0 = vcpu->xcr0;
		regs->control.reserved = 0;
	}
	if (groups & WISP_STATE_DEBUG)
		regs->debug = vcpu->debug;
	if (groups & WISP_STATE_MSRS) {
		regs->msrs.tsc = wisp_clock_at(vcpu, rdtsc()) + vcpu->tsc_offset;
		regs->msrs.tsc_aux = vcpu->tsc_aux;
		memset(regs->msrs.reserved, 0, sizeof(regs->msrs.reserved));
	}
	if (groups & WISP_STATE_EVENTS)
		regs->events = vcpu->events;
}

/* In @vcpu's scratch, where they stay until it is used again. */
const struct wisp_control *wisp_vcpu_get_control(struct wisp_vcpu *vcpu)
{
	wisp_vcpu_get_registers(vcpu, WISP_STATE_CONTROL, &vcpu->scratch);
	return &vcpu->scratch.control;
}

static void set_tsc_aux(struct wisp_vcpu *vcpu, u64 value)
{
	vcpu->tsc_aux = value;
	/* In its window the guest reads the register itself. */
	if (READ_ONCE(vcpu->running_cpu) >= 0 && wisp_host_has_tsc_aux())
		native_wrmsrq(MSR_TSC_AUX, value);
}

/**
 * wisp_vcpu_set_registers() - write register groups
 * @vcpu: its lock is held
 * @groups: WISP_STATE_*, without FPU
 * @regs: checked
 */
void wisp_vcpu_set_registers(struct wisp_vcpu *vcpu, u32 groups,
			     const struct wisp_registers *regs)
{
	if (groups & WISP_STATE_GENERAL)
		vcpu->general = regs->general;
	if (groups & BACKEND_GROUPS)
		wisp_backend->set_state(vcpu, groups, regs);
	if (groups & WISP_STATE_CONTROL) {
		vcpu->xcr0 = regs->control.xcr0;
		wisp_ledger_stale(vcpu);
		vcpu->tlb_stale |= !wisp_ledger_drops(WISP_NOTE_STATE);
	}
	if (groups & WISP_STATE_DEBUG) {
		vcpu->debug = regs->debug;
		vcpu->debug.dr6 |= DR6_RESERVED;
		vcpu->debug.dr7 = (regs->debug.dr7 & ~WISP_DR7_ZERO) | WISP_DR7_FIXED;
	}
	if (groups & WISP_STATE_MSRS) {
		vcpu->tsc_offset = regs->msrs.tsc - wisp_clock_at(vcpu, rdtsc());
		set_tsc_aux(vcpu, regs->msrs.tsc_aux);
	}
	if (groups & WISP_STATE_EVENTS) {
		vcpu->events = regs->events;
		vcpu->iret_window = vcpu->events.nmi_blocked;
	}
}

/* To kernel memory that others may write: what is read there decides nothing else. */
void wisp_vcpu_copy_state(struct wisp_vcpu *vcpu, u32 groups,
			  struct wisp_state *state)
{
	/* struct wisp_state begins as struct wisp_registers: see state.h. */
	if (vcpu->vm->frozen)
		memcpy(state, &vcpu->scratch, sizeof(vcpu->scratch));
	else
		wisp_vcpu_get_registers(vcpu, groups,
					(struct wisp_registers *)state);
	if (groups & WISP_STATE_FPU)
		wisp_fpu_get(&vcpu->fpu, state->xsave);
}

/* Whether registers are for another mode, maybe: then CS is to be looked at. */
static bool changes_mode(const struct wisp_vcpu *vcpu,
			 const struct wisp_general *general)
{
	return (general->rip ^ vcpu->general.rip) >> 32 ||
	       (general->rflags ^ vcpu->general.rflags) & X86_EFLAGS_VM;
}

/*
 * Whether what the other groups have to say of them is as it is: all but the
 * general-purpose registers, such flags and where RIP is within 4 GiB.
 */
static bool depends_on_none(const struct wisp_vcpu *vcpu,
			    const struct wisp_general *general)
{
	return !((general->rip ^ vcpu->general.rip) >> 32) &&
	       !((general->rflags ^ vcpu->general.rflags) & ~FREE_FLAGS);
}

/**
 * wisp_vcpu_check_state() - may the vCPU take these groups
 * @vcpu: its lock is held
 * @groups: WISP_STATE_*
 * @state: kernel memory that may change under us: the copy that is made in
 *	vcpu->scratch and xsave_head, next to what it must fit to, counts from
 *	here on
 *
 * Returns the WISP_FIELD() id of what is refused, or 0.
 */
u32 wisp_vcpu_check_state(struct wisp_vcpu *vcpu, u32 groups,
			  const struct wisp_state *state)
{
	struct wisp_xsave_head *head = &vcpu->xsave_head;
	struct wisp_registers *regs = &vcpu->scratch;
	const struct xregs_state *image = (const void *)state->xsave;
	u32 others = WISP_STATE_GENERAL | WISP_STATE_CONTROL | WISP_STATE_EVENTS;
	u32 judged = groups, field;

	if (groups & WISP_STATE_GENERAL)
		regs->general = state->general;
	barrier();
	if (groups == WISP_STATE_GENERAL && depends_on_none(vcpu, &regs->general))
		return 0;
	if (groups & WISP_STATE_CONTROL || (groups & WISP_STATE_GENERAL &&
					    changes_mode(vcpu, &regs->general)))
		judged |= WISP_STATE_SEGMENTS;
	/* Which exceptions there are depends on the mode. */
	if (judged & WISP_STATE_SEGMENTS)
		judged |= WISP_STATE_EVENTS;
	if (judged & WISP_STATE_EVENTS)
		others |= WISP_STATE_SEGMENTS;
	wisp_vcpu_get_registers(vcpu, others & ~groups, regs);
	if (groups & WISP_STATE_SEGMENTS)
		regs->segments = state->segments;
	if (groups & WISP_STATE_CONTROL)
		regs->control = state->control;
	if (groups & WISP_STATE_DEBUG)
		regs->debug = state->debug;
	if (groups & WISP_STATE_MSRS)
		regs->msrs = state->msrs;
	if (groups & WISP_STATE_EVENTS)
		regs->events = state->events;
	barrier();
	field = unchecked ? 0 : wisp_state_check(regs, judged);
	if (field || !(groups & WISP_STATE_FPU))
		return field;
	head->mxcsr = image->i387.mxcsr;
	head->header = image->header;
	barrier();
	return wisp_state_check_xsave(head);
}

/* What wisp_vcpu_check_state() let pass. */
void wisp_vcpu_load_state(struct wisp_vcpu *vcpu, u32 groups,
			  const struct wisp_state *state)
{
	wisp_vcpu_set_registers(vcpu, groups, &vcpu->scratch);
	if (groups & WISP_STATE_FPU)
		wisp_fpu_set(&vcpu->fpu, state->xsave, &vcpu->xsave_head);
}

/**
 * wisp_vcpu_get_state() - WISP_GET_STATE
 * @vcpu: of a VM that the caller has a file of
 * @groups: WISP_STATE_*
 * @state: kernel memory; gets the groups
 *
 * Returns 0, -EBUSY where the vCPU runs, or -ENOMEM.
 */
int wisp_vcpu_get_state(struct wisp_vcpu *vcpu, u32 groups,
			struct wisp_state *state)
{
	int ret = 0;

	/* Others look at a snapshot's, too, and nobody runs it. */
	if (vcpu->vm->frozen)
		mutex_lock(&vcpu->lock);
	else
		ret = wisp_vcpu_lock(vcpu);
	if (ret)
		return ret;
	ret = wisp_vcpu_populate(vcpu);
	if (!ret)
		wisp_vcpu_copy_state(vcpu, groups, state);
	mutex_unlock(&vcpu->lock);
	return ret;
}

/**
 * wisp_vcpu_set_state() - WISP_SET_STATE
 * @vcpu: of a VM that the caller has a file of
 * @groups: WISP_STATE_*
 * @state: kernel memory
 * @field: gets the WISP_FIELD() id of what is refused, or 0
 *
 * Takes all or nothing. Returns 0, -EBUSY (runs), -ENOMEM, -EINVAL or
 * -EOPNOTSUPP (see @field).
 */
int wisp_vcpu_set_state(struct wisp_vcpu *vcpu, u32 groups,
			const struct wisp_state *state, u32 *field)
{
	int ret = wisp_vcpu_lock(vcpu);

	*field = 0;
	if (ret)
		return ret;
	ret = wisp_vcpu_populate(vcpu);
	if (!ret)
		*field = wisp_vcpu_check_state(vcpu, groups, state);
	if (*field) {
		ret = wisp_state_errno(*field, &vcpu->scratch.events);
	} else if (!ret) {
		wisp_vcpu_load_state(vcpu, groups, state);
		vcpu->completion = WISP_COMPLETE_NOTHING;
	}
	mutex_unlock(&vcpu->lock);
	return ret;
}

/* ---- creation ----------------------------------------------------------- */

static int alloc_page_of(struct wisp_vcpu *vcpu)
{
	struct wisp_vm *vm = vcpu->vm;
	struct page *page;

	page = vm->window ?
		       wisp_window_take(vm->window, vm->window_first + vcpu->index) :
		       alloc_page(WISP_GFP | __GFP_ZERO);
	if (IS_ERR_OR_NULL(page))
		return page ? PTR_ERR(page) : -ENOMEM;
	vcpu->page = page_address(page);
	vcpu->page->size = sizeof(*vcpu->page);
	return 0;
}

static void free_vcpu(struct wisp_vcpu *vcpu)
{
	wisp_backend->vcpu_exit(vcpu);
	wisp_fpu_free(&vcpu->fpu);
	if (vcpu->vm->window)
		wisp_window_return(virt_to_page(vcpu->page));
	else
		free_page((unsigned long)vcpu->page);
	mutex_destroy(&vcpu->lock);
	kfree(vcpu);
}

static struct wisp_vcpu *alloc_vcpu(struct wisp_vm *vm, u32 index)
{
	struct wisp_vcpu *vcpu;
	int ret;

	vcpu = kzalloc(wisp_backend->vcpu_size, WISP_GFP);
	if (!vcpu)
		return ERR_PTR(-ENOMEM);
	vcpu->vm = vm;
	vcpu->index = index;
	vcpu->id = atomic64_inc_return(&last_id);
	vcpu->running_cpu = -1;
	mutex_init(&vcpu->lock);
	wisp_budget_init(vcpu);
	ret = vm->frozen ? wisp_fpu_alloc(&vcpu->fpu) : alloc_page_of(vcpu);
	if (!ret)
		return vcpu;
	kfree(vcpu);
	return ERR_PTR(ret);
}

/* As it was created: after INIT, with the TSC at 0 when the VM began. Its lock is held. */
void wisp_vcpu_reset(struct wisp_vcpu *vcpu)
{
	vcpu->completion = WISP_COMPLETE_NOTHING;
	wisp_fpu_reset(&vcpu->fpu);
	wisp_state_reset(&vcpu->scratch);
	wisp_vcpu_set_registers(vcpu, WISP_STATE_ALL & ~WISP_STATE_FPU,
				&vcpu->scratch);
	wisp_clock_begin(vcpu, 0);
}

/* With the registers that it has in @base, or else as after INIT. */
static int populate_from(struct wisp_vcpu *vcpu, struct wisp_vm *base)
{
	struct wisp_vcpu *from;

	if (wisp_slat_populate(&vcpu->vm->slat) ||
	    wisp_fpu_alloc(&vcpu->fpu) || wisp_backend->vcpu_init(vcpu))
		return -ENOMEM;
	from = base ? wisp_vm_find_vcpu(base, vcpu->index) : NULL;
	if (from)
		wisp_snapshot_load_vcpu(vcpu, from);
	else
		wisp_vcpu_reset(vcpu);
	vcpu->populated = true;
	return 0;
}

/**
 * wisp_vcpu_populate() - have what a vCPU needs to run, and its registers
 * @vcpu: its lock is held
 *
 * A fork's vCPUs get it when they are first used. May sleep. Returns 0 or
 * -ENOMEM.
 */
int wisp_vcpu_populate(struct wisp_vcpu *vcpu)
{
	if (likely(vcpu->populated || vcpu->vm->frozen))
		return 0;
	/* A reset would need the vCPU's lock: the base is the same meanwhile. */
	return populate_from(vcpu, vcpu->vm->base);
}

/**
 * wisp_vcpu_create() - add a vCPU to a VM
 * @vm: its lock is held, or nobody knows it yet
 * @index: below WISP_MAX_VCPUS
 * @populate: now, and not when it is first used
 *
 * May sleep. Returns 0, -EBUSY (another has its place in the window), -EDQUOT,
 * -EEXIST, -EINVAL (a deterministic VM has one) or -ENOMEM.
 */
int wisp_vcpu_create(struct wisp_vm *vm, u32 index, bool populate)
{
	struct wisp_vcpu *vcpu;
	int ret;

	if (vm->vcpus[index])
		return -EEXIST;
	if (vm->flags & WISP_VM_DETERMINISTIC && vm->vcpu_end)
		return -EINVAL;
	ret = wisp_creator_charge(vm->creator, WISP_COUNTED_VCPUS);
	if (ret)
		return ret;
	vcpu = alloc_vcpu(vm, index);
	ret = PTR_ERR_OR_ZERO(vcpu);
	if (!ret && populate)
		ret = populate_from(vcpu, NULL);
	if (ret) {
		if (!IS_ERR(vcpu))
			free_vcpu(vcpu);
		wisp_creator_uncharge(vm->creator, WISP_COUNTED_VCPUS);
		return ret;
	}
	WRITE_ONCE(vm->vcpu_end, max(vm->vcpu_end, index + 1));
	/* Others find it from here on, and find it whole. */
	smp_store_release(&vm->vcpus[index], vcpu);
	return 0;
}

/* The VM ends: nobody runs, kicks or maps the vCPU any more. */
void wisp_vcpu_destroy(struct wisp_vcpu *vcpu)
{
	wisp_budget_exit(vcpu);
	wisp_creator_uncharge(vcpu->vm->creator, WISP_COUNTED_VCPUS);
	free_vcpu(vcpu);
}

static void ack(void *unused)
{
}

/*
 * Has the runner, if there is one, see what was written before; with @wait it has left
 * the guest when this returns. Interrupts on.
 */
void wisp_vcpu_interrupt(struct wisp_vcpu *vcpu, bool wait)
{
	int cpu;

	/* The runner publishes its CPU, then looks, in run_window(). */
	smp_mb();
	cpu = READ_ONCE(vcpu->running_cpu);
	if (cpu >= 0)
		smp_call_function_single(cpu, ack, NULL, wait);
}

/**
 * wisp_vcpu_kick() - end the run that is on, or the next one
 * @vcpu: of a VM that the caller has a file of
 *
 * From any thread. Interrupts on.
 */
void wisp_vcpu_kick(struct wisp_vcpu *vcpu)
{
	atomic_set(&vcpu->kicked, 1);
	wisp_vcpu_interrupt(vcpu, false);
}
