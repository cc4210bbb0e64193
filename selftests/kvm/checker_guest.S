/* SPDX-License-Identifier: GPL-2.0 */
/* The guest of checker.h, in 64-bit mode at CPL 0. It has no stack. */
#include "../state.h"
#include "checker.h"

.macro for_gprs op
	.set	i, 0
	.irp	r, rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
	\op	\r
	.set	i, i + 8
	.endr
.endm

.macro load r
	mov	CHECKER_GPRS + i, %\r
.endm

.macro compare r
	cmp	CHECKER_GPRS + i, %\r
	jne	wrong_register
.endm

	.section .rodata
	.globl	checker, checker_end
checker:
	cld
	mov	CHECKER_XMASK, %eax
	xor	%edx, %edx
	xrstor	CHECKER_IMAGE
	mov	$CHECKER_MSRS, %esi
	mov	CHECKER_NMSRS, %edi
1:	mov	(%rsi), %ecx
	mov	8(%rsi), %eax
	mov	12(%rsi), %edx
	wrmsr
	add	$16, %esi
	dec	%edi
	jnz	1b

round:
	mov	CHECKER_ROUNDS, %rax
	test	CHECKER_QUIET, %rax
	for_gprs load
	jnz	1f
	out	%al, $CHECKER_PORT
1:	for_gprs compare

	mov	$CHECKER_PAGES, %edi
	mov	CHECKER_SEED, %rax
	add	CHECKER_ROUNDS, %rax
1:	lea	(%rax, %rdi), %rdx
	cmp	(%rdi), %rdx
	jne	wrong_memory
	incq	(%rdi)
	add	$0x1000, %edi
	cmp	$CHECKER_END, %edi
	jb	1b

	mov	$CHECKER_MSRS, %esi
	mov	CHECKER_NMSRS, %edi
1:	mov	(%rsi), %ecx
	rdmsr
	shl	$32, %rdx
	or	%rdx, %rax
	cmp	8(%rsi), %rax
	jne	wrong_msr
	add	$16, %esi
	dec	%edi
	jnz	1b

	rdtsc
	shl	$32, %rdx
	or	%rdx, %rax
	cmp	CHECKER_TSC, %rax
	jb	wrong_tsc
	mov	%rax, CHECKER_TSC

	mov	CHECKER_XMASK, %eax
	xor	%edx, %edx
	xsave	CHECKER_SCRATCH
	mov	CHECKER_SCRATCH + XSAVE_FCW, %ax
	cmp	CHECKER_IMAGE + XSAVE_FCW, %ax
	jne	wrong_vector
	mov	CHECKER_SCRATCH + XSAVE_MXCSR, %eax
	cmp	CHECKER_IMAGE + XSAVE_MXCSR, %eax
	jne	wrong_vector
	/* ST0-7 and XMM0-15 */
	mov	$CHECKER_IMAGE + XSAVE_ST0, %esi
	mov	$CHECKER_SCRATCH + XSAVE_ST0, %edi
	mov	$48, %ecx
	repe cmpsq
	jne	wrong_vector
	testb	$4, CHECKER_XMASK		/* XCR0_YMM */
	jz	1f
	mov	$CHECKER_IMAGE + XSAVE_YMM, %esi
	mov	$CHECKER_SCRATCH + XSAVE_YMM, %edi
	mov	$32, %ecx
	repe cmpsq
	jne	wrong_vector
1:
	incq	CHECKER_ROUNDS
	jmp	round

wrong_register:
	movq	$WRONG_REGISTER, CHECKER_WRONG
	hlt
wrong_memory:
	mov	%rdi, CHECKER_WHERE
	movq	$WRONG_MEMORY, CHECKER_WRONG
	hlt
wrong_msr:
	mov	%rcx, CHECKER_WHERE
	movq	$WRONG_MSR, CHECKER_WRONG
	hlt
wrong_tsc:
	movq	$WRONG_TSC, CHECKER_WRONG
	hlt
wrong_vector:
	mov	%rsi, CHECKER_WHERE
	movq	$WRONG_VECTOR, CHECKER_WRONG
	hlt
checker_end:

	.section .note.GNU-stack, "", @progbits
