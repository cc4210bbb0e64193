/* SPDX-License-Identifier: MIT */
/*
 * The control port: what a guest says to its VMM. A byte at CONTROL_PORT; the
 * write of CONTROL_SAVE asks for a snapshot behind this instruction. It reads as
 * 1 in a guest that goes on from one, else as 0. At GENERATION_PORT are 16 bytes that
 * are others in each machine: those of no copy of a guest are those of another.
 */
#ifndef WISP_DEVICES_CONTROL_H
#define WISP_DEVICES_CONTROL_H

#include "bus.h"

#include <stdbool.h>

#define CONTROL_PORT	0x5d5
#define CONTROL_SAVE	1

#define GENERATION_PORT	0x5d8
#define GENERATION_SIZE	16

struct control {
	bool wants_save;
	bool is_resumed;
	uint8_t generation[GENERATION_SIZE];
};

/* Returns 0, or -1 where there is nothing random. */
int control_init(struct control *control);

int control_attach(struct control *control, struct bus *bus);

#endif
