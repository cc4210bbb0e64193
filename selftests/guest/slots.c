// SPDX-License-Identifier: GPL-2.0
/*
 * Slots that change: between runs, on other CPUs, under a guest that runs. The
 * guest sees the new memory and never touches the old. In a debug build the
 * translation ledger checks that each entry comes behind the flush it needs,
 * which emulators, that flush at each world switch, would not notice.
 */
#include <sched.h>
#include <stdlib.h>

#include "../harness.h"
#include "guest.h"

#define HERE	0x20000000	/* where slot 1 is */
#define OUTPUT	GUEST_DATA

FIXTURE(slots) {
	struct guest g;
	struct wisp_vcpu_page *page;
	int fds[2];
	__u64 *objects[2];	/* their memory */
	__u64 *output;
};

FIXTURE_SETUP(slots)
{
	ASSERT_EQ(0, guest_create(&self->g));
	self->page = self->g.page;
	self->output = guest_at(&self->g, OUTPUT);
	for (int i = 0; i < 2; i++) {
		self->fds[i] = raw_create_memory(self->g.sys, 4 * PAGE);
		ASSERT_LE(0, self->fds[i]);
		self->objects[i] = mmap(NULL, 4 * PAGE,
					PROT_READ | PROT_WRITE, MAP_SHARED,
					self->fds[i], 0);
		ASSERT_NE(MAP_FAILED, self->objects[i]);
		self->objects[i][0] = 100 + i;
	}
}

FIXTURE_TEARDOWN(slots)
{
	for (int i = 0; i < 2; i++) {
		munmap(self->objects[i], 4 * PAGE);
		close(self->fds[i]);
	}
	guest_destroy(&self->g);
}

static int map(FIXTURE_DATA(slots) * self, int object, __u32 prot)
{
	return raw_set_slot(self->g.vm, 1, HERE, 4 * PAGE, self->fds[object],
			    0, prot);
}

/* Reads what is at RDI. */
SNIPPET(look, 64, "1: mov (%rdi), %rax; hlt; jmp 1b");

static void load_look(FIXTURE_DATA(slots) * self)
{
	GUEST_LOAD(&self->g, LONG64, look);
	self->page->state.general.rdi = HERE;
}

TEST_F(slots, replaced_between_runs)
{
	load_look(self);
	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(0, map(self, i & 1, PROT_R));
		self->page->complete = i > 0;
		ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
		EXPECT_EQ(100UL + (i & 1), self->page->state.general.rax)
			TH_LOG("round %d", i);
	}
}

/*
 * Each CPU has seen the old one before, at some time: what it remembers must
 * not count when the vCPU is back.
 */
TEST_F(slots, replaced_while_on_another_cpu)
{
	static const int cpus[] = { 0, 1, 0, 0, 1, 1, 0, 1 };

	load_look(self);
	for (int i = 0; i < 40; i++) {
		ASSERT_EQ(0, map(self, i & 1, PROT_R));
		for (int again = 0; again < 2; again++) {
			ASSERT_EQ(0, guest_pin(cpus[(i + again) % 8]));
			self->page->complete = i + again > 0;
			ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
			EXPECT_EQ(100UL + (i & 1),
				  self->page->state.general.rax)
				TH_LOG("round %d", i);
		}
	}
}

TEST_F(slots, removed_and_moved_between_runs)
{
	load_look(self);
	for (int i = 0; i < 10; i++) {
		ASSERT_EQ(0, map(self, 0, PROT_R));
		self->page->complete = i > 0;
		ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
		/* Gone. */
		ASSERT_EQ(0, raw_remove_slot(self->g.vm, 1));
		ASSERT_EQ(WISP_EXIT_MEMORY, guest_complete(&self->g, 0));
		EXPECT_EQ((__u64)HERE, self->page->exit.memory.gpa);
		EXPECT_EQ(0U, self->page->exit.memory.flags);
		/* Elsewhere. */
		ASSERT_EQ(0, raw_set_slot(self->g.vm, 1, HERE + PAGE, PAGE,
					  self->fds[0], 0, PROT_R));
		ASSERT_EQ(WISP_EXIT_MEMORY, guest_run(&self->g));
		/* Back, from another place in the object. */
		ASSERT_EQ(0, raw_set_slot(self->g.vm, 1, HERE, PAGE,
					  self->fds[0], PAGE, PROT_R));
		ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
		EXPECT_EQ(0UL, self->page->state.general.rax);
	}
}

/* Writes, exits, writes again. */
SNIPPET(write_twice, 64, "1: incq (%rdi); hlt; jmp 1b");

TEST_F(slots, protection_taken_and_given)
{
	GUEST_LOAD(&self->g, LONG64, write_twice);
	self->page->state.general.rdi = HERE;
	for (int i = 0; i < 10; i++) {
		ASSERT_EQ(0, map(self, 0, PROT_RW));
		ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
		EXPECT_EQ(101UL + i, self->objects[0][0]);
		ASSERT_EQ(0, map(self, 0, PROT_R));
		ASSERT_EQ(WISP_EXIT_MEMORY, guest_complete(&self->g, 0));
		EXPECT_EQ((__u32)WISP_PROT_WRITE, self->page->exit.memory.access);
		EXPECT_EQ((__u32)WISP_MEMORY_SLOT,
			  self->page->exit.memory.flags);
		EXPECT_EQ(101UL + i, self->objects[0][0]);
	}
}

SNIPPET(jump, 64, "1: call *%rdi; hlt; jmp 1b");

TEST_F(slots, execution_taken)
{
	GUEST_LOAD(&self->g, LONG64, jump);
	self->page->state.general.rdi = HERE;
	self->objects[0][0] = 0xc3;	/* ret */
	for (int i = 0; i < 5; i++) {
		ASSERT_EQ(0, map(self, 0, PROT_RX));
		ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
		ASSERT_EQ(0, map(self, 0, PROT_RW));
		ASSERT_EQ(WISP_EXIT_MEMORY, guest_complete(&self->g, 0));
		EXPECT_EQ((__u32)WISP_PROT_EXEC, self->page->exit.memory.access);
	}
}

/* ---- under a guest that runs ------------------------------------------------------- */

/* For ever: shows in OUTPUT what is at RDI, and counts in OUTPUT + 8. */
SNIPPET(watch, 64,
	"1: mov (%rdi), %rax; mov %rax, " STR(OUTPUT) "\n"
	"incq " STR(OUTPUT) "+8; jmp 1b");

/* Waits for the guest to show @value. False if its run ended before. */
static bool shows(FIXTURE_DATA(slots) * self, __u64 value)
{
	while (__atomic_load_n(self->output, __ATOMIC_RELAXED) != value)
		if (__atomic_load_n(&self->page->exit.reason,
				    __ATOMIC_RELAXED))
			return false;
	return true;
}

TEST_F(slots, replaced_under_a_running_guest)
{
	struct guest_thread t;

	GUEST_LOAD(&self->g, LONG64, watch);
	self->page->state.general.rdi = HERE;
	self->page->exit.reason = 0;
	ASSERT_EQ(0, map(self, 0, PROT_R));
	guest_thread_start(&t, &self->g, 0);
	for (int i = 0; i < 200; i++) {
		ASSERT_TRUE(shows(self, 100 + (i & 1)))
			TH_LOG("round %d: %s", i,
			       guest_exit_name(self->page->exit.reason));
		ASSERT_EQ(0, map(self, ~i & 1, PROT_R));
	}
	ASSERT_EQ(0, raw_kick(self->g.vm, 0));
	EXPECT_EQ(WISP_EXIT_KICKED, guest_thread_join(&t));
}

/* For ever: counts at RDI. */
SNIPPET(writer, 64, "1: incq (%rdi); jmp 1b");

/*
 * When SET_SLOT returns, no vCPU writes to the old object any more. The run
 * ends where the write found nothing.
 */
TEST_F(slots, removed_under_a_running_guest)
{
	struct guest_thread t;
	__u64 *counter = self->objects[0];

	for (int i = 0; i < 30; i++) {
		__u64 last;

		GUEST_LOAD(&self->g, LONG64, writer);
		self->page->state.general.rdi = HERE;
		ASSERT_EQ(0, map(self, 0, PROT_RW));
		last = __atomic_load_n(counter, __ATOMIC_RELAXED);
		guest_thread_start(&t, &self->g, 0);
		while (__atomic_load_n(counter, __ATOMIC_RELAXED) == last)
			;
		ASSERT_EQ(0, raw_remove_slot(self->g.vm, 1));
		/* Whoever writes now writes over this. */
		last = __atomic_load_n(counter, __ATOMIC_SEQ_CST);
		ASSERT_EQ(WISP_EXIT_MEMORY, guest_thread_join(&t));
		EXPECT_EQ((__u64)HERE, self->page->exit.memory.gpa);
		EXPECT_EQ(last, __atomic_load_n(counter, __ATOMIC_SEQ_CST));
	}
}

TEST_F(slots, write_protected_under_a_running_guest)
{
	struct guest_thread t;
	__u64 *counter = self->objects[0];

	for (int i = 0; i < 30; i++) {
		__u64 last;

		GUEST_LOAD(&self->g, LONG64, writer);
		self->page->state.general.rdi = HERE;
		ASSERT_EQ(0, map(self, 0, PROT_RW));
		last = __atomic_load_n(counter, __ATOMIC_RELAXED);
		guest_thread_start(&t, &self->g, 0);
		while (__atomic_load_n(counter, __ATOMIC_RELAXED) == last)
			;
		ASSERT_EQ(0, map(self, 0, PROT_R));
		last = __atomic_load_n(counter, __ATOMIC_SEQ_CST);
		ASSERT_EQ(WISP_EXIT_MEMORY, guest_thread_join(&t));
		EXPECT_EQ((__u32)WISP_MEMORY_SLOT,
			  self->page->exit.memory.flags);
		EXPECT_EQ(last, __atomic_load_n(counter, __ATOMIC_SEQ_CST));
	}
}

/* The pages of a removed slot may be somebody else's a moment later. */
TEST_F(slots, old_memory_is_freed_and_used_again)
{
	struct guest_thread t;

	for (int i = 0; i < 20; i++) {
		int old = raw_create_memory(self->g.sys, 64 * PAGE);
		int new = raw_create_memory(self->g.sys, 64 * PAGE);
		__u64 words[64];
		char *fresh;

		ASSERT_LE(0, old);
		ASSERT_LE(0, new);
		ASSERT_EQ(0, raw_set_slot(self->g.vm, 2, HERE, 64 * PAGE, old,
					  0, PROT_RW));
		close(old);
		self->output[0] = 0;
		GUEST_LOAD(&self->g, LONG64, writer);
		self->page->state.general.rdi = HERE;
		guest_thread_start(&t, &self->g, 0);
		while (pread(self->g.vm, words, 8, HERE) != 8 || !words[0])
			;
		/* The last reference to the object goes with the slot. */
		ASSERT_EQ(0, raw_remove_slot(self->g.vm, 2));
		fresh = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE,
			     MAP_SHARED, new, 0);
		ASSERT_NE(MAP_FAILED, fresh);
		for (int page = 0; page < 64; page++)
			ASSERT_EQ(0, fresh[page * PAGE]);
		ASSERT_EQ(WISP_EXIT_MEMORY, guest_thread_join(&t));
		for (int page = 0; page < 64; page++)
			ASSERT_EQ(0UL, *(__u64 *)(fresh + page * PAGE));
		munmap(fresh, 64 * PAGE);
		close(new);
	}
}

/* ---- one CPU, many address spaces ------------------------------------------------------ */

/* Two VMs take turns; the same addresses lead to different memory. */
TEST_F(slots, two_vms_on_one_cpu)
{
	struct guest other;

	ASSERT_EQ(0, guest_pin(0));
	ASSERT_EQ(0, guest_create(&other));
	ASSERT_EQ(0, map(self, 0, PROT_R));
	ASSERT_EQ(0, raw_set_slot(other.vm, 1, HERE, PAGE, self->fds[1], 0,
				  PROT_R));
	load_look(self);
	GUEST_LOAD(&other, LONG64, look);
	other.page->state.general.rdi = HERE;
	for (int i = 0; i < 100; i++) {
		self->page->complete = i > 0;
		other.page->complete = i > 0;
		ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
		ASSERT_EQ(WISP_EXIT_HLT, guest_run(&other));
		ASSERT_EQ(100UL, self->page->state.general.rax);
		ASSERT_EQ(101UL, other.page->state.general.rax);
	}
	guest_destroy(&other);
}

/* Two vCPUs of one VM, with page tables of their own. */
TEST_F(slots, two_vcpus_on_one_cpu)
{
	struct guest *g = &self->g;
	__u64 *pml4 = guest_at(g, 0x60000), *pdpt = guest_at(g, 0x61000);
	__u64 *pd = guest_at(g, 0x62000);

	ASSERT_EQ(0, guest_pin(0));
	ASSERT_EQ(0, guest_add_vcpu(g, 1));
	/* vCPU 1 has the second object's place where vCPU 0 has the first's. */
	ASSERT_EQ(0, map(self, 0, PROT_R));
	ASSERT_EQ(0, raw_set_slot(g->vm, 2, HERE + 0x200000, PAGE,
				  self->fds[1], 0, PROT_R));
	memcpy(pml4, guest_at(g, GUEST_PML4), PAGE);
	memcpy(pdpt, guest_at(g, GUEST_PDPT), PAGE);
	memcpy(pd, guest_at(g, GUEST_PD), PAGE);
	pml4[0] = 0x61000 | 7;
	pdpt[0] = 0x62000 | 7;
	pd[HERE >> 21] += 0x200000;

	for (int vcpu = 0; vcpu < 2; vcpu++) {
		guest_load_at(g, vcpu, LONG64, GUEST_CODE, look, look_end);
		g->pages[vcpu]->state.general.rdi = HERE;
	}
	g->pages[1]->state.control.cr3 = 0x60000;
	for (int i = 0; i < 100; i++) {
		for (int vcpu = 0; vcpu < 2; vcpu++) {
			g->pages[vcpu]->complete = i > 0;
			ASSERT_EQ(WISP_EXIT_HLT, guest_run_vcpu(g, vcpu));
			ASSERT_EQ(100UL + vcpu,
				  g->pages[vcpu]->state.general.rax);
		}
	}
}

/* The VMM changes CR3, or what it leads to, between two runs. */
TEST_F(slots, guest_tables_changed_by_the_vmm)
{
	struct guest *g = &self->g;
	__u64 *pte = guest_pte(g, 0x50000);

	*(__u64 *)guest_at(g, 0x50000) = 5;
	*(__u64 *)guest_at(g, 0x51000) = 6;
	GUEST_LOAD(g, LONG64, look);
	self->page->state.general.rdi = 0x50000;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(g));
	EXPECT_EQ(5UL, self->page->state.general.rax);
	*pte = 0x51000 | 7;
	/* Loading CR3 is what flushes, here as in hardware. */
	self->page->dirty = WISP_STATE_CONTROL;
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(g, 0));
	EXPECT_EQ(6UL, self->page->state.general.rax);
}

/* A CPU that comes back to a VM whose slots changed while it ran another. */
TEST_F(slots, replaced_while_another_vm_ran)
{
	struct guest other;

	ASSERT_EQ(0, guest_pin(0));
	ASSERT_EQ(0, guest_create(&other));
	load_look(self);
	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(0, map(self, i & 1, PROT_R));
		self->page->complete = i > 0;
		ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
		EXPECT_EQ(100UL + (i & 1), self->page->state.general.rax);
		GUEST_LOAD(&other, LONG64, look);
		other.page->state.general.rdi = 0x1000;
		ASSERT_EQ(WISP_EXIT_HLT, guest_run(&other));
	}
	guest_destroy(&other);
}

TEST_HARNESS_MAIN
