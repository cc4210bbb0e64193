// SPDX-License-Identifier: GPL-2.0
/*
 * What a user may hold: VMs, vCPUs and memory are bounded, but for those with
 * CAP_SYS_RESOURCE. The module is loaded with a small cap, and then as it was.
 */
#include <setjmp.h>
#include <sys/stat.h>

#include "../harness.h"
#include "../files.h"
#include "life.h"

#define LIMIT		3
#define CAP_MIB		8
#define CAP_PAGES	(CAP_MIB * 256)

/* Touches page after page from RDI on, and counts them in RCX. */
SNIPPET(touch, 64, "1: incq (%rdi); add $0x1000, %rdi; incq %rcx; jmp 1b");

FIXTURE(limits) {
	char parameters[1000];
	int sys;
};

FIXTURE_SETUP(limits)
{
	char small[50];

	save_parameters(self->parameters, sizeof(self->parameters));
	ASSERT_EQ(0, wait_refs(0));
	ASSERT_EQ(0, unload());
	snprintf(small, sizeof(small), "max_memory_mib=%d", CAP_MIB);
	ASSERT_EQ(0, load(small));
	set_parameter("max_vms_per_user", LIMIT);
	set_parameter("max_vcpus_per_user", LIMIT);
	self->sys = raw_open();
	ASSERT_LE(0, self->sys);
}

FIXTURE_TEARDOWN(limits)
{
	close(self->sys);
	EXPECT_EQ(0, wait_refs(0));
	EXPECT_EQ(0, unload());
	EXPECT_EQ(0, load(self->parameters));
}

/* Each returns 0, or the line that went wrong. */
#define CHECK(condition) do { if (!(condition)) return __LINE__; } while (0)

static int fill_vms(int sys)
{
	int fds[LIMIT];

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < LIMIT; i++) {
			fds[i] = raw_create_vm(sys);
			CHECK(fds[i] >= 0);
		}
		CHECK(raw_create_vm(sys) == -EDQUOT);
		CHECK(raw_create_vm(sys) == -EDQUOT);
		close(fds[0]);
		fds[0] = raw_create_vm(sys);
		CHECK(fds[0] >= 0);
		CHECK(raw_create_vm(sys) == -EDQUOT);
		for (int i = 0; i < LIMIT; i++)
			close(fds[i]);
	}
	return 0;
}

static int fill_vcpus(int sys)
{
	struct wisp_create_vcpu arg = { .size = sizeof(arg) };
	int vms[2];

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 2; i++) {
			vms[i] = raw_create_vm(sys);
			CHECK(vms[i] >= 0);
		}
		for (int i = 0; i < LIMIT; i++) {
			arg.vcpu = i;
			CHECK(!raw(vms[i & 1], WISP_CREATE_VCPU, &arg));
		}
		arg.vcpu = LIMIT;
		CHECK(raw(vms[0], WISP_CREATE_VCPU, &arg) == -EDQUOT);
		/* A call that fails takes nothing. */
		arg.vcpu = 0;
		CHECK(raw(vms[0], WISP_CREATE_VCPU, &arg) == -EEXIST);
		close(vms[1]);
		arg.vcpu = LIMIT;
		CHECK(!raw(vms[0], WISP_CREATE_VCPU, &arg));
		arg.vcpu++;
		CHECK(raw(vms[0], WISP_CREATE_VCPU, &arg) == -EDQUOT);
		close(vms[0]);
	}
	return 0;
}

static sigjmp_buf on_sigbus;

static void sigbus(int sig)
{
	siglongjmp(on_sigbus, sig);
}

/* Pages of the mapping that could be written before SIGBUS came. */
static int touch_mapping(volatile char *p, int npages)
{
	volatile int i = 0;

	signal(SIGBUS, sigbus);
	if (!sigsetjmp(on_sigbus, 1))
		for (; i < npages; i++)
			p[i * PAGE] = 1;
	return i;
}

static int discard_all(int fd, __u64 size)
{
	struct wisp_discard arg = { .size = sizeof(arg), .discard_size = size };

	return raw(fd, WISP_DISCARD, &arg);
}

#define BIG	(4ULL * CAP_MIB << 20)

static int fill_memory(int sys)
{
	static char buffer[PAGE * 64];
	ssize_t n, written = 0;
	struct guest g;
	char *mapping;
	int fd;

	CHECK(!guest_create(&g));
	fd = raw_create_memory(sys, BIG);
	CHECK(fd >= 0);
	CHECK(!raw_set_slot(g.vm, 1, 0x1000000, BIG, fd, 0, PROT_RW));

	/* The guest: an exit, as often as it tries; and it can go on. */
	GUEST_LOAD(&g, LONG64, touch);
	g.page->state.general.rdi = 0x1000000;
	g.page->state.general.rcx = 0;
	CHECK(guest_run(&g) == WISP_EXIT_NOMEM);
	CHECK(guest_run(&g) == WISP_EXIT_NOMEM);
	CHECK(g.page->state.general.rcx < CAP_PAGES);
	CHECK(g.page->state.general.rcx > CAP_PAGES - 100);
	CHECK(!discard_all(fd, BIG));
	CHECK(guest_run(&g) == WISP_EXIT_NOMEM);
	CHECK(g.page->state.general.rcx > 2 * (CAP_PAGES - 100));
	CHECK(!discard_all(fd, BIG));

	/* write(): what went in, then ENOMEM. */
	do {
		n = pwrite(fd, buffer, sizeof(buffer), written);
		written += n > 0 ? n : 0;
	} while (n > 0);
	CHECK(n < 0 && errno == ENOMEM);
	CHECK(written / PAGE < CAP_PAGES && written / PAGE > CAP_PAGES - 100);
	CHECK(pwrite(g.vm, buffer, PAGE, 0x1000000 + BIG - PAGE) < 0 &&
	      errno == ENOMEM);
	/* What is there can be used. */
	CHECK(pwrite(fd, buffer, PAGE, 0) == PAGE);
	CHECK(pread(fd, buffer, PAGE, BIG - PAGE) == PAGE);
	CHECK(!discard_all(fd, BIG));

	/* The mapping: SIGBUS, and no sooner. */
	mapping = mmap(NULL, BIG, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(mapping != MAP_FAILED);
	n = touch_mapping(mapping, BIG / PAGE);
	CHECK(n < CAP_PAGES && n > CAP_PAGES - 100);
	CHECK(!discard_all(fd, BIG));
	CHECK(touch_mapping(mapping, 100) == 100);
	return 0;
}

/* Nor are pages of a file: one is held, and its copy is another. */
static int fill_over_a_file(int sys)
{
	int file = memfd_create("layer", MFD_ALLOW_SEALING), fd, n;
	char *mapping;

	CHECK(file >= 0 && !ftruncate(file, BIG));
	CHECK(!fcntl(file, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK));
	for (int round = 0; round < 3; round++) {
		fd = raw_create_memory_over(sys, BIG, file, 0);
		CHECK(fd >= 0);
		mapping = mmap(NULL, BIG, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			       0);
		CHECK(mapping != MAP_FAILED);
		n = touch_mapping(mapping, BIG / PAGE);
		CHECK(n <= CAP_PAGES / 2 && n > CAP_PAGES / 2 - 100);
		CHECK(!munmap(mapping, BIG));
		close(fd);
	}
	return 0;
}

#define HUGE_SIZE	(2ULL << 20)

/* In folios of 2 MiB, or many of them: memory may be in pieces. It is its user's. */
static int make_huge(int fd)
{
	int compact = open("/proc/sys/vm/compact_memory", O_WRONLY);

	return write(compact, "1", 1) != 1 || close(compact) ||
	       fchown(fd, NOBODY, NOBODY) || posix_fallocate(fd, 0, BIG);
}

static int huge_file;

static long huge_folios(void)
{
	return kilobytes("ShmemHugePages:") * 1024 / (long)HUGE_SIZE;
}

/*
 * One page of each: what the file's cache cannot let go counts. On the debug kernel
 * there may be no folios that large.
 */
static int hold_huge_pages(int sys)
{
	__u64 offset;
	char byte;
	int fd;

	for (int round = 0; round < 3; round++) {
		fd = raw_create_memory_over(sys, BIG, huge_file, 0);
		CHECK(fd >= 0);
		for (offset = 0; offset < BIG; offset += HUGE_SIZE)
			if (pread(fd, &byte, 1, offset + 5 * PAGE) != 1)
				break;
		CHECK((offset < BIG) == (huge_folios() >= CAP_MIB / 2));
		CHECK(offset == BIG || errno == ENOMEM);
		/* What is held can be read. */
		CHECK(pread(fd, &byte, 1, 5 * PAGE) == 1);
		close(fd);
	}
	return 0;
}

/* 2 MiB at a time is no way round the cap. */
static int fill_huge_memory(int sys)
{
	struct wisp_create_memory arg = {
		.size = sizeof(arg), .flags = WISP_MEMORY_HUGE,
		.memory_size = BIG,
	};
	int fd = raw(sys, WISP_CREATE_MEMORY, &arg), n;
	char *mapping;

	CHECK(fd >= 0);
	mapping = mmap(NULL, BIG, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(mapping != MAP_FAILED);
	for (int round = 0; round < 3; round++) {
		n = touch_mapping(mapping, BIG / PAGE);
		CHECK(n == CAP_PAGES);
		CHECK(!discard_all(fd, BIG));
	}
	return 0;
}

/* No bounds: all of the above would be refused. */
static int exceed_all(int sys)
{
	struct wisp_create_vcpu vcpu = { .size = sizeof(vcpu) };
	int vms[2 * LIMIT], fd;
	char *mapping;

	for (int i = 0; i < 2 * LIMIT; i++) {
		vms[i] = raw_create_vm(sys);
		CHECK(vms[i] >= 0);
		vcpu.vcpu = i;
		CHECK(!raw(vms[0], WISP_CREATE_VCPU, &vcpu));
	}
	fd = raw_create_memory(sys, BIG);
	CHECK(fd >= 0);
	mapping = mmap(NULL, BIG, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(mapping != MAP_FAILED);
	CHECK(touch_mapping(mapping, BIG / PAGE) == BIG / PAGE);
	return 0;
}

static int as_user(uid_t uid, int sys, int (*what)(int sys))
{
	pid_t pid = fork_user(uid);
	int line;

	if (!pid) {
		line = what(sys);
		if (line)
			fprintf(stderr, "# line %d\n", line);
		_exit(line != 0);
	}
	return wait_child(pid);
}

/* @what leaves room for this: another user's share is its own. */
static int fill_beside(int sys)
{
	int vm;

	for (int i = 0; i < LIMIT; i++)
		CHECK(raw_create_vm(sys) >= 0);
	CHECK(raw_create_vm(sys) == -EDQUOT);
	CHECK(as_user(0, sys, fill_vms));	/* a child: the same user */
	vm = raw_create_vm(sys);
	CHECK(vm == -EDQUOT);
	return 0;
}

TEST_F(limits, vms)
{
	EXPECT_EQ(0, as_user(NOBODY, self->sys, fill_vms));
	EXPECT_EQ(0, as_user(NOBODY, self->sys, fill_vms));
}

TEST_F(limits, vcpus)
{
	EXPECT_EQ(0, as_user(NOBODY, self->sys, fill_vcpus));
	EXPECT_EQ(0, as_user(NOBODY, self->sys, fill_vcpus));
}

TEST_F(limits, are_shared_by_a_users_processes)
{
	EXPECT_EQ(0, as_user(NOBODY, self->sys, fill_beside));
}

static int fill_and_let_others(int sys)
{
	int sockets[2];
	char byte = 0;
	pid_t pid;

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	pid = fork_user(NOBODY);
	if (!pid) {
		for (int i = 0; i < LIMIT; i++)
			if (raw_create_vm(sys) < 0)
				_exit(1);
		write(sockets[1], &byte, 1);
		_exit(read(sockets[1], &byte, 1) != 1);
	}
	CHECK(read(sockets[0], &byte, 1) == 1);
	CHECK(!as_user(SOMEBODY, sys, fill_vms));
	CHECK(as_user(NOBODY, sys, fill_vms));
	CHECK(write(sockets[0], &byte, 1) == 1);
	CHECK(!wait_child(pid));
	CHECK(!as_user(NOBODY, sys, fill_vms));
	return 0;
}

TEST_F(limits, are_each_users_own)
{
	EXPECT_EQ(0, as_user(0, self->sys, fill_and_let_others));
}

TEST_F(limits, memory)
{
	/* The guests come by /dev/wisp, which is not for everybody. */
	ASSERT_EQ(0, chmod("/dev/wisp", 0666));
	EXPECT_EQ(0, as_user(NOBODY, self->sys, fill_memory));
	EXPECT_EQ(0, as_user(SOMEBODY, self->sys, fill_memory));
}

TEST_F(limits, memory_over_a_file)
{
	EXPECT_EQ(0, as_user(NOBODY, self->sys, fill_over_a_file));
	EXPECT_EQ(0, as_user(NOBODY, self->sys, fill_over_a_file));
}

TEST_F(limits, memory_over_a_file_in_huge_pages)
{
	huge_file = file_on("tmpfs", "huge=always", make_huge);
	ASSERT_LE(0, huge_file);
	EXPECT_EQ(0, as_user(NOBODY, self->sys, hold_huge_pages));
	close(huge_file);
}

TEST_F(limits, huge_memory)
{
	EXPECT_EQ(0, as_user(NOBODY, self->sys, fill_huge_memory));
}

TEST_F(limits, not_for_the_privileged)
{
	EXPECT_EQ(0, as_user(0, self->sys, exceed_all));
	EXPECT_EQ(0, as_user(NOBODY, self->sys, fill_huge_memory));
}

TEST_HARNESS_MAIN
