// SPDX-License-Identifier: MIT
/* "Advanced Configuration and Power Interface Specification", 6.4. */
#include "acpi.h"
#include "reset.h"

#include <string.h>

/* Fixed hardware, from this port on. */
#define PM1_EVENT	0x600	/* status, enable */
#define PM1_CONTROL	0x604
#define PM_TIMER	0x608
#define PM_LAST		0x60b

#define PM1_EVENT_SIZE	4
#define PM1_CONTROL_SIZE 2
#define PM_TIMER_SIZE	4
#define PM_TIMER_HZ	3579545

#define PM1_SCI_EN	0x0001
#define PM1_SLP_TYP(n)	((n) >> 10 & 7)
#define PM1_SLP_EN	0x2000
#define SLP_TYP_S5	5

/* Kept for the guest to read back; nothing here raises an SCI. */
#define PM1_ENABLES	0x0721	/* TMR, GBL, PWRBTN, SLPBTN, RTC */

#define NS_PER_S	1000000000ULL

static uint32_t pm_timer(uint64_t now)
{
	return (uint32_t)((__uint128_t)now * PM_TIMER_HZ / NS_PER_S);
}

static uint16_t read_pm16(const struct acpi *acpi, uint64_t now,
			  uint16_t offset)
{
	switch (offset) {
	case 0:
		return acpi->pm1_status;
	case 2:
		return acpi->pm1_enable;
	case PM1_CONTROL - PM1_EVENT:
		return acpi->pm1_control | PM1_SCI_EN;
	case PM_TIMER - PM1_EVENT:
		return (uint16_t)pm_timer(now);
	case PM_TIMER - PM1_EVENT + 2:
		return (uint16_t)(pm_timer(now) >> 16);
	default:
		return 0;
	}
}

static void write_pm16(struct acpi *acpi, uint16_t offset, uint16_t value)
{
	switch (offset) {
	case 0:
		acpi->pm1_status &= ~value;
		break;
	case 2:
		acpi->pm1_enable = value & PM1_ENABLES;
		break;
	case PM1_CONTROL - PM1_EVENT:
		acpi->pm1_control = value & ~(PM1_SLP_EN | PM1_SCI_EN);
		if (value & PM1_SLP_EN && PM1_SLP_TYP(value) == SLP_TYP_S5)
			*acpi->power = POWER_OFF;
		break;
	}
}

static uint32_t acpi_in(void *device, uint64_t now, uint16_t offset,
			unsigned int size)
{
	uint16_t even = offset & ~1U;
	uint32_t value = read_pm16(device, now, even);

	if (size == 4)
		value |= (uint32_t)read_pm16(device, now, even + 2) << 16;
	return value >> (offset & 1) * 8;
}

/* The registers are written as words; the upper byte alone changes nothing. */
static void acpi_out(void *device, uint64_t now, uint16_t offset,
		     unsigned int size, uint32_t value)
{
	if (offset & 1)
		return;
	write_pm16(device, offset, (uint16_t)value);
	if (size == 4)
		write_pm16(device, offset + 2, (uint16_t)(value >> 16));
}

static const struct bus_ops acpi_ops = { .in = acpi_in, .out = acpi_out };

void acpi_init(struct acpi *acpi, enum power *power)
{
	*acpi = (struct acpi){ .power = power };
}

int acpi_attach(struct acpi *acpi, struct bus *bus)
{
	return bus_add(bus, PM1_EVENT, PM_LAST, 4, &acpi_ops, acpi);
}

void acpi_state(struct acpi *acpi, struct state *state)
{
	state_section(state, "ACPI", 1);
	STATE(state, acpi->pm1_status);
	STATE(state, acpi->pm1_enable);
	STATE(state, acpi->pm1_control);
}

/* ---- tables ------------------------------------------------------------- */

struct rsdp {
	char signature[8];
	uint8_t checksum;
	char oem[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} __attribute__((packed));

struct header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem[6];
	char oem_table[8];
	uint32_t oem_revision;
	char creator[4];
	uint32_t creator_revision;
} __attribute__((packed));

struct generic_address {
	uint8_t space;
	uint8_t bits;
	uint8_t offset;
	uint8_t access;
	uint64_t address;
} __attribute__((packed));

struct xsdt {
	struct header header;
	uint64_t fadt;
} __attribute__((packed));

struct facs {
	char signature[4];
	uint32_t length;
	uint32_t hardware_signature;
	uint32_t waking_vector;
	uint32_t global_lock;
	uint32_t flags;
	uint64_t x_waking_vector;
	uint8_t version;
	uint8_t reserved[31];
} __attribute__((packed));

struct fadt {
	struct header header;
	uint32_t facs;
	uint32_t dsdt;
	uint8_t reserved1;
	uint8_t profile;
	uint16_t sci_irq;
	uint32_t smi_command;
	uint8_t acpi_enable;
	uint8_t acpi_disable;
	uint8_t s4_bios_request;
	uint8_t pstate_control;
	uint32_t pm1a_event;
	uint32_t pm1b_event;
	uint32_t pm1a_control;
	uint32_t pm1b_control;
	uint32_t pm2_control;
	uint32_t pm_timer;
	uint32_t gpe0;
	uint32_t gpe1;
	uint8_t pm1_event_length;
	uint8_t pm1_control_length;
	uint8_t pm2_control_length;
	uint8_t pm_timer_length;
	uint8_t gpe0_length;
	uint8_t gpe1_length;
	uint8_t gpe1_base;
	uint8_t cst_control;
	uint16_t c2_latency;
	uint16_t c3_latency;
	uint16_t flush_size;
	uint16_t flush_stride;
	uint8_t duty_offset;
	uint8_t duty_width;
	uint8_t day_alarm;
	uint8_t month_alarm;
	uint8_t century;
	uint16_t boot_flags;
	uint8_t reserved2;
	uint32_t flags;
	struct generic_address reset;
	uint8_t reset_value;
	uint16_t arm_boot_flags;
	uint8_t minor_revision;
	uint64_t x_facs;
	uint64_t x_dsdt;
	struct generic_address x_pm1a_event;
	struct generic_address x_pm1b_event;
	struct generic_address x_pm1a_control;
	struct generic_address x_pm1b_control;
	struct generic_address x_pm2_control;
	struct generic_address x_pm_timer;
	struct generic_address x_gpe0;
	struct generic_address x_gpe1;
	struct generic_address sleep_control;
	struct generic_address sleep_status;
	uint64_t hypervisor;
} __attribute__((packed));

_Static_assert(sizeof(struct fadt) == 276, "FADT of revision 6");
_Static_assert(sizeof(struct facs) == 64, "FACS");
_Static_assert(sizeof(struct rsdp) == 36, "RSDP of revision 2");

/* FADT flags. */
#define FADT_WBINVD		(1U << 0)
#define FADT_PROC_C1		(1U << 2)
#define FADT_NO_PWR_BUTTON	(1U << 4)
#define FADT_NO_SLP_BUTTON	(1U << 5)
#define FADT_NO_FIX_RTC		(1U << 6)
#define FADT_TMR_32BIT		(1U << 8)
#define FADT_RESET_REG		(1U << 10)

/* FADT boot flags: no keyboard controller to probe. */
#define FADT_LEGACY_DEVICES	(1U << 0)
#define FADT_NO_VGA		(1U << 2)

#define SPACE_IO		1
#define ACCESS_BYTE		1
#define ACCESS_WORD		2
#define ACCESS_DWORD		3

#define NO_C2			0xfff
#define NO_C3			0xfff
#define CMOS_CENTURY		0x32

/* Name (\_S5, Package () { 5, 5, 0, 0 }) */
static const uint8_t aml[] = {
	0x08, '\\', '_', 'S', '5', '_', 0x12, 0x08, 0x04,
	0x0a, SLP_TYP_S5, 0x0a, SLP_TYP_S5, 0x00, 0x00,
};

/* Where each table is; FACS must be at a multiple of 64. */
struct tables {
	struct rsdp rsdp;
	struct xsdt xsdt __attribute__((aligned(64)));
	struct facs facs __attribute__((aligned(64)));
	struct fadt fadt __attribute__((aligned(64)));
	struct header dsdt __attribute__((aligned(64)));
	uint8_t aml[sizeof(aml)];
};

_Static_assert(sizeof(struct tables) <= ACPI_TABLES_SIZE, "room for tables");
_Static_assert(offsetof(struct tables, aml) ==
	       offsetof(struct tables, dsdt) + sizeof(struct header),
	       "AML follows its header");

#define GPA_OF(table) \
	((uint32_t)(ACPI_TABLES_GPA + offsetof(struct tables, table)))

static uint8_t checksum(const void *data, size_t size)
{
	const uint8_t *bytes = data;
	uint8_t sum = 0;

	for (size_t i = 0; i < size; i++)
		sum += bytes[i];
	return (uint8_t)-sum;
}

static void fill_header(struct header *header, const char *signature,
			uint8_t revision, size_t size)
{
	header->length = (uint32_t)size;
	header->revision = revision;
	header->oem_revision = 1;
	header->creator_revision = 1;
	memcpy(header->signature, signature, 4);
	memcpy(header->oem, "WISP  ", 6);
	memcpy(header->oem_table, "WISP    ", 8);
	memcpy(header->creator, "WISP", 4);
	header->checksum = checksum(header, size);
}

static struct generic_address at_port(uint16_t port, unsigned int size,
				      uint8_t access)
{
	return (struct generic_address){
		.space = SPACE_IO,
		.bits = (uint8_t)(size * 8),
		.access = access,
		.address = port,
	};
}

static void fill_fadt(struct fadt *fadt)
{
	*fadt = (struct fadt){
		.facs = GPA_OF(facs),
		.dsdt = GPA_OF(dsdt),
		.sci_irq = ACPI_IRQ,
		.pm1a_event = PM1_EVENT,
		.pm1a_control = PM1_CONTROL,
		.pm_timer = PM_TIMER,
		.pm1_event_length = PM1_EVENT_SIZE,
		.pm1_control_length = PM1_CONTROL_SIZE,
		.pm_timer_length = PM_TIMER_SIZE,
		.c2_latency = NO_C2,
		.c3_latency = NO_C3,
		.century = CMOS_CENTURY,
		.boot_flags = FADT_LEGACY_DEVICES | FADT_NO_VGA,
		.flags = FADT_WBINVD | FADT_PROC_C1 | FADT_NO_PWR_BUTTON |
			 FADT_NO_SLP_BUTTON | FADT_NO_FIX_RTC |
			 FADT_TMR_32BIT | FADT_RESET_REG,
		.reset = at_port(RESET_CONTROL_PORT, 1, ACCESS_BYTE),
		.reset_value = RESET_CONTROL_VALUE,
		.minor_revision = 4,
		.x_dsdt = GPA_OF(dsdt),
		.x_pm1a_event = at_port(PM1_EVENT, PM1_EVENT_SIZE, ACCESS_WORD),
		.x_pm1a_control = at_port(PM1_CONTROL, PM1_CONTROL_SIZE,
					  ACCESS_WORD),
		.x_pm_timer = at_port(PM_TIMER, PM_TIMER_SIZE, ACCESS_DWORD),
	};
	fill_header(&fadt->header, "FACP", 6, sizeof(*fadt));
}

static void fill_rsdp(struct rsdp *rsdp)
{
	*rsdp = (struct rsdp){
		.revision = 2,
		.length = sizeof(*rsdp),
		.xsdt = GPA_OF(xsdt),
	};
	memcpy(rsdp->signature, "RSD PTR ", 8);
	memcpy(rsdp->oem, "WISP  ", 6);
	rsdp->checksum = checksum(rsdp, 20);
	rsdp->extended_checksum = checksum(rsdp, sizeof(*rsdp));
}

void acpi_tables(uint8_t *tables)
{
	struct tables all = {
		.xsdt.fadt = GPA_OF(fadt),
		.facs = { .length = sizeof(all.facs), .version = 2 },
	};

	fill_rsdp(&all.rsdp);
	memcpy(all.facs.signature, "FACS", 4);
	memcpy(all.aml, aml, sizeof(aml));
	fill_fadt(&all.fadt);
	fill_header(&all.xsdt.header, "XSDT", 1, sizeof(all.xsdt));
	fill_header(&all.dsdt, "DSDT", 2, sizeof(all.dsdt) + sizeof(aml));
	memset(tables, 0, ACPI_TABLES_SIZE);
	memcpy(tables, &all, sizeof(all));
}
