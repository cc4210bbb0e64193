/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The world switch: APM Vol. 2, "VMRUN Instruction".
 */
#include <linux/linkage.h>

#include <asm/asm.h>
#include <asm/nospec-branch.h>
#include <asm/segment.h>

/* Offsets in struct wisp_general; RAX and RSP travel in the VMCB. */
#define G_RCX	(1 * 8)
#define G_RDX	(2 * 8)
#define G_RBX	(3 * 8)
#define G_RBP	(5 * 8)
#define G_RSI	(6 * 8)
#define G_RDI	(7 * 8)
#define G_R8	(8 * 8)
#define G_R9	(9 * 8)
#define G_R10	(10 * 8)
#define G_R11	(11 * 8)
#define G_R12	(12 * 8)
#define G_R13	(13 * 8)
#define G_R14	(14 * 8)
#define G_R15	(15 * 8)

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

	mov	G_RCX(%rsi), %rcx
	mov	G_RDX(%rsi), %rdx
	mov	G_RBX(%rsi), %rbx
	mov	G_RBP(%rsi), %rbp
	mov	G_RDI(%rsi), %rdi
	mov	G_R8(%rsi), %r8
	mov	G_R9(%rsi), %r9
	mov	G_R10(%rsi), %r10
	mov	G_R11(%rsi), %r11
	mov	G_R12(%rsi), %r12
	mov	G_R13(%rsi), %r13
	mov	G_R14(%rsi), %r14
	mov	G_R15(%rsi), %r15
	mov	G_RSI(%rsi), %rsi

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
	mov	%rcx, G_RCX(%rax)
	mov	%rdx, G_RDX(%rax)
	mov	%rbx, G_RBX(%rax)
	mov	%rbp, G_RBP(%rax)
	mov	%rsi, G_RSI(%rax)
	mov	%rdi, G_RDI(%rax)
	mov	%r8, G_R8(%rax)
	mov	%r9, G_R9(%rax)
	mov	%r10, G_R10(%rax)
	mov	%r11, G_R11(%rax)
	mov	%r12, G_R12(%rax)
	mov	%r13, G_R13(%rax)
	mov	%r14, G_R14(%rax)
	mov	%r15, G_R15(%rax)

	pop	%rax
	vmload	%rax

	/* Before the first RET: the guest filled the return predictors. */
	FILL_RETURN_BUFFER %rax, RSB_CLEAR_LOOPS, X86_FEATURE_RSB_VMEXIT
#ifdef UNTRAIN_RET_VM
	/* As UNTRAIN_RET_VM, whose barrier is a function that 7.x has for KVM. */
	CALL_UNTRAIN_RET
	ALTERNATIVE "jmp 3f", "", X86_FEATURE_IBPB_ON_VMEXIT
	mov	$MSR_IA32_PRED_CMD, %ecx
	mov	$PRED_CMD_IBPB, %eax
	xor	%edx, %edx
	wrmsr
3:
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
