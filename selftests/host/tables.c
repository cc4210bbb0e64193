// SPDX-License-Identifier: GPL-2.0
/*
 * What of the host's state an exit of VMX does not load, so that the driver has to:
 * the limits of GDTR, IDTR and TR, LDTR, and selectors for user mode in DS, ES, FS
 * and GS. A guest that has others in all of them runs, and the process goes on with
 * its own: ports behind the end of a short TSS, segments of its LDT.
 */
#include <asm/hwcap2.h>
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/io.h>
#include <sys/syscall.h>

#include "../harness.h"
#include "host.h"

#define ROUNDS		20
/* POST's, and the last one: its bit is at the end of the longest TSS. */
#define PORT_LOW	0x80
#define PORT_HIGH	0xffff
#define NO_PORT		0x81

/* The last of Linux' GDT, by whose limit LSL finds the number of the CPU. */
#define LAST_SELECTOR	0x7b
#define USER_DS		0x2b
/* Of entry @n of the LDT, at CPL 3. */
#define IN_LDT(n)	((n) << 3 | 7)

SNIPPET(once, 64, "1: hlt; jmp 1b");

static sigjmp_buf fault;

static void on_fault(int signal)
{
	siglongjmp(fault, signal);
}

/* A guest whose tables, segments and TSS are others than the host's. */
static int run_once(struct guest *g)
{
	GUEST_LOAD(g, LONG64, once);
	return guest_run(g);
}

FIXTURE(tables) {
	struct guest g;
};

FIXTURE_SETUP(tables)
{
	struct sigaction action = { .sa_handler = on_fault };

	ASSERT_EQ(0, guest_pin(0));
	ASSERT_EQ(0, sigaction(SIGSEGV, &action, NULL));
	ASSERT_EQ(0, guest_create(&self->g));
}

FIXTURE_TEARDOWN(tables)
{
	guest_destroy(&self->g);
}

/* ---- TR ------------------------------------------------------------------- */

/* What IN does there: 0, or the signal that it raises. */
static int in(unsigned short port)
{
	int signal = sigsetjmp(fault, 1);

	if (!signal)
		inb(port);
	return signal;
}

static bool has_its_ports(void)
{
	return !in(PORT_LOW) && !in(PORT_HIGH) && in(NO_PORT) == SIGSEGV;
}

static int get_ports(void)
{
	return ioperm(PORT_LOW, 1, 1) ?: ioperm(PORT_HIGH, 1, 1);
}

/* The thread that runs the guest has ports. */
TEST_F(tables, ports_of_who_runs_it)
{
	ASSERT_EQ(SIGSEGV, in(PORT_LOW));
	ASSERT_EQ(0, get_ports());
	for (int i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(WISP_EXIT_HLT, run_once(&self->g));
		ASSERT_TRUE(has_its_ports())
			TH_LOG("round %d", i);
	}
	ASSERT_EQ(0, ioperm(PORT_LOW, 1, 0));
	ASSERT_EQ(0, ioperm(PORT_HIGH, 1, 0));
	ASSERT_EQ(WISP_EXIT_HLT, run_once(&self->g));
	EXPECT_EQ(SIGSEGV, in(PORT_LOW));
}

struct other {
	sem_t turn, done;
	bool is_last, passed;
};

static void *use_ports(void *data)
{
	struct other *o = data;

	o->passed = !guest_pin(0) && !get_ports();
	sem_post(&o->done);
	for (;;) {
		sem_wait(&o->turn);
		if (o->is_last)
			return NULL;
		o->passed = o->passed && has_its_ports();
		sem_post(&o->done);
	}
}

/* Another one has, which has the CPU next. */
TEST_F(tables, ports_of_another_thread)
{
	struct other o = { 0 };
	pthread_t thread;

	ASSERT_EQ(0, sem_init(&o.turn, 0, 0));
	ASSERT_EQ(0, sem_init(&o.done, 0, 0));
	ASSERT_EQ(0, pthread_create(&thread, NULL, use_ports, &o));
	sem_wait(&o.done);
	for (int i = 0; i < ROUNDS; i++) {
		EXPECT_EQ(WISP_EXIT_HLT, run_once(&self->g));
		EXPECT_EQ(SIGSEGV, in(PORT_LOW));
		sem_post(&o.turn);
		sem_wait(&o.done);
	}
	o.is_last = true;
	sem_post(&o.turn);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_TRUE(o.passed);
}

/* ---- LDTR and selectors --------------------------------------------------- */

struct segments {
	__u16 ds, es, fs, gs;
	/* To be read by FS and GS, at these offsets; what was read there. */
	__u64 fs_word, gs_word;
	/* By WRFSBASE and WRGSBASE: others than the descriptors'. */
	__u64 has_bases, fs_base, gs_base;
};

/*
 * RUN with selectors of ours, and what user mode has behind it. FS is the C
 * library's otherwise, so that what is in between is one piece of assembler.
 */
static long run_with(int vm, const struct segments *with, struct segments *after)
{
	register const struct segments *r8 asm("r8");
	register struct segments *r9 asm("r9");
	register unsigned long r12 asm("r12");
	unsigned long fs_base;
	long ret = SYS_ioctl, rdi = vm, rsi = WISP_RUN;

	if (syscall(SYS_arch_prctl, ARCH_GET_FS, &fs_base))
		return -errno;
	r8 = with;
	r9 = after;
	r12 = fs_base;
	asm volatile("movw (%%r8), %%ds\n\t"
		     "movw 2(%%r8), %%es\n\t"
		     "movw 4(%%r8), %%fs\n\t"
		     "movw 6(%%r8), %%gs\n\t"
		     "cmpq $0, 24(%%r8)\n\t"
		     "je 1f\n\t"
		     "movq 32(%%r8), %%rcx\n\t"
		     "wrfsbase %%rcx\n\t"
		     "movq 40(%%r8), %%rcx\n\t"
		     "wrgsbase %%rcx\n"
		     "1:\n\t"
		     "syscall\n\t"
		     "movw %%ds, (%%r9)\n\t"
		     "movw %%es, 2(%%r9)\n\t"
		     "movw %%fs, 4(%%r9)\n\t"
		     "movw %%gs, 6(%%r9)\n\t"
		     "movq 8(%%r8), %%rdi\n\t"
		     "movq %%fs:(%%rdi), %%rdi\n\t"
		     "movq %%rdi, 8(%%r9)\n\t"
		     "movq 16(%%r8), %%rdi\n\t"
		     "movq %%gs:(%%rdi), %%rdi\n\t"
		     "movq %%rdi, 16(%%r9)\n\t"
		     "movq %%rax, %%r10\n\t"
		     "xorl %%eax, %%eax\n\t"
		     "movl %%eax, %%ds\n\t"
		     "movl %%eax, %%es\n\t"
		     "movl %%eax, %%gs\n\t"
		     "movl %[prctl], %%eax\n\t"
		     "movl %[set_fs], %%edi\n\t"
		     "movq %%r12, %%rsi\n\t"
		     "syscall\n\t"
		     "movq %%r10, %%rax"
		     : "+a" (ret), "+D" (rdi), "+S" (rsi)
		     : "d" (0L), "r" (r8), "r" (r9), "r" (r12),
		       [prctl] "i" (SYS_arch_prctl), [set_fs] "i" (ARCH_SET_FS)
		     : "rcx", "r10", "r11", "memory");
	return ret;
}

static __u64 fs_word = 0x1111, gs_word = 0x2222;

static void expect_kept(struct __test_metadata *_metadata, struct guest *g,
			const struct segments *with)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct segments after = { 0 };

		GUEST_LOAD(g, LONG64, once);
		ASSERT_EQ(0, run_with(g->vm, with, &after));
		ASSERT_EQ(WISP_EXIT_HLT, (int)g->page->exit.reason);
		EXPECT_EQ(with->ds, after.ds);
		EXPECT_EQ(with->es, after.es);
		EXPECT_EQ(with->fs, after.fs);
		EXPECT_EQ(with->gs, after.gs);
		EXPECT_EQ(fs_word, after.fs_word);
		EXPECT_EQ(gs_word, after.gs_word);
	}
}

TEST_F(tables, segments_of_the_gdt)
{
	const struct segments with = {
		.ds = USER_DS, .es = USER_DS, .fs = USER_DS, .gs = USER_DS,
		.fs_word = (uintptr_t)&fs_word, .gs_word = (uintptr_t)&gs_word,
	};

	expect_kept(_metadata, &self->g, &with);
}

TEST_F(tables, bases_of_their_own)
{
	const struct segments with = {
		.fs = USER_DS, .gs = USER_DS, .has_bases = 1,
		.fs_base = (uintptr_t)&fs_word, .gs_base = (uintptr_t)&gs_word,
	};

	if (!(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE))
		SKIP(return, "no WRFSBASE");
	expect_kept(_metadata, &self->g, &with);
}

static int set_entry(unsigned int n, const void *base, unsigned int limit)
{
	struct user_desc entry = {
		.entry_number = n, .base_addr = (uintptr_t)base, .limit = limit,
		.seg_32bit = 1, .useable = 1,
	};

	return syscall(SYS_modify_ldt, 1, &entry, sizeof(entry)) ? -errno : 0;
}

/* A segment's limit, or -1 where there is none. */
static __s64 limit_of(__u64 selector)
{
	__u64 limit = 0;
	bool is_there;

	asm("lsl %2, %0" : "+r" (limit), "=@ccz" (is_there) : "r" (selector));
	return is_there ? (__s64)limit : -1;
}

/* Each entry has another limit, so that LDTR is seen to lead to this LDT. */
TEST_F(tables, segments_of_the_ldt)
{
	const struct segments with = {
		.ds = IN_LDT(0), .es = IN_LDT(1), .fs = IN_LDT(2), .gs = IN_LDT(3),
	};
	const void *bases[] = { NULL, NULL, &fs_word, &gs_word };

	for (int n = 0; n < 4; n++)
		ASSERT_EQ(0, set_entry(n, bases[n], 0x1000 + n));
	expect_kept(_metadata, &self->g, &with);
	for (int n = 0; n < 4; n++)
		EXPECT_EQ(0x1000 + n, limit_of(IN_LDT(n)));
	/* LDTR, that is: none of them is in a register now. */
	ASSERT_EQ(WISP_EXIT_HLT, run_once(&self->g));
	for (int n = 0; n < 4; n++)
		EXPECT_EQ(0x1000 + n, limit_of(IN_LDT(n)));
	EXPECT_EQ(-1, limit_of(IN_LDT(4)));
}

/* A base without a selector: KERNEL_GS_BASE, while the kernel runs. */
TEST_F(tables, a_base_of_gs)
{
	__u64 seen;

	ASSERT_EQ(0, syscall(SYS_arch_prctl, ARCH_SET_GS, &gs_word));
	for (int i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(WISP_EXIT_HLT, run_once(&self->g));
		asm volatile("movq %%gs:0, %0" : "=r" (seen));
		EXPECT_EQ(gs_word, seen);
	}
	ASSERT_EQ(0, syscall(SYS_arch_prctl, ARCH_SET_GS, 0));
}

/* ---- GDTR and IDTR -------------------------------------------------------- */

struct table {
	__u16 limit;
	__u64 base;
} __attribute__((packed));

/* Whether user mode may look: else the kernel makes up what it sees. */
static bool has_umip(void)
{
	__u32 eax = 7, ebx, ecx = 0, edx;

	asm("cpuid" : "+a" (eax), "=b" (ebx), "+c" (ecx), "=d" (edx));
	return ecx & 1 << 2;
}

TEST_F(tables, are_where_they_were)
{
	struct table gdt, idt, gdt_now, idt_now;
	__u64 ldt, tr, ldt_now, tr_now;
	__s64 last = limit_of(LAST_SELECTOR);

	ASSERT_LE(0, last);
	for (int i = 0; i < ROUNDS; i++) {
		if (!has_umip())
			asm volatile("sgdt %0; sidt %1; sldt %2; str %3"
				     : "=m" (gdt), "=m" (idt), "=r" (ldt),
				       "=r" (tr));
		ASSERT_EQ(WISP_EXIT_HLT, run_once(&self->g));
		EXPECT_EQ(last, limit_of(LAST_SELECTOR));
		if (has_umip())
			continue;
		asm volatile("sgdt %0; sidt %1; sldt %2; str %3"
			     : "=m" (gdt_now), "=m" (idt_now), "=r" (ldt_now),
			       "=r" (tr_now));
		EXPECT_EQ(gdt.base, gdt_now.base);
		/* It is never loaded again: what a run leaves is there before the next. */
		EXPECT_EQ(LAST_SELECTOR | 7, gdt_now.limit);
		EXPECT_EQ(idt.base, idt_now.base);
		EXPECT_EQ(idt.limit, idt_now.limit);
		EXPECT_EQ(ldt, ldt_now);
		EXPECT_EQ(tr, tr_now);
	}
}

TEST_HARNESS_MAIN
