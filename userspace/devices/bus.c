// SPDX-License-Identifier: MIT
#include "bus.h"

#include <stddef.h>

static int add(struct bus *bus, struct bus_range range)
{
	if (bus->count == BUS_RANGES)
		return -1;
	bus->ranges[bus->count++] = range;
	return 0;
}

int bus_add(struct bus *bus, uint16_t first, uint16_t last, unsigned int width,
	    const struct bus_ops *ops, void *device)
{
	return add(bus, (struct bus_range){
		.ops = ops,
		.device = device,
		.first = first,
		.last = last,
		.least = 1,
		.width = width,
	});
}

int bus_add_whole(struct bus *bus, uint16_t port, unsigned int width,
		  const struct bus_ops *ops, void *device)
{
	return add(bus, (struct bus_range){
		.ops = ops,
		.device = device,
		.first = port,
		.last = (uint16_t)(port + width - 1),
		.least = width,
		.width = width,
	});
}

/* The range that takes this access whole, or NULL. */
static const struct bus_range *find(const struct bus *bus, uint16_t port,
				    unsigned int size)
{
	for (unsigned int i = 0; i < bus->count; i++) {
		const struct bus_range *range = &bus->ranges[i];

		if (port >= range->first && port + size - 1 <= range->last &&
		    size >= range->least && size <= range->width)
			return range;
	}
	return NULL;
}

uint32_t bus_in(struct bus *bus, uint64_t now, uint16_t port,
		unsigned int size)
{
	const struct bus_range *range = find(bus, port, size);
	unsigned int half = size / 2;
	uint32_t low;

	if (range)
		return range->ops->in(range->device, now, port - range->first,
				      size);
	if (!half)
		return 0xff;
	/* As a PC's bus does: narrower cycles at rising ports. */
	low = bus_in(bus, now, port, half);
	return low | bus_in(bus, now, port + half, half) << (8 * half);
}

void bus_out(struct bus *bus, uint64_t now, uint16_t port, unsigned int size,
	     uint32_t value)
{
	const struct bus_range *range = find(bus, port, size);
	unsigned int half = size / 2;

	if (range && range->ops->out) {
		range->ops->out(range->device, now, port - range->first, size,
				value);
	} else if (!range && half) {
		bus_out(bus, now, port, half, value & ((1U << 8 * half) - 1));
		bus_out(bus, now, port + half, half, value >> (8 * half));
	}
}
