// SPDX-License-Identifier: GPL-2.0
/*
 * Register state: what a guest may have in it.
 *
 * The rules are those of VMRUN (APM Vol. 2, "Canonicalization and Consistency
 * Checks") and of VM entry (SDM Vol. 3, "Checks on the Guest State Area"),
 * whichever is stricter, so that what one backend takes the other takes too.
 */
#include "state.h"

#include <linux/string.h>

#include <asm/cpufeature.h>
#include <asm/debugreg.h>
#include <asm/msr-index.h>
#include <asm/processor.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>

#include <asm/fpu/types.h>

#include "backend.h"
#include "compat.h"
#include "host.h"

#define FIELD(member)	WISP_FIELD(state.member)

#define ATTR_TYPE	0x000f
#define ATTR_S		0x0010
#define ATTR_P		0x0080
#define ATTR_DB		0x4000
#define ATTR_G		0x8000
#define ATTR_RESERVED	0x0f00

#define SELECTOR_TI	0x0004

#define CR0_ALLOWED	(WISP_CR0_WRITTEN & U32_MAX)

#define RFLAGS_RESERVED	(~0x3fffffULL | BIT_ULL(3) | BIT_ULL(5) | BIT_ULL(15))

/*
 * The exceptions that a guest here can have: VMRUN refuses those that its CPU does not
 * know, and, of INTO and BOUND, those of 64-bit mode (APM Vol. 2, "Event Injection").
 */
#define VECTORS                                                          \
	(GENMASK(1, 0) | GENMASK(8, 3) | GENMASK(14, 10) | GENMASK(19, 16))
#define VECTORS_64BIT	(VECTORS & ~(BIT(X86_TRAP_OF) | BIT(X86_TRAP_BR)))

/* Exceptions that push an error code. */
#define VECTORS_WITH_ERROR_CODE                                          \
	(BIT(8) | BIT(10) | BIT(11) | BIT(12) | BIT(13) | BIT(14) | BIT(17))

u64 wisp_efer_allowed;
u64 wisp_cr4_allowed;
static u32 mxcsr_allowed;

static u64 if_has(unsigned int feature, u64 bits)
{
	return boot_cpu_has(feature) ? bits : 0;
}

/* What the CPU has and the driver lets a guest set: nothing that needs XSS. */
void wisp_state_init(void)
{
	static struct fxregs_state fxregs;

	wisp_efer_allowed = EFER_SCE | EFER_LME | EFER_LMA | EFER_NX |
			    if_has(X86_FEATURE_FXSR_OPT, EFER_FFXSR);
	wisp_cr4_allowed =
		X86_CR4_VME | X86_CR4_PVI | X86_CR4_TSD | X86_CR4_DE |
		X86_CR4_PSE | X86_CR4_PAE | X86_CR4_MCE | X86_CR4_PGE |
		X86_CR4_PCE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT |
		if_has(X86_FEATURE_XSAVE, X86_CR4_OSXSAVE) |
		if_has(X86_FEATURE_UMIP, X86_CR4_UMIP) |
		/* The hardware's: the host may have been told not to use it. */
		(cpuid_ecx(7) & BIT(16) ? X86_CR4_LA57 : 0) |
		if_has(X86_FEATURE_FSGSBASE, X86_CR4_FSGSBASE) |
		if_has(X86_FEATURE_PCID, X86_CR4_PCIDE) |
		if_has(X86_FEATURE_SMEP, X86_CR4_SMEP) |
		if_has(X86_FEATURE_SMAP, X86_CR4_SMAP);
	if (wisp_host_xcr0 & XFEATURE_MASK_PKRU)
		wisp_cr4_allowed |= X86_CR4_PKE;
	wisp_cr4_allowed &= ~wisp_backend->no_cr4;
	/* Old CPUs have no mask: SDM Vol. 1, "Writing to the MXCSR Register". */
	asm volatile("fxsave %0" : "=m"(fxregs));
	mxcsr_allowed = fxregs.mxcsr_mask ?: 0xffbf;
}

/* As after INIT: SDM Vol. 3, "Processor Initialization". */
void wisp_state_reset(struct wisp_registers *regs)
{
	const struct wisp_segment data = { .limit = 0xffff, .attributes = 0x93 };
	struct wisp_segments *segments = &regs->segments;

	memset(regs, 0, sizeof(*regs));
	regs->general.rip = 0xfff0;
	regs->general.rflags = X86_EFLAGS_FIXED;
	regs->general.rdx = 0x600;
	segments->cs = (struct wisp_segment){
		.base = 0xffff0000, .limit = 0xffff, .selector = 0xf000,
		.attributes = 0x9b,
	};
	segments->ds = data;
	segments->es = data;
	segments->fs = data;
	segments->gs = data;
	segments->ss = data;
	segments->tr = (struct wisp_segment){ .limit = 0xffff, .attributes = 0x8b };
	segments->ldtr = (struct wisp_segment){ .limit = 0xffff, .attributes = 0x82 };
	segments->gdt.limit = 0xffff;
	segments->idt.limit = 0xffff;
	/* By the book CD and NW, too: with SVM that turns off the CPU's cache. */
	regs->control.cr0 = X86_CR0_ET;
	regs->control.xcr0 = XFEATURE_MASK_FP;
	regs->debug.dr6 = DR6_RESERVED;
	regs->debug.dr7 = WISP_DR7_FIXED;
	regs->msrs.pat = 0x0007040600070406ULL;
}

bool wisp_gva_canonical(u64 gva, u64 cr4)
{
	unsigned int shift = cr4 & X86_CR4_LA57 ? 64 - 57 : 64 - 48;

	return (u64)((s64)(gva << shift) >> shift) == gva;
}

bool wisp_state_is_64bit(const struct wisp_registers *regs)
{
	return regs->control.efer & EFER_LMA &&
	       regs->segments.cs.attributes & WISP_ATTR_L;
}

bool wisp_xcr0_valid(u64 xcr0)
{
	const u64 avx512 = XFEATURE_MASK_OPMASK | XFEATURE_MASK_ZMM_Hi256 |
			   XFEATURE_MASK_Hi16_ZMM;

	if (xcr0 & ~wisp_host_xcr0 || !(xcr0 & XFEATURE_MASK_FP))
		return false;
	if (xcr0 & XFEATURE_MASK_YMM && !(xcr0 & XFEATURE_MASK_SSE))
		return false;
	return !(xcr0 & avx512) ||
	       ((xcr0 & avx512) == avx512 && xcr0 & XFEATURE_MASK_YMM);
}

/* Memory types 2, 3 and above 7 are reserved. */
bool wisp_pat_valid(u64 pat)
{
	unsigned int i, type;

	for (i = 0; i < 8; i++, pat >>= 8) {
		type = pat & 0xff;
		if (type > 7 || type == 2 || type == 3)
			return false;
	}
	return true;
}

/* Bases and MSRs are as wide as the CPU has addresses, whatever CR4.LA57 says. */
static bool base_canonical(u64 gva)
{
	return wisp_gva_canonical(gva, wisp_cr4_allowed);
}

static u32 check_general(const struct wisp_registers *regs)
{
	const struct wisp_general *general = &regs->general;

	if (general->rflags & RFLAGS_RESERVED ||
	    !(general->rflags & X86_EFLAGS_FIXED))
		return FIELD(general.rflags);
	if (general->rflags & X86_EFLAGS_VM &&
	    (regs->control.efer & EFER_LMA || !(regs->control.cr0 & X86_CR0_PE)))
		return FIELD(general.rflags);
	if (!wisp_gva_canonical(general->rip, regs->control.cr4))
		return FIELD(general.rip);
	return 0;
}

/* Those of the registers in CONTROL that depend on no others. */
u32 wisp_state_check_control(const struct wisp_registers *regs)
{
	const struct wisp_control *control = &regs->control;
	u64 cr0 = control->cr0, cr4 = control->cr4, efer = control->efer;
	bool paging = cr0 & X86_CR0_PG, lme = efer & EFER_LME;

	if (cr0 & ~CR0_ALLOWED || (paging && !(cr0 & X86_CR0_PE)) ||
	    (cr0 & X86_CR0_NW && !(cr0 & X86_CR0_CD)))
		return FIELD(control.cr0);
	if (cr4 & ~wisp_cr4_allowed || (paging && lme && !(cr4 & X86_CR4_PAE)) ||
	    (cr4 & X86_CR4_PCIDE && !(paging && lme)))
		return FIELD(control.cr4);
	if (efer & ~wisp_efer_allowed || !!(efer & EFER_LMA) != (paging && lme))
		return FIELD(control.efer);
	if (control->cr3 >> boot_cpu_data.x86_phys_bits)
		return FIELD(control.cr3);
	if (control->cr8 > 15)
		return FIELD(control.cr8);
	if (!wisp_xcr0_valid(control->xcr0))
		return FIELD(control.xcr0);
	return control->reserved ? FIELD(control.reserved) : 0;
}

/* A limit counts bytes with G clear, whole pages with G set. */
static bool limit_fits(const struct wisp_segment *segment)
{
	if (!(segment->attributes & ATTR_P))
		return true;
	if (segment->attributes & ATTR_G)
		return (segment->limit & 0xfff) == 0xfff;
	return segment->limit <= 0xfffff;
}

/* The types of cs to ldtr that the CPU's own loads leave, as bits. */
#define DATA_TYPES	(BIT(1) | BIT(3) | BIT(5) | BIT(7) | BIT(11) | BIT(15))

static const u16 types[] = {
	BIT(3) | BIT(9) | BIT(11) | BIT(13) | BIT(15),
	DATA_TYPES, DATA_TYPES, DATA_TYPES, DATA_TYPES, BIT(3) | BIT(7),
	BIT(3) | BIT(11), BIT(2),
};

#define FIRST_SYSTEM	6	/* tr */
/* cs, ds, es and ss have 32 bits of a base. */
#define SHORT_BASES	(BIT(0) | BIT(1) | BIT(2) | BIT(5))

static bool base_fits(const struct wisp_registers *regs, unsigned int i)
{
	const struct wisp_segment *segment = &regs->segments.cs + i;

	if (regs->general.rflags & X86_EFLAGS_VM && i < FIRST_SYSTEM)
		return segment->base == (u64)segment->selector << 4;
	if (SHORT_BASES & BIT(i) && segment->attributes & ATTR_P &&
	    segment->base >> 32)
		return false;
	return base_canonical(segment->base);
}

static bool attributes_fit(const struct wisp_registers *regs, unsigned int i)
{
	u16 attributes = (&regs->segments.cs)[i].attributes;

	if (regs->general.rflags & X86_EFLAGS_VM && i < FIRST_SYSTEM)
		return attributes == WISP_ATTR_VM86;
	/* GDT and IDT have none. */
	if (i >= ARRAY_SIZE(types))
		return !attributes;
	if (attributes & ATTR_RESERVED)
		return false;
	if (!(attributes & ATTR_P))
		return true;
	return types[i] & BIT(attributes & ATTR_TYPE) &&
	       !(attributes & ATTR_S) == (i >= FIRST_SYSTEM);
}

/* SDM Vol. 3, "Checks on Guest Segment Registers", for an unrestricted guest */
static u32 check_segment(const struct wisp_registers *regs, unsigned int i)
{
	const struct wisp_segment *segment = &regs->segments.cs + i;
	u32 field = FIELD(segments.cs) + i * sizeof(*segment);

	if (!base_fits(regs, i))
		return field + offsetof(struct wisp_segment, base);
	if (!attributes_fit(regs, i))
		return field + offsetof(struct wisp_segment, attributes);
	if (!limit_fits(segment) || (regs->general.rflags & X86_EFLAGS_VM &&
				     i < FIRST_SYSTEM && segment->limit != 0xffff))
		return field + offsetof(struct wisp_segment, limit);
	if (i >= ARRAY_SIZE(types) ? segment->selector :
	    i >= FIRST_SYSTEM && segment->attributes & ATTR_P &&
	    segment->selector & SELECTOR_TI)
		return field + offsetof(struct wisp_segment, selector);
	return 0;
}

/* The CPL is the DPL of SS. CS may be data, as real mode loads it, at CPL 0. */
static u32 check_cpl(const struct wisp_registers *regs)
{
	u16 cs = regs->segments.cs.attributes;
	u16 cpl = regs->segments.ss.attributes & WISP_ATTR_DPL;
	bool conforming = (cs & 0xc) == 0xc;

	if (regs->general.rflags & X86_EFLAGS_VM)
		return 0;
	if (cpl && ((cs & ATTR_TYPE) == 3 || !(regs->control.cr0 & X86_CR0_PE)))
		return FIELD(segments.ss.attributes);
	if (conforming ? (cs & WISP_ATTR_DPL) > cpl : (cs & WISP_ATTR_DPL) != cpl)
		return FIELD(segments.cs.attributes);
	return 0;
}

static u32 check_segments(const struct wisp_registers *regs)
{
	const struct wisp_segments *segments = &regs->segments;
	bool longmode = regs->control.efer & EFER_LMA;
	u16 cs = segments->cs.attributes, tr = segments->tr.attributes;
	u32 field = 0, i;

	/* Ten of one kind, one after the other. */
	for (i = 0; i < sizeof(*segments) / sizeof(segments->cs) && !field; i++)
		field = check_segment(regs, i);
	field = field ?: check_cpl(regs);
	if (field)
		return field;
	if (!(cs & ATTR_P) || (longmode && cs & WISP_ATTR_L && cs & ATTR_DB))
		return FIELD(segments.cs.attributes);
	if (regs->general.rip >> 32 && !wisp_state_is_64bit(regs))
		return FIELD(general.rip);
	/* Busy, 16- or 32/64-bit. */
	if (!(tr & ATTR_P) || (longmode && (tr & ATTR_TYPE) != 11))
		return FIELD(segments.tr.attributes);
	if (segments->gdt.limit > 0xffff)
		return FIELD(segments.gdt.limit);
	return segments->idt.limit > 0xffff ? FIELD(segments.idt.limit) : 0;
}

static u32 check_debug(const struct wisp_registers *regs)
{
	if (regs->debug.dr6 >> 32)
		return FIELD(debug.dr6);
	return regs->debug.dr7 >> 32 ? FIELD(debug.dr7) : 0;
}

static u32 check_msrs(const struct wisp_registers *regs)
{
	const struct wisp_msrs *msrs = &regs->msrs;
	unsigned int i;

	if (!base_canonical(msrs->lstar))
		return FIELD(msrs.lstar);
	if (!base_canonical(msrs->cstar))
		return FIELD(msrs.cstar);
	if (!base_canonical(msrs->kernel_gs_base))
		return FIELD(msrs.kernel_gs_base);
	if (!base_canonical(msrs->sysenter_esp))
		return FIELD(msrs.sysenter_esp);
	if (!base_canonical(msrs->sysenter_eip))
		return FIELD(msrs.sysenter_eip);
	if (msrs->sysenter_cs >> 32)
		return FIELD(msrs.sysenter_cs);
	if (msrs->sfmask >> 32)
		return FIELD(msrs.sfmask);
	if (!wisp_pat_valid(msrs->pat))
		return FIELD(msrs.pat);
	if (msrs->tsc_aux >> 32)
		return FIELD(msrs.tsc_aux);
	for (i = 0; i < ARRAY_SIZE(msrs->reserved); i++)
		if (msrs->reserved[i])
			return FIELD(msrs.reserved) + i * sizeof(u64);
	return 0;
}

static bool is_exception(u8 vector, const struct wisp_registers *regs)
{
	u32 vectors = wisp_state_is_64bit(regs) ? VECTORS_64BIT : VECTORS;

	return vector < 32 && vectors & BIT(vector);
}

/**
 * wisp_state_check_event() - may this event be injected
 * @event: the event
 * @field: WISP_FIELD() id of the event
 * @regs: for exceptions SEGMENTS and CONTROL are there
 *
 * Returns the id of the member that is refused, or 0.
 */
u32 wisp_state_check_event(const struct wisp_event *event, u32 field,
			   const struct wisp_registers *regs)
{
	bool error_code = false;

	switch (event->type) {
	case WISP_EVENT_NONE:
		if (event->vector)
			return field + offsetof(struct wisp_event, vector);
		break;
	case WISP_EVENT_INTERRUPT:
		break;
	case WISP_EVENT_NMI:
		if (event->vector != X86_TRAP_NMI)
			return field + offsetof(struct wisp_event, vector);
		break;
	case WISP_EVENT_EXCEPTION:
		if (!is_exception(event->vector, regs))
			return field + offsetof(struct wisp_event, vector);
		/* Real mode pushes none. */
		error_code = regs->control.cr0 & X86_CR0_PE &&
			     BIT(event->vector) & VECTORS_WITH_ERROR_CODE;
		break;
	default:
		return field + offsetof(struct wisp_event, type);
	}
	if (event->has_error_code != error_code)
		return field + offsetof(struct wisp_event, has_error_code);
	if (event->reserved)
		return field + offsetof(struct wisp_event, reserved);
	if (event->error_code > (error_code ? 0xffff : 0))
		return field + offsetof(struct wisp_event, error_code);
	return 0;
}

static u32 check_events(const struct wisp_registers *regs)
{
	const struct wisp_events *events = &regs->events;
	u32 field;

	field = wisp_state_check_event(&events->injected, FIELD(events.injected),
				       regs);
	if (field)
		return field;
	field = wisp_state_check_event(&events->interrupt,
				       FIELD(events.interrupt), regs);
	if (field)
		return field;
	if (events->interrupt.type > WISP_EVENT_INTERRUPT)
		return FIELD(events.interrupt.type);
	if (events->nmi_pending > 1)
		return FIELD(events.nmi_pending);
	if (events->nmi_blocked > 1)
		return FIELD(events.nmi_blocked);
	if (events->interrupt_shadow > 1)
		return FIELD(events.interrupt_shadow);
	return memchr_inv(events->reserved, 0, sizeof(events->reserved)) ?
		       FIELD(events.reserved) : 0;
}

/* The errno of a refusal: an event's type may be unknown, the rest is wrong. */
int wisp_state_errno(u32 field, const struct wisp_events *events)
{
	bool unknown = (field == FIELD(events.injected.type) &&
			events->injected.type > WISP_EVENT_EXCEPTION) ||
		       (field == FIELD(events.interrupt.type) &&
			events->interrupt.type > WISP_EVENT_EXCEPTION);

	return unknown ? -EOPNOTSUPP : -EINVAL;
}

/**
 * wisp_state_check() - may a vCPU have these registers
 * @regs: GENERAL, SEGMENTS and CONTROL are there; others where in @groups; and
 *	EVENTS where GENERAL is
 * @groups: what has changed
 *
 * Returns the WISP_FIELD() id of the first member that is refused, or 0.
 */
u32 wisp_state_check(const struct wisp_registers *regs, u32 groups)
{
	u32 field = 0;

	if (groups & WISP_STATE_CONTROL)
		field = wisp_state_check_control(regs);
	if (!field && groups & (WISP_STATE_CONTROL | WISP_STATE_GENERAL))
		field = check_general(regs);
	if (!field && groups & (WISP_STATE_CONTROL | WISP_STATE_SEGMENTS))
		field = check_segments(regs);
	if (!field && groups & WISP_STATE_DEBUG)
		field = check_debug(regs);
	if (!field && groups & WISP_STATE_MSRS)
		field = check_msrs(regs);
	if (!field && groups & WISP_STATE_EVENTS)
		field = check_events(regs);
	if (!field && groups & (WISP_STATE_EVENTS | WISP_STATE_GENERAL) &&
	    regs->events.injected.type == WISP_EVENT_INTERRUPT &&
	    !(regs->general.rflags & X86_EFLAGS_IF))
		field = FIELD(events.injected.type);
	return field;
}

/* XRSTOR's own conditions: SDM Vol. 1, "Operation of XRSTOR". */
u32 wisp_state_check_xsave(const struct wisp_xsave_head *head)
{
	const struct xstate_header *header = &head->header;

	if (head->mxcsr & ~mxcsr_allowed)
		return FIELD(xsave) + offsetof(struct xregs_state, i387.mxcsr);
	if (header->xfeatures & ~wisp_host_xcr0)
		return FIELD(xsave) +
		       offsetof(struct xregs_state, header.xfeatures);
	if (header->xcomp_bv)
		return FIELD(xsave) +
		       offsetof(struct xregs_state, header.xcomp_bv);
	return memchr_inv(header->reserved, 0, sizeof(header->reserved)) ?
		       FIELD(xsave) + offsetof(struct xregs_state,
					       header.reserved) : 0;
}
