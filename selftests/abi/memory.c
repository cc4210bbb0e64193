// SPDX-License-Identifier: GPL-2.0
/* Memory objects: sizes, read and write, mappings and who may not pin them. */
#include <limits.h>
#include <linux/io_uring.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "../harness.h"
#include "../raw.h"

#define SIZE (64 * PAGE)

FIXTURE(memory) {
	int sys;
	int fd;
	__u64 max;
};

FIXTURE_SETUP(memory)
{
	struct wisp_query query;

	self->sys = raw_open();
	ASSERT_LE(0, self->sys);
	ASSERT_EQ(0, raw_query(self->sys, &query));
	self->max = query.max_memory_size;
	self->fd = raw_create_memory(self->sys, SIZE);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(memory)
{
	close(self->fd);
	close(self->sys);
}

static sigjmp_buf fault_env;

static void on_fault(int sig)
{
	siglongjmp(fault_env, sig);
}

/* Returns 0, or the signal that touching @p brought. */
static int touch(char *p, bool write)
{
	int sig;

	signal(SIGBUS, on_fault);
	signal(SIGSEGV, on_fault);
	sig = sigsetjmp(fault_env, 1);
	if (!sig) {
		if (write)
			asm volatile("movb $1, (%0)" : : "r" (p) : "memory");
		else
			asm volatile("testb $1, (%0)" : : "r" (p) : "memory");
	}
	signal(SIGBUS, SIG_DFL);
	signal(SIGSEGV, SIG_DFL);
	return sig;
}

TEST_F(memory, sizes)
{
	__u64 bad[] = {
		0, 1, PAGE - 1, PAGE + 1, self->max + PAGE, 1ULL << 63,
		-PAGE, -1ULL,
	};
	int fd;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, raw_create_memory(self->sys, bad[i]))
			TH_LOG("size %#llx", bad[i]);
	}

	/* The largest costs nothing until it is touched. */
	fd = raw_create_memory(self->sys, self->max);
	ASSERT_LE(0, fd);
	EXPECT_EQ(1, pwrite(fd, "x", 1, self->max - 1));
	close(fd);
}

TEST_F(memory, reads_as_zero)
{
	static char data[SIZE];

	memset(data, 0xa5, sizeof(data));
	ASSERT_EQ((ssize_t)SIZE, pread(self->fd, data, SIZE, 0));
	for (size_t i = 0; i < SIZE; i++)
		ASSERT_EQ(0, data[i]);
}

TEST_F(memory, a_fresh_mapping_is_zero)
{
	const char *p = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, self->fd, 0);

	ASSERT_NE(MAP_FAILED, p);
	for (size_t i = 0; i < SIZE; i++)
		ASSERT_EQ(0, p[i]);
}

TEST_F(memory, reads_what_was_written)
{
	static char out[SIZE], in[SIZE];

	for (size_t i = 0; i < SIZE; i++)
		out[i] = i * 7 + (i >> 12);
	/* Neither end on a page's. */
	ASSERT_EQ((ssize_t)SIZE - 1234, pwrite(self->fd, out, SIZE - 1234, 617));
	ASSERT_EQ((ssize_t)SIZE - 1234, pread(self->fd, in, SIZE - 1234, 617));
	EXPECT_EQ(0, memcmp(out, in, SIZE - 1234));
	ASSERT_EQ(617, pread(self->fd, in, 617, 0));
	for (int i = 0; i < 617; i++)
		ASSERT_EQ(0, in[i]);
}

TEST_F(memory, ends_where_it_ends)
{
	char data[100] = { 0 };

	EXPECT_EQ(10, pread(self->fd, data, 100, SIZE - 10));
	EXPECT_EQ(0, pread(self->fd, data, 100, SIZE));
	EXPECT_GE(0, pread(self->fd, data, 100, SIZE + 1));
	EXPECT_GE(0, pread(self->fd, data, 100, LLONG_MAX - 50));
	EXPECT_EQ(10, pwrite(self->fd, data, 100, SIZE - 10));
	EXPECT_GE(0, pwrite(self->fd, data, 100, SIZE));
	EXPECT_GE(0, pwrite(self->fd, data, 100, LLONG_MAX - 50));
	EXPECT_EQ(-1, pread(self->fd, data, 100, -1));
	EXPECT_EQ(EINVAL, errno);
	/* It has not grown. */
	EXPECT_EQ(0, pread(self->fd, data, 100, SIZE));
}

TEST_F(memory, bad_user_pointers)
{
	char *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char c;

	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(0, munmap(p + PAGE, PAGE));
	EXPECT_EQ(-1, pread(self->fd, p + PAGE, 8, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, pwrite(self->fd, p + PAGE, 8, 0));
	EXPECT_EQ(EFAULT, errno);
	/* Half of it can be done: as much, or nothing. */
	memset(p, 'w', PAGE);
	errno = 0;
	EXPECT_NE(16, pwrite(self->fd, p + PAGE - 8, 16, 0));
	ASSERT_EQ(1, pread(self->fd, &c, 1, 8));
	EXPECT_EQ(0, c);
}

TEST_F(memory, mapping_and_reads_are_coherent)
{
	char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		       self->fd, 0);
	char *q = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
		       self->fd, 5 * PAGE);
	char data[8];

	ASSERT_NE(MAP_FAILED, p);
	ASSERT_NE(MAP_FAILED, q);
	strcpy(p + 5 * PAGE, "mapped");
	ASSERT_EQ(8, pread(self->fd, data, 8, 5 * PAGE));
	EXPECT_STREQ("mapped", data);
	EXPECT_STREQ("mapped", q);
	ASSERT_EQ(8, pwrite(self->fd, "written", 8, 5 * PAGE));
	EXPECT_STREQ("written", p + 5 * PAGE);
	EXPECT_STREQ("written", q);
	ASSERT_EQ(0, munmap(p, SIZE));
	EXPECT_STREQ("written", q);
	/* The mapping holds the object. */
	ASSERT_EQ(0, close(self->fd));
	strcpy(q + PAGE - 8, "closed");
	EXPECT_STREQ("closed", q + PAGE - 8);
}

TEST_F(memory, mapping_survives_fork)
{
	char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		       self->fd, 0);
	int status;
	pid_t pid;

	ASSERT_NE(MAP_FAILED, p);
	p[0] = 1;
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		p[PAGE] = p[0] + 1;
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(2, p[PAGE]);
}

TEST_F(memory, refuses_private_mappings)
{
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE, self->fd, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE,
				   self->fd, 0));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(memory, nothing_behind_the_end_can_be_touched)
{
	char *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
		       self->fd, SIZE - PAGE);

	if (p == MAP_FAILED) {
		EXPECT_EQ(EINVAL, errno);
	} else {
		EXPECT_EQ(0, touch(p, true));
		EXPECT_EQ(SIGBUS, touch(p + PAGE, true));
		EXPECT_EQ(SIGBUS, touch(p + PAGE, false));
	}
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd,
		 1ULL << 62);
	EXPECT_TRUE(p == MAP_FAILED || touch(p, true) == SIGBUS);
}

TEST_F(memory, a_mapping_does_not_grow)
{
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
		       self->fd, 0);

	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(MAP_FAILED, mremap(p, PAGE, 2 * PAGE, MREMAP_MAYMOVE));
	EXPECT_EQ(0, touch(p, true));
}

TEST_F(memory, a_read_only_mapping_is_not_writable)
{
	char *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->fd, 0);

	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(0, touch(p, false));
	EXPECT_EQ(SIGSEGV, touch(p, true));
}

/* Copies work: of any file into the mapping, and out of it. */
TEST_F(memory, buffered_io_works)
{
	char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		       self->fd, 0);
	int exe = open("/proc/self/exe", O_RDONLY);
	int fds[2];

	ASSERT_NE(MAP_FAILED, p);
	ASSERT_LE(0, exe);
	ASSERT_EQ(4, read(exe, p + PAGE - 2, 4));
	EXPECT_EQ(0, memcmp(p + PAGE - 2, "\177ELF", 4));
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(4, write(fds[1], p + PAGE - 2, 4));
	ASSERT_EQ(4, read(fds[0], p + 3 * PAGE, 4));
	EXPECT_EQ(0, memcmp(p + 3 * PAGE, "\177ELF", 4));
}

/*
 * A pinned page would go on being written after the memory is frozen, so
 * get_user_pages() must refuse. vmsplice() pins as O_DIRECT does, which few
 * file systems have; io_uring's fixed buffers are for long.
 */
TEST_F(memory, cannot_be_pinned)
{
	char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		       self->fd, 0);
	char data[8];
	struct iovec remote = { .iov_base = p, .iov_len = sizeof(data) };
	struct iovec local = { .iov_base = data, .iov_len = sizeof(data) };
	struct io_uring_params params = { .flags = 0 };
	int fds[2], ring;

	ASSERT_NE(MAP_FAILED, p);
	p[0] = 1;
	ASSERT_EQ(0, pipe(fds));
	EXPECT_EQ(-1, vmsplice(fds[1], &remote, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	ring = syscall(__NR_io_uring_setup, 4, &params);
	ASSERT_LE(0, ring);
	EXPECT_EQ(-1, syscall(__NR_io_uring_register, ring,
			      IORING_REGISTER_BUFFERS, &remote, 1));
	EXPECT_EQ(EFAULT, errno);
	/* It is not io_uring that is missing here. */
	EXPECT_EQ(0, syscall(__NR_io_uring_register, ring,
			     IORING_REGISTER_BUFFERS, &local, 1));
	EXPECT_EQ(-1, process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, process_vm_writev(getpid(), &local, 1, &remote, 1, 0));
	EXPECT_EQ(EFAULT, errno);
}

TEST_HARNESS_MAIN
