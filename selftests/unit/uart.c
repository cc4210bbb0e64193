// SPDX-License-Identifier: GPL-2.0
/* The 16550A, as Linux's 8250 driver handles it. */
#include <linux/serial_reg.h>
#include <string.h>

#include "tap.h"
#include "uart.h"

#define PORT	0x3f8
#define IRQ	4

static struct bus bus;
static struct pic pic;
static struct uart uart;
static char sent[64];
static size_t sent_count;

static void output(void *opaque, uint8_t byte)
{
	if (sent_count < sizeof(sent))
		sent[sent_count++] = (char)byte;
}

static void out(uint16_t offset, uint8_t value)
{
	bus_out(&bus, 0, PORT + offset, 1, value);
}

static uint8_t in(uint16_t offset)
{
	return (uint8_t)bus_in(&bus, 0, PORT + offset, 1);
}

static void start(void)
{
	sent_count = 0;
	bus = (struct bus){ 0 };
	pic_init(&pic);
	uart_init(&uart, &pic, IRQ, output, NULL);
	uart_attach(&uart, &bus, PORT);
	out(UART_MCR, UART_MCR_OUT2 | UART_MCR_DTR | UART_MCR_RTS);
}

static bool line(void)
{
	return pic.chips[0].lines & 1U << IRQ;
}

/* What autoconfig() of Linux looks at, in its order. */
static void autoconfig_finds_a_16550a(void)
{
	start();
	out(UART_MCR, 0);
	out(UART_IER, 0);
	CHECK_EQUAL(in(UART_IER) & 0x0f, 0);
	out(UART_IER, 0x0f);
	CHECK_EQUAL(in(UART_IER) & 0x0f, 0x0f);
	out(UART_IER, 0);

	out(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
	CHECK_EQUAL(in(UART_MSR) & 0xf0, UART_MSR_DCD | UART_MSR_CTS);
	out(UART_MCR, 0);

	/* No EFR, no 64-byte FIFO, no sleep mode. */
	out(UART_LCR, 0xbf);
	out(UART_EFR, 0);
	out(UART_LCR, 0);
	out(UART_FCR, UART_FCR_ENABLE_FIFO);
	CHECK_EQUAL(in(UART_IIR) >> 6, 3);
	out(UART_LCR, UART_LCR_DLAB);
	out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR7_64BYTE);
	CHECK_EQUAL(in(UART_IIR) >> 5, 6);
	out(UART_LCR, 0);
	out(UART_IER, 0x40);
	CHECK_EQUAL(in(UART_IER), 0);
	out(UART_SCR, 0xa5);
	CHECK_EQUAL(in(UART_SCR), 0xa5);
}

static void sends(void)
{
	start();
	out(UART_TX, 'h');
	out(UART_TX, 'i');
	CHECK(sent_count == 2 && !memcmp(sent, "hi", 2));
	CHECK_EQUAL(in(UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
}

static void divisor_is_not_data(void)
{
	start();
	out(UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
	out(UART_DLL, 0x12);
	out(UART_DLM, 0x34);
	CHECK_EQUAL(in(UART_DLL), 0x12);
	CHECK_EQUAL(in(UART_DLM), 0x34);
	out(UART_LCR, UART_LCR_WLEN8);
	CHECK_EQUAL(sent_count, 0);
	CHECK_EQUAL(in(UART_IER), 0);
}

/* Linux's test for a bug: the interrupt comes again each time it is enabled. */
static void transmitter_interrupt(void)
{
	start();
	out(UART_IER, UART_IER_THRI);
	CHECK(line());
	CHECK_EQUAL(in(UART_IIR), UART_IIR_THRI);
	CHECK(!line());
	CHECK_EQUAL(in(UART_IIR), UART_IIR_NO_INT);
	out(UART_IER, 0);
	out(UART_IER, UART_IER_THRI);
	CHECK_EQUAL(in(UART_IIR), UART_IIR_THRI);
	out(UART_TX, 'x');
	CHECK(line());
	CHECK_EQUAL(in(UART_IIR), UART_IIR_THRI);
	CHECK(!line());
}

static void receiver_interrupt(void)
{
	start();
	out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_4);
	out(UART_IER, UART_IER_RDI);
	CHECK(!line());
	uart_input(&uart, 'a');
	CHECK(line());
	CHECK_EQUAL(in(UART_IIR), UART_IIR_RX_TIMEOUT | 0xc0);
	uart_input(&uart, 'b');
	uart_input(&uart, 'c');
	uart_input(&uart, 'd');
	CHECK_EQUAL(in(UART_IIR), UART_IIR_RDI | 0xc0);
	CHECK(in(UART_LSR) & UART_LSR_DR);
	CHECK_EQUAL(in(UART_RX), 'a');
	CHECK_EQUAL(in(UART_RX), 'b');
	CHECK_EQUAL(in(UART_RX), 'c');
	CHECK(line());
	CHECK_EQUAL(in(UART_RX), 'd');
	CHECK(!line());
	CHECK(!(in(UART_LSR) & UART_LSR_DR));
	CHECK_EQUAL(in(UART_RX), 0);
}

static void out2_connects_the_interrupt(void)
{
	start();
	out(UART_IER, UART_IER_RDI);
	uart_input(&uart, 'a');
	CHECK(line());
	out(UART_MCR, 0);
	CHECK(!line());
	out(UART_MCR, UART_MCR_OUT2);
	CHECK(line());
}

static void fifo_has_16_bytes(void)
{
	start();
	CHECK_EQUAL(uart_room(&uart), 1);
	out(UART_FCR, UART_FCR_ENABLE_FIFO);
	CHECK_EQUAL(uart_room(&uart), 16);
	for (unsigned int i = 0; i < 16; i++)
		uart_input(&uart, (uint8_t)i);
	CHECK_EQUAL(uart_room(&uart), 0);
	CHECK(!(in(UART_LSR) & UART_LSR_OE));
	uart_input(&uart, 16);
	CHECK(in(UART_LSR) & UART_LSR_OE);
	CHECK(!(in(UART_LSR) & UART_LSR_OE));
	for (unsigned int i = 0; i < 16; i++)
		CHECK_EQUAL(in(UART_RX), i);
	uart_input(&uart, 17);
	out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
	CHECK_EQUAL(uart_room(&uart), 16);
}

static void error_interrupt_goes_first(void)
{
	start();
	out(UART_IER, UART_IER_RDI | UART_IER_RLSI);
	uart_input(&uart, 'a');
	uart_input(&uart, 'b');
	CHECK_EQUAL(in(UART_IIR), UART_IIR_RLSI);
	in(UART_LSR);
	CHECK_EQUAL(in(UART_IIR), UART_IIR_RDI);
}

static void loopback(void)
{
	start();
	out(UART_MCR, UART_MCR_LOOP);
	out(UART_TX, 'x');
	CHECK_EQUAL(sent_count, 0);
	CHECK_EQUAL(in(UART_RX), 'x');
	CHECK_EQUAL(uart_room(&uart), 0);
	in(UART_MSR);
	out(UART_MCR, UART_MCR_LOOP | UART_MCR_DTR | UART_MCR_OUT1);
	CHECK_EQUAL(in(UART_MSR), UART_MSR_DSR | UART_MSR_RI | UART_MSR_DDSR);
	out(UART_MCR, UART_MCR_LOOP);
	CHECK_EQUAL(in(UART_MSR), UART_MSR_DDSR | UART_MSR_TERI);
	CHECK_EQUAL(in(UART_MSR), 0);
}

int main(void)
{
	static const struct tap_test tests[] = {
		TAP_TEST(autoconfig_finds_a_16550a),
		TAP_TEST(sends),
		TAP_TEST(divisor_is_not_data),
		TAP_TEST(transmitter_interrupt),
		TAP_TEST(receiver_interrupt),
		TAP_TEST(out2_connects_the_interrupt),
		TAP_TEST(fifo_has_16_bytes),
		TAP_TEST(error_interrupt_goes_first),
		TAP_TEST(loopback),
	};

	return TAP_RUN(tests);
}
