// SPDX-License-Identifier: MIT
#include "uart.h"

#include <linux/serial_reg.h>
#include <string.h>

/* The other end is there and ready. */
#define MSR_LINE	(UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS)
#define MSR_LINES	0xf0

static bool has_fifo(const struct uart *uart)
{
	return uart->fcr & UART_FCR_ENABLE_FIFO;
}

static unsigned int capacity(const struct uart *uart)
{
	return has_fifo(uart) ? UART_FIFO : 1;
}

static unsigned int trigger(const struct uart *uart)
{
	static const uint8_t levels[] = { 1, 4, 8, 14 };

	return has_fifo(uart) ? levels[uart->fcr >> 6] : 1;
}

static uint8_t read_lsr(const struct uart *uart)
{
	return uart->lsr | (uart->count ? UART_LSR_DR : 0) |
	       UART_LSR_THRE | UART_LSR_TEMT;
}

/* The interrupt with the highest priority, as IIR names it. */
static uint8_t pending(const struct uart *uart)
{
	if (uart->ier & UART_IER_RLSI && uart->lsr)
		return UART_IIR_RLSI;
	/* Below the trigger level the FIFO's timeout comes: here, at once. */
	if (uart->ier & UART_IER_RDI && uart->count)
		return uart->count >= trigger(uart) ? UART_IIR_RDI :
		       UART_IIR_RX_TIMEOUT;
	if (uart->ier & UART_IER_THRI && uart->thre)
		return UART_IIR_THRI;
	if (uart->ier & UART_IER_MSI && uart->msr & UART_MSR_ANY_DELTA)
		return UART_IIR_MSI;
	return UART_IIR_NO_INT;
}

/* OUT2 connects the interrupt to the bus; loopback disconnects it. */
static void update_irq(struct uart *uart)
{
	bool connected = uart->mcr & UART_MCR_OUT2 &&
			 !(uart->mcr & UART_MCR_LOOP);

	pic_set(uart->pic, uart->irq,
		connected && pending(uart) != UART_IIR_NO_INT);
}

static void clear_fifo(struct uart *uart)
{
	uart->first = 0;
	uart->count = 0;
}

static void receive(struct uart *uart, uint8_t byte)
{
	if (uart->count >= capacity(uart)) {
		uart->lsr |= UART_LSR_OE;
		return;
	}
	uart->fifo[(uart->first + uart->count++) % UART_FIFO] = byte;
}

static uint8_t read_rbr(struct uart *uart)
{
	uint8_t byte = 0;

	if (uart->count) {
		byte = uart->fifo[uart->first];
		uart->first = (uart->first + 1) % UART_FIFO;
		uart->count--;
	}
	return byte;
}

static void write_thr(struct uart *uart, uint8_t byte)
{
	if (uart->mcr & UART_MCR_LOOP)
		receive(uart, byte);
	else
		uart->output(uart->opaque, byte);
	uart->thre = true;
}

static uint8_t read_iir(struct uart *uart)
{
	uint8_t iir = pending(uart);

	if (iir == UART_IIR_THRI)
		uart->thre = false;
	return iir | (has_fifo(uart) ? 0xc0 : 0);
}

/* Enabling the interrupt of an empty transmitter raises it. */
static void write_ier(struct uart *uart, uint8_t value)
{
	value &= UART_IER_RDI | UART_IER_THRI | UART_IER_RLSI | UART_IER_MSI;
	if (value & ~uart->ier & UART_IER_THRI)
		uart->thre = true;
	uart->ier = value;
}

static void write_fcr(struct uart *uart, uint8_t value)
{
	bool switched = (value ^ uart->fcr) & UART_FCR_ENABLE_FIFO;

	if (switched || value & UART_FCR_CLEAR_RCVR)
		clear_fifo(uart);
	/* The other bits count only together with the enable bit. */
	if (value & UART_FCR_ENABLE_FIFO)
		uart->fcr = value & (UART_FCR_ENABLE_FIFO |
				     UART_FCR_TRIGGER_MASK);
	else
		uart->fcr = 0;
}

/* In loopback the modem outputs are the modem inputs. */
static uint8_t modem_lines(const struct uart *uart)
{
	uint8_t mcr = uart->mcr;

	if (!(mcr & UART_MCR_LOOP))
		return MSR_LINE;
	return (mcr & UART_MCR_RTS ? UART_MSR_CTS : 0) |
	       (mcr & UART_MCR_DTR ? UART_MSR_DSR : 0) |
	       (mcr & UART_MCR_OUT1 ? UART_MSR_RI : 0) |
	       (mcr & UART_MCR_OUT2 ? UART_MSR_DCD : 0);
}

static void update_msr(struct uart *uart)
{
	uint8_t lines = modem_lines(uart);
	uint8_t changed = lines ^ (uart->msr & MSR_LINES);

	/* The ring indicator tells its end only. */
	if (lines & UART_MSR_RI)
		changed &= ~UART_MSR_RI;
	uart->msr = lines | (uart->msr & UART_MSR_ANY_DELTA) | changed >> 4;
}

static void write_mcr(struct uart *uart, uint8_t value)
{
	uart->mcr = value & 0x1f;
	update_msr(uart);
}

static uint8_t read_msr(struct uart *uart)
{
	uint8_t msr = uart->msr;

	uart->msr &= MSR_LINES;
	return msr;
}

static uint8_t read_and_clear_lsr(struct uart *uart)
{
	uint8_t lsr = read_lsr(uart);

	uart->lsr = 0;
	return lsr;
}

static uint8_t read_register(struct uart *uart, uint16_t offset)
{
	bool dlab = uart->lcr & UART_LCR_DLAB;

	switch (offset) {
	case UART_RX:
		return dlab ? uart->dll : read_rbr(uart);
	case UART_IER:
		return dlab ? uart->dlm : uart->ier;
	case UART_IIR:
		return read_iir(uart);
	case UART_LCR:
		return uart->lcr;
	case UART_MCR:
		return uart->mcr;
	case UART_LSR:
		return read_and_clear_lsr(uart);
	case UART_MSR:
		return read_msr(uart);
	default:
		return uart->scr;
	}
}

static void write_register(struct uart *uart, uint16_t offset, uint8_t value)
{
	bool dlab = uart->lcr & UART_LCR_DLAB;

	switch (offset) {
	case UART_TX:
		if (dlab)
			uart->dll = value;
		else
			write_thr(uart, value);
		break;
	case UART_IER:
		if (dlab)
			uart->dlm = value;
		else
			write_ier(uart, value);
		break;
	case UART_FCR:
		write_fcr(uart, value);
		break;
	case UART_LCR:
		uart->lcr = value;
		break;
	case UART_MCR:
		write_mcr(uart, value);
		break;
	case UART_SCR:
		uart->scr = value;
		break;
	}
}

static uint32_t uart_in(void *device, uint64_t now, uint16_t offset,
			unsigned int size)
{
	struct uart *uart = device;
	uint8_t value = read_register(uart, offset);

	update_irq(uart);
	return value;
}

static void uart_out(void *device, uint64_t now, uint16_t offset,
		     unsigned int size, uint32_t value)
{
	struct uart *uart = device;

	write_register(uart, offset, (uint8_t)value);
	update_irq(uart);
}

static const struct bus_ops uart_ops = { .in = uart_in, .out = uart_out };

void uart_init(struct uart *uart, struct pic *pic, unsigned int irq,
	       void (*output)(void *opaque, uint8_t byte), void *opaque)
{
	memset(uart, 0, sizeof(*uart));
	uart->pic = pic;
	uart->irq = irq;
	uart->output = output;
	uart->opaque = opaque;
	uart->msr = MSR_LINE;
	uart->dll = 1;		/* 115200 baud */
}

int uart_attach(struct uart *uart, struct bus *bus, uint16_t port)
{
	return bus_add(bus, port, port + 7, 1, &uart_ops, uart);
}

unsigned int uart_room(const struct uart *uart)
{
	/* In loopback the line does not reach the receiver. */
	if (uart->mcr & UART_MCR_LOOP || uart->count >= capacity(uart))
		return 0;
	return capacity(uart) - uart->count;
}

void uart_input(struct uart *uart, uint8_t byte)
{
	receive(uart, byte);
	update_irq(uart);
}

void uart_state(struct uart *uart, struct state *state)
{
	state_section(state, "8250", 1);
	STATE(state, uart->fifo);
	STATE(state, uart->first);
	STATE(state, uart->count);
	STATE(state, uart->ier);
	STATE(state, uart->fcr);
	STATE(state, uart->lcr);
	STATE(state, uart->mcr);
	STATE(state, uart->lsr);
	STATE(state, uart->msr);
	STATE(state, uart->scr);
	STATE(state, uart->dll);
	STATE(state, uart->dlm);
	state_bool(state, &uart->thre);
	state_check(state, uart->first < UART_FIFO && uart->count <= UART_FIFO);
}
