/* SPDX-License-Identifier: GPL-2.0 */
/*
 * MSRs: those the driver keeps, and the VM's policy about the others.
 */
#ifndef WISP_MSR_H
#define WISP_MSR_H

#include <linux/types.h>

#include <uapi/linux/wisp.h>

struct wisp_policy;
struct wisp_vcpu;

int wisp_msr_check(struct wisp_policy *policy);
enum wisp_msr_action wisp_msr_handle(struct wisp_vcpu *vcpu);

#endif
