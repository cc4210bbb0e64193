// SPDX-License-Identifier: GPL-2.0
/*
 * Events: what may be delivered when.
 *
 * Three places, in the order they are looked at before each entry: the event
 * in delivery (an exception that was raised, or whatever an exit interrupted),
 * one NMI, one external interrupt. The last two wait until the guest can take
 * them.
 */
#include "event.h"

#include <linux/bits.h>
#include <linux/string.h>

#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include "backend.h"
#include "debug.h"
#include "trace.h"

/* EVENTINJ and EXITINTINFO, VM-entry information and IDT-vectoring information. */
#define INFO_TYPE	GENMASK(10, 8)
#define INFO_INTERRUPT	(0 << 8)
#define INFO_NMI	(2 << 8)
#define INFO_EXCEPTION	(3 << 8)
#define INFO_ERROR_CODE	BIT(11)

/* In the words that both vendors have for it. */
u32 wisp_event_encode(const struct wisp_event *event)
{
	u32 info = event->vector | WISP_INFO_VALID;

	if (event->type == WISP_EVENT_NMI)
		info |= INFO_NMI;
	else if (event->type == WISP_EVENT_EXCEPTION)
		info |= INFO_EXCEPTION;
	return event->has_error_code ? info | INFO_ERROR_CODE : info;
}

/**
 * wisp_event_cut_short() - what was in delivery when the exit came, and is not
 * @vcpu: in its window, after an exit
 * @info: the hardware's words: it is valid
 * @error_code: where @info says that there is one
 *
 * It goes on at the next entry. INT3, INTO and INT n are executed again instead,
 * unless it is the exception that was injected.
 */
void wisp_event_cut_short(struct wisp_vcpu *vcpu, u32 info, u32 error_code)
{
	struct wisp_event *event = &vcpu->events.injected;
	u8 vector = info;
	bool injected = event->type == WISP_EVENT_EXCEPTION &&
			event->vector == vector &&
			vcpu->injected_rip == vcpu->general.rip;

	memset(event, 0, sizeof(*event));
	switch (info & INFO_TYPE) {
	case INFO_INTERRUPT:
		event->type = WISP_EVENT_INTERRUPT;
		break;
	case INFO_NMI:
		event->type = WISP_EVENT_NMI;
		break;
	case INFO_EXCEPTION:
		if (!injected &&
		    (vector == X86_TRAP_BP || vector == X86_TRAP_OF))
			return;
		event->type = WISP_EVENT_EXCEPTION;
		event->has_error_code = !!(info & INFO_ERROR_CODE);
		event->error_code = event->has_error_code ? error_code : 0;
		break;
	default:
		return;
	}
	event->vector = vector;
}

/* Whether an event of this type has to wait for an earlier one. */
bool wisp_event_waiting(const struct wisp_events *events, u8 type)
{
	if (type == WISP_EVENT_INTERRUPT)
		return events->interrupt.type;
	return type == WISP_EVENT_EXCEPTION && events->injected.type;
}

/**
 * wisp_event_inject() - take an event from the VMM
 * @vcpu: its lock is held
 * @event: checked, and not wisp_event_waiting()
 */
void wisp_event_inject(struct wisp_vcpu *vcpu, const struct wisp_event *event)
{
	switch (event->type) {
	case WISP_EVENT_INTERRUPT:
		vcpu->events.interrupt = *event;
		break;
	case WISP_EVENT_NMI:
		/* As in hardware, NMIs that wait are one. */
		vcpu->events.nmi_pending = true;
		break;
	case WISP_EVENT_EXCEPTION:
		vcpu->events.injected = *event;
		break;
	}
}

/*
 * A new exception takes the place of what was in delivery. An exception comes
 * again when its instruction does; an interrupt or NMI would be lost and waits
 * instead. All but #DB are faults, for which the CPU would push RF set.
 */
static void raise(struct wisp_vcpu *vcpu, const struct wisp_event *event)
{
	struct wisp_events *events = &vcpu->events;

	if (events->injected.type == WISP_EVENT_INTERRUPT &&
	    !events->interrupt.type)
		events->interrupt = events->injected;
	if (events->injected.type == WISP_EVENT_NMI) {
		events->nmi_pending = true;
		events->nmi_blocked = false;
	}
	events->injected = *event;
	if (event->vector != X86_TRAP_DB)
		vcpu->general.rflags |= X86_EFLAGS_RF;
}

/*
 * The guest gets an exception without an error code. With #DB the CPU would open the
 * debug registers to its handler; an injected one does not.
 */
void wisp_event_raise(struct wisp_vcpu *vcpu, u8 vector)
{
	if (vector == X86_TRAP_DB)
		vcpu->debug.dr7 &= ~WISP_DR7_GD;
	raise(vcpu, &(struct wisp_event){
		.type = WISP_EVENT_EXCEPTION,
		.vector = vector,
	});
}

/* The guest gets an exception that has an error code, except in real mode. */
void wisp_event_raise_error(struct wisp_vcpu *vcpu, u8 vector, u32 error_code)
{
	bool protected_mode = wisp_vcpu_get_control(vcpu)->cr0 & X86_CR0_PE;

	raise(vcpu, &(struct wisp_event){
		.type = WISP_EVENT_EXCEPTION,
		.vector = vector,
		.has_error_code = protected_mode,
		.error_code = protected_mode ? error_code : 0,
	});
}

/*
 * The guest is about to execute IRET: behind it NMIs are let in again. One that
 * waits must not come in before, so the IRET is stepped.
 */
void wisp_event_iret(struct wisp_vcpu *vcpu)
{
	vcpu->iret_window = false;
	vcpu->iret_rip = vcpu->general.rip;
	if (vcpu->events.nmi_pending)
		wisp_debug_step(vcpu, WISP_STEP_IRET);
}

/*
 * The exit behind it: RIP shows whether IRET was executed, or faulted, or neither; or
 * its fault is in delivery.
 */
void wisp_event_iret_over(struct wisp_vcpu *vcpu)
{
	vcpu->iret_window = vcpu->general.rip == vcpu->iret_rip &&
			    vcpu->events.injected.type != WISP_EVENT_EXCEPTION;
	vcpu->events.nmi_blocked = vcpu->iret_window;
}

static bool interruptible(const struct wisp_vcpu *vcpu)
{
	return vcpu->general.rflags & X86_EFLAGS_IF &&
	       !vcpu->events.interrupt_shadow;
}

/*
 * MOV SS must not be parted from what loads RSP behind it: that is stepped, if it
 * is not anyhow. It is over, too, once it has faulted, which clears TF.
 */
static bool nmi_in_shadow(struct wisp_vcpu *vcpu)
{
	bool tf = vcpu->general.rflags & X86_EFLAGS_TF;

	if (vcpu->events.interrupt_shadow && !tf)
		wisp_debug_step(vcpu, WISP_STEP_SHADOW);
	return vcpu->events.interrupt_shadow ||
	       (tf && vcpu->step == WISP_STEP_SHADOW);
}

/* As with the shadow: an IRET that has faulted is over, whenever its step is. */
static bool iret_goes_on(const struct wisp_vcpu *vcpu)
{
	return vcpu->step == WISP_STEP_IRET && vcpu->general.rflags & X86_EFLAGS_TF;
}

static void prepare_waiting(struct wisp_vcpu *vcpu)
{
	struct wisp_events *events = &vcpu->events;

	if (events->injected.type)
		return;
	if (events->nmi_pending && !events->nmi_blocked && !iret_goes_on(vcpu)) {
		if (nmi_in_shadow(vcpu))
			return;
		events->injected = (struct wisp_event){
			.type = WISP_EVENT_NMI,
			.vector = X86_TRAP_NMI,
		};
		events->nmi_pending = false;
	} else if (events->interrupt.type && interruptible(vcpu)) {
		events->injected = events->interrupt;
		events->interrupt.type = WISP_EVENT_NONE;
		events->interrupt.vector = 0;
	}
}

/* wisp_event_prepare(), where there is something. */
void wisp_event_hand_over(struct wisp_vcpu *vcpu)
{
	struct wisp_events *events = &vcpu->events;

	if (events->interrupt.type || events->nmi_pending)
		prepare_waiting(vcpu);
	/* VMX steps behind STI without its shadow: a window there would come first. */
	if (events->nmi_pending && vcpu->step == WISP_STEP_SHADOW)
		vcpu->intr_window = false;
	else if (events->interrupt.type)
		vcpu->intr_window = true;
	if (events->injected.type == WISP_EVENT_NMI) {
		events->nmi_blocked = true;
		vcpu->iret_window = true;
	}
	if (events->injected.type) {
		trace_wisp_inject(vcpu, &events->injected);
		wisp_backend->inject(vcpu, &events->injected);
		vcpu->injected_rip = vcpu->general.rip;
		vcpu->stats.injections++;
	}
	vcpu->nmi_window = events->nmi_pending &&
			   (events->nmi_blocked || events->injected.type);
}
