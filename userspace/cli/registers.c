// SPDX-License-Identifier: MIT
#include "registers.h"

#include <string.h>

/* Of the XSAVE image: SDM Vol. 1, "XSAVE-Managed Features". */
#define XSAVE_FCW	0
#define XSAVE_FSW	2
#define XSAVE_FTW	4
#define XSAVE_FOP	6
#define XSAVE_FIP	8
#define XSAVE_FDP	16
#define XSAVE_MXCSR	24
#define XSAVE_ST	32
#define XSAVE_XMM	160
#define XSAVE_BV	512

#define BV_X87		1ULL
#define BV_SSE		2ULL

#define FCW_INIT	0x37f
#define MXCSR_INIT	0x1f80

/* gdb's own names and order: "Target Descriptions" in its manual. */
#define REG(name, bits, type) \
	"<reg name=\"" name "\" bitsize=\"" bits "\" type=\"" type "\"/>"
#define INT64(name)	REG(name, "64", "int64")
#define INT32(name)	REG(name, "32", "int32")
#define SYSTEM(name)	REG(name, "64", "uint64")
#define ST(name)	REG(name, "80", "i387_ext")
#define FLOAT(name)	REG(name, "32", "int")
#define XMM(name)	REG(name, "128", "vec128")

const char registers_xml[] =
	"<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">"
	"<target version=\"1.0\"><architecture>i386:x86-64</architecture>"
	"<feature name=\"org.gnu.gdb.i386.core\">"
	INT64("rax") INT64("rbx") INT64("rcx") INT64("rdx") INT64("rsi")
	INT64("rdi") REG("rbp", "64", "data_ptr") REG("rsp", "64", "data_ptr")
	INT64("r8") INT64("r9") INT64("r10") INT64("r11") INT64("r12")
	INT64("r13") INT64("r14") INT64("r15") REG("rip", "64", "code_ptr")
	INT32("eflags") INT32("cs") INT32("ss") INT32("ds") INT32("es")
	INT32("fs") INT32("gs") ST("st0") ST("st1") ST("st2") ST("st3")
	ST("st4") ST("st5") ST("st6") ST("st7") FLOAT("fctrl")
	FLOAT("fstat") FLOAT("ftag") FLOAT("fiseg") FLOAT("fioff")
	FLOAT("foseg") FLOAT("fooff") FLOAT("fop") "</feature>"
	"<feature name=\"org.gnu.gdb.i386.sse\">"
	"<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>"
	"<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
	"<vector id=\"v16i8\" type=\"int8\" count=\"16\"/>"
	"<vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
	"<vector id=\"v4i32\" type=\"int32\" count=\"4\"/>"
	"<vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
	"<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/>"
	"<field name=\"v2_double\" type=\"v2d\"/>"
	"<field name=\"v16_int8\" type=\"v16i8\"/>"
	"<field name=\"v8_int16\" type=\"v8i16\"/>"
	"<field name=\"v4_int32\" type=\"v4i32\"/>"
	"<field name=\"v2_int64\" type=\"v2i64\"/>"
	"<field name=\"uint128\" type=\"uint128\"/></union>"
	XMM("xmm0") XMM("xmm1") XMM("xmm2") XMM("xmm3") XMM("xmm4")
	XMM("xmm5") XMM("xmm6") XMM("xmm7") XMM("xmm8") XMM("xmm9")
	XMM("xmm10") XMM("xmm11") XMM("xmm12") XMM("xmm13") XMM("xmm14")
	XMM("xmm15") FLOAT("mxcsr") "</feature>"
	"<feature name=\"org.gnu.gdb.i386.segments\">"
	INT64("fs_base") INT64("gs_base") "</feature>"
	"<feature name=\"wisp.system\">"
	SYSTEM("cr0") SYSTEM("cr2") SYSTEM("cr3") SYSTEM("cr4")
	SYSTEM("cr8") SYSTEM("efer") "</feature></target>";

enum kind { PLAIN, TAGS };

struct reg {
	enum kind kind;
	uint32_t group;
	uint16_t offset;	/* in struct wisp_state */
	uint8_t size;		/* as gdb has it */
	uint8_t stored;		/* as struct wisp_state has it; no more */
};

#define AT(member)	offsetof(struct wisp_state, member)
#define GENERAL(member, size) \
	{ PLAIN, WISP_STATE_GENERAL, AT(general.member), size, 8 }
#define SEGMENT(member) \
	{ PLAIN, WISP_STATE_SEGMENTS, AT(segments.member.selector), 4, 2 }
#define BASE(member) \
	{ PLAIN, WISP_STATE_SEGMENTS, AT(segments.member.base), 8, 8 }
#define CONTROL(member) \
	{ PLAIN, WISP_STATE_CONTROL, AT(control.member), 8, 8 }
#define XSAVE(at, size, stored) \
	{ PLAIN, WISP_STATE_FPU, AT(xsave) + (at), size, stored }
#define X87_ST(n)	XSAVE(XSAVE_ST + 16 * (n), 10, 10)
#define SSE_XMM(n)	XSAVE(XSAVE_XMM + 16 * (n), 16, 16)

/* In the order of the target description. */
static const struct reg registers[] = {
	GENERAL(rax, 8), GENERAL(rbx, 8), GENERAL(rcx, 8), GENERAL(rdx, 8),
	GENERAL(rsi, 8), GENERAL(rdi, 8), GENERAL(rbp, 8), GENERAL(rsp, 8),
	GENERAL(r8, 8), GENERAL(r9, 8), GENERAL(r10, 8), GENERAL(r11, 8),
	GENERAL(r12, 8), GENERAL(r13, 8), GENERAL(r14, 8), GENERAL(r15, 8),
	GENERAL(rip, 8), GENERAL(rflags, 4),
	SEGMENT(cs), SEGMENT(ss), SEGMENT(ds), SEGMENT(es), SEGMENT(fs),
	SEGMENT(gs),
	X87_ST(0), X87_ST(1), X87_ST(2), X87_ST(3),
	X87_ST(4), X87_ST(5), X87_ST(6), X87_ST(7),
	XSAVE(XSAVE_FCW, 4, 2), XSAVE(XSAVE_FSW, 4, 2),
	{ TAGS, WISP_STATE_FPU, AT(xsave) + XSAVE_FTW, 4, 1 },
	XSAVE(XSAVE_FIP + 4, 4, 2),
	XSAVE(XSAVE_FIP, 4, 4),
	XSAVE(XSAVE_FDP + 4, 4, 2), XSAVE(XSAVE_FDP, 4, 4),
	XSAVE(XSAVE_FOP, 4, 2),
	SSE_XMM(0), SSE_XMM(1), SSE_XMM(2), SSE_XMM(3),
	SSE_XMM(4), SSE_XMM(5), SSE_XMM(6), SSE_XMM(7),
	SSE_XMM(8), SSE_XMM(9), SSE_XMM(10), SSE_XMM(11),
	SSE_XMM(12), SSE_XMM(13), SSE_XMM(14), SSE_XMM(15),
	XSAVE(XSAVE_MXCSR, 4, 4),
	BASE(fs), BASE(gs),
	CONTROL(cr0), CONTROL(cr2), CONTROL(cr3), CONTROL(cr4), CONTROL(cr8),
	CONTROL(efer),
};

#define COUNT	(sizeof(registers) / sizeof(*registers))

unsigned int registers_count(void)
{
	return COUNT;
}

unsigned int register_size(unsigned int number)
{
	return number < COUNT ? registers[number].size : 0;
}

/*
 * A component that is not in XSTATE_BV has its initial values, whatever the
 * image holds: put them there.
 */
static void initialize(struct wisp_state *state)
{
	uint8_t *xsave = state->xsave;
	const uint16_t fcw = FCW_INIT;
	const uint32_t mxcsr = MXCSR_INIT;
	uint64_t bv;

	memcpy(&bv, xsave + XSAVE_BV, sizeof(bv));
	if (!(bv & BV_X87)) {
		memset(xsave, 0, XSAVE_MXCSR);
		memset(xsave + XSAVE_ST, 0, XSAVE_XMM - XSAVE_ST);
		memcpy(xsave + XSAVE_FCW, &fcw, sizeof(fcw));
	}
	if (!(bv & BV_SSE)) {
		memset(xsave + XSAVE_XMM, 0, 256);
		memcpy(xsave + XSAVE_MXCSR, &mxcsr, sizeof(mxcsr));
	}
}

/* The image has a bit per register, gdb two: 3 is empty. */
static uint32_t full_tags(uint8_t bits)
{
	uint32_t tags = 0;

	for (unsigned int i = 0; i < 8; i++)
		if (!(bits & 1U << i))
			tags |= 3U << (2 * i);
	return tags;
}

static uint8_t short_tags(uint32_t tags)
{
	uint8_t bits = 0;

	for (unsigned int i = 0; i < 8; i++)
		if ((tags >> (2 * i) & 3) != 3)
			bits |= (uint8_t)(1U << i);
	return bits;
}

void register_get(const struct wisp_state *state, unsigned int number,
		  void *value)
{
	const struct reg *reg = &registers[number];
	const uint8_t *from = (const uint8_t *)state + reg->offset;
	unsigned int size = reg->stored < reg->size ? reg->stored : reg->size;
	struct wisp_state copy;
	uint32_t tags;

	if (reg->group == WISP_STATE_FPU) {
		copy = *state;
		initialize(&copy);
		from = (const uint8_t *)&copy + reg->offset;
	}
	memset(value, 0, reg->size);
	memcpy(value, from, size);
	if (reg->kind == TAGS) {
		tags = full_tags(*from);
		memcpy(value, &tags, sizeof(tags));
	}
}

uint32_t register_set(struct wisp_state *state, unsigned int number,
		      const void *value)
{
	const struct reg *reg = &registers[number];
	uint8_t *to = (uint8_t *)state + reg->offset;
	unsigned int size = reg->stored < reg->size ? reg->stored : reg->size;
	uint64_t bv;
	uint32_t tags;

	if (reg->group == WISP_STATE_FPU) {
		initialize(state);
		memcpy(&bv, state->xsave + XSAVE_BV, sizeof(bv));
		bv |= BV_X87 | BV_SSE;
		memcpy(state->xsave + XSAVE_BV, &bv, sizeof(bv));
	}
	if (reg->kind == TAGS) {
		memcpy(&tags, value, sizeof(tags));
		*to = short_tags(tags);
	} else {
		memcpy(to, value, size);
	}
	return reg->group;
}
