// SPDX-License-Identifier: MIT
/*
 * Boot an ELF kernel that has a PVH note ("x86/HVM direct boot ABI" of Xen's
 * documentation): 32-bit protected mode without paging, EBX at a struct
 * hvm_start_info.
 */
#include "boot.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#define NOTE_NAME		"Xen"
#define NOTE_PHYS32_ENTRY	18

#define START_MAGIC		0x336ec578
#define START_VERSION		1

/* What Linux takes; other guests may take less. */
#define CMDLINE_SIZE		2047

struct hvm_start_info {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t nr_modules;
	uint64_t modlist_gpa;
	uint64_t cmdline_gpa;
	uint64_t rsdp_gpa;
	uint64_t memmap_gpa;
	uint32_t memmap_entries;
	uint32_t reserved;
};

struct hvm_module {
	uint64_t gpa;
	uint64_t size;
	uint64_t cmdline_gpa;
	uint64_t reserved;
};

struct hvm_range {
	uint64_t gpa;
	uint64_t size;
	uint32_t type;
	uint32_t reserved;
};

/* All of them side by side at BOOT_PARAMS_GPA. */
struct start_page {
	struct hvm_start_info info;
	struct hvm_module module;
	struct hvm_range ranges[BOOT_RANGES];
};

#define START_GPA(member) \
	(BOOT_PARAMS_GPA + offsetof(struct start_page, member))

/* A checked image, and where its parts go. */
struct plan {
	Elf64_Ehdr header;
	uint64_t entry;
	uint64_t kernel_end;
	uint64_t loaded;	/* bytes of all segments */
	uint64_t initrd_gpa;
	size_t cmdline_size;
};

static bool is_inside(const struct wisp_linux_boot *boot, uint64_t offset,
		      uint64_t size)
{
	return offset <= boot->kernel_size &&
	       size <= boot->kernel_size - offset;
}

static bool is_elf(const struct wisp_linux_boot *boot)
{
	return boot->kernel && boot->kernel_size >= SELFMAG &&
	       !memcmp(boot->kernel, ELFMAG, SELFMAG);
}

static int fail_truncated(const struct wisp_linux_boot *boot)
{
	return boot_fail(boot, -ENOEXEC,
			 "the ELF kernel is truncated or damaged (%zu bytes): give a whole vmlinux",
			 boot->kernel_size);
}

/* By copy: nothing in the file need be aligned. */
static Elf64_Phdr get_segment(const struct wisp_linux_boot *boot,
			      const struct plan *plan, unsigned int i)
{
	const uint8_t *kernel = boot->kernel;
	Elf64_Phdr segment;

	memcpy(&segment, kernel + plan->header.e_phoff + i * sizeof(segment),
	       sizeof(segment));
	return segment;
}

static int check_header(const struct wisp_linux_boot *boot, struct plan *plan)
{
	Elf64_Ehdr *header = &plan->header;

	if (!is_elf(boot))
		return boot_fail(boot, -ENOEXEC,
				 "the kernel is not ELF: give a vmlinux");
	if (boot->kernel_size < sizeof(*header))
		return fail_truncated(boot);
	memcpy(header, boot->kernel, sizeof(*header));
	if (header->e_ident[EI_CLASS] != ELFCLASS64 ||
	    header->e_ident[EI_DATA] != ELFDATA2LSB ||
	    header->e_machine != EM_X86_64)
		return boot_fail(boot, -ENOEXEC,
				 "the ELF file is not for x86_64: give a kernel built for it");
	if (header->e_type != ET_EXEC && header->e_type != ET_DYN)
		return boot_fail(boot, -ENOEXEC,
				 "the ELF file cannot be run (an object file?): give a vmlinux");
	if (header->e_phentsize != sizeof(Elf64_Phdr) ||
	    !is_inside(boot, header->e_phoff,
		       (uint64_t)header->e_phnum * sizeof(Elf64_Phdr)))
		return fail_truncated(boot);
	return 0;
}

static bool is_loaded(const Elf64_Phdr *segment)
{
	return segment->p_type == PT_LOAD && segment->p_memsz;
}

static int check_segment(const struct wisp_linux_boot *boot, struct plan *plan,
			 const Elf64_Phdr *segment)
{
	uint64_t gpa = segment->p_paddr, low = boot_low_size(boot);

	if (segment->p_filesz > segment->p_memsz ||
	    !is_inside(boot, segment->p_offset, segment->p_filesz))
		return fail_truncated(boot);
	if (gpa < BOOT_ISA_END || gpa >= WISP_RAM_LOW_MAX ||
	    segment->p_memsz > WISP_RAM_LOW_MAX - gpa)
		return boot_fail(boot, -ENOEXEC,
				 "the ELF kernel has a segment of %" PRIu64 " MiB at 0x%" PRIx64 ", outside of a PC's memory: give one for a PC",
				 boot_to_mib(segment->p_memsz), gpa);
	if (gpa + segment->p_memsz > low)
		return boot_fail_size(boot, gpa + segment->p_memsz);
	/* Or a small file would be hours of work. */
	plan->loaded += segment->p_memsz;
	if (plan->loaded > low)
		return boot_fail(boot, -ENOEXEC,
				 "the ELF kernel's segments overlap: give a vmlinux");
	if (plan->kernel_end < gpa + segment->p_memsz)
		plan->kernel_end = gpa + segment->p_memsz;
	return 0;
}

static int check_segments(const struct wisp_linux_boot *boot, struct plan *plan)
{
	int ret = 0;

	for (unsigned int i = 0; i < plan->header.e_phnum && !ret; i++) {
		Elf64_Phdr segment = get_segment(boot, plan, i);

		if (is_loaded(&segment))
			ret = check_segment(boot, plan, &segment);
	}
	if (!ret && !plan->kernel_end)
		return boot_fail(boot, -ENOEXEC,
				 "the ELF file has nothing to load: give a vmlinux");
	return ret;
}

/* Looks through the notes of one segment; @entry gets what PVH's says. */
static bool find_note(const uint8_t *notes, uint64_t size, uint64_t align,
		      uint64_t *entry)
{
	uint64_t at = 0;

	while (size - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr note;
		uint64_t name, value, next;

		memcpy(&note, notes + at, sizeof(note));
		name = at + sizeof(note);
		value = (name + note.n_namesz + align - 1) & -align;
		next = (value + note.n_descsz + align - 1) & -align;
		if (value > size || note.n_descsz > size - value)
			return false;
		if (note.n_type == NOTE_PHYS32_ENTRY &&
		    note.n_namesz == sizeof(NOTE_NAME) &&
		    !memcmp(notes + name, NOTE_NAME, sizeof(NOTE_NAME)) &&
		    (note.n_descsz == 4 || note.n_descsz == 8)) {
			*entry = 0;
			memcpy(entry, notes + value, note.n_descsz);
			return true;
		}
		if (next > size)
			return false;
		at = next;
	}
	return false;
}

static bool is_code(const struct wisp_linux_boot *boot, const struct plan *plan,
		    uint64_t gpa)
{
	for (unsigned int i = 0; i < plan->header.e_phnum; i++) {
		Elf64_Phdr segment = get_segment(boot, plan, i);

		if (is_loaded(&segment) && gpa >= segment.p_paddr &&
		    gpa - segment.p_paddr < segment.p_filesz)
			return true;
	}
	return false;
}

static int find_entry(const struct wisp_linux_boot *boot, struct plan *plan)
{
	const uint8_t *kernel = boot->kernel;
	uint64_t notes = 0;
	bool found = false;

	for (unsigned int i = 0; i < plan->header.e_phnum && !found; i++) {
		Elf64_Phdr segment = get_segment(boot, plan, i);

		if (segment.p_type != PT_NOTE)
			continue;
		if (!is_inside(boot, segment.p_offset, segment.p_filesz))
			return fail_truncated(boot);
		notes += segment.p_filesz;
		if (notes > boot->kernel_size)
			return boot_fail(boot, -ENOEXEC,
					 "the ELF kernel's notes overlap: give a vmlinux");
		found = find_note(kernel + segment.p_offset, segment.p_filesz,
				  segment.p_align == 8 ? 8 : 4, &plan->entry);
	}
	if (!found)
		return boot_fail(boot, -ENOEXEC,
				 "the ELF file has no PVH entry: give a kernel with CONFIG_PVH, or a bzImage");
	if (!is_code(boot, plan, plan->entry))
		return boot_fail(boot, -ENOEXEC,
				 "the ELF kernel's entry 0x%" PRIx64 " is in none of its segments: give a whole vmlinux",
				 plan->entry);
	return 0;
}

static int make_plan(const struct wisp_linux_boot *boot, struct plan *plan)
{
	int ret = check_header(boot, plan);

	if (!ret)
		ret = check_segments(boot, plan);
	if (!ret)
		ret = find_entry(boot, plan);
	if (!ret)
		ret = boot_place_initrd(boot, plan->kernel_end,
					WISP_RAM_LOW_MAX, &plan->initrd_gpa);
	if (!ret)
		ret = boot_check_cmdline(boot, CMDLINE_SIZE,
					 &plan->cmdline_size);
	return ret;
}

static int write_zeros(int vm, uint64_t gpa, uint64_t size)
{
	static const uint8_t zeros[65536];
	int ret = 0;

	while (size && !ret) {
		uint64_t n = size < sizeof(zeros) ? size : sizeof(zeros);

		ret = wisp_write(vm, gpa, zeros, n);
		gpa += n;
		size -= n;
	}
	return ret;
}

static int write_kernel(int vm, const struct wisp_linux_boot *boot,
			const struct plan *plan)
{
	const uint8_t *kernel = boot->kernel;
	int ret = 0;

	for (unsigned int i = 0; i < plan->header.e_phnum && !ret; i++) {
		Elf64_Phdr segment = get_segment(boot, plan, i);

		if (!is_loaded(&segment))
			continue;
		ret = wisp_write(vm, segment.p_paddr, kernel + segment.p_offset,
				 segment.p_filesz);
		if (!ret)
			ret = write_zeros(vm, segment.p_paddr + segment.p_filesz,
					  segment.p_memsz - segment.p_filesz);
	}
	return ret;
}

static int write_start(int vm, const struct wisp_linux_boot *boot,
		       const struct plan *plan)
{
	struct boot_range ranges[BOOT_RANGES];
	unsigned int count = boot_memory_map(boot, ranges);
	struct start_page start = {
		.info = {
			.magic = START_MAGIC,
			.version = START_VERSION,
			.nr_modules = !!plan->initrd_gpa,
			.modlist_gpa = plan->initrd_gpa ? START_GPA(module) : 0,
			.cmdline_gpa = BOOT_CMDLINE_GPA,
			.rsdp_gpa = boot->acpi_rsdp,
			.memmap_gpa = START_GPA(ranges),
			.memmap_entries = count,
		},
		.module = {
			.gpa = plan->initrd_gpa,
			.size = plan->initrd_gpa ? boot->initrd_size : 0,
		},
	};

	for (unsigned int i = 0; i < count; i++)
		start.ranges[i] = (struct hvm_range){
			.gpa = ranges[i].gpa,
			.size = ranges[i].size,
			.type = ranges[i].type,
		};
	return wisp_write(vm, BOOT_PARAMS_GPA, &start, sizeof(start));
}

static int write_all(int vm, const struct wisp_linux_boot *boot,
		     const struct plan *plan)
{
	int ret = write_kernel(vm, boot, plan);

	if (!ret)
		ret = boot_write_extras(vm, boot, plan->initrd_gpa,
					plan->cmdline_size);
	if (!ret)
		ret = write_start(vm, boot, plan);
	return ret;
}

static void set_registers(struct wisp_vcpu_page *page, const struct plan *plan)
{
	const struct wisp_segment data = {
		.limit = 0xffffffff, .attributes = 0xc093,
	};

	page->state.general = (struct wisp_general){
		.rip = plan->entry,
		.rbx = START_GPA(info),
		.rflags = 0x2,
	};
	page->state.segments = (struct wisp_segments){
		.cs = { .limit = 0xffffffff, .attributes = 0xc09b },
		.ds = data,
		.es = data,
		.fs = data,
		.gs = data,
		.ss = data,
		.tr = { .limit = 0x67, .attributes = 0x008b },
	};
	page->state.control = (struct wisp_control){
		.cr0 = 0x11,		/* ET PE */
		.xcr0 = 1,		/* x87, which cannot be off */
	};
	page->dirty |= WISP_STATE_GENERAL | WISP_STATE_SEGMENTS |
		       WISP_STATE_CONTROL;
}

int wisp_boot_pvh(int vm, struct wisp_vcpu_page *page,
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
