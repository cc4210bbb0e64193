// SPDX-License-Identifier: MIT
#include "rsp.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CTRL_C		0x03
#define ESCAPE		'}'
#define ESCAPE_XOR	0x20

/* Who takes nothing for so long has gone. */
#define SEND_SECONDS	10

int rsp_listen(struct rsp *rsp, uint16_t *port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(*port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t size = sizeof(address);
	int on = 1;

	rsp->fd = -1;
	rsp->listener = socket(AF_INET,
			       SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (rsp->listener < 0)
		return -errno;
	setsockopt(rsp->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(rsp->listener, (struct sockaddr *)&address, size) ||
	    listen(rsp->listener, 1) ||
	    getsockname(rsp->listener, (struct sockaddr *)&address, &size)) {
		int error = errno;

		close(rsp->listener);
		rsp->listener = -1;
		return -error;
	}
	*port = ntohs(address.sin_port);
	return 0;
}

bool rsp_accept(struct rsp *rsp)
{
	const struct timeval most = { .tv_sec = SEND_SECONDS };
	int on = 1;

	if (rsp->fd >= 0)
		return true;
	rsp->fd = accept4(rsp->listener, NULL, NULL, SOCK_CLOEXEC);
	if (rsp->fd < 0)
		return false;
	/* Each packet waits for its answer: without delay. */
	setsockopt(rsp->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(rsp->fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most));
	rsp->no_ack = false;
	rsp->state = RSP_BETWEEN;
	rsp->count = 0;
	return true;
}

void rsp_hang_up(struct rsp *rsp)
{
	if (rsp->fd >= 0)
		close(rsp->fd);
	rsp->fd = -1;
}

void rsp_close(struct rsp *rsp)
{
	rsp_hang_up(rsp);
	if (rsp->listener >= 0)
		close(rsp->listener);
	rsp->listener = -1;
}

static void send_bytes(struct rsp *rsp, const char *data, size_t size)
{
	while (size && rsp->fd >= 0) {
		ssize_t n = send(rsp->fd, data, size, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR) {
			rsp_hang_up(rsp);
		} else if (n > 0) {
			data += n;
			size -= (size_t)n;
		}
	}
}

/* With @size up to RSP_PACKET_MAX; what must be escaped is. */
void rsp_send(struct rsp *rsp, const char *data, size_t size)
{
	char packet[2 * RSP_PACKET_MAX + 8];
	size_t n = 0;
	uint8_t sum = 0;

	packet[n++] = '$';
	for (size_t i = 0; i < size; i++) {
		if (strchr("#$}*", data[i])) {
			packet[n++] = ESCAPE;
			packet[n++] = (char)(data[i] ^ ESCAPE_XOR);
		} else {
			packet[n++] = data[i];
		}
	}
	for (size_t i = 1; i < n; i++)
		sum += (uint8_t)packet[i];
	packet[n++] = '#';
	rsp_to_hex(&sum, 1, packet + n);
	send_bytes(rsp, packet, n + 2);
}

void rsp_send_text(struct rsp *rsp, const char *text)
{
	rsp_send(rsp, text, strlen(text));
}

static void add(struct rsp *rsp, uint8_t byte)
{
	if (rsp->packet_size < RSP_PACKET_MAX)
		rsp->packet[rsp->packet_size++] = (char)byte;
	else
		rsp->is_too_long = true;
}

static void begin(struct rsp *rsp)
{
	rsp->state = RSP_DATA;
	rsp->packet_size = 0;
	rsp->is_too_long = false;
	rsp->sum = 0;
}

static uint8_t digit(uint8_t byte)
{
	if (isdigit(byte))
		return byte - '0';
	return isxdigit(byte) ? (uint8_t)(tolower(byte) - 'a' + 10) : 0xff;
}

/* The packet is complete; returns whether it is a good one. */
static bool finish(struct rsp *rsp)
{
	bool good = rsp->sum == rsp->sum_sent && !rsp->is_too_long;

	rsp->state = RSP_BETWEEN;
	rsp->packet[rsp->packet_size] = 0;
	if (!rsp->no_ack)
		send_bytes(rsp, good ? "+" : "-", 1);
	return good;
}

static enum rsp_event take_byte(struct rsp *rsp, uint8_t byte)
{
	switch (rsp->state) {
	case RSP_BETWEEN:
		if (byte == '$')
			begin(rsp);
		return byte == CTRL_C ? RSP_INTERRUPT : RSP_NOTHING;
	case RSP_DATA:
		if (byte == '#') {
			rsp->state = RSP_SUM1;
			return RSP_NOTHING;
		}
		rsp->sum += byte;
		if (byte == ESCAPE)
			rsp->state = RSP_ESCAPED;
		else
			add(rsp, byte);
		return RSP_NOTHING;
	case RSP_ESCAPED:
		rsp->sum += byte;
		add(rsp, byte ^ ESCAPE_XOR);
		rsp->state = RSP_DATA;
		return RSP_NOTHING;
	case RSP_SUM1:
		rsp->sum_sent = (uint8_t)(digit(byte) << 4);
		rsp->state = RSP_SUM2;
		return RSP_NOTHING;
	case RSP_SUM2:
		rsp->sum_sent |= digit(byte);
		return finish(rsp) ? RSP_PACKET : RSP_NOTHING;
	}
	return RSP_NOTHING;
}

/* Returns whether there is some now. */
static bool fill(struct rsp *rsp)
{
	ssize_t n = recv(rsp->fd, rsp->input, sizeof(rsp->input), MSG_DONTWAIT);

	if (!n || (n < 0 && errno != EAGAIN && errno != EINTR))
		rsp_hang_up(rsp);
	rsp->first = 0;
	rsp->count = n > 0 ? (size_t)n : 0;
	return n > 0;
}

enum rsp_event rsp_read(struct rsp *rsp)
{
	while (rsp->fd >= 0 && (rsp->count || fill(rsp))) {
		enum rsp_event event = take_byte(rsp, rsp->input[rsp->first++]);

		rsp->count--;
		if (event != RSP_NOTHING)
			return event;
	}
	return rsp->fd < 0 ? RSP_GONE : RSP_NOTHING;
}

void rsp_to_hex(const void *data, size_t size, char *hex)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *bytes = data;

	for (size_t i = 0; i < size; i++) {
		*hex++ = digits[bytes[i] >> 4];
		*hex++ = digits[bytes[i] & 0xf];
	}
	*hex = 0;
}

bool rsp_from_hex(const char *hex, void *data, size_t size)
{
	uint8_t *bytes = data;

	for (size_t i = 0; i < size; i++) {
		uint8_t high = digit((uint8_t)hex[2 * i]);
		uint8_t low = high > 0xf ? 0xff : digit((uint8_t)hex[2 * i + 1]);

		if (low > 0xf)
			return false;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}
