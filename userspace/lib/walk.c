// SPDX-License-Identifier: MIT
/* "Page Translation and Protection" of the APM, Vol. 2; "Paging" of the SDM. */
#include "walk.h"

#include <string.h>

#include <errno.h>

#define CR0_WP		(1ULL << 16)
#define CR4_PSE		(1ULL << 4)
#define CR4_PAE		(1ULL << 5)
#define CR4_LA57	(1ULL << 12)
#define CR4_SMEP	(1ULL << 20)
#define CR4_SMAP	(1ULL << 21)
#define EFER_LMA	(1ULL << 10)
#define EFER_NXE	(1ULL << 11)

#define ENTRY_P		(1ULL << 0)
#define ENTRY_W		(1ULL << 1)
#define ENTRY_U		(1ULL << 2)
#define ENTRY_PS	(1ULL << 7)
#define ENTRY_NX	(1ULL << 63)
#define ENTRY_GPA	0x000ffffffffff000ULL

#define BITS(high, low)	((~0ULL >> (63 - (high))) & (~0ULL << (low)))

/**
 * struct format - a kind of paging
 * @levels: of tables
 * @entry_size: 8, or 4 with 32-bit paging
 * @bits: of the address that index a table
 * @large: bit n: an entry at level n (the lowest is 0) may map a page
 * @is_long: 4 or 5 levels
 */
struct format {
	unsigned int levels;
	unsigned int entry_size;
	unsigned int bits;
	unsigned int large;
	bool is_long;
};

static struct format get_format(const struct wisp_control *control)
{
	if (control->efer & EFER_LMA)
		return (struct format){
			.levels = control->cr4 & CR4_LA57 ? 5 : 4,
			.entry_size = 8,
			.bits = 9,
			.large = 1U << 1 | 1U << 2,
			.is_long = true,
		};
	if (control->cr4 & CR4_PAE)
		return (struct format){
			.levels = 3, .entry_size = 8, .bits = 9, .large = 1U << 1,
		};
	return (struct format){
		.levels = 2, .entry_size = 4, .bits = 10,
		.large = control->cr4 & CR4_PSE ? 1U << 1 : 0,
	};
}

/* Bits of the address below what a level indexes. */
static unsigned int level_shift(const struct format *format,
				unsigned int level)
{
	return 12 + format->bits * level;
}

static bool is_pdpte(const struct format *format, unsigned int level)
{
	return !format->is_long && format->levels == 3 && level == 2;
}

static bool is_leaf(const struct format *format, unsigned int level,
		    uint64_t entry)
{
	return !level || (entry & ENTRY_PS && format->large & 1U << level);
}

static uint64_t reserved_bits(const struct format *format,
			      const struct wisp_control *control,
			      unsigned int level, uint64_t entry)
{
	bool leaf = is_leaf(format, level, entry);
	uint64_t reserved = 0;

	if (format->entry_size == 4)
		return leaf && level ? BITS(21, 21) : 0;
	if (is_pdpte(format, level))
		return BITS(63, 52) | BITS(8, 5) | BITS(2, 1);

	if (!(control->efer & EFER_NXE))
		reserved |= ENTRY_NX;
	if (!format->is_long)
		reserved |= BITS(62, 52);
	/* Bit 12 of a large page is its PAT. */
	if (leaf && level)
		reserved |= BITS(level_shift(format, level) - 1, 13);
	/* PS, where no page can be that large. */
	if (format->is_long && level > 2)
		reserved |= ENTRY_PS;
	return reserved;
}

static uint64_t page_gpa(const struct format *format, unsigned int level,
			 uint64_t entry)
{
	uint64_t gpa = entry & ENTRY_GPA & ~BITS(level_shift(format, level) - 1,
						 0);

	/* PSE-36: bits 13-20 of a 4 MiB page are its address bits 32-39. */
	if (format->entry_size == 4 && level)
		gpa |= (entry & BITS(20, 13)) << 19;
	return gpa;
}

static int page_fault(const struct walk *walk, uint32_t why,
		      uint32_t *error_code)
{
	const struct wisp_control *control = walk->control;

	*error_code = why;
	if (walk->access == WISP_PROT_WRITE)
		*error_code |= WALK_WRITE;
	if (walk->user)
		*error_code |= WALK_USER;
	if (walk->access == WISP_PROT_EXEC &&
	    (control->efer & EFER_NXE || control->cr4 & CR4_SMEP))
		*error_code |= WALK_FETCH;
	return -EFAULT;
}

/* @rights: the W and U bits that every level had, and NX if one had it. */
static bool is_allowed(const struct walk *walk, uint64_t rights)
{
	const struct wisp_control *control = walk->control;
	bool user_page = rights & ENTRY_U;

	if (walk->user && !user_page)
		return false;
	switch (walk->access) {
	case WISP_PROT_EXEC:
		if (!walk->user && user_page && control->cr4 & CR4_SMEP)
			return false;
		return !(rights & ENTRY_NX);
	case WISP_PROT_WRITE:
		if (!(rights & ENTRY_W) &&
		    (walk->user || control->cr0 & CR0_WP))
			return false;
		break;
	}
	return walk->user || !user_page || walk->no_smap ||
	       !(control->cr4 & CR4_SMAP);
}

static bool is_canonical(uint64_t gva, unsigned int bits)
{
	int64_t upper = (int64_t)gva >> (bits - 1);

	return upper == 0 || upper == -1;
}

static uint64_t root_gpa(const struct walk *walk, const struct format *format)
{
	uint64_t cr3 = walk->control->cr3;

	if (format->is_long)
		return cr3 & ENTRY_GPA;
	/* PAE: four entries at a multiple of 32. */
	return cr3 & (format->levels == 3 ? 0xffffffe0 : 0xfffff000);
}

int walk_read(int vm, const struct wisp_io *io, uint64_t gpa, void *data,
	      unsigned int size)
{
	const void *ram = io && io->ram ? io->ram(io->opaque, gpa, size) : NULL;

	if (!ram)
		return wisp_read(vm, gpa, data, size);
	memcpy(data, ram, size);
	return 0;
}

static int read_entry(const struct walk *walk, const struct format *format,
		      uint64_t table, unsigned int level, uint64_t *entry)
{
	uint64_t index = walk->gva >> level_shift(format, level);
	int ret;

	index &= (1ULL << format->bits) - 1;
	*entry = 0;
	ret = walk_read(walk->vm, walk->io, table + index * format->entry_size,
			entry, format->entry_size);
	return ret == -EFAULT ? -ENXIO : ret;
}

static int walk_tables(const struct walk *walk, const struct format *format,
		       uint64_t *gpa, uint32_t *error_code)
{
	uint64_t table = root_gpa(walk, format);
	uint64_t rights = ENTRY_W | ENTRY_U;
	unsigned int level = format->levels;
	uint64_t entry;

	do {
		int ret = read_entry(walk, format, table, --level, &entry);

		if (ret)
			return ret;
		if (!(entry & ENTRY_P))
			return page_fault(walk, 0, error_code);
		if (entry & reserved_bits(format, walk->control, level, entry))
			return page_fault(walk, WALK_PRESENT | WALK_RESERVED,
					  error_code);
		/* A PAE directory-pointer entry has no rights. */
		if (!is_pdpte(format, level))
			rights = (rights & entry & (ENTRY_W | ENTRY_U)) |
				 ((rights | entry) & ENTRY_NX);
		table = entry & ENTRY_GPA;
	} while (!is_leaf(format, level, entry));

	if (!is_allowed(walk, rights))
		return page_fault(walk, WALK_PRESENT, error_code);
	*gpa = page_gpa(format, level, entry) |
	       (walk->gva & BITS(level_shift(format, level) - 1, 0));
	return 0;
}

int walk_paged(const struct walk *walk, uint64_t *gpa, uint32_t *error_code)
{
	const struct format format = get_format(walk->control);

	if (!format.is_long) {
		struct walk low = *walk;

		low.gva = (uint32_t)walk->gva;
		return walk_tables(&low, &format, gpa, error_code);
	}
	if (!is_canonical(walk->gva, level_shift(&format, format.levels)))
		return -ERANGE;
	return walk_tables(walk, &format, gpa, error_code);
}

int wisp_translate(int vm, const struct wisp_state *state, uint64_t gva,
		   uint32_t access, int user, uint64_t *gpa)
{
	const struct walk walk = {
		.vm = vm,
		.control = &state->control,
		.gva = gva,
		.access = access,
		.user = user,
		.no_smap = true,
	};
	uint32_t error_code;

	switch (access) {
	case WISP_PROT_READ:
	case WISP_PROT_WRITE:
	case WISP_PROT_EXEC:
		return walk_translate(&walk, gpa, &error_code) ? -EFAULT : 0;
	default:
		return -EINVAL;
	}
}
