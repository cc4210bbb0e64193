// SPDX-License-Identifier: MIT
#include "control.h"

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

int control_attach(struct control *control, struct bus *bus)
{
	return bus_add(bus, CONTROL_PORT, CONTROL_PORT, 1, &control_ops, control);
}
