// SPDX-License-Identifier: GPL-2.0
/*
 * Snapshots are taken and reset to while other threads write the memory, change
 * the layout and run the guest.
 */
#include <sched.h>
#include <stdlib.h>

#include "../harness.h"
#include "../life/life.h"
#include "random.h"

#define NPAGES	64
#define BASE	0x100000	/* of the pages that are used */
#define MAGIC	0xabcd000000000000ULL
#define ROUNDS	400
/* Longer than a time slice, where two guests share a CPU. */
#define PASSES	2000

SNIPPET(spin, 64, "1: incq " STR(GUEST_DATA) "; jmp 1b");
/* Fills the pages with RBX and looks, R8 times; says where it found another. */
SNIPPET(fill, 64,
	"	hlt\n"
	"1:	mov $" STR(NPAGES) ", %ecx\n"
	"	mov $" STR(BASE) ", %esi\n"
	"2:	mov %rbx, (%rsi)\n"
	"	add $0x1000, %rsi\n"
	"	loop 2b\n"
	"	mov $" STR(NPAGES) ", %ecx\n"
	"	mov $" STR(BASE) ", %esi\n"
	"3:	cmp %rbx, (%rsi)\n"
	"	jne 4f\n"
	"	add $0x1000, %rsi\n"
	"	loop 3b\n"
	"	dec %r8\n"
	"	jnz 1b\n"
	"	hlt\n"
	"4:	out %al, $0x10");

/* Sums the first words of the pages up in RAX. */
SNIPPET(sum, 64,
	"	xor %eax, %eax\n"
	"	mov $" STR(NPAGES) ", %ecx\n"
	"	mov $" STR(BASE) ", %esi\n"
	"1:	add (%rsi), %rax\n"
	"	add $0x1000, %rsi\n"
	"	loop 1b\n"
	"	hlt");

FIXTURE(snapshots) {
	struct guest g;
	int snapshot;
	bool stop;
	int wrong;
};

FIXTURE_SETUP(snapshots)
{
	ASSERT_EQ(0, guest_create(&self->g));
	for (__u64 i = 0; i < NPAGES; i++)
		*(__u64 *)guest_at(&self->g, BASE + i * PAGE) = MAGIC | i;
	self->snapshot = raw_snapshot(self->g.vm);
	ASSERT_LE(0, self->snapshot);
}

FIXTURE_TEARDOWN(snapshots)
{
	EXPECT_EQ(0, self->wrong);
	close(self->snapshot);
	guest_destroy(&self->g);
}

static void wrong(struct _test_data_snapshots *self)
{
	__atomic_fetch_add(&self->wrong, 1, __ATOMIC_RELAXED);
}

static bool stopped(struct _test_data_snapshots *self)
{
	return __atomic_load_n(&self->stop, __ATOMIC_ACQUIRE);
}

/* All pages are as they were when the snapshot was taken. */
static void expect_base(struct __test_metadata *_metadata, int fd)
{
	__u64 word;

	for (__u64 i = 0; i < NPAGES; i++) {
		ASSERT_EQ(8, pread(fd, &word, 8, BASE + i * PAGE));
		EXPECT_EQ(MAGIC | i, word);
	}
}

/* The guest's tables lead to them, too. */
static void expect_base_in_guest(struct __test_metadata *_metadata, struct guest *g)
{
	__u64 want = 0;

	for (__u64 i = 0; i < NPAGES; i++)
		want += MAGIC | i;
	GUEST_LOAD(g, LONG64, sum);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(g));
	EXPECT_EQ(want, g->page->state.general.rax);
}

/* The guest has the pages in its tables, if nobody takes them out or protects them. */
static void fill_by_guest(struct __test_metadata *_metadata, struct guest *g)
{
	GUEST_LOAD(g, LONG64, fill);
	g->page->state.general.rbx = 3;
	g->page->state.general.r8 = 1;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(g));
	ASSERT_LT(0, guest_complete(g, 0));
}

/* By all ways that a VMM has. */
static void *write_all(void *data)
{
	struct wisp_discard discard = { .size = sizeof(discard), .discard_size = PAGE };
	struct _test_data_snapshots *self = data;
	__u64 seed = 1;

	while (!stopped(self)) {
		__u64 at = BASE + random_below(&seed, NPAGES) * PAGE, word = 7;
		char *p;

		switch (random_below(&seed, 5)) {
		case 0:
			*(volatile __u64 *)guest_at(&self->g, at) = 5;
			break;
		case 1:
			if (pwrite(self->g.fd, &word, 8, at) != 8)
				wrong(self);
			break;
		case 2:
			/* EFAULT where the slot is gone. */
			if (pwrite(self->g.vm, &word, 8, at) != 8 &&
			    errno != EFAULT)
				wrong(self);
			break;
		case 3:
			discard.offset = at;
			if (raw(self->g.fd, WISP_DISCARD, &discard))
				wrong(self);
			break;
		default:
			p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE,
				 MAP_SHARED, self->g.fd, at);
			*(volatile __u64 *)p = 6;
			munmap(p, 4 * PAGE);
			break;
		}
	}
	return NULL;
}

/* Slots other than that of the machine, protections, forks that end at once. */
static void *change_layout(void *data)
{
	struct wisp_protect_range range = {
		.gpa = BASE, .range_size = NPAGES * PAGE,
	};
	struct _test_data_snapshots *self = data;
	__u64 seed = 2;
	int ret;

	while (!stopped(self)) {
		switch (random_below(&seed, 4)) {
		case 0:
			ret = raw_set_slot(self->g.vm, 1, 0x1000000, 64 * PAGE,
					   self->g.fd, BASE, PROT_RW);
			break;
		case 1:
			ret = raw_remove_slot(self->g.vm, 1);
			ret = ret == -ENOENT ? 0 : ret;
			break;
		case 2:
			range.prot = random_next(&seed) & 1 ? PROT_R : PROT_RWX;
			ret = raw_protect(self->g.vm, &range, 1);
			break;
		default:
			ret = raw_fork(self->g.sys, self->snapshot);
			close(ret);
			ret = ret < 0 ? ret : 0;
			break;
		}
		if (ret)
			wrong(self);
	}
	return NULL;
}

static void beside(struct __test_metadata *_metadata,
		   struct _test_data_snapshots *self, void *(*what)(void *data),
		   pthread_t *thread)
{
	ASSERT_EQ(0, pthread_create(thread, NULL, what, self));
}

static void end(struct _test_data_snapshots *self, pthread_t *threads, int n)
{
	__atomic_store_n(&self->stop, true, __ATOMIC_RELEASE);
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
}

TEST_F(snapshots, reset_while_written)
{
	pthread_t threads[2];

	beside(_metadata, self, write_all, &threads[0]);
	beside(_metadata, self, change_layout, &threads[1]);
	for (int i = 0; i < ROUNDS; i++) {
		if (i % 4)
			fill_by_guest(_metadata, &self->g);
		ASSERT_EQ(0, raw_reset(self->g.vm, self->snapshot));
	}
	end(self, threads, 2);
	ASSERT_EQ(0, raw_reset(self->g.vm, self->snapshot));
	expect_base(_metadata, self->g.vm);
	expect_base_in_guest(_metadata, &self->g);
	expect_base(_metadata, self->snapshot);
}

TEST_F(snapshots, taken_while_written)
{
	pthread_t threads[2];
	__u64 before, after;
	int s;

	beside(_metadata, self, write_all, &threads[0]);
	beside(_metadata, self, change_layout, &threads[1]);
	for (int i = 0; i < ROUNDS; i++) {
		__u64 at = BASE + i % NPAGES * PAGE;

		if (i % 4)
			fill_by_guest(_metadata, &self->g);
		s = raw_snapshot(self->g.vm);
		ASSERT_LE(0, s);
		/* Whatever it is, it stays. */
		ASSERT_EQ(8, pread(s, &before, 8, at));
		sched_yield();
		ASSERT_EQ(8, pread(s, &after, 8, at));
		EXPECT_EQ(before, after);
		close(s);
	}
	end(self, threads, 2);
	ASSERT_EQ(0, raw_reset(self->g.vm, self->snapshot));
	expect_base(_metadata, self->g.vm);
	expect_base_in_guest(_metadata, &self->g);
	expect_base(_metadata, self->snapshot);
}

/* Nothing of it is lost, and nothing gets to where it is not to be. */
static void *count_by_mapping(void *data)
{
	struct _test_data_snapshots *self = data;
	volatile __u64 *word = guest_at(&self->g, BASE);

	for (__u64 n = *word; !stopped(self); n++) {
		if (*word != n)
			wrong(self);
		*word = n + 1;
	}
	return NULL;
}

TEST_F(snapshots, taken_of_a_counter)
{
	__u64 before, after;
	pthread_t thread;
	int s;

	beside(_metadata, self, count_by_mapping, &thread);
	for (int i = 0; i < ROUNDS / 4; i++) {
		s = raw_snapshot(self->g.vm);
		ASSERT_LE(0, s);
		ASSERT_EQ(8, pread(s, &before, 8, BASE));
		guest_wait_counting(&self->g, BASE);
		EXPECT_TRUE(guest_is_dirty(self->g.vm, BASE));
		ASSERT_EQ(8, pread(s, &after, 8, BASE));
		EXPECT_EQ(before, after);
		close(s);
	}
	end(self, &thread, 1);
	ASSERT_EQ(0, raw_reset(self->g.vm, self->snapshot));
	expect_base(_metadata, self->g.vm);
}

#define SHARED_GPA	0x1000000ULL

struct visitor {
	struct _test_data_snapshots *self;
	int vm;
	int memory;
	int refused;
};

/* EBUSY while the other VM's snapshot is taken. */
static void *come_and_go(void *data)
{
	struct visitor *v = data;
	int ret;

	while (!stopped(v->self)) {
		ret = raw_set_slot(v->vm, 1, SHARED_GPA, PAGE, v->memory, 0, PROT_R);
		v->refused += ret == -EBUSY;
		if (ret && ret != -EBUSY)
			wrong(v->self);
		/* With one CPU a snapshot finds it here, or there. */
		sched_yield();
		if (!ret && raw_remove_slot(v->vm, 1))
			wrong(v->self);
		sched_yield();
	}
	return NULL;
}

/* Another VM has one of the objects now and then: EBUSY changes nothing of the rest. */
TEST_F(snapshots, taken_while_another_attaches)
{
	struct visitor v = { .self = self };
	int busy = 0, taken = 0, s;
	pthread_t thread;
	__u64 word = 1;

	v.vm = raw_create_vm(self->g.sys);
	v.memory = raw_create_memory(self->g.sys, PAGE);
	ASSERT_LE(0, v.vm);
	ASSERT_LE(0, v.memory);
	ASSERT_EQ(0, raw_set_slot(self->g.vm, 1, SHARED_GPA, PAGE, v.memory, 0, PROT_R));
	ASSERT_EQ(0, pthread_create(&thread, NULL, come_and_go, &v));
	for (int i = 0; i < 5 * ROUNDS || !busy || !taken; i++) {
		ASSERT_EQ(8, pwrite(self->g.vm, &word, 8, BASE));
		s = raw_snapshot(self->g.vm);
		ASSERT_TRUE(s >= 0 || s == -EBUSY);
		EXPECT_EQ(s < 0, guest_is_dirty(self->g.vm, BASE));
		busy += s < 0;
		taken += s >= 0;
		close(s);
		sched_yield();
	}
	end(self, &thread, 1);
	printf("# %d taken, %d refused for the other, which was %d times\n", taken, busy,
	       v.refused);
	ASSERT_EQ(0, raw_reset(self->g.vm, self->snapshot));
	expect_base(_metadata, self->g.vm);
	close(v.vm);
	close(v.memory);
}

enum part { VM, SNAPSHOT, MEMORY, MAPPING, PARTS };

/* A fork, a snapshot of it, its memory: of each there is one fd. */
struct closer {
	int fds[MAPPING];
	volatile __u64 *mapped;
	__u64 seed;
	pthread_t thread;
};

/* Writes, and lets one part after the other go. */
static void *close_parts(void *data)
{
	struct closer *c = data;
	unsigned int left = (1 << PARTS) - 1;

	while (left) {
		__u64 part = random_below(&c->seed, PARTS);

		for (int i = 0; left & 1 << MAPPING && i < NPAGES; i++)
			c->mapped[i * PAGE / 8] = 8;
		if (!(left & 1 << part))
			continue;
		if (part == MAPPING)
			munmap((void *)c->mapped, NPAGES * PAGE);
		else
			close(c->fds[part]);
		left &= ~(1 << part);
		sched_yield();
	}
	return NULL;
}

static int make_parts(struct _test_data_snapshots *self, struct closer *c)
{
	void *p;

	c->fds[VM] = raw_fork(self->g.sys, self->snapshot);
	c->fds[SNAPSHOT] = raw_snapshot(c->fds[VM]);
	c->fds[MEMORY] = raw_memory_of_slot(self->g.sys, c->fds[VM], 0);
	p = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
		 c->fds[MEMORY], BASE);
	c->mapped = p;
	return p == MAP_FAILED || c->fds[SNAPSHOT] < 0 ? -errno :
	       -pthread_create(&c->thread, NULL, close_parts, c);
}

/* Until the VM has gone. What was asked for is there to the end of the call. */
TEST_F(snapshots, closed_while_reset)
{
	int refs = module_refs(), without = 0;
	struct closer c = { .seed = 3 };

	for (int i = 0; i < ROUNDS / 4; i++) {
		int ret, other;

		ASSERT_EQ(0, make_parts(self, &c));
		do {
			/* The VM does not have it any more: only its fd has. */
			other = raw_reset(c.fds[VM], c.fds[SNAPSHOT]);
			ret = raw_reset(c.fds[VM], -1);
			ret = raw_reset(c.fds[VM], self->snapshot) ?: ret;
			without += other && !ret;
			ASSERT_TRUE(!other || other == -EBADF);
		} while (!ret);
		EXPECT_EQ(-EBADF, ret);
		pthread_join(c.thread, NULL);
	}
	EXPECT_LT(0, without);
	EXPECT_EQ(refs, wait_refs(refs));
	expect_base(_metadata, self->g.vm);
	expect_base(_metadata, self->snapshot);
}

struct runner {
	struct _test_data_snapshots *self;
	int kicked;
};

static void *run(void *data)
{
	struct runner *r = data;

	while (!stopped(r->self)) {
		int ret = guest_run(&r->self->g);

		if (ret == WISP_EXIT_KICKED)
			r->kicked++;
		else if (ret != -EBUSY)
			wrong(r->self);
		/* On one CPU a reset finds it running, or comes here. */
		sched_yield();
	}
	return NULL;
}

/* It runs, and there is EBUSY; or it does not, and all of it comes back. */
TEST_F(snapshots, reset_while_run)
{
	struct runner r = { .self = self };
	int busy = 0, done = 0, s;
	pthread_t thread;

	GUEST_LOAD(&self->g, LONG64, spin);
	self->g.page->want = 0;
	ASSERT_EQ(0, pthread_create(&thread, NULL, run, &r));
	guest_wait_counting(&self->g, GUEST_DATA);
	/* The registers that the page brought are what comes back. */
	while ((s = raw_snapshot(self->g.vm)) == -EBUSY) {
		raw_kick(self->g.vm, 0);
		sched_yield();
	}
	ASSERT_LE(0, s);
	for (int i = 0; i < 5 * ROUNDS || !busy || !done; i++) {
		int ret = raw_reset(self->g.vm, -1);

		busy += ret == -EBUSY;
		done += !ret;
		ASSERT_TRUE(!ret || ret == -EBUSY);
		/* Else the run to come would end before it began. */
		if (ret)
			raw_kick(self->g.vm, 0);
		sched_yield();
	}
	__atomic_store_n(&self->stop, true, __ATOMIC_RELEASE);
	while (pthread_tryjoin_np(thread, NULL)) {
		raw_kick(self->g.vm, 0);
		sched_yield();
	}
	EXPECT_LT(0, r.kicked);
	close(s);
}

/* With KICK there is no EBUSY, and no kick is left for later. */
TEST_F(snapshots, kicked_while_run)
{
	struct runner r = { .self = self };
	int s = self->snapshot, next;
	pthread_t thread;

	GUEST_LOAD(&self->g, LONG64, spin);
	self->g.page->want = 0;
	ASSERT_EQ(0, pthread_create(&thread, NULL, run, &r));
	guest_wait_counting(&self->g, GUEST_DATA);
	for (int i = 0; i < ROUNDS; i++) {
		next = raw_snapshot_flags(self->g.vm, WISP_SNAPSHOT_KICK);
		ASSERT_LE(0, next);
		if (i)
			close(s);
		s = next;
		ASSERT_EQ(0, raw_reset_flags(self->g.vm, i % 2 ? s : -1,
					     WISP_RESET_KICK));
		if (!(i % 16))
			guest_wait_counting(&self->g, GUEST_DATA);
	}
	__atomic_store_n(&self->stop, true, __ATOMIC_RELEASE);
	ASSERT_EQ(0, raw_reset_flags(self->g.vm, s, WISP_RESET_KICK));
	while (pthread_tryjoin_np(thread, NULL))
		raw_reset_flags(self->g.vm, s, WISP_RESET_KICK);
	EXPECT_LT(ROUNDS / 16, r.kicked);
	EXPECT_EQ(0, raw_reset_flags(self->g.vm, s, WISP_RESET_KICK));
	GUEST_LOAD(&self->g, LONG64, fill);
	EXPECT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	close(s);
}

/* RDI: its word. RBX, which it counts with, is what that has, or one more. */
SNIPPET(count, 64,
	"1:	inc %rbx\n"
	"	mov %rbx, (%rdi)\n"
	"	jmp 1b");

#define VCPUS		4
#define COUNTER(vcpu)	(BASE + (vcpu) * PAGE)
#define SEED(vcpu)	(0x5eedUL << 8 | (vcpu))

struct counter {
	struct _test_data_snapshots *self;
	int vcpu;
	pthread_t thread;
};

static void *count_by_guest(void *data)
{
	struct counter *c = data;

	while (!stopped(c->self)) {
		int ret = guest_run_vcpu(&c->self->g, c->vcpu);

		/* EBUSY while the snapshot is taken. */
		if (ret != WISP_EXIT_KICKED && ret != -EBUSY)
			wrong(c->self);
		sched_yield();
	}
	return NULL;
}

/* @fd: a snapshot, or a VM that does not run. Returns how far it has counted. */
static __u64 expect_counter(struct __test_metadata *_metadata, int fd, int vcpu)
{
	struct wisp_state state;
	__u64 word = 0;

	EXPECT_EQ(0, raw_get_state(fd, vcpu, WISP_STATE_GENERAL | WISP_STATE_MSRS,
				   &state));
	EXPECT_EQ(8, pread(fd, &word, 8, COUNTER(vcpu)));
	EXPECT_GE(1, state.general.rbx - word);
	EXPECT_EQ(COUNTER(vcpu), state.general.rdi);
	EXPECT_EQ(SEED(vcpu), state.general.r15);
	EXPECT_EQ(SEED(vcpu), state.msrs.sysenter_esp);
	return state.general.rbx;
}

/* In a fork it goes on from there. */
static void expect_more(struct __test_metadata *_metadata, int fork, int vcpu, __u64 n)
{
	struct wisp_vcpu_page *page;

	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fork, vcpu * PAGE);
	ASSERT_NE(MAP_FAILED, page);
	page->budget_ns = 100000;
	/* A run may end before the first instruction. */
	for (int i = 0; i < 100 && expect_counter(_metadata, fork, vcpu) == n; i++) {
		ASSERT_EQ(0, raw_run(fork, vcpu));
		EXPECT_EQ(WISP_EXIT_BUDGET, page->exit.reason);
	}
	munmap(page, PAGE);
	EXPECT_LT(n, expect_counter(_metadata, fork, vcpu));
}

/* Of several vCPUs that run none is left out, and none goes on. */
TEST_F(snapshots, of_several_vcpus_that_run)
{
	struct guest *g = &self->g;
	struct counter counters[VCPUS];
	struct wisp_audit audit;
	int s, fork;

	for (int i = 0; i < VCPUS; i++) {
		struct wisp_state *state;

		if (i)
			ASSERT_EQ(0, guest_add_vcpu(g, i));
		guest_load_at(g, i, LONG64, GUEST_CODE, count, count_end);
		state = &g->pages[i]->state;
		state->general.rdi = COUNTER(i);
		state->general.rbx = 0;
		state->general.r15 = SEED(i);
		state->msrs.sysenter_esp = SEED(i);
		*(__u64 *)guest_at(g, COUNTER(i)) = 0;
		counters[i] = (struct counter){ .self = self, .vcpu = i };
		ASSERT_EQ(0, raw_set_state(g->vm, i, STATE_ALL, state, NULL));
		g->pages[i]->dirty = 0;
		g->pages[i]->want = 0;
		g->pages[i]->budget_ns = 0;
		ASSERT_EQ(0, pthread_create(&counters[i].thread, NULL, count_by_guest,
					    &counters[i]));
	}
	for (int i = 0; i < ROUNDS / 8; i++) {
		for (int j = 0; j < VCPUS; j++)
			guest_wait_counting(g, COUNTER(j));
		s = raw_snapshot_flags(g->vm, WISP_SNAPSHOT_KICK);
		ASSERT_LE(0, s);
		fork = raw_fork(g->sys, s);
		ASSERT_LE(0, fork);
		for (int j = 0; j < VCPUS; j++) {
			__u64 n = expect_counter(_metadata, s, j);

			EXPECT_EQ(n, expect_counter(_metadata, fork, j));
			expect_more(_metadata, fork, j, n);
		}
		if (i % 2)
			ASSERT_EQ(0, raw_reset_flags(g->vm, s, WISP_RESET_KICK));
		ASSERT_EQ(0, raw_audit(fork, s, &audit));
		EXPECT_EQ(WISP_AUDIT_SAME, audit.what);
		close(fork);
		if (i < ROUNDS / 8 - 1)
			close(s);
	}
	__atomic_store_n(&self->stop, true, __ATOMIC_RELEASE);
	for (int i = 0; i < VCPUS; i++)
		while (pthread_tryjoin_np(counters[i].thread, NULL)) {
			raw_kick(g->vm, i);
			sched_yield();
		}
	ASSERT_EQ(0, raw_audit(g->vm, s, &audit));
	EXPECT_EQ(WISP_AUDIT_SAME, audit.what);
	for (int i = 0; i < VCPUS; i++)
		EXPECT_EQ(expect_counter(_metadata, s, i),
			  expect_counter(_metadata, g->vm, i));
	close(s);
}

struct fork_run {
	int vm;
	int cpu;
	__u64 value;
	pthread_t thread;
	int result;
};

static void *fill_and_look(void *data)
{
	struct fork_run *f = data;
	struct wisp_vcpu_page *page;

	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, f->vm, 0);
	f->result = -EIO;
	if (page == MAP_FAILED || guest_pin(f->cpu) ||
	    raw_get_state(f->vm, 0, WISP_STATE_GENERAL, &page->state))
		return NULL;
	page->state.general.rbx = f->value;
	page->state.general.r8 = PASSES;
	page->dirty = WISP_STATE_GENERAL;
	page->complete = 1;
	f->result = raw_run(f->vm, 0) ?: (int)page->exit.reason;
	munmap(page, PAGE);
	return NULL;
}

/*
 * The same addresses, with contents of their own: on two CPUs at once, or on the
 * only one by turns.
 */
TEST_F(snapshots, forks_at_once)
{
	struct fork_run f[2];
	__u64 word;
	int s;

	GUEST_LOAD(&self->g, LONG64, fill);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	s = raw_snapshot(self->g.vm);
	ASSERT_LE(0, s);
	for (int round = 0; round < 10; round++) {
		for (int i = 0; i < 2; i++) {
			f[i] = (struct fork_run){
				.vm = raw_fork(self->g.sys, s), .cpu = i,
				.value = round * 2 + i,
			};
			ASSERT_LE(0, f[i].vm);
			ASSERT_EQ(0, pthread_create(&f[i].thread, NULL,
						    fill_and_look, &f[i]));
		}
		for (int i = 0; i < 2; i++) {
			pthread_join(f[i].thread, NULL);
			EXPECT_EQ(WISP_EXIT_HLT, f[i].result);
			ASSERT_EQ(8, pread(f[i].vm, &word, 8, BASE));
			EXPECT_EQ(f[i].value, word);
			close(f[i].vm);
		}
	}
	expect_base(_metadata, s);
	close(s);
}

TEST_HARNESS_MAIN
