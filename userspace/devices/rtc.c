// SPDX-License-Identifier: MIT
/*
 * The host's clock, in UTC. What the guest writes as the time moves its own
 * clock. The periodic interrupt (PIE) is not there: Linux does not use it.
 */
#include "rtc.h"

#include <string.h>
#include <time.h>

#define NS_PER_S	1000000000LL

/* A time in the year 2242; 64 bits of nanoseconds reach to 2262. */
#define SECONDS_MAX	(1LL << 33)

/* Of what was loaded: with nine years of a clock on top of it no overflow. */
#define OFFSET_MAX	(SECONDS_MAX * NS_PER_S)

/* UIP rises this long before the second ends. */
#define UPDATE_NS	244000

enum {
	SECONDS = 0, SECONDS_ALARM = 1, MINUTES = 2, MINUTES_ALARM = 3,
	HOURS = 4, HOURS_ALARM = 5, WEEKDAY = 6, DAY = 7, MONTH = 8, YEAR = 9,
	REGISTER_A = 10, REGISTER_B = 11, REGISTER_C = 12, REGISTER_D = 13,
	CENTURY = 0x32,
};

#define A_UIP		0x80
#define A_RATE		0x26	/* 32768 Hz base, 1024 Hz */
#define B_SET		0x80
#define B_AIE		0x20
#define B_UIE		0x10
#define B_BINARY	0x04
#define B_24H		0x02
#define C_IRQF		0x80
#define C_AF		0x20
#define C_UF		0x10
#define D_VALID		0x80
#define HOUR_PM		0x80
#define ANY		0xc0	/* an alarm register with these bits always matches */

static int64_t utc_of(const struct rtc *rtc, uint64_t now)
{
	return (int64_t)now + rtc->offset;
}

static uint8_t encode(const struct rtc *rtc, int value)
{
	if (rtc->cmos[REGISTER_B] & B_BINARY)
		return (uint8_t)value;
	return (uint8_t)(value / 10 % 10 << 4 | value % 10);
}

static int decode(const struct rtc *rtc, uint8_t value)
{
	if (rtc->cmos[REGISTER_B] & B_BINARY)
		return value;
	return (value >> 4) * 10 + (value & 15);
}

static uint8_t encode_hour(const struct rtc *rtc, int hour)
{
	if (rtc->cmos[REGISTER_B] & B_24H)
		return encode(rtc, hour);
	return encode(rtc, hour % 12 ?: 12) | (hour >= 12 ? HOUR_PM : 0);
}

static int decode_hour(const struct rtc *rtc, uint8_t value)
{
	if (rtc->cmos[REGISTER_B] & B_24H)
		return decode(rtc, value);
	return decode(rtc, value & ~HOUR_PM) % 12 + (value & HOUR_PM ? 12 : 0);
}

/* While SET is on, the time stands in the registers; else it is computed. */
static void store_time(struct rtc *rtc, uint64_t now)
{
	time_t seconds = (time_t)(utc_of(rtc, now) / NS_PER_S);
	struct tm tm;

	if (rtc->cmos[REGISTER_B] & B_SET || !gmtime_r(&seconds, &tm))
		return;
	rtc->cmos[SECONDS] = encode(rtc, tm.tm_sec);
	rtc->cmos[MINUTES] = encode(rtc, tm.tm_min);
	rtc->cmos[HOURS] = encode_hour(rtc, tm.tm_hour);
	rtc->cmos[WEEKDAY] = encode(rtc, tm.tm_wday + 1);
	rtc->cmos[DAY] = encode(rtc, tm.tm_mday);
	rtc->cmos[MONTH] = encode(rtc, tm.tm_mon + 1);
	rtc->cmos[YEAR] = encode(rtc, tm.tm_year % 100);
	rtc->cmos[CENTURY] = encode(rtc, 19 + tm.tm_year / 100);
}

static void load_time(struct rtc *rtc, uint64_t now)
{
	int century = decode(rtc, rtc->cmos[CENTURY]);
	struct tm tm = {
		.tm_sec = decode(rtc, rtc->cmos[SECONDS]),
		.tm_min = decode(rtc, rtc->cmos[MINUTES]),
		.tm_hour = decode_hour(rtc, rtc->cmos[HOURS]),
		.tm_mday = decode(rtc, rtc->cmos[DAY]),
		.tm_mon = decode(rtc, rtc->cmos[MONTH]) - 1,
		.tm_year = decode(rtc, rtc->cmos[YEAR]) + (century - 19) * 100,
	};
	int64_t seconds = timegm(&tm);

	/* Garbage, or beyond what nanoseconds can count. */
	if (seconds < 0 || seconds > SECONDS_MAX)
		return;
	rtc->offset = seconds * NS_PER_S - (int64_t)now;
	rtc->ticked = (uint64_t)seconds;
}

static bool alarm_matches(const struct rtc *rtc)
{
	static const uint8_t registers[] = { SECONDS, MINUTES, HOURS };

	for (unsigned int i = 0; i < 3; i++) {
		uint8_t value = rtc->cmos[registers[i]];
		uint8_t alarm = rtc->cmos[registers[i] + 1];

		if ((alarm & ANY) != ANY && alarm != value)
			return false;
	}
	return true;
}

static void update_irq(struct rtc *rtc)
{
	if (rtc->flags & rtc->cmos[REGISTER_B] & (C_AF | C_UF))
		rtc->flags |= C_IRQF;
	pic_set(rtc->pic, RTC_IRQ, rtc->flags & C_IRQF);
}

void rtc_update(struct rtc *rtc, uint64_t now)
{
	uint64_t second = (uint64_t)(utc_of(rtc, now) / NS_PER_S);

	if (second == rtc->ticked || rtc->cmos[REGISTER_B] & B_SET)
		return;
	rtc->ticked = second;
	store_time(rtc, now);
	rtc->flags |= C_UF;
	if (alarm_matches(rtc))
		rtc->flags |= C_AF;
	update_irq(rtc);
}

uint64_t rtc_deadline(const struct rtc *rtc, uint64_t now)
{
	uint8_t b = rtc->cmos[REGISTER_B];

	if (b & B_SET || !(b & (B_AIE | B_UIE)))
		return RTC_NEVER;
	return now + (uint64_t)(NS_PER_S - utc_of(rtc, now) % NS_PER_S);
}

static uint8_t read_a(const struct rtc *rtc, uint64_t now)
{
	bool ends = utc_of(rtc, now) % NS_PER_S >= NS_PER_S - UPDATE_NS;
	bool counts = !(rtc->cmos[REGISTER_B] & B_SET);

	return (rtc->cmos[REGISTER_A] & ~A_UIP) | (counts && ends ? A_UIP : 0);
}

static uint8_t read_c(struct rtc *rtc, uint64_t now)
{
	uint8_t flags;

	rtc_update(rtc, now);
	flags = rtc->flags;
	rtc->flags = 0;
	update_irq(rtc);
	return flags;
}

static uint8_t read_cmos(struct rtc *rtc, uint64_t now)
{
	switch (rtc->index) {
	case REGISTER_A:
		return read_a(rtc, now);
	case REGISTER_C:
		return read_c(rtc, now);
	case REGISTER_D:
		return D_VALID;
	default:
		store_time(rtc, now);
		return rtc->cmos[rtc->index];
	}
}

static void write_b(struct rtc *rtc, uint8_t value, uint64_t now)
{
	bool was_set = rtc->cmos[REGISTER_B] & B_SET;

	/* SET disables the update interrupt. */
	if (value & B_SET) {
		store_time(rtc, now);
		value &= ~B_UIE;
	}
	rtc->cmos[REGISTER_B] = value;
	if (was_set && !(value & B_SET))
		load_time(rtc, now);
	update_irq(rtc);
}

static bool is_time(uint8_t index)
{
	return index == SECONDS || index == MINUTES || index == HOURS ||
	       (index >= WEEKDAY && index <= YEAR) || index == CENTURY;
}

static void write_cmos(struct rtc *rtc, uint8_t value, uint64_t now)
{
	switch (rtc->index) {
	case REGISTER_B:
		write_b(rtc, value, now);
		break;
	case REGISTER_C:
	case REGISTER_D:
		break;
	default:
		store_time(rtc, now);
		rtc->cmos[rtc->index] = value;
		if (is_time(rtc->index) && !(rtc->cmos[REGISTER_B] & B_SET))
			load_time(rtc, now);
		break;
	}
}

static uint32_t rtc_in(void *device, uint64_t now, uint16_t offset,
		       unsigned int size)
{
	/* The index cannot be read back. */
	return offset ? read_cmos(device, now) : 0xff;
}

static void rtc_out(void *device, uint64_t now, uint16_t offset,
		    unsigned int size, uint32_t value)
{
	struct rtc *rtc = device;

	/* Bit 7 masks NMI, which nothing here raises. */
	if (!offset)
		rtc->index = value & 0x7f;
	else
		write_cmos(rtc, (uint8_t)value, now);
}

static const struct bus_ops rtc_ops = { .in = rtc_in, .out = rtc_out };

void rtc_init(struct rtc *rtc, struct pic *pic, uint64_t now, int64_t utc)
{
	memset(rtc, 0, sizeof(*rtc));
	rtc->pic = pic;
	rtc->offset = utc - (int64_t)now;
	rtc->ticked = (uint64_t)(utc / NS_PER_S);
	rtc->cmos[REGISTER_A] = A_RATE;
	rtc->cmos[REGISTER_B] = B_24H;
	store_time(rtc, now);
}

int rtc_attach(struct rtc *rtc, struct bus *bus)
{
	return bus_add(bus, 0x70, 0x71, 1, &rtc_ops, rtc);
}

/* What is kept is how far it was from the host's clock, at @utc. */
void rtc_state(struct rtc *rtc, struct state *state, int64_t utc)
{
	int64_t was = utc, init = rtc->offset, offset;

	state_section(state, "RTC ", 1);
	STATE(state, was);
	STATE(state, rtc->index);
	STATE(state, rtc->cmos);
	STATE(state, rtc->flags);
	STATE(state, rtc->offset);
	STATE(state, rtc->ticked);
	offset = (int64_t)((uint64_t)rtc->offset + (uint64_t)utc - (uint64_t)was);
	/* Who put it that far off gets the host's time. */
	if (offset <= -OFFSET_MAX || offset > OFFSET_MAX)
		offset = init;
	rtc->offset = offset;
	state_check(state, rtc->index < RTC_CMOS_SIZE);
}
