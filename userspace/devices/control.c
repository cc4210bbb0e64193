// SPDX-License-Identifier: MIT
#include "control.h"

#include <sys/random.h>

static uint32_t control_in(void *device, uint64_t now, uint16_t offset,
			   unsigned int size)
{
	struct control *control = device;

	return control->is_resumed;
}

static void control_out(void *device, uint64_t now, uint16_t offset,
			unsigned int size, uint32_t value)
{
	struct control *control = device;

	if (value == CONTROL_SAVE)
		control->wants_save = true;
}

static const struct bus_ops control_ops = {
	.in = control_in, .out = control_out,
};

static uint32_t generation_in(void *device, uint64_t now, uint16_t offset,
			      unsigned int size)
{
	struct control *control = device;

	return control->generation[offset];
}

static const struct bus_ops generation_ops = { .in = generation_in };

int control_init(struct control *control)
{
	ssize_t n = getrandom(control->generation, GENERATION_SIZE, 0);

	return n == GENERATION_SIZE ? 0 : -1;
}

int control_attach(struct control *control, struct bus *bus)
{
	return bus_add(bus, CONTROL_PORT, CONTROL_PORT, 1, &control_ops, control) ?:
	       bus_add(bus, GENERATION_PORT, GENERATION_PORT + GENERATION_SIZE - 1, 1,
		       &generation_ops, control);
}
