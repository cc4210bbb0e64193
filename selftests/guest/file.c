// SPDX-License-Identifier: GPL-2.0
/*
 * Guests over a file: they see what it has, and what they write is their own.
 */
#include <stdlib.h>
#include <sys/param.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "../harness.h"
#include "../files.h"
#include "guest.h"

#define NPAGES	64
#define SIZE	(NPAGES * PAGE)
#define BASE	0x400000
#define HOLE	7
#define SLOT	5

/* Reads the first word of each of ECX pages, and sums them up in RAX. */
SNIPPET(sum, 64,
	"1: hlt\n"
	"	xor %eax, %eax\n"
	"	mov %ecx, %edx\n"
	"	mov $" STR(BASE) ", %esi\n"
	"2:	add (%rsi), %rax\n"
	"	add $0x1000, %rsi\n"
	"	dec %edx\n"
	"	jnz 2b\n"
	"	jmp 1b");

/* Counts in each of them. */
SNIPPET(count, 64,
	"1: hlt\n"
	"	mov %ecx, %edx\n"
	"	mov $" STR(BASE) ", %esi\n"
	"2:	incq (%rsi)\n"
	"	add $0x1000, %rsi\n"
	"	dec %edx\n"
	"	jnz 2b\n"
	"	jmp 1b");

/* Page i begins with this, but for the hole. */
static __u64 word_of(int i)
{
	return i == HOLE ? 0 : 1000 + i;
}

static __u64 sum_of(int npages)
{
	__u64 sum = 0;

	for (int i = 0; i < npages; i++)
		sum += word_of(i);
	return sum;
}

FIXTURE(over) {
	struct guest g;
	int file;
	int memory;
};

FIXTURE_VARIANT(over) {
	const char *type;	/* of the file system; NULL: a memfd */
	const char *options;	/* to mount it */
};

FIXTURE_VARIANT_ADD(over, memfd) { .type = NULL };
FIXTURE_VARIANT_ADD(over, tmpfs) { .type = "tmpfs" };
/* All of it is one folio of the page cache. */
FIXTURE_VARIANT_ADD(over, huge_pages) { .type = "tmpfs", .options = "huge=always" };
/* Its pages are read as those of a file system on a disk are. */
FIXTURE_VARIANT_ADD(over, ramfs) { .type = "ramfs" };

static int fill_file(int fd)
{
	if (ftruncate(fd, SIZE))
		return -1;
	for (int i = 0; i < NPAGES; i++) {
		__u64 word = word_of(i);

		if (word && pwrite(fd, &word, 8, i * PAGE) != 8)
			return -1;
	}
	return 0;
}

static int make_file(const char *type, const char *options)
{
	int fd;

	if (type)
		return file_on(type, options, fill_file);
	fd = memfd_create("over", MFD_ALLOW_SEALING);
	return fill_file(fd) ||
	       fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK) ? -1 : fd;
}

FIXTURE_SETUP(over)
{
	ASSERT_EQ(0, guest_create(&self->g));
	self->file = make_file(variant->type, variant->options);
	ASSERT_LE(0, self->file);
	self->memory = raw_create_memory_over(self->g.sys, SIZE, self->file, 0);
	ASSERT_LE(0, self->memory);
	ASSERT_EQ(0, raw_set_slot(self->g.vm, SLOT, BASE, SIZE, self->memory, 0,
				  PROT_RWX));
}

FIXTURE_TEARDOWN(over)
{
	close(self->memory);
	close(self->file);
	guest_destroy(&self->g);
}

static void stand(struct __test_metadata *_metadata, struct guest *g,
		  const char *code, const char *code_end, __u64 npages)
{
	guest_load(g, LONG64, code, code_end);
	g->page->dirty |= WISP_STATE_GENERAL;
	g->page->state.general.rcx = npages;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(g));
}

static int go(int vm, struct wisp_vcpu_page *page)
{
	page->complete = 1;
	page->want = WISP_STATE_GENERAL;
	return raw_run(vm, 0) ?: (int)page->exit.reason;
}

static __u64 word(int fd, __u64 at)
{
	__u64 value = ~0ULL;

	if (pread(fd, &value, sizeof(value), at) != sizeof(value))
		return ~0ULL;
	return value;
}

static void expect_words(struct __test_metadata *_metadata, int fd, __u64 at,
			 int npages, __u64 more)
{
	for (int i = 0; i < NPAGES; i++) {
		EXPECT_EQ(word_of(i) + (i < npages ? more : 0),
			  word(fd, at + i * PAGE)) TH_LOG("page %d", i);
	}
}

TEST_F(over, a_guest_reads_it)
{
	stand(_metadata, &self->g, sum, sum_end, NPAGES);
	ASSERT_EQ(WISP_EXIT_HLT, go(self->g.vm, self->g.page));
	EXPECT_EQ(sum_of(NPAGES), self->g.page->state.general.rax);
}

TEST_F(over, a_guest_writes_its_own)
{
	struct guest other;
	int memory;

	ASSERT_EQ(0, guest_create(&other));
	memory = raw_create_memory_over(other.sys, SIZE, self->file, 0);
	ASSERT_LE(0, memory);
	ASSERT_EQ(0, raw_set_slot(other.vm, SLOT, BASE, SIZE, memory, 0, PROT_RWX));
	stand(_metadata, &other, sum, sum_end, NPAGES);
	ASSERT_EQ(WISP_EXIT_HLT, go(other.vm, other.page));

	stand(_metadata, &self->g, count, count_end, 20);
	ASSERT_EQ(WISP_EXIT_HLT, go(self->g.vm, self->g.page));
	ASSERT_EQ(WISP_EXIT_HLT, go(self->g.vm, self->g.page));
	expect_words(_metadata, self->g.vm, BASE, 20, 2);
	expect_words(_metadata, self->memory, 0, 20, 2);
	expect_words(_metadata, self->file, 0, 0, 0);
	expect_words(_metadata, memory, 0, 0, 0);
	ASSERT_EQ(WISP_EXIT_HLT, go(other.vm, other.page));
	EXPECT_EQ(sum_of(NPAGES), other.page->state.general.rax);
	close(memory);
	guest_destroy(&other);
}

/* As what is under a snapshot: one VM may write it. */
TEST_F(over, one_vm_writes_an_object)
{
	struct guest other;

	ASSERT_EQ(0, guest_create(&other));
	EXPECT_EQ(-EBUSY, raw_set_slot(other.vm, SLOT, BASE, SIZE, self->memory, 0,
				       PROT_RW));
	guest_destroy(&other);
}

TEST_F(over, snapshots_forks_and_resets)
{
	struct wisp_discard discard = {
		.size = sizeof(discard), .offset = 10 * PAGE,
		.discard_size = 30 * PAGE,
	};
	struct wisp_vcpu_page *page;
	int s, child;

	stand(_metadata, &self->g, count, count_end, 20);
	ASSERT_EQ(WISP_EXIT_HLT, go(self->g.vm, self->g.page));
	s = raw_snapshot(self->g.vm);
	ASSERT_LE(0, s);
	child = raw_fork(self->g.sys, s);
	ASSERT_LE(0, child);
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, child, 0);
	ASSERT_NE(MAP_FAILED, page);
	for (int round = 0; round < 3; round++) {
		ASSERT_EQ(WISP_EXIT_HLT, go(child, page));
		expect_words(_metadata, child, BASE, 20, 2);
		expect_words(_metadata, s, BASE, 20, 1);
		ASSERT_EQ(WISP_EXIT_HLT, go(self->g.vm, self->g.page));
		ASSERT_EQ(0, raw(self->memory, WISP_DISCARD, &discard));
		for (int i = 10; i < 40; i++)
			EXPECT_EQ(0ULL, word(self->g.vm, BASE + i * PAGE));
		ASSERT_EQ(WISP_EXIT_HLT, go(self->g.vm, self->g.page));
		EXPECT_EQ(1ULL, word(self->g.vm, BASE + 12 * PAGE));
		EXPECT_EQ(word_of(3) + 3, word(self->g.vm, BASE + 3 * PAGE));
		EXPECT_EQ(word_of(41), word(self->g.vm, BASE + 41 * PAGE));
		ASSERT_EQ(0, raw_reset(self->g.vm, s));
		expect_words(_metadata, self->g.vm, BASE, 20, 1);
		ASSERT_EQ(0, raw_reset(child, -1));
		expect_words(_metadata, child, BASE, 20, 1);
	}
	/* The child is alone with the file. */
	close(s);
	close(self->memory);
	close(self->file);
	guest_destroy(&self->g);
	ASSERT_EQ(WISP_EXIT_HLT, go(child, page));
	expect_words(_metadata, child, BASE, 20, 2);
	munmap(page, PAGE);
	close(child);
	ASSERT_EQ(0, guest_create(&self->g));
	self->file = dup(self->g.sys);
	self->memory = dup(self->g.sys);
}

/* Objects that begin anywhere in the file have what is there. */
TEST_F(over, parts_of_it)
{
	const int npages = 5;
	__u64 word;
	int memory;

	for (int first = 1; first < NPAGES - npages; first += 7) {
		memory = raw_create_memory_over(self->g.sys, npages * PAGE, self->file,
						first * PAGE);
		ASSERT_LE(0, memory);
		for (int i = npages - 1; i >= 0; i--) {
			ASSERT_EQ(8, pread(memory, &word, 8, i * PAGE));
			EXPECT_EQ(word_of(first + i), word);
		}
		close(memory);
	}
}

/* A page that was not asked for is not read: of a hole it would be there. */
TEST_F(over, only_what_is_touched_is_read)
{
	const int npages = 1024, touched = 5;
	int file = memfd_create("holes", MFD_ALLOW_SEALING), memory;
	struct stat st;

	ASSERT_EQ(0, ftruncate(file, npages * PAGE));
	ASSERT_EQ(0, fcntl(file, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK));
	memory = raw_create_memory_over(self->g.sys, npages * PAGE, file, 0);
	ASSERT_LE(0, memory);
	ASSERT_EQ(0, raw_set_slot(self->g.vm, SLOT, BASE, npages * PAGE, memory, 0,
				  PROT_RW));
	stand(_metadata, &self->g, count, count_end, touched);
	ASSERT_EQ(WISP_EXIT_HLT, go(self->g.vm, self->g.page));
	ASSERT_EQ(0, fstat(file, &st));
	EXPECT_EQ(touched * (__s64)PAGE / 512, st.st_blocks);
	close(memory);
	close(file);
}

/* A fork that has its PAE tables there, which the CPU reads, or the driver for it. */
static void run_by_tables_at(struct __test_metadata *_metadata, int vm, __u64 cr3)
{
	struct wisp_vcpu_page *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
					   MAP_SHARED, vm, 0);

	ASSERT_NE(MAP_FAILED, page);
	state_protected(&page->state, GUEST_CODE);
	page->state.control.cr0 |= CR0_PG;
	page->state.control.cr3 = cr3;
	page->state.control.cr4 |= CR4_PAE;
	page->dirty = STATE_ALL;
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, raw_run(vm, 0));
		EXPECT_EQ(WISP_EXIT_MEMORY, page->exit.reason)
			TH_LOG("%s", guest_exit_name(page->exit.reason));
		EXPECT_EQ(cr3, page->exit.memory.gpa);
		EXPECT_EQ(WISP_MEMORY_IO | WISP_MEMORY_WALK,
			  page->exit.memory.flags);
	}
	munmap(page, PAGE);
}

/* Fills self->memory with a page of it that is broken: only its owner dies. */
TEST(a_page_that_cannot_be_read)
{
	int file = make_file("tmpfs", NULL), memory, status, s, vm;
	struct guest g;
	char *p, c;
	pid_t pid;

	ASSERT_LE(0, file);
	pid = fork();
	if (!pid) {
		p = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, file, 0);
		if (p == MAP_FAILED || p[3 * PAGE] != (char)word_of(3))
			_exit(2);
		/* It is killed where the page is dirty, as this one is. */
		_exit(madvise(p + 3 * PAGE, PAGE, MADV_HWPOISON) ? errno : 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	if (WIFEXITED(status) && WEXITSTATUS(status) == EINVAL) {
		close(file);
		SKIP(return, "the kernel cannot break pages");
	}

	ASSERT_EQ(0, guest_create(&g));
	memory = raw_create_memory_over(g.sys, SIZE, file, 0);
	ASSERT_LE(0, memory);
	ASSERT_EQ(0, raw_set_slot(g.vm, SLOT, BASE, SIZE, memory, 0, PROT_RWX));
	stand(_metadata, &g, sum, sum_end, NPAGES);
	s = raw_snapshot(g.vm);
	ASSERT_LE(0, s);
	for (int i = 0; i < 2; i++) {
		g.page->complete = !i;
		ASSERT_EQ(0, raw_run(g.vm, 0));
		EXPECT_EQ(WISP_EXIT_MEMORY, g.page->exit.reason);
		EXPECT_EQ((__u64)BASE + 3 * PAGE, g.page->exit.memory.gpa);
		EXPECT_EQ(WISP_MEMORY_IO, g.page->exit.memory.flags);
	}
	EXPECT_EQ(-1, pread(memory, &c, 1, 3 * PAGE));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-1, pwrite(memory, "x", 1, 3 * PAGE));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-1, pread(s, &c, 1, BASE + 3 * PAGE));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(word_of(4), word(memory, 4 * PAGE));
	pid = fork();
	if (!pid) {
		p = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, memory, 0);
		if (p == MAP_FAILED || p[4 * PAGE] != (char)word_of(4))
			_exit(2);
		_exit(p[3 * PAGE]);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	vm = raw_fork(g.sys, s);
	ASSERT_LE(0, vm);
	run_by_tables_at(_metadata, vm, BASE + 3 * PAGE);
	close(vm);
	/* The guest can go on without the page. */
	ASSERT_EQ(0, raw(memory, WISP_DISCARD, &(struct wisp_discard){
			.size = sizeof(struct wisp_discard), .offset = 3 * PAGE,
			.discard_size = PAGE }));
	ASSERT_EQ(0, raw_run(g.vm, 0));
	EXPECT_EQ(WISP_EXIT_HLT, g.page->exit.reason);
	EXPECT_EQ(sum_of(NPAGES) - word_of(3), g.page->state.general.rax);
	close(s);
	close(memory);
	close(file);
	guest_destroy(&g);
}

/* That is counted by what it is made of, and not page by page, which takes minutes. */
TEST(all_of_a_large_one_is_dirty)
{
	struct wisp_discard discard = { .size = sizeof(discard) };
	int file = memfd_create("hole", MFD_ALLOW_SEALING), memory, s;
	__u64 pages[16], size;
	struct guest g;
	time_t start;

	ASSERT_EQ(0, guest_create(&g));
	size = MIN(1ULL << (g.query.gpa_bits - 1), 1ULL << 42);
	discard.discard_size = size;
	ASSERT_EQ(0, ftruncate(file, size));
	ASSERT_EQ(0, fcntl(file, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK));
	memory = raw_create_memory_over(g.sys, size, file, 0);
	ASSERT_LE(0, memory);
	s = raw_snapshot(g.vm);
	ASSERT_LE(0, s);
	ASSERT_EQ(0, raw_set_slot(g.vm, SLOT, size, size, memory, 0, PROT_RW));
	EXPECT_EQ(0, raw_dirty(g.vm, pages, ARRAY_SIZE(pages)));
	ASSERT_EQ(0, raw(memory, WISP_DISCARD, &discard));
	ASSERT_EQ(1, pwrite(memory, "x", 1, 3 * PAGE));
	start = time(NULL);
	EXPECT_EQ((int)(size / PAGE), raw_dirty(g.vm, pages, ARRAY_SIZE(pages)));
	EXPECT_GT(3, time(NULL) - start);
	for (__u64 i = 0; i < ARRAY_SIZE(pages); i++)
		EXPECT_EQ(size + i * PAGE, pages[i]);
	close(s);
	close(memory);
	close(file);
	guest_destroy(&g);
}

TEST_HARNESS_MAIN
