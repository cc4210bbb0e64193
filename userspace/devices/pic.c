// SPDX-License-Identifier: MIT
#include "pic.h"

#include <string.h>

enum { MASTER, SLAVE, CASCADE = 2, INPUTS = 8, NOTHING = -1 };

void pic_init(struct pic *pic)
{
	memset(pic, 0, sizeof(*pic));
	for (unsigned int i = 0; i < 2; i++) {
		pic->chips[i].imr = 0xff;
		pic->chips[i].lowest = 7;
	}
	/* Timer, keyboard, cascade; RTC and coprocessor are edges for good. */
	pic->chips[MASTER].elcr_mask = 0xf8;
	pic->chips[SLAVE].elcr_mask = 0xde;
}

static uint8_t chip_irr(const struct pic_chip *chip)
{
	return (chip->edges & ~chip->elcr) | (chip->lines & chip->elcr);
}

/* 0 is the highest priority. */
static unsigned int priority(const struct pic_chip *chip, unsigned int input)
{
	return (input - chip->lowest - 1) % INPUTS;
}

static int highest(const struct pic_chip *chip, uint8_t inputs)
{
	for (unsigned int i = 1; i <= INPUTS; i++) {
		unsigned int input = (chip->lowest + i) % INPUTS;

		if (inputs & (1U << input))
			return (int)input;
	}
	return NOTHING;
}

/* The input that the chip would hand to the CPU, or NOTHING. */
static int chip_request(const struct pic_chip *chip, uint8_t irr)
{
	uint8_t serviced = chip->isr;
	int input = highest(chip, irr & ~chip->imr);
	int above;

	if (input == NOTHING || chip->icw)
		return NOTHING;
	/* In special mask mode what is masked does not hold others back. */
	if (chip->special_mask)
		serviced &= ~chip->imr;
	/* The slave's inputs are ordered by the slave itself. */
	if (chip->nested)
		serviced &= ~(1U << CASCADE);
	above = highest(chip, serviced);
	if (above != NOTHING &&
	    priority(chip, (unsigned int)above) <=
	    priority(chip, (unsigned int)input))
		return NOTHING;
	return input;
}

static int slave_request(const struct pic *pic)
{
	const struct pic_chip *slave = &pic->chips[SLAVE];

	return chip_request(slave, chip_irr(slave));
}

static uint8_t master_irr(const struct pic *pic)
{
	uint8_t irr = chip_irr(&pic->chips[MASTER]) & ~(1U << CASCADE);

	return irr | (slave_request(pic) != NOTHING) << CASCADE;
}

static int master_request(const struct pic *pic)
{
	return chip_request(&pic->chips[MASTER], master_irr(pic));
}

bool pic_raised(const struct pic *pic)
{
	return master_request(pic) != NOTHING;
}

void pic_set(struct pic *pic, unsigned int irq, bool level)
{
	struct pic_chip *chip = &pic->chips[irq / INPUTS % 2];
	uint8_t bit = 1U << irq % INPUTS;

	/* The input is no latch: a line that falls again asks for nothing. */
	if (!level) {
		chip->lines &= ~bit;
		chip->edges &= ~bit;
	} else if (!(chip->lines & bit)) {
		chip->lines |= bit;
		chip->edges |= bit;
	}
}

void pic_pulse(struct pic *pic, unsigned int irq)
{
	pic_set(pic, irq, false);
	pic_set(pic, irq, true);
}

bool pic_waits(const struct pic *pic, unsigned int irq)
{
	return pic->chips[irq / INPUTS % 2].edges & 1U << irq % INPUTS;
}

static uint8_t chip_acknowledge(struct pic_chip *chip, int input)
{
	uint8_t bit;

	/* The request went away: the chip answers with its last input. */
	if (input == NOTHING)
		return chip->base + INPUTS - 1;
	bit = 1U << input;
	chip->edges &= ~bit;
	if (!chip->auto_eoi)
		chip->isr |= bit;
	else if (chip->rotates)
		chip->lowest = (uint8_t)input;
	return chip->base + (uint8_t)input;
}

uint8_t pic_acknowledge(struct pic *pic)
{
	int slave = slave_request(pic);
	int master = master_request(pic);
	uint8_t vector = chip_acknowledge(&pic->chips[MASTER], master);

	if (master == CASCADE)
		vector = chip_acknowledge(&pic->chips[SLAVE], slave);
	return vector;
}

static void end_of_interrupt(struct pic_chip *chip, int input, bool rotate)
{
	if (input == NOTHING)
		return;
	chip->isr &= ~(1U << input);
	if (rotate)
		chip->lowest = (uint8_t)input;
}

/* OCW2: bits 5-7 are EOI, SL and R. */
static void write_ocw2(struct pic_chip *chip, uint8_t value)
{
	int input = value & 7;
	bool rotate = value & 0x80;

	switch (value >> 5) {
	case 0:
	case 4:
		chip->rotates = rotate;
		break;
	case 1:
	case 5:
		end_of_interrupt(chip, highest(chip, chip->isr), rotate);
		break;
	case 3:
	case 7:
		end_of_interrupt(chip, input, rotate);
		break;
	case 6:
		chip->lowest = (uint8_t)input;
		break;
	}
}

static void write_ocw3(struct pic_chip *chip, uint8_t value)
{
	if (value & 0x04)
		chip->polls = true;
	if (value & 0x02)
		chip->reads_isr = value & 0x01;
	if (value & 0x40)
		chip->special_mask = value & 0x20;
}

static void write_icw1(struct pic_chip *chip, uint8_t value)
{
	*chip = (struct pic_chip){
		.lines = chip->lines,
		.elcr = chip->elcr,
		.elcr_mask = chip->elcr_mask,
		.icw = 2,
		.lowest = 7,
		.needs_icw4 = value & 0x01,
		.single = value & 0x02,
	};
}

static void write_command(struct pic_chip *chip, uint8_t value)
{
	if (value & 0x10)
		write_icw1(chip, value);
	else if (value & 0x08)
		write_ocw3(chip, value);
	else
		write_ocw2(chip, value);
}

static void write_data(struct pic_chip *chip, uint8_t value)
{
	switch (chip->icw) {
	case 0:
		chip->imr = value;
		break;
	case 2:
		chip->base = value & 0xf8;
		chip->icw = !chip->single ? 3 : chip->needs_icw4 ? 4 : 0;
		break;
	case 3:
		/* How they are cascaded is not for the guest to choose. */
		chip->icw = chip->needs_icw4 ? 4 : 0;
		break;
	case 4:
		chip->nested = value & 0x10;
		chip->auto_eoi = value & 0x02;
		chip->icw = 0;
		break;
	}
}

static uint32_t read_poll(struct pic *pic, unsigned int number)
{
	struct pic_chip *chip = &pic->chips[number];
	int input = number == MASTER ? master_request(pic) : slave_request(pic);

	chip->polls = false;
	if (input == NOTHING)
		return 0;
	chip_acknowledge(chip, input);
	return 0x80 | (uint32_t)input;
}

static uint32_t pic_read(struct pic *pic, unsigned int number, uint16_t offset)
{
	const struct pic_chip *chip = &pic->chips[number];

	if (chip->polls)
		return read_poll(pic, number);
	if (offset)
		return chip->imr;
	if (chip->reads_isr)
		return chip->isr;
	return number == MASTER ? master_irr(pic) : chip_irr(chip);
}

static void pic_write(struct pic *pic, unsigned int number, uint16_t offset,
		      uint8_t value)
{
	if (offset)
		write_data(&pic->chips[number], value);
	else
		write_command(&pic->chips[number], value);
}

static uint32_t master_in(void *device, uint64_t now, uint16_t offset,
			  unsigned int size)
{
	return pic_read(device, MASTER, offset);
}

static void master_out(void *device, uint64_t now, uint16_t offset,
		       unsigned int size, uint32_t value)
{
	pic_write(device, MASTER, offset, (uint8_t)value);
}

static uint32_t slave_in(void *device, uint64_t now, uint16_t offset,
			 unsigned int size)
{
	return pic_read(device, SLAVE, offset);
}

static void slave_out(void *device, uint64_t now, uint16_t offset,
		      unsigned int size, uint32_t value)
{
	pic_write(device, SLAVE, offset, (uint8_t)value);
}

static uint32_t elcr_in(void *device, uint64_t now, uint16_t offset,
			unsigned int size)
{
	struct pic *pic = device;

	return pic->chips[offset].elcr;
}

static void elcr_out(void *device, uint64_t now, uint16_t offset,
		     unsigned int size, uint32_t value)
{
	struct pic *pic = device;
	struct pic_chip *chip = &pic->chips[offset];

	chip->elcr = value & chip->elcr_mask;
}

static const struct bus_ops master_ops = { .in = master_in, .out = master_out };
static const struct bus_ops slave_ops = { .in = slave_in, .out = slave_out };
static const struct bus_ops elcr_ops = { .in = elcr_in, .out = elcr_out };

int pic_attach(struct pic *pic, struct bus *bus)
{
	if (bus_add(bus, 0x20, 0x21, 1, &master_ops, pic))
		return -1;
	if (bus_add(bus, 0xa0, 0xa1, 1, &slave_ops, pic))
		return -1;
	return bus_add(bus, 0x4d0, 0x4d1, 1, &elcr_ops, pic);
}

static void chip_state(struct pic_chip *chip, struct state *state)
{
	STATE(state, chip->lines);
	STATE(state, chip->edges);
	STATE(state, chip->elcr);
	STATE(state, chip->imr);
	STATE(state, chip->isr);
	STATE(state, chip->base);
	STATE(state, chip->icw);
	STATE(state, chip->lowest);
	state_bool(state, &chip->needs_icw4);
	state_bool(state, &chip->single);
	state_bool(state, &chip->auto_eoi);
	state_bool(state, &chip->rotates);
	state_bool(state, &chip->nested);
	state_bool(state, &chip->special_mask);
	state_bool(state, &chip->reads_isr);
	state_bool(state, &chip->polls);
	state_check(state, chip->lowest < INPUTS && chip->icw <= 4 &&
			   !(chip->base % INPUTS) &&
			   !(chip->elcr & ~chip->elcr_mask));
}

void pic_state(struct pic *pic, struct state *state)
{
	state_section(state, "8259", 1);
	chip_state(&pic->chips[MASTER], state);
	chip_state(&pic->chips[SLAVE], state);
}
