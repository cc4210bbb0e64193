/* SPDX-License-Identifier: MIT */
/* A PC without APIC, PCI, keyboard and screen, around one vCPU. */
#ifndef WISP_CLI_MACHINE_H
#define WISP_CLI_MACHINE_H

#include <wisp.h>

#include "acpi.h"
#include "bus.h"
#include "console.h"
#include "ending.h"
#include "gdb.h"
#include "pic.h"
#include "pit.h"
#include "power.h"
#include "reset.h"
#include "rtc.h"
#include "trace.h"
#include "uart.h"

struct machine {
	/* Constant after create. */
	int sys;
	int memory;
	int vm;
	int wake_fd;		/* readable: the console has something */
	uint64_t memory_size;
	struct wisp_query query;
	struct wisp_vcpu_page *page;
	struct console *console;
	struct gdb *gdb;	/* NULL: none */
	struct trace *trace;	/* NULL: none */

	/* Owned by the vCPU's runner. */
	struct bus bus;
	struct pic pic;
	struct pit pit;
	struct rtc rtc;
	struct uart uart;
	struct reset reset;
	struct acpi acpi;
	enum power power;
	struct ending *ending;
	uint64_t deadline;	/* nanoseconds: when to give up */
	bool accepts;		/* the guest would take an interrupt at once */
};

/* Nanoseconds of the clock that the devices run by. */
uint64_t machine_now(void);

/*
 * Opens the driver and makes the VM with its memory and devices. On failure,
 * which @ending then tells, returns -1 and leaves nothing behind.
 */
int machine_create(struct machine *machine, uint64_t memory_size,
		   struct ending *ending);
void machine_destroy(struct machine *machine);

/* From any thread: look at the console. */
void machine_wake(void *machine);

/* Runs the vCPU until machine->ending is set. */
void machine_run(struct machine *machine);

#endif
