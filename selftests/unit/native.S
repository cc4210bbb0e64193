/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Instructions that are run twice: by the CPU, and by the library as if their
 * operand were a device. RBX, RSI and RDI lead to memory: see assist.c.
 */

	.macro	insn text:vararg
	.pushsection .rodata.native.text, "aMS", @progbits, 1
771:	.asciz	"\text"
	.popsection
772:	\text
773:	ret
	.pushsection .data.native.cases, "aw"
	.quad	771b, 772b, 773b
	.popsection
	.endm

	.macro	two op
	insn	\op %al, 1(%rbx)
	insn	\op %dh, 1(%rbx)
	insn	\op %r9b, (%rbx)
	insn	\op %sil, (%rbx)
	insn	\op %ax, (%rbx)
	insn	\op %edx, 3(%rbx)
	insn	\op %r15, 8(%rbx)
	.endm

	.macro	string op
	.irp	size, b, w, l, q
	insn	\op\size
	insn	rep \op\size
	insn	addr32 rep \op\size
	.endr
	.endm

	.section .data.native.cases, "aw"
	.globl	native_cases
native_cases:

	.text
	two	mov
	insn	mov (%rbx), %al
	insn	mov (%rbx), %bh
	insn	mov (%rbx), %r11b
	insn	mov (%rbx), %cx
	insn	mov (%rbx), %r14d
	insn	mov (%rbx), %rbx
	insn	mov 16(%rbx,%rcx,4), %rdx
	insn	mov %rdx, 16(%rbx,%rcx,8)
	insn	mov (%ebx), %eax
	insn	mov %eax, -8(%ebx,%ecx)
	insn	movb $0x91, (%rbx)
	insn	movw $0x9182, (%rbx)
	insn	movl $0x91827364, (%rbx)
	insn	movq $-5, (%rbx)
	insn	movabs 0x20000123, %al
	insn	movabs 0x20000123, %rax
	insn	movabs %ax, 0x20000123
	insn	movabs %rax, 0x20000123
	insn	movnti %eax, (%rbx)
	insn	movnti %rax, (%rbx)
	insn	movzbw (%rbx), %ax
	insn	movzbl (%rbx), %r9d
	insn	movzbq (%rbx), %rdi
	insn	movzwl (%rbx), %eax
	insn	movzwq (%rbx), %r8
	insn	movsbw (%rbx), %ax
	insn	movsbl (%rbx), %eax
	insn	movsbq (%rbx), %rax
	insn	movswl (%rbx), %r13d
	insn	movswq (%rbx), %r13
	insn	movslq (%rbx), %rax

	.irp	op, addb, addw, addl, addq, adcb, adcw, adcl, adcq, subb, subw, \
		subl, subq, sbbb, sbbw, sbbl, sbbq, andb, andw, andl, andq, \
		orb, orw, orl, orq, xorb, xorw, xorl, xorq
	insn	\op $0x11, (%rbx)
	insn	\op $-1, (%rbx)
	.endr
	.irp	op, addl, addq, subl, subq, andl, andq, xorq
	insn	\op $0x12345678, (%rbx)
	insn	\op $-0x12345678, (%rbx)
	.endr
	.irp	op, add, adc, sub, sbb, and, or, xor
	insn	\op (%rbx), %al
	insn	\op (%rbx), %ch
	insn	\op (%rbx), %r10w
	insn	\op (%rbx), %eax
	insn	\op 5(%rbx), %r12
	two	\op
	insn	lock \op %edx, (%rbx)
	.endr
	two	cmp
	insn	cmp (%rbx), %dl
	insn	cmp (%rbx), %rdx
	insn	cmpb $0x80, (%rbx)
	insn	cmpq $-7, (%rbx)
	two	test
	insn	testb $0x81, (%rbx)
	insn	testl $0x81828384, (%rbx)
	insn	testq $-2, (%rbx)
	.irp	op, inc, dec, neg, not
	insn	\op\()b (%rbx)
	insn	\op\()w (%rbx)
	insn	\op\()l (%rbx)
	insn	lock \op\()q (%rbx)
	.endr
	two	xchg
	insn	xchg (%rbx), %ah

	.irp	op, bt, bts, btr, btc
	insn	\op %r8w, 64(%rbx)
	insn	\op %r8d, 64(%rbx)
	insn	\op %r8, 64(%rbx)
	insn	\op\()w $3, (%rbx)
	insn	\op\()l $31, (%rbx)
	insn	\op\()q $63, (%rbx)
	.endr
	insn	lock btsq %r8, 64(%rbx)

	.irp	op, movs, stos, lods
	string	\op
	.endr
	.irp	op, cmps, scas
	.irp	size, b, w, l, q
	insn	\op\size
	insn	repe \op\size
	insn	repne \op\size
	.endr
	.endr
	/* To a CPU that is REP. */
	.irp	op, movs, stos, lods
	.irp	size, b, w, l, q
	insn	repne \op\size
	.endr
	.endr
	insn	gs movsb
	insn	gs rep movsl

	.section .data.native.cases, "aw"
	.quad	0, 0, 0

/*
 * void native_run(struct native *native, void *code)
 *
 * struct native: 16 general registers by their encoding, then RFLAGS; RSP is
 * left alone. The code ends with RET.
 */
	.text
	.globl	native_run
	.type	native_run, @function
native_run:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	push	%rdi
	push	%rsi
	pushq	128(%rdi)
	mov	0(%rdi), %rax
	mov	8(%rdi), %rcx
	mov	16(%rdi), %rdx
	mov	24(%rdi), %rbx
	mov	40(%rdi), %rbp
	mov	48(%rdi), %rsi
	mov	64(%rdi), %r8
	mov	72(%rdi), %r9
	mov	80(%rdi), %r10
	mov	88(%rdi), %r11
	mov	96(%rdi), %r12
	mov	104(%rdi), %r13
	mov	112(%rdi), %r14
	mov	120(%rdi), %r15
	mov	56(%rdi), %rdi
	popfq
	call	*(%rsp)
	pushfq
	push	%rdi
	mov	24(%rsp), %rdi
	mov	%rax, 0(%rdi)
	mov	%rcx, 8(%rdi)
	mov	%rdx, 16(%rdi)
	mov	%rbx, 24(%rdi)
	mov	%rbp, 40(%rdi)
	mov	%rsi, 48(%rdi)
	mov	%r8, 64(%rdi)
	mov	%r9, 72(%rdi)
	mov	%r10, 80(%rdi)
	mov	%r11, 88(%rdi)
	mov	%r12, 96(%rdi)
	mov	%r13, 104(%rdi)
	mov	%r14, 112(%rdi)
	mov	%r15, 120(%rdi)
	popq	56(%rdi)
	popq	128(%rdi)
	cld
	pop	%rsi
	pop	%rdi
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret
	.size	native_run, . - native_run

	.section .note.GNU-stack, "", @progbits
