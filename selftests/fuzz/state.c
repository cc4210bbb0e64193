// SPDX-License-Identifier: GPL-2.0
/*
 * Hostile state: a state that could run, with some of it changed, goes in by
 * the shared page or by SET_STATE. It is refused, with the member named and
 * nothing changed, or it runs; then the hardware refuses nothing. Now and then
 * a state without faults shows that the vCPU has not suffered.
 */
#include <stddef.h>
#include <wisp.h>

#include "fuzz.h"
#include "machine.h"

#define BUDGET_NS	1000000
#define MAX_CHANGES	4
#define MAX_RUNS	3

/* Means the same in each mode. */
static const char code[] =
	"\x50\x58"		/* push, pop */
	"\x0f\xa2"		/* cpuid */
	"\xe6\x80"		/* out */
	"\xcc"			/* int3 */
	"\xf4";			/* hlt */

SNIPPET(sound, 64, "cpuid; hlt");

static struct guest guest;
static struct wisp_state before, state;
static bool tcg;

static void change_word(struct fuzz *f, void *word)
{
	__u64 value = random_hostile(&f->random), old;

	memcpy(&old, word, sizeof(old));
	switch (fuzz_below(f, 4)) {
	case 0:
		break;
	case 1:
		value = (old & ~0xffffffffULL) | (__u32)value;
		break;
	case 2:
		value = (old & ~(0xffffULL << 48)) | value << 48;
		break;
	default:
		value = old ^ 1ULL << fuzz_below(f, 64);
		break;
	}
	memcpy(word, &value, sizeof(value));
}

/* Each group as often as the next, whatever its size. */
static void *random_word(struct fuzz *f, struct wisp_state *s)
{
	static const struct {
		size_t offset, size;
	} groups[] = {
		{ offsetof(struct wisp_state, general), sizeof(s->general) },
		{ offsetof(struct wisp_state, segments), sizeof(s->segments) },
		{ offsetof(struct wisp_state, control), sizeof(s->control) },
		{ offsetof(struct wisp_state, debug), sizeof(s->debug) },
		{ offsetof(struct wisp_state, msrs), sizeof(s->msrs) },
		{ offsetof(struct wisp_state, events), sizeof(s->events) },
		{ offsetof(struct wisp_state, xsave), 832 },
	};
	__u64 i = fuzz_below(f, sizeof(groups) / sizeof(*groups));

	return (char *)s + groups[i].offset + fuzz_below(f, groups[i].size / 8) * 8;
}

/* What QEMU's TCG cannot do: see Documentation/testing.rst. */
static void spare_tcg(struct wisp_state *s)
{
	struct wisp_segments *segments = &s->segments;

	/* It leaves data breakpoints behind. */
	s->debug.dr7 &= ~0xffULL;
	/* It ends itself on the way to an inner ring outside of long mode. */
	if (s->control.cr0 & CR0_PE && !(s->control.efer & EFER_LMA) &&
	    (s->general.rflags & 1 << 17 || segments->ss.attributes & SEG_DPL3)) {
		segments->gdt.limit = 0;
		segments->idt.limit = 0;
	}
}

static void make_state(struct fuzz *f)
{
	struct wisp_vcpu_page *page = guest.page;
	__u32 field;
	int ret;

	guest_load(&guest, fuzz_below(f, 4), code, code + sizeof(code) - 1);
	/* What is not set below is as it is here, whatever ran before. */
	ret = raw_set_state(guest.vm, 0, STATE_ALL, &page->state, &field);
	if (ret)
		fuzz_wrong(f, "the first state: errno %d, %s", -ret,
			   wisp_field_name(field));
	for (int i = fuzz_below(f, MAX_CHANGES + 1); i >= 0; i--)
		change_word(f, random_word(f, &page->state));
	if (tcg)
		spare_tcg(&page->state);
}

static void make_request(struct fuzz *f)
{
	struct wisp_vcpu_page *page = guest.page;

	page->budget_ns = BUDGET_NS;
	page->flags = random_next(&f->random) & 0xf;
	page->breakpoints.address[0] = GUEST_CODE + 2;
	page->breakpoints.dr7 = 1;
	if (fuzz_once_in(f, 4)) {
		__u64 event = random_next(&f->random) & 0x1fff0103001f03ULL;

		memcpy(&page->inject, &event, sizeof(event));
	}
	if (fuzz_once_in(f, 4))
		change_word(f, (char *)page +
			    fuzz_below(f, WISP_FIELD(exit) / 8) * 8);
	if (tcg)
		page->breakpoints.dr7 &= ~0xff00fcULL;
	/* Without end otherwise, where a change hit it. */
	if (!page->budget_ns || page->budget_ns > BUDGET_NS)
		page->budget_ns = BUDGET_NS;
}

/* A call that fails says why, and with what it could not do. */
static bool was_refused(struct fuzz *f, const char *call, int ret, __u32 field)
{
	if (ret >= 0) {
		if (field && guest.page->exit.reason != WISP_EXIT_ENTRY_FAILED)
			fuzz_wrong(f, "%s works, but field is %u", call, field);
		return false;
	}
	fuzz_saw(f, "%s: errno %d, %s", call, -ret, wisp_field_name(field));
	if (ret != -EINVAL && ret != -EOPNOTSUPP && ret != -EBUSY)
		fuzz_wrong(f, "%s: errno %d", call, -ret);
	if (!field || field >= sizeof(struct wisp_vcpu_page))
		fuzz_wrong(f, "%s: errno %d, field %u", call, -ret, field);
	return true;
}

static void get_state(struct fuzz *f, struct wisp_state *s)
{
	int ret = raw_get_state(guest.vm, 0, STATE_ALL, s);

	s->msrs.tsc = 0;
	if (ret)
		fuzz_wrong(f, "get: errno %d", -ret);
}

static void set_by_call(struct fuzz *f)
{
	__u32 groups = random_next(&f->random) & STATE_ALL, field;
	int ret;

	get_state(f, &before);
	ret = raw_set_state(guest.vm, 0, groups, &guest.page->state, &field);
	get_state(f, &state);
	if (was_refused(f, "set", ret, field)) {
		if (memcmp(&before, &state, sizeof(state)))
			fuzz_wrong(f, "set was refused, and the state is another");
		return;
	}
	if (groups & WISP_STATE_GENERAL &&
	    memcmp(&state.general, &guest.page->state.general,
		   sizeof(state.general)))
		fuzz_wrong(f, "set works, but registers are not as set");
	f->entered = true;
}

static void run_guest(struct fuzz *f)
{
	struct wisp_vcpu_page *page = guest.page;

	for (int i = 0; i < MAX_RUNS; i++) {
		int reason = guest_run(&guest);

		if (was_refused(f, "run", reason, page->field))
			return;
		f->entered = true;
		fuzz_saw(f, "exit %s", guest_exit_name(reason));
		if (reason == WISP_EXIT_ENTRY_FAILED ||
		    reason == WISP_EXIT_UNEXPECTED || reason == WISP_EXIT_NONE)
			fuzz_wrong(f, "%s, code %#llx %#llx %#llx, %s",
				   guest_exit_name(reason), page->exit.hw.code,
				   page->exit.hw.info1, page->exit.hw.info2,
				   wisp_field_name(page->field));
		if (reason != WISP_EXIT_DEBUG && reason != WISP_EXIT_PORT)
			return;
		page->complete = reason == WISP_EXIT_PORT &&
				 !(page->exit.port.flags & WISP_PORT_STRING);
	}
}

static void check_sound(struct fuzz *f)
{
	int reason;

	machine_reset(&guest);
	GUEST_LOAD(&guest, LONG64, sound);
	guest.page->budget_ns = GUEST_BUDGET_NS;
	reason = guest_run(&guest);
	if (reason != WISP_EXIT_HLT)
		fuzz_wrong(f, "a sound state: %s, %s", guest_exit_name(reason),
			   wisp_field_name(guest.page->field));
}

static void execute(struct fuzz *f)
{
	machine_reset(&guest);
	make_state(f);
	if (fuzz_once_in(f, 2)) {
		set_by_call(f);
		guest.page->dirty = 0;
	}
	make_request(f);
	run_guest(f);
	if (fuzz_once_in(f, 8))
		check_sound(f);
}

static int setup(struct fuzz *f)
{
	(void)f;
	tcg = guest_on_tcg();
	return machine_create(&guest);
}

int main(int argc, char **argv)
{
	struct fuzz f = {
		.count = 4000,
		.least_entries = 2000,
		.least_kinds = 60,
		.setup = setup,
		.execute = execute,
	};

	return fuzz_main(&f, argc, argv);
}
