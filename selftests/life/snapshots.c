// SPDX-License-Identifier: GPL-2.0
/*
 * Snapshots and forks outlive what they were made of, in any hands, and nothing
 * of them is left behind.
 */
#include <sys/resource.h>

#include "../harness.h"
#include "life.h"

#define NPAGES	64
#define CHAIN	500

/* How many there are at once, and how many KASAN has memory for. */
#define FORKS		10000
#define FEW_FORKS	2000
#define ALIVE		1000
#define FEW_ALIVE	200

/* Less than a fork costs, for each of them. Smaller leaks are kmemleak's to find. */
#define LEFT_KB	(FORKS * 6)

/* Counts in each of the pages from GUEST_DATA on. */
SNIPPET(count, 64,
	"1: mov $" STR(NPAGES) ", %ecx\n"
	"	mov $" STR(GUEST_DATA) ", %esi\n"
	"2:	incq (%rsi)\n"
	"	add $0x1000, %rsi\n"
	"	loop 2b\n"
	"	hlt\n"
	"	jmp 1b");

FIXTURE(snapshots) {
	int refs;
	int sockets[2];
};

FIXTURE_SETUP(snapshots)
{
	struct rlimit files = { FORKS + 100, FORKS + 100 };

	self->refs = module_refs();
	ASSERT_LE(0, self->refs);
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, self->sockets));
}

FIXTURE_TEARDOWN(snapshots)
{
	EXPECT_EQ(self->refs, wait_refs(self->refs));
}

/* A guest that has counted to 1, and its snapshot; or -errno. */
static int counted(struct guest *g)
{
	int ret = guest_create(g);

	if (ret)
		return ret;
	GUEST_LOAD(g, LONG64, count);
	return guest_run(g) == WISP_EXIT_HLT ? raw_snapshot(g->vm) : -EIO;
}

/* The first word of the last page, to which the guest gets last. */
static __u64 word(int fd)
{
	__u64 value;

	return pread(fd, &value, 8, GUEST_DATA + (NPAGES - 1) * PAGE) == 8 ?
		       value : ~0ULL;
}

/* Runs @vm on to its next HLT; returns what it has counted to, or ~0. */
static __u64 go(int vm)
{
	struct wisp_vcpu_page *page;
	bool good;

	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, vm, 0);
	if (page == MAP_FAILED)
		return ~0ULL;
	page->complete = 1;
	good = !raw_run(vm, 0) && page->exit.reason == WISP_EXIT_HLT;
	munmap(page, PAGE);
	return good ? word(vm) : ~0ULL;
}

TEST_F(snapshots, forks_outlive_all_others)
{
	struct guest g;
	int s = counted(&g), forks[3];

	ASSERT_LE(0, s);
	for (int i = 0; i < 3; i++) {
		forks[i] = raw_fork(g.sys, s);
		ASSERT_LE(0, forks[i]);
	}
	ASSERT_EQ(2, go(forks[0]));
	close(s);
	guest_destroy(&g);
	EXPECT_EQ(self->refs + 3, wait_refs(self->refs + 3));
	/* One has run already, the others get their vCPU now. */
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(i ? 2 : 3, go(forks[i]));
	close(forks[1]);
	EXPECT_EQ(3, go(forks[2]));
	for (int i = 0; i < 3; i += 2) {
		EXPECT_EQ(0, raw_reset(forks[i], -1));
		EXPECT_EQ(1, word(forks[i]));
		EXPECT_EQ(2, go(forks[i]));
		close(forks[i]);
	}
}

/* The maker ends before anybody takes it. */
static void make(int socket)
{
	struct guest g;
	int fds[3];

	fds[1] = counted(&g);
	if (fds[1] < 0)
		_exit(1);
	fds[0] = raw_fork(g.sys, fds[1]);
	fds[2] = g.sys;
	if (fds[0] < 0)
		_exit(2);
	send_fds(socket, fds, 3);
	_exit(0);
}

static int take(int socket)
{
	int fds[3], fork;

	if (!receive_fds(socket, fds, 3))
		return 10;
	if (go(fds[0]) != 2 || go(fds[0]) != 3)
		return 11;
	if (word(fds[1]) != 1 || raw_reset(fds[0], fds[1]) || word(fds[0]) != 1)
		return 12;
	fork = raw_fork(fds[2], fds[1]);
	close(fds[1]);
	if (fork < 0 || go(fork) != 2 || word(fds[0]) != 1)
		return 13;
	return raw_snapshot(fork) < 0 ? 14 : 0;
}

TEST_F(snapshots, handed_to_another_user)
{
	static const uid_t uids[] = { 0, NOBODY };

	for (int i = 0; i < 2; i++) {
		pid_t maker = fork(), taker;

		if (!maker)
			make(self->sockets[1]);
		ASSERT_EQ(0, wait_child(maker));
		taker = fork_user(uids[i]);
		if (!taker)
			_exit(take(self->sockets[0]));
		EXPECT_EQ(0, wait_child(taker));
		/* It has its own copies of what was on the way. */
		EXPECT_EQ(self->refs, wait_refs(self->refs));
	}
}

/* What fork(2) copies is the fd: parent and child have the same VM. */
TEST_F(snapshots, shared_over_fork)
{
	struct guest g;
	int s = counted(&g), vm;

	ASSERT_LE(0, s);
	vm = raw_fork(g.sys, s);
	ASSERT_LE(0, vm);
	for (int i = 0; i < 4; i++) {
		pid_t pid = fork_user(i & 1 ? NOBODY : 0);

		if (!pid)
			_exit(go(vm) != i + 2UL);
		EXPECT_EQ(0, wait_child(pid));
		EXPECT_EQ(i + 2UL, word(vm));
		EXPECT_EQ(1, word(g.vm));
	}
	close(vm);
	close(s);
	guest_destroy(&g);
}

/* ---- written by another process ------------------------------------------------- */

/* Which pages it writes from GUEST_DATA on, in which the guest has counted to 1. */
#define HELD	3	/* by its mapping, also before the snapshot */
#define MAPPED	5	/* by its mapping */
#define COPIED	7	/* by pwrite() */
#define UNUSED	(NPAGES + 7)	/* by its mapping, where there was none */

static const int written[] = { HELD, MAPPED, COPIED, UNUSED };

static __u64 word_at(int fd, int page)
{
	__u64 value;

	return pread(fd, &value, 8, GUEST_DATA + page * PAGE) == 8 ? value : ~0ULL;
}

/* What is at a page that somebody may have written, before they did. */
static __u64 base_of(int page)
{
	return page == UNUSED ? 0 : 1;
}

static bool tell(int socket)
{
	return write(socket, "", 1) == 1;
}

static bool is_told(int socket)
{
	char byte;

	return read(socket, &byte, 1) == 1;
}

/* The other process writes whenever it is told; what it does not find it reports. */
static int write_when_told(int socket, int fd, volatile __u64 *mapped)
{
	const volatile __u64 *at;

	if (!is_told(socket))
		return 20;
	mapped[HELD * PAGE / 8] = 1;
	for (__u64 round = 0; tell(socket) && is_told(socket); round++) {
		for (int i = 0; i < 4; i++) {
			at = mapped + written[i] * PAGE / 8;
			/* A page that was only read is not to be a way in, either. */
			if (*at != base_of(written[i]))
				return 21 + i;
		}
		mapped[HELD * PAGE / 8] = 100 + round;
		mapped[MAPPED * PAGE / 8] = 100 + round;
		mapped[UNUSED * PAGE / 8] = 100 + round;
		if (pwrite(fd, &(__u64){ 100 + round }, 8, GUEST_DATA + COPIED * PAGE) !=
		    8)
			return 30;
	}
	return 0;
}

static volatile __u64 *map_data(int memory)
{
	void *p = mmap(NULL, (UNUSED + 1) * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
		       memory, GUEST_DATA);

	return p == MAP_FAILED ? NULL : p;
}

/* It has inherited all, or nothing: then the fd comes by the socket. */
static void write_elsewhere(const int *sockets, int fd, volatile __u64 *mapped)
{
	/* So that it ends with the test. */
	close(sockets[0]);
	if (fd < 0 && !receive_fds(sockets[1], &fd, 1))
		_exit(10);
	if (!mapped)
		mapped = map_data(fd);
	_exit(mapped ? write_when_told(sockets[1], fd, mapped) : 11);
}

static void expect_base(struct __test_metadata *_metadata, int fd)
{
	for (int i = 0; i < 4; i++) {
		EXPECT_EQ(base_of(written[i]), word_at(fd, written[i]))
			TH_LOG("page %d", written[i]);
	}
}

/* @vm is written by who is at the other end of @socket, and has the fd of its memory. */
static void expect_tracked(struct __test_metadata *_metadata, int sys, int vm,
			   int socket, volatile __u64 *mapped)
{
	int s, sibling;

	ASSERT_TRUE(tell(socket));
	ASSERT_TRUE(is_told(socket));
	s = raw_snapshot(vm);
	ASSERT_LE(0, s);
	sibling = raw_fork(sys, s);
	ASSERT_LE(0, sibling);
	EXPECT_EQ(0, raw_dirty(vm, NULL, 0));
	for (__u64 round = 0; round < 4; round++) {
		ASSERT_TRUE(tell(socket));
		ASSERT_TRUE(is_told(socket));
		/* Nobody else has written, not even the guest. */
		EXPECT_EQ(4, raw_dirty(vm, NULL, 0));
		for (int i = 0; i < 4; i++) {
			__u64 offset = written[i] * PAGE;

			EXPECT_TRUE(guest_is_dirty(vm, GUEST_DATA + offset))
				TH_LOG("page %d", written[i]);
			EXPECT_EQ(100 + round, word_at(vm, written[i]));
			EXPECT_EQ(100 + round, mapped[offset / 8]);
		}
		expect_base(_metadata, s);
		expect_base(_metadata, sibling);
		EXPECT_EQ(0, raw_dirty(sibling, NULL, 0));
		ASSERT_EQ(0, raw_reset(vm, round & 1 ? -1 : s));
		expect_base(_metadata, vm);
	}
	close(sibling);
	close(s);
}

FIXTURE(elsewhere) {
	int sockets[2];
	struct guest g;
};

FIXTURE_VARIANT(elsewhere) {
	bool inherits;	/* it is forked with fd and mapping, or gets the fd */
	bool fork;	/* the VM is a fork, and its memory has one fd more */
	uid_t uid;
};

FIXTURE_VARIANT_ADD(elsewhere, child) { .inherits = true };
FIXTURE_VARIANT_ADD(elsewhere, childs_fork) { .inherits = true, .fork = true };
FIXTURE_VARIANT_ADD(elsewhere, fd) { .uid = NOBODY };
FIXTURE_VARIANT_ADD(elsewhere, forks_fd) { .fork = true, .uid = NOBODY };

FIXTURE_SETUP(elsewhere)
{
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, self->sockets));
}

FIXTURE_TEARDOWN(elsewhere)
{
	close(self->sockets[0]);
}

TEST_F(elsewhere, writes_are_tracked_and_taken_back)
{
	int first, vm, memory, socket = self->sockets[0];
	volatile __u64 *mapped;
	pid_t pid = -1;

	/* Who inherits nothing is there before there is anything. */
	if (!variant->inherits) {
		pid = fork_user(variant->uid);
		if (!pid)
			write_elsewhere(self->sockets, -1, NULL);
	}
	first = counted(&self->g);
	ASSERT_LE(0, first);
	vm = variant->fork ? raw_fork(self->g.sys, first) : dup(self->g.vm);
	memory = raw_memory_of_slot(self->g.sys, vm, 0);
	ASSERT_LE(0, memory);
	mapped = map_data(memory);
	ASSERT_TRUE(mapped);
	if (variant->inherits) {
		pid = fork_user(variant->uid);
		if (!pid)
			write_elsewhere(self->sockets, memory, mapped);
	} else {
		send_fds(socket, &memory, 1);
	}
	ASSERT_LE(0, pid);
	close(self->sockets[1]);
	expect_tracked(_metadata, self->g.sys, vm, socket, mapped);
	/* No more rounds. */
	shutdown(socket, SHUT_RDWR);
	EXPECT_EQ(0, wait_child(pid));
	expect_base(_metadata, first);
	munmap((void *)mapped, (UNUSED + 1) * PAGE);
	close(memory);
	close(vm);
	close(first);
	guest_destroy(&self->g);
}

/* ---- numbers ---------------------------------------------------------------------- */

/* The child: each fork has run, and is killed where it is. */
static void fork_and_wait(int socket, int n)
{
	struct guest g;
	int s = counted(&g), vm;
	char byte = 0;

	if (s < 0)
		_exit(1);
	for (int i = 0; i < n; i++) {
		vm = raw_fork(g.sys, s);
		if (vm < 0 || (i % 8 == 0 && go(vm) != 2))
			_exit(2);
	}
	if (write(socket, &byte, 1) != 1)
		_exit(3);
	for (;;)
		pause();
}

static void kill_forks(struct __test_metadata *_metadata,
		       struct _test_data_snapshots *self, int n)
{
	pid_t pid = fork();
	char byte;

	ASSERT_LE(0, pid);
	if (!pid)
		fork_and_wait(self->sockets[1], n);
	ASSERT_EQ(1, read(self->sockets[0], &byte, 1));
	EXPECT_EQ(self->refs + n + 4, module_refs());
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(1000 + SIGKILL, wait_child(pid));
	EXPECT_EQ(self->refs, wait_refs(self->refs));
}

static bool has_kasan(void)
{
	return !access("/sys/kernel/debug/kmemleak", F_OK);
}

/*
 * What caches keep, the first round has filled. KASAN keeps what was freed for
 * long: there it is kmemleak that finds what is lost.
 */
TEST_F(snapshots, ten_thousand_killed)
{
	long available, slab;

	kill_forks(_metadata, self, FEW_FORKS);
	if (has_kasan())
		return;
	available = kilobytes("MemAvailable:");
	slab = kilobytes("Slab:");
	kill_forks(_metadata, self, FORKS);
	EXPECT_LT(available - LEFT_KB, kilobytes("MemAvailable:"));
	EXPECT_GT(slab + LEFT_KB, kilobytes("Slab:"));
}

static void chain(struct __test_metadata *_metadata, struct guest *g, int n)
{
	for (int i = 0; i < n; i++) {
		__u64 before = word(g->vm);
		int s = raw_snapshot(g->vm);

		ASSERT_LE(0, s);
		ASSERT_EQ(before + 1, go(g->vm));
		close(s);
	}
}

/* Of all the snapshots, only the last one's pages are still there. */
TEST_F(snapshots, a_chain_keeps_nothing)
{
	struct guest g;
	long available;
	int s = counted(&g);

	ASSERT_LE(0, s);
	close(s);
	chain(_metadata, &g, CHAIN / 5);
	available = kilobytes("MemAvailable:");
	chain(_metadata, &g, CHAIN);
	EXPECT_LT(available - 8192, kilobytes("MemAvailable:"));
	EXPECT_EQ(1 + CHAIN / 5 + CHAIN, word(g.vm));
	EXPECT_EQ(0, raw_reset(g.vm, -1));
	EXPECT_EQ(CHAIN / 5 + CHAIN, word(g.vm));
	guest_destroy(&g);
}

/* They all stay: the VM comes back to any, and they end in any order. */
TEST_F(snapshots, a_thousand_alive)
{
	int all[ALIVE], n = has_kasan() ? FEW_ALIVE : ALIVE, i;
	struct guest g;
	int s = counted(&g);

	ASSERT_LE(0, s);
	for (i = 0; i < n; i++) {
		all[i] = raw_snapshot(g.vm);
		ASSERT_LE(0, all[i]);
		ASSERT_EQ(2ULL + i, go(g.vm));
	}
	for (i = n - 1; i >= 0; i -= 97) {
		EXPECT_EQ(1ULL + i, word(all[i]));
		ASSERT_EQ(0, raw_reset(g.vm, all[i]));
		EXPECT_EQ(2ULL + i, go(g.vm));
	}
	/* Each third first, then what lies between. */
	for (int j = 0; j < 3; j++)
		for (i = j; i < n; i += 3)
			close(all[i]);
	ASSERT_EQ(0, raw_reset(g.vm, s));
	EXPECT_EQ(2, go(g.vm));
	close(s);
	guest_destroy(&g);
}

/*
 * Who pins a page could write to it behind the back of all that share it;
 * vmsplice() pins as O_DIRECT does.
 */
TEST_F(snapshots, direct_io_is_refused)
{
	struct guest g;
	int s = counted(&g);
	int pipes[2];
	struct iovec iov = { .iov_len = PAGE };

	ASSERT_LE(0, s);
	ASSERT_EQ(0, pipe(pipes));
	for (int i = 0; i < 2; i++) {
		iov.iov_base = guest_at(&g, GUEST_DATA + i * PAGE);
		/* One page is shared, the other the VM's own by then. */
		if (i)
			*(volatile __u64 *)iov.iov_base = 7;
		EXPECT_EQ(-1, vmsplice(pipes[1], &iov, 1, SPLICE_F_GIFT));
		EXPECT_EQ(EFAULT, errno);
		EXPECT_EQ(1, word(s));
	}
	close(pipes[0]);
	close(pipes[1]);
	close(s);
	guest_destroy(&g);
}

TEST_HARNESS_MAIN
