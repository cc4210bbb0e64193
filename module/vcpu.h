/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The vCPU: its state as the core keeps it, and the run loop's entry points.
 */
#ifndef WISP_VCPU_H
#define WISP_VCPU_H

#include <linux/atomic.h>
#include <linux/hrtimer.h>
#include <linux/mutex.h>
#include <linux/types.h>

#include <uapi/linux/wisp.h>

#include "host.h"
#include "state.h"

struct wisp_vm;

#define WISP_MAX_VCPUS	64

/* Why RFLAGS.TF is set behind the guest's back. */
enum wisp_step {
	WISP_STEP_NOT,
	WISP_STEP_VMM,		/* WISP_RUN_STEP; the others are the driver's */
	WISP_STEP_IRET,		/* an NMI waits for the IRET to end */
	WISP_STEP_SHADOW,	/* an NMI waits for the interrupt shadow to end */
	WISP_STEP_DR,		/* a guest's access, under the VMM's breakpoints */
};

/* What the last exit may still be completed with. */
enum wisp_completion {
	WISP_COMPLETE_NOTHING,
	WISP_COMPLETE_SKIP,	/* the instruction has no result */
	WISP_COMPLETE_DONE,	/* RIP is behind it already */
	WISP_COMPLETE_IN,	/* AL, AX or EAX */
	WISP_COMPLETE_RDMSR,	/* EDX:EAX */
};

/* Pages that a fault maps beyond its own, at most. */
#define WISP_AHEAD_MAX	15U

/* Where the next fault is, if the guest goes on; what the last one mapped ahead. */
struct wisp_ahead {
	u64 gpa;
	unsigned int pages;
};

/* What the VMM asked a run for, read once. */
struct wisp_request {
	u32 flags;
	u32 want;
	u32 dirty;
	u32 complete;
	u64 budget_ns;
	u64 reply;
	u64 reserved;			/* or-ed */
	u64 reserved2;
	struct wisp_event inject;
	struct wisp_breakpoints breakpoints;
};

/* Counted by the runner, read by anybody. */
struct wisp_vcpu_stats {
	u64 entries;
	u64 host_exits;
	u64 faults;
	u64 injections;
	u64 exits[WISP_EXIT_LIMIT + 1];
};

struct wisp_vcpu {
	/* Constant after create. */
	struct wisp_vm *vm;
	u32 index;
	u64 id;				/* unique while the driver is loaded */
	struct wisp_vcpu_page *page;	/* shared: see wisp_vcpu_page */

	/* A run, or a GET or SET of state, holds it: see wisp_vcpu_lock(). */
	struct mutex lock;

	/* Owned by the holder of @lock. */
	bool populated;			/* it has what it needs to run */
	struct wisp_general general;
	struct wisp_debug debug;
	struct wisp_events events;
	u64 injected_rip;		/* where events.injected was, at the last one */
	u64 xcr0;
	u64 pdptes[4];			/* where WISP_EXIT_PDPTES asked for them, */
	bool has_pdptes;		/* and there they are */
	u64 tsc_offset;			/* see wisp_clock_at() */
	u64 tsc_aux;
	struct wisp_fpu fpu;
	struct wisp_host host;
	u64 switches;			/* of the runner's task, at the last window */
	bool vmm_has_dr;		/* DR0-3 are the VMM's breakpoints in this window */
	struct wisp_exit exit;
	struct wisp_ahead ahead;
	struct wisp_registers scratch;	/* of the groups being checked */
	struct wisp_xsave_head xsave_head;	/* of an image being checked */

	/* Owned by the holder of @lock: what is to exit, and all of it in one number. */
	union {
		struct {
			bool intr_window;	/* WISP_EXIT_INTR_WINDOW, when it can */
			bool nmi_window;	/* any exit then, unless run() sees itself */
			bool iret_window;	/* WISP_EXIT_IRET, likewise */
			bool trap_int3;		/* INT3, as an exception */
			bool guest_has_dr;	/* not DR0-3: the guest's in this window */
			bool traps_dr;		/* but each access to one */
		};
		u64 to_exit;
	};
	u64 iret_rip;			/* of the last WISP_EXIT_IRET */
	u64 access_rip;			/* of the last WISP_STEP_DR */
	bool access_writes_dr6;

	/* Owned by the holder of @lock. */
	bool tlb_stale;			/* the next entry flushes */
#ifdef CONFIG_WISP_DEBUG
	bool ledger_stale;		/* the ledger's, whatever that one says */
#endif
	const void *tlb_cpu;		/* hw.c's, of the CPU of the last one */

	/* Owned by the holder of @lock: the run. */
	struct wisp_request request;
	struct wisp_vcpu_stats stats;
	struct wisp_breakpoints breakpoints;	/* with WISP_RUN_BREAKPOINTS */
	enum wisp_step step;
	bool step_tf;			/* RFLAGS.TF as the guest has it */
	bool breakpoints_live;		/* and not the guest's DR0-3 and DR7 */
	bool dr6_kept;			/* @new_dr6 is valid */
	u64 guest_dr6;			/* before the entry */
	u64 new_dr6;
	u32 run_flags;
	enum wisp_completion completion;
	u8 completion_size;
	u64 budget_end;			/* guest run time in TSC ticks, or 0 */
	u64 window_end;			/* the same, with the VM's limit */
	u64 run_time;			/* guest run time so far, in TSC ticks */
	u64 window_start;		/* TSC */
	struct hrtimer timer;
	int timer_cpu;			/* where @timer was armed */
	u64 timer_tsc;			/* when it fires */

	/*
	 * The SLAT generation that the next entry must not be older than: read
	 * in the window once @running_cpu is seen by who revokes.
	 */
	u64 slat_generation;

	/* Written by the runner, read by who kicks or revokes: the CPU or -1. */
	int running_cpu;

	/* Written by anybody: one kick ends one run. */
	atomic_t kicked;
};

int wisp_vcpu_create(struct wisp_vm *vm, u32 index, bool populate);
int wisp_vcpu_populate(struct wisp_vcpu *vcpu);
void wisp_vcpu_reset(struct wisp_vcpu *vcpu);
void wisp_vcpu_destroy(struct wisp_vcpu *vcpu);
int wisp_vcpu_run(struct wisp_vcpu *vcpu);
int wisp_vcpu_lock(struct wisp_vcpu *vcpu);
void wisp_vcpu_interrupt(struct wisp_vcpu *vcpu, bool wait);
void wisp_vcpu_kick(struct wisp_vcpu *vcpu);
void wisp_vcpu_get_registers(struct wisp_vcpu *vcpu, u32 groups,
			     struct wisp_registers *regs);
const struct wisp_control *wisp_vcpu_get_control(struct wisp_vcpu *vcpu);
void wisp_vcpu_set_registers(struct wisp_vcpu *vcpu, u32 groups,
			     const struct wisp_registers *regs);
void wisp_vcpu_copy_state(struct wisp_vcpu *vcpu, u32 groups,
			  struct wisp_state *state);
u32 wisp_vcpu_check_state(struct wisp_vcpu *vcpu, u32 groups,
			  const struct wisp_state *state);
void wisp_vcpu_load_state(struct wisp_vcpu *vcpu, u32 groups,
			  const struct wisp_state *state);
int wisp_vcpu_get_state(struct wisp_vcpu *vcpu, u32 groups,
			struct wisp_state *state);
int wisp_vcpu_set_state(struct wisp_vcpu *vcpu, u32 groups,
			const struct wisp_state *state, u32 *field);

#endif
