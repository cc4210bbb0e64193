// SPDX-License-Identifier: MIT
#include "console.h"
#include "file.h"
#include "host.h"
#include "script.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#define CTRL_A		0x01

/* A full pipe is looked at again after this long. */
#define FULL_MS		20

/*
 * The one terminal of the process: static, for whatever ends the program must
 * be able to put it back.
 */
static struct termios saved;
static volatile sig_atomic_t is_raw;

static void restore(void)
{
	if (!is_raw)
		return;
	is_raw = 0;
	/* Not TCSADRAIN: a terminal that is stopped would hold us up. */
	tcsetattr(STDIN_FILENO, TCSANOW, &saved);
}

/* tcsetattr() and raise() are async-signal-safe. */
static void die(int signal)
{
	restore();
	raise(signal);
}

void console_setup_signals(sigset_t *signals, bool saves)
{
	static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	static const int deaths[] = {
		SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP,
		SIGALRM, SIGPROF, SIGVTALRM, SIGUSR1, SIGUSR2, SIGXCPU,
		SIGXFSZ,
	};
	struct sigaction action = {
		.sa_handler = die,
		.sa_flags = (int)SA_RESETHAND | SA_NODEFER,
	};
	struct sigaction old;

	sigemptyset(signals);
	if (saves)
		sigaddset(signals, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, signals, NULL);
	/* What nohup or a shell had ignored is not waited for either. */
	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
		if (!sigaction(ends[i], NULL, &old) &&
		    old.sa_handler != SIG_IGN)
			sigaddset(signals, ends[i]);
	for (size_t i = 0; i < sizeof(deaths) / sizeof(*deaths); i++)
		if (!sigaction(deaths[i], NULL, &old) &&
		    old.sa_handler != SIG_IGN)
			sigaction(deaths[i], &action, NULL);
	/* Stopped, the terminal would stay raw; in a pipe, write() says it. */
	signal(SIGTSTP, SIG_IGN);
	signal(SIGTTOU, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
}

static bool owns_terminal(void)
{
	return isatty(STDIN_FILENO) && tcgetpgrp(STDIN_FILENO) == getpgrp();
}

static void make_raw(void)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &saved))
		return;
	raw = saved;
	cfmakeraw(&raw);
	atexit(restore);
	is_raw = 1;
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

static void quit(struct console *console, int why)
{
	int none = 0;

	atomic_compare_exchange_strong(&console->quit, &none, why);
}

static void push(struct console *console, uint8_t byte)
{
	size_t last;

	/* As on a real line, what nobody takes is lost. */
	if (console->count == CONSOLE_SIZE)
		return;
	last = (console->first + console->count++) % CONSOLE_SIZE;
	console->input[last] = byte;
}

/* Ctrl-A x quits, Ctrl-A Ctrl-A is Ctrl-A, before others it is itself. */
static void take_byte(struct console *console, uint8_t byte)
{
	if (!console->prefix && byte == CTRL_A) {
		console->prefix = true;
		return;
	}
	if (console->prefix && byte == 'x')
		quit(console, CONSOLE_QUIT_KEY);
	else if (console->prefix && byte != CTRL_A)
		push(console, CTRL_A);
	console->prefix = false;
	push(console, byte);
}

/* Returns whether more may come. */
static bool read_input(struct console *console)
{
	uint8_t data[256];
	ssize_t n = read(STDIN_FILENO, data, sizeof(data));

	if (n <= 0)
		return n < 0 && (errno == EINTR || errno == EAGAIN);
	pthread_mutex_lock(&console->lock);
	for (ssize_t i = 0; i < n; i++)
		take_byte(console, data[i]);
	pthread_mutex_unlock(&console->lock);
	console->wake(console->opaque);
	return true;
}

static void read_signal(struct console *console)
{
	struct signalfd_siginfo info;

	if (read(console->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGUSR1)
		atomic_store(&console->wants_save, true);
	else
		quit(console, (int)info.ssi_signo);
	console->wake(console->opaque);
}

static bool has_room(struct console *console)
{
	bool room;

	pthread_mutex_lock(&console->lock);
	room = CONSOLE_SIZE - console->count >= 512;
	pthread_mutex_unlock(&console->lock);
	return room;
}

static void *reader(void *opaque)
{
	struct console *console = opaque;
	bool open = true;

	for (;;) {
		/* A pipe waits; keys are read on, for the one that quits. */
		bool full = !console->is_terminal && !has_room(console);
		struct pollfd fds[] = {
			{ .fd = console->stop_fd, .events = POLLIN },
			{ .fd = console->signal_fd, .events = POLLIN },
			{ .fd = open && !full ? STDIN_FILENO : -1,
			  .events = POLLIN },
		};

		if (poll(fds, 3, full ? FULL_MS : -1) < 0 && errno != EINTR)
			return NULL;
		if (fds[0].revents)
			return NULL;
		if (fds[1].revents)
			read_signal(console);
		if (fds[2].revents)
			open = read_input(console);
	}
}

int console_start(struct console *console, const sigset_t *signals,
		  void (*wake)(void *opaque), void *opaque)
{
	int ret;

	memset(console, 0, sizeof(*console));
	console->wake = wake;
	console->opaque = opaque;
	console->deadline = UINT64_MAX;
	console->stop_fd = eventfd(0, EFD_CLOEXEC);
	console->signal_fd = signalfd(-1, signals, SFD_CLOEXEC);
	console->output_fd = file_reopen(STDOUT_FILENO);
	if (console->stop_fd < 0 || console->signal_fd < 0 ||
	    console->output_fd < 0)
		return -errno;
	pthread_mutex_init(&console->lock, NULL);
	console->is_terminal = isatty(STDIN_FILENO);
	pthread_sigmask(SIG_BLOCK, signals, &console->signals_before);
	ret = pthread_create(&console->thread, NULL, reader, console);
	if (ret) {
		pthread_sigmask(SIG_SETMASK, &console->signals_before, NULL);
		return -ret;
	}
	if (owns_terminal())
		make_raw();
	return 0;
}

void console_stop(struct console *console)
{
	console_flush(console);
	restore();
	eventfd_write(console->stop_fd, 1);
	pthread_join(console->thread, NULL);
	pthread_sigmask(SIG_SETMASK, &console->signals_before, NULL);
	pthread_mutex_destroy(&console->lock);
	close(console->stop_fd);
	close(console->signal_fd);
	close(console->output_fd);
}

void console_start_script(struct console *console, struct script *script)
{
	memset(console, 0, sizeof(*console));
	console->script = script;
}

size_t console_read(struct console *console, uint8_t *data, size_t size)
{
	size_t n = 0;

	if (console->script)
		return script_read(console->script, data, size);
	pthread_mutex_lock(&console->lock);
	for (; n < size && console->count; n++) {
		data[n] = console->input[console->first];
		console->first = (console->first + 1) % CONSOLE_SIZE;
		console->count--;
	}
	pthread_mutex_unlock(&console->lock);
	return n;
}

/*
 * Waits until standard output takes something. A reader that stopped must not
 * hold up the end: so look now and then whether quitting was asked for, or the
 * time is over.
 */
static bool wait_writable(const struct console *console)
{
	struct pollfd fd = { .fd = console->output_fd, .events = POLLOUT };

	while (!console_is_over(console))
		if (poll(&fd, 1, 100) > 0)
			return true;
	return poll(&fd, 1, 0) > 0;
}

void console_flush(struct console *console)
{
	const uint8_t *from = console->output;
	size_t left = console->output_count;

	console->output_count = 0;
	console->output_since = 0;
	while (left && !console->error && wait_writable(console)) {
		ssize_t n = write(console->output_fd, from, left);

		if (n < 0 && errno != EINTR && errno != EAGAIN)
			console->error = errno;
		if (n > 0) {
			from += n;
			left -= (size_t)n;
			console->in_line = from[-1] != '\n';
		}
	}
}

void console_put(struct console *console, uint8_t byte)
{
	if (console->script) {
		if (script_put(console->script, byte))
			quit(console, CONSOLE_QUIT_DONE);
		return;
	}
	console->output[console->output_count++] = byte;
	if (byte == '\n' || console->output_count == CONSOLE_SIZE)
		console_flush(console);
}

void console_update(struct console *console, uint64_t now)
{
	if (!console->output_count)
		return;
	if (!console->output_since)
		console->output_since = now;
	else if (now >= console_deadline(console))
		console_flush(console);
}

uint64_t console_deadline(const struct console *console)
{
	return console->output_since ?
		       console->output_since + CONSOLE_DELAY_NS : UINT64_MAX;
}

int console_quit(const struct console *console)
{
	return atomic_load(&console->quit);
}

bool console_is_over(const struct console *console)
{
	return console_quit(console) || host_now() >= console->deadline;
}

bool console_wants_save(const struct console *console)
{
	return atomic_load(&console->wants_save);
}
