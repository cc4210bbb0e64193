// SPDX-License-Identifier: GPL-2.0
/*
 * What the driver allocates is charged to memory cgroups: there it can be counted,
 * and there it ends without anybody being killed.
 */
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "kselftest_harness.h"
#include "life.h"

#define ROOT	"/sys/fs/cgroup"
#define GROUP	ROOT "/wisp-test"

#define CHAIN	1000
#define FILES	8
#define NPAGES	64
#define VCPUS	16
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
	ASSERT_EQ(0, guest_pin(0));
	ASSERT_TRUE(write_text(ROOT "/cgroup.subtree_control", "+memory"));
	/* No page of the test's own is to be what there is no room for. */
	ASSERT_EQ(0, mlockall(MCL_CURRENT | MCL_FUTURE));
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

/* ---- chains -------------------------------------------------------------- */

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
	/* KASAN, which is slow, holds back what was freed. */
	bool counts = access("/sys/kernel/debug/kmemleak", F_OK);
	int n = counts ? CHAIN : CHAIN / 10, last = -1;
	long before;

	/* Each page and table is the VM's own once. */
	chain(_metadata, g, n, &last);
	before = used();
	ASSERT_LT(0, before);
	chain(_metadata, g, n, &last);
	if (counts)
		EXPECT_GT(before + GROWTH, used());
	EXPECT_EQ(1ULL + 2 * n, *count);
	EXPECT_EQ(0, raw_reset(g->vm, -1));
	EXPECT_EQ(2ULL * n, *count);
	close(last);
}

/* ---- a full cgroup ------------------------------------------------------- */

/* Writes up to @npages pages of a new object. Returns it, or -errno. */
static int write_pages(int sys, __u64 npages)
{
	int memory = raw_create_memory(sys, npages * PAGE);

	for (__u64 i = 0; i < npages && memory >= 0; i++)
		if (pwrite(memory, "x", 1, i * PAGE) != 1)
			break;
	return memory;
}

/*
 * An object that has all that there was, but for @npages, and for what the kernel
 * itself needs for a file: for that it would rather kill. So nothing else fails than
 * what the driver allocates.
 */
static int fill(int sys, __u64 npages)
{
	int reserve = write_pages(sys, npages), files[FILES], memory;

	for (int i = 0; i < FILES; i++)
		files[i] = eventfd(0, EFD_CLOEXEC);
	memory = write_pages(sys, 4096);
	for (int i = 0; i < FILES; i++)
		close(files[i]);
	close(reserve);
	return memory;
}

TEST_F(cgroup, forks_fail_when_it_is_full)
{
	struct guest *g = &self->g, fork = *g;
	int s, failed = 0;

	/* So that a fork is much more than its file. */
	for (__u32 i = 1; i < VCPUS; i++)
		ASSERT_EQ(0, raw(g->vm, WISP_CREATE_VCPU, &((struct wisp_create_vcpu){
			.size = sizeof(struct wisp_create_vcpu), .vcpu = i,
		})));
	s = raw_snapshot(g->vm);
	ASSERT_LE(0, s);
	ASSERT_TRUE(write_number(GROUP "/memory.max", used() + (1 << 20)));
	for (int npages = 0; npages < NPAGES; npages++) {
		int memory = fill(g->sys, npages);

		ASSERT_LE(0, memory);
		fork.vm = raw_fork(g->sys, s);
		close(memory);
		if (fork.vm < 0) {
			ASSERT_EQ(-ENOMEM, fork.vm);
			failed++;
			continue;
		}
		fork.page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
				 fork.vm, 0);
		ASSERT_NE(MAP_FAILED, fork.page);
		EXPECT_EQ(WISP_EXIT_HLT, guest_complete(&fork, 0));
		munmap(fork.page, PAGE);
		close(fork.vm);
	}
	printf("# %d forks failed\n", failed);
	EXPECT_LT(0, failed);
	EXPECT_GT(NPAGES, failed);
	EXPECT_EQ(0, read_number(GROUP "/memory.events", "oom_kill "));
	/* The VM that they were to be like does not notice. */
	EXPECT_EQ(WISP_EXIT_HLT, guest_complete(g, 0));
	close(s);
}

/* Giving memory back is the way out, so it must not need any. */
TEST_F(cgroup, discard_takes_no_memory)
{
	struct wisp_discard discard = {
		.size = sizeof(discard), .discard_size = 64 * PAGE,
	};
	int memory;

	ASSERT_TRUE(write_number(GROUP "/memory.max", used() + (1 << 20)));
	memory = write_pages(self->g.sys, 4096);
	ASSERT_LE(0, memory);
	ASSERT_EQ(0, raw(memory, WISP_DISCARD, &discard));
	EXPECT_EQ(1, pwrite(memory, "x", 1, 32 * PAGE));
	close(memory);
}

TEST_HARNESS_MAIN
