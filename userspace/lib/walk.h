/* SPDX-License-Identifier: MIT */
/* The guest's page tables, for the library's own use. */
#ifndef WISP_LIB_WALK_H
#define WISP_LIB_WALK_H

#include <stdbool.h>
#include <wisp.h>

#define WALK_CR0_PG	(1ULL << 31)

/* Page-fault error code. */
#define WALK_PRESENT	(1U << 0)
#define WALK_WRITE	(1U << 1)
#define WALK_USER	(1U << 2)
#define WALK_RESERVED	(1U << 3)
#define WALK_FETCH	(1U << 4)

/**
 * struct walk - an access to translate
 * @vm: vm fd
 * @io: how to reach its memory, or NULL
 * @control: the registers that say how
 * @gva: linear address
 * @access: one of WISP_PROT_*
 * @user: made at CPL 3
 * @no_smap: RFLAGS.AC is set, so that SMAP does not count
 */
struct walk {
	int vm;
	const struct wisp_io *io;
	const struct wisp_control *control;
	uint64_t gva;
	uint32_t access;
	bool user;
	bool no_smap;
};

/* Guest-physical memory, from the caller's mapping if there is one. */
int walk_read(int vm, const struct wisp_io *io, uint64_t gpa, void *data,
	      unsigned int size);

/* With CR0.PG set. Returns as walk_translate(). */
int walk_paged(const struct walk *walk, uint64_t *gpa, uint32_t *error_code);

/*
 * Returns 0 with @gpa; -EFAULT for a page fault with its @error_code; -ERANGE for an
 * address that is not canonical; -ENXIO where a table lies outside the slots; or why
 * one cannot be read: -EIO, -ENOMEM.
 */
static inline int walk_translate(const struct walk *walk, uint64_t *gpa,
				 uint32_t *error_code)
{
	if (walk->control->cr0 & WALK_CR0_PG)
		return walk_paged(walk, gpa, error_code);
	*gpa = (uint32_t)walk->gva;
	return 0;
}

#endif
