/* SPDX-License-Identifier: MIT */
/* What this host is, and why it cannot run guests. */
#ifndef WISP_CLI_HOST_H
#define WISP_CLI_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <wisp.h>

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

/*
 * The system fd of a driver that speaks this command's ABI; or -1, and in @why, of
 * HOST_REASON_SIZE bytes, one line about why not, and what to do. @query's abi_version
 * is 0 where there is no answer.
 */
int host_open_driver(struct wisp_query *query, char *why);

#endif
