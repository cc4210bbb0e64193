// SPDX-License-Identifier: GPL-2.0
/*
 * A guest that does nothing but loop, with its interrupts on or off, keeps its
 * CPU from nobody: timers fire there, softirqs run, other threads get their
 * share, and a signal ends the run. All of it is on one CPU.
 */
#include <arpa/inet.h>
#include <linux/if.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/time.h>
#include <time.h>

#include "../harness.h"
#include "host.h"

#define CPU		1
#define TICKS		100
#define TICK_NS		5000000
#define TIMEOUTS	10
#define PINGS		200

SNIPPET(loop, 64, "jmp .");
SNIPPET(loop_counting, 64, "1: incq " STR(COUNTER(0)) "; jmp 1b");

FIXTURE(busy) {
	struct guest g;
	struct host_runner runner;
};

FIXTURE_VARIANT(busy) {
	__u64 rflags;
};

FIXTURE_VARIANT_ADD(busy, interrupts_on) {
	.rflags = RFLAGS_FIXED | RFLAGS_IF,
};

FIXTURE_VARIANT_ADD(busy, interrupts_off) {
	.rflags = RFLAGS_FIXED,
};

/* Starts the guest on CPU, and waits until it is in its loop. */
static void start(struct guest *g, struct host_runner *r)
{
	host_start(r, g, 0, CPU);
	guest_wait_counting(g, COUNTER(0));
}

FIXTURE_SETUP(busy)
{
	struct guest *g = &self->g;

	ASSERT_EQ(0, guest_create(g));
	guest_load(g, LONG64, loop_counting, loop_counting_end);
	g->page->state.general.rflags = variant->rflags;
	start(g, &self->runner);
	ASSERT_EQ(0, guest_pin(CPU));
}

FIXTURE_TEARDOWN(busy)
{
	EXPECT_EQ(0, host_stop(&self->runner));
	guest_destroy(&self->g);
}

/* A line "NAME: n0 n1 ..." of a file in /proc: what it has for CPU. */
static long long per_cpu(const char *path, const char *name)
{
	int cpu = guest_cpu(CPU);
	char line[4000], *p;
	FILE *f = fopen(path, "r");
	long long value = -1;

	while (f && fgets(line, sizeof(line), f)) {
		p = strstr(line, name);
		if (!p)
			continue;
		fclose(f);
		p += strlen(name);
		for (int i = 0; i <= cpu; i++)
			value = strtoll(p, &p, 10);
		return value;
	}
	if (f)
		fclose(f);
	return -1;
}

static __u64 ticks_of_a_timer(void)
{
	const struct itimerspec spec = {
		.it_value.tv_nsec = TICK_NS, .it_interval.tv_nsec = TICK_NS,
	};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	__u64 n, sum = 0;

	if (fd < 0 || timerfd_settime(fd, 0, &spec, NULL))
		return 0;
	/* Late ones are counted, too: it is a read that may not stay away. */
	while (sum < TICKS && read(fd, &n, sizeof(n)) == sizeof(n))
		sum += n;
	close(fd);
	return sum;
}

TEST_F(busy, timers_fire)
{
	long long interrupts = per_cpu("/proc/interrupts", "LOC:");

	ASSERT_LE(0, interrupts);
	EXPECT_LE((__u64)TICKS, ticks_of_a_timer());
	EXPECT_LT(interrupts + 10, per_cpu("/proc/interrupts", "LOC:"));
	guest_wait_counting(&self->g, COUNTER(0));
}

/* A socket's timeout is a timer of the wheel, which a softirq turns. */
TEST_F(busy, softirqs_run)
{
	const struct timeval timeout = { .tv_usec = 20000 };
	long long softirqs = per_cpu("/proc/softirqs", " TIMER:");
	int fds[2];
	char byte;

	ASSERT_LE(0, softirqs);
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds));
	ASSERT_EQ(0, setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &timeout,
				sizeof(timeout)));
	for (int i = 0; i < TIMEOUTS; i++) {
		ASSERT_EQ(-1, recv(fds[0], &byte, 1, 0));
		ASSERT_EQ(EAGAIN, errno);
	}
	EXPECT_LE(softirqs + TIMEOUTS, per_cpu("/proc/softirqs", " TIMER:"));
	close(fds[0]);
	close(fds[1]);
	guest_wait_counting(&self->g, COUNTER(0));
}

static int loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int ret = ioctl(fd, SIOCSIFFLAGS, &request);

	close(fd);
	return ret ? -errno : 0;
}

/* A packet is received in a softirq of the CPU that sent it. */
TEST_F(busy, packets_arrive)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	long long softirqs = per_cpu("/proc/softirqs", "NET_RX:");
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t length = sizeof(to);
	int value;

	ASSERT_EQ(0, loopback_up());
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ASSERT_EQ(0, bind(fd, (struct sockaddr *)&to, sizeof(to)));
	ASSERT_EQ(0, getsockname(fd, (struct sockaddr *)&to, &length));
	for (int i = 0; i < PINGS; i++) {
		ASSERT_EQ((ssize_t)sizeof(i),
			  sendto(fd, &i, sizeof(i), 0, (struct sockaddr *)&to,
				 sizeof(to)));
		ASSERT_EQ((ssize_t)sizeof(i), recv(fd, &value, sizeof(value), 0));
		ASSERT_EQ(i, value);
	}
	EXPECT_LE(softirqs + PINGS, per_cpu("/proc/softirqs", "NET_RX:"));
	close(fd);
	guest_wait_counting(&self->g, COUNTER(0));
}

static void on_signal(int signal)
{
	(void)signal;
}

/* One that never leaves by itself, not even to write to memory. */
TEST_F(busy, signals_and_kicks_end_it)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct guest *g = &self->g;
	timer_t timer;
	struct sigevent event = {
		.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1,
	};
	/* Again and again: the first one may be early, before the run. */
	struct itimerspec spec = {
		.it_value.tv_nsec = 20000000, .it_interval.tv_nsec = 20000000,
	};

	/* This thread runs it itself: nobody else is there to stop it. */
	ASSERT_EQ(0, host_stop(&self->runner));
	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	ASSERT_EQ(0, timer_create(CLOCK_MONOTONIC, &event, &timer));
	GUEST_LOAD(g, LONG64, loop);
	g->page->state.general.rflags = variant->rflags;
	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(0, timer_settime(timer, 0, &spec, NULL));
		ASSERT_EQ(-EINTR, guest_run(g));
		EXPECT_EQ((__u64)GUEST_CODE, g->page->exit.rip);
	}
	timer_delete(timer);

	GUEST_LOAD(g, LONG64, loop_counting);
	start(g, &self->runner);
}

TEST_HARNESS_MAIN
