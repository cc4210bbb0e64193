// SPDX-License-Identifier: MIT
#include "trace.h"

#include "console.h"
#include "file.h"
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <unistd.h>

#define BUFFER_SIZE	65536
#define HEX		"0x%" PRIx64

/* Who takes nothing for so long, when all is to end, has stopped. */
#define PATIENCE_NS	1000000000

static bool wait_writable(const struct trace *trace)
{
	struct pollfd fd = { .fd = trace->fd, .events = POLLOUT };
	uint64_t start = host_now();

	while (poll(&fd, 1, 100) <= 0)
		if (console_is_over(trace->console) &&
		    host_now() - start >= PATIENCE_NS)
			return false;
	return true;
}

static ssize_t write_some(void *cookie, const char *data, size_t size)
{
	struct trace *trace = cookie;
	size_t done = 0;

	while (done < size && !trace->is_broken) {
		ssize_t n = 0;

		if (wait_writable(trace))
			n = write(trace->fd, data + done, size - done);
		else
			trace->is_broken = true;
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			trace->is_broken = true;
		if (n > 0)
			done += (size_t)n;
	}
	return (ssize_t)done;
}

static int close_fd(void *cookie)
{
	struct trace *trace = cookie;

	return close(trace->fd);
}

/* To be waited for is who opens a pipe for reading, not who reads it. */
static int open_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	if (fd >= 0)
		fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

int trace_open(struct trace *trace, const char *path, bool is_json,
	       const struct console *console)
{
	const cookie_io_functions_t functions = {
		.write = write_some,
		.close = close_fd,
	};
	int error;

	*trace = (struct trace){ .is_json = is_json, .console = console };
	trace->fd = path ? open_file(path) : file_reopen(STDERR_FILENO);
	if (trace->fd < 0)
		return -errno;
	trace->stream = fopencookie(trace, "w", functions);
	if (!trace->stream) {
		error = errno;
		close(trace->fd);
		return -error;
	}
	setvbuf(trace->stream, NULL, path ? _IOFBF : _IOLBF, BUFFER_SIZE);
	return 0;
}

int trace_close(struct trace *trace)
{
	FILE *stream = trace->stream;
	int ret = 0;

	trace->stream = NULL;
	if (stream && (ferror(stream) || fflush(stream)))
		ret = -EIO;
	if (stream && fclose(stream))
		ret = -EIO;
	return ret;
}

const char *trace_access_name(uint32_t access)
{
	return access & WISP_PROT_WRITE ? "write" :
	       access & WISP_PROT_EXEC ? "execute" : "read";
}

static const char *port_name(uint32_t flags)
{
	static const char * const names[] = { "out", "in", "outs", "ins" };

	return names[!!(flags & WISP_PORT_IN) +
		     2 * !!(flags & WISP_PORT_STRING)];
}

/* @words for people, or the same as members of a JSON object. */
__attribute__((format(printf, 2, 4), format(printf, 3, 4)))
static void put(const struct trace *trace, const char *words,
		const char *members, ...)
{
	va_list args;

	va_start(args, members);
	vfprintf(trace->stream, trace->is_json ? members : words, args);
	va_end(args);
}

static void put_data(const struct trace *trace, uint64_t data)
{
	put(trace, " data " HEX, ",\"data\":\"" HEX "\"", data);
}

/* What belongs to the reason; addresses as text, since many readers keep 53 bits. */
static void put_details(const struct trace *trace, const struct wisp_exit *exit)
{
	switch (exit->reason) {
	case WISP_EXIT_PORT:
		put(trace, " %s 0x%x size %u",
		    ",\"access\":\"%s\",\"port\":%u,\"size\":%u",
		    port_name(exit->port.flags), exit->port.port,
		    exit->port.size);
		if (!(exit->port.flags & (WISP_PORT_IN | WISP_PORT_STRING)))
			put_data(trace, exit->port.data);
		break;
	case WISP_EXIT_MEMORY:
		put(trace, " %s gpa " HEX,
		    ",\"access\":\"%s\",\"gpa\":\"" HEX "\"",
		    trace_access_name(exit->memory.access),
		    (uint64_t)exit->memory.gpa);
		break;
	case WISP_EXIT_MSR:
		put(trace, " %s 0x%x", ",\"access\":\"%s\",\"msr\":\"0x%x\"",
		    exit->msr.write ? "wrmsr" : "rdmsr", exit->msr.index);
		if (exit->msr.write)
			put_data(trace, exit->msr.data);
		break;
	case WISP_EXIT_DEBUG:
		put(trace, " vector %u dr6 " HEX,
		    ",\"vector\":%u,\"dr6\":\"" HEX "\"", exit->debug.vector,
		    (uint64_t)exit->debug.dr6);
		break;
	case WISP_EXIT_ENTRY_FAILED:
	case WISP_EXIT_UNEXPECTED:
		put(trace, " code " HEX " info " HEX " " HEX,
		    ",\"code\":\"" HEX "\",\"info1\":\"" HEX "\",\"info2\":\"" HEX "\"",
		    (uint64_t)exit->hw.code, (uint64_t)exit->hw.info1,
		    (uint64_t)exit->hw.info2);
		break;
	default:
		break;
	}
}

void trace_exit(struct trace *trace, uint64_t now, const struct wisp_exit *exit)
{
	put(trace, "%12.6f %-12s rip " HEX,
	    "{\"seconds\":%.6f,\"exit\":\"%s\",\"rip\":\"" HEX "\"",
	    (double)(now - trace->start) / 1e9, wisp_exit_name(exit->reason),
	    (uint64_t)exit->rip);
	put_details(trace, exit);
	fputs(trace->is_json ? "}\n" : "\n", trace->stream);
}
