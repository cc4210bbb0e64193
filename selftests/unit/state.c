// SPDX-License-Identifier: GPL-2.0
/*
 * The devices' state as bytes: what was saved comes back, whatever it is; bytes
 * that nobody saved are refused, or harmless.
 */
#include <string.h>

#include "acpi.h"
#include "pic.h"
#include "pit.h"
#include "reset.h"
#include "rtc.h"
#include "tap.h"
#include "uart.h"

#define UTC	1700000000000000000LL
#define ROOM	2048

static struct devices {
	struct bus bus;
	struct pic pic;
	struct pit pit;
	struct rtc rtc;
	struct uart uart;
	struct reset reset;
	struct acpi acpi;
	enum power power;
} devices;

static uint8_t data[ROOM];
static size_t size;

static void output(void *opaque, uint8_t byte)
{
}

static void start(void)
{
	struct bus *bus = &devices.bus;

	memset(&devices, 0, sizeof(devices));
	pic_init(&devices.pic);
	pit_init(&devices.pit, &devices.pic);
	rtc_init(&devices.rtc, &devices.pic, 0, UTC);
	uart_init(&devices.uart, &devices.pic, 4, output, NULL);
	reset_init(&devices.reset, &devices.power);
	acpi_init(&devices.acpi, &devices.power);
	CHECK(!pic_attach(&devices.pic, bus) && !pit_attach(&devices.pit, bus) &&
	      !rtc_attach(&devices.rtc, bus) &&
	      !uart_attach(&devices.uart, bus, 0x3f8) &&
	      !reset_attach(&devices.reset, bus) &&
	      !acpi_attach(&devices.acpi, bus));
}

static bool transfer(uint8_t *bytes, size_t room, bool loads, int64_t utc)
{
	struct state state = { .data = bytes, .room = room, .loads = loads };

	pic_state(&devices.pic, &state);
	pit_state(&devices.pit, &state);
	rtc_state(&devices.rtc, &state, utc);
	uart_state(&devices.uart, &state);
	reset_state(&devices.reset, &state);
	acpi_state(&devices.acpi, &state);
	size = state.at;
	return !state.is_bad;
}

static uint32_t next_random;

static uint32_t random_below(uint32_t n)
{
	next_random = next_random * 1103515245 + 12345;
	return (next_random >> 8) % n;
}

/* What guests do, in any order. */
static void use(int count)
{
	static const uint16_t ports[] = {
		0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x40, 0x41, 0x42, 0x43,
		0x61, 0x70, 0x71, 0x92, 0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3ff,
		0x600, 0x602, 0x604,
	};

	for (int i = 0; i < count; i++) {
		uint16_t port = ports[random_below(sizeof(ports) / 2)];
		uint64_t now = (uint64_t)i * 1000000;

		if (random_below(4))
			bus_out(&devices.bus, now, port, 1, random_below(256));
		else
			bus_in(&devices.bus, now, port, 1);
		if (!random_below(4))
			uart_input(&devices.uart, (uint8_t)random_below(256));
		pit_update(&devices.pit, now);
		rtc_update(&devices.rtc, now);
		if (pic_raised(&devices.pic))
			pic_acknowledge(&devices.pic);
	}
}

static void comes_back(void)
{
	static struct devices was;

	for (int round = 0; round < 200; round++) {
		start();
		use(round * 5);
		devices.power = POWER_ON;
		was = devices;
		CHECK(transfer(data, sizeof(data), false, UTC));
		start();
		CHECK(transfer(data, size, true, UTC));
		if (!CHECK(!memcmp(&was, &devices, sizeof(was))))
			return;
	}
}

/* The guest's clock tells the time that it is, with what the guest added. */
static void the_clock_is_right(void)
{
	start();
	devices.rtc.offset += 5000000000;
	CHECK(transfer(data, sizeof(data), false, UTC));
	start();
	CHECK(transfer(data, size, true, UTC + 70000000000));
	CHECK_EQUAL(devices.rtc.offset, UTC + 75000000000);
}

static void no_room(void)
{
	size_t whole;

	start();
	CHECK(transfer(data, sizeof(data), false, UTC));
	whole = size;
	for (size_t room = 0; room < whole; room++) {
		CHECK(!transfer(data, room, false, UTC));
		CHECK(!transfer(data, room, true, UTC));
	}
	start();
	CHECK(transfer(data, whole, false, UTC));
}

/* What is taken can be used: nothing is accessed beyond its end. */
static void takes_no_nonsense(void)
{
	int refused = 0;

	for (int round = 0; round < 3000; round++) {
		start();
		use(20);
		CHECK(transfer(data, sizeof(data), false, UTC));
		for (uint32_t i = 0; i <= random_below(3); i++)
			data[random_below((uint32_t)size)] =
				(uint8_t)random_below(256);
		start();
		if (transfer(data, size, true, UTC))
			use(200);
		else
			refused++;
	}
	CHECK(refused > 300 && refused < 3000);
}

int main(void)
{
	static const struct tap_test tests[] = {
		TAP_TEST(comes_back),
		TAP_TEST(the_clock_is_right),
		TAP_TEST(no_room),
		TAP_TEST(takes_no_nonsense),
	};

	return TAP_RUN(tests);
}
