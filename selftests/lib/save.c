// SPDX-License-Identifier: GPL-2.0
/*
 * Snapshots in folders: what is saved goes on where it was, without having been
 * read; what is not whole, or not for this CPU, is refused with the reason.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wisp.h>

#include "../modules.h"
#include "tap.h"

#define RAM_SIZE	(64UL << 20)
#define HIGH_GPA	0x100000000ULL
#define HIGH_SIZE	0x10000
#define CODE		0x1000
#define COUNTER		0x3000
#define NOBODY		65534
#define SAVERS		8
#define VCPUS		2

/* 16-bit: 1: incb COUNTER; hlt; jmp 1b */
static const uint8_t count[] = { 0xfe, 0x06, 0x00, 0x30, 0xf4, 0xeb, 0xf9 };

/* Where Documentation/snapshots.rst says that they are in "state". */
enum {
	AT_VERSION = 8, AT_CHECKSUM = 12, AT_SIZE = 16, AT_VENDOR = 72,
	AT_SIGNATURE = 84, AT_XCR0 = 88, AT_TSC_KHZ = 96, AT_VM_FLAGS = 100,
	AT_SLOTS = 104,
};

static const struct wisp_saved_slot slots[] = {
	{ .number = 0, .prot = WISP_PROT_READ | WISP_PROT_WRITE | WISP_PROT_EXEC,
	  .gpa = 0, .size = RAM_SIZE },
	{ .number = 3, .prot = WISP_PROT_READ | WISP_PROT_WRITE,
	  .gpa = HIGH_GPA, .size = HIGH_SIZE },
};

static const struct wisp_msr_range msrs[] = {
	{ .first = 0x17, .last = 0x17, .read = WISP_MSR_IGNORE },
};

static int sys = -1;
static int vm = -1;
static int snapshot = -1;
static struct wisp_vcpu_page *page;
static char folder[32];
static int dir = -1;
static char error[256];

static struct wisp_saved to_save(void)
{
	return (struct wisp_saved){
		.slots = slots,
		.slot_count = 2,
		.vcpu_count = VCPUS,
		.msrs = msrs,
		.msr_count = 1,
		.extra = "devices",
		.extra_size = 8,
		.vm_flags = WISP_VM_STOPPED_CLOCK,
		.error = error,
		.error_size = sizeof(error),
	};
}

static int add_memory(const struct wisp_saved_slot *slot)
{
	int memory = wisp_create_memory(sys, slot->size);
	int ret = wisp_set_slot(vm, slot->number, slot->gpa, slot->size, memory,
				0, slot->prot);

	close(memory);
	return ret;
}

static bool run(int fd, struct wisp_vcpu_page *p)
{
	return !wisp_run(fd, 0) && p->exit.reason == WISP_EXIT_HLT;
}

static void create(void)
{
	struct wisp_create_vm arg = { .flags = WISP_VM_STOPPED_CLOCK };
	struct wisp_state state;

	sys = wisp_open();
	vm = wisp_create_vm_as(sys, &arg);
	if (!CHECK(sys >= 0 && vm >= 0))
		return;
	CHECK_EQUAL(wisp_set_msr_policy(vm, msrs, 1), 0);
	CHECK_EQUAL(add_memory(&slots[0]), 0);
	CHECK_EQUAL(add_memory(&slots[1]), 0);
	if (!CHECK(!wisp_create_vcpu(vm, 0, &page)))
		return;
	CHECK(!wisp_write(vm, CODE, count, sizeof(count)));
	CHECK(!wisp_write(vm, HIGH_GPA + 0x5001, "high", 4));
	CHECK(!wisp_write(vm, RAM_SIZE - 4, "last", 4));
	CHECK(!wisp_get_state(vm, 0, WISP_ASSIST_WANT | WISP_STATE_FPU,
			      &page->state));
	page->state.segments.cs.base = 0;
	page->state.segments.cs.selector = 0;
	page->state.general.rip = CODE;
	/* The other vCPU never runs. */
	state = page->state;
	state.general.r15 = 0x1616;
	CHECK(!wisp_create_vcpu(vm, 1, NULL));
	CHECK(!wisp_set_state(vm, 1, WISP_STATE_GENERAL, &state, NULL));
	page->state.general.r15 = 0x1515;
	page->state.xsave[512] |= 3;
	page->state.xsave[160] = 0x77;	/* XMM0 */
	page->dirty = WISP_ASSIST_WANT | WISP_STATE_FPU;
	CHECK(run(vm, page));
	/* Behind the HLT: what is to be completed is not saved. */
	page->complete = 1;
	CHECK(!wisp_kick(vm, 0) && !wisp_run(vm, 0));
	CHECK_EQUAL(page->exit.reason, WISP_EXIT_KICKED);
	snapshot = wisp_snapshot(vm);
	snprintf(folder, sizeof(folder), "/tmp/save.XXXXXX");
	CHECK(mkdtemp(folder));
	dir = open(folder, O_RDONLY | O_DIRECTORY);
	CHECK(snapshot >= 0 && dir >= 0);
}

static long blocks(const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, 0) ? -1 : (long)st.st_blocks / 8;
}

static void saves(void)
{
	struct wisp_saved saved = to_save();
	struct stat st;

	create();
	CHECK_EQUAL(wisp_snapshot_save(sys, snapshot, dir, &saved), 0);
	CHECK(!fstatat(dir, "memory", &st, 0));
	CHECK_EQUAL(st.st_size, (off_t)(RAM_SIZE + HIGH_SIZE + WISP_PAGE_SIZE));
	CHECK_EQUAL(st.st_mode & 0777, 0600);
	/* The code, the counter, two words and the page at the end. */
	CHECK_EQUAL(blocks("memory"), 5);
	CHECK(faccessat(dir, "state.new", F_OK, 0));
	CHECK_EQUAL(wisp_snapshot_save(sys, snapshot, dir, &saved), -EEXIST);
	CHECK(strstr(error, "already"));
}

static int counter(int fd)
{
	uint8_t value = 0xff;

	return wisp_read(fd, COUNTER, &value, 1) ? -1 : value;
}

static bool has(int fd, uint64_t gpa, const char *text)
{
	char data[8] = "";

	return !wisp_read(fd, gpa, data, strlen(text)) && !strcmp(data, text);
}

static struct wisp_vcpu_page *map(int fd)
{
	void *p = mmap(NULL, WISP_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		       fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* Two forks of what was opened go on where the VM was, each for itself. */
static void goes_on(void)
{
	struct wisp_saved saved = { .error = error, .error_size = sizeof(error) };
	struct wisp_vcpu_page *pages[2];
	struct wisp_state state;
	struct wisp_stats stats;
	int opened, forks[2];
	uint64_t tsc;

	opened = wisp_snapshot_open(sys, dir, &saved);
	if (!CHECK(opened >= 0))
		return;
	CHECK_EQUAL(saved.slot_count, 2);
	CHECK_EQUAL(saved.slots[1].gpa, HIGH_GPA);
	CHECK_EQUAL(saved.vcpu_count, VCPUS);
	CHECK_EQUAL(saved.msr_count, 1);
	CHECK(saved.extra_size == 8 && !strcmp(saved.extra, "devices"));
	for (int i = 0; i < 2; i++) {
		forks[i] = wisp_fork(sys, opened);
		pages[i] = map(forks[i]);
		if (!CHECK(forks[i] >= 0 && pages[i]))
			return;
	}
	CHECK(!wisp_get_state(forks[0], 0, WISP_STATE_GENERAL | WISP_STATE_FPU,
			      &state));
	CHECK_EQUAL(state.general.r15, 0x1515);
	CHECK_EQUAL(state.general.rip, CODE + 5);
	CHECK_EQUAL(state.xsave[160], 0x77);
	CHECK(!wisp_get_state(forks[0], 1, WISP_STATE_GENERAL, &state));
	CHECK_EQUAL(state.general.r15, 0x1616);
	CHECK(!wisp_get_state(snapshot, 0, WISP_STATE_MSRS, &state));
	tsc = state.msrs.tsc;
	CHECK(!wisp_get_state(forks[0], 0, WISP_STATE_MSRS, &state));
	CHECK_EQUAL(state.msrs.tsc, tsc);
	CHECK_EQUAL(blocks("memory"), 5);
	CHECK(run(forks[0], pages[0]));
	/*
	 * The first run takes two pages of the file: its code, and the counter,
	 * which an emulated CPU reads before it writes.
	 */
	CHECK(!wisp_stats(forks[0], &stats));
	CHECK(stats.faults == 2 || stats.faults == 3);
	CHECK_EQUAL(counter(forks[0]), 2);
	CHECK_EQUAL(counter(forks[1]), 1);
	CHECK(has(forks[1], HIGH_GPA + 0x5001, "high"));
	CHECK(has(forks[0], RAM_SIZE - 4, "last"));
	CHECK(!wisp_reset(forks[0], -1));
	CHECK_EQUAL(counter(forks[0]), 1);
	/* Of 16,000 pages that are holes, not one was read. */
	CHECK_EQUAL(blocks("memory"), 5);
	CHECK(openat(dir, "memory", O_WRONLY) < 0 && errno == ETXTBSY);
	for (int i = 0; i < 2; i++) {
		munmap(pages[i], WISP_PAGE_SIZE);
		close(forks[i]);
	}
	close(opened);
	wisp_saved_free(&saved);
	wisp_saved_free(&saved);
	CHECK_EQUAL(close(openat(dir, "memory", O_WRONLY)), 0);
}

/* ---- what is read ---------------------------------------------------------- */

/* Modules for a disk, where the lab has them; else there is a disk. */
#define MODULES		"/disk"
#define RAM_DISK	"/dev/ram1"

/*
 * A folder whose files need not be in memory, as those of tmpfs are. Returns it, or
 * -1; @name gets its name.
 */
static int make_disk(char *name, size_t size)
{
	bool in_lab = !access(MODULES, F_OK);

	snprintf(name, size, "%s/disk.XXXXXX", in_lab ? "/tmp" : "/var/tmp");
	if (!mkdtemp(name))
		return -1;
	if (in_lab && (modules_load(MODULES) ||
		       system("mkfs.minix " RAM_DISK " >/dev/null") ||
		       mount(RAM_DISK, name, "minix", 0, NULL)))
		return -1;
	return open(name, O_RDONLY | O_DIRECTORY);
}

static void remove_disk(const char *name, int disk)
{
	unlinkat(disk, "memory", 0);
	unlinkat(disk, "state", 0);
	close(disk);
	umount(name);
	rmdir(name);
}

/* How many pages of "memory" are in the page cache, or -1. */
static int cached(int disk)
{
	static unsigned char in_core[(RAM_SIZE + HIGH_SIZE) / WISP_PAGE_SIZE + 1];
	size_t size = sizeof(in_core) * WISP_PAGE_SIZE;
	int fd = openat(disk, "memory", O_RDONLY), n = 0;
	void *at = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);

	close(fd);
	if (at == MAP_FAILED || mincore(at, size, in_core))
		return -1;
	for (size_t i = 0; i < sizeof(in_core); i++)
		n += in_core[i] & 1;
	munmap(at, size);
	return n;
}

static int drop_cache(int disk)
{
	int fd = openat(disk, "memory", O_RDONLY);
	int ret = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);

	close(fd);
	return ret;
}

/* To open one reads its last page, and a run what it runs on: no other. */
static void reads_no_more_than_it_needs(void)
{
	struct wisp_saved saved = to_save();
	struct wisp_vcpu_page *p;
	int disk, opened, fork;
	char name[32];

	disk = make_disk(name, sizeof(name));
	if (!CHECK(disk >= 0))
		return;
	CHECK_EQUAL(wisp_snapshot_save(sys, snapshot, disk, &saved), 0);
	CHECK_EQUAL(drop_cache(disk), 0);
	CHECK_EQUAL(cached(disk), 0);
	opened = wisp_snapshot_open(sys, disk, &saved);
	fork = wisp_fork(sys, opened);
	p = map(fork);
	if (CHECK(opened >= 0 && fork >= 0 && p)) {
		CHECK_EQUAL(cached(disk), 1);
		/* Its code, and the counter, which it has a copy of then. */
		CHECK(run(fork, p));
		CHECK_EQUAL(counter(fork), 2);
		CHECK_EQUAL(cached(disk), 3);
		CHECK(!wisp_reset(fork, -1) && run(fork, p));
		CHECK_EQUAL(cached(disk), 3);
		CHECK(has(fork, HIGH_GPA + 0x5001, "high"));
		CHECK_EQUAL(cached(disk), 4);
		munmap(p, WISP_PAGE_SIZE);
	}
	close(fork);
	close(opened);
	wisp_saved_free(&saved);
	remove_disk(name, disk);
}

/* ---- what is refused ------------------------------------------------------ */

static uint8_t *state;		/* the file's, as it was saved */
static size_t state_size;

static uint32_t crc32(const uint8_t *data, size_t size)
{
	uint32_t crc = ~0U;

	for (size_t i = 0; i < size; i++) {
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
	}
	return ~crc;
}

static bool write_state(const void *data, size_t size)
{
	int fd = openat(dir, "state", O_WRONLY | O_CREAT | O_TRUNC, 0600);
	bool ok = fd >= 0 && write(fd, data, size) == (ssize_t)size;

	close(fd);
	return ok;
}

static bool read_state(void)
{
	int fd = openat(dir, "state", O_RDONLY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return false;
	state_size = (size_t)st.st_size;
	state = malloc(state_size);
	return read(fd, state, state_size) == (ssize_t)state_size && !close(fd);
}

/* Opens it; a refusal has a reason, and leaves no fd. */
static int try_open(void)
{
	struct wisp_saved saved = { .error = error, .error_size = sizeof(error) };
	int before = dup(sys), after, ret;

	close(before);
	error[0] = 0;
	ret = wisp_snapshot_open(sys, dir, &saved);
	if (ret >= 0) {
		close(ret);
		wisp_saved_free(&saved);
		return 0;
	}
	after = dup(sys);
	close(after);
	CHECK_EQUAL(after, before);
	CHECK(error[0] && !saved.data);
	return ret;
}

/* With @size bytes at @at changed, and the checksum right again. */
static int try_changed(size_t at, const void *data, size_t size)
{
	uint8_t *changed = malloc(state_size);
	const uint32_t zero = 0;
	uint32_t crc;
	int ret;

	memcpy(changed, state, state_size);
	memcpy(changed + at, data, size);
	memcpy(changed + AT_CHECKSUM, &zero, 4);
	crc = crc32(changed, state_size);
	memcpy(changed + AT_CHECKSUM, &crc, 4);
	ret = write_state(changed, state_size) ? try_open() : -1;
	free(changed);
	return ret;
}

static void refuses_what_is_not_whole(void)
{
	if (!CHECK(read_state()))
		return;
	for (size_t size = 0; size < state_size; size += 1 + size / 16) {
		CHECK(write_state(state, size));
		CHECK_EQUAL(try_open(), size < 8 ? -EINVAL : -EBADMSG);
	}
	for (size_t at = 0; at < state_size; at += 1 + at / 64) {
		int ret;

		state[at] ^= 0x10;
		CHECK(write_state(state, state_size));
		ret = try_open();
		CHECK_EQUAL(ret, at < 8 ? -EINVAL : at < AT_CHECKSUM ?
				 -EPROTONOSUPPORT : -EBADMSG);
		state[at] ^= 0x10;
	}
	CHECK(write_state(state, state_size));
	CHECK_EQUAL(try_open(), 0);
	CHECK_EQUAL(try_changed(0, "WISPSNAP", 8), 0);
}

static void refuses_foreign_versions(void)
{
	const uint32_t two = 2, zero = 0;

	CHECK_EQUAL(try_changed(AT_VERSION, &two, 4), -EPROTONOSUPPORT);
	CHECK(strstr(error, "version 2"));
	CHECK_EQUAL(try_changed(AT_VERSION, &zero, 4), -EPROTONOSUPPORT);
}

static void refuses_unfit_cpus(void)
{
	uint64_t xcr0 = 1ULL << 62;
	uint32_t signature, khz, ones = ~0U;
	size_t leaf;

	CHECK_EQUAL(try_changed(AT_VENDOR, "CyrixInstead", 12), -ENOEXEC);
	CHECK(strstr(error, "vendor"));
	memcpy(&signature, state + AT_SIGNATURE, 4);
	signature ^= 1U << 20;
	CHECK_EQUAL(try_changed(AT_SIGNATURE, &signature, 4), -ENOEXEC);
	CHECK(strstr(error, "family"));
	CHECK_EQUAL(try_changed(AT_XCR0, &xcr0, 8), -ENOEXEC);
	CHECK(strstr(error, "XCR0"));
	memcpy(&khz, state + AT_TSC_KHZ, 4);
	khz *= 2;
	CHECK_EQUAL(try_changed(AT_TSC_KHZ, &khz, 4), -ENOEXEC);
	CHECK(strstr(error, "TSC"));
	/* The CPUID table is behind the slots: the entry of leaf 7. */
	leaf = AT_SLOTS + 2 * sizeof(struct wisp_saved_slot);
	while (leaf < state_size && (state[leaf] != 7 || state[leaf + 4]))
		leaf += sizeof(struct wisp_cpuid_entry);
	leaf += offsetof(struct wisp_cpuid_entry, ebx);
	CHECK_EQUAL(try_changed(leaf, &ones, 4), -ENOEXEC);
	CHECK(strstr(error, "leaf 0x7, ebx"));
}

/* Who makes up a file with a good checksum gets no further. */
static void refuses_nonsense(void)
{
	static const size_t counts[] = { 48, 52, 56, 60, 64 };
	const uint32_t fork_of_stdin = WISP_VM_FORK, unknown = 1U << 31;
	const uint32_t in_window = WISP_VM_WINDOW;

	for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
		uint32_t many = 0xffffffff, one_more;

		memcpy(&one_more, state + counts[i], 4);
		one_more++;
		CHECK_EQUAL(try_changed(counts[i], &many, 4), -EBADMSG);
		CHECK_EQUAL(try_changed(counts[i], &one_more, 4), -EBADMSG);
	}
	for (size_t at = AT_SLOTS + 16; at < AT_SLOTS + 32; at += 8) {
		uint64_t size = ~0xfffULL;

		CHECK_EQUAL(try_changed(at, &size, 8), -EBADMSG);
	}
	CHECK_EQUAL(try_changed(AT_VM_FLAGS, &fork_of_stdin, 4), -EBADMSG);
	CHECK_EQUAL(try_changed(AT_VM_FLAGS, &in_window, 4), -EBADMSG);
	CHECK_EQUAL(try_changed(AT_VM_FLAGS, &unknown, 4), -EOPNOTSUPP);
	CHECK(write_state(state, state_size));
	CHECK_EQUAL(try_open(), 0);
}

static void refuses_other_memory(void)
{
	const off_t end = RAM_SIZE + HIGH_SIZE;
	int fd = openat(dir, "memory", O_RDWR);
	char byte;

	CHECK_EQUAL(try_open(), -ETXTBSY);
	CHECK(pread(fd, &byte, 1, end + 20) == 1);
	byte ^= 1;
	CHECK(pwrite(fd, &byte, 1, end + 20) == 1);
	CHECK_EQUAL(try_open(), -EBADMSG);
	byte ^= 1;
	CHECK(pwrite(fd, &byte, 1, end + 20) == 1);
	CHECK(!ftruncate(fd, end));
	CHECK_EQUAL(try_open(), -EBADMSG);
	CHECK(strstr(error, "truncated"));
	CHECK(!ftruncate(fd, end + WISP_PAGE_SIZE));
	CHECK_EQUAL(try_open(), -EBADMSG);
	close(fd);
	CHECK(!unlinkat(dir, "memory", 0));
	CHECK_EQUAL(try_open(), -ENOENT);
	CHECK(!unlinkat(dir, "state", 0));
	CHECK_EQUAL(try_open(), -ENOENT);
}

/* Of another user, who could read it: its owner must be able to write to it. */
static void refuses_other_owners(void)
{
	struct wisp_saved saved = to_save();
	int status = -1;
	pid_t pid;

	CHECK_EQUAL(wisp_snapshot_save(sys, snapshot, dir, &saved), 0);
	CHECK(!fchmod(dir, 0755) && !fchmodat(dir, "memory", 0644, 0) &&
	      !fchmodat(dir, "state", 0644, 0));
	fflush(stdout);
	pid = fork();
	if (!pid) {
		if (setgid(NOBODY) || setuid(NOBODY))
			_exit(1);
		_exit(try_open() == -EPERM && strstr(error, "another user") ? 0 : 2);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	CHECK_EQUAL(status, 0);
}

static bool set_limit(const char *value)
{
	FILE *f = fopen("/sys/module/wisp/parameters/max_vms_per_user", "w");

	return f && fputs(value, f) >= 0 && !fclose(f);
}

/* A user's own that may have no VM. */
static void tells_of_limits(void)
{
	int status = -1;
	pid_t pid;

	CHECK(!fchownat(dir, "memory", NOBODY, NOBODY, 0) && set_limit("0"));
	fflush(stdout);
	pid = fork();
	if (!pid) {
		if (setgid(NOBODY) || setuid(NOBODY))
			_exit(1);
		_exit(try_open() == -EDQUOT && strstr(error, "max_vms_per_user") ?
			      0 : 2);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	CHECK_EQUAL(status, 0);
	CHECK(set_limit("1024"));
}

/* Of the files of the folder, and of what the driver makes of them. */
static void tells_of_open_files(void)
{
	int free_fd = dup(sys);
	struct rlimit limit, low;

	close(free_fd);
	CHECK(!getrlimit(RLIMIT_NOFILE, &limit));
	low = limit;
	for (int i = 0; i < 2; i++) {
		low.rlim_cur = (rlim_t)(free_fd + i);
		CHECK(!setrlimit(RLIMIT_NOFILE, &low));
		CHECK_EQUAL(try_open(), -EMFILE);
		CHECK(strstr(error, i ? "no VM: " : "\"state\"") &&
		      strstr(error, "ulimit -n"));
	}
	CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
	CHECK_EQUAL(try_open(), 0);
}

/* What cannot be saved leaves nothing, and nothing old is in the way. */
static void fails_without_a_trace(void)
{
	struct wisp_saved saved = to_save();
	struct wisp_saved_slot wrong = slots[1];

	CHECK(!unlinkat(dir, "state", 0));
	saved.vcpu_count = VCPUS + 1;
	CHECK_EQUAL(wisp_snapshot_save(sys, snapshot, dir, &saved), -ENOENT);
	saved.vcpu_count = 0;
	CHECK_EQUAL(wisp_snapshot_save(sys, snapshot, dir, &saved), -EINVAL);
	saved.vcpu_count = VCPUS;
	saved.extra_size = 64 << 20;
	CHECK_EQUAL(wisp_snapshot_save(sys, snapshot, dir, &saved), -EFBIG);
	saved.extra_size = 8;
	saved.vm_flags |= WISP_VM_WINDOW;
	CHECK_EQUAL(wisp_snapshot_save(sys, snapshot, dir, &saved), -EINVAL);
	saved.vm_flags = WISP_VM_STOPPED_CLOCK;
	wrong.size += WISP_PAGE_SIZE;
	saved.slots = &wrong;
	saved.slot_count = 1;
	CHECK_EQUAL(wisp_snapshot_save(sys, snapshot, dir, &saved), -EFAULT);
	/* None of a VM's has such a size. */
	wrong.size = WISP_PAGE_SIZE / 2;
	CHECK_EQUAL(wisp_snapshot_save(sys, snapshot, dir, &saved), -EFAULT);
	wrong.size = 0;
	CHECK_EQUAL(wisp_snapshot_save(sys, snapshot, dir, &saved), -EFAULT);
	CHECK(faccessat(dir, "memory", F_OK, 0) && faccessat(dir, "state", F_OK, 0));
	saved = to_save();
	CHECK_EQUAL(wisp_snapshot_save(sys, snapshot, dir, &saved), 0);
	CHECK_EQUAL(try_open(), 0);
}

/* What is there under the name of what comes: not through it, nor with its mode. */
static void replaces_what_is_left(void)
{
	struct wisp_saved saved = to_save();
	struct stat st;

	CHECK(!unlinkat(dir, "state", 0));
	CHECK(!symlinkat("elsewhere", dir, "state.new"));
	CHECK_EQUAL(wisp_snapshot_save(sys, snapshot, dir, &saved), -EEXIST);
	CHECK(faccessat(dir, "elsewhere", F_OK, 0));
	CHECK(!unlinkat(dir, "state.new", 0));
	CHECK_EQUAL(close(openat(dir, "state.new", O_CREAT | O_WRONLY, 0644)), 0);
	CHECK_EQUAL(wisp_snapshot_save(sys, snapshot, dir, &saved), 0);
	CHECK(!fstatat(dir, "state", &st, AT_SYMLINK_NOFOLLOW));
	CHECK_EQUAL(st.st_mode, S_IFREG | 0600);
}

static bool write_file(const char *name, const char *data, size_t size, off_t at)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT, 0600);
	bool good = fd >= 0 && pwrite(fd, data, size, at) == (ssize_t)size;

	return !close(fd) && good;
}

static bool write_memory(const char *data, size_t size, off_t at)
{
	return write_file("memory", data, size, at);
}

/* A file of that name may be somebody's; one that was never finished is nobody's. */
static void keeps_a_foreign_memory(void)
{
	struct wisp_saved saved = to_save();
	struct stat st;

	CHECK(!unlinkat(dir, "state", 0) && !unlinkat(dir, "memory", 0));
	CHECK(write_memory("mine", 4, 0));
	CHECK_EQUAL(wisp_snapshot_save(sys, snapshot, dir, &saved), -EEXIST);
	CHECK(strstr(error, "\"memory\""));
	CHECK(!fstatat(dir, "memory", &st, 0) && st.st_size == 4);
	CHECK(write_memory("mine", 4, 2 * WISP_PAGE_SIZE - 4));
	CHECK_EQUAL(wisp_snapshot_save(sys, snapshot, dir, &saved), -EEXIST);
	CHECK(!fstatat(dir, "memory", &st, 0) && st.st_size == 2 * WISP_PAGE_SIZE);
	CHECK(!unlinkat(dir, "memory", 0) && !symlinkat("state", dir, "memory"));
	CHECK_EQUAL(wisp_snapshot_save(sys, snapshot, dir, &saved), -EEXIST);
	CHECK(!fstatat(dir, "memory", &st, AT_SYMLINK_NOFOLLOW) &&
	      S_ISLNK(st.st_mode));
	CHECK(!unlinkat(dir, "memory", 0));
	CHECK(faccessat(dir, "state", F_OK, 0));
	CHECK(write_file("state.new", "mine", 4, 0));
	CHECK_EQUAL(wisp_snapshot_save(sys, snapshot, dir, &saved), -EEXIST);
	CHECK(strstr(error, "\"state.new\""));
	CHECK(!fstatat(dir, "state.new", &st, 0) && st.st_size == 4);
	CHECK(write_file("state.new", "WISPSNAP", 8, 0));
	/* Before anything, or but its last page, was written. */
	CHECK(write_memory("", 0, 0));
	CHECK_EQUAL(wisp_snapshot_save(sys, snapshot, dir, &saved), 0);
	CHECK(!unlinkat(dir, "state", 0) && !unlinkat(dir, "memory", 0));
	CHECK(write_memory("WISPMEM", 8, WISP_PAGE_SIZE));
	CHECK_EQUAL(wisp_snapshot_save(sys, snapshot, dir, &saved), 0);
	CHECK_EQUAL(try_open(), 0);
}

static void one_saves_at_a_time(void)
{
	struct wisp_saved saved = to_save();
	int other = open(folder, O_RDONLY | O_DIRECTORY);

	CHECK(!unlinkat(dir, "state", 0));
	CHECK(!flock(other, LOCK_EX));
	CHECK_EQUAL(wisp_snapshot_save(sys, snapshot, dir, &saved), -EBUSY);
	CHECK(strstr(error, "another"));
	CHECK(!faccessat(dir, "memory", F_OK, 0));
	CHECK(faccessat(dir, "state", F_OK, 0));
	CHECK(!flock(other, LOCK_UN));
	CHECK_EQUAL(wisp_snapshot_save(sys, snapshot, dir, &saved), 0);
	/* And has given it back. */
	CHECK(!flock(other, LOCK_EX | LOCK_NB));
	close(other);
}

/* Many at once: one of them, and what it saved is whole. */
static void of_many_one_saves(void)
{
	struct wisp_saved saved = to_save();
	int status, saves = 0;

	CHECK(!unlinkat(dir, "state", 0));
	fflush(stdout);
	for (int i = 0; i < SAVERS; i++) {
		if (fork())
			continue;
		switch (wisp_snapshot_save(sys, snapshot, dir, &saved)) {
		case 0:
			_exit(0);
		case -EBUSY:
		case -EEXIST:
			_exit(1);
		}
		_exit(2);
	}
	for (int i = 0; i < SAVERS; i++) {
		CHECK(wait(&status) > 0 && status >> 8 < 2);
		saves += !status;
	}
	CHECK_EQUAL(saves, 1);
	CHECK_EQUAL(try_open(), 0);
}

static void destroy(void)
{
	unlinkat(dir, "memory", 0);
	unlinkat(dir, "state", 0);
	rmdir(folder);
	close(dir);
	munmap(page, WISP_PAGE_SIZE);
	close(snapshot);
	close(vm);
	close(sys);
	free(state);
}

int main(void)
{
	static const struct tap_test tests[] = {
		TAP_TEST(saves),
		TAP_TEST(goes_on),
		TAP_TEST(reads_no_more_than_it_needs),
		TAP_TEST(refuses_what_is_not_whole),
		TAP_TEST(refuses_foreign_versions),
		TAP_TEST(refuses_unfit_cpus),
		TAP_TEST(refuses_nonsense),
		TAP_TEST(refuses_other_memory),
		TAP_TEST(refuses_other_owners),
		TAP_TEST(tells_of_limits),
		TAP_TEST(tells_of_open_files),
		TAP_TEST(fails_without_a_trace),
		TAP_TEST(replaces_what_is_left),
		TAP_TEST(keeps_a_foreign_memory),
		TAP_TEST(one_saves_at_a_time),
		TAP_TEST(of_many_one_saves),
		TAP_TEST(destroy),
	};

	return TAP_RUN(tests);
}
