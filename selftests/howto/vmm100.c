// SPDX-License-Identifier: GPL-2.0
/*
 * A VMM in 100 lines: runs a guest that prints "hello" on a serial port and
 * halts. Documentation/vmm-howto.rst goes through it.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wisp.h>

#define MEMORY_SIZE	(64 << 10)
#define CODE		0x1000		/* where the guest starts */
#define SERIAL_PORT	0x3f8

/* The guest, 16-bit code. */
static const unsigned char guest[] = {
	0xba, 0xf8, 0x03,	/*	mov $SERIAL_PORT, %dx */
	0xbe, 0x10, 0x00,	/*	mov $text, %si */
	0x2e, 0xac,		/* 1:	lodsb %cs:(%si), %al */
	0x84, 0xc0,		/*	test %al, %al */
	0x74, 0x03,		/*	jz 2f */
	0xee,			/*	out %al, %dx */
	0xeb, 0xf7,		/*	jmp 1b */
	0xf4,			/* 2:	hlt */
	'h', 'e', 'l', 'l', 'o', '\n', 0,	/* text */
};

static char printed[64];
static size_t count;

/* libwisp calls this for each access to a port. */
static void port(void *opaque, uint16_t port, int in, void *data,
		 unsigned int size)
{
	(void)opaque;
	if (in) {
		memset(data, 0xff, size);	/* nobody is there */
	} else if (port == SERIAL_PORT && count < sizeof(printed) - 1) {
		printed[count++] = *(char *)data;
		putchar(*(char *)data);
	}
}

/* Negative results are error numbers. */
static int check(int result, const char *what)
{
	if (result < 0)
		errx(1, "%s: %s", what, strerror(-result));
	return result;
}

int main(void)
{
	struct wisp_io io = { .port = port };
	struct wisp_vcpu_page *page;
	int sys, memory, vm;

	/* A VM, memory for it, a vCPU. */
	sys = check(wisp_open(), "/dev/wisp");
	vm = check(wisp_create_vm(sys), "create VM");
	memory = check(wisp_create_memory(sys, MEMORY_SIZE), "create memory");
	check(wisp_set_slot(vm, 0, 0, MEMORY_SIZE, memory, 0, WISP_PROT_READ |
			    WISP_PROT_WRITE | WISP_PROT_EXEC), "set slot");
	check(wisp_create_vcpu(vm, 0, &page), "create vCPU");

	/* The vCPU is as after INIT: in real mode. Point it at the code. */
	check(wisp_write(vm, CODE, guest, sizeof(guest)), "load the guest");
	check(wisp_get_state(vm, 0, WISP_ASSIST_WANT, &page->state), "state");
	page->state.segments.cs.selector = CODE >> 4;
	page->state.segments.cs.base = CODE;
	page->state.general.rip = 0;
	page->state.general.rsp = CODE;
	page->dirty = WISP_ASSIST_WANT;
	page->want = WISP_ASSIST_WANT;
	page->budget_ns = 10000000000ULL;	/* at most ten seconds */

	do {
		check(wisp_run(vm, 0), wisp_field_name(page->field));
		if (page->exit.reason == WISP_EXIT_PORT)
			check(wisp_assist_port(vm, page, &io), "port");
	} while (page->exit.reason == WISP_EXIT_PORT);

	if (page->exit.reason != WISP_EXIT_HLT)
		errx(1, "the guest ended with %s at %#llx",
		     wisp_exit_name(page->exit.reason), page->exit.rip);
	return strcmp(printed, "hello\n") != 0;
}
