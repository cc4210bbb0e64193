// SPDX-License-Identifier: MIT
#include "insn.h"

#include <errno.h>
#include <string.h>

#include "alu.h"

#define CR0_PE		(1ULL << 0)
#define EFER_LMA	(1ULL << 10)
#define ATTRIBUTE_L	(1U << 13)
#define ATTRIBUTE_D	(1U << 14)

#define PAGE_MASK	((uint64_t)WISP_PAGE_SIZE - 1)

static bool is_user(const struct wisp_state *state)
{
	return (state->segments.ss.attributes >> 5 & 3) == 3;
}

static unsigned int code_bits(const struct wisp_state *state)
{
	uint16_t attributes = state->segments.cs.attributes;

	if (state->control.efer & EFER_LMA && attributes & ATTRIBUTE_L)
		return 64;
	return attributes & ATTRIBUTE_D ? 32 : 16;
}

/* Bytes from here to the end of the page, at most @size. */
static unsigned int in_page(uint64_t address, unsigned int size)
{
	unsigned int left = WISP_PAGE_SIZE - (address & PAGE_MASK);

	return size < left ? size : left;
}

static int translate(struct insn *insn, uint64_t gva, uint32_t access,
		     uint64_t *gpa)
{
	int ret;

	insn->walk.gva = gva;
	insn->walk.access = access;
	ret = walk_translate(&insn->walk, gpa, &insn->fault_code);
	if (ret == -ENXIO)
		return -EFAULT;
	if (ret != -EFAULT)
		return ret;
	insn->fault_vector = INSN_PF_VECTOR;
	insn->fault_gva = gva;
	return -EAGAIN;
}

/* ---- fetching and decoding ---------------------------------------------- */

static uint64_t linear(const struct insn *insn, uint64_t base, uint64_t offset)
{
	return insn->bits == 64 ? base + offset : (uint32_t)(base + offset);
}

static uint64_t code_gva(const struct insn *insn, uint64_t skipped)
{
	const struct wisp_state *state = insn->state;
	uint64_t base = insn->bits == 64 ? 0 : state->segments.cs.base;

	return linear(insn, base, state->general.rip + skipped);
}

/*
 * Reads as much as there is; the instruction may end before an absent page. @why
 * gets what an instruction that does not fails with.
 */
static size_t fetch(struct insn *insn, uint8_t *bytes, int *why)
{
	unsigned int done = 0;

	while (done < INSN_SIZE) {
		uint64_t gva = code_gva(insn, done), gpa;
		unsigned int size = in_page(gva, INSN_SIZE - done);
		int ret = translate(insn, gva, WISP_PROT_EXEC, &gpa) ?:
			  walk_read(insn->walk.vm, insn->walk.io, gpa, bytes + done, size);

		if (ret) {
			*why = ret == -EAGAIN || ret == -ERANGE ? -EFAULT : ret;
			break;
		}
		done += size;
	}
	return done;
}

static ZydisMachineMode machine_mode(const struct insn *insn)
{
	if (insn->bits == 64)
		return ZYDIS_MACHINE_MODE_LONG_64;
	if (insn->bits == 32)
		return ZYDIS_MACHINE_MODE_LEGACY_32;
	return insn->state->control.cr0 & CR0_PE ? ZYDIS_MACHINE_MODE_LEGACY_16 :
						   ZYDIS_MACHINE_MODE_REAL_16;
}

int insn_decode(struct insn *insn, const uint8_t *bytes, size_t size)
{
	uint8_t code[INSN_SIZE + 1] = { 0 };
	const struct decoded *decoded = NULL;
	ZydisMachineMode mode;
	int why = -EOPNOTSUPP;

	insn->walk.user = is_user(insn->state);
	insn->walk.no_smap = insn->state->general.rflags & FLAG_AC;
	insn->bits = code_bits(insn->state);
	mode = machine_mode(insn);
	if (size) {
		memcpy(code, bytes, size);
		decoded = decode(mode, code, size);
	}
	if (!decoded) {
		/* What the hardware gave may be cut off. */
		size = fetch(insn, code, &why);
		if (size)
			decoded = decode(mode, code, size);
	}
	if (!decoded)
		return why;
	insn->decoded = &decoded->insn;
	insn->operands = decoded->operands;
	return 0;
}

void insn_advance(struct insn *insn)
{
	struct wisp_general *general = &insn->state->general;
	uint64_t rip = general->rip + insn->decoded->length;

	general->rip = rip & alu_mask(insn->bits);
	insn->ended = true;
}

/* ---- registers ---------------------------------------------------------- */

/* struct wisp_general begins with them, in the order of their encoding. */
__u64 *insn_general(struct insn *insn, unsigned int index)
{
	return (__u64 *)((char *)&insn->state->general + index * 8);
}

void insn_set_low(__u64 *reg, unsigned int bits, uint64_t value)
{
	uint64_t mask = alu_mask(bits);

	/* Writing 32 bits clears the upper half. */
	if (bits == 32)
		*reg = 0;
	*reg = (*reg & ~mask) | (value & mask);
}

/* AH, CH, DH and BH, whose numbers are between those of BL and SPL. */
static bool is_high_byte(ZydisRegister reg)
{
	return reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH;
}

static bool is_between(ZydisRegister reg, ZydisRegister first, ZydisRegister last)
{
	return reg >= first && reg <= last;
}

/* Each width's are numbered in the order of their encoding, but for the four. */
int insn_register_index(ZydisRegister reg, unsigned int *bits)
{
	if (is_between(reg, ZYDIS_REGISTER_RAX, ZYDIS_REGISTER_R15)) {
		*bits = 64;
		return reg - ZYDIS_REGISTER_RAX;
	}
	if (is_between(reg, ZYDIS_REGISTER_EAX, ZYDIS_REGISTER_R15D)) {
		*bits = 32;
		return reg - ZYDIS_REGISTER_EAX;
	}
	if (is_between(reg, ZYDIS_REGISTER_AX, ZYDIS_REGISTER_R15W)) {
		*bits = 16;
		return reg - ZYDIS_REGISTER_AX;
	}
	if (is_between(reg, ZYDIS_REGISTER_AL, ZYDIS_REGISTER_R15B)) {
		*bits = 8;
		return reg <= ZYDIS_REGISTER_BL ? reg - ZYDIS_REGISTER_AL :
						  reg - ZYDIS_REGISTER_AH;
	}
	return -1;
}

int insn_read_register(struct insn *insn, ZydisRegister reg, uint64_t *value)
{
	unsigned int bits;
	int index = insn_register_index(reg, &bits);

	if (index < 0)
		return -EOPNOTSUPP;
	*value = *insn_general(insn, (unsigned int)index);
	if (is_high_byte(reg))
		*value >>= 8;
	*value &= alu_mask(bits);
	return 0;
}

int insn_write_register(struct insn *insn, ZydisRegister reg, uint64_t value)
{
	unsigned int bits;
	int index = insn_register_index(reg, &bits);
	__u64 *general;

	if (index < 0)
		return -EOPNOTSUPP;
	general = insn_general(insn, (unsigned int)index);
	if (is_high_byte(reg))
		*general = (*general & ~0xff00ULL) | (value & 0xff) << 8;
	else
		insn_set_low(general, bits, value);
	return 0;
}

/* ---- memory ------------------------------------------------------------- */

static uint64_t segment_base(const struct insn *insn, ZydisRegister segment)
{
	const struct wisp_segments *segments = &insn->state->segments;

	switch (segment) {
	case ZYDIS_REGISTER_FS:
		return segments->fs.base;
	case ZYDIS_REGISTER_GS:
		return segments->gs.base;
	default:
		break;
	}
	if (insn->bits == 64)
		return 0;
	switch (segment) {
	case ZYDIS_REGISTER_CS:
		return segments->cs.base;
	case ZYDIS_REGISTER_ES:
		return segments->es.base;
	case ZYDIS_REGISTER_SS:
		return segments->ss.base;
	default:
		return segments->ds.base;
	}
}

static uint64_t base_value(struct insn *insn, ZydisRegister reg)
{
	uint64_t value = 0;

	if (reg == ZYDIS_REGISTER_NONE)
		return 0;
	if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
		return insn->state->general.rip + insn->decoded->length;
	insn_read_register(insn, reg, &value);
	return value;
}

static uint64_t operand_gva(struct insn *insn,
			    const ZydisDecodedOperand *operand,
			    int64_t displacement)
{
	uint64_t offset = (uint64_t)displacement;

	offset += base_value(insn, operand->mem.base);
	offset += base_value(insn, operand->mem.index) * operand->mem.scale;
	if (operand->mem.disp.has_displacement)
		offset += (uint64_t)operand->mem.disp.value;
	offset &= alu_mask(insn->decoded->address_width);
	return linear(insn, segment_base(insn, operand->mem.segment), offset);
}

static uint64_t page_of(uint64_t gpa)
{
	return gpa & ~PAGE_MASK;
}

/* The CPU finds it before it looks at tables. */
static int not_canonical(struct insn *insn, ZydisRegister segment)
{
	insn->fault_vector = segment == ZYDIS_REGISTER_SS ? INSN_SS_VECTOR :
							    INSN_GP_VECTOR;
	insn->fault_code = 0;
	return -EAGAIN;
}

int insn_locate(struct insn *insn, const ZydisDecodedOperand *operand,
		int64_t displacement, unsigned int size, uint32_t access,
		struct span *span)
{
	uint64_t gva = operand_gva(insn, operand, displacement);
	int ret;

	span->size[0] = in_page(gva, size);
	span->size[1] = size - span->size[0];
	for (unsigned int i = 0; i < 2 && span->size[i]; i++) {
		ret = translate(insn, gva, access, &span->gpa[i]);
		if (ret == -ERANGE)
			return not_canonical(insn, operand->mem.segment);
		if (ret)
			return ret;
		if (page_of(span->gpa[i]) == insn->device_page)
			insn->touched = true;
		gva = linear(insn, gva, span->size[0]);
	}
	return 0;
}

/* Devices see 1, 2, 4 or 8 bytes at a time. */
static void access_device(struct insn *insn, uint64_t gpa, bool read,
			  uint8_t *data, unsigned int size)
{
	while (size) {
		unsigned int part = 1U << (31 - __builtin_clz(size));

		if (insn->walk.io->memory)
			insn->walk.io->memory(insn->walk.io->opaque, gpa, read,
					      data, part);
		gpa += part;
		data += part;
		size -= part;
	}
}

/* No device answers for RAM that is there, but for which the host has no page. */
static bool done(struct insn *insn, int ret)
{
	if (ret == -ENOMEM || ret == -EIO)
		insn->error = ret;
	return !ret || insn->error;
}

static void read_part(struct insn *insn, uint64_t gpa, uint8_t *data,
		      unsigned int size)
{
	bool device = page_of(gpa) == insn->device_page && !insn->in_slot;

	if (insn->error)
		return;
	if (device || !done(insn, walk_read(insn->walk.vm, insn->walk.io, gpa, data, size)))
		access_device(insn, gpa, true, data, size);
}

static void write_part(struct insn *insn, uint64_t gpa, uint8_t *data,
		       unsigned int size)
{
	bool device = page_of(gpa) == insn->device_page;

	/* Nobody gets what was not read. */
	if (insn->error)
		return;
	if (device || !done(insn, wisp_write(insn->walk.vm, gpa, data, size)))
		access_device(insn, gpa, false, data, size);
}

uint64_t insn_read(struct insn *insn, const struct span *span)
{
	uint8_t data[sizeof(uint64_t)] = { 0 };
	uint64_t value;

	read_part(insn, span->gpa[0], data, span->size[0]);
	if (span->size[1])
		read_part(insn, span->gpa[1], data + span->size[0],
			  span->size[1]);
	memcpy(&value, data, sizeof(value));
	return value;
}

void insn_write(struct insn *insn, const struct span *span, uint64_t value)
{
	uint8_t data[sizeof(uint64_t)];

	memcpy(data, &value, sizeof(value));
	write_part(insn, span->gpa[0], data, span->size[0]);
	if (span->size[1])
		write_part(insn, span->gpa[1], data + span->size[0],
			   span->size[1]);
}
