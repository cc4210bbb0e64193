// SPDX-License-Identifier: MIT
#include "alu.h"

#include <stdbool.h>

#define STATUS	(FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

uint64_t alu_sign_extend(uint64_t value, unsigned int bits)
{
	return (uint64_t)((int64_t)(value << (64 - bits)) >> (64 - bits));
}

static uint64_t flag(bool is_set, uint64_t which)
{
	return is_set ? which : 0;
}

/* PF, ZF and SF, which mean the same everywhere. */
static uint64_t result_flags(uint64_t result, unsigned int bits)
{
	return flag(!__builtin_parity(result & 0xff), FLAG_PF) |
	       flag(!result, FLAG_ZF) |
	       flag(result >> (bits - 1) & 1, FLAG_SF);
}

/*
 * @carries: bit n: a carry (or borrow) came out of position n. The overflow
 * flag says that the last two differ.
 */
static uint64_t carry_flags(uint64_t carries, unsigned int bits)
{
	uint64_t last = carries >> (bits - 1);

	return flag(last & 1, FLAG_CF) | flag(carries >> 3 & 1, FLAG_AF) |
	       flag((last ^ carries >> (bits - 2)) & 1, FLAG_OF);
}

static uint64_t add(unsigned int bits, uint64_t a, uint64_t b, bool carry,
		    uint64_t *flags)
{
	uint64_t sum = a + b + carry;

	*flags = carry_flags((a & b) | ((a | b) & ~sum), bits);
	return sum;
}

static uint64_t subtract(unsigned int bits, uint64_t a, uint64_t b,
			 bool borrow, uint64_t *flags)
{
	uint64_t difference = a - b - borrow;

	*flags = carry_flags((~a & b) | ((~a | b) & difference), bits);
	return difference;
}

/* The flags that an operation leaves as they are. */
static uint64_t kept_flags(enum alu op)
{
	switch (op) {
	case ALU_NOT:
		return STATUS;
	case ALU_INC:
	case ALU_DEC:
		return FLAG_CF;
	default:
		return 0;
	}
}

uint64_t alu(enum alu op, unsigned int bits, uint64_t a, uint64_t b,
	     __u64 *rflags)
{
	bool carry = *rflags & FLAG_CF;
	uint64_t kept = ~STATUS | kept_flags(op);
	uint64_t result = 0, flags = 0;

	switch (op) {
	case ALU_ADD:
		result = add(bits, a, b, false, &flags);
		break;
	case ALU_ADC:
		result = add(bits, a, b, carry, &flags);
		break;
	case ALU_SUB:
		result = subtract(bits, a, b, false, &flags);
		break;
	case ALU_SBB:
		result = subtract(bits, a, b, carry, &flags);
		break;
	case ALU_INC:
		result = add(bits, a, 1, false, &flags);
		break;
	case ALU_DEC:
		result = subtract(bits, a, 1, false, &flags);
		break;
	case ALU_NEG:
		result = subtract(bits, 0, a, false, &flags);
		break;
	case ALU_AND:
		result = a & b;
		break;
	case ALU_OR:
		result = a | b;
		break;
	case ALU_XOR:
		result = a ^ b;
		break;
	case ALU_NOT:
		result = ~a;
		break;
	}
	result &= alu_mask(bits);
	flags |= result_flags(result, bits);
	*rflags = (*rflags & kept) | (flags & ~kept);
	return result;
}
