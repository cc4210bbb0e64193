/* SPDX-License-Identifier: MIT */
/* What the guest asked the machine to do. */
#ifndef WISP_DEVICES_POWER_H
#define WISP_DEVICES_POWER_H

enum power {
	POWER_ON = 0,
	POWER_OFF,
	POWER_RESET,
};

#endif
