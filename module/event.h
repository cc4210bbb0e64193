/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Events: what may be delivered when. The rules common to both vendors.
 */
#ifndef WISP_EVENT_H
#define WISP_EVENT_H

#include <linux/bits.h>
#include <linux/types.h>

#include <uapi/linux/wisp.h>

#include "vcpu.h"

bool wisp_event_waiting(const struct wisp_events *events, u8 type);
void wisp_event_inject(struct wisp_vcpu *vcpu, const struct wisp_event *event);
void wisp_event_raise(struct wisp_vcpu *vcpu, u8 vector);
void wisp_event_raise_error(struct wisp_vcpu *vcpu, u8 vector, u32 error_code);
void wisp_event_iret(struct wisp_vcpu *vcpu);
void wisp_event_iret_over(struct wisp_vcpu *vcpu);

/* For backends, round each entry. */
u32 wisp_event_encode(const struct wisp_event *event);
void wisp_event_cut_short(struct wisp_vcpu *vcpu, u32 info, u32 error_code);
void wisp_event_hand_over(struct wisp_vcpu *vcpu);

/* Of the word in which the hardware has an event, for either direction. */
#define WISP_INFO_VALID	BIT(31)

/* After an exit: @info and @error_code say what was in delivery, if anything. */
static inline void wisp_event_delivered(struct wisp_vcpu *vcpu, u32 info,
					u32 error_code)
{
	if (unlikely(info & WISP_INFO_VALID))
		wisp_event_cut_short(vcpu, info, error_code);
	else
		vcpu->events.injected = (struct wisp_event){ };
}

/* Before each entry, in the window: the hardware gets what it is to deliver. */
static inline void wisp_event_prepare(struct wisp_vcpu *vcpu)
{
	const struct wisp_events *events = &vcpu->events;

	vcpu->intr_window = vcpu->run_flags & WISP_RUN_INTR_WINDOW;
	vcpu->nmi_window = false;
	if (unlikely(events->interrupt.type || events->nmi_pending ||
		     events->injected.type))
		wisp_event_hand_over(vcpu);
}

#endif
