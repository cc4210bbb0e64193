/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A guest that asks "?" and waits for a byte by looking for it, then prints that and
 * does nothing that would exit. It halts at no time, and sets no timer.
 */
#include "entry.h"

#define DATA		0x3f8
#define STATUS		0x3fd
#define STATUS_READY	1

PVH_ENTRY
start32:
	/* None comes; but in Bochs there is none for the host, either, without. */
	sti
	movw	$DATA, %dx
	movb	$'?', %al
	outb	%al, (%dx)
	movw	$STATUS, %dx
1:	inb	(%dx), %al
	testb	$STATUS_READY, %al
	jz	1b
	movw	$DATA, %dx
	inb	(%dx), %al
	outb	%al, (%dx)
	jmp	.
