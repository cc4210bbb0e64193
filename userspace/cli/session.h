/* SPDX-License-Identifier: MIT */
/* A guest on the terminal: what "wisp run" and "wisp resume" have in common. */
#ifndef WISP_CLI_SESSION_H
#define WISP_CLI_SESSION_H

#include <argp.h>

#include "gdb.h"
#include "machine.h"
#include "trace.h"

/* What is held from start to end. */
struct session {
	/* Options. */
	const char *json;	/* file, "-" standard output, NULL none */
	double timeout;		/* seconds, 0: none */
	bool has_gdb;
	uint16_t gdb_port;
	bool has_trace;
	const char *trace_path;	/* NULL standard error */
	bool has_stats;
	const char *snapshot;	/* folder, NULL none */

	struct ending ending;
	struct console console;
	struct machine machine;
	struct gdb gdb;
	struct trace trace;
	sigset_t signals;
	int save_dir;		/* of @snapshot, or -1 */
};

/* Their options; a child of the command's, whose input is the session. */
extern const struct argp session_argp;

/* How both end, for their help. */
#define SESSION_DOC \
	"Ctrl-A x quits, Ctrl-A Ctrl-A sends Ctrl-A.\n" \
	"SIGINT, SIGTERM, SIGHUP and SIGQUIT quit, too.\n" \
	"With --snapshot a 1 written to port 0x5d5, or SIGUSR1, saves the guest.\n"

#define SESSION_STATUSES \
	"The exit status tells how the guest ended:\n" \
	"   0  powered off\n" \
	"   1  could not be started, or the host failed\n" \
	"   2  rebooted (reset)\n" \
	"   3  crashed: a triple fault, or an access that nothing can complete;\n" \
	"      registers are printed\n" \
	"   4  timed out (--timeout)\n" \
	"   5  quit by Ctrl-A x or a signal\n" \
	"   6  halted with interrupts off\n" \
	"   7  saved (--snapshot)\n" \
	"  64  wrong usage"

/* "--timeout @text": seconds; misused otherwise. */
double session_parse_timeout(const char *text);

/* Before any thread. Returns 0, or -1 where the folder cannot be had. */
int session_start(struct session *session);

/* The machine is there: runs it to its end. */
void session_run(struct session *session);

/* Tells how it ended; returns the exit status. */
int session_end(struct session *session);

#endif
