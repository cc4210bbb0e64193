/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The window of a system fd: vCPUs' shared pages, all in one mapping.
 */
#ifndef WISP_WINDOW_H
#define WISP_WINDOW_H

#include <linux/types.h>

struct page;
struct vm_area_struct;
struct wisp_window;

struct wisp_window *wisp_window_create(void);
struct wisp_window *wisp_window_get(struct wisp_window *window);
void wisp_window_put(struct wisp_window *window);
struct page *wisp_window_take(struct wisp_window *window, unsigned long index);
void wisp_window_return(struct page *page);
int wisp_window_mmap(struct wisp_window *window, struct vm_area_struct *vma);

#endif
