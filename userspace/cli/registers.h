/* SPDX-License-Identifier: MIT */
/* The vCPU's registers as gdb numbers and sees them. */
#ifndef WISP_CLI_REGISTERS_H
#define WISP_CLI_REGISTERS_H

#include <stdbool.h>
#include <wisp.h>

/* The groups of struct wisp_state that registers are in. */
#define REGISTERS_GROUPS \
	(WISP_STATE_GENERAL | WISP_STATE_SEGMENTS | WISP_STATE_CONTROL | \
	 WISP_STATE_FPU)

/* Bytes of the largest one, and of all of them. */
#define REGISTER_MAX	16
#define REGISTERS_MAX	1024

/* The target description, with a zero behind it. */
extern const char registers_xml[];

unsigned int registers_count(void);
unsigned int register_size(unsigned int number);

/* Little endian, as gdb has them. */
void register_get(const struct wisp_state *state, unsigned int number,
		  void *value);

/* Returns the group that has changed. */
uint32_t register_set(struct wisp_state *state, unsigned int number,
		      const void *value);

#endif
