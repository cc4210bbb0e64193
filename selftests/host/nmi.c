// SPDX-License-Identifier: GPL-2.0
/*
 * NMIs for the host, in the middle of a guest: "l" in /proc/sysrq-trigger sends
 * one to each CPU, which prints where it is. The host has it, the guest does not,
 * and goes on as if nothing had been.
 */
#include <poll.h>
#include <sys/sysinfo.h>

#include "../harness.h"
#include "watchful.h"

#define CPU		1
#define HITS		3	/* NMIs in the guest, that have to come */
#define ROUNDS		50	/* and in how many at most: the CPU has other work, too */
#define MOST_MS		20000	/* SysRq itself waits for 10 s at most */

FIXTURE(nmi) {
	struct guest g;
	struct host_runner runner;
	int log;
};

FIXTURE_VARIANT(nmi) {
	__u64 rflags;
	__u8 nmi_blocked;	/* the guest's own */
};

FIXTURE_VARIANT_ADD(nmi, interrupts_on) {
	.rflags = RFLAGS_FIXED | RFLAGS_IF,
};

FIXTURE_VARIANT_ADD(nmi, in_its_nmi_handler) {
	.rflags = RFLAGS_FIXED,
	.nmi_blocked = 1,
};

FIXTURE_SETUP(nmi)
{
	struct guest *g = &self->g;
	struct wisp_state *s;

	if (access("/proc/sysrq-trigger", W_OK))
		SKIP(return, "no CONFIG_MAGIC_SYSRQ");
	self->log = open("/dev/kmsg", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	ASSERT_LE(0, self->log);
	ASSERT_EQ(0, guest_create(g));
	watchful_load(g);
	s = &g->page->state;
	s->general.rflags = variant->rflags;
	s->events.nmi_blocked = variant->nmi_blocked;
	ASSERT_EQ(0, guest_pin(0));
	host_start(&self->runner, g, 0, CPU);
	guest_wait_counting(g, COUNTER(0));
}

FIXTURE_TEARDOWN(nmi)
{
	close(self->log);
	guest_destroy(&self->g);
}

/* The next line of the kernel's log, without what /dev/kmsg has before it. */
static bool read_line(int log, char *line, size_t size)
{
	struct pollfd fd = { .fd = log, .events = POLLIN };
	char record[1024], *text;
	ssize_t n;

	for (;;) {
		n = read(log, record, sizeof(record) - 1);
		if (n >= 0)
			break;
		if (errno != EPIPE && poll(&fd, 1, MOST_MS) <= 0)
			return false;
	}
	record[n] = 0;
	text = strchr(record, ';');
	snprintf(line, size, "%s", text ? text + 1 : "");
	return true;
}

/*
 * Whether CPU has printed where it was; *in_guest: it was in the guest. That is
 * then where the driver lets an NMI come that an exit has held back. Waits for all
 * CPUs: SysRq may return before they have printed.
 */
static bool find_backtrace(struct guest *g, int log, bool *in_guest)
{
	const char *place = g->query.backend == WISP_BACKEND_SVM ?
			    ":svm_enter+" : ":vmx_cpu_disable+";
	bool found = false, is_here = false;
	char line[1024], head[40];
	int waits = get_nprocs();

	snprintf(head, sizeof(head), "NMI backtrace for cpu %d\n",
		 guest_cpu(CPU));
	while (waits) {
		if (!read_line(log, line, sizeof(line)))
			break;
		if (!strncmp(line, "NMI backtrace for cpu ", 22))
			is_here = !strcmp(line, head);
		found |= is_here;
		/*
		 * Where each ends; one that idles may have none. Nor has one that was
		 * switching stacks: then no more comes.
		 */
		waits -= strstr(line, "</TASK>") || strstr(line, "skipped: idling");
		if (is_here && !strncmp(line, "RIP: ", 5)) {
			*in_guest = strstr(line, place);
			is_here = false;
		}
	}
	return found;
}

TEST_F(nmi, is_the_hosts)
{
	static const char end[] = "lab: backtraces end\n";
	struct guest *g = &self->g;
	const struct wisp_state *s = &g->page->state;
	int hits = 0, rounds;

	for (rounds = 0; hits < HITS && rounds < ROUNDS; rounds++) {
		bool in_guest = false;

		lseek(self->log, 0, SEEK_END);
		ASSERT_EQ(0, write_file("/proc/sysrq-trigger", "l"));
		EXPECT_TRUE(find_backtrace(g, self->log, &in_guest));
		/* The lab takes no backtrace before that for a bug's. */
		ASSERT_LT(0, write(self->log, end, strlen(end)));
		hits += in_guest;
		guest_wait_counting(g, COUNTER(0));
		ASSERT_FALSE(host_done(&self->runner));
	}
	TH_LOG("%d of %d NMIs came in the guest", hits, rounds);
	EXPECT_EQ(HITS, hits);

	watchful_stop(g);
	EXPECT_EQ(WISP_EXIT_HLT, host_join(&self->runner));
	EXPECT_TRUE(watchful_is_well(g));
	EXPECT_EQ(0, s->events.nmi_pending);
	EXPECT_EQ(variant->nmi_blocked, s->events.nmi_blocked);
}

TEST_HARNESS_MAIN
