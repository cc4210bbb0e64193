/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Register state: what a guest may have in it.
 */
#ifndef WISP_STATE_H
#define WISP_STATE_H

#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/stddef.h>
#include <linux/types.h>

#include <asm/page.h>
#include <asm/processor-flags.h>

#include <asm/fpu/types.h>

#include <uapi/linux/wisp.h>

/* What of an XSAVE image XRSTOR is particular about. */
struct wisp_xsave_head {
	u32 mxcsr;
	struct xstate_header header;
};

/* The head of struct wisp_state: every group but the FPU's large image. */
struct wisp_registers {
	struct wisp_general general;
	struct wisp_segments segments;
	struct wisp_control control;
	struct wisp_debug debug;
	struct wisp_msrs msrs;
	struct wisp_events events;
};

#define WISP_SAME_OFFSET(member)                          \
	static_assert(offsetof(struct wisp_registers, member) == \
		      offsetof(struct wisp_state, member))
WISP_SAME_OFFSET(general);
WISP_SAME_OFFSET(segments);
WISP_SAME_OFFSET(control);
WISP_SAME_OFFSET(debug);
WISP_SAME_OFFSET(msrs);
WISP_SAME_OFFSET(events);
#undef WISP_SAME_OFFSET

#define WISP_STATE_ALL                                                    \
	(WISP_STATE_GENERAL | WISP_STATE_SEGMENTS | WISP_STATE_CONTROL |  \
	 WISP_STATE_DEBUG | WISP_STATE_MSRS | WISP_STATE_EVENTS |         \
	 WISP_STATE_FPU)

/* The groups that wisp_state_check() looks at besides those that changed. */
#define WISP_STATE_CHECKED                                                \
	(WISP_STATE_GENERAL | WISP_STATE_SEGMENTS | WISP_STATE_CONTROL)

#define WISP_ATTR_DPL	0x60	/* SS's is the CPL */
#define WISP_ATTR_L	0x2000	/* CS: 64-bit code, in long mode */
/* Of CS to SS in virtual-8086 mode: data, writable, accessed, DPL 3. */
#define WISP_ATTR_VM86	0xf3

/* Bit 10 is always one; 11, 12, 14 and 15 are zero, as MOV writes it. */
#define WISP_DR7_FIXED	0x400
#define WISP_DR7_ZERO	0xd800ULL
#define WISP_DR7_GD	0x2000ULL

/* What of a value for CR0 MOV looks at: it ignores the rest of the lower half. */
#define WISP_CR0_WRITTEN                                                  \
	(X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | \
	 X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | \
	 X86_CR0_PG | GENMASK_ULL(63, 32))

extern u64 wisp_efer_allowed;
extern u64 wisp_cr4_allowed;

void wisp_state_init(void);
void wisp_state_reset(struct wisp_registers *regs);

/* Each returns the WISP_FIELD() id of the first member that is refused, or 0. */
u32 wisp_state_check(const struct wisp_registers *regs, u32 groups);
u32 wisp_state_check_control(const struct wisp_registers *regs);
u32 wisp_state_check_event(const struct wisp_event *event, u32 field,
			   const struct wisp_registers *regs);
u32 wisp_state_check_xsave(const struct wisp_xsave_head *head);

int wisp_state_errno(u32 field, const struct wisp_events *events);

/* SEGMENTS and CONTROL are there. */
bool wisp_state_is_64bit(const struct wisp_registers *regs);

bool wisp_xcr0_valid(u64 xcr0);
bool wisp_pat_valid(u64 pat);
bool wisp_gva_canonical(u64 gva, u64 cr4);

#endif
