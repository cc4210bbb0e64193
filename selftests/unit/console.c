// SPDX-License-Identifier: GPL-2.0
/* The terminal: raw while the guest has it, as before on every way out. */
#include "console.h"
#include "host.h"

#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "tap.h"

static int master;
static int slave;
static struct termios before;

/* What the child tells at its end. */
#define GOOD	42

static void on_wake(void *opaque)
{
	int *fd = opaque;

	if (write(*fd, "!", 1) != 1)
		abort();
}

static bool is_raw(int fd)
{
	struct termios now;

	return !tcgetattr(fd, &now) && !(now.c_lflag & (ICANON | ECHO | ISIG));
}

/* A session of its own, with the pty as its terminal. */
static pid_t start(void (*run)(struct console *console, int woken))
{
	static struct console console;
	struct rlimit none = { 0 };
	sigset_t signals;
	int wake[2];
	pid_t child;

	if (openpty(&master, &slave, NULL, NULL, NULL) || pipe(wake)) {
		perror("openpty");
		exit(1);
	}
	tcgetattr(slave, &before);
	fflush(stdout);
	child = fork();
	if (child)
		return child;
	setrlimit(RLIMIT_CORE, &none);
	/* What whoever started the test ignores would stay ignored. */
	for (int i = 1; i < SIGRTMIN; i++)
		signal(i, SIG_DFL);
	setsid();
	ioctl(slave, TIOCSCTTY, 0);
	dup2(slave, STDIN_FILENO);
	dup2(slave, STDOUT_FILENO);
	console_setup_signals(&signals, false);
	if (console_start(&console, &signals, on_wake, &wake[1]))
		_exit(1);
	if (!is_raw(STDIN_FILENO))
		_exit(2);
	run(&console, wake[0]);
	_exit(3);
}

static bool is_restored(void)
{
	struct termios now;

	tcgetattr(slave, &now);
	return now.c_lflag == before.c_lflag && now.c_iflag == before.c_iflag &&
	       now.c_oflag == before.c_oflag && now.c_cflag == before.c_cflag;
}

static int finish(pid_t child)
{
	int status = 0;

	waitpid(child, &status, 0);
	CHECK(is_restored());
	close(master);
	close(slave);
	return status;
}

static void wait_wake(int fd)
{
	char byte;

	if (read(fd, &byte, 1) != 1)
		_exit(4);
}

static void wait_raw(void)
{
	while (!is_raw(slave))
		usleep(1000);
}

static void stop_now(struct console *console, int woken)
{
	console_stop(console);
	_exit(GOOD);
}

static void is_given_back_by_stop(void)
{
	CHECK_EQUAL(finish(start(stop_now)), GOOD << 8);
}

static void exit_now(struct console *console, int woken)
{
	exit(GOOD);
}

static void is_given_back_by_exit(void)
{
	CHECK_EQUAL(finish(start(exit_now)), GOOD << 8);
}

static void sleep_on(struct console *console, int woken)
{
	for (;;)
		pause();
}

static void is_given_back_by_what_kills(void)
{
	static const int signals[] = {
		SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGALRM, SIGUSR1,
		SIGUSR2, SIGXCPU, SIGXFSZ,
	};

	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		pid_t child = start(sleep_on);

		wait_raw();
		kill(child, signals[i]);
		CHECK_EQUAL(finish(child) & 0x7f, signals[i]);
	}
}

/* Tells by its exit status what made it quit. */
static void wait_quit(struct console *console, int woken)
{
	while (!console_quit(console))
		wait_wake(woken);
	console_stop(console);
	_exit(console_quit(console) & 0xff);
}

static void signals_quit(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };

	for (size_t i = 0; i < 4; i++) {
		pid_t child = start(wait_quit);

		wait_raw();
		kill(child, signals[i]);
		CHECK_EQUAL(finish(child), signals[i] << 8);
	}
}

static void stop_and_sleep(struct console *console, int woken)
{
	console_stop(console);
	if (write(STDOUT_FILENO, "!", 1) == 1)
		sleep_on(console, woken);
}

/* What comes then, such as a report to who does not read it, can be ended. */
static void signals_kill_behind_the_end(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };

	for (size_t i = 0; i < 4; i++) {
		pid_t child = start(stop_and_sleep);
		char byte;

		alarm(20);
		CHECK_EQUAL(read(master, &byte, 1), 1);
		kill(child, signals[i]);
		CHECK_EQUAL(finish(child) & 0x7f, signals[i]);
		alarm(0);
	}
}

static void type(const char *text)
{
	wait_raw();
	if (write(master, text, strlen(text)) != (ssize_t)strlen(text))
		abort();
}

static void ctrl_a_x_quits(void)
{
	pid_t child = start(wait_quit);

	type("abc\003\001x");
	CHECK_EQUAL(finish(child), (CONSOLE_QUIT_KEY & 0xff) << 8);
}

/* Wants what ctrl_a_is_a_prefix() types, and writes it back. */
static void read_keys(struct console *console, int woken)
{
	static const char expected[] = "a\003\032\001b\001cx";
	uint8_t data[16] = { 0 };
	size_t n = 0;

	while (n < strlen(expected)) {
		wait_wake(woken);
		n += console_read(console, data + n, sizeof(data) - n);
	}
	for (size_t i = 0; i < n; i++)
		console_put(console, data[i]);
	console_stop(console);
	_exit(memcmp(data, expected, n) ? 5 : GOOD);
}

static void ctrl_a_is_a_prefix(void)
{
	pid_t child = start(read_keys);
	char data[16];

	/* Ctrl-C and Ctrl-Z are the guest's; Ctrl-A is so when typed twice. */
	type("a\003\032\001\001b\001cx");
	CHECK_EQUAL(read(master, data, sizeof(data)), 8);
	CHECK_EQUAL(finish(child), GOOD << 8);
}

static void quit_while_full(struct console *console, int woken)
{
	for (;;) {
		wait_wake(woken);
		if (console_quit(console))
			break;
	}
	console_stop(console);
	_exit(GOOD);
}

/* A guest that reads nothing does not take the way out. */
static void a_full_queue_still_quits(void)
{
	pid_t child = start(quit_while_full);
	static char text[1000];

	memset(text, 'x', sizeof(text) - 1);
	for (unsigned int i = 0; i < 10; i++)
		type(text);
	type("\001x");
	CHECK_EQUAL(finish(child), GOOD << 8);
}

static void write_for_ever(struct console *console, int woken)
{
	while (!console_quit(console))
		for (unsigned int i = 0; i < 1000; i++)
			console_put(console, 'x');
	console_stop(console);
	_exit(GOOD);
}

/* Nobody reads what it writes. */
static void a_full_output_still_quits(void)
{
	pid_t child = start(write_for_ever);

	wait_raw();
	usleep(200000);
	kill(child, SIGTERM);
	CHECK_EQUAL(finish(child), GOOD << 8);
}

static void write_till_late(struct console *console, int woken)
{
	alarm(30);
	console->deadline = host_now() + 200000000;
	while (host_now() < console->deadline)
		for (unsigned int i = 0; i < 1000; i++)
			console_put(console, 'x');
	console_stop(console);
	_exit(GOOD);
}

/* Nobody asks it to quit, either. */
static void a_full_output_ends_with_the_time(void)
{
	CHECK_EQUAL(finish(start(write_till_late)), GOOD << 8);
}

/* A prompt, and then nothing more to be written. */
static void put_and_update(struct console *console, int woken)
{
	const uint64_t start = 1000;

	console_put(console, 'x');
	console_update(console, start);
	if (!console->output_count)
		_exit(4);
	console_update(console, start + CONSOLE_DELAY_NS - 1);
	if (!console->output_count)
		_exit(5);
	console_update(console, start + CONSOLE_DELAY_NS);
	if (console->output_count)
		_exit(6);
	/* The next one waits as long. */
	console_put(console, 'y');
	console_update(console, start + CONSOLE_DELAY_NS + 1);
	if (!console->output_count)
		_exit(7);
	sleep_on(console, woken);
}

static void output_that_ends_no_line_is_written(void)
{
	pid_t child = start(put_and_update);
	char byte = 0;

	CHECK_EQUAL(read(master, &byte, 1), 1);
	CHECK_EQUAL(byte, 'x');
	kill(child, SIGALRM);
	CHECK_EQUAL(finish(child) & 0x7f, SIGALRM);
}

int main(void)
{
	static const struct tap_test tests[] = {
		TAP_TEST(is_given_back_by_stop),
		TAP_TEST(is_given_back_by_exit),
		TAP_TEST(is_given_back_by_what_kills),
		TAP_TEST(signals_quit),
		TAP_TEST(signals_kill_behind_the_end),
		TAP_TEST(ctrl_a_x_quits),
		TAP_TEST(ctrl_a_is_a_prefix),
		TAP_TEST(a_full_queue_still_quits),
		TAP_TEST(a_full_output_still_quits),
		TAP_TEST(a_full_output_ends_with_the_time),
		TAP_TEST(output_that_ends_no_line_is_written),
	};

	return TAP_RUN(tests);
}
