/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The hardware of each CPU: who holds it, and from when to when.
 */
#ifndef WISP_HW_H
#define WISP_HW_H

#include <linux/types.h>

struct wisp_vcpu;

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

/* Two pages of this CPU's, zeroed when the driver was loaded. For backends. */
void *wisp_hw_page(void);

/* Translations of guests: see hw.c. For backends, with interrupts off. */
void wisp_hw_forget(void);
bool wisp_hw_flush(struct wisp_vcpu *vcpu);

#endif
