// SPDX-License-Identifier: GPL-2.0
/*
 * What snapshots, forks and resets cost. The VM has 512 MiB, all of it touched;
 * its guest runs on 2 MiB pages of its own and writes one word each in as many
 * pages as it is told.
 */
#include <err.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../snippet.h"
#include "bench.h"

#define MEMORY_SIZE	(512UL << 20)
#define PML4		0x3000
#define PDPT		0x4000
#define PD		0x5000
#define CODE		0x10000
#define DATA		0x40000
#define PAGE		4096UL

/* Pages that are written lie this far apart, so that no two share a table's line. */
#define SCATTERED	(131 * PAGE)
#define ROUNDS		15
#define WARM		4

/* Writes ECX pages from RDI on, RBX apart; then the next round. */
SNIPPET(guest_write, 64,
	"1:	hlt\n"
	"	mov %ecx, %edx\n"
	"	mov %rdi, %rsi\n"
	"2:	incq (%rsi)\n"
	"	add %rbx, %rsi\n"
	"	dec %edx\n"
	"	jnz 2b\n"
	"	jmp 1b");

/* Writes one page and reads ten. */
SNIPPET(guest_fork, 64,
	"1:	hlt\n"
	"	incq (%rdi)\n"
	"	mov %rdi, %rsi\n"
	"	mov $10, %edx\n"
	"2:	add %rbx, %rsi\n"
	"	mov (%rsi), %rax\n"
	"	dec %edx\n"
	"	jnz 2b\n"
	"	jmp 1b");

struct machine {
	int vm;
	struct wisp_vcpu_page *page;
};

/* From one HLT to the next. */
static void go(struct machine *m)
{
	m->page->complete = 1;
	must(wisp_run(m->vm, 0), "run");
	if (m->page->exit.reason != WISP_EXIT_HLT)
		errx(1, "snapshots: %s", wisp_exit_name(m->page->exit.reason));
}

static struct wisp_segment flat(uint16_t selector, uint16_t attributes)
{
	return (struct wisp_segment){
		.limit = 0xffffffff,
		.selector = selector,
		.attributes = attributes,
	};
}

/* The guest stands at its HLT, about to write @npages that are @apart. */
static void stand(struct machine *m, const char *code, const char *end,
		  uint64_t npages, uint64_t apart)
{
	struct wisp_state *s = &m->page->state;
	struct wisp_segment data = flat(0x10, 0xc093);

	must(wisp_get_state(m->vm, 0, WISP_ASSIST_WANT, s), "get state");
	must(wisp_write(m->vm, CODE, code, end - code), "load the guest");
	s->segments.cs = flat(0x08, 0xa09b);
	s->segments.ds = data;
	s->segments.es = data;
	s->segments.ss = data;
	s->control.cr0 = 0x80000011;
	s->control.cr3 = PML4;
	s->control.cr4 = 0x20;
	s->control.efer = 0x500;
	s->general.rip = CODE;
	s->general.rflags = 2;
	s->general.rcx = npages;
	s->general.rdi = DATA;
	s->general.rbx = apart;
	m->page->dirty = WISP_ASSIST_WANT;
	m->page->complete = 0;
	must(wisp_run(m->vm, 0), "run");
}

static void boot(struct bench *b, struct machine *m)
{
	uint64_t entry;
	int memory;

	m->vm = must(wisp_create_vm(b->sys), "create VM");
	memory = must(wisp_create_memory(b->sys, MEMORY_SIZE), "create memory");
	must(wisp_set_slot(m->vm, 0, 0, MEMORY_SIZE, memory, 0,
			   WISP_PROT_READ | WISP_PROT_WRITE | WISP_PROT_EXEC),
	     "set slot");
	must(wisp_create_vcpu(m->vm, 0, &m->page), "create vCPU");
	close(memory);
	entry = PDPT | 3;
	must(wisp_write(m->vm, PML4, &entry, 8), "write");
	entry = PD | 3;
	must(wisp_write(m->vm, PDPT, &entry, 8), "write");
	for (uint64_t i = 0; i < MEMORY_SIZE >> 21; i++) {
		entry = i << 21 | 0x83;
		must(wisp_write(m->vm, PD + 8 * i, &entry, 8), "write");
	}
	stand(m, guest_write, guest_write_end, (MEMORY_SIZE - DATA) / PAGE, PAGE);
	go(m);
}

static void measure_snapshot(struct bench *b, struct machine *m)
{
	uint64_t ticks[ROUNDS], before;

	stand(m, guest_write, guest_write_end, 1, PAGE);
	for (int i = 0; i < ROUNDS; i++) {
		go(m);
		before = rdtsc();
		close(must(wisp_snapshot(m->vm), "snapshot"));
		ticks[i] = rdtsc() - before;
	}
	add_ticks(b, "snapshot", ticks, ROUNDS, 1);
}

static void measure_resets(struct bench *b, struct machine *m, int npages)
{
	uint64_t resets[ROUNDS], rounds[ROUNDS], start, written, end;
	char op[32];

	stand(m, guest_write, guest_write_end, npages, SCATTERED);
	close(must(wisp_snapshot(m->vm), "snapshot"));
	for (int i = -WARM; i < ROUNDS; i++) {
		start = rdtsc();
		go(m);
		written = rdtsc();
		must(wisp_reset(m->vm, -1), "reset");
		end = rdtsc();
		if (i < 0)
			continue;
		resets[i] = end - written;
		rounds[i] = end - start;
	}
	snprintf(op, sizeof(op), "reset %d", npages);
	add_ticks(b, op, resets, ROUNDS, 1);
	snprintf(op, sizeof(op), "round %d", npages);
	add_ticks(b, op, rounds, ROUNDS, 1);
}

static void measure_forks(struct bench *b, struct machine *m)
{
	uint64_t forks[ROUNDS], ends[ROUNDS], start, ran;
	struct machine fork;
	int snapshot;

	stand(m, guest_fork, guest_fork_end, 1, 1001 * PAGE);
	snapshot = must(wisp_snapshot(m->vm), "snapshot");
	for (int i = -WARM; i < ROUNDS; i++) {
		start = rdtsc();
		fork.vm = must(wisp_fork(b->sys, snapshot), "fork");
		fork.page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
				 fork.vm, 0);
		if (fork.page == MAP_FAILED)
			err(1, "map the shared page");
		go(&fork);
		ran = rdtsc();
		munmap(fork.page, PAGE);
		close(fork.vm);
		if (i < 0)
			continue;
		ends[i] = rdtsc() - ran;
		forks[i] = ran - start;
	}
	add_ticks(b, "fork", forks, ROUNDS, 1);
	add_ticks(b, "fork end", ends, ROUNDS, 1);
	close(snapshot);
}

void measure_snapshots(struct bench *b)
{
	struct machine m;

	boot(b, &m);
	measure_snapshot(b, &m);
	measure_resets(b, &m, 1);
	measure_resets(b, &m, 100);
	measure_resets(b, &m, 1000);
	measure_forks(b, &m);
	munmap(m.page, PAGE);
	close(m.vm);
}
