/* SPDX-License-Identifier: GPL-2.0 */
/*
 * long host_call(int fd, long call, long arg, struct vectors *v, int avx)
 *
 * Loads the vector registers, MXCSR and FCW from @v, makes the ioctl, and
 * stores there what they are then. Nothing in between is the compiler's.
 */
	.text
	.globl	host_call
	.type	host_call, @function
host_call:
	movq	%rcx, %r9
	stmxcsr	-8(%rsp)
	fnstcw	-4(%rsp)
	testl	%r8d, %r8d
	jz	1f
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovups	\n * 32(%r9), %ymm\n
	.endr
	jmp	2f
1:
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movups	\n * 32(%r9), %xmm\n
	.endr
2:
	ldmxcsr	512(%r9)
	fldcw	516(%r9)
	movl	$16, %eax		/* ioctl */
	syscall
	stmxcsr	512(%r9)
	fnstcw	516(%r9)
	testl	%r8d, %r8d
	jz	1f
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovups	%ymm\n, \n * 32(%r9)
	.endr
	vzeroupper
	jmp	2f
1:
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movups	%xmm\n, \n * 32(%r9)
	.endr
2:
	ldmxcsr	-8(%rsp)
	fldcw	-4(%rsp)
	ret
	.size	host_call, . - host_call

	.section .note.GNU-stack, "", @progbits
