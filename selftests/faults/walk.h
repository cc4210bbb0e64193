/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The walk: each call with its first allocation or user copy failing, then its
 * second, and so on up to a call in which nothing failed. Each works or fails with
 * an errno that it documents; one that fails has changed nothing, so that it works
 * when it is made again. What leaks, the debug lab finds.
 */
#ifndef WISP_SELFTESTS_WALK_H
#define WISP_SELFTESTS_WALK_H

#include <dirent.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "../harness.h"
#include "../raw.h"
#include "../state.h"
#include "inject.h"

/* More than any call has: one that never gets to its end does not end us. */
#define MAX_POINTS	2000
#define MAX_SECONDS	900	/* the longest is one minute in QEMU, ten in Bochs */

#define ROOT	"/sys/fs/cgroup"
#define GROUP	ROOT "/wisp-faults"

/*
 * Slot 0 is the object's beginning, at 0; slot 1 its last page, at the reset
 * vector. The two are far apart in the object and in the guest, so that both
 * need tables of their own.
 */
#define MEMORY_SIZE	(64 * 1024 * PAGE)
#define LOW_SIZE	(16 * PAGE)
#define RESET_GPA	0xfffff000ULL
#define RESET_OFFSET	(MEMORY_SIZE - PAGE)
#define RESET_RIP	0xff0	/* in its page */
#define RESET_IP	0xfff0ULL

#define FILE_BYTE	0x66

#define MSR		0x123	/* what ECX has */

/* 16-bit: mov al, 0x55; mov [0x1000], al; mov [0x3000], al; hlt */
static const __u8 touch[] = {
	0xb0, 0x55, 0xa2, 0x00, 0x10, 0xa2, 0x00, 0x30, 0xf4
};

/* mov al, 0x55; mov di, 0x1000; mov cx, 12; 1: stosb; add di, 0xfff; loop 1b; hlt */
static const __u8 touch_many[] = {
	0xb0, 0x55, 0xbf, 0x00, 0x10, 0xb9, 0x0c, 0x00, 0xaa, 0x81, 0xc7, 0xff,
	0x0f, 0xe2, 0xf9, 0xf4
};

/* What a call starts from; each stage has the ones before. */
enum stage { SYSTEM, MEMORY, VM, SLOTS, VCPU };

struct machine {
	int sys;
	int memory;
	int vm;
	int fd;				/* what the call made */
	int file;			/* below memory */
	int snapshots[2];
	struct wisp_vcpu_page *page;	/* of vCPU 0 */
	bool refused;			/* RUN has told the VMM of the fault */
	bool fell_back;			/* to single pages */
	bool untold;			/* nobody can tell whether it has */
	pthread_t runner;		/* of vCPU 0, until @stop */
	bool has_runner;
	bool stop;
	int ended;			/* why @runner has, if not for that */
	char *map;			/* what the call mapped, or touches */
	size_t map_size;
	struct wisp_state *before;
	struct wisp_state *state;	/* what the call gets or sets */
	char buffer[64];
	__u64 pages[8];
};

/* ---- the machine --------------------------------------------------------- */

static inline int write_at(int fd, const void *data, size_t size, __u64 offset)
{
	return pwrite(fd, data, size, offset) == (ssize_t)size ? 0 : -EIO;
}

static inline int set_slots(struct machine *m)
{
	return raw_set_slot(m->vm, 0, 0, LOW_SIZE, m->memory, 0, PROT_RWX) ?:
	       raw_set_slot(m->vm, 1, RESET_GPA, PAGE, m->memory, RESET_OFFSET,
			    PROT_RX) ?:
	       write_at(m->memory, touch, sizeof(touch), RESET_OFFSET + RESET_RIP);
}

/* @arg: of the VM */
static inline int machine_create(struct machine *m,
				 const struct wisp_create_vm *arg,
				 enum stage stage)
{
	memset(m, 0, sizeof(*m));
	m->memory = -1;
	m->vm = -1;
	m->fd = -1;
	m->file = -1;
	m->snapshots[0] = -1;
	m->snapshots[1] = -1;
	m->before = calloc(2, sizeof(*m->before));
	m->state = m->before + 1;
	m->sys = raw_open();
	if (stage >= MEMORY)
		m->memory = raw_create_memory(m->sys, MEMORY_SIZE);
	if (stage >= VM)
		m->vm = raw(m->sys, WISP_CREATE_VM, arg);
	if (m->sys < 0 || (stage >= MEMORY && m->memory < 0) ||
	    (stage >= VM && m->vm < 0))
		return -EIO;
	if (stage >= SLOTS && set_slots(m))
		return -EIO;
	if (stage >= VCPU && (raw_create_vcpu(m->vm, 0, &m->page) ||
			      raw_get_state(m->vm, 0, STATE_ALL, m->before)))
		return -EIO;
	/* The kernel is not to find a page of ours missing. */
	memcpy(m->state, m->before, sizeof(*m->state));
	return 0;
}

static inline void machine_destroy(struct machine *m)
{
	__atomic_store_n(&m->stop, true, __ATOMIC_RELEASE);
	while (m->has_runner && pthread_tryjoin_np(m->runner, NULL))
		raw_kick(m->vm, 0);
	if (m->map)
		munmap(m->map, m->map_size);
	if (m->page)
		munmap(m->page, PAGE);
	close(m->fd);
	close(m->file);
	close(m->snapshots[0]);
	close(m->snapshots[1]);
	close(m->vm);
	close(m->memory);
	close(m->sys);
	free(m->before);
}

static inline unsigned int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* The whole state of vCPU 0 is as it was, or as it was set. */
static inline bool state_is(struct machine *m, const struct wisp_state *expected)
{
	struct wisp_state now = {};

	if (raw_get_state(m->vm, 0, STATE_ALL, &now))
		return false;
	now.msrs.tsc = expected->msrs.tsc;
	return !memcmp(&now, expected, sizeof(now));
}

/* Runs @code from the reset vector; returns the exit's reason, or -errno. */
static inline int run_code(struct machine *m, const void *code, size_t size)
{
	int ret;

	if (!m->page && raw_create_vcpu(m->vm, 0, &m->page))
		return -EIO;
	if (write_at(m->memory, code, size, RESET_OFFSET + RESET_RIP) ||
	    raw_get_state(m->vm, 0, WISP_STATE_GENERAL, &m->page->state))
		return -EIO;
	m->page->state.general.rip = RESET_IP;
	m->page->state.general.rax = 0;
	m->page->state.general.rcx = MSR;
	m->page->dirty = WISP_STATE_GENERAL;
	m->page->want = WISP_STATE_GENERAL;
	ret = raw_run(m->vm, 0);
	return ret ?: (int)m->page->exit.reason;
}

/* ---- what calls have in common -------------------------------------------- */

static inline bool returns_0(struct machine *m, int ret)
{
	(void)m;
	return !ret;
}

static inline bool returns_fd(struct machine *m, int ret)
{
	m->fd = ret;
	return fcntl(ret, F_GETFD) == FD_CLOEXEC;
}

static inline bool unchanged_state(struct machine *m)
{
	return state_is(m, m->before);
}

/* It has a page with FILE_BYTE at 0x1000, the rest is a hole. */
static inline int prepare_file(struct machine *m)
{
	const char byte = FILE_BYTE;

	m->file = memfd_create("layer", MFD_ALLOW_SEALING);
	return m->file < 0 || ftruncate(m->file, LOW_SIZE) ||
	       write_at(m->file, &byte, 1, 0x1000) ||
	       fcntl(m->file, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK);
}

static inline int call_create_memory_over(struct machine *m)
{
	struct wisp_create_memory arg = {
		.size = sizeof(arg),
		.flags = WISP_MEMORY_FILE,
		.memory_size = LOW_SIZE,
		.file = m->file,
	};

	return raw(m->sys, WISP_CREATE_MEMORY, &arg);
}

/* The other end of the object at 0, which the guest has touched before. */
static inline int prepare_replace_slot(struct machine *m)
{
	if (run_code(m, touch, sizeof(touch)) != WISP_EXIT_HLT)
		return -EIO;
	return write_at(m->memory, "far", 4, 32 * 1024 * PAGE);
}

static inline bool unchanged_replace_slot(struct machine *m)
{
	return pread(m->vm, m->buffer, 1, 0x1000) == 1 && m->buffer[0] == 0x55;
}

/*
 * The guest touches memory that is not there yet: RUN does not fail, but ends
 * with an exit, and goes on when it is made again.
 */
static inline int call_run(struct machine *m)
{
	return raw_run(m->vm, 0);
}

static inline bool worked_run(struct machine *m, int ret)
{
	if (ret)
		return false;
	m->refused = m->page->exit.reason == WISP_EXIT_NOMEM;
	if (m->refused && raw_run(m->vm, 0))
		return false;
	return m->page->exit.reason == WISP_EXIT_HLT &&
	       pread(m->vm, m->buffer, 1, 0x1000) == 1 && m->buffer[0] == 0x55 &&
	       pread(m->vm, m->buffer, 1, 0x3000) == 1 && m->buffer[0] == 0x55;
}

/* All that touch_many[] touches. */
static inline bool worked_run_through(struct machine *m, int ret)
{
	bool good = worked_run(m, ret);

	for (__u64 gpa = 0x1000; good && gpa < 0xd000; gpa += PAGE)
		good = pread(m->vm, m->buffer, 1, gpa) == 1 &&
		       m->buffer[0] == 0x55;
	return good;
}

/* The byte at 0x1000, which the guest has written: what it is tells when. */
static inline bool byte_is(struct machine *m, int fd, char byte)
{
	return pread(fd, m->buffer, 1, 0x1000) == 1 && m->buffer[0] == byte;
}

static inline int write_byte(struct machine *m, char byte)
{
	return write_at(m->vm, &byte, 1, 0x1000);
}

/* ---- the walk ------------------------------------------------------------ */

FIXTURE(fail_nth) {
	int fail_nth;
	struct machine m;
	unsigned int points;
	unsigned int failures;
	unsigned int fallbacks;
	bool untold;
};

FIXTURE_VARIANT(fail_nth) {
	const char *name;	/* "ioctl NAME" where it is one */
	enum stage stage;
	__u32 vm_flags;		/* WISP_VM_* */
	__u64 max_pages;	/* a limit of the VM's */
	int errnos[3];		/* that the call documents, of those that can come */
	bool nothing;		/* it has no allocation and no user copy */
	bool never_fails;	/* a fault is no error: RUN has an exit for it */
	bool retries;		/* nor is it here: the call makes it good */
	bool falls_back;	/* from 2 MiB to single pages, where those cannot be */
	/* Outside of injection; returns 0 if done. */
	int (*prepare)(struct machine *m);
	/* The call: what it returned, or -errno. */
	int (*call)(struct machine *m);
	/* What it should have done is done. */
	bool (*worked)(struct machine *m, int ret);
	/* It changed nothing; that it works then is tested anyhow. */
	bool (*unchanged)(struct machine *m);
};

FIXTURE_SETUP(fail_nth)
{
	char text[16];

	ASSERT_TRUE(inject_setup())
		TH_LOG("no fault injection in this kernel");
	ASSERT_TRUE(write_file(ROOT "/cgroup.subtree_control", "+memory"));
	ASSERT_TRUE(!mkdir(GROUP, 0700) || errno == EEXIST);
	snprintf(text, sizeof(text), "%d", getpid());
	ASSERT_TRUE(write_file(GROUP "/cgroup.procs", text));
	self->fail_nth = inject_open();
	ASSERT_LE(0, self->fail_nth);
	self->points = 0;
	self->failures = 0;
	self->fallbacks = 0;
	self->untold = false;
}

FIXTURE_TEARDOWN(fail_nth)
{
	close(self->fail_nth);
}

/* Returns whether fault @n came. */
static bool step(struct __test_metadata *_metadata,
		 FIXTURE_DATA(fail_nth) * self, const FIXTURE_VARIANT(fail_nth) * v,
		 unsigned int n)
{
	struct machine *m = &self->m;
	struct wisp_create_vm arg = {
		.size = sizeof(arg),
		.flags = v->vm_flags,
		.max_private_pages = v->max_pages,
	};
	bool hit, documented = false;
	unsigned int fds, i;
	int ret;

	ASSERT_EQ(0, machine_create(m, &arg, v->stage));
	ASSERT_EQ(0, v->prepare ? v->prepare(m) : 0);
	fds = open_fds();

	inject(self->fail_nth, n);
	ret = v->call(m);
	hit = injected(self->fail_nth);

	if (hit && ret < 0 && !v->never_fails) {
		self->failures++;
		for (i = 0; i < ARRAY_SIZE(v->errnos); i++)
			documented |= v->errnos[i] == -ret;
		EXPECT_TRUE(documented)
			TH_LOG("point %u: %s", n, strerror(-ret));
		EXPECT_EQ(fds, open_fds())
			TH_LOG("point %u: fds", n);
		EXPECT_TRUE(!v->unchanged || v->unchanged(m))
			TH_LOG("point %u: %s, but changed something", n,
			       strerror(-ret));
		/* To see what did not change may have needed a vCPU. */
		if (!m->page || v->stage == VCPU)
			ret = v->call(m);
		else
			goto out;
	}
	EXPECT_TRUE(v->worked(m, ret))
		TH_LOG("point %u: did not work: %d", n, ret);
	self->failures += m->refused;
	self->fallbacks += m->fell_back && !m->untold;
	self->untold |= m->untold;
out:
	machine_destroy(m);
	return hit;
}

TEST_F_TIMEOUT(fail_nth, walk, MAX_SECONDS)
{
	FIXTURE_DATA(fail_nth) * s = self;

	/* Faults in code and data of ours, and what is made once, come first. */
	ASSERT_FALSE(step(_metadata, s, variant, MAX_POINTS));
	ASSERT_EQ(0, s->fallbacks);
	while (step(_metadata, s, variant, s->points + 1)) {
		s->points++;
		ASSERT_GT(MAX_POINTS, s->points);
		ASSERT_TRUE(_metadata->passed);
	}
	printf("# %s: %u points, %u failed it\n", variant->name, s->points,
	       s->failures);
	EXPECT_EQ(variant->nothing, !s->points);
	EXPECT_EQ(variant->nothing || variant->retries, !s->failures);
	EXPECT_EQ(variant->falls_back && !s->untold, s->fallbacks > 0);
}

/* ---- what is left --------------------------------------------------------- */

static inline long memory_stat(const char *name)
{
	FILE *f = fopen(GROUP "/memory.stat", "r");
	char line[80];
	long value = -1;

	while (f && value < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)))
			value = atol(line + strlen(name));
	if (f)
		fclose(f);
	return value;
}

FIXTURE(left) {
};

FIXTURE_SETUP(left)
{
}

FIXTURE_TEARDOWN(left)
{
}

/*
 * kmemleak sees no pages, so the memory cgroup of all walks counts: what is no slab
 * was a table, a control block or a shared page. But each CPU may have a page for
 * slabs to come. It is summed up every two seconds.
 */
#define NOT_LOST	(2 * (long)PAGE)

TEST_F(left, no_page)
{
	long kernel, slab;
	int i;

	for (i = 0; i < 20; i++) {
		/* What CPUs have charged in advance goes back. */
		ASSERT_TRUE(write_file(GROUP "/memory.high", "0"));
		ASSERT_TRUE(write_file(GROUP "/memory.high", "max"));
		sleep(3);
		kernel = memory_stat("kernel ");
		slab = memory_stat("slab ");
		ASSERT_LE(0, slab);
		if (kernel - slab <= NOT_LOST)
			break;
	}
	printf("# %ld bytes in the end, %ld of them slab\n", kernel, slab);
	EXPECT_GE(NOT_LOST, kernel - slab);
	EXPECT_EQ(0, rmdir(GROUP));
}

#endif
