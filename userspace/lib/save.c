// SPDX-License-Identifier: MIT
/*
 * Snapshots in folders. Documentation/snapshots.rst describes the two files; the
 * numbers in them are little-endian, as this machine's are.
 */
#include <wisp.h>

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <x86intrin.h>

#define MEMORY		"memory"
#define STATE		"state"
#define NEW_STATE	"state.new"

#define PAGE		((uint64_t)WISP_PAGE_SIZE)
#define CHUNK		((uint64_t)1 << 18)
#define STATE_SIZE_MAX	(64 << 20)
#define VERSION		1
#define CLOCK_FLAGS	(WISP_VM_STOPPED_CLOCK | WISP_VM_DETERMINISTIC)
#define ALL_GROUPS \
	(WISP_STATE_GENERAL | WISP_STATE_SEGMENTS | WISP_STATE_CONTROL | \
	 WISP_STATE_DEBUG | WISP_STATE_MSRS | WISP_STATE_EVENTS | \
	 WISP_STATE_FPU)

static const char magic[8] = "WISPSNAP";
static const char memory_magic[8] = "WISPMEM";

/* The file "state": this, then the arrays that it counts, in their order. */
struct header {
	char magic[8];
	uint32_t version;
	uint32_t checksum;	/* CRC-32 of the file, with 0 here */
	uint64_t size;		/* of the file */
	uint8_t id[16];		/* the same in both files */
	uint64_t memory_size;
	uint32_t slot_count;
	uint32_t cpuid_count;
	uint32_t msr_count;
	uint32_t vcpu_count;
	uint64_t extra_size;
	/* What the host was that it was saved on. */
	char vendor[12];
	uint32_t signature;	/* CPUID leaf 1, EAX */
	uint64_t xcr0;
	uint32_t tsc_khz;
	uint32_t vm_flags;
};

_Static_assert(sizeof(struct header) == 104, "no holes");

/* The last page of the file "memory" begins with this. */
struct trailer {
	char magic[8];
	uint8_t id[16];
};

/* The host's CPUID table, as WISP_QUERY shows it. */
struct host {
	struct wisp_query query;
	struct wisp_cpuid_entry cpuid[WISP_MAX_CPUID];
};

__attribute__((format(printf, 3, 4)))
static int fail(const struct wisp_saved *saved, int error, const char *format,
		...)
{
	va_list args;

	if (saved->error && saved->error_size) {
		va_start(args, format);
		vsnprintf(saved->error, saved->error_size, format, args);
		va_end(args);
	}
	return error;
}

/* What to do, where @otherwise is not it. */
static const char *advice(int error, const char *otherwise)
{
	return error == -EMFILE ? "raise the limit of open files (ulimit -n)" :
				  otherwise;
}

/* @errno says why: wisp_write() to a file is pwrite(), too. */
static int failed_file(const struct wisp_saved *saved, const char *name)
{
	int error = -errno;

	return fail(saved, error, "the file \"%s\" of the snapshot: %s: %s", name,
		    strerror(-error), advice(error, "see the folder"));
}

static uint32_t crc32(uint32_t crc, const void *data, size_t size)
{
	const uint8_t *bytes = data;

	crc = ~crc;
	for (size_t i = 0; i < size; i++) {
		crc ^= bytes[i];
		for (unsigned int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return ~crc;
}

static uint32_t state_checksum(const struct header *header)
{
	struct header copy = *header;
	uint32_t crc;

	copy.checksum = 0;
	crc = crc32(0, &copy, sizeof(copy));
	return crc32(crc, header + 1, header->size - sizeof(*header));
}

static int query_host(int sys, struct host *host)
{
	host->query.cpuid = (uintptr_t)host->cpuid;
	host->query.cpuid_count = WISP_MAX_CPUID;
	return wisp_query(sys, &host->query);
}

static const struct wisp_cpuid_entry *
find_leaf(const struct wisp_cpuid_entry *table, uint32_t count, uint32_t leaf,
	  uint32_t subleaf)
{
	static const struct wisp_cpuid_entry none;

	for (uint32_t i = 0; i < count; i++)
		if (table[i].leaf == leaf && table[i].subleaf == subleaf)
			return &table[i];
	return &none;
}

/* ---- saving -------------------------------------------------------------- */

static bool is_zero(const uint8_t *page)
{
	return !page[0] && !memcmp(page, page + 1, PAGE - 1);
}

/* Pages of zeroes stay holes. */
static int write_pages(int fd, const uint8_t *data, uint64_t size,
		       uint64_t offset)
{
	uint64_t first = 0;

	for (uint64_t at = 0; at <= size; at += PAGE) {
		if (at < size && !is_zero(data + at))
			continue;
		if (wisp_write(fd, offset + first, data + first, at - first))
			return -1;
		first = at + PAGE;
	}
	return 0;
}

static int save_slot(const struct wisp_saved *saved, int snapshot, int fd,
		     const struct wisp_saved_slot *slot, uint8_t *buffer)
{
	for (uint64_t at = 0; at < slot->size; at += CHUNK) {
		uint64_t size = slot->size - at < CHUNK ? slot->size - at : CHUNK;
		int ret = wisp_read(snapshot, slot->gpa + at, buffer, size);

		if (ret)
			return fail(saved, ret,
				    "no memory at %#" PRIx64 " to be saved: %s: name the slots that there are",
				    (uint64_t)slot->gpa + at, strerror(-ret));
		if (write_pages(fd, buffer, size, slot->offset + at))
			return failed_file(saved, MEMORY);
	}
	return 0;
}

/*
 * One saves into a folder at a time. The lock is an open file's, so of a file that
 * nobody else has; some file systems have none. Returns an fd to close.
 */
static int lock_folder(const struct wisp_saved *saved, int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return failed_file(saved, ".");
	if (!flock(fd, LOCK_EX | LOCK_NB) || errno != EWOULDBLOCK)
		return fd;
	close(fd);
	return fail(saved, -EBUSY,
		    "another one is being saved into the folder: give another folder");
}

/*
 * A file in the way may be somebody's. What an attempt that came to no end has left
 * is empty, or has @expected: in its last page, where @is_memory.
 */
static int check_left(const struct wisp_saved *saved, int dir, const char *name,
		      const char *expected, bool is_memory)
{
	char found[sizeof(magic)] = "";
	bool is_ours = false;
	struct stat st;
	int fd;

	fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode))
		is_ours = !st.st_size ||
			  (!wisp_read(fd, is_memory ? (uint64_t)(st.st_size - 1) & -PAGE : 0,
				      found, sizeof(found)) &&
			   !memcmp(found, expected, sizeof(found)));
	if (fd >= 0)
		close(fd);
	return is_ours ? 0 : fail(saved, -EEXIST,
				  "there is a file \"%s\" that is no snapshot's: give another folder",
				  name);
}

static int save_memory(const struct wisp_saved *saved, int snapshot, int dir,
		       const struct header *header,
		       const struct wisp_saved_slot *slots)
{
	struct trailer trailer = { 0 };
	uint8_t *buffer = malloc(CHUNK);
	int ret = 0, fd;

	fd = openat(dir, MEMORY, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	memcpy(trailer.magic, memory_magic, sizeof(trailer.magic));
	memcpy(trailer.id, header->id, sizeof(trailer.id));
	if (fd < 0 ||
	    wisp_write(fd, header->memory_size, &trailer, sizeof(trailer)) ||
	    ftruncate(fd, (off_t)(header->memory_size + PAGE)))
		ret = failed_file(saved, MEMORY);
	else if (!buffer)
		ret = fail(saved, -ENOMEM, "no memory to save with: free some");
	for (uint32_t i = 0; !ret && i < header->slot_count; i++)
		ret = save_slot(saved, snapshot, fd, &slots[i], buffer);
	if (!ret && fsync(fd))
		ret = failed_file(saved, MEMORY);
	if (fd >= 0)
		close(fd);
	free(buffer);
	return ret;
}

/* Nothing is replaced: some file systems can do the one, some the other. */
static int name_state(int dir)
{
	if (!renameat2(dir, NEW_STATE, dir, STATE, RENAME_NOREPLACE))
		return 0;
	if (errno != EINVAL || linkat(dir, NEW_STATE, dir, STATE, 0))
		return -1;
	unlinkat(dir, NEW_STATE, 0);
	return 0;
}

/* It has its name once it is whole, and that is on the disk, too, at the end. */
static int save_state(const struct wisp_saved *saved, int dir,
		      const struct header *header)
{
	int ret = 0, fd;

	fd = openat(dir, NEW_STATE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
		    0600);
	if (fd < 0 || wisp_write(fd, 0, header, header->size) || fsync(fd) ||
	    name_state(dir)) {
		ret = failed_file(saved, STATE);
	} else if (fsync(dir) && errno != EINVAL) {
		ret = failed_file(saved, ".");
		unlinkat(dir, STATE, 0);
	}
	if (fd >= 0)
		close(fd);
	return ret;
}

static void *append(void *to, const void *from, size_t size)
{
	if (size)
		memcpy(to, from, size);
	return (char *)to + size;
}

static int get_vcpus(const struct wisp_saved *saved, int snapshot, char *to)
{
	for (uint32_t i = 0; i < saved->vcpu_count; i++) {
		struct wisp_state *state = (void *)to;
		int ret = wisp_get_state(snapshot, i, ALL_GROUPS, state + i);

		if (ret)
			return fail(saved, ret,
				    "no vCPU %u in the snapshot: %s: say how many there are",
				    i, strerror(-ret));
	}
	return 0;
}

/* The slots are one after the other in the file. */
static uint64_t place_slots(struct wisp_saved_slot *slots, uint32_t count)
{
	uint64_t offset = 0;

	for (uint32_t i = 0; i < count; i++) {
		slots[i].offset = offset;
		offset += slots[i].size;
	}
	return offset;
}

/* @state gets what the file "state" has, in memory of malloc(). */
static int make_state(const struct wisp_saved *saved, int snapshot,
		      const struct host *host, struct header **state)
{
	const struct wisp_cpuid_entry *leaf = host->cpuid;
	uint32_t leaves = host->query.cpuid_count;
	const struct wisp_cpuid_entry *cpuid = saved->cpuid ?: leaf;
	uint32_t cpuid_count = saved->cpuid ? saved->cpuid_count : leaves;
	size_t size = sizeof(struct header) +
		      saved->slot_count * sizeof(*saved->slots) +
		      cpuid_count * sizeof(*cpuid) +
		      saved->msr_count * sizeof(*saved->msrs) +
		      saved->vcpu_count * sizeof(struct wisp_state) +
		      saved->extra_size;
	struct wisp_saved_slot *slots;
	struct header *header;
	char *to;
	int ret;

	if (saved->extra_size > STATE_SIZE_MAX || size > STATE_SIZE_MAX)
		return fail(saved, -EFBIG,
			    "more than 64 MiB beside the memory: keep some of it elsewhere");
	if (saved->vm_flags & ~CLOCK_FLAGS)
		return fail(saved, -EINVAL,
			    "flags %#x are not kept: give those of the clock only",
			    saved->vm_flags & ~CLOCK_FLAGS);
	for (uint32_t i = 0; i < saved->slot_count; i++) {
		if (saved->slots[i].size && !(saved->slots[i].size % PAGE))
			continue;
		return fail(saved, -EFAULT,
			    "slot %u has %#" PRIx64 " bytes: name the slots as the VM has them",
			    i, (uint64_t)saved->slots[i].size);
	}
	if (!saved->vcpu_count)
		return fail(saved, -EINVAL, "no vCPU: say how many there are");
	header = calloc(1, size);
	if (!header || getrandom(header->id, sizeof(header->id), 0) < 0) {
		free(header);
		return fail(saved, -ENOMEM, "no memory to save with: free some");
	}
	memcpy(header->magic, magic, sizeof(magic));
	header->version = VERSION;
	header->size = size;
	header->slot_count = saved->slot_count;
	header->cpuid_count = cpuid_count;
	header->msr_count = saved->msr_count;
	header->vcpu_count = saved->vcpu_count;
	header->extra_size = saved->extra_size;
	header->vm_flags = saved->vm_flags;
	leaf = find_leaf(host->cpuid, leaves, 0, 0);
	memcpy(header->vendor, &leaf->ebx, 4);
	memcpy(header->vendor + 4, &leaf->edx, 4);
	memcpy(header->vendor + 8, &leaf->ecx, 4);
	header->signature = find_leaf(host->cpuid, leaves, 1, 0)->eax;
	header->xcr0 = host->query.xcr0;
	header->tsc_khz = saved->tsc_khz ?: host->query.tsc_khz;

	slots = (void *)(header + 1);
	to = append(slots, saved->slots, saved->slot_count * sizeof(*slots));
	header->memory_size = place_slots(slots, saved->slot_count);
	to = append(to, cpuid, cpuid_count * sizeof(*cpuid));
	to = append(to, saved->msrs, saved->msr_count * sizeof(*saved->msrs));
	ret = get_vcpus(saved, snapshot, to);
	to += saved->vcpu_count * sizeof(struct wisp_state);
	append(to, saved->extra, saved->extra_size);
	header->checksum = state_checksum(header);
	if (ret)
		free(header);
	else
		*state = header;
	return ret;
}

/* The folder is locked. */
static int save(const struct wisp_saved *saved, const struct host *host,
		int snapshot, int dir)
{
	struct header *header = NULL;
	int ret;

	if (!faccessat(dir, STATE, F_OK, 0))
		return fail(saved, -EEXIST,
			    "there is a snapshot already: give another folder");
	/* Of a memory the last page is written first. */
	ret = check_left(saved, dir, MEMORY, memory_magic, true) ?:
	      check_left(saved, dir, NEW_STATE, magic, false) ?:
	      make_state(saved, snapshot, host, &header);
	if (ret)
		return ret;
	/* What an earlier attempt, that came to no end, has left. */
	unlinkat(dir, NEW_STATE, 0);
	unlinkat(dir, MEMORY, 0);
	ret = save_memory(saved, snapshot, dir, header, (void *)(header + 1));
	if (!ret)
		ret = save_state(saved, dir, header);
	if (ret) {
		unlinkat(dir, NEW_STATE, 0);
		unlinkat(dir, MEMORY, 0);
	}
	free(header);
	return ret;
}

int wisp_snapshot_save(int sys, int snapshot, int dir,
		       const struct wisp_saved *saved)
{
	struct host host;
	int ret, lock;

	ret = query_host(sys, &host);
	if (ret)
		return fail(saved, ret, "the driver does not answer: %s: see dmesg",
			    strerror(-ret));
	lock = lock_folder(saved, dir);
	if (lock < 0)
		return lock;
	ret = save(saved, &host, snapshot, lock);
	close(lock);
	return ret;
}

/* ---- opening ------------------------------------------------------------- */

static int damaged(const struct wisp_saved *saved, const char *what)
{
	return fail(saved, -EBADMSG, "the snapshot is %s: take another", what);
}

/* The file "state", in memory of malloc(). */
static int read_state(struct wisp_saved *saved, int dir, struct header **state)
{
	struct header *header = NULL;
	struct stat st;
	int ret, fd;

	fd = openat(dir, STATE, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st)) {
		ret = failed_file(saved, STATE);
	} else if (!S_ISREG(st.st_mode) || st.st_size > STATE_SIZE_MAX) {
		ret = fail(saved, -EINVAL,
			   "no snapshot: give a folder that has one");
	} else {
		header = calloc(1, (size_t)st.st_size + sizeof(*header));
		ret = header ? wisp_read(fd, 0, header, (size_t)st.st_size) :
			       -ENOMEM;
		/* Somebody has just shortened it. */
		if (ret == -EFAULT)
			ret = -EBADMSG;
		if (ret)
			fail(saved, ret, "the snapshot cannot be read: %s: see dmesg",
			     strerror(-ret));
	}
	if (fd >= 0)
		close(fd);
	*state = header;
	if (ret)
		return ret;
	if ((size_t)st.st_size < sizeof(header->magic) ||
	    memcmp(header->magic, magic, sizeof(magic)))
		return fail(saved, -EINVAL,
			    "no snapshot: give a folder that has one");
	if ((size_t)st.st_size < sizeof(*header))
		return damaged(saved, "truncated");
	if (header->version != VERSION)
		return fail(saved, -EPROTONOSUPPORT,
			    "the snapshot has version %u of the format and this library knows %u: use the two of one version",
			    header->version, VERSION);
	if ((uint64_t)st.st_size < header->size)
		return damaged(saved, "truncated");
	if ((uint64_t)st.st_size != header->size ||
	    header->checksum != state_checksum(header))
		return damaged(saved, "damaged: its checksum is wrong");
	return 0;
}

/* A checksum is no proof against who makes one up. */
static int check_slots(struct wisp_saved *saved, const struct header *header)
{
	uint64_t offset = 0;

	for (uint32_t i = 0; i < saved->slot_count; i++) {
		const struct wisp_saved_slot *slot = &saved->slots[i];

		if (!slot->size || slot->size % PAGE ||
		    slot->offset != offset ||
		    slot->size > header->memory_size - offset)
			return damaged(saved, "damaged: its slots do not fit");
		offset += slot->size;
	}
	return offset == header->memory_size ?
		       0 : damaged(saved, "damaged: its slots do not fit");
}

/* Points @saved at the arrays; @states gets the vCPUs'. */
static int take_apart(struct wisp_saved *saved, struct header *header,
		      const struct wisp_state **states)
{
	const char *at = (const char *)(header + 1);
	uint64_t rest = header->size - sizeof(*header);
	const struct {
		const void **array;
		uint64_t count;
		size_t size;
	} parts[] = {
		{ (const void **)&saved->slots, header->slot_count,
		  sizeof(*saved->slots) },
		{ (const void **)&saved->cpuid, header->cpuid_count,
		  sizeof(*saved->cpuid) },
		{ (const void **)&saved->msrs, header->msr_count,
		  sizeof(*saved->msrs) },
		{ (const void **)states, header->vcpu_count,
		  sizeof(**states) },
		{ &saved->extra, header->extra_size, 1 },
	};

	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		if (parts[i].count > rest / parts[i].size)
			return damaged(saved, "damaged: its parts do not fit");
		*parts[i].array = at;
		at += parts[i].count * parts[i].size;
		rest -= parts[i].count * parts[i].size;
	}
	if (rest)
		return damaged(saved, "damaged: its parts do not fit");
	saved->slot_count = header->slot_count;
	saved->cpuid_count = header->cpuid_count;
	saved->msr_count = header->msr_count;
	saved->vcpu_count = header->vcpu_count;
	saved->extra_size = header->extra_size;
	saved->vm_flags = header->vm_flags;
	saved->tsc_khz = header->tsc_khz;
	if (saved->vm_flags & (WISP_VM_FORK | WISP_VM_WINDOW))
		return damaged(saved, "damaged: it has flags that none has");
	return check_slots(saved, header);
}

/* Where CPUID tells of features, and what the driver fills in itself. */
static const struct {
	uint32_t leaf;
	uint32_t subleaf;
	uint32_t masks[4];	/* EAX, EBX, ECX, EDX */
} features[] = {
	{ 0x1, 0, { 0, 0, ~bit_OSXSAVE, ~0U } },
	{ 0x7, 0, { 0, ~0U, ~bit_OSPKE, ~0U } },
	{ 0x7, 1, { ~0U, ~0U, ~0U, ~0U } },
	{ 0xd, 1, { ~0U, 0, 0, 0 } },
	{ 0x80000001, 0, { 0, 0, ~0U, ~0U } },
	{ 0x80000007, 0, { 0, 0, 0, ~0U } },
	{ 0x80000008, 0, { 0, ~0U, 0, 0 } },
};

static int unfit(const struct wisp_saved *saved, const char *why)
{
	return fail(saved, -ENOEXEC,
		    "the snapshot does not fit this CPU: %s: use a host like the one it was taken on",
		    why);
}

static int check_features(const struct wisp_saved *saved,
			  const struct host *host)
{
	for (size_t i = 0; i < sizeof(features) / sizeof(*features); i++) {
		const struct wisp_cpuid_entry *wants, *has;
		char why[80];

		wants = find_leaf(saved->cpuid, saved->cpuid_count,
				  features[i].leaf, features[i].subleaf);
		has = find_leaf(host->cpuid, host->query.cpuid_count,
				features[i].leaf, features[i].subleaf);
		for (unsigned int r = 0; r < 4; r++) {
			uint32_t missing = (&wants->eax)[r] & ~(&has->eax)[r] &
					   features[i].masks[r];

			if (!missing)
				continue;
			snprintf(why, sizeof(why),
				 "it lacks features of CPUID leaf %#x, e%cx %#x",
				 features[i].leaf, "abcd"[r], missing);
			return unfit(saved, why);
		}
	}
	return 0;
}

static int check_cpu(const struct wisp_saved *saved, const struct header *header,
		     const struct host *host)
{
	const uint32_t family = 0x0ff00f00;
	const struct wisp_cpuid_entry *leaf;
	uint32_t khz = host->query.tsc_khz;
	uint32_t vendor[3];
	uint32_t apart;

	leaf = find_leaf(host->cpuid, host->query.cpuid_count, 0, 0);
	vendor[0] = leaf->ebx;
	vendor[1] = leaf->edx;
	vendor[2] = leaf->ecx;
	if (memcmp(vendor, header->vendor, sizeof(header->vendor)))
		return unfit(saved, "its vendor is another");
	leaf = find_leaf(host->cpuid, host->query.cpuid_count, 1, 0);
	if ((leaf->eax ^ header->signature) & family)
		return unfit(saved, "its family is another");
	if (header->xcr0 & ~host->query.xcr0)
		return unfit(saved, "it has not all components of XCR0");
	apart = khz > header->tsc_khz ? khz - header->tsc_khz :
					header->tsc_khz - khz;
	if (apart > khz / 100)
		return unfit(saved, "its TSC has another rate");
	return check_features(saved, host);
}

/* Returns the file's fd. Nothing is read of it but the last page. */
static int open_memory(const struct wisp_saved *saved, int dir,
		       const struct header *header)
{
	struct trailer trailer;
	struct stat st;
	int fd, ret = 0;

	fd = openat(dir, MEMORY, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st))
		ret = failed_file(saved, MEMORY);
	else if ((uint64_t)st.st_size != header->memory_size + PAGE)
		ret = damaged(saved, "truncated: its memory is not whole");
	else if (wisp_read(fd, header->memory_size, &trailer, sizeof(trailer)) ||
		 memcmp(trailer.magic, memory_magic, sizeof(trailer.magic)) ||
		 memcmp(trailer.id, header->id, sizeof(trailer.id)))
		ret = damaged(saved, "damaged: its memory is another's");
	if (!ret)
		return fd;
	if (fd >= 0)
		close(fd);
	return ret;
}

/* A call of the driver that makes something of @saved. */
static int failed_call(const struct wisp_saved *saved, int error,
		       const char *what)
{
	if (error == -EDQUOT)
		return fail(saved, error,
			    "%s: the user has as many VMs as the module's max_vms_per_user allows, or vCPUs as max_vcpus_per_user: end some, or raise it",
			    what);
	return fail(saved, error, "%s: %s: %s", what, strerror(-error),
		    advice(error, "see dmesg"));
}

static int add_slot(const struct wisp_saved *saved, int sys, int vm, int file,
		    const struct wisp_saved_slot *slot)
{
	int memory, ret;

	memory = wisp_create_memory_file(sys, slot->size, file, slot->offset);
	if (memory == -EPERM)
		return fail(saved, memory,
			    "the snapshot is another user's: copy the folder");
	if (memory == -ETXTBSY)
		return fail(saved, memory,
			    "the file \"memory\" of the snapshot is open for writing: end who has it open");
	if (memory == -EINVAL)
		return fail(saved, memory,
			    "the file system of the snapshot cannot be mapped: copy the folder to another");
	if (memory < 0)
		return failed_call(saved, memory, "no guest memory");
	ret = wisp_set_slot(vm, slot->number, slot->gpa, slot->size, memory, 0,
			    slot->prot);
	close(memory);
	return ret ? failed_call(saved, ret, "no guest memory") : 0;
}

/* TSCs that were read at one moment are set one after the other, and go on meanwhile. */
static int add_vcpus(const struct wisp_saved *saved, int vm,
		     const struct wisp_state *states)
{
	uint64_t start = __rdtsc();
	uint32_t field = 0;
	int ret = 0;

	for (uint32_t i = 0; !ret && i < saved->vcpu_count; i++) {
		struct wisp_state state = states[i];

		ret = wisp_create_vcpu(vm, i, NULL);
		if (!(saved->vm_flags & CLOCK_FLAGS))
			state.msrs.tsc += __rdtsc() - start;
		if (!ret)
			ret = wisp_set_state(vm, i, ALL_GROUPS, &state, &field);
	}
	if (field)
		return fail(saved, ret,
			    "no vCPU like the saved one: %s (%s): see dmesg",
			    strerror(-ret), wisp_field_name(field));
	return ret ? failed_call(saved, ret, "no vCPU like the saved one") : 0;
}

/* A VM as the saved one; returns a snapshot of it. */
static int rebuild(const struct wisp_saved *saved, int sys, int file,
		   const struct wisp_state *states)
{
	const struct wisp_create_vm arg = {
		.size = sizeof(arg),
		.flags = saved->vm_flags,
	};
	int vm, ret;

	vm = wisp_create_vm_as(sys, &arg);
	if (vm < 0)
		return failed_call(saved, vm, "no VM");
	ret = wisp_set_cpuid(vm, saved->cpuid, saved->cpuid_count);
	if (!ret)
		ret = wisp_set_msr_policy(vm, saved->msrs, saved->msr_count);
	if (ret)
		failed_call(saved, ret, "no such policy");
	for (uint32_t i = 0; !ret && i < saved->slot_count; i++)
		ret = add_slot(saved, sys, vm, file, &saved->slots[i]);
	if (!ret)
		ret = add_vcpus(saved, vm, states);
	if (!ret) {
		ret = wisp_snapshot(vm);
		if (ret < 0)
			failed_call(saved, ret, "no snapshot");
	}
	close(vm);
	return ret;
}

int wisp_snapshot_open(int sys, int dir, struct wisp_saved *saved)
{
	const struct wisp_state *states;
	struct header *header;
	struct host host;
	int ret, file;

	*saved = (struct wisp_saved){
		.error = saved->error,
		.error_size = saved->error_size,
	};
	ret = read_state(saved, dir, &header);
	saved->data = header;
	if (!ret)
		ret = take_apart(saved, header, &states);
	if (!ret) {
		ret = query_host(sys, &host);
		if (ret)
			fail(saved, ret, "the driver does not answer: %s: see dmesg",
			     strerror(-ret));
	}
	if (!ret)
		ret = check_cpu(saved, header, &host);
	if (!ret) {
		ret = file = open_memory(saved, dir, header);
		if (file >= 0) {
			ret = rebuild(saved, sys, file, states);
			close(file);
		}
	}
	if (ret < 0)
		wisp_saved_free(saved);
	return ret;
}

void wisp_saved_free(struct wisp_saved *saved)
{
	free(saved->data);
	*saved = (struct wisp_saved){
		.error = saved->error,
		.error_size = saved->error_size,
	};
}
