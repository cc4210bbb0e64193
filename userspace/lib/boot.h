/* SPDX-License-Identifier: MIT */
/* What the ways to boot a kernel have in common. */
#ifndef WISP_LIB_BOOT_H
#define WISP_LIB_BOOT_H

#include <wisp.h>

/* Where things go in the first MiB; the kernel copies what it needs of them. */
#define BOOT_GDT_GPA		0x6000
#define BOOT_PARAMS_GPA		0x7000
#define BOOT_TABLES_GPA		0x9000	/* six pages */
#define BOOT_CMDLINE_GPA	0x20000
#define BOOT_CMDLINE_MAX	0x10000

#define BOOT_ISA_END		0x100000

/* Types of ranges, which E820 and PVH number alike. */
#define BOOT_RAM		1
#define BOOT_RESERVED		2

#define BOOT_RANGES		4

struct boot_range {
	uint64_t gpa;
	uint64_t size;
	uint32_t type;
};

/* Fills boot->error; returns @error. */
__attribute__((format(printf, 3, 4)))
int boot_fail(const struct wisp_linux_boot *boot, int error,
	      const char *format, ...);

/* The guest has no RAM up to @end, where the kernel wants to be. Returns -ENOMEM. */
int boot_fail_size(const struct wisp_linux_boot *boot, uint64_t end);

/* wisp_write() gave @error; returns it. */
int boot_fail_write(const struct wisp_linux_boot *boot, int error);

/* Rounded up. */
uint64_t boot_to_mib(uint64_t size);

/* RAM below the hole under 4 GiB. */
uint64_t boot_low_size(const struct wisp_linux_boot *boot);

/* Returns how many of @ranges there are. */
unsigned int boot_memory_map(const struct wisp_linux_boot *boot,
			     struct boot_range ranges[BOOT_RANGES]);

/*
 * Finds room for the initrd below @top, in low memory, behind the kernel that
 * ends at @kernel_end: the kernel grows from below. @gpa stays 0 where there is
 * no initrd. Returns 0 or -ENOMEM.
 */
int boot_place_initrd(const struct wisp_linux_boot *boot, uint64_t kernel_end,
		      uint64_t top, uint64_t *gpa);

/* @size gets the bytes with the terminating zero. Returns 0 or -E2BIG. */
int boot_check_cmdline(const struct wisp_linux_boot *boot, uint64_t max,
		       size_t *size);

/* Writes both where they were placed. Returns as wisp_write() does. */
int boot_write_extras(int vm, const struct wisp_linux_boot *boot,
		      uint64_t initrd_gpa, size_t cmdline_size);

#endif
