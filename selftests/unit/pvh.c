// SPDX-License-Identifier: GPL-2.0
/* wisp_boot_pvh(): good and bad ELF files. */
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "guest.h"
#include "tap.h"

#define MIB		0x100000ULL
#define CODE_GPA	(16 * MIB)
#define CODE_SIZE	0x1234
#define BSS_GPA		(20 * MIB)
#define BSS_SIZE	0x23456
#define START_GPA	0x7000

struct note {
	Elf64_Nhdr header;
	char name[4];
	uint32_t entry;
};

/* The file: headers, notes, then code. */
static struct image {
	Elf64_Ehdr header;
	Elf64_Phdr segments[3];
	struct note notes[2];
	uint8_t code[CODE_SIZE];
} image;

static uint8_t initrd[8192 + 5];
static char error[256];
static struct wisp_linux_boot boot;
static struct wisp_vcpu_page page;
static int vm;

static void fill_notes(void)
{
	static const Elf64_Nhdr header = { 4, 4, 0 };

	for (unsigned int i = 0; i < 2; i++) {
		image.notes[i].header = header;
		image.notes[i].header.n_type = i ? 18 : 17;
		memcpy(image.notes[i].name, "Xen", 4);
		image.notes[i].entry = CODE_GPA + 0x10;
	}
}

static void fill_image(void)
{
	static const Elf64_Phdr code = {
		.p_type = PT_LOAD, .p_paddr = CODE_GPA,
		.p_offset = offsetof(struct image, code),
		.p_filesz = CODE_SIZE, .p_memsz = CODE_SIZE,
	};
	static const Elf64_Phdr bss = {
		.p_type = PT_LOAD, .p_paddr = BSS_GPA, .p_memsz = BSS_SIZE,
	};
	static const Elf64_Phdr notes = {
		.p_type = PT_NOTE, .p_align = 4,
		.p_offset = offsetof(struct image, notes),
		.p_filesz = sizeof(image.notes),
	};
	uint64_t seed = 42;

	image.header = (Elf64_Ehdr){
		.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1 },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_phoff = offsetof(struct image, segments),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 3,
	};
	image.segments[0] = code;
	image.segments[1] = bss;
	image.segments[2] = notes;
	fill_notes();
	for (size_t i = 0; i < CODE_SIZE; i++)
		image.code[i] = (uint8_t)guest_random(&seed);
	for (size_t i = 0; i < sizeof(initrd); i++)
		initrd[i] = (uint8_t)guest_random(&seed);
}

static void start(uint64_t memory_size)
{
	if (vm)
		close(vm);
	vm = guest_create((off_t)memory_size);
	fill_image();
	memset(&page, 0, sizeof(page));
	memset(error, 0, sizeof(error));
	boot = (struct wisp_linux_boot){
		.kernel = &image,
		.kernel_size = sizeof(image),
		.cmdline = "console=ttyS0",
		.memory_size = memory_size,
		.acpi_rsdp = 0xe0000,
		.error = error,
		.error_size = sizeof(error),
	};
}

static int load(void)
{
	return wisp_boot_pvh(vm, &page, &boot);
}

/* Refused with one line, and nothing was written. */
static void refused(int expected, const char *why)
{
	CHECK_EQUAL(load(), expected);
	if (!CHECK(strstr(error, why)))
		printf("# it says: %s\n", error);
	CHECK(!strchr(error, '\n'));
	CHECK(strstr(error, ": "));
	CHECK_EQUAL(page.dirty, 0);
	CHECK_EQUAL(guest_read64(vm, START_GPA), 0);
	if (CODE_GPA < boot.memory_size)
		CHECK_EQUAL(guest_read64(vm, CODE_GPA), 0);
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
	start(64 * MIB);
	/* What was there before is not in the guest's BSS. */
	guest_write64(vm, BSS_GPA, ~0ULL);
	guest_write64(vm, BSS_GPA + BSS_SIZE - 8, ~0ULL);
	guest_write64(vm, BSS_GPA + BSS_SIZE, 42);
	CHECK_EQUAL(load(), 0);
	CHECK(is_at(CODE_GPA, image.code, CODE_SIZE));
	CHECK_EQUAL(guest_read64(vm, BSS_GPA), 0);
	CHECK_EQUAL(guest_read64(vm, BSS_GPA + BSS_SIZE - 8), 0);
	CHECK_EQUAL(guest_read64(vm, BSS_GPA + BSS_SIZE), 42);
}

static void registers(void)
{
	const struct wisp_state *state = &page.state;

	start(64 * MIB);
	CHECK_EQUAL(load(), 0);
	CHECK_EQUAL(page.dirty, WISP_STATE_GENERAL | WISP_STATE_SEGMENTS |
		    WISP_STATE_CONTROL);
	CHECK_EQUAL(state->general.rip, CODE_GPA + 0x10);
	CHECK_EQUAL(state->general.rbx, START_GPA);
	CHECK_EQUAL(state->general.rflags, 2);
	CHECK_EQUAL(state->control.cr0, 0x11);
	CHECK_EQUAL(state->control.cr4, 0);
	CHECK_EQUAL(state->control.efer, 0);
	CHECK_EQUAL(state->segments.cs.attributes, CODE32_ATTRIBUTES);
	CHECK_EQUAL(state->segments.ss.attributes, DATA_ATTRIBUTES);
	CHECK_EQUAL(state->segments.ss.limit, 0xffffffff);
	CHECK_EQUAL(state->segments.tr.limit, 0x67);
	CHECK_EQUAL(state->segments.tr.attributes, 0x8b);
}

/* Of struct hvm_start_info. */
static uint64_t start_info(unsigned int offset)
{
	return guest_read64(vm, page.state.general.rbx + offset);
}

static void start_info_and_initrd(void)
{
	uint64_t module, map;

	start(5 * 1024 * MIB);
	CHECK_EQUAL(load(), 0);
	CHECK_EQUAL(start_info(0), 0x1336ec578);	/* version, magic */
	CHECK_EQUAL(start_info(8), 0);			/* modules, flags */
	CHECK_EQUAL(start_info(16), 0);
	CHECK(is_at(start_info(24), "console=ttyS0", 14));
	CHECK_EQUAL(start_info(32), 0xe0000);
	map = start_info(40);
	CHECK_EQUAL(start_info(48), 4);
	CHECK_EQUAL(guest_read64(vm, map + 8), 0xa0000);
	CHECK_EQUAL(guest_read64(vm, map + 2 * 24), MIB);
	CHECK_EQUAL(guest_read64(vm, map + 3 * 24), WISP_RAM_HIGH_START);
	CHECK_EQUAL(guest_read64(vm, map + 3 * 24 + 8), 2048 * MIB);
	CHECK_EQUAL(guest_read64(vm, map + 3 * 24 + 16), 1);

	start(64 * MIB);
	boot.initrd = initrd;
	boot.initrd_size = sizeof(initrd);
	CHECK_EQUAL(load(), 0);
	CHECK_EQUAL(start_info(8), 1ULL << 32);
	module = start_info(16);
	CHECK_EQUAL(guest_read64(vm, module), 64 * MIB - 3 * 4096);
	CHECK_EQUAL(guest_read64(vm, module + 8), sizeof(initrd));
	CHECK(is_at(64 * MIB - 3 * 4096, initrd, sizeof(initrd)));
}

static void too_large(void)
{
	start(16 * MIB);
	refused(-ENOMEM, "give it more");
	start(64 * MIB);
	boot.initrd = initrd;
	boot.initrd_size = 60 * MIB;
	refused(-ENOMEM, "initrd of 60 MiB");
	start(64 * MIB);
	boot.cmdline = memset(malloc(4096), 'x', 4095);
	((char *)boot.cmdline)[4095] = 0;
	refused(-E2BIG, "command line has 4095");
	free((void *)boot.cmdline);
}

static void truncated(void)
{
	start(64 * MIB);
	for (size_t size = 4; size < sizeof(image); size += 97) {
		boot.kernel_size = size;
		refused(-ENOEXEC, "vmlinux");
	}
	boot.kernel_size = 3;
	refused(-ENOEXEC, "not ELF");
	boot.kernel = NULL;
	refused(-ENOEXEC, "not ELF");
}

static void not_a_kernel(void)
{
	start(64 * MIB);
	image.header.e_ident[EI_CLASS] = ELFCLASS32;
	refused(-ENOEXEC, "not for x86_64");
	start(64 * MIB);
	image.header.e_machine = EM_AARCH64;
	refused(-ENOEXEC, "not for x86_64");
	start(64 * MIB);
	image.header.e_type = ET_REL;
	refused(-ENOEXEC, "cannot be run");
	start(64 * MIB);
	image.header.e_phoff = UINT64_MAX - 8;
	refused(-ENOEXEC, "truncated or damaged");
	start(64 * MIB);
	image.header.e_phentsize = 32;
	refused(-ENOEXEC, "truncated or damaged");
	start(64 * MIB);
	image.header.e_phnum = 0;
	refused(-ENOEXEC, "nothing to load");
}

static void no_entry(void)
{
	start(64 * MIB);
	image.segments[2].p_type = PT_NULL;
	refused(-ENOEXEC, "no PVH entry");
	start(64 * MIB);
	image.notes[1].name[0] = 'x';
	refused(-ENOEXEC, "no PVH entry");
	start(64 * MIB);
	image.notes[0].header.n_descsz = UINT32_MAX;
	refused(-ENOEXEC, "no PVH entry");
	start(64 * MIB);
	image.notes[0].header.n_namesz = UINT32_MAX;
	refused(-ENOEXEC, "no PVH entry");
	start(64 * MIB);
	image.notes[1].entry = CODE_GPA + CODE_SIZE;
	refused(-ENOEXEC, "none of its segments");
	start(64 * MIB);
	image.notes[1].entry = BSS_GPA;
	refused(-ENOEXEC, "none of its segments");
}

static void segments_outside(void)
{
	static const struct {
		uint64_t gpa, size;
	} rows[] = {
		{ 0x7000, 0x1000 }, { 0xfffff, 0x1000 }, { 0xc0000000, 1 },
		{ 0x100000000, 1 }, { UINT64_MAX, 1 },
		{ CODE_GPA, UINT64_MAX }, { CODE_GPA, 0xbf000001 },
	};

	for (unsigned int i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		start(64 * MIB);
		image.segments[1].p_paddr = rows[i].gpa;
		image.segments[1].p_memsz = rows[i].size;
		refused(-ENOEXEC, "outside of a PC's memory");
	}
	start(64 * MIB);
	image.segments[0].p_filesz = UINT64_MAX;
	image.segments[0].p_memsz = UINT64_MAX;
	refused(-ENOEXEC, "truncated or damaged");
	start(64 * MIB);
	image.segments[0].p_offset = UINT64_MAX;
	refused(-ENOEXEC, "truncated or damaged");
	start(64 * MIB);
	image.segments[0].p_memsz = CODE_SIZE - 1;
	refused(-ENOEXEC, "truncated or damaged");
}

/* How long it takes is bounded by the file's size, and the guest's. */
static void segments_that_overlap(void)
{
	start(64 * MIB);
	image.segments[0].p_memsz = 40 * MIB;
	image.segments[1].p_memsz = 40 * MIB;
	refused(-ENOEXEC, "segments overlap");
	start(64 * MIB);
	image.notes[1].name[0] = 'x';
	image.segments[1] = image.segments[2];
	for (unsigned int i = 1; i < 3; i++) {
		image.segments[i].p_filesz = sizeof(image) -
					     offsetof(struct image, notes);
	}
	refused(-ENOEXEC, "notes overlap");
}

/* Whatever is in the headers: an errno, or a boot, but nothing worse. */
static void noise(void)
{
	uint64_t seed = 4711;
	unsigned int booted = 0;

	for (unsigned int i = 0; i < 20000; i++) {
		uint8_t *bytes = (uint8_t *)&image;
		int ret;

		if (!(i % 1000))
			start(64 * MIB);
		fill_image();
		for (unsigned int n = 0; n < 1 + i % 8; n++)
			bytes[4 + guest_random(&seed) %
			      (offsetof(struct image, code) - 4)] =
				(uint8_t)guest_random(&seed);
		ret = load();
		CHECK(ret == 0 || ret == -ENOEXEC || ret == -ENOMEM);
		booted += !ret;
	}
	CHECK(booted > 1000 && booted < 19000);
}

static void no_slots(void)
{
	start(64 * MIB);
	boot.memory_size = 128 * MIB;
	boot.initrd = initrd;
	boot.initrd_size = sizeof(initrd);
	CHECK(load() < 0);
	CHECK(strstr(error, "cannot be written"));
	CHECK_EQUAL(page.dirty, 0);
}

int main(void)
{
	static const struct tap_test tests[] = {
		TAP_TEST(boots),
		TAP_TEST(registers),
		TAP_TEST(start_info_and_initrd),
		TAP_TEST(too_large),
		TAP_TEST(truncated),
		TAP_TEST(not_a_kernel),
		TAP_TEST(no_entry),
		TAP_TEST(segments_outside),
		TAP_TEST(segments_that_overlap),
		TAP_TEST(noise),
		TAP_TEST(no_slots),
	};

	return TAP_RUN(tests);
}
