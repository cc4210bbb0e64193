/* SPDX-License-Identifier: MIT */
/* Two cascaded 8259A interrupt controllers, as in a PC. */
#ifndef WISP_DEVICES_PIC_H
#define WISP_DEVICES_PIC_H

#include "bus.h"
#include "state.h"

#include <stdbool.h>
#include <stdint.h>

/* One bit per input in each of lines, edges, elcr, irr, imr and isr. */
struct pic_chip {
	uint8_t lines;		/* as the devices hold them */
	uint8_t edges;		/* rising edges not yet acknowledged */
	uint8_t elcr;		/* level-triggered inputs */
	uint8_t elcr_mask;	/* those that may be */
	uint8_t imr;
	uint8_t isr;
	uint8_t base;		/* vector of input 0 */
	uint8_t icw;		/* initialisation word awaited, 0: none */
	uint8_t lowest;		/* input with the lowest priority */
	bool needs_icw4;
	bool single;
	bool auto_eoi;
	bool rotates;		/* on automatic EOI */
	bool nested;		/* special fully nested mode */
	bool special_mask;
	bool reads_isr;
	bool polls;
};

struct pic {
	struct pic_chip chips[2];
};

/* After power-on: no input reaches the CPU before it is initialised. */
void pic_init(struct pic *pic);

int pic_attach(struct pic *pic, struct bus *bus);
void pic_state(struct pic *pic, struct state *state);

/* A device sets its line, irq 0 to 15. */
void pic_set(struct pic *pic, unsigned int irq, bool level);

/* An edge, for devices whose line falls and rises within one clock. */
void pic_pulse(struct pic *pic, unsigned int irq);

/* Whether an edge of this line was not acknowledged yet. */
bool pic_waits(const struct pic *pic, unsigned int irq);

/* Is INTR up? */
bool pic_raised(const struct pic *pic);

/* The CPU acknowledges: gives the vector; a spurious one if INTR is not up. */
uint8_t pic_acknowledge(struct pic *pic);

#endif
