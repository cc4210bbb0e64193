/* SPDX-License-Identifier: MIT */
/*
 * What a debugger stops the guest at: an instruction put into its memory, and
 * DR0-3.
 */
#ifndef WISP_CLI_BREAKPOINTS_H
#define WISP_CLI_BREAKPOINTS_H

#include <stdbool.h>
#include <stddef.h>
#include <wisp.h>

#define BREAKPOINTS_SOFTWARE	256
#define BREAKPOINTS_HARDWARE	4

/* Numbered as in gdb's packets Z0 to Z4. */
enum breakpoint_kind {
	BREAKPOINT_SOFTWARE = 0,
	BREAKPOINT_HARDWARE = 1,
	BREAKPOINT_WRITE = 2,
	BREAKPOINT_READ = 3,	/* or write: the CPU has no other */
	BREAKPOINT_ACCESS = 4,
};

#define BREAKPOINT_INT3	0xcc
#define BREAKPOINT_HLT	0xf4	/* for CPL 0 only */

struct breakpoints {
	int vm;
	uint8_t trap;		/* one of these */
	struct {
		uint64_t gva;
		uint64_t gpa;
		uint8_t byte;	/* what the trap stands in for */
	} software[BREAKPOINTS_SOFTWARE];
	unsigned int count;
	struct {
		bool used;
		enum breakpoint_kind kind;
		unsigned int size;
	} hardware[BREAKPOINTS_HARDWARE];
	struct wisp_breakpoints registers;	/* for the vCPU's page */
};

/*
 * Adding what is there, and removing what is not, is no error. Each returns 0,
 * or -EFAULT (no memory there), -ENOSPC (too many) or -EINVAL (a size or an
 * alignment that the CPU does not have).
 */
int breakpoints_add(struct breakpoints *breakpoints,
		    const struct wisp_state *state, enum breakpoint_kind kind,
		    uint64_t gva, unsigned int size);
int breakpoints_remove(struct breakpoints *breakpoints,
		       enum breakpoint_kind kind, uint64_t gva,
		       unsigned int size);
void breakpoints_clear(struct breakpoints *breakpoints);

bool breakpoints_has_hardware(const struct breakpoints *breakpoints);

/* Whether a trap at @gpa is one of ours. */
bool breakpoints_at(const struct breakpoints *breakpoints, uint64_t gpa);

/* Guest-physical memory as it is without them. As wisp_read(), wisp_write(). */
int breakpoints_read(const struct breakpoints *breakpoints, uint64_t gpa,
		     void *data, size_t size);
int breakpoints_write(struct breakpoints *breakpoints, uint64_t gpa,
		      const void *data, size_t size);

#endif
