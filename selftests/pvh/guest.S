/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A guest for debuggers: enters by PVH, goes to 64-bit mode, counts, and resets
 * the machine when it has counted to @limit. It takes one INT3 of its own.
 */
#include "entry.h"

#define CODE64		0x08
#define DATA		0x10

#define CR0_PG		0x80000000
#define CR4_PAE		0x20
#define EFER		0xc0000080
#define EFER_LME	0x100

PVH_ENTRY
start32:
	lgdt	gdt_pointer
	movl	$CR4_PAE, %eax
	movl	%eax, %cr4
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	$EFER, %ecx
	rdmsr
	orl	$EFER_LME, %eax
	wrmsr
	movl	%cr0, %eax
	orl	$CR0_PG, %eax
	movl	%eax, %cr0
	ljmp	$CODE64, $start64

	.code64
	.globl	start64
start64:
	movl	$DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	$stack, %esp
	lidt	idt_pointer
	/* The IDT's entry for #BP: its address in two parts. */
	movl	$on_int3, %eax
	movw	%ax, idt + 16 * 3
	shrl	$16, %eax
	movw	%ax, idt + 16 * 3 + 6
	movabs	$0x123456789abcdef0, %rbx
	.globl	own_int3
own_int3:
	int3
	.globl	behind_int3
behind_int3:
	nop

	.globl	again
again:
	call	work
	movq	counter, %rax
	cmpq	limit, %rax
	jb	again

	.globl	finished
finished:
	movb	$6, %al
	movw	$0xcf9, %dx
	outb	%al, %dx
	hlt

	.globl	work
work:
	incq	counter
	.globl	write_port
write_port:
	outb	%al, $0x80
	.globl	behind_port
behind_port:
	movq	counter, %rcx
	.globl	nowhere
nowhere:
	movl	0x30000000, %edx
	.globl	behind_nowhere
behind_nowhere:
	ret

on_int3:
	incq	traps
	iretq

	.data
	.balign	8
	.globl	counter, limit, traps
counter:
	.quad	0
limit:
	.quad	-1
traps:
	.quad	0

gdt:
	.quad	0
	.quad	0x00af9b000000ffff
	.quad	0x00cf93000000ffff
gdt_pointer:
	.word	. - gdt - 1
	.long	gdt

	.balign	8
idt:
	.rept	4
	.word	0, CODE64, 0x8e00, 0
	.quad	0
	.endr
idt_pointer:
	.word	. - idt - 1
	.quad	idt

	/* The first 1 GiB, one to one. */
	.balign	4096
pml4:
	.quad	pdpt + 3
	.balign	4096
pdpt:
	.quad	pd + 3
	.balign	4096
pd:
	.set	gpa, 0
	.rept	512
	.quad	gpa + 0x83
	.set	gpa, gpa + 0x200000
	.endr

	.bss
	.balign	16
	.skip	4096
stack:
