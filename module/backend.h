/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the core asks of a vendor's hardware. A backend makes exactly one entry
 * per run() and decodes; the core decides. It sees page frames and the vCPU,
 * never user memory, slots or ioctls.
 */
#ifndef WISP_BACKEND_H
#define WISP_BACKEND_H

#include <linux/bits.h>
#include <linux/static_call.h>
#include <linux/types.h>

#include "slat.h"
#include "vcpu.h"
#include "vm.h"

/*
 * Reasons that run() reports besides enum wisp_exit_reason. They are handled in
 * the driver and never reach the shared page.
 */
enum wisp_internal_exit {
	/* An interrupt, NMI or the like for the host: let it in. */
	WISP_EXIT_HOST = 0x10000,
	/* Second-level fault: exit.memory; WISP_MEMORY_WALK as found. */
	WISP_EXIT_FAULT,
	WISP_EXIT_CPUID,
	WISP_EXIT_XSETBV,
	/* Cache control that has no effect without devices: go on behind it. */
	WISP_EXIT_SKIP,
	/* The guest touched a debug register, which it gets for this window. Whether
	 * it wrote DR6 is in exit.raw[0].
	 */
	WISP_EXIT_DEBUG_ACCESS,
	/* MOV to CR0 or CR4 that the hardware cannot do alone: exit.raw[0] is
	 * the number, raw[1] all of the register that it comes from.
	 */
	WISP_EXIT_CR_WRITE,
	/* MOV from CR4: exit.raw[0] is the number of the register that gets it. */
	WISP_EXIT_CR4_READ,
	/* Not entered: vcpu->pdptes are to be read from exit.memory.gpa. */
	WISP_EXIT_PDPTES,
	/* An exception of the guest's own, intercepted: exit.raw[0] is the
	 * vector, raw[1] whether it has an error code, raw[2] that. With a
	 * length: INT1, which it comes behind.
	 */
	WISP_EXIT_EXCEPTION,
	/* An instruction that this CPU does not have, as far as guests know. */
	WISP_EXIT_UNDEFINED,
	/* An instruction that guests may not execute at all: #GP(0). */
	WISP_EXIT_DENIED,
	/* The guest's IRET, where iret_window asked for it. */
	WISP_EXIT_IRET,
	/* In deterministic VMs; see wisp_clock_handle(). */
	WISP_EXIT_RDTSC,
	WISP_EXIT_RDTSCP,
	/* Done by the backend: enter again. */
	WISP_EXIT_AGAIN,
	/* Not entered: the hardware was switched off under us. */
	WISP_EXIT_LOST,
	/* Likewise, and the guest's registers went with it. */
	WISP_EXIT_GONE,
};

/**
 * struct wisp_backend - one vendor's hardware
 * @id: enum wisp_backend_id
 * @name: for people
 * @vcpu_size: bytes of the backend's vCPU, whose first member is the core's
 * @format: of second-level entries
 * @features: WISP_FEATURE_*; valid after init
 * @quirks: WISP_QUIRK_*; valid after init
 * @gpa_bits: width of guest-physical addresses; valid after init
 * @marking_costs: where a leaf's dirty flag is set, walks of the guest's tables count as
 *	writes to them; it may stay clear until a VM's marks_dirty is set. Valid after init
 * @no_rdtscp: RDTSCP and RDPID are undefined in guests; valid after init
 * @no_invpcid: so is INVPCID; valid after init
 * @no_cr4: bits of CR4 that guests cannot set; valid after init
 *
 * @init: probe the CPU and allocate what all VMs share. Process context.
 *	Returns 0, -ENODEV (no such hardware), -EOPNOTSUPP (lacks what Wisp
 *	needs), -EACCES (the firmware locked it) or -ENOMEM, and says so in the
 *	log.
 * @exit: undo @init.
 *
 * @vcpu_init: allocate and set the backend's part; the core's is zeroed and
 *	the registers that the core keeps are set. Process context. Returns 0 or
 *	-ENOMEM; @vcpu_exit is called in either case.
 * @vcpu_exit: free the backend's part. Process context.
 *
 * @get_state: write the backend's members of the groups SEGMENTS, CONTROL and
 *	MSRS. The vCPU's lock; any context.
 * @set_state: take them. The core has checked them. The vCPU's lock.
 *
 * @cr4: the guest's CR4. The window.
 *
 * @inject: deliver this event at the next entry. The window.
 */
struct wisp_backend {
	u32 id;
	const char *name;
	size_t vcpu_size;
	struct wisp_slat_format format;
	u64 features;
	u64 quirks;
	u32 gpa_bits;
	bool marking_costs;
	bool no_rdtscp;
	bool no_invpcid;
	u64 no_cr4;

	int (*init)(void);
	void (*exit)(void);

	int (*vcpu_init)(struct wisp_vcpu *vcpu);
	void (*vcpu_exit)(struct wisp_vcpu *vcpu);

	void (*get_state)(struct wisp_vcpu *vcpu, u32 groups,
			  struct wisp_registers *regs);
	void (*set_state)(struct wisp_vcpu *vcpu, u32 groups,
			  const struct wisp_registers *regs);

	u64 (*cr4)(struct wisp_vcpu *vcpu);
	void (*inject)(struct wisp_vcpu *vcpu, const struct wisp_event *event);
};

extern struct wisp_backend svm_backend;
extern struct wisp_backend vmx_backend;

/* The one in use. Constant after init. */
extern struct wisp_backend *wisp_backend;

/*
 * Round windows and entries, interrupts off. The backend's init sets these; they are no
 * pointers, which would be called by retpolines.
 *
 * wisp_cpu_enable: have the hardware on, on this CPU. Returns 0; 1 where another
 *	hypervisor has it on, and may go on with a guest of its as if none had run since;
 *	or -EBUSY where the CPU refuses.
 * wisp_cpu_disable: the CPU is as it was before.
 * wisp_window_enter: save what of the host an entry overwrites and wisp_host_enter()
 *	does not know.
 * wisp_window_leave: bring it back.
 * wisp_run: enter the guest once, with the windows and traps that the vCPU has as
 *	wanted, and decode why it came back: every field of vcpu->exit, vcpu->general,
 *	debug.dr6 and dr7, events.injected (what was in delivery) and
 *	events.interrupt_shadow.
 */
DECLARE_STATIC_CALL(wisp_cpu_enable, int (void));
DECLARE_STATIC_CALL(wisp_cpu_disable, void (void));
DECLARE_STATIC_CALL(wisp_window_enter, void (struct wisp_vcpu *vcpu));
DECLARE_STATIC_CALL(wisp_window_leave, void (struct wisp_vcpu *vcpu));
DECLARE_STATIC_CALL(wisp_run, void (struct wisp_vcpu *vcpu));

/* For decoders. By stores: REP STOS costs more to begin with than all of them. */
static inline void wisp_exit_clear(struct wisp_exit *exit)
{
	u64 *word = (u64 *)exit;

#pragma GCC unroll 16
	while (word < (u64 *)(exit + 1))
		WRITE_ONCE(*word++, 0);
}

/* What both vendors' exits come down to: for their decoders, with exit zeroed. */

static inline void wisp_exit_port(struct wisp_vcpu *vcpu, u16 port, u8 size,
				  u32 flags)
{
	struct wisp_exit *exit = &vcpu->exit;

	exit->reason = WISP_EXIT_PORT;
	exit->port.port = port;
	exit->port.size = size;
	exit->port.flags = flags;
	if (!(flags & (WISP_PORT_IN | WISP_PORT_STRING)))
		exit->port.data = vcpu->general.rax &
				  GENMASK_ULL(size * 8 - 1, 0);
}

static inline void wisp_exit_msr(struct wisp_vcpu *vcpu, bool write)
{
	struct wisp_exit *exit = &vcpu->exit;

	exit->reason = WISP_EXIT_MSR;
	exit->msr.index = vcpu->general.rcx;
	exit->msr.write = write;
	if (write)
		exit->msr.data = (u32)vcpu->general.rax |
				 vcpu->general.rdx << 32;
}

static inline void wisp_exit_exception(struct wisp_vcpu *vcpu, u8 vector,
				       bool has_error_code, u32 error_code)
{
	struct wisp_exit *exit = &vcpu->exit;

	exit->reason = WISP_EXIT_EXCEPTION;
	exit->raw[0] = vector;
	exit->raw[1] = has_error_code;
	exit->raw[2] = has_error_code ? error_code : 0;
}

#endif
