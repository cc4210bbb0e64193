/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Events: what may be delivered when. The rules common to both vendors.
 */
#ifndef WISP_EVENT_H
#define WISP_EVENT_H

#include <linux/types.h>

#include <uapi/linux/wisp.h>

struct wisp_vcpu;

bool wisp_event_waiting(const struct wisp_events *events, u8 type);
void wisp_event_inject(struct wisp_vcpu *vcpu, const struct wisp_event *event);
void wisp_event_raise(struct wisp_vcpu *vcpu, u8 vector);
void wisp_event_raise_error(struct wisp_vcpu *vcpu, u8 vector, u32 error_code);
void wisp_event_prepare(struct wisp_vcpu *vcpu);
void wisp_event_iret(struct wisp_vcpu *vcpu);

/* For backends, round each entry. */
u32 wisp_event_encode(const struct wisp_event *event);
void wisp_event_delivered(struct wisp_vcpu *vcpu, u32 info, u32 error_code);

#endif
