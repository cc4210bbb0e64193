// SPDX-License-Identifier: GPL-2.0
/*
 * Debugging from outside: steps over whatever an instruction can be, the VMM's
 * breakpoints instead of the guest's, INT3 taken and passed on; what the guest
 * sees of it, and that its own debugging works without.
 *
 * QEMU's VMRUN arms no breakpoint, but it leaves armed what the guest armed. So
 * the guest arms, in DR7 of its own, the addresses that the VMM's breakpoints
 * then have, and disarms them at the end, on the same CPU. Where VMRUN arms, the
 * guest's must not fire while the VMM's are there.
 */
#include <sched.h>

#include "../harness.h"
#include "guest.h"

#define DR6_BD		(1ULL << 13)
#define DR6_BS		(1ULL << 14)
#define DR6_BT		(1ULL << 15)
#define RFLAGS_RF	(1ULL << 16)

/* DR7: global enable, kind and length of breakpoint @n. */
#define DR7_ON(n)		(2ULL << 2 * (n))
#define DR7_KIND(n, kind)	((__u64)(kind) << (16 + 4 * (n)))
#define KIND_WRITE_8		9
#define KIND_READ_8		11

FIXTURE(debug) {
	struct guest g;
	struct wisp_vcpu_page *page;
	struct wisp_state *s;
	struct guest_trap *trap;
};

FIXTURE_SETUP(debug)
{
	ASSERT_EQ(0, guest_pin(0));
	ASSERT_EQ(0, guest_create(&self->g));
	self->page = self->g.page;
	self->s = &self->page->state;
	self->trap = guest_trap(&self->g);
}

FIXTURE_TEARDOWN(debug)
{
	guest_destroy(&self->g);
}

static void inject(struct wisp_vcpu_page *page, __u8 type, __u8 vector)
{
	page->inject = (struct wisp_event){ .type = type, .vector = vector };
}

/* ---- steps --------------------------------------------------------------------- */

static int step(struct guest *g)
{
	g->page->flags = WISP_RUN_STEP;
	return guest_run(g);
}

/* One step, that ends @offset into the code; neither TF nor DR6 shows. */
#define EXPECT_STEP(offset) do {					\
	ASSERT_EQ(WISP_EXIT_DEBUG, step(&self->g))			\
		TH_LOG("%s", guest_exit_name(self->page->exit.reason));	\
	EXPECT_EQ(1U, self->page->exit.debug.vector);			\
	EXPECT_EQ(DR6_FIXED | DR6_BS, self->page->exit.debug.dr6);	\
	EXPECT_EQ((__u64)GUEST_CODE + (offset), self->page->exit.rip)	\
		TH_LOG("rip %#llx", self->page->exit.rip);		\
	EXPECT_EQ(0UL, self->page->exit.rflags & RFLAGS_TF);		\
	EXPECT_EQ(0UL, self->s->general.rflags & RFLAGS_TF);		\
	EXPECT_EQ(DR6_FIXED, self->s->debug.dr6);			\
} while (0)

SNIPPET(plain, 64,
	"nop; mov $5, %eax; jmp 1f; ud2; 1: push %rax; pop %rbx; hlt");

TEST_F(debug, steps)
{
	GUEST_LOAD(&self->g, LONG64, plain);
	EXPECT_STEP(1);
	EXPECT_STEP(6);
	EXPECT_STEP(10);
	EXPECT_STEP(11);
	EXPECT_EQ(5UL, *(__u64 *)guest_at(&self->g, GUEST_STACK - 8));
	EXPECT_STEP(12);
	EXPECT_EQ(5UL, self->s->general.rbx);
	/* No step is left over. */
	self->page->flags = 0;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ(0UL, self->trap->count);
}

SNIPPET(rep, 64, "rep stosb; hlt");

/* A REP is stepped by its rounds. */
TEST_F(debug, steps_in_rep)
{
	GUEST_LOAD(&self->g, LONG64, rep);
	self->s->general.rcx = 3;
	self->s->general.rdi = GUEST_DATA;
	EXPECT_STEP(0);
	EXPECT_EQ(2UL, self->s->general.rcx);
	EXPECT_STEP(0);
	EXPECT_EQ((__u64)GUEST_DATA + 2, self->s->general.rdi);
	EXPECT_STEP(2);
	EXPECT_EQ(0UL, self->s->general.rcx);
}

SNIPPET(answered, 64, "cpuid; rdmsr; wbinvd; nop; hlt");

/* Instructions that the driver does. */
TEST_F(debug, steps_over_exits_in_the_driver)
{
	GUEST_LOAD(&self->g, LONG64, answered);
	self->s->general.rcx = 0;
	EXPECT_STEP(2);
	self->s->general.rcx = 0x277;
	self->page->dirty = WISP_STATE_GENERAL;
	EXPECT_STEP(4);
	EXPECT_EQ(PAT_RESET & 0xffffffff, self->s->general.rax);
	EXPECT_STEP(6);
	EXPECT_STEP(7);
}

SNIPPET(completed, 64, "in $0x10, %al; nop; hlt; nop; hlt");

/* Instructions that the VMM does: the completion is the step. */
TEST_F(debug, steps_over_completions)
{
	GUEST_LOAD(&self->g, LONG64, completed);
	ASSERT_EQ(WISP_EXIT_PORT, step(&self->g));
	self->page->reply = 0x5a;
	self->page->complete = 1;
	EXPECT_STEP(2);
	EXPECT_EQ(0x5aUL, self->s->general.rax);
	EXPECT_STEP(3);
	ASSERT_EQ(WISP_EXIT_HLT, step(&self->g));
	self->page->complete = 1;
	EXPECT_STEP(4);
}

SNIPPET(faulting, 64, "nop; ud2; nop; nop; hlt");

/*
 * The frame has TF, which IRET brings back: the step ends behind the instruction
 * that the handler returns to.
 */
TEST_F(debug, step_over_an_exception)
{
	GUEST_LOAD(&self->g, LONG64, faulting);
	self->trap->action = GUEST_TRAP_RESUME;
	self->trap->resume = GUEST_CODE + 3;
	EXPECT_STEP(1);
	EXPECT_STEP(4);
	EXPECT_EQ(1UL, self->trap->count);
	EXPECT_EQ(6UL, self->trap->vector);
	EXPECT_EQ((__u64)GUEST_CODE + 1, self->trap->rip);
	EXPECT_EQ(RFLAGS_TF, self->trap->rflags & RFLAGS_TF);
	EXPECT_STEP(5);
}

SNIPPET(iret, 64, "iretq; ud2; nop; nop; hlt");

/* An IRET that brings its own flags ends the step behind it. */
TEST_F(debug, step_over_iret)
{
	__u64 *frame = guest_at(&self->g, GUEST_STACK - 0x100);

	GUEST_LOAD(&self->g, LONG64, iret);
	self->s->general.rsp = GUEST_STACK - 0x100;
	frame[0] = GUEST_CODE + 4;
	frame[1] = GUEST_CS64;
	frame[2] = RFLAGS_FIXED | RFLAGS_IF;
	frame[3] = GUEST_STACK;
	frame[4] = GUEST_DS;
	EXPECT_STEP(4);
	EXPECT_EQ(RFLAGS_FIXED | RFLAGS_IF,
		  self->s->general.rflags & ~RFLAGS_RF);
	EXPECT_EQ((__u64)GUEST_STACK, self->s->general.rsp);
	EXPECT_STEP(5);
}

/* It is a whole step, though an NMI waits for it. */
TEST_F(debug, step_over_iret_with_an_nmi)
{
	const __u64 frame[] = {
		GUEST_CODE + 4, GUEST_CS64, RFLAGS_FIXED, GUEST_STACK, GUEST_DS,
	};

	GUEST_LOAD(&self->g, LONG64, iret);
	memcpy(guest_at(&self->g, GUEST_DATA), frame, sizeof(frame));
	self->s->general.rsp = GUEST_DATA;
	self->s->events.nmi_blocked = 1;
	inject(self->page, WISP_EVENT_NMI, 2);
	EXPECT_STEP(4);
	EXPECT_EQ(0UL, self->trap->count);
	EXPECT_EQ(0, self->s->events.nmi_blocked);
	EXPECT_EQ(1, self->s->events.nmi_pending);
	self->page->flags = 0;
	guest_run(&self->g);
	ASSERT_TRUE(guest_has_trapped(&self->g, 2));
	EXPECT_EQ((__u64)GUEST_CODE + 4, self->trap->rip);
}

SNIPPET(mov_ss, 64, "mov %eax, %ss; nop; nop; hlt");

/* The CPU holds the trap back over the instruction behind MOV SS. */
TEST_F(debug, step_over_mov_ss)
{
	GUEST_LOAD(&self->g, LONG64, mov_ss);
	self->s->general.rax = GUEST_DS;
	EXPECT_STEP(3);
	EXPECT_EQ(0, self->s->events.interrupt_shadow);
	EXPECT_STEP(4);
}

SNIPPET(sti, 64, "sti; nop; nop; hlt");

static __u64 host_exits(struct guest *g)
{
	struct wisp_stats stats = { .size = sizeof(stats) };

	return raw(g->vm, WISP_STATS, &stats) ? 0 : stats.host_exits;
}

/*
 * CPUs differ in whether STI holds the trap back, too: QEMU does. And with TCG there is
 * no shadow any more behind an interrupt of the host's that fell into it.
 */
TEST_F(debug, step_over_sti)
{
	__u64 first, before;

	do {
		GUEST_LOAD(&self->g, LONG64, sti);
		*self->trap = (struct guest_trap){ .action = GUEST_TRAP_RETURN };
		inject(self->page, WISP_EVENT_INTERRUPT, 0x40);
		before = host_exits(&self->g);
		ASSERT_EQ(WISP_EXIT_DEBUG, step(&self->g));
	} while (guest_on_tcg() && host_exits(&self->g) != before);
	first = self->page->exit.rip - GUEST_CODE;
	EXPECT_TRUE(first == 1 || first == 2);
	EXPECT_EQ(first == 1, self->s->events.interrupt_shadow);
	EXPECT_EQ(0UL, self->trap->count);
	self->page->flags = 0;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ(1UL, self->trap->count);
	EXPECT_EQ(0x40UL, self->trap->vector);
	EXPECT_EQ((__u64)GUEST_CODE + 2, self->trap->rip);
	EXPECT_EQ(0UL, self->trap->rflags & RFLAGS_TF);
}

SNIPPET(nops, 64, "nop; nop; nop; hlt");

/* The handler runs within the step. */
TEST_F(debug, step_into_an_injected_interrupt)
{
	GUEST_LOAD(&self->g, LONG64, nops);
	self->s->general.rflags |= RFLAGS_IF;
	self->trap->action = GUEST_TRAP_RETURN;
	inject(self->page, WISP_EVENT_INTERRUPT, 0x41);
	EXPECT_STEP(1);
	EXPECT_EQ(1UL, self->trap->count);
	EXPECT_EQ(0x41UL, self->trap->vector);
	EXPECT_EQ((__u64)GUEST_CODE, self->trap->rip);
	EXPECT_STEP(2);
	EXPECT_EQ(1UL, self->trap->count);
}

/* And so it does for an NMI; its IRET lets the next one in. */
TEST_F(debug, step_into_an_nmi)
{
	GUEST_LOAD(&self->g, LONG64, nops);
	self->trap->action = GUEST_TRAP_RETURN;
	inject(self->page, WISP_EVENT_NMI, 2);
	EXPECT_STEP(1);
	EXPECT_EQ(1UL, self->trap->count);
	EXPECT_EQ(2UL, self->trap->vector);
	EXPECT_EQ(0, self->s->events.nmi_blocked);
	EXPECT_STEP(2);
}

/* Its IRET goes back into the step, behind the next one. */
TEST_F(debug, step_into_two_nmis)
{
	GUEST_LOAD(&self->g, LONG64, nops);
	self->trap->action = GUEST_TRAP_RETURN;
	self->s->events.injected = (struct wisp_event){
		.type = WISP_EVENT_NMI, .vector = 2,
	};
	inject(self->page, WISP_EVENT_NMI, 2);
	EXPECT_STEP(1);
	EXPECT_EQ(2UL, self->trap->count);
	EXPECT_EQ((__u64)GUEST_CODE, self->trap->rip);
	EXPECT_EQ(0, self->s->events.nmi_blocked);
	EXPECT_EQ(0UL, self->s->general.rflags & RFLAGS_TF);
	EXPECT_STEP(2);
}

SNIPPET(rewrites, 64, "pushf; pop %rax; pushf; orl $0x100, (%rsp); popf; nop; hlt");

/* The guest's own TF stays, and the VMM sees it. */
TEST_F(debug, step_of_a_guest_that_steps)
{
	GUEST_LOAD(&self->g, LONG64, rewrites);
	self->s->general.rflags |= RFLAGS_TF;
	ASSERT_EQ(WISP_EXIT_DEBUG, step(&self->g));
	EXPECT_EQ((__u64)GUEST_CODE + 1, self->page->exit.rip);
	EXPECT_EQ(RFLAGS_TF, self->page->exit.rflags & RFLAGS_TF);
	/* Alone again it gets its own traps. */
	self->page->flags = 0;
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	EXPECT_TRUE(guest_has_trapped(&self->g, 1));
	EXPECT_EQ((__u64)GUEST_CODE + 2, self->trap->rip);
	EXPECT_EQ(DR6_FIXED | DR6_BS, self->s->debug.dr6);
}

/* ---- INT3 ------------------------------------------------------------------------ */

SNIPPET(int3, 64, "nop; int3; nop; hlt");

/* Runs to the INT3. */
static void expect_int3(struct __test_metadata *_metadata, struct guest *g)
{
	GUEST_LOAD(g, LONG64, int3);
	g->page->flags = WISP_RUN_TRAP_INT3;
	guest_run(g);
	EXPECT_EQ(WISP_EXIT_DEBUG, (int)g->page->exit.reason);
	EXPECT_EQ(3U, g->page->exit.debug.vector);
	EXPECT_EQ((__u64)GUEST_CODE + 1, g->page->exit.rip);
	EXPECT_EQ(0UL, guest_trap(g)->count);
}

TEST_F(debug, int3_is_taken_and_passed_on)
{
	if (guest_on_tcg())
		SKIP(return, "TCG: INT3 is not intercepted");
	expect_int3(_metadata, &self->g);
	/* Taken again where it is met again. */
	ASSERT_EQ(WISP_EXIT_DEBUG, guest_run(&self->g));
	EXPECT_EQ((__u64)GUEST_CODE + 1, self->page->exit.rip);
	/* Passed on: as the guest's own, which comes behind it. */
	self->s->general.rip++;
	self->page->dirty = WISP_STATE_GENERAL;
	inject(self->page, WISP_EVENT_EXCEPTION, 3);
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	EXPECT_TRUE(guest_has_trapped(&self->g, 3));
	EXPECT_EQ((__u64)GUEST_CODE + 2, self->trap->rip);
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));
	EXPECT_EQ(1UL, self->trap->count);
}

TEST_F(debug, int3_is_the_guests_without_the_flag)
{
	if (!guest_on_tcg())
		expect_int3(_metadata, &self->g);
	GUEST_LOAD(&self->g, LONG64, int3);
	self->page->flags = 0;
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	EXPECT_TRUE(guest_has_trapped(&self->g, 3));
	EXPECT_EQ((__u64)GUEST_CODE + 2, self->trap->rip);
}

/* ---- breakpoints ------------------------------------------------------------------- */

/*
 * Arms what is in RAX, RBX, RCX and RDX, exits, does what can be hit at 1, and
 * disarms. The handler, if it is called, goes there, too.
 */
SNIPPET(hits, 64,
	"mov %rax, %dr0; mov %rbx, %dr1; mov %rcx, %dr2; mov %rdx, %dr3\n"
	"mov %rsi, %dr7; hlt\n"
	"1: nop; nop; mov (%rdi), %r8; nop; mov %r8, (%rdi); nop\n"
	"2: mov $0x400, %eax; mov %rax, %dr7; hlt");
#define HITS_1		16
#define HITS_READ	(HITS_1 + 2)
#define HITS_WRITE	(HITS_1 + 6)
#define HITS_2		(HITS_1 + 10)

static int arm(struct guest *g, int n, __u64 address, __u64 kind)
{
	struct wisp_general *general = &g->page->state.general;
	__u64 *const dr[] = {
		&general->rax, &general->rbx, &general->rcx, &general->rdx
	};

	GUEST_LOAD(g, LONG64, hits);
	guest_trap(g)->action = GUEST_TRAP_RESUME;
	guest_trap(g)->resume = GUEST_CODE + HITS_2;
	*dr[n] = address;
	general->rsi = DR7_FIXED | DR7_ON(n) | DR7_KIND(n, kind);
	general->rdi = GUEST_DATA;
	return guest_run(g);
}

static void set_breakpoint(struct wisp_vcpu_page *page, int n, __u64 address,
			   __u64 kind)
{
	memset(&page->breakpoints, 0, sizeof(page->breakpoints));
	page->breakpoints.address[n] = address;
	page->breakpoints.dr7 = DR7_ON(n) | DR7_KIND(n, kind);
	page->flags = WISP_RUN_BREAKPOINTS;
}

#define EXPECT_HIT(n, offset) do {					\
	EXPECT_EQ(WISP_EXIT_DEBUG, (int)self->page->exit.reason);	\
	EXPECT_EQ(1U, self->page->exit.debug.vector);			\
	EXPECT_EQ(DR6_FIXED | 1ULL << (n), self->page->exit.debug.dr6); \
	EXPECT_EQ((__u64)GUEST_CODE + (offset), self->page->exit.rip)	\
		TH_LOG("rip %#llx", self->page->exit.rip);		\
	EXPECT_EQ(DR6_FIXED, self->s->debug.dr6);			\
	EXPECT_EQ(0UL, self->trap->count);				\
} while (0)

/* As arm() left them, whatever the VMM has done meanwhile. */
static void expect_own(struct __test_metadata *_metadata,
		       const struct wisp_debug *debug, int n, __u64 address,
		       __u64 kind)
{
	EXPECT_EQ(n == 0 ? address : 0, debug->dr0);
	EXPECT_EQ(n == 1 ? address : 0, debug->dr1);
	EXPECT_EQ(n == 2 ? address : 0, debug->dr2);
	EXPECT_EQ(n == 3 ? address : 0, debug->dr3);
	EXPECT_EQ(DR7_FIXED | DR7_ON(n) | DR7_KIND(n, kind), debug->dr7);
}

#define EXPECT_OWN(n, address, kind) \
	expect_own(_metadata, &self->s->debug, n, address, kind)

TEST_F(debug, execution_breakpoint)
{
	const __u64 here = GUEST_CODE + HITS_1 + 1;

	ASSERT_EQ(WISP_EXIT_HLT, arm(&self->g, 0, here, 0));
	set_breakpoint(self->page, 2, here, 0);
	guest_complete(&self->g, 0);
	EXPECT_HIT(2, HITS_1 + 1);
	EXPECT_OWN(0, here, 0);
	/* It is a fault: met again, but for RF. */
	guest_run(&self->g);
	EXPECT_HIT(2, HITS_1 + 1);
	self->s->general.rflags |= RFLAGS_RF;
	self->page->dirty = WISP_STATE_GENERAL;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ(0UL, self->trap->count);
}

TEST_F(debug, write_breakpoint)
{
	ASSERT_EQ(WISP_EXIT_HLT, arm(&self->g, 1, GUEST_DATA, KIND_WRITE_8));
	set_breakpoint(self->page, 1, GUEST_DATA, KIND_WRITE_8);
	guest_complete(&self->g, 0);
	EXPECT_HIT(1, HITS_WRITE + 3);
	EXPECT_OWN(1, GUEST_DATA, KIND_WRITE_8);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ(0UL, self->trap->count);
}

TEST_F(debug, read_and_write_breakpoint)
{
	ASSERT_EQ(WISP_EXIT_HLT, arm(&self->g, 3, GUEST_DATA, KIND_READ_8));
	set_breakpoint(self->page, 3, GUEST_DATA, KIND_READ_8);
	guest_complete(&self->g, 0);
	EXPECT_HIT(3, HITS_READ + 3);
	EXPECT_OWN(3, GUEST_DATA, KIND_READ_8);
	guest_run(&self->g);
	EXPECT_HIT(3, HITS_WRITE + 3);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ(0UL, self->trap->count);
}

/* The guest's own do not fire meanwhile, and do again afterwards. */
TEST_F(debug, guest_breakpoints_wait)
{
	const __u64 here = GUEST_CODE + HITS_1 + 1;

	ASSERT_EQ(WISP_EXIT_HLT, arm(&self->g, 0, here, 0));
	/* The VMM's are elsewhere. */
	set_breakpoint(self->page, 0, GUEST_CODE + 0x800, 0);
	self->page->flags |= WISP_RUN_STEP;
	ASSERT_EQ(WISP_EXIT_DEBUG, guest_complete(&self->g, 0));
	EXPECT_EQ((__u64)GUEST_CODE + HITS_1, self->page->exit.rip);
	EXPECT_OWN(0, here, 0);
	self->page->flags = 0;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ(1UL, self->trap->count);
	EXPECT_EQ(1UL, self->trap->vector);
	EXPECT_EQ(here, self->trap->rip);
	EXPECT_EQ(DR6_FIXED | 1, self->s->debug.dr6);
}

SNIPPET(own_registers, 64,
	"mov %rax, %dr0; mov %rbx, %dr1; mov %rcx, %dr2; mov %rdx, %dr3\n"
	"mov %rsi, %dr7; mov %rdi, %dr6\n"
	"mov %dr0, %r8; mov %dr1, %r9; mov %dr2, %r10; mov %dr3, %r11\n"
	"mov %dr7, %r12; mov %dr6, %r13; hlt");

/*
 * With the VMM's in place the guest reads and writes its own. The low bits of DR6
 * are not looked at: a step, and the driver steps each of these, may clear them.
 */
static void check_own(struct __test_metadata *_metadata, struct guest *g, __u64 dr7)
{
	const struct wisp_general *general = &g->page->state.general;
	const struct wisp_debug *debug = &g->page->state.debug;

	EXPECT_EQ(0x1000UL, general->r8);
	EXPECT_EQ(0x2000UL, general->r9);
	EXPECT_EQ(0x3000UL, general->r10);
	EXPECT_EQ(0x4000UL, general->r11);
	EXPECT_EQ(dr7, general->r12);
	EXPECT_EQ(DR6_FIXED | DR6_BT, general->r13);
	EXPECT_EQ(0x1000UL, debug->dr0);
	EXPECT_EQ(0x4000UL, debug->dr3);
	EXPECT_EQ(dr7, debug->dr7);
	EXPECT_EQ(DR6_FIXED | DR6_BT, debug->dr6);
}

#define DR7_EXACT	(DR7_FIXED | 0x300)	/* nothing enabled */

static void load_own(struct guest *g, __u64 dr7)
{
	struct wisp_general *general = &g->page->state.general;

	GUEST_LOAD(g, LONG64, own_registers);
	general->rax = 0x1000;
	general->rbx = 0x2000;
	general->rcx = 0x3000;
	general->rdx = 0x4000;
	general->rsi = dr7;
	general->rdi = DR6_FIXED | DR6_BT;
}

TEST_F(debug, guest_uses_its_own_registers)
{
	load_own(&self->g, DR7_EXACT);
	set_breakpoint(self->page, 0, GUEST_CODE + 0x800, 0);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	check_own(_metadata, &self->g, DR7_EXACT);
	EXPECT_EQ(0UL, self->trap->count);
}

/* The same, stepped: an exit for each of the instructions. */
static void step_own(struct __test_metadata *_metadata, struct guest *g, __u64 dr7)
{
	int steps = 0;

	g->page->flags |= WISP_RUN_STEP;
	while (guest_run(g) == WISP_EXIT_DEBUG) {
		EXPECT_EQ(DR6_FIXED | DR6_BS, g->page->exit.debug.dr6);
		EXPECT_EQ(0UL, g->page->exit.rflags & RFLAGS_TF);
		steps++;
	}
	EXPECT_EQ(WISP_EXIT_HLT, (int)g->page->exit.reason);
	EXPECT_EQ(12, steps);
	check_own(_metadata, g, dr7);
}

TEST_F(debug, guest_uses_its_own_registers_stepped)
{
	load_own(&self->g, DR7_EXACT);
	set_breakpoint(self->page, 0, GUEST_CODE + 0x800, 0);
	step_own(_metadata, &self->g, DR7_EXACT);
}

TEST_F(debug, guest_uses_its_own_registers_under_steps_alone)
{
	load_own(&self->g, DR7_EXACT);
	step_own(_metadata, &self->g, DR7_EXACT);
}

/* What the guest arms is in the CPU in each window, but is no way past the VMM. */
TEST_F(debug, guest_arms_its_own_registers_under_steps)
{
	load_own(&self->g, DR7_EXACT | DR7_ON(1));
	step_own(_metadata, &self->g, DR7_EXACT | DR7_ON(1));
}

SNIPPET(resumes, 64, "cpuid; out %al, $0x10; hlt");

/* RF is for one instruction, also where the driver or the VMM does it. */
TEST_F(debug, resume_flag_ends_with_its_instruction)
{
	GUEST_LOAD(&self->g, LONG64, resumes);
	self->s->general.rflags |= RFLAGS_RF;
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	EXPECT_EQ(0UL, self->s->general.rflags & RFLAGS_RF);
	self->s->general.rflags |= RFLAGS_RF;
	self->page->dirty = WISP_STATE_GENERAL;
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));
	EXPECT_EQ(0UL, self->s->general.rflags & RFLAGS_RF);
}

SNIPPET(denied, 64, "rdpmc");
SNIPPET(unknown, 64, "monitor");

/* A fault's frame has it, so that its instruction is not held up twice. */
TEST_F(debug, faults_of_the_driver_set_the_resume_flag)
{
	GUEST_LOAD(&self->g, LONG64, denied);
	guest_run(&self->g);
	EXPECT_TRUE(guest_has_trapped(&self->g, 13));
	EXPECT_EQ(RFLAGS_RF, self->trap->rflags & RFLAGS_RF);
	GUEST_LOAD(&self->g, LONG64, unknown);
	guest_run(&self->g);
	EXPECT_TRUE(guest_has_trapped(&self->g, 6));
	EXPECT_EQ(RFLAGS_RF, self->trap->rflags & RFLAGS_RF);
}

SNIPPET(int1, 64, ".byte 0xf1; nop; hlt");

/* It hits nothing of the VMM's. */
TEST_F(debug, int1_is_the_guests_under_breakpoints)
{
	if (guest_on_tcg())
		SKIP(return, "TCG: there is no INT1");
	GUEST_LOAD(&self->g, LONG64, int1);
	set_breakpoint(self->page, 0, GUEST_CODE + 0x800, 0);
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	ASSERT_TRUE(guest_has_trapped(&self->g, 1));
	EXPECT_EQ((__u64)GUEST_CODE + 1, self->trap->rip);
	EXPECT_EQ(DR6_FIXED, self->s->debug.dr6);
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));
	EXPECT_EQ(1UL, self->trap->count);
}

SNIPPET(detected, 64, "mov %dr0, %rax; mov %dr7, %rbx; hlt");

/* The access that GD forbids is a fault, whose handler may make it. */
TEST_F(debug, general_detect)
{
	if (guest_on_tcg())
		SKIP(return, "TCG: MOV from and to DR looks at no GD");
	GUEST_LOAD(&self->g, LONG64, detected);
	self->s->debug.dr7 |= DR7_GD;
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	EXPECT_TRUE(guest_has_trapped(&self->g, 1));
	EXPECT_EQ((__u64)GUEST_CODE, self->trap->rip);
	EXPECT_EQ(DR6_FIXED | DR6_BD, self->s->debug.dr6);
	EXPECT_EQ(DR7_FIXED, self->s->debug.dr7);
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));
	EXPECT_EQ(1UL, self->trap->count);
	EXPECT_EQ(DR7_FIXED, self->s->general.rbx);
}

/* The VMM's breakpoints have the driver step it, and BS is left from an older #DB. */
TEST_F(debug, general_detect_under_breakpoints)
{
	if (guest_on_tcg())
		SKIP(return, "TCG: MOV from and to DR looks at no GD");
	GUEST_LOAD(&self->g, LONG64, detected);
	self->s->debug.dr6 = DR6_FIXED | DR6_BS;
	self->s->debug.dr7 |= DR7_GD;
	set_breakpoint(self->page, 0, GUEST_CODE + 0x800, 0);
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	ASSERT_TRUE(guest_has_trapped(&self->g, 1));
	EXPECT_EQ((__u64)GUEST_CODE, self->trap->rip);
	EXPECT_EQ(DR6_FIXED | DR6_BD | DR6_BS, self->s->debug.dr6);
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));
	EXPECT_EQ(1UL, self->trap->count);
	EXPECT_EQ(DR7_FIXED, self->s->general.rbx);
}

SNIPPET(clears_dr6, 64, "mov $0xffff0ff0, %eax; mov %rax, %dr6; nop; hlt");

/* As each handler of #DB does it. */
TEST_F(debug, clears_dr6_under_breakpoints)
{
	GUEST_LOAD(&self->g, LONG64, clears_dr6);
	self->s->debug.dr6 = DR6_FIXED | DR6_BS;
	set_breakpoint(self->page, 0, GUEST_CODE + 0x800, 0);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ(DR6_FIXED, self->s->debug.dr6);
}

SNIPPET(out_nop, 64, "out %al, $0x10; nop; hlt");

/* The VMM steps over what it completes, and a guest that steps itself: that is one step. */
TEST_F(debug, step_completes_what_the_guest_steps)
{
	GUEST_LOAD(&self->g, LONG64, out_nop);
	self->s->general.rflags |= RFLAGS_TF;
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	self->page->flags = WISP_RUN_STEP;
	self->page->complete = 1;
	ASSERT_EQ(WISP_EXIT_DEBUG, guest_run(&self->g));
	EXPECT_EQ((__u64)GUEST_CODE + 2, self->page->exit.rip);
	EXPECT_EQ(0, self->s->events.injected.type);
	EXPECT_EQ(RFLAGS_TF, self->s->general.rflags & RFLAGS_TF);
	EXPECT_EQ(DR6_FIXED, self->s->debug.dr6);
	self->page->flags = 0;
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	ASSERT_TRUE(guest_has_trapped(&self->g, 1));
	EXPECT_EQ((__u64)GUEST_CODE + 3, self->trap->rip);
}

SNIPPET(own_tf, 64, "pushf; orl $0x100, (%rsp); popf; nop; nop; hlt");

/* A guest that steps itself under the VMM's breakpoints. */
TEST_F(debug, guest_steps_under_breakpoints)
{
	GUEST_LOAD(&self->g, LONG64, own_tf);
	set_breakpoint(self->page, 0, GUEST_CODE + 0x800, 0);
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	EXPECT_TRUE(guest_has_trapped(&self->g, 1));
	EXPECT_EQ((__u64)GUEST_CODE + 10, self->trap->rip);
	EXPECT_EQ(DR6_FIXED | DR6_BS, self->s->debug.dr6);
}

/* ---- a #DB of more than one ------------------------------------------------------------ */

SNIPPET(store, 64, "mov %al, (%rdi); nop; hlt");
#define KIND_WRITE_1		1
#define IN_DB_HANDLER		(GUEST_STUBS + 16UL)

static void load_store(struct guest *g)
{
	GUEST_LOAD(g, LONG64, store);
	g->page->state.general.rdi = GUEST_DATA;
}

/* The driver steps what is in the shadow; the guest's own breakpoint is hit there. */
TEST_F(debug, own_breakpoint_where_the_driver_steps)
{
	if (guest_on_tcg())
		SKIP(return, "TCG: VMRUN arms no breakpoints");
	load_store(&self->g);
	self->s->debug.dr0 = GUEST_DATA;
	self->s->debug.dr7 = DR7_FIXED | DR7_ON(0) | DR7_KIND(0, KIND_WRITE_1);
	self->s->events.interrupt_shadow = 1;
	inject(self->page, WISP_EVENT_NMI, 2);
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	ASSERT_TRUE(guest_has_trapped(&self->g, 2));
	EXPECT_EQ(IN_DB_HANDLER, self->trap->rip);
	EXPECT_EQ(DR6_FIXED | 1, self->s->debug.dr6);
	ASSERT_EQ(WISP_EXIT_PORT, guest_complete(&self->g, 0));
	ASSERT_TRUE(guest_has_trapped(&self->g, 1));
	EXPECT_EQ((__u64)GUEST_CODE + 2, self->trap->rip);
	EXPECT_EQ(0UL, self->trap->rflags & RFLAGS_TF);
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));
	EXPECT_EQ(2UL, self->trap->count);
}

/* There the VMM's is hit. */
TEST_F(debug, breakpoint_where_the_driver_steps)
{
	if (guest_on_tcg())
		SKIP(return, "TCG: VMRUN arms no breakpoints");
	load_store(&self->g);
	set_breakpoint(self->page, 1, GUEST_DATA, KIND_WRITE_1);
	self->s->events.interrupt_shadow = 1;
	inject(self->page, WISP_EVENT_NMI, 2);
	guest_run(&self->g);
	EXPECT_HIT(1, 2);
	EXPECT_EQ(0UL, self->s->general.rflags & RFLAGS_TF);
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	ASSERT_TRUE(guest_has_trapped(&self->g, 2));
	EXPECT_EQ((__u64)GUEST_CODE + 2, self->trap->rip);
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));
}

/* The guest steps itself onto it: each gets its own. */
TEST_F(debug, breakpoint_where_the_guest_steps)
{
	if (guest_on_tcg())
		SKIP(return, "TCG: VMRUN arms no breakpoints");
	load_store(&self->g);
	self->s->general.rflags |= RFLAGS_TF;
	set_breakpoint(self->page, 3, GUEST_DATA, KIND_WRITE_1);
	ASSERT_EQ(WISP_EXIT_DEBUG, guest_run(&self->g));
	EXPECT_EQ(DR6_FIXED | 8, self->page->exit.debug.dr6);
	EXPECT_EQ((__u64)GUEST_CODE + 2, self->page->exit.rip);
	EXPECT_EQ(0UL, self->trap->count);
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	ASSERT_TRUE(guest_has_trapped(&self->g, 1));
	EXPECT_EQ((__u64)GUEST_CODE + 2, self->trap->rip);
	EXPECT_EQ(DR6_FIXED | DR6_BS, self->s->debug.dr6);
}

SNIPPET(looks, 64, "mov %dr0, %rax; nop; hlt");

/* Under the VMM's breakpoints the driver steps it; so does the guest. */
TEST_F(debug, guest_steps_over_its_own_registers)
{
	GUEST_LOAD(&self->g, LONG64, looks);
	self->s->general.rflags |= RFLAGS_TF;
	set_breakpoint(self->page, 0, GUEST_CODE + 0x800, 0);
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	ASSERT_TRUE(guest_has_trapped(&self->g, 1));
	EXPECT_EQ((__u64)GUEST_CODE + 3, self->trap->rip);
	EXPECT_EQ(DR6_FIXED | DR6_BS, self->s->debug.dr6);
}

/* The guest steps an IRET that an NMI waits for. */
TEST_F(debug, guest_steps_over_iret_with_an_nmi)
{
	const __u64 frame[] = {
		GUEST_CODE + 4, GUEST_CS64, RFLAGS_FIXED, GUEST_STACK, GUEST_DS,
	};

	GUEST_LOAD(&self->g, LONG64, iret);
	memcpy(guest_at(&self->g, GUEST_DATA), frame, sizeof(frame));
	self->s->general.rsp = GUEST_DATA;
	self->s->general.rflags |= RFLAGS_TF;
	self->s->events.nmi_blocked = 1;
	inject(self->page, WISP_EVENT_NMI, 2);
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	ASSERT_TRUE(guest_has_trapped(&self->g, 2));
	EXPECT_EQ(IN_DB_HANDLER, self->trap->rip);
	EXPECT_EQ(DR6_FIXED | DR6_BS, self->s->debug.dr6);
	ASSERT_EQ(WISP_EXIT_PORT, guest_complete(&self->g, 0));
	ASSERT_TRUE(guest_has_trapped(&self->g, 1));
	EXPECT_EQ((__u64)GUEST_CODE + 4, self->trap->rip);
	EXPECT_EQ(0UL, self->trap->rflags & RFLAGS_TF);
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));
}

SNIPPET(load_ss, 64, "mov (%rdi), %ss; cpuid; mov (%rdi), %ss; out %al, $0x10; nop; hlt");
#define KIND_READ_2		7

static void load_load_ss(struct guest *g, __u64 offset)
{
	const __u16 selector = GUEST_DS;
	struct wisp_state *s = &g->page->state;

	GUEST_LOAD(g, LONG64, load_ss);
	memcpy(guest_at(g, GUEST_DATA), &selector, sizeof(selector));
	s->general.rip += offset;
	s->general.rdi = GUEST_DATA;
	s->debug.dr2 = GUEST_DATA;
	s->debug.dr7 = DR7_FIXED | DR7_ON(2) | DR7_KIND(2, KIND_READ_2);
}

/*
 * The trap of MOV SS's own operand waits for the instruction behind it, also where that
 * exits. (A VMCB has no place for it.)
 */
TEST_F(debug, own_breakpoint_in_the_shadow_of_an_exit)
{
	if (self->g.query.backend != WISP_BACKEND_VMX)
		return;
	load_load_ss(&self->g, 0);
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	ASSERT_TRUE(guest_has_trapped(&self->g, 1));
	EXPECT_EQ((__u64)GUEST_CODE + 4, self->trap->rip);
	EXPECT_EQ(DR6_FIXED | 4, self->s->debug.dr6);
	ASSERT_EQ(WISP_EXIT_PORT, guest_complete(&self->g, 0));
	ASSERT_EQ(0x10, self->page->exit.port.port);
	EXPECT_EQ(1, self->s->events.interrupt_shadow);
	ASSERT_EQ(WISP_EXIT_PORT, guest_complete(&self->g, 0));
	ASSERT_TRUE(guest_has_trapped(&self->g, 1));
	EXPECT_EQ((__u64)GUEST_CODE + 8, self->trap->rip);
}

/* It is not for whom the VMM has in its place. */
TEST_F(debug, what_is_pending_goes_with_the_state)
{
	load_load_ss(&self->g, 4);
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	ASSERT_EQ(0x10, self->page->exit.port.port);
	GUEST_LOAD(&self->g, LONG64, nops);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ(0UL, self->trap->count);
}

/* ---- NMIs and the shadow ------------------------------------------------------------- */

SNIPPET(shadow_nop, 64, "nop; nop; hlt");
SNIPPET(shadow_out, 64, "out %al, $0x10; nop; hlt");
SNIPPET(shadow_cpuid, 64, "cpuid; nop; hlt");
SNIPPET(shadow_ud2, 64, "ud2");

/* MOV SS must not be parted from what loads the stack pointer. */
TEST_F(debug, nmi_waits_for_the_shadow)
{
	GUEST_LOAD(&self->g, LONG64, shadow_nop);
	self->s->events.interrupt_shadow = 1;
	inject(self->page, WISP_EVENT_NMI, 2);
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	ASSERT_TRUE(guest_has_trapped(&self->g, 2));
	EXPECT_EQ((__u64)GUEST_CODE + 1, self->trap->rip);
	EXPECT_EQ(0UL, self->trap->rflags & RFLAGS_TF);
	EXPECT_EQ(DR6_FIXED, self->s->debug.dr6);
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));
	EXPECT_EQ(1UL, self->trap->count);
}

/* Behind STI; the interrupt that waits, too, does not keep the step from being made. */
TEST_F(debug, nmi_and_interrupt_wait_for_the_shadow)
{
	GUEST_LOAD(&self->g, LONG64, shadow_nop);
	self->s->general.rflags |= RFLAGS_IF;
	self->s->events.interrupt_shadow = 1;
	inject(self->page, WISP_EVENT_NMI, 2);
	self->s->events.interrupt = (struct wisp_event){
		.type = WISP_EVENT_INTERRUPT, .vector = 0x50,
	};
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	ASSERT_TRUE(guest_has_trapped(&self->g, 2));
	EXPECT_EQ((__u64)GUEST_CODE + 1, self->trap->rip);
	EXPECT_EQ(0UL, self->trap->rflags & RFLAGS_TF);
	ASSERT_EQ(WISP_EXIT_PORT, guest_complete(&self->g, 0));
	ASSERT_TRUE(guest_has_trapped(&self->g, 0x50));
	EXPECT_EQ((__u64)GUEST_CODE + 1, self->trap->rip);
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));
	EXPECT_EQ(2UL, self->trap->count);
}

/* The instruction in the shadow exits, to the VMM or to the driver. */
TEST_F(debug, nmi_waits_for_an_exit_in_the_shadow)
{
	GUEST_LOAD(&self->g, LONG64, shadow_out);
	self->s->events.interrupt_shadow = 1;
	inject(self->page, WISP_EVENT_NMI, 2);
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	EXPECT_EQ(0x10, self->page->exit.port.port);
	EXPECT_EQ(0UL, self->s->general.rflags & RFLAGS_TF);
	EXPECT_EQ(1, self->s->events.nmi_pending);
	guest_complete(&self->g, 0);
	ASSERT_TRUE(guest_has_trapped(&self->g, 2));
	EXPECT_EQ((__u64)GUEST_CODE + 2, self->trap->rip);
	EXPECT_EQ(0UL, self->trap->rflags & RFLAGS_TF);
	/* Bochs wants an IRET before the next guest's NMI. */
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));

	GUEST_LOAD(&self->g, LONG64, shadow_cpuid);
	self->s->events.interrupt_shadow = 1;
	inject(self->page, WISP_EVENT_NMI, 2);
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	ASSERT_TRUE(guest_has_trapped(&self->g, 2));
	EXPECT_EQ((__u64)GUEST_CODE + 2, self->trap->rip);
	EXPECT_EQ(0UL, self->trap->rflags & RFLAGS_TF);
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));
}

/* Its entry goes: the next access to it is a fault. */
static int unmap(int vm, __u64 gpa)
{
	struct wisp_protect_range ranges[] = {
		{ .gpa = gpa, .range_size = PAGE, .prot = PROT_R },
		{ .gpa = gpa, .range_size = PAGE, .prot = PROT_RWX },
	};

	return raw_protect(vm, ranges, ARRAY_SIZE(ranges));
}

/* It faults: the NMI comes in the handler, whose page is first touched there. */
TEST_F(debug, nmi_waits_for_a_fault_in_the_shadow)
{
	/* What is ahead of the tables has come with them by then. */
	GUEST_LOAD(&self->g, LONG64, shadow_cpuid);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	ASSERT_EQ(0, unmap(self->g.vm, GUEST_STUBS));
	GUEST_LOAD(&self->g, LONG64, shadow_ud2);
	self->s->events.interrupt_shadow = 1;
	inject(self->page, WISP_EVENT_NMI, 2);
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	ASSERT_TRUE(guest_has_trapped(&self->g, 2));
	EXPECT_EQ((__u64)GUEST_STUBS + 16 * 6, self->trap->rip);
	ASSERT_EQ(WISP_EXIT_PORT, guest_complete(&self->g, 0));
	ASSERT_TRUE(guest_has_trapped(&self->g, 6));
	EXPECT_EQ((__u64)GUEST_CODE, self->trap->rip);
	EXPECT_EQ(2UL, self->trap->count);
}

/* From a frame in the middle of a page, where a fault's goes, too. */
static void load_iret(struct guest *g, __u64 cs)
{
	const __u64 frame[] = {
		GUEST_CODE + 4, cs, RFLAGS_FIXED, GUEST_STACK, GUEST_DS,
	};

	GUEST_LOAD(g, LONG64, iret);
	g->page->state.general.rsp = GUEST_DATA + 0x800;
	memcpy(guest_at(g, GUEST_DATA + 0x800), frame, sizeof(frame));
}

/* So is an IRET that faults, and NMIs are let in. */
TEST_F(debug, nmi_waits_for_an_iret_that_faults)
{
	load_iret(&self->g, GUEST_CS64);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	ASSERT_EQ(0, unmap(self->g.vm, GUEST_STUBS));
	load_iret(&self->g, 0xff80);
	self->s->events.nmi_blocked = 1;
	inject(self->page, WISP_EVENT_NMI, 2);
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	ASSERT_TRUE(guest_has_trapped(&self->g, 2));
	EXPECT_EQ((__u64)GUEST_STUBS + 16 * 13, self->trap->rip);
	ASSERT_EQ(WISP_EXIT_PORT, guest_complete(&self->g, 0));
	ASSERT_TRUE(guest_has_trapped(&self->g, 13));
	EXPECT_EQ((__u64)GUEST_CODE, self->trap->rip);
	EXPECT_EQ(2UL, self->trap->count);
}

TEST_HARNESS_MAIN
