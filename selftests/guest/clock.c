// SPDX-License-Identifier: GPL-2.0
/*
 * Clocks that stand still, and guests that do the same again.
 */
#include <cpuid.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "../harness.h"
#include "guest.h"
#include "../race/random.h"

#define ROUNDS		1000
#define EXITS		24	/* of each round */
#define VECTOR		0x40

/* Reads the TSC into RDX:RAX between one HLT and the next. */
SNIPPET(look, 64, "1: hlt; rdtsc; jmp 1b");

/* Ends with OUT when the TSC went back. */
SNIPPET(watch, 64,
	"	xor %ebx, %ebx\n"
	"1:	rdtsc\n"
	"	shl $32, %rdx\n"
	"	or %rdx, %rax\n"
	"	cmp %rbx, %rax\n"
	"	jb 2f\n"
	"	mov %rax, %rbx\n"
	"	incq " STR(GUEST_DATA) "\n"
	"	jmp 1b\n"
	"2:	out %al, $0x10");

SNIPPET(write_tsc, 64,
	"	hlt\n"
	"	mov $0x10, %ecx\n"
	"	mov $0x1234, %edx\n"
	"	xor %eax, %eax\n"
	"	wrmsr\n"
	"	rdtsc\n"
	"	hlt");

/* Each in its own page, first touched here, so that there are faults. */
SNIPPET(steps, 64,
	"	rdtsc\n"
	"	mov %eax, " STR(GUEST_DATA) "\n"
	"	rdtsc\n"
	"	mov %eax, " STR(GUEST_DATA) " + 0x1000\n"
	"	xor %eax, %eax\n"
	"	cpuid\n"
	"	rdtsc\n"
	"	mov %eax, " STR(GUEST_DATA) " + 0x2000\n"
	"	out %al, $0x10\n"
	"	rdtsc\n"
	"	mov %eax, " STR(GUEST_DATA) " + 0x3000\n"
	"	mov $0x10, %ecx\n"
	"	rdmsr\n"
	"	mov %eax, " STR(GUEST_DATA) " + 0x4000\n"
	"	mov " STR(GUEST_NOWHERE) ", %eax\n"
	"	rdtsc\n"
	"	mov %eax, " STR(GUEST_DATA) " + 0x5000\n"
	"	hlt");

SNIPPET(rdtscp, 64, "rdtscp; mov %rax, %rbx; rdtscp; hlt");
SNIPPET(rdrand, 64, "rdrand %eax; hlt");
SNIPPET(rdseed, 64, "rdseed %eax; hlt");
SNIPPET(ask_extended, 64, "mov $0x80000001, %eax; cpuid; hlt");
SNIPPET(ask, 64,
	"	mov $1, %eax\n"
	"	cpuid\n"
	"	mov %ecx, %esi\n"
	"	mov $7, %eax\n"
	"	xor %ecx, %ecx\n"
	"	cpuid\n"
	"	hlt");

/*
 * Pages in an order that depends on all that was before, the clock included;
 * then a port to write, one to read, and an address without a slot.
 */
SNIPPET(work, 64,
	"	sti\n"
	"	movabs $6364136223846793005, %r10\n"
	"	hlt\n"
	"1:	mov $16, %r8d\n"
	"2:	rdtsc\n"
	"	add %rax, %r9\n"
	"	imul %r10, %rbx\n"
	"	add %r9, %rbx\n"
	"	mov %rbx, %rsi\n"
	"	shr $40, %rsi\n"
	"	and $0xff, %esi\n"
	"	shl $12, %esi\n"
	"	add %r9, " STR(GUEST_DATA) "(%rsi)\n"
	"	xor " STR(GUEST_DATA) "(%rsi), %rbx\n"
	"	cvtsi2sd %rbx, %xmm0\n"
	"	addsd %xmm0, %xmm1\n"
	"	test $3, %bl\n"
	"	jnz 3f\n"
	"	mov %rbx, %r11\n"
	"	xor %eax, %eax\n"
	"	cpuid\n"
	"	mov %r11, %rbx\n"
	"3:	dec %r8d\n"
	"	jnz 2b\n"
	"	mov %r9d, %eax\n"
	"	out %eax, $0x10\n"
	"	in $0x11, %eax\n"
	"	add %rax, %rbx\n"
	"	mov $" STR(GUEST_NOWHERE) ", %edi\n"
	"	mov (%rdi), %rcx\n"
	"	add %rcx, %rbx\n"
	"	jmp 1b");

#define LOAD_LENGTH	7	/* of "mov GUEST_NOWHERE, %eax" */
#define MMIO_LENGTH	3	/* of the access to GUEST_NOWHERE */

static __u64 tsc_of(int fd)
{
	struct wisp_state *state = malloc(sizeof(*state));
	__u64 tsc = ~0ULL;

	if (state && !raw_get_state(fd, 0, WISP_STATE_MSRS, state))
		tsc = state->msrs.tsc;
	free(state);
	return tsc;
}

static __u64 edx_eax(const struct wisp_vcpu_page *page)
{
	const struct wisp_general *general = &page->state.general;

	return general->rdx << 32 | (__u32)general->rax;
}

/* ---- stopped ------------------------------------------------------------- */

FIXTURE(stopped) {
	struct guest g;
};

FIXTURE_SETUP(stopped)
{
	struct wisp_create_vm arg = { .flags = WISP_VM_STOPPED_CLOCK };

	ASSERT_EQ(0, guest_create_as(&self->g, &arg));
}

FIXTURE_TEARDOWN(stopped)
{
	guest_destroy(&self->g);
}

TEST_F(stopped, stands_still_between_runs)
{
	__u64 least = ~0ULL, ticks = self->g.query.tsc_khz * 200ULL;
	__u64 before, passed;

	GUEST_LOAD(&self->g, LONG64, look);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	for (int round = 0; round < 5; round++) {
		before = tsc_of(self->g.vm);
		usleep(200000);
		ASSERT_EQ(before, tsc_of(self->g.vm));
		ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));
		passed = edx_eax(self->g.page) - before;
		least = passed < least ? passed : least;
		ASSERT_LT(edx_eax(self->g.page), tsc_of(self->g.vm));
	}
	/* A run may be interrupted; five of them, each as long as the sleep? */
	EXPECT_LT(0ULL, least);
	EXPECT_GT(ticks / 2, least);
}

TEST_F(stopped, comes_back_with_a_reset)
{
	__u64 was;
	int s, fork;

	GUEST_LOAD(&self->g, LONG64, look);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	was = tsc_of(self->g.vm);
	s = raw_snapshot(self->g.vm);
	ASSERT_LE(0, s);
	EXPECT_EQ(was, tsc_of(s));
	EXPECT_EQ(was, tsc_of(self->g.vm));
	for (int round = 0; round < 10; round++) {
		ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));
		EXPECT_LT(was, edx_eax(self->g.page));
		EXPECT_LT(was, tsc_of(self->g.vm));
		ASSERT_EQ(0, raw_reset(self->g.vm, s));
		EXPECT_EQ(was, tsc_of(self->g.vm));
	}
	fork = raw_fork(self->g.sys, s);
	ASSERT_LE(0, fork);
	EXPECT_EQ(was, tsc_of(fork));
	close(fork);
	close(s);
}

TEST_F(stopped, can_be_set)
{
	struct wisp_vcpu_page *page = self->g.page;

	GUEST_LOAD(&self->g, LONG64, write_tsc);
	page->state.msrs.tsc = 0x5678ULL << 32;
	ASSERT_EQ(0, raw_set_state(self->g.vm, 0, WISP_STATE_MSRS, &page->state,
				   NULL));
	EXPECT_EQ(0x5678ULL << 32, tsc_of(self->g.vm));
	page->dirty &= ~WISP_STATE_MSRS;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ(0x5678U, page->state.msrs.tsc >> 32);
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));
	EXPECT_EQ(0x1234U, page->state.general.rdx);
	EXPECT_EQ(0x1234U, tsc_of(self->g.vm) >> 32);
}

/* Over a window's end, too. */
TEST_F(stopped, never_goes_back)
{
	struct guest_thread t;

	GUEST_LOAD(&self->g, LONG64, watch);
	for (int round = 0; round < 50; round++) {
		guest_thread_start(&t, &self->g, 0);
		guest_wait_counting(&self->g, GUEST_DATA);
		raw_kick(self->g.vm, 0);
		ASSERT_EQ(WISP_EXIT_KICKED, guest_thread_join(&t));
	}
}

/* ---- deterministic ------------------------------------------------------- */

FIXTURE(deterministic) {
	struct guest g;
	bool stop;
};

FIXTURE_SETUP(deterministic)
{
	struct wisp_create_vm arg = { .flags = WISP_VM_DETERMINISTIC };

	ASSERT_EQ(0, guest_create_as(&self->g, &arg));
	self->g.page->budget_ns = 0;
}

FIXTURE_TEARDOWN(deterministic)
{
	guest_destroy(&self->g);
}

static __u32 word(struct guest *g, int page)
{
	return *(__u32 *)guest_at(g, GUEST_DATA + page * PAGE);
}

/* What is read, what exits, and nothing else. */
TEST_F(deterministic, the_counter)
{
	struct guest *g = &self->g;

	GUEST_LOAD(g, LONG64, steps);
	g->page->state.msrs.tsc = 0x1000;
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(g));
	usleep(1000);
	ASSERT_EQ(WISP_EXIT_MEMORY, guest_complete(g, 0));
	/* The VMM has read it. */
	g->page->state.general.rip += LOAD_LENGTH;
	g->page->dirty = WISP_STATE_GENERAL;
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(g, 0));
	EXPECT_EQ(0x1000U, word(g, 0));
	EXPECT_EQ(WISP_TICKS_PER_READ, word(g, 1) - word(g, 0));
	EXPECT_EQ(WISP_TICKS_PER_READ + WISP_TICKS_PER_EXIT,
		  word(g, 2) - word(g, 1));
	EXPECT_EQ(WISP_TICKS_PER_READ + WISP_TICKS_PER_EXIT,
		  word(g, 3) - word(g, 2));
	EXPECT_EQ(WISP_TICKS_PER_READ + WISP_TICKS_PER_EXIT,
		  word(g, 4) - word(g, 3));
	EXPECT_EQ(WISP_TICKS_PER_EXIT, word(g, 5) - word(g, 4));
	EXPECT_EQ(word(g, 5) + WISP_TICKS_PER_READ + WISP_TICKS_PER_EXIT, tsc_of(g->vm));
	usleep(1000);
	EXPECT_EQ(word(g, 5) + WISP_TICKS_PER_READ + WISP_TICKS_PER_EXIT, tsc_of(g->vm));
}

SNIPPET(jmp_tss, 32, "ljmp $0x58, $0");

TEST_F(deterministic, counts_task_switches)
{
	if (guest_on_tcg())
		SKIP(return, "TCG: it switches tasks itself");
	GUEST_LOAD(&self->g, PROTECTED32, jmp_tss);
	ASSERT_EQ(WISP_EXIT_TASK_SWITCH, guest_run(&self->g));
	EXPECT_EQ(WISP_TICKS_PER_EXIT, tsc_of(self->g.vm));
}

static bool has_rdtscp(struct guest *g)
{
	GUEST_LOAD(g, LONG64, ask_extended);
	return guest_run(g) == WISP_EXIT_HLT &&
	       g->page->state.general.rdx & 1U << 27;
}

TEST_F(deterministic, rdtscp)
{
	struct wisp_general *general = &self->g.page->state.general;

	if (guest_on_tcg())
		SKIP(return, "TCG: RDTSCP exits as RDTSC");
	if (!has_rdtscp(&self->g))
		SKIP(return, "guests have no RDTSCP");
	GUEST_LOAD(&self->g, LONG64, rdtscp);
	self->g.page->state.msrs.tsc_aux = 77;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ(77U, general->rcx);
	EXPECT_EQ(WISP_TICKS_PER_READ, general->rax - general->rbx);
}

TEST_F(deterministic, hides_random_numbers)
{
	struct wisp_general *general = &self->g.page->state.general;
	__u32 eax, ebx, ecx = 0, edx;

	GUEST_LOAD(&self->g, LONG64, ask);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ(0U, general->rsi & 1U << 30);
	EXPECT_EQ(0U, general->rbx & 1U << 18);

	__cpuid(1, eax, ebx, ecx, edx);
	if (self->g.query.quirks & WISP_QUIRK_RANDOM) {
		EXPECT_EQ(WISP_BACKEND_SVM, self->g.query.backend);
		return;
	}
	/* What SVM cannot intercept, the CPU does not have. */
	if (self->g.query.backend == WISP_BACKEND_SVM)
		EXPECT_EQ(0U, ecx & 1U << 30);
	GUEST_LOAD(&self->g, LONG64, rdrand);
	guest_run(&self->g);
	EXPECT_TRUE(guest_has_trapped(&self->g, 6));
	GUEST_LOAD(&self->g, LONG64, rdseed);
	guest_run(&self->g);
	EXPECT_TRUE(guest_has_trapped(&self->g, 6));
}

TEST_F(deterministic, refuses_what_is_not)
{
	struct wisp_create_vm arg = {
		.size = sizeof(arg),
		.flags = WISP_VM_DETERMINISTIC | WISP_VM_STOPPED_CLOCK,
	};
	struct wisp_vcpu_page *page = NULL;

	EXPECT_EQ(-EINVAL, raw(self->g.sys, WISP_CREATE_VM, &arg));
	EXPECT_EQ(-EINVAL, raw_create_vcpu(self->g.vm, 1, &page));
	EXPECT_EQ(-EEXIST, raw_create_vcpu(self->g.vm, 0, &page));
	GUEST_LOAD(&self->g, LONG64, look);
	self->g.page->budget_ns = 1;
	EXPECT_EQ(-EINVAL, guest_run(&self->g));
	EXPECT_EQ(WISP_FIELD(budget_ns), self->g.page->field);
	self->g.page->budget_ns = 0;
	EXPECT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
}

static bool stopped(struct _test_data_deterministic *self)
{
	return __atomic_load_n(&self->stop, __ATOMIC_ACQUIRE);
}

/* Wherever it is: the fork that runs, or the VM that does not. */
static void *kick(void *data)
{
	struct _test_data_deterministic *self = data;
	__u64 seed = 3;

	while (!stopped(self)) {
		for (__u64 i = random_below(&seed, 3000); i; i--)
			asm volatile("pause");
		raw_kick(self->g.vm, 0);
	}
	return NULL;
}

static void *keep_busy(void *data)
{
	guest_pin(1);
	while (!stopped(data))
		free(calloc(1, 65536));
	return NULL;
}

static __u64 hash(__u64 h, const void *data, size_t size)
{
	for (const __u64 *p = data; size >= 8; size -= 8, p++)
		h = (h ^ *p) * 0x100000001b3ULL;
	return h;
}

struct round {
	__u64 reasons[EXITS];
	__u64 hashes[EXITS];
	int kicked;
};

/* What the VMM does at an exit depends on @seed only. */
static void answer(struct wisp_vcpu_page *page, __u64 *seed)
{
	page->reply = random_next(seed);
	if (page->exit.reason == WISP_EXIT_MEMORY) {
		page->state.general.rip += MMIO_LENGTH;
		page->state.general.rcx = page->reply;
		page->dirty = WISP_STATE_GENERAL;
	} else {
		page->complete = 1;
	}
	if (!(page->reply & 3) && !(page->exit.flags & WISP_EXIT_INTR_PENDING)) {
		page->inject.type = WISP_EVENT_INTERRUPT;
		page->inject.vector = VECTOR;
	}
}

/* Returns 0 or what a run returned. */
static int go_round(int vm, struct wisp_vcpu_page *page, struct round *r)
{
	__u64 seed = 7;
	int ret;

	page->exit.reason = WISP_EXIT_HLT;
	page->exit.flags = 0;
	page->want = STATE_ALL;
	for (int i = 0; i < EXITS; i++) {
		answer(page, &seed);
		while (!(ret = raw_run(vm, 0)) &&
		       page->exit.reason == WISP_EXIT_KICKED)
			r->kicked++;
		if (ret)
			return ret;
		r->reasons[i] = page->exit.reason;
		r->hashes[i] = hash(0, &page->exit, sizeof(page->exit));
		r->hashes[i] = hash(r->hashes[i], &page->state,
				    sizeof(page->state));
	}
	return 0;
}

static int go_fork(struct guest *g, int snapshot, struct round *r)
{
	struct wisp_vcpu_page *page;
	int vm = raw_fork(g->sys, snapshot), ret = -EIO;

	if (vm < 0)
		return vm;
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, vm, 0);
	if (page != MAP_FAILED) {
		ret = go_round(vm, page, r);
		munmap(page, PAGE);
	}
	close(vm);
	return ret;
}

/*
 * In the first round nothing is mapped, in most of the others all of it is; a
 * fork has nothing of its own. Exits come with all registers.
 */
TEST_F(deterministic, does_the_same_again)
{
	struct round first = {}, now;
	pthread_t threads[2];
	int s, kicked = 0;

	GUEST_LOAD(&self->g, LONG64, work);
	guest_trap(&self->g)->action = GUEST_TRAP_RETURN;
	self->g.page->state.general.rbx = 1;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	s = raw_snapshot(self->g.vm);
	ASSERT_LE(0, s);
	ASSERT_EQ(0, go_fork(&self->g, s, &first));
	EXPECT_EQ(WISP_EXIT_PORT, first.reasons[0]);
	EXPECT_EQ(WISP_EXIT_MEMORY, first.reasons[2]);

	ASSERT_EQ(0, pthread_create(&threads[0], NULL, kick, self));
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, keep_busy, self));
	for (int round = 0; round < ROUNDS; round++) {
		now = (struct round){};
		if (round % 8 == 7) {
			ASSERT_EQ(0, go_fork(&self->g, s, &now));
		} else {
			ASSERT_EQ(0, raw_reset(self->g.vm, s));
			ASSERT_EQ(0, go_round(self->g.vm, self->g.page, &now));
		}
		for (int i = 0; i < EXITS; i++) {
			ASSERT_EQ(first.reasons[i], now.reasons[i])
				TH_LOG("round %d, exit %d", round, i);
			ASSERT_EQ(first.hashes[i], now.hashes[i])
				TH_LOG("round %d, exit %d", round, i);
		}
		kicked += now.kicked;
	}
	__atomic_store_n(&self->stop, true, __ATOMIC_RELEASE);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	EXPECT_LT(ROUNDS / 20, kicked);
	/* The handler was there. */
	EXPECT_LT(0U, guest_trap(&self->g)->count);
	close(s);
}

TEST_HARNESS_MAIN
