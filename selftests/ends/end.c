// SPDX-License-Identifier: GPL-2.0
/*
 * Ends the machine while guests run on all of its CPUs.
 *
 *   end HOW [KERNEL INITRD CMDLINE]   HOW: reboot, poweroff, kexec, crash
 *   end efer                          prints EFER of each CPU
 *
 * Once the guests run it says "holding", and waits for a line.
 */
#include <linux/kexec.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include "../host/host.h"

#define MSR_EFER	0xc0000080

/* RDI: its place. */
SNIPPET(count, 64, "1: incq (%rdi); jmp 1b");

static void check(bool good, const char *what)
{
	if (good)
		return;
	printf("# failed: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void hold(struct guest *g, struct host_runner *runners)
{
	int cpus = sysconf(_SC_NPROCESSORS_ONLN);

	check(cpus <= GUEST_VCPUS && !guest_create(g), "create");
	for (int i = 0; i < cpus; i++) {
		check(!i || !guest_add_vcpu(g, i), "create a vCPU");
		guest_load_at(g, i, LONG64, GUEST_CODE, count, count_end);
		g->pages[i]->state.general.rdi = COUNTER(i);
		host_start(&runners[i], g, i, i);
		guest_wait_counting(g, COUNTER(i));
	}
}

static void load_kernel(char **argv, unsigned long flags)
{
	int kernel = open(argv[0], O_RDONLY | O_CLOEXEC);
	int initrd = open(argv[1], O_RDONLY | O_CLOEXEC);

	check(!syscall(SYS_kexec_file_load, kernel, initrd, strlen(argv[2]) + 1,
		       argv[2], flags), "kexec_file_load");
}

static void reboot(int how)
{
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, how, NULL);
	check(false, "reboot");
}

static void print_efer(void)
{
	char path[40];
	__u64 efer;

	for (int cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++) {
		int fd;

		snprintf(path, sizeof(path), "/dev/cpu/%d/msr", cpu);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		check(pread(fd, &efer, sizeof(efer), MSR_EFER) == sizeof(efer),
		      path);
		printf("EFER=%016llx\n", efer);
		close(fd);
	}
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	struct host_runner runners[GUEST_VCPUS];
	struct guest g;

	if (!strcmp(how, "efer")) {
		print_efer();
		return 0;
	}
	if (argc > 4)
		load_kernel(argv + 2, !strcmp(how, "crash") ?
				KEXEC_FILE_ON_CRASH : 0);
	hold(&g, runners);
	printf("holding\n");
	fflush(stdout);
	getchar();

	/* Not from another CPU: who crashes must be one that can start others. */
	check(!guest_pin(0), "pin");
	if (!strcmp(how, "reboot"))
		reboot(LINUX_REBOOT_CMD_RESTART);
	else if (!strcmp(how, "poweroff"))
		reboot(LINUX_REBOOT_CMD_POWER_OFF);
	else if (!strcmp(how, "kexec"))
		reboot(LINUX_REBOOT_CMD_KEXEC);
	else if (!strcmp(how, "crash"))
		check(!write_file("/proc/sysrq-trigger", "c"), "sysrq");
	return 1;
}
