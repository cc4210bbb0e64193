// SPDX-License-Identifier: GPL-2.0
/*
 * Wisp beside KVM: guests of both on the same CPUs, alternately and at once, and
 * either of the two coming and going while the other has guests. Each guest
 * checks that what it has is still its own (checker.h), and the host's MSRs are
 * the same before and after.
 */
#include <sys/resource.h>
#include <x86intrin.h>

#include "../harness.h"
#include "../host/host.h"
#include "../life/life.h"
#include "checker.h"
#include "kvm.h"

#define ALTERNATIONS	10000
#define CPUS_MAX	8
/* On one CPU: so often is the one guest to be cut short for the other. */
#define PREEMPTIONS	10

#define EFER		(EFER_LME | EFER_LMA | EFER_NXE)

/* ---- a guest of either ---------------------------------------------------- */

struct side {
	const char *who;	/* NULL: there is none */
	bool is_kvm;
	struct kvm kvm;
	struct guest wisp;
	struct checker checker;
};

static int start_kvm(struct side *s, unsigned int seed, __u64 quiet)
{
	s->who = "KVM's guest";
	s->is_kvm = true;
	checker_init(&s->checker, s->kvm.memory, seed, s->kvm.xcr0, quiet);
	return kvm_start(&s->kvm, EFER, checker_tsc(seed), checker, checker_end);
}

static int start_wisp(struct side *s, unsigned int seed, __u64 quiet)
{
	struct guest *g = &s->wisp;
	struct wisp_state *state = &g->page->state;

	s->who = "Wisp's guest";
	s->is_kvm = false;
	GUEST_LOAD(g, LONG64, checker);
	state->control.cr4 |= CR4_OSXSAVE;
	state->control.xcr0 = g->query.xcr0 & (XCR0_X87 | XCR0_SSE | XCR0_YMM);
	state->msrs.tsc = checker_tsc(seed);
	g->page->want = 0;
	checker_init(&s->checker, g->memory, seed, state->control.xcr0, quiet);
	s->checker.tsc_is_steady = true;
	return 0;
}

static int create_kvm(struct side *s, unsigned int seed, __u64 quiet)
{
	return kvm_create(&s->kvm) ?: start_kvm(s, seed, quiet);
}

static int create_wisp(struct side *s, unsigned int seed, __u64 quiet)
{
	return guest_create(&s->wisp) ?: start_wisp(s, seed, quiet);
}

static void destroy(struct side *s)
{
	if (!s->who)
		return;
	if (s->is_kvm)
		kvm_destroy(&s->kvm);
	else
		guest_destroy(&s->wisp);
	s->who = NULL;
}

static bool at_port(const struct side *s, int exit)
{
	if (s->is_kvm)
		return exit == KVM_EXIT_IO && s->kvm.run->io.port == CHECKER_PORT;
	return exit == WISP_EXIT_PORT &&
	       s->wisp.page->exit.port.port == CHECKER_PORT;
}

/* To the next exit. Returns whether all was right. */
static bool run(struct side *s)
{
	__u64 began = __rdtsc();
	int exit;

	if (s->is_kvm) {
		exit = kvm_run(&s->kvm);
	} else {
		exit = guest_run(&s->wisp);
		s->wisp.page->complete = 1;
	}
	if (!at_port(s, exit))
		return checker_failed(&s->checker, s->who, exit);
	return checker_passed(&s->checker, s->who, began, __rdtsc());
}

static bool run_often(struct side *s, int times)
{
	while (times-- && run(s))
		;
	return times < 0;
}

static bool alternate(struct side *a, struct side *b, int times)
{
	while (times-- && run(a) && run(b))
		;
	return times < 0;
}

/* ---- the host's MSRs ------------------------------------------------------ */

static const struct {
	const char *name;
	__u32 index;
} host_msrs[] = {
	{ "PAT", 0x277 },
	{ "SYSENTER_CS", 0x174 },
	{ "SYSENTER_ESP", 0x175 },
	{ "SYSENTER_EIP", 0x176 },
	{ "EFER", 0xc0000080 },
	{ "STAR", 0xc0000081 },
	{ "LSTAR", 0xc0000082 },
	{ "CSTAR", 0xc0000083 },
	{ "SFMASK", 0xc0000084 },
	{ "KERNEL_GS_BASE", 0xc0000102 },
	{ "TSC_AUX", 0xc0000103 },	/* absent on some: then -1 on both sides */
};

#define HOST_MSRS	(sizeof(host_msrs) / sizeof(*host_msrs))

static int cpus(void)
{
	int n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < CPUS_MAX ? n : CPUS_MAX;
}

/*
 * By IPI, so in the CPU's kernel mode: KERNEL_GS_BASE is the base that user mode
 * had, on this CPU our own, which is 0, and elsewhere that of an idle task or of
 * this thread's, which have 0 as well.
 */
static bool read_host_msrs(__u64 values[CPUS_MAX][HOST_MSRS])
{
	char path[40];

	memset(values, 0xff, sizeof(__u64) * CPUS_MAX * HOST_MSRS);
	for (int cpu = 0; cpu < cpus(); cpu++) {
		int fd;

		snprintf(path, sizeof(path), "/dev/cpu/%d/msr", cpu);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return false;
		for (unsigned int i = 0; i < HOST_MSRS; i++)
			if (pread(fd, &values[cpu][i], 8, host_msrs[i].index) != 8 &&
			    errno != EIO)
				return false;
		close(fd);
	}
	return true;
}

/* Returns how many differ, and says which. */
static int compare_host_msrs(__u64 before[CPUS_MAX][HOST_MSRS])
{
	__u64 after[CPUS_MAX][HOST_MSRS];
	int differ = 0;

	if (!read_host_msrs(after))
		return -1;
	for (int cpu = 0; cpu < cpus(); cpu++)
		for (unsigned int i = 0; i < HOST_MSRS; i++) {
			if (before[cpu][i] == after[cpu][i])
				continue;
			printf("# CPU %d: %s was %#llx, is %#llx\n", cpu,
			       host_msrs[i].name, before[cpu][i], after[cpu][i]);
			differ++;
		}
	return differ;
}

/* ---- what all tests begin and end with ------------------------------------ */

struct host {
	char parameters[1000];	/* of wisp.ko */
	__u64 msrs[CPUS_MAX][HOST_MSRS];
};

/* Nothing of KVM is there, and no VM of Wisp. Returns 0 or -errno. */
static int begin(struct host *host)
{
	save_parameters(host->parameters, sizeof(host->parameters));
	if (!access("/sys/module/kvm", F_OK))
		return -EEXIST;
	if (!read_host_msrs(host->msrs))
		return -ENODEV;
	return guest_pin(0);
}

/* So it is again. Returns 0, -errno, or how many MSRs of the host's differ. */
static int end(struct host *host, struct side *kvm, struct side *wisp)
{
	int ret;

	destroy(kvm);
	destroy(wisp);
	ret = kvm_unload_modules();
	if (!ret && access("/dev/wisp", F_OK))
		ret = load(host->parameters);
	return ret ?: guest_pin(0) ?: compare_host_msrs(host->msrs);
}

/* ---- on the same CPUs ----------------------------------------------------- */

FIXTURE(beside_kvm) {
	struct host host;
	struct side kvm, wisp;
};

FIXTURE_SETUP(beside_kvm)
{
	ASSERT_EQ(0, begin(&self->host));
}

FIXTURE_TEARDOWN(beside_kvm)
{
	EXPECT_EQ(0, end(&self->host, &self->kvm, &self->wisp));
}

TEST_F(beside_kvm, alternate_10000_times)
{
	ASSERT_EQ(0, kvm_load_modules());
	ASSERT_EQ(0, create_kvm(&self->kvm, 1, 0));
	ASSERT_EQ(0, create_wisp(&self->wisp, 2, 0));
	EXPECT_TRUE(alternate(&self->kvm, &self->wisp, ALTERNATIONS));
}

/* ---- two of each, on all CPUs --------------------------------------------- */

struct pair {
	struct side kvm, wisp;
	pthread_t thread;
	int first_cpu;
	bool passed;
};

/* From CPU to CPU, with a guest of each. */
static void *run_pair(void *data)
{
	struct pair *p = data;

	p->passed = true;
	for (int i = 0; p->passed && i < ALTERNATIONS / 200; i++)
		p->passed = !guest_pin((p->first_cpu + i) % cpus()) &&
			    alternate(&p->kvm, &p->wisp, 100);
	return NULL;
}

TEST_F(beside_kvm, two_pairs_from_cpu_to_cpu)
{
	struct pair pairs[2] = { 0 };

	ASSERT_EQ(0, kvm_load_modules());
	for (int i = 0; i < 2; i++) {
		pairs[i].first_cpu = i;
		ASSERT_EQ(0, create_kvm(&pairs[i].kvm, 4 * i + 1, 0));
		ASSERT_EQ(0, create_wisp(&pairs[i].wisp, 4 * i + 3, 0));
		ASSERT_EQ(0, pthread_create(&pairs[i].thread, NULL, run_pair,
					    &pairs[i]));
	}
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(pairs[i].thread, NULL));
		EXPECT_TRUE(pairs[i].passed);
		destroy(&pairs[i].kvm);
		destroy(&pairs[i].wisp);
	}
}

/* ---- at once, on one CPU -------------------------------------------------- */

struct runner {
	struct side *side;
	pthread_t thread;
	bool *stop;
	long preemptions;
	bool passed;
};

static long preemptions(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_THREAD, &usage) ? 0 : usage.ru_nivcsw;
}

/* Until both were cut short often enough. */
static void *run_until_stopped(void *data)
{
	struct runner *r = data;

	r->passed = !guest_pin(0);
	while (r->passed && !__atomic_load_n(r->stop, __ATOMIC_ACQUIRE)) {
		r->passed = run(r->side);
		__atomic_store_n(&r->preemptions, preemptions(), __ATOMIC_RELEASE);
	}
	__atomic_store_n(r->stop, true, __ATOMIC_RELEASE);
	return NULL;
}

static bool cut_short_enough(struct runner *r)
{
	return __atomic_load_n(&r->preemptions, __ATOMIC_ACQUIRE) >= PREEMPTIONS;
}

/*
 * The scheduler takes the CPU from the one in the middle of its run and gives it
 * to the other in the middle of its own: none of them comes to user mode, where
 * KVM gives the host's MSRs back. KVM's guest has EFER.SCE clear, unlike the host.
 */
TEST_F(beside_kvm, preempted_by_each_other)
{
	bool stop = false;
	struct runner runners[] = {
		{ .side = &self->kvm, .stop = &stop },
		{ .side = &self->wisp, .stop = &stop },
	};

	ASSERT_EQ(0, kvm_load_modules());
	ASSERT_EQ(0, create_kvm(&self->kvm, 5, 0x3ff));
	ASSERT_EQ(0, create_wisp(&self->wisp, 6, 0x3ff));
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&runners[i].thread, NULL,
					    run_until_stopped, &runners[i]));
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE) &&
	       !(cut_short_enough(&runners[0]) && cut_short_enough(&runners[1])))
		usleep(10000);
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(runners[i].thread, NULL));
		EXPECT_TRUE(runners[i].passed);
		EXPECT_LE(PREEMPTIONS, runners[i].preemptions);
	}
}

/* KVM turns the hardware on and off while Wisp's guest is in its run. */
TEST_F(beside_kvm, kvm_comes_and_goes_under_a_run)
{
	struct runner runner = { .side = &self->wisp };
	bool stop = false;

	runner.stop = &stop;
	ASSERT_EQ(0, create_wisp(&self->wisp, 7, 0x3ff));
	ASSERT_EQ(0, pthread_create(&runner.thread, NULL, run_until_stopped,
				    &runner));
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, kvm_load_modules());
		for (int vm = 0; vm < 2; vm++) {
			ASSERT_EQ(0, create_kvm(&self->kvm, i + 8, 0));
			EXPECT_TRUE(run_often(&self->kvm, 20));
			destroy(&self->kvm);
		}
		ASSERT_EQ(0, kvm_unload_modules());
		ASSERT_FALSE(stop);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	ASSERT_EQ(0, pthread_join(runner.thread, NULL));
	EXPECT_TRUE(runner.passed);
}

/* ---- in every order ------------------------------------------------------- */

FIXTURE(beside_kvm_order) {
	struct host host;
	struct side kvm, wisp;
};

FIXTURE_VARIANT(beside_kvm_order) {
	/*
	 * What happens, one letter each. L: KVM's modules are loaded, U: unloaded;
	 * l, u: Wisp's. K: a VM of KVM's begins, k: it ends; W, w: one of Wisp's.
	 * After each letter all guests that there are run, in turns.
	 */
	const char *steps;
};

FIXTURE_VARIANT_ADD(beside_kvm_order, kvm_loads_first) {
	.steps = "LKWkw",
};

FIXTURE_VARIANT_ADD(beside_kvm_order, kvm_loads_first_and_lasts) {
	.steps = "LKWwk",
};

FIXTURE_VARIANT_ADD(beside_kvm_order, kvm_loads_first_begins_second) {
	.steps = "LWKkw",
};

FIXTURE_VARIANT_ADD(beside_kvm_order, kvm_loads_first_begins_second_and_lasts) {
	.steps = "LWKwk",
};

FIXTURE_VARIANT_ADD(beside_kvm_order, wisp_begins_first) {
	.steps = "WLKkwU",
};

FIXTURE_VARIANT_ADD(beside_kvm_order, wisp_begins_first_and_lasts) {
	.steps = "WLKkUw",
};

FIXTURE_VARIANT_ADD(beside_kvm_order, wisp_begins_first_and_ends_first) {
	.steps = "WLKwkU",
};

FIXTURE_VARIANT_ADD(beside_kvm_order, kvm_unloaded_under_wisp) {
	.steps = "LWKkULKkUw",
};

FIXTURE_VARIANT_ADD(beside_kvm_order, kvm_unloaded_unused_under_wisp) {
	.steps = "WLULULUw",
};

FIXTURE_VARIANT_ADD(beside_kvm_order, kvm_begins_and_ends_under_wisp) {
	.steps = "LWKkKkKkKkw",
};

FIXTURE_VARIANT_ADD(beside_kvm_order, wisp_unloaded_under_kvm) {
	.steps = "LKWwulWwulWwk",
};

FIXTURE_VARIANT_ADD(beside_kvm_order, wisp_loaded_under_kvm) {
	.steps = "uLKlWkw",
};

FIXTURE_VARIANT_ADD(beside_kvm_order, wisp_begins_and_ends_under_kvm) {
	.steps = "LKWwWwWwWwk",
};

FIXTURE_SETUP(beside_kvm_order)
{
	ASSERT_EQ(0, begin(&self->host));
}

FIXTURE_TEARDOWN(beside_kvm_order)
{
	EXPECT_EQ(0, end(&self->host, &self->kvm, &self->wisp));
}

static int step(struct host *host, struct side *kvm, struct side *wisp,
		char letter, int seed)
{
	switch (letter) {
	case 'L':
		return kvm_load_modules();
	case 'U':
		return kvm_unload_modules();
	case 'l':
		return load(host->parameters);
	case 'u':
		wait_refs(0);
		return unload();
	case 'K':
		return create_kvm(kvm, seed, 0);
	case 'W':
		return create_wisp(wisp, seed, 0);
	case 'k':
		destroy(kvm);
		return 0;
	case 'w':
		destroy(wisp);
		return 0;
	}
	return -EINVAL;
}

/* All there are, on each CPU. */
static bool run_all(struct side *kvm, struct side *wisp)
{
	for (int cpu = 0; cpu < cpus(); cpu++) {
		if (guest_pin(cpu))
			return false;
		for (int i = 0; i < 20; i++)
			if ((kvm->who && !run(kvm)) || (wisp->who && !run(wisp)))
				return false;
	}
	return true;
}

TEST_F(beside_kvm_order, all_guests_run)
{
	for (int i = 0; variant->steps[i]; i++) {
		ASSERT_EQ(0, step(&self->host, &self->kvm, &self->wisp,
				  variant->steps[i], i + 1))
			TH_LOG("step %d of %s", i + 1, variant->steps);
		ASSERT_TRUE(run_all(&self->kvm, &self->wisp))
			TH_LOG("after step %d of %s", i + 1, variant->steps);
	}
}

TEST_HARNESS_MAIN
