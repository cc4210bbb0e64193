// SPDX-License-Identifier: GPL-2.0
/*
 * Each flush of translations, and each revocation of some, left out in turn: the
 * ledger of a debug build (module/ledger.h) notices. And it says nothing where
 * nothing is left out.
 */
#include <sched.h>
#include <stdlib.h>

#include "../harness.h"
#include "../guest/guest.h"
#include "ledger.h"

#define HUGE		0x200000
#define UPPER		HUGE		/* guest memory behind another table */
#define SLOT1		0x1000000

/* Writes AL to (RDI) if RBX is not 0, and reads it. */
SNIPPET(touch, 64,
	"1:	test %rbx, %rbx\n"
	"	jz 2f\n"
	"	mov %al, (%rdi)\n"
	"2:	mov (%rdi), %al\n"
	"	hlt\n"
	"	jmp 1b");

/* One tag of one CPU has all translations. */
static bool stay_here(void)
{
	return !guest_pin(0);
}

/* No register is set that would have the translations flushed. */
static bool touched(struct guest *g, __u64 gva, bool write)
{
	g->page->state.general.rdi = gva;
	g->page->state.general.rbx = write;
	g->page->dirty = WISP_STATE_GENERAL;
	return guest_complete(g, 0) == WISP_EXIT_HLT;
}

static bool started(struct guest *g)
{
	GUEST_LOAD(g, LONG64, touch);
	g->page->state.general.rdi = GUEST_DATA;
	return guest_run(g) == WISP_EXIT_HLT && touched(g, GUEST_DATA, true);
}

/* ---- what flushes -------------------------------------------------------- */

/*
 * The hardware is off with the last VM, or, where it always is between two runs,
 * from the loading of the module to the first: so this test comes first.
 */
TEST(first_entry)
{
	struct guest g;

	ASSERT_TRUE(stay_here());
	ASSERT_EQ(0, guest_create(&g));
	ASSERT_TRUE(leave_out(FLUSH_ENABLE, NO_REVOKE));
	EXPECT_TRUE(started(&g));
	EXPECT_EQ(OTHER_VCPU, objections() & OTHER_VCPU);
	ASSERT_TRUE(leave_out(NO_FLUSH, NO_REVOKE));
	guest_destroy(&g);
}

static bool use_other_vcpu(struct guest *g)
{
	guest_load_at(g, 1, LONG64, GUEST_CODE, touch, touch_end);
	g->pages[1]->state.general.rdi = GUEST_DATA;
	return guest_run_vcpu(g, 1) == WISP_EXIT_HLT;
}

/* The guest may have flushed what it has changed, there only. */
static bool go_and_come_back(struct guest *g)
{
	return !guest_pin(1) && touched(g, GUEST_DATA, false) && stay_here() &&
	       touched(g, GUEST_DATA, false);
}

static bool set_control(struct guest *g)
{
	g->page->dirty = WISP_STATE_CONTROL;
	return guest_complete(g, 0) == WISP_EXIT_HLT;
}

/* ---- what revokes -------------------------------------------------------- */

static bool read_data(struct guest *g)
{
	return touched(g, GUEST_DATA, false);
}

static bool protect(struct guest *g)
{
	struct wisp_protect_range range = {
		.gpa = GUEST_DATA, .range_size = PAGE, .prot = PROT_R,
	};

	return !raw_protect(g->vm, &range, 1) && read_data(g);
}

static bool discard_at(struct guest *g, __u64 offset)
{
	struct wisp_discard arg = {
		.size = sizeof(arg), .offset = offset, .discard_size = PAGE,
	};

	return !raw(g->fd, WISP_DISCARD, &arg) && read_data(g);
}

static bool discard(struct guest *g)
{
	return discard_at(g, GUEST_DATA);
}

static bool add_slot_of(struct guest *g, __u64 size)
{
	return !raw_set_slot(g->vm, 1, SLOT1, size, g->fd, HUGE, PROT_RW) &&
	       touched(g, SLOT1, false) && read_data(g);
}

static bool add_slot(struct guest *g)
{
	return add_slot_of(g, PAGE);
}

/* A table that leads to nothing but the slot, nor to any page of it. */
static bool add_slot_without_pages(struct guest *g)
{
	return add_slot_of(g, HUGE) && discard_at(g, HUGE);
}

static bool remove_slot(struct guest *g)
{
	return !raw_remove_slot(g->vm, 1) && read_data(g);
}

static bool snapshot(struct guest *g)
{
	int fd = raw_snapshot(g->vm);

	close(fd);
	return fd >= 0 && read_data(g);
}

/* The tables that lead to the page are the VM's own again, the page is not. */
static bool snapshot_and_own(struct guest *g)
{
	return snapshot(g) && touched(g, GUEST_DATA + PAGE, true) && read_data(g);
}

static bool written_by_guest(struct guest *g)
{
	return touched(g, GUEST_DATA, true);
}

static bool written_by_vmm(struct guest *g)
{
	return pwrite(g->fd, "x", 1, GUEST_DATA) == 1 && read_data(g);
}

/* Below the 2 MiB that all guests use, a table that is shared. */
static bool snapshot_above(struct guest *g)
{
	return touched(g, UPPER, false) && snapshot_and_own(g);
}

static bool map_above(struct guest *g)
{
	return touched(g, UPPER + PAGE, false);
}

static bool reset(struct guest *g)
{
	return !raw_reset(g->vm, -1) && read_data(g);
}

/* Memory that two VMs read, both at SLOT1, and an older snapshot of the first. */
static struct guest reader;
static int shared = -1, older = -1;

static bool show(struct guest *g)
{
	return !raw_set_slot(g->vm, 1, SLOT1, HUGE, shared, 0, PROT_R) &&
	       touched(g, SLOT1, false);
}

static bool show_to_both(struct guest *g)
{
	shared = raw_create_memory(g->sys, HUGE);
	if (!show(g))
		return false;
	older = raw_snapshot(g->vm);
	return older >= 0 && pwrite(shared, "x", 1, 0) == 1 && snapshot(g) &&
	       !guest_create(&reader) && started(&reader) && show(&reader);
}

/* Another's memory is what it was when the snapshot was made. */
static bool reset_below_reader(struct guest *g)
{
	return !raw_reset(g->vm, older) && touched(&reader, SLOT1, false);
}

FIXTURE(leaving_out) {
	struct guest g;
};

FIXTURE_VARIANT(leaving_out) {
	unsigned int flush;
	unsigned int revoke;
	unsigned int noticed;
	bool (*prepare)(struct guest *g);
	bool (*act)(struct guest *g);	/* and runs the guest */
};

#define VARIANT(name, ...)						\
	FIXTURE_VARIANT_ADD(leaving_out, name) { __VA_ARGS__ }

VARIANT(flush_generation, FLUSH_GENERATION, NO_REVOKE, REVOKED, read_data, protect);
VARIANT(flush_vcpu, FLUSH_VCPU, NO_REVOKE, OTHER_VCPU, read_data, use_other_vcpu);
VARIANT(flush_cpu, FLUSH_CPU, NO_REVOKE, OTHER_VCPU, read_data, go_and_come_back);
VARIANT(flush_state, FLUSH_STATE, NO_REVOKE, OLD_REGISTERS, read_data, set_control);
VARIANT(note_state, NOTE_STATE, NO_REVOKE, OLD_REGISTERS, read_data, set_control);
VARIANT(discard, NO_FLUSH, REVOKE_MEMORY, REVOKED, read_data, discard);
VARIANT(copy_for_guest, NO_FLUSH, REVOKE_MEMORY, REVOKED, snapshot_and_own,
	written_by_guest);
VARIANT(copy_for_vmm, NO_FLUSH, REVOKE_MEMORY, REVOKED, snapshot_and_own,
	written_by_vmm);
VARIANT(slot, NO_FLUSH, REVOKE_SLOT, REVOKED, add_slot, remove_slot);
VARIANT(tables_of_slot, NO_FLUSH, REVOKE_SLOT, REVOKED, add_slot_without_pages,
	remove_slot);
VARIANT(protect, NO_FLUSH, REVOKE_PROTECT, REVOKED, read_data, protect);
VARIANT(copy_of_table, NO_FLUSH, REVOKE_TABLE, REVOKED, snapshot_above, map_above);
VARIANT(snapshot, NO_FLUSH, REVOKE_SNAPSHOT, REVOKED, read_data, snapshot);
/* It sets registers, too: that flush is enough, unless it is left out, too. */
VARIANT(reset, FLUSH_STATE, REVOKE_RESET, REVOKED | OLD_REGISTERS, snapshot_and_own,
	reset);
VARIANT(reset_below_reader, NO_FLUSH, REVOKE_MEMORY, REVOKED, show_to_both,
	reset_below_reader);

FIXTURE_SETUP(leaving_out)
{
	ASSERT_TRUE(stay_here());
	ASSERT_EQ(0, guest_create(&self->g));
	ASSERT_EQ(0, guest_add_vcpu(&self->g, 1));
	ASSERT_TRUE(started(&self->g));
	ASSERT_TRUE(variant->prepare(&self->g));
}

FIXTURE_TEARDOWN(leaving_out)
{
	EXPECT_TRUE(leave_out(NO_FLUSH, NO_REVOKE));
	guest_destroy(&self->g);
	if (variant->prepare == show_to_both) {
		guest_destroy(&reader);
		close(shared);
		close(older);
	}
}

TEST_F(leaving_out, nothing)
{
	ASSERT_TRUE(leave_out(NOTHING, NO_REVOKE));
	EXPECT_TRUE(variant->act(&self->g));
	EXPECT_EQ(0, objections());
}

TEST_F(leaving_out, is_noticed)
{
	ASSERT_TRUE(leave_out(variant->flush, variant->revoke));
	EXPECT_TRUE(variant->act(&self->g));
	EXPECT_EQ(variant->noticed, objections() & variant->noticed);
}

TEST_HARNESS_MAIN
