// SPDX-License-Identifier: MIT
#include "machine.h"
#include "host.h"
#include "size.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
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

uint64_t machine_now(const struct machine *machine)
{
	return host_now() + machine->clock_offset;
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
	rtc_init(&machine->rtc, &machine->pic, machine_now(machine), utc_now());
	uart_init(&machine->uart, &machine->pic, UART_IRQ, put_byte, machine);
	reset_init(&machine->reset, &machine->power);
	acpi_init(&machine->acpi, &machine->power);
	if (control_init(&machine->control) ||
	    pic_attach(&machine->pic, bus) || pit_attach(&machine->pit, bus) ||
	    rtc_attach(&machine->rtc, bus) ||
	    uart_attach(&machine->uart, bus, UART_PORT) ||
	    reset_attach(&machine->reset, bus) ||
	    acpi_attach(&machine->acpi, bus) ||
	    control_attach(&machine->control, bus))
		return -1;
	return 0;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

static int failed(struct machine *machine, const char *what, int error)
{
	const char *advice = "see the host's dmesg";
	const char *wrong = strerror(-error);

	if (error == -ENOMEM)
		advice = machine->origin ? "free memory" :
			 "free memory, or give the guest less with --mem";
	else if (error == -EMFILE)
		advice = "raise the limit of open files (ulimit -n)";
	if (error == -EDQUOT) {
		wrong = "the user has as many VMs as the module's max_vms_per_user allows, or vCPUs as max_vcpus_per_user";
		advice = "end some, or raise it";
	}
	ending_set(machine->ending, ENDING_ERROR, "%s: %s: %s", what, wrong,
		   advice);
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

/* The system fd, or -1. */
static int open_driver(struct wisp_query *query, struct ending *ending)
{
	char why[HOST_REASON_SIZE];
	int sys = host_open_driver(query, why);

	if (sys < 0)
		ending_set(ending, ENDING_ERROR, "%s", why);
	return sys;
}

#define SLOTS_MAX	2

/* RAM below and above the hole under 4 GiB; returns how many there are. */
static uint32_t ram_slots(uint64_t size, struct wisp_saved_slot *slots)
{
	const uint32_t prot = WISP_PROT_READ | WISP_PROT_WRITE |
			      WISP_PROT_EXEC;
	uint64_t low = size < WISP_RAM_LOW_MAX ? size : WISP_RAM_LOW_MAX;

	slots[0] = (struct wisp_saved_slot){ .prot = prot, .size = low };
	slots[1] = (struct wisp_saved_slot){
		.number = 1,
		.prot = prot,
		.gpa = WISP_RAM_HIGH_START,
		.size = size - low,
		.offset = low,
	};
	return low < size ? 2 : 1;
}

static int add_memory(struct machine *machine)
{
	struct wisp_saved_slot slots[SLOTS_MAX];
	uint32_t count = ram_slots(machine->memory_size, slots);
	int ret = 0;

	machine->memory = wisp_create_memory(machine->sys, machine->memory_size);
	if (machine->memory < 0)
		return machine->memory;
	for (uint32_t i = 0; !ret && i < count; i++)
		ret = wisp_set_slot(machine->vm, slots[i].number, slots[i].gpa,
				    slots[i].size, machine->memory,
				    slots[i].offset, slots[i].prot);
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

static void init(struct machine *machine, uint64_t memory_size,
		 struct ending *ending)
{
	*machine = (struct machine){
		.sys = -1, .memory = -1, .vm = -1, .wake_fd = -1,
		.save_dir = -1,
		.memory_size = memory_size,
		.ending = ending,
		.deadline = UINT64_MAX,
	};
}

static int add_devices(struct machine *machine)
{
	machine->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (machine->wake_fd < 0 || attach_devices(machine))
		return failed(machine, "no devices", -errno);
	return 0;
}

int machine_create(struct machine *machine, uint64_t memory_size,
		   struct ending *ending)
{
	init(machine, memory_size, ending);
	machine->sys = open_driver(&machine->query, ending);
	if (machine->sys >= 0 && !check_memory_size(machine) &&
	    !create_vm(machine) && !add_devices(machine))
		return 0;
	machine_destroy(machine);
	return -1;
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

/* ---- snapshots ----------------------------------------------------------- */

/* More than the devices have. */
#define STATE_MAX	4096

/* Both ways. "Snapshots" in the documentation has the format. */
static void machine_state(struct machine *machine, struct state *state)
{
	uint64_t now = machine_now(machine);

	state_section(state, "PC  ", 1);
	STATE(state, now);
	STATE(state, machine->memory_size);
	/* Nine years: sums of times do not overflow. */
	state_check(state, now < 1ULL << 58);
	if (state->loads)
		machine->clock_offset = now - host_now();
	pic_state(&machine->pic, state);
	pit_state(&machine->pit, state);
	rtc_state(&machine->rtc, state, utc_now());
	uart_state(&machine->uart, state);
	reset_state(&machine->reset, state);
	acpi_state(&machine->acpi, state);
}

/* What a save would not replace, or NULL. */
static const char *in_the_way(int dir)
{
	if (!faccessat(dir, "memory", F_OK, AT_SYMLINK_NOFOLLOW))
		return "memory";
	return faccessat(dir, "state.new", F_OK, AT_SYMLINK_NOFOLLOW) ? NULL : "state.new";
}

int machine_open_folder(const char *path, struct ending *ending)
{
	int dir;

	if (mkdir(path, 0700) && errno != EEXIST)
		dir = -1;
	else
		dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* It is not to be found out when the guest has come so far. */
	if (dir < 0 || faccessat(dir, ".", W_OK | X_OK, 0))
		ending_set(ending, ENDING_ERROR,
			   "--snapshot %s: %s: give a folder that can be written",
			   path, strerror(errno));
	else if (!faccessat(dir, "state", F_OK, 0))
		ending_set(ending, ENDING_ERROR,
			   "--snapshot %s: there is a snapshot already: give another folder",
			   path);
	else if (in_the_way(dir))
		ending_set(ending, ENDING_ERROR,
			   "--snapshot %s: there is a file \"%s\": remove it, or give another folder",
			   path, in_the_way(dir));
	else
		return dir;
	close_fd(dir);
	return -1;
}

void machine_save(struct machine *machine)
{
	struct wisp_saved_slot slots[SLOTS_MAX];
	uint8_t data[STATE_MAX];
	struct state state = { .data = data, .room = sizeof(data) };
	char error[256] = "";
	struct wisp_saved saved = {
		.slots = slots,
		.slot_count = ram_slots(machine->memory_size, slots),
		.vcpu_count = 1,
		.msrs = msr_policy,
		.msr_count = sizeof(msr_policy) / sizeof(*msr_policy),
		.extra = data,
		.error = error,
		.error_size = sizeof(error),
	};
	int snapshot;

	/* What the guest was told of its CPU need not be what this host has. */
	if (machine->origin) {
		saved.cpuid = machine->origin->cpuid;
		saved.cpuid_count = machine->origin->cpuid_count;
		saved.msrs = machine->origin->msrs;
		saved.msr_count = machine->origin->msr_count;
		saved.vm_flags = machine->origin->vm_flags;
		saved.tsc_khz = machine->origin->tsc_khz;
	}
	machine_state(machine, &state);
	saved.extra_size = state.at;
	snapshot = wisp_snapshot(machine->vm);
	if (snapshot < 0) {
		failed(machine, "no snapshot", snapshot);
		return;
	}
	if (wisp_snapshot_save(machine->sys, snapshot, machine->save_dir, &saved))
		ending_set(machine->ending, ENDING_ERROR, "--snapshot: %s", error);
	else
		ending_set(machine->ending, ENDING_SAVED, "%s",
			   "the guest is saved");
	close(snapshot);
}

int machine_image_open(struct machine_image *image, const char *path,
		       struct ending *ending)
{
	char error[256] = "";
	int dir;

	*image = (struct machine_image){
		.sys = -1,
		.snapshot = -1,
		.saved = { .error = error, .error_size = sizeof(error) },
	};
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0) {
		ending_set(ending, ENDING_ERROR,
			   "%s: %s: give a folder that has a snapshot", path,
			   strerror(errno));
		return -1;
	}
	image->sys = open_driver(&image->query, ending);
	if (image->sys >= 0)
		image->snapshot = wisp_snapshot_open(image->sys, dir,
						     &image->saved);
	close(dir);
	image->saved.error = NULL;
	if (image->snapshot >= 0)
		return 0;
	ending_set(ending, ENDING_ERROR, "%s: %s", path, error);
	machine_image_close(image);
	return -1;
}

void machine_image_seal(struct machine_image *image)
{
	close_fd(image->snapshot);
	close_fd(image->sys);
	image->snapshot = -1;
	image->sys = -1;
}

void machine_image_close(struct machine_image *image)
{
	machine_image_seal(image);
	wisp_saved_free(&image->saved);
}

static int load_devices(struct machine *machine, const struct wisp_saved *saved)
{
	struct state state = {
		.data = (uint8_t *)saved->extra,
		.room = saved->extra_size,
		.loads = true,
	};

	machine_state(machine, &state);
	machine->control.is_resumed = true;
	if (!state.is_bad && state.at == state.room)
		return 0;
	ending_set(machine->ending, ENDING_ERROR, "%s",
		   "the snapshot has other devices than this command: use the one that took it");
	return -1;
}

int machine_fork(struct machine *machine, const struct machine_image *image,
		 struct ending *ending)
{
	int ret;

	init(machine, 0, ending);
	machine->query = image->query;
	machine->origin = &image->saved;
	machine->sys = dup(image->sys);
	machine->vm = wisp_fork(image->sys, image->snapshot);
	if (machine->sys < 0 || machine->vm < 0) {
		failed(machine, "no VM", machine->sys < 0 ? -errno : machine->vm);
		goto destroy;
	}
	ret = wisp_map_vcpu(machine->vm, 0, &machine->page);
	if (ret) {
		failed(machine, "no vCPU", ret);
		goto destroy;
	}
	if (!add_devices(machine) && !load_devices(machine, &image->saved))
		return 0;
destroy:
	machine_destroy(machine);
	return -1;
}
