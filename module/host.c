// SPDX-License-Identifier: GPL-2.0
/*
 * The run window: what of the host makes room for the guest's.
 *
 * Everything here runs with interrupts off. A value of the host is read when
 * the window opens and written back when it closes; none is cached, because
 * another hypervisor may have changed it in between.
 */
#include "host.h"

#include <linux/hw_breakpoint.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>

#include <asm/debugreg.h>
#include <asm/fpu/types.h>
#include <asm/mce.h>
#include <asm/msr-index.h>
#include <asm/nmi.h>
#include <asm/perf_event.h>
#include <asm/ptrace.h>
#include <asm/special_insns.h>

#include "compat.h"
#include "pages.h"
#include "vcpu.h"

/* Components whose standard-format offsets lie within WISP_XSAVE_SIZE. */
#define XCR0_KNOWN                                                        \
	(XFEATURE_MASK_FP | XFEATURE_MASK_SSE | XFEATURE_MASK_YMM |       \
	 XFEATURE_MASK_OPMASK | XFEATURE_MASK_ZMM_Hi256 |                 \
	 XFEATURE_MASK_Hi16_ZMM | XFEATURE_MASK_PKRU)

/* Branch sampling of Zen 3, in MSR_AMD_DBG_EXTN_CFG. */
#define DBG_EXTN_CFG_BRSMEN	BIT_ULL(2)

u64 wisp_host_xcr0;
u32 wisp_host_xsave_size;

/* In an image; and @end where what comes behind has its initial value, which is 0. */
static struct {
	u32 offset;
	u32 size;
	u32 end;
} components[XFEATURE_PKRU + 1] __ro_after_init;

static_assert(XCR0_KNOWN < BIT_ULL(ARRAY_SIZE(components)));

static struct kmem_cache *fpu_cache;

static u64 xcr0_read(void)
{
	u32 low, high;

	asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (u64)high << 32 | low;
}

static void xcr0_write(u64 xcr0)
{
	asm volatile("xsetbv" : : "c"(0), "a"((u32)xcr0), "d"((u32)(xcr0 >> 32))
		     : "memory");
}

static void xsave(void *image)
{
	asm volatile("xsave64 (%0)" : : "r"(image), "a"((u32)wisp_host_xcr0),
		     "d"((u32)(wisp_host_xcr0 >> 32)) : "memory");
}

/*
 * The image was checked, so XRSTOR cannot fault. Older AMD CPUs leave FIP, FDP and FOP
 * of who was there before, unless an exception is pending: make them nobody's.
 */
static void xrstor(const void *image)
{
	if (static_cpu_has_bug(X86_BUG_FXSAVE_LEAK))
		asm volatile("fnclex; emms; fildl %0" : : "m"(wisp_host_xsave_size));
	asm volatile("xrstor64 (%0)" : : "r"(image), "a"((u32)wisp_host_xcr0),
		     "d"((u32)(wisp_host_xcr0 >> 32)) : "memory");
}

/*
 * What traces the host, and how it is stopped. All of RTIT_CTL: perf leaves the rest of
 * it set where it stops a trace. @period: perf clears these, too.
 */
static const struct tracer {
	unsigned int feature;
	u32 msr;
	u64 enable;
	u64 period;
} all_tracers[WISP_TRACERS] = {
	{ X86_FEATURE_PERFMON_V2, MSR_AMD64_PERF_CNTR_GLOBAL_CTL, ~0ULL },
	{ X86_FEATURE_AMD_LBR_V2, MSR_AMD_DBG_EXTN_CFG, DBG_EXTN_CFG_LBRV2EN },
	{ X86_FEATURE_BRS, MSR_AMD_DBG_EXTN_CFG, DBG_EXTN_CFG_BRSMEN },
	{ X86_FEATURE_IBS, MSR_AMD64_IBSFETCHCTL, IBS_FETCH_ENABLE, IBS_FETCH_MAX_CNT },
	{ X86_FEATURE_IBS, MSR_AMD64_IBSOPCTL, IBS_OP_ENABLE,
	  IBS_OP_MAX_CNT | IBS_OP_MAX_CNT_EXT_MASK },
	{ X86_FEATURE_ARCH_PERFMON, MSR_CORE_PERF_GLOBAL_CTRL, ~0ULL },
	{ X86_FEATURE_PEBS, MSR_IA32_PEBS_ENABLE, ~0ULL },
	{ X86_FEATURE_INTEL_PT, MSR_IA32_RTIT_CTL, ~0ULL },
	{ X86_FEATURE_ARCH_LBR, MSR_ARCH_LBR_CTL, ARCH_LBR_CTL_LBREN },
};

/* Those that this CPU has. Constant after init. */
static struct tracer tracers[WISP_TRACERS];
static unsigned int ntracers;

static void find_tracers(void)
{
	unsigned int i;

	for (i = 0; i < WISP_TRACERS; i++)
		if (boot_cpu_has(all_tracers[i].feature))
			tracers[ntracers++] = all_tracers[i];
}

static DEFINE_PER_CPU(unsigned int, nmis);
static DEFINE_PER_CPU(bool, ibs_stopped);

static int count_nmi(unsigned int type, struct pt_regs *regs)
{
	this_cpu_inc(nmis);
	return NMI_DONE;
}

/* IBS that is being stopped may bring an NMI without a sample, which perf does not know. */
static int own_nmi(unsigned int type, struct pt_regs *regs)
{
	return this_cpu_xchg(ibs_stopped, false) ? NMI_HANDLED : NMI_DONE;
}

unsigned int wisp_host_nmis(void)
{
	return this_cpu_read(nmis);
}

/*
 * The host's tracing does not reach into guests. First of all: on some CPUs
 * VMXON ends Intel PT without telling anybody.
 */
void wisp_host_quiet(struct wisp_vcpu *vcpu)
{
	unsigned int i, before;
	u64 *old = vcpu->host.traced;

	for (i = 0; i < ntracers; i++) {
		before = wisp_host_nmis();
		old[i] = native_rdmsrq(tracers[i].msr);
		if (!(old[i] & tracers[i].enable))
			continue;
		if (tracers[i].period)
			this_cpu_write(ibs_stopped, true);
		native_wrmsrq(tracers[i].msr, old[i] & ~tracers[i].enable);
		/* In between perf may have stopped it, for good. */
		if (tracers[i].msr == MSR_IA32_RTIT_CTL && before != wisp_host_nmis())
			old[i] = 0;
	}
}

/*
 * An NMI in the window, whose handler was perf's, may have taken a sample and started
 * anew: then what was there before is out of date. (IBS with an old sample's valid bit
 * would never bring another.) Or it has stopped for good: IBS was throttled, or Intel
 * PT's buffer was full, and to start that again would have it write there when the
 * buffer is gone. Rather than that it is off until perf starts it next.
 */
void wisp_host_unquiet(struct wisp_vcpu *vcpu)
{
	const u64 *old = vcpu->host.traced;
	unsigned int i, before;
	u64 now;

	for (i = ntracers; i--;) {
		if (!(old[i] & tracers[i].enable))
			continue;
		before = wisp_host_nmis();
		now = native_rdmsrq(tracers[i].msr);
		if (now & tracers[i].enable ||
		    (tracers[i].period && !(now & tracers[i].period)))
			continue;
		native_wrmsrq(tracers[i].msr, now | (old[i] & tracers[i].enable));
		if (tracers[i].msr == MSR_IA32_RTIT_CTL && before != wisp_host_nmis())
			native_wrmsrq(tracers[i].msr, 0);
	}
}

/* Before anything else of the driver asks what guests may have. Returns 0 or -errno. */
int wisp_host_init(void)
{
	u32 eax, ebx, ecx, edx;
	unsigned int i;
	int ret;

	find_tracers();
	wisp_host_xcr0 = xcr0_read() & XCR0_KNOWN;
	/* With "nopku" some kernels leave it there; RDPKRU would be #UD. */
	if (!boot_cpu_has(X86_FEATURE_OSPKE))
		wisp_host_xcr0 &= ~XFEATURE_MASK_PKRU;
	wisp_host_xsave_size = offsetof(struct xregs_state, extended_state_area);
	for (i = 0; i < ARRAY_SIZE(components); i++) {
		cpuid_count(0xd, i, &eax, &ebx, &ecx, &edx);
		if (i >= 2 && ebx + eax > WISP_XSAVE_SIZE)
			wisp_host_xcr0 &= ~BIT_ULL(i);
		if (i >= 2 && wisp_host_xcr0 & BIT_ULL(i)) {
			components[i].offset = ebx;
			components[i].size = eax;
			wisp_host_xsave_size = max(wisp_host_xsave_size,
						   ebx + eax);
		}
		components[i].end = wisp_host_xsave_size;
	}
	fpu_cache = kmem_cache_create("wisp_fpu", wisp_host_xsave_size, 64,
				      0, NULL);
	if (!fpu_cache)
		return -ENOMEM;
	ret = register_nmi_handler(NMI_LOCAL, count_nmi, 0, "wisp");
	if (ret)
		goto err_cache;
	ret = register_nmi_handler(NMI_UNKNOWN, own_nmi, 0, "wisp");
	if (ret)
		goto err_count;
	return 0;

err_count:
	unregister_nmi_handler(NMI_LOCAL, "wisp");
err_cache:
	kmem_cache_destroy(fpu_cache);
	return ret;
}

void wisp_host_exit(void)
{
	unregister_nmi_handler(NMI_UNKNOWN, "wisp");
	unregister_nmi_handler(NMI_LOCAL, "wisp");
	kmem_cache_destroy(fpu_cache);
}

int wisp_fpu_alloc(struct wisp_fpu *fpu)
{
	if (!fpu->xsave)
		fpu->xsave = kmem_cache_zalloc(fpu_cache, WISP_GFP);
	return fpu->xsave ? 0 : -ENOMEM;
}

/*
 * What is not in XSTATE_BV has its initial value in an image: XSAVE writes that, and so
 * does wisp_fpu_set(). Most guests use few components, and the rest is long.
 */
static u32 used_size(u64 xstate_bv)
{
	return components[fls64(xstate_bv | XFEATURE_MASK_FP) - 1].end;
}

/* Both have images. */
void wisp_fpu_copy(struct wisp_fpu *to, const struct wisp_fpu *from)
{
	const struct xregs_state *source = from->xsave;
	struct xregs_state *image = to->xsave;

	memcpy(image, source,
	       used_size(image->header.xfeatures | source->header.xfeatures));
}

/* To the initial configuration of each component, as FNINIT leaves it. */
void wisp_fpu_reset(struct wisp_fpu *fpu)
{
	struct xregs_state *image = fpu->xsave;

	memset(image, 0, used_size(image->header.xfeatures));
	image->i387.cwd = 0x37f;
	image->i387.mxcsr = MXCSR_DEFAULT;
}

void wisp_fpu_free(struct wisp_fpu *fpu)
{
	if (fpu->xsave)
		kmem_cache_free(fpu_cache, fpu->xsave);
}

void wisp_fpu_get(const struct wisp_fpu *fpu, void *image)
{
	memcpy(image, fpu->xsave, wisp_host_xsave_size);
	memset(image + wisp_host_xsave_size, 0,
	       WISP_XSAVE_SIZE - wisp_host_xsave_size);
}

/* @image may change meanwhile; what XRSTOR is particular about is in @head. */
void wisp_fpu_set(struct wisp_fpu *fpu, const void *image,
		  const struct wisp_xsave_head *head)
{
	struct xregs_state *own = fpu->xsave;
	unsigned int i;

	memcpy(own, image, wisp_host_xsave_size);
	own->i387.mxcsr = head->mxcsr;
	own->header = head->header;
	for (i = 0; i < ARRAY_SIZE(components); i++)
		if (!(own->header.xfeatures & BIT_ULL(i)))
			memset(fpu->xsave + components[i].offset, 0,
			       components[i].size);
}

/* The guest's XCR0 changes within its window. */
void wisp_host_set_xcr0(struct wisp_vcpu *vcpu, u64 xcr0)
{
	vcpu->xcr0 = xcr0;
	xcr0_write(xcr0);
}

/*
 * The register is the truth: an emulator may let XSETBV pass without the exit
 * that was asked for (QEMU's TCG does).
 */
u64 wisp_host_sync_xcr0(struct wisp_vcpu *vcpu)
{
	vcpu->xcr0 = xcr0_read();
	return vcpu->xcr0;
}

static void enter_msrs(struct wisp_vcpu *vcpu)
{
	struct wisp_host *host = &vcpu->host;

	if (wisp_host_has_tsc_aux()) {
		host->tsc_aux = native_rdmsrq(MSR_TSC_AUX);
		if (host->tsc_aux != vcpu->tsc_aux)
			native_wrmsrq(MSR_TSC_AUX, vcpu->tsc_aux);
	}
	/* XSAVES and XRSTORS in the guest must find no component of the host. */
	if (static_cpu_has(X86_FEATURE_XSAVES)) {
		host->xss = native_rdmsrq(MSR_IA32_XSS);
		if (host->xss)
			native_wrmsrq(MSR_IA32_XSS, 0);
	}
	/* The guest may set CR4.CET, but not these. */
	if (static_cpu_has(X86_FEATURE_SHSTK) || static_cpu_has(X86_FEATURE_IBT)) {
		host->u_cet = native_rdmsrq(MSR_IA32_U_CET);
		if (host->u_cet)
			native_wrmsrq(MSR_IA32_U_CET, 0);
	}
}

static void leave_msrs(struct wisp_vcpu *vcpu)
{
	struct wisp_host *host = &vcpu->host;

	if (wisp_host_has_tsc_aux() && host->tsc_aux != vcpu->tsc_aux)
		native_wrmsrq(MSR_TSC_AUX, host->tsc_aux);
	if (static_cpu_has(X86_FEATURE_XSAVES) && host->xss)
		native_wrmsrq(MSR_IA32_XSS, host->xss);
	if (static_cpu_has(X86_FEATURE_SHSTK) || static_cpu_has(X86_FEATURE_IBT))
		if (host->u_cet)
			native_wrmsrq(MSR_IA32_U_CET, host->u_cet);
}

static void load_debug(const u64 *dr)
{
	set_debugreg((unsigned long)dr[0], 0);
	set_debugreg((unsigned long)dr[1], 1);
	set_debugreg((unsigned long)dr[2], 2);
	set_debugreg((unsigned long)dr[3], 3);
}

static void save_debug(u64 *dr)
{
	get_debugreg(dr[0], 0);
	get_debugreg(dr[1], 1);
	get_debugreg(dr[2], 2);
	get_debugreg(dr[3], 3);
}

/**
 * wisp_host_give_debug() - load DR0-3: the guest's, or the VMM's breakpoints
 * @vcpu: in its window
 *
 * Unless the registers are the guest's (guest_has_dr), the backend intercepts
 * the guest's accesses to them.
 */
void wisp_host_give_debug(struct wisp_vcpu *vcpu)
{
	if (vcpu->breakpoints_live) {
		load_debug(vcpu->breakpoints.address);
		vcpu->vmm_has_dr = true;
	} else if (!vcpu->guest_has_dr) {
		load_debug(&vcpu->debug.dr0);
		vcpu->guest_has_dr = true;
	}
}

/* The registers are nobody's again; the guest's are kept. */
void wisp_host_take_debug(struct wisp_vcpu *vcpu)
{
	static const u64 none[4];

	if (vcpu->guest_has_dr)
		save_debug(&vcpu->debug.dr0);
	vcpu->guest_has_dr = false;
	vcpu->vmm_has_dr = false;
	load_debug(none);
}

/* Whose branches this CPU's predictors may have learnt last. Its own CPU's. */
static DEFINE_PER_CPU(u64, last_vcpu_id);

/*
 * One guest must not steer another's branches, nor a process that ran in
 * between the guest's: a barrier when the vCPU changes, and when the runner was
 * scheduled in anew.
 */
static void barrier_between_guests(struct wisp_vcpu *vcpu)
{
	/* Counted from 0 for each task: the next one may have as many. */
	u64 switches = current->nvcsw + current->nivcsw + current->start_time;

	if (this_cpu_read(last_vcpu_id) == vcpu->id &&
	    vcpu->switches == switches)
		return;
	this_cpu_write(last_vcpu_id, vcpu->id);
	vcpu->switches = switches;
	if (static_cpu_has(X86_FEATURE_USE_IBPB))
		native_wrmsrq(MSR_IA32_PRED_CMD, PRED_CMD_IBPB);
}

/* The host's own; 7.x lets only KVM call hw_breakpoint_restore(). */
static void take_breakpoints(struct wisp_host *host)
{
	save_debug(host->dr);
	get_debugreg(host->dr7, 7);
	set_debugreg(0UL, 7);
}

static void give_breakpoints(const struct wisp_host *host)
{
	load_debug(host->dr);
	set_debugreg(host->dr7, 7);
}

/**
 * wisp_host_enter() - give the guest its part of the CPU
 * @vcpu: its lock is held; within kernel_fpu_begin(); interrupts off
 *
 * Afterwards XCR0, the FPU, PKRU, TSC_AUX and, where it uses them, DR0-3 are
 * the guest's. The host must not touch the FPU or user memory.
 */
void wisp_host_enter(struct wisp_vcpu *vcpu)
{
	struct wisp_host *host = &vcpu->host;

	barrier_between_guests(vcpu);
	host->xcr0 = xcr0_read();
	if (wisp_host_xcr0 & XFEATURE_MASK_PKRU)
		host->pkru = rdpkru();
	xrstor(vcpu->fpu.xsave);
	if (vcpu->xcr0 != host->xcr0)
		xcr0_write(vcpu->xcr0);
	enter_msrs(vcpu);
	/* A breakpoint of the host must not fire on the way into the guest. */
	if (hw_breakpoint_active())
		take_breakpoints(host);
	if (vcpu->breakpoints_live ||
	    vcpu->debug.dr7 & (DR_GLOBAL_ENABLE_MASK | DR_LOCAL_ENABLE_MASK))
		wisp_host_give_debug(vcpu);
}

/**
 * wisp_host_leave() - the exact mirror of wisp_host_enter()
 * @vcpu: the same
 */
void wisp_host_leave(struct wisp_vcpu *vcpu)
{
	struct wisp_host *host = &vcpu->host;

	if (vcpu->guest_has_dr || vcpu->vmm_has_dr)
		wisp_host_take_debug(vcpu);
	/* Some bits of it are 0 where something is. */
	if (vcpu->debug.dr6 != DR6_RESERVED || vcpu->new_dr6 != DR6_RESERVED)
		set_debugreg((unsigned long)DR6_RESERVED, 6);
	if (hw_breakpoint_active())
		give_breakpoints(host);
	leave_msrs(vcpu);
	if (wisp_host_sync_xcr0(vcpu) != host->xcr0)
		xcr0_write(host->xcr0);
	xsave(vcpu->fpu.xsave);
	if (wisp_host_xcr0 & XFEATURE_MASK_PKRU)
		wrpkru(host->pkru);
	if (unlikely(host->split_lock)) {
		native_wrmsrq(MSR_TEST_CTRL, native_rdmsrq(MSR_TEST_CTRL) |
					     MSR_TEST_CTRL_SPLIT_LOCK_DETECT);
		host->split_lock = false;
	}
	/*
	 * VMSCAPE: the VMM must not run on branches that its guest trained. Nor must
	 * a guest of KVM's, which has no barrier where that was its last one here.
	 */
	if (host->shared && static_cpu_has(X86_FEATURE_USE_IBPB))
		native_wrmsrq(MSR_IA32_PRED_CMD, PRED_CMD_IBPB);
	else
		wisp_ibpb_before_user();
}

/**
 * wisp_host_allow_split_lock() - after #AC that the guest did not ask for
 * @vcpu: in its window
 *
 * Where the kernel has the CPU report locked accesses that cross cache lines, it does
 * so in guests, too, which know nothing of it: SDM Vol. 3, "Split Lock Detection". Not
 * until the window closes; the MSR is the core's, so another thread may have been
 * faster. Returns false where that is not what it was.
 */
bool wisp_host_allow_split_lock(struct wisp_vcpu *vcpu)
{
	u64 ctrl;

	if (!boot_cpu_has(X86_FEATURE_SPLIT_LOCK_DETECT))
		return false;
	ctrl = native_rdmsrq(MSR_TEST_CTRL);
	if (ctrl & MSR_TEST_CTRL_SPLIT_LOCK_DETECT) {
		native_wrmsrq(MSR_TEST_CTRL, ctrl & ~MSR_TEST_CTRL_SPLIT_LOCK_DETECT);
		vcpu->host.split_lock = true;
	}
	return true;
}

/* It is the host's, also when it came while the guest ran. In the window. */
void wisp_host_machine_check(void)
{
#ifdef CONFIG_X86_MCE
	struct pt_regs regs = { .cs = 3, .flags = X86_EFLAGS_IF };

	do_machine_check(&regs);
#endif
}
