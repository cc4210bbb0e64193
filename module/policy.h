/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A table of a VM's policy: constant once the VM has vCPUs, and then shared by
 * its snapshots and forks.
 */
#ifndef WISP_POLICY_H
#define WISP_POLICY_H

#include <linux/refcount.h>
#include <linux/slab.h>
#include <linux/types.h>

#include <uapi/linux/wisp.h>

#include "pages.h"

#define WISP_CPUID_BUCKETS	32

struct wisp_policy {
	refcount_t refs;
	u32 count;
	u16 first[WISP_CPUID_BUCKETS];	/* of CPUID's entries: see find() there */
	union {
		DECLARE_FLEX_ARRAY(struct wisp_cpuid_entry, cpuid);
		DECLARE_FLEX_ARRAY(struct wisp_msr_range, msrs);
	};
};

static inline struct wisp_policy *wisp_policy_alloc(u32 count, size_t entry_size)
{
	struct wisp_policy *policy;

	policy = kzalloc(sizeof(*policy) + count * entry_size, WISP_GFP);
	if (policy) {
		refcount_set(&policy->refs, 1);
		policy->count = count;
	}
	return policy;
}

/* NULL: the driver's own policy. */
static inline struct wisp_policy *wisp_policy_get(struct wisp_policy *policy)
{
	if (policy)
		refcount_inc(&policy->refs);
	return policy;
}

static inline void wisp_policy_put(struct wisp_policy *policy)
{
	if (policy && refcount_dec_and_test(&policy->refs))
		kfree(policy);
}

#endif
