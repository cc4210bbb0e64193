/* SPDX-License-Identifier: MIT */
/* The port bus: which device answers at which I/O port. */
#ifndef WISP_DEVICES_BUS_H
#define WISP_DEVICES_BUS_H

#include <stdint.h>

/**
 * struct bus_ops - how a device answers
 * @in: what a read of @size bytes at @offset into the device's range gives, at
 *	@now nanoseconds of a monotonic clock
 * @out: a write of @size bytes; NULL: it changes nothing
 */
struct bus_ops {
	uint32_t (*in)(void *device, uint64_t now, uint16_t offset,
		       unsigned int size);
	void (*out)(void *device, uint64_t now, uint16_t offset,
		    unsigned int size, uint32_t value);
};

struct bus_range {
	const struct bus_ops *ops;
	void *device;
	uint16_t first;
	uint16_t last;
	unsigned int least;	/* bytes; narrower accesses are others' */
	unsigned int width;	/* bytes; wider accesses come in parts */
};

#define BUS_RANGES	24

struct bus {
	struct bus_range ranges[BUS_RANGES];
	unsigned int count;
};

/* Ranges must not overlap. Returns 0, or -1 when there is no room. */
int bus_add(struct bus *bus, uint16_t first, uint16_t last, unsigned int width,
	    const struct bus_ops *ops, void *device);

/*
 * Takes accesses of just @width bytes at @port: narrower ones there are those of
 * other ranges. Returns as bus_add().
 */
int bus_add_whole(struct bus *bus, uint16_t port, unsigned int width,
		  const struct bus_ops *ops, void *device);

/* Ports of no device read as ones, and writes to them are dropped. */
uint32_t bus_in(struct bus *bus, uint64_t now, uint16_t port,
		unsigned int size);
void bus_out(struct bus *bus, uint64_t now, uint16_t port, unsigned int size,
	     uint32_t value);

#endif
