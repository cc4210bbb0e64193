// SPDX-License-Identifier: GPL-2.0
/*
 * Creators: how many VMs and vCPUs a user may have.
 *
 * What memory they hold is charged to cgroups and bounded by max_memory_mib;
 * the bounds here keep a user from filling the driver with empty objects.
 */
#include "creator.h"

#include <linux/capability.h>
#include <linux/cleanup.h>
#include <linux/cred.h>
#include <linux/err.h>
#include <linux/hashtable.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/slab.h>

#include "pages.h"

struct wisp_creator {
	/* Constant after create. */
	u32 uid;

	/* Protected by creators_lock. */
	struct hlist_node node;
	unsigned int refs;

	atomic_t counted[WISP_COUNTED_MAX];
};

static unsigned int max_vms_per_user = 1024;
module_param(max_vms_per_user, uint, 0644);
MODULE_PARM_DESC(max_vms_per_user, "VMs of a user who lacks CAP_SYS_RESOURCE");

static unsigned int max_vcpus_per_user = 4096;
module_param(max_vcpus_per_user, uint, 0644);
MODULE_PARM_DESC(max_vcpus_per_user, "vCPUs of a user who lacks CAP_SYS_RESOURCE");

static DEFINE_MUTEX(creators_lock);

/* Protected by creators_lock: by uid in the initial namespace. */
static DEFINE_HASHTABLE(creators, 8);

/**
 * wisp_creator_get() - the creator that the current process acts for
 *
 * May sleep. Returns it, NULL for one who has no bounds, or ERR_PTR(-ENOMEM).
 */
struct wisp_creator *wisp_creator_get(void)
{
	u32 uid = from_kuid(&init_user_ns, current_uid());
	struct wisp_creator *new __free(kfree) = NULL;
	struct wisp_creator *creator;

	if (capable(CAP_SYS_RESOURCE))
		return NULL;
	/* All users share the lock, and one whose cgroup is full may wait here. */
	new = kzalloc(sizeof(*new), WISP_GFP);
	if (!new)
		return ERR_PTR(-ENOMEM);
	guard(mutex)(&creators_lock);
	hash_for_each_possible(creators, creator, node, uid)
		if (creator->uid == uid)
			break;
	if (!creator) {
		creator = no_free_ptr(new);
		creator->uid = uid;
		hash_add(creators, &creator->node, uid);
	}
	creator->refs++;
	return creator;
}

void wisp_creator_put(struct wisp_creator *creator)
{
	if (!creator)
		return;
	guard(mutex)(&creators_lock);
	if (--creator->refs)
		return;
	hash_del(&creator->node);
	kfree(creator);
}

/* Returns 0, or -EDQUOT where the creator has as many as it may. */
int wisp_creator_charge(struct wisp_creator *creator, enum wisp_counted what)
{
	unsigned int limit = what == WISP_COUNTED_VMS ? max_vms_per_user :
							max_vcpus_per_user;

	if (!creator)
		return 0;
	if (atomic_inc_return(&creator->counted[what]) <= limit)
		return 0;
	atomic_dec(&creator->counted[what]);
	return -EDQUOT;
}

void wisp_creator_uncharge(struct wisp_creator *creator, enum wisp_counted what)
{
	if (creator)
		atomic_dec(&creator->counted[what]);
}
