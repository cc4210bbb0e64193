// SPDX-License-Identifier: GPL-2.0
/* Slots: what is refused, and that a refusal leaves the slots as they were. */
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "../harness.h"
#include "../raw.h"

#define OBJECT_SIZE (16 * PAGE)

FIXTURE(slot) {
	int sys;
	int vm;
	int memory;
	struct wisp_query query;
};

FIXTURE_SETUP(slot)
{
	char page[WISP_PAGE_SIZE];

	self->sys = raw_open();
	ASSERT_LE(0, self->sys);
	ASSERT_EQ(0, raw_query(self->sys, &self->query));
	self->vm = raw_create_vm(self->sys);
	ASSERT_LE(0, self->vm);
	self->memory = raw_create_memory(self->sys, OBJECT_SIZE);
	ASSERT_LE(0, self->memory);
	/* Each page of the object holds its number. */
	for (size_t i = 0; i < OBJECT_SIZE / PAGE; i++) {
		memset(page, 'a' + i, sizeof(page));
		ASSERT_EQ((ssize_t)PAGE, pwrite(self->memory, page, PAGE,
						i * PAGE));
	}
}

FIXTURE_TEARDOWN(slot)
{
	close(self->memory);
	close(self->vm);
	close(self->sys);
}

/* What stands at @gpa, or -errno. */
static int at(int vm, __u64 gpa)
{
	char c;
	ssize_t ret = pread(vm, &c, 1, gpa);

	if (ret < 0)
		return -errno;
	return ret == 1 ? c : 0;
}

TEST_F(slot, map_look_remove)
{
	int fd = self->vm;

	EXPECT_EQ(-EFAULT, at(fd, 0x10000));
	ASSERT_EQ(0, raw_set_slot(fd, 3, 0x10000, 2 * PAGE, self->memory,
				  5 * PAGE, PROT_RWX));
	EXPECT_EQ(-EFAULT, at(fd, 0xffff));
	EXPECT_EQ('a' + 5, at(fd, 0x10000));
	EXPECT_EQ('a' + 5, at(fd, 0x10fff));
	EXPECT_EQ('a' + 6, at(fd, 0x11000));
	EXPECT_EQ('a' + 6, at(fd, 0x11fff));
	EXPECT_EQ(-EFAULT, at(fd, 0x12000));
	ASSERT_EQ(0, raw_remove_slot(fd, 3));
	EXPECT_EQ(-EFAULT, at(fd, 0x10000));
	EXPECT_EQ(-ENOENT, raw_remove_slot(fd, 3));
}

TEST_F(slot, numbers)
{
	__u32 max = self->query.max_slots;

	EXPECT_EQ(0, raw_set_slot(self->vm, max - 1, 0, PAGE, self->memory, 0,
				  PROT_R));
	EXPECT_EQ(-EINVAL, raw_set_slot(self->vm, max, PAGE, PAGE,
					self->memory, 0, PROT_R));
	EXPECT_EQ(-EINVAL, raw_set_slot(self->vm, 0x80000000, PAGE, PAGE,
					self->memory, 0, PROT_R));
	EXPECT_EQ(-EINVAL, raw_set_slot(self->vm, ~0U, PAGE, PAGE,
					self->memory, 0, PROT_R));
	EXPECT_EQ(-EINVAL, raw_remove_slot(self->vm, max));
	EXPECT_EQ(-EINVAL, raw_remove_slot(self->vm, ~0U));
	EXPECT_EQ(-ENOENT, raw_remove_slot(self->vm, 0));
}

TEST_F(slot, every_number_at_once)
{
	__u32 max = self->query.max_slots;

	for (__u32 i = 0; i < max; i++) {
		ASSERT_EQ(0, raw_set_slot(self->vm, i, 2 * i * PAGE, PAGE,
					  self->memory, i % 16 * PAGE, PROT_R))
			TH_LOG("slot %u", i);
	}
	for (__u32 i = 0; i < max; i++) {
		ASSERT_EQ('a' + (int)(i % 16), at(self->vm, 2 * i * PAGE))
			TH_LOG("slot %u", i);
		ASSERT_EQ(-EFAULT, at(self->vm, (2 * i + 1) * PAGE))
			TH_LOG("slot %u", i);
	}
}

static const struct {
	const char *what;
	__u64 gpa;
	__u64 size;
	__u64 offset;
} wrong_ranges[] = {
	{ "gpa not aligned", 0x800, PAGE, 0 },
	{ "gpa off by one", PAGE + 1, PAGE, 0 },
	{ "size not aligned", 0, PAGE + 0x800, 0 },
	{ "size of a byte", 0, 1, 0 },
	{ "offset not aligned", 0, PAGE, 0x10 },
	{ "a page past the object", 0, OBJECT_SIZE + PAGE, 0 },
	{ "an offset makes it a page too long", 0, OBJECT_SIZE, PAGE },
	{ "starts at the object's end", 0, PAGE, OBJECT_SIZE },
	{ "starts behind the object", 0, PAGE, 1ULL << 40 },
	{ "offset + size wraps", 0, 2 * PAGE, -PAGE },
	{ "offset + size wraps to the start", 0, PAGE, -PAGE },
	{ "gpa + size wraps", -PAGE, 2 * PAGE, 0 },
	{ "gpa + size wraps to zero", -PAGE, PAGE, 0 },
	{ "gpa with the top bit", 1ULL << 63, PAGE, 0 },
	{ "huge", 0, 1ULL << 40, 0 },
	{ "larger than everything", 0, -PAGE, 0 },
	{ "half of everything, from its middle", 1ULL << 63, 1ULL << 63, 0 },
};

TEST_F(slot, ranges)
{
	for (size_t i = 0; i < ARRAY_SIZE(wrong_ranges); i++) {
		EXPECT_EQ(-EINVAL,
			  raw_set_slot(self->vm, 0, wrong_ranges[i].gpa,
				       wrong_ranges[i].size, self->memory,
				       wrong_ranges[i].offset, PROT_RWX))
			TH_LOG("%s", wrong_ranges[i].what);
	}
	/* None of them is there. */
	EXPECT_EQ(-ENOENT, raw_remove_slot(self->vm, 0));
}

TEST_F(slot, the_last_page_of_the_address_space)
{
	__u64 end = 1ULL << self->query.gpa_bits;

	EXPECT_EQ(-EINVAL, raw_set_slot(self->vm, 0, end, PAGE, self->memory,
					0, PROT_R));
	EXPECT_EQ(-EINVAL, raw_set_slot(self->vm, 0, end - PAGE, 2 * PAGE,
					self->memory, 0, PROT_R));
	/* What can be mapped can be read and unmapped. */
	EXPECT_EQ(0, raw_set_slot(self->vm, 0, end - PAGE, PAGE, self->memory,
				  PAGE, PROT_R));
	EXPECT_EQ('b', at(self->vm, end - 1));
	EXPECT_EQ(0, raw_remove_slot(self->vm, 0));
	EXPECT_EQ(-EFAULT, at(self->vm, end - 1));
}

TEST_F(slot, protections)
{
	static const struct {
		__u32 prot;
		int result;
	} rows[] = {
		{ PROT_R, 0 }, { PROT_RW, 0 }, { PROT_RX, 0 }, { PROT_RWX, 0 },
		{ 0, -EINVAL },
		{ WISP_PROT_WRITE, -EINVAL },
		{ WISP_PROT_EXEC, -EINVAL },
		{ WISP_PROT_WRITE | WISP_PROT_EXEC, -EINVAL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		EXPECT_EQ(rows[i].result,
			  raw_set_slot(self->vm, 0, 0, PAGE, self->memory, 0,
				       rows[i].prot))
			TH_LOG("prot %#x", rows[i].prot);
	}
	for (int bit = 3; bit < 32; bit++) {
		EXPECT_EQ(-EOPNOTSUPP,
			  raw_set_slot(self->vm, 0, 0, PAGE, self->memory, 0,
				       PROT_R | 1U << bit))
			TH_LOG("prot bit %d", bit);
	}
}

TEST_F(slot, overlaps)
{
	static const struct {
		__u64 gpa;
		__u64 size;
		int result;
	} rows[] = {
		{ 0x10000, 4 * PAGE, -EEXIST },	/* the same */
		{ 0x11000, 1 * PAGE, -EEXIST },	/* inside */
		{ 0x0f000, 2 * PAGE, -EEXIST },	/* its first page */
		{ 0x13000, 2 * PAGE, -EEXIST },	/* its last page */
		{ 0x0f000, 8 * PAGE, -EEXIST },	/* around it */
		{ 0x00000, 16 * PAGE, 0 },	/* up to its start */
		{ 0x14000, 12 * PAGE, 0 },	/* from its end */
	};

	ASSERT_EQ(0, raw_set_slot(self->vm, 0, 0x10000, 4 * PAGE,
				  self->memory, 0, PROT_RWX));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		EXPECT_EQ(rows[i].result,
			  raw_set_slot(self->vm, 1 + i, rows[i].gpa,
				       rows[i].size, self->memory, 0, PROT_R))
			TH_LOG("row %zu", i);
		EXPECT_EQ(rows[i].result ? -ENOENT : 0,
			  raw_remove_slot(self->vm, 1 + i))
			TH_LOG("row %zu", i);
	}
	EXPECT_EQ('a', at(self->vm, 0x10000));
	EXPECT_EQ('d', at(self->vm, 0x13fff));
}

TEST_F(slot, replacing)
{
	ASSERT_EQ(0, raw_set_slot(self->vm, 0, 0x10000, 4 * PAGE,
				  self->memory, 0, PROT_RWX));
	ASSERT_EQ(0, raw_set_slot(self->vm, 1, 0x20000, PAGE, self->memory,
				  8 * PAGE, PROT_RWX));

	/* Over its own old place, elsewhere in the object. */
	EXPECT_EQ(0, raw_set_slot(self->vm, 0, 0x12000, 4 * PAGE,
				  self->memory, 4 * PAGE, PROT_RWX));
	EXPECT_EQ(-EFAULT, at(self->vm, 0x10000));
	EXPECT_EQ('a' + 4, at(self->vm, 0x12000));
	EXPECT_EQ('a' + 7, at(self->vm, 0x15000));

	/* Onto another: refused, and the old one stands. */
	EXPECT_EQ(-EEXIST, raw_set_slot(self->vm, 0, 0x20000, PAGE,
					self->memory, 0, PROT_RWX));
	EXPECT_EQ(-EINVAL, raw_set_slot(self->vm, 0, 0x30000, PAGE,
					self->memory, OBJECT_SIZE, PROT_RWX));
	EXPECT_EQ(-EBADF, raw_set_slot(self->vm, 0, 0x30000, PAGE, -1, 0,
				       PROT_RWX));
	EXPECT_EQ('a' + 4, at(self->vm, 0x12000));
	EXPECT_EQ('a' + 8, at(self->vm, 0x20000));
}

TEST_F(slot, removing_takes_no_arguments)
{
	ASSERT_EQ(0, raw_set_slot(self->vm, 0, 0x10000, PAGE, self->memory, 0,
				  PROT_R));
	EXPECT_EQ(-EINVAL, raw_set_slot(self->vm, 0, 0, 0, self->memory, 0, 0));
	EXPECT_EQ(-EINVAL, raw_set_slot(self->vm, 0, 0, 0, -1, 0, 0));
	EXPECT_EQ(-EINVAL, raw_set_slot(self->vm, 0, 0x10000, 0, 0, 0, 0));
	EXPECT_EQ(-EINVAL, raw_set_slot(self->vm, 0, 0, 0, 0, PAGE, 0));
	EXPECT_EQ(-EINVAL, raw_set_slot(self->vm, 0, 0, 0, 0, 0, PROT_R));
	EXPECT_EQ('a', at(self->vm, 0x10000));
	EXPECT_EQ(0, raw_remove_slot(self->vm, 0));
}

TEST_F(slot, the_memory_argument)
{
	int null = open("/dev/null", O_RDWR);
	int pipes[2];

	ASSERT_LE(0, null);
	ASSERT_EQ(0, pipe(pipes));
	EXPECT_EQ(-EBADF, raw_set_slot(self->vm, 0, 0, PAGE, -1, 0, PROT_R));
	EXPECT_EQ(-EBADF, raw_set_slot(self->vm, 0, 0, PAGE, 9999, 0, PROT_R));
	EXPECT_EQ(-EBADF, raw_set_slot(self->vm, 0, 0, PAGE, -2147483647, 0,
				       PROT_R));
	EXPECT_EQ(-EINVAL, raw_set_slot(self->vm, 0, 0, PAGE, self->sys, 0,
					PROT_R));
	EXPECT_EQ(-EINVAL, raw_set_slot(self->vm, 0, 0, PAGE, self->vm, 0,
					PROT_R));
	EXPECT_EQ(-EINVAL, raw_set_slot(self->vm, 0, 0, PAGE, null, 0, PROT_R));
	EXPECT_EQ(-EINVAL, raw_set_slot(self->vm, 0, 0, PAGE, pipes[0], 0,
					PROT_R));
}

TEST_F(slot, one_object_in_many_places)
{
	int other = raw_create_vm(self->sys);

	ASSERT_LE(0, other);
	ASSERT_EQ(0, raw_set_slot(self->vm, 0, 0, PAGE, self->memory, 0,
				  PROT_RWX));
	ASSERT_EQ(0, raw_set_slot(self->vm, 1, PAGE, PAGE, self->memory, 0,
				  PROT_RWX));
	ASSERT_EQ(0, raw_set_slot(other, 0, 0x5000, PAGE, self->memory, 0,
				  PROT_RWX));
	ASSERT_EQ(1, pwrite(self->vm, "!", 1, 7));
	EXPECT_EQ('!', at(self->vm, PAGE + 7));
	EXPECT_EQ('!', at(other, 0x5007));
}

/* pread() and pwrite() on the vm fd go by guest-physical address. */
TEST_F(slot, transfers)
{
	char data[3 * WISP_PAGE_SIZE];
	struct iovec nowhere = { .iov_base = (void *)8, .iov_len = 1 };

	ASSERT_EQ(0, raw_set_slot(self->vm, 0, 0x10000, PAGE, self->memory,
				  2 * PAGE, PROT_RWX));
	ASSERT_EQ(0, raw_set_slot(self->vm, 1, 0x11000, PAGE, self->memory,
				  9 * PAGE, PROT_RWX));

	/* Over the border of two slots. */
	ASSERT_EQ(0x20, pread(self->vm, data, 0x20, 0x10ff0));
	EXPECT_EQ('a' + 2, data[0x0f]);
	EXPECT_EQ('a' + 9, data[0x10]);
	ASSERT_EQ(4, pwrite(self->vm, "wisp", 4, 0x10ffe));
	ASSERT_EQ(2, pread(self->memory, data, 2, 3 * PAGE - 2));
	EXPECT_EQ(0, memcmp(data, "wi", 2));
	ASSERT_EQ(2, pread(self->memory, data, 2, 9 * PAGE));
	EXPECT_EQ(0, memcmp(data, "sp", 2));

	/* Out of the last slot: as much as there is. */
	EXPECT_EQ(0x10, pread(self->vm, data, 0x20, 0x11ff0));
	EXPECT_EQ(0x10, pwrite(self->vm, data, 0x20, 0x11ff0));
	EXPECT_EQ((ssize_t)(2 * PAGE), pread(self->vm, data, 3 * PAGE,
					     0x10000));

	/* From outside: nothing. */
	EXPECT_EQ(-1, pread(self->vm, data, 0x20, 0xfff0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, pwrite(self->vm, data, 0x20, 0xfff0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, pread(self->vm, data, 1, 0x12000));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, pread(self->vm, data, 1, 1ULL << 62));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, preadv(self->vm, &nowhere, 1, 0x10000));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(0, pread(self->vm, data, 0, 0x10000));
}

/* A VMM that completes a guest's access gets no further than the guest. */
TEST_F(slot, transfers_and_protections)
{
	char data[2 * WISP_PAGE_SIZE] = { 0 };

	ASSERT_EQ(0, raw_set_slot(self->vm, 0, 0x10000, PAGE, self->memory, 0,
				  PROT_RW));
	ASSERT_EQ(0, raw_set_slot(self->vm, 1, 0x11000, PAGE, self->memory,
				  PAGE, PROT_RX));
	EXPECT_EQ('b', at(self->vm, 0x11000));
	EXPECT_EQ(-1, pwrite(self->vm, data, 1, 0x11000));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ((ssize_t)PAGE, pwrite(self->vm, data, 2 * PAGE, 0x10000));
	EXPECT_EQ('b', at(self->vm, 0x11000));
	EXPECT_EQ(1, pwrite(self->memory, "!", 1, PAGE));
	EXPECT_EQ('!', at(self->vm, 0x11000));
}

/* Two pages, the second of which comes when the test gives it. Returns its fd or -1. */
static int late_page(char **pages)
{
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	*pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (*pages == MAP_FAILED)
		return -1;
	memset(*pages, '!', PAGE);
	range.range = (struct uffdio_range){ (uintptr_t)*pages + PAGE, PAGE };
	return ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &range) ?
		       -1 : fd;
}

struct transfer {
	int vm;
	bool write;
	char *data;
	size_t size;
	__u64 gpa;
	ssize_t done;		/* or -errno */
};

static void *transfer(void *arg)
{
	struct transfer *t = arg;

	t->done = t->write ? pwrite(t->vm, t->data, t->size, t->gpa) :
			     pread(t->vm, t->data, t->size, t->gpa);
	if (t->done < 0)
		t->done = -errno;
	return NULL;
}

/* One that waits for its user's memory finds the slot as it is by then. */
TEST_F(slot, transfers_that_wait)
{
	struct uffdio_zeropage give = { 0 };
	struct transfer t = { .vm = self->vm };
	struct uffd_msg msg;
	pthread_t thread;
	char *pages;
	int fd = late_page(&pages);

	ASSERT_LE(0, fd);
	give.range = (struct uffdio_range){ (uintptr_t)pages + PAGE, PAGE };
	for (int i = 0; i < 6; i++) {
		const int early = i & 1, change = i / 2;

		ASSERT_EQ(0, raw_set_slot(self->vm, 0, 0x10000, 2 * PAGE,
					  self->memory, 0, PROT_RW));
		ASSERT_EQ(0, madvise(pages + PAGE, PAGE, MADV_DONTNEED));
		t.write = change == 1;
		t.data = pages + (early ? 0 : PAGE);
		t.size = early ? 2 * PAGE : PAGE;
		t.gpa = early ? 0x10000 : 0x11000;
		ASSERT_EQ(0, pthread_create(&thread, NULL, transfer, &t));
		ASSERT_EQ((ssize_t)sizeof(msg), read(fd, &msg, sizeof(msg)));
		if (change == 0) {
			ASSERT_EQ(0, raw_remove_slot(self->vm, 0));
		} else {
			ASSERT_EQ(0, raw_set_slot(self->vm, 0, 0x10000, 2 * PAGE,
						  self->memory, change * PAGE,
						  PROT_R));
		}
		ASSERT_EQ(0, ioctl(fd, UFFDIO_ZEROPAGE, &give));
		pthread_join(thread, NULL);
		if (change == 2) {
			EXPECT_EQ((ssize_t)t.size, t.done);
			EXPECT_EQ('d', pages[PAGE]);
		} else {
			EXPECT_EQ(early ? (ssize_t)PAGE : -EFAULT, t.done)
				TH_LOG("round %d", i);
		}
		/* What is not written is not, whatever shows it now. */
		ASSERT_EQ(1, pread(self->memory, &msg, 1, PAGE));
		EXPECT_EQ('b', *(char *)&msg);
	}
	close(fd);
	munmap(pages, 2 * PAGE);
}

TEST_HARNESS_MAIN
