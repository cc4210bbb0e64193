/* SPDX-License-Identifier: GPL-2.0 */
/*
 * /dev/wisp and the fds that come from it.
 */
#ifndef WISP_CHARDEV_H
#define WISP_CHARDEV_H

int wisp_chardev_init(void);
void wisp_chardev_exit(void);

#endif
