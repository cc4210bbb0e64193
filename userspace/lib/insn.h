/* SPDX-License-Identifier: MIT */
/* One guest instruction: its bytes, its operands and its memory. */
#ifndef WISP_LIB_INSN_H
#define WISP_LIB_INSN_H

#include <stdbool.h>
#include <wisp.h>

#include "decode.h"
#include "walk.h"

#define INSN_SS_VECTOR	12
#define INSN_GP_VECTOR	13
#define INSN_PF_VECTOR	14

/* No page has this address. */
#define INSN_NO_PAGE	UINT64_MAX

/**
 * struct insn - an instruction being assisted
 * @state: the vCPU's registers
 * @walk: its access to memory, with the vm fd and who answers outside the slots; what
 *	is the same for all of them is set when it is decoded
 * @bits: 16, 32 or 64: the mode of the code
 * @device_page: gpa of the page that the exit is about, or INSN_NO_PAGE
 * @in_slot: that page is in a slot, which may be read
 * @touched: an operand lies in that page
 * @ended: nothing of the instruction is left to do
 * @fault_vector: of the exception, where a function returned -EAGAIN
 * @fault_gva: address, of a page fault
 * @fault_code: error code
 * @error: why an access to RAM failed: -ENOMEM, -EIO; none is made then. Or 0
 * @decoded: by Zydis
 * @operands: of @decoded, the hidden ones too
 */
struct insn {
	struct wisp_state *state;
	struct walk walk;
	unsigned int bits;
	uint64_t device_page;
	bool in_slot;
	bool touched;
	bool ended;
	uint8_t fault_vector;
	uint64_t fault_gva;
	uint32_t fault_code;
	int error;
	const ZydisDecodedInstruction *decoded;
	const ZydisDecodedOperand *operands;
};

/**
 * struct span - where an operand is in guest-physical memory
 * @gpa: of each part; there are two where it crosses pages
 * @size: bytes of each part; the second may be 0
 */
struct span {
	uint64_t gpa[2];
	unsigned int size[2];
};

/*
 * Decodes what is at RIP, from @bytes if that is enough. Returns 0, -EOPNOTSUPP, or
 * why it cannot be read: -EFAULT, -EIO, -ENOMEM.
 */
int insn_decode(struct insn *insn, const uint8_t *bytes, size_t size);

/* RIP goes behind the instruction. */
void insn_advance(struct insn *insn);

/* The register, as an array of 16 by its encoding. */
__u64 *insn_general(struct insn *insn, unsigned int index);

/* Encoding and width of a general register; -1 for another kind of register. */
int insn_register_index(ZydisRegister reg, unsigned int *bits);

/* Returns 0, or -EOPNOTSUPP for a register that is none of the general ones. */
int insn_read_register(struct insn *insn, ZydisRegister reg, uint64_t *value);
int insn_write_register(struct insn *insn, ZydisRegister reg, uint64_t value);

/* The low @bits of a register, with the CPU's rule for the rest. */
void insn_set_low(__u64 *reg, unsigned int bits, uint64_t value);

/*
 * Where a memory operand is, moved by @displacement bytes. Returns 0, -EAGAIN for
 * an exception that the guest is to take, -EFAULT where a page table lies outside the
 * slots, or why one cannot be read: -EIO, -ENOMEM.
 */
int insn_locate(struct insn *insn, const ZydisDecodedOperand *operand,
		int64_t displacement, unsigned int size, uint32_t access,
		struct span *span);

/* What is in no slot is the device's; what failed although it is in one, @error says. */
uint64_t insn_read(struct insn *insn, const struct span *span);
void insn_write(struct insn *insn, const struct span *span, uint64_t value);

#endif
