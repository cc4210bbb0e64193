// SPDX-License-Identifier: MIT
#include "machine.h"
#include "host.h"
#include "size.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define UART_PORT	0x3f8
#define UART_IRQ	4

#define NS_PER_S	1000000000ULL

/*
 * MSRs that Linux on AMD or Intel reads or writes without asking whether they
 * are there, and that nothing in this VM depends on: they read as zero. All
 * others raise #GP, as on a CPU that does not have them.
 */
#define QUIET(from, to) \
	{ .first = (from), .last = (to), .read = WISP_MSR_IGNORE, \
	  .write = WISP_MSR_IGNORE }

static const struct wisp_msr_range msr_policy[] = {
	QUIET(0x17, 0x17),		/* PLATFORM_ID */
	QUIET(0x1b, 0x1b),		/* APIC_BASE: no APIC */
	QUIET(0x34, 0x34),		/* SMI_COUNT */
	QUIET(0x79, 0x79),		/* UCODE_WRITE */
	QUIET(0x8b, 0x8b),		/* UCODE_REV */
	QUIET(0x140, 0x140),		/* MISC_FEATURES_ENABLES */
	QUIET(0x1a0, 0x1a0),		/* MISC_ENABLE */
	QUIET(0x1d9, 0x1d9),		/* DEBUGCTL */
	QUIET(0xc0010010, 0xc0010010),	/* SYSCFG */
	QUIET(0xc0010015, 0xc0010015),	/* HWCR */
	QUIET(0xc001001f, 0xc001001f),	/* NB_CFG */
	QUIET(0xc0010055, 0xc0010055),	/* INT_PENDING */
	QUIET(0xc0010058, 0xc0010058),	/* MMIO_CONF_BASE */
	QUIET(0xc0010112, 0xc0010115),	/* TSEG, VM_CR, IGNNE */
	QUIET(0xc0010140, 0xc0010141),	/* OSVW */
	QUIET(0xc0011020, 0xc0011023),	/* LS_CFG, IC_CFG, DC_CFG, BU_CFG */
	QUIET(0xc0011029, 0xc001102a),	/* DE_CFG, BU_CFG2 */
};

uint64_t machine_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static int64_t utc_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * (int64_t)NS_PER_S + ts.tv_nsec;
}

static void put_byte(void *opaque, uint8_t byte)
{
	struct machine *machine = opaque;

	console_put(machine->console, byte);
}

static int attach_devices(struct machine *machine)
{
	struct bus *bus = &machine->bus;

	pic_init(&machine->pic);
	pit_init(&machine->pit, &machine->pic);
	rtc_init(&machine->rtc, &machine->pic, machine_now(), utc_now());
	uart_init(&machine->uart, &machine->pic, UART_IRQ, put_byte, machine);
	reset_init(&machine->reset, &machine->power);
	acpi_init(&machine->acpi, &machine->pic, &machine->power);
	if (pic_attach(&machine->pic, bus) || pit_attach(&machine->pit, bus) ||
	    rtc_attach(&machine->rtc, bus) ||
	    uart_attach(&machine->uart, bus, UART_PORT) ||
	    reset_attach(&machine->reset, bus) ||
	    acpi_attach(&machine->acpi, bus))
		return -1;
	return 0;
}

static int failed(struct machine *machine, const char *what, int error)
{
	const char *advice = "see the host's dmesg";

	if (error == -EBUSY)
		advice = "unload or stop the other hypervisor";
	else if (error == -ENOMEM)
		advice = "free memory, or give the guest less with --mem";
	ending_set(machine->ending, ENDING_ERROR, "%s: %s: %s", what,
		   strerror(-error), advice);
	return -1;
}

/* The driver allocates pages when they are touched, so look ahead here. */
static int check_memory_size(struct machine *machine)
{
	uint64_t size = machine->memory_size;
	uint64_t last = size - 1;
	uint64_t host = host_memory_size();
	char wanted[SIZE_TEXT], most[SIZE_TEXT];

	if (size > WISP_RAM_LOW_MAX)
		last += WISP_RAM_HIGH_START - WISP_RAM_LOW_MAX;
	if (host > machine->query.max_memory_size)
		host = machine->query.max_memory_size;
	if (size <= host && !(last >> machine->query.gpa_bits))
		return 0;
	ending_set(machine->ending, ENDING_USAGE,
		   "--mem %s is more than this host has: give at most %s",
		   size_format(size, wanted), size_format(host, most));
	return -1;
}

static int open_driver(struct machine *machine)
{
	char why[HOST_REASON_SIZE];

	machine->sys = wisp_open();
	if (machine->sys < 0) {
		host_reason(machine->sys, why, sizeof(why));
		ending_set(machine->ending, ENDING_ERROR, "%s", why);
		return -1;
	}
	if (wisp_query(machine->sys, &machine->query) ||
	    machine->query.abi_version != WISP_ABI_VERSION) {
		ending_set(machine->ending, ENDING_ERROR,
			   "the driver speaks ABI %u and this command %u: use the two of one version",
			   machine->query.abi_version, WISP_ABI_VERSION);
		return -1;
	}
	return 0;
}

static int add_memory(struct machine *machine)
{
	const uint32_t prot = WISP_PROT_READ | WISP_PROT_WRITE |
			      WISP_PROT_EXEC;
	uint64_t size = machine->memory_size, low = size;
	int ret;

	if (low > WISP_RAM_LOW_MAX)
		low = WISP_RAM_LOW_MAX;
	machine->memory = wisp_create_memory(machine->sys, size);
	if (machine->memory < 0)
		return machine->memory;
	ret = wisp_set_slot(machine->vm, 0, 0, low, machine->memory, 0, prot);
	if (!ret && low < size)
		ret = wisp_set_slot(machine->vm, 1, WISP_RAM_HIGH_START,
				    size - low, machine->memory, low, prot);
	return ret;
}

static int add_acpi_tables(struct machine *machine)
{
	uint8_t tables[ACPI_TABLES_SIZE];

	acpi_tables(tables);
	/* A smaller guest holds no kernel either: that will be said. */
	if (machine->memory_size < ACPI_TABLES_GPA + sizeof(tables))
		return 0;
	return wisp_write(machine->vm, ACPI_TABLES_GPA, tables, sizeof(tables));
}

static int create_vm(struct machine *machine)
{
	int ret;

	machine->vm = wisp_create_vm(machine->sys);
	if (machine->vm < 0)
		return failed(machine, "no VM", machine->vm);
	ret = wisp_set_msr_policy(machine->vm, msr_policy,
				  sizeof(msr_policy) / sizeof(*msr_policy));
	if (!ret)
		ret = add_memory(machine);
	if (!ret)
		ret = add_acpi_tables(machine);
	if (ret)
		return failed(machine, "no guest memory", ret);
	ret = wisp_create_vcpu(machine->vm, 0, &machine->page);
	return ret ? failed(machine, "no vCPU", ret) : 0;
}

int machine_create(struct machine *machine, uint64_t memory_size,
		   struct ending *ending)
{
	*machine = (struct machine){
		.sys = -1, .memory = -1, .vm = -1, .wake_fd = -1,
		.memory_size = memory_size,
		.ending = ending,
		.deadline = UINT64_MAX,
	};
	if (open_driver(machine) || check_memory_size(machine) ||
	    create_vm(machine))
		goto destroy;
	machine->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (machine->wake_fd < 0 || attach_devices(machine)) {
		failed(machine, "no devices", -errno);
		goto destroy;
	}
	return 0;
destroy:
	machine_destroy(machine);
	return -1;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void machine_destroy(struct machine *machine)
{
	if (machine->page)
		munmap(machine->page, WISP_PAGE_SIZE);
	close_fd(machine->wake_fd);
	close_fd(machine->vm);
	close_fd(machine->memory);
	close_fd(machine->sys);
}

void machine_wake(void *opaque)
{
	struct machine *machine = opaque;

	eventfd_write(machine->wake_fd, 1);
	wisp_kick(machine->vm, 0);
}
