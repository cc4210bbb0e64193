/* SPDX-License-Identifier: MIT */
/*
 * The state of devices as bytes, to be kept in a file. Each device has one
 * function for both directions, that names its values in a fixed order; a
 * section says whose they are, and in which version.
 */
#ifndef WISP_DEVICES_STATE_H
#define WISP_DEVICES_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct state {
	uint8_t *data;
	size_t room;		/* bytes at @data */
	size_t at;
	bool loads;		/* else it saves */
	bool is_bad;		/* no room, or not what was saved: stays so */
};

void state_bytes(struct state *state, void *value, size_t size);
void state_bool(struct state *state, bool *value);

/* @name: four characters. */
void state_section(struct state *state, const char *name, uint32_t version);

/* What was loaded cannot be unless @good: the bytes may be anybody's. */
void state_check(struct state *state, bool good);

#define STATE(state, value)	state_bytes(state, &(value), sizeof(value))

#endif
