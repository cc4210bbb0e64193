/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What both vendors' world switches have in common, the general registers above all.
 * To be included.
 */

/* Offsets in struct wisp_general; RSP travels in the VMCB or VMCS. */
#define G_RAX	(0 * 8)
#define G_RCX	(1 * 8)
#define G_RDX	(2 * 8)
#define G_RBX	(3 * 8)
#define G_RBP	(5 * 8)
#define G_RSI	(6 * 8)
#define G_RDI	(7 * 8)

.macro PUSH_HOST
	push	%rbp
	mov	%rsp, %rbp
	push	%r15
	push	%r14
	push	%r13
	push	%r12
	push	%rbx
.endm

/* And what the host does not overwrite at once is not the guest's to pass. */
.macro POP_HOST
	xor	%ecx, %ecx
	xor	%edx, %edx
	xor	%esi, %esi
	xor	%edi, %edi
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	xor	%r10d, %r10d
	xor	%r11d, %r11d
	pop	%rbx
	pop	%r12
	pop	%r13
	pop	%r14
	pop	%r15
	pop	%rbp
.endm

/* All but RAX, RSP and @from itself, of which this uses up RDI or RSI. */
.macro LOAD_GUEST from
	mov	G_RCX(%\from), %rcx
	mov	G_RDX(%\from), %rdx
	mov	G_RBX(%\from), %rbx
	mov	G_RBP(%\from), %rbp
.ifnc \from, rdi
	mov	G_RDI(%\from), %rdi
.endif
.ifnc \from, rsi
	mov	G_RSI(%\from), %rsi
.endif
.irp n, 8, 9, 10, 11, 12, 13, 14, 15
	mov	(\n * 8)(%\from), %r\n
.endr
.ifc \from, rdi
	mov	G_RDI(%rdi), %rdi
.else
	mov	G_RSI(%rsi), %rsi
.endif
.endm

/* All but RAX and RSP, to RAX. */
.macro SAVE_GUEST
	mov	%rcx, G_RCX(%rax)
	mov	%rdx, G_RDX(%rax)
	mov	%rbx, G_RBX(%rax)
	mov	%rbp, G_RBP(%rax)
	mov	%rsi, G_RSI(%rax)
	mov	%rdi, G_RDI(%rax)
.irp n, 8, 9, 10, 11, 12, 13, 14, 15
	mov	%r\n, (\n * 8)(%rax)
.endr
.endm

.section .rodata
verw_selector:
	.word __KERNEL_DS

.section .text
