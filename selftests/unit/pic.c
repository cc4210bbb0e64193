// SPDX-License-Identifier: GPL-2.0
/* The two 8259A. */
#include "pic.h"
#include "tap.h"

static struct bus bus;
static struct pic pic;

static void out(uint16_t port, uint8_t value)
{
	bus_out(&bus, 0, port, 1, value);
}

static uint8_t in(uint16_t port)
{
	return (uint8_t)bus_in(&bus, 0, port, 1);
}

static void init_chip(uint16_t port, uint8_t base, uint8_t cascade,
		      uint8_t icw4)
{
	out(port, 0x11);
	out(port + 1, base);
	out(port + 1, cascade);
	out(port + 1, icw4);
	out(port + 1, 0x00);
}

/* As Linux does it: vectors 0x30 and 0x38. */
static void start_with(uint8_t icw4)
{
	bus = (struct bus){ 0 };
	pic_init(&pic);
	pic_attach(&pic, &bus);
	init_chip(0x20, 0x30, 0x04, icw4);
	init_chip(0xa0, 0x38, 0x02, 0x01);
}

static void start(void)
{
	start_with(0x01);
}

static void nothing_before_initialisation(void)
{
	pic_init(&pic);
	for (unsigned int i = 0; i < 16; i++)
		pic_set(&pic, i, true);
	CHECK(!pic_raised(&pic));
}

static void edge_is_taken_once(void)
{
	start();
	pic_set(&pic, 4, true);
	CHECK(pic_raised(&pic));
	CHECK_EQUAL(pic_acknowledge(&pic), 0x34);
	CHECK(!pic_raised(&pic));
	out(0x20, 0x20);
	/* Still high, but no new edge. */
	CHECK(!pic_raised(&pic));
	pic_set(&pic, 4, false);
	pic_set(&pic, 4, true);
	CHECK(pic_raised(&pic));
}

static void edge_that_falls_asks_for_nothing(void)
{
	start();
	pic_set(&pic, 4, true);
	pic_set(&pic, 4, false);
	CHECK(!pic_raised(&pic));
	/* Acknowledged all the same: the last input, not in service. */
	CHECK_EQUAL(pic_acknowledge(&pic), 0x37);
	out(0x20, 0x0b);
	CHECK_EQUAL(in(0x20), 0);
}

static void level_is_taken_again(void)
{
	start();
	out(0x4d1, 0x02);
	pic_set(&pic, 9, true);
	CHECK_EQUAL(pic_acknowledge(&pic), 0x39);
	CHECK(!pic_raised(&pic));
	out(0xa0, 0x20);
	out(0x20, 0x20);
	CHECK(pic_raised(&pic));
	pic_set(&pic, 9, false);
	CHECK(!pic_raised(&pic));
}

static void elcr_keeps_the_fixed_edges(void)
{
	start();
	out(0x4d0, 0xff);
	out(0x4d1, 0xff);
	CHECK_EQUAL(in(0x4d0), 0xf8);
	CHECK_EQUAL(in(0x4d1), 0xde);
}

static void priorities_nest(void)
{
	start();
	pic_set(&pic, 4, true);
	CHECK_EQUAL(pic_acknowledge(&pic), 0x34);
	pic_set(&pic, 6, true);
	CHECK(!pic_raised(&pic));
	pic_set(&pic, 0, true);
	CHECK(pic_raised(&pic));
	CHECK_EQUAL(pic_acknowledge(&pic), 0x30);
	out(0x20, 0x0b);
	CHECK_EQUAL(in(0x20), 0x11);
	/* Not specific: the highest one ends. */
	out(0x20, 0x20);
	CHECK_EQUAL(in(0x20), 0x10);
	CHECK(!pic_raised(&pic));
	out(0x20, 0x64);
	CHECK_EQUAL(pic_acknowledge(&pic), 0x36);
}

static void masked_is_kept(void)
{
	start();
	out(0x21, 0x10);
	CHECK_EQUAL(in(0x21), 0x10);
	pic_set(&pic, 4, true);
	CHECK(!pic_raised(&pic));
	out(0x20, 0x0a);
	CHECK_EQUAL(in(0x20), 0x10);
	out(0x21, 0x00);
	CHECK(pic_raised(&pic));
}

static void slave_comes_through_the_cascade(void)
{
	start();
	pic_set(&pic, 8, true);
	out(0x20, 0x0a);
	CHECK_EQUAL(in(0x20), 0x04);
	CHECK_EQUAL(pic_acknowledge(&pic), 0x38);
	/* One at a time, until both have ended. */
	pic_set(&pic, 14, true);
	CHECK(!pic_raised(&pic));
	out(0xa0, 0x20);
	CHECK(!pic_raised(&pic));
	out(0x20, 0x62);
	CHECK_EQUAL(pic_acknowledge(&pic), 0x3e);
}

static void automatic_eoi(void)
{
	start_with(0x03);
	pic_set(&pic, 4, true);
	CHECK_EQUAL(pic_acknowledge(&pic), 0x34);
	out(0x20, 0x0b);
	CHECK_EQUAL(in(0x20), 0);
	pic_set(&pic, 6, true);
	CHECK(pic_raised(&pic));
}

static void rotation(void)
{
	start();
	pic_set(&pic, 1, true);
	CHECK_EQUAL(pic_acknowledge(&pic), 0x31);
	out(0x20, 0xa0);
	/* Input 1 is now the last: 3 comes before 0 does not, but before 1. */
	pic_pulse(&pic, 1);
	pic_pulse(&pic, 3);
	CHECK_EQUAL(pic_acknowledge(&pic), 0x33);
	out(0x20, 0x20);
	out(0x20, 0xc7);
	pic_pulse(&pic, 3);
	CHECK_EQUAL(pic_acknowledge(&pic), 0x31);
}

static void special_mask(void)
{
	start();
	pic_set(&pic, 1, true);
	CHECK_EQUAL(pic_acknowledge(&pic), 0x31);
	pic_set(&pic, 5, true);
	CHECK(!pic_raised(&pic));
	out(0x21, 0x02);
	out(0x20, 0x68);
	CHECK_EQUAL(pic_acknowledge(&pic), 0x35);
}

static void poll(void)
{
	start();
	pic_set(&pic, 5, true);
	out(0x20, 0x0c);
	CHECK_EQUAL(in(0x20), 0x85);
	CHECK(!pic_raised(&pic));
	out(0x20, 0x0c);
	CHECK_EQUAL(in(0x20), 0x00);
}

static void initialisation_forgets_edges(void)
{
	start();
	pic_set(&pic, 4, true);
	out(0x20, 0x11);
	CHECK(!pic_raised(&pic));
	out(0x21, 0x40);
	out(0x21, 0x04);
	out(0x21, 0x01);
	CHECK(!pic_raised(&pic));
	pic_pulse(&pic, 4);
	CHECK_EQUAL(pic_acknowledge(&pic), 0x44);
}

static void unclaimed_ports_read_ones(void)
{
	start();
	CHECK_EQUAL(bus_in(&bus, 0, 0x1234, 1), 0xff);
	CHECK_EQUAL(bus_in(&bus, 0, 0x1234, 4), 0xffffffff);
	CHECK_EQUAL(bus_in(&bus, 0, 0xffff, 4) >> 8, 0xffffff);
	/* A word over a device of bytes is two of them. */
	out(0x21, 0x5a);
	CHECK_EQUAL(bus_in(&bus, 0, 0x21, 2), 0xff5a);
	bus_out(&bus, 0, 0x21, 4, 0xdeadbe3c);
	CHECK_EQUAL(in(0x21), 0x3c);
}

int main(void)
{
	static const struct tap_test tests[] = {
		TAP_TEST(nothing_before_initialisation),
		TAP_TEST(edge_is_taken_once),
		TAP_TEST(edge_that_falls_asks_for_nothing),
		TAP_TEST(level_is_taken_again),
		TAP_TEST(elcr_keeps_the_fixed_edges),
		TAP_TEST(priorities_nest),
		TAP_TEST(masked_is_kept),
		TAP_TEST(slave_comes_through_the_cascade),
		TAP_TEST(automatic_eoi),
		TAP_TEST(rotation),
		TAP_TEST(special_mask),
		TAP_TEST(poll),
		TAP_TEST(initialisation_forgets_edges),
		TAP_TEST(unclaimed_ports_read_ones),
	};

	return TAP_RUN(tests);
}
