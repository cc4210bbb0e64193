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

/* What is read of one exit, in words and as JSON. */
static void says(const struct wisp_exit *exit, const char *words, const char *members)
{
	char data[256], expected[256];
	ssize_t n;

	for (int is_json = 0; is_json < 2; is_json++) {
		start(false);
		trace.is_json = is_json;
		trace_exit(&trace, 1500000000, exit);
		CHECK_EQUAL(trace_close(&trace), 0);
		n = read(reader, data, sizeof(data) - 1);
		data[n > 0 ? n : 0] = 0;
		snprintf(expected, sizeof(expected), is_json ?
			 "{\"seconds\":1.500000,\"exit\":\"%s\",\"rip\":\"0x1234\"%s}\n" :
			 "    1.500000 %-12s rip 0x1234%s\n",
			 wisp_exit_name(exit->reason), is_json ? members : words);
		if (!CHECK(!strcmp(data, expected)))
			printf("# it is %s", data);
	}
}

static void each_exit_in_words_and_as_json(void)
{
	struct wisp_exit exit = { .reason = WISP_EXIT_HLT, .rip = 0x1234 };

	says(&exit, "", "");
	exit.reason = WISP_EXIT_PORT;
	exit.port.port = 0x3f8;
	exit.port.size = 1;
	exit.port.data = 0x41;
	says(&exit, " out 0x3f8 size 1 data 0x41",
	     ",\"access\":\"out\",\"port\":1016,\"size\":1,\"data\":\"0x41\"");
	exit.port.flags = WISP_PORT_IN | WISP_PORT_STRING;
	says(&exit, " ins 0x3f8 size 1",
	     ",\"access\":\"ins\",\"port\":1016,\"size\":1");
	exit = (struct wisp_exit){ .reason = WISP_EXIT_MEMORY, .rip = 0x1234 };
	exit.memory.gpa = 0xfee00000;
	exit.memory.access = WISP_PROT_WRITE;
	says(&exit, " write gpa 0xfee00000",
	     ",\"access\":\"write\",\"gpa\":\"0xfee00000\"");
	exit = (struct wisp_exit){ .reason = WISP_EXIT_MSR, .rip = 0x1234 };
	exit.msr.index = 0xc0000080;
	says(&exit, " rdmsr 0xc0000080", ",\"access\":\"rdmsr\",\"msr\":\"0xc0000080\"");
	exit.msr.write = 1;
	exit.msr.data = 5;
	says(&exit, " wrmsr 0xc0000080 data 0x5",
	     ",\"access\":\"wrmsr\",\"msr\":\"0xc0000080\",\"data\":\"0x5\"");
	exit = (struct wisp_exit){ .reason = WISP_EXIT_DEBUG, .rip = 0x1234 };
	exit.debug.vector = 1;
	exit.debug.dr6 = 0x4000;
	says(&exit, " vector 1 dr6 0x4000", ",\"vector\":1,\"dr6\":\"0x4000\"");
	exit = (struct wisp_exit){ .reason = WISP_EXIT_UNEXPECTED, .rip = 0x1234 };
	exit.hw.code = 1;
	exit.hw.info1 = 2;
	exit.hw.info2 = 3;
	says(&exit, " code 0x1 info 0x2 0x3",
	     ",\"code\":\"0x1\",\"info1\":\"0x2\",\"info2\":\"0x3\"");
}

int main(void)
{
	static const struct tap_test tests[] = {
		TAP_TEST(a_stopped_reader_does_not_hold_up_quitting),
		TAP_TEST(nor_the_end_of_the_time),
		TAP_TEST(a_slow_reader_gets_all),
		TAP_TEST(standard_error_has_each_line_at_once),
		TAP_TEST(a_reader_that_has_gone_is_told),
		TAP_TEST(each_exit_in_words_and_as_json),
	};

	signal(SIGPIPE, SIG_IGN);
	return TAP_RUN(tests);
}
