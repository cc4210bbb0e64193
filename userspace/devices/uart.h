/* SPDX-License-Identifier: MIT */
/* 16550A serial port. Sending takes no time. */
#ifndef WISP_DEVICES_UART_H
#define WISP_DEVICES_UART_H

#include "bus.h"
#include "pic.h"

#include <stdbool.h>
#include <stdint.h>

#define UART_FIFO	16

struct uart {
	struct pic *pic;
	unsigned int irq;
	void (*output)(void *opaque, uint8_t byte);
	void *opaque;

	uint8_t fifo[UART_FIFO];	/* received */
	unsigned int first;
	unsigned int count;

	uint8_t ier;
	uint8_t fcr;
	uint8_t lcr;
	uint8_t mcr;
	uint8_t lsr;		/* error bits only */
	uint8_t msr;
	uint8_t scr;
	uint8_t dll;
	uint8_t dlm;
	bool thre;		/* "transmitter empty" not yet reported */
};

void uart_init(struct uart *uart, struct pic *pic, unsigned int irq,
	       void (*output)(void *opaque, uint8_t byte), void *opaque);
int uart_attach(struct uart *uart, struct bus *bus, uint16_t port);
void uart_state(struct uart *uart, struct state *state);

/* How many bytes uart_input() would take now. */
unsigned int uart_room(const struct uart *uart);

/* A byte arrives on the line; without room it is lost, and LSR says so. */
void uart_input(struct uart *uart, uint8_t byte);

#endif
