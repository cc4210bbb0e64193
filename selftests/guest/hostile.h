/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A guest that leaves nothing as it was: pages, general, segment, control and
 * debug registers, all XSAVE components, and the MSRs that it finds it can change
 * by trying each.
 */
#ifndef WISP_SELFTESTS_HOSTILE_H
#define WISP_SELFTESTS_HOSTILE_H

/* Where the VMM puts what is to be written, and finds what was read. */
#define HOSTILE_INPUT	0x200000
#define HOSTILE_MSRS	0x201000	/* of struct hostile_msr, index ~0 last */
#define HOSTILE_READ	0x202000	/* their values */
#define HOSTILE_XSAVE	0x203000
#define HOSTILE_PML4	0x204000
#define HOSTILE_PAGES	0x205000	/* addresses, 0 last */
#define HOSTILE_FREE	0x210000

/* Offsets in struct hostile_input. */
#define IN_GENERAL	0x00
#define IN_DR		0x80
#define IN_CR		0xb0		/* CR0, CR2, CR4, CR8: bits to change */
#define IN_RFLAGS	0xd0
#define IN_XCR0		0xd8
#define IN_GDT		0xe0
#define IN_IDT		0xf0

#include <stdlib.h>

#include "guest.h"
#include "../race/random.h"

struct hostile_table {
	__u16 limit;
	__u64 base;
	__u8 reserved[6];
} __attribute__((packed));

struct hostile_input {
	__u64 general[16];
	__u64 dr[6];			/* 0 to 3, 6, 7 */
	__u64 cr[4];
	__u64 rflags;
	__u64 xcr0;
	struct hostile_table gdt, idt;
};

struct hostile_msr {
	__u32 index;
	__u32 bit;
};

#define HOSTILE_MAX_MSRS	200

/*
 * MSRs from EDI to ESI of which one bit comes back as it was written; they are
 * appended at R14. Faults go to the next bit, or the next MSR.
 */
SNIPPET(hostile_find, 64,
	"1:	lea 5f(%rip), %rax\n"
	"	mov %rax, " STR(GUEST_TRAP) " + " STR(TRAP_RESUME) "\n"
	"	mov %edi, %ecx\n"
	"	rdmsr\n"
	"	shl $32, %rdx\n"
	"	or %rdx, %rax\n"
	"	mov %rax, %r8\n"
	"	xor %r9d, %r9d\n"
	"2:	lea 4f(%rip), %rax\n"
	"	mov %rax, " STR(GUEST_TRAP) " + " STR(TRAP_RESUME) "\n"
	"	mov %r8, %rax\n"
	"	btc %r9, %rax\n"
	"	mov %rax, %r10\n"
	"	mov %rax, %rdx\n"
	"	shr $32, %rdx\n"
	"	wrmsr\n"
	"	rdmsr\n"
	"	shl $32, %rdx\n"
	"	or %rdx, %rax\n"
	"	mov %rax, %r11\n"
	"	mov %r8, %rax\n"
	"	mov %rax, %rdx\n"
	"	shr $32, %rdx\n"
	"	wrmsr\n"
	"	cmp %r10, %r11\n"
	"	jne 4f\n"
	"	mov %edi, (%r14)\n"
	"	mov %r9d, 4(%r14)\n"
	"	add $8, %r14\n"
	"	jmp 5f\n"
	"4:	inc %r9d\n"
	"	cmp $64, %r9d\n"
	"	jb 2b\n"
	"5:	inc %edi\n"
	"	cmp %esi, %edi\n"
	"	jbe 1b\n"
	"	hlt");

#define IN(offset)	STR(HOSTILE_INPUT) " + " STR(offset)

/* RBX: 0 to change all of it, then OUT; 1 to read the MSRs, then HLT. */
SNIPPET(hostile, 64,
	"	hlt\n"
	"	mov $" STR(HOSTILE_MSRS) ", %esi\n"
	"	test %ebx, %ebx\n"
	"	jz 3f\n"
	"	mov $" STR(HOSTILE_READ) ", %edi\n"
	"1:	mov (%rsi), %ecx\n"
	"	cmp $-1, %ecx\n"
	"	je 2f\n"
	"	rdmsr\n"
	"	mov %eax, (%rdi)\n"
	"	mov %edx, 4(%rdi)\n"
	"	add $8, %rsi\n"
	"	add $8, %rdi\n"
	"	jmp 1b\n"
	"2:	hlt\n"

	"3:	mov (%rsi), %ecx\n"
	"	cmp $-1, %ecx\n"
	"	je 4f\n"
	"	rdmsr\n"
	"	shl $32, %rdx\n"
	"	or %rdx, %rax\n"
	"	mov 4(%rsi), %edx\n"
	"	btc %rdx, %rax\n"
	"	mov %rax, %rdx\n"
	"	shr $32, %rdx\n"
	"	wrmsr\n"
	"	add $8, %rsi\n"
	"	jmp 3b\n"

	"4:	mov $" STR(HOSTILE_PAGES) ", %esi\n"
	"5:	mov (%rsi), %edi\n"
	"	test %edi, %edi\n"
	"	jz 6f\n"
	"	add %rsi, (%rdi)\n"
	"	add $4, %rsi\n"
	"	jmp 5b\n"

	"6:	mov $" STR(HOSTILE_XSAVE) ", %esi\n"
	"	mov $-1, %eax\n"
	"	mov $-1, %edx\n"
	"	xrstor64 (%rsi)\n"
	"	xor %ecx, %ecx\n"
	"	mov " IN(IN_XCR0) ", %eax\n"
	"	xor %edx, %edx\n"
	"	xsetbv\n"

	"	mov $" STR(HOSTILE_INPUT) " + " STR(IN_DR) ", %esi\n"
	"	mov (%rsi), %rax\n"
	"	mov %rax, %db0\n"
	"	mov 8(%rsi), %rax\n"
	"	mov %rax, %db1\n"
	"	mov 16(%rsi), %rax\n"
	"	mov %rax, %db2\n"
	"	mov 24(%rsi), %rax\n"
	"	mov %rax, %db3\n"
	"	mov 32(%rsi), %rax\n"
	"	mov %rax, %db6\n"
	"	mov 40(%rsi), %rax\n"
	"	mov %rax, %db7\n"

	"	lgdt " IN(IN_GDT) "\n"
	"	lidt " IN(IN_IDT) "\n"
	"	mov $0x3b, %eax\n"
	"	mov %eax, %es\n"
	"	mov $0x20, %eax\n"
	"	mov %eax, %fs\n"
	"	mov %eax, %ss\n"
	"	mov $0x10, %eax\n"
	"	mov %eax, %gs\n"
	"	xor %eax, %eax\n"
	"	mov %eax, %ds\n"
	"	mov $0x68, %eax\n"
	"	lldt %ax\n"
	"	mov $0x58, %eax\n"
	"	ltr %ax\n"

	"	mov $" STR(HOSTILE_INPUT) " + " STR(IN_CR) ", %esi\n"
	"	mov %cr0, %rax\n"
	"	xor (%rsi), %rax\n"
	"	mov %rax, %cr0\n"
	"	mov 8(%rsi), %rax\n"
	"	mov %rax, %cr2\n"
	"	mov %cr4, %rax\n"
	"	xor 16(%rsi), %rax\n"
	"	mov %rax, %cr4\n"
	"	mov 24(%rsi), %rax\n"
	"	mov %rax, %cr8\n"
	"	mov $" STR(HOSTILE_PML4) ", %eax\n"
	"	mov %rax, %cr3\n"

	"	push " IN(IN_RFLAGS) "\n"
	"	popf\n"
	"	mov $" STR(HOSTILE_INPUT) ", %eax\n"
	"	mov 0x08(%rax), %rcx\n"
	"	mov 0x10(%rax), %rdx\n"
	"	mov 0x18(%rax), %rbx\n"
	"	mov 0x20(%rax), %rsp\n"
	"	mov 0x28(%rax), %rbp\n"
	"	mov 0x30(%rax), %rsi\n"
	"	mov 0x38(%rax), %rdi\n"
	"	mov 0x40(%rax), %r8\n"
	"	mov 0x48(%rax), %r9\n"
	"	mov 0x50(%rax), %r10\n"
	"	mov 0x58(%rax), %r11\n"
	"	mov 0x60(%rax), %r12\n"
	"	mov 0x68(%rax), %r13\n"
	"	mov 0x70(%rax), %r14\n"
	"	mov 0x78(%rax), %r15\n"
	"	mov (%rax), %rax\n"
	"	out %eax, $0x10");

#undef IN

/* Fills in HOSTILE_MSRS. Returns how many there are, or -1. */
static inline int hostile_find_msrs(struct guest *g)
{
	static const __u32 ranges[][2] = {
		{ 0, 0x1fff }, { 0x40000000, 0x400000ff },
		{ 0x4b564d00, 0x4b564dff }, { 0xc0000000, 0xc0001fff },
		{ 0xc0010000, 0xc0011fff },
	};
	struct hostile_msr *found = guest_at(g, HOSTILE_MSRS);
	struct wisp_general *general = &g->page->state.general;
	__u64 end = HOSTILE_MSRS;

	for (unsigned int i = 0; i < sizeof(ranges) / sizeof(*ranges); i++) {
		GUEST_LOAD(g, LONG64, hostile_find);
		guest_trap(g)->action = GUEST_TRAP_RESUME;
		general->rdi = ranges[i][0];
		general->rsi = ranges[i][1];
		general->r14 = end;
		if (guest_run(g) != WISP_EXIT_HLT)
			return -1;
		end = general->r14;
	}
	end -= HOSTILE_MSRS;
	if (end > HOSTILE_MAX_MSRS * sizeof(*found))
		return -1;
	found[end / sizeof(*found)].index = ~0U;
	return end / sizeof(*found);
}

/* The guest stands at the HLT that it begins with. Returns as guest_run(). */
static inline int hostile_stand(struct guest *g)
{
	struct wisp_state *state = &g->page->state;

	memcpy(guest_at(g, HOSTILE_PML4), guest_at(g, GUEST_PML4), PAGE);
	GUEST_LOAD(g, LONG64, hostile);
	state->control.cr4 |= CR4_OSXSAVE;
	state->control.xcr0 = g->query.xcr0;
	state->msrs.kernel_gs_base = 0x1234;
	state->msrs.lstar = 0x5678;
	state->debug.dr0 = 0x9000;
	return guest_run(g);
}

static inline void hostile_fill_xsave(struct guest *g, __u64 *seed)
{
	__u8 *image = guest_at(g, HOSTILE_XSAVE);
	__u32 mxcsr = 0x1f80 | (random_next(seed) & 0x603f);
	__u64 components = g->query.xcr0 & ~(random_next(seed) & 4);

	for (unsigned int i = 0; i < g->query.xsave_size; i += 8)
		*(__u64 *)(image + i) = random_next(seed);
	memcpy(image + XSAVE_MXCSR, &mxcsr, sizeof(mxcsr));
	memset(image + XSAVE_HEADER, 0, 64);
	memcpy(image + XSAVE_HEADER, &components, sizeof(components));
}

static inline void hostile_fill(struct guest *g, __u64 *seed)
{
	struct hostile_input *in = guest_at(g, HOSTILE_INPUT);
	__u32 *pages = guest_at(g, HOSTILE_PAGES);
	unsigned int n = 1 + random_below(seed, 60);
	__u64 offset;

	for (int i = 0; i < 16; i++)
		in->general[i] = random_next(seed);
	for (int i = 0; i < 4; i++)
		in->dr[i] = 0xffff880000000000ULL | random_next(seed) >> 32;
	in->dr[4] = DR6_FIXED | (random_next(seed) & 0xf);
	/* What is armed at its exit TCG never takes down: it gets ever slower. */
	in->dr[5] = DR7_FIXED | (random_next(seed) &
				 (guest_on_tcg() ? 0xffff0300 : 0x3ff));
	in->cr[0] = random_next(seed) & (CR0_MP | CR0_TS | CR0_WP | CR0_AM);
	in->cr[1] = random_next(seed) >> 17;
	in->cr[2] = random_next(seed) & (CR4_TSD | CR4_DE | CR4_PGE);
	in->cr[3] = random_next(seed) & 0xf;
	/* CF, PF, AF, ZF, SF, DF, OF; IF as it must be on Bochs' SVM. */
	in->rflags = RFLAGS_FIXED | RFLAGS_IF | (random_next(seed) & 0xcd5);
	in->xcr0 = XCR0_X87 | (random_next(seed) & XCR0_SSE);
	in->gdt = (struct hostile_table){ .limit = 0x7f, .base = GUEST_GDT };
	in->idt = (struct hostile_table){ .limit = 0xeff, .base = GUEST_IDT };
	/* Some pages often, and any of them now and then. */
	for (unsigned int i = 0; i < n; i++) {
		offset = random_below(seed, GUEST_SIZE - HOSTILE_FREE);
		pages[i] = HOSTILE_FREE + ((offset >> random_below(seed, 8)) & ~7U);
	}
	pages[n] = 0;
	hostile_fill_xsave(g, seed);
}

/* What the guest cannot do itself: events that wait. Returns 0 or -errno. */
static inline int hostile_events(struct guest *g, __u64 *seed)
{
	struct wisp_state *state = calloc(1, sizeof(*state));
	int ret;

	if (!state)
		return -ENOMEM;
	state->events.interrupt.type = WISP_EVENT_INTERRUPT;
	state->events.interrupt.vector = random_next(seed);
	state->events.nmi_pending = random_next(seed) & 1;
	state->events.nmi_blocked = 1;
	ret = raw_set_state(g->vm, 0, WISP_STATE_EVENTS, state, NULL);
	free(state);
	return ret;
}

/* One guest, from the HLT to its end. Returns the exit's reason, or -errno. */
static inline int hostile_run(struct guest *g, __u64 seed)
{
	int ret;

	hostile_fill(g, &seed);
	g->page->want = 0;
	ret = guest_complete(g, 0);
	if (ret == WISP_EXIT_PORT && random_next(&seed) & 1)
		ret = hostile_events(g, &seed) ?: ret;
	return ret;
}

#endif
