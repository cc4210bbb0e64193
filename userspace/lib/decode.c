// SPDX-License-Identifier: MIT
/*
 * A guest's driver reaches its device by the same few instructions again and again,
 * and decoding one costs as much as all else that an assist does. Bytes and mode are
 * all that it depends on: so what is remembered by these never gets stale.
 */
#include "decode.h"

#include <string.h>

#define REMEMBERED_BITS	3

static _Thread_local struct decoded remembered[1 << REMEMBERED_BITS];

/* Fibonacci hashing. */
static unsigned int place(const uint64_t *key)
{
	return (key[0] ^ key[1]) * 0x9e3779b97f4a7c15 >> (64 - REMEMBERED_BITS);
}

static ZydisStackWidth stack_width(ZydisMachineMode mode)
{
	switch (mode) {
	case ZYDIS_MACHINE_MODE_LONG_64:
		return ZYDIS_STACK_WIDTH_64;
	case ZYDIS_MACHINE_MODE_LEGACY_32:
		return ZYDIS_STACK_WIDTH_32;
	default:
		return ZYDIS_STACK_WIDTH_16;
	}
}

const struct decoded *decode(ZydisMachineMode mode, uint8_t *bytes, size_t size)
{
	struct decoded *decoded;
	ZydisDecoder decoder;
	uint64_t key[2];

	/* It is not 0: no key is like that of a place where nothing is. */
	bytes[INSN_SIZE] = (uint8_t)(size | (unsigned int)mode << 4);
	memcpy(key, bytes, sizeof(key));
	decoded = &remembered[place(key)];
	if (decoded->key[0] == key[0] && decoded->key[1] == key[1])
		return decoded;

	decoded->key[1] = 0;
	/* What it lacks is ZYDIS_OPERAND_TYPE_UNUSED, and not of the one before it. */
	memset(decoded->operands, 0, sizeof(decoded->operands));
	ZydisDecoderInit(&decoder, mode, stack_width(mode));
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, size, &decoded->insn,
						 decoded->operands)))
		return NULL;
	memcpy(decoded->key, key, sizeof(key));
	return decoded;
}
