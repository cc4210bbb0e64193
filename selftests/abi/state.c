// SPDX-License-Identifier: GPL-2.0
/*
 * SET_STATE and GET_STATE: each state that the hardware or the guest's own
 * instructions would refuse is refused with its field's id, and changes
 * nothing; what is taken comes back.
 */
#include <stddef.h>

#include "../harness.h"
#include "../raw.h"
#include "../state.h"

/* With four levels of tables, and with any. */
#define NON_CANONICAL	0x0000800000000000ULL
#define TOO_WIDE	0x0100000000000000ULL

FIXTURE(state) {
	int sys;
	int vm;
	struct wisp_vcpu_page *page;
	struct wisp_query query;
};

FIXTURE_SETUP(state)
{
	self->sys = raw_open();
	ASSERT_LE(0, self->sys);
	ASSERT_EQ(0, raw_query(self->sys, &self->query));
	self->vm = raw_create_vm(self->sys);
	ASSERT_LE(0, self->vm);
	ASSERT_EQ(0, raw_create_vcpu(self->vm, 0, &self->page));
}

FIXTURE_TEARDOWN(state)
{
	close(self->vm);
	close(self->sys);
}

enum mode { REAL, PROTECTED, LONG };

static void make(struct wisp_state *state, enum mode mode)
{
	switch (mode) {
	case REAL:
		state_real(state, 0, 0);
		break;
	case PROTECTED:
		state_protected(state, 0);
		break;
	case LONG:
		state_long(state, 0x1000, 0);
		break;
	}
}

struct refusal {
	const char *what;
	enum mode mode;		/* the state that is good but for this */
	__u32 group;
	size_t field;		/* where @value goes, and what is refused */
	__u8 width;
	__u64 value;
	int result;
};

#define REFUSE(what, mode, group, member, value)			\
	{ what, mode, WISP_STATE_##group, WISP_FIELD(state.member),	\
	  sizeof(((struct wisp_state *)0)->member), value, -EINVAL }

#define REFUSE_RESERVED(group, member) \
	REFUSE("reserved " #member, LONG, group, member, 1)

static const struct refusal refusals[] = {
	/* Control registers */
	REFUSE("PG without PE", REAL, CONTROL, control.cr0, CR0_ET | CR0_PG),
	REFUSE("NW without CD", REAL, CONTROL, control.cr0, CR0_ET | CR0_NW),
	REFUSE("CR0 bit 32", REAL, CONTROL, control.cr0, CR0_ET | 1ULL << 32),
	REFUSE("CR0 bit 63", REAL, CONTROL, control.cr0, CR0_ET | 1ULL << 63),
	REFUSE("CR3 bit 52", LONG, CONTROL, control.cr3, 1ULL << 52),
	REFUSE("CR3 bit 62", LONG, CONTROL, control.cr3, 1ULL << 62),
	REFUSE("LME and PG without PAE", LONG, CONTROL, control.cr4,
	       CR4_OSFXSR),
	REFUSE("CR4 bit 15", LONG, CONTROL, control.cr4, CR4_PAE | 1U << 15),
	REFUSE("CR4.VMXE", LONG, CONTROL, control.cr4, CR4_PAE | CR4_VMXE),
	REFUSE("CR4 bit 31", LONG, CONTROL, control.cr4, CR4_PAE | 1ULL << 31),
	REFUSE("CR4 bit 32", LONG, CONTROL, control.cr4, CR4_PAE | 1ULL << 32),
	REFUSE("CR4 bit 63", LONG, CONTROL, control.cr4, CR4_PAE | 1ULL << 63),
	REFUSE("CR8 above 15", LONG, CONTROL, control.cr8, 16),
	REFUSE("CR8 far above 15", LONG, CONTROL, control.cr8, 1ULL << 32),
	REFUSE("LMA without LME", PROTECTED, CONTROL, control.efer, EFER_LMA),
	REFUSE("LMA without PG", PROTECTED, CONTROL, control.efer,
	       EFER_LME | EFER_LMA),
	REFUSE("LME and PG without LMA", LONG, CONTROL, control.efer,
	       EFER_LME | EFER_NXE),
	REFUSE("EFER.SVME", PROTECTED, CONTROL, control.efer, EFER_SVME),
	REFUSE("EFER bit 1", PROTECTED, CONTROL, control.efer, 1ULL << 1),
	REFUSE("EFER bit 16", PROTECTED, CONTROL, control.efer, 1ULL << 16),
	REFUSE("EFER bit 63", PROTECTED, CONTROL, control.efer, 1ULL << 63),
	REFUSE("XCR0 without x87", LONG, CONTROL, control.xcr0, XCR0_SSE),
	REFUSE("XCR0 zero", LONG, CONTROL, control.xcr0, 0),
	REFUSE("XCR0 with YMM, without SSE", LONG, CONTROL, control.xcr0,
	       XCR0_X87 | XCR0_YMM),
	REFUSE("XCR0 bit 8, which is in XSS", LONG, CONTROL, control.xcr0,
	       XCR0_X87 | 1ULL << 8),
	REFUSE("XCR0 bit 62", LONG, CONTROL, control.xcr0,
	       XCR0_X87 | 1ULL << 62),
	REFUSE("XCR0 bit 63", LONG, CONTROL, control.xcr0,
	       XCR0_X87 | 1ULL << 63),
	REFUSE_RESERVED(CONTROL, control.reserved),

	/* General */
	REFUSE("RFLAGS without bit 1", LONG, GENERAL, general.rflags, 0),
	REFUSE("RFLAGS bit 3", LONG, GENERAL, general.rflags, 0xa),
	REFUSE("RFLAGS bit 22", LONG, GENERAL, general.rflags, 2 | 1ULL << 22),
	REFUSE("RFLAGS bit 63", LONG, GENERAL, general.rflags, 2 | 1ULL << 63),
	REFUSE("RFLAGS.VM in long mode", LONG, GENERAL, general.rflags,
	       2 | 1ULL << 17),
	REFUSE("non-canonical RIP", LONG, GENERAL, general.rip, NON_CANONICAL),
	REFUSE("RIP beyond 32 bits", PROTECTED, GENERAL, general.rip, 1ULL << 32),

	/* Segments */
	REFUSE("limit of GDT", LONG, SEGMENTS, segments.gdt.limit, 0x10000),
	REFUSE("limit of IDT", LONG, SEGMENTS, segments.idt.limit, 0x10000),
	REFUSE("attributes of GDT", LONG, SEGMENTS, segments.gdt.attributes, 0x80),
	REFUSE("selector of IDT", LONG, SEGMENTS, segments.idt.selector, 8),
	REFUSE("CS with L and D", LONG, SEGMENTS, segments.cs.attributes,
	       SEG_CODE64 | 0x4000),
	REFUSE("CS not present", LONG, SEGMENTS, segments.cs.attributes,
	       SEG_CODE64 & ~0x80),
	REFUSE("CS beyond 4 GiB", LONG, SEGMENTS, segments.cs.base, 1ULL << 32),
	REFUSE("DS beyond 4 GiB", LONG, SEGMENTS, segments.ds.base, 1ULL << 32),
	REFUSE("ES beyond 4 GiB", LONG, SEGMENTS, segments.es.base, 1ULL << 32),
	REFUSE("SS beyond 4 GiB", LONG, SEGMENTS, segments.ss.base, 1ULL << 32),
	REFUSE("CS not accessed", LONG, SEGMENTS, segments.cs.attributes,
	       SEG_CODE64 & ~1),
	REFUSE("CS of a system's", LONG, SEGMENTS, segments.cs.attributes,
	       SEG_CODE64 & ~0x10),
	REFUSE("CS with read-only data", LONG, SEGMENTS, segments.cs.attributes,
	       SEG_DATA32 & ~2),
	REFUSE("CS of another DPL", LONG, SEGMENTS, segments.cs.attributes,
	       SEG_CODE64 | SEG_DPL3),
	REFUSE("conforming CS of a higher DPL", LONG, SEGMENTS,
	       segments.cs.attributes, SEG_CODE64 | 4 | SEG_DPL3),
	REFUSE("SS with a DPL in real mode", REAL, SEGMENTS,
	       segments.ss.attributes, SEG_DATA16 | SEG_DPL3),
	REFUSE("SS read-only", LONG, SEGMENTS, segments.ss.attributes,
	       SEG_DATA32 & ~2),
	REFUSE("SS with code", LONG, SEGMENTS, segments.ss.attributes, SEG_CODE32),
	REFUSE("DS not accessed", LONG, SEGMENTS, segments.ds.attributes,
	       SEG_DATA32 & ~1),
	REFUSE("FS that cannot be read", LONG, SEGMENTS, segments.fs.attributes,
	       SEG_CODE32 & ~2),
	REFUSE("GS of a system's", LONG, SEGMENTS, segments.gs.attributes,
	       SEG_DATA32 & ~0x10),
	REFUSE("TR in the LDT", LONG, SEGMENTS, segments.tr.selector, 4),
	REFUSE("TR not busy", LONG, SEGMENTS, segments.tr.attributes, SEG_TSS & ~2),
	REFUSE("LDTR in the LDT", LONG, SEGMENTS, segments.ldtr.selector, 4),
	REFUSE("LDTR with a TSS", LONG, SEGMENTS, segments.ldtr.attributes, SEG_TSS),
	REFUSE("TR not present", LONG, SEGMENTS, segments.tr.attributes,
	       SEG_TSS & ~0x80),

	/* Debug registers */
	REFUSE("DR6 bit 32", LONG, DEBUG, debug.dr6, DR6_FIXED | 1ULL << 32),
	REFUSE("DR6 bit 63", LONG, DEBUG, debug.dr6, DR6_FIXED | 1ULL << 63),
	REFUSE("DR7 bit 32", LONG, DEBUG, debug.dr7, DR7_FIXED | 1ULL << 32),
	REFUSE("DR7 bit 63", LONG, DEBUG, debug.dr7, DR7_FIXED | 1ULL << 63),

	/* MSRs */
	REFUSE("non-canonical LSTAR", LONG, MSRS, msrs.lstar, TOO_WIDE),
	REFUSE("non-canonical CSTAR", LONG, MSRS, msrs.cstar, TOO_WIDE),
	REFUSE("non-canonical KERNEL_GS_BASE", LONG, MSRS,
	       msrs.kernel_gs_base, TOO_WIDE),
	REFUSE("non-canonical SYSENTER_ESP", LONG, MSRS, msrs.sysenter_esp,
	       TOO_WIDE),
	REFUSE("non-canonical SYSENTER_EIP", LONG, MSRS, msrs.sysenter_eip,
	       TOO_WIDE),
	REFUSE("PAT with type 2", LONG, MSRS, msrs.pat,
	       (PAT_RESET & ~0xffULL) | 2),
	REFUSE("PAT with type 3 at its top", LONG, MSRS, msrs.pat,
	       PAT_RESET | 3ULL << 56),
	REFUSE("PAT with type 8", LONG, MSRS, msrs.pat,
	       (PAT_RESET & ~0xff0000ULL) | 8 << 16),
	REFUSE("PAT with a type's top bit", LONG, MSRS, msrs.pat,
	       PAT_RESET | 0x80),
	REFUSE("TSC_AUX bit 32", LONG, MSRS, msrs.tsc_aux, 1ULL << 32),
	REFUSE_RESERVED(MSRS, msrs.reserved[0]),
	REFUSE_RESERVED(MSRS, msrs.reserved[4]),

	/* Events */
	REFUSE("interrupt slot with an NMI", LONG, EVENTS,
	       events.interrupt.type, WISP_EVENT_EXCEPTION),
	REFUSE("interrupt in delivery with IF clear", LONG, EVENTS,
	       events.injected.type, WISP_EVENT_INTERRUPT),
	REFUSE("no event with a vector", LONG, EVENTS, events.injected.vector,
	       1),
	REFUSE("no event with an error code", LONG, EVENTS,
	       events.injected.has_error_code, 1),
	REFUSE_RESERVED(EVENTS, events.injected.reserved),
	REFUSE_RESERVED(EVENTS, events.interrupt.reserved),
	REFUSE("nmi_pending 2", LONG, EVENTS, events.nmi_pending, 2),
	REFUSE("nmi_blocked 2", LONG, EVENTS, events.nmi_blocked, 2),
	REFUSE("interrupt_shadow 2", LONG, EVENTS, events.interrupt_shadow, 2),
};

/* The member of @state that WISP_FIELD() id @field names. */
static void *member(struct wisp_state *state, size_t field)
{
	return (char *)state + field - WISP_FIELD(state);
}

static void check_refusal(struct __test_metadata *_metadata,
			  FIXTURE_DATA(state) * self, const struct refusal *r)
{
	struct wisp_state state;
	__u32 field = ~0U;

	make(&state, r->mode);
	ASSERT_EQ(0, raw_set_state(self->vm, 0, STATE_ALL, &state, &field))
		TH_LOG("%s: the state before, field %#x", r->what, field);
	memcpy(member(&state, r->field), &r->value, r->width);
	EXPECT_EQ(r->result, raw_set_state(self->vm, 0, r->group, &state,
					   &field))
		TH_LOG("%s", r->what);
	EXPECT_EQ(r->field, field)
		TH_LOG("%s", r->what);

	/* The same through the shared page, and no guest ran. */
	self->page->state = state;
	self->page->dirty = r->group;
	self->page->field = 0;
	EXPECT_EQ(r->result, raw_run(self->vm, 0))
		TH_LOG("%s, through the page", r->what);
	EXPECT_EQ(r->field, self->page->field)
		TH_LOG("%s, through the page", r->what);
	self->page->dirty = 0;
}

TEST_F(state, refusals)
{
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++)
		check_refusal(_metadata, self, &refusals[i]);
}

TEST_F(state, refused_segments)
{
	static const char * const names[] = {
		"CS", "DS", "ES", "FS", "GS", "SS", "TR", "LDTR", "GDT", "IDT",
	};
	struct refusal r = {
		.group = WISP_STATE_SEGMENTS,
		.result = -EINVAL,
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		size_t segment = WISP_FIELD(state.segments) +
				 i * sizeof(struct wisp_segment);

		r.what = names[i];
		r.field = segment +
			  offsetof(struct wisp_segment, base);
		r.width = sizeof(__u64);
		r.mode = LONG;
		r.value = TOO_WIDE;
		check_refusal(_metadata, self, &r);
		r.mode = REAL;
		r.value = 1ULL << 63;
		check_refusal(_metadata, self, &r);

		if (i >= 8)
			continue;	/* they have no attributes */
		r.field = segment +
			  offsetof(struct wisp_segment, attributes);
		r.width = sizeof(__u16);
		r.mode = LONG;
		r.value = (i ? SEG_DATA32 : SEG_CODE64) | 0x0100;
		check_refusal(_metadata, self, &r);
	}
}

/* In virtual-8086 mode all six are what a load in that mode makes them. */
TEST_F(state, refused_in_virtual_8086_mode)
{
	const __u64 rflags = RFLAGS_FIXED | 1 << 17;
	struct wisp_state good, bad;
	struct wisp_segment *segment;
	size_t field;
	__u32 named;

	make(&good, PROTECTED);
	ASSERT_EQ(0, raw_set_state(self->vm, 0, STATE_ALL, &good, NULL));
	good.general.rflags = rflags;
	EXPECT_EQ(-EINVAL, raw_set_state(self->vm, 0, WISP_STATE_GENERAL, &good,
					 &named));
	EXPECT_EQ(WISP_FIELD(state.segments.cs.base), named);
	good.segments.cs = state_segment(0x18, 0x180, 0xffff, 0xf3);
	state_data_segments(&good, state_segment(0x20, 0x200, 0xffff, 0xf3));
	ASSERT_EQ(0, raw_set_state(self->vm, 0, STATE_ALL, &good, &named))
		TH_LOG("field %#x", named);
	for (int i = 0; i < 6; i++) {
		field = WISP_FIELD(state.segments) + i * sizeof(*segment);
		bad = good;
		segment = &bad.segments.cs + i;
		segment->base++;
		EXPECT_EQ(-EINVAL, raw_set_state(self->vm, 0, WISP_STATE_SEGMENTS,
						 &bad, &named));
		EXPECT_EQ(field + offsetof(struct wisp_segment, base), named);
		segment->base--;
		segment->limit--;
		EXPECT_EQ(-EINVAL, raw_set_state(self->vm, 0, WISP_STATE_SEGMENTS,
						 &bad, &named));
		EXPECT_EQ(field + offsetof(struct wisp_segment, limit), named);
		segment->limit++;
		segment->attributes = SEG_DATA16;
		EXPECT_EQ(-EINVAL, raw_set_state(self->vm, 0, WISP_STATE_SEGMENTS,
						 &bad, &named));
		EXPECT_EQ(field + offsetof(struct wisp_segment, attributes), named);
	}
}

/* By the contract: a type that is not known is not a value that is wrong. */
TEST_F(state, unknown_event_types)
{
	static const size_t fields[] = {
		WISP_FIELD(state.events.injected.type),
		WISP_FIELD(state.events.interrupt.type),
	};
	struct wisp_state state;
	__u32 field;

	make(&state, LONG);
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		for (int type = 4; type < 256; type += type) {
			memset(&state.events, 0, sizeof(state.events));
			*(__u8 *)member(&state, fields[i]) = type;
			EXPECT_EQ(-EOPNOTSUPP,
				  raw_set_state(self->vm, 0,
						WISP_STATE_EVENTS, &state,
						&field))
				TH_LOG("type %d", type);
			EXPECT_EQ(fields[i], field)
				TH_LOG("type %d", type);
		}
	}
}

TEST_F(state, events)
{
	static const struct {
		const char *what;
		struct wisp_event event;
		size_t field;	/* in the event; 0 (type): it is taken */
	} rows[] = {
#define IN(member) __builtin_offsetof(struct wisp_event, member)
		{ "interrupt 255", { WISP_EVENT_INTERRUPT, 255, 0, 0, 0 }, 0 },
		{ "interrupt 0", { WISP_EVENT_INTERRUPT, 0, 0, 0, 0 }, 0 },
		{ "NMI", { WISP_EVENT_NMI, 2, 0, 0, 0 }, 0 },
		{ "#UD", { WISP_EVENT_EXCEPTION, 6, 0, 0, 0 }, 0 },
		{ "#GP", { WISP_EVENT_EXCEPTION, 13, 1, 0, 8 }, 0 },
		{ "#PF", { WISP_EVENT_EXCEPTION, 14, 1, 0, 0x1f }, 0 },
		{ "exception 9", { WISP_EVENT_EXCEPTION, 9, 0, 0, 0 },
		  IN(vector) },
		{ "exception 20", { WISP_EVENT_EXCEPTION, 20, 0, 0, 0 },
		  IN(vector) },
		{ "exception 31", { WISP_EVENT_EXCEPTION, 31, 0, 0, 0 },
		  IN(vector) },
		{ "exception 32", { WISP_EVENT_EXCEPTION, 32, 0, 0, 0 },
		  IN(vector) },
		{ "exception 255", { WISP_EVENT_EXCEPTION, 255, 0, 0, 0 },
		  IN(vector) },
		{ "NMI as an exception", { WISP_EVENT_EXCEPTION, 2, 0, 0, 0 },
		  IN(vector) },
		{ "NMI 3", { WISP_EVENT_NMI, 3, 0, 0, 0 }, IN(vector) },
		{ "NMI with an error code", { WISP_EVENT_NMI, 2, 1, 0, 0 },
		  IN(has_error_code) },
		{ "interrupt with an error code",
		  { WISP_EVENT_INTERRUPT, 32, 1, 0, 0 }, IN(has_error_code) },
		{ "#GP with two error codes",
		  { WISP_EVENT_EXCEPTION, 13, 2, 0, 0 }, IN(has_error_code) },
		{ "reserved", { WISP_EVENT_EXCEPTION, 6, 0, 1, 0 },
		  IN(reserved) },
#undef IN
	};
	struct wisp_state state;
	__u32 field;

	make(&state, LONG);
	state.general.rflags |= RFLAGS_IF;
	ASSERT_EQ(0, raw_set_state(self->vm, 0, STATE_ALL, &state, NULL));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		memset(&state.events, 0, sizeof(state.events));
		state.events.injected = rows[i].event;
		EXPECT_EQ(rows[i].field ? -EINVAL : 0,
			  raw_set_state(self->vm, 0, WISP_STATE_EVENTS, &state,
					&field))
			TH_LOG("%s", rows[i].what);
		EXPECT_EQ(rows[i].field ? WISP_FIELD(state.events.injected) +
			  rows[i].field : 0, field)
			TH_LOG("%s", rows[i].what);
	}
}

/* INTO and BOUND are no instructions of 64-bit mode. */
TEST_F(state, exceptions_of_a_mode)
{
	struct wisp_state state;
	__u32 field;

	for (int mode = REAL; mode <= LONG; mode++) {
		for (int vector = 4; vector <= 5; vector++) {
			make(&state, mode);
			ASSERT_EQ(0, raw_set_state(self->vm, 0, STATE_ALL,
						   &state, NULL));
			state.events.injected = (struct wisp_event){
				.type = WISP_EVENT_EXCEPTION, .vector = vector,
			};
			EXPECT_EQ(mode == LONG ? -EINVAL : 0,
				  raw_set_state(self->vm, 0, WISP_STATE_EVENTS,
						&state, &field))
				TH_LOG("mode %d", mode);
			EXPECT_EQ(mode == LONG ?
				  WISP_FIELD(state.events.injected.vector) : 0,
				  field);
		}
	}
	/* Compatibility mode has them. */
	state.segments.cs.attributes = SEG_CODE32;
	EXPECT_EQ(0, raw_set_state(self->vm, 0, WISP_STATE_EVENTS |
				   WISP_STATE_SEGMENTS, &state, &field));
}

/* Nor does another mode come to an exception that it has not. */
TEST_F(state, a_mode_of_exceptions)
{
	const __u32 mode = WISP_STATE_GENERAL | WISP_STATE_SEGMENTS | WISP_STATE_CONTROL;
	struct wisp_state before, state;
	__u32 field;

	make(&before, PROTECTED);
	before.events.injected = (struct wisp_event){
		.type = WISP_EVENT_EXCEPTION, .vector = 14, .has_error_code = 1,
	};
	ASSERT_EQ(0, raw_set_state(self->vm, 0, STATE_ALL, &before, NULL));
	make(&state, REAL);
	EXPECT_EQ(-EINVAL, raw_set_state(self->vm, 0, mode, &state, &field));
	EXPECT_EQ(WISP_FIELD(state.events.injected.has_error_code), field);
	EXPECT_EQ(0, raw_set_state(self->vm, 0, mode | WISP_STATE_EVENTS, &state, &field));

	before.events.injected = (struct wisp_event){
		.type = WISP_EVENT_EXCEPTION, .vector = 4,
	};
	ASSERT_EQ(0, raw_set_state(self->vm, 0, STATE_ALL, &before, NULL));
	make(&state, LONG);
	EXPECT_EQ(-EINVAL, raw_set_state(self->vm, 0, mode, &state, &field));
	EXPECT_EQ(WISP_FIELD(state.events.injected.vector), field);
}

TEST_F(state, reserved_event_bytes)
{
	struct wisp_state state;
	__u32 field;

	make(&state, LONG);
	for (size_t i = 0; i < sizeof(state.events.reserved); i++) {
		memset(&state.events, 0, sizeof(state.events));
		state.events.reserved[i] = 1;
		EXPECT_EQ(-EINVAL, raw_set_state(self->vm, 0,
						 WISP_STATE_EVENTS, &state,
						 &field))
			TH_LOG("byte %zu", i);
		EXPECT_LE(WISP_FIELD(state.events.reserved), field);
		EXPECT_GE(WISP_FIELD(state.events.reserved) + i, field);
	}
}

/* A mask that the CPU has: with AMD's misaligned SSE there is a bit 17, too. */
TEST_F(state, mxcsr)
{
	static __u8 image[512] __attribute__((aligned(16)));
	struct wisp_state state;
	__u32 mask, mxcsr, field;

	asm volatile("fxsave %0" : "=m"(image));
	memcpy(&mask, image + XSAVE_MXCSR + 4, sizeof(mask));
	mask = mask ?: 0xffbf;
	for (int bit = 0; bit < 32; bit++) {
		make(&state, LONG);
		mxcsr = 0x1f80 | 1U << bit;
		memcpy(state.xsave + XSAVE_MXCSR, &mxcsr, sizeof(mxcsr));
		EXPECT_EQ(mask >> bit & 1 ? 0 : -EINVAL,
			  raw_set_state(self->vm, 0, WISP_STATE_FPU, &state, &field))
			TH_LOG("bit %d", bit);
	}
}

/* XRSTOR would raise #GP in the host: it must not come so far. */
TEST_F(state, xsave)
{
	const struct {
		const char *what;
		size_t offset;
		__u64 value;
	} rows[] = {
		{ "MXCSR bit 16", XSAVE_MXCSR, 0x11f80 },
		{ "MXCSR bit 31", XSAVE_MXCSR, 0x80001f80 },
		{ "XSTATE_BV bit 63", XSAVE_HEADER, 1ULL << 63 },
		{ "XSTATE_BV bit 8", XSAVE_HEADER, 1ULL << 8 },
		{ "XSTATE_BV behind XCR0", XSAVE_HEADER,
		  self->query.xcr0 + (self->query.xcr0 & -self->query.xcr0) },
		{ "XCOMP_BV bit 63", XSAVE_HEADER + 8, 1ULL << 63 },
		{ "XCOMP_BV bit 0", XSAVE_HEADER + 8, 1 },
		{ "reserved header, first", XSAVE_HEADER + 16, 1 },
		{ "reserved header, last", XSAVE_HEADER + 56, 1ULL << 63 },
	};
	struct wisp_state state;
	__u32 field;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		size_t base = WISP_FIELD(state.xsave);
		size_t width = rows[i].offset == XSAVE_MXCSR ? 4 : 8;

		make(&state, LONG);
		ASSERT_EQ(0, raw_set_state(self->vm, 0, STATE_ALL, &state,
					   NULL));
		memcpy(state.xsave + rows[i].offset, &rows[i].value, width);
		EXPECT_EQ(-EINVAL, raw_set_state(self->vm, 0, WISP_STATE_FPU,
						 &state, &field))
			TH_LOG("%s", rows[i].what);
		EXPECT_LE(base + (rows[i].offset < XSAVE_HEADER + 16 ?
				  rows[i].offset : XSAVE_HEADER + 16), field)
			TH_LOG("%s", rows[i].what);
		EXPECT_GE(base + rows[i].offset, field)
			TH_LOG("%s", rows[i].what);
		self->page->state = state;
		self->page->dirty = WISP_STATE_FPU;
		EXPECT_EQ(-EINVAL, raw_run(self->vm, 0))
			TH_LOG("%s, through the page", rows[i].what);
		EXPECT_EQ(field, self->page->field);
		self->page->dirty = 0;
	}
}

static void distinct(struct wisp_state *s, bool other)
{
	__u64 seed = other ? 0x1122334455667788 : 0x0706050403020100;
	__u64 *general = &s->general.rax;
	struct wisp_segment *segment = &s->segments.cs;
	__u32 mxcsr = other ? 0x1fa0 : 0x1f85;
	__u16 fcw = other ? 0x27f : 0x37f;

	make(s, LONG);
	for (int i = 0; i < 16; i++)
		general[i] = seed * (i + 1);
	s->general.rip = 0xffff800000001000 + other;
	s->general.rflags = RFLAGS_FIXED | RFLAGS_ZF | (other ? RFLAGS_IF : 0);
	for (int i = 0; i < 10; i++) {
		segment[i].base = 0x90000000 + i * 0x1000 + other;
		/* FS and GS, and the system's, have more of it. */
		if (i > 2 && i != 5)
			segment[i].base |= 0xffffffffULL << 32;
		/* CS to SS count in pages (attribute G), the others do not. */
		segment[i].limit = 0x100 + 2 * i + other;
		if (i < 6)
			segment[i].limit = segment[i].limit << 12 | 0xfff;
		if (i < 8)
			segment[i].selector = 0x40 + 16 * i + 8 * other;
	}
	s->control.cr2 = 0x123456789abc + other;
	s->control.cr3 = 0x5000 + 0x1000 * other;
	s->control.cr8 = 3 + other;
	s->control.cr4 |= other ? CR4_PGE : CR4_OSXSAVE;
	s->control.xcr0 = other ? 1 : 3;
	s->debug.dr0 = 0x1000 + other;
	s->debug.dr1 = 0x2000 + other;
	s->debug.dr2 = 0x3000 + other;
	s->debug.dr3 = 0x4000 + other;
	s->debug.dr6 = DR6_FIXED | (other ? 2 : 1);
	s->debug.dr7 = DR7_FIXED | (other ? 0x200 : 0x100);
	s->msrs.star = 0x0023001000000000 + other;
	s->msrs.lstar = 0xffffffff81000000 + other;
	s->msrs.cstar = 0xffffffff82000000 + other;
	s->msrs.sfmask = 0x47700 + other;
	s->msrs.kernel_gs_base = 0xffff888000001000 + other;
	s->msrs.sysenter_cs = 0x10 + other;
	s->msrs.sysenter_esp = 0xffffc90000001000 + other;
	s->msrs.sysenter_eip = 0xffffffff83000000 + other;
	s->msrs.pat = PAT_RESET + other;
	s->msrs.tsc = other ? 1ULL << 50 : 1ULL << 40;
	s->msrs.tsc_aux = 0x77 + other;
	s->events.injected = (struct wisp_event){
		.type = WISP_EVENT_EXCEPTION, .vector = 13,
		.has_error_code = 1, .error_code = 0x18 + other,
	};
	s->events.interrupt = (struct wisp_event){
		.type = WISP_EVENT_INTERRUPT, .vector = 0x41 + other,
	};
	s->events.nmi_pending = other;
	s->events.nmi_blocked = !other;
	s->events.interrupt_shadow = other;
	for (int i = 0; i < 8; i++)
		memset(s->xsave + XSAVE_ST0 + 16 * i, 0x31 + i + other, 10);
	for (int i = 0; i < 16; i++)
		memset(s->xsave + XSAVE_XMM0 + 16 * i, 0x81 + i + other, 16);
	memcpy(s->xsave + XSAVE_FCW, &fcw, sizeof(fcw));
	s->xsave[XSAVE_FTW] = 0xff;
	memcpy(s->xsave + XSAVE_MXCSR, &mxcsr, sizeof(mxcsr));
	s->xsave[XSAVE_HEADER] = 3;
}

#define SAME(a, b, group) \
	(!memcmp(&(a)->group, &(b)->group, sizeof((a)->group)))

TEST_F(state, round_trip)
{
	struct wisp_state out, in;
	__u32 field;

	for (int other = 0; other < 2; other++) {
		distinct(&out, other);
		ASSERT_EQ(0, raw_set_state(self->vm, 0, STATE_ALL, &out,
					   &field))
			TH_LOG("field %#x", field);
		memset(&in, 0xa5, sizeof(in));
		ASSERT_EQ(0, raw_get_state(self->vm, 0, STATE_ALL, &in));
		EXPECT_TRUE(SAME(&out, &in, general));
		EXPECT_TRUE(SAME(&out, &in, segments));
		EXPECT_TRUE(SAME(&out, &in, control));
		EXPECT_TRUE(SAME(&out, &in, debug));
		EXPECT_TRUE(SAME(&out, &in, events));
		/* The TSC has gone on since, but not far. */
		EXPECT_LE(out.msrs.tsc, in.msrs.tsc);
		EXPECT_EQ(out.msrs.tsc >> 40, in.msrs.tsc >> 40);
		in.msrs.tsc = out.msrs.tsc;
		EXPECT_TRUE(SAME(&out, &in, msrs));
		EXPECT_EQ(0, memcmp(out.xsave, in.xsave, 5));
		EXPECT_EQ(0, memcmp(out.xsave + XSAVE_MXCSR,
				    in.xsave + XSAVE_MXCSR, 4));
		EXPECT_EQ(0, memcmp(out.xsave + XSAVE_ST0,
				    in.xsave + XSAVE_ST0, 16 * 24));
		EXPECT_EQ(3, in.xsave[XSAVE_HEADER] & 3);
	}
}

/* Only the groups that are named are touched, on either side. */
TEST_F(state, groups_are_apart)
{
	static const struct {
		__u32 group;
		size_t offset;
		size_t size;
	} groups[] = {
#define GROUP(name, member)						\
		{ WISP_STATE_##name,					\
		  __builtin_offsetof(struct wisp_state, member),	\
		  sizeof(((struct wisp_state *)0)->member) }
		GROUP(GENERAL, general), GROUP(SEGMENTS, segments),
		GROUP(CONTROL, control), GROUP(DEBUG, debug),
		GROUP(EVENTS, events),
#undef GROUP
	};
	struct wisp_state a, b, in;

	distinct(&a, false);
	distinct(&b, true);
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
		char *bytes = (char *)&in;
		size_t offset = groups[i].offset, size = groups[i].size;

		ASSERT_EQ(0, raw_set_state(self->vm, 0, STATE_ALL, &a, NULL));
		ASSERT_EQ(0, raw_set_state(self->vm, 0, groups[i].group, &b,
					   NULL));

		memset(&in, 0xa5, sizeof(in));
		ASSERT_EQ(0, raw_get_state(self->vm, 0, groups[i].group, &in));
		EXPECT_EQ(0, memcmp(bytes + offset, (char *)&b + offset, size))
			TH_LOG("group %#x", groups[i].group);
		for (size_t n = 0; n < sizeof(in); n++) {
			if (n >= offset && n < offset + size)
				continue;
			ASSERT_EQ(0xa5, (__u8)bytes[n])
				TH_LOG("group %#x, byte %zu", groups[i].group,
				       n);
		}

		ASSERT_EQ(0, raw_get_state(self->vm, 0, STATE_ALL, &in));
		for (size_t j = 0; j < ARRAY_SIZE(groups); j++) {
			const void *from = i == j ? &b : &a;

			EXPECT_EQ(0, memcmp(bytes + groups[j].offset,
					    from + groups[j].offset,
					    groups[j].size))
				TH_LOG("set %#x, changed %#x", groups[i].group,
				       groups[j].group);
		}
	}
}

/* All or none: the good groups of a refused SET are not taken either. */
TEST_F(state, a_refused_set_changes_nothing)
{
	struct wisp_state good, bad, before, after;
	__u32 field;

	distinct(&good, false);
	ASSERT_EQ(0, raw_set_state(self->vm, 0, STATE_ALL, &good, NULL));
	ASSERT_EQ(0, raw_get_state(self->vm, 0, STATE_ALL, &before));

	distinct(&bad, true);
	bad.xsave[XSAVE_HEADER + 20] = 1;	/* the last that is checked */
	EXPECT_EQ(-EINVAL, raw_set_state(self->vm, 0, STATE_ALL, &bad, &field));
	EXPECT_LE(WISP_FIELD(state.xsave), field);
	ASSERT_EQ(0, raw_get_state(self->vm, 0, STATE_ALL, &after));
	after.msrs.tsc = before.msrs.tsc;
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));

	distinct(&bad, true);
	bad.control.cr0 = CR0_PG;
	EXPECT_EQ(-EINVAL, raw_set_state(self->vm, 0, STATE_ALL, &bad, &field));
	ASSERT_EQ(0, raw_get_state(self->vm, 0, STATE_ALL, &after));
	after.msrs.tsc = before.msrs.tsc;
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
}

/* A mode change needs several groups, and is judged as a whole. */
TEST_F(state, groups_are_judged_together)
{
	struct wisp_state real, lng;

	make(&real, REAL);
	make(&lng, LONG);
	ASSERT_EQ(0, raw_set_state(self->vm, 0, STATE_ALL, &real, NULL));
	lng.general.rip = 0xffff800000000000;
	EXPECT_EQ(0, raw_set_state(self->vm, 0, WISP_STATE_CONTROL |
				   WISP_STATE_GENERAL | WISP_STATE_SEGMENTS,
				   &lng, NULL));
	EXPECT_EQ(0, raw_set_state(self->vm, 0, WISP_STATE_CONTROL |
				   WISP_STATE_GENERAL | WISP_STATE_SEGMENTS,
				   &real, NULL));
}

TEST_F(state, unknown_groups)
{
	struct wisp_state state;
	__u32 field = ~0U;

	ASSERT_EQ(0, raw_get_state(self->vm, 0, STATE_ALL, &state));
	for (int bit = 7; bit < 32; bit++) {
		EXPECT_EQ(-EOPNOTSUPP, raw_get_state(self->vm, 0, 1U << bit,
						     &state))
			TH_LOG("bit %d", bit);
		EXPECT_EQ(-EOPNOTSUPP, raw_set_state(self->vm, 0, 1U << bit,
						     &state, NULL))
			TH_LOG("bit %d", bit);
	}
	EXPECT_EQ(0, raw_get_state(self->vm, 0, 0, NULL));
	EXPECT_EQ(0, raw_set_state(self->vm, 0, 0, NULL, &field));
	EXPECT_EQ(0U, field);
}

TEST_F(state, bad_pointers)
{
	char *p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(0, munmap(p + PAGE, PAGE));
	for (int bit = 0; bit < 7; bit++) {
		struct wisp_state *state = (void *)(p + PAGE);

		EXPECT_EQ(-EFAULT, raw_get_state(self->vm, 0, 1U << bit,
						 NULL));
		EXPECT_EQ(-EFAULT, raw_set_state(self->vm, 0, 1U << bit, NULL,
						 NULL));
		EXPECT_EQ(-EFAULT, raw_get_state(self->vm, 0, 1U << bit,
						 state));
		EXPECT_EQ(-EFAULT, raw_set_state(self->vm, 0, 1U << bit, state,
						 NULL));
	}
}

TEST_F(state, after_creation_as_after_init)
{
	struct wisp_state s;

	memset(&s, 0xa5, sizeof(s));
	ASSERT_EQ(0, raw_get_state(self->vm, 0, STATE_ALL, &s));
	EXPECT_EQ(0xfff0UL, s.general.rip);
	EXPECT_EQ(0x2UL, s.general.rflags);
	EXPECT_EQ(0UL, s.general.rax);
	EXPECT_EQ(0xf000, s.segments.cs.selector);
	EXPECT_EQ(0xffff0000UL, s.segments.cs.base);
	EXPECT_EQ(0xffffU, s.segments.cs.limit);
	EXPECT_EQ(0x10UL, s.control.cr0);
	EXPECT_EQ(0UL, s.control.cr4);
	EXPECT_EQ(0UL, s.control.efer);
	EXPECT_EQ(1UL, s.control.xcr0);
	EXPECT_EQ(0xffff0ff0UL, s.debug.dr6);
	EXPECT_EQ(0x400UL, s.debug.dr7);
	EXPECT_EQ(PAT_RESET, s.msrs.pat);
	EXPECT_EQ(WISP_EVENT_NONE, s.events.injected.type);
	EXPECT_EQ(0, s.events.nmi_blocked);
	/* What was just read can be written. */
	EXPECT_EQ(0, raw_set_state(self->vm, 0, STATE_ALL, &s, NULL));
}

TEST_HARNESS_MAIN
