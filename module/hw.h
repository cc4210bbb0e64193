/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The hardware of each CPU: who holds it, and from when to when.
 */
#ifndef WISP_HW_H
#define WISP_HW_H

int wisp_hw_init(void);
void wisp_hw_exit(void);

/* A VM begins, a VM has ended. Process context. */
int wisp_hw_get(void);
void wisp_hw_put(void);

/* Round every run window, with interrupts off. */
int wisp_hw_enter(void);
void wisp_hw_leave(void);

/* In a window: the hardware turned out to be off. */
void wisp_hw_lost(void);

#endif
