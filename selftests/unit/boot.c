// SPDX-License-Identifier: GPL-2.0
/* wisp_boot_linux(): good and bad images. */
#include <asm/bootparam.h>
#include <errno.h>
#include <string.h>

#include "guest.h"
#include "tap.h"

#define MIB		0x100000ULL
#define SETUP_SIZE	(5 * 512)
#define IMAGE_SIZE	0x12340
#define FILE_SIZE	(SETUP_SIZE + IMAGE_SIZE)
#define LOAD_GPA	(16 * MIB)
#define INIT_SIZE	(8 * MIB)
#define HEADER		0x1f1
#define CMDLINE_SIZE	2047

static uint8_t image[FILE_SIZE];
static struct setup_header *const header =
	(struct setup_header *)(image + HEADER);
static uint8_t initrd[8192 + 5];
static char error[256];
static struct wisp_linux_boot boot;
static struct wisp_vcpu_page page;
static int vm;

static void start(uint64_t memory_size)
{
	uint64_t seed = 42;

	if (vm)
		close(vm);
	vm = guest_create((off_t)memory_size);
	for (size_t i = 0; i < sizeof(image); i++)
		image[i] = (uint8_t)guest_random(&seed);
	for (size_t i = 0; i < sizeof(initrd); i++)
		initrd[i] = (uint8_t)guest_random(&seed);
	image[0x201] = 0x6a;	/* the jump: the header ends at 0x26c */
	*header = (struct setup_header){
		.setup_sects = 4,
		.syssize = IMAGE_SIZE / 16,
		.boot_flag = 0xaa55,
		.jump = 0x6aeb,
		.header = 0x53726448,
		.version = 0x20f,
		.loadflags = LOADED_HIGH,
		.initrd_addr_max = 0x7fffffff,
		.kernel_alignment = 0x200000,
		.relocatable_kernel = 1,
		.xloadflags = XLF_KERNEL_64,
		.cmdline_size = CMDLINE_SIZE,
		.pref_address = LOAD_GPA,
		.init_size = INIT_SIZE,
	};
	memset(&page, 0, sizeof(page));
	memset(error, 0, sizeof(error));
	boot = (struct wisp_linux_boot){
		.kernel = image,
		.kernel_size = FILE_SIZE,
		.cmdline = "console=ttyS0",
		.memory_size = memory_size,
		.acpi_rsdp = 0xe0000,
		.error = error,
		.error_size = sizeof(error),
	};
}

static int load(void)
{
	return wisp_boot_linux(vm, &page, &boot);
}

/* Refused with one line, and nothing was written. */
static void refused(int expected, const char *why)
{
	struct boot_params params;

	CHECK_EQUAL(load(), expected);
	if (!CHECK(strstr(error, why)))
		printf("# it says: %s\n", error);
	CHECK(!strchr(error, '\n'));
	CHECK(strstr(error, ": "));
	CHECK_EQUAL(page.dirty, 0);
	CHECK(!wisp_read(vm, 0x7000, &params, sizeof(params)));
	CHECK_EQUAL(params.hdr.header, 0);
}

static struct boot_params *params(void)
{
	static struct boot_params params;

	wisp_read(vm, page.state.general.rsi, &params, sizeof(params));
	return &params;
}

static bool is_at(uint64_t gpa, const void *data, size_t size)
{
	bool same;
	void *copy = malloc(size);

	same = !wisp_read(vm, gpa, copy, size) && !memcmp(copy, data, size);
	free(copy);
	return same;
}

static void boots(void)
{
	struct boot_params *zero;

	start(64 * MIB);
	CHECK_EQUAL(load(), 0);
	CHECK(is_at(LOAD_GPA, image + SETUP_SIZE, IMAGE_SIZE));
	zero = params();
	CHECK_EQUAL(zero->hdr.header, 0x53726448);
	CHECK_EQUAL(zero->hdr.type_of_loader, 0xff);
	CHECK_EQUAL(zero->hdr.code32_start, LOAD_GPA);
	CHECK_EQUAL(zero->sentinel, 0);
	CHECK_EQUAL(zero->acpi_rsdp_addr, 0xe0000);
	CHECK_EQUAL(zero->hdr.ramdisk_size, 0);
	CHECK(is_at(zero->hdr.cmd_line_ptr, "console=ttyS0", 14));
}

static void registers(void)
{
	const struct wisp_state *state = &page.state;

	start(64 * MIB);
	CHECK_EQUAL(load(), 0);
	CHECK_EQUAL(page.dirty, WISP_STATE_GENERAL | WISP_STATE_SEGMENTS |
		    WISP_STATE_CONTROL);
	CHECK_EQUAL(state->general.rip, LOAD_GPA + 0x200);
	CHECK_EQUAL(state->general.rflags, 2);
	CHECK_EQUAL(state->segments.cs.selector, 0x10);
	CHECK_EQUAL(state->segments.cs.attributes, 0xa09b);
	CHECK_EQUAL(state->segments.ss.selector, 0x18);
	CHECK_EQUAL(state->segments.tr.attributes & 0x9f, 0x8b);
	CHECK_EQUAL(state->segments.ldtr.attributes & 0x80, 0);
	CHECK_EQUAL(state->control.efer, 0x500);
	CHECK_EQUAL(state->control.cr4, 0x20);
	/* What the GDT holds is what the hidden parts say. */
	CHECK_EQUAL(guest_read64(vm, state->segments.gdt.base + 0x10),
		    0x00af9b000000ffff);
	CHECK_EQUAL(guest_read64(vm, state->segments.gdt.base + 0x18),
		    0x00cf93000000ffff);
}

static void first_4_gib_are_mapped(void)
{
	static const uint64_t addresses[] = {
		0, 0x7000, LOAD_GPA + 0x123456, 0xbfffffff, 0xffffffff,
	};
	uint64_t gpa;

	start(64 * MIB);
	CHECK_EQUAL(load(), 0);
	for (unsigned int i = 0; i < 5; i++) {
		CHECK_EQUAL(wisp_translate(vm, &page.state, addresses[i],
					   WISP_PROT_EXEC, 0, &gpa), 0);
		CHECK_EQUAL(gpa, addresses[i]);
	}
	CHECK_EQUAL(wisp_translate(vm, &page.state, 1ULL << 32, WISP_PROT_READ,
				   0, &gpa), -EFAULT);
}

static void check_e820(unsigned int index, uint64_t gpa, uint64_t size,
		       uint32_t type)
{
	const struct boot_e820_entry *entry = &params()->e820_table[index];

	CHECK_EQUAL(entry->addr, gpa);
	CHECK_EQUAL(entry->size, size);
	CHECK_EQUAL(entry->type, type);
}

static void memory_map(void)
{
	start(64 * MIB);
	CHECK_EQUAL(load(), 0);
	CHECK_EQUAL(params()->e820_entries, 3);
	check_e820(0, 0, 0xa0000, 1);
	check_e820(1, 0xa0000, 0x60000, 2);
	check_e820(2, MIB, 63 * MIB, 1);
	start(5 * 1024 * MIB);
	CHECK_EQUAL(load(), 0);
	CHECK_EQUAL(params()->e820_entries, 4);
	check_e820(2, MIB, WISP_RAM_LOW_MAX - MIB, 1);
	check_e820(3, WISP_RAM_HIGH_START, 2048 * MIB, 1);
}

static void initrd_at_the_top(void)
{
	start(64 * MIB);
	boot.initrd = initrd;
	boot.initrd_size = sizeof(initrd);
	CHECK_EQUAL(load(), 0);
	CHECK_EQUAL(params()->hdr.ramdisk_image, 64 * MIB - 3 * 4096);
	CHECK_EQUAL(params()->hdr.ramdisk_size, sizeof(initrd));
	CHECK(is_at(64 * MIB - 3 * 4096, initrd, sizeof(initrd)));
	/* But not above what the kernel reaches. */
	start(64 * MIB);
	boot.initrd = initrd;
	boot.initrd_size = sizeof(initrd);
	header->initrd_addr_max = 32 * MIB - 1;
	CHECK_EQUAL(load(), 0);
	CHECK_EQUAL(params()->hdr.ramdisk_image, 32 * MIB - 3 * 4096);
}

static void initrd_too_large(void)
{
	start(25 * MIB);
	boot.initrd = initrd;
	boot.initrd_size = MIB + 1;
	refused(-ENOMEM, "initrd");
	boot.initrd_size = SIZE_MAX;
	refused(-ENOMEM, "initrd");
	boot.initrd_size = 1ULL << 40;
	refused(-ENOMEM, "initrd");
}

static void memory_too_small(void)
{
	start(24 * MIB);
	CHECK_EQUAL(load(), 0);
	start(24 * MIB - 4096);
	refused(-ENOMEM, "24 MiB");
	start(4096 * 16);
	refused(-ENOMEM, "24 MiB");
}

static void command_line_too_long(void)
{
	static char text[CMDLINE_SIZE + 2];

	start(64 * MIB);
	boot.cmdline = text;
	memset(text, 'x', CMDLINE_SIZE);
	CHECK_EQUAL(load(), 0);
	start(64 * MIB);
	boot.cmdline = text;
	text[CMDLINE_SIZE] = 'x';
	refused(-E2BIG, "command line");
	/* The header cannot make it reach beyond its place. */
	header->cmdline_size = UINT32_MAX;
	boot.cmdline = NULL;
	CHECK_EQUAL(load(), 0);
}

static void truncated(void)
{
	start(64 * MIB);
	for (size_t size = 0; size < FILE_SIZE; size += 97) {
		boot.kernel_size = size;
		refused(-ENOEXEC, "whole bzImage");
	}
	boot.kernel_size = FILE_SIZE - 1;
	refused(-ENOEXEC, "truncated");
	boot.kernel = NULL;
	refused(-ENOEXEC, "whole bzImage");
}

static void not_a_kernel(void)
{
	start(64 * MIB);
	header->header = 0x12345678;
	refused(-ENOEXEC, "HdrS");
	start(64 * MIB);
	header->boot_flag = 0;
	refused(-ENOEXEC, "bzImage");
	start(64 * MIB);
	header->version = 0x20b;
	refused(-ENOEXEC, "2.11");
	start(64 * MIB);
	header->xloadflags = 0;
	refused(-ENOEXEC, "64-bit");
	start(64 * MIB);
	header->loadflags = 0;
	refused(-ENOEXEC, "zImage");
	start(64 * MIB);
	header->syssize = 0;
	refused(-ENOEXEC, "no code");
	start(64 * MIB);
	header->pref_address = 0;
	refused(-ENOEXEC, "loaded at");
	start(64 * MIB);
	header->pref_address = UINT64_MAX - 0xfff;
	refused(-ENOEXEC, "loaded at");
}

/* Headers of noise around what makes a kernel. */
static void noise(void)
{
	uint64_t seed = 99;

	for (unsigned int i = 0; i < 300; i++) {
		start(32 * MIB);
		for (size_t at = HEADER; at < HEADER + 0x80; at++)
			if (guest_random(&seed) % 4 == 0)
				image[at] = (uint8_t)guest_random(&seed);
		boot.initrd = initrd;
		boot.initrd_size = guest_random(&seed) % sizeof(initrd);
		header->boot_flag = 0xaa55;
		header->header = 0x53726448;
		header->version = 0x20f;
		if (load())
			CHECK(error[0] && !strchr(error, '\n'));
	}
}

static void no_slots(void)
{
	start(64 * MIB);
	close(vm);
	vm = guest_create(MIB);
	CHECK(load() < 0);
	CHECK(strstr(error, "slots"));
	CHECK_EQUAL(page.dirty, 0);
	boot.error = NULL;
	CHECK(load() < 0);
}

int main(void)
{
	static const struct tap_test tests[] = {
		TAP_TEST(boots),
		TAP_TEST(registers),
		TAP_TEST(first_4_gib_are_mapped),
		TAP_TEST(memory_map),
		TAP_TEST(initrd_at_the_top),
		TAP_TEST(initrd_too_large),
		TAP_TEST(memory_too_small),
		TAP_TEST(command_line_too_long),
		TAP_TEST(truncated),
		TAP_TEST(not_a_kernel),
		TAP_TEST(noise),
		TAP_TEST(no_slots),
	};

	return TAP_RUN(tests);
}
