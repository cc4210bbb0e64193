/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints: trace-cmd record -e wisp.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM wisp

#if !defined(WISP_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define WISP_TRACE_H

#include <linux/tracepoint.h>

#include "vcpu.h"

/* Into the guest. */
TRACE_EVENT(wisp_entry,
	TP_PROTO(const struct wisp_vcpu *vcpu),
	TP_ARGS(vcpu),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, rip)
	),
	TP_fast_assign(
		__entry->id = vcpu->id;
		__entry->rip = vcpu->general.rip;
	),
	TP_printk("vcpu %llu rip %#llx", __entry->id, __entry->rip)
);

/* Out of it: enum wisp_exit_reason, or the driver's own from 0x10000 on. */
TRACE_EVENT(wisp_exit,
	TP_PROTO(const struct wisp_vcpu *vcpu),
	TP_ARGS(vcpu),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, reason)
		__field(u64, rip)
		__field(u64, info)
	),
	TP_fast_assign(
		__entry->id = vcpu->id;
		__entry->reason = vcpu->exit.reason;
		__entry->rip = vcpu->general.rip;
		__entry->info = vcpu->exit.raw[0];
	),
	TP_printk("vcpu %llu reason %#x rip %#llx info %#llx", __entry->id,
		  __entry->reason, __entry->rip, __entry->info)
);

/* A second-level fault has been handled. */
TRACE_EVENT(wisp_fault,
	TP_PROTO(const struct wisp_vcpu *vcpu, int result),
	TP_ARGS(vcpu, result),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, gpa)
		__field(u32, access)
		__field(int, result)
	),
	TP_fast_assign(
		__entry->id = vcpu->id;
		__entry->gpa = vcpu->exit.memory.gpa;
		__entry->access = vcpu->exit.memory.access;
		__entry->result = result;
	),
	TP_printk("vcpu %llu gpa %#llx access %u result %d", __entry->id,
		  __entry->gpa, __entry->access, __entry->result)
);

/* An event goes in with the next entry. */
TRACE_EVENT(wisp_inject,
	TP_PROTO(const struct wisp_vcpu *vcpu, const struct wisp_event *event),
	TP_ARGS(vcpu, event),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u8, type)
		__field(u8, vector)
		__field(u32, error_code)
	),
	TP_fast_assign(
		__entry->id = vcpu->id;
		__entry->type = event->type;
		__entry->vector = event->vector;
		__entry->error_code = event->error_code;
	),
	TP_printk("vcpu %llu type %u vector %u error %#x", __entry->id,
		  __entry->type, __entry->vector, __entry->error_code)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH module
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
