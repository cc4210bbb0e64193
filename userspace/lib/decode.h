/* SPDX-License-Identifier: MIT */
/* Decoding by Zydis, and a memory for what was decoded last. */
#ifndef WISP_LIB_DECODE_H
#define WISP_LIB_DECODE_H

#include <Zydis/Zydis.h>
#include <stddef.h>
#include <stdint.h>

/* The longest that there is. */
#define INSN_SIZE	15

/**
 * struct decoded - an instruction
 * @key: what it was decoded from: INSN_SIZE bytes, then their number and the mode
 * @insn: by Zydis
 * @operands: of @insn, the hidden ones too; behind them ZYDIS_OPERAND_TYPE_UNUSED
 */
struct decoded {
	uint64_t key[2];
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

/*
 * Decodes the instruction that @size bytes (1 to INSN_SIZE) of INSN_SIZE + 1 begin with.
 * The last one is overwritten, and the others are only to be the same the next time.
 * What it returns stays until this thread decodes the next one; NULL: @bytes do not
 * begin with a whole instruction.
 */
const struct decoded *decode(ZydisMachineMode mode, uint8_t *bytes, size_t size);

#endif
