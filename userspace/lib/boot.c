// SPDX-License-Identifier: MIT
#include "boot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LOW_END		0xa0000
#define MIB		((uint64_t)1 << 20)
#define PAGE		((uint64_t)WISP_PAGE_SIZE)

int boot_fail(const struct wisp_linux_boot *boot, int error,
	      const char *format, ...)
{
	va_list args;

	if (!boot->error || !boot->error_size)
		return error;
	va_start(args, format);
	vsnprintf(boot->error, boot->error_size, format, args);
	va_end(args);
	return error;
}

uint64_t boot_to_mib(uint64_t size)
{
	return size / MIB + !!(size % MIB);
}

int boot_fail_size(const struct wisp_linux_boot *boot, uint64_t end)
{
	return boot_fail(boot, -ENOMEM,
			 "the kernel needs %" PRIu64 " MiB of memory to start and the guest has %" PRIu64 " MiB: give it more",
			 boot_to_mib(end), boot->memory_size / MIB);
}

int boot_fail_write(const struct wisp_linux_boot *boot, int error)
{
	return boot_fail(boot, error,
			 "the guest's memory cannot be written (%s): check that the slots cover it",
			 strerror(-error));
}

uint64_t boot_low_size(const struct wisp_linux_boot *boot)
{
	return boot->memory_size < WISP_RAM_LOW_MAX ? boot->memory_size :
						      WISP_RAM_LOW_MAX;
}

unsigned int boot_memory_map(const struct wisp_linux_boot *boot,
			     struct boot_range ranges[BOOT_RANGES])
{
	uint64_t low = boot_low_size(boot);
	uint64_t high = boot->memory_size - low;

	ranges[0] = (struct boot_range){ 0, LOW_END, BOOT_RAM };
	ranges[1] = (struct boot_range){ LOW_END, BOOT_ISA_END - LOW_END,
					 BOOT_RESERVED };
	ranges[2] = (struct boot_range){ BOOT_ISA_END, low - BOOT_ISA_END,
					 BOOT_RAM };
	ranges[3] = (struct boot_range){ WISP_RAM_HIGH_START, high, BOOT_RAM };
	return high ? 4 : 3;
}

int boot_place_initrd(const struct wisp_linux_boot *boot, uint64_t kernel_end,
		      uint64_t top, uint64_t *gpa)
{
	uint64_t low = boot_low_size(boot);
	uint64_t bottom = (kernel_end + PAGE - 1) & -PAGE;

	if (!boot->initrd || !boot->initrd_size)
		return 0;
	if (top > low)
		top = low;
	if (bottom > top || boot->initrd_size > ((top - bottom) & -PAGE))
		return boot_fail(boot, -ENOMEM,
				 "the initrd of %" PRIu64 " MiB does not fit beside the kernel into %" PRIu64 " MiB of memory: give the guest more, or a smaller initrd",
				 boot_to_mib(boot->initrd_size), top / MIB);
	*gpa = (top - boot->initrd_size) & -PAGE;
	return 0;
}

int boot_check_cmdline(const struct wisp_linux_boot *boot, uint64_t max,
		       size_t *size)
{
	size_t length = boot->cmdline ? strlen(boot->cmdline) : 0;

	if (max > BOOT_CMDLINE_MAX - 1)
		max = BOOT_CMDLINE_MAX - 1;
	if (length > max)
		return boot_fail(boot, -E2BIG,
				 "the command line has %zu bytes and this kernel takes %" PRIu64 ": shorten it",
				 length, max);
	*size = length + 1;
	return 0;
}

int boot_write_extras(int vm, const struct wisp_linux_boot *boot,
		      uint64_t initrd_gpa, size_t cmdline_size)
{
	int ret = 0;

	if (initrd_gpa)
		ret = wisp_write(vm, initrd_gpa, boot->initrd,
				 boot->initrd_size);
	if (!ret)
		ret = wisp_write(vm, BOOT_CMDLINE_GPA, boot->cmdline ?: "",
				 cmdline_size);
	return ret;
}
