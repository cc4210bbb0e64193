// SPDX-License-Identifier: GPL-2.0
/*
 * Random code as a guest, in each mode: bytes as they come, and mixes of what
 * the driver has to do with. It may do as it likes with its memory and its
 * time; it must not end in a way that only the driver could be to blame for.
 */
#include <stdio.h>
#include <wisp.h>

#include "fuzz.h"
#include "machine.h"

#define CODE_SIZE	192
#define BUDGET_NS	3000000
#define MAX_RUNS	12
#define RFLAGS_VM	(1ULL << 17)
#define LTR_CODE	(GUEST_CODE - 0x80)

static struct guest guest;
static bool tcg;

/* An instruction's opcode, and how many random bytes may belong to it. */
struct piece {
	const char *bytes;
	__u8 size;
	__u8 random;
};

#define PIECE(_bytes, _random) \
	{ .bytes = _bytes, .size = sizeof(_bytes) - 1, .random = _random }

static const struct piece pieces[] = {
	/* CPUID, MSRs, HLT, VMMCALL, SVM's own, XGETBV and XSETBV */
	PIECE("\x0f\xa2", 0), PIECE("\x0f\x32", 0), PIECE("\x0f\x30", 0),
	PIECE("\xf4", 0), PIECE("\x0f\x01\xd9", 0), PIECE("\x0f\x01\xd8", 0),
	PIECE("\x0f\x01\xda", 0), PIECE("\x0f\x01\xdb", 0),
	PIECE("\x0f\x01\xdc", 0), PIECE("\x0f\x01\xdd", 0),
	PIECE("\x0f\x01\xde", 0), PIECE("\x0f\x01\xdf", 0),
	PIECE("\x0f\x01\xd0", 0), PIECE("\x0f\x01\xd1", 0),
	/* MONITOR, MWAIT, SWAPGS, RDTSCP, RDPRU, RDPMC, RDTSC, PAUSE */
	PIECE("\x0f\x01\xc8", 0), PIECE("\x0f\x01\xc9", 0),
	PIECE("\x0f\x01\xf8", 0), PIECE("\x0f\x01\xf9", 0),
	PIECE("\x0f\x01\xfd", 0), PIECE("\x0f\x33", 0), PIECE("\x0f\x31", 0),
	PIECE("\xf3\x90", 0),
	/* CLTS, INVD, WBINVD, RSM, UD2 */
	PIECE("\x0f\x06", 0), PIECE("\x0f\x08", 0), PIECE("\x0f\x09", 0),
	PIECE("\x0f\xaa", 0), PIECE("\x0f\x0b", 0),
	/* INT3, INT, INTO, ICEBP, IRET, PUSHF, POPF, CLI, STI */
	PIECE("\xcc", 0), PIECE("\xcd", 1), PIECE("\xce", 0), PIECE("\xf1", 0),
	PIECE("\xcf", 0), PIECE("\x9c", 0), PIECE("\x9d", 0), PIECE("\xfa", 0),
	PIECE("\xfb", 0),
	/* MOV of control and debug registers, system tables, LMSW, INVLPG */
	PIECE("\x0f\x20", 1), PIECE("\x0f\x22", 1), PIECE("\x0f\x21", 1),
	PIECE("\x0f\x23", 1), PIECE("\x0f\x00", 2), PIECE("\x0f\x01", 3),
	/* Segments, and far transfers */
	PIECE("\x8e", 1), PIECE("\x8c", 1), PIECE("\x17", 0), PIECE("\x1f", 0),
	PIECE("\x0f\xb2", 2), PIECE("\x0f\xa1", 0), PIECE("\xea", 6),
	PIECE("\x9a", 6), PIECE("\xcb", 0), PIECE("\x0f\x05", 0),
	PIECE("\x0f\x07", 0), PIECE("\x0f\x34", 0), PIECE("\x0f\x35", 0),
	/* Ports, strings, FXSAVE and its kin, ENTER, BOUND */
	PIECE("\xe4", 1), PIECE("\xe6", 1), PIECE("\xec", 0), PIECE("\xef", 0),
	PIECE("\x6c", 0), PIECE("\x6f", 0), PIECE("\xab", 0), PIECE("\xa4", 0),
	PIECE("\xf3\xab", 0), PIECE("\xf3\x6e", 0), PIECE("\x0f\xae", 3),
	PIECE("\x0f\xc7", 3), PIECE("\xc8", 3), PIECE("\x62", 2),
	/* Registers to do it with, and loops */
	PIECE("\x50", 0), PIECE("\x58", 0), PIECE("\x54", 0), PIECE("\x6a", 1),
	PIECE("\x31", 1), PIECE("\x01", 1), PIECE("\x89", 2), PIECE("\x8b", 2),
	PIECE("\xeb", 1), PIECE("\x75", 1), PIECE("\xe2", 1),
};

/* Lengths of the operands of the mode do not matter: they overlap then. */
static const __u32 msrs[] = {
	0x10, 0x1b, 0x174, 0x175, 0x176, 0x1d9, 0x277, 0xc0000080, 0xc0000081,
	0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102,
	0xc0000103, 0xc0010114, 0xc0010117, MACHINE_MSR_EXITS, MACHINE_MSR_IGNORED,
};

/* What sets up a register: MOV ECX to an MSR, MOV EAX to anything. */
static unsigned int put_operand(struct fuzz *f, __u8 *code)
{
	__u32 value = random_hostile(&f->random);

	code[0] = 0xb8 + fuzz_below(f, 4);
	if (code[0] == 0xb9)
		value = msrs[fuzz_below(f, sizeof(msrs) / sizeof(*msrs))];
	memcpy(code + 1, &value, sizeof(value));
	return 5;
}

static unsigned int put_piece(struct fuzz *f, __u8 *code)
{
	static const __u8 prefixes[] = {
		0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x64, 0x48, 0x4c,
	};
	const struct piece *piece;
	unsigned int size = 0;

	if (fuzz_once_in(f, 4))
		return put_operand(f, code);
	if (fuzz_once_in(f, 8))
		code[size++] = prefixes[fuzz_below(f, sizeof(prefixes))];
	piece = &pieces[fuzz_below(f, sizeof(pieces) / sizeof(*pieces))];
	memcpy(code + size, piece->bytes, piece->size);
	size += piece->size;
	for (int i = 0; i < piece->random; i++)
		code[size++] = random_next(&f->random);
	return size;
}

/*
 * What QEMU's TCG cannot do: see Documentation/testing.rst. There a write to DR7
 * (or DR5, which may be the same), CR0, CR4, CR8 (LOCK or REX.R, and CR0) or a
 * CR3 of 64 bits is a read, and LTR is STR.
 */
static void disarm(__u8 *code, bool is_64)
{
	for (int i = 0; i + 2 < CODE_SIZE; i++) {
		__u8 reg = code[i + 2] >> 3 & 7;

		if (code[i] != 0x0f)
			continue;
		if (code[i + 1] == 0x23 && (reg == 5 || reg == 7))
			code[i + 1] = 0x21;
		if (code[i + 1] == 0x00 && reg == 3)
			code[i + 2] ^= 2 << 3;
		if (code[i + 1] == 0x22 && (reg == 0 || reg == 4 || (is_64 && reg == 3)))
			code[i + 1] = 0x20;
	}
}

/*
 * QEMU's TCG ends itself where a guest outside of long mode goes to an inner
 * ring by a TSS that is busy, and a TSS that a VMM sets is. LTR leaves another.
 */
static void begin_with_ltr(void)
{
	/* mov $0x58, %ax; ltr %ax; jmp GUEST_CODE */
	static const __u8 code[] = {
		0x66, 0xb8, 0x58, 0x00, 0x0f, 0x00, 0xd8,
		0xe9, GUEST_CODE - LTR_CODE - 12, 0x00, 0x00, 0x00,
	};

	memcpy(guest_at(&guest, LTR_CODE), code, sizeof(code));
	guest.page->state.general.rip = LTR_CODE;
}

static void make_code(struct fuzz *f, enum guest_mode mode, __u8 *code)
{
	bool grammar = !fuzz_once_in(f, 3);
	unsigned int size = 0;

	memset(code, 0x90, CODE_SIZE);
	while (size < CODE_SIZE - 16) {
		if (grammar)
			size += put_piece(f, code + size);
		else
			code[size++] = random_next(&f->random);
	}
	if (tcg)
		disarm(code, mode >= LONG64);
}

/* Handlers in the middle of the code, for the modes whose table fits it. */
static void aim_handlers(struct fuzz *f, enum guest_mode mode)
{
	for (int i = 0; i < 256; i++) {
		__u64 to = GUEST_CODE + fuzz_below(f, CODE_SIZE);
		__u64 *idt = guest_at(&guest, GUEST_IDT);
		__u32 *ivt = guest_at(&guest, 0);

		if (mode == REAL16)
			ivt[i] = (GUEST_CODE >> 4) << 16 | (to - GUEST_CODE);
		else if (mode == PROTECTED32)
			idt[i] = (to & 0xffff) | 0x18 << 16 |
				 0xeeULL << 40 | (to >> 16) << 48;
		else
			idt[2 * i] = (to & 0xffff) | GUEST_CS64 << 16 |
				     0xeeULL << 40 | (to >> 16) << 48;
	}
}

static __u64 random_register(struct fuzz *f)
{
	switch (fuzz_below(f, 3)) {
	case 0:
		return fuzz_below(f, MACHINE_SIZE);
	case 1:
		return fuzz_below(f, 256);
	default:
		return random_hostile(&f->random);
	}
}

static void make_registers(struct fuzz *f, enum guest_mode mode)
{
	struct wisp_general *general = &guest.page->state.general;
	__u64 rsp = general->rsp, rip = general->rip;

	for (__u64 *reg = &general->rax; reg <= &general->r15; reg++) {
		*reg = random_register(f);
		/* QEMU's TCG jumps to all of it in 32-bit code, too. */
		if (tcg && mode < LONG64)
			*reg = (__u32)*reg;
	}
	general->rsp = rsp;
	general->rip = rip;
	general->rflags |= random_next(&f->random) &
			   (RFLAGS_IF | RFLAGS_DF | RFLAGS_AC | 0xd5);
	if (fuzz_once_in(f, 8))
		general->rflags |= RFLAGS_TF;
	if (fuzz_once_in(f, 2))
		guest.page->state.control.cr0 |= CR0_AM;
}

static void make_request(struct fuzz *f)
{
	struct wisp_vcpu_page *page = guest.page;

	page->budget_ns = BUDGET_NS;
	page->want = STATE_ALL;
	page->flags = fuzz_once_in(f, 2) ? 0 : random_next(&f->random) & 0xf;
	if (fuzz_once_in(f, 2)) {
		page->inject.type = WISP_EVENT_INTERRUPT;
		page->inject.vector = random_next(&f->random);
	} else if (fuzz_once_in(f, 4)) {
		page->inject.type = WISP_EVENT_NMI;
		page->inject.vector = 2;
	}
}

static enum guest_mode make_guest(struct fuzz *f)
{
	enum guest_mode mode = fuzz_below(f, 4);
	char code[CODE_SIZE];

	machine_reset(&guest);
	make_code(f, mode, (__u8 *)code);
	guest_load(&guest, mode, code, code + CODE_SIZE);
	if (tcg && mode == PROTECTED32)
		begin_with_ltr();
	make_registers(f, mode);
	if (!fuzz_once_in(f, 3))
		aim_handlers(f, mode);
	make_request(f);
	return mode;
}

static bool completable(const struct wisp_exit *exit)
{
	switch (exit->reason) {
	case WISP_EXIT_MEMORY:
		return !(exit->memory.flags & WISP_MEMORY_DELIVERY);
	case WISP_EXIT_PORT:
	case WISP_EXIT_MSR:
	case WISP_EXIT_HLT:
	case WISP_EXIT_HYPERCALL:
		return true;
	default:
		return false;
	}
}

/* Prepares the next run, if there is to be one. */
static bool go_on(struct fuzz *f)
{
	struct wisp_vcpu_page *page = guest.page;

	if (completable(&page->exit)) {
		page->complete = 1;
		page->reply = random_hostile(&f->random);
		return true;
	}
	if (page->exit.reason == WISP_EXIT_INTR_WINDOW)
		page->flags &= ~WISP_RUN_INTR_WINDOW;
	return page->exit.reason == WISP_EXIT_INTR_WINDOW ||
	       page->exit.reason == WISP_EXIT_DEBUG;
}

static void make_canonical(__u64 *gva)
{
	*gva = (__s64)(*gva << 16) >> 16;
}

/* What QEMU's TCG lets a guest have, and the hardware does not. */
static void forgive_tcg(struct wisp_state *s)
{
	struct wisp_segments *segments = &s->segments;
	struct wisp_msrs *msrs = &s->msrs;

	/* SYSRET takes VM from R11. */
	if (s->control.efer & EFER_LMA)
		s->general.rflags &= ~RFLAGS_VM;
	/* A TSS that LTR loaded is not busy. */
	segments->tr.attributes |= 2;
	/* WRMSR, LGDT and LIDT take anything. */
	for (struct wisp_segment *seg = &segments->cs; seg <= &segments->idt; seg++)
		make_canonical(&seg->base);
	make_canonical(&msrs->kernel_gs_base);
	make_canonical(&msrs->lstar);
	make_canonical(&msrs->cstar);
	make_canonical(&msrs->sysenter_esp);
	make_canonical(&msrs->sysenter_eip);
	msrs->sfmask = (__u32)msrs->sfmask;
}

/*
 * What a guest did must be something that its VMM can give back: to another
 * vCPU, since this one would forget what it is to complete.
 */
static void check_state(struct fuzz *f, const char *mode)
{
	struct wisp_state *s = &guest.page->state;
	__u32 field = 0;
	int ret;

	if (tcg)
		forgive_tcg(s);
	ret = raw_set_state(guest.vm, 1, STATE_ALL, s, &field);
	if (ret)
		fuzz_wrong(f, "%s: errno %d, refused %s (rflags %#llx cr0 %#llx cr4 %#llx efer %#llx tr %#x)",
			   mode, -ret, wisp_field_name(field),
			   s->general.rflags, s->control.cr0, s->control.cr4,
			   s->control.efer, s->segments.tr.attributes);
}

/* For who looks for what went wrong. */
static void dump_state(struct fuzz *f)
{
	const struct wisp_state *s = &guest.page->state;

	if (f->verbose)
		printf("#   rip %#llx rflags %#llx cr0 %#llx cr3 %#llx cr4 %#llx efer %#llx cs %#x ss %#x tr %#x idt %#llx\n",
		       s->general.rip, s->general.rflags, s->control.cr0, s->control.cr3,
		       s->control.cr4, s->control.efer,
		       s->segments.cs.attributes, s->segments.ss.attributes,
		       s->segments.tr.attributes, s->segments.idt.base);
}

static void dump(struct fuzz *f, enum guest_mode mode)
{
	const __u8 *code = guest_at(&guest, GUEST_CODE);

	if (!f->verbose)
		return;
	printf("# mode %s flags %#x code", machine_mode_names[mode], guest.page->flags);
	for (int i = 0; i < CODE_SIZE; i++)
		printf(" %02x", code[i]);
	printf("\n");
}

static void run_guest(struct fuzz *f, const char *mode)
{
	struct wisp_vcpu_page *page = guest.page;

	for (int i = 0; i < MAX_RUNS; i++) {
		int reason = guest_run(&guest);

		if (reason < 0) {
			fuzz_wrong(f, "%s: run: errno %d, refused %s", mode,
				   -reason, wisp_field_name(page->field));
			return;
		}
		f->entered = true;
		dump_state(f);
		fuzz_saw(f, "%s: %s", mode, guest_exit_name(reason));
		if (reason == WISP_EXIT_ENTRY_FAILED ||
		    reason == WISP_EXIT_UNEXPECTED || reason == WISP_EXIT_NONE ||
		    reason == WISP_EXIT_KICKED)
			fuzz_wrong(f, "%s: %s, code %#llx %#llx %#llx, %s",
				   mode, guest_exit_name(reason),
				   page->exit.hw.code, page->exit.hw.info1,
				   page->exit.hw.info2,
				   wisp_field_name(page->field));
		if (reason != WISP_EXIT_SHUTDOWN)
			check_state(f, mode);
		if (!go_on(f))
			return;
	}
}

static void execute(struct fuzz *f)
{
	enum guest_mode mode = make_guest(f);

	dump(f, mode);
	run_guest(f, machine_mode_names[mode]);
}

static int setup(struct fuzz *f)
{
	(void)f;
	tcg = guest_on_tcg();
	return machine_create(&guest);
}

int main(int argc, char **argv)
{
	struct fuzz f = {
		.count = 3000,
		.least_entries = 3000,
		.least_kinds = 26,
		.setup = setup,
		.execute = execute,
	};

	return fuzz_main(&f, argc, argv);
}
