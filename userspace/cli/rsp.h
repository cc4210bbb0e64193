/* SPDX-License-Identifier: MIT */
/* Packets of gdb's remote serial protocol, over one TCP connection. */
#ifndef WISP_CLI_RSP_H
#define WISP_CLI_RSP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RSP_PACKET_MAX	16384

struct rsp {
	int listener;
	int fd;			/* -1: nobody is there */
	bool no_ack;

	uint8_t input[4096];
	size_t first;
	size_t count;

	/* The packet that is read: unescaped, with a zero behind it. */
	enum { RSP_BETWEEN, RSP_DATA, RSP_ESCAPED, RSP_SUM1, RSP_SUM2 } state;
	char packet[RSP_PACKET_MAX + 1];
	size_t packet_size;
	bool is_too_long;
	uint8_t sum;
	uint8_t sum_sent;
};

enum rsp_event {
	RSP_NOTHING,		/* for now */
	RSP_PACKET,		/* in rsp->packet */
	RSP_INTERRUPT,		/* Ctrl-C */
	RSP_GONE,		/* the connection has ended, and is closed */
};

/*
 * Listens on 127.0.0.1; *@port 0 takes a free one and says which. Returns 0 or
 * a negative errno.
 */
int rsp_listen(struct rsp *rsp, uint16_t *port);

/* Takes a connection if one waits. Returns whether there is one now. */
bool rsp_accept(struct rsp *rsp);

/* Does not wait. */
enum rsp_event rsp_read(struct rsp *rsp);

/* Whether rsp_read() has something that was received with what it gave last. */
static inline bool rsp_has_input(const struct rsp *rsp)
{
	return rsp->fd >= 0 && rsp->count;
}

void rsp_send(struct rsp *rsp, const char *data, size_t size);
void rsp_send_text(struct rsp *rsp, const char *text);

void rsp_hang_up(struct rsp *rsp);
void rsp_close(struct rsp *rsp);

/* What is readable where something is to be done. */
static inline int rsp_fd(const struct rsp *rsp)
{
	return rsp->fd >= 0 ? rsp->fd : rsp->listener;
}

/* @hex gets 2 * @size digits and a zero. */
void rsp_to_hex(const void *data, size_t size, char *hex);

/* Returns whether there are 2 * @size digits at @hex. */
bool rsp_from_hex(const char *hex, void *data, size_t size);

#endif
