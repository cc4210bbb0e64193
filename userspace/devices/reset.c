// SPDX-License-Identifier: MIT
#include "reset.h"

#define I8042_PULSE_RESET	0xfe
#define PORT92_RESET		0x01
#define PORT92_A20		0x02
#define CONTROL_RESET		0x04

/* Of the configuration address, a dword: RESET_CONTROL_PORT is one of its bytes. */
#define PCI_CONFIG_PORT		0xcf8

/* No byte to read and room for one to write: Linux finds no keyboard. */
static uint32_t i8042_in(void *device, uint64_t now, uint16_t offset,
			 unsigned int size)
{
	return 0;
}

static void i8042_out(void *device, uint64_t now, uint16_t offset,
		      unsigned int size, uint32_t value)
{
	struct reset *reset = device;

	if (value == I8042_PULSE_RESET)
		*reset->power = POWER_RESET;
}

static uint32_t port92_in(void *device, uint64_t now, uint16_t offset,
			  unsigned int size)
{
	struct reset *reset = device;

	return reset->port92;
}

static void port92_out(void *device, uint64_t now, uint16_t offset,
		       unsigned int size, uint32_t value)
{
	struct reset *reset = device;

	if (value & ~reset->port92 & PORT92_RESET)
		*reset->power = POWER_RESET;
	reset->port92 = (uint8_t)value;
}

static uint32_t control_in(void *device, uint64_t now, uint16_t offset,
			   unsigned int size)
{
	struct reset *reset = device;

	return reset->control;
}

static void control_out(void *device, uint64_t now, uint16_t offset,
			unsigned int size, uint32_t value)
{
	struct reset *reset = device;

	if (value & ~reset->control & CONTROL_RESET)
		*reset->power = POWER_RESET;
	reset->control = value & ~CONTROL_RESET;
}

/* There is no PCI: as on a bus where nobody takes it. */
static uint32_t config_in(void *device, uint64_t now, uint16_t offset,
			  unsigned int size)
{
	return UINT32_MAX;
}

static const struct bus_ops i8042_ops = { .in = i8042_in, .out = i8042_out };
static const struct bus_ops port92_ops = { .in = port92_in, .out = port92_out };
static const struct bus_ops control_ops = {
	.in = control_in, .out = control_out,
};
static const struct bus_ops config_ops = { .in = config_in };

void reset_init(struct reset *reset, enum power *power)
{
	*reset = (struct reset){ .power = power, .port92 = PORT92_A20 };
}

int reset_attach(struct reset *reset, struct bus *bus)
{
	if (bus_add(bus, 0x64, 0x64, 1, &i8042_ops, reset))
		return -1;
	if (bus_add(bus, 0x92, 0x92, 1, &port92_ops, reset))
		return -1;
	if (bus_add(bus, RESET_CONTROL_PORT, RESET_CONTROL_PORT, 1,
		    &control_ops, reset))
		return -1;
	return bus_add_whole(bus, PCI_CONFIG_PORT, 4, &config_ops, reset);
}

void reset_state(struct reset *reset, struct state *state)
{
	state_section(state, "RST ", 1);
	STATE(state, reset->port92);
	STATE(state, reset->control);
}
