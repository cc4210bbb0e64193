/* SPDX-License-Identifier: GPL-2.0 */
/*
 * CPUID: the table of a VM and the default one.
 */
#ifndef WISP_CPUID_H
#define WISP_CPUID_H

#include <linux/types.h>

#include <uapi/linux/wisp.h>

struct wisp_policy;
struct wisp_vcpu;

int wisp_cpuid_init(void);
void wisp_cpuid_exit(void);
const struct wisp_policy *wisp_cpuid_default(void);
int wisp_cpuid_check(struct wisp_policy *cpuid);
void wisp_cpuid_handle(struct wisp_vcpu *vcpu);

#endif
