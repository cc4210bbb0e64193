// SPDX-License-Identifier: MIT
#include "host.h"

#include <cpuid.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S			1000000000ULL

#define CPUID_1_ECX_VMX			(1U << 5)
#define CPUID_80000001_ECX_SVM		(1U << 2)
#define CPUID_8000000A_EDX_NP		(1U << 0)

void host_cpu(struct host_cpu *cpu)
{
	unsigned int eax, ebx = 0, ecx = 0, edx = 0;

	memset(cpu, 0, sizeof(*cpu));
	__get_cpuid(0, &eax, &ebx, &ecx, &edx);
	memcpy(cpu->vendor, &ebx, 4);
	memcpy(cpu->vendor + 4, &edx, 4);
	memcpy(cpu->vendor + 8, &ecx, 4);
	if (__get_cpuid(1, &eax, &ebx, &ecx, &edx))
		cpu->vmx = ecx & CPUID_1_ECX_VMX;
	if (__get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx))
		cpu->svm = ecx & CPUID_80000001_ECX_SVM;
	if (cpu->svm && __get_cpuid(0x8000000a, &eax, &ebx, &ecx, &edx))
		cpu->nested_paging = edx & CPUID_8000000A_EDX_NP;
}

bool host_is_tcg(void)
{
	static const char name[12] = "TCGTCGTCGTCG";
	unsigned int eax, words[3];

	__cpuid(0x40000000, eax, words[0], words[1], words[2]);
	return eax >= 0x40000000 && !memcmp(words, name, sizeof(name));
}

uint64_t host_memory_size(void)
{
	return (uint64_t)sysconf(_SC_PHYS_PAGES) *
	       (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t host_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* What the kernel makes of the CPU's features: not what CPUID says. */
static bool kernel_has(const char *flag)
{
	char *line = NULL, *word, *rest;
	bool found = false;
	size_t size = 0;
	FILE *file;

	file = fopen("/proc/cpuinfo", "r");
	if (!file)
		return false;
	while (getline(&line, &size, file) > 0 && strncmp(line, "flags", 5))
		;
	rest = line;
	while (!found && (word = strsep(&rest, " \t\n")))
		found = !strcmp(word, flag);
	free(line);
	fclose(file);
	return found;
}

static void missing_reason(char *text, size_t size)
{
	struct host_cpu cpu;

	host_cpu(&cpu);
	if (!cpu.svm && !cpu.vmx)
		snprintf(text, size,
			 "this CPU (%s) has neither SVM nor VMX: enable virtualization in the firmware or in the hypervisor above, or use another host",
			 cpu.vendor);
	else if (cpu.svm && !cpu.nested_paging)
		snprintf(text, size,
			 "this CPU has SVM without nested paging: use another host");
	else if (cpu.vmx && !kernel_has("vmx"))
		snprintf(text, size,
			 "the firmware has turned VMX off: enable it in the firmware's set-up");
	else if (kernel_has("fred"))
		snprintf(text, size,
			 "the kernel uses FRED, with which the driver does not work: boot with fred=off");
	else
		snprintf(text, size,
			 "there is no /dev/wisp: load the driver with insmod wisp.ko; if that fails, dmesg says why");
}

/* Why wisp_open() gave @error. */
static void open_reason(int error, char *text, size_t size)
{
	switch (error) {
	case -ENOENT:
	case -ENXIO:
	case -ENODEV:
		missing_reason(text, size);
		break;
	case -EACCES:
	case -EPERM:
		snprintf(text, size,
			 "no permission to open /dev/wisp: join its group (ls -l /dev/wisp) or be root");
		break;
	default:
		snprintf(text, size,
			 "/dev/wisp cannot be opened: %s: see dmesg",
			 strerror(-error));
		break;
	}
}

int host_open_driver(struct wisp_query *query, char *why)
{
	int sys = wisp_open(), ret;

	*query = (struct wisp_query){ 0 };
	if (sys < 0) {
		open_reason(sys, why, HOST_REASON_SIZE);
		return -1;
	}
	ret = wisp_query(sys, query);
	if (!ret && query->abi_version == WISP_ABI_VERSION)
		return sys;
	close(sys);
	if (ret)
		snprintf(why, HOST_REASON_SIZE,
			 "the driver does not answer: %s: use driver and command of one version",
			 strerror(-ret));
	else
		snprintf(why, HOST_REASON_SIZE,
			 "the driver speaks ABI %u and this command %u: use the two of one version",
			 query->abi_version, WISP_ABI_VERSION);
	return -1;
}
