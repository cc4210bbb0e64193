// SPDX-License-Identifier: GPL-2.0
/*
 * Entries that the hardware refuses: who looks for the reason finds the member of
 * the state, or the control, by its name. The driver checks all that it is given,
 * so a debug build is told not to (parameter "unchecked"), or to spoil a control
 * of the VMCS ("vmx_spoil").
 */
#include <stdio.h>
#include <stdlib.h>
#include <asm/prctl.h>
#include <sys/klog.h>
#include <sys/syscall.h>

#include "../harness.h"
#include "../guest/guest.h"
#include "parameter.h"

/*
 * Secondary controls, one that no CPU has and one that the lab's has not, "enable ENCLS
 * exiting"; VM-instruction error 7.
 */
#define NO_CONTROLS	(1U << 31 | 1U << 15)
#define CONTROLS	7

#define NOT_CANONICAL	0x8000000000000000ULL

SNIPPET(halt, 64, "hlt");

FIXTURE(entry) {
	struct guest g;
};

FIXTURE_SETUP(entry)
{
	ASSERT_EQ(0, guest_create(&self->g));
	GUEST_LOAD(&self->g, LONG64, halt);
}

FIXTURE_TEARDOWN(entry)
{
	EXPECT_EQ(0, parameter_set("unchecked", 0));
	guest_destroy(&self->g);
}

/* By a member that the checks of both, driver and hardware, look at. */
static const struct {
	__u32 backend;
	__u32 field;
	size_t offset;
	__u64 value;
} refused[] = {
#define ROW(vendor, member, value)					\
	{ WISP_BACKEND_##vendor, WISP_FIELD(state.member),		\
	  offsetof(struct wisp_state, member), value }
	ROW(VMX, general.rflags, 0),
	ROW(VMX, segments.gdt.base, NOT_CANONICAL),
	ROW(VMX, segments.idt.base, NOT_CANONICAL),
	ROW(VMX, msrs.sysenter_esp, NOT_CANONICAL),
	/* PG and not PE; what is no bit of it */
	ROW(VMX, control.cr0, 0x80000020),
	ROW(SVM, control.cr0, 1ULL << 40 | 0x80000031),
	ROW(SVM, control.efer, 1ULL << 40),
#undef ROW
};

/* Each of them fails. @field: and is named. */
static void enter_refused(struct __test_metadata *_metadata, struct guest *g,
			  bool field)
{
	struct wisp_state good = g->page->state;

	ASSERT_EQ(0, parameter_set("unchecked", 1));
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		if (refused[i].backend != g->query.backend)
			continue;
		g->page->state = good;
		memcpy((char *)&g->page->state + refused[i].offset,
		       &refused[i].value, sizeof(refused[i].value));
		g->page->dirty = STATE_ALL;
		EXPECT_EQ(WISP_EXIT_ENTRY_FAILED, guest_run(g))
			TH_LOG("row %zu", i);
		if (field)
			EXPECT_EQ(refused[i].field, g->page->field);
	}
	g->page->state = good;
	g->page->dirty = STATE_ALL;
}

/* It goes on with a state that is right. */
TEST_F(entry, fails_and_goes_on)
{
	enter_refused(_metadata, &self->g, false);
	EXPECT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
}

TEST_F(entry, names_the_member)
{
	if (guest_on_tcg())
		SKIP(return, "TCG: the VMCB has the host's state then");
	enter_refused(_metadata, &self->g, true);
}

/* CPUID is an exit within the window, and SWAPGS none. */
SNIPPET(count, 64, "1: swapgs; xor %eax, %eax; cpuid; inc %r8; hlt; jmp 1b");

static bool log_has(const char *text)
{
	static char log[1 << 20];
	int size = klogctl(3, log, sizeof(log) - 1);	/* SYSLOG_ACTION_READ_ALL */

	log[size < 0 ? 0 : size] = 0;
	return strstr(log, text) != NULL;
}

#define GUEST_GS	0x123456000ULL
#define HOST_GS		0x654321000ULL

static __u64 own_gs(void)
{
	__u64 base = ~0ULL;

	syscall(SYS_arch_prctl, ARCH_GET_GS, &base);
	return base;
}

/*
 * A window without hardware is as if it had not been, with SVM; with VMX what the VMCS
 * had is lost, which is told, and the vCPU is as new. The host has what is its own.
 */
TEST_F(entry, without_hardware)
{
	struct guest *g = &self->g;
	bool vmx = g->query.backend == WISP_BACKEND_VMX;
	struct wisp_state *s = &g->page->state;

	ASSERT_EQ(0, syscall(SYS_arch_prctl, ARCH_SET_GS, HOST_GS));
	/* Before the first entry of a run, and behind one. */
	for (__u64 i = 0; i < 6; i++) {
		GUEST_LOAD(g, LONG64, count);
		s->general.r8 = i;
		s->segments.gs.base = GUEST_GS;
		s->msrs.kernel_gs_base = 0;
		g->page->dirty |= WISP_STATE_SEGMENTS | WISP_STATE_MSRS;
		ASSERT_EQ(0, parameter_set("lose", 1 + i % 2));
		ASSERT_EQ(vmx ? WISP_EXIT_ENTRY_FAILED : WISP_EXIT_HLT, guest_run(g));
		EXPECT_EQ(0U, parameter_get("lose"));
		EXPECT_EQ(HOST_GS, own_gs());
		if (!vmx) {
			EXPECT_EQ(i + 1, s->general.r8);
			EXPECT_EQ(GUEST_GS, s->msrs.kernel_gs_base);
			continue;
		}
		EXPECT_EQ(0UL, g->page->exit.hw.code);
		EXPECT_EQ(0UL, g->page->exit.hw.info2);
		EXPECT_EQ(0xfff0UL, s->general.rip);
		EXPECT_EQ(0x10UL, s->control.cr0);
		EXPECT_EQ(0UL, s->msrs.kernel_gs_base);
	}
	EXPECT_EQ(vmx, log_has("VMX was turned off in a run"));
}

TEST_F(entry, names_the_control)
{
	struct guest *g = &self->g;

	if (g->query.backend != WISP_BACKEND_VMX)
		SKIP(return, "a VMCS has controls");
	ASSERT_EQ(0, parameter_set("vmx_spoil", NO_CONTROLS));
	EXPECT_EQ(WISP_EXIT_ENTRY_FAILED, guest_run(g));
	EXPECT_EQ(CONTROLS, (int)g->page->exit.hw.info2);
	ASSERT_EQ(0, parameter_set("vmx_spoil", 0));
	EXPECT_TRUE(log_has("VM-instruction error 7, control fields"));
	EXPECT_TRUE(log_has("secondary control 15 (enable ENCLS exiting) must be 0"));
	EXPECT_TRUE(log_has("secondary control 31 (unknown) must be 0"));
}

TEST_HARNESS_MAIN
