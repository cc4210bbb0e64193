// SPDX-License-Identifier: MIT
#include "state.h"

#include <string.h>

void state_bytes(struct state *state, void *value, size_t size)
{
	uint8_t *here = state->data + state->at;

	if (state->is_bad || size > state->room - state->at) {
		state->is_bad = true;
		if (state->loads)
			memset(value, 0, size);
		return;
	}
	if (state->loads)
		memcpy(value, here, size);
	else
		memcpy(here, value, size);
	state->at += size;
}

void state_bool(struct state *state, bool *value)
{
	uint8_t byte = *value;

	STATE(state, byte);
	state_check(state, byte <= 1);
	*value = byte & 1;
}

void state_section(struct state *state, const char *name, uint32_t version)
{
	char found_name[4];
	uint32_t found = version;

	memcpy(found_name, name, sizeof(found_name));
	STATE(state, found_name);
	STATE(state, found);
	state_check(state, !memcmp(found_name, name, sizeof(found_name)) &&
			   found == version);
}

void state_check(struct state *state, bool good)
{
	if (!good)
		state->is_bad = true;
}
