// SPDX-License-Identifier: MIT
/* Boot a Linux bzImage by "The Linux/x86 Boot Protocol", 64-bit entry. */
#include "boot.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define HEADER_OFFSET		0x1f1	/* struct setup_header in the image */
#define HEADER_ROOM		(0x290 - HEADER_OFFSET)
#define ENTRY64_OFFSET		0x200
#define MAGIC			0x53726448	/* "HdrS" */
#define BOOT_FLAG		0xaa55
#define VERSION_MIN		0x20c
#define LOADER_UNDEFINED	0xff

#define BOOT_CS			0x10
#define BOOT_DS			0x18

#define PAGE			((uint64_t)WISP_PAGE_SIZE)

/* A checked image, and where its parts go. */
struct plan {
	struct setup_header header;
	size_t header_size;	/* what the image has, up to HEADER_ROOM */
	const uint8_t *image;	/* the protected-mode part */
	uint64_t image_size;
	uint64_t kernel_gpa;
	uint64_t kernel_end;
	uint64_t initrd_gpa;
	size_t cmdline_size;	/* with the terminating zero */
};

static int check_header(const struct wisp_linux_boot *boot, struct plan *plan)
{
	const struct setup_header *header = &plan->header;
	const uint8_t *kernel = boot->kernel;

	if (!kernel || boot->kernel_size < HEADER_OFFSET + HEADER_ROOM)
		return boot_fail(boot, -ENOEXEC,
				 "the kernel has only %zu bytes: give a whole bzImage",
				 boot->kernel_size);
	/* The header ends where the jump at its beginning leads. */
	plan->header_size = 0x202 + kernel[0x201] - HEADER_OFFSET;
	if (plan->header_size > HEADER_ROOM)
		plan->header_size = HEADER_ROOM;
	memcpy(&plan->header, kernel + HEADER_OFFSET, sizeof(plan->header));

	if (header->boot_flag != BOOT_FLAG || header->header != MAGIC)
		return boot_fail(boot, -ENOEXEC,
				 "the kernel is not a bzImage (no HdrS magic): give a file such as /boot/vmlinuz");
	if (header->version < VERSION_MIN)
		return boot_fail(boot, -ENOEXEC,
				 "the kernel has boot protocol %u.%u: give one with 2.12 or newer (Linux 3.8)",
				 header->version >> 8, header->version & 0xff);
	if (!(header->xloadflags & XLF_KERNEL_64))
		return boot_fail(boot, -ENOEXEC,
				 "the kernel has no 64-bit entry: give one built for x86_64");
	if (!(header->loadflags & LOADED_HIGH))
		return boot_fail(boot, -ENOEXEC,
				 "the kernel is a zImage: give a bzImage");
	return 0;
}

static int check_image(const struct wisp_linux_boot *boot, struct plan *plan)
{
	/* "setup_sects": 0 means 4; the boot sector comes on top. */
	uint64_t sectors = plan->header.setup_sects ?: 4;
	uint64_t offset = (sectors + 1) * 512;

	plan->image_size = (uint64_t)plan->header.syssize * 16;
	if (plan->image_size <= ENTRY64_OFFSET)
		return boot_fail(boot, -ENOEXEC,
				 "the kernel's header says it has no code: give a whole bzImage");
	if (boot->kernel_size < offset + plan->image_size)
		return boot_fail(boot, -ENOEXEC,
				 "the kernel is truncated, %zu bytes of %" PRIu64 ": give a whole bzImage",
				 boot->kernel_size, offset + plan->image_size);
	plan->image = (const uint8_t *)boot->kernel + offset;
	return 0;
}

/* It runs at pref_address wherever it is loaded, so load it there. */
static int place_kernel(const struct wisp_linux_boot *boot, struct plan *plan)
{
	const struct setup_header *header = &plan->header;
	uint64_t gpa = header->pref_address;
	uint64_t span = header->init_size;

	if (span < plan->image_size)
		span = plan->image_size;
	if (gpa < BOOT_ISA_END || gpa >= WISP_RAM_LOW_MAX || gpa % PAGE)
		return boot_fail(boot, -ENOEXEC,
				 "the kernel wants to be loaded at 0x%" PRIx64 ": give one for a PC",
				 gpa);
	if (gpa + span > boot_low_size(boot))
		return boot_fail_size(boot, gpa + span);
	plan->kernel_gpa = gpa;
	plan->kernel_end = gpa + span;
	return 0;
}

static int make_plan(const struct wisp_linux_boot *boot, struct plan *plan)
{
	int ret;

	ret = check_header(boot, plan);
	if (!ret)
		ret = check_image(boot, plan);
	if (!ret)
		ret = place_kernel(boot, plan);
	if (!ret)
		ret = boot_place_initrd(boot, plan->kernel_end,
					(uint64_t)plan->header.initrd_addr_max + 1,
					&plan->initrd_gpa);
	if (!ret)
		ret = boot_check_cmdline(boot, plan->header.cmdline_size,
					 &plan->cmdline_size);
	return ret;
}

static void fill_e820(struct boot_params *params,
		      const struct wisp_linux_boot *boot)
{
	struct boot_range ranges[BOOT_RANGES];
	unsigned int count = boot_memory_map(boot, ranges);

	for (unsigned int i = 0; i < count; i++)
		params->e820_table[i] = (struct boot_e820_entry){
			.addr = ranges[i].gpa,
			.size = ranges[i].size,
			.type = ranges[i].type,
		};
	params->e820_entries = (uint8_t)count;
}

static int write_params(int vm, const struct wisp_linux_boot *boot,
			const struct plan *plan)
{
	struct boot_params params = { .acpi_rsdp_addr = boot->acpi_rsdp };
	struct setup_header *header = &params.hdr;

	/* Only the header: the rest of the image's first page must be zero. */
	memcpy((uint8_t *)&params + HEADER_OFFSET,
	       (const uint8_t *)boot->kernel + HEADER_OFFSET,
	       plan->header_size);
	header->type_of_loader = LOADER_UNDEFINED;
	header->loadflags &= ~CAN_USE_HEAP;
	header->vid_mode = 0xffff;
	header->code32_start = (uint32_t)plan->kernel_gpa;
	header->cmd_line_ptr = BOOT_CMDLINE_GPA;
	header->setup_data = 0;
	/* Low memory ends below 4 GiB, so the ext_ fields stay zero. */
	header->ramdisk_image = (uint32_t)plan->initrd_gpa;
	header->ramdisk_size = plan->initrd_gpa ? (uint32_t)boot->initrd_size : 0;
	fill_e820(&params, boot);
	return wisp_write(vm, BOOT_PARAMS_GPA, &params, sizeof(params));
}

/* The first 4 GiB, one to one, in pages of 2 MiB. */
static int write_tables(int vm)
{
	const uint64_t present_write = 0x3, large = 0x80;
	uint64_t table[512] = { (BOOT_TABLES_GPA + PAGE) | present_write };
	uint64_t gpa = BOOT_TABLES_GPA;
	int ret = wisp_write(vm, gpa, table, sizeof(table));

	gpa += PAGE;
	for (unsigned int i = 0; i < 4; i++)
		table[i] = (gpa + PAGE * (i + 1)) | present_write;
	if (!ret)
		ret = wisp_write(vm, gpa, table, sizeof(table));

	for (unsigned int i = 0; i < 4 && !ret; i++) {
		for (uint64_t j = 0; j < 512; j++)
			table[j] = (i * 512 + j) << 21 | present_write | large;
		gpa += PAGE;
		ret = wisp_write(vm, gpa, table, sizeof(table));
	}
	return ret;
}

static int write_gdt(int vm)
{
	const uint64_t gdt[] = {
		[BOOT_CS / 8] = 0x00af9b000000ffff,
		[BOOT_DS / 8] = 0x00cf93000000ffff,
	};

	return wisp_write(vm, BOOT_GDT_GPA, gdt, sizeof(gdt));
}

static int write_all(int vm, const struct wisp_linux_boot *boot,
		     const struct plan *plan)
{
	int ret = wisp_write(vm, plan->kernel_gpa, plan->image,
			     plan->image_size);

	if (!ret)
		ret = boot_write_extras(vm, boot, plan->initrd_gpa,
					plan->cmdline_size);
	if (!ret)
		ret = write_tables(vm);
	if (!ret)
		ret = write_gdt(vm);
	if (!ret)
		ret = write_params(vm, boot, plan);
	return ret;
}

static void set_registers(struct wisp_vcpu_page *page, const struct plan *plan)
{
	const struct wisp_segment code = {
		.limit = 0xffffffff, .selector = BOOT_CS, .attributes = 0xa09b,
	};
	const struct wisp_segment data = {
		.limit = 0xffffffff, .selector = BOOT_DS, .attributes = 0xc093,
	};

	page->state.general = (struct wisp_general){
		.rip = plan->kernel_gpa + ENTRY64_OFFSET,
		.rsi = BOOT_PARAMS_GPA,
		.rflags = 0x2,
	};
	page->state.segments = (struct wisp_segments){
		.cs = code,
		.ds = data,
		.es = data,
		.fs = data,
		.gs = data,
		.ss = data,
		/* Nothing is in them yet, but TR must be a busy TSS. */
		.tr = { .limit = 0x67, .attributes = 0x008b },
		.gdt = { .base = BOOT_GDT_GPA, .limit = BOOT_DS + 7 },
	};
	page->state.control = (struct wisp_control){
		.cr0 = 0x80010033,	/* PG WP NE ET MP PE */
		.cr3 = BOOT_TABLES_GPA,
		.cr4 = 0x20,		/* PAE */
		.efer = 0x500,		/* LMA LME */
		.xcr0 = 1,		/* x87, which cannot be off */
	};
	page->dirty |= WISP_STATE_GENERAL | WISP_STATE_SEGMENTS |
		       WISP_STATE_CONTROL;
}

int wisp_boot_linux(int vm, struct wisp_vcpu_page *page,
		    const struct wisp_linux_boot *boot)
{
	struct plan plan = { 0 };
	int ret;

	ret = make_plan(boot, &plan);
	if (ret)
		return ret;
	ret = write_all(vm, boot, &plan);
	if (ret)
		return boot_fail_write(boot, ret);
	set_registers(page, &plan);
	return 0;
}
