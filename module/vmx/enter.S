/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The world switch: SDM Vol. 3, "VM Entries" and "VM Exits".
 */
#include <linux/linkage.h>

#include <asm/asm.h>
#include <asm/ibt.h>
#include <asm/msr-index.h>
#include <asm/nospec-branch.h>
#include <asm/percpu.h>
#include <asm/segment.h>

#include "../enter.S"
#include "vmx.h"

#ifndef X86_FEATURE_CLEAR_BHB_LOOP_ON_VMEXIT	/* 7.x's name */
#define X86_FEATURE_CLEAR_BHB_LOOP_ON_VMEXIT	X86_FEATURE_CLEAR_BHB_VMEXIT
#endif

#define HOST_RSP	0x6c14

/*
 * Overwrites the branch history: five times deeper, five jumps each, as the
 * kernel's clear_bhb_loop(), which 7.x has for KVM.
 */
SYM_FUNC_START_LOCAL(history_calls)
	call	history_jumps
	RET
SYM_FUNC_END(history_calls)

SYM_FUNC_START_LOCAL(history_jumps)
	mov	$5, %eax
1:	jmp	2f
	nop
2:	sub	$1, %eax
	jnz	1b
	sub	$1, %ecx
	jnz	history_calls
	RET
SYM_FUNC_END(history_jumps)

/*
 * int vmx_enter(struct wisp_general *general, u32 flags, u64 *host_rsp)
 *
 * Interrupts are off. An exit goes on at vmx_exited with the stack as it is at
 * the entry, where the pointer to the registers is its top.
 */
SYM_FUNC_START(vmx_enter)
	PUSH_HOST
	push	%rdi

	cmp	%rsp, (%rdx)
	je	11f
	mov	$HOST_RSP, %eax
1:	vmwrite	%rsp, %rax
	mov	%rsp, (%rdx)
11:
	/* What comes behind loads nothing but what is the guest's. */
	testb	$VMX_ENTER_VERW, %sil
	jz	2f
	verw	verw_selector(%rip)
2:	testb	$VMX_ENTER_RESUME, %sil

	/* MOV leaves the flags alone. */
	mov	G_RAX(%rdi), %rax
	LOAD_GUEST rdi
	jnz	4f
3:	vmlaunch
	jmp	5f
4:	vmresume
	/* Always: what follows is for exits. This way objtool sees its stack. */
5:	jbe	8f

SYM_INNER_LABEL(vmx_exited, SYM_L_GLOBAL)
	ENDBR
	push	%rax
	mov	8(%rsp), %rax
	SAVE_GUEST
	pop	G_RAX(%rax)

	/* Before the first RET: the guest filled the return predictors. */
	FILL_RETURN_BUFFER %rcx, RSB_CLEAR_LOOPS, X86_FEATURE_RSB_VMEXIT, \
		X86_FEATURE_RSB_VMEXIT_LITE
	/* IBRS holds only if it is written after the exit. */
	ALTERNATIVE "jmp 6f", "", X86_FEATURE_KERNEL_IBRS
	mov	$MSR_IA32_SPEC_CTRL, %ecx
	mov	PER_CPU_VAR(x86_spec_ctrl_current), %eax
	xor	%edx, %edx
	wrmsr
6:	ALTERNATIVE "jmp 7f", "", X86_FEATURE_CLEAR_BHB_LOOP_ON_VMEXIT
	mov	$5, %ecx
	call	history_calls
	lfence
7:	xor	%eax, %eax
	jmp	10f

8:	mov	$1, %eax
	jmp	10f
9:	mov	$2, %eax
10:	add	$8, %rsp
	POP_HOST
	RET

	_ASM_EXTABLE(1b, 9b)
	_ASM_EXTABLE(3b, 9b)
	_ASM_EXTABLE(4b, 9b)
SYM_FUNC_END(vmx_enter)
