// SPDX-License-Identifier: GPL-2.0
/*
 * Files below memory objects: which are taken, who may ask for it, and who can
 * write to them meanwhile.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "../harness.h"
#include "../raw.h"

#define NPAGES	8
#define SIZE	(NPAGES * PAGE)
#define NOBODY	65534

FIXTURE(file) {
	char path[64];
	int sys;
	int fd;		/* for reading */
};

FIXTURE_SETUP(file)
{
	char page[PAGE];
	int fd;

	strcpy(self->path, "/tmp/layer.XXXXXX");
	self->sys = raw_open();
	ASSERT_LE(0, self->sys);
	fd = mkstemp(self->path);
	ASSERT_LE(0, fd);
	/* Page 3 is a hole. */
	for (int i = 0; i < NPAGES; i++) {
		memset(page, 'a' + i, PAGE);
		if (i != 3)
			ASSERT_EQ((ssize_t)PAGE, pwrite(fd, page, PAGE, i * PAGE));
	}
	close(fd);
	self->fd = open(self->path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(file)
{
	close(self->fd);
	close(self->sys);
	unlink(self->path);
}

static int open_errno(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* What the object's page has, in each byte, or -1. */
static int page_of(int fd, int page)
{
	char data[PAGE];

	if (pread(fd, data, PAGE, page * PAGE) != (ssize_t)PAGE)
		return -1;
	for (unsigned int i = 1; i < PAGE; i++)
		if (data[i] != data[0])
			return -1;
	return data[0];
}

TEST_F(file, reads_as_the_file)
{
	int all, part;

	all = raw_create_memory_over(self->sys, SIZE, self->fd, 0);
	part = raw_create_memory_over(self->sys, 2 * PAGE, self->fd, 5 * PAGE);
	ASSERT_LE(0, all);
	ASSERT_LE(0, part);
	/* They keep the file. */
	close(self->fd);
	for (int i = 0; i < NPAGES; i++)
		EXPECT_EQ(i == 3 ? 0 : 'a' + i, page_of(all, i));
	EXPECT_EQ('f', page_of(part, 0));
	EXPECT_EQ('g', page_of(part, 1));
	EXPECT_EQ(-1, page_of(part, 2));
	close(all);
	EXPECT_EQ('f', page_of(part, 0));
	close(part);
	self->fd = open(self->path, O_RDONLY | O_CLOEXEC);
}

TEST_F(file, is_not_written)
{
	struct wisp_discard discard = {
		.size = sizeof(discard), .offset = 4 * PAGE, .discard_size = 2 * PAGE,
	};
	int fd = raw_create_memory_over(self->sys, SIZE, self->fd, 0);
	int other = raw_create_memory_over(self->sys, SIZE, self->fd, 0);
	volatile char *p;
	char page[PAGE];

	ASSERT_LE(0, fd);
	p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ('a', p[0]);
	p[1] = 'x';
	EXPECT_EQ('a', p[0]);
	EXPECT_EQ('x', p[1]);
	p[3 * PAGE] = 'y';
	memset(page, 'z', PAGE);
	ASSERT_EQ((ssize_t)PAGE, pwrite(fd, page, PAGE, 2 * PAGE));
	ASSERT_EQ(0, raw(fd, WISP_DISCARD, &discard));
	EXPECT_EQ(0, page_of(fd, 4));
	EXPECT_EQ(0, p[5 * PAGE]);
	EXPECT_EQ('z', page_of(fd, 2));
	EXPECT_EQ('g', page_of(fd, 6));
	for (int i = 0; i < NPAGES; i++) {
		EXPECT_EQ(i == 3 ? 0 : 'a' + i, page_of(self->fd, i));
		EXPECT_EQ(i == 3 ? 0 : 'a' + i, page_of(other, i));
	}
	munmap((void *)p, SIZE);
	close(other);
	close(fd);
}

TEST_F(file, which_are_taken)
{
	struct wisp_create_memory arg = {
		.size = sizeof(arg), .memory_size = SIZE, .file = self->fd,
		.flags = WISP_MEMORY_FILE | WISP_MEMORY_HUGE,
	};
	int sockets[2], dir, zero, pipes[2], write_only, memory, vm;

	EXPECT_EQ(-EINVAL, raw(self->sys, WISP_CREATE_MEMORY, &arg));
	arg.flags = 0;
	EXPECT_EQ(-EINVAL, raw(self->sys, WISP_CREATE_MEMORY, &arg));
	arg.file = 0;
	arg.file_offset = PAGE;
	EXPECT_EQ(-EINVAL, raw(self->sys, WISP_CREATE_MEMORY, &arg));

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	ASSERT_EQ(0, pipe(pipes));
	dir = open("/tmp", O_RDONLY);
	zero = open("/dev/zero", O_RDONLY);
	write_only = open(self->path, O_WRONLY);
	memory = raw_create_memory(self->sys, PAGE);
	ASSERT_LE(0, memory);
	vm = raw_create_vm(self->sys);
	ASSERT_LE(0, vm);
	EXPECT_EQ(-EBADF, raw_create_memory_over(self->sys, PAGE, -1, 0));
	EXPECT_EQ(-EBADF, raw_create_memory_over(self->sys, PAGE, 9999, 0));
	EXPECT_EQ(-EBADF, raw_create_memory_over(self->sys, PAGE, write_only, 0));
	EXPECT_EQ(-EINVAL, raw_create_memory_over(self->sys, PAGE, dir, 0));
	EXPECT_EQ(-EINVAL, raw_create_memory_over(self->sys, PAGE, zero, 0));
	EXPECT_EQ(-EINVAL, raw_create_memory_over(self->sys, PAGE, pipes[0], 0));
	EXPECT_EQ(-EINVAL, raw_create_memory_over(self->sys, PAGE, sockets[0], 0));
	EXPECT_EQ(-EINVAL, raw_create_memory_over(self->sys, PAGE, self->sys, 0));
	EXPECT_EQ(-EINVAL, raw_create_memory_over(self->sys, PAGE, memory, 0));
	EXPECT_EQ(-EINVAL, raw_create_memory_over(self->sys, PAGE, vm, 0));
	close(vm);
	close(memory);
	close(write_only);
	close(dir);
	close(zero);
	close(pipes[0]);
	close(pipes[1]);
	close(sockets[0]);
	close(sockets[1]);
}

TEST_F(file, ranges)
{
	const struct {
		__u64 size;
		__u64 offset;
	} bad[] = {
		{ 0, 0 }, { SIZE + PAGE, 0 }, { SIZE, PAGE }, { PAGE, SIZE },
		{ PAGE, 1 }, { PAGE, PAGE - 1 }, { PAGE + 1, 0 },
		{ PAGE, -PAGE }, { SIZE, -PAGE }, { PAGE, 1ULL << 63 },
		{ 1ULL << 45, 0 },
	};
	int fd;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, raw_create_memory_over(self->sys, bad[i].size,
							  self->fd, bad[i].offset))
			TH_LOG("%#llx at %#llx", bad[i].size, bad[i].offset);
	}

	/* Of the last page there must be all. */
	ASSERT_EQ(0, truncate(self->path, SIZE - 1));
	EXPECT_EQ(-EINVAL, raw_create_memory_over(self->sys, SIZE, self->fd, 0));
	fd = raw_create_memory_over(self->sys, SIZE - PAGE, self->fd, 0);
	EXPECT_LE(0, fd);
	close(fd);
	/* None of these keeps it from being written. */
	EXPECT_EQ(0, open_errno(self->path, O_RDWR));
}

TEST_F(file, that_is_being_written)
{
	void *p;
	int fd;

	fd = open(self->path, O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-ETXTBSY, raw_create_memory_over(self->sys, SIZE, fd, 0));
	EXPECT_EQ(-ETXTBSY, raw_create_memory_over(self->sys, SIZE, self->fd, 0));
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	close(fd);
	EXPECT_EQ(-ETXTBSY, raw_create_memory_over(self->sys, SIZE, self->fd, 0));
	munmap(p, PAGE);
	fd = raw_create_memory_over(self->sys, SIZE, self->fd, 0);
	EXPECT_LE(0, fd);
	close(fd);
}

TEST_F(file, nobody_writes_it_later)
{
	int fd = raw_create_memory_over(self->sys, SIZE, self->fd, 0);
	int second = raw_create_memory_over(self->sys, PAGE, self->fd, PAGE);

	ASSERT_LE(0, fd);
	ASSERT_LE(0, second);
	EXPECT_EQ(0, open_errno(self->path, O_RDONLY));
	EXPECT_EQ(-ETXTBSY, open_errno(self->path, O_WRONLY));
	EXPECT_EQ(-ETXTBSY, open_errno(self->path, O_RDWR));
	EXPECT_EQ(-ETXTBSY, open_errno(self->path, O_RDWR | O_TRUNC));
	EXPECT_EQ(-1, truncate(self->path, PAGE));
	EXPECT_EQ(ETXTBSY, errno);
	EXPECT_EQ('h', page_of(fd, NPAGES - 1));
	close(fd);
	EXPECT_EQ(-ETXTBSY, open_errno(self->path, O_RDWR));
	close(second);
	EXPECT_EQ(0, open_errno(self->path, O_RDWR));
}

TEST_F(file, a_memfd_is_sealed)
{
	const unsigned int both = F_SEAL_WRITE | F_SEAL_SHRINK;
	const struct {
		unsigned int seals;
		int error;
	} sealed[] = {
		{ 0, EPERM }, { F_SEAL_WRITE, EPERM }, { F_SEAL_SHRINK, EPERM },
		{ F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK, EPERM },
		{ both, 0 }, { both | F_SEAL_GROW | F_SEAL_SEAL, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(sealed); i++) {
		int file = memfd_create("layer", MFD_ALLOW_SEALING), fd;

		ASSERT_EQ(0, ftruncate(file, SIZE));
		ASSERT_EQ(1, pwrite(file, "m", 1, PAGE));
		ASSERT_EQ(0, fcntl(file, F_ADD_SEALS, sealed[i].seals));
		fd = raw_create_memory_over(self->sys, SIZE, file, 0);
		if (sealed[i].error) {
			EXPECT_EQ(-sealed[i].error, fd)
				TH_LOG("seals %#x", sealed[i].seals);
		} else {
			char c = 0;

			EXPECT_LE(0, fd);
			EXPECT_EQ(1, pread(fd, &c, 1, PAGE));
			EXPECT_EQ('m', c);
			EXPECT_EQ(0, page_of(fd, 2));
		}
		close(fd);
		close(file);
	}
}

/* As somebody else: what the call returns, -errno or 0. */
static int as_nobody(int sys, const char *path)
{
	pid_t pid = fork();
	int status, fd;

	if (!pid) {
		if (setgid(NOBODY) || setuid(NOBODY))
			_exit(255);
		fd = raw_create_memory_over(sys, SIZE, open(path, O_RDONLY), 0);
		_exit(fd < 0 ? -fd : 0);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) ?
		       -WEXITSTATUS(status) : -255;
}

TEST_F(file, a_reader_does_not_keep_writers_out)
{
	ASSERT_EQ(0, chmod(self->path, 0644));
	EXPECT_EQ(-EPERM, as_nobody(self->sys, self->path));
	EXPECT_EQ(0, open_errno(self->path, O_RDWR));
	/* Who may write may also not do so. */
	ASSERT_EQ(0, chmod(self->path, 0666));
	EXPECT_EQ(0, as_nobody(self->sys, self->path));
	ASSERT_EQ(0, chown(self->path, NOBODY, NOBODY));
	ASSERT_EQ(0, chmod(self->path, 0400));
	EXPECT_EQ(0, as_nobody(self->sys, self->path));
}

TEST_HARNESS_MAIN
