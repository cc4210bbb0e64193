/* SPDX-License-Identifier: MIT */
/*
 * ACPI: the fixed hardware of power management and the tables that name it.
 * There is no MADT, so the guest keeps to the 8259A.
 */
#ifndef WISP_DEVICES_ACPI_H
#define WISP_DEVICES_ACPI_H

#include "bus.h"
#include "power.h"
#include "state.h"

#include <stddef.h>
#include <stdint.h>

#define ACPI_IRQ		9
#define ACPI_TABLES_GPA		0xe0000
#define ACPI_TABLES_SIZE	0x1000

struct acpi {
	enum power *power;
	uint16_t pm1_status;
	uint16_t pm1_enable;
	uint16_t pm1_control;
};

void acpi_init(struct acpi *acpi, enum power *power);
int acpi_attach(struct acpi *acpi, struct bus *bus);
void acpi_state(struct acpi *acpi, struct state *state);

/*
 * Fills @tables, ACPI_TABLES_SIZE bytes that go to ACPI_TABLES_GPA; the RSDP
 * is at their beginning.
 */
void acpi_tables(uint8_t *tables);

#endif
