// SPDX-License-Identifier: GPL-2.0
/*
 * What the driver fills in, it fills in whole: no byte of an exit, of a state
 * or of a fresh page is what the kernel's stack or heap had there.
 */
#include <stdlib.h>

#include "../harness.h"
#include "guest.h"

#define DEBRIS	0xa5

SNIPPET(port_in, 64, "in %dx, %eax; hlt");
SNIPPET(port_out, 64, "out %al, $0x80; hlt");
SNIPPET(halt, 64, "hlt");
SNIPPET(msr, 64, "mov $0x1234, %ecx; rdmsr");
SNIPPET(memory, 64, "mov " STR(GUEST_NOWHERE) ", %rax; hlt");
SNIPPET(vmmcall, 64, "vmmcall");
SNIPPET(vmcall, 64, "vmcall");
SNIPPET(loop, 64, "jmp .");
SNIPPET(step, 64, "nop; jmp .");

FIXTURE(zeros) {
	struct guest g;
};

FIXTURE_SETUP(zeros)
{
	static const struct wisp_msr_range all = {
		0, ~0U, WISP_MSR_EXIT, WISP_MSR_EXIT,
	};
	struct wisp_set_msr_policy policy = {
		.size = sizeof(policy), .count = 1, .ranges = (uintptr_t)&all,
	};

	ASSERT_EQ(0, guest_create_vm(&self->g));
	ASSERT_EQ(0, raw(self->g.vm, WISP_SET_MSR_POLICY, &policy));
	ASSERT_EQ(0, guest_add_vcpu(&self->g, 0));
}

FIXTURE_TEARDOWN(zeros)
{
	guest_destroy(&self->g);
}

static bool all_zero(const void *data, size_t size)
{
	const char *bytes = data;

	while (size && !bytes[size - 1])
		size--;
	return !size;
}

/* Behind the last member of the reason's own. */
static size_t used(int reason)
{
	switch (reason) {
	case WISP_EXIT_PORT:
		return sizeof(((struct wisp_exit *)0)->port);
	case WISP_EXIT_MEMORY:
		return sizeof(((struct wisp_exit *)0)->memory);
	case WISP_EXIT_MSR:
		return sizeof(((struct wisp_exit *)0)->msr);
	case WISP_EXIT_DEBUG:
		return sizeof(((struct wisp_exit *)0)->debug);
	default:
		return 0;
	}
}

TEST_F(zeros, exits)
{
#define ROW(name, reason) { #name, name, name##_end, WISP_EXIT_##reason }
	static const struct {
		const char *what;
		const char *code;
		const char *end;
		int reason;
	} rows[] = {
		ROW(port_in, PORT), ROW(port_out, PORT), ROW(halt, HLT),
		ROW(msr, MSR), ROW(memory, MEMORY),
		ROW(vmmcall, HYPERCALL), ROW(vmcall, HYPERCALL),
		ROW(step, DEBUG), ROW(loop, BUDGET), ROW(halt, KICKED),
	};
#undef ROW
	struct guest *g = &self->g;
	const struct wisp_exit *exit = &g->page->exit;
	/* That of the other vendor is no hypercall. */
	const char *not_here = g->query.backend == WISP_BACKEND_SVM ? vmcall :
								      vmmcall;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int reason = rows[i].reason;
		size_t size = used(reason);
		int ret;

		if (rows[i].code == not_here)
			continue;

		guest_load(g, LONG64, rows[i].code, rows[i].end);
		g->page->flags = reason == WISP_EXIT_DEBUG ?
					 WISP_RUN_STEP : 0;
		g->page->budget_ns = reason == WISP_EXIT_BUDGET ?
					     1000000 : GUEST_BUDGET_NS;
		ret = reason == WISP_EXIT_KICKED ? raw_kick(g->vm, 0) : 0;
		ASSERT_EQ(0, ret);
		memset(&g->page->exit, DEBRIS, sizeof(*exit));
		ASSERT_EQ(reason, guest_run(g))
			TH_LOG("%s", rows[i].what);
		EXPECT_TRUE(all_zero(exit->reserved, sizeof(exit->reserved)))
			TH_LOG("%s: reserved", rows[i].what);
		EXPECT_TRUE(all_zero((char *)exit->raw + size,
				     sizeof(exit->raw) - size))
			TH_LOG("%s: behind its %zu bytes", rows[i].what, size);
		if (reason == WISP_EXIT_PORT) {
			EXPECT_EQ(0, exit->port.reserved);
		} else if (reason == WISP_EXIT_DEBUG) {
			EXPECT_EQ(0U, exit->debug.reserved);
		} else if (reason == WISP_EXIT_MEMORY) {
			EXPECT_TRUE(all_zero(exit->memory.inst_bytes +
					     exit->memory.inst_bytes_len,
					     15 - exit->memory.inst_bytes_len));
		}
	}
}

/* Written over two kinds of debris it is twice the same, reserved or not. */
TEST_F(zeros, state)
{
	struct guest *g = &self->g;
	struct wisp_state *states = calloc(2, sizeof(*states));
	const __u32 groups = STATE_ALL & ~WISP_STATE_MSRS;

	GUEST_LOAD(g, LONG64, halt);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(g));
	memset(&states[1], DEBRIS, sizeof(*states));
	ASSERT_EQ(0, raw_get_state(g->vm, 0, groups, &states[0]));
	ASSERT_EQ(0, raw_get_state(g->vm, 0, groups, &states[1]));
	/* The TSC is a newer one in the second. */
	ASSERT_EQ(0, raw_get_state(g->vm, 0, WISP_STATE_MSRS, &states[1]));
	states[0].msrs = states[1].msrs;
	/* Of no group, and so not written. */
	memset(states[1].reserved, 0, sizeof(states[1].reserved));
	for (size_t i = 0; i < sizeof(*states); i++) {
		ASSERT_EQ(((char *)&states[0])[i], ((char *)&states[1])[i])
			TH_LOG("byte %#zx", i);
	}
	EXPECT_TRUE(all_zero(states[1].msrs.reserved,
			     sizeof(states[1].msrs.reserved)));
	EXPECT_EQ(0UL, states[1].control.reserved);
	EXPECT_EQ(0, states[1].segments.gdt.attributes |
		     states[1].segments.gdt.selector |
		     states[1].segments.idt.attributes |
		     states[1].segments.idt.selector);
	free(states);
}

TEST_F(zeros, fresh_page)
{
	const struct wisp_vcpu_page *page;
	struct guest *g = &self->g;

	ASSERT_EQ(0, raw_create_vcpu(g->vm, 1, &g->pages[1]));
	page = g->pages[1];
	EXPECT_EQ(sizeof(*page), page->size);
	EXPECT_TRUE(all_zero((char *)page + sizeof(page->size),
			     PAGE - sizeof(page->size)));
}

TEST_F(zeros, query_and_stats)
{
	struct wisp_cpuid_entry *entries;
	struct guest *g = &self->g;
	struct wisp_query query = g->query;
	struct wisp_stats stats = { .size = sizeof(stats) };

	entries = malloc(query.cpuid_count * sizeof(*entries));
	memset(entries, DEBRIS, query.cpuid_count * sizeof(*entries));
	query.cpuid = (uintptr_t)entries;
	ASSERT_EQ(0, raw(g->sys, WISP_QUERY, &query));
	EXPECT_EQ(0U, query.reserved);
	for (__u32 i = 0; i < query.cpuid_count; i++) {
		EXPECT_EQ(0U, entries[i].reserved);
		EXPECT_EQ(0U, entries[i].flags & ~WISP_CPUID_SUBLEAF);
		/* The entry answers for any subleaf. */
		EXPECT_TRUE(entries[i].flags || !entries[i].subleaf);
	}
	free(entries);
	ASSERT_EQ(0, raw(g->vm, WISP_STATS, &stats));
	EXPECT_TRUE(all_zero(stats.exits, sizeof(stats.exits)));
}

TEST_HARNESS_MAIN
