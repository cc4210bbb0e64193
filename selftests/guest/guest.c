// SPDX-License-Identifier: GPL-2.0
#include <cpuid.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "guest.h"

extern const char guest_stubs[], guest_stubs_end[];

/* Descriptors in the order of the GUEST_ selectors. */
static const __u64 gdt[] = {
	0,
	0x00009b000000ffff,	/* 0x08: 16-bit code */
	0x000093000000ffff,	/* 0x10: 16-bit data */
	0x00cf9b000000ffff,	/* 0x18: 32-bit code */
	0x00cf93000000ffff,	/* 0x20: 32-bit data */
	0x00af9b000000ffff,	/* 0x28: 64-bit code */
	0x00cf93000000ffff,	/* 0x30: data */
	0x00cff3000000ffff,	/* 0x38: data, CPL 3 */
	0x00affb000000ffff,	/* 0x40: 64-bit code, CPL 3 */
	0x00008b0000000067 | (__u64)GUEST_TSS << 16,	/* 0x48: TSS, busy */
	0,
	0x0000890000000067 | (__u64)GUEST_TSS << 16,	/* 0x58: TSS, for LTR */
	0,
	0x0000820000000007 | (__u64)GUEST_GDT << 16,	/* 0x68: LDT */
	0,
};

static cpu_set_t started_on;

__attribute__((constructor)) static void look_for_cpus(void)
{
	sched_getaffinity(0, sizeof(started_on), &started_on);
}

int guest_cpu(unsigned int n)
{
	int cpu = 0;

	n %= CPU_COUNT(&started_on);
	for (;; cpu++)
		if (CPU_ISSET(cpu, &started_on) && !n--)
			return cpu;
}

int guest_pin(unsigned int n)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(guest_cpu(n), &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

static void write_tables(struct guest *g)
{
	__u64 *pml4 = guest_at(g, GUEST_PML4);
	__u64 *pdpt = guest_at(g, GUEST_PDPT);
	__u64 *pd = guest_at(g, GUEST_PD);
	__u64 *pt = guest_at(g, GUEST_PT);

	/* 7: present, writable, user; 0x80: a large page */
	pml4[0] = GUEST_PDPT | 7;
	pdpt[0] = GUEST_PD | 7;
	pd[0] = GUEST_PT | 7;
	for (__u64 i = 1; i < 512; i++)
		pd[i] = i << 21 | 0x87;
	for (__u64 i = 0; i < 512; i++)
		pt[i] = i << 12 | 7;
}

static void write_descriptors(struct guest *g)
{
	__u64 *idt = guest_at(g, GUEST_IDT);
	__u32 *tss = guest_at(g, GUEST_TSS);

	memcpy(guest_at(g, GUEST_GDT), gdt, sizeof(gdt));
	for (__u64 i = 0; i < 256; i++) {
		__u64 stub = GUEST_STUBS + 16 * i;

		/* An interrupt gate that INT n may use at CPL 3. */
		idt[2 * i] = (stub & 0xffff) | (__u64)GUEST_CS64 << 16 |
			     0xeeULL << 40 | (stub >> 16 & 0xffff) << 48;
		idt[2 * i + 1] = 0;
	}
	tss[1] = GUEST_TRAP_STACK;	/* RSP0 */
	tss[25] = 104 << 16;		/* no I/O permission map */
	memcpy(guest_at(g, GUEST_STUBS), guest_stubs,
	       guest_stubs_end - guest_stubs);
}

static int create_vm(struct guest *g, struct wisp_create_vm *arg)
{
	int ret;

	memset(g, 0, sizeof(*g));
	g->sys = raw_open();
	if (g->sys < 0)
		return g->sys;
	ret = raw_query(g->sys, &g->query);
	if (ret)
		return ret;
	arg->size = sizeof(*arg);
	g->vm = raw(g->sys, WISP_CREATE_VM, arg);
	if (g->vm < 0)
		return g->vm;
	g->fd = raw_create_memory(g->sys, GUEST_SIZE);
	if (g->fd < 0)
		return g->fd;
	ret = raw_set_slot(g->vm, 0, 0, GUEST_SIZE, g->fd, 0, PROT_RWX);
	if (ret)
		return ret;
	g->memory = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 g->fd, 0);
	if (g->memory == MAP_FAILED)
		return -errno;
	write_tables(g);
	write_descriptors(g);
	return 0;
}

int guest_create_vm(struct guest *g)
{
	struct wisp_create_vm arg = {};

	return create_vm(g, &arg);
}

int guest_add_vcpu(struct guest *g, int vcpu)
{
	int ret = raw_create_vcpu(g->vm, vcpu, &g->pages[vcpu]);

	if (ret)
		return ret;
	g->page = g->pages[0];
	g->pages[vcpu]->budget_ns = GUEST_BUDGET_NS;
	return 0;
}

int guest_create(struct guest *g)
{
	return guest_create_vm(g) ?: guest_add_vcpu(g, 0);
}

int guest_create_as(struct guest *g, struct wisp_create_vm *arg)
{
	return create_vm(g, arg) ?: guest_add_vcpu(g, 0);
}

void guest_destroy(struct guest *g)
{
	for (int i = 0; i < GUEST_VCPUS; i++)
		if (g->pages[i])
			munmap(g->pages[i], PAGE);
	munmap(g->memory, GUEST_SIZE);
	close(g->fd);
	close(g->vm);
	close(g->sys);
}

void guest_load_at(struct guest *g, int vcpu, enum guest_mode mode,
		   __u64 address, const char *code, const char *end)
{
	struct wisp_vcpu_page *page = g->pages[vcpu];
	struct wisp_state *s = &page->state;
	struct wisp_segments *segments = &s->segments;

	memcpy(guest_at(g, address), code, end - code);
	switch (mode) {
	case REAL16:
		state_real(s, address, 0);
		s->general.rsp = 0x8000;
		break;
	case PROTECTED32:
		state_protected(s, address);
		break;
	case LONG64:
	case USER64:
		state_long(s, GUEST_PML4, address);
		break;
	}
	if (mode != REAL16) {
		s->general.rsp = GUEST_STACK - 0x1000 * vcpu;
		segments->gdt.base = GUEST_GDT;
		segments->gdt.limit = sizeof(gdt) - 1;
		segments->idt.base = GUEST_IDT;
		segments->idt.limit = 0xfff;
		segments->tr = state_segment(GUEST_TSS_SELECTOR, GUEST_TSS,
					     0x67, SEG_TSS);
	}
	if (mode == USER64) {
		s->general.rsp = GUEST_USER_STACK - 0x1000 * vcpu;
		segments->cs = state_segment(GUEST_USER_CS64, 0, 0xffffffff,
					     SEG_CODE64 | SEG_DPL3);
		state_data_segments(s, state_segment(GUEST_USER_DS, 0,
						     0xffffffff,
						     SEG_DATA32 | SEG_DPL3));
	}
	/* Or the budget and a kick would not end a loop. */
	if (guest_on_bochs_svm())
		s->general.rflags |= RFLAGS_IF;
	page->dirty = STATE_ALL;
	page->want = STATE_ALL;
}

void guest_load(struct guest *g, enum guest_mode mode, const char *code,
		const char *end)
{
	memset(guest_trap(g), 0, sizeof(struct guest_trap));
	guest_trap(g)->vector = ~0ULL;
	guest_load_at(g, 0, mode, GUEST_CODE, code, end);
}

int guest_run_vcpu(struct guest *g, int vcpu)
{
	int ret = raw_run(g->vm, vcpu);

	return ret ?: (int)g->pages[vcpu]->exit.reason;
}

int guest_run(struct guest *g)
{
	return guest_run_vcpu(g, 0);
}

int guest_complete(struct guest *g, __u64 reply)
{
	g->page->reply = reply;
	g->page->complete = 1;
	return guest_run(g);
}

bool guest_has_trapped(struct guest *g, int vector)
{
	const struct guest_trap *trap = guest_trap(g);
	const struct wisp_exit *exit = &g->page->exit;

	if (exit->reason == WISP_EXIT_PORT &&
	    exit->port.port == GUEST_TRAP_PORT &&
	    trap->vector == (__u64)vector)
		return true;
	fprintf(stderr,
		"# want vector %d; exit %s at %#llx, code %#llx; trap %lld error %#llx at %#llx\n",
		vector, guest_exit_name(exit->reason), exit->rip,
		exit->hw.code, trap->vector, trap->error, trap->rip);
	return false;
}

void guest_wait_counting(struct guest *g, __u64 gpa)
{
	__u64 *counter = guest_at(g, gpa);
	__u64 before = __atomic_load_n(counter, __ATOMIC_RELAXED);

	while (__atomic_load_n(counter, __ATOMIC_RELAXED) == before)
		;
}

bool guest_is_dirty(int vm, __u64 gpa)
{
	__u64 pages[1024];
	int n = raw_dirty(vm, pages, 1024);

	for (int i = 0; i < n && i < 1024; i++)
		if (pages[i] == gpa)
			return true;
	return false;
}

static void *thread_run(void *data)
{
	struct guest_thread *t = data;

	t->result = guest_run_vcpu(t->guest, t->vcpu);
	return NULL;
}

void guest_thread_start(struct guest_thread *t, struct guest *g, int vcpu)
{
	t->guest = g;
	t->vcpu = vcpu;
	if (pthread_create(&t->thread, NULL, thread_run, t))
		abort();
}

int guest_thread_join(struct guest_thread *t)
{
	if (pthread_join(t->thread, NULL))
		abort();
	return t->result;
}

bool guest_on_tcg(void)
{
	__u32 eax, name[3];

	__cpuid(0x40000000, eax, name[0], name[1], name[2]);
	return !memcmp(name, "TCGTCGTCGTCG", sizeof(name));
}

static bool bios_is_bochs(void)
{
	static const char bochs[] = "The Bochs Project";
	FILE *f = fopen("/sys/class/dmi/id/bios_vendor", "r");
	char vendor[sizeof(bochs)] = "";
	bool found;

	if (!f)
		return false;
	found = fgets(vendor, sizeof(vendor), f) && !strcmp(vendor, bochs);
	fclose(f);
	return found;
}

bool guest_on_bochs(void)
{
	static int known = -1;

	if (known < 0)
		known = bios_is_bochs();
	return known;
}

bool guest_on_bochs_svm(void)
{
	__u32 eax, ebx, ecx, edx;

	__cpuid(0, eax, ebx, ecx, edx);
	return ebx == signature_AMD_ebx && guest_on_bochs();
}

const char *guest_exit_name(int reason)
{
	static const char * const names[] = {
		"none", "port", "memory", "msr", "hlt", "hypercall",
		"shutdown", "intr-window", "task-switch", "kicked", "budget",
		"nomem", "entry-failed", "unexpected", "debug",
		"limit",
	};

	if (reason < 0)
		return strerror(-reason);
	return reason < (int)(sizeof(names) / sizeof(*names)) ? names[reason] : "?";
}
