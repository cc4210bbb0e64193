// SPDX-License-Identifier: GPL-2.0
/*
 * Calls in any order, on fds of any kind, with hostile arguments: each fails
 * with an errno that its manual has, or works. A timer ends runs that would not
 * end, and interrupts everything else too.
 */
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/time.h>

#include "../guest/guest.h"
#include "fuzz.h"

#define OPERATIONS	24
#define TIMER_US	3000
#define MAX_FDS		16
#define MAX_MAPS	8
#define ARENA_SIZE	(16 * PAGE)
#define ARRAY_AT	PAGE	/* in the arena: what an argument points to */

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

enum kind { SYSTEM, MEMORY, VM, SNAPSHOT, FOREIGN, CLOSED };

static const char * const kind_names[] = {
	"system", "memory", "vm", "snapshot", "foreign", "closed",
};

struct call {
	const char *name;
	unsigned int number;
	enum kind kind;
	__u32 size;		/* of its struct; 0: takes an index */
	int errnos[6];		/* as in its manual, besides struct_errnos */
};

#define CALL(_call, _kind, _struct, ...) \
	{ #_call, WISP_##_call, _kind, sizeof(struct _struct), { __VA_ARGS__ } }
#define INDEX_CALL(_call, ...) \
	{ #_call, WISP_##_call, VM, 0, { __VA_ARGS__ } }

/* All that take a struct have these. */
static const int struct_errnos[] = { E2BIG, EFAULT, EINVAL, EOPNOTSUPP };

static const struct call calls[] = {
	CALL(QUERY, SYSTEM, wisp_query, 0),
	CALL(CREATE_MEMORY, SYSTEM, wisp_create_memory, EBADF, ENOMEM, EPERM,
	     ETXTBSY),
	CALL(CREATE_VM, SYSTEM, wisp_create_vm, EBADF, ENOMEM),
	CALL(DISCARD, MEMORY, wisp_discard, ENOMEM),
	CALL(SET_SLOT, VM, wisp_set_slot, EBADF, EBUSY, EEXIST, ENOENT, ENOMEM),
	CALL(PROTECT, VM, wisp_protect, ENOMEM),
	CALL(SET_CPUID, VM, wisp_set_cpuid, EBUSY, ENOMEM),
	CALL(SET_MSR_POLICY, VM, wisp_set_msr_policy, EBUSY, ENOMEM),
	CALL(CREATE_VCPU, VM, wisp_create_vcpu, EEXIST, ENOMEM),
	CALL(GET_STATE, VM, wisp_vcpu_state, EBUSY, ENOENT, ENOMEM),
	CALL(SET_STATE, VM, wisp_vcpu_state, EBUSY, ENOENT, ENOMEM),
	CALL(STATS, VM, wisp_stats, 0),
	CALL(SNAPSHOT, VM, wisp_snapshot, EBUSY, ENOMEM),
	CALL(RESET, VM, wisp_reset, EBADF, EBUSY, ENOMEM),
	CALL(DIRTY, VM, wisp_dirty, ENOMEM),
	INDEX_CALL(RUN, EINTR, EBUSY, EINVAL, ENOENT, ENOMEM, EOPNOTSUPP),
	INDEX_CALL(KICK, ENOENT),
};

static int sys;
static int fds[MAX_FDS];
static int layer_fd;		/* a file to be under memory */
static enum kind kinds[MAX_FDS];
static unsigned int fd_count;
static struct {
	void *at;
	size_t size;
} maps[MAX_MAPS];
static unsigned int map_count;
static struct wisp_vcpu_page *page;	/* of vCPU 0, where it is mapped */
static char *arena;			/* behind it: a page that is none */
static char *read_only;
static bool tcg;

/* ---- what there is -------------------------------------------------------- */

static void add_fd(int fd, enum kind kind)
{
	if (fd_count == MAX_FDS) {
		close(fd);
		return;
	}
	fds[fd_count] = fd;
	kinds[fd_count++] = kind;
}

static void add_map(void *at, size_t size)
{
	if (map_count == MAX_MAPS) {
		munmap(at, size);
		return;
	}
	maps[map_count].at = at;
	maps[map_count++].size = size;
}

/* The call's own kind of fd mostly. */
static unsigned int choose_fd(struct fuzz *f, enum kind kind)
{
	unsigned int i = fuzz_below(f, fd_count), tries;

	if (fuzz_once_in(f, 8))
		return i;
	for (tries = 0; tries < fd_count; tries++, i = (i + 1) % fd_count)
		if (kinds[i] == kind)
			break;
	return i;
}

static void *choose_pointer(struct fuzz *f)
{
	if (!fuzz_once_in(f, 8))
		return arena;
	switch (fuzz_below(f, 6)) {
	case 0:
		return arena + ARENA_SIZE - fuzz_below(f, 64);
	case 1:
		return read_only;
	case 2:
		/* Not of this program, which would spoil itself. */
		return (void *)(random_hostile(&f->random) | 1ULL << 47);
	case 3:
		return arena + fuzz_below(f, 16);
	case 4:
		return map_count ? maps[fuzz_below(f, map_count)].at : NULL;
	default:
		return NULL;
	}
}

static __u64 some_pages(struct fuzz *f)
{
	return fuzz_below(f, 16) * PAGE;
}

/* ---- arguments that could be right ---------------------------------------- */

static void make_memory(struct fuzz *f, void *arg)
{
	struct wisp_create_memory *a = arg;

	a->flags = fuzz_below(f, 2);
	a->memory_size = some_pages(f) << (fuzz_once_in(f, 4) ? 12 : 0);
	if (fuzz_once_in(f, 4)) {
		a->flags = WISP_MEMORY_FILE;
		a->file = fuzz_once_in(f, 4) ? (int)fuzz_below(f, 10) : layer_fd;
		a->file_offset = fuzz_once_in(f, 2) ? some_pages(f) : 0;
	}
}

static void make_vm(struct fuzz *f, void *arg)
{
	struct wisp_create_vm *a = arg;

	if (fuzz_once_in(f, 4))
		return;
	a->flags = WISP_VM_FORK;
	a->snapshot = fds[choose_fd(f, SNAPSHOT)];
}

static void make_reset(struct fuzz *f, void *arg)
{
	struct wisp_reset *a = arg;

	a->snapshot = fuzz_once_in(f, 2) ? -1 : fds[choose_fd(f, SNAPSHOT)];
}

static void make_dirty(struct fuzz *f, void *arg)
{
	struct wisp_dirty *a = arg;

	a->count = fuzz_below(f, 32);
	a->pages = (uintptr_t)(arena + ARRAY_AT);
}

static void make_discard(struct fuzz *f, void *arg)
{
	struct wisp_discard *a = arg;

	a->offset = some_pages(f);
	a->discard_size = some_pages(f);
}

static void make_slot(struct fuzz *f, void *arg)
{
	struct wisp_set_slot *a = arg;

	a->slot = fuzz_below(f, 4);
	if (fuzz_once_in(f, 4))
		return;
	a->memory = fds[choose_fd(f, MEMORY)];
	a->gpa = fuzz_once_in(f, 4) ? 0xfffff000 : some_pages(f);
	a->slot_size = some_pages(f);
	a->offset = fuzz_once_in(f, 2) ? 0 : some_pages(f);
	a->prot = fuzz_once_in(f, 2) ? PROT_RWX : fuzz_below(f, 8);
}

static void make_protect(struct fuzz *f, void *arg)
{
	struct wisp_protect_range *ranges = (void *)(arena + ARRAY_AT);
	struct wisp_protect *a = arg;

	a->count = fuzz_below(f, 4);
	a->ranges = (uintptr_t)ranges;
	for (__u32 i = 0; i < a->count; i++)
		ranges[i] = (struct wisp_protect_range){
			.gpa = some_pages(f), .range_size = some_pages(f),
			.prot = fuzz_below(f, 8),
		};
}

static void make_cpuid(struct fuzz *f, void *arg)
{
	struct wisp_cpuid_entry *entries = (void *)(arena + ARRAY_AT);
	struct wisp_set_cpuid *a = arg;

	a->count = fuzz_below(f, 8);
	a->entries = (uintptr_t)entries;
	for (__u32 i = 0; i < a->count; i++)
		entries[i] = (struct wisp_cpuid_entry){
			.leaf = fuzz_below(f, 64), .flags = fuzz_below(f, 2),
			.eax = random_hostile(&f->random),
		};
}

static void make_policy(struct fuzz *f, void *arg)
{
	struct wisp_msr_range *ranges = (void *)(arena + ARRAY_AT);
	struct wisp_set_msr_policy *a = arg;

	a->count = fuzz_below(f, 4);
	a->ranges = (uintptr_t)ranges;
	for (__u32 i = 0; i < a->count; i++)
		ranges[i] = (struct wisp_msr_range){
			.first = i * 100 + fuzz_below(f, 60),
			.last = i * 100 + 50 + fuzz_below(f, 60),
			.read = fuzz_below(f, 3), .write = fuzz_below(f, 3),
		};
}

static void make_vcpu(struct fuzz *f, void *arg)
{
	((struct wisp_create_vcpu *)arg)->vcpu = fuzz_below(f, 4);
}

/* QEMU's TCG leaves data breakpoints behind: Documentation/testing.rst. */
static void disarm(struct wisp_state *state)
{
	if (tcg)
		state->debug.dr7 &= ~0xffULL;
}

static void make_state(struct fuzz *f, void *arg)
{
	struct wisp_state *state = (void *)(arena + ARRAY_AT);
	struct wisp_vcpu_state *a = arg;

	a->vcpu = fuzz_once_in(f, 4) ? fuzz_below(f, 4) : 0;
	a->groups = random_next(&f->random) & STATE_ALL;
	a->state = (uintptr_t)state;
	state_real(state, some_pages(f), 0);
	if (fuzz_once_in(f, 2))
		((__u64 *)state)[fuzz_below(f, sizeof(*state) / 8)] =
			random_hostile(&f->random);
	disarm(state);
}

static void make_query(struct fuzz *f, void *arg)
{
	struct wisp_query *a = arg;

	a->cpuid_count = fuzz_below(f, 64);
	a->cpuid = (uintptr_t)(arena + ARRAY_AT);
}

static void make_arg(struct fuzz *f, const struct call *call, void *arg)
{
	static const struct {
		unsigned int number;
		void (*make)(struct fuzz *f, void *arg);
	} makers[] = {
		{ WISP_QUERY, make_query }, { WISP_CREATE_MEMORY, make_memory },
		{ WISP_DISCARD, make_discard }, { WISP_SET_SLOT, make_slot },
		{ WISP_PROTECT, make_protect }, { WISP_SET_CPUID, make_cpuid },
		{ WISP_SET_MSR_POLICY, make_policy },
		{ WISP_CREATE_VCPU, make_vcpu }, { WISP_GET_STATE, make_state },
		{ WISP_SET_STATE, make_state }, { WISP_CREATE_VM, make_vm },
		{ WISP_RESET, make_reset }, { WISP_DIRTY, make_dirty },
	};
	__u32 *words = arg;

	memset(arg, 0, PAGE);
	words[0] = call->size;
	for (unsigned int i = 0; i < ARRAY_SIZE(makers); i++)
		if (makers[i].number == call->number)
			makers[i].make(f, arg);
	if (fuzz_once_in(f, 3))
		words[fuzz_below(f, call->size / 4)] = random_hostile(&f->random);
	/* The next bytes are the driver's to look at, or not. */
	if (fuzz_once_in(f, 8))
		words[0] += fuzz_below(f, 64);
	if (fuzz_once_in(f, 8))
		arena[call->size + fuzz_below(f, 64)] = 1;
}

/* ---- operations ------------------------------------------------------------ */

static void saw(struct fuzz *f, const char *what, enum kind kind, long ret)
{
	fuzz_saw(f, "%s(%s): %s", what, kind_names[kind],
		 ret < 0 ? strerrorname_np(errno) : "works");
}

static bool in_manual(const struct call *call, int error)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(call->errnos); i++)
		if (call->errnos[i] == error)
			return true;
	for (unsigned int i = 0; call->size && i < ARRAY_SIZE(struct_errnos); i++)
		if (struct_errnos[i] == error)
			return true;
	return false;
}

/* A frozen VM can be looked at. */
static bool takes(enum kind kind, const struct call *call)
{
	return kind == call->kind ||
	       (kind == SNAPSHOT && call->number == WISP_GET_STATE);
}

static void judge_ioctl(struct fuzz *f, const struct call *call, enum kind kind,
			int ret)
{
	int error = ret < 0 ? errno : 0;
	bool good;

	if (takes(kind, call))
		good = !error || in_manual(call, error);
	else
		good = error == (kind == CLOSED ? EBADF : ENOTTY);
	if (!good)
		fuzz_wrong(f, "%s(%s): %s", call->name, kind_names[kind],
			   error ? strerrorname_np(error) : "works");
	f->entered |= !error && call->number == WISP_RUN;
}

/* What a call made: fds, and the page of a vCPU. */
static void keep(unsigned int number, int fd, int ret, const void *arg)
{
	const struct wisp_create_vcpu *vcpu = arg;
	void *p;

	if (number == WISP_CREATE_MEMORY)
		add_fd(ret, MEMORY);
	if (number == WISP_CREATE_VM)
		add_fd(ret, VM);
	if (number == WISP_SNAPSHOT)
		add_fd(ret, SNAPSHOT);
	if (number != WISP_CREATE_VCPU || vcpu->vcpu || page)
		return;
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		 vcpu->page_offset);
	if (p != MAP_FAILED)
		page = p;
}

static void do_ioctl(struct fuzz *f)
{
	const struct call *call = &calls[fuzz_below(f, ARRAY_SIZE(calls))];
	unsigned int i = choose_fd(f, call->kind);
	void *arg = choose_pointer(f);
	int ret;

	if (call->size)
		make_arg(f, call, arena);
	else
		arg = (void *)(fuzz_once_in(f, 8) ? random_hostile(&f->random) :
			       fuzz_once_in(f, 4) ? fuzz_below(f, 4) : 0);
	ret = ioctl(fds[i], call->number, arg);
	saw(f, call->name, kinds[i], ret);
	judge_ioctl(f, call, kinds[i], ret);
	if (ret >= 0 && kinds[i] == call->kind && arg == arena)
		keep(call->number, fds[i], ret, arg);
	else if (ret > 0)
		close(ret);
}

static void do_unknown_ioctl(struct fuzz *f)
{
	unsigned int i = fuzz_below(f, fd_count);
	unsigned int number = _IO(WISP_IOCTL_TYPE, 0x80) +
			      (random_next(&f->random) & 0xffff007f);
	int ret = ioctl(fds[i], number, choose_pointer(f));

	saw(f, "unknown", kinds[i], ret);
	if (!ret || (errno != ENOTTY && errno != EBADF))
		fuzz_wrong(f, "ioctl %#x(%s): %d", number, kind_names[kinds[i]],
			   ret ? errno : 0);
}

static void do_mmap(struct fuzz *f)
{
	unsigned int i = choose_fd(f, fuzz_once_in(f, 2) ? VM : MEMORY);
	size_t size = fuzz_once_in(f, 8) ? random_hostile(&f->random) :
					   PAGE + some_pages(f);
	void *p;

	p = mmap(NULL, size,
		 fuzz_below(f, 8), fuzz_once_in(f, 8) ? MAP_PRIVATE : MAP_SHARED,
		 fds[i], fuzz_once_in(f, 4) ? random_hostile(&f->random) & ~0xfffULL :
					      some_pages(f));
	saw(f, "mmap", kinds[i], p == MAP_FAILED ? -1 : 0);
	if (p != MAP_FAILED)
		add_map(p, size);
}

static void do_transfer(struct fuzz *f)
{
	unsigned int i = choose_fd(f, MEMORY + fuzz_below(f, 3));
	__u64 offset = fuzz_once_in(f, 4) ? random_hostile(&f->random) :
					    fuzz_below(f, 16 * PAGE);
	size_t size = fuzz_once_in(f, 8) ? random_hostile(&f->random) :
					   fuzz_below(f, 2 * PAGE);
	void *at = choose_pointer(f);

	/* Reads and writes of others may wait for what never comes. */
	if (kinds[i] == FOREIGN)
		return;
	switch (fuzz_below(f, 5)) {
	case 0:
		saw(f, "pread", kinds[i], pread(fds[i], at, size, offset));
		break;
	case 1:
		saw(f, "pwrite", kinds[i], pwrite(fds[i], at, size, offset));
		break;
	case 2:
		saw(f, "read", kinds[i], read(fds[i], at, size));
		break;
	case 3:
		saw(f, "write", kinds[i], write(fds[i], at, size));
		break;
	default:
		saw(f, "lseek", kinds[i],
		    lseek(fds[i], offset, fuzz_below(f, 6)));
		break;
	}
}

static void do_close(struct fuzz *f)
{
	unsigned int i = choose_fd(f, MEMORY);

	if (kinds[i] == SYSTEM || kinds[i] == CLOSED)
		return;
	close(fds[i]);
	kinds[i] = CLOSED;
	/* Nobody else's may take its number. */
	fds[i] = -1;
}

static void do_munmap(struct fuzz *f)
{
	if (!map_count || !fuzz_once_in(f, 2))
		return;
	map_count--;
	munmap(maps[map_count].at, maps[map_count].size);
}

static void do_page(struct fuzz *f)
{
	__u64 *words = (__u64 *)page;

	if (!page)
		return;
	if (fuzz_once_in(f, 2)) {
		memset(page, 0, WISP_FIELD(exit));
		state_real(&page->state, some_pages(f), 0);
		page->dirty = random_next(&f->random) & STATE_ALL;
		page->want = random_next(&f->random) & STATE_ALL;
	}
	if (fuzz_once_in(f, 2))
		words[fuzz_below(f, WISP_FIELD(state.xsave) / 8)] =
			random_hostile(&f->random);
	disarm(&page->state);
	if (tcg)
		page->breakpoints.dr7 &= ~0xffULL;
}

/* ---- an execution ----------------------------------------------------------- */

static void begin(struct fuzz *f)
{
	struct wisp_create_vcpu vcpu = { .size = sizeof(vcpu) };
	int vm = raw_create_vm(sys), memory = raw_create_memory(sys, 16 * PAGE);

	for (__u64 i = 0; i < ARENA_SIZE / 8; i++)
		((__u64 *)arena)[i] = random_hostile(&f->random);
	add_fd(sys, SYSTEM);
	add_fd(vm, VM);
	add_fd(memory, MEMORY);
	add_fd(eventfd(0, 0), FOREIGN);
	add_fd(-1, CLOSED);
	if (vm < 0 || memory < 0)
		fuzz_wrong(f, "no vm or memory: %d %d", vm, memory);
	if (fuzz_once_in(f, 4))
		return;
	if (raw(vm, WISP_CREATE_VCPU, &vcpu))
		fuzz_wrong(f, "no vCPU");
	keep(WISP_CREATE_VCPU, vm, 0, &vcpu);
	if (fuzz_once_in(f, 2) &&
	    raw_set_slot(vm, 0, 0, 16 * PAGE, memory, 0, PROT_RWX))
		fuzz_wrong(f, "no slot");
	if (fuzz_once_in(f, 2))
		add_fd(raw_snapshot(vm), SNAPSHOT);
}

static void end(void)
{
	while (map_count) {
		map_count--;
		munmap(maps[map_count].at, maps[map_count].size);
	}
	if (page)
		munmap(page, PAGE);
	page = NULL;
	while (fd_count)
		if (kinds[--fd_count] != SYSTEM)
			close(fds[fd_count]);
}

static void execute(struct fuzz *f)
{
	static void (* const operations[])(struct fuzz *f) = {
		do_ioctl, do_ioctl, do_ioctl, do_ioctl, do_ioctl, do_ioctl,
		do_ioctl, do_ioctl, do_unknown_ioctl, do_mmap, do_transfer,
		do_transfer, do_close, do_munmap, do_page, do_page,
	};

	begin(f);
	for (int i = 0; i < OPERATIONS; i++)
		operations[fuzz_below(f, ARRAY_SIZE(operations))](f);
	end();
}

static void *map_anonymous(size_t size, int prot)
{
	return mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void on_alarm(int signal)
{
	(void)signal;
}

static int setup(struct fuzz *f)
{
	const struct itimerval timer = {
		{ .tv_usec = TIMER_US }, { .tv_usec = TIMER_US },
	};
	/* What is printed meanwhile is not to be cut off; runs end with EINTR anyway. */
	const struct sigaction action = {
		.sa_handler = on_alarm, .sa_flags = SA_RESTART,
	};

	(void)f;
	tcg = guest_on_tcg();
	sys = raw_open();
	if (sys < 0)
		return sys;
	layer_fd = memfd_create("layer", MFD_ALLOW_SEALING);
	if (layer_fd < 0 || ftruncate(layer_fd, 16 * PAGE) ||
	    fcntl(layer_fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK))
		return -errno;
	arena = map_anonymous(ARENA_SIZE + PAGE, PROT_READ | PROT_WRITE);
	read_only = map_anonymous(PAGE, PROT_READ);
	if (arena == MAP_FAILED || read_only == MAP_FAILED ||
	    munmap(arena + ARENA_SIZE, PAGE) || sigaction(SIGALRM, &action, NULL) ||
	    setitimer(ITIMER_REAL, &timer, NULL))
		return -errno;
	return 0;
}

int main(int argc, char **argv)
{
	struct fuzz f = {
		.count = 4000,
		.least_entries = 500,
		.least_kinds = 230,
		.setup = setup,
		.execute = execute,
	};

	return fuzz_main(&f, argc, argv);
}
