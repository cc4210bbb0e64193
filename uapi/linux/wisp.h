/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Wisp: virtual machines through /dev/wisp.
 *
 * This header is the ABI, the same for 32- and 64-bit programs, and its manual;
 * Documentation/api.rst says more, call by call.
 *
 * Objects are file descriptors, always O_CLOEXEC, bound to no process:
 *
 *   system   open("/dev/wisp"); makes the others; mmap gives its window, where
 *            VMs may have their vCPUs' shared pages
 *   memory   guest memory: mmap, pread, pwrite
 *   vm       slots, policy, vCPUs by index; mmap gives the vCPUs' shared pages,
 *            pread and pwrite reach guest-physical memory (EFAULT outside the
 *            slots, and for pwrite where one has no WRITE)
 *   snapshot a VM that stands still: others are forked from it and reset to it;
 *            pread reaches its guest-physical memory
 *
 * Every struct that an ioctl takes starts with its size and with flags; what is
 * "zero" must be. Addresses, offsets and sizes of memory that a call takes are
 * multiples of WISP_PAGE_SIZE. vCPUs may be running; when the call returns they
 * all obey. It returns 0 or the new fd. A call that fails returns -1, changes
 * nothing but what is written "even on error", and errno is:
 *
 *   E2BIG       the struct is longer than this driver knows, and the rest is
 *               not zero, or it is longer than 1024 bytes; a table has too many entries
 *   EBADF       an fd argument is not open
 *   EBUSY       the hardware or the object is in use
 *   EDQUOT      the user has as many VMs or vCPUs as the driver's parameters
 *               allow
 *   EFAULT      a pointer does not lead to memory of the caller
 *   EINVAL      the struct is shorter than its first version; a value is
 *               understood but wrong: reserved and not zero, not aligned, out of
 *               range or order, an fd of the wrong kind
 *   EMFILE      the process has no fd left; ENFILE: the system has no file left
 *   ENOENT      no such vCPU
 *   ENOMEM      no memory, or none left in the memory cgroup
 *   ENOTTY      this kind of fd has no such call
 *   EOPNOTSUPP  an unknown flag, group, type, action or WISP_PROT_*
 *
 * Each call adds only what it has besides, or means by one of these.
 */
#ifndef _UAPI_LINUX_WISP_H
#define _UAPI_LINUX_WISP_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define WISP_ABI_VERSION	1
#define WISP_IOCTL_TYPE		0xd5

#define WISP_PAGE_SIZE		4096
#define WISP_MAX_PROTECT_RANGES	16384
#define WISP_MAX_CPUID		256
#define WISP_MAX_MSR_RANGES	256

/* ---- system fd ---------------------------------------------------------- */

#define WISP_QUERY		_IO(WISP_IOCTL_TYPE, 0x00)
#define WISP_CREATE_MEMORY	_IO(WISP_IOCTL_TYPE, 0x01)
#define WISP_CREATE_VM		_IO(WISP_IOCTL_TYPE, 0x02)

/* wisp_query.backend: the hardware behind the driver */
enum wisp_backend_id {
	WISP_BACKEND_SVM = 1,	/* AMD SVM with nested paging */
	WISP_BACKEND_VMX = 2,	/* Intel VMX with EPT and unrestricted guest */
};

/* wisp_query.features */
#define WISP_FEATURE_INST_BYTES	(1ULL << 0) /* MEMORY exits bring the bytes */

/*
 * wisp_query.quirks
 *
 * NO_NRIP: the CPU does not tell the length of the instruction that exited. The
 * driver goes on behind its opcode: in its middle, where it has a prefix.
 *
 * NO_HUGE: guests' tables have 4 KiB entries only: the CPU has no others, or one
 * that can be executed could stop the host (iTLB multihit).
 *
 * RANDOM: the CPU has RDRAND or RDSEED and cannot intercept them: a guest of
 * WISP_VM_DETERMINISTIC that does not ask CPUID first gets random numbers.
 *
 * NO_DIRTY: the CPU does not note which pages a guest writes (VMX without accessed
 * and dirty flags for EPT). A page that was written once since the snapshot counts
 * as written after each WISP_RESET, too: it is copied back, and DIRTY lists it.
 */
#define WISP_QUIRK_NO_NRIP	(1ULL << 0)
#define WISP_QUIRK_NO_HUGE	(1ULL << 1)
#define WISP_QUIRK_RANDOM	(1ULL << 2)
#define WISP_QUIRK_NO_DIRTY	(1ULL << 3)

/**
 * struct wisp_cpuid_entry - what one CPUID leaf returns to the guest
 * @leaf: EAX on input
 * @subleaf: ECX on input, where @flags has WISP_CPUID_SUBLEAF; else zero
 * @flags: WISP_CPUID_SUBLEAF: answers for this @subleaf only
 * @reserved: zero
 * @eax: result
 * @ebx: result
 * @ecx: result
 * @edx: result
 */
struct wisp_cpuid_entry {
	__u32 leaf;
	__u32 subleaf;
	__u32 flags;
	__u32 reserved;
	__u32 eax, ebx, ecx, edx;
};

#define WISP_CPUID_SUBLEAF	(1U << 0)

/**
 * struct wisp_query - WISP_QUERY: what this host can do
 * @size: sizeof(struct wisp_query)
 * @flags: zero
 * @abi_version: out: the driver's WISP_ABI_VERSION
 * @backend: out: enum wisp_backend_id
 * @features: out: WISP_FEATURE_*
 * @quirks: out: WISP_QUIRK_*
 * @state_groups: out: the WISP_STATE_* groups that the driver knows
 * @max_vcpus: out: vCPU indices are below this
 * @max_slots: out: slot numbers are below this
 * @gpa_bits: out: guest-physical addresses have this many bits
 * @max_memory_size: out: bytes, the largest memory object
 * @xcr0: out: the XCR0 bits that a guest may set
 * @xsave_size: out: bytes used of wisp_state.xsave
 * @tsc_khz: out: the rate of the host's and the guests' TSC
 * @cpuid_count: in: room at @cpuid, in entries; out: entries there are
 * @reserved: zero
 * @cpuid: pointer to struct wisp_cpuid_entry[@cpuid_count]: out: the table
 *	that a new VM has, as far as there is room
 */
struct wisp_query {
	__u32 size;
	__u32 flags;
	__u32 abi_version;
	__u32 backend;
	__u64 features;
	__u64 quirks;
	__u32 state_groups;
	__u32 max_vcpus;
	__u32 max_slots;
	__u32 gpa_bits;
	__u64 max_memory_size;
	__u64 xcr0;
	__u32 xsave_size;
	__u32 tsc_khz;
	__u32 cpuid_count;
	__u32 reserved;
	__u64 cpuid;
};

/* wisp_create_memory.flags */
#define WISP_MEMORY_HUGE	(1U << 0) /* 2 MiB at a time; else 4 KiB serve */
#define WISP_MEMORY_FILE	(1U << 1) /* over @file */
#define WISP_MEMORY_OF_SLOT	(1U << 2) /* another fd of what a slot shows */

/**
 * struct wisp_create_memory - WISP_CREATE_MEMORY: a memory object
 * @size: sizeof(struct wisp_create_memory)
 * @flags: WISP_MEMORY_HUGE or WISP_MEMORY_FILE or WISP_MEMORY_OF_SLOT or zero
 * @memory_size: 1 page to max_memory_size; with WISP_MEMORY_OF_SLOT zero
 * @file: fd with WISP_MEMORY_FILE, open for reading; vm fd with
 *	WISP_MEMORY_OF_SLOT; else zero
 * @reserved: zero
 * @file_offset: with WISP_MEMORY_FILE: where in it the object begins; with
 *	WISP_MEMORY_OF_SLOT: the slot's number; else zero
 *
 * Reads as zero. A page is allocated when the guest, the mapping or write()
 * first touches it, and charged to the memory cgroup of the caller of this. A guest
 * that touches one page after the other is given up to 15 ahead, never more than it
 * touched in a row. The mapping must be MAP_SHARED; it cannot be pinned: O_DIRECT
 * into it is EFAULT.
 *
 * With WISP_MEMORY_FILE it reads as the file's memory_size bytes from file_offset
 * on. A page is read from the file when it is first touched, and copied when it
 * is first written; the file does not change. As long as the object or a fork of
 * it lives, the file cannot be opened for writing or truncated (ETXTBSY). It is a
 * regular file, the caller's or one they may write, that nobody has open for
 * writing; or a memfd with F_SEAL_WRITE and F_SEAL_SHRINK. One VM may write the
 * object, as after a snapshot.
 *
 * EINVAL: the file is not regular, or cannot be read by page (DAX, overlayfs), or
 * is shorter. EPERM: it is neither the caller's, nor may they write it; or the
 * memfd is not sealed so. ETXTBSY: it is open for writing.
 *
 * With WISP_MEMORY_OF_SLOT no object is made: the fd is one more of the slot's, for
 * who wants a mapping of a fork's memory. ENOENT: no such slot. EPERM: the slot
 * shows less than all of its object, or has no WRITE, so that who has the VM might
 * not do all that who has the object may.
 */
struct wisp_create_memory {
	__u32 size;
	__u32 flags;
	__u64 memory_size;
	__s32 file;
	__u32 reserved;
	__u64 file_offset;
};

/* wisp_create_vm.flags */
#define WISP_VM_FORK		(1U << 0) /* of @snapshot */
#define WISP_VM_STOPPED_CLOCK	(1U << 1) /* a vCPU's TSC waits for its runs */
#define WISP_VM_DETERMINISTIC	(1U << 2) /* the same inputs, the same exits */
#define WISP_VM_WINDOW		(1U << 3) /* shared pages are at @window_offset */

/* The window of a system fd has so many pages. */
#define WISP_WINDOW_PAGES	(1U << 20)

/* With WISP_VM_DETERMINISTIC: how far the TSC goes */
#define WISP_TICKS_PER_READ	100
#define WISP_TICKS_PER_EXIT	1000

/**
 * struct wisp_create_vm - WISP_CREATE_VM: a virtual machine
 * @size: sizeof(struct wisp_create_vm)
 * @flags: WISP_VM_FORK, STOPPED_CLOCK, DETERMINISTIC or none of them, with or
 *	without WISP_VM_WINDOW
 * @snapshot: snapshot fd with WISP_VM_FORK, else zero
 * @reserved: zero
 * @max_private_pages: that accesses of the guest may make the driver allocate,
 *	until WISP_EXIT_LIMIT; 0: no limit, or the one of @snapshot
 * @max_run_time_ns: guest run time of all vCPUs, the same; not with DETERMINISTIC
 * @window_offset: with WISP_VM_WINDOW: where in the window of this system fd the
 *	vCPUs' shared pages begin; max_vcpus of them must fit; else zero
 *
 * A new VM has no slots, no vCPUs, the CPUID table that WISP_QUERY shows and an
 * empty MSR policy. A fork has all that the VM of the snapshot had: slots, over
 * memory objects of its own with the same contents; policy; vCPUs, whose shared
 * pages are at the same offsets; clock and limits. What it does not write it goes
 * on sharing. What is limited is counted from creation, fork and each reset on, and
 * pages that were discarded stay counted. Neither the tables that lead to pages are
 * counted nor pages of files: the memory cgroup bounds them.
 *
 * With WINDOW the shared page of vCPU i is at @window_offset + i * WISP_PAGE_SIZE of
 * the system fd, whose mapping (MAP_SHARED) serves all its VMs, those to come too;
 * and the vm fd has no mapping. A place can be had again once the VM with it has
 * ended. Who has the system fd has these pages: it is not to be shared by those who
 * do not trust each other. EBUSY: a fork's vCPU finds its place taken.
 *
 * With STOPPED_CLOCK the TSC of a vCPU stands still while that vCPU does not run;
 * those of several drift apart.
 *
 * With DETERMINISTIC there is one vCPU (EINVAL for a second), and nothing that it
 * sees depends on the host: its TSC is a counter that each RDTSC or RDTSCP moves on
 * by WISP_TICKS_PER_READ, each other instruction that exits and each MEMORY exit by
 * WISP_TICKS_PER_EXIT. CPUID hides RDRAND and RDSEED, which are #UD (but see
 * WISP_QUIRK_RANDOM). There is no time budget. So two runs from one snapshot with
 * the same inputs, at the same exits, have the same exits; where a kick or signal
 * ends one depends on when it comes.
 */
struct wisp_create_vm {
	__u32 size;
	__u32 flags;
	__s32 snapshot;
	__u32 reserved;
	__u64 max_private_pages;
	__u64 max_run_time_ns;
	__u64 window_offset;
};

/* ---- memory fd ---------------------------------------------------------- */

#define WISP_DISCARD		_IO(WISP_IOCTL_TYPE, 0x20)

/**
 * struct wisp_discard - WISP_DISCARD: give pages back
 * @size: sizeof(struct wisp_discard)
 * @flags: zero
 * @offset: into the object
 * @discard_size: not 0
 *
 * The range, which may be mapped, reads as zero from now on: when the call
 * returns nobody sees the old pages.
 */
struct wisp_discard {
	__u32 size;
	__u32 flags;
	__u64 offset;
	__u64 discard_size;
};

/* ---- vm fd -------------------------------------------------------------- */

#define WISP_SET_SLOT		_IO(WISP_IOCTL_TYPE, 0x40)
#define WISP_PROTECT		_IO(WISP_IOCTL_TYPE, 0x41)
#define WISP_SET_CPUID		_IO(WISP_IOCTL_TYPE, 0x42)
#define WISP_SET_MSR_POLICY	_IO(WISP_IOCTL_TYPE, 0x43)
#define WISP_CREATE_VCPU	_IO(WISP_IOCTL_TYPE, 0x44)
#define WISP_RUN		_IO(WISP_IOCTL_TYPE, 0x45)
#define WISP_KICK		_IO(WISP_IOCTL_TYPE, 0x46)
#define WISP_GET_STATE		_IO(WISP_IOCTL_TYPE, 0x47)
#define WISP_SET_STATE		_IO(WISP_IOCTL_TYPE, 0x48)
#define WISP_STATS		_IO(WISP_IOCTL_TYPE, 0x49)
#define WISP_SNAPSHOT		_IO(WISP_IOCTL_TYPE, 0x4a)
#define WISP_RESET		_IO(WISP_IOCTL_TYPE, 0x4b)
#define WISP_DIRTY		_IO(WISP_IOCTL_TYPE, 0x4c)

/* wisp_set_slot.prot, wisp_exit.memory.access */
#define WISP_PROT_READ		(1U << 0)
#define WISP_PROT_WRITE		(1U << 1)
#define WISP_PROT_EXEC		(1U << 2)

/**
 * struct wisp_set_slot - WISP_SET_SLOT: map a memory object into the VM
 * @size: sizeof(struct wisp_set_slot)
 * @flags: zero
 * @slot: the slot's number, below max_slots; one in use is replaced
 * @memory: memory fd; the slot keeps the object alive
 * @gpa: guest-physical address; the slot ends within gpa_bits
 * @slot_size: 0 removes the slot: @memory, @gpa, @offset and @prot are then zero
 * @offset: where in the memory object, which the slot does not leave
 * @prot: WISP_PROT_READ, with or without WRITE and EXEC
 * @reserved: zero
 *
 * EBUSY: the object is in a snapshot, and another VM has it, too, where either may
 * write; or another slot has what a fork made of it. EEXIST: overlaps another slot.
 * ENOENT: removes a slot that is not there.
 */
struct wisp_set_slot {
	__u32 size;
	__u32 flags;
	__u32 slot;
	__s32 memory;
	__u64 gpa;
	__u64 slot_size;
	__u64 offset;
	__u32 prot;
	__u32 reserved;
};

/**
 * struct wisp_protect_range - what a guest may do with some of its memory
 * @gpa: guest-physical address
 * @range_size: not 0; the range ends within gpa_bits
 * @prot: 0, or WISP_PROT_READ with or without WRITE and EXEC
 * @reserved: zero
 */
struct wisp_protect_range {
	__u64 gpa;
	__u64 range_size;
	__u32 prot;
	__u32 reserved;
};

/**
 * struct wisp_protect - WISP_PROTECT: narrow what slots allow
 * @size: sizeof(struct wisp_protect)
 * @flags: zero
 * @count: ranges, 1 to WISP_MAX_PROTECT_RANGES
 * @reserved: zero
 * @ranges: pointer to struct wisp_protect_range[@count]; later ones win
 *
 * A page may be accessed as both its slot and its protection allow; an access
 * against the latter exits with WISP_MEMORY_PROTECTED. A protection belongs to
 * the addresses: it stays when a slot comes or goes, until all of READ, WRITE
 * and EXEC takes it away. The CPU's walks of the guest's tables set bits there: they
 * count as writes, of slots, too (WISP_MEMORY_WALK).
 *
 * EINTR (a signal that kills), ENOMEM, ENOSPC: ranges may have been protected already.
 * ENOSPC: the VM would keep more than 4 * WISP_MAX_PROTECT_RANGES. What is set in the
 * midst of another parts that in two; what takes away and parts none finds room.
 */
struct wisp_protect {
	__u32 size;
	__u32 flags;
	__u32 count;
	__u32 reserved;
	__u64 ranges;
};

/**
 * struct wisp_set_cpuid - WISP_SET_CPUID: replace the VM's CPUID table
 * @size: sizeof(struct wisp_set_cpuid)
 * @flags: zero
 * @count: entries, at most WISP_MAX_CPUID
 * @reserved: zero
 * @entries: pointer to struct wisp_cpuid_entry[@count]
 *
 * The table only says what CPUID answers; it turns no feature on or off. A leaf
 * that it does not hold reads as zero. The driver fills in what depends on the
 * vCPU: the APIC id (leaves 1, 0xb), OSXSAVE (1), OSPKE (7) and the size of the
 * enabled XSAVE area (0xd). EBUSY: the VM has vCPUs. EINTR: a signal that kills.
 * EINVAL: two entries for one leaf and subleaf.
 */
struct wisp_set_cpuid {
	__u32 size;
	__u32 flags;
	__u32 count;
	__u32 reserved;
	__u64 entries;
};

/* wisp_msr_range.read, .write: what RDMSR or WRMSR does */
enum wisp_msr_action {
	WISP_MSR_GP = 0,	/* raises #GP in the guest */
	WISP_MSR_EXIT = 1,	/* ends the run with WISP_EXIT_MSR */
	WISP_MSR_IGNORE = 2,	/* reads zero; the write is dropped */
};

/**
 * struct wisp_msr_range - one rule of the MSR policy
 * @first: first MSR
 * @last: last MSR, inclusive
 * @read: enum wisp_msr_action for RDMSR
 * @write: enum wisp_msr_action for WRMSR
 */
struct wisp_msr_range {
	__u32 first;
	__u32 last;
	__u32 read;
	__u32 write;
};

/**
 * struct wisp_set_msr_policy - WISP_SET_MSR_POLICY: replace the MSR policy
 * @size: sizeof(struct wisp_set_msr_policy)
 * @flags: zero
 * @count: ranges, at most WISP_MAX_MSR_RANGES
 * @reserved: zero
 * @ranges: pointer to struct wisp_msr_range[@count], ascending, disjoint
 *
 * It decides about MSRs that the driver does not keep: it keeps those of struct
 * wisp_msrs, EFER, FS_BASE, GS_BASE. An MSR in no range raises #GP. EBUSY: the
 * VM has vCPUs. EINTR: a signal that kills.
 */
struct wisp_set_msr_policy {
	__u32 size;
	__u32 flags;
	__u32 count;
	__u32 reserved;
	__u64 ranges;
};

/**
 * struct wisp_create_vcpu - WISP_CREATE_VCPU: add a vCPU
 * @size: sizeof(struct wisp_create_vcpu)
 * @flags: zero
 * @vcpu: its index, below max_vcpus; also its initial APIC id
 * @reserved: zero
 * @page_offset: out, even on error: where mmap() of the vm fd, WISP_PAGE_SIZE
 *	and MAP_SHARED, finds the vCPU's struct wisp_vcpu_page; with
 *	WISP_VM_WINDOW: how far behind window_offset it is
 *
 * The vCPU is as after INIT (real mode, CS:IP f000:fff0), but with CD and NW clear in
 * CR0. Its TSC was 0 when the VM was created, or last reset.
 * EEXIST: there is one with this index. EBUSY: another has its place in the window.
 * EINTR: a signal that kills.
 */
struct wisp_create_vcpu {
	__u32 size;
	__u32 flags;
	__u32 vcpu;
	__u32 reserved;
	__u64 page_offset;
};

/* ---- vCPU state --------------------------------------------------------- */

/* Groups of registers: wisp_vcpu_page.want and .dirty, wisp_vcpu_state.groups */
#define WISP_STATE_GENERAL	(1U << 0)
#define WISP_STATE_SEGMENTS	(1U << 1)
#define WISP_STATE_CONTROL	(1U << 2)
#define WISP_STATE_DEBUG	(1U << 3)
#define WISP_STATE_MSRS		(1U << 4)
#define WISP_STATE_EVENTS	(1U << 5)
#define WISP_STATE_FPU		(1U << 6)

/** struct wisp_general - WISP_STATE_GENERAL, in the order of their encoding */
struct wisp_general {
	__u64 rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi;
	__u64 r8, r9, r10, r11, r12, r13, r14, r15;
	__u64 rip, rflags;
};

/**
 * struct wisp_segment - a segment register with its hidden part
 * @base: linear address, canonical
 * @limit: bytes - 1, as after scaling by G, and such that G could make it
 * @selector: visible part; zero for GDT and IDT
 * @attributes: descriptor bits 40-47 in bits 0-7 (type, S, DPL, P), bits 52-55
 *	in bits 12-15 (AVL, L, D/B, G); P clear: not usable. Zero for GDT and IDT
 */
struct wisp_segment {
	__u64 base;
	__u32 limit;
	__u16 selector;
	__u16 attributes;
};

/** struct wisp_segments - WISP_STATE_SEGMENTS. The CPL is the DPL of @ss. */
struct wisp_segments {
	struct wisp_segment cs, ds, es, fs, gs, ss;
	struct wisp_segment tr, ldtr;
	struct wisp_segment gdt, idt;
};

/** struct wisp_control - WISP_STATE_CONTROL */
struct wisp_control {
	__u64 cr0, cr2, cr3, cr4, cr8;
	__u64 efer, xcr0;
	__u64 reserved;
};

/** struct wisp_debug - WISP_STATE_DEBUG */
struct wisp_debug {
	__u64 dr0, dr1, dr2, dr3;
	__u64 dr6, dr7;
};

/** struct wisp_msrs - WISP_STATE_MSRS; FS and GS bases are in the segments */
struct wisp_msrs {
	__u64 star, lstar, cstar, sfmask;
	__u64 kernel_gs_base;
	__u64 sysenter_cs, sysenter_esp, sysenter_eip;
	__u64 pat;
	__u64 tsc;		/* its value at the moment of the call */
	__u64 tsc_aux;
	__u64 reserved[5];
};

/* wisp_event.type: what an event is to the guest */
enum wisp_event_type {
	WISP_EVENT_NONE = 0,		/* nothing */
	WISP_EVENT_INTERRUPT = 1,	/* waits for IF, the shadow's end */
	WISP_EVENT_NMI = 2,		/* waits for IRET, the shadow's end */
	WISP_EVENT_EXCEPTION = 3,	/* delivered at the next entry */
};

/**
 * struct wisp_event - an interrupt, NMI or exception
 * @type: enum wisp_event_type
 * @vector: interrupt 0-255, NMI 2, exception 0, 1, 3 to 8, 10 to 14, 16 to 19,
 *	and neither 4 nor 5 in 64-bit mode
 * @has_error_code: 1: exceptions 8, 10 to 14, 17 outside of real mode; else 0
 * @reserved: zero
 * @error_code: pushed where @has_error_code; else zero
 */
struct wisp_event {
	__u8 type;
	__u8 vector;
	__u8 has_error_code;
	__u8 reserved;
	__u32 error_code;
};

/**
 * struct wisp_events - WISP_STATE_EVENTS
 * @injected: the event that an exit interrupted: delivered at the next entry
 * @interrupt: an external interrupt that waits, or type NONE
 * @nmi_pending: 0 or 1: an NMI waits
 * @nmi_blocked: 0 or 1: an NMI is being handled (until IRET)
 * @interrupt_shadow: 0 or 1: after STI or MOV SS, for one instruction
 * @reserved: zero
 */
struct wisp_events {
	struct wisp_event injected;
	struct wisp_event interrupt;
	__u8 nmi_pending;
	__u8 nmi_blocked;
	__u8 interrupt_shadow;
	__u8 reserved[13];
};

#define WISP_XSAVE_SIZE		3072

/**
 * struct wisp_state - all groups of a vCPU
 * @general: WISP_STATE_GENERAL
 * @segments: WISP_STATE_SEGMENTS
 * @control: WISP_STATE_CONTROL
 * @debug: WISP_STATE_DEBUG
 * @msrs: WISP_STATE_MSRS
 * @events: WISP_STATE_EVENTS
 * @reserved: for later groups
 * @xsave: WISP_STATE_FPU: standard-format XSAVE image (SDM Vol. 1, "Managing
 *	State Using the XSAVE Feature Set"); components in wisp_query.xcr0. One
 *	that is behind the header and not in XSTATE_BV is zero, whatever was written
 */
struct wisp_state {
	struct wisp_general general;
	struct wisp_segments segments;
	struct wisp_control control;
	struct wisp_debug debug;
	struct wisp_msrs msrs;
	struct wisp_events events;
	__u64 reserved[24];
	__u8 xsave[WISP_XSAVE_SIZE];
};

/**
 * struct wisp_vcpu_state - WISP_GET_STATE, WISP_SET_STATE
 * @size: sizeof(struct wisp_vcpu_state)
 * @flags: zero
 * @vcpu: index
 * @groups: WISP_STATE_*, the groups to copy
 * @state: pointer to struct wisp_state; only the groups named are touched
 * @field: out, even on error: see WISP_FIELD(); 0 if none
 * @reserved: zero
 *
 * SET refuses what the hardware would at the next entry (APM Vol. 2,
 * "Canonicalization and Consistency Checks"; SDM Vol. 3, "VM Entries"), and what
 * the guest itself could not set. EBUSY: the vCPU is running, another thread has
 * its state, or the VM is being frozen or reset.
 */
struct wisp_vcpu_state {
	__u32 size;
	__u32 flags;
	__u32 vcpu;
	__u32 groups;
	__u64 state;
	__u32 field;
	__u32 reserved;
};

/* ---- running ------------------------------------------------------------ */

/* wisp_exit.reason: why a run ended */
enum wisp_exit_reason {
	WISP_EXIT_NONE = 0,		/* no run, or a signal ended it */
	WISP_EXIT_PORT = 1,		/* IN, OUT, INS, OUTS */
	WISP_EXIT_MEMORY = 2,		/* outside the slots, or protected */
	WISP_EXIT_MSR = 3,		/* RDMSR, WRMSR that the policy names */
	WISP_EXIT_HLT = 4,		/* HLT */
	WISP_EXIT_HYPERCALL = 5,	/* VMMCALL, VMCALL */
	WISP_EXIT_SHUTDOWN = 6,		/* triple fault; state may be void */
	WISP_EXIT_INTR_WINDOW = 7,	/* an interrupt could go in */
	WISP_EXIT_TASK_SWITCH = 8,	/* hardware task switch */
	WISP_EXIT_KICKED = 9,		/* WISP_KICK */
	WISP_EXIT_BUDGET = 10,		/* the budget is used up */
	WISP_EXIT_NOMEM = 11,		/* for a page that the guest touched */
	WISP_EXIT_ENTRY_FAILED = 12,	/* the hardware refused the state */
	WISP_EXIT_UNEXPECTED = 13,	/* the driver does not know it */
	WISP_EXIT_DEBUG = 14,		/* what WISP_RUN_* asked for */
	WISP_EXIT_LIMIT = 15,		/* of WISP_CREATE_VM: again, until a reset */
};

/* wisp_exit.limit.which */
enum wisp_limit {
	WISP_LIMIT_PRIVATE_PAGES = 1,
	WISP_LIMIT_RUN_TIME = 2,
};

/* wisp_exit.flags */
#define WISP_EXIT_INTR_READY	(1U << 0) /* one would go in, this exit completed */
#define WISP_EXIT_INTR_PENDING	(1U << 1) /* an injected one still waits */

/* wisp_exit.port.flags */
#define WISP_PORT_IN		(1U << 0) /* IN or INS; else OUT or OUTS */
#define WISP_PORT_STRING	(1U << 1) /* INS, OUTS: libwisp's assist does it */
#define WISP_PORT_REP		(1U << 2)

/* wisp_exit.memory.flags */
#define WISP_MEMORY_SLOT	(1U << 0) /* in a slot, against its protection */
#define WISP_MEMORY_WALK	(1U << 1) /* the CPU's walk of the guest's tables */
#define WISP_MEMORY_PROTECTED	(1U << 2) /* in a slot, against WISP_PROTECT */
#define WISP_MEMORY_IO		(1U << 3) /* in a slot, whose file cannot be read */
#define WISP_MEMORY_UNREADABLE	(1U << 4) /* in a slot, and WISP_PROTECT forbids all */
#define WISP_MEMORY_DELIVERY	(1U << 5) /* of an event, not of the instruction at RIP */

/**
 * struct wisp_exit - why and where a run ended
 * @reason: enum wisp_exit_reason
 * @flags: WISP_EXIT_INTR_*
 * @rip: the guest's; the instruction that exited, not the next one
 * @rflags: the guest's
 * @inst_len: bytes of the instruction that exited, 0 where not known
 * @reserved: zero
 * @port: PORT: @port.size 1, 2 or 4; @port.data what OUT writes
 * @memory: MEMORY: @memory.access one of WISP_PROT_*; @memory.inst_bytes the
 *	instruction, if @memory.inst_bytes_len is not 0
 * @msr: MSR: @msr.write 0 or 1, @msr.data what WRMSR writes
 * @task_switch: TASK_SWITCH: @task_switch.selector of the new TSS;
 *	@task_switch.source 0 CALL or event, 1 IRET, 2 JMP; an event's error code
 * @debug: DEBUG: @debug.vector 1 (#DB; @debug.dr6 says which breakpoint, or BS
 *	for a step) or 3 (#BP; RIP is at the INT3)
 * @limit: LIMIT: @limit.which is enum wisp_limit
 * @hw: ENTRY_FAILED, UNEXPECTED: SVM's EXITCODE, EXITINFO1, EXITINFO2; VMX's
 *	exit reason, exit qualification, VM-instruction error; all 0: VMX was turned off
 *	under the run, and the vCPU is as new
 * @raw: the largest any exit uses
 */
struct wisp_exit {
	__u32 reason;
	__u32 flags;
	__u64 rip;
	__u64 rflags;
	__u8 inst_len;
	__u8 reserved[7];
	union {
		struct {
			__u16 port;
			__u8 size;
			__u8 reserved;
			__u32 flags;
			__u64 data;
		} port;
		struct {
			__u64 gpa;
			__u32 access;
			__u32 flags;
			__u8 inst_bytes_len;
			__u8 inst_bytes[15];
		} memory;
		struct {
			__u32 index;
			__u32 write;
			__u64 data;
		} msr;
		struct {
			__u16 selector;
			__u8 source;
			__u8 has_error_code;
			__u32 error_code;
		} task_switch;
		struct {
			__u64 dr6;
			__u32 vector;
			__u32 reserved;
		} debug;
		struct {
			__u32 which;
			__u32 reserved;
		} limit;
		struct {
			__u64 code;
			__u64 info1;
			__u64 info2;
		} hw;
		__u64 raw[8];
	};
};

/* wisp_vcpu_page.flags */
#define WISP_RUN_INTR_WINDOW	(1U << 0) /* exit when an interrupt could go in */
#define WISP_RUN_STEP		(1U << 1) /* exit after one instruction */
#define WISP_RUN_BREAKPOINTS	(1U << 2) /* use wisp_vcpu_page.breakpoints */
#define WISP_RUN_TRAP_INT3	(1U << 3) /* exit on INT3 */
#define WISP_RUN_RESET		(1U << 4) /* WISP_RESET to snapshot -1 first */

/**
 * struct wisp_breakpoints - a debugger's hardware breakpoints
 * @address: linear, as in DR0-3
 * @dr7: enables, kinds and lengths, as in DR7
 *
 * They are in the CPU instead of the guest's own, which the guest goes on seeing
 * but which do not fire meanwhile.
 */
struct wisp_breakpoints {
	__u64 address[4];
	__u64 dr7;
};

/**
 * struct wisp_vcpu_page - the page a vCPU shares with its VMM
 * @size: the driver's sizeof(struct wisp_vcpu_page); written at creation
 * @flags: in: WISP_RUN_*; WISP_RUN_RESET is cleared when it is done
 * @want: in: the WISP_STATE_* groups to store in @state when the run ends
 * @dirty: in: the groups of @state to load before the guest runs; then set to 0
 * @complete: in: 1: go on behind the instruction that ended the last run (PORT, MSR,
 *	HLT, HYPERCALL, MEMORY without DELIVERY), after @dirty; then set to 0. Of a
 *	MEMORY, and of a PORT with STRING, @dirty has all that the instruction does,
 *	RIP too: what is left is that its interrupt shadow ends and its single step
 * @field: out: WISP_FIELD() of what EXIT_ENTRY_FAILED or RUN refused, with EINVAL,
 *	EOPNOTSUPP or EBUSY for @inject; else 0, unless RUN failed before it came to that
 * @budget_ns: in: run time of this call until WISP_EXIT_BUDGET; 0: no limit (with
 *	WISP_VM_DETERMINISTIC always)
 * @reply: in: for @complete: what IN or RDMSR reads
 * @inject: in: an event for the guest; its type is then set to NONE, but where
 *	@complete could not go on (#GP, beyond the segment)
 * @reserved: zero
 * @exit: out: how the run ended
 * @breakpoints: in: with WISP_RUN_BREAKPOINTS
 * @reserved2: zero
 * @state: in and out: the groups of @dirty and @want
 *
 * WISP_RUN reads the page when it begins and writes it before it returns.
 * Whoever writes to it meanwhile spoils that vCPU's own results only.
 */
struct wisp_vcpu_page {
	__u32 size;
	__u32 flags;
	__u32 want;
	__u32 dirty;
	__u32 complete;
	__u32 field;
	__u64 budget_ns;
	__u64 reply;
	struct wisp_event inject;
	__u64 reserved[2];
	struct wisp_exit exit;
	struct wisp_breakpoints breakpoints;
	__u64 reserved2[7];
	struct wisp_state state;
};

/**
 * WISP_FIELD() - the id of a member that was refused
 * @member: of struct wisp_vcpu_page, e.g. state.control.cr0 or inject.vector
 *
 * Its offset in the page; libwisp's wisp_field_name() gives its name.
 */
#define WISP_FIELD(member)	__builtin_offsetof(struct wisp_vcpu_page, member)

/**
 * struct wisp_stats - WISP_STATS: what a VM has done
 * @size: sizeof(struct wisp_stats)
 * @flags: zero
 * @vcpus: out: vCPUs there are
 * @slots: out: slots there are
 * @run_time_ns: out: guest run time of all vCPUs
 * @entries: out: entries into the guest, those that the hardware refused included
 * @host_exits: out: exits for interrupts of the host
 * @faults: out: second-level faults that mapped a page
 * @injections: out: events that an entry was to deliver, each time: one whose delivery
 *	faults comes again
 * @exits: out: exits to the VMM, by enum wisp_exit_reason
 *
 * Since its creation; a vCPU that runs may be counted as it was a moment ago.
 */
struct wisp_stats {
	__u32 size;
	__u32 flags;
	__u32 vcpus;
	__u32 slots;
	__u64 run_time_ns;
	__u64 entries;
	__u64 host_exits;
	__u64 faults;
	__u64 injections;
	__u64 exits[32];
};

/* ---- snapshots ---------------------------------------------------------- */

/* wisp_snapshot.flags */
#define WISP_SNAPSHOT_KICK	(1U << 0) /* end runs that are on, and wait */

/**
 * struct wisp_snapshot - WISP_SNAPSHOT: freeze a VM
 * @size: sizeof(struct wisp_snapshot)
 * @flags: WISP_SNAPSHOT_KICK or zero
 *
 * The snapshot has all of the VM's memory, slots, policy and vCPU state as it is
 * now. The VM goes on; like a fork it shares what it does not write. The cost
 * does not depend on how much memory there is. The new fd takes WISP_GET_STATE,
 * which is never EBUSY, and pread(). EBUSY: a vCPU runs, or a memory object is in
 * a slot of another VM. EINVAL: the VM has no vCPU.
 *
 * With KICK the runs that are on end with WISP_EXIT_KICKED, and no kick is left
 * for a later one; until the call returns, WISP_RUN is EBUSY. EINTR: a signal
 * that kills came meanwhile.
 */
struct wisp_snapshot {
	__u32 size;
	__u32 flags;
};

/* wisp_reset.flags */
#define WISP_RESET_KICK		(1U << 0) /* end runs that are on, and wait */
#define WISP_RESET_AUDIT	(1U << 1) /* then compare with the snapshot */

/* wisp_audit.what differs */
enum wisp_audit_what {
	WISP_AUDIT_SAME = 0,
	WISP_AUDIT_MEMORY = 1,
	WISP_AUDIT_STATE = 2,
	WISP_AUDIT_LAYOUT = 3,		/* slots or protections */
};

/**
 * struct wisp_audit - the first difference from the snapshot after a reset
 * @what: enum wisp_audit_what
 * @vcpu: STATE: whose
 * @field: STATE: WISP_FIELD() of the first byte that differs
 * @reserved: zero
 * @gpa: MEMORY: of the first byte that differs
 */
struct wisp_audit {
	__u32 what;
	__u32 vcpu;
	__u32 field;
	__u32 reserved;
	__u64 gpa;
};

/**
 * struct wisp_reset - WISP_RESET: be as a snapshot is
 * @size: sizeof(struct wisp_reset)
 * @flags: WISP_RESET_KICK, as with WISP_SNAPSHOT_KICK; AUDIT; or zero
 * @snapshot: snapshot fd: of this VM, of the VM that it or one of its parents
 *	was forked from, or of a relative; -1: the one last taken, reset to or
 *	forked from
 * @reserved: zero
 * @audit: pointer to struct wisp_audit: out, with AUDIT, even on error (zeroes then);
 *	else zero
 *
 * All that a snapshot has comes back: memory, slots and protections, the state
 * of the vCPUs. A vCPU that was created later is as new; one that only the snapshot
 * has is created, which may be EBUSY or EDQUOT as there, and is there even where the
 * reset then fails. Memory that the VMM
 * wrote, by its mapping or by write(), comes back like what the guest wrote. The
 * cost is that of the pages written since. EBUSY: a vCPU runs, or another VM has a
 * slot on what would be written here again. EINVAL: @snapshot is of a VM that is no
 * relative, or there is none yet.
 *
 * AUDIT looks at slots and protections, at all memory in slots whose pages the VM
 * does not share with the snapshot, and at all state of the vCPUs that both have; a
 * TSC that goes on may have done so since the reset. What the VMM writes meanwhile
 * is a difference.
 */
struct wisp_reset {
	__u32 size;
	__u32 flags;
	__s32 snapshot;
	__u32 reserved;
	__u64 audit;
};

/**
 * struct wisp_dirty - WISP_DIRTY: the pages written since the snapshot
 * @size: sizeof(struct wisp_dirty)
 * @flags: zero
 * @count: in: room at @pages, at most WISP_MAX_DIRTY; out: pages there are, which
 *	may be more
 * @reserved: zero
 * @pages: pointer to __u64[@count]: out: guest-physical addresses, in no order
 *
 * Since the snapshot that the VM was last reset to, forked from or that was last
 * taken. Every page written is listed, those that the VMM holds mapped writable
 * always, and those that hold the guest's page tables when the CPU has set bits
 * in them. A page that was discarded is not. EINTR: a signal that kills. EINVAL:
 * there is no snapshot yet.
 */
struct wisp_dirty {
	__u32 size;
	__u32 flags;
	__u32 count;
	__u32 reserved;
	__u64 pages;
};

#define WISP_MAX_DIRTY		(1U << 20)

/* ---- calls without a struct --------------------------------------------- */

/**
 * DOC: WISP_RUN: ioctl(vm, WISP_RUN, index): run a vCPU until it exits
 *
 *   EINTR       a signal is pending; the guest may have run. What the call took
 *               from the page is done, and it can be made again as it is
 *   EBUSY       the vCPU is running (WISP_RUN_RESET: as of WISP_RESET), or the VM
 *               is being frozen or reset; or @inject is an interrupt and an
 *               earlier one still waits, or an exception while another event is
 *               in delivery, or @complete is to report a single step; as EINTR:
 *               the CPU refuses to turn its virtualization on, or KVM may have an
 *               enlightened VMCS
 *   EINVAL      @field was refused; @complete: also where nothing is to be done;
 *               WISP_RUN_RESET: there is no snapshot yet
 *   ENOMEM      for what a fork's vCPU needs to run, or for WISP_RUN_RESET
 *   EOPNOTSUPP  @field has something unknown
 *
 * WISP_RUN_RESET comes once @flags, @want, @dirty, @budget_ns, the breakpoints, what is
 * reserved and whether @complete is 0 or 1 are known to be right: other errors, by state
 * or events, may come when the VM has been reset.
 */

/**
 * DOC: WISP_KICK: ioctl(vm, WISP_KICK, index): end a run
 *
 * From any thread: the run that is on, or else the next one, ends with
 * WISP_EXIT_KICKED.
 */

#endif /* _UAPI_LINUX_WISP_H */
