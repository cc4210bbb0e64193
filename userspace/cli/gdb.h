/* SPDX-License-Identifier: MIT */
/*
 * A stub for gdb: "target remote". The vCPU's runner calls everything but
 * gdb_start() between two runs; a thread looks for Ctrl-C meanwhile.
 */
#ifndef WISP_CLI_GDB_H
#define WISP_CLI_GDB_H

#include <pthread.h>
#include <stdatomic.h>
#include <wisp.h>

#include "breakpoints.h"
#include "rsp.h"

struct gdb {
	/* Constant after start. */
	int vm;
	struct wisp_vcpu_page *page;
	void (*wake)(void *opaque);
	void *opaque;
	int watch_fd;		/* an eventfd: look at @watched */
	pthread_t thread;

	atomic_bool is_ended;
	atomic_bool is_due;	/* the connection has something */
	atomic_int watched;

	/* Owned by the vCPU's runner. */
	struct rsp rsp;
	struct breakpoints breakpoints;
	struct wisp_state state;	/* while the guest stands */
	bool stands;
	bool is_stepping;
	bool is_killed;
	bool awaits_reply;	/* gdb: what the guest stopped for */
	char reason[64];	/* why it stands, as a stop reply */
};

/*
 * Listens on 127.0.0.1 (*@port 0: says which port it took). The guest stands
 * until gdb has it go on. @wake is called from another thread when gdb_serve()
 * has something to do. Returns 0 or a negative errno.
 */
int gdb_start(struct gdb *gdb, uint16_t *port, int vm,
	      struct wisp_vcpu_page *page, void (*wake)(void *opaque),
	      void *opaque);

/* The guest does not run on: its memory is as without the breakpoints. */
void gdb_remove_breakpoints(struct gdb *gdb);

/* The guest has ended, with this status. */
void gdb_end(struct gdb *gdb, int status);

/* Whether gdb_serve() has something to do before the next run. */
bool gdb_is_due(const struct gdb *gdb);

enum gdb_wish {
	GDB_RUN,	/* run the guest */
	GDB_WAIT,	/* wait for gdb_fd() to be readable, then serve again */
	GDB_KILL,	/* end the guest */
};

/* With nothing left in the page for the next run to take. Does not wait. */
enum gdb_wish gdb_serve(struct gdb *gdb);
int gdb_fd(const struct gdb *gdb);

/* Whether some of it was received already: nothing to wait for. */
bool gdb_has_input(const struct gdb *gdb);

/* Before a run: adds what it needs to page->flags. */
void gdb_prepare(struct gdb *gdb);

/* After a run that ended with WISP_EXIT_DEBUG. */
void gdb_take_exit(struct gdb *gdb);

/* After WISP_EXIT_HLT: whether that HLT is a breakpoint. */
bool gdb_take_halt(struct gdb *gdb);

/* After any other exit was handled: that may have been the step. */
void gdb_take_assist(struct gdb *gdb);

#endif
