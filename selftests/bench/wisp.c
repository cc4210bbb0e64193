// SPDX-License-Identifier: GPL-2.0
/* Wisp as a back end of the benchmark, by libwisp. */
#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <wisp.h>

#include "../snippet.h"
#include "bench.h"

#define PROT_ALL	(WISP_PROT_READ | WISP_PROT_WRITE | WISP_PROT_EXEC)

/* Protected: every second page from here on, most of it in no slot. */
#define PROTECTED	0x800000
#define RANGES		10000

#define MAPPED		1000	/* pages */

#define MAX_PLACES	16384

SNIPPET(guest_protected, 32, "1: mov %eax, " STR(PROTECTED) "; jmp 1b");
SNIPPET(guest_out, 32, "1: out %al, $0x80; jmp 1b");

struct machine {
	int vm;
	uint32_t place;		/* of its page in the window */
	int memory;		/* -1 for a fork */
	int complete;		/* the last stop is not completed yet */
	enum memory kind;
	uint64_t gpa, size;
	char *ram;		/* mapped for the assist, from the first on */
	struct wisp_vcpu_page *page;
};

struct snapshot {
	int fd;
};

static int sys = -1;

/* All shared pages are mapped once; a place that was given back is the next. */
static struct wisp_vcpu_page *window;
static uint32_t places[MAX_PLACES], free_places, used_places;

static uint32_t take_place(void)
{
	if (free_places)
		return places[--free_places];
	if (used_places == MAX_PLACES)
		errx(1, "more machines than places");
	return used_places++;
}

static struct machine *create_at_place(struct wisp_create_vm arg)
{
	struct machine *m = calloc(1, sizeof(*m));

	m->place = take_place();
	m->page = &window[m->place];
	arg.flags |= WISP_VM_WINDOW;
	arg.window_offset = (uint64_t)m->place * PAGE;
	m->vm = must(wisp_create_vm_as(sys, &arg), "create VM");
	return m;
}

static const char *open_wisp(void)
{
	struct wisp_query query = { .cpuid_count = 0 };

	sys = must(wisp_open(), "/dev/wisp");
	must(wisp_query(sys, &query), "query");
	must(wisp_map_window(sys, MAX_PLACES, &window), "map the window");
	return wisp_backend_name(query.backend);
}

/* A call that the driver does not know. */
static void null_ioctl(void)
{
	ioctl(sys, _IO(WISP_IOCTL_TYPE, 0xff), 0);
}

/* An MSR that the driver answers by itself: where KVM's bench has the same. */
static const struct wisp_msr_range policy[] = {
	{
		.first = 0x10a, .last = 0x10a,
		.read = WISP_MSR_IGNORE, .write = WISP_MSR_GP,
	},
};

static struct machine *create_vm(uint64_t gpa, uint64_t size, enum memory kind)
{
	struct machine *m = create_at_place((struct wisp_create_vm){ .flags = 0 });

	m->gpa = gpa;
	m->size = size;
	m->kind = kind;
	must(wisp_set_msr_policy(m->vm, policy, 1), "set MSR policy");
	return m;
}

static void add_memory(struct machine *m)
{
	m->memory = must(wisp_create_memory_flags(sys, m->size,
						  m->kind == MEMORY_HUGE ?
						  WISP_MEMORY_HUGE : 0),
			 "create memory");
	must(wisp_set_slot(m->vm, 0, m->gpa, m->size, m->memory, 0, PROT_ALL),
	     "set slot");
}

static void create_vcpu(struct machine *m)
{
	must(wisp_create_vcpu(m->vm, 0, NULL), "create vCPU");
}

static void add_slot(struct machine *m, unsigned int slot, uint64_t gpa,
		     uint64_t size)
{
	must(wisp_set_slot(m->vm, slot, gpa, size, m->memory, 0, PROT_ALL),
	     "set slot");
}

static void destroy(struct machine *m)
{
	if (m->ram)
		munmap(m->ram, m->size);
	if (m->memory >= 0)
		close(m->memory);
	close(m->vm);
	places[free_places++] = m->place;
	free(m);
}

static void write_memory(struct machine *m, uint64_t gpa, const void *data,
			 size_t size)
{
	must(wisp_write(m->vm, gpa, data, size), "write");
}

static void read_memory(struct machine *m, uint64_t gpa, void *data, size_t size)
{
	must(wisp_read(m->vm, gpa, data, size), "read");
}

static struct wisp_segment flat(uint16_t selector, uint16_t attributes)
{
	return (struct wisp_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.attributes = attributes,
	};
}

static void start(struct machine *m, const struct guest *guest)
{
	struct wisp_state *s = &m->page->state;
	struct wisp_segment data = flat(0x10, 0xc093);

	must(wisp_get_state(m->vm, 0, WISP_ASSIST_WANT, s), "get state");
	s->segments.cs = flat(0x08, guest->bits == 64 ? 0xa09b : 0xc09b);
	s->segments.ds = data;
	s->segments.es = data;
	s->segments.ss = data;
	s->segments.gdt = (struct wisp_segment){ .base = GDT, .limit = 23 };
	s->segments.idt = (struct wisp_segment){ .base = IDT, .limit = 0xfff };
	s->control.cr0 = guest->bits == 64 ? 0x80000011 : 0x11;
	s->control.cr3 = guest->bits == 64 ? PML4 : 0;
	s->control.cr4 = guest->bits == 64 ? 0x20 : 0;
	s->control.efer = guest->bits == 64 ? 0x500 : 0;
	s->general.rip = CODE;
	s->general.rsp = GDT;
	s->general.rcx = guest->rcx;
	s->general.rdx = guest->rdx;
	s->general.rbx = guest->rbx;
	s->general.rdi = guest->rdi;
	s->general.rflags = 2;
	m->page->dirty = WISP_ASSIST_WANT;
	m->complete = 0;
}

/* Devices that take what they get. */
static void device(void *opaque, uint64_t gpa, int read, void *data,
		   unsigned int size)
{
	(void)opaque;
	(void)gpa;
	if (read)
		memset(data, 0, size);
}

static const void *ram(void *opaque, uint64_t gpa, unsigned int size)
{
	const struct machine *m = opaque;

	return gpa + size <= m->size ? m->ram + gpa : NULL;
}

static void assist(struct machine *m)
{
	struct wisp_io io = { .memory = device, .ram = ram, .opaque = m };

	if (!m->ram) {
		m->ram = mmap(NULL, m->size, PROT_READ, MAP_SHARED, m->memory, 0);
		if (m->ram == MAP_FAILED)
			err(1, "map the guest's memory");
	}
	must(wisp_assist_memory(m->vm, m->page, &io), "assist");
}

static void run(struct machine *m, enum stop why)
{
	static const uint32_t reasons[] = {
		[STOP_HLT] = WISP_EXIT_HLT,
		[STOP_PORT] = WISP_EXIT_PORT,
		[STOP_MEMORY] = WISP_EXIT_MEMORY,
	};

	m->page->complete = m->complete;
	must(wisp_run(m->vm, 0), "run");
	if (m->page->exit.reason != reasons[why])
		errx(1, "the guest ended with %s at %#llx, not with %s",
		     wisp_exit_name(m->page->exit.reason), m->page->exit.rip,
		     wisp_exit_name(reasons[why]));
	m->complete = why != STOP_MEMORY;
	if (why == STOP_MEMORY) {
		assist(m);
		m->complete = m->page->complete;
	}
}

static void interrupt(struct machine *m, unsigned int vector)
{
	m->page->inject = (struct wisp_event){
		.type = WISP_EVENT_INTERRUPT, .vector = vector,
	};
}

static void want_state(struct machine *m, int wanted)
{
	m->page->want = wanted ? WISP_ASSIST_WANT : 0;
}

static void change_state(struct machine *m)
{
	m->page->state.general.rax++;
	m->page->dirty = WISP_STATE_GENERAL;
}

static void drop(struct snapshot *s)
{
	close(s->fd);
	free(s);
}

static struct snapshot *take_snapshot(struct machine *m, struct snapshot *old)
{
	struct snapshot *s = calloc(1, sizeof(*s));

	s->fd = must(wisp_snapshot(m->vm), "snapshot");
	if (old)
		drop(old);
	return s;
}

static void reset(struct machine *m, struct snapshot *s)
{
	(void)s;
	must(wisp_reset(m->vm, -1), "reset");
}

static void reset_and_run(struct machine *m, struct snapshot *s, enum stop why)
{
	(void)s;
	m->page->flags |= WISP_RUN_RESET;
	run(m, why);
	m->page->flags &= ~WISP_RUN_RESET;
}

static struct machine *fork_machine(struct snapshot *s)
{
	struct machine *m = create_at_place((struct wisp_create_vm){
		.flags = WISP_VM_FORK, .snapshot = s->fd,
	});

	m->memory = -1;
	m->complete = 1;
	return m;
}

static uint64_t faults(struct machine *m)
{
	struct wisp_stats stats;

	must(wisp_stats(m->vm, &stats), "stats");
	return stats.faults;
}

/* ---- WISP_PROTECT ------------------------------------------------------------ */

static struct wisp_protect_range *ranges_with(uint32_t prot)
{
	static struct wisp_protect_range ranges[RANGES];

	for (unsigned int i = 0; i < RANGES; i++)
		ranges[i] = (struct wisp_protect_range){
			.gpa = PROTECTED + 2ULL * i * WISP_PAGE_SIZE,
			.range_size = WISP_PAGE_SIZE,
			.prot = prot,
		};
	return ranges;
}

/* One call for all of them; taking them away again is not in it. */
static uint64_t batch_protect(struct bench *b, int count)
{
	const struct wisp_protect_range *ranges = ranges_with(WISP_PROT_READ);
	uint64_t before = rdtsc(), after;

	(void)count;
	must(wisp_protect(b->m->vm, ranges, RANGES), "protect");
	after = rdtsc();
	ranges = ranges_with(PROT_ALL);
	must(wisp_protect(b->m->vm, ranges, RANGES), "protect no longer");
	return after - before;
}

/* The same write again and again: nobody lets it through. */
static uint64_t batch_protected(struct bench *b, int count)
{
	uint64_t before = rdtsc();

	for (int i = 0; i < count; i++) {
		must(wisp_run(b->m->vm, 0), "run");
		if (b->m->page->exit.reason != WISP_EXIT_MEMORY ||
		    !(b->m->page->exit.memory.flags & WISP_MEMORY_PROTECTED))
			errx(1, "the protection is not there");
	}
	return rdtsc() - before;
}

static uint64_t batch_port(struct bench *b, int count)
{
	uint64_t before = rdtsc();

	for (int i = 0; i < count; i++)
		run(b->m, STOP_PORT);
	return rdtsc() - before;
}

static void protect(struct bench *b, uint32_t prot, uint32_t count)
{
	must(wisp_protect(b->m->vm, ranges_with(prot), count), "protect");
}

static void measure_protect(struct bench *b)
{
	const struct guest writes = {
		GUEST_CODE(guest_protected), .bits = 32,
	};
	const struct guest outs = { GUEST_CODE(guest_out), .bits = 32 };

	measure(b, "protect 10000", batch_protect, 5, 1);

	load(b->on, b->m, &writes);
	protect(b, WISP_PROT_READ, 1);
	measure(b, "exit of 1", batch_protected, BATCHES, BATCH);
	protect(b, WISP_PROT_READ, RANGES);
	measure(b, "exit of 10000", batch_protected, BATCHES, BATCH);
	load(b->on, b->m, &outs);
	measure(b, "port at 10000", batch_port, BATCHES, BATCH);
	protect(b, PROT_ALL, RANGES);
}

/* ---- the VMM's mapping ------------------------------------------------------- */

/*
 * The first of a machine, whose VMM wrote pages by its mapping: it loses them, since
 * each is to be copied from then on.
 */
static uint64_t batch_snapshot_mapped(struct bench *b, int count)
{
	struct machine *m = create(b, 0, MAPPED * PAGE, MEMORY_TRACKED);
	uint64_t before, ticks;
	struct snapshot *s;
	char *map;

	(void)count;
	map = mmap(NULL, m->size, PROT_READ | PROT_WRITE, MAP_SHARED, m->memory, 0);
	if (map == MAP_FAILED)
		err(1, "map the guest's memory");
	for (int i = 0; i < MAPPED; i++)
		map[i * PAGE] = 1;
	before = rdtsc();
	s = take_snapshot(m, NULL);
	ticks = rdtsc() - before;
	drop(s);
	munmap(map, m->size);
	destroy(m);
	return ticks;
}

static void measure_more(struct bench *b)
{
	measure_protect(b);
	measure(b, "snapshot 1000 mapped", batch_snapshot_mapped, BATCHES, 1);
}

const struct backend wisp_backend = {
	.name = "wisp",
	.max_alive = 10000,
	.forks_forks = 1,
	.mmio_needs_state = 1,
	.open = open_wisp,
	.null_ioctl = null_ioctl,
	.create_vm = create_vm,
	.add_memory = add_memory,
	.create_vcpu = create_vcpu,
	.destroy = destroy,
	.add_slot = add_slot,
	.write = write_memory,
	.read = read_memory,
	.start = start,
	.run = run,
	.interrupt = interrupt,
	.want_state = want_state,
	.change_state = change_state,
	.snapshot = take_snapshot,
	.drop = drop,
	.snapshots = 15,
	.reset = reset,
	.reset_and_run = reset_and_run,
	.fork = fork_machine,
	.faults = faults,
	.measure_more = measure_more,
};
