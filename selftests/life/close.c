// SPDX-License-Identifier: GPL-2.0
/*
 * Ends: fds and mappings that go in every order, with and without a vCPU that
 * runs; processes that are killed in every state.
 */
#include "../harness.h"
#include "life.h"

/* Memory of the test's own, which a guest counts in and is stopped by. */
#define CONTROL		0x800000

SNIPPET(count, 64,
	"1: incq " STR(CONTROL) "; cmpq $0, " STR(CONTROL) "+8; je 1b; hlt");
/* Faults all the time, when others give the pages back. */
SNIPPET(storm, 64,
	"2: mov $0x100000, %edi\n"
	"1: incq (%rdi); add $0x1000, %edi; cmp $0x400000, %edi; jb 1b\n"
	"incq " STR(CONTROL) "; jmp 2b");

enum part { SYSTEM, VM, MEMORY, MAPPING, PAGE_MAPPING, PARTS };

FIXTURE(close) {
	int refs;
	struct guest g;
	int control_fd;
	volatile __u64 *control;
};

static int add_control(struct guest *g, int *fd, volatile __u64 **control)
{
	int sys = raw_open();

	*fd = raw_create_memory(sys, PAGE);
	close(sys);
	if (*fd < 0)
		return *fd;
	*control = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	if (*control == MAP_FAILED)
		return -errno;
	return raw_set_slot(g->vm, 1, CONTROL, PAGE, *fd, 0, PROT_RW);
}

static int set_up(struct _test_data_close *self)
{
	return guest_create(&self->g) ?:
	       add_control(&self->g, &self->control_fd, &self->control);
}

FIXTURE_SETUP(close)
{
	self->refs = module_refs();
	ASSERT_LE(0, self->refs);
}

FIXTURE_TEARDOWN(close)
{
	EXPECT_EQ(self->refs, wait_refs(self->refs));
}

static void release(struct guest *g, enum part part)
{
	switch (part) {
	case SYSTEM:
		close(g->sys);
		break;
	case VM:
		close(g->vm);
		break;
	case MEMORY:
		close(g->fd);
		break;
	case MAPPING:
		munmap(g->memory, GUEST_SIZE);
		break;
	default:
		munmap(g->page, PAGE);
		break;
	}
}

static void *run_it(void *data)
{
	struct guest *g = data;

	return (void *)(long)raw_run(g->vm, 0);
}

static void wait_control(volatile __u64 *control)
{
	__u64 before = *control;

	while (*control == before)
		;
}

/* What is still there works, whatever has gone. */
static int use(struct guest *g, const bool *gone)
{
	struct wisp_general general = { 0 };
	__u64 word;

	if (!gone[SYSTEM] && raw_query(g->sys, &g->query))
		return 1;
	if (!gone[VM] && (raw_get_state(g->vm, 0, WISP_STATE_GENERAL,
					(void *)&general) ||
			  general.rip <= GUEST_CODE))
		return 2;
	if (!gone[VM] && (pread(g->vm, &word, 8, GUEST_DATA) != 8 || word != 7))
		return 3;
	if (!gone[MEMORY] &&
	    (pread(g->fd, &word, 8, GUEST_DATA) != 8 || word != 7))
		return 4;
	if (!gone[MAPPING] && *(__u64 *)guest_at(g, GUEST_DATA) != 7)
		return 5;
	if (!gone[PAGE_MAPPING] && g->page->exit.reason != WISP_EXIT_HLT)
		return 6;
	return 0;
}

/* Calls test(order) for each order of the parts. */
static void permute(enum part *order, int at, void *arg,
		    void (*test)(const enum part *order, void *arg))
{
	if (at == PARTS)
		test(order, arg);
	for (int i = at; i < PARTS; i++) {
		enum part swapped = order[at];

		order[at] = order[i];
		order[i] = swapped;
		permute(order, at + 1, arg, test);
		order[i] = order[at];
		order[at] = swapped;
	}
}

struct outcome {
	struct _test_data_close *self;
	int orders;
	int failed;
	int why;
};

static void fail(struct outcome *o, int why)
{
	o->why = o->failed++ ? o->why : why;
}

static void close_idle(const enum part *order, void *arg)
{
	struct outcome *o = arg;
	struct guest *g = &o->self->g;
	bool gone[PARTS] = { false };
	int ret = set_up(o->self);

	if (ret)
		return fail(o, ret);
	GUEST_LOAD(g, LONG64, count);
	o->self->control[1] = 1;
	*(__u64 *)guest_at(g, GUEST_DATA) = 7;
	if (guest_run(g) != WISP_EXIT_HLT)
		fail(o, 100);
	for (int i = 0; i < PARTS; i++) {
		release(g, order[i]);
		gone[order[i]] = true;
		ret = use(g, gone);
		if (ret)
			fail(o, ret);
	}
	munmap((void *)o->self->control, PAGE);
	close(o->self->control_fd);
	o->orders++;
}

TEST_F(close, every_order)
{
	enum part order[] = { SYSTEM, VM, MEMORY, MAPPING, PAGE_MAPPING };
	struct outcome o = { .self = self };

	permute(order, 0, &o, close_idle);
	EXPECT_EQ(120, o.orders);
	EXPECT_EQ(0, o.failed)
		TH_LOG("the first: %d", o.why);
}

/* The run holds the VM, which goes on until the guest ends it. */
static void close_running(const enum part *order, void *arg)
{
	struct outcome *o = arg;
	struct guest *g = &o->self->g;
	pthread_t thread;
	void *result;
	int ret = set_up(o->self);

	if (ret)
		return fail(o, ret);
	GUEST_LOAD(g, LONG64, count);
	g->page->budget_ns = 0;
	if (pthread_create(&thread, NULL, run_it, g))
		return fail(o, 200);
	wait_control(o->self->control);
	for (int i = 0; i < PARTS; i++) {
		release(g, order[i]);
		wait_control(o->self->control);
	}
	close(o->self->control_fd);
	o->self->control[1] = 1;
	pthread_join(thread, &result);
	if (result)
		fail(o, (long)result);
	munmap((void *)o->self->control, PAGE);
	o->orders++;
}

TEST_F(close, every_order_while_it_runs)
{
	enum part order[] = { SYSTEM, VM, MEMORY, MAPPING, PAGE_MAPPING };
	struct outcome o = { .self = self };

	permute(order, 0, &o, close_running);
	EXPECT_EQ(120, o.orders);
	EXPECT_EQ(0, o.failed)
		TH_LOG("the first: %d", o.why);
}

/* Slots hold their memory, mappings hold theirs; nobody else has the fds. */
TEST_F(close, slots_outlive_the_memory_fd)
{
	ASSERT_EQ(0, set_up(self));
	release(&self->g, MAPPING);
	release(&self->g, MEMORY);
	self->control[1] = 1;
	self->g.page->dirty = STATE_ALL;
	state_long(&self->g.page->state, GUEST_PML4, GUEST_CODE);
	ASSERT_EQ(count_end - count,
		  pwrite(self->g.vm, count, count_end - count, GUEST_CODE));
	EXPECT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ(0, raw_remove_slot(self->g.vm, 0));
	/* All but the system, the VM, its page and the test's own. */
	EXPECT_EQ(self->refs + 3, wait_refs(self->refs + 3));
	release(&self->g, PAGE_MAPPING);
	release(&self->g, VM);
	release(&self->g, SYSTEM);
	munmap((void *)self->control, PAGE);
	close(self->control_fd);
}

/* ---- kill -9 ------------------------------------------------------------- */

enum state {
	LOOPS,		/* in the guest */
	STORMS,		/* in second-level faults, while the pages are taken */
	MAPS,		/* in faults of its mapping */
	WRITES,		/* in write() to the guest's memory */
	KICKS,		/* in and out of runs */
	CHANGES,	/* in changes of the VM */
	STATES,
};

static void *discard_forever(void *data)
{
	struct guest *g = data;
	struct wisp_discard arg = {
		.size = sizeof(arg), .offset = 0x100000,
		.discard_size = GUEST_SIZE - 0x100000,
	};

	for (;;)
		raw(g->fd, WISP_DISCARD, &arg);
	return NULL;
}

static void *kick_forever(void *data)
{
	struct guest *g = data;

	for (;;)
		raw_kick(g->vm, 0);
	return NULL;
}

static void beside(struct guest *g, void *(*what)(void *))
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, what, g))
		_exit(2);
}

/* The child: counts in control, and never returns. */
static void busy(struct _test_data_close *self, enum state state, __u64 *control)
{
	static char buffer[GUEST_SIZE / 4];
	struct guest *g = &self->g;

	if (guest_create(g) ||
	    raw_set_slot(g->vm, 1, CONTROL, PAGE, self->control_fd, 0, PROT_RW))
		_exit(1);
	g->page->budget_ns = 0;
	if (state == STORMS)
		GUEST_LOAD(g, LONG64, storm);
	else
		GUEST_LOAD(g, LONG64, count);
	switch (state) {
	case STORMS:
	case MAPS:
		beside(g, discard_forever);
		break;
	case WRITES:
		beside(g, run_it);
		break;
	case KICKS:
		beside(g, kick_forever);
		break;
	default:
		break;
	}
	for (;; control[2]++) {
		if (state == MAPS) {
			memset(guest_at(g, 0x100000), 1, GUEST_SIZE / 4);
		} else if (state == WRITES) {
			pwrite(g->vm, buffer, sizeof(buffer), 0x100000);
		} else if (state == CHANGES) {
			raw_set_slot(g->vm, 2, 0x1000000, 0x200000, g->fd, 0,
				     PROT_RW);
			raw_remove_slot(g->vm, 2);
			close(raw_create_vm(g->sys));
		} else {
			raw_run(g->vm, 0);
		}
	}
}

TEST_F(close, killed_in_every_state)
{
	int sys = raw_open();

	self->control_fd = raw_create_memory(sys, PAGE);
	ASSERT_LE(0, self->control_fd);
	self->control = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			     self->control_fd, 0);
	ASSERT_NE(MAP_FAILED, self->control);
	for (int i = 0; i < 5 * STATES; i++) {
		enum state state = i % STATES;
		int refs = module_refs();
		pid_t pid = fork();

		ASSERT_LE(0, pid);
		if (!pid)
			busy(self, state, (__u64 *)self->control);
		/* The guest counts in one, the child in the other. */
		wait_control(self->control +
			     (state == LOOPS || state == STORMS ? 0 : 2));
		ASSERT_EQ(0, kill(pid, SIGKILL));
		EXPECT_EQ(1000 + SIGKILL, wait_child(pid))
			TH_LOG("state %d", state);
		EXPECT_EQ(refs, wait_refs(refs))
			TH_LOG("state %d", state);
	}
	munmap((void *)self->control, PAGE);
	close(self->control_fd);
	close(sys);
}

TEST_HARNESS_MAIN
