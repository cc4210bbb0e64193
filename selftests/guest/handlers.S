/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Guest code for exceptions and interrupts in 64-bit mode: 256 stubs of 16
 * bytes, copied to GUEST_STUBS, and their common part behind them.
 */
#include "guest.h"

	.section .rodata
	.code64
	.balign 16
	.globl guest_stubs, guest_stubs_end
guest_stubs:
	.set	vector, 0
	.rept	256
	.balign 16, 0x90
	/* These push an error code; the others get a zero in its place. */
	.if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17)
	pushq	$0
	.endif
	pushq	$vector
	jmp	common
	.set	vector, vector + 1
	.endr

	/* On the stack: vector, error code, RIP, CS, RFLAGS, RSP, SS. */
	.balign 16, 0x90
common:
	pushq	%rax
	pushq	%rbx
	movl	$GUEST_TRAP, %ebx
	movq	0x10(%rsp), %rax
	movq	%rax, TRAP_VECTOR(%rbx)
	movq	0x18(%rsp), %rax
	movq	%rax, TRAP_ERROR(%rbx)
	movq	0x20(%rsp), %rax
	movq	%rax, TRAP_RIP(%rbx)
	movq	0x28(%rsp), %rax
	movq	%rax, TRAP_CS(%rbx)
	movq	0x30(%rsp), %rax
	movq	%rax, TRAP_RFLAGS(%rbx)
	movq	0x38(%rsp), %rax
	movq	%rax, TRAP_RSP(%rbx)
	movq	%cr2, %rax
	movq	%rax, TRAP_CR2(%rbx)
	incq	TRAP_COUNT(%rbx)
	cmpq	$GUEST_TRAP_REPORT, TRAP_ACTION(%rbx)
	je	report
	cmpq	$GUEST_TRAP_RETURN, TRAP_ACTION(%rbx)
	je	return
	movq	TRAP_RESUME(%rbx), %rax
	movq	%rax, 0x20(%rsp)
return:
	popq	%rbx
	popq	%rax
	addq	$0x10, %rsp
	iretq
report:
	popq	%rbx
	popq	%rax
	addq	$0x10, %rsp
	outb	%al, $GUEST_TRAP_PORT
	iretq
guest_stubs_end:

	.section .note.GNU-stack, "", @progbits
