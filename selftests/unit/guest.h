/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A guest without a driver: a memfd is its memory. What lies behind the end of
 * it is in no slot.
 */
#ifndef SELFTESTS_UNIT_GUEST_H
#define SELFTESTS_UNIT_GUEST_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <wisp.h>

#define CODE32_ATTRIBUTES	0xc09b
#define CODE64_ATTRIBUTES	0xa09b
#define CODE16_ATTRIBUTES	0x009b
#define DATA_ATTRIBUTES		0xc093
#define DATA_USER_ATTRIBUTES	0xc0f3

#define CR0_PE			(1ULL << 0)
#define CR0_WP			(1ULL << 16)
#define CR0_PG			(1ULL << 31)
#define CR4_PSE			(1ULL << 4)
#define CR4_PAE			(1ULL << 5)
#define CR4_LA57		(1ULL << 12)
#define CR4_SMEP		(1ULL << 20)
#define CR4_SMAP		(1ULL << 21)
#define EFER_LMA		(1ULL << 10)
#define EFER_NXE		(1ULL << 11)

static inline int guest_create(off_t size)
{
	int vm = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (vm < 0 || ftruncate(vm, size) ||
	    fcntl(vm, F_ADD_SEALS, F_SEAL_GROW)) {
		perror("guest memory");
		exit(1);
	}
	return vm;
}

static inline void guest_write64(int vm, uint64_t gpa, uint64_t value)
{
	wisp_write(vm, gpa, &value, sizeof(value));
}

static inline void guest_write32(int vm, uint64_t gpa, uint32_t value)
{
	wisp_write(vm, gpa, &value, sizeof(value));
}

static inline uint64_t guest_read64(int vm, uint64_t gpa)
{
	uint64_t value = 0;

	wisp_read(vm, gpa, &value, sizeof(value));
	return value;
}

/* Deterministic, so that a failure comes again. */
static inline uint64_t guest_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

#endif
