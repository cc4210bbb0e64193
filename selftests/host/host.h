/* SPDX-License-Identifier: GPL-2.0 */
/* What the tests of a host's life share; each is used by some of them only. */
#ifndef WISP_SELFTESTS_HOST_H
#define WISP_SELFTESTS_HOST_H

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "../guest/guest.h"

/* vCPU n counts at COUNTER(n); what it is to reach is in its RCX. */
#define COUNTER(vcpu)	(GUEST_DATA + 0x1000 * (vcpu))

/* Returns 0 or -errno. */
static inline int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

static inline int set_online(int cpu, bool online)
{
	char path[60];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online",
		 guest_cpu(cpu));
	return write_file(path, online ? "1" : "0");
}

static inline __u64 counted(struct guest *g, int vcpu)
{
	return __atomic_load_n((__u64 *)guest_at(g, COUNTER(vcpu)),
			       __ATOMIC_RELAXED);
}

/* A vCPU in a thread of its own, which goes on when a signal ends a run. */
struct host_runner {
	struct guest *guest;
	int vcpu;
	int cpu;		/* to be pinned to, or -1 */
	int result;		/* as guest_run_vcpu() */
	int interrupted;	/* runs that returned EINTR */
	bool done;
	pthread_t thread;
};

static inline void *host_run(void *data)
{
	struct host_runner *r = data;

	if (r->cpu >= 0 && guest_pin(r->cpu))
		abort();
	for (;;) {
		r->result = guest_run_vcpu(r->guest, r->vcpu);
		if (r->result != -EINTR)
			break;
		r->interrupted++;
	}
	__atomic_store_n(&r->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static inline void host_start(struct host_runner *r, struct guest *g, int vcpu,
			      int cpu)
{
	memset(r, 0, sizeof(*r));
	r->guest = g;
	r->vcpu = vcpu;
	r->cpu = cpu;
	g->pages[vcpu]->budget_ns = 0;
	if (pthread_create(&r->thread, NULL, host_run, r))
		abort();
}

static inline bool host_done(struct host_runner *r)
{
	return __atomic_load_n(&r->done, __ATOMIC_ACQUIRE);
}

static inline int host_join(struct host_runner *r)
{
	if (pthread_join(r->thread, NULL))
		abort();
	return r->result;
}

/* Ends the run, whenever it comes to it. */
static inline int host_stop(struct host_runner *r)
{
	int ret = raw_kick(r->guest->vm, r->vcpu);

	return host_join(r) == WISP_EXIT_KICKED ? ret : -EPROTO;
}

#endif
