/* SPDX-License-Identifier: GPL-2.0 */
/* Whole vCPU states to start from, for the three modes that guests run in. */
#ifndef WISP_SELFTESTS_STATE_H
#define WISP_SELFTESTS_STATE_H

#define CR0_PE		(1ULL << 0)
#define CR0_MP		(1ULL << 1)
#define CR0_EM		(1ULL << 2)
#define CR0_TS		(1ULL << 3)
#define CR0_ET		(1ULL << 4)
#define CR0_NE		(1ULL << 5)
#define CR0_WP		(1ULL << 16)
#define CR0_AM		(1ULL << 18)
#define CR0_NW		(1ULL << 29)
#define CR0_CD		(1ULL << 30)
#define CR0_PG		(1ULL << 31)

#define CR4_TSD		(1ULL << 2)
#define CR4_DE		(1ULL << 3)
#define CR4_PSE		(1ULL << 4)
#define CR4_PAE		(1ULL << 5)
#define CR4_MCE		(1ULL << 6)
#define CR4_PGE		(1ULL << 7)
#define CR4_OSFXSR	(1ULL << 9)
#define CR4_OSXMMEXCPT	(1ULL << 10)
#define CR4_VMXE	(1ULL << 13)
#define CR4_OSXSAVE	(1ULL << 18)

#define EFER_SCE	(1ULL << 0)
#define EFER_LME	(1ULL << 8)
#define EFER_LMA	(1ULL << 10)
#define EFER_NXE	(1ULL << 11)
#define EFER_SVME	(1ULL << 12)

#define RFLAGS_FIXED	(1ULL << 1)
#define RFLAGS_ZF	(1ULL << 6)
#define RFLAGS_TF	(1ULL << 8)
#define RFLAGS_IF	(1ULL << 9)
#define RFLAGS_DF	(1ULL << 10)
#define RFLAGS_AC	(1ULL << 18)

#define DR6_FIXED	0xffff0ff0ULL
#define DR7_FIXED	0x400ULL
#define DR7_GD		(1ULL << 13)
#define PAT_RESET	0x0007040600070406ULL

#define XCR0_X87	(1ULL << 0)
#define XCR0_SSE	(1ULL << 1)
#define XCR0_YMM	(1ULL << 2)

/* wisp_segment.attributes */
#define SEG_CODE16	0x009b
#define SEG_DATA16	0x0093
#define SEG_CODE32	0xc09b
#define SEG_DATA32	0xc093
#define SEG_CODE64	0xa09b
#define SEG_TSS		0x008b
#define SEG_LDT		0x0082
#define SEG_DPL3	0x0060

/* Offsets in wisp_state.xsave: SDM Vol. 1, "XSAVE Area". */
#define XSAVE_FCW	0
#define XSAVE_FTW	4
#define XSAVE_MXCSR	24
#define XSAVE_ST0	32
#define XSAVE_XMM0	160
#define XSAVE_HEADER	512
#define XSAVE_YMM	576	/* the upper halves, wherever they exist */

#ifndef __ASSEMBLER__

#include <linux/wisp.h>
#include <string.h>

static inline struct wisp_segment state_segment(__u16 selector, __u64 base,
						__u32 limit, __u16 attributes)
{
	return (struct wisp_segment){
		.base = base,
		.limit = limit,
		.selector = selector,
		.attributes = attributes,
	};
}

static inline void state_data_segments(struct wisp_state *s,
				       struct wisp_segment segment)
{
	s->segments.ds = segment;
	s->segments.es = segment;
	s->segments.fs = segment;
	s->segments.gs = segment;
	s->segments.ss = segment;
}

static inline void state_xsave_reset(struct wisp_state *s)
{
	__u16 fcw = 0x37f;
	__u32 mxcsr = 0x1f80;

	memset(s->xsave, 0, sizeof(s->xsave));
	memcpy(s->xsave + XSAVE_FCW, &fcw, sizeof(fcw));
	memcpy(s->xsave + XSAVE_MXCSR, &mxcsr, sizeof(mxcsr));
}

/* 16-bit real mode, flat at zero but for CS. */
static inline void state_real(struct wisp_state *s, __u64 cs_base, __u64 rip)
{
	memset(s, 0, sizeof(*s));
	s->general.rip = rip;
	s->general.rflags = RFLAGS_FIXED;
	s->segments.cs = state_segment(cs_base >> 4, cs_base, 0xffff,
				       SEG_CODE16);
	state_data_segments(s, state_segment(0, 0, 0xffff, SEG_DATA16));
	s->segments.tr = state_segment(0, 0, 0xffff, SEG_TSS);
	s->segments.ldtr = state_segment(0, 0, 0xffff, SEG_LDT);
	s->segments.gdt.limit = 0xffff;
	s->segments.idt.limit = 0x3ff;
	s->control.cr0 = CR0_ET;
	s->control.xcr0 = XCR0_X87;
	s->debug.dr6 = DR6_FIXED;
	s->debug.dr7 = DR7_FIXED;
	s->msrs.pat = PAT_RESET;
	state_xsave_reset(s);
}

/* 32-bit protected mode, flat, no paging. */
static inline void state_protected(struct wisp_state *s, __u64 rip)
{
	state_real(s, 0, rip);
	s->segments.cs = state_segment(0x18, 0, 0xffffffff, SEG_CODE32);
	state_data_segments(s, state_segment(0x20, 0, 0xffffffff, SEG_DATA32));
	s->control.cr0 = CR0_PE | CR0_ET | CR0_NE;
	s->control.cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT;
}

/* 64-bit long mode over the page tables at @cr3. */
static inline void state_long(struct wisp_state *s, __u64 cr3, __u64 rip)
{
	state_protected(s, rip);
	s->segments.cs = state_segment(0x28, 0, 0xffffffff, SEG_CODE64);
	state_data_segments(s, state_segment(0x30, 0, 0xffffffff, SEG_DATA32));
	s->control.cr0 = CR0_PG | CR0_WP | CR0_PE | CR0_MP | CR0_ET | CR0_NE;
	s->control.cr3 = cr3;
	s->control.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;
	s->control.efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
}

#endif
#endif
