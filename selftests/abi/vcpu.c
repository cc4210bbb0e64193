// SPDX-License-Identifier: GPL-2.0
/* vCPUs as objects: indices, the shared page, RUN's requests, who may run. */
#include <pthread.h>

#include "../harness.h"
#include "../raw.h"
#include "../state.h"

#define CODE	0x1000
#define COUNTER	0x2000

/*
 * 16-bit: STI; for (;;) (*(u32 *)COUNTER)++. With IF clear Bochs' SVM would keep
 * the host's interrupts, and so the kick, back.
 */
static const __u8 spin[] = { 0xfb, 0x66, 0xff, 0x06, 0x00, 0x20, 0xeb, 0xf9 };
/* hlt; hlt; jmp to the first */
static const __u8 halt[] = { 0xf4, 0xf4, 0xeb, 0xfc };

FIXTURE(vcpu) {
	int sys;
	int vm;
	struct wisp_vcpu_page *page;
	char *memory;
	struct wisp_query query;
	pthread_t thread;
	int result;
};

FIXTURE_SETUP(vcpu)
{
	struct wisp_state state;
	int memory;

	self->sys = raw_open();
	ASSERT_LE(0, self->sys);
	ASSERT_EQ(0, raw_query(self->sys, &self->query));
	self->vm = raw_create_vm(self->sys);
	ASSERT_LE(0, self->vm);
	memory = raw_create_memory(self->sys, 16 * PAGE);
	ASSERT_LE(0, memory);
	ASSERT_EQ(0, raw_set_slot(self->vm, 0, 0, 16 * PAGE, memory, 0,
				  PROT_RWX));
	self->memory = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE,
			    MAP_SHARED, memory, 0);
	ASSERT_NE(MAP_FAILED, self->memory);
	close(memory);
	ASSERT_EQ(0, raw_create_vcpu(self->vm, 0, &self->page));
	state_real(&state, 0, CODE);
	ASSERT_EQ(0, raw_set_state(self->vm, 0, STATE_ALL, &state, NULL));
	memcpy(self->memory + CODE, halt, sizeof(halt));
}

FIXTURE_TEARDOWN(vcpu)
{
	close(self->vm);
	close(self->sys);
}

TEST_F(vcpu, indices)
{
	struct wisp_vcpu_page *page;
	__u32 max = self->query.max_vcpus;

	EXPECT_EQ(-EEXIST, raw_create_vcpu(self->vm, 0, &page));
	EXPECT_EQ(0, raw_create_vcpu(self->vm, max - 1, &page));
	EXPECT_EQ(-EEXIST, raw_create_vcpu(self->vm, max - 1, &page));
	EXPECT_EQ(-EINVAL, raw_create_vcpu(self->vm, max, &page));
	EXPECT_EQ(-EINVAL, raw_create_vcpu(self->vm, ~0U, &page));
}

TEST_F(vcpu, no_such_vcpu)
{
	/* The last three would be vCPU 0 if somebody cut them off. */
	static const unsigned long missing[] = {
		1, 0x7fffffff, 0x80000000, 0xffffffff, -1UL,
		1UL << 32, 1UL << 63, 1UL << 40,
	};
	struct wisp_state state;

	for (size_t i = 0; i < ARRAY_SIZE(missing); i++) {
		EXPECT_EQ(-ENOENT, raw_run(self->vm, missing[i]))
			TH_LOG("index %#lx", missing[i]);
		EXPECT_EQ(-ENOENT, raw_kick(self->vm, missing[i]))
			TH_LOG("index %#lx", missing[i]);
		if (!(__u32)missing[i])
			continue;
		EXPECT_EQ(-ENOENT, raw_get_state(self->vm, missing[i],
						 WISP_STATE_GENERAL, &state))
			TH_LOG("index %#lx", missing[i]);
		EXPECT_EQ(-ENOENT, raw_set_state(self->vm, missing[i],
						 WISP_STATE_GENERAL, &state,
						 NULL))
			TH_LOG("index %#lx", missing[i]);
	}
	EXPECT_EQ(0, raw_run(self->vm, 0));
}

TEST_F(vcpu, shared_page)
{
	struct wisp_create_vcpu arg = { .size = sizeof(arg), .vcpu = 1 };
	struct wisp_vcpu_page *again;

	EXPECT_EQ(sizeof(*self->page), self->page->size);
	ASSERT_EQ(0, raw(self->vm, WISP_CREATE_VCPU, &arg));

	/* As often as wanted, and all are the same page. */
	again = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, self->vm,
		     arg.page_offset);
	ASSERT_NE(MAP_FAILED, again);
	EXPECT_EQ(sizeof(*again), again->size);
	again->reply = 77;
	again = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->vm,
		     arg.page_offset);
	ASSERT_NE(MAP_FAILED, again);
	EXPECT_EQ(77UL, again->reply);
	EXPECT_EQ(0UL, self->page->reply);

	/* A page, shared, of a vCPU that is there. */
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE,
				   self->vm, arg.page_offset));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 1UL << 30, PROT_READ, MAP_SHARED,
				   self->vm, arg.page_offset));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->vm,
				   1UL << 60));
}

TEST_F(vcpu, shared_page_outlives_its_vm)
{
	ASSERT_EQ(0, close(self->vm));
	self->page->reply = 5;
	EXPECT_EQ(5UL, self->page->reply);
	self->vm = open("/dev/null", O_RDONLY);
}

TEST_F(vcpu, run_reports_its_exit)
{
	ASSERT_EQ(0, raw_run(self->vm, 0));
	EXPECT_EQ((__u32)WISP_EXIT_HLT, self->page->exit.reason);
	EXPECT_EQ((__u64)CODE, self->page->exit.rip);
	EXPECT_EQ(RFLAGS_FIXED, self->page->exit.rflags);
	EXPECT_EQ(0U, self->page->field);

	/* Not completed: it is met again. Completed: the next one is. */
	ASSERT_EQ(0, raw_run(self->vm, 0));
	EXPECT_EQ((__u64)CODE, self->page->exit.rip);
	self->page->complete = 1;
	ASSERT_EQ(0, raw_run(self->vm, 0));
	EXPECT_EQ((__u64)CODE + 1, self->page->exit.rip);
	EXPECT_EQ(0U, self->page->complete);
}

TEST_F(vcpu, run_stores_what_is_wanted)
{
	memset(&self->page->state, 0xa5, sizeof(self->page->state));
	self->page->want = WISP_STATE_CONTROL;
	ASSERT_EQ(0, raw_run(self->vm, 0));
	EXPECT_EQ(CR0_ET, self->page->state.control.cr0);
	EXPECT_EQ(0xa5a5a5a5a5a5a5a5UL, self->page->state.general.rax);
	EXPECT_EQ(0xa5a5a5a5a5a5a5a5UL, self->page->state.debug.dr6);
	self->page->want = WISP_STATE_GENERAL | WISP_STATE_DEBUG;
	ASSERT_EQ(0, raw_run(self->vm, 0));
	EXPECT_EQ((__u64)CODE, self->page->state.general.rip);
	EXPECT_EQ(DR6_FIXED, self->page->state.debug.dr6);
	EXPECT_EQ((__u32)(WISP_STATE_GENERAL | WISP_STATE_DEBUG),
		  self->page->want);
}

TEST_F(vcpu, run_loads_what_is_dirty)
{
	struct wisp_state state;

	self->page->want = WISP_STATE_GENERAL;
	ASSERT_EQ(0, raw_run(self->vm, 0));
	self->page->state.general.rip = CODE + 1;
	self->page->state.general.r15 = 0x1122334455667788;
	self->page->state.control.cr0 = 0;	/* not named: not looked at */
	self->page->dirty = WISP_STATE_GENERAL;
	ASSERT_EQ(0, raw_run(self->vm, 0));
	EXPECT_EQ(0U, self->page->dirty);
	EXPECT_EQ((__u64)CODE + 1, self->page->exit.rip);
	ASSERT_EQ(0, raw_get_state(self->vm, 0, STATE_ALL, &state));
	EXPECT_EQ(0x1122334455667788UL, state.general.r15);
	EXPECT_EQ(CR0_ET, state.control.cr0);
}

TEST_F(vcpu, unknown_bits_in_a_request)
{
	struct {
		const char *what;
		__u32 *word;
		__u32 known;
		size_t field;
	} words[] = {
		{ "flags", &self->page->flags,
		  WISP_RUN_INTR_WINDOW | WISP_RUN_STEP | WISP_RUN_BREAKPOINTS |
		  WISP_RUN_TRAP_INT3 | WISP_RUN_RESET, WISP_FIELD(flags) },
		{ "want", &self->page->want, STATE_ALL, WISP_FIELD(want) },
		{ "dirty", &self->page->dirty, STATE_ALL, WISP_FIELD(dirty) },
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		for (int bit = 0; bit < 32; bit++) {
			if (words[i].known & 1U << bit)
				continue;
			*words[i].word = 1U << bit;
			EXPECT_EQ(-EOPNOTSUPP, raw_run(self->vm, 0))
				TH_LOG("%s, bit %d", words[i].what, bit);
			EXPECT_EQ(words[i].field, self->page->field)
				TH_LOG("%s, bit %d", words[i].what, bit);
		}
		*words[i].word = 0;
	}
	EXPECT_EQ(0, raw_run(self->vm, 0));
	EXPECT_EQ(0U, self->page->field);
}

TEST_F(vcpu, reserved_in_the_page)
{
	struct {
		__u64 *word;
		size_t field;
	} rows[] = {
		{ &self->page->reserved[0], WISP_FIELD(reserved) },
		{ &self->page->reserved[1], WISP_FIELD(reserved) },
		{ &self->page->reserved2[0], WISP_FIELD(reserved2) },
		{ &self->page->reserved2[6], WISP_FIELD(reserved2) },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		*rows[i].word = 1ULL << 63;
		EXPECT_EQ(-EINVAL, raw_run(self->vm, 0))
			TH_LOG("row %zu", i);
		EXPECT_EQ(rows[i].field, self->page->field)
			TH_LOG("row %zu", i);
		*rows[i].word = 0;
	}
	EXPECT_EQ(0, raw_run(self->vm, 0));
}

TEST_F(vcpu, nothing_to_complete)
{
	self->page->complete = 1;
	EXPECT_EQ(-EINVAL, raw_run(self->vm, 0));
	EXPECT_EQ(WISP_FIELD(complete), self->page->field);
	self->page->complete = 0;
	ASSERT_EQ(0, raw_run(self->vm, 0));
	self->page->complete = 2;
	EXPECT_EQ(-EINVAL, raw_run(self->vm, 0));
	EXPECT_EQ(WISP_FIELD(complete), self->page->field);
	/* What was refused has used nothing up. */
	self->page->complete = 1;
	EXPECT_EQ(0, raw_run(self->vm, 0));
	EXPECT_EQ((__u64)CODE + 1, self->page->exit.rip);
	/* A state that was set is not behind an exit. */
	ASSERT_EQ(0, raw_get_state(self->vm, 0, WISP_STATE_GENERAL,
				   &self->page->state));
	ASSERT_EQ(0, raw_set_state(self->vm, 0, WISP_STATE_GENERAL,
				   &self->page->state, NULL));
	self->page->complete = 1;
	EXPECT_EQ(-EINVAL, raw_run(self->vm, 0));
}

TEST_F(vcpu, bad_injections)
{
	static const struct {
		const char *what;
		struct wisp_event event;
		int result;
		size_t field;
	} rows[] = {
		{ "unknown type", { 4, 0, 0, 0, 0 }, -EOPNOTSUPP,
		  WISP_FIELD(inject.type) },
		{ "type 255", { 255, 0, 0, 0, 0 }, -EOPNOTSUPP,
		  WISP_FIELD(inject.type) },
		{ "NMI 3", { WISP_EVENT_NMI, 3, 0, 0, 0 }, -EINVAL,
		  WISP_FIELD(inject.vector) },
		{ "exception 32", { WISP_EVENT_EXCEPTION, 32, 0, 0, 0 },
		  -EINVAL, WISP_FIELD(inject.vector) },
		{ "exception 9", { WISP_EVENT_EXCEPTION, 9, 0, 0, 0 },
		  -EINVAL, WISP_FIELD(inject.vector) },
		{ "exception 2", { WISP_EVENT_EXCEPTION, 2, 0, 0, 0 },
		  -EINVAL, WISP_FIELD(inject.vector) },
		{ "has_error_code 2", { WISP_EVENT_EXCEPTION, 13, 2, 0, 0 },
		  -EINVAL, WISP_FIELD(inject.has_error_code) },
		{ "interrupt's error code",
		  { WISP_EVENT_INTERRUPT, 32, 1, 0, 0 }, -EINVAL,
		  WISP_FIELD(inject.has_error_code) },
		{ "reserved", { WISP_EVENT_INTERRUPT, 32, 0, 1, 0 }, -EINVAL,
		  WISP_FIELD(inject.reserved) },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		self->page->inject = rows[i].event;
		EXPECT_EQ(rows[i].result, raw_run(self->vm, 0))
			TH_LOG("%s", rows[i].what);
		EXPECT_EQ(rows[i].field, self->page->field)
			TH_LOG("%s", rows[i].what);
		/* Refused: it stays where it is. */
		EXPECT_EQ(rows[i].event.type, self->page->inject.type);
	}
}

/* All or nothing: one bad member, and the good ones wait. */
TEST_F(vcpu, a_refused_run_takes_nothing)
{
	struct wisp_state state;

	ASSERT_EQ(0, raw_run(self->vm, 0));
	ASSERT_EQ(0, raw_get_state(self->vm, 0, WISP_STATE_GENERAL,
				   &self->page->state));
	self->page->state.general.rax = 0x1234;
	self->page->dirty = WISP_STATE_GENERAL;
	self->page->complete = 1;
	self->page->inject = (struct wisp_event){
		.type = WISP_EVENT_EXCEPTION, .vector = 99,
	};
	EXPECT_EQ(-EINVAL, raw_run(self->vm, 0));
	EXPECT_EQ((__u32)WISP_STATE_GENERAL, self->page->dirty);
	EXPECT_EQ(1U, self->page->complete);
	EXPECT_EQ(WISP_EVENT_EXCEPTION, self->page->inject.type);
	ASSERT_EQ(0, raw_get_state(self->vm, 0, STATE_ALL, &state));
	EXPECT_EQ(0UL, state.general.rax);
	EXPECT_EQ((__u64)CODE, state.general.rip);

	memset(&self->page->inject, 0, sizeof(self->page->inject));
	EXPECT_EQ(0, raw_run(self->vm, 0));
	EXPECT_EQ((__u64)CODE + 1, self->page->exit.rip);
	ASSERT_EQ(0, raw_get_state(self->vm, 0, STATE_ALL, &state));
	EXPECT_EQ(0x1234UL, state.general.rax);
}

static void *run_thread(void *data)
{
	FIXTURE_DATA(vcpu) * self = data;

	self->result = raw_run(self->vm, 0);
	return NULL;
}

static __u32 counter(FIXTURE_DATA(vcpu) * self)
{
	return __atomic_load_n((__u32 *)(self->memory + COUNTER),
			       __ATOMIC_RELAXED);
}

/* The guest counts: when it has counted on, it is surely in its run. */
static void start(FIXTURE_DATA(vcpu) * self)
{
	__u32 before = counter(self);

	memcpy(self->memory + CODE, spin, sizeof(spin));
	pthread_create(&self->thread, NULL, run_thread, self);
	while (counter(self) == before)
		;
}

TEST_F(vcpu, runs_in_one_thread_at_a_time)
{
	struct wisp_state state;

	start(self);
	EXPECT_EQ(-EBUSY, raw_run(self->vm, 0));
	EXPECT_EQ(-EBUSY, raw_get_state(self->vm, 0, STATE_ALL, &state));
	state_real(&state, 0, 0);
	EXPECT_EQ(-EBUSY, raw_set_state(self->vm, 0, STATE_ALL, &state, NULL));
	ASSERT_EQ(0, raw_kick(self->vm, 0));
	ASSERT_EQ(0, pthread_join(self->thread, NULL));
	EXPECT_EQ(0, self->result);
	EXPECT_EQ((__u32)WISP_EXIT_KICKED, self->page->exit.reason);

	/* Free again, and as it was left. */
	ASSERT_EQ(0, raw_get_state(self->vm, 0, STATE_ALL, &state));
	EXPECT_LE((__u64)CODE, state.general.rip);
	EXPECT_GT((__u64)CODE + sizeof(spin), state.general.rip);
}

/* Nobody who waits for the page, the VM or its slots waits for the guest. */
TEST_F(vcpu, other_calls_go_on_while_it_runs)
{
	struct wisp_vcpu_page *page;
	char c;

	start(self);
	EXPECT_EQ(0, raw_create_vcpu(self->vm, 1, &page));
	EXPECT_EQ(1, pread(self->vm, &c, 1, CODE));
	EXPECT_EQ(-ENOENT, raw_remove_slot(self->vm, 5));
	EXPECT_EQ(-ENOENT, raw_run(self->vm, 2));
	ASSERT_EQ(0, raw_kick(self->vm, 0));
	ASSERT_EQ(0, pthread_join(self->thread, NULL));
	EXPECT_EQ(0, self->result);
}

/* The last fd goes while the guest runs: the run holds the VM. */
TEST_F(vcpu, vm_fd_is_closed_while_it_runs)
{
	int dup_vm = dup(self->vm);

	ASSERT_LE(0, dup_vm);
	start(self);
	ASSERT_EQ(0, close(self->vm));
	self->vm = dup_vm;
	ASSERT_EQ(0, raw_kick(self->vm, 0));
	ASSERT_EQ(0, pthread_join(self->thread, NULL));
	EXPECT_EQ(0, self->result);
	EXPECT_EQ((__u32)WISP_EXIT_KICKED, self->page->exit.reason);
}

TEST_HARNESS_MAIN
