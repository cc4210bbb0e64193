// SPDX-License-Identifier: GPL-2.0
/*
 * A thread of the idle class that soaks up what CPU time all others leave, and
 * counts it. What an operation costs the host in all, deferred work and kernel
 * threads included, is then the time that it took less what was soaked up.
 *
 * There must be one CPU only, or what another one does is not seen.
 */
#include <err.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "bench.h"

/* A longer pause between two looks at the TSC was somebody else's. */
#define OWN	200

static volatile uint64_t soaked;
static volatile int stopping;
static pthread_t thread;

static void *soak(void *unused)
{
	uint64_t last = rdtsc(), now;

	while (!stopping) {
		now = rdtsc();
		if (now - last < OWN)
			soaked += now - last;
		last = now;
	}
	return unused;
}

void soak_start(void)
{
	struct sched_param none = { 0 };
	int error;

	stopping = 0;
	error = pthread_create(&thread, NULL, soak, NULL);
	if (!error)
		error = pthread_setschedparam(thread, SCHED_IDLE, &none);
	if (error)
		errx(1, "an idle thread: %s", strerror(error));
}

void soak_stop(void)
{
	stopping = 1;
	pthread_join(thread, NULL);
}

uint64_t work(void)
{
	return rdtsc() - soaked;
}
