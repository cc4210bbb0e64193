// SPDX-License-Identifier: GPL-2.0
/*
 * What Wisp's operations cost, and KVM's beside them. Each figure is the median
 * of batches; a batch's is its mean. Under an emulator whose TSC counts
 * instructions the unit is instructions, host and guest together, and the
 * figures repeat exactly.
 *
 * Wisp comes first; KVM is loaded when it is done.
 *
 * A table goes to stderr, and JSON to stdout, between two lines by which
 * selftests/lab/bench finds it.
 */
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../snippet.h"
#include "bench.h"

#define RESULT		0x2000		/* what the guest's TSC was, twice */
/* Pages to touch first, from here on; and the first one that no batch touches. */
#define TOUCH		0x100000
#define TOUCH_TRACED	(TOUCH + (BATCHES + 1) * BATCH * 0x1000)
#define MEMORY_SIZE	(16UL << 20)
#define TOUCH_BACK	(MEMORY_SIZE - 0x1000)
#define BACK_TRACED	(TOUCH_BACK - (BATCHES + 1) * BATCH * 0x1000)
#define NOWHERE		0x40000000

/* Memory in 2 MiB pages, touched once each behind the first. */
#define HUGE_PAGE	0x200000
#define HUGE_BATCH	4
#define HUGE_BATCHES	7
#define HUGE_SIZE	((HUGE_BATCHES + 2UL) * HUGE_BATCH * HUGE_PAGE)

/* The unit where the TSC is a clock's: of the TSC's. */
#define CYCLES		"cycles"

#define MAX_ROWS	128
#define MAX_TRACES	64

enum { WISP, KVM, BACKENDS };

static const struct backend *const backends[BACKENDS] = {
	&wisp_backend, &kvm_backend,
};

static struct row {
	char op[32];
	const char *unit;
	int n;
	uint64_t median[BACKENDS], min, max;
	int there[BACKENDS];
} rows[MAX_ROWS];

/* What was traced, in this order. */
static struct {
	const char *backend;
	char op[32];
} traces[MAX_TRACES];

static int nrows, ntraces;

int must(int result, const char *what)
{
	if (result < 0)
		errx(1, "%s: %s", what, strerror(result == -1 ? errno : -result));
	return result;
}

/* ---- the guests ------------------------------------------------------------------ */

/* Stores its TSC before and after, and exits. */
#define TIMED(text)							\
	"9: rdtsc; mov %eax, " STR(RESULT) "; mov %edx, " STR(RESULT) "+4\n" \
	text "\n"							\
	"rdtsc; mov %eax, " STR(RESULT) "+8; mov %edx, " STR(RESULT) "+12\n" \
	"hlt; jmp 9b"

/* Once a batch of it, timed; once a single one, traced. */
#define IN_GUEST(name, text)						\
	SNIPPET(name, 32, TIMED(".rept " STR(BATCH) "\n" text "\n.endr")); \
	SNIPPET(name##_traced, 32,					\
		"9:" MAGIC text "\n" MAGIC "hlt; jmp 9b")

IN_GUEST(guest_cpuid, "mov $1, %eax; cpuid");
/* One of more leaves than the common ones. */
IN_GUEST(guest_cpuid_far, "mov $0x80000008, %eax; cpuid");
IN_GUEST(guest_msr, "mov $0x10a, %ecx; rdmsr");
/* EDI goes on from batch to batch. */
#define NEXT_PAGE	"mov %eax, (%edi); add $0x1000, %edi"
SNIPPET(guest_touch, 32, TIMED(".rept " STR(BATCH) "\n" NEXT_PAGE "\n.endr"));
/* As many as Wisp maps at once: one alone may be there already. */
SNIPPET(guest_touch_traced, 32,
	"9:" MAGIC ".rept 16\n" NEXT_PAGE "\n.endr\n" MAGIC "hlt; jmp 9b");
/* In an order in which nobody maps any ahead. */
IN_GUEST(guest_touch_back, "mov %eax, (%edi); sub $0x1000, %edi");
/* A page that is there: what "first touch" costs the guest itself. */
SNIPPET(guest_touch_again, 32, TIMED(
	".rept " STR(BATCH) "\n mov %eax, (%edi); add $0, %edi\n.endr"));
SNIPPET(guest_touch_huge, 32, TIMED(
	"mov $" STR(HUGE_BATCH) ", %ecx\n"
	"1: mov %eax, (%edi); add $" STR(HUGE_PAGE) ", %edi; dec %ecx; jnz 1b"));
SNIPPET(guest_port, 32, "1: out %al, $0x80; jmp 1b");
SNIPPET(guest_mmio, 32, "1: mov %eax, " STR(NOWHERE) "; jmp 1b");
/* The handler returns behind the HLT. */
SNIPPET(guest_hlt, 32, "jmp 1f; iret; 1: sti; hlt; jmp 1b");
#define HLT_HANDLER	2

static void write_gate(const struct backend *on, struct machine *m,
		       unsigned int vector, uint32_t handler)
{
	const uint32_t gate[2] = { 0x080000 | handler, 0x8e00 };

	on->write(m, IDT + 8 * vector, gate, sizeof(gate));
}

struct machine *create(struct bench *b, uint64_t gpa, uint64_t size,
		       enum memory kind)
{
	struct machine *m = b->on->create_vm(gpa, size, kind);

	b->on->add_memory(m);
	b->on->create_vcpu(m);
	return m;
}

/* All of it, by pages of 2 MiB. */
static void write_tables(const struct backend *on, struct machine *m)
{
	uint64_t entry = PDPT | 3;

	on->write(m, PML4, &entry, 8);
	entry = PD | 3;
	on->write(m, PDPT, &entry, 8);
	for (uint64_t i = 0; i < 512; i++) {
		entry = i << 21 | 0x83;
		on->write(m, PD + 8 * i, &entry, 8);
	}
}

void load(const struct backend *on, struct machine *m, const struct guest *guest)
{
	const uint64_t gdt[3] = { 0, 0xcf9b000000ffff, 0xcf93000000ffff };

	on->write(m, GDT, gdt, sizeof(gdt));
	on->write(m, CODE, guest->code, guest->end - guest->code);
	if (guest->handler)
		write_gate(on, m, HANDLED, CODE + guest->handler);
	if (guest->bits == 64)
		write_tables(on, m);
	on->start(m, guest);
}

/* ---- operations: each does a batch and returns its ticks ------------------------- */

static uint64_t batch_rdtsc(struct bench *b, int count)
{
	uint64_t before, ticks = 0;

	(void)b;
	for (int i = 0; i < count; i++) {
		before = rdtsc();
		ticks += rdtsc() - before;
	}
	return ticks;
}

static uint64_t batch_copy(struct bench *b, int count)
{
	static char from[PAGE], to[PAGE];
	uint64_t before = rdtsc();

	(void)b;
	for (int i = 0; i < count; i++) {
		const void *source = from;
		void *target = to;
		unsigned long words = PAGE / 8;

		asm volatile("rep movsq" : "+S" (source), "+D" (target), "+c" (words)
			     :: "memory");
	}
	return rdtsc() - before;
}

static uint64_t batch_syscall(struct bench *b, int count)
{
	uint64_t before = rdtsc();

	(void)b;
	for (int i = 0; i < count; i++)
		syscall(SYS_getppid);
	return rdtsc() - before;
}

static uint64_t batch_null_ioctl(struct bench *b, int count)
{
	uint64_t before = rdtsc();

	for (int i = 0; i < count; i++)
		b->on->null_ioctl();
	return rdtsc() - before;
}

/* The guest does the whole batch. */
static uint64_t batch_in_guest(struct bench *b, int count)
{
	uint64_t tsc[2];

	(void)count;
	b->on->run(b->m, STOP_HLT);
	b->on->read(b->m, RESULT, tsc, sizeof(tsc));
	return tsc[1] - tsc[0];
}

static uint64_t batch_port(struct bench *b, int count)
{
	uint64_t before = rdtsc();

	for (int i = 0; i < count; i++)
		b->on->run(b->m, STOP_PORT);
	return rdtsc() - before;
}

static uint64_t batch_port_state(struct bench *b, int count)
{
	uint64_t before = rdtsc();

	for (int i = 0; i < count; i++) {
		b->on->run(b->m, STOP_PORT);
		b->on->change_state(b->m);
	}
	return rdtsc() - before;
}

static uint64_t batch_mmio(struct bench *b, int count)
{
	uint64_t before = rdtsc();

	for (int i = 0; i < count; i++)
		b->on->run(b->m, STOP_MEMORY);
	return rdtsc() - before;
}

static uint64_t batch_interrupt(struct bench *b, int count)
{
	uint64_t before = rdtsc();

	for (int i = 0; i < count; i++) {
		b->on->interrupt(b->m, HANDLED);
		b->on->run(b->m, STOP_HLT);
	}
	return rdtsc() - before;
}

/* ---- tracing ------------------------------------------------------------------------ */

static int trace_open;

static void add_trace(struct bench *b, const char *op)
{
	if (ntraces == MAX_TRACES)
		errx(1, "too many traces");
	traces[ntraces].backend = b->on->name;
	snprintf(traces[ntraces++].op, sizeof(traces[0].op), "%s", op);
}

void trace_begin(struct bench *b, const char *op)
{
	if (!b->trace || !op)
		return;
	add_trace(b, op);
	trace_open = 1;
	asm volatile(MAGIC);
}

void trace_end(void)
{
	if (!trace_open)
		return;
	asm volatile(MAGIC);
	trace_open = 0;
}

/* ---- measuring -------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static struct row *row_of(const char *op)
{
	int i = 0;

	while (i < nrows && strcmp(rows[i].op, op))
		i++;
	if (i == MAX_ROWS)
		errx(1, "too many rows");
	if (i == nrows) {
		nrows++;
		snprintf(rows[i].op, sizeof(rows[i].op), "%s", op);
	}
	return &rows[i];
}

void add_values(struct bench *b, const char *op, uint64_t *values, int n,
		int each, const char *unit)
{
	int of = b->on == &kvm_backend ? KVM : WISP;
	struct row *row;

	row = row_of(op);
	qsort(values, n, sizeof(*values), by_size);
	row->median[of] = values[n / 2];
	row->there[of] = 1;
	row->unit = unit;
	if (of == WISP) {
		row->n = n * each;
		row->min = values[0];
		row->max = values[n - 1];
	}
	fprintf(stderr, "%-4s %-22s %12llu %12llu %12llu  %s\n", b->on->name, op,
		(unsigned long long)values[n / 2], (unsigned long long)values[0],
		(unsigned long long)values[n - 1], unit);
}

void add_ticks(struct bench *b, const char *op, uint64_t *ticks, int n, int each)
{
	add_values(b, op, ticks, n, each, b->unit);
}

void measure(struct bench *b, const char *op,
	     uint64_t (*batch)(struct bench *b, int count), int batches, int count)
{
	uint64_t ticks[BATCHES];

	batch(b, count);	/* one to warm up */
	for (int i = 0; i < batches; i++)
		ticks[i] = (batch(b, count) + count / 2) / count;
	add_ticks(b, op, ticks, batches, count);
}

/* The same, and one of them traced. */
static void measure_traced(struct bench *b, const char *op,
			   uint64_t (*batch)(struct bench *b, int count))
{
	measure(b, op, batch, BATCHES, BATCH);
	trace_begin(b, op);
	batch(b, 1);
	trace_end();
}

static void measure_in_guest(struct bench *b, const char *op,
			     const struct guest *timed, const struct guest *traced)
{
	load(b->on, b->m, timed);
	measure(b, op, batch_in_guest, BATCHES, BATCH);
	if (!b->trace)
		return;
	/* The first one warms up: a trace of no name. */
	load(b->on, b->m, traced);
	add_trace(b, "");
	b->on->run(b->m, STOP_HLT);
	add_trace(b, op);
	b->on->run(b->m, STOP_HLT);
}

/* ---- all of it ---------------------------------------------------------------------- */

/* Around 1000 NOPs an instruction counter shows 1000 and a few. */
static const char *unit_of_tsc(void)
{
	for (int i = 0; i < 5; i++) {
		uint64_t before = rdtsc(), ticks;

		asm volatile(".rept 1000; nop; .endr");
		ticks = rdtsc() - before;
		if (ticks < 1000 || ticks > 1010)
			return CYCLES;
	}
	return "instructions";
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_RAW, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static double ns_of_tick(void)
{
	uint64_t ns = now_ns(), ticks = rdtsc();

	usleep(100000);
	ticks = rdtsc() - ticks;
	return (double)(now_ns() - ns) / ticks;
}

void measure_port(struct bench *b, const char *op)
{
	const struct guest port = { GUEST_CODE(guest_port), .bits = 32 };

	load(b->on, b->m, &port);
	measure_traced(b, op, batch_port);
}

void measure_touch(struct bench *b, const char *op)
{
	const struct guest touch = {
		GUEST_CODE(guest_touch), .bits = 32, .rdi = TOUCH,
	};
	const struct guest touch1 = {
		GUEST_CODE(guest_touch_traced), .bits = 32,
		.rdi = TOUCH_TRACED,
	};

	measure_in_guest(b, op, &touch, &touch1);
}

/* In memory of its own, from its end on. */
static void measure_touch_back(struct bench *b)
{
	const struct guest back = {
		GUEST_CODE(guest_touch_back), .bits = 32, .rdi = TOUCH_BACK,
	};
	const struct guest back1 = {
		GUEST_CODE(guest_touch_back_traced), .bits = 32, .rdi = BACK_TRACED,
	};
	struct machine *m = b->m;

	b->m = create(b, 0, MEMORY_SIZE, MEMORY_PLAIN);
	measure_in_guest(b, "touch backwards", &back, &back1);
	b->on->destroy(b->m);
	b->m = m;
}

static void measure_in_driver(struct bench *b)
{
	const struct guest cpuid = { GUEST_CODE(guest_cpuid), .bits = 32 };
	const struct guest cpuid1 = { GUEST_CODE(guest_cpuid_traced), .bits = 32 };
	const struct guest far = { GUEST_CODE(guest_cpuid_far), .bits = 32 };
	const struct guest far1 = { GUEST_CODE(guest_cpuid_far_traced), .bits = 32 };
	const struct guest msr = { GUEST_CODE(guest_msr), .bits = 32 };
	const struct guest msr1 = { GUEST_CODE(guest_msr_traced), .bits = 32 };
	const struct guest again = {
		GUEST_CODE(guest_touch_again), .bits = 32, .rdi = TOUCH,
	};

	measure_in_guest(b, "cpuid", &cpuid, &cpuid1);
	measure_in_guest(b, "cpuid 80000008", &far, &far1);
	measure_in_guest(b, "msr", &msr, &msr1);
	measure_touch(b, "first touch");
	measure_touch_back(b);
	load(b->on, b->m, &again);
	measure(b, "touch again", batch_in_guest, BATCHES, BATCH);
}

static void measure_exits(struct bench *b)
{
	const struct guest mmio = { GUEST_CODE(guest_mmio), .bits = 32 };
	const struct guest hlt = {
		GUEST_CODE(guest_hlt), .bits = 32, .handler = HLT_HANDLER,
	};

	measure_port(b, "port");
	b->on->want_state(b->m, 1);
	measure_traced(b, "port+state", batch_port_state);

	b->on->want_state(b->m, b->on->mmio_needs_state);
	load(b->on, b->m, &mmio);
	measure_traced(b, "mmio", batch_mmio);
	b->on->want_state(b->m, 0);

	load(b->on, b->m, &hlt);
	b->on->run(b->m, STOP_HLT);
	measure_traced(b, "hlt+interrupt", batch_interrupt);
}

/* Zeroing is in it: as a REP by QEMU, 8 bytes an instruction. */
static void measure_huge(struct bench *b)
{
	const struct guest touch = {
		GUEST_CODE(guest_touch_huge), .bits = 32, .rdi = HUGE_PAGE,
	};
	struct machine *m = b->m;
	uint64_t before;

	b->m = create(b, 0, HUGE_SIZE, MEMORY_HUGE);
	load(b->on, b->m, &touch);
	before = b->on->faults(b->m);
	measure(b, "touch 2M", batch_in_guest, HUGE_BATCHES, HUGE_BATCH);
	if (b->on->faults(b->m) - before > HUGE_SIZE / HUGE_PAGE + 2)
		errx(1, "the host has no 2 MiB pages left");
	b->on->destroy(b->m);
	b->m = m;
}

static void measure_all(struct bench *b)
{
	b->m = create(b, 0, MEMORY_SIZE, MEMORY_PLAIN);
	measure(b, "rdtsc pair", batch_rdtsc, BATCHES, BATCH);
	measure(b, "page copy", batch_copy, BATCHES, BATCH);
	measure_traced(b, "syscall", batch_syscall);
	measure_traced(b, "null ioctl", batch_null_ioctl);
	measure_in_driver(b);
	measure_exits(b);
	measure_huge(b);
	if (b->on->measure_more)
		b->on->measure_more(b);
	b->on->destroy(b->m);
	measure_lives(b);
	measure_snapshots(b);
	if (b->curves)
		measure_curves(b);
}

/* An exit to the VMM and nothing else, to see what there is in it. */
static void measure_terms(struct bench *b)
{
	b->m = create(b, 0, MEMORY_SIZE, MEMORY_PLAIN);
	measure_port(b, "port");
	b->on->destroy(b->m);
}

static void measure_backend(struct bench *b, const struct backend *on)
{
	const char *hardware;

	b->on = on;
	hardware = on->open();
	if (hardware)
		b->hardware = hardware;
	if (b->jobs)
		measure_jobs(b);
	else if (b->terms)
		measure_terms(b);
	else
		measure_all(b);
}

/* ---- output --------------------------------------------------------------------------- */

static void put_text(struct json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, json_object_new_string(value));
}

static void put_number(struct json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_int64(value));
}

/* Of a figure in cycles, the time that it takes; of others, none. */
static struct json_object *json_ns(const struct bench *b, const struct row *row)
{
	struct json_object *o;

	if (strcmp(row->unit, CYCLES))
		return NULL;
	o = json_object_new_object();
	for (int i = 0; i < BACKENDS; i++)
		json_object_object_add(o, backends[i]->name, row->there[i] ?
			json_object_new_int64(row->median[i] * b->ns_of_tick) : NULL);
	return o;
}

static struct json_object *json_row(const struct bench *b, const struct row *row)
{
	struct json_object *o = json_object_new_object();

	put_text(o, "op", row->op);
	put_text(o, "backend", b->hardware);
	put_text(o, "lab", b->lab);
	put_text(o, "mitigations", b->mitigations);
	put_number(o, "n", row->n);
	for (int i = 0; i < BACKENDS; i++) {
		if (row->there[i])
			put_number(o, backends[i]->name, row->median[i]);
		else
			json_object_object_add(o, backends[i]->name, NULL);
	}
	put_text(o, "unit", row->unit);
	json_object_object_add(o, "ns", json_ns(b, row));
	put_number(o, "min", row->min);
	put_number(o, "max", row->max);
	put_text(o, "kernel", b->host.release);
	put_text(o, "boot_id", b->boot_id);
	return o;
}

static void print_json(const struct bench *b)
{
	struct json_object *all = json_object_new_object();
	struct json_object *list = json_object_new_array();
	struct json_object *traced = json_object_new_array(), *o;

	for (int i = 0; i < nrows; i++)
		json_object_array_add(list, json_row(b, &rows[i]));
	for (int i = 0; i < ntraces; i++) {
		o = json_object_new_object();
		put_text(o, "backend", traces[i].backend);
		put_text(o, "op", traces[i].op);
		json_object_array_add(traced, o);
	}
	json_object_object_add(all, "rows", list);
	json_object_object_add(all, "traces", traced);
	printf("BEGIN bench.json\n%s\nEND bench.json\n",
	       json_object_to_json_string_ext(all, JSON_C_TO_STRING_PRETTY));
	json_object_put(all);
}

static void print_help(FILE *out)
{
	fputs("usage: bench [--lab NAME] [--mitigations auto|off] [--trace]\n"
	      "             [--alive N] [--curves | --jobs | --terms] [--kvm COMMAND]\n"
	      "\n"
	      "--kvm: KVM, too, which COMMAND loads. --trace: for the emulator's\n"
	      "debugger, mark each operation once. --alive: with up to so many VMs at\n"
	      "the same time (10000). --curves: how costs grow, too. --jobs: whole jobs,\n"
	      "in time, and nothing else. --terms: one operation, for its trace.\n", out);
}

static void read_options(struct bench *b, int argc, char **argv)
{
	static const struct option options[] = {
		{ "lab", required_argument, NULL, 'l' },
		{ "mitigations", required_argument, NULL, 'm' },
		{ "alive", required_argument, NULL, 'a' },
		{ "curves", no_argument, NULL, 'c' },
		{ "jobs", no_argument, NULL, 'j' },
		{ "kvm", required_argument, NULL, 'k' },
		{ "terms", no_argument, NULL, 'e' },
		{ "trace", no_argument, NULL, 't' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 'l':
			b->lab = optarg;
			break;
		case 'm':
			b->mitigations = optarg;
			break;
		case 'a':
			b->alive = atoi(optarg);
			break;
		case 'c':
			b->curves = 1;
			break;
		case 'j':
			b->jobs = 1;
			break;
		case 'k':
			b->load_kvm = optarg;
			break;
		case 'e':
			b->terms = 1;
			break;
		case 't':
			b->trace = 1;
			break;
		case 'h':
			print_help(stdout);
			exit(0);
		default:
			print_help(stderr);
			exit(2);
		}
	}
	if (optind < argc)
		errx(2, "%s: there are options only", argv[optind]);
	if (b->alive < 2)
		errx(2, "--alive is 2 or more");
	if (strcmp(b->mitigations, "auto") && strcmp(b->mitigations, "off"))
		errx(2, "--mitigations is auto or off");
}

static void prepare(struct bench *b)
{
	const struct rlimit files = { 65536, 65536 };
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "r");

	if (!f || fscanf(f, "%39s", b->boot_id) != 1)
		err(1, "boot_id");
	fclose(f);
	if (setrlimit(RLIMIT_NOFILE, &files))
		err(1, "RLIMIT_NOFILE");
	uname(&b->host);
	b->unit = unit_of_tsc();
	b->ns_of_tick = ns_of_tick();
}

int main(int argc, char **argv)
{
	struct bench b = { .lab = "none", .mitigations = "auto", .alive = 10000 };

	read_options(&b, argc, argv);
	prepare(&b);
	measure_backend(&b, &wisp_backend);
	if (b.load_kvm) {
		if (system(b.load_kvm))
			errx(1, "%s: did not load KVM", b.load_kvm);
		measure_backend(&b, &kvm_backend);
	}
	print_json(&b);
	return 0;
}
