// SPDX-License-Identifier: GPL-2.0
/*
 * The assists. Most instructions are run twice, by this CPU and by the library
 * as if the page at DEVICE were a device, and must leave the same behind.
 */
#include <errno.h>
#include <string.h>

#include "guest.h"
#include "native.h"
#include "tap.h"

#define PAGE		4096
#define CODE		0x10000000UL
#define DEVICE		0x20000000UL
#define RAM		(DEVICE + PAGE)
#define RAM_SIZE	(2 * PAGE)
#define ROUNDS		60

#define FLAGS_ON	0x202	/* IF, and bit 1 */
#define FLAG_AF		0x10
#define STATUS_FLAGS	0x8d5
#define FLAG_DF		0x400
#define FLAG_RF		0x10000
#define FLAG_AC		0x40000
#define PORT		0x1f0

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R15 = 15 };

/* The device: what the guest's page at @gpa holds, and how it was reached. */
static struct device {
	uint64_t gpa;
	uint8_t data[PAGE];
	unsigned int reads;
	unsigned int writes;
	unsigned int port_count;
	uint8_t port_data[PAGE * 2];
	bool bad;
} device;

static struct wisp_vcpu_page page;
static int vm;

static void on_memory(void *opaque, uint64_t gpa, int read, void *data,
		      unsigned int size)
{
	uint64_t offset = gpa - device.gpa;

	if (size & (size - 1) || size > 8 || offset + size > PAGE) {
		device.bad = true;
		return;
	}
	if (read) {
		memcpy(data, device.data + offset, size);
		device.reads++;
	} else {
		memcpy(device.data + offset, data, size);
		device.writes++;
	}
}

static void on_port(void *opaque, uint16_t port, int in, void *data,
		    unsigned int size)
{
	uint8_t *at = device.port_data + device.port_count;

	if (port != PORT || (size != 1 && size != 2 && size != 4) ||
	    device.port_count + size > sizeof(device.port_data)) {
		device.bad = true;
		return;
	}
	if (in)
		memcpy(data, at, size);
	else
		memcpy(at, data, size);
	device.port_count += size;
}

static const struct wisp_io io = { .port = on_port, .memory = on_memory };

static uint64_t *general(unsigned int index)
{
	return (uint64_t *)((char *)&page.state.general + index * 8);
}

/* 64-bit code without paging, which no CPU has but the library can walk. */
static void start(off_t size)
{
	if (vm)
		close(vm);
	vm = guest_create(size);
	memset(&device, 0, sizeof(device));
	device.gpa = DEVICE;
	memset(&page, 0, sizeof(page));
	page.state.segments.cs.attributes = CODE64_ATTRIBUTES;
	page.state.segments.ss.attributes = DATA_ATTRIBUTES;
	page.state.control.cr0 = CR0_PE;
	page.state.control.efer = EFER_LMA;
	page.state.general.rip = CODE;
	page.state.general.rflags = 2;
}

static void set_code(const void *code, size_t size)
{
	wisp_write(vm, CODE, code, size);
	page.state.general.rip = CODE;
}

static int assist_at(uint64_t gpa, uint32_t access)
{
	page.exit = (struct wisp_exit){
		.reason = WISP_EXIT_MEMORY,
		.memory = { .gpa = gpa, .access = access },
	};
	return wisp_assist_memory(vm, &page, &io);
}

static int assist(void)
{
	return assist_at(DEVICE, WISP_PROT_WRITE);
}

/* ---- against the CPU ---------------------------------------------------- */

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint64_t random_value(void)
{
	static const uint64_t corners[] = {
		0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff,
		0x80000000, 0xffffffff, INT64_MAX, (uint64_t)INT64_MIN, -1ULL,
	};
	uint64_t value = guest_random(&seed);

	return value % 3 ? value : corners[value / 3 % 14];
}

static void random_memory(uint8_t *data, size_t size)
{
	/* Few values, so that comparisons go on for a while. */
	bool few = guest_random(&seed) & 1;

	for (size_t i = 0; i < size; i++)
		data[i] = few ? (uint8_t)(guest_random(&seed) % 97 == 0) :
				(uint8_t)random_value();
}

static bool is(const struct native_case *test, const char *text)
{
	return strstr(test->text, text);
}

/* Near the operand, both ways, in as much of R8 as the instruction sees. */
static uint64_t random_bit(const struct native_case *test)
{
	uint64_t noise = guest_random(&seed);
	uint64_t number = guest_random(&seed) % 1024 - 512;

	if (is(test, "%r8w"))
		return (noise & ~0xffffULL) | (number & 0xffff);
	if (is(test, "%r8d"))
		return noise << 32 | (uint32_t)number;
	return number;
}

static void random_registers(const struct native_case *test,
			     struct native *native)
{
	bool device_first = guest_random(&seed) & 1;

	for (unsigned int i = 0; i < 16; i++)
		native->general[i] = random_value();
	native->general[RBX] = DEVICE + 256 + guest_random(&seed) % 1024;
	native->general[RCX] = guest_random(&seed) % 40;
	native->general[RSI] = (device_first ? DEVICE : RAM) + 1024 +
			       guest_random(&seed) % 1024;
	native->general[RDI] = (device_first ? RAM : DEVICE) + 1024 +
			       guest_random(&seed) % 1024;
	native->general[R8] = random_bit(test);
	native->general[RSP] = 0;
	native->rflags = FLAGS_ON | (guest_random(&seed) & (STATUS_FLAGS | FLAG_DF));
}

/* Flags that the manuals leave undefined. */
static uint64_t undefined_flags(const struct native_case *test)
{
	if (!strncmp(test->text, "bt", 2) || is(test, "lock bt"))
		return STATUS_FLAGS & ~1;
	if (is(test, "and") || is(test, "or") || is(test, "test"))
		return FLAG_AF;
	return 0;
}

/* Until the instruction is behind; a REP may come in parts. */
static bool assist_whole(size_t size)
{
	for (unsigned int i = 0; i < 100; i++) {
		if (page.state.general.rip == CODE + size)
			return true;
		if (assist())
			return false;
	}
	return false;
}

static bool same_registers(const struct native *native, uint64_t ignored)
{
	bool same = true;

	for (unsigned int i = 0; i < 16; i++)
		if (i != RSP)
			same &= CHECK_EQUAL(*general(i), native->general[i]);
	return same & CHECK_EQUAL(page.state.general.rflags & ~ignored,
				  native->rflags & ~ignored);
}

static bool same_memory(const uint8_t *hva)
{
	static uint8_t ram[RAM_SIZE];

	wisp_read(vm, RAM, ram, sizeof(ram));
	return CHECK(!memcmp(hva, device.data, PAGE)) &
	       CHECK(!memcmp(hva + PAGE, ram, RAM_SIZE)) & CHECK(!device.bad);
}

static bool touches_device(const struct native_case *test)
{
	bool target_only = is(test, "stos") || is(test, "scas");

	if (target_only)
		return *general(RDI) < RAM;
	if (is(test, "lods"))
		return *general(RSI) < RAM;
	/* A REP that does nothing does not exit. */
	return true;
}

static bool compare(const struct native_case *test, uint8_t *hva)
{
	size_t size = (size_t)(test->end - test->code);
	struct native native;

	random_registers(test, &native);
	if (is(test, "rep") && !native.general[RCX])
		native.general[RCX] = 1;
	random_memory(hva, PAGE + RAM_SIZE);
	memcpy(device.data, hva, PAGE);
	wisp_write(vm, RAM, hva + PAGE, RAM_SIZE);
	memcpy(&page.state.general, native.general, sizeof(native.general));
	page.state.general.rflags = native.rflags;
	set_code(test->code, size);
	if (!touches_device(test))
		return true;

	native_run(&native, test->code);
	return CHECK(assist_whole(size)) &
	       same_registers(&native, undefined_flags(test)) &
	       same_memory(hva);
}

static void as_the_cpu_does(void)
{
	uint8_t *hva = mmap((void *)DEVICE, PAGE + RAM_SIZE,
			    PROT_READ | PROT_WRITE, MAP_PRIVATE |
			    MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	const struct native_case *test;

	start(RAM + RAM_SIZE);
	if (!CHECK(hva == (void *)DEVICE))
		return;
	for (test = native_cases; test->text; test++)
		for (unsigned int i = 0; i < ROUNDS; i++)
			if (!compare(test, hva)) {
				printf("# in: %s\n", test->text);
				break;
			}
	printf("# %zu instructions\n", (size_t)(test - native_cases));
	munmap(hva, PAGE + RAM_SIZE);
}

/* ---- what the CPU cannot be asked --------------------------------------- */

static void rip_relative(void)
{
	/* mov 0x0fffff4a(%rip), %eax */
	static const uint8_t code[] = { 0x8b, 0x05, 0x4a, 0xff, 0xff, 0x0f };
	uint32_t value = 0x87654321;

	start(CODE + PAGE);
	memcpy(device.data + 0xf50, &value, 4);
	device.gpa = DEVICE - PAGE;
	set_code(code, sizeof(code));
	CHECK_EQUAL(assist_at(DEVICE - PAGE, WISP_PROT_READ), 0);
	CHECK_EQUAL(*general(RAX), value);
	CHECK_EQUAL(page.dirty, WISP_STATE_GENERAL);
	CHECK_EQUAL(page.state.general.rip, CODE + 6);
}

/* RF, which VMX sets where memory is not there, is for one instruction. */
static void resume_flag_ends(void)
{
	static const uint8_t code[] = { 0xf3, 0xaa };	/* rep stosb */

	start(CODE + PAGE);
	*general(RDI) = DEVICE;
	*general(RCX) = 1500;
	page.state.general.rflags |= FLAG_RF;
	set_code(code, sizeof(code));
	CHECK_EQUAL(assist(), 0);
	CHECK_EQUAL(page.state.general.rip, CODE);
	CHECK_EQUAL(page.complete, 0);
	CHECK_EQUAL(page.state.general.rflags, 2 | FLAG_RF);
	CHECK_EQUAL(assist(), 0);
	CHECK_EQUAL(page.state.general.rip, CODE + 2);
	/* The driver ends it. */
	CHECK_EQUAL(page.complete, 1);
}

/* The bytes of the exit count, whole or cut off. */
static void bytes_of_the_exit(void)
{
	static const uint8_t code[] = { 0xc7, 0x03, 0x44, 0x33, 0x22, 0x11 };
	static const uint8_t other[] = { 0x90 };

	start(CODE + PAGE);
	*general(RBX) = DEVICE;
	set_code(other, sizeof(other));
	page.exit = (struct wisp_exit){
		.reason = WISP_EXIT_MEMORY,
		.memory = {
			.gpa = DEVICE,
			.access = WISP_PROT_WRITE,
			.inst_bytes_len = sizeof(code),
		},
	};
	memcpy(page.exit.memory.inst_bytes, code, sizeof(code));
	CHECK_EQUAL(wisp_assist_memory(vm, &page, &io), 0);
	CHECK_EQUAL(*(uint32_t *)device.data, 0x11223344);
	set_code(code, sizeof(code));
	page.exit.memory.inst_bytes_len = 3;
	device.data[0] = 0;
	CHECK_EQUAL(wisp_assist_memory(vm, &page, &io), 0);
	CHECK_EQUAL(*(uint32_t *)device.data, 0x11223344);
	page.exit.memory.inst_bytes_len = 16;
	CHECK_EQUAL(wisp_assist_memory(vm, &page, &io), -EINVAL);
}

/* An instruction up to the last byte of memory, and one beyond. */
static void code_at_the_end(void)
{
	static const uint8_t code[] = { 0x88, 0x03 };

	start(CODE + PAGE);
	*general(RBX) = DEVICE;
	wisp_write(vm, CODE + PAGE - 2, code, 2);
	page.state.general.rip = CODE + PAGE - 2;
	CHECK_EQUAL(assist(), 0);
	wisp_write(vm, CODE + PAGE - 1, code, 1);
	page.state.general.rip = CODE + PAGE - 1;
	CHECK_EQUAL(assist(), -EFAULT);
	page.state.general.rip = CODE + PAGE;
	CHECK_EQUAL(assist(), -EFAULT);
}

static void refuses_what_it_does_not_know(void)
{
	static const uint8_t codes[][4] = {
		{ 0x0f, 0x11, 0x03 },		/* movups %xmm0, (%rbx) */
		{ 0x8e, 0x1b },			/* mov (%rbx), %ds */
		{ 0xff, 0x33 },			/* push (%rbx) */
		{ 0xd9, 0x03 },			/* flds (%rbx) */
		{ 0x06 },			/* no instruction */
		{ 0x90 },			/* touches nothing */
		{ 0x89, 0xd8 },			/* mov %ebx, %eax */
		{ 0x89, 0x02 },			/* mov %eax, (%rdx): RAM */
		{ 0xf2, 0x0f, 0x10, 0x03 },	/* movsd (%rbx), %xmm0 */
	};

	start(CODE + 2 * PAGE);
	for (size_t i = 0; i < sizeof(codes) / 4; i++) {
		set_code(codes[i], 4);
		*general(RBX) = DEVICE;
		*general(RDX) = CODE + PAGE;
		if (!CHECK_EQUAL(assist(), -EOPNOTSUPP))
			printf("# in code %zu\n", i);
		CHECK_EQUAL(page.state.general.rip, CODE);
		CHECK_EQUAL(page.dirty, 0);
	}
	CHECK_EQUAL(device.reads + device.writes, 0);
	CHECK_EQUAL(assist_at(DEVICE, WISP_PROT_EXEC), -EOPNOTSUPP);
	page.exit.memory.flags = WISP_MEMORY_WALK;
	CHECK_EQUAL(wisp_assist_memory(vm, &page, &io), -EOPNOTSUPP);
	page.exit.reason = WISP_EXIT_PORT;
	CHECK_EQUAL(wisp_assist_memory(vm, &page, &io), -EINVAL);
	page.exit.reason = WISP_EXIT_MEMORY;
	CHECK_EQUAL(wisp_assist_port(vm, &page, &io), -EINVAL);
}

/* From the last bytes of RAM into the device, and back. */
static void operand_across_the_edge(void)
{
	static const uint8_t store[] = { 0x48, 0x89, 0x03 };
	static const uint8_t load[] = { 0x48, 0x8b, 0x13 };
	const uint64_t value = 0x8877665544332211;

	start(CODE + 2 * PAGE);
	device.gpa = CODE + 2 * PAGE;
	for (unsigned int i = 1; i < 8; i++) {
		*general(RBX) = device.gpa - i;
		*general(RAX) = value;
		set_code(store, sizeof(store));
		CHECK_EQUAL(assist_at(device.gpa, WISP_PROT_WRITE), 0);
		CHECK(!memcmp(device.data, (const char *)&value + i, 8 - i));
		set_code(load, sizeof(load));
		CHECK_EQUAL(assist_at(device.gpa, WISP_PROT_READ), 0);
		CHECK_EQUAL(*general(RDX), value);
		CHECK(!device.bad);
	}
}

static int assist_protected(uint32_t access, uint32_t flags)
{
	page.state.general.rip = CODE;
	page.exit = (struct wisp_exit){
		.reason = WISP_EXIT_MEMORY,
		.memory = {
			.gpa = device.gpa,
			.access = access,
			.flags = flags,
		},
	};
	return wisp_assist_memory(vm, &page, &io);
}

/* Against a protection: reads are RAM's, writes come to the VMM. */
static void protected_slot(void)
{
	static const uint8_t code[] = { 0x01, 0x03 };	/* add %eax, (%rbx) */
	static const uint32_t flags[] = {
		WISP_MEMORY_SLOT, WISP_MEMORY_PROTECTED,
	};
	uint32_t value = 40;

	for (size_t i = 0; i < 2; i++) {
		start(CODE + 2 * PAGE);
		device.gpa = CODE + PAGE;
		wisp_write(vm, device.gpa, &value, 4);
		*general(RBX) = device.gpa;
		*general(RAX) = 2;
		set_code(code, sizeof(code));
		CHECK_EQUAL(assist_protected(WISP_PROT_WRITE, flags[i]), 0);
		CHECK_EQUAL(*(uint32_t *)device.data, 42);
		CHECK_EQUAL(guest_read64(vm, device.gpa), 40);
		CHECK_EQUAL(device.reads, 0);
	}
}

/* Where not even reading is allowed, both do: also what reads first, and then writes. */
static void protected_from_reading(void)
{
	static const uint8_t load[] = { 0x8b, 0x03 };	/* mov (%rbx), %eax */
	static const uint8_t add[] = { 0x01, 0x03 };	/* add %eax, (%rbx) */
	const uint32_t flags = WISP_MEMORY_PROTECTED | WISP_MEMORY_UNREADABLE;
	uint32_t value = 40;

	start(CODE + 2 * PAGE);
	device.gpa = CODE + PAGE;
	wisp_write(vm, device.gpa, &value, 4);
	*general(RBX) = device.gpa;
	*(uint32_t *)device.data = 41;
	set_code(load, sizeof(load));
	CHECK_EQUAL(assist_protected(WISP_PROT_READ, flags), 0);
	CHECK_EQUAL(*general(RAX), 41);

	page.state.general.rip = CODE;
	*general(RAX) = 2;
	set_code(add, sizeof(add));
	CHECK_EQUAL(assist_protected(WISP_PROT_WRITE, flags), 0);
	CHECK_EQUAL(*(uint32_t *)device.data, 43);
	CHECK_EQUAL(guest_read64(vm, device.gpa), 40);
}

/* A long REP comes in parts, and ends where the page does. */
static void long_repeat(void)
{
	static const uint8_t code[] = { 0xf3, 0xaa };	/* rep stosb */

	start(CODE + PAGE);
	*general(RDI) = DEVICE + 100;
	*general(RCX) = 1ULL << 40;
	*general(RAX) = 0x5a;
	set_code(code, sizeof(code));
	CHECK_EQUAL(assist(), 0);
	CHECK_EQUAL(*general(RDI), DEVICE + 100 + 1024);
	CHECK_EQUAL(*general(RCX), (1ULL << 40) - 1024);
	CHECK_EQUAL(page.state.general.rip, CODE);
	for (unsigned int i = 0; i < 3; i++)
		CHECK_EQUAL(assist(), 0);
	CHECK_EQUAL(*general(RDI), DEVICE + PAGE);
	CHECK_EQUAL(device.writes, PAGE - 100);
	CHECK_EQUAL(assist(), -EOPNOTSUPP);
}

/* ---- paging ------------------------------------------------------------- */

#define ROOT		0x1000
#define RAM_GVA		0x400000UL
#define DEVICE_GVA	0x401000UL

/* The code at 2 MiB, one page of RAM and the device at 4 MiB. */
static void start_paging(void)
{
	start(0x400000);
	device.gpa = 0xfee00000;
	page.state.control.cr0 |= CR0_PG | CR0_WP;
	page.state.control.cr3 = ROOT;
	guest_write64(vm, ROOT, 0x2007);
	guest_write64(vm, 0x2000, 0x3007);
	guest_write64(vm, 0x3000 + 8, 0x4007);
	guest_write64(vm, 0x3000 + 16, 0x5007);
	guest_write64(vm, 0x4000, 0x300007);
	guest_write64(vm, 0x5000, 0x301007);
	guest_write64(vm, 0x5008, device.gpa | 7);
}

static void set_paged_code(const void *code, size_t size)
{
	wisp_write(vm, 0x300000, code, size);
	page.state.general.rip = 0x200000;
}

static void check_exception(uint8_t vector, uint32_t error_code)
{
	CHECK_EQUAL(page.inject.type, WISP_EVENT_EXCEPTION);
	CHECK_EQUAL(page.inject.vector, vector);
	CHECK_EQUAL(page.inject.has_error_code, 1);
	CHECK_EQUAL(page.inject.error_code, error_code);
	CHECK_EQUAL(page.state.general.rip, 0x200000);
	CHECK_EQUAL(page.state.general.rflags & FLAG_RF, FLAG_RF);
}

static void check_fault(uint64_t gva, uint32_t error_code)
{
	CHECK_EQUAL(page.dirty, WISP_STATE_GENERAL | WISP_STATE_CONTROL);
	CHECK_EQUAL(page.state.control.cr2, gva);
	check_exception(14, error_code);
}

/* Out of the device into a page that is not there: the guest's fault. */
static void target_takes_a_page_fault(void)
{
	static const uint8_t code[] = { 0xf3, 0x48, 0xa5 };	/* rep movsq */

	start_paging();
	set_paged_code(code, sizeof(code));
	*general(RSI) = DEVICE_GVA;
	*general(RDI) = RAM_GVA + PAGE - 16;
	*general(RCX) = 5;
	memset(device.data, 0x77, 32);
	/* The second page of the target is the device: make it absent. */
	guest_write64(vm, 0x5008, 0);
	guest_write64(vm, 0x5010, device.gpa | 7);
	*general(RSI) = DEVICE_GVA + PAGE;
	CHECK_EQUAL(assist_at(device.gpa, WISP_PROT_READ), 0);
	CHECK_EQUAL(*general(RCX), 3);
	CHECK_EQUAL(guest_read64(vm, 0x301ff8), 0x7777777777777777);
	CHECK_EQUAL(device.reads, 2);
	check_fault(DEVICE_GVA, 2);
}

static void rights_count(void)
{
	static const uint8_t code[] = { 0xa4 };	/* movsb */

	start_paging();
	set_paged_code(code, sizeof(code));
	guest_write64(vm, 0x5000, 0x301001);
	*general(RSI) = DEVICE_GVA;
	*general(RDI) = RAM_GVA;
	CHECK_EQUAL(assist_at(device.gpa, WISP_PROT_READ), 0);
	check_fault(RAM_GVA, 3);
	CHECK_EQUAL(device.reads, 0);
	/* At CPL 3, a page of the supervisor. */
	start_paging();
	set_paged_code(code, sizeof(code));
	page.state.segments.ss.attributes = DATA_USER_ATTRIBUTES;
	guest_write64(vm, 0x5000, 0x301003);
	*general(RSI) = DEVICE_GVA;
	*general(RDI) = RAM_GVA;
	CHECK_EQUAL(assist_at(device.gpa, WISP_PROT_READ), 0);
	check_fault(RAM_GVA, 7);
	/* SMAP, unless RFLAGS.AC is set. */
	start_paging();
	set_paged_code(code, sizeof(code));
	guest_write64(vm, 0x5008, device.gpa | 3);
	guest_write64(vm, 0x2000, 0x3007);
	page.state.control.cr4 |= CR4_SMAP;
	*general(RSI) = DEVICE_GVA;
	*general(RDI) = RAM_GVA;
	CHECK_EQUAL(assist_at(device.gpa, WISP_PROT_READ), 0);
	check_fault(RAM_GVA, 3);
	page.inject.type = WISP_EVENT_NONE;
	page.dirty = 0;
	page.state.general.rflags |= FLAG_AC;
	CHECK_EQUAL(assist_at(device.gpa, WISP_PROT_READ), 0);
	CHECK_EQUAL(page.inject.type, WISP_EVENT_NONE);
	CHECK_EQUAL(page.state.general.rip, 0x200001);
}

static void addresses_not_canonical(void)
{
	static const uint8_t move[] = { 0xa4 };		/* movsb */
	static const uint8_t load[] = { 0x8b, 0x45, 0x00 };	/* mov (%rbp), %eax */
	static const uint64_t gvas[] = { 0x800000000000, 0xffff7fffffffffff };

	for (size_t i = 0; i < 2; i++) {
		start_paging();
		set_paged_code(move, sizeof(move));
		*general(RSI) = DEVICE_GVA;
		*general(RDI) = gvas[i];
		page.state.control.cr2 = 0x1234;
		CHECK_EQUAL(assist_at(device.gpa, WISP_PROT_READ), 0);
		check_exception(13, 0);
		CHECK_EQUAL(device.reads, 0);
		/* CR2 is a page fault's. */
		CHECK_EQUAL(page.dirty, WISP_STATE_GENERAL);
		CHECK_EQUAL(page.state.control.cr2, 0x1234);
	}
	start_paging();
	set_paged_code(load, sizeof(load));
	*general(RBP) = gvas[0];
	CHECK_EQUAL(assist_at(device.gpa, WISP_PROT_READ), 0);
	check_exception(12, 0);
}

/* ---- other modes -------------------------------------------------------- */

static void start_legacy(uint16_t attributes, bool protected)
{
	start(CODE + PAGE);
	page.state.control = (struct wisp_control){
		.cr0 = protected ? CR0_PE : 0,
	};
	page.state.segments.cs.attributes = attributes;
}

static void mode_32(void)
{
	/* mov %eax, %es:8(%ebx,%ecx,2) */
	static const uint8_t code[] = { 0x26, 0x89, 0x44, 0x4b, 0x08 };

	start_legacy(CODE32_ATTRIBUTES, true);
	page.state.segments.cs.base = CODE - 0x1000;
	page.state.segments.es.base = 0xf0000000;
	wisp_write(vm, CODE, code, sizeof(code));
	page.state.general.rip = 0x1000;
	*general(RAX) = 0x12345678;
	*general(RBX) = 0x30000000;
	*general(RCX) = 4;
	CHECK_EQUAL(assist(), 0);
	CHECK_EQUAL(*(uint32_t *)(device.data + 16), 0x12345678);
	CHECK_EQUAL(page.state.general.rip, 0x1005);
}

static void mode_16(void)
{
	/* mov %ax, 0x10(%bx,%si); with a 32-bit operand by its prefix */
	static const uint8_t word[] = { 0x89, 0x40, 0x10 };
	static const uint8_t dword[] = { 0x66, 0x89, 0x40, 0x10 };

	start_legacy(CODE16_ATTRIBUTES, false);
	page.state.segments.cs.base = 0x1000;
	page.state.segments.ds.base = 0xf0000;
	device.gpa = 0xf0000;
	wisp_write(vm, 0x1100, word, sizeof(word));
	page.state.general.rip = 0x100;
	*general(RAX) = 0x12345678;
	*general(RBX) = 0xfff0;
	*general(RSI) = 0x0010;
	CHECK_EQUAL(assist_at(device.gpa, WISP_PROT_WRITE), 0);
	CHECK_EQUAL(*(uint32_t *)(device.data + 0x10), 0x5678);
	CHECK_EQUAL(page.state.general.rip, 0x103);
	wisp_write(vm, 0x1103, dword, sizeof(dword));
	CHECK_EQUAL(assist_at(device.gpa, WISP_PROT_WRITE), 0);
	CHECK_EQUAL(*(uint32_t *)(device.data + 0x10), 0x12345678);
}

static void string_in_16_bits(void)
{
	static const uint8_t code[] = { 0xf3, 0xa4 };	/* rep movsb */

	start_legacy(CODE16_ATTRIBUTES, false);
	device.gpa = 0x20000;
	page.state.segments.ds.base = 0x20000;
	page.state.segments.es.base = 0x30000;
	wisp_write(vm, 0x1000, code, sizeof(code));
	page.state.general.rip = 0x1000;
	*general(RSI) = 0xaaaa0000ffff0010;
	*general(RDI) = 0xbbbb00000000fffe;
	*general(RCX) = 0xcccc000000000004;
	memcpy(device.data + 0x10, "wisp", 4);
	CHECK_EQUAL(assist_at(device.gpa, WISP_PROT_READ), 0);
	CHECK_EQUAL(*general(RSI), 0xaaaa0000ffff0014);
	CHECK_EQUAL(*general(RDI), 0xbbbb000000000002);
	CHECK_EQUAL(*general(RCX), 0xcccc000000000000);
	CHECK_EQUAL(guest_read64(vm, 0x3fffe) & 0xffff, 0x6977);
	CHECK_EQUAL(guest_read64(vm, 0x30000) & 0xffff, 0x7073);
}

/* ---- ports -------------------------------------------------------------- */

static int assist_port(uint32_t flags, uint8_t size)
{
	page.exit = (struct wisp_exit){
		.reason = WISP_EXIT_PORT,
		.port = { .port = PORT, .size = size, .flags = flags,
			  .data = 0x12345678 },
	};
	return wisp_assist_port(vm, &page, &io);
}

static void plain_ports(void)
{
	start(CODE + PAGE);
	memcpy(device.port_data, "\x44\x33\x22\x11", 4);
	CHECK_EQUAL(assist_port(WISP_PORT_IN, 4), 0);
	CHECK_EQUAL(page.reply, 0x11223344);
	CHECK_EQUAL(page.complete, 1);
	CHECK_EQUAL(page.dirty, 0);
	page.complete = 0;
	CHECK_EQUAL(assist_port(0, 2), 0);
	CHECK_EQUAL(*(uint16_t *)(device.port_data + 4), 0x5678);
	CHECK_EQUAL(page.complete, 1);
	CHECK(!device.bad);
}

static void string_out(void)
{
	static const uint8_t code[] = { 0xf3, 0x6e };	/* rep outsb */
	static const char text[] = "Hello, wisp!";

	start(RAM + RAM_SIZE);
	set_code(code, sizeof(code));
	wisp_write(vm, RAM, text, sizeof(text));
	*general(RSI) = RAM;
	*general(RCX) = 12;
	*general(RDX) = PORT;
	CHECK_EQUAL(assist_port(WISP_PORT_STRING | WISP_PORT_REP, 1), 0);
	CHECK(!memcmp(device.port_data, text, 12));
	CHECK_EQUAL(*general(RCX), 0);
	CHECK_EQUAL(*general(RSI), RAM + 12);
	CHECK_EQUAL(page.state.general.rip, CODE + 2);
	CHECK_EQUAL(page.complete, 1);
	CHECK_EQUAL(page.dirty, WISP_STATE_GENERAL);
	CHECK(!device.bad);
}

static void string_in(void)
{
	static const uint8_t one[] = { 0x6d };		/* insl */
	static const uint8_t many[] = { 0xf3, 0x66, 0x6d };	/* rep insw */
	const uint32_t in = WISP_PORT_STRING | WISP_PORT_IN;

	start(RAM + RAM_SIZE);
	memcpy(device.port_data, "0123456789abcdef", 16);
	set_code(one, sizeof(one));
	*general(RDI) = RAM + 4;
	*general(RCX) = 77;
	*general(RDX) = PORT;
	CHECK_EQUAL(assist_port(in, 4), 0);
	CHECK_EQUAL((uint32_t)guest_read64(vm, RAM + 4), 0x33323130);
	CHECK_EQUAL(*general(RDI), RAM + 8);
	CHECK_EQUAL(*general(RCX), 77);
	/* Downwards, and more than one call does. */
	device.port_count = 0;
	set_code(many, sizeof(many));
	*general(RDI) = RAM + 4000;
	*general(RCX) = 1500;
	page.state.general.rflags |= FLAG_DF;
	CHECK_EQUAL(assist_port(in | WISP_PORT_REP, 2), 0);
	CHECK_EQUAL(*general(RCX), 1500 - 1024);
	CHECK_EQUAL(page.state.general.rip, CODE);
	CHECK_EQUAL(assist_port(in | WISP_PORT_REP, 2), 0);
	CHECK_EQUAL(*general(RDI), RAM + 1000);
	CHECK_EQUAL(page.state.general.rip, CODE + 3);
	CHECK_EQUAL(device.port_count, 3000);
	CHECK_EQUAL(guest_read64(vm, RAM + 4000) & 0xffff, 0x3130);
	CHECK(!device.bad);
}

static void string_into_an_absent_page(void)
{
	static const uint8_t code[] = { 0x6c };	/* insb */

	start_paging();
	set_paged_code(code, sizeof(code));
	*general(RDI) = 0x7000;
	*general(RDX) = PORT;
	CHECK_EQUAL(assist_port(WISP_PORT_STRING | WISP_PORT_IN, 1), 0);
	check_fault(0x7000, 2);
	/* The device was not asked for what nobody could take. */
	CHECK_EQUAL(device.port_count, 0);
}

static void *map_at(uint64_t gva)
{
	return mmap((void *)gva, PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
}

/* Our own memory is the guest's: what is not mapped gives EIO. It is no device. */
static void ram_that_fails(void)
{
	static const uint8_t code[] = { 0xf3, 0xa4 };	/* rep movsb */
	static const uint8_t store[] = { 0x6c };	/* insb */
	static const uint8_t load[] = { 0x6e };	/* outsb */

	start(0);
	close(vm);
	vm = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	CHECK(map_at(CODE) == (void *)CODE);
	CHECK(map_at(RAM) == (void *)RAM);
	set_code(code, sizeof(code));
	*general(RSI) = DEVICE;
	*general(RDI) = RAM + PAGE - 16;
	*general(RCX) = 32;
	/* The half that can be done is. */
	CHECK_EQUAL(assist_at(DEVICE, WISP_PROT_READ), 0);
	CHECK_EQUAL(*general(RCX), 16);
	CHECK_EQUAL(*general(RDI), RAM + PAGE);
	CHECK_EQUAL(page.state.general.rip, CODE);
	page.dirty = 0;
	CHECK_EQUAL(assist_at(DEVICE, WISP_PROT_READ), -EIO);
	CHECK_EQUAL(page.state.general.rip, CODE);
	CHECK_EQUAL(page.dirty, 0);
	CHECK_EQUAL(device.writes, 0);

	/* The other way round: the device gets nothing that was not there. */
	*general(RSI) = RAM + PAGE;
	*general(RDI) = DEVICE;
	CHECK_EQUAL(assist_at(DEVICE, WISP_PROT_WRITE), -EIO);
	CHECK_EQUAL(page.dirty, 0);
	CHECK_EQUAL(device.writes, 0);
	set_code(load, sizeof(load));
	*general(RDX) = PORT;
	CHECK_EQUAL(assist_port(WISP_PORT_STRING, 1), -EIO);
	CHECK_EQUAL(device.port_count, 0);

	set_code(store, sizeof(store));
	*general(RDI) = RAM + PAGE;
	*general(RDX) = PORT;
	CHECK_EQUAL(assist_port(WISP_PORT_STRING | WISP_PORT_IN, 1), -EIO);
	CHECK_EQUAL(page.state.general.rip, CODE);
	CHECK(!device.bad);
	munmap((void *)CODE, PAGE);
	munmap((void *)RAM, PAGE);
}

#define TABLES		0x30000000UL
#define NOWHERE		0x40000000UL

/* As above, but of what fails are tables: no code, or no operand, is what that is not. */
static void tables_that_fail(void)
{
	static const uint8_t load[] = { 0x8b, 0x03 };	/* mov (%rbx), %eax */
	static const uint8_t store[] = { 0x6c };	/* insb */

	start(0);
	close(vm);
	vm = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	CHECK(map_at(CODE) == (void *)CODE);
	for (uint64_t i = 0; i < 3; i++)
		CHECK(map_at(TABLES + i * PAGE) == (void *)(TABLES + i * PAGE));
	page.state.control.cr0 |= CR0_PG;
	page.state.control.cr3 = TABLES;
	guest_write64(vm, TABLES, (TABLES + PAGE) | 7);
	guest_write64(vm, TABLES + PAGE, (TABLES + 2 * PAGE) | 7);
	/* 2 MiB of code, and a table of what the operands are in. */
	guest_write64(vm, TABLES + 2 * PAGE + (CODE >> 21) * 8, CODE | 0x87);
	guest_write64(vm, TABLES + 2 * PAGE + (DEVICE >> 21) * 8, NOWHERE | 7);
	set_code(load, sizeof(load));
	*general(RBX) = DEVICE;
	CHECK_EQUAL(assist(), -EIO);
	set_code(store, sizeof(store));
	*general(RDI) = DEVICE;
	*general(RDX) = PORT;
	CHECK_EQUAL(assist_port(WISP_PORT_STRING | WISP_PORT_IN, 1), -EIO);
	CHECK_EQUAL(device.port_count, 0);
	page.state.control.cr3 = NOWHERE;
	CHECK_EQUAL(assist(), -EIO);
	CHECK_EQUAL(page.dirty, 0);
	munmap((void *)CODE, PAGE);
	munmap((void *)TABLES, 3 * PAGE);
}

/* The guest changed its code meanwhile. */
static void string_that_is_none(void)
{
	static const uint8_t codes[][2] = {
		{ 0x90 }, { 0x6e }, { 0xa4 }, { 0xec },
	};

	start(RAM + RAM_SIZE);
	*general(RDX) = PORT;
	for (size_t i = 0; i < 4; i++) {
		set_code(codes[i], 2);
		CHECK_EQUAL(assist_port(WISP_PORT_STRING | WISP_PORT_IN, 1),
			    -EOPNOTSUPP);
	}
	set_code("\x6c", 1);
	*general(RDX) = PORT + 1;
	CHECK_EQUAL(assist_port(WISP_PORT_STRING | WISP_PORT_IN, 1),
		    -EOPNOTSUPP);
	CHECK_EQUAL(page.dirty, 0);
}

/* Code of noise in every mode: no crash, and the device keeps to its page. */
static void noise(void)
{
	static const uint16_t modes[] = {
		CODE64_ATTRIBUTES, CODE32_ATTRIBUTES, CODE16_ATTRIBUTES,
	};
	unsigned int known = 0;
	uint8_t code[15];

	start(CODE + PAGE);
	for (unsigned int i = 0; i < 200000; i++) {
		unsigned int mode = i % 3;

		for (unsigned int j = 0; j < 15; j++)
			code[j] = (uint8_t)guest_random(&seed);
		for (unsigned int j = 0; j < 16; j++)
			*general(j) = DEVICE + (guest_random(&seed) & 0xfff);
		page.state.segments.cs.attributes = modes[mode];
		page.state.control.efer = mode ? 0 : EFER_LMA;
		wisp_write(vm, mode == 2 ? 0x1000 : CODE, code, 15);
		page.state.general.rip = mode == 2 ? 0x1000 : CODE;
		known += !assist();
		page.inject.type = WISP_EVENT_NONE;
	}
	CHECK(known > 1000);
	printf("# %u of 200000 were known\n", known);
}

int main(void)
{
	static const struct tap_test tests[] = {
		TAP_TEST(as_the_cpu_does),
		TAP_TEST(rip_relative),
		TAP_TEST(resume_flag_ends),
		TAP_TEST(bytes_of_the_exit),
		TAP_TEST(code_at_the_end),
		TAP_TEST(refuses_what_it_does_not_know),
		TAP_TEST(operand_across_the_edge),
		TAP_TEST(protected_slot),
		TAP_TEST(protected_from_reading),
		TAP_TEST(long_repeat),
		TAP_TEST(target_takes_a_page_fault),
		TAP_TEST(rights_count),
		TAP_TEST(addresses_not_canonical),
		TAP_TEST(mode_32),
		TAP_TEST(mode_16),
		TAP_TEST(string_in_16_bits),
		TAP_TEST(plain_ports),
		TAP_TEST(string_out),
		TAP_TEST(string_in),
		TAP_TEST(string_into_an_absent_page),
		TAP_TEST(ram_that_fails),
		TAP_TEST(tables_that_fail),
		TAP_TEST(string_that_is_none),
		TAP_TEST(noise),
	};

	return TAP_RUN(tests);
}
