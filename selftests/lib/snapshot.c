// SPDX-License-Identifier: GPL-2.0
/* Snapshots by the library: frozen, forked, reset, and what was written. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <wisp.h>

#include "tap.h"

#define RAM_SIZE	0x10000
#define CODE		0x1000
#define COUNTER		0x3000

/* 16-bit: 1: incb COUNTER; hlt; jmp 1b */
static const uint8_t count[] = { 0xfe, 0x06, 0x00, 0x30, 0xf4, 0xeb, 0xf9 };

static int sys = -1;
static int vm = -1;
static struct wisp_vcpu_page *page;

static bool create(void)
{
	const uint32_t prot = WISP_PROT_READ | WISP_PROT_WRITE | WISP_PROT_EXEC;
	int memory;

	sys = wisp_open();
	vm = wisp_create_vm(sys);
	memory = wisp_create_memory(sys, RAM_SIZE);
	if (!CHECK(sys >= 0 && vm >= 0 && memory >= 0))
		return false;
	CHECK_EQUAL(wisp_set_slot(vm, 0, 0, RAM_SIZE, memory, 0, prot), 0);
	close(memory);
	if (!CHECK(!wisp_create_vcpu(vm, 0, &page)))
		return false;
	CHECK(!wisp_write(vm, CODE, count, sizeof(count)));
	CHECK(!wisp_get_state(vm, 0, WISP_ASSIST_WANT, &page->state));
	page->state.segments.cs.base = 0;
	page->state.segments.cs.selector = 0;
	page->state.general.rip = CODE;
	page->dirty = WISP_ASSIST_WANT;
	return true;
}

static void destroy(void)
{
	munmap(page, WISP_PAGE_SIZE);
	close(vm);
	close(sys);
}

/* To the next HLT; the guest goes on behind the one that it is at. */
static bool run(int fd, struct wisp_vcpu_page *p, uint32_t complete)
{
	p->complete = complete;
	return !wisp_run(fd, 0) && p->exit.reason == WISP_EXIT_HLT;
}

static int counter(int fd)
{
	uint8_t byte;
	int ret = wisp_read(fd, COUNTER, &byte, 1);

	return ret ? ret : byte;
}

static void reset(void)
{
	uint64_t pages[16];
	uint32_t n = 16;
	int snapshot;

	if (!create())
		return;
	CHECK_EQUAL(wisp_reset(vm, -1), -EINVAL);
	CHECK_EQUAL(wisp_dirty(vm, pages, &n), -EINVAL);
	CHECK_EQUAL(n, 16);
	CHECK(run(vm, page, 0));
	snapshot = wisp_snapshot(vm);
	CHECK(fcntl(snapshot, F_GETFD) == FD_CLOEXEC);
	CHECK(run(vm, page, 1));
	CHECK_EQUAL(counter(vm), 2);
	CHECK_EQUAL(counter(snapshot), 1);
	CHECK(!wisp_dirty(vm, pages, &n));
	CHECK_EQUAL(n, 1);
	CHECK_EQUAL(pages[0], COUNTER);
	n = 0;
	CHECK(!wisp_dirty(vm, NULL, &n));
	CHECK_EQUAL(n, 1);
	CHECK(!wisp_reset(vm, snapshot));
	CHECK(!wisp_dirty(vm, pages, &n));
	CHECK_EQUAL(n, 0);
	CHECK_EQUAL(counter(vm), 1);
	CHECK_EQUAL(wisp_reset(vm, vm), -EINVAL);
	CHECK_EQUAL(wisp_reset(vm, -2), -EBADF);
	close(snapshot);
	destroy();
}

static void fork_twice(void)
{
	struct wisp_vcpu_page *pages[2];
	int snapshot, forks[2];

	if (!create())
		return;
	CHECK_EQUAL(wisp_fork(sys, vm), -EINVAL);
	CHECK_EQUAL(wisp_fork(sys, -1), -EBADF);
	CHECK(run(vm, page, 0));
	snapshot = wisp_snapshot(vm);
	for (int i = 0; i < 2; i++) {
		forks[i] = wisp_fork(sys, snapshot);
		CHECK(fcntl(forks[i], F_GETFD) == FD_CLOEXEC);
		pages[i] = mmap(NULL, WISP_PAGE_SIZE, PROT_READ | PROT_WRITE,
				MAP_SHARED, forks[i], 0);
		if (!CHECK(pages[i] != MAP_FAILED))
			return;
	}
	close(snapshot);
	CHECK(run(forks[0], pages[0], 1));
	CHECK(run(forks[0], pages[0], 1));
	CHECK(run(forks[1], pages[1], 1));
	CHECK_EQUAL(counter(forks[0]), 3);
	CHECK_EQUAL(counter(forks[1]), 2);
	CHECK_EQUAL(counter(vm), 1);
	for (int i = 0; i < 2; i++) {
		munmap(pages[i], WISP_PAGE_SIZE);
		close(forks[i]);
	}
	destroy();
}

/* What the other calls do, with flags, limits and an audit. */
static void variants(void)
{
	struct wisp_create_vm limited = {
		.flags = WISP_VM_FORK,
		.max_private_pages = 1,
	};
	struct wisp_audit audit = { .what = 77 };
	int snapshot, fork;

	if (!create())
		return;
	CHECK(run(vm, page, 0));
	CHECK_EQUAL(wisp_snapshot_flags(vm, 1U << 31), -EOPNOTSUPP);
	snapshot = wisp_snapshot_flags(vm, WISP_SNAPSHOT_KICK);
	CHECK(snapshot >= 0);
	CHECK(run(vm, page, 1));
	CHECK_EQUAL(wisp_reset_flags(vm, -1, 1U << 31), -EOPNOTSUPP);
	CHECK(!wisp_reset_flags(vm, snapshot, WISP_RESET_KICK));
	CHECK_EQUAL(counter(vm), 1);
	CHECK(run(vm, page, 1));
	CHECK(!wisp_reset_audit(vm, -1, 0, &audit));
	CHECK_EQUAL(audit.what, WISP_AUDIT_SAME);
	CHECK_EQUAL(counter(vm), 1);
	limited.snapshot = snapshot;
	fork = wisp_create_vm_as(sys, &limited);
	CHECK(fcntl(fork, F_GETFD) == FD_CLOEXEC);
	CHECK_EQUAL(counter(fork), 1);
	limited.flags = 1U << 31;
	CHECK_EQUAL(wisp_create_vm_as(sys, &limited), -EOPNOTSUPP);
	close(fork);
	close(snapshot);
	destroy();
}

#define FORKS	100

/* Each has its own, which a reset takes back. */
static void generations(void)
{
	static uint8_t ids[FORKS + 1][WISP_GENERATION_SIZE];
	uint8_t id[WISP_GENERATION_SIZE];
	int snapshot, fork;

	if (!create())
		return;
	CHECK(!wisp_generation_renew(vm, COUNTER));
	CHECK(!wisp_read(vm, COUNTER, ids[FORKS], sizeof(id)));
	snapshot = wisp_snapshot(vm);
	for (int i = 0; i < FORKS; i++) {
		fork = wisp_fork_renewed(sys, snapshot, COUNTER);
		CHECK(fork >= 0 && fcntl(fork, F_GETFD) == FD_CLOEXEC);
		CHECK(!wisp_read(fork, COUNTER, ids[i], sizeof(id)));
		if (i % 10)
			CHECK(!wisp_reset(fork, -1));
		else
			CHECK(!wisp_generation_renew(fork, COUNTER));
		CHECK(!wisp_read(fork, COUNTER, id, sizeof(id)));
		CHECK(memcmp(id, ids[i], sizeof(id)));
		close(fork);
	}
	for (int i = 0; i <= FORKS; i++)
		for (int j = 0; j < i; j++)
			CHECK(memcmp(ids[i], ids[j], sizeof(id)));
	CHECK_EQUAL(wisp_generation_renew(vm, RAM_SIZE - 8), -EFAULT);
	CHECK_EQUAL(wisp_generation_renew(snapshot, COUNTER), -EINVAL);
	CHECK_EQUAL(wisp_fork_renewed(sys, snapshot, RAM_SIZE - 8), -EFAULT);
	CHECK_EQUAL(wisp_fork_renewed(sys, -1, COUNTER), -EBADF);
	close(snapshot);
	destroy();
}

int main(void)
{
	static const struct tap_test tests[] = {
		TAP_TEST(reset),
		TAP_TEST(fork_twice),
		TAP_TEST(variants),
		TAP_TEST(generations),
	};

	return TAP_RUN(tests);
}
