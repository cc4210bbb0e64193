// SPDX-License-Identifier: GPL-2.0
/*
 * What the driver allocates is charged to memory cgroups: there it can be counted,
 * and there it ends without anybody being killed.
 */
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "../harness.h"
#include "../files.h"
#include "life.h"

#define ROOT	"/sys/fs/cgroup"
#define GROUP	ROOT "/wisp-test"

#define CHAIN	1000
#define FILES	8
#define NPAGES	64
#define FEW	16	/* more than a fork needs that writes two pages */
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

/* Files of the group, which are open: to open one takes memory of it. */
static struct {
	int current;
	int events;
	int high;
	int max;
} files;

/* What follows @name in the file, or its first number. */
static long read_number(int fd, const char *name)
{
	static char text[200];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	char *line;

	text[n < 0 ? 0 : n] = 0;
	line = strstr(text, name);
	return line ? atol(line + strlen(name)) : -1;
}

static long used(void)
{
	return read_number(files.current, "");
}

static long killed(void)
{
	return read_number(files.events, "oom_kill ");
}

static bool set(int fd, const char *text)
{
	return pwrite(fd, text, strlen(text), 0) > 0;
}

/*
 * No more than this from now on. What is charged in advance would come to it: the
 * kernel gives that back where a group has more than memory.high.
 */
static bool leave_room(long npages)
{
	char text[24];

	if (!set(files.high, "0") || !set(files.high, "max"))
		return false;
	snprintf(text, sizeof(text), "%ld", used() + npages * (long)PAGE);
	return set(files.max, text);
}

static bool leave_all(void)
{
	return set(files.max, "max");
}

/* What is charged in advance is so for one CPU. */
static void enter(struct __test_metadata *_metadata)
{
	ASSERT_EQ(0, guest_pin(0));
	ASSERT_TRUE(write_text(ROOT "/cgroup.subtree_control", "+memory"));
	/* No page of the test's own is to be what there is no room for. */
	ASSERT_EQ(0, mlockall(MCL_CURRENT | MCL_FUTURE));
	/* A test that was killed has left it. */
	rmdir(GROUP);
	ASSERT_EQ(0, mkdir(GROUP, 0700));
	ASSERT_TRUE(write_number(GROUP "/cgroup.procs", getpid()));
	files.current = open(GROUP "/memory.current", O_RDONLY | O_CLOEXEC);
	files.events = open(GROUP "/memory.events", O_RDONLY | O_CLOEXEC);
	files.high = open(GROUP "/memory.high", O_WRONLY | O_CLOEXEC);
	files.max = open(GROUP "/memory.max", O_WRONLY | O_CLOEXEC);
	/* They have what they need to be read. */
	ASSERT_LT(0, used());
	ASSERT_EQ(0, killed());
	ASSERT_TRUE(leave_all());
}

static void leave(struct __test_metadata *_metadata)
{
	EXPECT_TRUE(leave_all());
	EXPECT_EQ(0, killed());
	close(files.current);
	close(files.events);
	close(files.high);
	close(files.max);
	EXPECT_TRUE(write_number(ROOT "/cgroup.procs", getpid()));
	EXPECT_EQ(0, rmdir(GROUP));
}

FIXTURE(cgroup) {
	struct guest g;
};

FIXTURE_SETUP(cgroup)
{
	enter(_metadata);
	ASSERT_EQ(0, guest_create(&self->g));
	GUEST_LOAD(&self->g, LONG64, write_two);
	self->g.page->state.general.rdi = GUEST_DATA;
	self->g.page->state.general.rsi = GUEST_DATA;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
}

FIXTURE_TEARDOWN(cgroup)
{
	guest_destroy(&self->g);
	leave(_metadata);
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

TEST_F(cgroup, chained_snapshots_do_not_grow)
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
	ASSERT_TRUE(leave_room(256));
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
	/* The VM that they were to be like does not notice. */
	EXPECT_EQ(WISP_EXIT_HLT, guest_complete(g, 0));
	close(s);
}

/* Its beginning. */
static int discard(int memory, __u64 size)
{
	struct wisp_discard arg = { .size = sizeof(arg), .discard_size = size };

	return raw(memory, WISP_DISCARD, &arg);
}

/* Giving memory back is the way out, so it must not need any. */
TEST_F(cgroup, discard_takes_no_memory)
{
	int memory;

	ASSERT_TRUE(leave_room(256));
	memory = write_pages(self->g.sys, 4096);
	ASSERT_LE(0, memory);
	ASSERT_EQ(0, discard(memory, 64 * PAGE));
	EXPECT_EQ(1, pwrite(memory, "x", 1, 32 * PAGE));
	close(memory);
}

/* Nor for what is not there. */
TEST_F(cgroup, discard_of_nothing_takes_no_memory)
{
	struct wisp_discard arg = { .size = sizeof(arg), .discard_size = PAGE };
	int memory = raw_create_memory(self->g.sys, 1ULL << 34);

	ASSERT_LE(0, memory);
	ASSERT_TRUE(leave_room(16));
	for (arg.offset = 0; arg.offset < 1ULL << 34; arg.offset += 1 << 24) {
		/* Something is, but not there. */
		if (!arg.offset)
			ASSERT_EQ(1, pwrite(memory, "x", 1, PAGE));
		ASSERT_EQ(0, raw(memory, WISP_DISCARD, &arg));
	}
	close(memory);
}

/* ---- accesses when it is full -------------------------------------------- */

#define ROOM_SLOT	1
#define ROOM_GPA	0x20000000ULL
#define ROOM_SIZE	0x20000000ULL
/* How many pages more there are each time. */
#define MORE		5

/* Counts in RCX words, each RSI bytes behind the last, and writes where they are. */
SNIPPET(count, 64,
	"1:	incq (%rdi)\n"
	"	mov %rdi, 8(%rdi)\n"
	"	add %rsi, %rdi\n"
	"	dec %ecx\n"
	"	jnz 1b\n"
	"	hlt");

FIXTURE(full) {
	struct guest g;
	int room;
};

FIXTURE_VARIANT(full) {
	__u32 flags;		/* of the memory object */
	__u64 stride;		/* from one word to the next */
	__u64 words;
	long npages;		/* that there are at first */
	bool copies;		/* of pages that are there */
	bool ramfs;		/* its file is there, and not in tmpfs */
};

FIXTURE_VARIANT_ADD(full, pages) {
	.stride = PAGE, .words = 512, .npages = 256,
};

/* Each with a table, and nodes of the tree, of its own. */
FIXTURE_VARIANT_ADD(full, pages_and_tables) {
	.stride = 513 * PAGE, .words = 128, .npages = 64,
};

FIXTURE_VARIANT_ADD(full, huge_pages) {
	.flags = WISP_MEMORY_HUGE, .stride = PAGE, .words = 1024, .npages = 768,
};

FIXTURE_VARIANT_ADD(full, copies) {
	.stride = PAGE, .words = 512, .npages = 256, .copies = true,
};

FIXTURE_VARIANT_ADD(full, pages_of_a_file) {
	.flags = WISP_MEMORY_FILE, .stride = PAGE, .words = 512, .npages = 256,
};

/* Its page cache is that of any file system with a disk, but nothing can be evicted. */
FIXTURE_VARIANT_ADD(full, pages_of_a_file_by_page_cache) {
	.flags = WISP_MEMORY_FILE, .stride = PAGE, .words = 512, .npages = 256,
	.ramfs = true,
};

static int make_room(int fd)
{
	return ftruncate(fd, ROOM_SIZE);
}

/* Without a page. */
static int make_file(bool ramfs)
{
	int fd;

	if (ramfs)
		return file_on("ramfs", NULL, make_room);
	fd = memfd_create("room", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return make_room(fd) ||
	       fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK) ? -1 : fd;
}

FIXTURE_SETUP(full)
{
	struct wisp_create_memory arg = {
		.size = sizeof(arg), .flags = variant->flags,
		.memory_size = ROOM_SIZE,
	};

	enter(_metadata);
	ASSERT_EQ(0, guest_create(&self->g));
	if (variant->flags & WISP_MEMORY_FILE)
		arg.file = make_file(variant->ramfs);
	self->room = raw(self->g.sys, WISP_CREATE_MEMORY, &arg);
	ASSERT_LE(0, self->room);
	if (variant->flags & WISP_MEMORY_FILE)
		close(arg.file);
	ASSERT_EQ(0, raw_set_slot(self->g.vm, ROOM_SLOT, ROOM_GPA, ROOM_SIZE,
				  self->room, 0, PROT_RW));
}

FIXTURE_TEARDOWN(full)
{
	close(self->room);
	guest_destroy(&self->g);
	leave(_metadata);
}

static void load_count(struct guest *g, __u64 gpa, __u64 stride, __u64 words)
{
	GUEST_LOAD(g, LONG64, count);
	g->page->state.general.rdi = gpa;
	g->page->state.general.rsi = stride;
	g->page->state.general.rcx = words;
}

/* Each word was counted once, or twice. */
static void expect_words(struct __test_metadata *_metadata, int vm, __u64 stride,
			 __u64 words, __u64 count)
{
	__u64 word[2];

	for (__u64 i = 0; i < words; i++) {
		ASSERT_EQ((ssize_t)sizeof(word),
			  pread(vm, word, sizeof(word), ROOM_GPA + i * stride));
		ASSERT_EQ(count, word[0]);
		ASSERT_EQ(ROOM_GPA + i * stride, word[1]);
	}
}

TEST_F(full, a_run_ends_and_goes_on)
{
	struct guest *g = &self->g;
	int reason, stops = 0;

	/* What it needs besides. */
	load_count(g, GUEST_DATA, PAGE, 1);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(g));
	load_count(g, ROOM_GPA, variant->stride, variant->words);
	if (variant->copies) {
		ASSERT_EQ(WISP_EXIT_HLT, guest_run(g));
		ASSERT_LE(0, raw_snapshot(g->vm));
		load_count(g, ROOM_GPA, variant->stride, variant->words);
	}

	ASSERT_TRUE(leave_room(variant->npages));
	/*
	 * Each time once more without more room. That may get further, too: what other
	 * CPUs had put by for the cgroup is given back when it is full, a little later.
	 */
	while ((reason = guest_run(g)) == WISP_EXIT_NOMEM) {
		ASSERT_EQ((__u64)GUEST_CODE, g->page->exit.rip);
		if (++stops % 2 == 0)
			ASSERT_TRUE(leave_room(MORE));
	}
	printf("# it ended %d times\n", stops);
	ASSERT_EQ(WISP_EXIT_HLT, reason)
		TH_LOG("%s", guest_exit_name(reason));
	EXPECT_LT(20, stops);
	expect_words(_metadata, g->vm, variant->stride, variant->words,
		     1 + variant->copies);
}

static sigjmp_buf after_fault;

static void on_sigbus(int signal)
{
	(void)signal;
	siglongjmp(after_fault, 1);
}

/* Whether it went through. */
static bool count_at(volatile __u64 *word)
{
	if (sigsetjmp(after_fault, 1))
		return false;
	word[0]++;
	return true;
}

TEST_F(full, a_mapping_gets_sigbus_and_goes_on)
{
	const struct sigaction action = { .sa_handler = on_sigbus };
	int stops = 0;
	__u64 *word;
	char *map;

	ASSERT_EQ(0, sigaction(SIGBUS, &action, NULL));
	map = mmap(NULL, ROOM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		   self->room, 0);
	ASSERT_NE(MAP_FAILED, map);
	/*
	 * The page tables of the mapping are the kernel's, which would rather kill: so
	 * they are there before, without a page.
	 */
	for (__u64 i = 0; i < variant->words; i++)
		ASSERT_TRUE(count_at((__u64 *)(map + i * variant->stride)));
	ASSERT_EQ(0, discard(self->room, ROOM_SIZE));
	for (int pass = 0; pass <= variant->copies; pass++) {
		if (pass == variant->copies)
			ASSERT_TRUE(leave_room(variant->npages));
		for (__u64 i = 0; i < variant->words; i++) {
			word = (__u64 *)(map + i * variant->stride);
			while (!count_at(word)) {
				ASSERT_TRUE(leave_room(MORE));
				stops++;
			}
			word[1] = ROOM_GPA + i * variant->stride;
		}
		ASSERT_LE(0, pass == variant->copies ? 0 : raw_snapshot(self->g.vm));
	}
	printf("# %d times SIGBUS\n", stops);
	EXPECT_LT(10, stops);
	expect_words(_metadata, self->g.vm, variant->stride, variant->words,
		     1 + variant->copies);
	munmap(map, ROOM_SIZE);
}

TEST_F(full, a_write_fails_and_goes_on)
{
	int stops = 0;
	__u64 word[2];
	ssize_t n;

	if (variant->copies)
		ASSERT_LE(0, raw_snapshot(self->g.vm));
	ASSERT_TRUE(leave_room(variant->npages));
	for (__u64 i = 0; i < variant->words; i++) {
		word[0] = 1;
		word[1] = ROOM_GPA + i * variant->stride;
		while ((n = pwrite(self->g.vm, word, sizeof(word), word[1])) < 0) {
			ASSERT_EQ(ENOMEM, errno);
			ASSERT_TRUE(leave_room(MORE));
			stops++;
		}
		ASSERT_EQ((ssize_t)sizeof(word), n);
	}
	printf("# %d writes failed\n", stops);
	EXPECT_LT(10, stops);
	expect_words(_metadata, self->g.vm, variant->stride, variant->words, 1);
}

/* ---- forks when it is full ----------------------------------------------- */

static int fork_of(struct guest *g, int s, struct guest *fork)
{
	*fork = *g;
	fork->vm = raw_fork(g->sys, s);
	if (fork->vm < 0)
		return fork->vm;
	fork->page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			  fork->vm, 0);
	fork->pages[0] = fork->page;
	return fork->page == MAP_FAILED ? -errno : 0;
}

/*
 * What its vCPU needs to run, and the pages that it then writes. The kernel charges
 * small things by the page: what there is of the last one is another each time.
 */
TEST_F(cgroup, first_runs_of_forks_when_it_is_full)
{
	struct guest *g = &self->g, fork;
	int s = raw_snapshot(g->vm), refused = 0, ended = 0, reason;
	int small[NPAGES];
	__u64 before, word;

	ASSERT_LE(0, s);
	ASSERT_EQ(8, pread(s, &before, 8, GUEST_DATA + 8));
	for (int round = 0; round < NPAGES; round++) {
		small[round] = raw_create_memory(g->sys, PAGE);
		ASSERT_EQ(0, fork_of(g, s, &fork));
		ASSERT_TRUE(leave_room(round % FEW));
		reason = guest_complete(&fork, 0);
		ASSERT_TRUE(leave_all());
		refused += reason == -ENOMEM;
		ended += reason == WISP_EXIT_NOMEM;
		if (reason == -ENOMEM || reason == WISP_EXIT_NOMEM)
			reason = guest_run(&fork);
		EXPECT_EQ(WISP_EXIT_HLT, reason)
			TH_LOG("round %d: %s", round, guest_exit_name(reason));
		ASSERT_EQ(8, pread(fork.vm, &word, 8, GUEST_DATA + 8));
		EXPECT_EQ(before + 1, word);
		munmap(fork.page, PAGE);
		close(fork.vm);
	}
	printf("# %d runs were refused, %d ended\n", refused, ended);
	EXPECT_LT(0, refused);
	EXPECT_LT(0, ended);
	EXPECT_GT(NPAGES, refused + ended);
	for (int round = 0; round < NPAGES; round++)
		close(small[round]);
	close(s);
}

TEST_F(cgroup, writes_to_forks_when_it_is_full)
{
	struct guest *g = &self->g;
	int s = raw_snapshot(g->vm), failed = 0, vm, ret;
	const __u64 new = 5;
	__u64 before, word;

	ASSERT_LE(0, s);
	ASSERT_EQ(8, pread(s, &before, 8, GUEST_DATA));
	for (int npages = 0; npages < FEW; npages++) {
		vm = raw_fork(g->sys, s);
		ASSERT_LE(0, vm);
		ASSERT_TRUE(leave_room(npages));
		ret = pwrite(vm, &new, 8, GUEST_DATA);
		if (ret < 0) {
			ASSERT_EQ(ENOMEM, errno);
			failed++;
			ASSERT_EQ(8, pread(vm, &word, 8, GUEST_DATA));
			EXPECT_EQ(before, word);
		}
		ASSERT_TRUE(leave_all());
		if (ret < 0)
			ret = pwrite(vm, &new, 8, GUEST_DATA);
		EXPECT_EQ(8, ret);
		ASSERT_EQ(8, pread(vm, &word, 8, GUEST_DATA));
		EXPECT_EQ(new, word);
		close(vm);
	}
	printf("# %d writes failed\n", failed);
	EXPECT_LT(0, failed);
	EXPECT_GT(FEW, failed);
	close(s);
}

TEST_HARNESS_MAIN
