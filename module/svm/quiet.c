// SPDX-License-Identifier: GPL-2.0
/*
 * The host's tracing does not reach into guests: counters and IBS are stopped
 * while a window is open. LBR and DEBUGCTL are switched by VMRUN itself (LBR
 * virtualization).
 */
#include <asm/cpufeature.h>
#include <asm/msr-index.h>
#include <asm/perf_event.h>

#include "../backend.h"
#include "../compat.h"
#include "svm.h"

/* Returns the old value, with @enable cleared in the register. */
static u64 stop(u32 msr, u64 enable)
{
	u64 value;

	rdmsrq(msr, value);
	if (value & enable)
		wrmsrq(msr, value & ~enable);
	return value;
}

static void restart(u32 msr, u64 value, u64 enable)
{
	if (value & enable)
		wrmsrq(msr, value);
}

void svm_quiet_enter(struct svm_vcpu *svm)
{
	struct svm_quiet *quiet = &svm->quiet;

	if (boot_cpu_has(X86_FEATURE_PERFMON_V2))
		quiet->global_ctl = stop(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, ~0ULL);
	if (boot_cpu_has(X86_FEATURE_IBS)) {
		quiet->ibs_fetch = stop(MSR_AMD64_IBSFETCHCTL, IBS_FETCH_ENABLE);
		quiet->ibs_op = stop(MSR_AMD64_IBSOPCTL, IBS_OP_ENABLE);
	}
}

void svm_quiet_leave(struct svm_vcpu *svm)
{
	const struct svm_quiet *quiet = &svm->quiet;

	if (boot_cpu_has(X86_FEATURE_IBS)) {
		restart(MSR_AMD64_IBSOPCTL, quiet->ibs_op, IBS_OP_ENABLE);
		restart(MSR_AMD64_IBSFETCHCTL, quiet->ibs_fetch,
			IBS_FETCH_ENABLE);
	}
	if (boot_cpu_has(X86_FEATURE_PERFMON_V2))
		restart(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, quiet->global_ctl, ~0ULL);
}
