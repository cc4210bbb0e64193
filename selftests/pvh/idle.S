/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A guest that waits for 60 ticks of the PIT, as an idle Linux does: in the shadow
 * of STI. Then it resets the machine.
 */
#include "entry.h"

#define CODE		0x08
#define DATA		0x10
#define VECTOR		0x20
#define HZ_20		59659

.macro write port, value
	movb	$\value, %al
	outb	%al, $\port
.endm

PVH_ENTRY
start32:
	lgdt	gdt_pointer
	ljmp	$CODE, $1f
1:	movl	$DATA, %eax
	movl	%eax, %ss
	movl	$stack, %esp
	movl	$on_tick, %eax
	movw	%ax, idt + 8 * VECTOR
	shrl	$16, %eax
	movw	%ax, idt + 8 * VECTOR + 6
	lidt	idt_pointer
	/* The PIC: vectors from there on, and IRQ0 alone; the PIT: 20 in a second. */
	write	0x20, 0x11
	write	0x21, VECTOR
	write	0x21, 4
	write	0x21, 1
	write	0x21, 0xfe
	write	0x43, 0x34
	write	0x40, HZ_20 & 0xff
	write	0x40, HZ_20 >> 8
	.globl	idle
idle:
	sti
	hlt
	cli
	cmpl	$60, ticks
	jb	idle
	movb	$6, %al
	movw	$0xcf9, %dx
	outb	%al, %dx
	jmp	.

on_tick:
	pushl	%eax
	incl	ticks
	write	0x20, 0x20
	popl	%eax
	iret

	.data
	.balign	8
gdt:
	.quad	0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
	.word	. - gdt - 1
	.long	gdt
	.balign	8
idt:
	.fill	VECTOR, 8, 0
	.word	0, CODE, 0x8e00, 0
idt_pointer:
	.word	. - idt - 1
	.long	idt
	.globl	ticks
ticks:
	.long	0
	.bss
	.balign	16
	.skip	4096
stack:
