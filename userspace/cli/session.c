// SPDX-License-Identifier: MIT
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

#define TIMEOUT_MAX_S	1000000000.0
#define NS_PER_S	1e9

/* Options without a letter. */
enum { KEY_GDB = 0x100, KEY_TRACE, KEY_STATS, KEY_SNAPSHOT };

static const struct argp_option argp_options[] = {
	{ "timeout", 't', "SECONDS", 0, "Give up after this time", 0 },
	{ "gdb", KEY_GDB, "PORT", 0,
	  "Wait for gdb on this port of 127.0.0.1 (0: any) before the first instruction; \"target remote 127.0.0.1:PORT\" attaches",
	  0 },
	{ "snapshot", KEY_SNAPSHOT, "DIR", 0,
	  "When the guest asks for it, or SIGUSR1 comes, save the guest in this folder, and end",
	  0 },
	{ "trace", KEY_TRACE, "FILE", OPTION_ARG_OPTIONAL,
	  "Write a line for each exit of the guest to FILE, or to standard error; with --json as JSON objects",
	  0 },
	{ "stats", KEY_STATS, NULL, 0,
	  "At the end tell how often the guest was entered, and why it exited; with --json in that object, too",
	  0 },
	{ "json", 'j', "FILE", OPTION_ARG_OPTIONAL,
	  "At the end write a JSON object that tells how the guest ended to FILE, or as the last line of standard output",
	  0 },
	{ 0 }
};

double session_parse_timeout(const char *text)
{
	char *end;
	double timeout = strtod(text, &end);

	if (end == text || *end || !(timeout > 0) || timeout > TIMEOUT_MAX_S)
		command_misused("--timeout %s is no number of seconds above 0: give one such as 30",
				text);
	return timeout;
}

static void parse_port(const char *text, struct session *session)
{
	char *end;
	unsigned long port = strtoul(text, &end, 10);

	if (end == text || *end || *text == '-' || port > UINT16_MAX)
		command_misused("--gdb %s is not a port: give one such as 1234",
				text);
	session->has_gdb = true;
	session->gdb_port = (uint16_t)port;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct session *session = state->input;

	switch (key) {
	case 't':
		session->timeout = session_parse_timeout(arg);
		return 0;
	case 'j':
		session->json = arg ?: "-";
		return 0;
	case KEY_GDB:
		parse_port(arg, session);
		return 0;
	case KEY_TRACE:
		session->has_trace = true;
		session->trace_path = arg;
		return 0;
	case KEY_STATS:
		session->has_stats = true;
		return 0;
	case KEY_SNAPSHOT:
		session->snapshot = arg;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

const struct argp session_argp = {
	.options = argp_options,
	.parser = parse,
};

int session_start(struct session *session)
{
	session->save_dir = -1;
	console_setup_signals(&session->signals, session->snapshot);
	if (!session->snapshot)
		return 0;
	session->save_dir = machine_open_folder(session->snapshot,
						&session->ending);
	return session->save_dir < 0 ? -1 : 0;
}

static int start_gdb(struct session *session)
{
	struct machine *machine = &session->machine;
	uint16_t port = session->gdb_port;
	sigset_t before;
	int ret;

	/* Its thread takes none that are the console's. */
	pthread_sigmask(SIG_BLOCK, &session->signals, &before);
	ret = gdb_start(&session->gdb, &port, machine->vm, machine->page,
			machine_wake, machine);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (ret) {
		ending_set(&session->ending, ENDING_ERROR,
			   "--gdb %u: %s: give another port", port,
			   strerror(-ret));
		return -1;
	}
	machine->gdb = &session->gdb;
	fprintf(stderr, "wisp: waiting for gdb: target remote 127.0.0.1:%u\n",
		port);
	return 0;
}

static int start_trace(struct session *session)
{
	const char *path = session->trace_path;
	int ret;

	ret = trace_open(&session->trace, path, session->json,
			 &session->console);
	if (ret) {
		ending_set(&session->ending, ENDING_ERROR,
			   "--trace %s: %s: give a file that can be written",
			   path, strerror(-ret));
		return -1;
	}
	session->machine.trace = &session->trace;
	return 0;
}

static void end_trace(struct session *session)
{
	if (trace_close(&session->trace))
		fprintf(stderr, "wisp: --trace: not all of it could be written: free some room, or read all of it\n");
}

static void run_guest(struct session *session)
{
	struct machine *machine = &session->machine;
	int ret;

	ret = console_start(&session->console, &session->signals, machine_wake,
			    machine);
	if (ret) {
		ending_set(&session->ending, ENDING_ERROR,
			   "no console: %s: close other programs",
			   strerror(-ret));
		return;
	}
	machine->console = &session->console;
	machine->save_dir = session->save_dir;
	if (session->timeout > 0)
		machine->deadline = machine_now(machine) +
			(uint64_t)(session->timeout * NS_PER_S);
	machine_run(machine);
	console_stop(&session->console);
	if (session->has_stats)
		session->ending.has_stats =
			!wisp_stats(machine->vm, &session->ending.stats);
}

void session_run(struct session *session)
{
	if (session->has_trace && start_trace(session))
		return;
	if (!session->has_gdb) {
		run_guest(session);
	} else if (!start_gdb(session)) {
		run_guest(session);
		gdb_end(&session->gdb, (int)session->ending.kind);
	}
	end_trace(session);
}

static void write_json(struct session *session)
{
	const char *path = session->json;
	FILE *stream = stdout;
	int ret;

	if (!path)
		return;
	/* Of a guest that ends in a line, the next one. */
	if (strcmp(path, "-"))
		stream = fopen(path, "we");
	else if (session->console.in_line)
		putchar('\n');
	ret = stream ? ending_print_json(&session->ending, stream) : -1;
	if (stream && stream != stdout && fclose(stream))
		ret = -1;
	if (ret)
		fprintf(stderr, "wisp: --json %s: %s: give a file that can be written\n",
			path, strerror(errno));
}

int session_end(struct session *session)
{
	if (session->save_dir >= 0)
		close(session->save_dir);
	/* Who closes a pipe wants no more of it. */
	if (session->console.error && session->console.error != EPIPE)
		fprintf(stderr, "wisp: the guest's output is lost: %s: write it where there is room\n",
			strerror(session->console.error));
	ending_print(&session->ending);
	write_json(session);
	return (int)session->ending.kind;
}
