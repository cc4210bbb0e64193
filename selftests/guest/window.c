// SPDX-License-Identifier: GPL-2.0
/*
 * The window of a system fd, where VMs have their vCPUs' shared pages; and the fd
 * of a slot's memory, which is how a fork's memory is mapped.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "../harness.h"
#include "guest.h"

#define NPAGES		256
#define ROUNDS		2000

/* Counts at GUEST_DATA, an HLT each. */
SNIPPET(count, 64, "1: incq " STR(GUEST_DATA) "; hlt; jmp 1b");

FIXTURE(window) {
	struct guest g;
	int snapshot;		/* at the first HLT */
	struct wisp_vcpu_page *pages;
};

static struct wisp_vcpu_page *map_window(int sys, size_t npages, off_t offset)
{
	void *p = mmap(NULL, npages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
		       sys, offset);

	return p == MAP_FAILED ? NULL : p;
}

FIXTURE_SETUP(window)
{
	ASSERT_EQ(0, guest_create(&self->g));
	GUEST_LOAD(&self->g, LONG64, count);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	self->snapshot = raw_snapshot(self->g.vm);
	ASSERT_LE(0, self->snapshot);
	self->pages = map_window(self->g.sys, NPAGES, 0);
	ASSERT_TRUE(self->pages);
}

FIXTURE_TEARDOWN(window)
{
	munmap(self->pages, NPAGES * PAGE);
	close(self->snapshot);
	guest_destroy(&self->g);
}

static int create_at(int sys, __u32 flags, int snapshot, __u64 offset)
{
	struct wisp_create_vm arg = {
		.size = sizeof(arg),
		.flags = flags | WISP_VM_WINDOW,
		.snapshot = snapshot,
		.window_offset = offset,
	};

	return raw(sys, WISP_CREATE_VM, &arg);
}

static int fork_at(int sys, int snapshot, __u64 page)
{
	return create_at(sys, WISP_VM_FORK, snapshot, page * PAGE);
}

static int create_vcpu(int vm, __u32 vcpu)
{
	struct wisp_create_vcpu arg = { .size = sizeof(arg), .vcpu = vcpu };

	return raw(vm, WISP_CREATE_VCPU, &arg);
}

/* On to the next HLT. */
static int go(int vm, struct wisp_vcpu_page *page)
{
	page->complete = 1;
	return raw_run(vm, 0) ?: (int)page->exit.reason;
}

static __u64 counted(int vm)
{
	__u64 n = 0;

	return pread(vm, &n, sizeof(n), GUEST_DATA) == sizeof(n) ? n : 0;
}

/* ---- the window ---------------------------------------------------------- */

TEST_F(window, forks_run_by_their_pages)
{
	int vms[3];

	for (int i = 0; i < 3; i++) {
		vms[i] = fork_at(self->g.sys, self->snapshot, 10 * i + 7);
		ASSERT_LE(0, vms[i]);
		EXPECT_EQ(sizeof(struct wisp_vcpu_page),
			  self->pages[10 * i + 7].size);
	}
	for (int i = 0; i < 3; i++)
		for (int n = 0; n <= i; n++)
			EXPECT_EQ(WISP_EXIT_HLT,
				  go(vms[i], &self->pages[10 * i + 7]));
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(2ULL + i, counted(vms[i]));
		close(vms[i]);
	}
	EXPECT_EQ(1, counted(self->g.vm));
}

TEST_F(window, vcpus_follow_each_other)
{
	int vm = create_at(self->g.sys, 0, 0, 100 * PAGE);

	ASSERT_LE(0, vm);
	ASSERT_EQ(0, create_vcpu(vm, 2));
	ASSERT_EQ(0, create_vcpu(vm, 0));
	EXPECT_EQ(sizeof(struct wisp_vcpu_page), self->pages[100].size);
	EXPECT_EQ(sizeof(struct wisp_vcpu_page), self->pages[102].size);
	/* It has nothing to run, and says so by its page: there is no slot. */
	ASSERT_EQ(0, raw_run(vm, 2));
	EXPECT_EQ(WISP_EXIT_MEMORY, self->pages[102].exit.reason);
	EXPECT_EQ(0, self->pages[100].exit.reason);
	close(vm);
}

TEST_F(window, a_place_is_one_vcpus)
{
	int vm = fork_at(self->g.sys, self->snapshot, 3), other;

	ASSERT_LE(0, vm);
	EXPECT_EQ(-EBUSY, fork_at(self->g.sys, self->snapshot, 3));
	other = create_at(self->g.sys, 0, 0, 2 * PAGE);
	ASSERT_LE(0, other);
	EXPECT_EQ(-EBUSY, create_vcpu(other, 1));
	EXPECT_EQ(0, create_vcpu(other, 0));
	self->pages[3].want = ~0U;
	close(vm);
	/* Now it can be had, and nothing of the former one is left there. */
	EXPECT_EQ(0, create_vcpu(other, 1));
	EXPECT_EQ(0, self->pages[3].want);
	close(other);
}

/* Nor is that of another system fd, whatever its offset. */
TEST_F(window, windows_are_apart)
{
	int sys = raw_open(), mine, theirs;
	struct wisp_vcpu_page *pages;

	ASSERT_LE(0, sys);
	pages = map_window(sys, NPAGES, 0);
	ASSERT_TRUE(pages);
	mine = fork_at(self->g.sys, self->snapshot, 5);
	theirs = fork_at(sys, self->snapshot, 5);
	ASSERT_LE(0, mine);
	ASSERT_LE(0, theirs);
	self->pages[5].state.general.rax = 0x1111;
	EXPECT_EQ(0, pages[5].state.general.rax);
	EXPECT_EQ(WISP_EXIT_HLT, go(theirs, &pages[5]));
	EXPECT_EQ(0, self->pages[5].exit.reason);
	close(theirs);
	close(mine);
	munmap(pages, NPAGES * PAGE);
	close(sys);
}

TEST_F(window, outlives_its_fd)
{
	int sys = raw_open(), vm, status;
	struct wisp_vcpu_page *pages;
	pid_t child;

	ASSERT_LE(0, sys);
	vm = fork_at(sys, self->snapshot, 0);
	ASSERT_LE(0, vm);
	pages = map_window(sys, 1, 0);
	ASSERT_TRUE(pages);
	close(sys);
	EXPECT_EQ(WISP_EXIT_HLT, go(vm, pages));
	/* A child has the mapping, and the VM. */
	child = fork();
	if (!child)
		_exit(go(vm, pages) != WISP_EXIT_HLT);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(3, counted(vm));
	/* Either may go first: the VM runs without anybody who sees its page. */
	munmap(pages, PAGE);
	EXPECT_EQ(0, raw_run(vm, 0));
	close(vm);
}

static int signal_at(volatile __u32 *at)
{
	int status;
	pid_t child = fork();

	if (!child) {
		signal(SIGBUS, SIG_DFL);
		*at = 1;
		_exit(0);
	}
	return waitpid(child, &status, 0) == child && WIFSIGNALED(status) ?
		       WTERMSIG(status) : 0;
}

TEST_F(window, has_what_vcpus_had)
{
	int vm;

	EXPECT_EQ(SIGBUS, signal_at(&self->pages[9].want));
	vm = fork_at(self->g.sys, self->snapshot, 9);
	ASSERT_LE(0, vm);
	EXPECT_EQ(0, signal_at(&self->pages[9].want));
	close(vm);
	/* It stays for the next one: nothing has to be unmapped. */
	EXPECT_EQ(0, signal_at(&self->pages[9].want));
}

TEST_F(window, has_bounds)
{
	int sys = self->g.sys, vm;
	__u64 end = (__u64)WISP_WINDOW_PAGES * PAGE;
	__u64 last = end - self->g.query.max_vcpus * PAGE;
	struct wisp_vcpu_page *pages;

	EXPECT_EQ(-EINVAL, create_at(sys, 0, 0, 1));
	EXPECT_EQ(-EINVAL, create_at(sys, 0, 0, last + PAGE));
	EXPECT_EQ(-EINVAL, create_at(sys, 0, 0, -PAGE));
	EXPECT_EQ(-EINVAL, create_at(sys, WISP_VM_FORK | WISP_VM_STOPPED_CLOCK,
				     self->snapshot, 0));
	vm = create_at(sys, 0, 0, last);
	ASSERT_LE(0, vm);
	ASSERT_EQ(0, create_vcpu(vm, self->g.query.max_vcpus - 1));
	pages = map_window(sys, 1, end - PAGE);
	ASSERT_TRUE(pages);
	EXPECT_EQ(sizeof(*pages), pages->size);
	munmap(pages, PAGE);
	EXPECT_FALSE(map_window(sys, 1, end));
	EXPECT_FALSE(map_window(sys, 2, end - PAGE));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE, sys, 0));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				   MAP_SHARED, vm, 0));
	close(vm);
	/* Without the flag the offset means nothing. */
	EXPECT_EQ(-EINVAL, raw(sys, WISP_CREATE_VM, &((struct wisp_create_vm){
		.size = sizeof(struct wisp_create_vm), .window_offset = PAGE,
	})));
}

/* A page that is pinned would be written to when another VM has it. */
TEST_F(window, cannot_be_pinned)
{
	int vm = fork_at(self->g.sys, self->snapshot, 0), pipes[2];
	struct iovec iov = { .iov_base = self->pages, .iov_len = PAGE };

	ASSERT_LE(0, vm);
	ASSERT_EQ(0, pipe(pipes));
	EXPECT_NE(0, self->pages->size);
	EXPECT_EQ(-1, vmsplice(pipes[1], &iov, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	close(pipes[0]);
	close(pipes[1]);
	close(vm);
}

struct racer {
	int sys;
	int snapshot;
	struct wisp_vcpu_page *page;
	int bad;
	pthread_t thread;
};

static void *race(void *arg)
{
	struct racer *r = arg;

	for (int i = 0; i < ROUNDS; i++) {
		int vm = fork_at(r->sys, r->snapshot, 1);

		if (vm < 0) {
			r->bad += vm != -EBUSY;
			continue;
		}
		/* Only one of us is here: nobody else writes its page. */
		r->bad += r->page->want != 0;
		r->page->want = WISP_STATE_GENERAL;
		r->bad += go(vm, r->page) != WISP_EXIT_HLT;
		r->page->want = 0;
		close(vm);
	}
	return NULL;
}

TEST_F(window, a_place_has_one_winner)
{
	struct racer r[2];

	for (int i = 0; i < 2; i++) {
		r[i] = (struct racer){
			.sys = self->g.sys, .snapshot = self->snapshot,
			.page = &self->pages[1],
		};
		ASSERT_EQ(0, pthread_create(&r[i].thread, NULL, race, &r[i]));
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(r[i].thread, NULL);
		EXPECT_EQ(0, r[i].bad);
	}
}

/* ---- a slot's memory ----------------------------------------------------- */

TEST_F(window, a_forks_memory_is_mapped)
{
	int vm = fork_at(self->g.sys, self->snapshot, 0);
	int memory = raw_memory_of_slot(self->g.sys, vm, 0);
	struct wisp_discard discard = {
		.size = sizeof(discard), .offset = GUEST_DATA, .discard_size = PAGE,
	};
	__u64 *count;
	char *map;

	ASSERT_LE(0, memory);
	map = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	ASSERT_NE(MAP_FAILED, (void *)map);
	count = (void *)(map + GUEST_DATA);
	EXPECT_EQ(1, *count);
	EXPECT_EQ(WISP_EXIT_HLT, go(vm, self->pages));
	EXPECT_EQ(2, *count);
	*count = 40;
	EXPECT_EQ(WISP_EXIT_HLT, go(vm, self->pages));
	EXPECT_EQ(41, *count);
	/* Its parent and its snapshot have what they had. */
	EXPECT_EQ(1, counted(self->g.vm));
	EXPECT_EQ(1, counted(self->snapshot));
	/* A reset reaches it, and so does what another fd of it gives back. */
	EXPECT_EQ(0, raw_reset(vm, -1));
	EXPECT_EQ(1, *count);
	close(memory);
	memory = raw_memory_of_slot(self->g.sys, vm, 0);
	ASSERT_LE(0, memory);
	ASSERT_EQ(0, raw(memory, WISP_DISCARD, &discard));
	EXPECT_EQ(0, *count);
	close(vm);
	EXPECT_EQ(sizeof(*count), pwrite(memory, "\1\0\0\0\0\0\0", 8, GUEST_DATA));
	EXPECT_EQ(1, *count);
	close(memory);
	munmap(map, GUEST_SIZE);
}

/* Who has the VM gets no more of the object than the VM has. */
TEST_F(window, a_slots_memory_is_all_the_vms)
{
	int sys = self->g.sys, vm = raw_create_vm(sys);
	int memory = raw_create_memory(sys, 4 * PAGE), fd;

	ASSERT_LE(0, vm);
	ASSERT_LE(0, memory);
	ASSERT_EQ(0, raw_set_slot(vm, 0, 0, 4 * PAGE, memory, 0, PROT_RX));
	ASSERT_EQ(0, raw_set_slot(vm, 1, 0x10000, PAGE, memory, 0, PROT_RW));
	ASSERT_EQ(0, raw_set_slot(vm, 2, 0x20000, 3 * PAGE, memory, PAGE, PROT_RW));
	ASSERT_EQ(0, raw_set_slot(vm, 3, 0x30000, 4 * PAGE, memory, 0, PROT_RW));
	for (int slot = 0; slot < 3; slot++)
		EXPECT_EQ(-EPERM, raw_memory_of_slot(sys, vm, slot));
	fd = raw_memory_of_slot(sys, vm, 3);
	EXPECT_LE(0, fd);
	close(fd);
	EXPECT_EQ(-ENOENT, raw_memory_of_slot(sys, vm, 4));
	EXPECT_EQ(-ENOENT, raw_memory_of_slot(sys, vm, 1ULL << 32));
	EXPECT_EQ(-EINVAL, raw_memory_of_slot(sys, memory, 3));
	EXPECT_EQ(-EINVAL, raw_memory_of_slot(sys, self->snapshot, 0));
	EXPECT_EQ(-EBADF, raw_memory_of_slot(sys, 999, 0));
	close(memory);
	close(vm);
}

TEST_HARNESS_MAIN
