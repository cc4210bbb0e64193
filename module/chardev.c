// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/wisp and the fds that come from it: the only place where the arguments
 * of ioctls are copied from and to userspace.
 *
 * Every kind of fd has a table of its calls, and one dispatcher serves them all.
 * A struct file is its object's reference count.
 */
#include "chardev.h"

#include <linux/anon_inodes.h>
#include <linux/cleanup.h>
#include <linux/compat.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <asm/tsc.h>

#include <uapi/linux/wisp.h>

#include "backend.h"
#include "compat.h"
#include "cpuid.h"
#include "host.h"
#include "ioctl.h"
#include "memory.h"
#include "msr.h"
#include "policy.h"
#include "snapshot.h"
#include "state.h"
#include "vm.h"
#include "window.h"

static const struct file_operations memory_fops;
static const struct file_operations vm_fops;
static const struct file_operations snapshot_fops;

/* The file of an object that is still to be made: all that can fail comes first. */
static struct file *prepare_file(const char *name, const struct file_operations *fops,
				 int *fd)
{
	struct file *file;

	*fd = get_unused_fd_flags(O_CLOEXEC);
	if (*fd < 0)
		return ERR_PTR(*fd);
	file = anon_inode_getfile(name, fops, NULL, O_RDWR);
	if (IS_ERR(file))
		put_unused_fd(*fd);
	else
		file->f_mode |= FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE;
	return file;
}

/* @object, or the error that came instead. Returns the fd or that error. */
static long publish(int fd, struct file *file, void *object)
{
	if (IS_ERR(object)) {
		put_unused_fd(fd);
		fput(file);
		return PTR_ERR(object);
	}
	file->private_data = object;
	if (file->f_op == &memory_fops)
		wisp_memory_bind(object, file);
	fd_install(fd, file);
	return fd;
}

/* An fd argument of a call, which is to be of this kind. */
static struct file *get_argument(int fd, const struct file_operations *fops)
{
	struct file *file = fget(fd);

	if (!file)
		return ERR_PTR(-EBADF);
	if (file->f_op == fops)
		return file;
	fput(file);
	return ERR_PTR(-EINVAL);
}

/* ---- memory fd ----------------------------------------------------------- */

static int memory_release(struct inode *inode, struct file *file)
{
	wisp_memory_put(file->private_data);
	return 0;
}

static int memory_mmap(struct file *file, struct vm_area_struct *vma)
{
	return wisp_memory_mmap(file->private_data, vma);
}

static ssize_t memory_rw(struct kiocb *iocb, struct iov_iter *iter)
{
	struct wisp_memory *memory = iocb->ki_filp->private_data;
	ssize_t n;

	if (iov_iter_rw(iter) == WRITE && iov_iter_count(iter) &&
	    iocb->ki_pos >= wisp_memory_size(memory))
		return -ENOSPC;
	n = wisp_memory_rw(memory, iocb->ki_pos, iter);
	iocb->ki_pos += max_t(ssize_t, n, 0);
	return n;
}

static loff_t memory_llseek(struct file *file, loff_t offset, int whence)
{
	return fixed_size_llseek(file, offset, whence,
				 wisp_memory_size(file->private_data));
}

static long discard(struct file *file, void *data)
{
	struct wisp_memory *memory = file->private_data;
	u64 memory_size = wisp_memory_size(memory);
	struct wisp_discard *arg = data;

	if (!arg->discard_size || !PAGE_ALIGNED(arg->offset | arg->discard_size) ||
	    arg->discard_size > memory_size ||
	    arg->offset > memory_size - arg->discard_size)
		return -EINVAL;
	return wisp_memory_discard(memory, arg->offset, arg->discard_size);
}

static const struct wisp_ioctl memory_ioctls[] = {
	WISP_IOCTL(WISP_DISCARD, wisp_discard, discard_size, discard),
};

static long memory_ioctl(struct file *file, unsigned int number,
			 unsigned long arg)
{
	return wisp_ioctl_dispatch(file, memory_ioctls, ARRAY_SIZE(memory_ioctls),
				   number, arg);
}

static const struct file_operations memory_fops = {
	.owner = THIS_MODULE,
	.release = memory_release,
	.mmap = memory_mmap,
	.read_iter = memory_rw,
	.write_iter = memory_rw,
	.llseek = memory_llseek,
	.unlocked_ioctl = memory_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

/* ---- vm fd --------------------------------------------------------------- */

static int vm_release(struct inode *inode, struct file *file)
{
	wisp_vm_put(file->private_data);
	return 0;
}

static ssize_t vm_rw(struct kiocb *iocb, struct iov_iter *iter)
{
	ssize_t n = wisp_vm_rw(iocb->ki_filp->private_data, iocb->ki_pos, iter);

	iocb->ki_pos += max_t(ssize_t, n, 0);
	return n;
}

static int vm_mmap_pages(struct file *file, struct vm_area_struct *vma)
{
	return wisp_vm_mmap(file->private_data, vma);
}

/* The slot that @arg describes, without its memory, or ERR_PTR. */
static struct wisp_slot *alloc_slot(const struct wisp_set_slot *arg)
{
	u64 limit = 1ULL << wisp_backend->gpa_bits;
	struct wisp_slot *slot;

	if (arg->prot & ~PROT_ALL)
		return ERR_PTR(-EOPNOTSUPP);
	if (!(arg->prot & WISP_PROT_READ) ||
	    !PAGE_ALIGNED(arg->gpa | arg->slot_size | arg->offset) ||
	    arg->slot_size > limit || arg->gpa > limit - arg->slot_size)
		return ERR_PTR(-EINVAL);
	slot = kzalloc(sizeof(*slot), WISP_GFP);
	if (!slot)
		return ERR_PTR(-ENOMEM);
	slot->number = arg->slot;
	slot->gpa = arg->gpa;
	slot->size = arg->slot_size;
	slot->offset = arg->offset;
	slot->prot = arg->prot;
	return slot;
}

static int remove_slot(struct wisp_vm *vm, const struct wisp_set_slot *arg)
{
	if (arg->memory || arg->gpa || arg->offset || arg->prot)
		return -EINVAL;
	return wisp_vm_remove_slot(vm, arg->slot);
}

static long set_slot(struct file *file, void *data)
{
	struct wisp_vm *vm = file->private_data;
	struct file *memory_file __free(fput) = NULL;
	struct wisp_slot *slot __free(kfree) = NULL;
	struct wisp_set_slot *arg = data;
	u64 memory_size;

	if (arg->slot >= WISP_MAX_SLOTS || arg->reserved)
		return -EINVAL;
	if (!arg->slot_size)
		return remove_slot(vm, arg);
	slot = alloc_slot(arg);
	if (IS_ERR(slot))
		return PTR_ERR(slot);

	memory_file = get_argument(arg->memory, &memory_fops);
	if (IS_ERR(memory_file))
		return PTR_ERR(memory_file);
	slot->memory = memory_file->private_data;
	memory_size = wisp_memory_size(slot->memory);
	if (arg->slot_size > memory_size ||
	    arg->offset > memory_size - arg->slot_size)
		return -EINVAL;

	wisp_memory_get(slot->memory);
	return wisp_vm_set_slot(vm, no_free_ptr(slot));
}

static long protect(struct file *file, void *data)
{
	struct wisp_protect_range *ranges;
	struct wisp_protect *arg = data;
	int ret;

	if (arg->reserved || !arg->count)
		return -EINVAL;
	if (arg->count > WISP_MAX_PROTECT_RANGES)
		return -E2BIG;
	ranges = kvmalloc_array(arg->count, sizeof(*ranges), WISP_GFP);
	if (!ranges)
		return -ENOMEM;
	if (copy_from_user(ranges, u64_to_user_ptr(arg->ranges),
			   arg->count * sizeof(*ranges)))
		ret = -EFAULT;
	else
		ret = wisp_vm_protect(file->private_data, ranges, arg->count);
	kvfree(ranges);
	return ret;
}

static long stats(struct file *file, void *data)
{
	struct wisp_stats *arg = data;

	*arg = (struct wisp_stats){ .size = arg->size };
	wisp_vm_stats(file->private_data, arg);
	return 0;
}

static int exchange_policy(struct wisp_vm *vm, struct wisp_policy **where,
			   struct wisp_policy **policy)
{
	CLASS(vm_lock, locked)(vm);
	if (!locked)
		return -EINTR;
	if (vm->vcpu_end)
		return -EBUSY;
	swap(*where, *policy);
	return 0;
}

/* The same for both kinds of table; @where is in @vm. */
static int set_policy(struct wisp_vm *vm, struct wisp_policy **where, u64 entries,
		      u32 count, size_t entry_size,
		      int (*check)(struct wisp_policy *policy))
{
	struct wisp_policy *policy;
	int ret = 0;

	policy = wisp_policy_alloc(count, entry_size);
	if (!policy)
		return -ENOMEM;
	if (copy_from_user(policy->cpuid, u64_to_user_ptr(entries),
			   count * entry_size))
		ret = -EFAULT;
	if (!ret)
		ret = check(policy);
	if (!ret)
		ret = exchange_policy(vm, where, &policy);
	wisp_policy_put(policy);
	return ret;
}

static long set_cpuid(struct file *file, void *data)
{
	struct wisp_vm *vm = file->private_data;
	struct wisp_set_cpuid *arg = data;

	if (arg->reserved)
		return -EINVAL;
	if (arg->count > WISP_MAX_CPUID)
		return -E2BIG;
	return set_policy(vm, &vm->cpuid, arg->entries, arg->count,
			  sizeof(struct wisp_cpuid_entry), wisp_cpuid_check);
}

static long set_msr_policy(struct file *file, void *data)
{
	struct wisp_vm *vm = file->private_data;
	struct wisp_set_msr_policy *arg = data;

	if (arg->reserved)
		return -EINVAL;
	if (arg->count > WISP_MAX_MSR_RANGES)
		return -E2BIG;
	return set_policy(vm, &vm->msrs, arg->ranges, arg->count,
			  sizeof(struct wisp_msr_range), wisp_msr_check);
}

static void prepare_vcpu(void *data)
{
	struct wisp_create_vcpu *arg = data;

	arg->page_offset = (u64)arg->vcpu << PAGE_SHIFT;
}

static long create_vcpu(struct file *file, void *data)
{
	struct wisp_vm *vm = file->private_data;
	struct wisp_create_vcpu *arg = data;

	if (arg->reserved || arg->vcpu >= WISP_MAX_VCPUS)
		return -EINVAL;
	CLASS(vm_lock, locked)(vm);
	return locked ? wisp_vcpu_create(vm, arg->vcpu, true) : -EINTR;
}

/* Where in struct wisp_state each group is. */
static const struct {
	u32 group;
	u32 offset;
	u32 size;
} groups[] = {
#define GROUP(_group, _member)                                        \
	{ _group, offsetof(struct wisp_state, _member),               \
	  sizeof_field(struct wisp_state, _member) }
	GROUP(WISP_STATE_GENERAL, general),
	GROUP(WISP_STATE_SEGMENTS, segments),
	GROUP(WISP_STATE_CONTROL, control),
	GROUP(WISP_STATE_DEBUG, debug),
	GROUP(WISP_STATE_MSRS, msrs),
	GROUP(WISP_STATE_EVENTS, events),
	GROUP(WISP_STATE_FPU, xsave),
#undef GROUP
};

static int copy_groups(u32 wanted, struct wisp_state *state, void __user *user,
		       bool to_user)
{
	unsigned int i;
	void *kernel;
	unsigned long left;

	for (i = 0; i < ARRAY_SIZE(groups); i++) {
		if (!(wanted & groups[i].group))
			continue;
		kernel = (void *)state + groups[i].offset;
		left = to_user ? copy_to_user(user + groups[i].offset, kernel,
					      groups[i].size) :
				 copy_from_user(kernel, user + groups[i].offset,
						groups[i].size);
		if (left)
			return -EFAULT;
	}
	return 0;
}

/* Both directions and both kinds of fd: @arg is checked, a buffer allocated. */
static struct wisp_state *begin_state(struct wisp_vcpu_state *arg)
{
	struct wisp_state *state;

	arg->field = 0;
	if (arg->reserved)
		return ERR_PTR(-EINVAL);
	if (arg->groups & ~WISP_STATE_ALL)
		return ERR_PTR(-EOPNOTSUPP);
	state = kmalloc(sizeof(*state), WISP_GFP);
	return state ?: ERR_PTR(-ENOMEM);
}

static long get_state(struct file *file, void *data)
{
	struct wisp_state *state __free(kfree) = NULL;
	struct wisp_vcpu_state *arg = data;
	struct wisp_vcpu *vcpu;
	int ret;

	state = begin_state(arg);
	if (IS_ERR(state))
		return PTR_ERR(state);
	vcpu = wisp_vm_find_vcpu(file->private_data, arg->vcpu);
	ret = vcpu ? wisp_vcpu_get_state(vcpu, arg->groups, state) : -ENOENT;
	if (ret)
		return ret;
	return copy_groups(arg->groups, state, u64_to_user_ptr(arg->state), true);
}

static void prepare_set_state(void *data)
{
	struct wisp_vcpu_state *arg = data;

	arg->field = 0;
}

static long set_state(struct file *file, void *data)
{
	struct wisp_state *state __free(kfree) = NULL;
	struct wisp_vcpu_state *arg = data;
	struct wisp_vcpu *vcpu;
	int ret;

	state = begin_state(arg);
	if (IS_ERR(state))
		return PTR_ERR(state);
	vcpu = wisp_vm_find_vcpu(file->private_data, arg->vcpu);
	if (!vcpu)
		return -ENOENT;
	ret = copy_groups(arg->groups, state, u64_to_user_ptr(arg->state), false);
	if (ret)
		return ret;
	return wisp_vcpu_set_state(vcpu, arg->groups, state, &arg->field);
}

static long take_snapshot(struct file *file, void *data)
{
	struct wisp_snapshot *arg = data;
	struct file *new;
	int fd;

	new = prepare_file("[wisp-snapshot]", &snapshot_fops, &fd);
	if (IS_ERR(new))
		return PTR_ERR(new);
	return publish(fd, new, wisp_snapshot_take(file->private_data,
						   arg->flags));
}

static long reset(struct file *file, void *data)
{
	struct file *snapshot __free(fput) = NULL;
	struct wisp_reset *arg = data;
	void __user *user = u64_to_user_ptr(arg->audit);
	bool audited = arg->flags & WISP_RESET_AUDIT;
	struct wisp_audit audit = {};
	int ret;

	if (arg->reserved || (arg->audit && !audited))
		return -EINVAL;
	if (audited && copy_to_user(user, &audit, sizeof(audit)))
		return -EFAULT;
	if (arg->snapshot != -1)
		snapshot = get_argument(arg->snapshot, &snapshot_fops);
	if (IS_ERR(snapshot))
		return PTR_ERR(snapshot);
	ret = wisp_snapshot_reset(file->private_data,
				  snapshot ? snapshot->private_data : NULL,
				  arg->flags, &audit);
	if (!ret && audit.what && copy_to_user(user, &audit, sizeof(audit)))
		return -EFAULT;
	return ret;
}

static long dirty(struct file *file, void *data)
{
	struct wisp_dirty *arg = data;
	u32 room = arg->count;
	u64 *gpas;
	s64 count;

	if (arg->reserved)
		return -EINVAL;
	if (room > WISP_MAX_DIRTY)
		return -E2BIG;
	gpas = kvmalloc_array(max(room, 1U), sizeof(*gpas), WISP_GFP);
	if (!gpas)
		return -ENOMEM;
	count = wisp_snapshot_dirty(file->private_data, gpas, room);
	if (count > 0 && copy_to_user(u64_to_user_ptr(arg->pages), gpas,
				      min_t(u64, count, room) * sizeof(*gpas)))
		count = -EFAULT;
	kvfree(gpas);
	if (count < 0)
		return count;
	arg->count = min_t(u64, count, U32_MAX);
	return 0;
}

static const struct wisp_ioctl vm_ioctls[] = {
	WISP_IOCTL(WISP_SET_SLOT, wisp_set_slot, reserved, set_slot),
	WISP_IOCTL(WISP_PROTECT, wisp_protect, ranges, protect),
	WISP_IOCTL(WISP_STATS, wisp_stats, exits, stats, RETURNS),
	WISP_IOCTL(WISP_SET_CPUID, wisp_set_cpuid, entries, set_cpuid),
	WISP_IOCTL(WISP_SET_MSR_POLICY, wisp_set_msr_policy, ranges,
		   set_msr_policy),
	WISP_IOCTL(WISP_CREATE_VCPU, wisp_create_vcpu, page_offset, create_vcpu,
		   PREPARES(prepare_vcpu)),
	WISP_IOCTL(WISP_GET_STATE, wisp_vcpu_state, reserved, get_state, RETURNS),
	WISP_IOCTL(WISP_SET_STATE, wisp_vcpu_state, reserved, set_state,
		   PREPARES(prepare_set_state)),
	WISP_IOCTL(WISP_SNAPSHOT, wisp_snapshot, flags, take_snapshot,
		   FLAGS(WISP_SNAPSHOT_KICK)),
	WISP_IOCTL(WISP_RESET, wisp_reset, reserved, reset,
		   FLAGS(WISP_RESET_KICK | WISP_RESET_AUDIT)),
	WISP_IOCTL(WISP_DIRTY, wisp_dirty, pages, dirty, RETURNS),
};

static long vm_ioctl(struct file *file, unsigned int number, unsigned long arg)
{
	struct wisp_vcpu *vcpu;

	if (number != WISP_RUN && number != WISP_KICK)
		return wisp_ioctl_dispatch(file, vm_ioctls, ARRAY_SIZE(vm_ioctls),
					   number, arg);

	vcpu = wisp_vm_find_vcpu(file->private_data, arg);
	if (!vcpu)
		return -ENOENT;
	if (number == WISP_RUN)
		return wisp_vcpu_run(vcpu);
	wisp_vcpu_kick(vcpu);
	return 0;
}

static const struct file_operations vm_fops = {
	.owner = THIS_MODULE,
	.release = vm_release,
	.mmap = vm_mmap_pages,
	.read_iter = vm_rw,
	.write_iter = vm_rw,
	.llseek = no_seek_end_llseek,
	.unlocked_ioctl = vm_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

/* ---- snapshot fd --------------------------------------------------------- */

static const struct wisp_ioctl snapshot_ioctls[] = {
	WISP_IOCTL(WISP_GET_STATE, wisp_vcpu_state, reserved, get_state, RETURNS),
};

static long snapshot_ioctl(struct file *file, unsigned int number,
			   unsigned long arg)
{
	return wisp_ioctl_dispatch(file, snapshot_ioctls, ARRAY_SIZE(snapshot_ioctls),
				   number, arg);
}

static const struct file_operations snapshot_fops = {
	.owner = THIS_MODULE,
	.release = vm_release,
	.read_iter = vm_rw,
	.llseek = no_seek_end_llseek,
	.unlocked_ioctl = snapshot_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

/* ---- system fd ----------------------------------------------------------- */

static long query(struct file *file, void *data)
{
	const struct wisp_policy *cpuid = wisp_cpuid_default();
	struct wisp_query *arg = data;
	u32 room = min(arg->cpuid_count, cpuid->count);

	if (arg->reserved)
		return -EINVAL;
	if (copy_to_user(u64_to_user_ptr(arg->cpuid), cpuid->cpuid,
			 room * sizeof(*cpuid->cpuid)))
		return -EFAULT;
	*arg = (struct wisp_query){
		.size = arg->size,
		.abi_version = WISP_ABI_VERSION,
		.backend = wisp_backend->id,
		.features = wisp_backend->features,
		.quirks = wisp_backend->quirks,
		.state_groups = WISP_STATE_ALL,
		.max_vcpus = WISP_MAX_VCPUS,
		.max_slots = WISP_MAX_SLOTS,
		.gpa_bits = wisp_backend->gpa_bits,
		.max_memory_size = WISP_MEMORY_MAX_SIZE,
		.xcr0 = wisp_host_xcr0,
		.xsave_size = wisp_host_xsave_size,
		.tsc_khz = tsc_khz,
		.cpuid_count = cpuid->count,
		.cpuid = arg->cpuid,
	};
	return 0;
}

static struct wisp_memory *memory_of_slot(const struct wisp_create_memory *arg)
{
	struct file *file __free(fput) = get_argument(arg->file, &vm_fops);

	if (IS_ERR(file))
		return ERR_CAST(file);
	return wisp_vm_slot_memory(file->private_data, arg->file_offset);
}

static struct wisp_memory *make_memory(const struct wisp_create_memory *arg)
{
	if (arg->flags & WISP_MEMORY_OF_SLOT)
		return memory_of_slot(arg);
	if (arg->flags & WISP_MEMORY_FILE)
		return wisp_memory_create_over(arg->memory_size, arg->file,
					       arg->file_offset);
	return wisp_memory_create(arg->memory_size,
				  arg->flags & WISP_MEMORY_HUGE);
}

static long create_memory(struct file *file, void *data)
{
	struct wisp_create_memory *arg = data;
	bool of_slot = arg->flags & WISP_MEMORY_OF_SLOT;
	struct file *new;
	int fd;

	/* One of the flags, at most. */
	if (arg->reserved || arg->flags & (arg->flags - 1) ||
	    (of_slot && arg->memory_size))
		return -EINVAL;
	if (!of_slot && !(arg->flags & WISP_MEMORY_FILE) &&
	    (arg->file || arg->file_offset))
		return -EINVAL;
	new = prepare_file("[wisp-memory]", &memory_fops, &fd);
	if (IS_ERR(new))
		return PTR_ERR(new);
	return publish(fd, new, make_memory(arg));
}

static struct wisp_vm *fork_vm(int fd, struct wisp_window *window, u64 first)
{
	struct file *file __free(fput) = get_argument(fd, &snapshot_fops);

	return IS_ERR(file) ? ERR_CAST(file) :
			      wisp_snapshot_fork(file->private_data, window, first);
}

static struct wisp_vm *make_vm(const struct wisp_create_vm *arg,
			       struct wisp_window *window)
{
	u64 first = arg->window_offset >> PAGE_SHIFT;
	struct wisp_vm *vm;
	int ret;

	if (!(arg->flags & WISP_VM_WINDOW))
		window = NULL;
	vm = arg->flags & WISP_VM_FORK ?
		     fork_vm(arg->snapshot, window, first) :
		     wisp_vm_create(arg->flags & ~WISP_VM_WINDOW, window, first);
	if (IS_ERR(vm))
		return vm;
	ret = wisp_vm_limit(vm, arg->max_private_pages, arg->max_run_time_ns);
	if (!ret)
		return vm;
	wisp_vm_put(vm);
	return ERR_PTR(ret);
}

static long create_vm(struct file *file, void *data)
{
	struct wisp_create_vm *arg = data;
	bool windowed = arg->flags & WISP_VM_WINDOW;
	u32 kind = arg->flags & ~WISP_VM_WINDOW;
	struct file *new;
	int fd;

	/* One kind, at most. */
	if (arg->reserved || (arg->snapshot && !(kind & WISP_VM_FORK)) ||
	    kind & (kind - 1) || !PAGE_ALIGNED(arg->window_offset) ||
	    arg->window_offset > (windowed ? WISP_MAX_WINDOW_OFFSET : 0))
		return -EINVAL;
	new = prepare_file("[wisp-vm]", &vm_fops, &fd);
	if (IS_ERR(new))
		return PTR_ERR(new);
	return publish(fd, new, make_vm(arg, file->private_data));
}

static const struct wisp_ioctl system_ioctls[] = {
	WISP_IOCTL(WISP_QUERY, wisp_query, cpuid, query, RETURNS),
	WISP_IOCTL(WISP_CREATE_MEMORY, wisp_create_memory, memory_size,
		   create_memory, FLAGS(WISP_MEMORY_HUGE | WISP_MEMORY_FILE |
					WISP_MEMORY_OF_SLOT)),
	WISP_IOCTL(WISP_CREATE_VM, wisp_create_vm, flags, create_vm,
		   FLAGS(WISP_VM_FORK | WISP_VM_STOPPED_CLOCK |
			 WISP_VM_DETERMINISTIC | WISP_VM_WINDOW)),
};

static long system_ioctl(struct file *file, unsigned int number,
			 unsigned long arg)
{
	return wisp_ioctl_dispatch(file, system_ioctls, ARRAY_SIZE(system_ioctls),
				   number, arg);
}

static int system_open(struct inode *inode, struct file *file)
{
	file->private_data = wisp_window_create();
	return file->private_data ? 0 : -ENOMEM;
}

static int system_release(struct inode *inode, struct file *file)
{
	wisp_window_put(file->private_data);
	return 0;
}

static int system_mmap(struct file *file, struct vm_area_struct *vma)
{
	return wisp_window_mmap(file->private_data, vma);
}

static const struct file_operations system_fops = {
	.owner = THIS_MODULE,
	.open = system_open,
	.release = system_release,
	.mmap = system_mmap,
	.unlocked_ioctl = system_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice wisp_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "wisp",
	.fops = &system_fops,
};

int wisp_chardev_init(void)
{
	return misc_register(&wisp_device);
}

void wisp_chardev_exit(void)
{
	misc_deregister(&wisp_device);
}
