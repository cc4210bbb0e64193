// SPDX-License-Identifier: GPL-2.0
/*
 * Exceptions, interrupts and NMIs: the guest's own, through its IDT, and those
 * that the VMM injects; what waits and when it is let in; what happens to an
 * event whose delivery runs into a page that is not there.
 */
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include "../harness.h"
#include "guest.h"

#define UNTOUCHED	0x350000	/* a page nobody has written */

FIXTURE(event) {
	struct guest g;
	struct wisp_vcpu_page *page;
	struct guest_trap *trap;
};

FIXTURE_SETUP(event)
{
	ASSERT_EQ(0, guest_create(&self->g));
	self->page = self->g.page;
	self->trap = guest_trap(&self->g);
}

FIXTURE_TEARDOWN(event)
{
	guest_destroy(&self->g);
}

/* ---- the guest's own ----------------------------------------------------------- */

FIXTURE(fault) {
	struct guest g;
};

FIXTURE_VARIANT(fault) {
	const char *code;
	const char *end;
	enum guest_mode mode;
	int vector;
	__u64 error;
	__u64 offset;		/* of the RIP that is pushed */
	__u64 cr2;
	void (*prepare)(struct guest *g);
};

#define CODE(name) .code = name, .end = name##_end
#define PAGE_UNDER_TEST	0x50000

FIXTURE_SETUP(fault)
{
	ASSERT_EQ(0, guest_create(&self->g));
}

FIXTURE_TEARDOWN(fault)
{
	guest_destroy(&self->g);
}

SNIPPET(divide, 64, "nop; div %ecx; hlt");
FIXTURE_VARIANT_ADD(fault, divide_error) {
	CODE(divide), .mode = LONG64, .vector = 0, .offset = 1,
};

SNIPPET(int3, 64, "nop; int3; hlt");
FIXTURE_VARIANT_ADD(fault, int3) {
	CODE(int3), .mode = LONG64, .vector = 3, .offset = 2,
};

FIXTURE_VARIANT_ADD(fault, int3_at_cpl_3) {
	CODE(int3), .mode = USER64, .vector = 3, .offset = 2,
};

SNIPPET(int_n, 64, "int $0x81; hlt");
FIXTURE_VARIANT_ADD(fault, int_n) {
	CODE(int_n), .mode = USER64, .vector = 0x81, .offset = 2,
};

SNIPPET(undefined, 64, "nop; nop; ud2");
FIXTURE_VARIANT_ADD(fault, undefined_opcode) {
	CODE(undefined), .mode = LONG64, .vector = 6, .offset = 2,
};

SNIPPET(non_canonical, 64, "mov $1 << 47, %rax; mov (%rax), %rax");
FIXTURE_VARIANT_ADD(fault, general_protection) {
	CODE(non_canonical), .mode = LONG64, .vector = 13, .offset = 10,
};

SNIPPET(bad_stack, 64, "mov $(1 << 47) + 64, %rsp; push %rax");
FIXTURE_VARIANT_ADD(fault, stack_fault) {
	CODE(bad_stack), .mode = USER64, .vector = 12, .offset = 10,
};

SNIPPET(bad_selector, 64, "mov $0x1238, %ax; mov %ax, %ds");
FIXTURE_VARIANT_ADD(fault, selector_error_code) {
	CODE(bad_selector), .mode = LONG64, .vector = 13, .error = 0x1238,
	.offset = 4,
};

static void prepare_absent(struct guest *g)
{
	*guest_pte(g, PAGE_UNDER_TEST) = 0;
}

SNIPPET(touch_read, 64, "mov " STR(PAGE_UNDER_TEST) "+0x123, %al; hlt");
FIXTURE_VARIANT_ADD(fault, page_not_present) {
	CODE(touch_read), .mode = LONG64, .vector = 14, .error = 0,
	.cr2 = PAGE_UNDER_TEST + 0x123, .prepare = prepare_absent,
};

FIXTURE_VARIANT_ADD(fault, page_not_present_at_cpl_3) {
	CODE(touch_read), .mode = USER64, .vector = 14, .error = 4,
	.cr2 = PAGE_UNDER_TEST + 0x123, .prepare = prepare_absent,
};

static void prepare_read_only(struct guest *g)
{
	*guest_pte(g, PAGE_UNDER_TEST) &= ~2ULL;
}

SNIPPET(touch_write, 64, "nop; mov %al, " STR(PAGE_UNDER_TEST) "; hlt");
FIXTURE_VARIANT_ADD(fault, page_read_only) {
	CODE(touch_write), .mode = LONG64, .vector = 14, .error = 3,
	.offset = 1, .cr2 = PAGE_UNDER_TEST, .prepare = prepare_read_only,
};

static void prepare_kernel(struct guest *g)
{
	*guest_pte(g, PAGE_UNDER_TEST) &= ~4ULL;
}

FIXTURE_VARIANT_ADD(fault, page_of_the_kernel) {
	CODE(touch_write), .mode = USER64, .vector = 14, .error = 7,
	.offset = 1, .cr2 = PAGE_UNDER_TEST, .prepare = prepare_kernel,
};

static void prepare_no_exec(struct guest *g)
{
	*guest_pte(g, PAGE_UNDER_TEST) |= 1ULL << 63;
}

SNIPPET(touch_exec, 64, "mov $" STR(PAGE_UNDER_TEST) ", %eax; jmp *%rax");
FIXTURE_VARIANT_ADD(fault, page_no_exec) {
	CODE(touch_exec), .mode = LONG64, .vector = 14, .error = 0x11,
	.offset = PAGE_UNDER_TEST - GUEST_CODE, .cr2 = PAGE_UNDER_TEST,
	.prepare = prepare_no_exec,
};

static void prepare_reserved(struct guest *g)
{
	*guest_pte(g, PAGE_UNDER_TEST) |= 1ULL << 51;
}

FIXTURE_VARIANT_ADD(fault, page_with_a_reserved_bit) {
	CODE(touch_read), .mode = LONG64, .vector = 14, .error = 9,
	.cr2 = PAGE_UNDER_TEST + 0x123, .prepare = prepare_reserved,
};

TEST_F(fault, is_delivered)
{
	const struct guest_trap *trap = guest_trap(&self->g);
	int vector = variant->vector;

	guest_load(&self->g, variant->mode, variant->code, variant->end);
	if (variant->prepare)
		variant->prepare(&self->g);
	guest_run(&self->g);
	/* QEMU has #GP for every address that is not canonical. */
	if (guest_on_tcg() && vector == 12)
		vector = 13;
	ASSERT_TRUE(guest_has_trapped(&self->g, vector));
	/* QEMU leaves P out where a reserved bit is the reason. */
	EXPECT_EQ(variant->error, trap->error | (variant->error == 9));
	EXPECT_EQ(GUEST_CODE + variant->offset, trap->rip);
	EXPECT_EQ(variant->mode == USER64 ? (__u64)GUEST_USER_CS64 :
		  (__u64)GUEST_CS64, trap->cs);
	if (vector == 14)
		EXPECT_EQ(variant->cr2, trap->cr2);
	EXPECT_EQ(1UL, trap->count);
}

/* ---- single steps ---------------------------------------------------------------- */

/* POPF sets TF; the trap comes after the instruction behind it. */
#define SET_TF "pushf; orl $0x100, (%rsp); popf\n"
SNIPPET(step_nop, 64, SET_TF "nop; nop; hlt");
SNIPPET(step_cpuid, 64, SET_TF "cpuid; nop; hlt");
SNIPPET(step_rdmsr, 64, SET_TF "rdmsr; nop; hlt");
SNIPPET(step_out, 64, SET_TF "out %al, $0x10; nop; hlt");

TEST_F(event, single_steps)
{
	struct {
		const char *what;
		const char *code;
		const char *end;
		__u64 length;
	} rows[] = {
		{ "nop", step_nop, step_nop_end, 1 },
		{ "cpuid", step_cpuid, step_cpuid_end, 2 },
		{ "rdmsr", step_rdmsr, step_rdmsr_end, 2 },
		{ "out", step_out, step_out_end, 2 },
	};

	if (guest_on_bochs_svm())
		SKIP(return, "Bochs: TF and an exit take the host down");
	/* The same for an instruction that exits, and is skipped for it. */
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		guest_load(&self->g, LONG64, rows[i].code, rows[i].end);
		self->page->state.general.rcx = 0x277;
		self->page->state.debug.dr7 |= DR7_GD;
		if (guest_run(&self->g) == WISP_EXIT_PORT &&
		    self->page->exit.port.port == 0x10)
			guest_complete(&self->g, 0);
		EXPECT_TRUE(guest_has_trapped(&self->g, 1))
			TH_LOG("%s", rows[i].what);
		EXPECT_EQ(GUEST_CODE + 9 + rows[i].length, self->trap->rip)
			TH_LOG("%s", rows[i].what);
		EXPECT_EQ(DR6_FIXED | 1 << 14, self->page->state.debug.dr6)
			TH_LOG("%s", rows[i].what);
		/* The handler may use them. */
		EXPECT_EQ(DR7_FIXED, self->page->state.debug.dr7)
			TH_LOG("%s", rows[i].what);
		EXPECT_EQ(RFLAGS_TF, self->trap->rflags & RFLAGS_TF);
	}
}

/* The step comes first: an exception cannot go in with the instruction's end. */
TEST_F(event, injected_behind_a_step)
{
	if (guest_on_bochs_svm())
		SKIP(return, "Bochs: TF and an exit take the host down");
	GUEST_LOAD(&self->g, LONG64, step_out);
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	ASSERT_EQ(0x10, self->page->exit.port.port);
	EXPECT_EQ(0U, self->page->exit.flags & WISP_EXIT_INTR_READY);
	self->page->inject = (struct wisp_event){
		.type = WISP_EVENT_EXCEPTION, .vector = 6,
	};
	EXPECT_EQ(-EBUSY, guest_complete(&self->g, 0));
	EXPECT_EQ(WISP_FIELD(inject), self->page->field);
	EXPECT_EQ(1U, self->page->complete);
	self->page->inject.type = WISP_EVENT_NONE;
	self->page->inject.vector = 0;
	guest_complete(&self->g, 0);
	EXPECT_TRUE(guest_has_trapped(&self->g, 1));
	self->page->inject = (struct wisp_event){
		.type = WISP_EVENT_EXCEPTION, .vector = 6,
	};
	guest_run(&self->g);
	EXPECT_TRUE(guest_has_trapped(&self->g, 6));
}

/* ---- injected exceptions ------------------------------------------------------------ */

SNIPPET(nops, 64, "nop; nop; nop; hlt");

/* With IF clear. */
#define LOAD_MASKED(g, name) do {					\
	GUEST_LOAD(g, LONG64, name);					\
	(g)->page->state.general.rflags &= ~RFLAGS_IF;			\
} while (0)

static void inject(struct wisp_vcpu_page *page, __u8 type, __u8 vector)
{
	page->inject = (struct wisp_event){ .type = type, .vector = vector };
}

TEST_F(event, injected_exceptions)
{
	static const struct wisp_event rows[] = {
		{ WISP_EVENT_EXCEPTION, 0, 0, 0, 0 },
		{ WISP_EVENT_EXCEPTION, 6, 0, 0, 0 },
		{ WISP_EVENT_EXCEPTION, 13, 1, 0, 0xabc8 },
		{ WISP_EVENT_EXCEPTION, 14, 1, 0, 0x6 },
		{ WISP_EVENT_EXCEPTION, 17, 1, 0, 0 },
		{ WISP_EVENT_EXCEPTION, 1, 0, 0, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		GUEST_LOAD(&self->g, LONG64, nops);
		self->page->state.control.cr2 = 0xdead000;
		self->page->inject = rows[i];
		guest_run(&self->g);
		EXPECT_TRUE(guest_has_trapped(&self->g, rows[i].vector));
		EXPECT_EQ((__u64)rows[i].error_code, self->trap->error)
			TH_LOG("vector %u", rows[i].vector);
		/* Before the first instruction. */
		EXPECT_EQ((__u64)GUEST_CODE, self->trap->rip)
			TH_LOG("vector %u", rows[i].vector);
		EXPECT_EQ(0xdead000UL, self->trap->cr2);
		EXPECT_EQ(1UL, self->trap->count);
		EXPECT_EQ(WISP_EVENT_NONE, self->page->inject.type);
	}
}

/* All that there are in 64-bit mode; no others come so far that VMRUN refuses them. */
TEST_F(event, every_exception_vector)
{
	const __u32 known = 0xf7dcb;
	const __u32 with_error_code = 0x27d00;

	for (int vector = 0; vector < 32; vector++) {
		GUEST_LOAD(&self->g, LONG64, nops);
		self->page->inject = (struct wisp_event){
			.type = WISP_EVENT_EXCEPTION, .vector = vector,
			.has_error_code = with_error_code >> vector & 1,
		};
		if (known >> vector & 1) {
			guest_run(&self->g);
			EXPECT_TRUE(guest_has_trapped(&self->g, vector));
			EXPECT_EQ((__u64)GUEST_CODE, self->trap->rip);
			continue;
		}
		EXPECT_EQ(-EINVAL, guest_run(&self->g))
			TH_LOG("vector %d", vector);
		EXPECT_EQ(WISP_FIELD(inject.vector), self->page->field);
		inject(self->page, WISP_EVENT_NONE, 0);
	}
}

TEST_F(event, injected_through_the_state)
{
	GUEST_LOAD(&self->g, LONG64, nops);
	self->page->state.events.injected = (struct wisp_event){
		.type = WISP_EVENT_EXCEPTION, .vector = 13,
		.has_error_code = 1, .error_code = 0x1230,
	};
	guest_run(&self->g);
	EXPECT_TRUE(guest_has_trapped(&self->g, 13));
	EXPECT_EQ(0x1230UL, self->trap->error);
	EXPECT_EQ(WISP_EVENT_NONE, self->page->state.events.injected.type);
}

/* ---- interrupts ------------------------------------------------------------------------ */

TEST_F(event, interrupt_with_if_set)
{
	GUEST_LOAD(&self->g, LONG64, nops);
	self->page->state.general.rflags |= RFLAGS_IF;
	inject(self->page, WISP_EVENT_INTERRUPT, 0x40);
	guest_run(&self->g);
	ASSERT_TRUE(guest_has_trapped(&self->g, 0x40));
	EXPECT_EQ((__u64)GUEST_CODE, self->trap->rip);
	EXPECT_EQ(RFLAGS_IF, self->trap->rflags & RFLAGS_IF);
	EXPECT_EQ(WISP_EVENT_NONE, self->page->inject.type);
	EXPECT_EQ(0U, self->page->exit.flags & WISP_EXIT_INTR_PENDING);

	/* It comes once. */
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));
	EXPECT_EQ(1UL, self->trap->count);
}

/* All vectors, those of exceptions among them. */
TEST_F(event, every_interrupt_vector)
{
	for (int vector = 0; vector < 256; vector++) {
		/* These stubs expect an error code, which INTR does not push. */
		if (vector == 8 || (vector >= 10 && vector <= 14) ||
		    vector == 17)
			continue;
		GUEST_LOAD(&self->g, LONG64, nops);
		self->page->state.general.rflags |= RFLAGS_IF;
		inject(self->page, WISP_EVENT_INTERRUPT, vector);
		guest_run(&self->g);
		ASSERT_TRUE(guest_has_trapped(&self->g, vector));
		ASSERT_EQ((__u64)GUEST_CODE, self->trap->rip);
	}
}

SNIPPET(sti, 64, "out %al, $0x10; sti; nop; nop; hlt");

/* Held while IF is clear, and for one instruction more after STI. */
TEST_F(event, interrupt_is_held_until_sti)
{
	LOAD_MASKED(&self->g, sti);
	inject(self->page, WISP_EVENT_INTERRUPT, 0x41);
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	ASSERT_EQ(0x10, self->page->exit.port.port);
	EXPECT_EQ((__u32)WISP_EXIT_INTR_PENDING, self->page->exit.flags);
	EXPECT_EQ(0x41, self->page->state.events.interrupt.vector);
	EXPECT_EQ(WISP_EVENT_INTERRUPT,
		  self->page->state.events.interrupt.type);
	guest_complete(&self->g, 0);
	ASSERT_TRUE(guest_has_trapped(&self->g, 0x41));
	EXPECT_EQ((__u64)GUEST_CODE + 4, self->trap->rip);
	EXPECT_EQ(WISP_EVENT_NONE, self->page->state.events.interrupt.type);
}

SNIPPET(popf, 64, "pushf; orl $0x200, (%rsp); popf; nop; hlt");

/* POPF has no shadow. */
TEST_F(event, interrupt_is_held_until_popf)
{
	LOAD_MASKED(&self->g, popf);
	inject(self->page, WISP_EVENT_INTERRUPT, 0x42);
	guest_run(&self->g);
	ASSERT_TRUE(guest_has_trapped(&self->g, 0x42));
	EXPECT_EQ((__u64)GUEST_CODE + 9, self->trap->rip);
}

TEST_F(event, interrupt_shadow_through_the_state)
{
	/* Unless an interrupt of the host's ends the run, and IF is set anew. */
	if (guest_on_bochs_svm())
		SKIP(return, "Bochs: no window opens where IF was set at VMRUN");
	GUEST_LOAD(&self->g, LONG64, nops);
	self->page->state.general.rflags |= RFLAGS_IF;
	self->page->state.events.interrupt_shadow = 1;
	inject(self->page, WISP_EVENT_INTERRUPT, 0x43);
	guest_run(&self->g);
	ASSERT_TRUE(guest_has_trapped(&self->g, 0x43));
	/* QEMU's VMRUN does not look at the shadow. */
	EXPECT_EQ((__u64)GUEST_CODE + !guest_on_tcg(), self->trap->rip);
}

/*
 * An instruction that exits in the shadow of STI: when it is done, so is the
 * shadow.
 */
SNIPPET(sti_out, 64, "sti; out %al, $0x10; nop; hlt");

TEST_F(event, shadow_over_an_exit)
{
	LOAD_MASKED(&self->g, sti_out);
	inject(self->page, WISP_EVENT_INTERRUPT, 0x44);
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	ASSERT_EQ(0x10, self->page->exit.port.port);
	EXPECT_EQ(1, self->page->state.events.interrupt_shadow);
	EXPECT_EQ((__u32)(WISP_EXIT_INTR_PENDING | WISP_EXIT_INTR_READY),
		  self->page->exit.flags);
	guest_complete(&self->g, 0);
	ASSERT_TRUE(guest_has_trapped(&self->g, 0x44));
	EXPECT_EQ((__u64)GUEST_CODE + 3, self->trap->rip);
}

/* The driver skips CPUID: it ends the shadow, too. */
SNIPPET(sti_cpuid, 64, "sti; cpuid; nop; hlt");

TEST_F(event, shadow_over_an_exit_in_the_driver)
{
	LOAD_MASKED(&self->g, sti_cpuid);
	inject(self->page, WISP_EVENT_INTERRUPT, 0x44);
	guest_run(&self->g);
	ASSERT_TRUE(guest_has_trapped(&self->g, 0x44));
	EXPECT_EQ((__u64)GUEST_CODE + 3, self->trap->rip);
}

SNIPPET(sti_hlt, 64, "sti; hlt; nop; hlt");

/* The idle loop's: the HLT exits, then the interrupt comes behind it. */
TEST_F(event, sti_hlt_and_wake)
{
	LOAD_MASKED(&self->g, sti_hlt);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ((__u64)GUEST_CODE + 1, self->page->exit.rip);
	inject(self->page, WISP_EVENT_INTERRUPT, 0x45);
	guest_complete(&self->g, 0);
	ASSERT_TRUE(guest_has_trapped(&self->g, 0x45));
	EXPECT_EQ((__u64)GUEST_CODE + 2, self->trap->rip);
}

TEST_F(event, one_interrupt_at_a_time)
{
	LOAD_MASKED(&self->g, sti);
	inject(self->page, WISP_EVENT_INTERRUPT, 0x46);
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	inject(self->page, WISP_EVENT_INTERRUPT, 0x47);
	self->page->complete = 1;
	EXPECT_EQ(-EBUSY, raw_run(self->g.vm, 0));
	/* It has taken nothing. */
	EXPECT_EQ(1U, self->page->complete);
	EXPECT_EQ(WISP_EVENT_INTERRUPT, self->page->inject.type);
	inject(self->page, WISP_EVENT_NONE, 0);
	guest_run(&self->g);
	ASSERT_TRUE(guest_has_trapped(&self->g, 0x46));
	/* The first is in: there is room. */
	inject(self->page, WISP_EVENT_INTERRUPT, 0x47);
	guest_complete(&self->g, 0);
	ASSERT_TRUE(guest_has_trapped(&self->g, 0x47));
	EXPECT_EQ(2UL, self->trap->count);
}

SNIPPET(sti_mmio, 64, "sti; mov (%rdi), %eax; hlt");

TEST_F(event, ready_flag)
{
	/* IF set, no shadow. */
	GUEST_LOAD(&self->g, LONG64, nops);
	self->page->state.general.rflags |= RFLAGS_IF;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ((__u32)WISP_EXIT_INTR_READY, self->page->exit.flags);
	LOAD_MASKED(&self->g, nops);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ(0U, self->page->exit.flags);
	/* A shadow that ends with the exit's completion. */
	LOAD_MASKED(&self->g, sti_out);
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	EXPECT_EQ((__u32)WISP_EXIT_INTR_READY, self->page->exit.flags);
	LOAD_MASKED(&self->g, sti_mmio);
	self->page->state.general.rdi = GUEST_NOWHERE;
	ASSERT_EQ(WISP_EXIT_MEMORY, guest_run(&self->g));
	EXPECT_EQ((__u32)WISP_EXIT_INTR_READY, self->page->exit.flags);
	/* One that stays. */
	GUEST_LOAD(&self->g, LONG64, nops);
	self->page->state.general.rflags |= RFLAGS_IF;
	self->page->state.events.interrupt_shadow = 1;
	ASSERT_EQ(0, raw_kick(self->g.vm, 0));
	ASSERT_EQ(WISP_EXIT_KICKED, guest_run(&self->g));
	EXPECT_EQ(0U, self->page->exit.flags);
}

/* ---- the interrupt window ------------------------------------------------------------------ */

TEST_F(event, window_opens_behind_the_shadow)
{
	LOAD_MASKED(&self->g, sti);
	self->page->flags = WISP_RUN_INTR_WINDOW;
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	ASSERT_EQ(WISP_EXIT_INTR_WINDOW, guest_complete(&self->g, 0));
	EXPECT_EQ((__u64)GUEST_CODE + 4, self->page->exit.rip);
	EXPECT_EQ((__u32)WISP_EXIT_INTR_READY, self->page->exit.flags);
	/* It goes in at once. */
	inject(self->page, WISP_EVENT_INTERRUPT, 0x48);
	guest_run(&self->g);
	ASSERT_TRUE(guest_has_trapped(&self->g, 0x48));
	EXPECT_EQ((__u64)GUEST_CODE + 4, self->trap->rip);
	/* Without the flag there is no such exit. */
	self->page->flags = 0;
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));
}

TEST_F(event, window_that_is_open_already)
{
	GUEST_LOAD(&self->g, LONG64, nops);
	self->page->state.general.rflags |= RFLAGS_IF;
	self->page->flags = WISP_RUN_INTR_WINDOW;
	ASSERT_EQ(WISP_EXIT_INTR_WINDOW, guest_run(&self->g));
	EXPECT_EQ((__u64)GUEST_CODE, self->page->exit.rip);
	EXPECT_EQ((__u32)WISP_EXIT_INTR_READY, self->page->exit.flags);
	/* It is no instruction: there is nothing to complete. */
	self->page->complete = 1;
	EXPECT_EQ(-EINVAL, raw_run(self->g.vm, 0));
}

/* The one that is injected goes first; the window opens when it is done. */
TEST_F(event, window_behind_an_interrupt)
{
	GUEST_LOAD(&self->g, LONG64, nops);
	self->trap->action = GUEST_TRAP_RETURN;
	self->page->state.general.rflags |= RFLAGS_IF;
	self->page->flags = WISP_RUN_INTR_WINDOW;
	inject(self->page, WISP_EVENT_INTERRUPT, 0x49);
	ASSERT_EQ(WISP_EXIT_INTR_WINDOW, guest_run(&self->g));
	EXPECT_EQ(1UL, self->trap->count);
	EXPECT_EQ(0x49UL, self->trap->vector);
	EXPECT_EQ((__u64)GUEST_CODE, self->page->exit.rip);
}

SNIPPET(count_interrupts, 64, "sti; 1: incq (%rdi); jmp 1b");

/*
 * Many, each when the window opens: none is lost, none comes twice. (Of TCG one may:
 * see Documentation/testing.rst.)
 */
TEST_F(event, interrupts_in_a_row)
{
	__u64 before = 0, came;

	if (guest_on_bochs_svm())
		SKIP(return, "Bochs: no window opens where IF was set at VMRUN");
	GUEST_LOAD(&self->g, LONG64, count_interrupts);
	self->trap->action = GUEST_TRAP_RETURN;
	self->page->state.general.rdi = GUEST_DATA;
	self->page->want = 0;
	for (int i = 0; i < 500; i++) {
		self->page->flags = WISP_RUN_INTR_WINDOW;
		ASSERT_EQ(WISP_EXIT_INTR_WINDOW, guest_run(&self->g));
		came = self->trap->count - before;
		if (i && came == 2 && guest_on_tcg())
			came = 1;
		ASSERT_EQ(i ? 1UL : 0UL, came);
		before = self->trap->count;
		inject(self->page, WISP_EVENT_INTERRUPT, 0x20 + i % 200);
	}
	EXPECT_EQ(0x20UL + 498 % 200, self->trap->vector);
}

/* ---- NMIs ------------------------------------------------------------------------------------ */

TEST_F(event, nmi_needs_no_if)
{
	GUEST_LOAD(&self->g, LONG64, nops);
	inject(self->page, WISP_EVENT_NMI, 2);
	guest_run(&self->g);
	ASSERT_TRUE(guest_has_trapped(&self->g, 2));
	EXPECT_EQ((__u64)GUEST_CODE, self->trap->rip);
	EXPECT_EQ(1, self->page->state.events.nmi_blocked);
	EXPECT_EQ(0, self->page->state.events.nmi_pending);
	/* IRET ends it. */
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));
	EXPECT_EQ(0, self->page->state.events.nmi_blocked);
	EXPECT_EQ(1UL, self->trap->count);
}

TEST_F(event, nmi_waits_for_iret)
{
	GUEST_LOAD(&self->g, LONG64, nops);
	inject(self->page, WISP_EVENT_NMI, 2);
	guest_run(&self->g);
	ASSERT_TRUE(guest_has_trapped(&self->g, 2));
	/* Two more while the first is handled are one. */
	inject(self->page, WISP_EVENT_NMI, 2);
	self->page->complete = 0;
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	EXPECT_EQ(1, self->page->state.events.nmi_pending);
	EXPECT_EQ(1UL, self->trap->count);
	inject(self->page, WISP_EVENT_NMI, 2);
	guest_complete(&self->g, 0);
	ASSERT_TRUE(guest_has_trapped(&self->g, 2));
	EXPECT_EQ(2UL, self->trap->count);
	/* It came behind the IRET, not in the handler. */
	EXPECT_EQ((__u64)GUEST_CODE, self->trap->rip);
	EXPECT_EQ((__u64)GUEST_STACK, self->trap->rsp);
	EXPECT_EQ(0, self->page->state.events.nmi_pending);
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));
	EXPECT_EQ(2UL, self->trap->count);
}

TEST_F(event, nmi_blocked_through_the_state)
{
	GUEST_LOAD(&self->g, LONG64, nops);
	self->page->state.events.nmi_blocked = 1;
	inject(self->page, WISP_EVENT_NMI, 2);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ(0UL, self->trap->count);
	EXPECT_EQ(1, self->page->state.events.nmi_pending);
	EXPECT_EQ(1, self->page->state.events.nmi_blocked);
	/* Bochs has them blocked in the next guest, too, until an IRET. */
	GUEST_LOAD(&self->g, LONG64, int_n);
	self->page->state.events.nmi_blocked = 1;
	guest_run(&self->g);
	ASSERT_TRUE(guest_has_trapped(&self->g, 0x81));
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));
	EXPECT_EQ(0, self->page->state.events.nmi_blocked);
}

SNIPPET(iret, 64, "iretq; hlt");

/* An IRET that comes to nothing, because its stack has no slot, opens no NMIs. */
TEST_F(event, nmi_blocked_until_iret_is_over)
{
	const __u64 frame[] = {
		GUEST_CODE + 2, GUEST_CS64, RFLAGS_FIXED, GUEST_STACK, GUEST_DS,
	};

	GUEST_LOAD(&self->g, LONG64, iret);
	self->page->state.general.rsp = GUEST_NOWHERE;
	self->page->state.events.nmi_blocked = 1;
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(WISP_EXIT_MEMORY, guest_run(&self->g));
		EXPECT_EQ((__u64)GUEST_CODE, self->page->exit.rip);
		EXPECT_EQ(1, self->page->state.events.nmi_blocked);
	}
	memcpy(guest_at(&self->g, GUEST_DATA), frame, sizeof(frame));
	self->page->state.general.rsp = GUEST_DATA;
	self->page->dirty = WISP_STATE_GENERAL;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ(0, self->page->state.events.nmi_blocked);
}

/* An NMI goes before an interrupt, and neither is lost. */
TEST_F(event, nmi_and_interrupt)
{
	LOAD_MASKED(&self->g, sti);
	inject(self->page, WISP_EVENT_INTERRUPT, 0x50);
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	inject(self->page, WISP_EVENT_NMI, 2);
	guest_complete(&self->g, 0);
	ASSERT_TRUE(guest_has_trapped(&self->g, 2));
	EXPECT_EQ((__u64)GUEST_CODE + 2, self->trap->rip);
	guest_complete(&self->g, 0);
	ASSERT_TRUE(guest_has_trapped(&self->g, 0x50));
	EXPECT_EQ((__u64)GUEST_CODE + 4, self->trap->rip);
}

/* Behind an event in delivery it comes before the handler's first instruction. */
TEST_F(event, nmi_behind_an_event)
{
	static const struct wisp_event events[] = {
		{ WISP_EVENT_INTERRUPT, 0x51, 0, 0, 0 },
		{ WISP_EVENT_EXCEPTION, 6, 0, 0, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		GUEST_LOAD(&self->g, LONG64, nops);
		self->page->state.general.rflags |= RFLAGS_IF;
		self->page->state.events.injected = events[i];
		self->page->state.events.nmi_pending = 1;
		guest_run(&self->g);
		ASSERT_TRUE(guest_has_trapped(&self->g, 2));
		EXPECT_EQ(GUEST_STUBS + 16UL * events[i].vector, self->trap->rip);
		EXPECT_EQ(1UL, self->trap->count);
		guest_complete(&self->g, 0);
		ASSERT_TRUE(guest_has_trapped(&self->g, events[i].vector));
		EXPECT_EQ((__u64)GUEST_CODE, self->trap->rip);
		EXPECT_EQ(2UL, self->trap->count);
	}
}

/* ---- a page is missing in the middle of the delivery ------------------------------------------ */

/*
 * The frame is pushed on a page that the second-level table has not got yet.
 * The driver maps it and delivers again, once.
 */
static void untouched_stack(struct guest *g)
{
	g->page->state.general.rsp = UNTOUCHED + 0x1000;
}

TEST_F(event, interrupt_onto_an_untouched_stack)
{
	GUEST_LOAD(&self->g, LONG64, nops);
	untouched_stack(&self->g);
	self->page->state.general.rflags |= RFLAGS_IF;
	inject(self->page, WISP_EVENT_INTERRUPT, 0x60);
	guest_run(&self->g);
	ASSERT_TRUE(guest_has_trapped(&self->g, 0x60));
	EXPECT_EQ((__u64)GUEST_CODE, self->trap->rip);
	EXPECT_EQ((__u64)UNTOUCHED + 0x1000, self->trap->rsp);
	EXPECT_EQ(1UL, self->trap->count);
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));
	EXPECT_EQ(1UL, self->trap->count);
}

TEST_F(event, nmi_onto_an_untouched_stack)
{
	GUEST_LOAD(&self->g, LONG64, nops);
	untouched_stack(&self->g);
	inject(self->page, WISP_EVENT_NMI, 2);
	guest_run(&self->g);
	ASSERT_TRUE(guest_has_trapped(&self->g, 2));
	EXPECT_EQ((__u64)GUEST_CODE, self->trap->rip);
	EXPECT_EQ(1, self->page->state.events.nmi_blocked);
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));
	EXPECT_EQ(1UL, self->trap->count);
	EXPECT_EQ(0, self->page->state.events.nmi_blocked);
}

TEST_F(event, exception_onto_an_untouched_stack)
{
	GUEST_LOAD(&self->g, LONG64, nops);
	untouched_stack(&self->g);
	self->page->inject = (struct wisp_event){
		.type = WISP_EVENT_EXCEPTION, .vector = 13,
		.has_error_code = 1, .error_code = 0x4320,
	};
	guest_run(&self->g);
	ASSERT_TRUE(guest_has_trapped(&self->g, 13));
	EXPECT_EQ(0x4320UL, self->trap->error);
	EXPECT_EQ((__u64)GUEST_CODE, self->trap->rip);
	EXPECT_EQ(1UL, self->trap->count);
}

/* The guest's own: a fault's CR2, a trap's RIP must survive. */
TEST_F(event, page_fault_onto_an_untouched_stack)
{
	GUEST_LOAD(&self->g, LONG64, touch_read);
	untouched_stack(&self->g);
	prepare_absent(&self->g);
	guest_run(&self->g);
	ASSERT_TRUE(guest_has_trapped(&self->g, 14));
	EXPECT_EQ((__u64)PAGE_UNDER_TEST + 0x123, self->trap->cr2);
	EXPECT_EQ(0UL, self->trap->error);
	EXPECT_EQ((__u64)GUEST_CODE, self->trap->rip);
	EXPECT_EQ(1UL, self->trap->count);
}

TEST_F(event, int3_onto_an_untouched_stack)
{
	GUEST_LOAD(&self->g, LONG64, int3);
	untouched_stack(&self->g);
	guest_run(&self->g);
	ASSERT_TRUE(guest_has_trapped(&self->g, 3));
	EXPECT_EQ((__u64)GUEST_CODE + 2, self->trap->rip);
	EXPECT_EQ(1UL, self->trap->count);
}

SNIPPET(int3_in_a_handler, 64, "mov %rdi, %rsp; nop; int3; hlt");

/* It is the guest's own, though an exception was injected, too, in this entry. */
TEST_F(event, int3_in_the_handler_of_an_injected_exception)
{
	__u64 *idt = guest_at(&self->g, GUEST_IDT);

	idt[2 * 6] = (GUEST_CODE & 0xffff) | (__u64)GUEST_CS64 << 16 |
		     0xeeULL << 40 | (__u64)GUEST_CODE >> 16 << 48;
	for (int i = 1; i <= 2; i++) {
		/* At first all but the stack is missing, too. */
		GUEST_LOAD(&self->g, LONG64, int3_in_a_handler);
		self->page->state.general.rdi = UNTOUCHED + i * PAGE;
		self->page->inject = (struct wisp_event){
			.type = WISP_EVENT_EXCEPTION, .vector = 6,
		};
		guest_run(&self->g);
		ASSERT_TRUE(guest_has_trapped(&self->g, 3));
		EXPECT_EQ((__u64)GUEST_CODE + 5, self->trap->rip);
		EXPECT_EQ(1UL, self->trap->count);
	}
}

/* One that the VMM injects leads back to where the guest was. */
TEST_F(event, injected_int3)
{
	GUEST_LOAD(&self->g, LONG64, nops);
	self->page->inject = (struct wisp_event){
		.type = WISP_EVENT_EXCEPTION, .vector = 3,
	};
	guest_run(&self->g);
	ASSERT_TRUE(guest_has_trapped(&self->g, 3));
	EXPECT_EQ((__u64)GUEST_CODE, self->trap->rip);
	/* Also where its delivery was cut short. */
	GUEST_LOAD(&self->g, LONG64, nops);
	untouched_stack(&self->g);
	self->page->inject = (struct wisp_event){
		.type = WISP_EVENT_EXCEPTION, .vector = 3,
	};
	guest_run(&self->g);
	ASSERT_TRUE(guest_has_trapped(&self->g, 3));
	EXPECT_EQ((__u64)GUEST_CODE, self->trap->rip);
	EXPECT_EQ(1UL, self->trap->count);
}

TEST_F(event, int_n_onto_an_untouched_stack)
{
	GUEST_LOAD(&self->g, LONG64, int_n);
	untouched_stack(&self->g);
	guest_run(&self->g);
	ASSERT_TRUE(guest_has_trapped(&self->g, 0x81));
	EXPECT_EQ((__u64)GUEST_CODE + 2, self->trap->rip);
	EXPECT_EQ(1UL, self->trap->count);
}

TEST_F(event, single_step_onto_an_untouched_stack)
{
	if (guest_on_bochs_svm())
		SKIP(return, "Bochs: TF and an exit take the host down");
	GUEST_LOAD(&self->g, LONG64, nops);
	untouched_stack(&self->g);
	self->page->state.general.rflags |= RFLAGS_TF;
	guest_run(&self->g);
	ASSERT_TRUE(guest_has_trapped(&self->g, 1));
	EXPECT_EQ((__u64)GUEST_CODE + 1, self->trap->rip);
	EXPECT_EQ(DR6_FIXED | 1 << 14, self->page->state.debug.dr6);
	EXPECT_EQ(1UL, self->trap->count);
}

/* The IDT itself is on a page that was not touched. */
TEST_F(event, interrupt_through_an_untouched_idt)
{
	__u64 gate[2];

	GUEST_LOAD(&self->g, LONG64, nops);
	memcpy(gate, (char *)guest_at(&self->g, GUEST_IDT) + 16 * 0x61, 16);
	memcpy(guest_at(&self->g, UNTOUCHED + 16 * 0x61), gate, 16);
	self->page->state.segments.idt.base = UNTOUCHED;
	self->page->state.general.rflags |= RFLAGS_IF;
	inject(self->page, WISP_EVENT_INTERRUPT, 0x61);
	guest_run(&self->g);
	ASSERT_TRUE(guest_has_trapped(&self->g, 0x61));
	EXPECT_EQ((__u64)GUEST_CODE, self->trap->rip);
}

/*
 * The stack has no slot at all: the run ends in the middle of the delivery,
 * and goes on with it when there is one.
 */
TEST_F(event, delivery_onto_a_stack_without_a_slot)
{
	static const struct wisp_event events[] = {
		{ WISP_EVENT_INTERRUPT, 0x62, 0, 0, 0 },
		{ WISP_EVENT_NMI, 2, 0, 0, 0 },
		{ WISP_EVENT_EXCEPTION, 13, 1, 0, 0x1238 },
	};
	const struct wisp_exit *exit = &self->page->exit;

	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		const struct wisp_event *event = &events[i];
		int fd;

		GUEST_LOAD(&self->g, LONG64, nops);
		self->page->state.general.rflags |= RFLAGS_IF;
		self->page->state.general.rsp = GUEST_NOWHERE + 0x1000;
		self->page->inject = *event;
		ASSERT_EQ(WISP_EXIT_MEMORY, guest_run(&self->g));
		EXPECT_EQ((__u64)GUEST_NOWHERE, exit->memory.gpa & -PAGE);
		EXPECT_EQ((__u32)WISP_PROT_WRITE, exit->memory.access);
		EXPECT_EQ((__u64)GUEST_CODE, exit->rip);
		EXPECT_EQ(0, memcmp(event, &self->page->state.events.injected,
				    sizeof(*event)))
			TH_LOG("vector %u: type %u vector %u", event->vector,
			       self->page->state.events.injected.type,
			       self->page->state.events.injected.vector);

		fd = raw_create_memory(self->g.sys, PAGE);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, raw_set_slot(self->g.vm, 1, GUEST_NOWHERE, PAGE,
					  fd, 0, PROT_RW));
		close(fd);
		guest_run(&self->g);
		ASSERT_TRUE(guest_has_trapped(&self->g, event->vector));
		EXPECT_EQ((__u64)event->error_code, self->trap->error);
		EXPECT_EQ((__u64)GUEST_CODE, self->trap->rip);
		EXPECT_EQ(1UL, self->trap->count);
		ASSERT_EQ(0, raw_remove_slot(self->g.vm, 1));
	}
}

/* ---- guests that go down, or try to take the host with them ------------------------------------ */

TEST_F(event, triple_fault)
{
	if (guest_on_bochs_svm())
		SKIP(return, "Bochs: the host goes down, too");
	GUEST_LOAD(&self->g, LONG64, undefined);
	self->page->state.segments.idt.limit = 0;
	EXPECT_EQ(WISP_EXIT_SHUTDOWN, guest_run(&self->g));
}

SNIPPET(undefined16, 16, "ud2");

TEST_F(event, triple_fault_in_real_mode)
{
	if (guest_on_bochs_svm())
		SKIP(return, "Bochs: the host goes down, too");
	GUEST_LOAD(&self->g, REAL16, undefined16);
	self->page->state.segments.idt.limit = 0;
	EXPECT_EQ(WISP_EXIT_SHUTDOWN, guest_run(&self->g));
	/* It can be set up anew. */
	GUEST_LOAD(&self->g, LONG64, nops);
	EXPECT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
}

TEST_F(event, page_fault_in_a_page_fault)
{
	/* First, so that no page is missing on the way to the handlers. */
	GUEST_LOAD(&self->g, LONG64, int3);
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));

	GUEST_LOAD(&self->g, LONG64, touch_read);
	prepare_absent(&self->g);
	/* The handler's gate leads nowhere either: a double fault. */
	memset((char *)guest_at(&self->g, GUEST_IDT) + 16 * 14, 0, 16);
	guest_run(&self->g);
	ASSERT_TRUE(guest_has_trapped(&self->g, 8));
	EXPECT_EQ(0UL, self->trap->error);
}

SNIPPET(cli_loop, 64, "cli; 1: jmp 1b");

TEST_F(event, loop_with_interrupts_off)
{
	if (guest_on_bochs_svm())
		SKIP(return, "Bochs: with IF clear nothing ends a loop");
	GUEST_LOAD(&self->g, LONG64, cli_loop);
	self->page->budget_ns = 5000000;
	/* A slow host may not have come to the loop by then. */
	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(WISP_EXIT_BUDGET, guest_run(&self->g));
		if (self->page->exit.rip != GUEST_CODE)
			break;
	}
	EXPECT_EQ((__u64)GUEST_CODE + 1, self->page->exit.rip);
	EXPECT_EQ(0UL, self->page->exit.rflags & RFLAGS_IF);
}

/*
 * CVE-2015-5307: 32-bit code at CPL 3 with a misaligned stack, whose #AC
 * handler is at CPL 3 too: pushing its frame is the next #AC. Only a driver
 * that intercepts #AC gets the CPU back. Where there is no #AC at all, the
 * guest loops by itself; either way the budget ends it, or it shuts down.
 */
#define USER_CS32	0x73
#define USER_CS32_LIMIT	0x7f

SNIPPET(ac_loop, 32, "mov %eax, (%esp); 1: jmp 1b");

static void load_user32(struct guest *g, int vector, __u64 handler)
{
	struct wisp_state *s = &g->page->state;
	__u64 *gdt = guest_at(g, GUEST_GDT);
	__u64 *idt = guest_at(g, GUEST_DATA);

	guest_load(g, PROTECTED32, ac_loop, ac_loop_end);
	gdt[USER_CS32 / 8] = 0x00cffb000000ffff;
	memset(idt, 0, 256 * 8);
	idt[vector] = (handler & 0xffff) | (__u64)USER_CS32 << 16 |
		      0xeeULL << 40 | (handler >> 16) << 48;
	s->segments.idt.base = GUEST_DATA;
	s->segments.idt.limit = 0x7ff;
	s->segments.gdt.limit = USER_CS32_LIMIT;
	s->segments.cs = state_segment(USER_CS32, 0, 0xffffffff,
				       SEG_CODE32 | SEG_DPL3);
	state_data_segments(s, state_segment(GUEST_USER_DS, 0, 0xffffffff,
					     SEG_DATA32 | SEG_DPL3));
}

static int run_ac_loop(struct guest *g, __u64 budget_ns)
{
	struct wisp_state *s = &g->page->state;

	load_user32(g, 17, GUEST_CODE);
	s->general.rsp = GUEST_USER_STACK - 3;
	s->control.cr0 |= CR0_AM;
	s->general.rflags |= RFLAGS_AC;
	g->page->budget_ns = budget_ns;
	return guest_run(g);
}

TEST_F(event, alignment_check_loop)
{
	int reason;

	if (guest_on_tcg())
		SKIP(return, "TCG: there is no #AC");
	reason = run_ac_loop(&self->g, 20000000);
	EXPECT_TRUE(reason == WISP_EXIT_BUDGET || reason == WISP_EXIT_SHUTDOWN)
		TH_LOG("%s", guest_exit_name(reason));
}

static void on_timer(int sig)
{
	(void)sig;
}

/* Without a budget, and on one CPU: only that one's own timer can end it. */
TEST_F(event, alignment_check_loop_until_an_interrupt)
{
	const struct itimerspec often = {
		{ .tv_nsec = 20000000 }, { .tv_nsec = 20000000 },
	};
	struct sigevent event = {
		.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1,
	};
	struct sigaction action = { .sa_handler = on_timer };
	timer_t timer;
	int reason;

	if (guest_on_tcg())
		SKIP(return, "TCG: there is no #AC");
	ASSERT_EQ(0, guest_pin(0));
	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	ASSERT_EQ(0, timer_create(CLOCK_MONOTONIC, &event, &timer));
	ASSERT_EQ(0, timer_settime(timer, 0, &often, NULL));
	reason = run_ac_loop(&self->g, 0);
	ASSERT_EQ(0, timer_delete(timer));
	EXPECT_TRUE(reason == -EINTR || reason == WISP_EXIT_SHUTDOWN)
		TH_LOG("%s", guest_exit_name(reason));
}

SNIPPET(misaligned, 64, "mov (%rdi), %eax; int3");

/* An ordinary #AC reaches the guest, though the driver intercepts it. */
TEST_F(event, alignment_check)
{
	struct wisp_state *s = &self->page->state;

	if (guest_on_tcg())
		SKIP(return, "TCG: there is no #AC");
	GUEST_LOAD(&self->g, USER64, misaligned);
	s->general.rdi = GUEST_DATA + 1;
	s->control.cr0 |= CR0_AM;
	s->general.rflags |= RFLAGS_AC;
	guest_run(&self->g);
	ASSERT_TRUE(guest_has_trapped(&self->g, 17));
	EXPECT_EQ(0UL, self->trap->error);
	EXPECT_EQ((__u64)GUEST_CODE, self->trap->rip);
}

/*
 * CVE-2015-8104: a #DB whose delivery is the next #DB: by a breakpoint on the
 * handler's first instruction; or (QEMU does not survive it) by one on the stack
 * slot that the delivery writes, on a stack of its own, so that each delivery
 * hits the same slot.
 */
SNIPPET(db_loop, 64,
	"mov %rax, %dr0; mov %rcx, %dr7; mov %al, (%rdi); int3; 1: jmp 1b");

SNIPPET(db_handler, 64, "iretq");

/* Where no other test's code is: QEMU does not forget the breakpoint. */
#define DB_HANDLER	0x71230ULL

static int run_debug_loop(struct guest *g, __u64 address, __u64 dr7)
{
	struct wisp_state *s = &g->page->state;
	__u64 *idt = guest_at(g, GUEST_IDT);
	__u32 *tss = guest_at(g, GUEST_TSS);

	GUEST_LOAD(g, LONG64, db_loop);
	tss[9] = GUEST_TRAP_STACK;		/* IST1 */
	memcpy(guest_at(g, DB_HANDLER), db_handler,
	       db_handler_end - db_handler);
	/* #DB has it, and a handler of its own; int3 goes there, too. */
	idt[2] = (DB_HANDLER & 0xffff) | (__u64)GUEST_CS64 << 16 |
		 1ULL << 32 | 0xeeULL << 40 | (DB_HANDLER >> 16ULL) << 48;
	memcpy(&idt[6], &idt[2], 16);
	s->general.rax = address;
	s->general.rcx = dr7;
	s->general.rdi = GUEST_TRAP_STACK - 8;
	g->page->budget_ns = 50000000;
	return guest_run(g);
}

TEST_F(event, debug_exception_loop)
{
	int reason;

	/* G0, execution. */
	reason = run_debug_loop(&self->g, DB_HANDLER, DR7_FIXED | 2);
	EXPECT_EQ(WISP_EXIT_BUDGET, reason)
		TH_LOG("%s", guest_exit_name(reason));
}

TEST_F(event, debug_exception_loop_by_the_delivery)
{
	int reason;

	if (guest_on_tcg())
		SKIP(return, "TCG: the emulator does not survive it");
	/* G0, 8 bytes, write: where SS is pushed. */
	reason = run_debug_loop(&self->g, GUEST_TRAP_STACK - 8,
				DR7_FIXED | 2 | 9 << 16);
	EXPECT_TRUE(reason == WISP_EXIT_BUDGET || reason == WISP_EXIT_SHUTDOWN)
		TH_LOG("%s", guest_exit_name(reason));
}

/* ---- hardware task switches ----------------------------------------------------------------------- */

SNIPPET(jmp_tss, 32, "ljmp $0x58, $0");
SNIPPET(call_tss, 32, "lcall $0x58, $0");
SNIPPET(iret_tss, 32, "pushf; orl $0x4000, (%esp); popf; iret");

TEST_F(event, task_switches_go_to_the_vmm)
{
	const struct wisp_exit *exit = &self->page->exit;
	__u32 *tss = guest_at(&self->g, GUEST_TSS);

	if (guest_on_tcg())
		SKIP(return, "TCG: it switches tasks itself");
	GUEST_LOAD(&self->g, PROTECTED32, jmp_tss);
	ASSERT_EQ(WISP_EXIT_TASK_SWITCH, guest_run(&self->g));
	EXPECT_EQ(0x58, exit->task_switch.selector);
	EXPECT_EQ(2, exit->task_switch.source);
	EXPECT_EQ(0, exit->task_switch.has_error_code);

	GUEST_LOAD(&self->g, PROTECTED32, call_tss);
	ASSERT_EQ(WISP_EXIT_TASK_SWITCH, guest_run(&self->g));
	EXPECT_EQ(0x58, exit->task_switch.selector);
	EXPECT_EQ(0, exit->task_switch.source);

	tss[0] = GUEST_TSS_SELECTOR;		/* the back link */
	GUEST_LOAD(&self->g, PROTECTED32, iret_tss);
	ASSERT_EQ(WISP_EXIT_TASK_SWITCH, guest_run(&self->g));
	EXPECT_EQ(GUEST_TSS_SELECTOR, exit->task_switch.selector);
	EXPECT_EQ(1, exit->task_switch.source);
}

TEST_HARNESS_MAIN
