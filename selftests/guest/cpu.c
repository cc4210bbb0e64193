// SPDX-License-Identifier: GPL-2.0
/* CPUID, the TSC, the task and the debug registers, as the guest and the host see them. */
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#include "../harness.h"
#include "guest.h"

FIXTURE(cpu) {
	struct guest g;
};

FIXTURE_SETUP(cpu)
{
	ASSERT_EQ(0, guest_create_vm(&self->g));
}

FIXTURE_TEARDOWN(cpu)
{
	guest_destroy(&self->g);
}

/* ---- CPUID ----------------------------------------------------------------- */

SNIPPET(cpuid_hlt, 64, "cpuid; hlt");

struct leaf {
	__u32 eax, ebx, ecx, edx;
};

/* What vCPU 0 of the VM gets; all ones if it did not run as it should. */
static struct leaf guest_cpuid(struct guest *g, __u32 eax, __u32 ecx)
{
	const struct wisp_general *out = &g->page->state.general;
	struct leaf leaf = { ~0U, ~0U, ~0U, ~0U };

	GUEST_LOAD(g, LONG64, cpuid_hlt);
	g->page->state.general.rax = 0xaaaaaaaa00000000 | eax;
	g->page->state.general.rcx = 0xcccccccc00000000 | ecx;
	g->page->state.general.rbx = ~0ULL;
	g->page->state.general.rdx = ~0ULL;
	if (guest_run(g) != WISP_EXIT_HLT ||
	    g->page->exit.rip != GUEST_CODE + 2 ||
	    (out->rax | out->rbx | out->rcx | out->rdx) >> 32)
		return leaf;
	leaf.eax = out->rax;
	leaf.ebx = out->rbx;
	leaf.ecx = out->rcx;
	leaf.edx = out->rdx;
	return leaf;
}

static int set_cpuid(struct guest *g, const struct wisp_cpuid_entry *entries,
		     __u32 count)
{
	struct wisp_set_cpuid arg = {
		.size = sizeof(arg),
		.count = count,
		.entries = (uintptr_t)entries,
	};

	return raw(g->vm, WISP_SET_CPUID, &arg);
}

TEST_F(cpu, default_cpuid_table)
{
	static struct wisp_cpuid_entry table[WISP_MAX_CPUID];
	struct wisp_query query = {
		.size = sizeof(query),
		.cpuid_count = WISP_MAX_CPUID,
		.cpuid = (uintptr_t)table,
	};

	ASSERT_EQ(0, raw(self->g.sys, WISP_QUERY, &query));
	ASSERT_EQ(0, guest_add_vcpu(&self->g, 0));
	for (__u32 i = 0; i < query.cpuid_count; i++) {
		const struct wisp_cpuid_entry *e = &table[i];
		struct leaf leaf = guest_cpuid(&self->g, e->leaf, e->subleaf);

		/* What depends on the vCPU: see struct wisp_set_cpuid. */
		EXPECT_EQ(e->eax, leaf.eax)
			TH_LOG("leaf %#x.%u", e->leaf, e->subleaf);
		if (e->leaf != 1 && e->leaf != 0xd) {
			EXPECT_EQ(e->ebx, leaf.ebx)
				TH_LOG("leaf %#x.%u", e->leaf, e->subleaf);
		}
		if (e->leaf != 1 && e->leaf != 7) {
			EXPECT_EQ(e->ecx, leaf.ecx)
				TH_LOG("leaf %#x.%u", e->leaf, e->subleaf);
		}
		if (e->leaf != 0xb) {
			EXPECT_EQ(e->edx, leaf.edx)
				TH_LOG("leaf %#x.%u", e->leaf, e->subleaf);
		}
	}
}

/* It shows what there is to use, and nothing that the driver has not got. */
TEST_F(cpu, default_cpuid_is_honest)
{
	struct leaf leaf;

	ASSERT_EQ(0, guest_add_vcpu(&self->g, 0));
	leaf = guest_cpuid(&self->g, 0, 0);
	EXPECT_LE(1U, leaf.eax);
	EXPECT_NE(0U, leaf.ebx);
	leaf = guest_cpuid(&self->g, 1, 0);
	EXPECT_EQ(1U << 31, leaf.ecx & 1U << 31);	/* a hypervisor */
	EXPECT_EQ(0U, leaf.ecx & 1U << 5);		/* VMX */
	EXPECT_EQ(0U, leaf.ecx & 1U << 3);		/* MONITOR */
	/* FPU, PSE, TSC, MSR, PAE, CX8, CMOV, PAT, FXSR, SSE, SSE2 */
	EXPECT_EQ(0x07018139U, leaf.edx & 0x07018139);
	leaf = guest_cpuid(&self->g, 0x80000001, 0);
	EXPECT_EQ(0U, leaf.ecx & 1U << 2);		/* SVM */
	EXPECT_EQ(1U << 29, leaf.edx & 1U << 29);	/* long mode */
	leaf = guest_cpuid(&self->g, 7, 0);
	EXPECT_EQ(0U, leaf.edx & (7U << 22 | 1U << 25));	/* AMX */
	leaf = guest_cpuid(&self->g, 0xd, 1);
	EXPECT_EQ(0U, leaf.eax & 0x18);			/* XSAVES, XFD */
}

/* What VMX lets guests have, or not. */
SNIPPET(use_rdtscp, 64, "rdtscp; hlt");
SNIPPET(use_rdpid, 64, "rdpid %rax; hlt");
SNIPPET(use_invpcid, 64, "invpcid (%rbx), %rcx; hlt");

static const struct {
	const char *name, *code, *end;
	__u32 leaf;
	size_t reg;
	unsigned int bit;
} instructions[] = {
#define ROW(name, number, reg, bit)					\
	{ #name, use_##name, use_##name##_end, number,			\
	  offsetof(struct leaf, reg), bit }
	ROW(rdtscp, 0x80000001, edx, 27),
	ROW(rdpid, 7, ecx, 22),
	ROW(invpcid, 7, ebx, 10),
#undef ROW
};

TEST_F(cpu, instructions_are_as_cpuid_has_them)
{
	struct guest *g = &self->g;

	ASSERT_EQ(0, guest_add_vcpu(g, 0));
	for (size_t i = 0; i < ARRAY_SIZE(instructions); i++) {
		struct leaf leaf = guest_cpuid(g, instructions[i].leaf, 0);
		__u32 reg = *(__u32 *)((char *)&leaf + instructions[i].reg);
		bool there = reg >> instructions[i].bit & 1;
		int exit;

		guest_load(g, LONG64, instructions[i].code, instructions[i].end);
		/* INVPCID of all there is; its descriptor is 0. */
		g->page->state.general.rbx = GUEST_DATA;
		g->page->state.general.rcx = 2;
		exit = guest_run(g);
		EXPECT_TRUE(there ? exit == WISP_EXIT_HLT : guest_has_trapped(g, 6))
			TH_LOG("%s, in CPUID: %d", instructions[i].name, there);
	}
}

/* UMIP LA57 FSGSBASE PCIDE SMEP SMAP PKE */
static const struct {
	__u32 leaf;
	size_t reg;
	unsigned int bit;
	unsigned int cr4;
} cr4_bits[] = {
	{ 7, offsetof(struct leaf, ecx), 2, 11 },
	{ 7, offsetof(struct leaf, ecx), 16, 12 },
	{ 7, offsetof(struct leaf, ebx), 0, 16 },
	{ 1, offsetof(struct leaf, ecx), 17, 17 },
	{ 7, offsetof(struct leaf, ebx), 7, 20 },
	{ 7, offsetof(struct leaf, ebx), 20, 21 },
	{ 7, offsetof(struct leaf, ecx), 3, 22 },
};

TEST_F(cpu, cr4_is_as_cpuid_has_it)
{
	struct guest *g = &self->g;
	struct wisp_state state;

	ASSERT_EQ(0, guest_add_vcpu(g, 0));
	for (size_t i = 0; i < ARRAY_SIZE(cr4_bits); i++) {
		struct leaf leaf = guest_cpuid(g, cr4_bits[i].leaf, 0);
		__u32 reg = *(__u32 *)((char *)&leaf + cr4_bits[i].reg);
		int want = reg >> cr4_bits[i].bit & 1 ? 0 : -EINVAL;

		ASSERT_EQ(0, raw_get_state(g->vm, 0, WISP_STATE_CONTROL, &state));
		state.control.cr4 |= 1ULL << cr4_bits[i].cr4;
		EXPECT_EQ(want, raw_set_state(g->vm, 0, WISP_STATE_CONTROL, &state,
					      NULL))
			TH_LOG("bit %u", cr4_bits[i].cr4);
	}
}

TEST_F(cpu, unknown_leaves_are_zero)
{
	static const __u32 leaves[] = {
		0x00000099, 0x12345678, 0x40ffffff, 0x80000099, 0x8fffffff,
		0xc0000000, 0xffffffff,
	};

	ASSERT_EQ(0, guest_add_vcpu(&self->g, 0));
	for (size_t i = 0; i < ARRAY_SIZE(leaves); i++) {
		struct leaf leaf = guest_cpuid(&self->g, leaves[i], 0);

		EXPECT_EQ(0U, leaf.eax | leaf.ebx | leaf.ecx | leaf.edx)
			TH_LOG("leaf %#x", leaves[i]);
	}
}

TEST_F(cpu, own_cpuid_table)
{
	static const struct wisp_cpuid_entry table[] = {
		{ .leaf = 0x12345678, .eax = 1, .ebx = 2, .ecx = 3, .edx = 4 },
		{ .leaf = 4, .subleaf = 0, .flags = WISP_CPUID_SUBLEAF,
		  .eax = 40 },
		{ .leaf = 4, .subleaf = 2, .flags = WISP_CPUID_SUBLEAF,
		  .eax = 42, .edx = ~0U },
		{ .leaf = 0, .eax = 5, .ebx = 0x70736957 },
	};
	struct leaf leaf;

	ASSERT_EQ(0, set_cpuid(&self->g, table, ARRAY_SIZE(table)));
	ASSERT_EQ(0, guest_add_vcpu(&self->g, 0));
	/* An entry without a subleaf answers for every ECX. */
	for (__u32 ecx = 0; ecx < 3; ecx++) {
		leaf = guest_cpuid(&self->g, 0x12345678, ecx);
		EXPECT_EQ(1U, leaf.eax);
		EXPECT_EQ(2U, leaf.ebx);
		EXPECT_EQ(3U, leaf.ecx);
		EXPECT_EQ(4U, leaf.edx);
	}
	EXPECT_EQ(40U, guest_cpuid(&self->g, 4, 0).eax);
	EXPECT_EQ(0U, guest_cpuid(&self->g, 4, 1).eax);
	leaf = guest_cpuid(&self->g, 4, 2);
	EXPECT_EQ(42U, leaf.eax);
	EXPECT_EQ(~0U, leaf.edx);
	EXPECT_EQ(0x70736957U, guest_cpuid(&self->g, 0, 0).ebx);
	/* The default's leaves are gone. */
	leaf = guest_cpuid(&self->g, 0x80000001, 0);
	EXPECT_EQ(0U, leaf.eax | leaf.ebx | leaf.ecx | leaf.edx);
}

SNIPPET(cpuid_osxsave, 64,
	"mov $1, %eax; cpuid; mov %ecx, %esi\n"
	"mov %cr4, %rax; or $0x40000, %eax; mov %rax, %cr4\n"
	"mov $1, %eax; cpuid; mov %ecx, %edi\n"
	"mov %cr4, %rax; and $~0x40000, %eax; mov %rax, %cr4\n"
	"mov $1, %eax; cpuid; hlt");

TEST_F(cpu, osxsave_follows_cr4)
{
	const __u32 osxsave = 1U << 27;
	struct wisp_general *general;

	/* Whatever the table says. */
	for (int set = 0; set < 2; set++) {
		struct wisp_cpuid_entry entry = {
			.leaf = 1, .ecx = set ? ~0U : ~osxsave,
		};
		struct guest g;

		ASSERT_EQ(0, guest_create_vm(&g));
		ASSERT_EQ(0, set_cpuid(&g, &entry, 1));
		ASSERT_EQ(0, guest_add_vcpu(&g, 0));
		GUEST_LOAD(&g, LONG64, cpuid_osxsave);
		ASSERT_EQ(WISP_EXIT_HLT, guest_run(&g));
		general = &g.page->state.general;
		EXPECT_EQ(~osxsave, (__u32)general->rsi);
		EXPECT_EQ(~0U, (__u32)general->rdi);
		EXPECT_EQ(~osxsave, (__u32)general->rcx);
		guest_destroy(&g);
	}
}

/* Leaf 0xd: EBX is the size for XCR0 as it is now. */
SNIPPET(cpuid_xsave_size, 64,
	"mov $0xd, %eax; xor %ecx, %ecx; cpuid; mov %ebx, %esi\n"
	"mov $3, %eax; xor %ecx, %ecx; xor %edx, %edx; xsetbv\n"
	"mov $0xd, %eax; xor %ecx, %ecx; cpuid; mov %ebx, %edi\n"
	"mov %ebp, %eax; xor %ecx, %ecx; xor %edx, %edx; xsetbv\n"
	"mov $0xd, %eax; xor %ecx, %ecx; cpuid\n"
	"hlt");

TEST_F(cpu, xsave_size_follows_xcr0)
{
	struct wisp_state *s;

	ASSERT_EQ(0, guest_add_vcpu(&self->g, 0));
	GUEST_LOAD(&self->g, LONG64, cpuid_xsave_size);
	s = &self->g.page->state;
	s->control.cr4 |= CR4_OSXSAVE;
	s->general.rbp = self->g.query.xcr0;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ(576UL, s->general.rsi);
	EXPECT_EQ(576UL, s->general.rdi);
	EXPECT_EQ(self->g.query.xsave_size, s->general.rbx);
	EXPECT_EQ(self->g.query.xcr0, s->general.rax);
	EXPECT_EQ(self->g.query.xcr0, s->control.xcr0);
}

SNIPPET(cpuid_twice, 64,
	"mov $0xd, %eax; xor %ecx, %ecx; cpuid; mov %ebx, %esi\n"
	"mov $0xd, %eax; mov $1, %ecx; cpuid; hlt");

/* Components that no CPU has, with and without an alignment to 64 bytes. */
static struct wisp_cpuid_entry made_up(unsigned int i)
{
	return (struct wisp_cpuid_entry){
		.leaf = 0xd, .subleaf = i, .flags = WISP_CPUID_SUBLEAF,
		.eax = 100 + i, .ebx = 10000 + 1000 * i, .ecx = i & 1 ? 2 : 0,
	};
}

/* The sizes for all of XCR0: @eax is what CPUID(0xd, 1) has in EAX. */
static void check_xsave_sizes(struct __test_metadata *_metadata, __u32 eax)
{
	struct wisp_cpuid_entry table[64] = {
		{ .leaf = 0xd, .subleaf = 0, .flags = WISP_CPUID_SUBLEAF },
		{ .leaf = 0xd, .subleaf = 1, .flags = WISP_CPUID_SUBLEAF,
		  .eax = eax, .ebx = 1 },
	};
	__u32 standard = 576, compacted = 576, count = 2;
	struct guest g;

	ASSERT_EQ(0, guest_create_vm(&g));
	for (unsigned int i = 2; i < 64; i++) {
		if (!(g.query.xcr0 >> i & 1))
			continue;
		table[count] = made_up(i);
		standard = table[count].ebx + table[count].eax;
		if (table[count].ecx)
			compacted = (compacted + 63) / 64 * 64;
		compacted += table[count++].eax;
	}
	ASSERT_EQ(0, set_cpuid(&g, table, count));
	ASSERT_EQ(0, guest_add_vcpu(&g, 0));
	GUEST_LOAD(&g, LONG64, cpuid_twice);
	g.page->state.control.xcr0 = g.query.xcr0;
	g.page->state.control.cr4 |= CR4_OSXSAVE;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&g));
	EXPECT_EQ(standard, (__u32)g.page->state.general.rsi);
	EXPECT_EQ(eax & 0xa ? compacted : 0U, (__u32)g.page->state.general.rbx);
	guest_destroy(&g);
}

/* In subleaf 1 that of XSAVEC and XSAVES, where there is either. */
TEST_F(cpu, xsave_size_is_that_of_the_format)
{
	check_xsave_sizes(_metadata, 0);
	check_xsave_sizes(_metadata, 1 << 1);
	check_xsave_sizes(_metadata, 1 << 3 | 1);
}

/* Whatever the table says: that of a host's CPU, say. */
TEST_F(cpu, apic_id_is_the_index)
{
	struct wisp_cpuid_entry entry = {
		.leaf = 1, .ebx = 0x05000800, .ecx = 0, .edx = 1 << 6,
	};

	ASSERT_EQ(0, set_cpuid(&self->g, &entry, 1));
	ASSERT_EQ(0, guest_add_vcpu(&self->g, 0));
	ASSERT_EQ(0, guest_add_vcpu(&self->g, 3));
	for (int vcpu = 0; vcpu < 4; vcpu += 3) {
		struct wisp_vcpu_page *page = self->g.pages[vcpu];

		guest_load_at(&self->g, vcpu, LONG64, GUEST_CODE, cpuid_hlt,
			      cpuid_hlt_end);
		page->state.general.rax = 1;
		ASSERT_EQ(WISP_EXIT_HLT, guest_run_vcpu(&self->g, vcpu));
		EXPECT_EQ(vcpu, (int)(page->state.general.rbx >> 24));
		EXPECT_EQ(0x800U, page->state.general.rbx & 0xffffff);
	}
}

/* ---- TSC ------------------------------------------------------------------- */

/* 1000 times RDTSC: RBX counts those that went back. */
SNIPPET(tsc_monotone, 64,
	"rdtsc; shl $32, %rdx; or %rdx, %rax; mov %rax, %rdi; mov %rax, %rsi\n"
	"mov $1000, %ecx\n"
	"1: rdtsc; shl $32, %rdx; or %rdx, %rax\n"
	"cmp %rsi, %rax; adc $0, %rbx; mov %rax, %rsi\n"
	"dec %ecx; jnz 1b; hlt");

TEST_F(cpu, tsc_never_goes_back)
{
	struct wisp_state *s;
	__u64 last = 0;

	ASSERT_EQ(0, guest_add_vcpu(&self->g, 0));
	s = &self->g.page->state;
	GUEST_LOAD(&self->g, LONG64, tsc_monotone);
	for (int i = 0; i < 20; i++) {
		/* On another CPU, if there is one. */
		ASSERT_EQ(0, guest_pin(i));
		ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
		EXPECT_EQ(0UL, s->general.rbx);
		EXPECT_LE(last, s->general.rdi);
		EXPECT_LE(s->general.rsi, s->msrs.tsc);
		last = s->msrs.tsc;
		s->general.rip = GUEST_CODE;
		self->g.page->dirty = WISP_STATE_GENERAL;
	}
}

SNIPPET(tsc_read, 64, "rdtsc; hlt; rdtsc; hlt");

TEST_F(cpu, tsc_can_be_set)
{
	struct wisp_state *s;
	__u64 tsc;

	ASSERT_EQ(0, guest_add_vcpu(&self->g, 0));
	s = &self->g.page->state;
	for (int forward = 0; forward < 2; forward++) {
		GUEST_LOAD(&self->g, LONG64, tsc_read);
		s->msrs.tsc = forward ? 1ULL << 60 : 1ULL << 44;
		ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
		tsc = (s->general.rdx << 32 | s->general.rax);
		EXPECT_LE(forward ? 1ULL << 60 : 1ULL << 44, tsc);
		EXPECT_GE((forward ? 1ULL << 60 : 1ULL << 44) + (1ULL << 42),
			  tsc);
		EXPECT_LE(tsc, s->msrs.tsc);
	}
}

/* From 0 at creation: a new vCPU's TSC is far below the host's of now. */
TEST_F(cpu, tsc_starts_at_zero)
{
	struct wisp_state state;
	__u64 first;

	ASSERT_EQ(0, guest_add_vcpu(&self->g, 0));
	ASSERT_EQ(0, raw_get_state(self->g.vm, 0, WISP_STATE_MSRS, &state));
	first = state.msrs.tsc;
	ASSERT_EQ(0, raw_get_state(self->g.vm, 0, WISP_STATE_MSRS, &state));
	EXPECT_LT(first, state.msrs.tsc);
	/* A minute of it has not gone by. */
	EXPECT_GT(60000ULL * self->g.query.tsc_khz, state.msrs.tsc);
}

/* ---- TR -------------------------------------------------------------------- */

SNIPPET(ltr_hlt, 64, "ltr %cx; hlt");

/* What the one call gives the other takes, whatever TSS the guest has loaded. */
TEST_F(cpu, a_loaded_tss_is_busy)
{
	struct wisp_state state;

	ASSERT_EQ(0, guest_add_vcpu(&self->g, 0));
	GUEST_LOAD(&self->g, LONG64, ltr_hlt);
	self->g.page->state.general.rcx = 0x58;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	ASSERT_EQ(0, raw_get_state(self->g.vm, 0, WISP_STATE_SEGMENTS, &state));
	EXPECT_EQ(0x58, state.segments.tr.selector);
	EXPECT_EQ(SEG_TSS, state.segments.tr.attributes);
	EXPECT_EQ(0, raw_set_state(self->g.vm, 0, WISP_STATE_SEGMENTS, &state,
				   NULL));
}

/* ---- TSC_AUX --------------------------------------------------------------- */

SNIPPET(read_tsc_aux, 64, "mov $0xc0000103, %ecx; rdmsr; mov %rax, %rcx; hlt");

/* By RDTSCP, or by RDMSR where the guest has none. */
TEST_F(cpu, rdtscp_gives_tsc_aux)
{
	unsigned int aux, after;

	ASSERT_EQ(0, guest_pin(0));
	asm volatile("rdtscp" : "=c" (aux) : : "rax", "rdx");

	ASSERT_EQ(0, guest_add_vcpu(&self->g, 0));
	if (guest_cpuid(&self->g, 0x80000001, 0).edx & 1U << 27)
		GUEST_LOAD(&self->g, LONG64, use_rdtscp);
	else
		GUEST_LOAD(&self->g, LONG64, read_tsc_aux);
	self->g.page->state.msrs.tsc_aux = 0xabcdef01;
	self->g.page->state.general.rcx = ~0ULL;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ(0xabcdef01UL, self->g.page->state.general.rcx);

	/* The host's is still its own. */
	asm volatile("rdtscp" : "=c" (after) : : "rax", "rdx");
	EXPECT_EQ(aux, after);
}

/* ---- debug registers --------------------------------------------------------- */

SNIPPET(debug_swap, 64,
	"mov %dr0, %rax; mov %dr1, %rcx; mov %dr2, %rdx; mov %dr3, %rbx\n"
	"mov %dr7, %rsi; hlt\n"
	"mov %rax, %dr0; mov %rcx, %dr1; mov %rdx, %dr2; mov %rbx, %dr3\n"
	"mov %rsi, %dr7; hlt\n"
	"mov %dr0, %rax; mov %dr1, %rcx; mov %dr2, %rdx; mov %dr3, %rbx\n"
	"mov %dr7, %rsi; mov %dr6, %rdi; hlt");

TEST_F(cpu, debug_registers_are_the_vcpus_own)
{
	struct guest *g = &self->g;

	for (int vcpu = 0; vcpu < 2; vcpu++) {
		struct wisp_debug *debug;

		ASSERT_EQ(0, guest_add_vcpu(g, vcpu));
		guest_load_at(g, vcpu, LONG64, GUEST_CODE, debug_swap,
			      debug_swap_end);
		debug = &g->pages[vcpu]->state.debug;
		debug->dr0 = 0x100 + vcpu;
		debug->dr1 = 0x200 + vcpu;
		debug->dr2 = 0x300 + vcpu;
		debug->dr3 = 0x400 + vcpu;
	}
	/* What SET_STATE wrote, one vCPU after the other. */
	for (int vcpu = 0; vcpu < 2; vcpu++) {
		struct wisp_general *general = &g->pages[vcpu]->state.general;

		ASSERT_EQ(WISP_EXIT_HLT, guest_run_vcpu(g, vcpu));
		EXPECT_EQ(0x100UL + vcpu, general->rax);
		EXPECT_EQ(0x200UL + vcpu, general->rcx);
		EXPECT_EQ(0x300UL + vcpu, general->rdx);
		EXPECT_EQ(0x400UL + vcpu, general->rbx);
		EXPECT_EQ(DR7_FIXED, general->rsi);
	}
	/* What the guest itself writes. */
	for (int vcpu = 0; vcpu < 2; vcpu++) {
		struct wisp_vcpu_page *page = g->pages[vcpu];
		struct wisp_general *general = &page->state.general;

		general->rax = 0x1100 + vcpu;
		general->rcx = 0x1200 + vcpu;
		general->rdx = 0x1300 + vcpu;
		general->rbx = 0x1400 + vcpu;
		general->rsi = DR7_FIXED | 0x100;
		page->dirty = WISP_STATE_GENERAL;
		page->complete = 1;
		ASSERT_EQ(WISP_EXIT_HLT, guest_run_vcpu(g, vcpu));
		EXPECT_EQ(0x1100UL + vcpu, page->state.debug.dr0);
		EXPECT_EQ(0x1200UL + vcpu, page->state.debug.dr1);
		EXPECT_EQ(0x1300UL + vcpu, page->state.debug.dr2);
		EXPECT_EQ(0x1400UL + vcpu, page->state.debug.dr3);
		EXPECT_EQ(DR7_FIXED | 0x100, page->state.debug.dr7);
		memset(general, 0, offsetof(struct wisp_general, rip));
	}
	for (int vcpu = 0; vcpu < 2; vcpu++) {
		struct wisp_vcpu_page *page = g->pages[vcpu];
		struct wisp_general *general = &page->state.general;

		page->dirty = WISP_STATE_GENERAL;
		page->complete = 1;
		ASSERT_EQ(WISP_EXIT_HLT, guest_run_vcpu(g, vcpu));
		EXPECT_EQ(0x1100UL + vcpu, general->rax);
		EXPECT_EQ(0x1200UL + vcpu, general->rcx);
		EXPECT_EQ(0x1300UL + vcpu, general->rdx);
		EXPECT_EQ(0x1400UL + vcpu, general->rbx);
		EXPECT_EQ(DR7_FIXED | 0x100, general->rsi);
		EXPECT_EQ(DR6_FIXED, general->rdi);
	}
}

/*
 * The handler goes on at 2, where DR7 is cleared before the exit: QEMU leaves
 * breakpoints behind that are armed then.
 */
SNIPPET(breakpoint, 64,
	"mov %rax, %dr1; mov %rbx, %dr2; mov %rcx, %dr7\n"
	"nop; nop; nop; mov %rax, (%rdi); nop; ud2\n"
	"2: mov $0x400, %eax; mov %rax, %dr7; hlt");

static int run_to_breakpoint(struct guest *g, __u64 dr1, __u64 dr2, __u64 dr7)
{
	struct wisp_state *s = &g->page->state;

	GUEST_LOAD(g, LONG64, breakpoint);
	guest_trap(g)->action = GUEST_TRAP_RESUME;
	guest_trap(g)->resume = GUEST_CODE + 18;
	s->general.rax = dr1;
	s->general.rbx = dr2;
	s->general.rcx = dr7;
	s->general.rdi = GUEST_DATA;
	return guest_run(g);
}

/* Bochs' SVM does not say which, where #DB is intercepted. */
static __u64 dr6_of(int breakpoint)
{
	return DR6_FIXED | (guest_on_bochs_svm() ? 0 : 1 << breakpoint);
}

TEST_F(cpu, instruction_breakpoint)
{
	ASSERT_EQ(0, guest_add_vcpu(&self->g, 0));
	/* G2, execution */
	ASSERT_EQ(WISP_EXIT_HLT,
		  run_to_breakpoint(&self->g, 0, GUEST_CODE + 11,
				    DR7_FIXED | 2 << 4));
	EXPECT_EQ(1UL, guest_trap(&self->g)->vector);
	EXPECT_EQ(1UL, guest_trap(&self->g)->count);
	EXPECT_EQ((__u64)GUEST_CODE + 11, guest_trap(&self->g)->rip);
	EXPECT_EQ(dr6_of(2), self->g.page->state.debug.dr6);
}

TEST_F(cpu, data_breakpoint)
{
	ASSERT_EQ(0, guest_add_vcpu(&self->g, 0));
	/* G1, 8 bytes, write */
	ASSERT_EQ(WISP_EXIT_HLT,
		  run_to_breakpoint(&self->g, GUEST_DATA, 0,
				    DR7_FIXED | 2 << 2 | 9 << 20));
	EXPECT_EQ(1UL, guest_trap(&self->g)->vector);
	EXPECT_EQ(1UL, guest_trap(&self->g)->count);
	EXPECT_EQ((__u64)GUEST_CODE + 15, guest_trap(&self->g)->rip);
	EXPECT_EQ(dr6_of(1), self->g.page->state.debug.dr6);
}

SNIPPET(breakpoint_later, 64, "nop; hlt; nop; nop; hlt");

/* Sets one on the last NOP, and runs to the HLT in front of it. */
static int set_breakpoint_later(struct guest *g)
{
	struct wisp_state *s = &g->page->state;

	GUEST_LOAD(g, LONG64, breakpoint_later);
	s->debug.dr0 = GUEST_CODE + 3;
	s->debug.dr7 = DR7_FIXED | 2;
	return guest_run(g);
}

TEST_F(cpu, debug_registers_survive_an_exit)
{
	struct wisp_state *s;

	ASSERT_EQ(0, guest_add_vcpu(&self->g, 0));
	s = &self->g.page->state;
	ASSERT_EQ(WISP_EXIT_HLT, set_breakpoint_later(&self->g));
	EXPECT_EQ((__u64)GUEST_CODE + 3, s->debug.dr0);
	EXPECT_EQ(DR7_FIXED | 2, s->debug.dr7);
}

/* Armed by the VMM, and armed still after an exit. */
TEST_F(cpu, breakpoints_set_by_the_vmm)
{
	if (guest_on_tcg())
		SKIP(return, "TCG: VMRUN arms no breakpoints");
	ASSERT_EQ(0, guest_add_vcpu(&self->g, 0));
	ASSERT_EQ(WISP_EXIT_HLT, set_breakpoint_later(&self->g));
	ASSERT_EQ(WISP_EXIT_PORT, guest_complete(&self->g, 0));
	EXPECT_TRUE(guest_has_trapped(&self->g, 1));
	EXPECT_EQ((__u64)GUEST_CODE + 3, guest_trap(&self->g)->rip);
	EXPECT_EQ(dr6_of(0), self->g.page->state.debug.dr6);
}

/* Where the host's breakpoint waits. */
void host_function(void);
asm("host_function: nop; ret");

SNIPPET(hlt_later, 64, "nop; nop; nop; hlt");

/*
 * A process that is debugged runs a guest. Its breakpoint on GUEST_CODE, an
 * address that only the guest executes, must not fire; the one on
 * host_function() must, after a guest with debug registers of its own.
 */
static void debugged_child(void)
{
	struct guest g;

	if (ptrace(PTRACE_TRACEME, 0, 0, 0))
		_exit(10);
	raise(SIGSTOP);
	if (guest_create(&g))
		_exit(11);
	GUEST_LOAD(&g, LONG64, hlt_later);
	g.page->state.debug.dr0 = GUEST_CODE + 0x800;
	g.page->state.debug.dr7 = DR7_FIXED | 2;
	if (guest_run(&g) != WISP_EXIT_HLT)
		_exit(12);
	host_function();
	_exit(0);
}

static int poke_debug(pid_t pid, int number, unsigned long value)
{
	return ptrace(PTRACE_POKEUSER, pid,
		      offsetof(struct user, u_debugreg[number]), value);
}

TEST_F(cpu, host_breakpoints_stay_the_hosts)
{
	struct user_regs_struct regs;
	pid_t pid = fork();
	int status;

	ASSERT_LE(0, pid);
	if (!pid)
		debugged_child();
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSTOPPED(status));
	ASSERT_EQ(0, poke_debug(pid, 0, (unsigned long)host_function));
	ASSERT_EQ(0, poke_debug(pid, 1, GUEST_CODE + 1));
	ASSERT_EQ(0, poke_debug(pid, 7, 1 | 1 << 2));
	ASSERT_EQ(0, ptrace(PTRACE_CONT, pid, 0, 0));

	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSTOPPED(status))
		TH_LOG("the breakpoint did not fire: status %#x", status);
	EXPECT_EQ(SIGTRAP, WSTOPSIG(status));
	ASSERT_EQ(0, ptrace(PTRACE_GETREGS, pid, 0, &regs));
	EXPECT_EQ((unsigned long)host_function, regs.rip);
	ASSERT_EQ(0, poke_debug(pid, 7, 0));
	ASSERT_EQ(0, ptrace(PTRACE_CONT, pid, 0, 0));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_HARNESS_MAIN
