/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The audit of a reset: is the VM as its snapshot is?
 */
#ifndef WISP_AUDIT_H
#define WISP_AUDIT_H

#include <linux/types.h>

struct wisp_audit;
struct wisp_vm;

/*
 * @vm was reset to its base, at its tsc_origin, and does not run: its lock is held.
 * @audit, zero, gets what differs. May sleep.
 */
void wisp_audit(struct wisp_vm *vm, struct wisp_audit *audit);

#endif
