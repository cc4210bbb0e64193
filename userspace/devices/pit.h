/* SPDX-License-Identifier: MIT */
/* 8254 timer: channel 0 at IRQ 0, channel 2 behind port 0x61. */
#ifndef WISP_DEVICES_PIT_H
#define WISP_DEVICES_PIT_H

#include "bus.h"
#include "pic.h"

#include <stdbool.h>
#include <stdint.h>

#define PIT_HZ		1193182
#define PIT_IRQ		0
#define PIT_NEVER	UINT64_MAX

/* How a count is read or written: low byte, high byte, low then high. */
enum pit_access {
	PIT_LATCH = 0,
	PIT_LOW = 1,
	PIT_HIGH = 2,
	PIT_BOTH = 3,
};

struct pit_channel {
	uint8_t mode;
	uint8_t access;		/* enum pit_access */
	bool bcd;
	bool armed;		/* a count was written since the mode was */
	bool gate;
	bool high_next_in;
	bool high_next_out;
	bool count_latched;
	bool status_latched;
	uint8_t written_low;
	uint8_t latched_status;
	uint16_t latched_count;
	uint32_t reload;	/* clocks, 1 to 0x10000 */
	uint64_t start;		/* nanoseconds: when counting began */
	uint64_t stopped;	/* nanoseconds counted when the gate went low */
};

struct pit {
	struct pit_channel channels[3];
	struct pic *pic;
	uint64_t deadline;	/* of channel 0 */
	uint64_t ticks;		/* raised since its count was written */
	bool speaker;
};

void pit_init(struct pit *pit, struct pic *pic);
int pit_attach(struct pit *pit, struct bus *bus);
void pit_state(struct pit *pit, struct state *state);

/* Raises IRQ 0 if it is due. Few of the ticks that were missed come late. */
void pit_update(struct pit *pit, uint64_t now);

/* When pit_update() has something to do next, or PIT_NEVER. */
uint64_t pit_deadline(const struct pit *pit);

#endif
