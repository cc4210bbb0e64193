// SPDX-License-Identifier: MIT
/*
 * What the driver leaves to the VMM, because it takes decoding: accesses to
 * memory that is not there, and string I/O.
 *
 * All operands are located before any is accessed, so that an instruction that
 * takes a page fault has done nothing and can be run again.
 */
#include <wisp.h>

#include <errno.h>

#include "alu.h"
#include "insn.h"

/* Elements of a REP that are done in one call. */
#define REP_MAX		1024

enum { RAX = 0, RCX = 1, RSI = 6, RDI = 7 };

/* ---- operands ----------------------------------------------------------- */

static unsigned int operand_bits(const struct insn *insn, unsigned int index)
{
	return insn->operands[index].size;
}

static bool is_memory(const struct insn *insn, unsigned int index)
{
	return insn->operands[index].type == ZYDIS_OPERAND_TYPE_MEMORY;
}

static int locate(struct insn *insn, unsigned int index, uint32_t access,
		  struct span *span)
{
	unsigned int bits = operand_bits(insn, index);

	if (!is_memory(insn, index) ||
	    (bits != 8 && bits != 16 && bits != 32 && bits != 64))
		return -EOPNOTSUPP;
	return insn_locate(insn, &insn->operands[index], 0, bits / 8, access,
			   span);
}

/* A register or an immediate. */
static int read_plain(struct insn *insn, unsigned int index, uint64_t *value)
{
	const ZydisDecodedOperand *operand = &insn->operands[index];

	switch (operand->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		return insn_read_register(insn, operand->reg.value, value);
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		*value = operand->imm.value.u;
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

/* The instruction has to be the one that exited. */
static int check_touched(const struct insn *insn)
{
	return insn->touched ? 0 : -EOPNOTSUPP;
}

/* ---- one element -------------------------------------------------------- */

/* MOV and its kin, to memory or from it. */
static int do_move(struct insn *insn, bool sign_extends)
{
	unsigned int source_bits = operand_bits(insn, 1);
	struct span span;
	uint64_t value;
	int ret;

	if (is_memory(insn, 0)) {
		ret = read_plain(insn, 1, &value) ?:
		      locate(insn, 0, WISP_PROT_WRITE, &span) ?:
		      check_touched(insn);
		if (!ret)
			insn_write(insn, &span, value);
		return ret;
	}
	/* Asked first: a register that cannot be written must not be read for. */
	ret = read_plain(insn, 0, &value) ?:
	      locate(insn, 1, WISP_PROT_READ, &span) ?: check_touched(insn);
	if (ret)
		return ret;
	value = insn_read(insn, &span);
	if (sign_extends)
		value = alu_sign_extend(value, source_bits);
	return insn_write_register(insn, insn->operands[0].reg.value, value);
}

/* Two operands, one of them in memory; @stores: the first gets the result. */
static int do_alu(struct insn *insn, enum alu op, bool stores)
{
	__u64 *rflags = &insn->state->general.rflags;
	unsigned int bits = operand_bits(insn, 0);
	bool to_memory = is_memory(insn, 0);
	uint32_t access = to_memory && stores ? WISP_PROT_WRITE :
						WISP_PROT_READ;
	uint64_t plain = 0, value, result;
	struct span span;
	int ret = 0;

	/* INC, DEC, NEG and NOT have no second operand, but flags. */
	if (op < ALU_INC || !to_memory)
		ret = read_plain(insn, to_memory, &plain);
	ret = ret ?: locate(insn, !to_memory, access, &span) ?:
	      check_touched(insn);
	if (ret)
		return ret;
	value = insn_read(insn, &span);
	if (to_memory)
		result = alu(op, bits, value, plain, rflags);
	else
		result = alu(op, bits, plain, value, rflags);
	if (!stores)
		return 0;
	if (!to_memory)
		return insn_write_register(insn, insn->operands[0].reg.value,
					   result);
	insn_write(insn, &span, result);
	return 0;
}

static int do_exchange(struct insn *insn)
{
	unsigned int memory = !is_memory(insn, 0);
	struct span span;
	uint64_t plain;
	uint64_t value;
	int ret;

	ret = read_plain(insn, !memory, &plain) ?:
	      locate(insn, memory, WISP_PROT_WRITE, &span) ?:
	      check_touched(insn);
	if (ret)
		return ret;
	value = insn_read(insn, &span);
	insn_write(insn, &span, plain);
	return insn_write_register(insn, insn->operands[!memory].reg.value,
				   value);
}

static uint64_t change_bit(ZydisMnemonic mnemonic, uint64_t value, uint64_t bit)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_BTS:
		return value | bit;
	case ZYDIS_MNEMONIC_BTR:
		return value & ~bit;
	case ZYDIS_MNEMONIC_BTC:
		return value ^ bit;
	default:
		return value;
	}
}

/* A bit number in a register reaches beyond the operand, both ways. */
static int do_bit(struct insn *insn)
{
	ZydisMnemonic mnemonic = insn->decoded->mnemonic;
	bool stores = mnemonic != ZYDIS_MNEMONIC_BT;
	__u64 *rflags = &insn->state->general.rflags;
	unsigned int bits = operand_bits(insn, 0);
	int64_t displacement = 0;
	uint64_t number, value, bit;
	struct span span;
	int ret;

	if (!is_memory(insn, 0))
		return -EOPNOTSUPP;
	ret = read_plain(insn, 1, &number);
	if (ret)
		return ret;
	bit = 1ULL << (number & (bits - 1));
	if (insn->operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER)
		displacement = ((int64_t)alu_sign_extend(number, bits) >> 3) &
			       -(int64_t)(bits / 8);
	ret = insn_locate(insn, &insn->operands[0], displacement, bits / 8,
			  stores ? WISP_PROT_WRITE : WISP_PROT_READ, &span) ?:
	      check_touched(insn);
	if (ret)
		return ret;
	value = insn_read(insn, &span);
	*rflags = (*rflags & ~FLAG_CF) | (value & bit ? FLAG_CF : 0);
	if (stores)
		insn_write(insn, &span, change_bit(mnemonic, value, bit));
	return 0;
}

static int do_single(struct insn *insn)
{
	switch (insn->decoded->mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
	case ZYDIS_MNEMONIC_MOVNTI:
	case ZYDIS_MNEMONIC_MOVZX:
		return do_move(insn, false);
	case ZYDIS_MNEMONIC_MOVSX:
	case ZYDIS_MNEMONIC_MOVSXD:
		return do_move(insn, true);
	case ZYDIS_MNEMONIC_ADD:
		return do_alu(insn, ALU_ADD, true);
	case ZYDIS_MNEMONIC_ADC:
		return do_alu(insn, ALU_ADC, true);
	case ZYDIS_MNEMONIC_SUB:
		return do_alu(insn, ALU_SUB, true);
	case ZYDIS_MNEMONIC_SBB:
		return do_alu(insn, ALU_SBB, true);
	case ZYDIS_MNEMONIC_CMP:
		return do_alu(insn, ALU_SUB, false);
	case ZYDIS_MNEMONIC_AND:
		return do_alu(insn, ALU_AND, true);
	case ZYDIS_MNEMONIC_TEST:
		return do_alu(insn, ALU_AND, false);
	case ZYDIS_MNEMONIC_OR:
		return do_alu(insn, ALU_OR, true);
	case ZYDIS_MNEMONIC_XOR:
		return do_alu(insn, ALU_XOR, true);
	case ZYDIS_MNEMONIC_INC:
		return do_alu(insn, ALU_INC, true);
	case ZYDIS_MNEMONIC_DEC:
		return do_alu(insn, ALU_DEC, true);
	case ZYDIS_MNEMONIC_NEG:
		return do_alu(insn, ALU_NEG, true);
	case ZYDIS_MNEMONIC_NOT:
		return do_alu(insn, ALU_NOT, true);
	case ZYDIS_MNEMONIC_XCHG:
		return do_exchange(insn);
	case ZYDIS_MNEMONIC_BT:
	case ZYDIS_MNEMONIC_BTS:
	case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTC:
		return do_bit(insn);
	default:
		return -EOPNOTSUPP;
	}
}

/* ---- string instructions ------------------------------------------------ */

/* By opcode without its lowest bit, which tells bytes from larger elements. */
enum string {
	STRING_INS = 0x6c,
	STRING_OUTS = 0x6e,
	STRING_MOVS = 0xa4,
	STRING_CMPS = 0xa6,
	STRING_STOS = 0xaa,
	STRING_LODS = 0xac,
	STRING_SCAS = 0xae,
};

static bool is_string(const struct insn *insn)
{
	return insn->decoded->meta.category == ZYDIS_CATEGORY_STRINGOP;
}

static enum string string_kind(const struct insn *insn)
{
	return insn->decoded->opcode & 0xfe;
}

static bool has_repeat(const struct insn *insn)
{
	return insn->decoded->attributes & (ZYDIS_ATTRIB_HAS_REP |
					   ZYDIS_ATTRIB_HAS_REPE |
					   ZYDIS_ATTRIB_HAS_REPNE);
}

/* Where the operands of one element are; -1 for one that there is not. */
struct element {
	int source;		/* operand at rSI */
	int target;		/* operand at rDI */
	unsigned int size;
	struct span from;
	struct span to;
};

static bool uses_source(enum string kind)
{
	return kind == STRING_MOVS || kind == STRING_CMPS ||
	       kind == STRING_LODS || kind == STRING_OUTS;
}

static bool uses_target(enum string kind)
{
	return kind != STRING_LODS && kind != STRING_OUTS;
}

static bool reads_target(enum string kind)
{
	return kind == STRING_CMPS || kind == STRING_SCAS;
}

static int find_operand(const struct insn *insn, int index)
{
	unsigned int bits;

	for (unsigned int i = 0; i < insn->decoded->operand_count; i++)
		if (is_memory(insn, i) &&
		    insn_register_index(insn->operands[i].mem.base, &bits) ==
		    index)
			return (int)i;
	return -1;
}

static int find_element(struct insn *insn, struct element *element)
{
	enum string kind = string_kind(insn);

	element->source = uses_source(kind) ? find_operand(insn, RSI) : -1;
	element->target = uses_target(kind) ? find_operand(insn, RDI) : -1;
	if (uses_source(kind) != (element->source >= 0) ||
	    uses_target(kind) != (element->target >= 0))
		return -EOPNOTSUPP;
	element->size = operand_bits(insn, element->source >= 0 ?
				     (unsigned int)element->source :
				     (unsigned int)element->target) / 8;
	return element->size > 8 ? -EOPNOTSUPP : 0;
}

static int locate_element(struct insn *insn, struct element *element)
{
	uint32_t access = reads_target(string_kind(insn)) ? WISP_PROT_READ :
							    WISP_PROT_WRITE;
	int ret = 0;

	if (element->source >= 0)
		ret = locate(insn, (unsigned int)element->source,
			     WISP_PROT_READ, &element->from);
	if (!ret && element->target >= 0)
		ret = locate(insn, (unsigned int)element->target, access,
			     &element->to);
	return ret;
}

static void transfer_port(struct insn *insn, const struct element *element)
{
	bool in = string_kind(insn) == STRING_INS;
	uint16_t port = (uint16_t)insn->state->general.rdx;
	uint64_t value = in ? 0 : insn_read(insn, &element->from);

	if (insn->error)
		return;
	insn->walk.io->port(insn->walk.io->opaque, port, in, &value, element->size);
	if (in)
		insn_write(insn, &element->to, value);
}

static void transfer(struct insn *insn, const struct element *element)
{
	__u64 *rflags = &insn->state->general.rflags;
	__u64 *rax = insn_general(insn, RAX);
	unsigned int bits = element->size * 8;
	uint64_t value;

	switch (string_kind(insn)) {
	case STRING_MOVS:
		insn_write(insn, &element->to,
			   insn_read(insn, &element->from));
		break;
	case STRING_STOS:
		insn_write(insn, &element->to, *rax);
		break;
	case STRING_LODS:
		insn_set_low(rax, bits, insn_read(insn, &element->from));
		break;
	case STRING_CMPS:
		value = insn_read(insn, &element->from);
		alu(ALU_SUB, bits, value, insn_read(insn, &element->to),
		    rflags);
		break;
	case STRING_SCAS:
		alu(ALU_SUB, bits, *rax, insn_read(insn, &element->to), rflags);
		break;
	case STRING_INS:
	case STRING_OUTS:
		transfer_port(insn, element);
		break;
	}
}

static void step(struct insn *insn, unsigned int index, int64_t by)
{
	__u64 *reg = insn_general(insn, index);

	insn_set_low(reg, insn->decoded->address_width, *reg + (uint64_t)by);
}

static void step_all(struct insn *insn, const struct element *element)
{
	int64_t by = element->size;

	if (insn->state->general.rflags & FLAG_DF)
		by = -by;
	if (element->source >= 0)
		step(insn, RSI, by);
	if (element->target >= 0)
		step(insn, RDI, by);
	if (has_repeat(insn))
		step(insn, RCX, -1);
}

static bool is_repeat_over(struct insn *insn)
{
	bool zero = insn->state->general.rflags & FLAG_ZF;
	uint64_t mask = alu_mask(insn->decoded->address_width);

	if (!has_repeat(insn) || !(*insn_general(insn, RCX) & mask))
		return true;
	if (!reads_target(string_kind(insn)))
		return false;
	return insn->decoded->attributes & ZYDIS_ATTRIB_HAS_REPNE ? zero : !zero;
}

/*
 * As many elements as concern us: once the operands have left the page of the
 * exit, the CPU goes on by itself.
 */
static int do_string(struct insn *insn, bool needs_touch)
{
	uint64_t mask = alu_mask(insn->decoded->address_width);
	struct element element;
	int ret = find_element(insn, &element);

	if (!ret && has_repeat(insn) && !(*insn_general(insn, RCX) & mask))
		ret = -EOPNOTSUPP;
	for (unsigned int i = 0; !ret && i < REP_MAX; i++) {
		insn->touched = false;
		ret = locate_element(insn, &element);
		if (!ret && needs_touch && !insn->touched)
			return i ? 0 : -EOPNOTSUPP;
		/* What stops an element other than the first does so again, by the next exit. */
		if (ret)
			return i && ret != -EAGAIN ? 0 : ret;
		transfer(insn, &element);
		if (insn->error)
			return i ? 0 : insn->error;
		step_all(insn, &element);
		if (is_repeat_over(insn)) {
			insn_advance(insn);
			break;
		}
	}
	return ret;
}

/* ---- the calls ---------------------------------------------------------- */

/* What decoding does not set; each field by itself, since there are many. */
static void begin(struct insn *insn, int vm, struct wisp_vcpu_page *page,
		  const struct wisp_io *io)
{
	insn->state = &page->state;
	insn->walk.vm = vm;
	insn->walk.io = io;
	insn->walk.control = &page->state.control;
	insn->device_page = INSN_NO_PAGE;
	insn->in_slot = false;
	insn->touched = false;
	insn->ended = false;
	insn->error = 0;
}

/* -EAGAIN is an exception, for the guest to take. */
static int finish(struct insn *insn, struct wisp_vcpu_page *page, int ret)
{
	if (ret && ret != -EAGAIN)
		return ret;
	page->dirty |= WISP_STATE_GENERAL;
	if (!ret) {
		page->complete = insn->ended;
		return 0;
	}
	page->state.general.rflags |= FLAG_RF;
	if (insn->fault_vector == INSN_PF_VECTOR) {
		page->state.control.cr2 = insn->fault_gva;
		page->dirty |= WISP_STATE_CONTROL;
	}
	page->inject = (struct wisp_event){
		.type = WISP_EVENT_EXCEPTION,
		.vector = insn->fault_vector,
		.has_error_code = 1,
		.error_code = insn->fault_code,
	};
	return 0;
}

static int port_single(struct wisp_vcpu_page *page, const struct wisp_io *io)
{
	const struct wisp_exit *exit = &page->exit;
	bool in = exit->port.flags & WISP_PORT_IN;
	uint64_t data = in ? 0 : exit->port.data;

	io->port(io->opaque, exit->port.port, in, &data, exit->port.size);
	page->reply = in ? data : 0;
	page->complete = 1;
	return 0;
}

static bool is_that_port_string(const struct insn *insn,
				const struct wisp_exit *exit)
{
	bool in = exit->port.flags & WISP_PORT_IN;

	return insn->decoded->meta.category == ZYDIS_CATEGORY_IOSTRINGOP &&
	       string_kind(insn) == (in ? STRING_INS : STRING_OUTS) &&
	       exit->port.port == (uint16_t)insn->state->general.rdx;
}

int wisp_assist_port(int vm, struct wisp_vcpu_page *page,
		     const struct wisp_io *io)
{
	struct insn insn;
	int ret;

	if (page->exit.reason != WISP_EXIT_PORT)
		return -EINVAL;
	if (!(page->exit.port.flags & WISP_PORT_STRING))
		return port_single(page, io);
	begin(&insn, vm, page, io);
	ret = insn_decode(&insn, NULL, 0);
	if (!ret && !is_that_port_string(&insn, &page->exit))
		ret = -EOPNOTSUPP;
	return finish(&insn, page, ret ?: do_string(&insn, false));
}

static int do_memory(struct insn *insn)
{
	int ret;

	if (is_string(insn))
		return do_string(insn, true);
	ret = do_single(insn) ?: insn->error;
	if (!ret)
		insn_advance(insn);
	return ret;
}

/* Whether the page is RAM that may be read: in a slot, unless WISP_PROTECT forbids all. */
static bool is_readable(const struct wisp_exit *exit)
{
	return exit->memory.flags & (WISP_MEMORY_SLOT | WISP_MEMORY_PROTECTED) &&
	       !(exit->memory.flags & WISP_MEMORY_UNREADABLE);
}

int wisp_assist_memory(int vm, struct wisp_vcpu_page *page,
		       const struct wisp_io *io)
{
	const struct wisp_exit *exit = &page->exit;
	size_t size = exit->memory.inst_bytes_len;
	struct insn insn;
	int ret;

	if (exit->reason != WISP_EXIT_MEMORY || size > INSN_SIZE)
		return -EINVAL;
	if (exit->memory.flags & WISP_MEMORY_IO)
		return -EIO;
	if (exit->memory.flags & (WISP_MEMORY_WALK | WISP_MEMORY_DELIVERY) ||
	    exit->memory.access & WISP_PROT_EXEC)
		return -EOPNOTSUPP;
	begin(&insn, vm, page, io);
	insn.device_page = exit->memory.gpa & -(uint64_t)WISP_PAGE_SIZE;
	insn.in_slot = is_readable(exit);
	ret = insn_decode(&insn, exit->memory.inst_bytes, size);
	return finish(&insn, page, ret ?: do_memory(&insn));
}
