/* SPDX-License-Identifier: MIT */
/*
 * libwisp: a thin library over /dev/wisp.
 *
 * The calls have the names of the ioctls in <linux/wisp.h>, which says what
 * each does. Every function returns 0 or a count or an fd, or a negative errno.
 * Nothing here is global and nothing allocates unless it says so; a function
 * may be called from any thread, and on one vCPU by one thread at a time.
 *
 * Addresses say their space: gva is a guest's linear address, gpa a
 * guest-physical one. Sizes are in bytes.
 */
#ifndef WISP_H
#define WISP_H

#include <linux/wisp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One call per ioctl. */

/**
 * wisp_open() - open /dev/wisp
 *
 * Return: the system fd (O_CLOEXEC), or -ENOENT (the driver is not loaded),
 * -EACCES (no permission) or what else open(2) gives.
 */
int wisp_open(void);

/**
 * wisp_query() - what this host can do
 * @sys: system fd
 * @query: filled in; on input only @query->cpuid (a pointer to struct
 *	wisp_cpuid_entry, or 0) and @query->cpuid_count (room there, in entries)
 *	are looked at
 *
 * Return: 0, or -EBADF, -EFAULT (@query->cpuid), -ENOTTY.
 */
int wisp_query(int sys, struct wisp_query *query);

/**
 * wisp_create_memory() - a memory object that reads as zero
 * @sys: system fd
 * @size: bytes, a multiple of WISP_PAGE_SIZE, up to wisp_query.max_memory_size
 *
 * Return: the memory fd (O_CLOEXEC), or -EINVAL (@size), -EMFILE, -ENFILE,
 * -ENOMEM.
 */
int wisp_create_memory(int sys, uint64_t size);

/**
 * wisp_create_memory_flags() - wisp_create_memory() with flags
 * @sys: system fd
 * @size: as there
 * @flags: WISP_MEMORY_HUGE: the first touch of 2 MiB allocates all of them
 *
 * Return: as there, or -EOPNOTSUPP (@flags).
 */
int wisp_create_memory_flags(int sys, uint64_t size, uint32_t flags);

/**
 * wisp_create_memory_file() - a memory object that reads as a file
 * @sys: system fd
 * @size: bytes, a multiple of WISP_PAGE_SIZE
 * @file: fd, open for reading, which may be closed then: the caller's own file,
 *	or one they may write, or a memfd with F_SEAL_WRITE and F_SEAL_SHRINK
 * @offset: where in the file it begins, a multiple of WISP_PAGE_SIZE
 *
 * A page is read when it is first touched, and copied when it is first written.
 * As long as the object or a fork of it lives, nobody can write to the file.
 *
 * Return: the memory fd (O_CLOEXEC), or -EBADF, -EINVAL (@size, @offset, or no
 * file that can be read by page), -EMFILE, -ENFILE, -ENOMEM, -EPERM (another's
 * file, or the memfd is not sealed), -ETXTBSY (it is open for writing).
 */
int wisp_create_memory_file(int sys, uint64_t size, int file, uint64_t offset);

/**
 * wisp_slot_memory() - one more fd of the memory object that a slot shows
 * @sys: system fd
 * @vm: vm fd
 * @slot: its number; it shows all of its object, and may be written
 *
 * A fork's objects have no fd otherwise: this is for who wants a mapping of one.
 *
 * Return: the memory fd (O_CLOEXEC), or -EBADF, -EINVAL (@vm is none), -EMFILE,
 * -ENFILE, -ENOENT (no such slot), -ENOMEM, -EPERM (the slot shows less, or may not
 * be written).
 */
int wisp_slot_memory(int sys, int vm, uint32_t slot);

/**
 * wisp_discard() - give pages of a memory object back; they read as zero
 * @memory: memory fd
 * @offset: where in it, a multiple of WISP_PAGE_SIZE
 * @size: bytes, a multiple of WISP_PAGE_SIZE, not 0
 *
 * Return: 0, or -EINVAL (an alignment, or past the object's end), -ENOMEM (others
 * share the pages).
 */
int wisp_discard(int memory, uint64_t offset, uint64_t size);

/**
 * wisp_create_vm() - a virtual machine without memory and vCPUs
 * @sys: system fd
 *
 * Return: the vm fd (O_CLOEXEC), or -EDQUOT, -EMFILE, -ENFILE, -ENOMEM.
 */
int wisp_create_vm(int sys);

/**
 * wisp_create_vm_as() - the same, or a fork, with flags and limits
 * @sys: system fd
 * @vm: as for WISP_CREATE_VM; its size is not looked at
 *
 * Return: as there, or -EBUSY (another vCPU has the place in the window), -EINVAL (a
 * combination), -EOPNOTSUPP (unknown flag), or what wisp_fork() gives.
 */
int wisp_create_vm_as(int sys, const struct wisp_create_vm *vm);

/**
 * wisp_fork() - a virtual machine that is as a snapshot is
 * @sys: system fd
 * @snapshot: snapshot fd
 *
 * It has the slots, over memory of its own with the same contents, the policy
 * and the vCPUs, of which wisp_map_vcpu() gives the shared pages.
 *
 * Return: the vm fd (O_CLOEXEC), or -EBADF, -EINVAL (@snapshot is none), or what
 * wisp_create_vm() gives.
 */
int wisp_fork(int sys, int snapshot);

/**
 * wisp_map_window() - map the shared pages of many VMs' vCPUs at once
 * @sys: system fd
 * @npages: from the window's beginning, 1 to WISP_WINDOW_PAGES
 * @window: gets the mapping; munmap() gives it back
 *
 * The pages come when there are vCPUs that have them: see WISP_VM_WINDOW, and
 * wisp_create_vm_as(). Until then an access there is a SIGBUS.
 *
 * Return: 0, or what mmap(2) gives.
 */
int wisp_map_window(int sys, uint32_t npages, struct wisp_vcpu_page **window);

/**
 * wisp_set_slot() - map a memory object into a VM
 * @vm: vm fd
 * @slot: number, below wisp_query.max_slots; one in use is replaced
 * @gpa: where the guest sees it, a multiple of WISP_PAGE_SIZE
 * @size: bytes, a multiple of WISP_PAGE_SIZE, not 0
 * @memory: memory fd
 * @offset: where in the memory object, a multiple of WISP_PAGE_SIZE
 * @prot: WISP_PROT_READ, with or without WISP_PROT_WRITE and WISP_PROT_EXEC
 *
 * Return: 0, or -EBADF, -EBUSY (the object is in a snapshot, and another VM has it,
 * too; or another slot has what a fork made of it), -EEXIST (overlaps another slot),
 * -EINVAL (a number, an alignment, a range), -ENOMEM, -EOPNOTSUPP (@prot).
 */
int wisp_set_slot(int vm, uint32_t slot, uint64_t gpa, uint64_t size,
		  int memory, uint64_t offset, uint32_t prot);

/**
 * wisp_remove_slot() - unmap what is in a slot
 * @vm: vm fd
 * @slot: number
 *
 * Return: 0, or -EINVAL (@slot too high), -ENOENT (nothing there).
 */
int wisp_remove_slot(int vm, uint32_t slot);

/**
 * wisp_protect() - narrow what slots allow
 * @vm: vm fd
 * @ranges: guest-physical ranges and what may be done there; later ones win
 * @count: how many, up to WISP_MAX_PROTECT_RANGES, not 0
 *
 * Return: 0, or -E2BIG (@count), -EFAULT (@ranges), -EINTR (a signal that kills),
 * -EINVAL (a range, or no WISP_PROT_READ where there is another), -ENOMEM, -ENOSPC
 * (the VM would keep too many; after it, -ENOMEM and -EINTR some may have been
 * protected), -EOPNOTSUPP (unknown protection).
 */
int wisp_protect(int vm, const struct wisp_protect_range *ranges,
		 uint32_t count);

/**
 * wisp_stats() - what a VM has done so far
 * @vm: vm fd
 * @stats: filled in
 *
 * Return: 0, or -ENOTTY.
 */
int wisp_stats(int vm, struct wisp_stats *stats);

/**
 * wisp_snapshot() - freeze a VM
 * @vm: vm fd
 *
 * The VM goes on; what it has now, wisp_reset() brings back, and wisp_fork()
 * makes others of. Of a snapshot fd, wisp_read() and wisp_get_state() read.
 *
 * Return: the snapshot fd (O_CLOEXEC), or -EBUSY (a vCPU runs, or a memory object
 * is in a slot of another VM), -EDQUOT (it counts as a VM), -EINVAL (no vCPU),
 * -EMFILE, -ENFILE, -ENOMEM.
 */
int wisp_snapshot(int vm);

/**
 * wisp_snapshot_flags() - freeze a VM that may be running
 * @vm: vm fd
 * @flags: WISP_SNAPSHOT_KICK: runs end with WISP_EXIT_KICKED, instead of -EBUSY
 *
 * Return: as there, or -EINTR (a signal that kills), -EOPNOTSUPP (@flags).
 */
int wisp_snapshot_flags(int vm, uint32_t flags);

/**
 * wisp_reset() - make a VM be as a snapshot is
 * @vm: vm fd
 * @snapshot: snapshot fd: of this VM or of a relative; -1: the one last taken,
 *	reset to or forked from
 *
 * Return: 0, or -EBADF, -EBUSY (a vCPU runs, another VM has a slot on what would be
 * written again, or a vCPU that only the snapshot has finds no place in the window),
 * -EDQUOT (such a vCPU, too), -EINTR (a signal that kills), -EINVAL (@snapshot is none,
 * is of another VM, or there is none yet), -ENOMEM.
 */
int wisp_reset(int vm, int snapshot);

/**
 * wisp_reset_flags() - the same for a VM that may be running
 * @vm: vm fd
 * @snapshot: as there
 * @flags: WISP_RESET_KICK: runs end with WISP_EXIT_KICKED, instead of -EBUSY
 *
 * Return: as there, or -EINTR (a signal that kills), -EOPNOTSUPP (@flags).
 */
int wisp_reset_flags(int vm, int snapshot, uint32_t flags);

/**
 * wisp_reset_audit() - the same, then look for what is not as it was
 * @vm: vm fd
 * @snapshot: as there
 * @flags: WISP_RESET_*
 * @audit: gets the first difference; its what is WISP_AUDIT_SAME if there is none
 *
 * Return: as there; 0 with a difference, too. -EFAULT (@audit).
 */
int wisp_reset_audit(int vm, int snapshot, uint32_t flags,
		     struct wisp_audit *audit);

#define WISP_GENERATION_SIZE	16

/**
 * wisp_generation_renew() - let a guest know that it is another than before
 * @vm: vm fd: of a fork, or of a VM that was resumed or reset
 * @gpa: where the guest, by agreement with its VMM, looks for its generation id;
 *	in a slot that may be written
 *
 * Writes WISP_GENERATION_SIZE random bytes. A guest that finds others than it has
 * seen has a clone: it reseeds what must not be the same in both.
 *
 * Return: 0, or -EFAULT (no such memory), -ENOMEM.
 */
int wisp_generation_renew(int vm, uint64_t gpa);

/**
 * wisp_fork_renewed() - fork a VM that is to know that it is a clone
 * @sys: system fd
 * @snapshot: snapshot fd, also of wisp_snapshot_open()
 * @gpa: of its generation id, as for wisp_generation_renew()
 *
 * Return: the vm fd (O_CLOEXEC), or what wisp_fork() or wisp_generation_renew() gives:
 * there is no VM then.
 */
int wisp_fork_renewed(int sys, int snapshot, uint64_t gpa);

/**
 * wisp_dirty() - list the pages written since the snapshot
 * @vm: vm fd
 * @pages: gets guest-physical addresses, in no order
 * @count: room at @pages, up to WISP_MAX_DIRTY; gets how many pages there are,
 *	which may be more
 *
 * Return: 0, or -E2BIG (*@count), -EFAULT (@pages), -EINTR (a signal that kills),
 * -EINVAL (no snapshot yet), -ENOMEM.
 */
int wisp_dirty(int vm, uint64_t *pages, uint32_t *count);

/**
 * wisp_set_cpuid() - replace a VM's CPUID table
 * @vm: vm fd
 * @entries: the table
 * @count: entries in it, up to WISP_MAX_CPUID
 *
 * Return: 0, or -E2BIG (@count), -EBUSY (the VM has vCPUs), -EFAULT (@entries),
 * -EINTR (a signal that kills), -EINVAL (two entries for one leaf), -ENOMEM,
 * -EOPNOTSUPP (unknown flag).
 */
int wisp_set_cpuid(int vm, const struct wisp_cpuid_entry *entries,
		   uint32_t count);

/**
 * wisp_set_msr_policy() - replace a VM's MSR policy
 * @vm: vm fd
 * @ranges: rules, ascending and disjoint
 * @count: how many, up to WISP_MAX_MSR_RANGES
 *
 * Return: 0, or -E2BIG (@count), -EBUSY (the VM has vCPUs), -EFAULT (@ranges),
 * -EINTR (a signal that kills), -EINVAL (order), -ENOMEM,
 * -EOPNOTSUPP (unknown action).
 */
int wisp_set_msr_policy(int vm, const struct wisp_msr_range *ranges,
			uint32_t count);

/**
 * wisp_create_vcpu() - add a vCPU and map its shared page
 * @vm: vm fd
 * @vcpu: index, below wisp_query.max_vcpus
 * @page: gets the mapping, of WISP_PAGE_SIZE bytes; munmap() gives it back; NULL
 *	where the VM has its pages in a window
 *
 * If the mapping fails the vCPU exists all the same.
 *
 * Return: 0, or -EBUSY (another has its place in the window), -EDQUOT, -EEXIST,
 * -EINTR (a signal that kills), -EINVAL (@vcpu), -ENOMEM, or what mmap(2) gives.
 */
int wisp_create_vcpu(int vm, uint32_t vcpu, struct wisp_vcpu_page **page);

/**
 * wisp_map_vcpu() - map the shared page of a vCPU that a fork has
 * @vm: vm fd
 * @vcpu: index; a vCPU that is not there is added
 * @page: as for wisp_create_vcpu()
 *
 * Return: as wisp_create_vcpu(), but never -EEXIST.
 */
int wisp_map_vcpu(int vm, uint32_t vcpu, struct wisp_vcpu_page **page);

/**
 * wisp_run() - run a vCPU until it exits
 * @vm: vm fd
 * @vcpu: index
 *
 * Return: 0 with the exit in the shared page, or -EINTR (a signal is pending),
 * -EBUSY (it runs already; or the VM is being frozen or reset; or an earlier
 * interrupt still waits; or the CPU refuses to turn its virtualization on; after
 * this and -EINTR call it again with the page as it is), -EINVAL
 * (page->field says what), -ENOENT, -ENOMEM (for a fork's vCPU, or a reset),
 * -EOPNOTSUPP (page->field says what).
 */
int wisp_run(int vm, uint32_t vcpu);

/**
 * wisp_kick() - end the run of a vCPU, or its next one
 * @vm: vm fd
 * @vcpu: index
 *
 * Return: 0, or -ENOENT.
 */
int wisp_kick(int vm, uint32_t vcpu);

/**
 * wisp_get_state() - read a vCPU's registers
 * @vm: vm fd
 * @vcpu: index
 * @groups: WISP_STATE_*
 * @state: gets the groups named; the rest of it is left alone
 *
 * Return: 0, or -EBUSY (it runs), -EFAULT, -ENOENT, -ENOMEM, -EOPNOTSUPP (@groups).
 */
int wisp_get_state(int vm, uint32_t vcpu, uint32_t groups,
		   struct wisp_state *state);

/**
 * wisp_set_state() - write a vCPU's registers: all groups named, or none
 * @vm: vm fd
 * @vcpu: index
 * @groups: WISP_STATE_*
 * @state: the groups named are read from it
 * @field: NULL, or gets the WISP_FIELD() id of what was refused, else 0
 *
 * Return: 0, or -EBUSY (it runs), -EFAULT, -EINVAL (@field), -ENOENT, -ENOMEM,
 * -EOPNOTSUPP (@groups, or an event's type).
 */
int wisp_set_state(int vm, uint32_t vcpu, uint32_t groups,
		   const struct wisp_state *state, uint32_t *field);

/**
 * wisp_read() - copy from guest-physical memory
 * @vm: vm fd
 * @gpa: from where
 * @data: to where
 * @size: bytes
 *
 * Return: 0 when all of it was read; -EFAULT where a part lies outside the
 * slots (the beginning may have been copied), or what pread(2) gives.
 */
int wisp_read(int vm, uint64_t gpa, void *data, size_t size);

/**
 * wisp_write() - copy to guest-physical memory
 * @vm: vm fd
 * @gpa: to where
 * @data: from where
 * @size: bytes
 *
 * Return: 0 when all of it was written; -EFAULT where a part lies outside the
 * slots (the beginning may have been written), or what pwrite(2) gives.
 */
int wisp_write(int vm, uint64_t gpa, const void *data, size_t size);

/* Snapshots in folders. Documentation/snapshots.rst has the format. */

/**
 * struct wisp_saved_slot - a slot of a VM that is saved
 * @number: as of wisp_set_slot()
 * @prot: as there
 * @gpa: as there
 * @size: as there
 * @offset: where in the file "memory" it is; set by the library
 */
struct wisp_saved_slot {
	uint32_t number;
	uint32_t prot;
	uint64_t gpa;
	uint64_t size;
	uint64_t offset;
};

/**
 * struct wisp_saved - what a VM is made of, as its VMM knows
 * @slots: its slots
 * @slot_count: how many
 * @vcpu_count: vCPUs, whose indices begin with 0
 * @vm_flags: WISP_VM_STOPPED_CLOCK, WISP_VM_DETERMINISTIC or zero, as it was made
 * @tsc_khz: the rate of the TSC that its guest knows: of the host where that booted;
 *	0: this one's
 * @cpuid: its CPUID table; NULL: the one that a new VM has
 * @cpuid_count: entries
 * @msrs: its MSR policy
 * @msr_count: ranges
 * @extra: what the VMM wants to keep besides: the state of its devices
 * @extra_size: bytes; with all but the memory 64 MiB at most
 * @data: what wisp_snapshot_open() allocated, and wisp_saved_free() frees
 * @error: gets one line that says what is wrong and what to do; may be NULL
 * @error_size: room at @error
 */
struct wisp_saved {
	const struct wisp_saved_slot *slots;
	uint32_t slot_count;
	uint32_t vcpu_count;
	const struct wisp_cpuid_entry *cpuid;
	uint32_t cpuid_count;
	uint32_t msr_count;
	const struct wisp_msr_range *msrs;
	const void *extra;
	size_t extra_size;
	uint32_t vm_flags;
	uint32_t tsc_khz;
	void *data;
	char *error;
	size_t error_size;
};

/**
 * wisp_snapshot_save() - write a snapshot into a folder
 * @sys: system fd
 * @snapshot: snapshot fd
 * @dir: fd of the folder
 * @saved: what the VM of the snapshot has
 *
 * Makes the files "memory", sparse, and "state", which is there once all is. Who
 * may read them may read the guest's memory: they are their owner's (0600).
 *
 * An instruction that exited and is to be completed by @complete is not: it runs
 * once more in who is opened of it. Slots with the same memory have each their
 * own then. Protections by wisp_protect() and limits are not saved. Allocates.
 *
 * Return: 0, or with @saved->error: -EBUSY (another one is being saved there), -EEXIST
 * (there is one already, or a file "memory" that is no snapshot's), -EFAULT (not
 * such a slot), -EFBIG (@saved->extra_size), -EINVAL (@saved->vm_flags; no vCPU),
 * -ENOENT (not such a vCPU), -ENOMEM, or what open(2), write(2), rename(2) and fsync(2)
 * give. Nothing is left behind then.
 */
int wisp_snapshot_save(int sys, int snapshot, int dir,
		       const struct wisp_saved *saved);

/**
 * wisp_snapshot_open() - the snapshot that is in a folder
 * @sys: system fd
 * @dir: fd of the folder
 * @saved: @saved->error and @saved->error_size are looked at; the rest is filled
 *	in, and wisp_saved_free() frees it
 *
 * Of the memory nothing is read: wisp_fork() makes VMs over the file, of which a
 * page is read when one of them first touches it. As long as one lives, the file
 * cannot be written to. Allocates.
 *
 * Return: the snapshot fd (O_CLOEXEC), or with @saved->error: -EBADMSG (it is
 * truncated or damaged), -EINVAL or -ENOENT (none is there), -ENOEXEC (this CPU has
 * not what the guest needs), -EPERM (it is another user's), -EPROTONOSUPPORT (another
 * version of the format), -ETXTBSY (somebody writes it), or what open(2),
 * wisp_create_vm() and wisp_set_state() give.
 */
int wisp_snapshot_open(int sys, int dir, struct wisp_saved *saved);

/**
 * wisp_saved_free() - free what wisp_snapshot_open() filled in
 * @saved: may have been freed already
 */
void wisp_saved_free(struct wisp_saved *saved);

/* Names for people: never NULL, never to be freed. */

/**
 * wisp_exit_name() - name of an exit
 * @reason: enum wisp_exit_reason
 *
 * Return: a word such as "port", or "unknown".
 */
const char *wisp_exit_name(uint32_t reason);

/**
 * wisp_field_name() - name of a member of the shared page
 * @field: WISP_FIELD() id
 *
 * Return: a path such as "state.control.cr0"; "none" for 0, else "unknown".
 */
const char *wisp_field_name(uint32_t field);

/**
 * wisp_backend_name() - name of the hardware behind the driver
 * @backend: enum wisp_backend_id
 *
 * Return: "svm", "vmx" or "unknown".
 */
const char *wisp_backend_name(uint32_t backend);

/**
 * wisp_translate() - walk the guest's own page tables
 * @vm: vm fd, for the tables are in the guest's memory
 * @state: the control group of it is used
 * @gva: linear address (segment base added)
 * @access: one of WISP_PROT_READ, WISP_PROT_WRITE, WISP_PROT_EXEC
 * @user: not 0: the access is made at CPL 3
 * @gpa: gets the address; not written on error
 *
 * Knows no paging, 32-bit, PAE, 4 and 5 levels; P, R/W with CR0.WP, U/S, NX,
 * SMEP and reserved bits. SMAP and protection keys are not looked at. Sets no
 * accessed or dirty bits.
 *
 * Return: 0; -EFAULT where the guest would take a page fault or a table lies
 * outside the slots; -EINVAL (@access).
 */
int wisp_translate(int vm, const struct wisp_state *state, uint64_t gva,
		   uint32_t access, int user, uint64_t *gpa);

/*
 * Assists: complete, in the shared page, what the driver leaves to the VMM.
 * They need the general, segments and control groups in page->state: ask for
 * WISP_ASSIST_WANT in page->want, or get them after such an exit with
 * wisp_get_state(). They set page->dirty and page->complete, so that the next run
 * goes on behind the instruction, or with the next element of a REP that was not
 * done whole.
 *
 * An operand in RAM whose page is not there puts a #PF into page->inject, one whose
 * address is not canonical a #GP(0), or #SS(0); that is a success, too: run again.
 *
 * Limits: no single step (RFLAGS.TF) is reported between two elements of a REP; of two
 * memory operands the one that did not exit is not checked against its
 * segment's limit, nor any page but that of the exit against wisp_protect(): RAM
 * there is read and written. What reads and writes a page of which wisp_protect()
 * allows nothing may exit as a write; then the old value is that of the RAM. For that
 * operand, and those of INS and OUTS, no accessed and no dirty bit is set in the guest's
 * tables, which would race with its other vCPUs: a guest that drops a page because it is
 * not dirty may lose what was written there. Nor do protection keys count for them: what
 * they forbid is done.
 */
#define WISP_ASSIST_WANT                                           \
	(WISP_STATE_GENERAL | WISP_STATE_SEGMENTS | WISP_STATE_CONTROL)

/**
 * struct wisp_io - what an assist calls for each access to a device
 * @port: @in: fill @size bytes (1, 2, 4) at @data, else take them; may be NULL
 *	where only wisp_assist_memory() is used
 * @memory: @read: fill @size bytes (1, 2, 4, 8) at @data, else take them; may
 *	be NULL where only wisp_assist_port() is used. An operand that crosses
 *	pages comes in parts
 * @ram: returns where the caller has @size bytes of guest memory from @gpa on
 *	mapped, or NULL: they are then read through the vm fd, a system call
 *	each. May be NULL
 * @opaque: handed to all
 *
 * None of them may call an assist itself.
 */
struct wisp_io {
	void (*port)(void *opaque, uint16_t port, int in, void *data,
		     unsigned int size);
	void (*memory)(void *opaque, uint64_t gpa, int read, void *data,
		       unsigned int size);
	const void *(*ram)(void *opaque, uint64_t gpa, unsigned int size);
	void *opaque;
};

/**
 * wisp_assist_port() - complete WISP_EXIT_PORT, string forms too
 * @vm: vm fd
 * @page: shared page with the exit; registers are needed for string forms only
 * @io: who answers
 *
 * A REP is done in parts of up to 1024 elements.
 *
 * Return: 0, or -EINVAL (not such an exit), -EOPNOTSUPP (the instruction at RIP
 * is not the one that exited), -EFAULT (it cannot be read), -ENOMEM or -EIO, as for
 * wisp_assist_memory(); what an INS had from its port is lost then.
 */
int wisp_assist_port(int vm, struct wisp_vcpu_page *page,
		     const struct wisp_io *io);

/**
 * wisp_assist_memory() - complete WISP_EXIT_MEMORY
 * @vm: vm fd
 * @page: shared page with the exit and the registers
 * @io: who answers for the addresses outside the slots, and for what is against a
 *	slot's protection or wisp_protect(): where reading is allowed, for writes
 *
 * Knows MOV, MOVNTI, MOVZX, MOVSX, MOVSXD, MOVS, STOS, LODS, CMPS, SCAS, AND, OR,
 * XOR, ADD, ADC, SUB, SBB, CMP, TEST, INC, DEC, NEG, NOT, XCHG, BT, BTS, BTR, BTC.
 *
 * Return: 0, or -EINVAL (not such an exit), -EOPNOTSUPP (an instruction it does
 * not know; or one that does not touch the exit's address: the CPU's own access
 * while it walked tables or delivered an event), -EFAULT (the instruction
 * cannot be read), -EIO (RAM whose file cannot be read), -ENOMEM (no memory for
 * RAM). After an error nothing is completed: the next run exits in the same way.
 */
int wisp_assist_memory(int vm, struct wisp_vcpu_page *page,
		       const struct wisp_io *io);

/**
 * struct wisp_linux_boot - a Linux kernel to boot
 * @kernel: the bzImage, or for wisp_boot_pvh() the ELF file
 * @kernel_size: bytes
 * @initrd: NULL: none
 * @initrd_size: bytes
 * @cmdline: the kernel's command line; NULL: empty
 * @memory_size: bytes of RAM in slots: from 0, at most WISP_RAM_LOW_MAX; the
 *	rest from WISP_RAM_HIGH_START
 * @acpi_rsdp: gpa of the ACPI RSDP, or 0. 0xe0000-0xfffff is reserved for such
 *	tables and is not RAM to the guest
 * @error: gets one line that says what is wrong and what to do; may be NULL
 * @error_size: room at @error
 */
struct wisp_linux_boot {
	const void *kernel;
	size_t kernel_size;
	const void *initrd;
	size_t initrd_size;
	const char *cmdline;
	uint64_t memory_size;
	uint64_t acpi_rsdp;
	char *error;
	size_t error_size;
};

/**
 * wisp_boot_linux() - load a kernel and point a vCPU at its 64-bit entry
 * @vm: vm fd, with the RAM in its slots
 * @page: shared page of the vCPU; gets state.general, .segments and .control,
 *	and they are marked in page->dirty
 * @boot: what to load
 *
 * "The Linux/x86 Boot Protocol" of the kernel's documentation, version 2.12 or
 * newer. Everything is checked before anything is written.
 *
 * Return: 0, or with @boot->error: -ENOEXEC (no such kernel), -E2BIG (the
 * command line is too long), -ENOMEM (the RAM is too small), or what
 * wisp_write() gives.
 */
int wisp_boot_linux(int vm, struct wisp_vcpu_page *page,
		    const struct wisp_linux_boot *boot);

/**
 * wisp_boot_pvh() - load an ELF kernel and point a vCPU at its PVH entry
 * @vm: vm fd, with the RAM in its slots
 * @page: as for wisp_boot_linux()
 * @boot: what to load; its ELF file has a note PHYS32_ENTRY of the owner "Xen",
 *	as a vmlinux built with CONFIG_PVH does
 *
 * "x86/HVM direct boot ABI" of Xen's documentation: the vCPU starts in 32-bit
 * protected mode, without paging, and EBX points at a struct hvm_start_info.
 * Everything is checked before anything is written.
 *
 * Return: as wisp_boot_linux().
 */
int wisp_boot_pvh(int vm, struct wisp_vcpu_page *page,
		  const struct wisp_linux_boot *boot);

/* RAM as Linux expects it on a PC: below and above the hole under 4 GiB. */
#define WISP_RAM_LOW_MAX	0xc0000000ULL
#define WISP_RAM_HIGH_START	0x100000000ULL

#ifdef __cplusplus
}
#endif

#endif /* WISP_H */
