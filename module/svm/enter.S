/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The world switch: APM Vol. 2, "VMRUN Instruction".
 */
#include <linux/linkage.h>

#include <asm/asm.h>
#include <asm/nospec-branch.h>
#include <asm/segment.h>

#include "../enter.S"

/*
 * int svm_enter(u64 vmcb_hpa, struct wisp_general *general, u64 host_hpa)
 *
 * Interrupts are off. With GIF clear they can be enabled, so that VMRUN sees
 * them pending and exits; they are taken once the caller enables them. From
 * VMLOAD of the guest to that of the host GS is the guest's: nothing in between
 * may fault. CLGI comes first and faults where SVM was switched off.
 */
SYM_FUNC_START(svm_enter)
	PUSH_HOST
	push	%rsi
	push	%rdx

	/* Zen 1: a division by zero shows the last quotient, so let that be 0. */
#ifdef X86_BUG_DIV0
	ALTERNATIVE "", "xor %eax, %eax; cltd; lea 1(%rax), %ecx; div %ecx", X86_BUG_DIV0
#endif

1:	clgi
	mov	%rdi, %rax
	vmload	%rax

	LOAD_GUEST rsi

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
	SAVE_GUEST

	pop	%rax
	vmload	%rax

	/* Before the first RET: the guest filled the return predictors. */
	FILL_RETURN_BUFFER %rax, RSB_CLEAR_LOOPS, X86_FEATURE_RSB_VMEXIT
#ifdef UNTRAIN_RET_VM
	/* As UNTRAIN_RET_VM, whose barrier is a function that 7.x has for KVM. */
	CALL_UNTRAIN_RET
	/*
	 * Where SRSO is kept at bay by less speculation (Zen 5), that is on only as
	 * long as KVM has VMs: IBPB does it, too.
	 */
#ifdef X86_FEATURE_SRSO_BP_SPEC_REDUCE
	ALTERNATIVE_2 "jmp 3f", "", X86_FEATURE_IBPB_ON_VMEXIT, \
		      "", X86_FEATURE_SRSO_BP_SPEC_REDUCE
#else
	ALTERNATIVE "jmp 3f", "", X86_FEATURE_IBPB_ON_VMEXIT
#endif
	mov	$MSR_IA32_PRED_CMD, %ecx
	mov	$PRED_CMD_IBPB, %eax
	xor	%edx, %edx
	wrmsr
#ifdef X86_BUG_IBPB_NO_RET
	/* With it the kernel leaves out the filling above. */
	FILL_RETURN_BUFFER %rax, RSB_CLEAR_LOOPS, X86_BUG_IBPB_NO_RET
#endif
3:
#else
	UNTRAIN_RET
	ALTERNATIVE "", "call entry_ibpb", X86_FEATURE_IBPB_ON_VMEXIT
#endif

	xor	%eax, %eax
	add	$8, %rsp
	POP_HOST
	stgi
	RET

2:	mov	$1, %eax
	add	$16, %rsp
	POP_HOST
	RET

	_ASM_EXTABLE(1b, 2b)
SYM_FUNC_END(svm_enter)
