// SPDX-License-Identifier: GPL-2.0
/* The clock, and the ways to power off and reset. */
#include <string.h>

#include "acpi.h"
#include "reset.h"
#include "rtc.h"
#include "tap.h"

#define NS_PER_S	1000000000ULL
#define START		(1000 * NS_PER_S)
/* 2026-11-21, a Saturday, 08:09:10. */
#define UTC		(1795248550LL * (int64_t)NS_PER_S)

static struct bus bus;
static struct pic pic;
static struct rtc rtc;
static struct acpi acpi;
static struct reset reset;
static enum power power;
static uint64_t now;

static void start(void)
{
	now = START;
	power = POWER_ON;
	bus = (struct bus){ 0 };
	pic_init(&pic);
	rtc_init(&rtc, &pic, now, UTC);
	acpi_init(&acpi, &power);
	reset_init(&reset, &power);
	rtc_attach(&rtc, &bus);
	acpi_attach(&acpi, &bus);
	reset_attach(&reset, &bus);
}

static void out(uint16_t port, unsigned int size, uint32_t value)
{
	bus_out(&bus, now, port, size, value);
}

static uint32_t in(uint16_t port, unsigned int size)
{
	return bus_in(&bus, now, port, size);
}

static uint8_t read_cmos(uint8_t index)
{
	out(0x70, 1, index);
	return (uint8_t)in(0x71, 1);
}

static void write_cmos(uint8_t index, uint8_t value)
{
	out(0x70, 1, index);
	out(0x71, 1, value);
}

static void check_time(const char *expected)
{
	char text[32];

	snprintf(text, sizeof(text), "%02x%02x-%02x-%02x %02x:%02x:%02x %x",
		 read_cmos(0x32), read_cmos(9), read_cmos(8), read_cmos(7),
		 read_cmos(4), read_cmos(2), read_cmos(0), read_cmos(6));
	if (!CHECK(!strcmp(text, expected)))
		printf("# it is %s, not %s\n", text, expected);
}

static void clock_runs(void)
{
	start();
	check_time("2026-11-21 08:09:10 7");
	now += 51 * 60 * NS_PER_S;
	check_time("2026-11-21 09:00:10 7");
	CHECK_EQUAL(read_cmos(13), 0x80);
}

static void binary_and_12_hours(void)
{
	start();
	now += 12 * 3600 * NS_PER_S;
	write_cmos(11, 0x06);
	CHECK_EQUAL(read_cmos(4), 20);
	CHECK_EQUAL(read_cmos(9), 26);
	write_cmos(11, 0x00);
	CHECK_EQUAL(read_cmos(4), 0x88);
	now += 4 * 3600 * NS_PER_S;
	CHECK_EQUAL(read_cmos(4), 0x12);
}

/* As Linux sets it: stop, write, go. */
static void clock_can_be_set(void)
{
	start();
	write_cmos(11, 0x82);
	now += 100 * NS_PER_S;
	write_cmos(0, 0x59);
	write_cmos(2, 0x59);
	write_cmos(4, 0x23);
	write_cmos(7, 0x31);
	write_cmos(8, 0x12);
	write_cmos(9, 0x99);
	write_cmos(0x32, 0x19);
	CHECK_EQUAL(read_cmos(10) & 0x80, 0);
	write_cmos(11, 0x02);
	now += NS_PER_S;
	check_time("2000-01-01 00:00:00 7");
}

static void garbage_time_is_no_harm(void)
{
	start();
	for (unsigned int i = 0; i < 256; i++) {
		write_cmos(11, (uint8_t)i);
		for (uint8_t index = 0; index < 128; index++)
			write_cmos(index, (uint8_t)(i * 7 + index));
		now += NS_PER_S;
		rtc_update(&rtc, now);
		rtc_deadline(&rtc, now);
	}
	CHECK(true);
}

static void update_in_progress(void)
{
	start();
	CHECK_EQUAL(read_cmos(10) & 0x80, 0);
	now += NS_PER_S - 1000;
	CHECK_EQUAL(read_cmos(10) & 0x80, 0x80);
	now += 1000;
	CHECK_EQUAL(read_cmos(10) & 0x80, 0);
}

static bool line(void)
{
	return pic.chips[1].lines & 1;
}

static void update_interrupt(void)
{
	start();
	CHECK_EQUAL(rtc_deadline(&rtc, now), RTC_NEVER);
	write_cmos(11, 0x12);
	CHECK_EQUAL(rtc_deadline(&rtc, now), START + NS_PER_S);
	now = START + NS_PER_S;
	rtc_update(&rtc, now);
	CHECK(line());
	CHECK_EQUAL(read_cmos(12), 0x90);
	CHECK(!line());
	CHECK_EQUAL(read_cmos(12), 0x00);
}

static void alarm_interrupt(void)
{
	start();
	write_cmos(1, 0x12);
	write_cmos(3, 0xff);
	write_cmos(5, 0xff);
	write_cmos(11, 0x22);
	for (unsigned int i = 1; i < 60; i++) {
		now += NS_PER_S;
		rtc_update(&rtc, now);
		CHECK(line() == (i == 2));
		read_cmos(12);
	}
}

static void power_off(void)
{
	start();
	/* Another sleep type, or no sleep: nothing. */
	out(0x604, 2, 0x2000 | 3 << 10);
	out(0x604, 2, 5 << 10);
	CHECK_EQUAL(power, POWER_ON);
	CHECK_EQUAL(in(0x604, 2), 5 << 10 | 1);
	out(0x604, 2, 0x2000 | 5 << 10);
	CHECK_EQUAL(power, POWER_OFF);
}

static void pm_timer_runs(void)
{
	uint32_t first;

	start();
	first = in(0x608, 4);
	now += NS_PER_S;
	CHECK_EQUAL(in(0x608, 4) - first, 3579545);
	CHECK_EQUAL(in(0x608, 2), in(0x608, 4) & 0xffff);
}

static void resets(void)
{
	start();
	CHECK_EQUAL(in(0x64, 1), 0);
	out(0x64, 1, 0xaa);
	CHECK_EQUAL(power, POWER_ON);
	out(0x64, 1, 0xfe);
	CHECK_EQUAL(power, POWER_RESET);
	start();
	out(0x92, 1, in(0x92, 1) & 0xfe);
	CHECK_EQUAL(power, POWER_ON);
	out(0x92, 1, in(0x92, 1) | 1);
	CHECK_EQUAL(power, POWER_RESET);
	start();
	out(0xcf9, 1, 0x02);
	CHECK_EQUAL(power, POWER_ON);
	out(0xcf9, 1, 0x06);
	CHECK_EQUAL(power, POWER_RESET);
	/* What looks for PCI does not reset. */
	start();
	out(0xcf8, 4, 0x80000000);
	out(0xcfb, 1, 0x01);
	CHECK_EQUAL(power, POWER_ON);
}

/* Bit 10 of an address is the function's, and in 0xcf9 the reset. */
static void pci_addresses_do_not_reset(void)
{
	start();
	for (uint32_t function = 0; function < 8; function++) {
		out(0xcf8, 4, 0x80000000 | function << 8);
		CHECK_EQUAL(in(0xcf8, 4), 0xffffffff);
		CHECK_EQUAL(in(0xcf9, 1), 0);
	}
	out(0xcf8, 4, 0xffffffff);
	CHECK_EQUAL(power, POWER_ON);
	/* Narrower, its bytes are ports like others. */
	out(0xcf8, 1, 0x06);
	out(0xcfa, 2, 0x0606);
	CHECK_EQUAL(power, POWER_ON);
	out(0xcf9, 2, 0x02);
	CHECK_EQUAL(in(0xcf9, 2), 0xff02);
	CHECK_EQUAL(in(0xcf8, 2), 0x02ff);
	out(0xcf8, 2, 0x0600);
	CHECK_EQUAL(power, POWER_RESET);
}

static bool sums_to_zero(const uint8_t *data, size_t size)
{
	uint8_t sum = 0;

	while (size--)
		sum += *data++;
	return !sum;
}

static uint64_t read_le(const uint8_t *data, unsigned int size)
{
	uint64_t value = 0;

	memcpy(&value, data, size);
	return value;
}

static const uint8_t *find_table(const uint8_t *tables, uint64_t gpa,
				 const char *signature, bool has_sum)
{
	const uint8_t *table = tables + (gpa - ACPI_TABLES_GPA);

	if (!CHECK(gpa >= ACPI_TABLES_GPA && gpa < ACPI_TABLES_GPA + 0xf00))
		return tables;
	CHECK(!memcmp(table, signature, 4));
	if (has_sum)
		CHECK(sums_to_zero(table, read_le(table + 4, 4)));
	return table;
}

static void tables_are_linked(void)
{
	static uint8_t tables[ACPI_TABLES_SIZE];
	const uint8_t *xsdt, *fadt;

	acpi_tables(tables);
	CHECK(!memcmp(tables, "RSD PTR ", 8));
	CHECK(sums_to_zero(tables, 20));
	CHECK(sums_to_zero(tables, 36));
	xsdt = find_table(tables, read_le(tables + 24, 8), "XSDT", true);
	CHECK_EQUAL(read_le(xsdt + 4, 4), 36 + 8);
	fadt = find_table(tables, read_le(xsdt + 36, 8), "FACP", true);
	find_table(tables, read_le(fadt + 40, 4), "DSDT", true);
	find_table(tables, read_le(fadt + 140, 8), "DSDT", true);
	find_table(tables, read_le(fadt + 36, 4), "FACS", false);
	CHECK_EQUAL(read_le(fadt + 36, 4) % 64, 0);
	CHECK_EQUAL(read_le(fadt + 64, 4), 0x604);
	CHECK_EQUAL(read_le(fadt + 76, 4), 0x608);
}

int main(void)
{
	static const struct tap_test tests[] = {
		TAP_TEST(clock_runs),
		TAP_TEST(binary_and_12_hours),
		TAP_TEST(clock_can_be_set),
		TAP_TEST(garbage_time_is_no_harm),
		TAP_TEST(update_in_progress),
		TAP_TEST(update_interrupt),
		TAP_TEST(alarm_interrupt),
		TAP_TEST(power_off),
		TAP_TEST(pm_timer_runs),
		TAP_TEST(resets),
		TAP_TEST(pci_addresses_do_not_reset),
		TAP_TEST(tables_are_linked),
	};

	return TAP_RUN(tests);
}
