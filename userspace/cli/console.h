/* SPDX-License-Identifier: MIT */
/* The terminal: the guest's serial line on standard input and output. */
#ifndef WISP_CLI_CONSOLE_H
#define WISP_CLI_CONSOLE_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONSOLE_SIZE	4096

/* Output that ends no line waits so long for more. */
#define CONSOLE_DELAY_NS	10000000

/* What ended the console: a key, a script, or the number of a signal. */
#define CONSOLE_QUIT_KEY	(-1)
#define CONSOLE_QUIT_DONE	(-2)

struct script;

struct console {
	/* Constant after start. */
	void (*wake)(void *opaque);	/* input came, or quit was asked for */
	void *opaque;
	int signal_fd;
	int stop_fd;
	int output_fd;
	bool is_terminal;
	sigset_t signals_before;	/* blocked, when it was started */
	struct script *script;		/* instead of a terminal, or NULL */
	pthread_t thread;

	/* Protected by @lock. */
	pthread_mutex_t lock;
	uint8_t input[CONSOLE_SIZE];
	size_t first;
	size_t count;

	/* Owned by the reading thread. */
	bool prefix;		/* Ctrl-A was the last byte */

	/* Owned by the writing thread. */
	uint8_t output[CONSOLE_SIZE];
	size_t output_count;
	uint64_t output_since;	/* when it began to wait, 0: see console_update() */
	int error;		/* why nothing more can be written, or 0 */
	bool in_line;		/* what was written has no end yet */
	uint64_t deadline;	/* of host_now(): output waits no longer */

	atomic_int quit;	/* 0, CONSOLE_QUIT_* or a signal */
	atomic_bool wants_save;	/* SIGUSR1 came */
};

/*
 * Before any thread: whatever kills the program gives the terminal its modes back.
 * @signals gets those that are the console's: the ones that end the program, and with
 * @saves SIGUSR1, which is blocked.
 */
void console_setup_signals(sigset_t *signals, bool saves);

/*
 * Raw mode, and a thread that reads. Until it is stopped @signals are its, and end
 * nothing: other threads have to have them blocked. Returns 0 or a negative errno.
 */
int console_start(struct console *console, const sigset_t *signals,
		  void (*wake)(void *opaque), void *opaque);
void console_stop(struct console *console);

/* No terminal and no thread: @script types and listens. Needs no stop. */
void console_start_script(struct console *console, struct script *script);

/* Takes up to @size bytes that were typed; returns how many. */
size_t console_read(struct console *console, uint8_t *data, size_t size);

void console_put(struct console *console, uint8_t byte);
void console_flush(struct console *console);

/* Between two runs: writes what has waited. @now: nanoseconds of some clock. */
void console_update(struct console *console, uint64_t now);

/* When console_update() would write; UINT64_MAX: nothing waits. */
uint64_t console_deadline(const struct console *console);

/* Why to quit: 0 not at all, CONSOLE_QUIT_* or a signal. */
int console_quit(const struct console *console);

/* Whether nobody is to be waited for: quit was asked for, or the time is over. */
bool console_is_over(const struct console *console);

/* Whether SIGUSR1 came, where it is among console_setup_signals()'. */
bool console_wants_save(const struct console *console);

#endif
