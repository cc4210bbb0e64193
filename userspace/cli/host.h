/* SPDX-License-Identifier: MIT */
/* What this host is, and why it cannot run guests. */
#ifndef WISP_CLI_HOST_H
#define WISP_CLI_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HOST_REASON_SIZE	256

struct host_cpu {
	char vendor[13];
	bool svm;
	bool vmx;
	bool nested_paging;	/* SVM; on VMX only the driver can tell */
};

void host_cpu(struct host_cpu *cpu);

/* In QEMU's emulation, some of whose gaps must be known. */
bool host_is_tcg(void);

/* Bytes of RAM. */
uint64_t host_memory_size(void);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t host_now(void);

/* One line about why wisp_open() gave @error, and what to do. */
void host_reason(int error, char *text, size_t size);

#endif
