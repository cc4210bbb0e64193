// SPDX-License-Identifier: GPL-2.0
/*
 * What the driver allocates is charged to memory cgroups: there it can be counted,
 * and there it ends without anybody being killed.
 */
#include <sched.h>
#include <sys/stat.h>

#include "kselftest_harness.h"
#include "life.h"

#define ROOT	"/sys/fs/cgroup"
#define GROUP	ROOT "/wisp-test"

#define CHAIN	1000
/* Less than a table for each, and more than what a CPU has charged in advance. */
#define GROWTH	(1 << 20)

/* Writes to (RDI) and (RSI). */
SNIPPET(write_two, 64,
	"1:	mov %rdi, (%rdi)\n"
	"	incq 8(%rsi)\n"
	"	hlt\n"
	"	jmp 1b");

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) > 0;

	close(fd);
	return ok;
}

static bool write_number(const char *path, long number)
{
	char text[24];

	snprintf(text, sizeof(text), "%ld", number);
	return write_text(path, text);
}

/* What follows @name in the file, or its first number. */
static long read_number(const char *path, const char *name)
{
	FILE *f = fopen(path, "r");
	char line[80];
	long found = -1;

	while (f && found < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)))
			found = atol(line + strlen(name));
	if (f)
		fclose(f);
	return found;
}

static long used(void)
{
	return read_number(GROUP "/memory.current", "");
}

FIXTURE(cgroup) {
	struct guest g;
};

/* What is charged in advance is so for one CPU. */
FIXTURE_SETUP(cgroup)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(set), &set));
	ASSERT_TRUE(write_text(ROOT "/cgroup.subtree_control", "+memory"));
	ASSERT_EQ(0, mkdir(GROUP, 0700));
	ASSERT_TRUE(write_number(GROUP "/cgroup.procs", getpid()));
	ASSERT_EQ(0, guest_create(&self->g));
	GUEST_LOAD(&self->g, LONG64, write_two);
	self->g.page->state.general.rdi = GUEST_DATA;
	self->g.page->state.general.rsi = GUEST_DATA;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
}

FIXTURE_TEARDOWN(cgroup)
{
	guest_destroy(&self->g);
	EXPECT_TRUE(write_number(ROOT "/cgroup.procs", getpid()));
	EXPECT_EQ(0, rmdir(GROUP));
}

/*
 * Each snapshot is closed once the next is taken, as by who snapshots after each
 * step: what only the former ones had is nobody's. Each time other pages.
 */
static void chain(struct __test_metadata *_metadata, struct guest *g, int n,
		  int *last)
{
	__u64 seed = n;
	int s;

	for (int i = 0; i < n; i++) {
		s = raw_snapshot(g->vm);
		ASSERT_LE(0, s);
		if (*last >= 0)
			close(*last);
		*last = s;
		seed = seed * 6364136223846793005ULL + 1;
		g->page->state.general.rdi =
			GUEST_DATA + (seed >> 33) % (GUEST_SIZE - GUEST_DATA) / PAGE * PAGE;
		g->page->state.general.rsi = GUEST_DATA;
		g->page->dirty = WISP_STATE_GENERAL;
		ASSERT_EQ(WISP_EXIT_HLT, guest_complete(g, 0));
	}
}

TEST_F_TIMEOUT(cgroup, chained_snapshots_do_not_grow, 120)
{
	struct guest *g = &self->g;
	__u64 *count = guest_at(g, GUEST_DATA + 8);
	int last = -1;
	long before;

	/* Each page and table is the VM's own once. */
	chain(_metadata, g, CHAIN, &last);
	before = used();
	ASSERT_LT(0, before);
	chain(_metadata, g, CHAIN, &last);
	/* KASAN holds back what was freed. */
	if (access("/sys/kernel/debug/kmemleak", F_OK)) {
		EXPECT_GT(before + GROWTH, used());
	}
	EXPECT_EQ(1ULL + 2 * CHAIN, *count);
	EXPECT_EQ(0, raw_reset(g->vm, -1));
	EXPECT_EQ(2ULL * CHAIN, *count);
	close(last);
}

TEST_HARNESS_MAIN
