// SPDX-License-Identifier: GPL-2.0
/*
 * The assists, in the loop of a VMM: the guest's accesses come from the
 * driver, and it goes on with what the library made of them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <wisp.h>

#include "tap.h"

#define RAM_SIZE	0x10000
#define CODE		0x1000
#define DEVICE		0x90000
#define DEVICE_SIZE	0x1000
#define PORT		0x1f0
#define RUNS_MAX	10000

#define GUEST(name) \
	extern const uint8_t name[], name##_end[]

GUEST(guest_ports);
GUEST(guest_memory);
GUEST(guest_strings);
GUEST(guest_shadow);
GUEST(guest_step);
GUEST(guest_delivery);

static int sys = -1;
static int vm = -1;
static struct wisp_vcpu_page *page;
static uint8_t device[DEVICE_SIZE];
static uint8_t sent[64];
static unsigned int sent_count;
static unsigned int taken_count;
static bool went_wrong;

static void on_port(void *opaque, uint16_t port, int in, void *data,
		    unsigned int size)
{
	uint8_t *bytes = data;

	went_wrong |= port != PORT;
	for (unsigned int i = 0; i < size; i++) {
		if (in)
			bytes[i] = (uint8_t)taken_count++;
		else if (sent_count < sizeof(sent))
			sent[sent_count++] = bytes[i];
	}
}

static void on_memory(void *opaque, uint64_t gpa, int read, void *data,
		      unsigned int size)
{
	uint64_t offset = gpa - DEVICE;

	if (offset + size > DEVICE_SIZE) {
		went_wrong = true;
		return;
	}
	if (read)
		memcpy(data, device + offset, size);
	else
		memcpy(device + offset, data, size);
}

static const struct wisp_io io = { .port = on_port, .memory = on_memory };

static bool create(void)
{
	const uint32_t prot = WISP_PROT_READ | WISP_PROT_WRITE | WISP_PROT_EXEC;
	int memory;

	sys = wisp_open();
	vm = wisp_create_vm(sys);
	memory = wisp_create_memory(sys, RAM_SIZE);
	if (!CHECK(sys >= 0 && vm >= 0 && memory >= 0))
		return false;
	CHECK_EQUAL(wisp_set_slot(vm, 0, 0, RAM_SIZE, memory, 0, prot), 0);
	close(memory);
	return CHECK(!wisp_create_vcpu(vm, 0, &page));
}

static void destroy(void)
{
	munmap(page, WISP_PAGE_SIZE);
	close(vm);
	close(sys);
}

static void set_segment(struct wisp_segment *segment, uint64_t base)
{
	segment->base = base;
	segment->selector = (uint16_t)(base >> 4);
}

static bool start(const uint8_t *code, const uint8_t *end)
{
	sent_count = 0;
	taken_count = 0;
	went_wrong = false;
	for (unsigned int i = 0; i < DEVICE_SIZE; i++)
		device[i] = (uint8_t)(i * 7);
	if (!create())
		return false;
	wisp_write(vm, CODE, code, (size_t)(end - code));
	CHECK(!wisp_get_state(vm, 0, WISP_ASSIST_WANT, &page->state));
	set_segment(&page->state.segments.cs, 0);
	set_segment(&page->state.segments.ds, DEVICE);
	page->state.general.rip = CODE;
	page->state.general.rsp = 0x8000;
	page->want = WISP_ASSIST_WANT;
	page->dirty = WISP_STATE_GENERAL | WISP_STATE_SEGMENTS;
	return true;
}

/* Until it halts; returns whether it did. */
static bool run(void)
{
	for (unsigned int i = 0; i < RUNS_MAX; i++) {
		int ret = wisp_run(vm, 0);

		if (!ret && page->exit.reason == WISP_EXIT_HLT)
			return true;
		if (!ret && page->exit.reason == WISP_EXIT_PORT)
			ret = wisp_assist_port(vm, page, &io);
		else if (!ret && page->exit.reason == WISP_EXIT_MEMORY)
			ret = wisp_assist_memory(vm, page, &io);
		else if (!ret)
			ret = -1;
		if (ret) {
			printf("# exit %s at 0x%llx: %d\n",
			       wisp_exit_name(page->exit.reason),
			       page->exit.rip, ret);
			return false;
		}
	}
	return false;
}

static void ports(void)
{
	uint8_t data[1500];
	bool same = true;

	if (!start(guest_ports, guest_ports_end))
		return;
	wisp_write(vm, 0x2000, "wisp!", 5);
	CHECK(run());
	CHECK_EQUAL(sent_count, 6);
	CHECK(!memcmp(sent, "wisp!\x77", 6));
	CHECK(!wisp_read(vm, 0x3000, data, sizeof(data)));
	for (unsigned int i = 0; i < sizeof(data); i++)
		same &= data[i] == (uint8_t)i;
	CHECK(same);
	CHECK_EQUAL(page->state.general.rax & 0xffff, 1500 % 256 |
		    1501 % 256 << 8);
	CHECK(!went_wrong);
	destroy();
}

static void memory(void)
{
	if (!start(guest_memory, guest_memory_end))
		return;
	CHECK(run());
	CHECK_EQUAL(page->state.general.rbx & 0xffff, 0x1212);
	CHECK_EQUAL(page->state.general.rdx & 0xffff, 0x3535);
	CHECK_EQUAL(page->state.general.rdx >> 31, 1);
	CHECK(!went_wrong);
	destroy();
}

static void strings(void)
{
	uint8_t data[16];

	if (!start(guest_strings, guest_strings_end))
		return;
	CHECK(run());
	CHECK(!wisp_read(vm, 0x3000, data, sizeof(data)));
	CHECK(!memcmp(data, device + 0xff0, 16));
	for (unsigned int i = 0x200; i < 0x210; i += 2)
		CHECK(device[i] == 0xcd && device[i + 1] == 0xab);
	CHECK_EQUAL(device[0x1ff], (uint8_t)(0x1ff * 7));
	CHECK_EQUAL(device[0x210], (uint8_t)(0x210 * 7));
	CHECK(!went_wrong);
	destroy();
}

/* Runs to the access, which is in STI's shadow, and completes it. */
static void shadow(void)
{
	struct wisp_state *state = &page->state;

	if (!start(guest_shadow, guest_shadow_end))
		return;
	CHECK(!wisp_run(vm, 0));
	CHECK_EQUAL(page->exit.reason, WISP_EXIT_MEMORY);
	/* As it would be, completed. */
	CHECK(page->exit.flags & WISP_EXIT_INTR_READY);
	CHECK(!wisp_assist_memory(vm, page, &io));
	CHECK_EQUAL(page->complete, 1);
	wisp_kick(vm, 0);
	page->want = WISP_STATE_EVENTS | WISP_STATE_GENERAL;
	CHECK(!wisp_run(vm, 0));
	CHECK_EQUAL(page->exit.reason, WISP_EXIT_KICKED);
	CHECK_EQUAL(state->general.rip, CODE + 1 + 3);
	CHECK_EQUAL(state->events.interrupt_shadow, 0);
	CHECK(page->exit.flags & WISP_EXIT_INTR_READY);
	CHECK(!went_wrong);
	destroy();
}

/* A guest that steps through itself sees the step behind an access, too. */
static void single_step(void)
{
	const uint16_t handler[2] = { CODE + 0x20, 0 };
	struct wisp_general *general;

	if (!start(guest_step, guest_step_end))
		return;
	general = &page->state.general;
	general->rbx = 0;
	CHECK(!wisp_write(vm, 4 * 1, handler, sizeof(handler)));
	CHECK(!wisp_run(vm, 0));
	CHECK_EQUAL(page->exit.reason, WISP_EXIT_MEMORY);
	/* Here, and not by the guest: Bochs' SVM keeps a step that an exit held back. */
	general->rflags |= 0x100;
	CHECK(!wisp_assist_memory(vm, page, &io));
	CHECK(run());
	CHECK_EQUAL(general->rbx, 1);
	CHECK_EQUAL(general->rcx & 0xffff, CODE + 3);
	CHECK(!went_wrong);
	destroy();
}

/* An event is delivered to a stack that is no memory: no instruction does that. */
static void delivery(void)
{
	const uint16_t handler[2] = { CODE + 3, 0 };
	struct wisp_vcpu_page before;

	if (!start(guest_delivery, guest_delivery_end))
		return;
	set_segment(&page->state.segments.ss, DEVICE);
	page->state.general.rsp = 0x100;
	page->inject = (struct wisp_event){ .type = WISP_EVENT_EXCEPTION, .vector = 6 };
	CHECK(!wisp_run(vm, 0));
	CHECK_EQUAL(page->exit.reason, WISP_EXIT_MEMORY);
	CHECK_EQUAL(page->exit.memory.flags, WISP_MEMORY_DELIVERY);
	CHECK_EQUAL(page->exit.rip, CODE);
	before = *page;
	CHECK_EQUAL(wisp_assist_memory(vm, page, &io), -EOPNOTSUPP);
	CHECK(!memcmp(&before, page, sizeof(before)));
	page->complete = 1;
	CHECK_EQUAL(wisp_run(vm, 0), -EINVAL);
	CHECK_EQUAL(page->field, WISP_FIELD(complete));
	/* It is the next thing that happens, with a stack. */
	page->complete = 0;
	page->state.segments.ss.base = 0;
	page->dirty = WISP_STATE_SEGMENTS;
	CHECK(!wisp_write(vm, 4 * 6, handler, sizeof(handler)));
	CHECK(run());
	CHECK_EQUAL(page->state.general.rsp, 0x100 - 6);
	CHECK(!went_wrong);
	destroy();
}

int main(void)
{
	static const struct tap_test tests[] = {
		TAP_TEST(ports),
		TAP_TEST(memory),
		TAP_TEST(strings),
		TAP_TEST(shadow),
		TAP_TEST(single_step),
		TAP_TEST(delivery),
	};

	return TAP_RUN(tests);
}
