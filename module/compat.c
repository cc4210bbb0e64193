// SPDX-License-Identifier: GPL-2.0
/*
 * What compat.h needs out of line.
 */
#include "compat.h"

#ifdef WISP_HOST_WORK_WANTS_VCPU
#include <linux/kvm_host.h>

/*
 * Signals, rescheduling and task work before the guest is entered. The kernel
 * has this for KVM, whose vCPU gets an exit reason and a count when a signal
 * came. This one is nobody's: what is written to it means nothing.
 */
int wisp_handle_host_work(void)
{
	static struct kvm_run run;
	static struct kvm_vcpu vcpu = { .run = &run };

	return xfer_to_guest_mode_handle_work(&vcpu);
}
#endif
