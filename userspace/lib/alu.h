/* SPDX-License-Identifier: MIT */
/* Integer operations and the flags that they set. */
#ifndef WISP_LIB_ALU_H
#define WISP_LIB_ALU_H

#include <linux/types.h>
#include <stdint.h>

enum alu {
	ALU_ADD, ALU_ADC, ALU_SUB, ALU_SBB, ALU_AND, ALU_OR, ALU_XOR,
	ALU_INC, ALU_DEC, ALU_NEG, ALU_NOT,
};

#define FLAG_CF		(1ULL << 0)
#define FLAG_PF		(1ULL << 2)
#define FLAG_AF		(1ULL << 4)
#define FLAG_ZF		(1ULL << 6)
#define FLAG_SF		(1ULL << 7)
#define FLAG_DF		(1ULL << 10)
#define FLAG_OF		(1ULL << 11)
#define FLAG_RF		(1ULL << 16)
#define FLAG_AC		(1ULL << 18)

/* @bits: 8, 16, 32 or 64; more of @a and @b is not looked at. */
uint64_t alu(enum alu op, unsigned int bits, uint64_t a, uint64_t b,
	     __u64 *rflags);

/* The lowest @bits ones. */
static inline uint64_t alu_mask(unsigned int bits)
{
	return ~0ULL >> (64 - bits);
}

uint64_t alu_sign_extend(uint64_t value, unsigned int bits);

#endif
