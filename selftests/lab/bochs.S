/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Option ROM of the Bochs labs: enters the kernel that bochs.py put into RAM,
 * in 32-bit mode as "x86/HVM direct boot ABI" (PVH) has it; or, with TABLES, at
 * startup_64 with the five levels of tables that are there. No boot loader, and
 * nothing is read from an emulated disk or unpacked by the emulated CPU.
 *
 * Bochs keeps guest RAM in one array of blocks, each of which it gives to the
 * address that touches one for the first time. What was loaded behind the first
 * block of an image thus comes to light in the order of touching: first the
 * padding, of which the BIOS has had some already, then what LOADS lists.
 *
 * bochs.py defines what is in capitals.
 */

	.code16
	.globl	_start
_start:
	.byte	0x55, 0xaa, 1
	cli
	in	$0x92, %al		/* A20 on, and no reset */
	or	$2, %al
	and	$0xfe, %al
	out	%al, $0x92
	lgdtl	%cs:gdt_pointer - _start
	mov	%cr0, %eax
	or	$1, %eax
	mov	%eax, %cr0
	ljmpl	$8, $ADDRESS + protected - _start

	.code32
protected:
	mov	$16, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	$SCRATCH, %esi
padding:
	mov	(%esi), %eax
	add	$BLOCK, %esi
	cmp	$PADDING_END, %eax
	jne	padding

	mov	$LOADS, %ebx
load:
	mov	(%ebx), %esi
	mov	4(%ebx), %ecx
	jecxz	enter
touch:
	mov	(%esi), %eax
	add	$BLOCK, %esi
	loop	touch
	add	$8, %ebx
	jmp	load

enter:
#ifdef TABLES
	mov	%cr4, %eax
	or	$0x1020, %eax		/* PAE, LA57 */
	mov	%eax, %cr4
	mov	$TABLES, %eax
	mov	%eax, %cr3
	mov	$0xc0000080, %ecx	/* EFER: LME */
	rdmsr
	or	$0x100, %eax
	wrmsr
	mov	%cr0, %eax
	or	$0x80000000, %eax	/* PG */
	mov	%eax, %cr0
	ljmp	$24, $ADDRESS + enter64 - _start

	.code64
enter64:
	mov	%esi, %eax
	mov	$ZERO_PAGE, %esi
	jmp	*%rax
#else
	mov	%esi, %eax
	mov	$INFO, %ebx
	jmp	*%eax
#endif

	.balign	8
gdt:
	.quad	0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
gdt_pointer:
	.word	. - gdt - 1
	.long	ADDRESS + gdt - _start
	/* bochs.py makes the last byte the checksum. */
	.org	512
