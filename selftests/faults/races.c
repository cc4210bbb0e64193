// SPDX-License-Identifier: GPL-2.0
/*
 * Faults at random while threads race: resets, snapshots and forks, writes by all ways
 * that a VMM has, mappings that come and go, slots and protections that change, VMs that
 * are closed, a guest that runs. When all of that has ended the snapshot is what it was,
 * and a reset to it works.
 */
#include <sched.h>
#include <setjmp.h>
#include <signal.h>

#include "../guest/guest.h"
#include "../race/random.h"
#include "inject.h"

#define NPAGES	64
#define BASE	0x100000	/* of the pages that are used */
#define MAGIC	0xabcd000000000000ULL
#define ROUNDS	1500		/* of each thread */
/* Of what can fail in a call, which does; most have less. */
#define POINTS	24

/* Writes all pages, for ever. */
SNIPPET(fill, 64,
	"1:	mov $" STR(NPAGES) ", %ecx\n"
	"	mov $" STR(BASE) ", %esi\n"
	"2:	incq 8(%rsi)\n"
	"	add $0x1000, %rsi\n"
	"	loop 2b\n"
	"	jmp 1b");

struct shared {
	struct guest g;
	int snapshot;
	int fork;	/* a VM that another thread may close */
	bool stop;	/* the runner alone goes on until then */
};

struct racer {
	struct shared *s;
	/* Returns what the kernel did. */
	int (*act)(struct shared *s, __u64 *seed);
	__u64 seed;
	int hits;	/* faults that came */
	int failures;	/* calls that failed */
	int wrong;	/* and with what they must not, the last */
	pthread_t thread;
};

static int ok(ssize_t ret)
{
	return ret < 0 ? -errno : 0;
}

static __thread sigjmp_buf no_page;

static void on_sigbus(int sig)
{
	(void)sig;
	siglongjmp(no_page, 1);
}

/* By a mapping, where SIGBUS says that there is no page. */
static int store(void *address)
{
	if (sigsetjmp(no_page, 1))
		return -ENOMEM;
	*(volatile __u64 *)address = 5;
	return 0;
}

static int store_by_new_mapping(int fd, __u64 offset)
{
	char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
	int ret;

	if (p == MAP_FAILED)
		return -errno;
	ret = store(p);
	return ok(munmap(p, 4 * PAGE)) ?: ret;
}

static int act_write(struct shared *s, __u64 *seed)
{
	__u64 at = BASE + random_below(seed, NPAGES) * PAGE, word = 7;
	struct wisp_discard discard = {
		.size = sizeof(discard), .offset = at, .discard_size = PAGE,
	};

	switch (random_below(seed, 5)) {
	case 0:
		return store(guest_at(&s->g, at));
	case 1:
		return ok(pwrite(s->g.fd, &word, 8, at));
	case 2:
		return ok(pwrite(s->g.vm, &word, 8, at));
	case 3:
		return raw(s->g.fd, WISP_DISCARD, &discard);
	default:
		return store_by_new_mapping(s->g.fd, at);
	}
}

static int act_layout(struct shared *s, __u64 *seed)
{
	struct wisp_protect_range range = { .gpa = BASE, .range_size = NPAGES * PAGE };

	switch (random_below(seed, 3)) {
	case 0:
		return raw_set_slot(s->g.vm, 1, 0x1000000, 64 * PAGE, s->g.fd, BASE,
				    PROT_RW);
	case 1:
		return raw_remove_slot(s->g.vm, 1);
	default:
		range.prot = random_next(seed) & 1 ? PROT_R : PROT_RWX;
		return raw_protect(s->g.vm, &range, 1);
	}
}

static int act_snapshot(struct shared *s, __u64 *seed)
{
	int ret;

	if (random_next(seed) & 1) {
		ret = raw_snapshot_flags(s->g.vm, WISP_SNAPSHOT_KICK);
		if (ret >= 0)
			close(ret);
		return ret;
	}
	ret = raw_fork(s->g.sys, s->snapshot);
	if (ret >= 0)
		close(__atomic_exchange_n(&s->fork, ret, __ATOMIC_ACQ_REL));
	return ret;
}

static int act_reset(struct shared *s, __u64 *seed)
{
	if (random_next(seed) & 1)
		return raw_reset(__atomic_load_n(&s->fork, __ATOMIC_ACQUIRE), s->snapshot);
	return raw_reset_flags(s->g.vm, s->snapshot, WISP_RESET_KICK);
}

/* EBADF, ENOTTY: the other VM was closed, and its number is of something else by now. */
static bool documented(int error)
{
	static const int errors[] = {
		ENOMEM, EFAULT, EBUSY, ENOENT, ENFILE, EBADF, ENOTTY,
	};

	for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
		if (error == errors[i])
			return true;
	return false;
}

static void act(struct racer *r, int fail_nth)
{
	unsigned int n = 1 + random_below(&r->seed, POINTS);
	int ret;

	inject(fail_nth, n);
	ret = r->act(r->s, &r->seed);
	r->hits += injected(fail_nth);
	if (ret >= 0)
		return;
	r->failures++;
	if (!documented(-ret))
		r->wrong = ret;
}

static void *race(void *data)
{
	struct racer *r = data;
	int fail_nth = inject_open();

	for (int i = 0; i < ROUNDS; i++) {
		act(r, fail_nth);
		/* On one CPU, too, each finds the others in the middle of something. */
		if (!(i % 8))
			sched_yield();
	}
	close(fail_nth);
	return NULL;
}

static int act_run(struct shared *s, __u64 *seed)
{
	int ret = raw_run(s->g.vm, 0);

	(void)seed;
	if (ret == -EINTR)
		return 0;
	if (ret)
		return ret;
	switch (s->g.page->exit.reason) {
	case WISP_EXIT_BUDGET:
	case WISP_EXIT_KICKED:
	case WISP_EXIT_MEMORY:
	case WISP_EXIT_NOMEM:
		return 0;
	default:
		return -EPROTO;
	}
}

static void *run(void *data)
{
	struct racer *r = data;
	int fail_nth = inject_open();

	while (!__atomic_load_n(&r->s->stop, __ATOMIC_ACQUIRE)) {
		act(r, fail_nth);
		sched_yield();
	}
	close(fail_nth);
	return NULL;
}

FIXTURE(races) {
	struct shared s;
};

FIXTURE_SETUP(races)
{
	struct sigaction action = { .sa_handler = on_sigbus };
	struct shared *s = &self->s;

	memset(s, 0, sizeof(*s));
	ASSERT_EQ(0, sigaction(SIGBUS, &action, NULL));
	ASSERT_TRUE(inject_setup())
		TH_LOG("no fault injection in this kernel");
	ASSERT_EQ(0, guest_create(&s->g));
	for (__u64 i = 0; i < NPAGES; i++)
		*(__u64 *)guest_at(&s->g, BASE + i * PAGE) = MAGIC | i;
	GUEST_LOAD(&s->g, LONG64, fill);
	/* So that the snapshot has its registers: a run that ends at once. */
	ASSERT_EQ(0, raw_kick(s->g.vm, 0));
	ASSERT_EQ(WISP_EXIT_KICKED, guest_run(&s->g));
	s->g.page->budget_ns = 1000000;
	s->snapshot = raw_snapshot(s->g.vm);
	ASSERT_LE(0, s->snapshot);
	s->fork = raw_fork(s->g.sys, s->snapshot);
	ASSERT_LE(0, s->fork);
}

FIXTURE_TEARDOWN(races)
{
	close(self->s.fork);
	close(self->s.snapshot);
	guest_destroy(&self->s.g);
}

static void expect_base(struct __test_metadata *_metadata, int fd)
{
	__u64 words[2];

	for (__u64 i = 0; i < NPAGES; i++) {
		ASSERT_EQ(16, pread(fd, words, 16, BASE + i * PAGE));
		EXPECT_EQ(MAGIC | i, words[0]);
		EXPECT_EQ(0, words[1]);
	}
}

TEST_F(races, all_at_once)
{
	struct shared *s = &self->s;
	struct racer runner = { .s = s, .act = act_run, .seed = 1 };
	struct racer racers[] = {
		{ .s = s, .act = act_write, .seed = 2 },
		{ .s = s, .act = act_layout, .seed = 3 },
		{ .s = s, .act = act_snapshot, .seed = 4 },
		{ .s = s, .act = act_reset, .seed = 5 },
	};
	struct wisp_audit audit;
	int other;

	ASSERT_EQ(0, pthread_create(&runner.thread, NULL, run, &runner));
	for (size_t i = 0; i < ARRAY_SIZE(racers); i++)
		ASSERT_EQ(0, pthread_create(&racers[i].thread, NULL, race, &racers[i]));
	for (size_t i = 0; i < ARRAY_SIZE(racers); i++) {
		ASSERT_EQ(0, pthread_join(racers[i].thread, NULL));
		TH_LOG("%zu: %d faults, %d failures", i, racers[i].hits,
		       racers[i].failures);
		EXPECT_LT(0, racers[i].hits);
		EXPECT_LT(0, racers[i].failures);
		EXPECT_EQ(0, racers[i].wrong);
	}
	__atomic_store_n(&s->stop, true, __ATOMIC_RELEASE);
	ASSERT_EQ(0, pthread_join(runner.thread, NULL));
	TH_LOG("runs: %d faults, %d failures", runner.hits, runner.failures);
	EXPECT_LT(0, runner.hits);
	EXPECT_EQ(0, runner.wrong);

	expect_base(_metadata, s->snapshot);
	ASSERT_EQ(0, raw_reset(s->g.vm, s->snapshot));
	EXPECT_EQ(0, raw_audit(s->g.vm, s->snapshot, &audit));
	EXPECT_EQ(WISP_AUDIT_SAME, audit.what);
	expect_base(_metadata, s->g.vm);
	ASSERT_EQ(0, raw_reset(s->fork, s->snapshot));
	expect_base(_metadata, s->fork);
	other = raw_fork(s->g.sys, s->snapshot);
	ASSERT_LE(0, other);
	expect_base(_metadata, other);
	close(other);
	/* The guest has the pages that it had. */
	EXPECT_EQ(WISP_EXIT_BUDGET, guest_run(&s->g));
}

TEST_HARNESS_MAIN
