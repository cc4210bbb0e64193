// SPDX-License-Identifier: MIT
#include "pit.h"

#include <string.h>

#define NS_PER_S	1000000000ULL

/* Clocks, 0.1 ms: a guest that asks for more ticks gets these. */
#define TICK_MIN	120

/*
 * A guest that was held up gets the ticks it missed, for it may count time by
 * them; but no more than these, and not faster than four in the time of one.
 */
#define BACKLOG_MAX	64
#define CATCH_UP	4

static uint64_t to_clocks(uint64_t ns)
{
	return (uint64_t)((__uint128_t)ns * PIT_HZ / NS_PER_S);
}

/* Rounded up, so that to_clocks() of it gives the clock again. */
static uint64_t to_ns(uint64_t clocks)
{
	__uint128_t ns = (__uint128_t)clocks * NS_PER_S;

	return (uint64_t)((ns + PIT_HZ - 1) / PIT_HZ);
}

static bool is_periodic(const struct pit_channel *channel)
{
	return channel->mode == 2 || channel->mode == 3;
}

/* Modes 1 and 5 start at a rising gate; in the others a low gate stops. */
static bool is_triggered(const struct pit_channel *channel)
{
	return channel->mode == 1 || channel->mode == 5;
}

static uint64_t elapsed(const struct pit_channel *channel, uint64_t now)
{
	if (!channel->armed)
		return 0;
	if (!channel->gate && !is_triggered(channel))
		return to_clocks(channel->stopped);
	return to_clocks(now - channel->start);
}

static uint32_t counter(const struct pit_channel *channel, uint64_t now)
{
	uint64_t clocks = elapsed(channel, now);
	uint32_t reload = channel->reload;

	switch (channel->mode) {
	case 2:
		return reload - (uint32_t)(clocks % reload);
	case 3:
		return reload - (uint32_t)(2 * clocks % reload);
	default:
		return (uint32_t)(reload - clocks) & 0xffff;
	}
}

static bool output(const struct pit_channel *channel, uint64_t now)
{
	uint64_t clocks = elapsed(channel, now);
	uint32_t reload = channel->reload;

	if (!channel->armed)
		return channel->mode != 0;
	switch (channel->mode) {
	case 0:
	case 1:
		return clocks >= reload;
	case 2:
		return clocks % reload != reload - 1;
	case 3:
		return clocks % reload < (reload + 1) / 2;
	default:
		return clocks != reload;
	}
}

static uint64_t tick_clocks(const struct pit_channel *channel)
{
	return channel->reload < TICK_MIN ? TICK_MIN : channel->reload;
}

/* When IRQ 0 rises for the @tick-th time. */
static uint64_t tick_time(const struct pit_channel *channel, uint64_t tick)
{
	return channel->start + to_ns(tick * tick_clocks(channel));
}

static void update_periodic(struct pit *pit, uint64_t now)
{
	const struct pit_channel *channel = &pit->channels[0];
	uint64_t due = elapsed(channel, now) / tick_clocks(channel);

	if (due > pit->ticks + BACKLOG_MAX)
		pit->ticks = due - BACKLOG_MAX;
	/* A tick that the guest has not taken yet would swallow this one. */
	if (pic_waits(pit->pic, PIT_IRQ)) {
		pit->deadline = tick_time(channel, due + 1);
		return;
	}
	pic_pulse(pit->pic, PIT_IRQ);
	pit->ticks++;
	if (pit->ticks < due)
		pit->deadline = now + to_ns(tick_clocks(channel)) / CATCH_UP;
	else
		pit->deadline = tick_time(channel, pit->ticks + 1);
}

void pit_update(struct pit *pit, uint64_t now)
{
	if (now < pit->deadline)
		return;
	if (is_periodic(&pit->channels[0])) {
		update_periodic(pit, now);
	} else {
		pit->deadline = PIT_NEVER;
		pic_pulse(pit->pic, PIT_IRQ);
	}
}

static void start_ticks(struct pit *pit)
{
	const struct pit_channel *channel = &pit->channels[0];

	pit->ticks = 0;
	if (is_triggered(channel))
		pit->deadline = PIT_NEVER;
	else if (is_periodic(channel))
		pit->deadline = tick_time(channel, 1);
	else
		pit->deadline = channel->start + to_ns(channel->reload);
}

uint64_t pit_deadline(const struct pit *pit)
{
	return pit->deadline;
}

static uint32_t from_bcd(uint32_t value)
{
	return (value & 15) + (value >> 4 & 15) * 10 +
	       (value >> 8 & 15) * 100 + (value >> 12 & 15) * 1000;
}

static uint16_t to_bcd(uint32_t value)
{
	return (uint16_t)(value % 10 | value / 10 % 10 << 4 |
			  value / 100 % 10 << 8 | value / 1000 % 10 << 12);
}

/* A count of zero is the largest there is. */
static void load(struct pit_channel *channel, uint16_t value, uint64_t now)
{
	uint32_t reload = channel->bcd ? from_bcd(value) : value;

	if (!reload)
		reload = channel->bcd ? 10000 : 0x10000;
	channel->reload = reload;
	channel->armed = true;
	channel->start = now;
	channel->stopped = 0;
}

static void write_count(struct pit *pit, unsigned int number, uint8_t value,
			uint64_t now)
{
	struct pit_channel *channel = &pit->channels[number];

	switch (channel->access) {
	case PIT_LOW:
		load(channel, value, now);
		break;
	case PIT_HIGH:
		load(channel, (uint16_t)(value << 8), now);
		break;
	default:
		channel->high_next_out = !channel->high_next_out;
		if (channel->high_next_out) {
			channel->written_low = value;
			return;
		}
		load(channel, (uint16_t)(value << 8 | channel->written_low), now);
		break;
	}
	if (number)
		return;
	/* The output of mode 0 is low from here to the end of the count. */
	if (channel->mode == 0)
		pic_set(pit->pic, PIT_IRQ, false);
	start_ticks(pit);
}

static void latch_count(struct pit_channel *channel, uint64_t now)
{
	uint32_t count;

	if (channel->count_latched)
		return;
	count = counter(channel, now);
	channel->latched_count = channel->bcd ? to_bcd(count) : (uint16_t)count;
	channel->count_latched = true;
}

static void latch_status(struct pit_channel *channel, uint64_t now)
{
	if (channel->status_latched)
		return;
	channel->latched_status = (uint8_t)(output(channel, now) << 7 |
					    !channel->armed << 6 |
					    channel->access << 4 |
					    channel->mode << 1 | channel->bcd);
	channel->status_latched = true;
}

/* Bits 1-3 name channels; bit 5 clear latches counts, bit 4 clear statuses. */
static void read_back(struct pit *pit, uint8_t value, uint64_t now)
{
	for (unsigned int i = 0; i < 3; i++) {
		if (!(value & 2U << i))
			continue;
		if (!(value & 0x20))
			latch_count(&pit->channels[i], now);
		if (!(value & 0x10))
			latch_status(&pit->channels[i], now);
	}
}

static void set_mode(struct pit *pit, unsigned int number, uint8_t value)
{
	struct pit_channel *channel = &pit->channels[number];
	uint8_t mode = value >> 1 & 7;

	*channel = (struct pit_channel){
		/* Bit 2 is not looked at where bit 1 is set. */
		.mode = mode > 5 ? mode - 4 : mode,
		.access = value >> 4 & 3,
		.bcd = value & 1,
		.reload = 0x10000,
		.gate = channel->gate,
	};
	if (number)
		return;
	pit->deadline = PIT_NEVER;
	pic_set(pit->pic, PIT_IRQ, false);
}

static void write_control(struct pit *pit, uint8_t value, uint64_t now)
{
	unsigned int number = value >> 6;

	if (number == 3)
		read_back(pit, value, now);
	else if ((value >> 4 & 3) == PIT_LATCH)
		latch_count(&pit->channels[number], now);
	else
		set_mode(pit, number, value);
}

static uint8_t read_count(struct pit_channel *channel, uint64_t now)
{
	bool was_latched = channel->count_latched;
	bool high = channel->access == PIT_HIGH || channel->high_next_in;
	uint16_t count;

	if (channel->status_latched) {
		channel->status_latched = false;
		return channel->latched_status;
	}
	if (!was_latched)
		latch_count(channel, now);
	count = channel->latched_count;
	if (channel->access == PIT_BOTH)
		channel->high_next_in = !channel->high_next_in;
	/* A latch holds until the last of its bytes was read. */
	channel->count_latched = was_latched && channel->high_next_in;
	return (uint8_t)(high ? count >> 8 : count);
}

static uint32_t pit_in(void *device, uint64_t now, uint16_t offset,
		       unsigned int size)
{
	struct pit *pit = device;

	if (offset == 3)
		return 0xff;
	return read_count(&pit->channels[offset], now);
}

static void pit_out(void *device, uint64_t now, uint16_t offset,
		    unsigned int size, uint32_t value)
{
	struct pit *pit = device;

	if (offset == 3)
		write_control(pit, (uint8_t)value, now);
	else
		write_count(pit, offset, (uint8_t)value, now);
}

static void set_gate(struct pit_channel *channel, bool gate, uint64_t now)
{
	if (gate == channel->gate)
		return;
	channel->gate = gate;
	if (!gate)
		channel->stopped = now - channel->start;
	else if (is_periodic(channel) || is_triggered(channel))
		channel->start = now;
	else
		channel->start = now - channel->stopped;
}

/* Port 0x61: bit 0 gate 2, 1 speaker, 4 refresh (15 us), 5 output 2. */
static uint32_t port61_in(void *device, uint64_t now, uint16_t offset,
			  unsigned int size)
{
	struct pit *pit = device;
	const struct pit_channel *channel = &pit->channels[2];

	return (uint32_t)(channel->gate | pit->speaker << 1 |
			  (now / 15085 & 1) << 4 | output(channel, now) << 5);
}

static void port61_out(void *device, uint64_t now, uint16_t offset,
		       unsigned int size, uint32_t value)
{
	struct pit *pit = device;

	pit->speaker = value & 2;
	set_gate(&pit->channels[2], value & 1, now);
}

static const struct bus_ops pit_ops = { .in = pit_in, .out = pit_out };
static const struct bus_ops port61_ops = { .in = port61_in, .out = port61_out };

void pit_init(struct pit *pit, struct pic *pic)
{
	memset(pit, 0, sizeof(*pit));
	pit->pic = pic;
	pit->deadline = PIT_NEVER;
	for (unsigned int i = 0; i < 3; i++) {
		pit->channels[i].access = PIT_BOTH;
		pit->channels[i].reload = 0x10000;
		pit->channels[i].gate = i != 2;
	}
}

int pit_attach(struct pit *pit, struct bus *bus)
{
	if (bus_add(bus, 0x40, 0x43, 1, &pit_ops, pit))
		return -1;
	return bus_add(bus, 0x61, 0x61, 1, &port61_ops, pit);
}

static void channel_state(struct pit_channel *channel, struct state *state)
{
	STATE(state, channel->mode);
	STATE(state, channel->access);
	state_bool(state, &channel->bcd);
	state_bool(state, &channel->armed);
	state_bool(state, &channel->gate);
	state_bool(state, &channel->high_next_in);
	state_bool(state, &channel->high_next_out);
	state_bool(state, &channel->count_latched);
	state_bool(state, &channel->status_latched);
	STATE(state, channel->written_low);
	STATE(state, channel->latched_status);
	STATE(state, channel->latched_count);
	STATE(state, channel->reload);
	STATE(state, channel->start);
	STATE(state, channel->stopped);
	state_check(state, channel->mode <= 5 && channel->access >= PIT_LOW &&
			   channel->access <= PIT_BOTH && channel->reload &&
			   channel->reload <= 0x10000);
}

void pit_state(struct pit *pit, struct state *state)
{
	state_section(state, "8254", 1);
	for (unsigned int i = 0; i < 3; i++)
		channel_state(&pit->channels[i], state);
	STATE(state, pit->deadline);
	STATE(state, pit->ticks);
	state_bool(state, &pit->speaker);
}
