/* SPDX-License-Identifier: MIT */
/* MC146818 clock and its CMOS memory, at ports 0x70 and 0x71, IRQ 8. */
#ifndef WISP_DEVICES_RTC_H
#define WISP_DEVICES_RTC_H

#include "bus.h"
#include "pic.h"

#include <stdint.h>

#define RTC_IRQ		8
#define RTC_CMOS_SIZE	128
#define RTC_NEVER	UINT64_MAX

struct rtc {
	struct pic *pic;
	uint8_t index;
	uint8_t cmos[RTC_CMOS_SIZE];	/* but for the time and register C */
	uint8_t flags;			/* register C */
	int64_t offset;			/* UTC is now + offset, in nanoseconds */
	uint64_t ticked;		/* the last second whose end was seen */
};

/* @utc: nanoseconds since 1970 at @now. */
void rtc_init(struct rtc *rtc, struct pic *pic, uint64_t now, int64_t utc);
int rtc_attach(struct rtc *rtc, struct bus *bus);

/* To be loaded after rtc_init(), so that it goes on with the time it is now. */
void rtc_state(struct rtc *rtc, struct state *state, int64_t utc);

/* Raises IRQ 8 at the end of a second, where the guest wants that. */
void rtc_update(struct rtc *rtc, uint64_t now);

/* When rtc_update() has something to do next, or RTC_NEVER. */
uint64_t rtc_deadline(const struct rtc *rtc, uint64_t now);

#endif
