/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A small machine to run snippets of guest code in, on raw ioctls.
 *
 * Memory is one object of GUEST_SIZE bytes, slot 0, at guest-physical 0,
 * mapped here as guest.memory. 64-bit guests run on identity-mapping tables:
 * the first 2 MiB in 4 KiB pages, the rest up to 1 GiB in 2 MiB pages, all of
 * it accessible at CPL 3. Exceptions and interrupts go to stubs (handlers.S)
 * that write a struct guest_trap at GUEST_TRAP.
 */
#ifndef WISP_SELFTESTS_GUEST_H
#define WISP_SELFTESTS_GUEST_H

/* Guest-physical addresses; handlers.S and snippets use them too. */
#define GUEST_GDT		0x1000
#define GUEST_IDT		0x2000
#define GUEST_PML4		0x3000
#define GUEST_PDPT		0x4000
#define GUEST_PD		0x5000
#define GUEST_PT		0x6000
#define GUEST_TSS		0x7000
#define GUEST_TRAP		0x8000
#define GUEST_STUBS		0x9000
#define GUEST_CODE		0x10000
#define GUEST_STACK		0x20000	/* its top */
#define GUEST_USER_STACK	0x30000	/* its top */
#define GUEST_TRAP_STACK	0x38000	/* its top, of interrupts at CPL 3 */
#define GUEST_DATA		0x40000
#define GUEST_SIZE		0x400000

/* Where a slot never is. */
#define GUEST_NOWHERE		0x10000000

#define GUEST_CS64		0x28
#define GUEST_DS		0x30
#define GUEST_USER_DS		0x3b
#define GUEST_USER_CS64		0x43
#define GUEST_TSS_SELECTOR	0x48

/* What the stubs' common part does after it has written its record. */
#define GUEST_TRAP_REPORT	0	/* OUT to GUEST_TRAP_PORT, then IRET */
#define GUEST_TRAP_RESUME	1	/* IRET to guest_trap.resume */
#define GUEST_TRAP_RETURN	2	/* IRET */

#define GUEST_TRAP_PORT		0xee

/* Offsets in struct guest_trap. */
#define TRAP_VECTOR		0x00
#define TRAP_ERROR		0x08
#define TRAP_RIP		0x10
#define TRAP_CS			0x18
#define TRAP_RFLAGS		0x20
#define TRAP_RSP		0x28
#define TRAP_CR2		0x30
#define TRAP_COUNT		0x38
#define TRAP_ACTION		0x40
#define TRAP_RESUME		0x48

#ifndef __ASSEMBLER__

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "../raw.h"
#include "../snippet.h"
#include "../state.h"

#define GUEST_VCPUS		4

/* A hang is a failure, not a wait: no snippet runs nearly so long. */
#define GUEST_BUDGET_NS		20000000000ULL

struct guest_trap {
	__u64 vector;
	__u64 error;
	__u64 rip;
	__u64 cs;
	__u64 rflags;
	__u64 rsp;
	__u64 cr2;
	__u64 count;
	__u64 action;
	__u64 resume;
};

struct guest {
	int sys;
	int vm;
	int fd;			/* the memory object */
	char *memory;
	struct wisp_vcpu_page *pages[GUEST_VCPUS];
	struct wisp_vcpu_page *page;	/* of vCPU 0 */
	struct wisp_query query;
};

enum guest_mode { REAL16, PROTECTED32, LONG64, USER64 };

/* Everything returns 0 or -errno. */
int guest_create(struct guest *g);
/* The same with what @arg says: WISP_VM_*, limits. */
int guest_create_as(struct guest *g, struct wisp_create_vm *arg);
/* As guest_create(), but the VM has no vCPU yet: for the policies. */
int guest_create_vm(struct guest *g);
int guest_add_vcpu(struct guest *g, int vcpu);
void guest_destroy(struct guest *g);

/* Copies code to GUEST_CODE and makes vCPU 0 ready to run it in @mode. */
void guest_load(struct guest *g, enum guest_mode mode, const char *code,
		const char *end);
/* The same for any vCPU and place; no registers are reset but those of RUN. */
void guest_load_at(struct guest *g, int vcpu, enum guest_mode mode,
		   __u64 address, const char *code, const char *end);

#define GUEST_LOAD(g, mode, name) guest_load(g, mode, name, name##_end)

static inline void *guest_at(struct guest *g, __u64 gpa)
{
	return g->memory + gpa;
}

static inline struct guest_trap *guest_trap(struct guest *g)
{
	return guest_at(g, GUEST_TRAP);
}

/* Runs vCPU 0; returns the exit's reason, or -errno. */
int guest_run(struct guest *g);
int guest_run_vcpu(struct guest *g, int vcpu);
/* The instruction that exited is done, its result is @reply; run on. */
int guest_complete(struct guest *g, __u64 reply);

/* The guest's page table entry of a page below 2 MiB. */
static inline __u64 *guest_pte(struct guest *g, __u64 gva)
{
	return (__u64 *)guest_at(g, GUEST_PT) + gva / PAGE;
}

/* Whether a stub has reported; says what, if it is not @vector. */
bool guest_has_trapped(struct guest *g, int vector);

/* Waits until the guest's counter moves: then it is in its run. */
void guest_wait_counting(struct guest *g, __u64 gpa);

/* Whether WISP_DIRTY has the page. */
bool guest_is_dirty(int vm, __u64 gpa);

struct guest_thread {
	struct guest *guest;
	int vcpu;
	int result;	/* as guest_run_vcpu() */
	pthread_t thread;
};

void guest_thread_start(struct guest_thread *t, struct guest *g, int vcpu);
int guest_thread_join(struct guest_thread *t);

const char *guest_exit_name(int reason);

/*
 * The CPU that is number @n of those that the program was started on, which need not
 * begin with 0; they are counted round. Or the calling thread goes there.
 */
int guest_cpu(unsigned int n);
int guest_pin(unsigned int n);

/*
 * Whether the host is in QEMU's TCG, some of whose gaps tests must know: WRMSR
 * of a base takes what is not canonical, VMRUN arms no breakpoints, and there
 * is no #AC.
 */
bool guest_on_tcg(void);

/*
 * Whether it is Bochs. Where IF was clear at the entry, only the preemption timer
 * ends a guest with VMX for the host's interrupts, and it starts anew at each entry:
 * one that is in the driver more often than that, all the time, keeps its CPU.
 */
bool guest_on_bochs(void);

/*
 * Whether it is Bochs with SVM, some of whose bugs take the host down: where IF
 * was clear at VMRUN the host's interrupts wait until the guest sets it; an exit
 * with TF set is a trap in the host; triple faults are not intercepted; MOV to
 * CR0 may clear PE in long mode. More are in Documentation/testing.rst.
 */
bool guest_on_bochs_svm(void);

#endif
#endif
