// SPDX-License-Identifier: GPL-2.0
/*
 * The vCPU: creation, state, and the run loop.
 *
 * A run is a sequence of windows. In a window interrupts are off, the FPU and
 * the registers that both sides use are the guest's, and exits that the driver
 * can answer are answered on the spot. Everything that may sleep, and every
 * interrupt for the host, comes between two windows.
 */
#include "vcpu.h"

#include <linux/cleanup.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <asm/debugreg.h>
#include <asm/fpu/api.h>
#include <asm/msr.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "backend.h"
#include "budget.h"
#include "compat.h"
#include "cpuid.h"
#include "event.h"
#include "hw.h"
#include "ledger.h"
#include "msr.h"

static_assert(sizeof(struct wisp_vcpu_page) == WISP_PAGE_SIZE);
static_assert(PAGE_SIZE == WISP_PAGE_SIZE);

/* Groups that the backend has a part of. */
#define BACKEND_GROUPS \
	(WISP_STATE_SEGMENTS | WISP_STATE_CONTROL | WISP_STATE_MSRS)

/* What the run loop does after an exit. */
enum next {
	NEXT_ENTER,	/* enter again, in the same window */
	NEXT_WINDOW,	/* close the window, see what the host wants, go on */
	NEXT_FAULT,	/* close the window and handle exit.memory */
	NEXT_EXIT,	/* the run ends with vcpu->exit */
};

static atomic64_t last_id = ATOMIC64_INIT(0);

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
		regs->msrs.tsc = rdtsc() + vcpu->tsc_offset;
		regs->msrs.tsc_aux = vcpu->tsc_aux;
		memset(regs->msrs.reserved, 0, sizeof(regs->msrs.reserved));
	}
	if (groups & WISP_STATE_EVENTS)
		regs->events = vcpu->events;
}

static void set_tsc_aux(struct wisp_vcpu *vcpu, u64 value)
{
	vcpu->tsc_aux = value;
	/* In its window the guest reads the register itself. */
	if (READ_ONCE(vcpu->running_cpu) >= 0)
		wrmsrq(MSR_TSC_AUX, value);
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
	if (groups & WISP_STATE_CONTROL)
		vcpu->xcr0 = regs->control.xcr0;
	if (groups & WISP_STATE_DEBUG) {
		vcpu->debug = regs->debug;
		vcpu->debug.dr6 |= DR6_RESERVED;
		vcpu->debug.dr7 = (vcpu->debug.dr7 & ~0xd800ULL) | 0x400;
	}
	if (groups & WISP_STATE_MSRS) {
		vcpu->tsc_offset = regs->msrs.tsc - rdtsc();
		set_tsc_aux(vcpu, regs->msrs.tsc_aux);
	}
	if (groups & WISP_STATE_EVENTS) {
		vcpu->events = regs->events;
		vcpu->iret = false;
		wisp_backend->set_nmi_window(vcpu, vcpu->events.nmi_blocked);
	}
}

static void get_state(struct wisp_vcpu *vcpu, u32 groups,
		      struct wisp_state *state)
{
	/* struct wisp_state begins as struct wisp_registers: see state.h. */
	wisp_vcpu_get_registers(vcpu, groups, (struct wisp_registers *)state);
	if (groups & WISP_STATE_FPU)
		wisp_fpu_get(&vcpu->fpu, state->xsave);
}

/*
 * The groups of @state into scratch, next to what they must fit to. @state may
 * change under us: from here on the copy counts.
 */
static u32 check_state(struct wisp_vcpu *vcpu, u32 groups,
		       const struct wisp_state *state,
		       struct wisp_xsave_head *head)
{
	struct wisp_registers *regs = &vcpu->scratch;
	const struct xregs_state *image = (const void *)state->xsave;
	u32 field;

	wisp_vcpu_get_registers(vcpu, WISP_STATE_CHECKED & ~groups, regs);
	if (groups & WISP_STATE_GENERAL)
		regs->general = state->general;
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
	field = wisp_state_check(regs, groups);
	if (field || !(groups & WISP_STATE_FPU))
		return field;
	head->mxcsr = image->i387.mxcsr;
	head->header = image->header;
	barrier();
	return wisp_state_check_xsave(head);
}

/* What check_state() let pass. */
static void load_state(struct wisp_vcpu *vcpu, u32 groups,
		       const struct wisp_state *state,
		       const struct wisp_xsave_head *head)
{
	wisp_vcpu_set_registers(vcpu, groups, &vcpu->scratch);
	if (groups & WISP_STATE_FPU)
		wisp_fpu_set(&vcpu->fpu, state->xsave, head);
}

/**
 * wisp_vcpu_get_state() - WISP_GET_STATE
 * @vcpu: of a VM that the caller has a file of
 * @groups: WISP_STATE_*
 * @state: kernel memory; gets the groups
 *
 * Returns 0, or -EBUSY where the vCPU runs.
 */
int wisp_vcpu_get_state(struct wisp_vcpu *vcpu, u32 groups,
			struct wisp_state *state)
{
	if (!mutex_trylock(&vcpu->lock))
		return -EBUSY;
	get_state(vcpu, groups, state);
	mutex_unlock(&vcpu->lock);
	return 0;
}

/**
 * wisp_vcpu_set_state() - WISP_SET_STATE
 * @vcpu: of a VM that the caller has a file of
 * @groups: WISP_STATE_*
 * @state: kernel memory
 * @field: gets the WISP_FIELD() id of what is refused, or 0
 *
 * Takes all or nothing. Returns 0, -EBUSY (runs), -EINVAL or -EOPNOTSUPP (see
 * @field).
 */
int wisp_vcpu_set_state(struct wisp_vcpu *vcpu, u32 groups,
			const struct wisp_state *state, u32 *field)
{
	struct wisp_xsave_head head;
	int ret = 0;

	*field = 0;
	if (!mutex_trylock(&vcpu->lock))
		return -EBUSY;
	*field = check_state(vcpu, groups, state, &head);
	if (*field) {
		ret = wisp_state_errno(*field, &vcpu->scratch.events);
	} else {
		load_state(vcpu, groups, state, &head);
		vcpu->completion = WISP_COMPLETE_NOTHING;
	}
	mutex_unlock(&vcpu->lock);
	return ret;
}

/* ---- creation ----------------------------------------------------------- */

static void free_vcpu(struct wisp_vcpu *vcpu)
{
	wisp_backend->vcpu_exit(vcpu);
	wisp_fpu_free(&vcpu->fpu);
	free_page((unsigned long)vcpu->page);
	mutex_destroy(&vcpu->lock);
	kfree(vcpu);
}

static struct wisp_vcpu *alloc_vcpu(struct wisp_vm *vm, u32 index)
{
	struct wisp_vcpu *vcpu;

	vcpu = kzalloc(wisp_backend->vcpu_size, GFP_KERNEL_ACCOUNT);
	if (!vcpu)
		return NULL;
	vcpu->vm = vm;
	vcpu->index = index;
	vcpu->id = atomic64_inc_return(&last_id);
	vcpu->running_cpu = -1;
	vcpu->timer_cpu = -1;
	mutex_init(&vcpu->lock);
	wisp_budget_init(vcpu);

	vcpu->page = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!vcpu->page || wisp_fpu_alloc(&vcpu->fpu) ||
	    wisp_backend->vcpu_init(vcpu)) {
		free_vcpu(vcpu);
		return NULL;
	}
	vcpu->page->size = sizeof(*vcpu->page);
	wisp_state_reset(&vcpu->scratch);
	wisp_vcpu_set_registers(vcpu, WISP_STATE_ALL & ~WISP_STATE_FPU,
				&vcpu->scratch);
	return vcpu;
}

/**
 * wisp_vcpu_create() - add a vCPU to a VM
 * @vm: the VM
 * @index: below WISP_MAX_VCPUS
 *
 * May sleep. Returns 0, -EEXIST or -ENOMEM.
 */
int wisp_vcpu_create(struct wisp_vm *vm, u32 index)
{
	struct wisp_vcpu *vcpu;
	int ret;

	guard(mutex)(&vm->lock);
	if (xa_load(&vm->vcpus, index))
		return -EEXIST;
	vcpu = alloc_vcpu(vm, index);
	if (!vcpu)
		return -ENOMEM;
	ret = xa_insert(&vm->vcpus, index, vcpu, GFP_KERNEL_ACCOUNT);
	if (ret)
		free_vcpu(vcpu);
	return ret;
}

/* The VM ends: nobody runs, kicks or maps the vCPU any more. */
void wisp_vcpu_destroy(struct wisp_vcpu *vcpu)
{
	wisp_budget_exit(vcpu);
	free_vcpu(vcpu);
}

static void ack(void *unused)
{
}

/**
 * wisp_vcpu_kick() - end the run that is on, or the next one
 * @vcpu: of a VM that the caller has a file of
 *
 * From any thread. Interrupts on.
 */
void wisp_vcpu_kick(struct wisp_vcpu *vcpu)
{
	int cpu;

	atomic_set(&vcpu->kicked, 1);
	/* The runner publishes its CPU, then looks at @kicked. */
	smp_mb__after_atomic();
	cpu = READ_ONCE(vcpu->running_cpu);
	if (cpu >= 0)
		smp_call_function_single(cpu, ack, NULL, false);
}

/* ---- handling exits, in the window --------------------------------------- */

/**
 * wisp_vcpu_advance() - go on behind the instruction that exited
 * @vcpu: exit.inst_len is that instruction's
 *
 * As the hardware does when an instruction ends: no interrupt shadow remains,
 * and a single step is reported.
 */
void wisp_vcpu_advance(struct wisp_vcpu *vcpu)
{
	vcpu->general.rip += vcpu->exit.inst_len;
	vcpu->events.interrupt_shadow = 0;
	if (vcpu->general.rflags & X86_EFLAGS_TF) {
		vcpu->debug.dr6 |= DR_STEP;
		wisp_event_raise(vcpu, X86_TRAP_DB);
	}
}

static enum next skip(struct wisp_vcpu *vcpu)
{
	wisp_vcpu_advance(vcpu);
	return NEXT_ENTER;
}

static enum next deny(struct wisp_vcpu *vcpu)
{
	wisp_event_raise_error(vcpu, X86_TRAP_GP, 0);
	return NEXT_ENTER;
}

static enum next exit_completable(struct wisp_vcpu *vcpu,
				  enum wisp_completion completion)
{
	vcpu->completion = completion;
	return NEXT_EXIT;
}

static enum next handle_port(struct wisp_vcpu *vcpu)
{
	u32 flags = vcpu->exit.port.flags;

	if (flags & WISP_PORT_STRING)
		return NEXT_EXIT;
	vcpu->completion_size = vcpu->exit.port.size;
	return exit_completable(vcpu, flags & WISP_PORT_IN ?
					      WISP_COMPLETE_IN :
					      WISP_COMPLETE_SKIP);
}

static enum next handle_msr(struct wisp_vcpu *vcpu)
{
	switch (wisp_msr_handle(vcpu)) {
	case WISP_MSR_IGNORE:
		return skip(vcpu);
	case WISP_MSR_EXIT:
		return exit_completable(vcpu, vcpu->exit.msr.write ?
						      WISP_COMPLETE_SKIP :
						      WISP_COMPLETE_RDMSR);
	default:
		return deny(vcpu);
	}
}

/* XSETBV: SDM Vol. 2; the CPL counts before the operands do. */
static enum next handle_xsetbv(struct wisp_vcpu *vcpu)
{
	u64 xcr0 = (u32)vcpu->general.rax | vcpu->general.rdx << 32;
	struct wisp_registers *regs = &vcpu->scratch;

	wisp_vcpu_get_registers(vcpu, WISP_STATE_SEGMENTS | WISP_STATE_CONTROL,
				regs);
	if (!(regs->control.cr4 & X86_CR4_OSXSAVE)) {
		wisp_event_raise(vcpu, X86_TRAP_UD);
		return NEXT_ENTER;
	}
	if (regs->segments.ss.attributes & 0x60 || (u32)vcpu->general.rcx ||
	    !wisp_xcr0_valid(xcr0))
		return deny(vcpu);
	wisp_host_set_xcr0(vcpu, xcr0);
	return skip(vcpu);
}

static enum next handle_exception(struct wisp_vcpu *vcpu)
{
	if (vcpu->exit.raw[1])
		wisp_event_raise_error(vcpu, vcpu->exit.raw[0],
				       vcpu->exit.raw[2]);
	else
		wisp_event_raise(vcpu, vcpu->exit.raw[0]);
	return NEXT_ENTER;
}

/* The backend's window is for two: the VMM's wish, and what waits here. */
static enum next handle_intr_window(struct wisp_vcpu *vcpu)
{
	if (!(vcpu->run_flags & WISP_RUN_INTR_WINDOW) ||
	    vcpu->events.interrupt.type)
		return NEXT_ENTER;
	return NEXT_EXIT;
}

static enum next handle_entry_failed(struct wisp_vcpu *vcpu)
{
	struct wisp_registers *regs = &vcpu->scratch;
	const u32 groups = WISP_STATE_ALL & ~WISP_STATE_FPU;

	wisp_vcpu_get_registers(vcpu, groups, regs);
	vcpu->page->field = wisp_state_check(regs, groups);
	return NEXT_EXIT;
}

static enum next handle(struct wisp_vcpu *vcpu)
{
	switch (vcpu->exit.reason) {
	case WISP_EXIT_AGAIN:
		return NEXT_ENTER;
	case WISP_EXIT_HOST:
		return NEXT_WINDOW;
	case WISP_EXIT_FAULT:
		return NEXT_FAULT;
	case WISP_EXIT_CPUID:
		wisp_cpuid_handle(vcpu);
		return skip(vcpu);
	case WISP_EXIT_MSR:
		return handle_msr(vcpu);
	case WISP_EXIT_PORT:
		return handle_port(vcpu);
	case WISP_EXIT_HLT:
	case WISP_EXIT_HYPERCALL:
		return exit_completable(vcpu, WISP_COMPLETE_SKIP);
	case WISP_EXIT_INTR_WINDOW:
		return handle_intr_window(vcpu);
	case WISP_EXIT_IRET:
		wisp_event_iret(vcpu);
		return NEXT_ENTER;
	case WISP_EXIT_XSETBV:
		return handle_xsetbv(vcpu);
	case WISP_EXIT_EXCEPTION:
		return handle_exception(vcpu);
	case WISP_EXIT_SKIP:
		return skip(vcpu);
	case WISP_EXIT_UNDEFINED:
		wisp_event_raise(vcpu, X86_TRAP_UD);
		return NEXT_ENTER;
	case WISP_EXIT_DENIED:
		return deny(vcpu);
	case WISP_EXIT_DEBUG_ACCESS:
		wisp_host_give_debug(vcpu);
		return NEXT_ENTER;
	case WISP_EXIT_ENTRY_FAILED:
		return handle_entry_failed(vcpu);
	case WISP_EXIT_LOST:
		wisp_hw_lost();
		return NEXT_WINDOW;
	default:
		return NEXT_EXIT;
	}
}

/* ---- the run loop -------------------------------------------------------- */

/* The run ends for a reason that is not the guest's. */
static enum next end_run(struct wisp_vcpu *vcpu, u32 reason)
{
	memset(&vcpu->exit, 0, sizeof(vcpu->exit));
	vcpu->exit.reason = reason;
	return NEXT_EXIT;
}

/* Before each entry: does anything want the run, or the window, to end? */
static enum next before_entry(struct wisp_vcpu *vcpu)
{
	if (unlikely(atomic_read(&vcpu->kicked))) {
		atomic_set(&vcpu->kicked, 0);
		return end_run(vcpu, WISP_EXIT_KICKED);
	}
	if (wisp_budget_used_up(vcpu))
		return end_run(vcpu, WISP_EXIT_BUDGET);
	if (xfer_to_guest_mode_work_pending())
		return NEXT_WINDOW;
	return NEXT_ENTER;
}

static enum next enter_guest(struct wisp_vcpu *vcpu)
{
	enum next next;
	u64 dr6;

	do {
		next = before_entry(vcpu);
		if (next != NEXT_ENTER)
			break;
		wisp_event_prepare(vcpu);
		wisp_ledger_expect(vcpu);
		vcpu->slat_generation =
			atomic64_read(&vcpu->vm->slat.generation);
		dr6 = vcpu->debug.dr6;
		wisp_backend->run(vcpu);
		/* Without DR0-3 of its own a guest would see matches of others'. */
		if (!vcpu->guest_has_dr)
			vcpu->debug.dr6 = (vcpu->debug.dr6 & ~DR_TRAP_BITS) |
					  (dr6 & DR_TRAP_BITS);
		next = handle(vcpu);
	} while (next == NEXT_ENTER);
	return next;
}

/*
 * One window. kernel_fpu_begin() wants interrupts on; the region it opens may
 * hold softirqs off, so it ends with the window.
 */
static int run_window(struct wisp_vcpu *vcpu, enum next *next)
{
	int ret;

	kernel_fpu_begin_mask(0);
	local_irq_disable();
	ret = wisp_hw_enter();
	if (!ret) {
		WRITE_ONCE(vcpu->running_cpu, smp_processor_id());
		/* Pairs with the barriers of who kicks or revokes. */
		smp_mb();
		wisp_host_enter(vcpu);
		wisp_backend->window_enter(vcpu);
		wisp_budget_enter(vcpu);

		*next = enter_guest(vcpu);

		wisp_budget_leave(vcpu);
		wisp_backend->window_leave(vcpu);
		wisp_host_leave(vcpu);
		WRITE_ONCE(vcpu->running_cpu, -1);
		wisp_hw_leave();
	}
	local_irq_enable();
	kernel_fpu_end();
	return ret;
}

static enum next handle_fault(struct wisp_vcpu *vcpu)
{
	int ret = wisp_vm_fault(vcpu->vm, &vcpu->exit);

	if (!ret)
		return NEXT_WINDOW;
	vcpu->exit.reason = ret == -ENOMEM ? WISP_EXIT_NOMEM : WISP_EXIT_MEMORY;
	return NEXT_EXIT;
}

static int run_loop(struct wisp_vcpu *vcpu)
{
	enum next next = NEXT_WINDOW;
	int ret = 0;

	while (!ret && next != NEXT_EXIT) {
		if (__xfer_to_guest_mode_work_pending())
			ret = wisp_handle_host_work();
		if (!ret)
			ret = run_window(vcpu, &next);
		if (!ret && next == NEXT_FAULT)
			next = handle_fault(vcpu);
	}
	return ret;
}

static void complete_instruction(struct wisp_vcpu *vcpu, u64 reply)
{
	struct wisp_general *general = &vcpu->general;

	switch (vcpu->completion) {
	case WISP_COMPLETE_IN:
		if (vcpu->completion_size == 1)
			general->rax = (general->rax & ~0xffULL) | (u8)reply;
		else if (vcpu->completion_size == 2)
			general->rax = (general->rax & ~0xffffULL) | (u16)reply;
		else
			general->rax = (u32)reply;
		break;
	case WISP_COMPLETE_RDMSR:
		general->rax = (u32)reply;
		general->rdx = reply >> 32;
		break;
	default:
		break;
	}
	wisp_vcpu_advance(vcpu);
}

/* What the VMM asked for, read once. */
struct run_request {
	u32 flags;
	u32 want;
	u32 dirty;
	u32 complete;
	u64 budget_ns;
	u64 reply;
	u64 reserved;			/* or-ed */
	u64 reserved2;
	struct wisp_event inject;
};

static void read_request(const struct wisp_vcpu_page *page,
			 struct run_request *request)
{
	unsigned int i;

	request->flags = READ_ONCE(page->flags);
	request->want = READ_ONCE(page->want);
	request->dirty = READ_ONCE(page->dirty);
	request->complete = READ_ONCE(page->complete);
	request->budget_ns = READ_ONCE(page->budget_ns);
	request->reply = READ_ONCE(page->reply);
	request->inject = page->inject;
	request->reserved = 0;
	request->reserved2 = 0;
	for (i = 0; i < ARRAY_SIZE(page->reserved); i++)
		request->reserved |= READ_ONCE(page->reserved[i]);
	for (i = 0; i < ARRAY_SIZE(page->reserved2); i++)
		request->reserved2 |= READ_ONCE(page->reserved2[i]);
	/* From here on the copy counts. */
	barrier();
}

static int refuse(struct wisp_vcpu *vcpu, u32 field, int error)
{
	vcpu->page->field = field;
	return error;
}

static int check_inject(struct wisp_vcpu *vcpu, const struct run_request *request)
{
	const struct wisp_events *events = &vcpu->events;
	bool protected_mode;
	u32 field;

	if (request->dirty & WISP_STATE_CONTROL)
		protected_mode = vcpu->scratch.control.cr0 & X86_CR0_PE;
	else
		protected_mode = wisp_backend->protected_mode(vcpu);
	if (request->dirty & WISP_STATE_EVENTS)
		events = &vcpu->scratch.events;
	field = wisp_state_check_event(&request->inject, WISP_FIELD(inject),
				       protected_mode);
	if (field)
		return refuse(vcpu, field, field == WISP_FIELD(inject.type) ?
						   -EOPNOTSUPP : -EINVAL);
	if (wisp_event_waiting(events, request->inject.type))
		return refuse(vcpu, WISP_FIELD(inject), -EBUSY);
	return 0;
}

static int check_request(struct wisp_vcpu *vcpu, const struct run_request *request,
			 struct wisp_xsave_head *head)
{
	u32 field;

	if (request->flags & ~WISP_RUN_INTR_WINDOW)
		return refuse(vcpu, WISP_FIELD(flags), -EOPNOTSUPP);
	if (request->want & ~WISP_STATE_ALL)
		return refuse(vcpu, WISP_FIELD(want), -EOPNOTSUPP);
	if (request->dirty & ~WISP_STATE_ALL)
		return refuse(vcpu, WISP_FIELD(dirty), -EOPNOTSUPP);
	if (request->reserved)
		return refuse(vcpu, WISP_FIELD(reserved), -EINVAL);
	if (request->reserved2)
		return refuse(vcpu, WISP_FIELD(reserved2), -EINVAL);
	if (request->complete > 1 ||
	    (request->complete && !vcpu->completion))
		return refuse(vcpu, WISP_FIELD(complete), -EINVAL);
	if (request->dirty) {
		field = check_state(vcpu, request->dirty, &vcpu->page->state,
				    head);
		if (field)
			return refuse(vcpu, field,
				      wisp_state_errno(field,
						       &vcpu->scratch.events));
	}
	return request->inject.type ? check_inject(vcpu, request) : 0;
}

/* All of what the page asks for, or nothing. */
static int take_request(struct wisp_vcpu *vcpu, struct run_request *request)
{
	struct wisp_vcpu_page *page = vcpu->page;
	struct wisp_xsave_head head;
	int ret;

	read_request(page, request);
	page->field = 0;
	ret = check_request(vcpu, request, &head);
	if (ret)
		return ret;

	if (request->dirty) {
		load_state(vcpu, request->dirty, &page->state, &head);
		page->dirty = 0;
	}
	if (request->complete) {
		complete_instruction(vcpu, request->reply);
		page->complete = 0;
	}
	if (request->inject.type) {
		wisp_event_inject(vcpu, &request->inject);
		memset(&page->inject, 0, sizeof(page->inject));
	}
	vcpu->completion = WISP_COMPLETE_NOTHING;
	vcpu->run_flags = request->flags;
	wisp_budget_set(vcpu, request->budget_ns);
	return 0;
}

/* With what would be so once the VMM completes the instruction. */
static bool ready(const struct wisp_vcpu *vcpu)
{
	return vcpu->general.rflags & X86_EFLAGS_IF &&
	       !vcpu->events.injected.type &&
	       (vcpu->completion || !vcpu->events.interrupt_shadow);
}

static void report(struct wisp_vcpu *vcpu, u32 want)
{
	struct wisp_exit *exit = &vcpu->exit;

	exit->flags = 0;
	if (ready(vcpu))
		exit->flags |= WISP_EXIT_INTR_READY;
	if (vcpu->events.interrupt.type)
		exit->flags |= WISP_EXIT_INTR_PENDING;
	exit->rip = vcpu->general.rip;
	exit->rflags = vcpu->general.rflags;
	vcpu->page->exit = *exit;
	if (want)
		get_state(vcpu, want, &vcpu->page->state);
}

/**
 * wisp_vcpu_run() - WISP_RUN
 * @vcpu: of a VM that the caller has a file of
 *
 * May sleep. Returns as WISP_RUN does.
 */
int wisp_vcpu_run(struct wisp_vcpu *vcpu)
{
	struct run_request request;
	int ret;

	if (!mutex_trylock(&vcpu->lock))
		return -EBUSY;
	ret = take_request(vcpu, &request);
	if (!ret) {
		memset(&vcpu->exit, 0, sizeof(vcpu->exit));
		ret = run_loop(vcpu);
		if (ret)
			memset(&vcpu->exit, 0, sizeof(vcpu->exit));
		report(vcpu, request.want);
	}
	mutex_unlock(&vcpu->lock);
	return ret;
}
