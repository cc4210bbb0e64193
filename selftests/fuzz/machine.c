// SPDX-License-Identifier: GPL-2.0
#include <stdlib.h>

#include "machine.h"

static char *snapshot;

const char * const machine_mode_names[] = {
	[REAL16] = "16", [PROTECTED32] = "32", [LONG64] = "64",
	[USER64] = "64 user",
};

static int set_policy(int vm)
{
	struct wisp_msr_range ranges[] = {
		{
			MACHINE_MSR_EXITS, MACHINE_MSR_EXITS,
			WISP_MSR_EXIT, WISP_MSR_EXIT,
		}, {
			MACHINE_MSR_IGNORED, MACHINE_MSR_IGNORED,
			WISP_MSR_IGNORE, WISP_MSR_IGNORE,
		},
	};
	struct wisp_set_msr_policy arg = {
		.size = sizeof(arg),
		.count = sizeof(ranges) / sizeof(*ranges),
		.ranges = (uintptr_t)ranges,
	};

	return raw(vm, WISP_SET_MSR_POLICY, &arg);
}

int machine_create(struct guest *g)
{
	int ret = guest_create_vm(g) ?:
		  raw_set_slot(g->vm, 0, 0, MACHINE_SIZE, g->fd, 0, PROT_RWX) ?:
		  set_policy(g->vm) ?:
		  guest_add_vcpu(g, 0) ?: guest_add_vcpu(g, 1);

	if (ret)
		return ret;
	snapshot = malloc(MACHINE_SIZE);
	if (!snapshot)
		return -ENOMEM;
	/* Where interrupts go to from CPL 3 in 32-bit code. */
	((__u32 *)guest_at(g, GUEST_TSS))[2] = 0x20;
	memcpy(snapshot, g->memory, MACHINE_SIZE);
	return 0;
}

void machine_reset(struct guest *g)
{
	memcpy(g->memory, snapshot, MACHINE_SIZE);
	memset(g->page, 0, WISP_FIELD(exit));
}
