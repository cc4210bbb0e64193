// SPDX-License-Identifier: GPL-2.0
/*
 * A snapshot fuzzer: finds an input that crashes its guest, and puts the guest
 * back after each. Documentation/snapshots.rst goes through it.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wisp.h>

#define MEMORY_SIZE	(64 << 10)
#define CODE		0x1000
#define INPUT		0x3000

/* The target, 16-bit code: two right bytes, and it reports a crash. */
static const unsigned char target[] = {
	0xf4,				/*	hlt: it is ready */
	0xc7, 0x06, 0x00, 0x50, 0x01, 0x00, /*	movw $1, 0x5000 */
	0x80, 0x3e, 0x00, 0x30, 'w',	/*	cmpb $'w', INPUT */
	0x75, 0x09,			/*	jne 1f */
	0x80, 0x3e, 0x01, 0x30, '!',	/*	cmpb $'!', INPUT + 1 */
	0x75, 0x02,			/*	jne 1f */
	0xe6, 0x10,			/*	out %al, $0x10 */
	0xf4,				/* 1:	hlt */
};

static int check(int result, const char *what)
{
	if (result < 0)
		errx(1, "%s: %s", what, strerror(-result));
	return result;
}

int main(void)
{
	struct wisp_vcpu_page *page;
	int sys, memory, vm, tries;
	uint64_t dirty[16];
	uint32_t count = 16;
	char input[2];

	sys = check(wisp_open(), "/dev/wisp");
	vm = check(wisp_create_vm(sys), "create VM");
	memory = check(wisp_create_memory(sys, MEMORY_SIZE), "create memory");
	check(wisp_set_slot(vm, 0, 0, MEMORY_SIZE, memory, 0, WISP_PROT_READ |
			    WISP_PROT_WRITE | WISP_PROT_EXEC), "set slot");
	check(wisp_create_vcpu(vm, 0, &page), "create vCPU");
	check(wisp_write(vm, CODE, target, sizeof(target)), "load the guest");
	check(wisp_get_state(vm, 0, WISP_ASSIST_WANT, &page->state), "state");
	page->state.segments.cs.base = page->state.segments.cs.selector = 0;
	page->state.general.rip = CODE;
	page->dirty = WISP_ASSIST_WANT;
	page->budget_ns = 1000000000;

	/* Once up to where it is ready: it starts there each time. */
	check(wisp_run(vm, 0), wisp_field_name(page->field));
	check(wisp_snapshot(vm), "snapshot");
	for (tries = 0; tries < 1 << 16; tries++) {
		check(wisp_reset(vm, -1), "reset");
		input[0] = (char)tries;
		input[1] = (char)(tries >> 8);
		check(wisp_write(vm, INPUT, input, sizeof(input)), "input");
		page->complete = 1;	/* the HLT */
		check(wisp_run(vm, 0), wisp_field_name(page->field));
		if (page->exit.reason != WISP_EXIT_HLT)
			break;
	}
	check(wisp_dirty(vm, dirty, &count), "dirty");
	printf("\"%.2s\" ends with %s, after %d tries; it wrote %u pages\n",
	       input, wisp_exit_name(page->exit.reason), tries + 1, count);
	return page->exit.reason != WISP_EXIT_PORT || memcmp(input, "w!", 2);
}
