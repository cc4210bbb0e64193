// SPDX-License-Identifier: MIT
#include "breakpoints.h"

#include <errno.h>
#include <string.h>

/* DR7: SDM Vol. 3, "Debug Registers". */
#define DR7_ENABLE(i)		(1ULL << (2 * (i)))
#define DR7_CONDITION(i, bits)	((uint64_t)(bits) << (16 + 4 * (i)))

static int find_software(const struct breakpoints *breakpoints, uint64_t gva)
{
	for (unsigned int i = 0; i < breakpoints->count; i++)
		if (breakpoints->software[i].gva == gva)
			return (int)i;
	return -ENOENT;
}

bool breakpoints_at(const struct breakpoints *breakpoints, uint64_t gpa)
{
	for (unsigned int i = 0; i < breakpoints->count; i++)
		if (breakpoints->software[i].gpa == gpa)
			return true;
	return false;
}

static int add_software(struct breakpoints *breakpoints,
			const struct wisp_state *state, uint64_t gva)
{
	unsigned int i = breakpoints->count;
	uint64_t gpa;
	uint8_t byte;
	int ret;

	if (find_software(breakpoints, gva) >= 0)
		return 0;
	if (i == BREAKPOINTS_SOFTWARE)
		return -ENOSPC;
	ret = wisp_translate(breakpoints->vm, state, gva, WISP_PROT_READ, 0,
			     &gpa);
	if (!ret)
		ret = breakpoints_read(breakpoints, gpa, &byte, 1);
	if (!ret)
		ret = wisp_write(breakpoints->vm, gpa, &breakpoints->trap, 1);
	if (ret)
		return ret;
	breakpoints->software[i].gva = gva;
	breakpoints->software[i].gpa = gpa;
	breakpoints->software[i].byte = byte;
	breakpoints->count++;
	return 0;
}

static void remove_software(struct breakpoints *breakpoints, unsigned int i)
{
	uint64_t gpa = breakpoints->software[i].gpa;
	uint8_t byte = breakpoints->software[i].byte;
	uint8_t now;

	breakpoints->software[i] =
		breakpoints->software[--breakpoints->count];
	/* Two addresses may lead to it; the guest may have written over it. */
	if (!breakpoints_at(breakpoints, gpa) &&
	    !wisp_read(breakpoints->vm, gpa, &now, 1) && now == breakpoints->trap)
		wisp_write(breakpoints->vm, gpa, &byte, 1);
}

/* Of DR7: how it is accessed, and over how many bytes. */
static int hardware_bits(enum breakpoint_kind kind, uint64_t gva,
			 unsigned int size)
{
	int length;

	if (kind == BREAKPOINT_HARDWARE)
		return 0;
	switch (size) {
	case 1:
		length = 0;
		break;
	case 2:
		length = 1;
		break;
	case 4:
		length = 3;
		break;
	case 8:
		length = 2;
		break;
	default:
		return -EINVAL;
	}
	if (gva % size)
		return -EINVAL;
	return length << 2 | (kind == BREAKPOINT_WRITE ? 1 : 3);
}

static int find_hardware(const struct breakpoints *breakpoints,
			 enum breakpoint_kind kind, uint64_t gva,
			 unsigned int size)
{
	for (unsigned int i = 0; i < BREAKPOINTS_HARDWARE; i++)
		if (breakpoints->hardware[i].used &&
		    breakpoints->hardware[i].kind == kind &&
		    breakpoints->hardware[i].size == size &&
		    breakpoints->registers.address[i] == gva)
			return (int)i;
	return -ENOENT;
}

static int add_hardware(struct breakpoints *breakpoints,
			enum breakpoint_kind kind, uint64_t gva,
			unsigned int size)
{
	int bits = hardware_bits(kind, gva, size);

	if (bits < 0)
		return bits;
	if (find_hardware(breakpoints, kind, gva, size) >= 0)
		return 0;
	for (unsigned int i = 0; i < BREAKPOINTS_HARDWARE; i++) {
		if (breakpoints->hardware[i].used)
			continue;
		breakpoints->hardware[i].used = true;
		breakpoints->hardware[i].kind = kind;
		breakpoints->hardware[i].size = size;
		breakpoints->registers.address[i] = gva;
		breakpoints->registers.dr7 |= DR7_ENABLE(i) |
					      DR7_CONDITION(i, bits);
		return 0;
	}
	return -ENOSPC;
}

static void remove_hardware(struct breakpoints *breakpoints, unsigned int i)
{
	breakpoints->hardware[i].used = false;
	breakpoints->registers.address[i] = 0;
	breakpoints->registers.dr7 &= ~(DR7_ENABLE(i) | DR7_CONDITION(i, 0xf));
}

int breakpoints_add(struct breakpoints *breakpoints,
		    const struct wisp_state *state, enum breakpoint_kind kind,
		    uint64_t gva, unsigned int size)
{
	if (kind == BREAKPOINT_SOFTWARE)
		return add_software(breakpoints, state, gva);
	return add_hardware(breakpoints, kind, gva, size);
}

int breakpoints_remove(struct breakpoints *breakpoints,
		       enum breakpoint_kind kind, uint64_t gva,
		       unsigned int size)
{
	int i;

	if (kind == BREAKPOINT_SOFTWARE) {
		i = find_software(breakpoints, gva);
		if (i >= 0)
			remove_software(breakpoints, (unsigned int)i);
	} else {
		i = find_hardware(breakpoints, kind, gva, size);
		if (i >= 0)
			remove_hardware(breakpoints, (unsigned int)i);
	}
	return 0;
}

void breakpoints_clear(struct breakpoints *breakpoints)
{
	while (breakpoints->count)
		remove_software(breakpoints, breakpoints->count - 1);
	for (unsigned int i = 0; i < BREAKPOINTS_HARDWARE; i++)
		remove_hardware(breakpoints, i);
}

bool breakpoints_has_hardware(const struct breakpoints *breakpoints)
{
	return breakpoints->registers.dr7;
}

int breakpoints_read(const struct breakpoints *breakpoints, uint64_t gpa,
		     void *data, size_t size)
{
	uint8_t *bytes = data;
	int ret = wisp_read(breakpoints->vm, gpa, data, size);

	for (unsigned int i = 0; i < breakpoints->count && !ret; i++) {
		uint64_t at = breakpoints->software[i].gpa - gpa;

		if (at < size && bytes[at] == breakpoints->trap)
			bytes[at] = breakpoints->software[i].byte;
	}
	return ret;
}

int breakpoints_write(struct breakpoints *breakpoints, uint64_t gpa,
		      const void *data, size_t size)
{
	const uint8_t *bytes = data;
	int ret = wisp_write(breakpoints->vm, gpa, data, size);

	for (unsigned int i = 0; i < breakpoints->count && !ret; i++) {
		uint64_t at = breakpoints->software[i].gpa - gpa;

		if (at >= size)
			continue;
		breakpoints->software[i].byte = bytes[at];
		ret = wisp_write(breakpoints->vm, gpa + at,
				 &breakpoints->trap, 1);
	}
	return ret;
}
