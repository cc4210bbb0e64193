/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tables of calls, one for each kind of fd, and the dispatcher of them all.
 */
#ifndef WISP_IOCTL_H
#define WISP_IOCTL_H

#include <linux/build_bug.h>
#include <linux/stddef.h>
#include <linux/types.h>

struct file;

/* What this driver knows is not longer; the stack is zeroed for it at each call. */
#define WISP_ARG_SIZE	320

/**
 * struct wisp_ioctl - a call that takes a struct
 * @number: the ioctl
 * @size: of the struct as this driver knows it
 * @min_size: of its first version
 * @flags: that this driver knows
 * @returns_struct: copy it back, even on error; a struct that cannot be written
 *	fails the call before it has done anything
 * @prepare: for calls that change something and return the struct: fills in all
 *	that it says where the call works, since once that is done it is too
 *	late for a copy that fails
 * @handler: gets the struct, zero where the caller's was shorter
 */
struct wisp_ioctl {
	unsigned int number;
	u32 size;
	u32 min_size;
	u32 flags;
	bool returns_struct;
	void (*prepare)(void *arg);
	long (*handler)(struct file *file, void *arg);
};

#define WISP_IOCTL(_number, _struct, _last, _handler, ...)            \
	{                                                             \
		.number = _number,                                    \
		.size = sizeof(struct _struct) +                      \
			BUILD_BUG_ON_ZERO(sizeof(struct _struct) >    \
					  WISP_ARG_SIZE),             \
		.min_size = offsetofend(struct _struct, _last),       \
		.handler = _handler, __VA_ARGS__                      \
	}
#define RETURNS		.returns_struct = true
#define PREPARES(_prepare) .returns_struct = true, .prepare = _prepare
#define FLAGS(_flags)	.flags = _flags

long wisp_ioctl_dispatch(struct file *file, const struct wisp_ioctl *table,
			 size_t count, unsigned int number, unsigned long user);

#endif
