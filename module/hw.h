/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What Wisp has of each CPU: pages, and a tag for translations. For backends.
 */
#ifndef WISP_HW_H
#define WISP_HW_H

#include <linux/percpu.h>
#include <linux/types.h>

struct wisp_vcpu;

int wisp_hw_init(void);
void wisp_hw_exit(void);

/* Two pages of this CPU's, zeroed when the driver was loaded; and where they are. */
void *wisp_hw_page(void);
DECLARE_PER_CPU(u64, wisp_hw_hpa);

/* Translations of guests: see hw.c. Interrupts off. */
void wisp_hw_forget(void);
bool wisp_hw_flush(struct wisp_vcpu *vcpu);

#endif
