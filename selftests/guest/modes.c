// SPDX-License-Identifier: GPL-2.0
/*
 * The modes that a guest can be in, with each kind of paging: in each it computes,
 * reaches memory (above 4 GiB where the mode can), and faults. And a guest that
 * goes from the reset vector through all of them and back, by itself.
 */
#include <cpuid.h>

#include "../harness.h"
#include "guest.h"

#define CR4_LA57	(1ULL << 12)

#define HIGH		0x100000000ULL	/* slot 1: above 4 GiB */
#define HIGH_SIZE	0x400000
#define LOW		0x300000	/* where no paging leads there */
#define LINEAR		0x40000000	/* leads to HIGH, or to LOW */

#define TABLE(n)	(0x50000ULL + (n) * PAGE)
#define IDT		0x5f000
#define CODE		0xc000		/* 16-bit segments reach it */
#define ON_UD		0xb000
#define ON_PF		0xb100
#define GDTR		0xb200

#define P		0x1		/* present */
#define PWU		0x7		/* writable, user */
#define PS		0x80

/*
 * 55 to (RDI) and back, and an exit; then a fault of the mode's: at (RSI), or
 * behind it. The handlers show CR2.
 */
#define TEXT(di, si)							\
	"xor %eax, %eax; mov $10, %ecx\n"				\
	"1: add %ecx, %eax; dec %ecx; jnz 1b\n"				\
	"mov %eax, " di "; mov " di ", %ebx; hlt\n"			\
	"mov " si ", %edx; ud2"

SNIPPET(text16, 16, TEXT("(%edi)", "(%esi)"));
SNIPPET(text32, 32, TEXT("(%edi)", "(%esi)"));
SNIPPET(text64, 64, TEXT("(%rdi)", "(%rsi)"));
SNIPPET(handler16, 16, "mov %cr2, %eax; hlt");
SNIPPET(handler32, 32, "mov %cr2, %eax; hlt");
SNIPPET(handler64, 64, "mov %cr2, %rax; hlt");

FIXTURE(mode) {
	struct guest g;
	struct wisp_state *s;
	int fd;
	__u32 *high;
};

FIXTURE_VARIANT(mode) {
	unsigned int bits;
	void (*prepare)(struct guest *g, struct wisp_state *s);
	__u64 linear;
	__u64 target;		/* guest-physical */
	__u64 fault;		/* linear; 0: there is no paging, #UD */
};

/* ---- the modes -------------------------------------------------------------------- */

static void prepare_real(struct guest *g, struct wisp_state *s)
{
	__u16 *ivt = guest_at(g, 0);

	state_real(s, 0, CODE);
	s->general.rsp = 0x8000;
	ivt[2 * 6] = ON_UD;
	ivt[2 * 6 + 1] = 0;
}

FIXTURE_VARIANT_ADD(mode, real) {
	.bits = 16, .prepare = prepare_real, .linear = 0x8800,
	.target = 0x8800,
};

/* 286 and 386 gates: offset, selector, type. */
static void set_gate(struct guest *g, int vector, __u32 offset, __u16 selector,
		     __u16 type)
{
	__u64 *idt = guest_at(g, IDT);

	idt[vector] = (offset & 0xffff) | (__u64)selector << 16 |
		      (__u64)type << 40 | (__u64)(offset >> 16) << 48;
}

static void load_tables(struct wisp_state *s)
{
	s->general.rsp = GUEST_STACK;
	s->segments.gdt.base = GUEST_GDT;
	s->segments.gdt.limit = 0x77;
	s->segments.idt.base = IDT;
	s->segments.idt.limit = 0xfff;
	s->segments.tr = state_segment(GUEST_TSS_SELECTOR, GUEST_TSS, 0x67,
				       SEG_TSS);
}

static void prepare_protected16(struct guest *g, struct wisp_state *s)
{
	state_protected(s, CODE);
	load_tables(s);
	s->segments.cs = state_segment(0x08, 0, 0xffff, SEG_CODE16);
	state_data_segments(s, state_segment(0x10, 0, 0xffff, SEG_DATA16));
	s->general.rsp = 0x8000;
	set_gate(g, 6, ON_UD, 0x08, 0x86);
}

FIXTURE_VARIANT_ADD(mode, protected16) {
	.bits = 16, .prepare = prepare_protected16, .linear = 0x8800,
	.target = 0x8800,
};

static void prepare_protected32(struct guest *g, struct wisp_state *s)
{
	state_protected(s, CODE);
	load_tables(s);
	set_gate(g, 6, ON_UD, 0x18, 0x8e);
	set_gate(g, 14, ON_PF, 0x18, 0x8e);
}

FIXTURE_VARIANT_ADD(mode, protected32) {
	.bits = 32, .prepare = prepare_protected32, .linear = LOW,
	.target = LOW,
};

static void prepare_paging32(struct guest *g, struct wisp_state *s)
{
	__u32 *pd = guest_at(g, TABLE(0)), *pt = guest_at(g, TABLE(1));
	__u32 *other = guest_at(g, TABLE(2));

	prepare_protected32(g, s);
	for (__u32 i = 0; i < 1024; i++)
		pt[i] = i << 12 | PWU;
	pd[0] = TABLE(1) | PWU;
	pd[LINEAR >> 22] = TABLE(2) | PWU;
	other[0] = LOW | PWU;
	s->control.cr3 = TABLE(0);
	s->control.cr0 |= CR0_PG | CR0_WP;
}

FIXTURE_VARIANT_ADD(mode, paging32) {
	.bits = 32, .prepare = prepare_paging32, .linear = LINEAR + 0x10,
	.target = LOW + 0x10, .fault = LINEAR + PAGE + 0x123,
};

/* 4 MiB pages; PSE-36: bits 13 to 20 are the address's from 32 on. */
static void prepare_pse(struct guest *g, struct wisp_state *s)
{
	__u32 *pd = guest_at(g, TABLE(0));

	prepare_protected32(g, s);
	pd[0] = PS | PWU;
	pd[LINEAR >> 22] = (HIGH >> 32) << 13 | PS | PWU;
	s->control.cr3 = TABLE(0);
	s->control.cr4 |= CR4_PSE;
	s->control.cr0 |= CR0_PG | CR0_WP;
}

FIXTURE_VARIANT_ADD(mode, pse36) {
	.bits = 32, .prepare = prepare_pse, .linear = LINEAR + 0x10,
	.target = HIGH + 0x10, .fault = LINEAR + 0x400123,
};

/* Page directories for 0 and LINEAR below the pointers at @pdpt. */
static void write_directories(struct guest *g, __u64 *pdpt, __u64 bits)
{
	__u64 *low = guest_at(g, TABLE(2)), *high = guest_at(g, TABLE(3));

	pdpt[0] = TABLE(2) | bits;
	pdpt[LINEAR >> 30] = TABLE(3) | bits;
	low[0] = PS | PWU;
	low[1] = 0x200000 | PS | PWU;
	high[0] = HIGH | PS | PWU;
}

static void prepare_pae(struct guest *g, struct wisp_state *s)
{
	prepare_protected32(g, s);
	write_directories(g, guest_at(g, TABLE(0)), P);
	s->control.cr3 = TABLE(0);
	s->control.cr4 |= CR4_PAE;
	s->control.cr0 |= CR0_PG | CR0_WP;
}

FIXTURE_VARIANT_ADD(mode, pae) {
	.bits = 32, .prepare = prepare_pae, .linear = LINEAR + 0x10,
	.target = HIGH + 0x10, .fault = LINEAR + 0x200123,
};

static void prepare_long(struct guest *g, struct wisp_state *s)
{
	__u64 *pml4 = guest_at(g, TABLE(0));

	state_long(s, TABLE(0), CODE);
	load_tables(s);
	/* Gates have 16 bytes here. */
	set_gate(g, 2 * 6, ON_UD, GUEST_CS64, 0x8e);
	set_gate(g, 2 * 14, ON_PF, GUEST_CS64, 0x8e);
	pml4[0] = TABLE(1) | PWU;
	pml4[511] = TABLE(1) | PWU;
	write_directories(g, guest_at(g, TABLE(1)), PWU);
}

FIXTURE_VARIANT_ADD(mode, four_levels) {
	.bits = 64, .prepare = prepare_long,
	.linear = 0xffffff8000000000 + LINEAR + 0x10, .target = HIGH + 0x10,
	.fault = 0xffffff8000000000 + LINEAR + 0x200123,
};

static void prepare_la57(struct guest *g, struct wisp_state *s)
{
	__u64 *pml5 = guest_at(g, TABLE(4));

	prepare_long(g, s);
	pml5[0] = TABLE(0) | PWU;
	pml5[255] = TABLE(0) | PWU;
	s->control.cr3 = TABLE(4);
	s->control.cr4 |= CR4_LA57;
}

/* Not canonical with four levels. */
FIXTURE_VARIANT_ADD(mode, five_levels) {
	.bits = 64, .prepare = prepare_la57,
	.linear = 0x00ff000000000000 + LINEAR + 0x10, .target = HIGH + 0x10,
	.fault = 0x00ff000000000000 + LINEAR + 0x200123,
};

/* ---- the test ------------------------------------------------------------------------ */

FIXTURE_SETUP(mode)
{
	struct guest *g = &self->g;

	ASSERT_EQ(0, guest_create(g));
	self->fd = raw_create_memory(g->sys, HIGH_SIZE);
	ASSERT_LE(0, self->fd);
	self->high = mmap(NULL, HIGH_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			  self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->high);
	ASSERT_EQ(0, raw_set_slot(g->vm, 1, HIGH, HIGH_SIZE, self->fd, 0,
				  PROT_RW));
	self->s = &g->page->state;
	variant->prepare(g, self->s);
	self->s->general.rdi = variant->linear;
	self->s->general.rsi = variant->fault ?: variant->linear;
	g->page->dirty = STATE_ALL;
	g->page->want = STATE_ALL;
}

FIXTURE_TEARDOWN(mode)
{
	munmap(self->high, HIGH_SIZE);
	close(self->fd);
	guest_destroy(&self->g);
}

static void copy(struct guest *g, __u64 gpa, const char *code, const char *end)
{
	memcpy(guest_at(g, gpa), code, end - code);
}

static __u64 load_code(struct guest *g, unsigned int bits)
{
	switch (bits) {
	case 16:
		copy(g, CODE, text16, text16_end);
		copy(g, ON_UD, handler16, handler16_end);
		return text16_end - text16;
	case 32:
		copy(g, CODE, text32, text32_end);
		copy(g, ON_UD, handler32, handler32_end);
		copy(g, ON_PF, handler32, handler32_end);
		return text32_end - text32;
	default:
		copy(g, CODE, text64, text64_end);
		copy(g, ON_UD, handler64, handler64_end);
		copy(g, ON_PF, handler64, handler64_end);
		return text64_end - text64;
	}
}

/* Whether this host's guests can have five levels: hardware's, not the host's. */
static bool has_la57(struct guest *g)
{
	struct wisp_cpuid_entry entries[WISP_MAX_CPUID];
	struct wisp_query query = {
		.size = sizeof(query), .cpuid_count = WISP_MAX_CPUID,
		.cpuid = (uintptr_t)entries,
	};

	if (raw(g->sys, WISP_QUERY, &query))
		return false;
	for (__u32 i = 0; i < query.cpuid_count; i++)
		if (entries[i].leaf == 7 && !entries[i].subleaf)
			return entries[i].ecx & 1 << 16;
	return false;
}

static __u32 word_at(FIXTURE_DATA(mode) * self, __u64 gpa)
{
	if (gpa >= HIGH)
		return self->high[(gpa - HIGH) / 4];
	return *(__u32 *)guest_at(&self->g, gpa);
}

static bool cpu_has_la57(void)
{
	unsigned int eax, ebx, ecx, edx;

	return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && ecx & 1 << 16;
}

TEST_F(mode, works)
{
	struct guest *g = &self->g;
	__u64 size = load_code(g, variant->bits);
	struct wisp_state before = *self->s;

	/* Whether or not the host uses it. */
	ASSERT_EQ(cpu_has_la57(), has_la57(g));
	if (before.control.cr4 & CR4_LA57 && !has_la57(g)) {
		EXPECT_EQ(-EINVAL, guest_run(g));
		EXPECT_EQ(WISP_FIELD(state.control.cr4), g->page->field);
		return;
	}
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(g))
		TH_LOG("%s at %#llx, field %u",
		       guest_exit_name(g->page->exit.reason),
		       g->page->exit.rip, g->page->field);
	EXPECT_EQ(55UL, self->s->general.rax);
	EXPECT_EQ(55UL, self->s->general.rbx);
	EXPECT_EQ(55U, word_at(self, variant->target));
	EXPECT_EQ(before.control.cr0, self->s->control.cr0);
	EXPECT_EQ(before.control.cr3, self->s->control.cr3);
	EXPECT_EQ(before.control.cr4, self->s->control.cr4);
	EXPECT_EQ(before.control.efer, self->s->control.efer);
	EXPECT_EQ(before.segments.cs.attributes,
		  self->s->segments.cs.attributes);

	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(g, 0));
	if (!variant->fault) {
		EXPECT_EQ((__u64)ON_UD + 3, g->page->exit.rip);
		EXPECT_EQ(55UL, self->s->general.rdx);
		return;
	}
	EXPECT_EQ((__u64)ON_PF + 3, g->page->exit.rip);
	EXPECT_EQ(variant->fault, self->s->general.rax);
	EXPECT_EQ(variant->fault, self->s->control.cr2);
	/* Not present, a read at CPL 0. */
	EXPECT_EQ(0U, *(__u32 *)guest_at(g, self->s->general.rsp));
	EXPECT_LT(CODE + size - 6, *(__u32 *)guest_at(g, self->s->general.rsp +
						      variant->bits / 8));
}

/* ---- what no mode narrows ------------------------------------------------------------ */

FIXTURE(wide) {
	struct guest g;
};

FIXTURE_SETUP(wide)
{
	ASSERT_EQ(0, guest_create(&self->g));
}

FIXTURE_TEARDOWN(wide)
{
	guest_destroy(&self->g);
}

/* A CPU that has five levels takes such bases with four, too. */
TEST_F(wide, bases_are_as_the_cpu_has_addresses)
{
	const __u64 base = 0x00ff000000000000;
	struct guest *g = &self->g;
	struct wisp_state *s = &g->page->state;
	__u64 *const bases[] = {
		&s->msrs.lstar, &s->msrs.cstar, &s->msrs.kernel_gs_base,
		&s->msrs.sysenter_esp, &s->msrs.sysenter_eip,
		&s->segments.fs.base, &s->segments.gs.base,
		&s->segments.ldtr.base,
	};

	for (size_t i = 0; i < ARRAY_SIZE(bases); i++) {
		GUEST_LOAD(g, LONG64, handler64);
		*bases[i] = base;
		if (has_la57(g)) {
			EXPECT_EQ(WISP_EXIT_HLT, guest_run(g))
				TH_LOG("base %zu", i);
		} else {
			EXPECT_EQ(-EINVAL, guest_run(g))
				TH_LOG("base %zu", i);
			EXPECT_EQ((char *)bases[i] - (char *)g->page,
				  (long)g->page->field);
		}
		EXPECT_EQ(base, *bases[i]);
	}
}

/* ---- from one to the other -------------------------------------------------------------- */

#define STAGE(n) "mov $" #n ", %al; out %al, $0x20\n"
#define AT(label) STR(CODE) " + " label " - through"
#define BOTH_DATA(selector)						\
	"mov $" selector ", %ax; mov %ax, %ds; mov %ax, %ss\n"

SNIPPET(through, 16,
	STAGE(1)
	"lgdtl " STR(GDTR) "\n"
	"mov %cr0, %eax; or $1, %al; mov %eax, %cr0\n"
	"ljmp $0x08, $" AT("2f") "\n"
	"2: " STAGE(2)
	"ljmpl $0x18, $" AT("3f") "\n"
	".code32\n"
	"3: " BOTH_DATA("0x20") "mov $" STR(GUEST_STACK) ", %esp\n" STAGE(3)
	"mov %cr4, %eax; or $0x20, %eax; mov %eax, %cr4\n"
	"mov $" STR(GUEST_PML4) ", %eax; mov %eax, %cr3\n"
	"mov $0xc0000080, %ecx; rdmsr; or $0x100, %eax; wrmsr\n"
	"mov %cr0, %eax; or $0x80000000, %eax; mov %eax, %cr0\n"
	STAGE(4)
	"ljmp $0x28, $" AT("5f") "\n"
	".code64\n"
	"5: mov $0x123456789abcdef0, %rbx\n" STAGE(5)
	"push $0x18; push $" AT("6f") "; lretq\n"
	".code32\n"
	"6: " STAGE(6)
	"mov %cr0, %eax; and $0x7fffffff, %eax; mov %eax, %cr0\n"
	"mov $0xc0000080, %ecx; rdmsr; and $~0x100, %eax; wrmsr\n"
	"mov %cr4, %eax; and $~0x20, %eax; mov %eax, %cr4\n"
	STAGE(7)
	"ljmp $0x08, $" AT("8f") "\n"
	".code16\n"
	"8: " BOTH_DATA("0x10")
	"mov %cr0, %eax; and $0xfe, %al; mov %eax, %cr0\n"
	"ljmp $0, $" AT("9f") "\n"
	"9: " BOTH_DATA("0")
	STAGE(8) "hlt");

#define PAGING	(CR0_PG | CR0_PE)
#define LONG	(EFER_LME | EFER_LMA)
#define BITS32	0x4000
#define BITS64	0x2000

FIXTURE(reset) {
	struct guest g;
};

FIXTURE_SETUP(reset)
{
	static const char jump[] = { 0xea, CODE & 0xff, CODE >> 8, 0, 0 };
	struct guest *g = &self->g;
	__u16 *gdtr;

	ASSERT_EQ(0, guest_create(g));
	/* The last 64 KiB below 4 GiB are the last of the object. */
	ASSERT_EQ(0, raw_set_slot(g->vm, 1, HIGH - 0x10000, 0x10000, g->fd,
				  GUEST_SIZE - 0x10000, PROT_RX));
	memcpy(guest_at(g, GUEST_SIZE - 16), jump, sizeof(jump));
	copy(g, CODE, through, through_end);
	gdtr = guest_at(g, GDTR);
	gdtr[0] = 0x77;
	gdtr[1] = GUEST_GDT;
	g->page->want = STATE_ALL;
}

FIXTURE_TEARDOWN(reset)
{
	guest_destroy(&self->g);
}

TEST_F(reset, through_all_modes_and_back)
{
	static const struct {
		__u64 cr0, efer;
		__u16 cs;
	} stages[] = {
		{ 0, 0, 0 },
		{ CR0_PE, 0, 0 },
		{ CR0_PE, 0, BITS32 },
		{ PAGING, LONG, BITS32 },
		{ PAGING, LONG, BITS64 },
		{ PAGING, LONG, BITS32 },
		{ CR0_PE, 0, BITS32 },
		{ 0, 0, 0 },
	};
	struct guest *g = &self->g;
	const struct wisp_state *s = &g->page->state;

	guest_run(g);
	for (size_t i = 0; i < ARRAY_SIZE(stages); i++) {
		ASSERT_EQ(WISP_EXIT_PORT, (int)g->page->exit.reason)
			TH_LOG("stage %zu: %s at %#llx", i + 1,
			       guest_exit_name(g->page->exit.reason),
			       g->page->exit.rip);
		ASSERT_EQ(i + 1, g->page->exit.port.data);
		EXPECT_EQ(stages[i].cr0, s->control.cr0 & PAGING);
		EXPECT_EQ(stages[i].efer, s->control.efer);
		EXPECT_EQ(stages[i].cs,
			  s->segments.cs.attributes & (BITS32 | BITS64));
		guest_complete(g, 0);
	}
	EXPECT_EQ(WISP_EXIT_HLT, (int)g->page->exit.reason);
	EXPECT_EQ(0, s->segments.cs.selector);
	/* What 64-bit mode left, as far as the others kept it. */
	EXPECT_EQ(0x123456789abcdef0UL, s->general.rbx);
}

TEST_HARNESS_MAIN
