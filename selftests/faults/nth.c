// SPDX-License-Identifier: GPL-2.0
/*
 * Every call with its first allocation or user copy failing, then its second,
 * and so on up to a call in which nothing failed. Each works or fails with an
 * errno that it documents; one that fails has changed nothing, so that it works
 * when it is made again. What leaks, the debug lab finds.
 *
 * See Documentation/fault-injection/fault-injection.rst of the kernel on
 * fail-nth, which counts what failslab, fail_page_alloc and fail_usercopy have
 * in their way.
 */
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "kselftest_harness.h"
#include "../raw.h"
#include "../state.h"

/* More than any call has: one that never gets to its end does not end us. */
#define MAX_POINTS	2000
#define MAX_SECONDS	300

/*
 * Slot 0 is the object's beginning, at 0; slot 1 its last page, at the reset
 * vector. The two are far apart in the object and in the guest, so that both
 * need tables of their own.
 */
#define MEMORY_SIZE	(64 * 1024 * PAGE)
#define LOW_SIZE	(16 * PAGE)
#define RESET_GPA	0xfffff000ULL
#define RESET_OFFSET	(MEMORY_SIZE - PAGE)
#define RESET_RIP	0xff0

#define MSR		0x123

/* 16-bit: mov al, 0x55; mov [0x1000], al; mov [0x3000], al; hlt */
static const __u8 touch[] = {
	0xb0, 0x55, 0xa2, 0x00, 0x10, 0xa2, 0x00, 0x30, 0xf4
};
/* cpuid; hlt */
static const __u8 ask_cpuid[] = { 0x0f, 0xa2, 0xf4 };
/* rdmsr; hlt */
static const __u8 ask_msr[] = { 0x0f, 0x32, 0xf4 };

static const char pattern[] = "two pages' border";

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
	char *map;			/* what the call mapped, or touches */
	size_t map_size;
	struct wisp_state *before;
	struct wisp_state *state;	/* what the call gets or sets */
	char buffer[64];
	__u64 pages[8];
};

/* ---- injection ----------------------------------------------------------- */

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) > 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

/*
 * By default allocations that may sleep do not fail, that is, none of ours. No
 * traces: in the log they would look like splats.
 */
static bool inject_setup(void)
{
#define DIR "/sys/kernel/debug/"
	return write_file(DIR "failslab/ignore-gfp-wait", "N") &&
	       write_file(DIR "failslab/cache-filter", "N") &&
	       write_file(DIR "failslab/verbose", "0") &&
	       write_file(DIR "fail_page_alloc/ignore-gfp-wait", "N") &&
	       write_file(DIR "fail_page_alloc/ignore-gfp-highmem", "N") &&
	       write_file(DIR "fail_page_alloc/min-order", "0") &&
	       write_file(DIR "fail_page_alloc/verbose", "0") &&
	       write_file(DIR "fail_usercopy/verbose", "0");
#undef DIR
}

static void inject(int fail_nth, unsigned int n)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", n);
	if (pwrite(fail_nth, text, strlen(text), 0) < 0)
		ksft_exit_fail_msg("fail-nth: %s\n", strerror(errno));
}

/* Whether the fault came. Looking is a user copy that may get it instead. */
static bool injected(int fail_nth)
{
	char text[16] = "";
	ssize_t n = pread(fail_nth, text, sizeof(text) - 1, 0);

	/* The same goes for this one. */
	if (n > 0 && atoi(text) && pwrite(fail_nth, "0", 1, 0) < 0 &&
	    errno != EFAULT)
		ksft_exit_fail_msg("fail-nth: %s\n", strerror(errno));
	return n > 0 && !atoi(text);
}

/* ---- the machine --------------------------------------------------------- */

static int write_at(int fd, const void *data, size_t size, __u64 offset)
{
	return pwrite(fd, data, size, offset) == (ssize_t)size ? 0 : -EIO;
}

static int set_slots(struct machine *m)
{
	return raw_set_slot(m->vm, 0, 0, LOW_SIZE, m->memory, 0, PROT_RWX) ?:
	       raw_set_slot(m->vm, 1, RESET_GPA, PAGE, m->memory, RESET_OFFSET,
			    PROT_RX) ?:
	       write_at(m->memory, touch, sizeof(touch), RESET_OFFSET + RESET_RIP);
}

static int machine_create(struct machine *m, enum stage stage)
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
		m->vm = raw_create_vm(m->sys);
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

static void machine_destroy(struct machine *m)
{
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

static unsigned int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* The whole state of vCPU 0 is as it was, or as it was set. */
static bool state_is(struct machine *m, const struct wisp_state *expected)
{
	struct wisp_state now = {};

	if (raw_get_state(m->vm, 0, STATE_ALL, &now))
		return false;
	now.msrs.tsc = expected->msrs.tsc;
	return !memcmp(&now, expected, sizeof(now));
}

/* Runs @code from the reset vector; returns the exit's reason, or -errno. */
static int run_code(struct machine *m, const void *code, size_t size)
{
	int ret;

	if (!m->page && raw_create_vcpu(m->vm, 0, &m->page))
		return -EIO;
	if (write_at(m->memory, code, size, RESET_OFFSET + RESET_RIP) ||
	    raw_get_state(m->vm, 0, WISP_STATE_GENERAL, &m->page->state))
		return -EIO;
	m->page->state.general.rax = 0;
	m->page->state.general.rcx = MSR;
	m->page->dirty = WISP_STATE_GENERAL;
	m->page->want = WISP_STATE_GENERAL;
	ret = raw_run(m->vm, 0);
	return ret ?: (int)m->page->exit.reason;
}

/* ---- the calls ----------------------------------------------------------- */

FIXTURE(fail_nth) {
	int fail_nth;
	struct machine m;
	unsigned int points;
	unsigned int failures;
};

FIXTURE_VARIANT(fail_nth) {
	const char *name;	/* "ioctl NAME" where it is one */
	enum stage stage;
	int errnos[3];		/* that the call documents, of those that can come */
	bool nothing;		/* it has no allocation and no user copy */
	bool never_fails;	/* a fault is no error: RUN has an exit for it */
	bool retries;		/* nor is it here: the call makes it good */
	/* Outside of injection; returns 0 if done. */
	int (*prepare)(struct machine *m);
	/* The call: what it returned, or -errno. */
	int (*call)(struct machine *m);
	/* What it should have done is done. */
	bool (*worked)(struct machine *m, int ret);
	/* It changed nothing; that it works then is tested anyhow. */
	bool (*unchanged)(struct machine *m);
};

static bool returns_0(struct machine *m, int ret)
{
	(void)m;
	return !ret;
}

static bool returns_fd(struct machine *m, int ret)
{
	m->fd = ret;
	return fcntl(ret, F_GETFD) == FD_CLOEXEC;
}

static bool unchanged_state(struct machine *m)
{
	return state_is(m, m->before);
}

static int call_open(struct machine *m)
{
	(void)m;
	return raw_open();
}

FIXTURE_VARIANT_ADD(fail_nth, open) {
	.name = "open",
	.errnos = { ENOMEM, EFAULT, ENFILE },
	.call = call_open,
	.worked = returns_fd,
};

static int call_query(struct machine *m)
{
	struct wisp_cpuid_entry entries[8];
	struct wisp_query query = {
		.size = sizeof(query),
		.cpuid_count = ARRAY_SIZE(entries),
		.cpuid = (uintptr_t)entries,
	};

	return raw(m->sys, WISP_QUERY, &query);
}

FIXTURE_VARIANT_ADD(fail_nth, query) {
	.name = "ioctl WISP_QUERY",
	.errnos = { EFAULT },
	.call = call_query,
	.worked = returns_0,
};

static int call_create_memory(struct machine *m)
{
	return raw_create_memory(m->sys, MEMORY_SIZE);
}

FIXTURE_VARIANT_ADD(fail_nth, create_memory) {
	.name = "ioctl WISP_CREATE_MEMORY",
	.errnos = { ENOMEM, EFAULT, ENFILE },
	.call = call_create_memory,
	.worked = returns_fd,
};

static int prepare_file(struct machine *m)
{
	m->file = memfd_create("layer", MFD_ALLOW_SEALING);
	return m->file < 0 || ftruncate(m->file, LOW_SIZE) ||
	       fcntl(m->file, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK);
}

static int call_create_memory_over(struct machine *m)
{
	return raw_create_memory_over(m->sys, LOW_SIZE, m->file, 0);
}

FIXTURE_VARIANT_ADD(fail_nth, create_memory_over) {
	.name = "ioctl WISP_CREATE_MEMORY, over a file",
	.errnos = { ENOMEM, EFAULT, ENFILE },
	.prepare = prepare_file,
	.call = call_create_memory_over,
	.worked = returns_fd,
};

/* The only VM, so that the hardware is turned on for it. */
static int call_create_vm(struct machine *m)
{
	return raw_create_vm(m->sys);
}

FIXTURE_VARIANT_ADD(fail_nth, create_vm) {
	.name = "ioctl WISP_CREATE_VM",
	.errnos = { ENOMEM, EFAULT, ENFILE },
	.call = call_create_vm,
	.worked = returns_fd,
};

static int call_set_slot(struct machine *m)
{
	return raw_set_slot(m->vm, 0, 0, LOW_SIZE, m->memory, 0, PROT_RWX);
}

static bool worked_set_slot(struct machine *m, int ret)
{
	return !ret && pread(m->vm, m->buffer, 1, 0) == 1;
}

static bool unchanged_set_slot(struct machine *m)
{
	return pread(m->vm, m->buffer, 1, 0) < 0;
}

FIXTURE_VARIANT_ADD(fail_nth, set_slot) {
	.name = "ioctl WISP_SET_SLOT",
	.stage = VM,
	.errnos = { ENOMEM, EFAULT },
	.call = call_set_slot,
	.worked = worked_set_slot,
	.unchanged = unchanged_set_slot,
};

/* The other end of the object at 0, which the guest has touched before. */
static int prepare_replace_slot(struct machine *m)
{
	if (run_code(m, touch, sizeof(touch)) != WISP_EXIT_HLT)
		return -EIO;
	return write_at(m->memory, "far", 4, 32 * 1024 * PAGE);
}

static int call_replace_slot(struct machine *m)
{
	return raw_set_slot(m->vm, 0, 0, LOW_SIZE, m->memory, 32 * 1024 * PAGE,
			    PROT_RWX);
}

static bool worked_replace_slot(struct machine *m, int ret)
{
	return !ret && pread(m->vm, m->buffer, 4, 0) == 4 &&
	       !strcmp(m->buffer, "far");
}

static bool unchanged_replace_slot(struct machine *m)
{
	return pread(m->vm, m->buffer, 1, 0x1000) == 1 && m->buffer[0] == 0x55;
}

FIXTURE_VARIANT_ADD(fail_nth, replace_slot) {
	.name = "ioctl WISP_SET_SLOT, in place of one",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_replace_slot,
	.call = call_replace_slot,
	.worked = worked_replace_slot,
	.unchanged = unchanged_replace_slot,
};

static int call_remove_slot(struct machine *m)
{
	return raw_remove_slot(m->vm, 0);
}

static bool worked_remove_slot(struct machine *m, int ret)
{
	return !ret && pread(m->vm, m->buffer, 1, 0) < 0;
}

FIXTURE_VARIANT_ADD(fail_nth, remove_slot) {
	.name = "ioctl WISP_SET_SLOT, to remove one",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_replace_slot,
	.call = call_remove_slot,
	.worked = worked_remove_slot,
	.unchanged = unchanged_replace_slot,
};

/* A page in the middle of what the guest has touched. */
static int call_discard(struct machine *m)
{
	struct wisp_discard arg = {
		.size = sizeof(arg),
		.offset = PAGE,
		.discard_size = PAGE,
	};

	return raw(m->memory, WISP_DISCARD, &arg);
}

static bool worked_discard(struct machine *m, int ret)
{
	return !ret && pread(m->vm, m->buffer, 1, 0x1000) == 1 && !m->buffer[0];
}

FIXTURE_VARIANT_ADD(fail_nth, discard) {
	.name = "ioctl WISP_DISCARD",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_replace_slot,
	.call = call_discard,
	.worked = worked_discard,
	.unchanged = unchanged_replace_slot,
};

static int call_protect(struct machine *m)
{
	struct wisp_protect_range range = {
		.gpa = 0x3000,
		.range_size = PAGE,
		.prot = PROT_R,
	};

	return raw_protect(m->vm, &range, 1);
}

static bool worked_protect(struct machine *m, int ret)
{
	return !ret && run_code(m, touch, sizeof(touch)) == WISP_EXIT_MEMORY;
}

static int prepare_protect(struct machine *m)
{
	return m->page ? 0 : raw_create_vcpu(m->vm, 0, &m->page);
}

/* The page that the guest has not touched: it would stay writable. */
static bool unchanged_protect(struct machine *m)
{
	static const __u8 write[] = { 0xa2, 0x00, 0x30, 0xf4 };

	return run_code(m, write, sizeof(write)) == WISP_EXIT_HLT;
}

FIXTURE_VARIANT_ADD(fail_nth, protect) {
	.name = "ioctl WISP_PROTECT",
	.stage = SLOTS,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_protect,
	.call = call_protect,
	.worked = worked_protect,
	.unchanged = unchanged_protect,
};

static int call_stats(struct machine *m)
{
	struct wisp_stats arg = { .size = sizeof(arg) };
	int ret = raw(m->vm, WISP_STATS, &arg);

	return ret ?: (int)arg.vcpus;
}

static bool worked_stats(struct machine *m, int ret)
{
	(void)m;
	return ret == 1;
}

FIXTURE_VARIANT_ADD(fail_nth, stats) {
	.name = "ioctl WISP_STATS",
	.stage = VCPU,
	.errnos = { EFAULT },
	.call = call_stats,
	.worked = worked_stats,
};

static int set_cpuid(struct machine *m, __u32 eax)
{
	struct wisp_cpuid_entry entry = { .eax = eax };
	struct wisp_set_cpuid arg = {
		.size = sizeof(arg),
		.count = 1,
		.entries = (uintptr_t)&entry,
	};

	return raw(m->vm, WISP_SET_CPUID, &arg);
}

static int prepare_set_cpuid(struct machine *m)
{
	return set_cpuid(m, 1);
}

static int call_set_cpuid(struct machine *m)
{
	return set_cpuid(m, 2);
}

static bool cpuid_is(struct machine *m, __u32 eax)
{
	return run_code(m, ask_cpuid, sizeof(ask_cpuid)) == WISP_EXIT_HLT &&
	       m->page->state.general.rax == eax;
}

static bool worked_set_cpuid(struct machine *m, int ret)
{
	return !ret && cpuid_is(m, 2);
}

static bool unchanged_set_cpuid(struct machine *m)
{
	return cpuid_is(m, 1);
}

FIXTURE_VARIANT_ADD(fail_nth, set_cpuid) {
	.name = "ioctl WISP_SET_CPUID",
	.stage = SLOTS,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_set_cpuid,
	.call = call_set_cpuid,
	.worked = worked_set_cpuid,
	.unchanged = unchanged_set_cpuid,
};

static int set_msr_policy(struct machine *m, __u32 read)
{
	struct wisp_msr_range range = { .first = MSR, .last = MSR, .read = read };
	struct wisp_set_msr_policy arg = {
		.size = sizeof(arg),
		.count = 1,
		.ranges = (uintptr_t)&range,
	};

	return raw(m->vm, WISP_SET_MSR_POLICY, &arg);
}

static int prepare_set_msr_policy(struct machine *m)
{
	return set_msr_policy(m, WISP_MSR_IGNORE);
}

static int call_set_msr_policy(struct machine *m)
{
	return set_msr_policy(m, WISP_MSR_EXIT);
}

static bool worked_set_msr_policy(struct machine *m, int ret)
{
	return !ret && run_code(m, ask_msr, sizeof(ask_msr)) == WISP_EXIT_MSR;
}

static bool unchanged_set_msr_policy(struct machine *m)
{
	return run_code(m, ask_msr, sizeof(ask_msr)) == WISP_EXIT_HLT;
}

FIXTURE_VARIANT_ADD(fail_nth, set_msr_policy) {
	.name = "ioctl WISP_SET_MSR_POLICY",
	.stage = SLOTS,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_set_msr_policy,
	.call = call_set_msr_policy,
	.worked = worked_set_msr_policy,
	.unchanged = unchanged_set_msr_policy,
};

static int call_create_vcpu(struct machine *m)
{
	struct wisp_create_vcpu arg = { .size = sizeof(arg), .vcpu = 3 };

	return raw(m->vm, WISP_CREATE_VCPU, &arg);
}

static bool worked_create_vcpu(struct machine *m, int ret)
{
	return !ret && !raw_get_state(m->vm, 3, STATE_ALL, m->state);
}

static bool unchanged_create_vcpu(struct machine *m)
{
	return raw_get_state(m->vm, 3, STATE_ALL, m->state) == -ENOENT;
}

FIXTURE_VARIANT_ADD(fail_nth, create_vcpu) {
	.name = "ioctl WISP_CREATE_VCPU",
	.stage = VM,
	.errnos = { ENOMEM, EFAULT },
	.call = call_create_vcpu,
	.worked = worked_create_vcpu,
	.unchanged = unchanged_create_vcpu,
};

/*
 * The guest touches memory that is not there yet: RUN does not fail, but ends
 * with an exit, and goes on when it is made again.
 */
static int call_run(struct machine *m)
{
	return raw_run(m->vm, 0);
}

static bool worked_run(struct machine *m, int ret)
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

FIXTURE_VARIANT_ADD(fail_nth, run) {
	.name = "ioctl WISP_RUN",
	.stage = VCPU,
	.never_fails = true,
	.call = call_run,
	.worked = worked_run,
};

static int prepare_over(struct machine *m)
{
	if (prepare_file(m))
		return -EIO;
	m->fd = call_create_memory_over(m);
	return m->fd < 0 ? m->fd :
			   raw_set_slot(m->vm, 0, 0, LOW_SIZE, m->fd, 0, PROT_RWX);
}

/* A page is read from the file, and copied. */
FIXTURE_VARIANT_ADD(fail_nth, run_over) {
	.name = "ioctl WISP_RUN, over a file",
	.stage = VCPU,
	.never_fails = true,
	.prepare = prepare_over,
	.call = call_run,
	.worked = worked_run,
};

static int call_kick(struct machine *m)
{
	return raw_kick(m->vm, 0);
}

static bool worked_kick(struct machine *m, int ret)
{
	return !ret && !raw_run(m->vm, 0) &&
	       m->page->exit.reason == WISP_EXIT_KICKED;
}

FIXTURE_VARIANT_ADD(fail_nth, kick) {
	.name = "ioctl WISP_KICK",
	.stage = VCPU,
	.nothing = true,
	.call = call_kick,
	.worked = worked_kick,
};

static int call_get_state(struct machine *m)
{
	return raw_get_state(m->vm, 0, STATE_ALL, m->state);
}

static bool worked_get_state(struct machine *m, int ret)
{
	return !ret && state_is(m, m->state);
}

FIXTURE_VARIANT_ADD(fail_nth, get_state) {
	.name = "ioctl WISP_GET_STATE",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.call = call_get_state,
	.worked = worked_get_state,
	.unchanged = unchanged_state,
};

static int prepare_set_state(struct machine *m)
{
	m->state->general.rbx = 1;
	m->state->control.cr2 = 2;
	m->state->msrs.lstar = 3;
	return 0;
}

static int call_set_state(struct machine *m)
{
	return raw_set_state(m->vm, 0, STATE_ALL, m->state, NULL);
}

static bool worked_set_state(struct machine *m, int ret)
{
	return !ret && state_is(m, m->state);
}

FIXTURE_VARIANT_ADD(fail_nth, set_state) {
	.name = "ioctl WISP_SET_STATE",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_set_state,
	.call = call_set_state,
	.worked = worked_set_state,
	.unchanged = unchanged_state,
};

/* ---- snapshots ----------------------------------------------------------- */

/* The byte at 0x1000, which the guest has written: what it is tells when. */
static bool byte_is(struct machine *m, int fd, char byte)
{
	return pread(fd, m->buffer, 1, 0x1000) == 1 && m->buffer[0] == byte;
}

static int write_byte(struct machine *m, char byte)
{
	return write_at(m->vm, &byte, 1, 0x1000);
}

static int call_snapshot(struct machine *m)
{
	return raw_snapshot(m->vm);
}

static bool worked_snapshot(struct machine *m, int ret)
{
	return returns_fd(m, ret) && byte_is(m, ret, 0x55) &&
	       !write_byte(m, 1) && byte_is(m, ret, 0x55) &&
	       !raw_reset(m->vm, ret) && byte_is(m, m->vm, 0x55);
}

/* There is none that it could be reset to. */
static bool unchanged_snapshot(struct machine *m)
{
	return raw_reset(m->vm, -1) == -EINVAL && byte_is(m, m->vm, 0x55);
}

FIXTURE_VARIANT_ADD(fail_nth, snapshot) {
	.name = "ioctl WISP_SNAPSHOT",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT, ENFILE },
	.prepare = prepare_replace_slot,
	.call = call_snapshot,
	.worked = worked_snapshot,
	.unchanged = unchanged_snapshot,
};

/* One snapshot has 0x55, a later one 1, and the VM 2. */
static int prepare_reset(struct machine *m)
{
	for (int i = 0; i < 2; i++) {
		if (i ? write_byte(m, 1) : prepare_replace_slot(m))
			return -EIO;
		m->snapshots[i] = raw_snapshot(m->vm);
		if (m->snapshots[i] < 0)
			return m->snapshots[i];
	}
	return write_byte(m, 2);
}

static int call_reset(struct machine *m)
{
	return raw_reset(m->vm, -1);
}

static bool worked_reset(struct machine *m, int ret)
{
	return !ret && byte_is(m, m->vm, 1);
}

static bool unchanged_reset(struct machine *m)
{
	return byte_is(m, m->vm, 2);
}

FIXTURE_VARIANT_ADD(fail_nth, reset) {
	.name = "ioctl WISP_RESET",
	.stage = VCPU,
	.errnos = { EFAULT },
	.prepare = prepare_reset,
	.call = call_reset,
	.worked = worked_reset,
	.unchanged = unchanged_reset,
};

static int call_audit(struct machine *m)
{
	struct wisp_audit audit;
	int ret = raw_audit(m->vm, -1, &audit);

	return ret ?: -(int)audit.what;
}

FIXTURE_VARIANT_ADD(fail_nth, audit) {
	.name = "ioctl WISP_RESET, with an audit",
	.stage = VCPU,
	.errnos = { EFAULT },
	.prepare = prepare_reset,
	.call = call_audit,
	.worked = worked_reset,
	.unchanged = unchanged_reset,
};

static int call_reset_to_first(struct machine *m)
{
	return raw_reset(m->vm, m->snapshots[0]);
}

static bool worked_reset_to_first(struct machine *m, int ret)
{
	return !ret && byte_is(m, m->vm, 0x55);
}

FIXTURE_VARIANT_ADD(fail_nth, reset_to_another) {
	.name = "ioctl WISP_RESET, to another snapshot",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_reset,
	.call = call_reset_to_first,
	.worked = worked_reset_to_first,
	.unchanged = unchanged_reset,
};

/* Without a slot the VM has nothing of the object: it must be forked again. */
static int prepare_reset_layout(struct machine *m)
{
	return prepare_reset(m) ?: raw_remove_slot(m->vm, 0) ?:
				   raw_remove_slot(m->vm, 1);
}

static bool unchanged_reset_layout(struct machine *m)
{
	return worked_remove_slot(m, 0);
}

FIXTURE_VARIANT_ADD(fail_nth, reset_layout) {
	.name = "ioctl WISP_RESET, which brings slots back",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_reset_layout,
	.call = call_reset,
	.worked = worked_reset,
	.unchanged = unchanged_reset_layout,
};

static int call_dirty(struct machine *m)
{
	return raw_dirty(m->vm, m->pages, ARRAY_SIZE(m->pages));
}

static bool worked_dirty(struct machine *m, int ret)
{
	return ret == 1 && m->pages[0] == 0x1000;
}

FIXTURE_VARIANT_ADD(fail_nth, dirty) {
	.name = "ioctl WISP_DIRTY",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT },
	.prepare = prepare_reset,
	.call = call_dirty,
	.worked = worked_dirty,
	.unchanged = unchanged_reset,
};

static int call_fork(struct machine *m)
{
	return raw_fork(m->sys, m->snapshots[0]);
}

static bool worked_fork(struct machine *m, int ret)
{
	return returns_fd(m, ret) && byte_is(m, ret, 0x55) &&
	       !raw_get_state(ret, 0, STATE_ALL, m->state);
}

static bool unchanged_fork(struct machine *m)
{
	return byte_is(m, m->snapshots[0], 0x55) && unchanged_reset(m);
}

FIXTURE_VARIANT_ADD(fail_nth, fork) {
	.name = "ioctl WISP_CREATE_VM, as a fork",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT, ENFILE },
	.prepare = prepare_reset,
	.call = call_fork,
	.worked = worked_fork,
	.unchanged = unchanged_fork,
};

/* Its page is a new one of the window each time: those that were there stay. */
static int call_fork_in_window(struct machine *m)
{
	static __u64 page;
	struct wisp_create_vm arg = {
		.size = sizeof(arg),
		.flags = WISP_VM_FORK | WISP_VM_WINDOW,
		.snapshot = m->snapshots[0],
		.window_offset = page++ * PAGE,
	};

	return raw(m->sys, WISP_CREATE_VM, &arg);
}

FIXTURE_VARIANT_ADD(fail_nth, fork_in_window) {
	.name = "ioctl WISP_CREATE_VM, as a fork in the window",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT, ENFILE },
	.prepare = prepare_reset,
	.call = call_fork_in_window,
	.worked = worked_fork,
	.unchanged = unchanged_fork,
};

#define WHOLE_SLOT	5	/* shows all of its object */
#define WHOLE_GPA	0x40000000ULL

static int prepare_slot_memory(struct machine *m)
{
	int memory = raw_create_memory(m->sys, LOW_SIZE), ret;

	if (memory < 0)
		return memory;
	ret = raw_set_slot(m->vm, WHOLE_SLOT, WHOLE_GPA, LOW_SIZE, memory, 0,
			   PROT_RWX);
	close(memory);
	return ret;
}

static int call_slot_memory(struct machine *m)
{
	struct wisp_create_memory arg = {
		.size = sizeof(arg),
		.flags = WISP_MEMORY_OF_SLOT,
		.file = m->vm,
		.file_offset = WHOLE_SLOT,
	};

	return raw(m->sys, WISP_CREATE_MEMORY, &arg);
}

static bool unchanged_slot_memory(struct machine *m)
{
	return pread(m->vm, m->buffer, 1, WHOLE_GPA) == 1;
}

FIXTURE_VARIANT_ADD(fail_nth, slot_memory) {
	.name = "ioctl WISP_CREATE_MEMORY, of a slot",
	.stage = VCPU,
	.errnos = { ENOMEM, EFAULT, ENFILE },
	.prepare = prepare_slot_memory,
	.call = call_slot_memory,
	.worked = returns_fd,
	.unchanged = unchanged_slot_memory,
};

/* The fork takes the VM's place; what it will write its parent has touched. */
static int prepare_run_fork(struct machine *m)
{
	if (prepare_replace_slot(m) || write_byte(m, 0) ||
	    write_at(m->vm, "", 1, 0x3000) ||
	    raw_set_state(m->vm, 0, STATE_ALL, m->before, NULL))
		return -EIO;
	m->snapshots[0] = raw_snapshot(m->vm);
	munmap(m->page, PAGE);
	m->page = NULL;
	close(m->vm);
	m->vm = raw_fork(m->sys, m->snapshots[0]);
	if (m->vm < 0)
		return m->vm;
	m->page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, m->vm, 0);
	if (m->page == MAP_FAILED)
		return -errno;
	/* The kernel is not to find it missing. */
	m->page->want = 0;
	return 0;
}

static bool unchanged_run_fork(struct machine *m)
{
	return byte_is(m, m->vm, 0) && byte_is(m, m->snapshots[0], 0);
}

/* Not even the vCPU is there before: without it there is no exit to end with. */
FIXTURE_VARIANT_ADD(fail_nth, run_fork) {
	.name = "ioctl WISP_RUN, the first of a fork",
	.stage = VCPU,
	.errnos = { ENOMEM },
	.prepare = prepare_run_fork,
	.call = call_run,
	.worked = worked_run,
	.unchanged = unchanged_run_fork,
};

/* ---- mappings ------------------------------------------------------------ */

static int map(struct machine *m, int fd, size_t size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	m->map = p;
	m->map_size = size;
	return 0;
}

static int call_mmap_memory(struct machine *m)
{
	return map(m, m->memory, MEMORY_SIZE);
}

static bool worked_mmap(struct machine *m, int ret)
{
	return !ret && m->map;
}

FIXTURE_VARIANT_ADD(fail_nth, mmap_memory) {
	.name = "mmap of a memory fd",
	.stage = MEMORY,
	.errnos = { ENOMEM },
	.call = call_mmap_memory,
	.worked = worked_mmap,
};

static int call_mmap_vm(struct machine *m)
{
	return map(m, m->vm, PAGE);
}

static bool worked_mmap_vm(struct machine *m, int ret)
{
	return !ret && ((struct wisp_vcpu_page *)m->map)->size == m->page->size;
}

FIXTURE_VARIANT_ADD(fail_nth, mmap_vm) {
	.name = "mmap of a vm fd",
	.stage = VCPU,
	.errnos = { ENOMEM },
	.call = call_mmap_vm,
	.worked = worked_mmap_vm,
};

static sigjmp_buf after_fault;

static void on_sigbus(int signal)
{
	(void)signal;
	siglongjmp(after_fault, 1);
}

static int prepare_fault(struct machine *m)
{
	struct sigaction action = { .sa_handler = on_sigbus };

	return sigaction(SIGBUS, &action, NULL) ?: call_mmap_memory(m);
}

/* SIGBUS is how this one fails; the same word stands for an errno here. */
static int call_fault_write(struct machine *m)
{
	if (sigsetjmp(after_fault, 1))
		return -ENOMEM;
	*(volatile char *)(m->map + 7 * PAGE) = 0x55;
	return 0;
}

static bool worked_fault_write(struct machine *m, int ret)
{
	return !ret && pread(m->memory, m->buffer, 1, 7 * PAGE) == 1 &&
	       m->buffer[0] == 0x55;
}

static bool unchanged_fault(struct machine *m)
{
	return pread(m->memory, m->buffer, 1, 7 * PAGE) == 1 && !m->buffer[0];
}

FIXTURE_VARIANT_ADD(fail_nth, fault_write) {
	.name = "first write to a mapped page",
	.stage = MEMORY,
	.errnos = { ENOMEM },
	.prepare = prepare_fault,
	.call = call_fault_write,
	.worked = worked_fault_write,
	.unchanged = unchanged_fault,
};

static int call_fault_read(struct machine *m)
{
	if (sigsetjmp(after_fault, 1))
		return -ENOMEM;
	return *(volatile char *)(m->map + 7 * PAGE);
}

FIXTURE_VARIANT_ADD(fail_nth, fault_read) {
	.name = "first read of a mapped page",
	.stage = MEMORY,
	.errnos = { ENOMEM },
	.prepare = prepare_fault,
	.call = call_fault_read,
	.worked = returns_0,
	.unchanged = unchanged_fault,
};

/* ---- read and write: over a border, from one page that is there ---------- */

#define BORDER	(2 * PAGE - 8)

static int prepare_read(struct machine *m)
{
	return write_at(m->memory, pattern, sizeof(pattern), BORDER);
}

static int read_from(struct machine *m, int fd)
{
	int ret = pread(fd, m->buffer, sizeof(pattern), BORDER);

	return ret < 0 ? -errno : ret;
}

/* A short count is an answer too, if it is true. */
static bool worked_read(struct machine *m, int ret)
{
	return ret > 0 && !memcmp(m->buffer, pattern, ret);
}

static int call_read_memory(struct machine *m)
{
	return read_from(m, m->memory);
}

FIXTURE_VARIANT_ADD(fail_nth, read_memory) {
	.name = "read of a memory fd",
	.stage = MEMORY,
	.retries = true,
	.prepare = prepare_read,
	.call = call_read_memory,
	.worked = worked_read,
};

static int call_read_vm(struct machine *m)
{
	return read_from(m, m->vm);
}

FIXTURE_VARIANT_ADD(fail_nth, read_vm) {
	.name = "read of a vm fd",
	.stage = SLOTS,
	.retries = true,
	.prepare = prepare_read,
	.call = call_read_vm,
	.worked = worked_read,
};

static int write_to(int fd)
{
	int ret = pwrite(fd, pattern, sizeof(pattern), BORDER);

	return ret < 0 ? -errno : ret;
}

static bool written(struct machine *m, size_t size)
{
	static const char zero[sizeof(pattern)];

	return pread(m->memory, m->buffer, sizeof(pattern), BORDER) ==
		       sizeof(pattern) &&
	       !memcmp(m->buffer, pattern, size) &&
	       !memcmp(m->buffer + size, zero, sizeof(pattern) - size);
}

static bool worked_write(struct machine *m, int ret)
{
	return ret > 0 && written(m, ret);
}

static bool unchanged_write(struct machine *m)
{
	return written(m, 0);
}

static int call_write_memory(struct machine *m)
{
	return write_to(m->memory);
}

FIXTURE_VARIANT_ADD(fail_nth, write_memory) {
	.name = "write to a memory fd",
	.stage = MEMORY,
	.errnos = { ENOMEM, EFAULT },
	.call = call_write_memory,
	.worked = worked_write,
	.unchanged = unchanged_write,
};

static int call_write_vm(struct machine *m)
{
	return write_to(m->vm);
}

FIXTURE_VARIANT_ADD(fail_nth, write_vm) {
	.name = "write to a vm fd",
	.stage = SLOTS,
	.errnos = { ENOMEM, EFAULT },
	.call = call_write_vm,
	.worked = worked_write,
	.unchanged = unchanged_write,
};

/* ---- the walk ------------------------------------------------------------ */

FIXTURE_SETUP(fail_nth)
{
	ASSERT_TRUE(inject_setup())
		TH_LOG("no fault injection in this kernel");
	self->fail_nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fail_nth);
	self->points = 0;
	self->failures = 0;
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
	bool hit, documented = false;
	unsigned int fds, i;
	int ret;

	ASSERT_EQ(0, machine_create(m, v->stage));
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
out:
	machine_destroy(m);
	return hit;
}

TEST_F_TIMEOUT(fail_nth, walk, MAX_SECONDS)
{
	FIXTURE_DATA(fail_nth) * s = self;

	/* Faults in code and data of ours, and what is made once, come first. */
	ASSERT_FALSE(step(_metadata, s, variant, MAX_POINTS));
	while (step(_metadata, s, variant, s->points + 1)) {
		s->points++;
		ASSERT_GT(MAX_POINTS, s->points);
		ASSERT_TRUE(_metadata->passed);
	}
	printf("# %s: %u points, %u failed it\n", variant->name, s->points,
	       s->failures);
	EXPECT_EQ(variant->nothing, !s->points);
	EXPECT_EQ(variant->nothing || variant->retries, !s->failures);
}

TEST_HARNESS_MAIN
