/* SPDX-License-Identifier: GPL-2.0 */
/*
 * MSRs: those the driver keeps, and the VM's policy about the others.
 */
#ifndef WISP_MSR_H
#define WISP_MSR_H

#include <linux/types.h>

#include <uapi/linux/wisp.h>

struct wisp_vcpu;

/* Constant after create. */
struct wisp_msr_policy {
	u32 count;
	struct wisp_msr_range ranges[];
};

struct wisp_msr_policy *wisp_msr_policy_create(u32 count);
int wisp_msr_policy_check(const struct wisp_msr_policy *policy);
enum wisp_msr_action wisp_msr_handle(struct wisp_vcpu *vcpu);

#endif
