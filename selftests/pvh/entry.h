/* SPDX-License-Identifier: GPL-2.0 */
/* How a guest that is an ELF file says where it is entered. */
#ifndef WISP_SELFTESTS_PVH_ENTRY_H
#define WISP_SELFTESTS_PVH_ENTRY_H

/* start32, in 32-bit code, follows. */
.macro PVH_ENTRY
	.section .note.pvh, "a", @note
	.balign 4
	.long	4, 4, 18	/* name, value, XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.long	start32

	.text
	.code32
	.globl	start32
.endm

#endif
