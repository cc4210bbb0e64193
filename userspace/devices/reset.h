/* SPDX-License-Identifier: MIT */
/*
 * The ways to reset a PC: the keyboard controller's pulse (port 0x64), fast
 * reset (0x92) and the reset control register (0xcf9). There is no keyboard.
 */
#ifndef WISP_DEVICES_RESET_H
#define WISP_DEVICES_RESET_H

#include "bus.h"
#include "power.h"
#include "state.h"

#define RESET_CONTROL_PORT	0xcf9
#define RESET_CONTROL_VALUE	0x06

struct reset {
	enum power *power;
	uint8_t port92;
	uint8_t control;
};

void reset_init(struct reset *reset, enum power *power);
int reset_attach(struct reset *reset, struct bus *bus);
void reset_state(struct reset *reset, struct state *state);

#endif
