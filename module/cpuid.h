/* SPDX-License-Identifier: GPL-2.0 */
/*
 * CPUID: the table of a VM and the default one.
 */
#ifndef WISP_CPUID_H
#define WISP_CPUID_H

#include <linux/types.h>

#include <uapi/linux/wisp.h>

struct wisp_vcpu;

/* Constant after create; shared by reference. */
struct wisp_cpuid {
	u32 count;
	struct wisp_cpuid_entry entries[];
};

int wisp_cpuid_init(void);
void wisp_cpuid_exit(void);
const struct wisp_cpuid *wisp_cpuid_default(void);

struct wisp_cpuid *wisp_cpuid_create(u32 count);
int wisp_cpuid_check(struct wisp_cpuid *cpuid);
void wisp_cpuid_handle(struct wisp_vcpu *vcpu);

#endif
