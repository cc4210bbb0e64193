// SPDX-License-Identifier: GPL-2.0
/*
 * The dispatcher of all calls that take a struct.
 */
#include "ioctl.h"

#include <linux/uaccess.h>

/* Longer than any struct will be: a larger size is a mistake. */
#define MAX_ARG_SIZE	1024

/**
 * wisp_ioctl_dispatch() - find a call, and copy its struct both ways
 * @file: what it was called on
 * @table: calls of this kind of file
 * @count: of them
 * @number: the ioctl
 * @arg: pointer to the caller's struct
 *
 * Returns what the handler does, or -E2BIG, -EFAULT, -EINVAL, -ENOTTY or
 * -EOPNOTSUPP: see the contract at the top of uapi/linux/wisp.h.
 */
long wisp_ioctl_dispatch(struct file *file, const struct wisp_ioctl *table,
			 size_t count, unsigned int number, unsigned long arg)
{
	const struct wisp_ioctl *call = table;
	struct {
		u32 size;
		u32 flags;
	} *head;
	void __user *user = (void __user *)arg;
	u64 copy[WISP_ARG_SIZE / sizeof(u64)];
	long ret;
	u32 size;

	while (call < table + count && call->number != number)
		call++;
	if (call == table + count)
		return -ENOTTY;
	if (get_user(size, (u32 __user *)user))
		return -EFAULT;
	if (size < call->min_size)
		return -EINVAL;
	if (size > MAX_ARG_SIZE)
		return -E2BIG;
	ret = copy_struct_from_user(copy, call->size, user, size);
	if (ret)
		return ret;
	head = (void *)copy;
	head->size = size;
	if (head->flags & ~call->flags)
		return -EOPNOTSUPP;
	size = min(size, call->size);
	if (call->prepare)
		call->prepare(copy);
	if (call->returns_struct && copy_to_user(user, copy, size))
		return -EFAULT;

	ret = call->handler(file, copy);
	if (call->returns_struct && (ret || !call->prepare) &&
	    copy_to_user(user, copy, size))
		return -EFAULT;
	return ret;
}
