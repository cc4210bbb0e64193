/* SPDX-License-Identifier: GPL-2.0 */
/* What the guests of assist.c run, in real mode at 0x1000; DS is the device. */

	.macro	guest name
	.globl	\name, \name\()_end
\name:
	.endm

	.section .rodata
	.code16

guest guest_ports
	mov	$0x2000, %si
	mov	$5, %cx
	mov	$0x1f0, %dx
	cld
	rep outsb %es:(%si), (%dx)
	mov	$0x3000, %di
	mov	$1500, %cx
	rep insb
	mov	$0x77, %al
	out	%al, (%dx)
	in	(%dx), %ax
	hlt
guest_ports_end:

guest guest_memory
	movw	$0x1234, 0x10
	addw	$1, 0x10
	mov	0x10, %bx
	xchg	%bl, 0x11
	btsl	$31, 0x10
	mov	0x10, %edx
	hlt
guest_memory_end:

guest guest_strings
	cld
	mov	$0xff0, %si
	mov	$0x3000, %di
	mov	$16, %cx
	rep movsb
	/* Backwards, into the device. */
	std
	mov	$0x20e, %di
	mov	$0xabcd, %ax
	mov	$8, %cx
	push	%es
	push	%ds
	pop	%es
	rep stosw
	pop	%es
	hlt
guest_strings_end:

guest guest_shadow
	sti
	mov	0x10, %ax
	cli
	hlt
guest_shadow_end:

/* What comes is counted in BX, and where from in CX; it is not stepped behind that. */
guest guest_step
	mov	0x10, %ax
	nop
	hlt
	.org	guest_step + 0x20
	push	%bp
	mov	%sp, %bp
	andw	$0xfeff, 6(%bp)
	mov	2(%bp), %cx
	inc	%bx
	pop	%bp
	iret
guest_step_end:

guest guest_delivery
	mov	0x10, %ax
	hlt
guest_delivery_end:

	.section .note.GNU-stack, "", @progbits
