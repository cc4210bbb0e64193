// SPDX-License-Identifier: GPL-2.0
/*
 * Fds are capabilities: who has one may use it, whoever made it, whether the
 * maker lives or not.
 */
#include "../harness.h"
#include "life.h"

SNIPPET(once, 64, "1: incq " STR(GUEST_DATA) "; hlt; jmp 1b");

#define ROUNDS	20000

SNIPPET(add, 64,
	"mov $" STR(ROUNDS) ", %ecx\n"
	"1: lock incq " STR(GUEST_DATA) "; loop 1b; hlt");

FIXTURE(pass) {
	int refs;
	int sockets[2];
};

FIXTURE_SETUP(pass)
{
	self->refs = module_refs();
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, self->sockets));
}

FIXTURE_TEARDOWN(pass)
{
	EXPECT_EQ(self->refs, wait_refs(self->refs));
}

/* The maker: hands a VM over that has run once, and ends. */
static void make(int socket)
{
	struct guest g;
	int fds[2];

	if (guest_create(&g))
		_exit(1);
	GUEST_LOAD(&g, LONG64, once);
	if (guest_run(&g) != WISP_EXIT_HLT)
		_exit(2);
	fds[0] = g.vm;
	fds[1] = g.fd;
	send_fds(socket, fds, 2);
	_exit(0);
}

/* Who got it: all calls work, on a VM that nobody else has. */
static int use(int vm, int memory)
{
	struct wisp_stats stats = { .size = sizeof(stats) };
	struct wisp_discard discard = {
		.size = sizeof(discard), .offset = GUEST_DATA,
		.discard_size = PAGE,
	};
	struct wisp_vcpu_page *page;
	volatile __u64 *data;
	struct guest g = { .vm = vm };

	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, vm, 0);
	data = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory,
		    GUEST_DATA);
	if (page == MAP_FAILED || data == MAP_FAILED)
		return 10;
	g.page = g.pages[0] = page;
	if (guest_complete(&g, 0) != WISP_EXIT_HLT || *data != 2)
		return 11;
	if (raw_create_vcpu(vm, 1, &page))
		return 12;
	if (raw_set_slot(vm, 1, GUEST_NOWHERE, PAGE, memory, 0, PROT_RW))
		return 13;
	if (raw(memory, WISP_DISCARD, &discard) || *data)
		return 14;
	if (raw(vm, WISP_STATS, &stats) || stats.vcpus != 2)
		return 15;
	return raw_kick(vm, 1) ? 16 : 0;
}

static int pass_to(int *sockets, uid_t uid)
{
	pid_t maker, taker;
	int ret, fds[2];

	taker = fork_user(uid);
	if (!taker) {
		if (!receive_fds(sockets[0], fds, 2))
			_exit(3);
		_exit(use(fds[0], fds[1]));
	}
	maker = fork();
	if (!maker)
		make(sockets[1]);
	ret = wait_child(maker);
	return wait_child(taker) ?: ret;
}

TEST_F(pass, to_another_process)
{
	EXPECT_EQ(0, pass_to(self->sockets, 0));
}

TEST_F(pass, to_another_user)
{
	EXPECT_EQ(0, pass_to(self->sockets, NOBODY));
}

/* The taker gets it when its maker is long gone. */
TEST_F(pass, outlives_its_maker)
{
	pid_t maker = fork(), taker;
	int fds[2];

	ASSERT_LE(0, maker);
	if (!maker)
		make(self->sockets[1]);
	ASSERT_EQ(0, wait_child(maker));
	EXPECT_EQ(self->refs + 2, wait_refs(self->refs + 2));
	taker = fork_user(NOBODY);
	ASSERT_LE(0, taker);
	if (!taker) {
		if (!receive_fds(self->sockets[0], fds, 2))
			_exit(3);
		_exit(use(fds[0], fds[1]));
	}
	EXPECT_EQ(0, wait_child(taker));
}

/* And so it is when nobody ever takes it. */
TEST_F(pass, lost_on_its_way)
{
	pid_t maker = fork();

	ASSERT_LE(0, maker);
	if (!maker)
		make(self->sockets[1]);
	ASSERT_EQ(0, wait_child(maker));
	close(self->sockets[0]);
	close(self->sockets[1]);
}

TEST_F(pass, children_inherit)
{
	static const uid_t uids[] = { 0, NOBODY, 0, SOMEBODY };
	struct guest g;

	ASSERT_EQ(0, guest_create(&g));
	GUEST_LOAD(&g, LONG64, once);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&g));
	for (int i = 0; i < 4; i++) {
		pid_t pid = fork_user(uids[i]);

		ASSERT_LE(0, pid);
		if (!pid)
			_exit(guest_complete(&g, 0) != WISP_EXIT_HLT);
		EXPECT_EQ(0, wait_child(pid));
		EXPECT_EQ(i + 2UL, *(__u64 *)guest_at(&g, GUEST_DATA));
	}
	guest_destroy(&g);
}

/* A process for each vCPU, the parent among them, all at once. */
TEST_F(pass, a_process_for_each_vcpu)
{
	struct guest g;
	pid_t pids[GUEST_VCPUS];

	ASSERT_EQ(0, guest_create_vm(&g));
	for (int i = 0; i < GUEST_VCPUS; i++) {
		ASSERT_EQ(0, guest_add_vcpu(&g, i));
		guest_load_at(&g, i, LONG64, GUEST_CODE, add, add_end);
	}
	for (int i = 1; i < GUEST_VCPUS; i++) {
		pids[i] = fork_user(i & 1 ? NOBODY : 0);
		ASSERT_LE(0, pids[i]);
		if (!pids[i])
			_exit(guest_run_vcpu(&g, i) != WISP_EXIT_HLT);
	}
	EXPECT_EQ(WISP_EXIT_HLT, guest_run(&g));
	for (int i = 1; i < GUEST_VCPUS; i++)
		EXPECT_EQ(0, wait_child(pids[i]));
	EXPECT_EQ(GUEST_VCPUS * (__u64)ROUNDS,
		  *(__u64 *)guest_at(&g, GUEST_DATA));
	guest_destroy(&g);
}

/* The same vCPU, in two processes: one of them is told. */
TEST_F(pass, one_process_at_a_time_for_a_vcpu)
{
	struct guest g;
	pid_t pid;

	ASSERT_EQ(0, guest_create(&g));
	SNIPPET(spin, 64, "1: incq " STR(GUEST_DATA) "; jmp 1b");
	GUEST_LOAD(&g, LONG64, spin);
	g.page->budget_ns = 0;
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(guest_run(&g) != WISP_EXIT_KICKED);
	guest_wait_counting(&g, GUEST_DATA);
	EXPECT_EQ(-EBUSY, raw_run(g.vm, 0));
	EXPECT_EQ(0, raw_kick(g.vm, 0));
	EXPECT_EQ(0, wait_child(pid));
	guest_destroy(&g);
}

/* Not to those who exec() without knowing. */
TEST_F(pass, not_over_exec)
{
	struct guest g;
	pid_t pid;

	ASSERT_EQ(0, guest_create(&g));
	EXPECT_EQ(FD_CLOEXEC, fcntl(g.vm, F_GETFD));
	EXPECT_EQ(FD_CLOEXEC, fcntl(g.fd, F_GETFD));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		char vm[60], memory[60];

		snprintf(vm, sizeof(vm), "/proc/self/fd/%d", g.vm);
		snprintf(memory, sizeof(memory), "/proc/self/fd/%d", g.fd);
		execl("/bin/busybox", "sh", "-c",
		      "! [ -L $0 ] && ! [ -L $1 ] && [ -L /proc/self/fd/0 ]",
		      vm, memory, NULL);
		_exit(99);
	}
	EXPECT_EQ(0, wait_child(pid));
	guest_destroy(&g);
}

TEST_HARNESS_MAIN
