/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of the benchmark share. */
#ifndef WISP_SELFTESTS_BENCH_H
#define WISP_SELFTESTS_BENCH_H

#include <stddef.h>
#include <stdint.h>
#include <sys/utsname.h>

#define PAGE		4096UL
#define BATCH		64
#define BATCHES		31

/* Where all guests have their code, and what start() uses in front of it. */
#define GDT		0x800
#define CODE		0x1000
#define PML4		0x3000
#define PDPT		0x4000
#define PD		0x5000
#define IDT		0x6000
#define TABLES_END	0x10000

/* What a guest may stop for. */
enum stop {
	STOP_HLT,
	STOP_PORT,
	STOP_MEMORY,	/* outside its memory; done when run() returns */
};

/*
 * A guest: flat, with all segments; 32-bit without paging, or 64-bit by tables
 * at PML4. It has a GDT, and an IDT of one vector: @handler, where not 0.
 */
struct guest {
	const char *code, *end;
	int bits;
	unsigned int handler;	/* behind @code */
	uint64_t rcx, rdx, rbx, rdi;
};

enum memory {
	MEMORY_PLAIN,
	MEMORY_HUGE,		/* in pages of 2 MiB where the host has them */
	MEMORY_TRACKED,		/* for snapshots */
};

/* Of a SNIPPET(). */
#define GUEST_CODE(name)	.code = name, .end = name##_end

#define HANDLED		0x20	/* that vector */

/* A VM with one vCPU and one slot, of the back end that made it. */
struct machine;
struct snapshot;
struct bench;

/*
 * Who is measured, Wisp by libwisp or KVM by raw ioctls. A call that fails ends
 * the program.
 */
struct backend {
	const char *name;
	unsigned int max_alive;		/* as many as it has memory for */
	int forks_forks;
	int mmio_needs_state;		/* the VMM decodes, not the kernel */

	/* Returns the name of the hardware, or NULL. */
	const char *(*open)(void);
	void (*null_ioctl)(void);

	/* The three steps of create() below. */
	struct machine *(*create_vm)(uint64_t gpa, uint64_t size, enum memory kind);
	void (*add_memory)(struct machine *m);
	void (*create_vcpu)(struct machine *m);
	void (*destroy)(struct machine *m);
	/* One more of those; slot 0 is there. The same memory at @gpa, too. */
	void (*add_slot)(struct machine *m, unsigned int slot, uint64_t gpa,
			 uint64_t size);
	void (*write)(struct machine *m, uint64_t gpa, const void *data,
		      size_t size);
	void (*read)(struct machine *m, uint64_t gpa, void *data, size_t size);
	/* Registers only: bench.c's load() does the rest. */
	void (*start)(struct machine *m, const struct guest *guest);
	/* On from where it stopped, until it stops for @why. */
	void (*run)(struct machine *m, enum stop why);
	void (*interrupt)(struct machine *m, unsigned int vector);
	/* Whether each run is to bring the registers (general, segment, control). */
	void (*want_state)(struct machine *m, int wanted);
	/* Sets RAX from what the last run brought. */
	void (*change_state)(struct machine *m);

	/* @old: NULL or the one before, which ends with this and may be reused. */
	struct snapshot *(*snapshot)(struct machine *m, struct snapshot *old);
	void (*drop)(struct snapshot *s);
	int snapshots;		/* so many are enough to measure one */
	/* To the snapshot last taken of it. */
	void (*reset)(struct machine *m, struct snapshot *s);
	/* The same, then run(), in as few calls as there can be. */
	void (*reset_and_run)(struct machine *m, struct snapshot *s, enum stop why);
	struct machine *(*fork)(struct snapshot *s);
	/* Second-level faults so far. */
	uint64_t (*faults)(struct machine *m);

	/* What the other back end has nothing like; or NULL. */
	void (*measure_more)(struct bench *b);
};

extern const struct backend wisp_backend, kvm_backend;

struct bench {
	const struct backend *on;
	const char *hardware;
	const char *lab;
	const char *mitigations;
	const char *load_kvm;	/* a command, or NULL: without KVM */
	const char *unit;
	double ns_of_tick;	/* of the TSC */
	unsigned int alive;	/* VMs or forks at the same time, at most */
	int trace;		/* each operation once */
	int curves;		/* how costs grow, too */
	int jobs;		/* whole jobs, and nothing else */
	int terms;
	struct machine *m;	/* the one that most operations use */
	struct utsname host;
	char boot_id[40];
};

static inline uint64_t rdtsc(void)
{
	uint32_t low, high;

	asm volatile("rdtsc" : "=a" (low), "=d" (high) : : "memory");
	return (uint64_t)high << 32 | low;
}

/* A machine that begins as a CPU does behind a reset. */
struct machine *create(struct bench *b, uint64_t gpa, uint64_t size,
		       enum memory kind);

/* Writes the guest into a machine's memory and starts it. */
void load(const struct backend *on, struct machine *m, const struct guest *guest);

/* Ends the program where @result is a negative errno. */
int must(int result, const char *what);

/*
 * Adds the current back end's figure to @op's row: the median of @values, which
 * get sorted. @each: operations in each of them.
 */
void add_values(struct bench *b, const char *op, uint64_t *values, int n,
		int each, const char *unit);
void add_ticks(struct bench *b, const char *op, uint64_t *ticks, int n, int each);

/*
 * A row for @op: @batches times, @batch does it @count times and returns the
 * ticks that took.
 */
void measure(struct bench *b, const char *op,
	     uint64_t (*batch)(struct bench *b, int count), int batches, int count);

/*
 * Under the emulator's debugger, what is between the two is traced as @op. To
 * all others XCHG BX, BX does nothing.
 */
#define MAGIC		"xchg %bx, %bx\n"
void trace_begin(struct bench *b, const char *op);	/* NULL: nothing */
void trace_end(void);

/* soak.c: the CPU's own clock: ticks that were not idle, between the two. */
void soak_start(void);
void soak_stop(void);
uint64_t work(void);

/* In b->m, whose memory is from 0 on; of @op "port" and "first touch". */
void measure_port(struct bench *b, const char *op);
void measure_touch(struct bench *b, const char *op);

/* lives.c */
void measure_lives(struct bench *b);
/* All work for the life of a VM with memory of @size from 0 on. */
void measure_life_of(struct bench *b, const char *op, uint64_t size);
/* KiB. */
uint64_t memory_free(void);
unsigned int max_alive(const struct bench *b, unsigned int n);

/* snapshots.c */
void measure_snapshots(struct bench *b);
/* The same of the fork of a VM with memory of @size, nearly all never touched. */
void measure_fork_of(struct bench *b, const char *suffix, uint64_t size);
/* A VM whose guest has touched all of it. */
struct machine *touched(struct bench *b, uint64_t size);
/* Writes pages, then reads others, all of them @apart; then HLT, and again. */
struct guest job(uint64_t writes, uint64_t reads, uint64_t apart);
/* The guest stands at its HLT, about to do @what. */
void stand(struct bench *b, struct machine *m, struct guest what);
/* A fork, at its next HLT. */
struct machine *ran(struct bench *b, struct snapshot *s);

/* jobs.c */
void measure_jobs(struct bench *b);

/* curves.c */
void measure_curves(struct bench *b);

#endif
