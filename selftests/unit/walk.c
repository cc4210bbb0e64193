// SPDX-License-Identifier: GPL-2.0
/* wisp_translate(): each kind of paging, and each right. */
#include <errno.h>

#include "guest.h"
#include "tap.h"

#define SIZE		0x100000
#define ROOT		0x1000
#define P		0x001ULL
#define W		0x002ULL
#define U		0x004ULL
#define PS		0x080ULL
#define NX		(1ULL << 63)
#define PWU		(P | W | U)

#define READ		WISP_PROT_READ
#define WRITE		WISP_PROT_WRITE
#define EXEC		WISP_PROT_EXEC

static int vm;
static struct wisp_state state;

/* Where the entry for @gva is at each level, tables one page after another. */
static void map(unsigned int levels, uint64_t gva, uint64_t leaf,
		unsigned int leaf_level)
{
	uint64_t table = ROOT;

	for (unsigned int level = levels - 1;; level--) {
		uint64_t index = gva >> (12 + 9 * level) & 511;

		if (level == leaf_level) {
			guest_write64(vm, table + index * 8, leaf);
			return;
		}
		guest_write64(vm, table + index * 8, (table + 0x1000) | PWU);
		table += 0x1000;
	}
}

static void start(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	if (vm)
		close(vm);
	vm = guest_create(SIZE);
	state = (struct wisp_state){
		.control = {
			.cr0 = CR0_PE | CR0_PG | cr0,
			.cr3 = ROOT,
			.cr4 = cr4,
			.efer = efer,
		},
	};
}

static void start_long(void)
{
	start(CR0_WP, CR4_PAE, EFER_LMA | EFER_NXE);
}

static int walk(uint64_t gva, uint32_t access, int user, uint64_t *gpa)
{
	*gpa = 0x5555;
	return wisp_translate(vm, &state, gva, access, user, gpa);
}

static void leads_to(uint64_t gva, uint32_t access, int user, uint64_t expected)
{
	uint64_t gpa;

	CHECK_EQUAL(walk(gva, access, user, &gpa), 0);
	CHECK_EQUAL(gpa, expected);
}

static void faults(uint64_t gva, uint32_t access, int user)
{
	uint64_t gpa;

	CHECK_EQUAL(walk(gva, access, user, &gpa), -EFAULT);
	CHECK_EQUAL(gpa, 0x5555);
}

static void no_paging(void)
{
	start_long();
	state.control.cr0 = CR0_PE;
	leads_to(0x123456789, READ, 0, 0x23456789);
	CHECK_EQUAL(wisp_translate(vm, &state, 0, 0, 0, NULL), -EINVAL);
	CHECK_EQUAL(wisp_translate(vm, &state, 0, READ | WRITE, 0, NULL),
		    -EINVAL);
}

static void four_levels(void)
{
	const uint64_t gva = 0xffff812345678000;

	start_long();
	map(4, gva, 0x42000 | PWU, 0);
	leads_to(gva + 0x123, READ, 0, 0x42123);
	leads_to(gva + 0xfff, WRITE, 1, 0x42fff);
	leads_to(gva, EXEC, 1, 0x42000);
	faults(gva + 0x1000, READ, 0);
	faults(gva - 1, READ, 0);
}

static void addresses_not_canonical(void)
{
	const uint64_t gva = 0x0000800000000000;

	start_long();
	map(4, gva, 0x42000 | PWU, 0);
	faults(gva, READ, 0);
	faults(0xffff000000000000, READ, 0);
	leads_to(0xffff800000000000, READ, 0, 0x42000);
}

static void five_levels(void)
{
	const uint64_t gva = 0xff123456789ab000;

	start(CR0_WP, CR4_PAE | CR4_LA57, EFER_LMA | EFER_NXE);
	map(5, gva, 0x42000 | PWU, 0);
	leads_to(gva + 0x123, READ, 0, 0x42123);
	faults(0xfe00000000000000, READ, 0);
	faults(0x0100000000000000, READ, 0);
	/* The same tables, and one level less of them. */
	state.control.cr4 &= ~CR4_LA57;
	faults(gva, READ, 0);
	state.control.cr4 |= CR4_LA57;
	guest_write64(vm, ROOT + (gva >> 48 & 511) * 8, 0x2000 | P | W);
	faults(gva, READ, 1);
	leads_to(gva, WRITE, 0, 0x42000);
	map(5, gva, 0x40200000 | PWU | PS, 1);
	leads_to(gva + 0x123, READ, 0, 0x403ab123);
	map(5, gva, 0x40000000 | PWU | PS, 2);
	leads_to(gva + 0x123, READ, 0, 0x789ab123);
	/* The two above have no pages. */
	map(5, gva, 0x42000 | PWU | PS, 3);
	faults(gva, READ, 0);
	map(5, gva, 0x42000 | PWU | PS, 4);
	faults(gva, READ, 0);
}

static void large_pages(void)
{
	const uint64_t gva = 0x7f1240000000;

	start_long();
	map(4, gva, 0x40200000 | PWU | PS, 1);
	leads_to(gva + 0x123456, READ, 0, 0x40323456);
	/* Bit 12 is the PAT; those above are reserved. */
	map(4, gva, 0x40200000 | PWU | PS | 1 << 12, 1);
	leads_to(gva + 0x123456, READ, 0, 0x40323456);
	map(4, gva, 0x40200000 | PWU | PS | 1 << 13, 1);
	faults(gva, READ, 0);
	map(4, gva, 0x40000000 | PWU | PS, 2);
	leads_to(gva + 0x12345678, READ, 0, 0x52345678);
	map(4, gva, 0x40000000 | PWU | PS | 1 << 29, 2);
	faults(gva, READ, 0);
	map(4, gva, 0x40000000 | PWU | PS, 3);
	faults(gva, READ, 0);
}

static void rights(void)
{
	const uint64_t gva = 0x1000;

	start_long();
	map(4, gva, 0x42000 | P, 0);
	leads_to(gva, READ, 0, 0x42000);
	faults(gva, READ, 1);
	faults(gva, WRITE, 0);
	state.control.cr0 &= ~CR0_WP;
	leads_to(gva, WRITE, 0, 0x42000);
	map(4, gva, 0x42000 | P | U, 0);
	leads_to(gva, READ, 1, 0x42000);
	faults(gva, WRITE, 1);
	map(4, gva, 0x42000 | PWU | NX, 0);
	leads_to(gva, WRITE, 1, 0x42000);
	faults(gva, EXEC, 0);
	state.control.efer &= ~EFER_NXE;
	faults(gva, READ, 0);
}

/* The tightest level counts. */
static void rights_of_upper_levels(void)
{
	const uint64_t gva = 0x1000;

	start_long();
	map(4, gva, 0x42000 | PWU, 0);
	guest_write64(vm, ROOT, (ROOT + 0x1000) | P | U);
	faults(gva, WRITE, 1);
	leads_to(gva, READ, 1, 0x42000);
	guest_write64(vm, ROOT, (ROOT + 0x1000) | P | W);
	faults(gva, READ, 1);
	leads_to(gva, WRITE, 0, 0x42000);
	guest_write64(vm, ROOT, (ROOT + 0x1000) | PWU | NX);
	faults(gva, EXEC, 0);
	leads_to(gva, WRITE, 1, 0x42000);
}

static void smep(void)
{
	start_long();
	map(4, 0, 0x42000 | PWU, 0);
	leads_to(0, EXEC, 0, 0x42000);
	state.control.cr4 |= CR4_SMEP | CR4_SMAP;
	faults(0, EXEC, 0);
	leads_to(0, EXEC, 1, 0x42000);
	/* Needs RFLAGS.AC, so this call does not look at it. */
	leads_to(0, READ, 0, 0x42000);
}

static void tables_outside_the_slots(void)
{
	start_long();
	map(4, 0, 0x42000 | PWU, 0);
	guest_write64(vm, ROOT, 0x1000000 | PWU);
	faults(0, READ, 0);
	state.control.cr3 = 0xffffffffff000;
	faults(0, READ, 0);
	/* The page itself may be anywhere. */
	start_long();
	map(4, 0, 0xffffffffff000 | PWU, 0);
	leads_to(0x123, READ, 0, 0xffffffffff123);
}

static void pae(void)
{
	const uint64_t gva = 0xc0801000;

	start(CR0_WP, CR4_PAE, EFER_NXE);
	state.control.cr3 = ROOT + 0x20;
	guest_write64(vm, ROOT + 0x20 + 3 * 8, 0x2000 | P);
	guest_write64(vm, 0x2000 + 4 * 8, 0x3000 | PWU);
	guest_write64(vm, 0x3000 + 8, 0x912342000 | PWU);
	leads_to(gva + 0x123, WRITE, 1, 0x912342123);
	leads_to(gva + 0x100000123, READ, 0, 0x912342123);
	guest_write64(vm, 0x2000 + 4 * 8, 0x40200000 | PWU | PS);
	leads_to(gva + 0x123, READ, 0, 0x40201123);
	/* Neither W nor NX belong there. */
	guest_write64(vm, ROOT + 0x20 + 3 * 8, 0x2000 | P | W);
	faults(gva, READ, 0);
	guest_write64(vm, ROOT + 0x20 + 3 * 8, 0x2000 | P | NX);
	faults(gva, READ, 0);
	guest_write64(vm, ROOT + 0x20 + 3 * 8, 0x2000);
	faults(gva, READ, 0);
}

static void legacy(void)
{
	const uint64_t gva = 0x00c01000;

	start(CR0_WP, 0, 0);
	guest_write32(vm, ROOT + 3 * 4, 0x2000 | PWU);
	guest_write32(vm, 0x2000 + 4, 0x42000 | P | U);
	leads_to(gva + 0x123, READ, 1, 0x42123);
	faults(gva, WRITE, 1);
	/* Without PSE its bit is not looked at. */
	guest_write32(vm, ROOT + 3 * 4, 0x2000 | PWU | PS);
	leads_to(gva, READ, 1, 0x42000);
	state.control.cr4 = CR4_PSE;
	guest_write32(vm, ROOT + 3 * 4, 0x40000000 | PWU | PS);
	leads_to(gva + 0x123, WRITE, 1, 0x40001123);
	/* PSE-36. */
	guest_write32(vm, ROOT + 3 * 4, 0x40000000 | PWU | PS | 0x12 << 13);
	leads_to(gva + 0x123, WRITE, 1, 0x1240001123);
	guest_write32(vm, ROOT + 3 * 4, 0xffc00000 | PWU | PS | 0xff << 13);
	leads_to(gva + 0x123, WRITE, 1, 0xffffc01123);
	guest_write32(vm, ROOT + 3 * 4, 0x40000000 | PWU | PS | 1 << 21);
	faults(gva, READ, 0);
}

/* Tables of noise: any answer is right, none may hang or crash. */
static void noise(void)
{
	uint64_t seed = 0x1234567, gpa, values[512];

	start_long();
	for (uint64_t page = 0; page < SIZE; page += 4096) {
		for (unsigned int i = 0; i < 512; i++)
			values[i] = guest_random(&seed) & 0x80000000000fffff;
		wisp_write(vm, page, values, sizeof(values));
	}
	for (unsigned int i = 0; i < 100000; i++) {
		uint64_t bits = guest_random(&seed);

		state.control.cr3 = bits & 0xff000;
		state.control.cr4 = bits & (CR4_PAE | CR4_PSE | CR4_LA57);
		state.control.efer = bits & (EFER_LMA | EFER_NXE);
		walk(guest_random(&seed) & 0xffffffff, 1U << bits % 3,
		     bits >> 40 & 1, &gpa);
	}
	CHECK(true);
}

int main(void)
{
	static const struct tap_test tests[] = {
		TAP_TEST(no_paging),
		TAP_TEST(four_levels),
		TAP_TEST(addresses_not_canonical),
		TAP_TEST(five_levels),
		TAP_TEST(large_pages),
		TAP_TEST(rights),
		TAP_TEST(rights_of_upper_levels),
		TAP_TEST(smep),
		TAP_TEST(tables_outside_the_slots),
		TAP_TEST(pae),
		TAP_TEST(legacy),
		TAP_TEST(noise),
	};

	return TAP_RUN(tests);
}
