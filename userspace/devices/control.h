/* SPDX-License-Identifier: MIT */
/*
 * The control port: what a guest says to its VMM. A byte at CONTROL_PORT; the
 * write of CONTROL_SAVE asks for a snapshot behind this instruction. It reads as
 * 1 in a guest that goes on from one, else as 0.
 */
#ifndef WISP_DEVICES_CONTROL_H
#define WISP_DEVICES_CONTROL_H

#include "bus.h"

#include <stdbool.h>

#define CONTROL_PORT	0x5d5
#define CONTROL_SAVE	1

struct control {
	bool wants_save;
	bool is_resumed;
};

int control_attach(struct control *control, struct bus *bus);

#endif
