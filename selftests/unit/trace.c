// SPDX-License-Identifier: GPL-2.0
/* A line for each exit: whole for who reads, no obstacle to the end for who does not. */
#include "trace.h"
#include "console.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"

#define EXITS	20000
#define LINE	"    0.000000 hlt          rip 0x1234\n"

static struct console console;
static struct trace trace;
static int reader = -1;

static void start(bool to_stderr)
{
	char path[32];
	int fds[2], before = -1;

	console = (struct console){ .deadline = UINT64_MAX };
	if (reader >= 0)
		close(reader);
	if (pipe(fds))
		return;
	reader = fds[0];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[1]);
	if (to_stderr) {
		before = dup(STDERR_FILENO);
		dup2(fds[1], STDERR_FILENO);
	}
	CHECK_EQUAL(trace_open(&trace, to_stderr ? NULL : path, false, &console),
		    0);
	close(fds[1]);
	if (to_stderr) {
		dup2(before, STDERR_FILENO);
		close(before);
	}
}

static void write_lines(unsigned int count)
{
	const struct wisp_exit exit = {
		.reason = WISP_EXIT_HLT,
		.rip = 0x1234,
	};

	for (unsigned int i = 0; i < count; i++)
		trace_exit(&trace, 0, &exit);
}

/* Whoever waits for ever is killed. */
static void hold_up_nobody(bool to_stderr, int quit, uint64_t deadline)
{
	start(to_stderr);
	console.quit = quit;
	console.deadline = deadline;
	alarm(20);
	write_lines(EXITS);
	CHECK(trace_close(&trace) < 0);
	alarm(0);
}

static void a_stopped_reader_does_not_hold_up_quitting(void)
{
	hold_up_nobody(false, SIGTERM, UINT64_MAX);
	hold_up_nobody(true, SIGTERM, UINT64_MAX);
}

static void nor_the_end_of_the_time(void)
{
	hold_up_nobody(false, 0, 1);
	hold_up_nobody(true, 0, 1);
}

/* Its exit status: 0 when all lines came, and nothing else. */
static pid_t read_slowly(void)
{
	size_t size = 0;
	char data[4096];
	ssize_t n;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child)
		return child;
	close(trace.fd);
	while ((n = read(reader, data, sizeof(data))) > 0) {
		for (ssize_t i = 0; i < n; i++, size++)
			if (data[i] != LINE[size % strlen(LINE)])
				_exit(1);
		usleep(2000);
	}
	_exit(size == EXITS * strlen(LINE) ? 0 : 2);
}

static void a_slow_reader_gets_all(void)
{
	int status = -1;
	pid_t child;

	start(false);
	child = read_slowly();
	console.quit = SIGTERM;
	write_lines(EXITS);
	CHECK_EQUAL(trace_close(&trace), 0);
	waitpid(child, &status, 0);
	CHECK_EQUAL(status, 0);
}

static void standard_error_has_each_line_at_once(void)
{
	char data[128] = "";

	start(true);
	write_lines(1);
	CHECK_EQUAL(read(reader, data, sizeof(data)), strlen(LINE));
	CHECK(!strcmp(data, LINE));
	CHECK_EQUAL(trace_close(&trace), 0);
}

static void a_reader_that_has_gone_is_told(void)
{
	start(false);
	close(reader);
	reader = -1;
	write_lines(EXITS);
	CHECK(trace_close(&trace) < 0);
}

int main(void)
{
	static const struct tap_test tests[] = {
		TAP_TEST(a_stopped_reader_does_not_hold_up_quitting),
		TAP_TEST(nor_the_end_of_the_time),
		TAP_TEST(a_slow_reader_gets_all),
		TAP_TEST(standard_error_has_each_line_at_once),
		TAP_TEST(a_reader_that_has_gone_is_told),
	};

	signal(SIGPIPE, SIG_IGN);
	return TAP_RUN(tests);
}
