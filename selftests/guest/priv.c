// SPDX-License-Identifier: GPL-2.0
/*
 * Every privileged instruction, and those near them, at CPL 0 and at CPL 3:
 * each is done, faults as it should, or exits to the VMM. None hangs and none
 * ends as "unexpected". Every port.
 *
 * A snippet ends in INT3, so that "done" is seen at any CPL: #BP behind it.
 */
#include <stdlib.h>

#include "../harness.h"
#include "guest.h"

/* What may become of an instruction: a set of these. */
#define DONE		(1U << 0)
#define DB		(1U << 1)
#define UD		(1U << 6)
#define NM		(1U << 7)
#define GP		(1U << 13)
#define PF		(1U << 14)
#define HLT		(1U << 16)
#define PORT		(1U << 17)
#define HYPERCALL	(1U << 18)
#define REFUSED		(1U << 19)
#define SHUTDOWN	(1U << 20)
#define WRONG		(1U << 31)

#define DESCRIPTORS	GUEST_DATA		/* GDTR and IDTR images */
#define SCRATCH		(GUEST_DATA + 0x1000)
#define MARKER		(GUEST_CODE + 0x800)	/* an INT3 */

FIXTURE(priv) {
	struct guest g;
	__u32 vmcall;	/* what comes of this vendor's own instructions */
	__u32 vmmcall;
};

FIXTURE_SETUP(priv)
{
	struct guest *g = &self->g;

	ASSERT_EQ(0, guest_create(g));
	self->vmcall = g->query.backend == WISP_BACKEND_VMX ? HYPERCALL : UD;
	self->vmmcall = g->query.backend == WISP_BACKEND_SVM ? HYPERCALL : UD;
}

FIXTURE_TEARDOWN(priv)
{
	guest_destroy(&self->g);
}

static void write_descriptors(struct guest *g)
{
	/* A limit of 16 bits, a base of 64. */
	__u16 *gdtr = guest_at(g, DESCRIPTORS);
	__u16 *idtr = guest_at(g, DESCRIPTORS + 16);
	__u8 *marker = guest_at(g, MARKER);

	memset(gdtr, 0, 32);
	gdtr[0] = 0x77;
	gdtr[1] = GUEST_GDT;
	idtr[0] = 0xfff;
	idtr[1] = GUEST_IDT;
	*marker = 0xcc;
}

/* RDI: GDTR, RSI: IDTR, RBX: scratch; the rest is what the tests need. */
static void load(struct guest *g, enum guest_mode mode, const char *code,
		 const char *end, __u64 rcx)
{
	struct wisp_state *s = &g->page->state;

	guest_load(g, mode, code, end);
	write_descriptors(g);
	s->general.rdi = DESCRIPTORS;
	s->general.rsi = DESCRIPTORS + 16;
	s->general.rbx = SCRATCH;
	s->general.rcx = rcx;
	s->general.rdx = 0;
	s->general.rax = 3;
	s->general.r8 = GUEST_PML4;
	s->control.cr4 |= CR4_OSXSAVE;
	s->msrs.star = 0x0033ULL << 48 | 0x0028ULL << 32;
	s->msrs.lstar = MARKER;
	s->msrs.sfmask = RFLAGS_IF;
	s->msrs.sysenter_cs = 0x28;
	s->msrs.sysenter_eip = MARKER;
	s->msrs.sysenter_esp = GUEST_STACK;
}

static __u32 outcome(struct guest *g, const char *code, const char *end)
{
	const struct guest_trap *trap = guest_trap(g);
	const struct wisp_exit *exit = &g->page->exit;

	switch (guest_run(g)) {
	case WISP_EXIT_HLT:
		return HLT;
	case WISP_EXIT_HYPERCALL:
		return HYPERCALL;
	case WISP_EXIT_ENTRY_FAILED:
		return REFUSED;
	case WISP_EXIT_SHUTDOWN:
		return SHUTDOWN;
	case WISP_EXIT_PORT:
		if (exit->port.port != GUEST_TRAP_PORT)
			return PORT;
		break;
	default:
		fprintf(stderr, "# exit %s, code %#llx\n",
			guest_exit_name(exit->reason), exit->hw.code);
		return WRONG;
	}
	/* Behind the INT3 that ends the snippet, or behind the marker. */
	if (trap->vector == 3 &&
	    (trap->rip == GUEST_CODE + (__u64)(end - code) ||
	     trap->rip == MARKER + 1))
		return DONE;
	if (trap->vector < 15 && trap->vector != 3)
		return 1U << trap->vector;
	return WRONG;
}

static void check(struct __test_metadata *_metadata, struct guest *g,
		  const char *what, const char *code, const char *end,
		  __u64 rcx, __u32 kernel, __u32 user)
{
	__u32 result;

	load(g, LONG64, code, end, rcx);
	result = outcome(g, code, end);
	EXPECT_EQ(result, result & kernel)
		TH_LOG("%s at CPL 0: vector %lld, want one of %#x", what,
		       guest_trap(g)->vector, kernel);
	load(g, USER64, code, end, rcx);
	result = outcome(g, code, end);
	EXPECT_EQ(result, result & user)
		TH_LOG("%s at CPL 3: vector %lld, want one of %#x", what,
		       guest_trap(g)->vector, user);
}

/* %% where the instruction has a %. @rcx is in RCX before. */
#define INSN_RCX(text, rcx, kernel, user) do {				\
	const char *start, *end;					\
	asm(".pushsection .rodata\n 771: " text "\n int3\n 772:\n"	\
	    ".popsection\n lea 771b(%%rip), %0; lea 772b(%%rip), %1"	\
	    : "=r" (start), "=r" (end));				\
	check(_metadata, &self->g, text, start, end, rcx, kernel, user); \
} while (0)

#define INSN(text, kernel, user) INSN_RCX(text, 0, kernel, user)

TEST_F(priv, halting_and_interrupts)
{
	/* QEMU is built without it. */
	const __u32 int1 = guest_on_tcg() ? UD : DB;

	INSN("hlt", HLT, GP);
	INSN("cli", DONE, GP);
	INSN("sti", DONE, GP);
	INSN("pause", DONE, DONE);
	INSN("ud2", UD, UD);
	INSN(".byte 0xf1", int1, int1);
	INSN("monitor", UD, UD | GP);
	INSN("mwait", UD, UD | GP);
	INSN(".byte 0x0f, 0x01, 0xfa", UD, UD | GP);	/* MONITORX */
	INSN(".byte 0x0f, 0x01, 0xfb", UD, UD | GP);	/* MWAITX */
	/* QEMU takes these two for a CLFLUSH with a prefix. */
	INSN("umwait %%ebx", UD | DONE, UD | DONE);
	INSN("tpause %%ebx", UD | DONE, UD | DONE);
	INSN("rsm", UD, UD);
}

TEST_F(priv, ports)
{
	INSN("in $0x60, %%al", PORT, GP);
	INSN("in %%dx, %%eax", PORT, GP);
	INSN("out %%al, $0x60", PORT, GP);
	INSN("out %%ax, %%dx", PORT, GP);
	INSN("insb", PORT, GP);
	INSN("outsb", PORT, GP);
}

TEST_F(priv, tables)
{
	INSN("lgdt (%%rdi)", DONE, GP);
	INSN("lidt (%%rsi)", DONE, GP);
	INSN("sgdt (%%rbx)", DONE, DONE);
	INSN("sidt (%%rbx)", DONE, DONE);
	INSN("sldt %%ax", DONE, DONE);
	INSN("str %%ax", DONE, DONE);
	INSN("smsw %%ax", DONE, DONE);
	INSN_RCX("lldt %%cx", 0x68, DONE, GP);
	INSN_RCX("lldt %%cx", 0, DONE, GP);
	INSN_RCX("ltr %%cx", 0x58, DONE, GP);
	INSN_RCX("ltr %%cx", 0x10, GP, GP);
	INSN_RCX("lmsw %%cx", 0x33, DONE, GP);
}

TEST_F(priv, control_registers)
{
	INSN("mov %%cr0, %%rax; mov %%rax, %%cr0", DONE, GP);
	INSN("mov %%rax, %%cr2", DONE, GP);
	INSN("mov %%r8, %%cr3", DONE, GP);
	INSN("mov %%cr4, %%rax; mov %%rax, %%cr4", DONE, GP);
	INSN("mov %%rax, %%cr8", DONE, GP);
	INSN("mov %%cr8, %%rax", DONE, GP);
	INSN(".byte 0x0f, 0x22, 0xc8", UD, UD | GP);	/* CR1 */
	INSN(".byte 0x0f, 0x20, 0xe8", UD, UD | GP);	/* CR5 */
	INSN("clts", DONE, GP);
}

/* What they cannot hold. QEMU looks at most of it when it enters next only. */
TEST_F(priv, control_registers_reserved)
{
	const __u32 bad = guest_on_tcg() ? GP | DONE | REFUSED | SHUTDOWN : GP;

	/* Bochs lets an SVM guest do it, and panics. */
	if (!guest_on_bochs_svm())
		INSN("mov %%cr0, %%rax; btr $0, %%rax; mov %%rax, %%cr0", bad,
		     GP);
	INSN("mov %%cr0, %%rax; bts $29, %%rax; mov %%rax, %%cr0", bad, GP);
	INSN("mov %%cr0, %%rax; bts $32, %%rax; mov %%rax, %%cr0", bad, GP);
	INSN("mov %%cr4, %%rax; btr $5, %%rax; mov %%rax, %%cr4", bad, GP);
	INSN("mov %%cr4, %%rax; bts $63, %%rax; mov %%rax, %%cr4", bad, GP);
	INSN("mov $0x10, %%eax; mov %%rax, %%cr8", bad, GP);
	/* With CD it is the driver that does it. QEMU goes on in 32 bits somehow. */
	if (!guest_on_tcg())
		INSN("mov %%cr0, %%rax; btr $31, %%rax; btc $30, %%rax; mov %%rax, %%cr0",
		     GP, GP);
	/* With MCE, too: PCIDE, with bits of CR3; LA57. */
	INSN("mov %%cr3, %%rax; or $8, %%rax; mov %%rax, %%cr3; mov %%cr4, %%rax; bts $17, %%rax; btc $6, %%rax; mov %%rax, %%cr4",
	     bad, GP);
	INSN("mov %%cr4, %%rax; bts $12, %%rax; btc $6, %%rax; mov %%rax, %%cr4",
	     bad, GP);
}

TEST_F(priv, debug_registers)
{
	INSN("mov %%dr0, %%rax; mov %%rax, %%dr0", DONE, GP);
	INSN("mov %%dr1, %%rax; mov %%rax, %%dr1", DONE, GP);
	INSN("mov %%dr2, %%rax; mov %%rax, %%dr2", DONE, GP);
	INSN("mov %%dr3, %%rax; mov %%rax, %%dr3", DONE, GP);
	INSN("mov %%dr4, %%rax; mov %%rax, %%dr4", DONE, GP);
	INSN("mov %%dr5, %%rax; mov %%rax, %%dr5", DONE, GP);
	INSN("mov %%dr6, %%rax; mov %%rax, %%dr6", DONE, GP);
	INSN("mov %%dr7, %%rax; mov %%rax, %%dr7", DONE, GP);
}

TEST_F(priv, caches_and_translations)
{
	INSN("invlpg (%%rbx)", DONE, GP);
	INSN("wbinvd", DONE, GP);
	INSN("invd", DONE | GP, GP);
	INSN(".byte 0xf3, 0x0f, 0x09", DONE | UD, GP | UD);	/* WBNOINVD */
	INSN_RCX("invpcid (%%rbx), %%rcx", 2, DONE | UD, GP | UD);
	INSN(".byte 0x0f, 0x01, 0xfe", UD, UD | GP);	/* INVLPGB */
	INSN(".byte 0x0f, 0x01, 0xff", UD, UD | GP);	/* TLBSYNC */
	INSN("clflush (%%rbx)", DONE, DONE);
}

TEST_F(priv, msrs)
{
	INSN_RCX("rdmsr", 0x10, DONE, GP);
	INSN_RCX("rdmsr", 0x1234, GP, GP);
	INSN_RCX("wrmsr", 0xc0000102, DONE, GP);
	INSN_RCX("wrmsr", 0x1234, GP, GP);
	INSN_RCX("wrmsr", 0xc0000080, GP, GP);	/* EFER without LME */
	INSN("rdpmc", GP, GP);
	INSN_RCX("rdpmc", 0x40000000, GP, GP);
	INSN("rdtsc", DONE, DONE);
	INSN("rdtscp", DONE, DONE);
	INSN(".byte 0x0f, 0x01, 0xfd", UD, UD);	/* RDPRU */
	INSN("cpuid", DONE, DONE);
}

TEST_F(priv, entering_and_leaving_the_kernel)
{
	INSN("swapgs; swapgs", DONE, GP);
	INSN("syscall", DONE, DONE);
	INSN_RCX("sysretq", MARKER, DONE, GP);
	INSN("sysenter", DONE | UD, DONE | UD);
	INSN_RCX("sysexitl", MARKER, DONE | UD, GP | UD);
	INSN("rdfsbase %%rax", UD, UD);		/* CR4.FSGSBASE is clear */
	INSN("wrgsbase %%rax", UD, UD);
	INSN("clac", DONE | UD, UD);
	INSN("stac", DONE | UD, UD);
}

/* RAX is 3, RDX 0: x87 and SSE. */
TEST_F(priv, xcr0)
{
	INSN("xgetbv", DONE, DONE);
	INSN("xsetbv", DONE, GP);
	INSN_RCX("xsetbv", 1, GP, GP);
	INSN("mov $2, %%eax; xsetbv", GP, GP);
	INSN("mov $0, %%eax; xsetbv", GP, GP);
	INSN("mov $5, %%eax; xsetbv", GP, GP);
	INSN("mov $0x103, %%eax; xsetbv", GP, GP);
	INSN("mov $1 << 30, %%edx; xsetbv", GP, GP);
	INSN("mov %%cr4, %%rax; btr $18, %%rax; mov %%rax, %%cr4;"
	     "mov $3, %%eax; xsetbv", UD, GP);
	INSN("xsaves (%%rbx)", DONE | UD, GP | UD);
	INSN("xrstors (%%rbx)", DONE | UD | GP, GP | UD);
	INSN("rdpkru", UD, UD);
	INSN("wrpkru", UD, UD);
}

/* There is no virtualization in the guest. */
TEST_F(priv, virtualization)
{
	INSN("mov %%r8, %%rax; vmrun %%rax", UD, UD | GP);
	INSN("mov %%r8, %%rax; vmload %%rax", UD, UD | GP);
	INSN("mov %%r8, %%rax; vmsave %%rax", UD, UD | GP);
	INSN("stgi", UD, UD | GP);
	INSN("clgi", UD, UD | GP);
	INSN("skinit", UD, UD | GP);
	INSN("invlpga %%rax, %%ecx", UD, UD | GP);
	INSN("vmmcall", self->vmmcall, self->vmmcall | UD | GP);
	INSN("vmcall", self->vmcall, self->vmcall | UD | GP);
	INSN("vmxon (%%rbx)", UD, UD | GP);
	INSN("vmxoff", UD, UD | GP);
	INSN("vmlaunch", UD, UD | GP);
	INSN("vmresume", UD, UD | GP);
	INSN("vmread %%rax, %%rcx", UD, UD | GP);
	INSN("vmwrite %%rax, %%rcx", UD, UD | GP);
	INSN("vmptrld (%%rbx)", UD, UD | GP);
	INSN("vmclear (%%rbx)", UD, UD | GP);
	INSN("vmfunc", UD, UD | GP);
	INSN("invept (%%rbx), %%rax", UD, UD | GP);
	INSN("invvpid (%%rbx), %%rax", UD, UD | GP);
	INSN("getsec", UD, UD | GP);
	INSN("encls", UD, UD | GP);
	INSN("enclu", UD, UD | GP);
	INSN("pconfig", UD, UD | GP);
}

/* SVME in the guest would make the instructions above work. */
TEST_F(priv, svme_cannot_be_set)
{
	INSN_RCX("rdmsr; bts $12, %%eax; wrmsr", 0xc0000080, GP, GP);
}

/* ---- ports --------------------------------------------------------------------- */

SNIPPET(all_ports, 64,
	"xor %edx, %edx\n"
	"1: out %al, %dx; in %dx, %al; inc %dx; jnz 1b; hlt");

TEST_F(priv, every_port_exits)
{
	struct guest *g = &self->g;
	const struct wisp_exit *exit = &g->page->exit;

	GUEST_LOAD(g, LONG64, all_ports);
	g->page->want = 0;
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(g));
	for (__u32 port = 0; port < 0x10000; port++) {
		ASSERT_EQ((__u32)WISP_EXIT_PORT, exit->reason);
		ASSERT_EQ(port, exit->port.port);
		ASSERT_EQ(1, exit->port.size);
		ASSERT_EQ(0U, exit->port.flags);
		/* What the last IN was answered with. */
		ASSERT_EQ(port ? (port - 1) & 0xff : 0, exit->port.data);
		ASSERT_EQ(WISP_EXIT_PORT, guest_complete(g, 0xff));
		ASSERT_EQ(port, exit->port.port);
		ASSERT_EQ((__u32)WISP_PORT_IN, exit->port.flags);
		guest_complete(g, port);
	}
	EXPECT_EQ((__u32)WISP_EXIT_HLT, exit->reason);
}

/* The widest access to the last port, whose end lies behind all ports. */
TEST_F(priv, last_port_wide)
{
	static const char code[] = { 0xef, 0xed, 0xf4 }; /* out; in; hlt */
	struct guest *g = &self->g;

	guest_load(g, LONG64, code, code + sizeof(code));
	g->page->state.general.rdx = 0xffff;
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(g));
	EXPECT_EQ(0xffff, g->page->exit.port.port);
	EXPECT_EQ(4, g->page->exit.port.size);
	ASSERT_EQ(WISP_EXIT_PORT, guest_complete(g, 0));
	EXPECT_EQ((__u32)WISP_PORT_IN, g->page->exit.port.flags);
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(g, 0x12345678));
	EXPECT_EQ(0x12345678UL, g->page->state.general.rax);
}

SNIPPET(write_cr0, 64,
	"mov %cr0, %rax; hlt; btc $30, %rax; btc $29, %rax; mov %rax, %cr0; hlt\n"
	"mov %cr0, %rax; hlt");

/* CD and NW are the guest's own, and a part of its state as any. */
TEST_F(priv, cache_off)
{
	const __u64 off = CR0_CD | CR0_NW;
	struct guest *g = &self->g;
	struct wisp_state *s = &g->page->state;
	int snapshot;

	for (int i = 0; i < 2; i++) {
		__u64 had = i ? off : 0;

		GUEST_LOAD(g, LONG64, write_cr0);
		s->control.cr0 |= had;
		g->page->dirty |= WISP_STATE_CONTROL;
		ASSERT_EQ(WISP_EXIT_HLT, guest_run(g));
		EXPECT_EQ(had, s->control.cr0 & off);
		EXPECT_EQ(had, s->general.rax & off);
		snapshot = raw_snapshot(g->vm);
		ASSERT_LE(0, snapshot);
		for (int j = 0; j < 2; j++) {
			ASSERT_EQ(WISP_EXIT_HLT, guest_complete(g, 0));
			EXPECT_EQ(had ^ off, s->control.cr0 & off);
			ASSERT_EQ(WISP_EXIT_HLT, guest_complete(g, 0));
			EXPECT_EQ(had ^ off, s->general.rax & off);
			ASSERT_EQ(0, raw_reset(g->vm, snapshot));
			ASSERT_EQ(0, raw_get_state(g->vm, 0, WISP_STATE_CONTROL, s));
			EXPECT_EQ(had, s->control.cr0 & off);
		}
		close(snapshot);
	}
}

TEST_HARNESS_MAIN
