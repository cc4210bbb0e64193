/* SPDX-License-Identifier: MIT */
/* A PC without APIC, PCI, keyboard and screen, around one vCPU. */
#ifndef WISP_CLI_MACHINE_H
#define WISP_CLI_MACHINE_H

#include <wisp.h>

#include "acpi.h"
#include "bus.h"
#include "console.h"
#include "control.h"
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
	int save_dir;		/* where a snapshot goes, -1: none is taken */
	uint64_t memory_size;
	uint64_t clock_offset;	/* nanoseconds: from the host's clock */
	struct wisp_query query;
	struct wisp_vcpu_page *page;
	struct console *console;
	struct gdb *gdb;	/* NULL: none */
	struct trace *trace;	/* NULL: none */
	const struct wisp_saved *origin;	/* what it was saved as, or NULL */

	/* Owned by the vCPU's runner. */
	struct bus bus;
	struct pic pic;
	struct pit pit;
	struct rtc rtc;
	struct uart uart;
	struct reset reset;
	struct acpi acpi;
	struct control control;
	enum power power;
	struct ending *ending;
	uint64_t deadline;	/* nanoseconds: when to give up */
	bool accepts;		/* the guest would take an interrupt at once */
};

/* A machine that was saved, from which others are made. */
struct machine_image {
	int sys;
	int snapshot;
	struct wisp_query query;
	struct wisp_saved saved;
};

/* Nanoseconds of the clock that the devices run by: it goes on when saved. */
uint64_t machine_now(const struct machine *machine);

/*
 * Opens the driver and makes the VM with its memory and devices. On failure,
 * which @ending then tells, returns -1 and leaves nothing behind.
 */
int machine_create(struct machine *machine, uint64_t memory_size,
		   struct ending *ending);
void machine_destroy(struct machine *machine);

/*
 * The folder that machine_save() is to write to, made if need be: an fd, or -1 and
 * @ending tells.
 */
int machine_open_folder(const char *path, struct ending *ending);

/* What the vCPU is to complete was completed. @ending tells how it went. */
void machine_save(struct machine *machine);

/* The folder @path has one. As machine_create(). */
int machine_image_open(struct machine_image *image, const char *path,
		       struct ending *ending);
/* No more are made of it; those that there are still refer to it. */
void machine_image_seal(struct machine_image *image);
/* All that were made of it have been destroyed. */
void machine_image_close(struct machine_image *image);
int machine_fork(struct machine *machine, const struct machine_image *image,
		 struct ending *ending);

/* From any thread: look at the console. */
void machine_wake(void *machine);

/* Runs the vCPU until machine->ending is set. */
void machine_run(struct machine *machine);

#endif
