// SPDX-License-Identifier: GPL-2.0
/*
 * What Wisp's operations cost. Each figure is the median of batches; a batch's
 * is its mean. Under an emulator whose TSC counts instructions the unit is
 * instructions, host and guest together, and the figures repeat exactly.
 *
 * A table goes to stderr, and rows of JSON to stdout, between two lines by
 * which selftests/lab/bench finds them.
 */
#include <err.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <wisp.h>

#include "../snippet.h"
#include "bench.h"

#define BATCHES		31
#define BATCH		64
#define LIVES		20

#define CODE		0x1000
#define RESULT		0x2000		/* what the guest's TSC was, twice */
#define TOUCH		0x100000	/* pages to touch first, from here on */
#define MEMORY_SIZE	(16UL << 20)
#define NOWHERE		0x40000000
#define PROT_ALL	(WISP_PROT_READ | WISP_PROT_WRITE | WISP_PROT_EXEC)

/* Memory in 2 MiB pages: another slot, touched once each. */
#define HUGE_PAGE	0x200000
#define HUGE_BATCH	4
#define HUGE_BATCHES	7
#define HUGE_GPA	0x10000000
#define HUGE_SIZE	((HUGE_BATCHES + 1UL) * HUGE_BATCH * HUGE_PAGE)

/* Protected: every second page from here on, most of it in no slot. */
#define PROTECTED	0x800000
#define RANGES		10000
#define PROTECT_CALLS	5

#define LIFE_SIZE	(2UL << 20)
#define RESET_VECTOR	0xfffffff0

int must(int result, const char *what)
{
	if (result < 0)
		errx(1, "%s: %s", what, strerror(-result));
	return result;
}

/* ---- the guest: 32-bit, flat, no paging ---------------------------------------- */

/* Stores its TSC before and after, and exits. */
#define TIMED(text)							\
	"9: rdtsc; mov %eax, " STR(RESULT) "; mov %edx, " STR(RESULT) "+4\n" \
	text "\n"							\
	"rdtsc; mov %eax, " STR(RESULT) "+8; mov %edx, " STR(RESULT) "+12\n" \
	"hlt; jmp 9b"

SNIPPET(guest_cpuid, 32, TIMED(
	".rept " STR(BATCH) "; mov $1, %eax; cpuid; .endr"));
SNIPPET(guest_port, 32, "1: out %al, $0x80; jmp 1b");
SNIPPET(guest_mmio, 32, "1: mov %eax, " STR(NOWHERE) "; jmp 1b");
/* EDI goes on from batch to batch. */
SNIPPET(guest_touch, 32, TIMED(
	"mov $" STR(BATCH) ", %ecx\n"
	"1: mov %eax, (%edi); add $0x1000, %edi; dec %ecx; jnz 1b"));
SNIPPET(guest_touch_huge, 32, TIMED(
	"mov $" STR(HUGE_BATCH) ", %ecx\n"
	"1: mov %eax, (%edi); add $" STR(HUGE_PAGE) ", %edi; dec %ecx; jnz 1b"));
SNIPPET(guest_protected, 32, "1: mov %eax, " STR(PROTECTED) "; jmp 1b");

static struct wisp_segment flat(uint16_t selector, uint16_t attributes)
{
	return (struct wisp_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.attributes = attributes,
	};
}

static void start(struct bench *b, const char *code, const char *end)
{
	struct wisp_state *s = &b->page->state;
	struct wisp_segment data = flat(0x10, 0xc093);

	must(wisp_get_state(b->vm, 0, WISP_ASSIST_WANT, s), "get state");
	must(wisp_write(b->vm, CODE, code, end - code), "load the guest");
	s->segments.cs = flat(0x08, 0xc09b);
	s->segments.ds = data;
	s->segments.es = data;
	s->segments.ss = data;
	s->control.cr0 = 0x11;
	s->general.rip = CODE;
	s->general.rdi = TOUCH;
	s->general.rflags = 2;
	b->page->dirty = WISP_ASSIST_WANT;
	b->page->want = 0;
	b->page->complete = 0;
}

static void run(struct bench *b, uint32_t reason)
{
	must(wisp_run(b->vm, 0), "run");
	if (b->page->exit.reason != reason)
		errx(1, "the guest ended with %s at %#llx, not with %s",
		     wisp_exit_name(b->page->exit.reason), b->page->exit.rip,
		     wisp_exit_name(reason));
}

/* ---- operations: each does a batch and returns its ticks ------------------------- */

static uint64_t batch_syscall(struct bench *b)
{
	uint64_t before = rdtsc();

	(void)b;
	for (int i = 0; i < BATCH; i++)
		syscall(SYS_getppid);
	return rdtsc() - before;
}

/* A call that the driver does not know. */
static uint64_t batch_null_ioctl(struct bench *b)
{
	uint64_t before = rdtsc();

	for (int i = 0; i < BATCH; i++)
		ioctl(b->sys, _IO(WISP_IOCTL_TYPE, 0xff), 0);
	return rdtsc() - before;
}

static uint64_t batch_in_guest(struct bench *b)
{
	uint64_t tsc[2];

	run(b, WISP_EXIT_HLT);
	b->page->complete = 1;
	must(wisp_read(b->vm, RESULT, tsc, sizeof(tsc)), "read the result");
	return tsc[1] - tsc[0];
}

static uint64_t batch_port(struct bench *b)
{
	uint64_t before = rdtsc();

	for (int i = 0; i < BATCH; i++) {
		run(b, WISP_EXIT_PORT);
		b->page->complete = 1;
	}
	return rdtsc() - before;
}

static void device(void *opaque, uint64_t gpa, int read, void *data,
		   unsigned int size)
{
	(void)opaque;
	if (read || gpa != NOWHERE || size != 4)
		errx(1, "mmio: %u bytes at %#llx", size,
		     (unsigned long long)gpa);
	(void)data;
}

static const void *ram(void *opaque, uint64_t gpa, unsigned int size)
{
	const struct bench *b = opaque;

	return gpa + size <= MEMORY_SIZE ? b->ram + gpa : NULL;
}

static uint64_t batch_mmio(struct bench *b)
{
	uint64_t before = rdtsc();

	for (int i = 0; i < BATCH; i++) {
		run(b, WISP_EXIT_MEMORY);
		must(wisp_assist_memory(b->vm, b->page, &b->io), "assist");
	}
	return rdtsc() - before;
}

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
static uint64_t batch_protect(struct bench *b)
{
	const struct wisp_protect_range *ranges = ranges_with(WISP_PROT_READ);
	uint64_t before = rdtsc(), after;

	must(wisp_protect(b->vm, ranges, RANGES), "protect");
	after = rdtsc();
	ranges = ranges_with(PROT_ALL);
	must(wisp_protect(b->vm, ranges, RANGES), "protect no longer");
	return after - before;
}

/* The same write again and again: nobody lets it through. */
static uint64_t batch_protected(struct bench *b)
{
	uint64_t before = rdtsc();

	for (int i = 0; i < BATCH; i++) {
		run(b, WISP_EXIT_MEMORY);
		if (!(b->page->exit.memory.flags & WISP_MEMORY_PROTECTED))
			errx(1, "the protection is not there");
	}
	return rdtsc() - before;
}

/* From nothing to the first exit and back to nothing. */
static uint64_t one_life(struct bench *b)
{
	static const char hlt = 0xf4;
	struct wisp_vcpu_page *page;
	uint64_t before = rdtsc();
	int vm = must(wisp_create_vm(b->sys), "create VM");
	int memory = must(wisp_create_memory(b->sys, LIFE_SIZE),
			  "create memory");

	must(wisp_set_slot(vm, 0, (1ULL << 32) - LIFE_SIZE, LIFE_SIZE, memory,
			   0, WISP_PROT_READ | WISP_PROT_EXEC), "set slot");
	must(wisp_create_vcpu(vm, 0, &page), "create vCPU");
	if (pwrite(memory, &hlt, 1, RESET_VECTOR & (LIFE_SIZE - 1)) != 1)
		err(1, "load the guest");
	must(wisp_run(vm, 0), "run");
	if (page->exit.reason != WISP_EXIT_HLT)
		errx(1, "vm life: %s", wisp_exit_name(page->exit.reason));
	munmap(page, WISP_PAGE_SIZE);
	close(memory);
	close(vm);
	return rdtsc() - before;
}

/* ---- measuring -------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void add_row(struct bench *b, const char *op, int n, uint64_t median,
		    uint64_t min, uint64_t max)
{
	struct json_object *row = json_object_new_object();

	json_object_object_add(row, "op", json_object_new_string(op));
	json_object_object_add(row, "backend",
			       json_object_new_string(b->backend));
	json_object_object_add(row, "lab", json_object_new_string(b->lab));
	json_object_object_add(row, "mitigations",
			       json_object_new_string(b->mitigations));
	json_object_object_add(row, "n", json_object_new_int(n));
	json_object_object_add(row, "wisp", json_object_new_int64(median));
	json_object_object_add(row, "kvm", NULL);
	json_object_object_add(row, "unit", json_object_new_string(b->unit));
	json_object_object_add(row, "min", json_object_new_int64(min));
	json_object_object_add(row, "max", json_object_new_int64(max));
	json_object_object_add(row, "kernel",
			       json_object_new_string(b->host.release));
	json_object_array_add(b->rows, row);
	fprintf(stderr, "%-14s %10llu %10llu %10llu  %s\n", op,
		(unsigned long long)median, (unsigned long long)min,
		(unsigned long long)max, b->unit);
}

void add_ticks(struct bench *b, const char *op, uint64_t *ticks, int n, int each)
{
	qsort(ticks, n, sizeof(*ticks), by_size);
	add_row(b, op, n * each, ticks[n / 2], ticks[0], ticks[n - 1]);
}

static void measure(struct bench *b, const char *op,
		    uint64_t (*batch)(struct bench *b), int batches, int size)
{
	uint64_t ticks[BATCHES];

	batch(b);		/* one to warm up */
	for (int i = 0; i < batches; i++)
		ticks[i] = (batch(b) + size / 2) / size;
	add_ticks(b, op, ticks, batches, size);
}

/* Around 1000 NOPs an instruction counter shows 1000 and a few. */
static const char *unit_of_tsc(void)
{
	for (int i = 0; i < 5; i++) {
		uint64_t before = rdtsc(), ticks;

		asm volatile(".rept 1000; nop; .endr");
		ticks = rdtsc() - before;
		if (ticks < 1000 || ticks > 1010)
			return "cycles";
	}
	return "instructions";
}

static void prepare(struct bench *b)
{
	struct wisp_query query = { .cpuid_count = 0 };
	int memory;

	b->sys = must(wisp_open(), "/dev/wisp");
	must(wisp_query(b->sys, &query), "query");
	b->backend = wisp_backend_name(query.backend);
	b->vm = must(wisp_create_vm(b->sys), "create VM");
	memory = must(wisp_create_memory(b->sys, MEMORY_SIZE),
		      "create memory");
	must(wisp_set_slot(b->vm, 0, 0, MEMORY_SIZE, memory, 0,
			   PROT_ALL), "set slot");
	must(wisp_create_vcpu(b->vm, 0, &b->page), "create vCPU");
	b->ram = mmap(NULL, MEMORY_SIZE, PROT_READ, MAP_SHARED, memory, 0);
	if (b->ram == MAP_FAILED)
		err(1, "map the guest's memory");
	b->io.memory = device;
	b->io.ram = ram;
	b->io.opaque = b;
	b->rows = json_object_new_array();
	uname(&b->host);
	b->unit = unit_of_tsc();
}

static void measure_protect(struct bench *b)
{
	measure(b, "protect 10000", batch_protect, PROTECT_CALLS, 1);

	start(b, guest_protected, guest_protected_end);
	must(wisp_protect(b->vm, ranges_with(WISP_PROT_READ), 1), "protect");
	measure(b, "exit of 1", batch_protected, BATCHES, BATCH);
	must(wisp_protect(b->vm, ranges_with(WISP_PROT_READ), RANGES),
	     "protect");
	measure(b, "exit of 10000", batch_protected, BATCHES, BATCH);
	start(b, guest_port, guest_port_end);
	measure(b, "port at 10000", batch_port, BATCHES, BATCH);
	must(wisp_protect(b->vm, ranges_with(PROT_ALL), RANGES),
	     "protect no longer");
}

/* Zeroing is in it: as a REP by QEMU, 8 bytes an instruction. */
static void measure_huge(struct bench *b)
{
	int memory = must(wisp_create_memory_flags(b->sys, HUGE_SIZE,
						   WISP_MEMORY_HUGE),
			  "create memory");
	struct wisp_stats before, after;

	must(wisp_set_slot(b->vm, 1, HUGE_GPA, HUGE_SIZE, memory, 0, PROT_ALL),
	     "set slot");
	start(b, guest_touch_huge, guest_touch_huge_end);
	b->page->state.general.rdi = HUGE_GPA;
	must(wisp_stats(b->vm, &before), "stats");
	measure(b, "touch 2M", batch_in_guest, HUGE_BATCHES, HUGE_BATCH);
	must(wisp_stats(b->vm, &after), "stats");
	if (after.faults - before.faults > HUGE_SIZE / HUGE_PAGE + 2)
		errx(1, "the host has no 2 MiB pages left");
	close(memory);
}

static void measure_all(struct bench *b)
{
	measure(b, "syscall", batch_syscall, BATCHES, BATCH);
	measure(b, "null ioctl", batch_null_ioctl, BATCHES, BATCH);

	start(b, guest_cpuid, guest_cpuid_end);
	measure(b, "cpuid", batch_in_guest, BATCHES, BATCH);

	start(b, guest_port, guest_port_end);
	measure(b, "port", batch_port, BATCHES, BATCH);

	start(b, guest_mmio, guest_mmio_end);
	b->page->want = WISP_ASSIST_WANT;
	measure(b, "mmio", batch_mmio, BATCHES, BATCH);

	start(b, guest_touch, guest_touch_end);
	measure(b, "first touch", batch_in_guest, BATCHES, BATCH);

	measure_huge(b);
	measure_protect(b);

	measure(b, "vm life", one_life, LIVES, 1);
	measure_snapshots(b);
}

static void print_help(FILE *out)
{
	fputs("usage: bench [--lab NAME] [--mitigations auto|off]\n", out);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "lab", required_argument, NULL, 'l' },
		{ "mitigations", required_argument, NULL, 'm' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	struct bench b = { .lab = "none", .mitigations = "auto" };
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 'l':
			b.lab = optarg;
			break;
		case 'm':
			b.mitigations = optarg;
			break;
		case 'h':
			print_help(stdout);
			return 0;
		default:
			print_help(stderr);
			return 2;
		}
	}
	if (optind < argc) {
		print_help(stderr);
		return 2;
	}
	if (strcmp(b.mitigations, "auto") && strcmp(b.mitigations, "off"))
		errx(2, "--mitigations is auto or off");

	prepare(&b);
	fprintf(stderr, "%-14s %10s %10s %10s\n", "", "median", "min", "max");
	measure_all(&b);
	printf("BEGIN bench.json\n%s\nEND bench.json\n",
	       json_object_to_json_string_ext(b.rows,
					      JSON_C_TO_STRING_PRETTY));
	json_object_put(b.rows);
	return 0;
}
