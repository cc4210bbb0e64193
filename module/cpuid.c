// SPDX-License-Identifier: GPL-2.0
/*
 * CPUID: what the guest is told it has.
 *
 * The default is honest: what this host has, the driver lets a guest use and
 * nothing in the VM contradicts. No APIC, MTRR, MCE, PMU, MONITOR or
 * speculation-control MSRs.
 */
#include "cpuid.h"

#include <linux/overflow.h>
#include <linux/slab.h>
#include <linux/sort.h>

#include <asm/fpu/types.h>
#include <asm/processor-flags.h>

#include "backend.h"
#include "compat.h"
#include "host.h"
#include "policy.h"

#define HYPERVISOR_LEAF	0x40000000
#define HYPERVISOR_NAME	0x70736957	/* "Wisp", three times */

/* SSE3 PCLMUL SSSE3 FMA CX16 PCID SSE4 (both) MOVBE POPCNT AES XSAVE AVX F16C RDRAND */
#define LEAF_1_ECX                                                          \
	(BIT(0) | BIT(1) | BIT(9) | BIT(12) | BIT(13) | BIT(17) | BIT(19) | \
	 BIT(20) | BIT(22) | BIT(23) | BIT(25) | BIT(26) | BIT(28) |        \
	 BIT(29) | BIT(30))
/* All of FPU to SSE2 but MCE, APIC, MTRR, MCA, DS and ACPI. */
#define LEAF_1_EDX                                                          \
	(BIT(0) | BIT(1) | BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) |     \
	 BIT(8) | BIT(11) | BIT(13) | BIT(15) | BIT(16) | BIT(17) |         \
	 BIT(19) | BIT(23) | BIT(24) | BIT(25) | BIT(26))
/* FSGSBASE BMI1 AVX2 SMEP BMI2 ERMS INVPCID RDSEED ADX SMAP CLFLUSHOPT CLWB SHA */
#define LEAF_7_EBX                                                          \
	(BIT(0) | BIT(3) | BIT(5) | BIT(7) | BIT(8) | BIT(9) | BIT(10) |    \
	 BIT(18) | BIT(19) | BIT(20) | BIT(23) | BIT(24) | BIT(29))
/* AVX-512 F DQ IFMA CD BW VL */
#define LEAF_7_EBX_AVX512                                                   \
	(BIT(16) | BIT(17) | BIT(21) | BIT(28) | BIT(30) | BIT(31))
/* UMIP GFNI VAES VPCLMULQDQ LA57 RDPID */
#define LEAF_7_ECX	(BIT(2) | BIT(8) | BIT(9) | BIT(10) | BIT(16) | BIT(22))
/* VBMI VBMI2 VNNI BITALG VPOPCNTDQ */
#define LEAF_7_ECX_AVX512	(BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14))
#define LEAF_7_ECX_PKU	BIT(3)
/* FSRM */
#define LEAF_7_EDX	BIT(4)
/* LAHF CR8 ABM SSE4A MISALIGNSSE 3DNOWPREFETCH XOP FMA4 TBM */
#define LEAF_80000001_ECX                                                   \
	(BIT(0) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(11) |    \
	 BIT(16) | BIT(21))
/* Those of leaf 1 that AMD repeats, SYSCALL NX MMXEXT FXSR_OPT 1GB RDTSCP LM */
#define LEAF_80000001_EDX                                                   \
	(BIT(0) | BIT(1) | BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) |     \
	 BIT(8) | BIT(11) | BIT(13) | BIT(15) | BIT(16) | BIT(17) |         \
	 BIT(20) | BIT(22) | BIT(23) | BIT(24) | BIT(25) | BIT(26) |        \
	 BIT(27) | BIT(29))
/* CLZERO XSAVEERPTR */
#define LEAF_80000008_EBX	(BIT(0) | BIT(2))
/* XSAVEOPT XSAVEC XGETBV1 */
#define LEAF_D_1_EAX	(BIT(0) | BIT(1) | BIT(2))
/* XSAVEC or XSAVES */
#define LEAF_D_1_COMPACTED	(BIT(1) | BIT(3))

static struct wisp_policy *default_table;

/* Appends the host's answer for a leaf; the caller cuts it down. */
static struct wisp_cpuid_entry *add(u32 leaf, u32 subleaf, u32 flags)
{
	struct wisp_cpuid_entry *entry;

	entry = &default_table->cpuid[default_table->count++];
	*entry = (struct wisp_cpuid_entry){
		.leaf = leaf, .subleaf = subleaf, .flags = flags,
	};
	cpuid_count(leaf, subleaf, &entry->eax, &entry->ebx, &entry->ecx,
		    &entry->edx);
	return entry;
}

static void keep(struct wisp_cpuid_entry *entry, u32 eax, u32 ebx, u32 ecx,
		 u32 edx)
{
	entry->eax &= eax;
	entry->ebx &= ebx;
	entry->ecx &= ecx;
	entry->edx &= edx;
}

/* Where guests cannot have @it, @bits are not there, whatever the CPU says of them. */
static u32 without(u64 it, u32 bits)
{
	return it ? 0 : bits;
}

static void add_leaf_7(void)
{
	u64 cr4 = wisp_cr4_allowed;
	u32 ecx = LEAF_7_ECX & ~without(cr4 & X86_CR4_UMIP, BIT(2)) &
		  ~without(cr4 & X86_CR4_LA57, BIT(16)) &
		  ~without(!wisp_backend->no_rdtscp, BIT(22));
	u32 ebx = LEAF_7_EBX & ~without(cr4 & X86_CR4_FSGSBASE, BIT(0)) &
		  ~without(cr4 & X86_CR4_SMEP, BIT(7)) &
		  ~without(cr4 & X86_CR4_PCIDE && !wisp_backend->no_invpcid, BIT(10)) &
		  ~without(cr4 & X86_CR4_SMAP, BIT(20));

	if (wisp_host_xcr0 & XFEATURE_MASK_ZMM_Hi256) {
		ebx |= LEAF_7_EBX_AVX512;
		ecx |= LEAF_7_ECX_AVX512;
	}
	if (cr4 & X86_CR4_PKE)
		ecx |= LEAF_7_ECX_PKU;
	keep(add(7, 0, WISP_CPUID_SUBLEAF), 0, ebx, ecx, LEAF_7_EDX);
}

static void add_leaf_d(void)
{
	struct wisp_cpuid_entry *entry = add(0xd, 0, WISP_CPUID_SUBLEAF);
	unsigned int i;

	entry->eax = wisp_host_xcr0;
	entry->ebx = 0;
	entry->ecx = wisp_host_xsave_size;
	entry->edx = wisp_host_xcr0 >> 32;
	keep(add(0xd, 1, WISP_CPUID_SUBLEAF), LEAF_D_1_EAX, 0, 0, 0);
	for (i = 2; i < 64; i++)
		if (wisp_host_xcr0 & BIT_ULL(i))
			add(0xd, i, WISP_CPUID_SUBLEAF);
}

static void add_extended(void)
{
	struct wisp_cpuid_entry *entry = add(0x80000000, 0, 0);
	u32 leaf, last = min(entry->eax, 0x80000008);

	entry->eax = last;
	for (leaf = 0x80000001; leaf <= last; leaf++) {
		entry = add(leaf, 0, 0);
		if (leaf == 0x80000001) {
			keep(entry, ~0, ~0, LEAF_80000001_ECX, LEAF_80000001_EDX &
			     ~without(!wisp_backend->no_rdtscp, BIT(27)));
		} else if (leaf == 0x80000007) {
			keep(entry, 0, 0, 0, BIT(8));	/* invariant TSC */
		} else if (leaf == 0x80000008) {
			keep(entry, 0xff00, LEAF_80000008_EBX, 0, 0);
			entry->eax |= wisp_backend->gpa_bits;
		}
	}
}

/* After the backend and the host's features are known. */
int wisp_cpuid_init(void)
{
	struct wisp_cpuid_entry *entry;
	u32 last;

	default_table = wisp_policy_alloc(WISP_MAX_CPUID,
					  sizeof(struct wisp_cpuid_entry));
	if (!default_table)
		return -ENOMEM;
	default_table->count = 0;

	entry = add(0, 0, 0);
	last = min(entry->eax, 0xdU);
	entry->eax = last;
	entry = add(1, 0, 0);
	keep(entry, ~0, 0xff00, LEAF_1_ECX &
	     ~without(wisp_cr4_allowed & X86_CR4_PCIDE, BIT(17)), LEAF_1_EDX);
	entry->ecx |= BIT(31);	/* there is a hypervisor */
	/* The APIC timer never stops. */
	if (last >= 6)
		keep(add(6, 0, 0), BIT(2), 0, 0, 0);
	if (last >= 7)
		add_leaf_7();
	if (last >= 0xd)
		add_leaf_d();

	entry = add(HYPERVISOR_LEAF, 0, 0);
	entry->eax = HYPERVISOR_LEAF;
	entry->ebx = HYPERVISOR_NAME;
	entry->ecx = HYPERVISOR_NAME;
	entry->edx = HYPERVISOR_NAME;
	add_extended();
	/* Of distinct entries: this sorts them. */
	return wisp_cpuid_check(default_table);
}

void wisp_cpuid_exit(void)
{
	wisp_policy_put(default_table);
}

const struct wisp_policy *wisp_cpuid_default(void)
{
	return default_table;
}

/* An entry without WISP_CPUID_SUBLEAF answers for all of its leaf. */
static int compare(const void *left, const void *right)
{
	const struct wisp_cpuid_entry *a = left, *b = right;

	if (a->leaf != b->leaf)
		return a->leaf < b->leaf ? -1 : 1;
	if (!(a->flags & b->flags & WISP_CPUID_SUBLEAF) ||
	    a->subleaf == b->subleaf)
		return 0;
	return a->subleaf < b->subleaf ? -1 : 1;
}

/* Those that there are begin at 0, 0x40000000 and 0x80000000. */
static unsigned int bucket(u32 leaf)
{
	return (leaf ^ leaf >> 27) % WISP_CPUID_BUCKETS;
}

/**
 * wisp_cpuid_check() - check and sort a table
 * @cpuid: as copied from the user
 *
 * Returns 0, -EINVAL or -EOPNOTSUPP.
 */
int wisp_cpuid_check(struct wisp_policy *cpuid)
{
	struct wisp_cpuid_entry *entry;
	u32 i;

	for (i = 0; i < cpuid->count; i++) {
		entry = &cpuid->cpuid[i];
		if (entry->flags & ~WISP_CPUID_SUBLEAF)
			return -EOPNOTSUPP;
		if (entry->reserved ||
		    (entry->subleaf && !(entry->flags & WISP_CPUID_SUBLEAF)))
			return -EINVAL;
	}
	sort(cpuid->cpuid, cpuid->count, sizeof(*entry), compare, NULL);
	for (i = 1; i < cpuid->count; i++)
		if (!compare(&cpuid->cpuid[i - 1], &cpuid->cpuid[i]))
			return -EINVAL;
	for (i = 0; i < WISP_CPUID_BUCKETS; i++)
		cpuid->first[i] = cpuid->count;
	for (i = cpuid->count; i--;)
		cpuid->first[bucket(cpuid->cpuid[i].leaf)] = i;
	return 0;
}

static const struct wisp_policy *table_of(const struct wisp_vm *vm)
{
	return vm->cpuid ?: default_table;
}

/* In one that is sorted: from the first entry of a leaf's bucket on. */
static const struct wisp_cpuid_entry *find(const struct wisp_policy *cpuid,
					   u32 leaf, u32 subleaf)
{
	const struct wisp_cpuid_entry *end = cpuid->cpuid + cpuid->count;
	const struct wisp_cpuid_entry *entry;

	for (entry = cpuid->cpuid + cpuid->first[bucket(leaf)];
	     entry < end && entry->leaf <= leaf; entry++)
		if (entry->leaf == leaf &&
		    (!(entry->flags & WISP_CPUID_SUBLEAF) || entry->subleaf == subleaf))
			return entry;
	return NULL;
}

/*
 * Bytes of an image with the components of @xcr0: each has its place in the standard
 * format, and follows the one before it in the compacted one. Not inline, or each other
 * leaf would save registers for it.
 */
static noinline u32 xsave_size(const struct wisp_policy *cpuid, u64 xcr0,
			       bool compacted)
{
	u32 size = offsetof(struct xregs_state, extended_state_area), offset;
	const struct wisp_cpuid_entry *entry;
	unsigned int i;

	for (i = 2; i < 64 && xcr0 >> i; i++) {
		entry = xcr0 & BIT_ULL(i) ? find(cpuid, 0xd, i) : NULL;
		if (!entry)
			continue;
		offset = entry->ebx;
		if (compacted)
			offset = entry->ecx & BIT(1) ? ALIGN(size, 64) : size;
		size = max(size, offset + entry->eax);
	}
	return size;
}

/* What depends on the vCPU and not on the table. */
static void patch(struct wisp_vcpu *vcpu, u32 leaf, u32 subleaf)
{
	bool random = !(vcpu->vm->flags & WISP_VM_DETERMINISTIC);
	struct wisp_general *general = &vcpu->general;
	u64 cr4;

	switch (leaf) {
	case 1:
		cr4 = wisp_backend->cr4(vcpu);
		general->rbx = (general->rbx & 0xffffff) | vcpu->index << 24;
		general->rcx &= ~BIT_ULL(27);	/* OSXSAVE */
		if (cr4 & X86_CR4_OSXSAVE)
			general->rcx |= BIT(27);
		if (!random)
			general->rcx &= ~BIT_ULL(30);	/* RDRAND */
		break;
	case 7:
		if (subleaf)
			break;
		cr4 = wisp_backend->cr4(vcpu);
		if (!random)
			general->rbx &= ~BIT_ULL(18);	/* RDSEED */
		general->rcx &= ~BIT_ULL(4);	/* OSPKE */
		if (cr4 & X86_CR4_PKE)
			general->rcx |= BIT(4);
		break;
	case 0xb:
		general->rdx = vcpu->index;
		break;
	case 0xd:
		if (subleaf == 1 && !(general->rax & LEAF_D_1_COMPACTED))
			general->rbx = 0;
		else if (subleaf < 2)
			general->rbx = xsave_size(table_of(vcpu->vm),
						  wisp_host_sync_xcr0(vcpu), subleaf);
		break;
	}
}

/**
 * wisp_cpuid_handle() - answer CPUID
 * @vcpu: in its window, at a CPUID instruction; RIP is the caller's to advance
 */
void wisp_cpuid_handle(struct wisp_vcpu *vcpu)
{
	static const struct wisp_cpuid_entry none;
	struct wisp_general *general = &vcpu->general;
	u32 leaf = general->rax, subleaf = general->rcx;
	const struct wisp_cpuid_entry *entry;

	entry = find(table_of(vcpu->vm), leaf, subleaf) ?: &none;
	general->rax = entry->eax;
	general->rbx = entry->ebx;
	general->rcx = entry->ecx;
	general->rdx = entry->edx;
	if (entry != &none)
		patch(vcpu, leaf, subleaf);
}
