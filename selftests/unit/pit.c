// SPDX-License-Identifier: GPL-2.0
/* The 8254, and port 0x61. */
#include "pit.h"
#include "tap.h"

#define NS_PER_S	1000000000ULL
#define START		(1000 * NS_PER_S)

static struct bus bus;
static struct pic pic;
static struct pit pit;
static uint64_t now;

static void out(uint16_t port, uint8_t value)
{
	bus_out(&bus, now, port, 1, value);
}

static uint8_t in(uint16_t port)
{
	return (uint8_t)bus_in(&bus, now, port, 1);
}

static uint16_t in_word(uint16_t port)
{
	uint8_t low = in(port);

	return (uint16_t)(low | in(port) << 8);
}

static void start(void)
{
	now = START;
	bus = (struct bus){ 0 };
	pic_init(&pic);
	pic_attach(&pic, &bus);
	pit_init(&pit, &pic);
	pit_attach(&pit, &bus);
	out(0x20, 0x11);
	out(0x21, 0x30);
	out(0x21, 0x04);
	out(0x21, 0x03);
	out(0x21, 0x00);
}

static void program(unsigned int channel, unsigned int mode, uint16_t count)
{
	out(0x43, (uint8_t)(channel << 6 | 0x30 | mode << 1));
	out(0x40 + channel, (uint8_t)count);
	out(0x40 + channel, (uint8_t)(count >> 8));
}

static uint64_t clocks(uint64_t n)
{
	return (n * NS_PER_S + PIT_HZ - 1) / PIT_HZ;
}

/* Whether IRQ 0 came; it is taken. */
static bool ticked(void)
{
	pit_update(&pit, now);
	if (!pic_raised(&pic))
		return false;
	pic_acknowledge(&pic);
	return true;
}

static void periodic(unsigned int mode)
{
	start();
	CHECK_EQUAL(pit_deadline(&pit), PIT_NEVER);
	program(0, mode, 4772);
	for (unsigned int i = 1; i < 1000; i++) {
		CHECK_EQUAL(pit_deadline(&pit), START + clocks(4772ULL * i));
		now = pit_deadline(&pit) - 1;
		CHECK(!ticked());
		now++;
		CHECK(ticked());
		CHECK(!ticked());
	}
}

static void mode_2_is_periodic(void)
{
	periodic(2);
}

static void mode_3_is_periodic(void)
{
	periodic(3);
}

/* How many ticks come from now to @end; each is taken at once. */
static unsigned int ticks_until(uint64_t end)
{
	unsigned int ticks = 0;

	while (pit_deadline(&pit) <= end) {
		now = now < pit_deadline(&pit) ? pit_deadline(&pit) : now;
		ticks += ticked();
	}
	now = end;
	return ticks;
}

static void missed_ticks_come_later(void)
{
	start();
	program(0, 2, 1193);
	now = START + NS_PER_S / 50;
	/* Twenty are due, at a quarter of their distance. */
	CHECK_EQUAL(ticks_until(now + NS_PER_S / 1000), 4 + 1);
	CHECK_EQUAL(ticks_until(START + NS_PER_S / 10), 100 - 5);
	CHECK_EQUAL(pit_deadline(&pit), START + clocks(1193 * 101));
}

static void but_not_all_of_them(void)
{
	unsigned int ticks;

	start();
	program(0, 2, 1193);
	now = START + 10 * NS_PER_S;
	ticks = ticks_until(now + NS_PER_S);
	CHECK(ticks >= 1064 && ticks <= 1066);
}

/* With interrupts off, they are not raised for nobody. */
static void ticks_that_are_not_taken(void)
{
	start();
	program(0, 2, 1193);
	for (unsigned int i = 0; i < 30; i++) {
		now = pit_deadline(&pit);
		pit_update(&pit, now);
	}
	CHECK_EQUAL(now, START + clocks(1193 * 30));
	CHECK(ticked() || pic_raised(&pic));
	CHECK_EQUAL(ticks_until(START + clocks(1193 * 100)), 99);
}

static void too_short_periods_are_not_a_storm(void)
{
	unsigned int ticks = 0;

	start();
	program(0, 2, 2);
	while (now < START + NS_PER_S / 100) {
		now = pit_deadline(&pit);
		ticks += ticked();
	}
	CHECK(ticks > 0);
	CHECK(ticks <= 101);
}

static void once(unsigned int mode)
{
	start();
	program(0, mode, 1000);
	CHECK_EQUAL(pit_deadline(&pit), START + clocks(1000));
	now = pit_deadline(&pit) - 1;
	CHECK(!ticked());
	now += 1 + NS_PER_S;
	CHECK(ticked());
	CHECK_EQUAL(pit_deadline(&pit), PIT_NEVER);
	/* Loaded again, without its mode. */
	out(0x40, 0xe8);
	out(0x40, 0x03);
	CHECK_EQUAL(pit_deadline(&pit), now + clocks(1000));
	now += clocks(1000);
	CHECK(ticked());
}

static void mode_0_is_once(void)
{
	once(0);
}

static void mode_4_is_once(void)
{
	once(4);
}

static void a_new_mode_stops_the_old(void)
{
	start();
	program(0, 2, 1000);
	out(0x43, 0x38);
	CHECK_EQUAL(pit_deadline(&pit), PIT_NEVER);
	now += NS_PER_S;
	CHECK(!ticked());
}

static void zero_is_the_largest_count(void)
{
	start();
	program(0, 4, 0);
	CHECK_EQUAL(pit_deadline(&pit), START + clocks(0x10000));
}

static void counts_down(void)
{
	start();
	program(0, 2, 1000);
	now += clocks(10);
	out(0x43, 0x00);
	CHECK_EQUAL(in_word(0x40), 990);
	now += clocks(1000);
	CHECK_EQUAL(in_word(0x40), 990);
	/* Mode 3 counts by two. */
	program(0, 3, 1000);
	now += clocks(10);
	out(0x43, 0x00);
	CHECK_EQUAL(in_word(0x40), 980);
}

static void latch_holds(void)
{
	start();
	program(0, 2, 1000);
	now += clocks(10);
	out(0x43, 0x00);
	now += clocks(10);
	out(0x43, 0x00);
	CHECK_EQUAL(in(0x40), 990 & 0xff);
	now += clocks(100);
	CHECK_EQUAL(in(0x40), 990 >> 8);
	CHECK_EQUAL(in_word(0x40), 880);
}

static void one_byte_access(void)
{
	start();
	out(0x43, 0x14);
	out(0x40, 200);
	CHECK_EQUAL(pit_deadline(&pit), START + clocks(200));
	now += clocks(50);
	CHECK_EQUAL(in(0x40), 150);
	out(0x43, 0x24);
	out(0x40, 2);
	CHECK_EQUAL(pit_deadline(&pit), now + clocks(512));
	CHECK_EQUAL(in(0x40), 2);
}

static void read_back(void)
{
	start();
	out(0x43, 0x34);
	/* Status and count of channel 0: no count loaded yet, output high. */
	out(0x43, 0xc2);
	CHECK_EQUAL(in(0x40), 0xf4);
	start();
	program(0, 2, 1000);
	now += clocks(10);
	out(0x43, 0xc2);
	now += clocks(10);
	CHECK_EQUAL(in(0x40), 0xb4);
	CHECK_EQUAL(in_word(0x40), 990);
}

static void bcd(void)
{
	start();
	out(0x43, 0x35);
	out(0x40, 0x00);
	out(0x40, 0x10);
	CHECK_EQUAL(pit_deadline(&pit), START + clocks(1000));
	now += clocks(1);
	out(0x43, 0x00);
	CHECK_EQUAL(in_word(0x40), 0x0999);
}

/* As Linux measures the TSC. */
static void channel_2_by_its_gate(void)
{
	start();
	out(0x61, 0x00);
	program(2, 0, 1000);
	now += clocks(2000);
	CHECK_EQUAL(in(0x61) & 0x21, 0x00);
	out(0x61, 0x01);
	now += clocks(999);
	CHECK_EQUAL(in(0x61) & 0x21, 0x01);
	now += clocks(2);
	CHECK_EQUAL(in(0x61) & 0x21, 0x21);
	/* It stops with the gate. */
	program(2, 0, 1000);
	now += clocks(100);
	out(0x61, 0x00);
	now += clocks(5000);
	CHECK_EQUAL(in(0x61) & 0x20, 0x00);
	CHECK_EQUAL(in_word(0x42), 900);
	out(0x61, 0x01);
	now += clocks(901);
	CHECK_EQUAL(in(0x61) & 0x20, 0x20);
}

static void refresh_bit_toggles(void)
{
	unsigned int changes = 0;
	uint8_t last, bit;

	start();
	last = in(0x61) & 0x10;
	for (unsigned int i = 0; i < 1000; i++) {
		now += 1000;
		bit = in(0x61) & 0x10;
		changes += bit != last;
		last = bit;
	}
	CHECK(changes > 60 && changes < 70);
}

int main(void)
{
	static const struct tap_test tests[] = {
		TAP_TEST(mode_2_is_periodic),
		TAP_TEST(mode_3_is_periodic),
		TAP_TEST(missed_ticks_come_later),
		TAP_TEST(but_not_all_of_them),
		TAP_TEST(ticks_that_are_not_taken),
		TAP_TEST(too_short_periods_are_not_a_storm),
		TAP_TEST(mode_0_is_once),
		TAP_TEST(mode_4_is_once),
		TAP_TEST(a_new_mode_stops_the_old),
		TAP_TEST(zero_is_the_largest_count),
		TAP_TEST(counts_down),
		TAP_TEST(latch_holds),
		TAP_TEST(one_byte_access),
		TAP_TEST(read_back),
		TAP_TEST(bcd),
		TAP_TEST(channel_2_by_its_gate),
		TAP_TEST(refresh_bit_toggles),
	};

	return TAP_RUN(tests);
}
