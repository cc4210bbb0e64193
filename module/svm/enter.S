/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The world switch: APM Vol. 2, "VMRUN Instruction".
 */
#include <linux/linkage.h>

#include <asm/asm.h>
#include <asm/nospec-branch.h>
#include <asm/segment.h>

/* Offsets in struct wisp_general; RAX and RSP travel in the VMCB. */
#define RCX	(1 * 8)
#define RDX	(2 * 8)
#define RBX	(3 * 8)
#define RBP	(5 * 8)
#define RSI	(6 * 8)
#define RDI	(7 * 8)
#define R8	(8 * 8)
#define R9	(9 * 8)
#define R10	(10 * 8)
#define R11	(11 * 8)
#define R12	(12 * 8)
#define R13	(13 * 8)
#define R14	(14 * 8)
#define R15	(15 * 8)

.section .rodata
verw_selector:
	.word __KERNEL_DS

.section .text

/*
 * int svm_enter(u64 vmcb_hpa, struct wisp_general *general, u64 host_hpa)
 *
 * Interrupts are off. With GIF clear they can be enabled, so that VMRUN sees
 * them pending and exits; they are taken once the caller enables them. From
 * VMLOAD of the guest to that of the host GS is the guest's: nothing in between
 * may fault. CLGI comes first and faults where SVM was switched off.
 */
SYM_FUNC_START(svm_enter)
	push	%rbp
	mov	%rsp, %rbp
	push	%r15
	push	%r14
	push	%r13
	push	%r12
	push	%rbx
	push	%rsi
	push	%rdx

1:	clgi
	mov	%rdi, %rax
	vmload	%rax

	mov	RCX(%rsi), %rcx
	mov	RDX(%rsi), %rdx
	mov	RBX(%rsi), %rbx
	mov	RBP(%rsi), %rbp
	mov	RDI(%rsi), %rdi
	mov	R8(%rsi), %r8
	mov	R9(%rsi), %r9
	mov	R10(%rsi), %r10
	mov	R11(%rsi), %r11
	mov	R12(%rsi), %r12
	mov	R13(%rsi), %r13
	mov	R14(%rsi), %r14
	mov	R15(%rsi), %r15
	mov	RSI(%rsi), %rsi

	/*
	 * What the host left in the CPU's buffers (TSA, where the kernel says
	 * so). A branch, since an alternative cannot hold the RIP-relative VERW.
	 */
#ifdef X86_FEATURE_CLEAR_CPU_BUF_VM
	ALTERNATIVE "jmp 3f", "", X86_FEATURE_CLEAR_CPU_BUF_VM
	verw	verw_selector(%rip)
3:
#endif

	/* QEMU's TCG carries the shadow of STI into the guest: let it end. */
	sti
	nop
	vmrun	%rax
	cli

	/* RAX is the host's again: the VMCB. */
	vmsave	%rax

	mov	8(%rsp), %rax
	mov	%rcx, RCX(%rax)
	mov	%rdx, RDX(%rax)
	mov	%rbx, RBX(%rax)
	mov	%rbp, RBP(%rax)
	mov	%rsi, RSI(%rax)
	mov	%rdi, RDI(%rax)
	mov	%r8, R8(%rax)
	mov	%r9, R9(%rax)
	mov	%r10, R10(%rax)
	mov	%r11, R11(%rax)
	mov	%r12, R12(%rax)
	mov	%r13, R13(%rax)
	mov	%r14, R14(%rax)
	mov	%r15, R15(%rax)

	pop	%rax
	vmload	%rax

	/* Before the first RET: the guest filled the return predictors. */
	FILL_RETURN_BUFFER %rax, RSB_CLEAR_LOOPS, X86_FEATURE_RSB_VMEXIT
#ifdef UNTRAIN_RET_VM
	UNTRAIN_RET_VM
#else
	UNTRAIN_RET
	ALTERNATIVE "", "call entry_ibpb", X86_FEATURE_IBPB_ON_VMEXIT
#endif

	/* What the host does not overwrite at once is not the guest's to pass. */
	xor	%eax, %eax
	xor	%ecx, %ecx
	xor	%edx, %edx
	xor	%esi, %esi
	xor	%edi, %edi
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	xor	%r10d, %r10d
	xor	%r11d, %r11d
	add	$8, %rsp
	pop	%rbx
	pop	%r12
	pop	%r13
	pop	%r14
	pop	%r15
	pop	%rbp
	stgi
	RET

2:	lea	-40(%rbp), %rsp
	mov	$1, %eax
	pop	%rbx
	pop	%r12
	pop	%r13
	pop	%r14
	pop	%r15
	pop	%rbp
	RET

	_ASM_EXTABLE(1b, 2b)
SYM_FUNC_END(svm_enter)
