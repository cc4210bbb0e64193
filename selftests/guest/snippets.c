// SPDX-License-Identifier: GPL-2.0
/*
 * A table of guest code: what is in the registers, which exits it makes, what
 * the VMM replies, what is in the registers then. All six registers are
 * compared at the end; those that are not named are zero.
 */
#include "../harness.h"
#include "guest.h"

struct registers {
	__u64 rax, rcx, rdx, rbx, rsi, rdi;
};

struct step {
	int reason;
	__u64 offset;		/* of the instruction that exits */
	__u32 flags;		/* WISP_PORT_* or WISP_MEMORY_* */
	__u16 port;
	__u8 size;
	__u32 access;
	__u64 gpa;
	__u64 data;
	__u64 reply;		/* for all but the last: then it goes on */
};

FIXTURE(snippet) {
	struct guest g;
};

FIXTURE_VARIANT(snippet) {
	enum guest_mode mode;
	const char *code;
	const char *end;
	void (*prepare)(struct guest *g);
	struct registers in;
	struct step steps[4];
	struct registers out;
};

#define CODE(name) .code = name, .end = name##_end
#define HLT_AT(at) { .reason = WISP_EXIT_HLT, .offset = (at) }

SNIPPET(hlt16, 16, "hlt");
FIXTURE_VARIANT_ADD(snippet, hlt16) {
	.mode = REAL16, CODE(hlt16),
	.in = { .rax = 1, .rdi = ~0ULL },
	.steps = { HLT_AT(0) },
	.out = { .rax = 1, .rdi = ~0ULL },
};

SNIPPET(hlt32, 32, "hlt");
FIXTURE_VARIANT_ADD(snippet, hlt32) {
	.mode = PROTECTED32, CODE(hlt32),
	.steps = { HLT_AT(0) },
};

SNIPPET(hlt64, 64, "hlt; hlt");
FIXTURE_VARIANT_ADD(snippet, hlt64) {
	.mode = LONG64, CODE(hlt64),
	.steps = { HLT_AT(0), HLT_AT(1) },
};

SNIPPET(arithmetic16, 16,
	"mov $0x1234, %ax; mov %ax, %bx; add $0xf000, %bx; adc $0, %cx; hlt");
FIXTURE_VARIANT_ADD(snippet, arithmetic16) {
	.mode = REAL16, CODE(arithmetic16),
	.in = { .rcx = 0xff },
	.steps = { HLT_AT(12) },
	.out = { .rax = 0x1234, .rbx = 0x0234, .rcx = 0x100 },
};

SNIPPET(arithmetic32, 32,
	"imul %ecx, %eax; mov %eax, %ebx; not %ebx; push %ebx; pop %esi; hlt");
FIXTURE_VARIANT_ADD(snippet, arithmetic32) {
	.mode = PROTECTED32, CODE(arithmetic32),
	.in = { .rax = 100, .rcx = 1000 },
	.steps = { HLT_AT(9) },
	.out = { .rax = 100000, .rcx = 1000, .rbx = ~100000U, .rsi = ~100000U },
};

SNIPPET(arithmetic64, 64, "mul %rcx; push %rax; pop %rdi; hlt");
FIXTURE_VARIANT_ADD(snippet, arithmetic64) {
	.mode = LONG64, CODE(arithmetic64),
	.in = { .rax = 1ULL << 63, .rcx = 6 },
	.steps = { HLT_AT(5) },
	.out = { .rcx = 6, .rdx = 3 },
};

/* Loads and stores: memory as the VMM sees it, over a page's end. */
static void prepare_memory(struct guest *g)
{
	__u64 value = 0x1122334455667788;

	memcpy(guest_at(g, GUEST_DATA + 0xffc), &value, sizeof(value));
}

SNIPPET(memory64, 64,
	"mov " STR(GUEST_DATA) "+0xffc, %rax; mov %rax, (%rdi); bswap %rax;"
	"xchg %rax, (%rdi); lock addq $1, (%rdi); mov (%rdi), %rcx; hlt");
FIXTURE_VARIANT_ADD(snippet, memory64) {
	.mode = LONG64, CODE(memory64), .prepare = prepare_memory,
	.in = { .rdi = GUEST_DATA + 0x5ffd },
	.steps = { HLT_AT(25) },
	.out = { .rax = 0x1122334455667788, .rcx = 0x8877665544332212,
		 .rdi = GUEST_DATA + 0x5ffd },
};

/* Pages never touched: they are zero, and the copies fault on both sides. */
SNIPPET(rep_movs, 64, "rep movsq; hlt");
FIXTURE_VARIANT_ADD(snippet, rep_movs) {
	.mode = LONG64, CODE(rep_movs),
	.in = { .rcx = 0x2000, .rsi = 0x200004, .rdi = 0x300004 },
	.steps = { HLT_AT(3) },
	.out = { .rsi = 0x210004, .rdi = 0x310004 },
};

SNIPPET(self_modifying, 64,
	"movb $0xb3, 1f(%rip); jmp 1f; 1: .byte 0xb0, 0x55; hlt");
FIXTURE_VARIANT_ADD(snippet, self_modifying) {
	.mode = LONG64, CODE(self_modifying),
	.steps = { HLT_AT(11) },
	.out = { .rbx = 0x55 },
};

/* ---- ports --------------------------------------------------------------- */

SNIPPET(out8, 16, "out %al, $0x80; hlt");
FIXTURE_VARIANT_ADD(snippet, out8) {
	.mode = REAL16, CODE(out8),
	.in = { .rax = 0x12345678 },
	.steps = {
		{ .reason = WISP_EXIT_PORT, .port = 0x80, .size = 1,
		  .data = 0x78, .reply = ~0ULL },
		HLT_AT(2),
	},
	.out = { .rax = 0x12345678 },
};

SNIPPET(out16, 32, "nop; outw %ax, %dx; hlt");
FIXTURE_VARIANT_ADD(snippet, out16) {
	.mode = PROTECTED32, CODE(out16),
	.in = { .rax = 0x12345678, .rdx = 0xdead03f8 },
	.steps = {
		{ .reason = WISP_EXIT_PORT, .offset = 1, .port = 0x3f8,
		  .size = 2, .data = 0x5678 },
		HLT_AT(3),
	},
	.out = { .rax = 0x12345678, .rdx = 0xdead03f8 },
};

SNIPPET(out32, 64, "outl %eax, %dx; hlt");
FIXTURE_VARIANT_ADD(snippet, out32) {
	.mode = LONG64, CODE(out32),
	.in = { .rax = 0x1122334455667788, .rdx = 0xffff },
	.steps = {
		{ .reason = WISP_EXIT_PORT, .port = 0xffff, .size = 4,
		  .data = 0x55667788 },
		HLT_AT(1),
	},
	.out = { .rax = 0x1122334455667788, .rdx = 0xffff },
};

SNIPPET(in8, 64, "in (%dx), %al; hlt");
FIXTURE_VARIANT_ADD(snippet, in8_fills_al) {
	.mode = LONG64, CODE(in8),
	.in = { .rax = 0x1122334455667788, .rdx = 0x71 },
	.steps = {
		{ .reason = WISP_EXIT_PORT, .port = 0x71, .size = 1,
		  .flags = WISP_PORT_IN, .reply = 0xfedcba9876543210 },
		HLT_AT(1),
	},
	.out = { .rax = 0x1122334455667710, .rdx = 0x71 },
};

SNIPPET(in16, 64, "in (%dx), %ax; hlt");
FIXTURE_VARIANT_ADD(snippet, in16_fills_ax) {
	.mode = LONG64, CODE(in16),
	.in = { .rax = 0x1122334455667788, .rdx = 0xcfc },
	.steps = {
		{ .reason = WISP_EXIT_PORT, .port = 0xcfc, .size = 2,
		  .flags = WISP_PORT_IN, .reply = 0xfedcba9876543210 },
		HLT_AT(2),
	},
	.out = { .rax = 0x1122334455663210, .rdx = 0xcfc },
};

SNIPPET(in32, 64, "in $0x40, %eax; hlt");
FIXTURE_VARIANT_ADD(snippet, in32_clears_the_upper_half) {
	.mode = LONG64, CODE(in32),
	.in = { .rax = 0x1122334455667788 },
	.steps = {
		{ .reason = WISP_EXIT_PORT, .port = 0x40, .size = 4,
		  .flags = WISP_PORT_IN, .reply = 0xfedcba9876543210 },
		HLT_AT(2),
	},
	.out = { .rax = 0x76543210 },
};

/* In and out in one: the completion of one goes before the other's exit. */
SNIPPET(in_out, 16, "in $0x60, %al; xor $0xff, %al; out %al, $0x61; hlt");
FIXTURE_VARIANT_ADD(snippet, in_out) {
	.mode = REAL16, CODE(in_out),
	.steps = {
		{ .reason = WISP_EXIT_PORT, .port = 0x60, .size = 1,
		  .flags = WISP_PORT_IN, .reply = 0x0f },
		{ .reason = WISP_EXIT_PORT, .offset = 4, .port = 0x61,
		  .size = 1, .data = 0xf0 },
		HLT_AT(6),
	},
	.out = { .rax = 0xf0 },
};

SNIPPET(outsb, 64, "outsb; hlt");
FIXTURE_VARIANT_ADD(snippet, outsb) {
	.mode = LONG64, CODE(outsb),
	.in = { .rdx = 0x3f8, .rsi = GUEST_DATA },
	.steps = {
		{ .reason = WISP_EXIT_PORT, .port = 0x3f8, .size = 1,
		  .flags = WISP_PORT_STRING },
	},
	.out = { .rdx = 0x3f8, .rsi = GUEST_DATA },
};

SNIPPET(rep_outsw, 64, "rep outsw; hlt");
FIXTURE_VARIANT_ADD(snippet, rep_outsw) {
	.mode = LONG64, CODE(rep_outsw),
	.in = { .rcx = 5, .rdx = 0x1f0, .rsi = GUEST_DATA },
	.steps = {
		{ .reason = WISP_EXIT_PORT, .port = 0x1f0, .size = 2,
		  .flags = WISP_PORT_STRING | WISP_PORT_REP },
	},
	.out = { .rcx = 5, .rdx = 0x1f0, .rsi = GUEST_DATA },
};

SNIPPET(insl, 64, "insl; hlt");
FIXTURE_VARIANT_ADD(snippet, insl) {
	.mode = LONG64, CODE(insl),
	.in = { .rdx = 0x1f0, .rdi = GUEST_DATA },
	.steps = {
		{ .reason = WISP_EXIT_PORT, .port = 0x1f0, .size = 4,
		  .flags = WISP_PORT_STRING | WISP_PORT_IN },
	},
	.out = { .rdx = 0x1f0, .rdi = GUEST_DATA },
};

SNIPPET(rep_insb, 16, "rep insb; hlt");
FIXTURE_VARIANT_ADD(snippet, rep_insb) {
	.mode = REAL16, CODE(rep_insb),
	.in = { .rcx = 3, .rdx = 0x1f0, .rdi = 0x4000 },
	.steps = {
		{ .reason = WISP_EXIT_PORT, .port = 0x1f0, .size = 1,
		  .flags = WISP_PORT_STRING | WISP_PORT_IN | WISP_PORT_REP },
	},
	.out = { .rcx = 3, .rdx = 0x1f0, .rdi = 0x4000 },
};

/* ---- accesses outside slots ---------------------------------------------- */

SNIPPET(mmio_write, 64, "movl $1, 0x124(%rdi); hlt");
FIXTURE_VARIANT_ADD(snippet, mmio_write) {
	.mode = LONG64, CODE(mmio_write),
	.in = { .rdi = GUEST_NOWHERE },
	.steps = {
		{ .reason = WISP_EXIT_MEMORY, .gpa = GUEST_NOWHERE + 0x124,
		  .access = WISP_PROT_WRITE },
	},
	.out = { .rdi = GUEST_NOWHERE },
};

SNIPPET(mmio_read, 64, "mov (%rdi), %rax; hlt");
FIXTURE_VARIANT_ADD(snippet, mmio_read) {
	.mode = LONG64, CODE(mmio_read),
	.in = { .rax = 5, .rdi = GUEST_NOWHERE + 0xff8 },
	.steps = {
		{ .reason = WISP_EXIT_MEMORY, .gpa = GUEST_NOWHERE + 0xff8,
		  .access = WISP_PROT_READ },
	},
	.out = { .rax = 5, .rdi = GUEST_NOWHERE + 0xff8 },
};

/* The fetch itself has no slot: RIP is already there. */
SNIPPET(mmio_exec, 64, "jmp *%rdi");
FIXTURE_VARIANT_ADD(snippet, mmio_exec) {
	.mode = LONG64, CODE(mmio_exec),
	.in = { .rdi = GUEST_NOWHERE },
	.steps = {
		{ .reason = WISP_EXIT_MEMORY, .gpa = GUEST_NOWHERE,
		  .offset = GUEST_NOWHERE - GUEST_CODE,
		  .access = WISP_PROT_EXEC },
	},
	.out = { .rdi = GUEST_NOWHERE },
};

SNIPPET(mmio_write32, 32, "mov %al, (%edi); hlt");
FIXTURE_VARIANT_ADD(snippet, mmio_write32) {
	.mode = PROTECTED32, CODE(mmio_write32),
	.in = { .rax = 7, .rdi = 0xfee00000 },
	.steps = {
		{ .reason = WISP_EXIT_MEMORY, .gpa = 0xfee00000,
		  .access = WISP_PROT_WRITE },
	},
	.out = { .rax = 7, .rdi = 0xfee00000 },
};

/* The last byte of the slot is there, the next is not. */
SNIPPET(slot_end, 64, "movb $1, -1(%rdi); movb $1, (%rdi); hlt");
FIXTURE_VARIANT_ADD(snippet, slot_end) {
	.mode = LONG64, CODE(slot_end),
	.in = { .rdi = GUEST_SIZE },
	.steps = {
		{ .reason = WISP_EXIT_MEMORY, .offset = 4, .gpa = GUEST_SIZE,
		  .access = WISP_PROT_WRITE },
	},
	.out = { .rdi = GUEST_SIZE },
};

/* ---- slots with less than all rights ------------------------------------- */

#define READ_ONLY	0x20000000
#define NO_EXEC		0x20001000
#define READ_EXEC	0x20002000

static void prepare_slots(struct guest *g)
{
	__u8 code[] = { 0x0f, 0x1f, 0x00, 0xf4 };	/* nop; hlt */
	int fd = raw_create_memory(g->sys, PAGE);

	if (fd < 0 || pwrite(fd, code, sizeof(code), 0) != sizeof(code) ||
	    raw_set_slot(g->vm, 1, READ_ONLY, PAGE, fd, 0, PROT_R) ||
	    raw_set_slot(g->vm, 2, NO_EXEC, PAGE, fd, 0, PROT_RW) ||
	    raw_set_slot(g->vm, 3, READ_EXEC, PAGE, fd, 0, PROT_RX))
		abort();
	close(fd);
}

SNIPPET(read_only, 64,
	"mov (%rdi), %eax; mov 0x1000(%rdi), %cl; movb $1, 7(%rdi); hlt");
FIXTURE_VARIANT_ADD(snippet, write_to_a_read_only_slot) {
	.mode = LONG64, CODE(read_only), .prepare = prepare_slots,
	.in = { .rdi = READ_ONLY },
	.steps = {
		{ .reason = WISP_EXIT_MEMORY, .offset = 8, .gpa = READ_ONLY + 7,
		  .access = WISP_PROT_WRITE, .flags = WISP_MEMORY_SLOT },
	},
	.out = { .rax = 0xf4001f0f, .rcx = 0x0f, .rdi = READ_ONLY },
};

/* The first access: no translation is there that could tell. */
SNIPPET(read_only_first, 64, "incb (%rdi); hlt");
FIXTURE_VARIANT_ADD(snippet, write_first_to_a_read_only_slot) {
	.mode = LONG64, CODE(read_only_first), .prepare = prepare_slots,
	.in = { .rdi = READ_ONLY },
	.steps = {
		{ .reason = WISP_EXIT_MEMORY, .gpa = READ_ONLY,
		  .access = WISP_PROT_WRITE, .flags = WISP_MEMORY_SLOT },
	},
	.out = { .rdi = READ_ONLY },
};

SNIPPET(no_exec, 64, "mov (%rdi), %al; mov %al, 8(%rdi); jmp *%rdi");
FIXTURE_VARIANT_ADD(snippet, exec_in_a_slot_without) {
	.mode = LONG64, CODE(no_exec), .prepare = prepare_slots,
	.in = { .rdi = NO_EXEC },
	.steps = {
		{ .reason = WISP_EXIT_MEMORY, .offset = NO_EXEC - GUEST_CODE,
		  .gpa = NO_EXEC, .access = WISP_PROT_EXEC,
		  .flags = WISP_MEMORY_SLOT },
	},
	.out = { .rax = 0x0f, .rdi = NO_EXEC },
};

SNIPPET(read_exec, 64, "jmp *%rdi");
FIXTURE_VARIANT_ADD(snippet, exec_in_a_slot_with) {
	.mode = LONG64, CODE(read_exec), .prepare = prepare_slots,
	.in = { .rdi = READ_EXEC },
	.steps = { HLT_AT(READ_EXEC + 3 - GUEST_CODE) },
	.out = { .rdi = READ_EXEC },
};

/* ---- modes ---------------------------------------------------------------- */

/* From real to long mode by the guest's own instructions. */
SNIPPET(mode_switch, 16,
	"lgdtl %cs:9f-mode_switch\n"
	"mov %cr0, %eax; or $1, %al; mov %eax, %cr0\n"
	"ljmpl $0x18, $" STR(GUEST_CODE) "+1f-mode_switch\n"
	"9: .word 0x6f; .long " STR(GUEST_GDT) "\n"
	".code32\n"
	"1: mov $0x20, %ebx; mov %ebx, %ds; mov %ebx, %ss\n"
	"mov %cr4, %eax; or $0x20, %eax; mov %eax, %cr4\n"
	"mov $" STR(GUEST_PML4) ", %eax; mov %eax, %cr3\n"
	"mov $0xc0000080, %ecx; rdmsr; or $0x100, %eax; wrmsr\n"
	"mov %cr0, %eax; or $0x80000000, %eax; mov %eax, %cr0\n"
	"ljmp $0x28, $" STR(GUEST_CODE) "+2f-mode_switch\n"
	".code64\n"
	"2: rdmsr; mov $0x123456789abcdef0, %rbx; xor %edx, %edx\n"
	"hlt");
FIXTURE_VARIANT_ADD(snippet, mode_switch) {
	.mode = REAL16, CODE(mode_switch),
	.steps = { HLT_AT((__u64)-1) },
	.out = { .rax = 0x500, .rcx = 0xc0000080,
		 .rbx = 0x123456789abcdef0 },
};

/* 32-bit paging: 4 MiB pages, no PAE. */
static void prepare_paging32(struct guest *g)
{
	__u32 *pd = guest_at(g, GUEST_DATA);

	pd[0] = 0x83;
	pd[1] = 0x83;		/* 4 MiB shows the same again */
	pd[2] = GUEST_NOWHERE | 0x83;
	g->page->state.control.cr3 = GUEST_DATA;
	g->page->state.control.cr4 |= CR4_PSE;
	g->page->state.control.cr0 |= CR0_PG | CR0_WP;
}

SNIPPET(paging32, 32,
	"movl $0x1234, 0x50000; mov 0x450000, %eax; mov 0x800008, %ebx; hlt");
FIXTURE_VARIANT_ADD(snippet, paging32) {
	.mode = PROTECTED32, CODE(paging32), .prepare = prepare_paging32,
	.steps = {
		{ .reason = WISP_EXIT_MEMORY, .offset = 15,
		  .gpa = GUEST_NOWHERE + 8, .access = WISP_PROT_READ },
	},
	.out = { .rax = 0x1234 },
};

/* PAE paging in protected mode: page-directory-pointer registers. */
static void prepare_paging_pae(struct guest *g)
{
	__u64 *pdpt = guest_at(g, GUEST_DATA);
	__u64 *pd = guest_at(g, GUEST_DATA + 0x1000);

	pdpt[0] = (GUEST_DATA + 0x1000) | 1;
	pdpt[3] = (GUEST_DATA + 0x1000) | 1;
	/* Not used, and no state to be in: the run does not fail for it. */
	pdpt[1] = pdpt[0] | 2;
	pdpt[2] = pdpt[0] | 1ULL << 62;
	pd[0] = 0x83;
	g->page->state.control.cr3 = GUEST_DATA;
	g->page->state.control.cr4 |= CR4_PAE;
	g->page->state.control.cr0 |= CR0_PG | CR0_WP;
}

SNIPPET(paging_pae, 32,
	"movl $0x1234, 0x50000; mov 0xc0050000, %eax; hlt");
FIXTURE_VARIANT_ADD(snippet, paging_pae) {
	.mode = PROTECTED32, CODE(paging_pae), .prepare = prepare_paging_pae,
	.steps = { HLT_AT(15) },
	.out = { .rax = 0x1234 },
};

/* ---- the runner ----------------------------------------------------------- */

FIXTURE_SETUP(snippet)
{
	struct wisp_general *general;

	ASSERT_EQ(0, guest_create(&self->g));
	guest_load(&self->g, variant->mode, variant->code, variant->end);
	general = &self->g.page->state.general;
	general->rax = variant->in.rax;
	general->rcx = variant->in.rcx;
	general->rdx = variant->in.rdx;
	general->rbx = variant->in.rbx;
	general->rsi = variant->in.rsi;
	general->rdi = variant->in.rdi;
	if (variant->prepare)
		variant->prepare(&self->g);
}

FIXTURE_TEARDOWN(snippet)
{
	guest_destroy(&self->g);
}

static void check_exit(struct __test_metadata *_metadata,
		       const struct wisp_exit *exit, const struct step *want,
		       __u64 start)
{
	ASSERT_EQ((__u32)want->reason, exit->reason)
		TH_LOG("%s, code %#llx info %#llx %#llx, rip %#llx",
		       guest_exit_name(exit->reason), exit->hw.code,
		       exit->hw.info1, exit->hw.info2, exit->rip);
	if (want->offset != (__u64)-1)
		EXPECT_EQ(start + want->offset, exit->rip);
	for (size_t i = 0; i < sizeof(exit->reserved); i++)
		EXPECT_EQ(0, exit->reserved[i]);
	switch (want->reason) {
	case WISP_EXIT_PORT:
		EXPECT_EQ(want->port, exit->port.port);
		EXPECT_EQ(want->size, exit->port.size);
		EXPECT_EQ(want->flags, exit->port.flags);
		EXPECT_EQ(0, exit->port.reserved);
		if (!(want->flags & (WISP_PORT_IN | WISP_PORT_STRING)))
			EXPECT_EQ(want->data, exit->port.data);
		break;
	case WISP_EXIT_MEMORY:
		EXPECT_EQ(want->gpa, exit->memory.gpa)
			TH_LOG("gpa %#llx", exit->memory.gpa);
		EXPECT_EQ(want->access, exit->memory.access);
		EXPECT_EQ(want->flags, exit->memory.flags);
		EXPECT_GE(15, exit->memory.inst_bytes_len);
		break;
	default:
		break;
	}
}

TEST_F(snippet, runs)
{
	struct wisp_vcpu_page *page = self->g.page;
	__u64 start = variant->mode == REAL16 ? 0 : GUEST_CODE;
	const struct step *step = variant->steps;

	ASSERT_EQ(0, raw_run(self->g.vm, 0))
		TH_LOG("field %#x", page->field);
	check_exit(_metadata, &page->exit, step, start);
	for (; step < variant->steps + 3 && step[1].reason; step++) {
		page->reply = step->reply;
		page->complete = 1;
		ASSERT_EQ(0, raw_run(self->g.vm, 0));
		check_exit(_metadata, &page->exit, &step[1], start);
	}
	EXPECT_EQ(variant->out.rax, page->state.general.rax);
	EXPECT_EQ(variant->out.rcx, page->state.general.rcx);
	EXPECT_EQ(variant->out.rdx, page->state.general.rdx);
	EXPECT_EQ(variant->out.rbx, page->state.general.rbx);
	EXPECT_EQ(variant->out.rsi, page->state.general.rsi);
	EXPECT_EQ(variant->out.rdi, page->state.general.rdi);
	EXPECT_EQ(page->exit.rip, page->state.general.rip);
	EXPECT_EQ(page->exit.rflags, page->state.general.rflags);
}

FIXTURE(guest) {
	struct guest g;
};

FIXTURE_SETUP(guest)
{
	ASSERT_EQ(0, guest_create(&self->g));
}

FIXTURE_TEARDOWN(guest)
{
	guest_destroy(&self->g);
}

SNIPPET(vmmcall, 64, "vmmcall; hlt");
SNIPPET(vmcall, 64, "vmcall; hlt");

TEST_F(guest, hypercall)
{
	if (self->g.query.backend == WISP_BACKEND_SVM)
		GUEST_LOAD(&self->g, LONG64, vmmcall);
	else
		GUEST_LOAD(&self->g, LONG64, vmcall);
	ASSERT_EQ(WISP_EXIT_HYPERCALL, guest_run(&self->g));
	EXPECT_EQ((__u64)GUEST_CODE, self->g.page->exit.rip);
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, ~0ULL));
	EXPECT_EQ((__u64)GUEST_CODE + 3, self->g.page->exit.rip);
	EXPECT_EQ(0UL, self->g.page->state.general.rax);
}

/* inst_len is right, or zero where it is not known. */
TEST_F(guest, instruction_lengths)
{
	GUEST_LOAD(&self->g, LONG64, in_out);
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	EXPECT_TRUE(!self->g.page->exit.inst_len ||
		    self->g.page->exit.inst_len == 2);
	GUEST_LOAD(&self->g, LONG64, hlt64);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_TRUE(!self->g.page->exit.inst_len ||
		    self->g.page->exit.inst_len == 1);
}

SNIPPET(set_cr0_and_cr4, 32, "mov %eax, %cr0; mov %ebx, %cr4; hlt");

/* What 32-bit code does not see of a register is not written to another one. */
TEST_F(guest, control_registers_take_32_bits)
{
	struct wisp_state *s = &self->g.page->state;

	if (guest_on_tcg())
		SKIP(return, "TCG: they take 64 bits");
	GUEST_LOAD(&self->g, PROTECTED32, set_cr0_and_cr4);
	s->general.rax = ~0ULL << 32 | CR0_PE | CR0_ET;
	s->general.rbx = ~0ULL << 32 | CR4_MCE;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ(CR0_PE | CR0_ET, s->control.cr0);
	EXPECT_EQ(CR4_MCE, s->control.cr4);
}

SNIPPET(read_cr4, 64,
	"mov %cr4, %rax; bts $6, %rax; mov %rax, %cr4; mov %cr4, %r9\n"
	"btr $6, %r9; mov %r9, %cr4; mov %cr4, %rbx; hlt");

/* MCE is the host's, and yet the guest's to look at. */
TEST_F(guest, sees_its_own_cr4)
{
	struct wisp_state *s = &self->g.page->state;
	__u64 cr4;

	GUEST_LOAD(&self->g, LONG64, read_cr4);
	cr4 = s->control.cr4;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ(cr4 | CR4_MCE, s->general.rax);
	EXPECT_EQ(cr4, s->general.r9);
	EXPECT_EQ(cr4, s->general.rbx);
	EXPECT_EQ(cr4, s->control.cr4);
}

SNIPPET(cpuid32, 32, "cpuid");

/* Of the last two bytes of 4 GiB: the next instruction is at 0. */
TEST_F(guest, rip_wraps_outside_of_64_bit_mode)
{
	struct guest *g = &self->g;

	guest_load_at(g, 0, PROTECTED32, GUEST_DATA + PAGE - 2, cpuid32, cpuid32_end);
	ASSERT_EQ(0, raw_set_slot(g->vm, 1, 0x100000000 - PAGE, PAGE, g->fd, GUEST_DATA,
				  PROT_RWX));
	*(__u8 *)guest_at(g, 0) = 0xf4;
	g->page->state.general.rip = 0xfffffffe;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(g));
	EXPECT_EQ(0UL, g->page->exit.rip);
}

/* Where the next one would be, there is no address. */
TEST_F(guest, rip_stays_canonical)
{
	struct guest *g = &self->g;
	const __u64 rip = 0x7ffffffffffe;
	__u64 *pdpt = guest_at(g, GUEST_PDPT), *pd = guest_at(g, GUEST_PD);

	guest_load(g, LONG64, cpuid32, cpuid32_end);
	memcpy(guest_at(g, (rip & 0x1fffff)), cpuid32, cpuid32_end - cpuid32);
	((__u64 *)guest_at(g, GUEST_PML4))[255] = GUEST_PDPT | 7;
	pdpt[511] = GUEST_PD | 7;
	pd[511] = GUEST_PT | 7;
	g->page->state.general.rip = rip;
	guest_run(g);
	ASSERT_TRUE(guest_has_trapped(g, 13));
	EXPECT_EQ(rip, guest_trap(g)->rip);
}

/* An instruction that is not completed is done by the VMM, or met again. */
TEST_F(guest, without_completion_the_port_is_met_again)
{
	GUEST_LOAD(&self->g, LONG64, in8);
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
		EXPECT_EQ((__u64)GUEST_CODE, self->g.page->exit.rip);
	}
}

/* A STRING exit is the VMM's (libwisp's) to do, RIP too; it is completed once. */
TEST_F(guest, string_io_is_completed_where_rip_is)
{
	GUEST_LOAD(&self->g, LONG64, outsb);
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	self->g.page->complete = 1;
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	EXPECT_EQ((__u64)GUEST_CODE, self->g.page->exit.rip);
	self->g.page->state.general.rip = GUEST_CODE + 1;
	self->g.page->dirty = WISP_STATE_GENERAL;
	self->g.page->complete = 1;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ((__u64)GUEST_CODE + 1, self->g.page->exit.rip);
	ASSERT_EQ(0, raw_kick(self->g.vm, 0));
	ASSERT_EQ(WISP_EXIT_KICKED, guest_run(&self->g));
	self->g.page->complete = 1;
	EXPECT_EQ(-EINVAL, raw_run(self->g.vm, 0));
	EXPECT_EQ(WISP_FIELD(complete), self->g.page->field);
}

/* @complete comes after @dirty: the VMM may change other registers. */
TEST_F(guest, completion_and_dirty_registers)
{
	GUEST_LOAD(&self->g, LONG64, in16);
	self->g.page->state.general.rdx = 0x10;
	ASSERT_EQ(WISP_EXIT_PORT, guest_run(&self->g));
	self->g.page->state.general.rax = ~0ULL;
	self->g.page->state.general.rbx = 0xb;
	self->g.page->dirty = WISP_STATE_GENERAL;
	ASSERT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0x1234));
	EXPECT_EQ(0xffffffffffff1234UL, self->g.page->state.general.rax);
	EXPECT_EQ(0xbUL, self->g.page->state.general.rbx);
	EXPECT_EQ((__u64)GUEST_CODE + 2, self->g.page->exit.rip);
}

/* The slot is filled in after the exit: the access is made then. */
TEST_F(guest, a_slot_comes_after_the_exit)
{
	int fd;

	GUEST_LOAD(&self->g, LONG64, mmio_read);
	self->g.page->state.general.rdi = GUEST_NOWHERE;
	ASSERT_EQ(WISP_EXIT_MEMORY, guest_run(&self->g));
	fd = raw_create_memory(self->g.sys, PAGE);
	ASSERT_LE(0, fd);
	ASSERT_EQ(8, pwrite(fd, "comelate", 8, 0));
	ASSERT_EQ(0, raw_set_slot(self->g.vm, 1, GUEST_NOWHERE, PAGE, fd, 0,
				  PROT_R));
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	EXPECT_EQ(0, memcmp(&self->g.page->state.general.rax, "comelate", 8));
}

/*
 * The guest's own tables lie where no slot is: the exit says that it was the
 * walk, and where.
 */
TEST_F(guest, tables_without_a_slot)
{
	const struct wisp_exit *exit = &self->g.page->exit;
	__u64 *pd = guest_at(&self->g, GUEST_PD);

	GUEST_LOAD(&self->g, LONG64, hlt64);
	self->g.page->state.control.cr3 = GUEST_NOWHERE;
	ASSERT_EQ(WISP_EXIT_MEMORY, guest_run(&self->g));
	EXPECT_EQ((__u32)WISP_MEMORY_WALK, exit->memory.flags);
	EXPECT_EQ((__u64)GUEST_NOWHERE, exit->memory.gpa & -PAGE);

	GUEST_LOAD(&self->g, LONG64, mmio_read);
	self->g.page->state.general.rdi = 0x600000;
	pd[3] = (GUEST_NOWHERE + 0x5000) | 7;
	ASSERT_EQ(WISP_EXIT_MEMORY, guest_run(&self->g));
	EXPECT_EQ((__u32)WISP_MEMORY_WALK, exit->memory.flags);
	EXPECT_EQ((__u64)GUEST_NOWHERE + 0x5000, exit->memory.gpa & -PAGE);
	EXPECT_EQ((__u64)GUEST_CODE, exit->rip);
}

SNIPPET(load_cr3, 32, "mov %eax, %cr3; hlt");

/* VMX reads the PDPTEs with MOV to CR3, SVM with the fetch behind it. */
TEST_F(guest, pdptes_without_a_slot)
{
	const struct wisp_exit *exit = &self->g.page->exit;

	GUEST_LOAD(&self->g, PROTECTED32, load_cr3);
	prepare_paging_pae(&self->g);
	self->g.page->state.general.rax = GUEST_NOWHERE;
	ASSERT_EQ(WISP_EXIT_MEMORY, guest_run(&self->g));
	EXPECT_EQ((__u32)WISP_MEMORY_WALK, exit->memory.flags);
	EXPECT_EQ((__u64)GUEST_NOWHERE, exit->memory.gpa & -PAGE);
}

/* A table in a read-only slot, whose accessed bit the walk would write. */
TEST_F(guest, tables_in_a_read_only_slot)
{
	const struct wisp_exit *exit = &self->g.page->exit;
	int fd = raw_create_memory(self->g.sys, PAGE);
	__u64 *pd = guest_at(&self->g, GUEST_PD);
	__u64 entry = GUEST_DATA | 0x07, after;

	ASSERT_LE(0, fd);
	ASSERT_EQ(8, pwrite(fd, &entry, 8, 0));
	ASSERT_EQ(0, raw_set_slot(self->g.vm, 1, READ_ONLY, PAGE, fd, 0,
				  PROT_R));
	pd[3] = READ_ONLY | 7;
	GUEST_LOAD(&self->g, LONG64, mmio_read);
	self->g.page->state.general.rdi = 0x600000;
	EXPECT_EQ(WISP_EXIT_MEMORY, guest_run(&self->g));
	ASSERT_EQ(8, pread(fd, &after, 8, 0));
	EXPECT_EQ(entry, after);
	EXPECT_EQ((__u32)(WISP_MEMORY_WALK | WISP_MEMORY_SLOT),
		  exit->memory.flags);
	EXPECT_EQ((__u64)READ_ONLY, exit->memory.gpa & -PAGE);
	EXPECT_EQ((__u32)WISP_PROT_WRITE, exit->memory.access);
}

/* The state that comes out is the state that goes in, in each mode. */
TEST_F(guest, state_survives_a_run)
{
	struct wisp_state before, after;

	GUEST_LOAD(&self->g, LONG64, hlt64);
	self->g.page->state.msrs.lstar = 0xffffffff81234567;
	self->g.page->state.msrs.star = 0x0023001000000000;
	self->g.page->state.msrs.kernel_gs_base = 0xffff888000000123;
	self->g.page->state.msrs.sysenter_eip = 0xffffffff81000000;
	self->g.page->state.msrs.tsc_aux = 0x1007;
	self->g.page->state.segments.fs.base = 0x7fff12345678;
	self->g.page->state.segments.gs.base = 0xffff888011111111;
	self->g.page->state.control.cr2 = 0xdead000;
	self->g.page->state.control.cr8 = 5;
	self->g.page->state.debug.dr0 = 0x1111;
	self->g.page->state.debug.dr3 = 0x3333;
	before = self->g.page->state;
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
	after = self->g.page->state;
	EXPECT_EQ(0, memcmp(&before.general, &after.general,
			    sizeof(before.general)));
	EXPECT_EQ(0, memcmp(&before.segments, &after.segments,
			    sizeof(before.segments)));
	EXPECT_EQ(0, memcmp(&before.control, &after.control,
			    sizeof(before.control)));
	EXPECT_EQ(0, memcmp(&before.debug, &after.debug,
			    sizeof(before.debug)));
	EXPECT_LE(before.msrs.tsc, after.msrs.tsc);
	after.msrs.tsc = before.msrs.tsc;
	EXPECT_EQ(0, memcmp(&before.msrs, &after.msrs, sizeof(before.msrs)));
}

TEST_HARNESS_MAIN
