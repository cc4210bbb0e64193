// SPDX-License-Identifier: GPL-2.0
/*
 * What ends a run (kick, signal, budget), and who may run: threads, processes,
 * several vCPUs and many VMs at once.
 */
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "../harness.h"
#include "guest.h"

FIXTURE(run) {
	struct guest g;
	struct wisp_vcpu_page *page;
	__u64 *data;
};

FIXTURE_SETUP(run)
{
	ASSERT_EQ(0, guest_create(&self->g));
	self->page = self->g.page;
	self->data = guest_at(&self->g, GUEST_DATA);
}

FIXTURE_TEARDOWN(run)
{
	guest_destroy(&self->g);
}

SNIPPET(spin, 64, "1: incq " STR(GUEST_DATA) "; jmp 1b");
SNIPPET(spin_cli, 64, "cli; 1: incq " STR(GUEST_DATA) "; jmp 1b");
SNIPPET(spin_cpuid, 64, "1: cpuid; incq " STR(GUEST_DATA) "; jmp 1b");
SNIPPET(spin16, 16, "1: jmp 1b");
SNIPPET(spin32, 32, "1: jmp 1b");
SNIPPET(once, 64, "incq " STR(GUEST_DATA) "; hlt; jmp once");

/* ---- kick ---------------------------------------------------------------------- */

TEST_F(run, kick_from_another_thread)
{
	struct guest_thread t;

	GUEST_LOAD(&self->g, LONG64, spin);
	self->page->budget_ns = 0;
	guest_thread_start(&t, &self->g, 0);
	guest_wait_counting(&self->g, GUEST_DATA);
	ASSERT_EQ(0, raw_kick(self->g.vm, 0));
	EXPECT_EQ(WISP_EXIT_KICKED, guest_thread_join(&t));
	EXPECT_LE((__u64)GUEST_CODE, self->page->exit.rip);
	EXPECT_GE((__u64)GUEST_CODE + 8, self->page->exit.rip);
}

TEST_F(run, kick_with_interrupts_off)
{
	struct guest_thread t;

	if (guest_on_bochs_svm())
		SKIP(return, "Bochs: with IF clear nothing ends a loop");
	GUEST_LOAD(&self->g, LONG64, spin_cli);
	self->page->budget_ns = 0;
	guest_thread_start(&t, &self->g, 0);
	guest_wait_counting(&self->g, GUEST_DATA);
	ASSERT_EQ(0, raw_kick(self->g.vm, 0));
	EXPECT_EQ(WISP_EXIT_KICKED, guest_thread_join(&t));
}

TEST_F(run, kick_before_the_run)
{
	GUEST_LOAD(&self->g, LONG64, once);
	/* However often: it ends one run. */
	ASSERT_EQ(0, raw_kick(self->g.vm, 0));
	ASSERT_EQ(0, raw_kick(self->g.vm, 0));
	ASSERT_EQ(WISP_EXIT_KICKED, guest_run(&self->g));
	EXPECT_EQ((__u64)GUEST_CODE, self->page->exit.rip);
	EXPECT_EQ(0UL, self->data[0]);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ(1UL, self->data[0]);
}

/* A kick has no more to do with what the run was asked for. */
TEST_F(run, a_kicked_run_has_taken_its_request)
{
	GUEST_LOAD(&self->g, LONG64, once);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	ASSERT_EQ(0, raw_kick(self->g.vm, 0));
	self->page->state.general.rax = 77;
	self->page->dirty = WISP_STATE_GENERAL;
	ASSERT_EQ(WISP_EXIT_KICKED, guest_complete(&self->g, 0));
	EXPECT_EQ(0U, self->page->dirty);
	EXPECT_EQ(0U, self->page->complete);
	EXPECT_EQ(77UL, self->page->state.general.rax);
	EXPECT_EQ((__u64)GUEST_CODE + 9, self->page->exit.rip);
}

struct kicked {
	struct guest *guest;
	int runs;		/* done; shared with the kicker */
	int wrong;
};

#define KICKS 300

static void *run_until_kicked(void *data)
{
	struct kicked *k = data;

	for (int i = 0; i < KICKS; i++) {
		int reason = guest_run(k->guest);

		k->wrong += reason != WISP_EXIT_KICKED;
		__atomic_store_n(&k->runs, i + 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* Each kick ends a run, at whatever moment it comes. */
TEST_F(run, no_kick_is_lost)
{
	struct kicked k = { .guest = &self->g };
	pthread_t thread;

	GUEST_LOAD(&self->g, LONG64, spin);
	self->page->budget_ns = 0;
	self->page->want = 0;
	ASSERT_EQ(0, pthread_create(&thread, NULL, run_until_kicked, &k));
	for (int i = 0; i < KICKS; i++) {
		ASSERT_EQ(0, raw_kick(self->g.vm, 0));
		while (__atomic_load_n(&k.runs, __ATOMIC_ACQUIRE) <= i)
			;
	}
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, k.wrong);
}

/* ---- signals ---------------------------------------------------------------------- */

static int signals;

static void on_signal(int sig)
{
	(void)sig;
	signals++;
}

static void catch(int flags)
{
	struct sigaction action = {
		.sa_handler = on_signal,
		.sa_flags = flags,
	};

	sigaction(SIGUSR1, &action, NULL);
}

TEST_F(run, a_signal_ends_it)
{
	static const int flags[] = { 0, SA_RESTART };
	struct guest_thread t;

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		catch(flags[i]);
		signals = 0;
		GUEST_LOAD(&self->g, LONG64, spin);
		self->page->budget_ns = 0;
		guest_thread_start(&t, &self->g, 0);
		guest_wait_counting(&self->g, GUEST_DATA);
		ASSERT_EQ(0, pthread_kill(t.thread, SIGUSR1));
		EXPECT_EQ(-EINTR, guest_thread_join(&t));
		EXPECT_EQ(1, signals);
		EXPECT_EQ((__u32)WISP_EXIT_NONE, self->page->exit.reason);
		EXPECT_EQ(0U, self->page->dirty);

		/* As it is, the call goes on where it stopped. */
		guest_thread_start(&t, &self->g, 0);
		guest_wait_counting(&self->g, GUEST_DATA);
		ASSERT_EQ(0, raw_kick(self->g.vm, 0));
		EXPECT_EQ(WISP_EXIT_KICKED, guest_thread_join(&t));
	}
}

TEST_F(run, a_blocked_signal_does_not)
{
	sigset_t set;

	catch(0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, &set, NULL));
	ASSERT_EQ(0, raise(SIGUSR1));
	GUEST_LOAD(&self->g, LONG64, once);
	EXPECT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ(0, signals);
}

static void run_forever(struct guest *g)
{
	GUEST_LOAD(g, LONG64, spin_cli);
	g->page->budget_ns = 0;
	guest_run(g);
	_exit(1);
}

/* SIGKILL needs no cooperation, and leaves nothing behind. */
TEST_F(run, a_killed_process_is_gone)
{
	int status;

	if (guest_on_bochs_svm())
		SKIP(return, "Bochs: with IF clear nothing ends a loop");
	for (int i = 0; i < 5; i++) {
		pid_t pid = fork();

		ASSERT_LE(0, pid);
		if (!pid)
			run_forever(&self->g);
		guest_wait_counting(&self->g, GUEST_DATA);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status));
		/* The vCPU is free, and goes on here. */
		self->page->budget_ns = 1000000;
		EXPECT_EQ(WISP_EXIT_BUDGET, guest_run(&self->g));
	}
}

/* ---- budget ------------------------------------------------------------------------- */

TEST_F(run, budget_ends_every_loop)
{
	struct {
		enum guest_mode mode;
		const char *code;
		const char *end;
	} rows[] = {
		{ LONG64, spin, spin_end },
		{ LONG64, spin_cpuid, spin_cpuid_end },
		{ USER64, spin, spin_end },
		{ PROTECTED32, spin32, spin32_end },
		{ REAL16, spin16, spin16_end },
		{ LONG64, spin_cli, spin_cli_end },
	};
	size_t n = ARRAY_SIZE(rows) - guest_on_bochs_svm();

	for (size_t i = 0; i < n; i++) {
		guest_load(&self->g, rows[i].mode, rows[i].code, rows[i].end);
		self->page->budget_ns = 3000000;
		for (int again = 0; again < 3; again++) {
			EXPECT_EQ(WISP_EXIT_BUDGET, guest_run(&self->g))
				TH_LOG("row %zu", i);
		}
	}
}

/* From a nanosecond on; and however short, runs in a row get somewhere. */
TEST_F(run, short_budgets)
{
	GUEST_LOAD(&self->g, LONG64, spin);
	self->page->want = 0;
	for (int i = 0; i < 200; i++) {
		self->page->budget_ns = 1 + 100 * i;
		ASSERT_EQ(WISP_EXIT_BUDGET, guest_run(&self->g));
	}
	self->page->budget_ns = 1000000;
	for (int i = 0; i < 1000 && !self->data[0]; i++)
		ASSERT_EQ(WISP_EXIT_BUDGET, guest_run(&self->g));
	EXPECT_LT(0UL, self->data[0]);
}

/* The guest's TSC goes on at least as far as the budget says. */
TEST_F(run, budget_is_not_cut_short)
{
	__u64 before, ticks = self->g.query.tsc_khz * 30ULL;
	struct wisp_state state;

	GUEST_LOAD(&self->g, LONG64, spin);
	self->page->budget_ns = 1;
	ASSERT_EQ(WISP_EXIT_BUDGET, guest_run(&self->g));
	ASSERT_EQ(0, raw_get_state(self->g.vm, 0, WISP_STATE_MSRS, &state));
	before = state.msrs.tsc;
	self->page->budget_ns = 30000000;
	ASSERT_EQ(WISP_EXIT_BUDGET, guest_run(&self->g));
	/* An eighth for clocks that do not agree. */
	EXPECT_LE(before + ticks - ticks / 8, self->page->state.msrs.tsc);
}

/* A long one that is not used up is no help and no harm to the next. */
TEST_F(run, budgets_do_not_mix)
{
	for (int i = 0; i < 20; i++) {
		GUEST_LOAD(&self->g, LONG64, once);
		self->page->budget_ns = 100000000000ULL;
		ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
		GUEST_LOAD(&self->g, LONG64, spin);
		self->page->budget_ns = 2000000;
		ASSERT_EQ(WISP_EXIT_BUDGET, guest_run(&self->g));
		GUEST_LOAD(&self->g, LONG64, once);
		self->page->budget_ns = 0;
		ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	}
}

/* ---- several vCPUs --------------------------------------------------------------------- */

#define INCREMENTS 100000

SNIPPET(lock_inc, 64,
	"mov $" STR(INCREMENTS) ", %ecx\n"
	"1: lock incq " STR(GUEST_DATA) "; dec %ecx; jnz 1b; hlt");

TEST_F(run, two_vcpus_share_memory)
{
	struct guest_thread t[2];

	ASSERT_EQ(0, guest_add_vcpu(&self->g, 1));
	for (int i = 0; i < 2; i++) {
		guest_load_at(&self->g, i, LONG64, GUEST_CODE, lock_inc,
			      lock_inc_end);
		guest_thread_start(&t[i], &self->g, i);
	}
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(WISP_EXIT_HLT, guest_thread_join(&t[i]));
	EXPECT_EQ(2UL * INCREMENTS, self->data[0]);
}

/* One add per page from RDI on, RCX pages, RDX bytes on each time. */
SNIPPET(touch_pages, 64, "1: lock incq (%rdi); add %rdx, %rdi; loop 1b; hlt");

/* Both meet the same missing page at once: it is one page, and none is lost. */
TEST_F(run, two_vcpus_touch_first)
{
	const __u64 start = 0x100000, npages = 0x300;
	struct guest_thread t[2];

	ASSERT_EQ(0, guest_add_vcpu(&self->g, 1));
	for (int round = 0; round < 8; round++) {
		/* Fresh memory each time; tables and code stay where they are. */
		int fd = raw_create_memory(self->g.sys, npages * PAGE);
		__u64 *seen;

		ASSERT_LE(0, fd);
		ASSERT_EQ(0, raw_set_slot(self->g.vm, 0, 0, start, self->g.fd,
					  0, PROT_RWX));
		ASSERT_EQ(0, raw_set_slot(self->g.vm, 1, start, npages * PAGE,
					  fd, 0, PROT_RW));
		for (int i = 0; i < 2; i++) {
			struct wisp_general *general =
				&self->g.pages[i]->state.general;

			guest_load_at(&self->g, i, LONG64, GUEST_CODE,
				      touch_pages, touch_pages_end);
			/* One from below, one from above, or side by side. */
			general->rdi = start;
			general->rdx = PAGE;
			if (i && round & 1) {
				general->rdi = start + (npages - 1) * PAGE;
				general->rdx = -PAGE;
			}
			general->rcx = npages;
			guest_thread_start(&t[i], &self->g, i);
		}
		for (int i = 0; i < 2; i++)
			ASSERT_EQ(WISP_EXIT_HLT, guest_thread_join(&t[i]));
		seen = mmap(NULL, npages * PAGE, PROT_READ, MAP_SHARED, fd, 0);
		ASSERT_NE(MAP_FAILED, seen);
		for (__u64 i = 0; i < npages; i++) {
			ASSERT_EQ(2UL, seen[i * PAGE / 8])
				TH_LOG("round %d, page %llu", round, i);
		}
		munmap(seen, npages * PAGE);
		close(fd);
	}
}

/* The VMM writes to its mapping while the guest touches the same pages. */
TEST_F(run, vmm_and_guest_touch_first)
{
	const __u64 start = 0x100000, npages = 0x300;
	struct guest_thread t;

	GUEST_LOAD(&self->g, LONG64, touch_pages);
	self->page->state.general.rdi = start;
	self->page->state.general.rcx = npages;
	self->page->state.general.rdx = PAGE;
	guest_thread_start(&t, &self->g, 0);
	for (__u64 i = npages; i--;)
		__atomic_fetch_add((__u64 *)guest_at(&self->g,
						     start + i * PAGE),
				   1, __ATOMIC_SEQ_CST);
	EXPECT_EQ(WISP_EXIT_HLT, guest_thread_join(&t));
	for (__u64 i = 0; i < npages; i++)
		ASSERT_EQ(2UL, *(__u64 *)guest_at(&self->g, start + i * PAGE));
}

/* A vCPU belongs to no thread and no CPU. */
TEST_F(run, a_vcpu_wanders)
{
	GUEST_LOAD(&self->g, LONG64, once);
	for (int i = 0; i < 40; i++) {
		struct guest_thread t;

		ASSERT_EQ(0, guest_pin(i));
		self->page->complete = i > 0;
		guest_thread_start(&t, &self->g, 0);
		ASSERT_EQ(WISP_EXIT_HLT, guest_thread_join(&t));
		EXPECT_EQ(i + 1UL, self->data[0]);
	}
}

SNIPPET(remap, 64,
	"mov (%rdi), %eax; hlt\n"
	"mov %rdx, (%rsi); invlpg (%rdi); mov (%rdi), %ebx; hlt\n"
	"mov (%rdi), %ecx; hlt");

/* INVLPG is for the CPU that the vCPU is on; where it was before must not count. */
TEST_F(run, a_vcpu_comes_back_to_a_cpu)
{
	struct wisp_general *general = &self->page->state.general;

	self->data[0] = 1;
	self->data[PAGE / 8] = 2;
	for (int i = 0; i < 20; i++) {
		GUEST_LOAD(&self->g, LONG64, remap);
		general->rdi = GUEST_DATA;
		general->rsi = (char *)guest_pte(&self->g, GUEST_DATA) -
			       self->g.memory;
		general->rdx = (GUEST_DATA + PAGE) | 7;
		*guest_pte(&self->g, GUEST_DATA) = GUEST_DATA | 7;
		ASSERT_EQ(0, guest_pin(0));
		ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
		EXPECT_EQ(1UL, general->rax);
		ASSERT_EQ(0, guest_pin(1));
		ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));
		EXPECT_EQ(2UL, general->rbx);
		ASSERT_EQ(0, guest_pin(0));
		ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));
		EXPECT_EQ(2UL, general->rcx);
	}
}

/* ---- many VMs ----------------------------------------------------------------------------- */

#define VMS 24

/* Adds RBX to a word of each of RCX pages. */
SNIPPET(add_pages, 64, "1: addq %rbx, (%rdi); add $0x1000, %rdi; loop 1b; hlt");

static void run_add_pages(struct guest *g, int id)
{
	GUEST_LOAD(g, LONG64, add_pages);
	g->page->want = 0;
	g->page->state.general.rbx = id;
	g->page->state.general.rdi = 0x200000;
	g->page->state.general.rcx = 64;
}

TEST_F(run, many_vms_keep_apart)
{
	static struct guest vms[VMS];
	struct guest_thread t[VMS];

	for (int i = 0; i < VMS; i++) {
		ASSERT_EQ(0, guest_create(&vms[i]))
			TH_LOG("VM %d", i);
	}
	/* In turn on one CPU, then all at once. */
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < VMS; i++) {
			run_add_pages(&vms[i], i + 1);
			ASSERT_EQ(WISP_EXIT_HLT, guest_run(&vms[i]));
		}
	}
	for (int i = 0; i < VMS; i++) {
		run_add_pages(&vms[i], i + 1);
		guest_thread_start(&t[i], &vms[i], 0);
	}
	for (int i = 0; i < VMS; i++)
		ASSERT_EQ(WISP_EXIT_HLT, guest_thread_join(&t[i]));
	for (int i = 0; i < VMS; i++) {
		for (__u64 page = 0; page < 64; page++) {
			ASSERT_EQ(4UL * (i + 1),
				  *(__u64 *)guest_at(&vms[i], 0x200000 +
						     page * PAGE))
				TH_LOG("VM %d, page %llu", i, page);
		}
	}
	for (int i = 0; i < VMS; i++)
		guest_destroy(&vms[i]);
}

/* ---- other processes ------------------------------------------------------------------------- */

/* After fork(2) every call works, in the child and in the parent. */
TEST_F(run, a_child_runs_the_vm)
{
	int status;
	pid_t pid;

	GUEST_LOAD(&self->g, LONG64, once);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct guest own;

		if (guest_complete(&self->g, 0) != WISP_EXIT_HLT ||
		    self->data[0] != 2)
			_exit(1);
		if (raw_set_slot(self->g.vm, 1, GUEST_NOWHERE, PAGE,
				 self->g.fd, 0, PROT_RW))
			_exit(2);
		if (guest_add_vcpu(&self->g, 1))
			_exit(3);
		if (guest_create(&own))
			_exit(4);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(2UL, self->data[0]);
	/* What the child did, the VM has. */
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));
	EXPECT_EQ(3UL, self->data[0]);
	EXPECT_EQ(0, raw_remove_slot(self->g.vm, 1));
	EXPECT_EQ(0, raw_kick(self->g.vm, 1));
}

/* Two processes, a vCPU each, the memory between them. */
TEST_F(run, two_processes_run_one_vm)
{
	int status;
	pid_t pid;

	ASSERT_EQ(0, guest_add_vcpu(&self->g, 1));
	for (int i = 0; i < 2; i++)
		guest_load_at(&self->g, i, LONG64, GUEST_CODE, lock_inc,
			      lock_inc_end);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(guest_run_vcpu(&self->g, 1) != WISP_EXIT_HLT);
	EXPECT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(2UL * INCREMENTS, self->data[0]);
}

static void send_fd(int socket, int fd)
{
	char control[CMSG_SPACE(sizeof(fd))] = { 0 };
	char byte = 0;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	if (sendmsg(socket, &msg, 0) != 1)
		abort();
}

static int receive_fd(int socket)
{
	char control[CMSG_SPACE(sizeof(int))];
	char byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	int fd;

	if (recvmsg(socket, &msg, 0) != 1 || !CMSG_FIRSTHDR(&msg))
		return -1;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

/* A process that never opened /dev/wisp gets a VM, and outlives its maker. */
TEST_F(run, a_vm_is_passed_on)
{
	struct guest g;
	int sockets[2];
	int status, fd;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* The maker: sets it up, hands it over, ends. */
		if (guest_create(&g))
			_exit(1);
		guest_load_at(&g, 0, LONG64, GUEST_CODE, once, once_end);
		if (guest_run(&g) != WISP_EXIT_HLT)
			_exit(2);
		send_fd(sockets[1], g.vm);
		_exit(0);
	}
	fd = receive_fd(sockets[0]);
	ASSERT_LE(0, fd);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);

	EXPECT_EQ(0, raw_run(fd, 0));
	ASSERT_EQ(8, pread(fd, self->data, 8, GUEST_DATA));
	EXPECT_EQ(1UL, self->data[0]);
	close(fd);
}

TEST_HARNESS_MAIN
