// SPDX-License-Identifier: GPL-2.0
/*
 * The run loop.
 *
 * A run is a sequence of windows. In a window interrupts are off, the FPU and
 * the registers that both sides use are the guest's, and exits that the driver
 * can answer are answered on the spot. Everything that may sleep, and every
 * interrupt for the host, comes between two windows.
 */
#include <linux/moduleparam.h>
#include <linux/percpu.h>
#include <linux/string.h>
#include <linux/uio.h>

#include <asm/debugreg.h>
#include <asm/fpu/api.h>
#include <asm/msr-index.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "backend.h"
#include "budget.h"
#include "clock.h"
#include "compat.h"
#include "cpuid.h"
#include "debug.h"
#include "event.h"
#include "ledger.h"
#include "msr.h"
#include "snapshot.h"
#include "trace.h"

#define RUN_FLAGS                                                 \
	(WISP_RUN_INTR_WINDOW | WISP_RUN_STEP | WISP_RUN_BREAKPOINTS | \
	 WISP_RUN_TRAP_INT3 | WISP_RUN_RESET)

/* Enables, LE, GE, bit 10, and the breakpoints' kinds and lengths: not GD. */
#define BREAKPOINTS_DR7	0xffff07ffULL

/* What the run loop does after an exit. */
enum next {
	NEXT_ENTER,	/* enter again, in the same window */
	NEXT_WINDOW,	/* close the window, see what the host wants, go on */
	NEXT_FAULT,	/* close the window and handle exit.memory, or a loss */
	NEXT_EXIT,	/* the run ends with vcpu->exit */
};

/* ---- handling exits, in the window --------------------------------------- */

/*
 * Where @rip is beyond 32 bits, or further beyond: it wraps, but in 64-bit mode.
 * False where it is not canonical, and no entry could load it.
 */
static bool wrap(struct wisp_vcpu *vcpu, u64 *rip)
{
	struct wisp_registers *regs = &vcpu->scratch;

	wisp_vcpu_get_registers(vcpu, WISP_STATE_SEGMENTS | WISP_STATE_CONTROL,
				regs);
	if (!wisp_state_is_64bit(regs))
		*rip = (u32)*rip;
	return wisp_gva_canonical(*rip, regs->control.cr4);
}

/* False: there is no next instruction; the #GP that it would raise comes here. */
static __always_inline bool advance_rip(struct wisp_vcpu *vcpu)
{
	u64 rip = vcpu->general.rip + vcpu->exit.inst_len;

	if (unlikely((rip ^ vcpu->general.rip) >> 32) && !wrap(vcpu, &rip)) {
		wisp_event_raise_error(vcpu, X86_TRAP_GP, 0);
		return false;
	}
	vcpu->general.rip = rip;
	vcpu->general.rflags &= ~X86_EFLAGS_RF;
	return true;
}

/* As the hardware does: no interrupt shadow remains, and a single step is reported. */
static __always_inline void end_instruction(struct wisp_vcpu *vcpu)
{
	vcpu->events.interrupt_shadow = 0;
	if (vcpu->general.rflags & X86_EFLAGS_TF && !vcpu->step) {
		vcpu->debug.dr6 |= DR_STEP;
		wisp_event_raise(vcpu, X86_TRAP_DB);
	}
}

/* Go on behind the instruction that exited. */
static __always_inline void advance(struct wisp_vcpu *vcpu)
{
	if (advance_rip(vcpu))
		end_instruction(vcpu);
}

static enum next skip(struct wisp_vcpu *vcpu)
{
	advance(vcpu);
	return vcpu->step && wisp_debug_stepped(vcpu) ? NEXT_EXIT : NEXT_ENTER;
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
		return exit_completable(vcpu, WISP_COMPLETE_DONE);
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
	if (regs->segments.ss.attributes & WISP_ATTR_DPL ||
	    (u32)vcpu->general.rcx || !wisp_xcr0_valid(xcr0))
		return deny(vcpu);
	wisp_host_set_xcr0(vcpu, xcr0);
	return skip(vcpu);
}

static enum next handle_cr4_read(struct wisp_vcpu *vcpu)
{
	u64 *registers = &vcpu->general.rax;

	registers[vcpu->exit.raw[0]] = wisp_backend->cr4(vcpu);
	return skip(vcpu);
}

/*
 * Of the rest of CR0 the CPU ignores the lower half. Long mode begins and ends outside
 * of 64-bit code.
 */
static bool take_cr0(struct wisp_registers *regs, u64 value)
{
	struct wisp_control *control = &regs->control;
	u64 old = control->cr0;

	control->cr0 = (value & WISP_CR0_WRITTEN) | X86_CR0_ET;
	if ((old ^ control->cr0) & X86_CR0_PG && control->efer & EFER_LME) {
		if (regs->segments.cs.attributes & WISP_ATTR_L)
			return false;
		control->efer ^= EFER_LMA;
	}
	return !wisp_state_check(regs, WISP_STATE_CONTROL);
}

/* As MOV does it: it looks at no segments, which CPUs keep as they like. */
static bool take_cr4(struct wisp_registers *regs, u64 value)
{
	struct wisp_control *control = &regs->control;
	u64 changed = control->cr4 ^ value;

	if ((changed & X86_CR4_LA57 && control->efer & EFER_LMA) ||
	    (changed & value & X86_CR4_PCIDE && control->cr3 & ~PAGE_MASK))
		return false;
	control->cr4 = value;
	return !wisp_state_check_control(regs);
}

static enum next handle_cr_write(struct wisp_vcpu *vcpu)
{
	struct wisp_registers *regs = &vcpu->scratch;
	u64 value = vcpu->exit.raw[1];

	wisp_vcpu_get_registers(vcpu, WISP_STATE_CHECKED, regs);
	if (!wisp_state_is_64bit(regs))
		value = (u32)value;
	if (vcpu->exit.raw[0] == 4 ? !take_cr4(regs, value) :
				     !take_cr0(regs, value))
		return deny(vcpu);
	wisp_vcpu_set_registers(vcpu, WISP_STATE_CONTROL, regs);
	return skip(vcpu);
}

/* Whether #AC is the guest's wish: APM Vol. 2, "Alignment-Check Exception". */
static bool checks_alignment(struct wisp_vcpu *vcpu)
{
	struct wisp_registers *regs = &vcpu->scratch;

	wisp_vcpu_get_registers(vcpu, WISP_STATE_SEGMENTS | WISP_STATE_CONTROL,
				regs);
	return (regs->segments.ss.attributes & WISP_ATTR_DPL) == WISP_ATTR_DPL &&
	       regs->control.cr0 & X86_CR0_AM &&
	       vcpu->general.rflags & X86_EFLAGS_AC;
}

static enum next handle_exception(struct wisp_vcpu *vcpu)
{
	u8 vector = vcpu->exit.raw[0];

	/* INT1 is a trap: its #DB points behind it. */
	if (vcpu->exit.inst_len && !advance_rip(vcpu))
		return NEXT_WINDOW;
	if (vector == X86_TRAP_BP) {
		memset(&vcpu->exit, 0, sizeof(vcpu->exit));
		vcpu->exit.reason = WISP_EXIT_DEBUG;
		vcpu->exit.debug.vector = vector;
		return NEXT_EXIT;
	}
	if (vector == X86_TRAP_DB) {
		switch (wisp_debug_trap(vcpu)) {
		case WISP_DEBUG_VMM:
			return NEXT_EXIT;
		case WISP_DEBUG_DRIVER:
			return NEXT_ENTER;
		case WISP_DEBUG_GUEST:
			break;
		}
	}
	if (vector == X86_TRAP_AC && !checks_alignment(vcpu) &&
	    wisp_host_allow_split_lock(vcpu))
		return NEXT_ENTER;
	if (vcpu->exit.raw[1])
		wisp_event_raise_error(vcpu, vector, vcpu->exit.raw[2]);
	else
		wisp_event_raise(vcpu, vector);
	/*
	 * Its delivery may raise the next one, before the CPU looks for interrupts:
	 * that is an entry which none of the host's can end.
	 */
	return NEXT_WINDOW;
}

static enum next handle_debug_access(struct wisp_vcpu *vcpu)
{
	if (vcpu->breakpoints_live || vcpu->traps_dr)
		wisp_debug_step_access(vcpu, vcpu->exit.raw[0]);
	else
		wisp_host_give_debug(vcpu);
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
	wisp_clock_count(vcpu);
	switch (vcpu->exit.reason) {
	case WISP_EXIT_AGAIN:
		return NEXT_ENTER;
	case WISP_EXIT_HOST:
		vcpu->stats.host_exits++;
		return NEXT_WINDOW;
	case WISP_EXIT_LOST:
		return NEXT_WINDOW;
	case WISP_EXIT_FAULT:
	case WISP_EXIT_PDPTES:
	case WISP_EXIT_GONE:
		return NEXT_FAULT;
	case WISP_EXIT_CPUID:
		wisp_cpuid_handle(vcpu);
		return skip(vcpu);
	case WISP_EXIT_RDTSC:
	case WISP_EXIT_RDTSCP:
		wisp_clock_handle(vcpu);
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
	case WISP_EXIT_CR_WRITE:
		return handle_cr_write(vcpu);
	case WISP_EXIT_CR4_READ:
		return handle_cr4_read(vcpu);
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
		return handle_debug_access(vcpu);
	case WISP_EXIT_ENTRY_FAILED:
		return handle_entry_failed(vcpu);
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
	u32 used_up;

	if (unlikely(atomic_read(&vcpu->kicked))) {
		atomic_set(&vcpu->kicked, 0);
		return end_run(vcpu, WISP_EXIT_KICKED);
	}
	if (unlikely(READ_ONCE(vcpu->vm->pause) == WISP_PAUSE_RUNS))
		return end_run(vcpu, WISP_EXIT_KICKED);
	used_up = wisp_budget_used_up(vcpu);
	if (unlikely(used_up)) {
		end_run(vcpu, used_up);
		if (used_up == WISP_EXIT_LIMIT)
			vcpu->exit.limit.which = WISP_LIMIT_RUN_TIME;
		return NEXT_EXIT;
	}
	if (xfer_to_guest_mode_work_pending())
		return NEXT_WINDOW;
	return NEXT_ENTER;
}

#ifdef CONFIG_WISP_DEBUG
static uint lose;
module_param(lose, uint, 0644);
MODULE_PARM_DESC(lose, "turn the hardware off before the n-th entry from now (test)");

/* As a crash may do. What KVM has on is not ours to turn off. */
static void lose_hardware(const struct wisp_vcpu *vcpu)
{
	if (likely(!lose) || vcpu->host.shared || --lose)
		return;
	static_call(wisp_cpu_disable)();
}
#else
static inline void lose_hardware(const struct wisp_vcpu *vcpu) { }
#endif

static enum next enter_guest(struct wisp_vcpu *vcpu)
{
	enum next next;

	do {
		next = before_entry(vcpu);
		if (next != NEXT_ENTER)
			break;
		wisp_event_prepare(vcpu);
		wisp_ledger_expect(vcpu);
		vcpu->slat_generation =
			atomic64_read(&vcpu->vm->slat.generation);
		wisp_debug_enter(vcpu);
		trace_wisp_entry(vcpu);
		lose_hardware(vcpu);
		static_call(wisp_run)(vcpu);
		trace_wisp_exit(vcpu);
		wisp_debug_leave(vcpu);
		vcpu->stats.entries++;
		next = handle(vcpu);
	} while (next == NEXT_ENTER);
	return next;
}

/*
 * One window. kernel_fpu_begin() wants interrupts on; the region it opens may
 * hold softirqs off, so it ends with the window. Returns enum next, or -EBUSY.
 */
static int run_window(struct wisp_vcpu *vcpu)
{
	int ret;

	kernel_fpu_begin_mask(0);
	local_irq_disable();
	wisp_host_quiet(vcpu);
	ret = static_call(wisp_cpu_enable)();
	if (ret >= 0) {
		vcpu->host.shared = ret;
		WRITE_ONCE(vcpu->running_cpu, smp_processor_id());
		/* Pairs with the one of wisp_vcpu_interrupt(). */
		smp_mb();
		wisp_host_enter(vcpu);
		/* Timers are the host's data: before that flushes the L1D cache. */
		wisp_budget_enter(vcpu);
		static_call(wisp_window_enter)(vcpu);
		/* What opening the window took is not the guest's time. */
		vcpu->window_start = rdtsc();
		wisp_clock_enter(vcpu);

		ret = enter_guest(vcpu);

		wisp_clock_leave(vcpu);
		wisp_budget_leave(vcpu);
		static_call(wisp_window_leave)(vcpu);
		wisp_host_leave(vcpu);
		WRITE_ONCE(vcpu->running_cpu, -1);
		static_call(wisp_cpu_disable)();
	}
	wisp_host_unquiet(vcpu);
	local_irq_enable();
	kernel_fpu_end();
	return ret;
}

/* Those outside of the slots are not present. Returns as wisp_vm_fault(). */
static noinline_for_stack int read_pdptes(struct wisp_vcpu *vcpu)
{
	struct kvec vec = { vcpu->pdptes, sizeof(vcpu->pdptes) };
	struct iov_iter iter;
	ssize_t n;

	memset(vcpu->pdptes, 0, sizeof(vcpu->pdptes));
	iov_iter_kvec(&iter, ITER_DEST, &vec, 1, vec.iov_len);
	n = wisp_vm_rw(vcpu->vm, vcpu->exit.memory.gpa, &iter);
	if (n == -EIO)
		vcpu->exit.memory.flags |= WISP_MEMORY_IO;
	/* Less where a signal that kills came in between: the fault comes again. */
	vcpu->has_pdptes = n == sizeof(vcpu->pdptes) || n == -EFAULT;
	return n < 0 && n != -EFAULT ? n : 0;
}

static enum next handle_fault(struct wisp_vcpu *vcpu)
{
	int ret;

	if (unlikely(vcpu->exit.reason == WISP_EXIT_GONE)) {
		wisp_vcpu_reset(vcpu);
		return end_run(vcpu, WISP_EXIT_ENTRY_FAILED);
	}
	if (vcpu->exit.reason == WISP_EXIT_PDPTES) {
		ret = read_pdptes(vcpu);
	} else {
		ret = wisp_vm_fault(vcpu->vm, &vcpu->exit, &vcpu->ahead);
		trace_wisp_fault(vcpu, ret);
		vcpu->stats.faults += !ret;
	}
	/* The signal is seen before the window. */
	if (!ret || ret == -EINTR)
		return NEXT_WINDOW;
	if (ret == -EDQUOT) {
		end_run(vcpu, WISP_EXIT_LIMIT);
		vcpu->exit.limit.which = WISP_LIMIT_PRIVATE_PAGES;
		return NEXT_EXIT;
	}
	if (ret == -ENOMEM) {
		vcpu->exit.reason = WISP_EXIT_NOMEM;
		return NEXT_EXIT;
	}
	vcpu->exit.reason = WISP_EXIT_MEMORY;
	wisp_clock_count(vcpu);
	/* No instruction's access, then. */
	if (vcpu->events.injected.type) {
		vcpu->exit.memory.flags |= WISP_MEMORY_DELIVERY;
		return NEXT_EXIT;
	}
	return exit_completable(vcpu, WISP_COMPLETE_DONE);
}

static int run_loop(struct wisp_vcpu *vcpu)
{
	int ret;

	do {
		if (__xfer_to_guest_mode_work_pending()) {
			ret = wisp_handle_host_work();
			if (ret)
				return ret;
		}
		ret = run_window(vcpu);
		if (ret == NEXT_FAULT)
			ret = handle_fault(vcpu);
	} while (ret == NEXT_WINDOW);
	return ret == NEXT_EXIT ? 0 : ret;
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
	case WISP_COMPLETE_DONE:
		general->rflags &= ~X86_EFLAGS_RF;
		return end_instruction(vcpu);
	default:
		break;
	}
	advance(vcpu);
}

/* Inline, as is check_plain(): each run has it, and reset_first() is a second user. */
static __always_inline void read_request(const struct wisp_vcpu_page *page,
					 struct wisp_request *request)
{
	u64 reserved2 = 0;
	unsigned int i;

	request->flags = READ_ONCE(page->flags);
	request->want = READ_ONCE(page->want);
	request->dirty = READ_ONCE(page->dirty);
	request->complete = READ_ONCE(page->complete);
	request->budget_ns = READ_ONCE(page->budget_ns);
	request->reply = READ_ONCE(page->reply);
	request->inject = page->inject;
	if (request->flags & WISP_RUN_BREAKPOINTS)
		request->breakpoints = page->breakpoints;
	request->reserved = page->reserved[0] | page->reserved[1];
#pragma GCC unroll 8
	for (i = 0; i < ARRAY_SIZE(page->reserved2); i++)
		reserved2 |= page->reserved2[i];
	request->reserved2 = reserved2;
	/* From here on the copy counts. */
	barrier();
}

static int refuse(struct wisp_vcpu *vcpu, u32 field, int error)
{
	vcpu->page->field = field;
	return error;
}

static int check_inject(struct wisp_vcpu *vcpu, const struct wisp_request *request)
{
	const u32 groups = WISP_STATE_SEGMENTS | WISP_STATE_CONTROL;
	const struct wisp_events *events = &vcpu->events;
	u64 rflags = vcpu->general.rflags;
	u32 field;

	if (request->inject.type == WISP_EVENT_EXCEPTION)
		wisp_vcpu_get_registers(vcpu, groups & ~request->dirty,
					&vcpu->scratch);
	if (request->dirty & WISP_STATE_EVENTS)
		events = &vcpu->scratch.events;
	field = wisp_state_check_event(&request->inject, WISP_FIELD(inject),
				       &vcpu->scratch);
	if (field)
		return refuse(vcpu, field, field == WISP_FIELD(inject.type) ?
						   -EOPNOTSUPP : -EINVAL);
	if (request->dirty & WISP_STATE_GENERAL)
		rflags = vcpu->scratch.general.rflags;
	/* A single step's #DB is on its way, too. */
	if (wisp_event_waiting(events, request->inject.type) ||
	    (request->inject.type == WISP_EVENT_EXCEPTION && request->complete &&
	     rflags & X86_EFLAGS_TF && !(request->flags & WISP_RUN_STEP)))
		return refuse(vcpu, WISP_FIELD(inject), -EBUSY);
	return 0;
}

/* What no state has a say in. */
static __always_inline int check_plain(struct wisp_vcpu *vcpu,
				       const struct wisp_request *request)
{
	if (request->flags & ~RUN_FLAGS)
		return refuse(vcpu, WISP_FIELD(flags), -EOPNOTSUPP);
	if (request->want & ~WISP_STATE_ALL)
		return refuse(vcpu, WISP_FIELD(want), -EOPNOTSUPP);
	if (request->dirty & ~WISP_STATE_ALL)
		return refuse(vcpu, WISP_FIELD(dirty), -EOPNOTSUPP);
	if (request->reserved)
		return refuse(vcpu, WISP_FIELD(reserved), -EINVAL);
	if (request->reserved2)
		return refuse(vcpu, WISP_FIELD(reserved2), -EINVAL);
	if (request->complete > 1)
		return refuse(vcpu, WISP_FIELD(complete), -EINVAL);
	if (request->budget_ns && vcpu->vm->flags & WISP_VM_DETERMINISTIC)
		return refuse(vcpu, WISP_FIELD(budget_ns), -EINVAL);
	if (request->flags & WISP_RUN_BREAKPOINTS &&
	    request->breakpoints.dr7 & ~BREAKPOINTS_DR7)
		return refuse(vcpu, WISP_FIELD(breakpoints.dr7), -EINVAL);
	return 0;
}

static int check_request(struct wisp_vcpu *vcpu, const struct wisp_request *request)
{
	int ret = check_plain(vcpu, request);
	u32 field;

	if (ret)
		return ret;
	if (request->complete && !vcpu->completion)
		return refuse(vcpu, WISP_FIELD(complete), -EINVAL);
	if (request->dirty) {
		field = wisp_vcpu_check_state(vcpu, request->dirty,
					      &vcpu->page->state);
		if (field)
			return refuse(vcpu, field,
				      wisp_state_errno(field,
						       &vcpu->scratch.events));
	}
	return request->inject.type ? check_inject(vcpu, request) : 0;
}

/* All of what the page asks for, or nothing. */
static int take_request(struct wisp_vcpu *vcpu, struct wisp_request *request)
{
	struct wisp_vcpu_page *page = vcpu->page;
	int ret;

	read_request(page, request);
	page->field = 0;
	ret = check_request(vcpu, request);
	if (ret)
		return ret;

	if (request->dirty) {
		wisp_vcpu_load_state(vcpu, request->dirty, &page->state);
		page->dirty = 0;
	}
	vcpu->run_flags = request->flags;
	if (request->flags & WISP_RUN_RESET)
		page->flags = request->flags & ~WISP_RUN_RESET;
	if (request->flags & WISP_RUN_BREAKPOINTS) {
		vcpu->breakpoints = request->breakpoints;
		vcpu->breakpoints.dr7 |= WISP_DR7_FIXED;
	}
	wisp_debug_set(vcpu, request->flags);
	if (request->complete) {
		complete_instruction(vcpu, request->reply);
		page->complete = 0;
	}
	/* Not in place of what the end of the instruction has raised: it stays, then. */
	if (request->inject.type && !wisp_event_waiting(&vcpu->events, request->inject.type)) {
		wisp_event_inject(vcpu, &request->inject);
		memset(&page->inject, 0, sizeof(page->inject));
	}
	vcpu->completion = WISP_COMPLETE_NOTHING;
	wisp_budget_set(vcpu, request->budget_ns);
	return 0;
}

/* With what would be so once the VMM completes the instruction: a step is first. */
static bool ready(const struct wisp_vcpu *vcpu)
{
	return vcpu->general.rflags & X86_EFLAGS_IF &&
	       !vcpu->events.injected.type &&
	       (vcpu->completion ? !(vcpu->general.rflags & X86_EFLAGS_TF) :
				   !vcpu->events.interrupt_shadow);
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
		wisp_vcpu_copy_state(vcpu, want, &vcpu->page->state);
}

/* WISP_RUN_RESET: not for a run that could not be. It reads the page once more. */
static noinline_for_stack int reset_first(struct wisp_vcpu *vcpu)
{
	struct wisp_request request;
	int ret;

	read_request(vcpu->page, &request);
	ret = check_plain(vcpu, &request);
	if (ret)
		return ret;
	ret = wisp_snapshot_reset(vcpu->vm, NULL, 0, NULL);
	return ret ? refuse(vcpu, ret == -EINVAL ? WISP_FIELD(flags) : 0, ret) : 0;
}

/**
 * wisp_vcpu_run() - WISP_RUN
 * @vcpu: of a VM that the caller has a file of
 *
 * May sleep. Returns as WISP_RUN does.
 */
int wisp_vcpu_run(struct wisp_vcpu *vcpu)
{
	int ret = 0;

	if (READ_ONCE(vcpu->page->flags) & WISP_RUN_RESET)
		ret = reset_first(vcpu);
	if (!ret)
		ret = wisp_vcpu_lock(vcpu);
	if (ret)
		return ret;
	ret = likely(vcpu->populated) ? 0 : wisp_vcpu_populate(vcpu);
	if (!ret)
		ret = take_request(vcpu, &vcpu->request);
	if (!ret) {
		if (!vcpu->request.complete || !vcpu->step ||
		    !wisp_debug_stepped(vcpu))
			ret = run_loop(vcpu);
		if (ret)
			memset(&vcpu->exit, 0, sizeof(vcpu->exit));
		wisp_debug_end(vcpu);
		vcpu->stats.exits[vcpu->exit.reason]++;
		report(vcpu, vcpu->request.want);
	}
	mutex_unlock(&vcpu->lock);
	return ret;
}
