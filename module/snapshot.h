/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Snapshots: VMs that stand still, from which others are made.
 */
#ifndef WISP_SNAPSHOT_H
#define WISP_SNAPSHOT_H

#include <linux/types.h>

struct wisp_audit;
struct wisp_vcpu;
struct wisp_vm;
struct wisp_window;

struct wisp_vm *wisp_snapshot_take(struct wisp_vm *vm, u32 flags);
struct wisp_vm *wisp_snapshot_fork(struct wisp_vm *frozen,
				   struct wisp_window *window, u64 first);
int wisp_snapshot_reset(struct wisp_vm *vm, struct wisp_vm *frozen, u32 flags,
			struct wisp_audit *audit);
s64 wisp_snapshot_dirty(struct wisp_vm *vm, u64 *gpas, u64 room);

/* The registers of @from, which does not run, for @vcpu: its lock is held. */
void wisp_snapshot_load_vcpu(struct wisp_vcpu *vcpu, const struct wisp_vcpu *from);

#endif
