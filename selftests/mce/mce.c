// SPDX-License-Identifier: GPL-2.0
/*
 * Machine checks, in the middle of a guest: the host's handler has each, as
 * /proc/interrupts counts them, and the guest goes on as if nothing had been. Where
 * IA32_MCG_STATUS says that the interrupted program can go on, as the lab's does, that
 * is all that the kernel does about one. The module "planted" raises them.
 */
#include <stdlib.h>
#include <sys/syscall.h>

#include "../harness.h"
#include "../host/watchful.h"

#define CPU		1
#define ROUNDS		10
#define PLANTED		"/lab/planted.ko"

/* How many the kernel has had on a CPU, or -1. */
static long machine_checks(int cpu)
{
	FILE *f = fopen("/proc/interrupts", "r");
	char line[1024];
	long n = -1;

	while (f && n < 0 && fgets(line, sizeof(line), f)) {
		char *s = strstr(line, "MCE:");

		if (!s)
			continue;
		s += strlen("MCE:");
		for (int i = 0; i <= cpu; i++)
			n = strtol(s, &s, 10);
	}
	if (f)
		fclose(f);
	return n;
}

/* One for each CPU. Returns 0 or -errno. */
static int raise_machine_checks(void)
{
	int fd = open(PLANTED, O_RDONLY | O_CLOEXEC);
	int ret;

	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, "what=mce", 0);
	close(fd);
	if (ret || syscall(SYS_delete_module, "planted", 0))
		return -errno;
	return 0;
}

TEST(is_the_hosts)
{
	struct host_runner runner;
	struct guest g;

	ASSERT_EQ(0, guest_create(&g));
	watchful_load(&g);
	ASSERT_EQ(0, guest_pin(0));
	host_start(&runner, &g, 0, CPU);

	for (int i = 0; i < ROUNDS; i++) {
		long before = machine_checks(CPU);

		ASSERT_LE(0, before);
		guest_wait_counting(&g, COUNTER(0));
		ASSERT_EQ(0, raise_machine_checks());
		guest_wait_counting(&g, COUNTER(0));
		EXPECT_EQ(before + 1, machine_checks(CPU));
		ASSERT_FALSE(host_done(&runner));
	}

	watchful_stop(&g);
	EXPECT_EQ(WISP_EXIT_HLT, host_join(&runner));
	EXPECT_TRUE(watchful_is_well(&g));
	guest_destroy(&g);
}

TEST_HARNESS_MAIN
