// SPDX-License-Identifier: GPL-2.0
/*
 * A reset that leaves something out is noticed by the audit: what, the parameter
 * reset_without of debug builds says.
 */
#include "../harness.h"
#include "../guest/hostile.h"
#include "parameter.h"

/* Of module/snapshot.c; the others are WISP_STATE_*. */
#define MEMORY		256
#define COMPLETION	512
#define LAYOUT		1024

#define FIELDS(member)							\
	WISP_FIELD(member),						\
	WISP_FIELD(member) + sizeof(((struct wisp_vcpu_page *)0)->member)

FIXTURE(mutation) {
	struct guest g;
};

FIXTURE_VARIANT(mutation) {
	bool (*act)(struct guest *g);	/* changes what is left out */
	unsigned int without;
	__u32 what;
	__u32 first, end;		/* the field is one of these */
};

static bool run_hostile(struct guest *g)
{
	__u64 seed = 1;

	return hostile_run(g, seed) == WISP_EXIT_PORT && !hostile_events(g, &seed);
}

static bool set_tsc(struct guest *g)
{
	struct wisp_state *state = &g->page->state;

	if (raw_get_state(g->vm, 0, WISP_STATE_MSRS, state))
		return false;
	state->msrs.tsc += 1ULL << 50;
	return !raw_set_state(g->vm, 0, WISP_STATE_MSRS, state, NULL);
}

static bool protect(struct guest *g)
{
	struct wisp_protect_range range = {
		.gpa = GUEST_DATA, .range_size = PAGE, .prot = PROT_R,
	};

	return !raw_protect(g->vm, &range, 1);
}

static bool add_slot(struct guest *g)
{
	return !raw_set_slot(g->vm, 1, 2 * GUEST_SIZE, PAGE, g->fd, 0, PROT_RW);
}

static bool shrink_slot(struct guest *g)
{
	return !raw_set_slot(g->vm, 0, 0, GUEST_SIZE / 2, g->fd, 0, PROT_RWX);
}

#define VARIANT(name, ...)						\
	FIXTURE_VARIANT_ADD(mutation, name) { __VA_ARGS__ }
#define GROUP(name, group, member)					\
	VARIANT(name, run_hostile, group, WISP_AUDIT_STATE, FIELDS(member))

GROUP(general, WISP_STATE_GENERAL, state.general);
GROUP(segments, WISP_STATE_SEGMENTS, state.segments);
GROUP(control, WISP_STATE_CONTROL, state.control);
GROUP(debug, WISP_STATE_DEBUG, state.debug);
GROUP(msrs, WISP_STATE_MSRS, state.msrs);
GROUP(events, WISP_STATE_EVENTS, state.events);
GROUP(fpu, WISP_STATE_FPU, state.xsave);
GROUP(completion, COMPLETION, complete);
VARIANT(tsc, set_tsc, WISP_STATE_MSRS, WISP_AUDIT_STATE, FIELDS(state.msrs.tsc));
VARIANT(memory, run_hostile, MEMORY, WISP_AUDIT_MEMORY, 0, 1);
VARIANT(protection, protect, LAYOUT, WISP_AUDIT_LAYOUT, 0, 1);
VARIANT(new_slot, add_slot, LAYOUT, WISP_AUDIT_LAYOUT, 0, 1);
VARIANT(old_slot, shrink_slot, LAYOUT, WISP_AUDIT_LAYOUT, 0, 1);

static int leave_out(unsigned int what)
{
	return parameter_set("reset_without", what);
}

FIXTURE_SETUP(mutation)
{
	ASSERT_EQ(0, leave_out(0));
	ASSERT_EQ(0, guest_create(&self->g));
	/* These are enough. */
	((struct hostile_msr *)guest_at(&self->g, HOSTILE_MSRS))[0] =
		(struct hostile_msr){ .index = 0xc0000082, .bit = 3 };
	((struct hostile_msr *)guest_at(&self->g, HOSTILE_MSRS))[1].index = ~0U;
	ASSERT_EQ(WISP_EXIT_HLT, hostile_stand(&self->g));
}

FIXTURE_TEARDOWN(mutation)
{
	EXPECT_EQ(0, leave_out(0));
	guest_destroy(&self->g);
}

TEST_F(mutation, is_noticed)
{
	struct wisp_audit audit;
	int s = raw_snapshot(self->g.vm);

	ASSERT_LE(0, s);
	ASSERT_TRUE(variant->act(&self->g));
	ASSERT_EQ(0, leave_out(variant->without));
	ASSERT_EQ(0, raw_audit(self->g.vm, s, &audit));
	EXPECT_EQ(variant->what, audit.what);
	EXPECT_LE(variant->first, audit.field);
	EXPECT_GT(variant->end, audit.field);
	close(s);
}

/* All of it is back if nothing is left out. */
TEST_F(mutation, nothing)
{
	struct wisp_audit audit;
	int s = raw_snapshot(self->g.vm);

	ASSERT_LE(0, s);
	ASSERT_TRUE(variant->act(&self->g));
	ASSERT_EQ(0, raw_audit(self->g.vm, s, &audit));
	EXPECT_EQ(WISP_AUDIT_SAME, audit.what);
	close(s);
}

TEST_HARNESS_MAIN
