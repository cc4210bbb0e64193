// SPDX-License-Identifier: MIT
/* The run loop: devices between the runs, and what each exit asks for. */
#include "machine.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>

#define RFLAGS_IF	(1U << 9)
#define UD_VECTOR	6

#define NS_PER_S	1000000000ULL

/* A shorter budget would cost more than what it bounds. */
#define BUDGET_MIN_NS	1000

static void feed_uart(struct machine *machine)
{
	uint8_t data[UART_FIFO];
	size_t n = uart_room(&machine->uart);

	if (!n)
		return;
	n = console_read(machine->console, data, n);
	for (size_t i = 0; i < n; i++)
		uart_input(&machine->uart, data[i]);
}

static void update_devices(struct machine *machine, uint64_t now)
{
	pit_update(&machine->pit, now);
	rtc_update(&machine->rtc, now);
	console_update(machine->console, now);
	feed_uart(machine);
}

static uint64_t next_deadline(const struct machine *machine, uint64_t now)
{
	uint64_t deadline = machine->deadline;
	uint64_t pit = pit_deadline(&machine->pit);
	uint64_t rtc = rtc_deadline(&machine->rtc, now);

	if (deadline > pit)
		deadline = pit;
	return deadline > rtc ? rtc : deadline;
}

static void set_budget(struct machine *machine, uint64_t now)
{
	uint64_t deadline = next_deadline(machine, now);
	uint64_t output = console_deadline(machine->console);

	/* What has been written is shown, whatever else the guest does. */
	if (deadline > output)
		deadline = output;
	if (deadline == UINT64_MAX)
		machine->page->budget_ns = 0;
	else if (deadline < now + BUDGET_MIN_NS)
		machine->page->budget_ns = BUDGET_MIN_NS;
	else
		machine->page->budget_ns = deadline - now;
}

/*
 * An interrupt goes in when the guest takes it at once: PIC rules hold. None
 * goes in while a debugger steps: the step would end in its handler.
 */
static void deliver(struct machine *machine)
{
	struct wisp_vcpu_page *page = machine->page;

	if (!pic_raised(&machine->pic) ||
	    (machine->gdb && machine->gdb->is_stepping))
		return;
	if (!machine->accepts) {
		page->flags = WISP_RUN_INTR_WINDOW;
		return;
	}
	page->inject = (struct wisp_event){
		.type = WISP_EVENT_INTERRUPT,
		.vector = pic_acknowledge(&machine->pic),
	};
}

static bool save_is_due(const struct machine *machine)
{
	return machine->save_dir >= 0 && (machine->control.wants_save ||
					  console_wants_save(machine->console));
}

static void check_ending(struct machine *machine, uint64_t now)
{
	int quit = console_quit(machine->console);

	if (machine->power == POWER_OFF)
		ending_set(machine->ending, ENDING_POWEROFF, "%s", "");
	else if (machine->power == POWER_RESET)
		ending_set(machine->ending, ENDING_RESET, "%s",
			   "the guest rebooted");
	else if (quit == CONSOLE_QUIT_KEY)
		ending_set(machine->ending, ENDING_QUIT, "%s",
			   "quit by Ctrl-A x");
	else if (quit == CONSOLE_QUIT_DONE)
		ending_set(machine->ending, ENDING_QUIT, "%s", "");
	else if (quit)
		ending_set(machine->ending, ENDING_QUIT, "quit by signal %d (%s)",
			   quit, strsignal(quit));
	else if (now >= machine->deadline)
		ending_set(machine->ending, ENDING_TIMEOUT, "%s",
			   "the guest ran out of time: give a longer --timeout");
}

__attribute__((format(printf, 2, 3)))
static void crash(struct machine *machine, const char *format, ...)
{
	struct ending *ending = machine->ending;
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	ending_set(ending, ENDING_CRASH, "the guest crashed: %s", text);
	ending->exit = machine->page->exit;
	ending->field = machine->page->field;
	ending->has_state = !wisp_get_state(machine->vm, 0, WISP_ASSIST_WANT,
					    &ending->state);
}

static void do_port(void *opaque, uint16_t port, int in, void *data,
		    unsigned int size)
{
	struct machine *machine = opaque;
	uint64_t now = machine_now(machine);
	uint32_t value = 0;

	if (in) {
		value = bus_in(&machine->bus, now, port, size);
		memcpy(data, &value, size);
	} else {
		memcpy(&value, data, size);
		bus_out(&machine->bus, now, port, size, value);
	}
}

/* No device is there: as on a PC, ones. */
static void do_memory(void *opaque, uint64_t gpa, int read, void *data,
		      unsigned int size)
{
	if (read)
		memset(data, 0xff, size);
}

static struct wisp_io machine_io(struct machine *machine)
{
	return (struct wisp_io){
		.port = do_port,
		.memory = do_memory,
		.opaque = machine,
	};
}

static int get_registers(struct machine *machine)
{
	return wisp_get_state(machine->vm, 0, WISP_ASSIST_WANT,
			      &machine->page->state);
}

static void end_without_memory(struct machine *machine)
{
	ending_set(machine->ending, ENDING_ERROR,
		   "the host has no memory left for the guest: free some%s",
		   machine->origin ? "" : ", or give the guest less with --mem");
}

/* It is not the guest's fault: whether @error is said. */
static bool is_memory_error(struct machine *machine, int error)
{
	if (error == -ENOMEM)
		end_without_memory(machine);
	else if (error == -EIO)
		ending_set(machine->ending, ENDING_ERROR, "%s",
			   "the guest's memory cannot be read from its file: see the host's dmesg");
	return error == -ENOMEM || error == -EIO;
}

static void handle_port(struct machine *machine)
{
	struct wisp_io io = machine_io(machine);
	struct wisp_vcpu_page *page = machine->page;
	uint16_t port = page->exit.port.port;
	int ret = 0;

	if (page->exit.port.flags & WISP_PORT_STRING)
		ret = get_registers(machine);
	if (!ret)
		ret = wisp_assist_port(machine->vm, page, &io);
	if (ret && !is_memory_error(machine, ret))
		crash(machine, "an access to port 0x%x that cannot be completed (%s)",
		      port, strerror(-ret));
}

static void handle_memory(struct machine *machine)
{
	struct wisp_io io = machine_io(machine);
	struct wisp_vcpu_page *page = machine->page;
	uint64_t gpa = page->exit.memory.gpa;
	int ret = get_registers(machine);

	if (!ret)
		ret = wisp_assist_memory(machine->vm, page, &io);
	if (ret && !is_memory_error(machine, ret))
		crash(machine, "%s at 0x%" PRIx64 ", where no memory is, by an instruction that cannot be completed (%s)",
		      trace_access_name(page->exit.memory.access), gpa,
		      strerror(-ret));
}

/* Sleeps to the next deadline, or till the console has something. */
static void sleep_until(struct machine *machine, uint64_t deadline,
			uint64_t now)
{
	struct pollfd fd = { .fd = machine->wake_fd, .events = POLLIN };
	uint64_t ns = deadline > now ? deadline - now : 0;
	struct timespec ts = {
		.tv_sec = (time_t)(ns / NS_PER_S),
		.tv_nsec = (long)(ns % NS_PER_S),
	};
	eventfd_t count;

	console_flush(machine->console);
	ppoll(&fd, 1, deadline == UINT64_MAX ? NULL : &ts, NULL);
	if (fd.revents)
		eventfd_read(machine->wake_fd, &count);
}

static void handle_halt(struct machine *machine)
{
	struct wisp_vcpu_page *page = machine->page;

	if (!(page->exit.rflags & RFLAGS_IF)) {
		ending_set(machine->ending, ENDING_HALT, "%s",
			   "the guest halted with interrupts off");
		return;
	}
	/* One was injected before, and now comes: the HLT is over. */
	if (page->exit.flags & WISP_EXIT_INTR_PENDING) {
		page->complete = 1;
		return;
	}
	for (;;) {
		uint64_t now = machine_now(machine);

		update_devices(machine, now);
		check_ending(machine, now);
		if (machine->ending->ended || pic_raised(&machine->pic))
			break;
		/* It is still at the HLT, for who looks and afterwards. */
		if (save_is_due(machine) ||
		    (machine->gdb && gdb_is_due(machine->gdb)))
			return;
		sleep_until(machine, next_deadline(machine, now), now);
	}
	page->complete = 1;
	/* With the instruction done, no shadow is left. */
	machine->accepts = true;
}

/* Nothing here takes hypercalls: as on a CPU that has no such instruction. */
static void refuse_hypercall(struct machine *machine)
{
	machine->page->inject = (struct wisp_event){
		.type = WISP_EVENT_EXCEPTION,
		.vector = UD_VECTOR,
	};
}

static void note_acceptance(struct machine *machine)
{
	uint32_t flags = machine->page->exit.flags;

	machine->accepts = (flags & WISP_EXIT_INTR_READY) &&
			   !(flags & WISP_EXIT_INTR_PENDING);
}

static void handle_exit(struct machine *machine)
{
	const struct wisp_exit *exit = &machine->page->exit;

	note_acceptance(machine);
	switch (exit->reason) {
	case WISP_EXIT_NONE:
	case WISP_EXIT_KICKED:
	case WISP_EXIT_INTR_WINDOW:
		break;
	case WISP_EXIT_BUDGET:
		console_flush(machine->console);
		break;
	case WISP_EXIT_PORT:
		handle_port(machine);
		break;
	case WISP_EXIT_MEMORY:
		handle_memory(machine);
		break;
	case WISP_EXIT_HLT:
		if (!machine->gdb || !gdb_take_halt(machine->gdb))
			handle_halt(machine);
		break;
	case WISP_EXIT_HYPERCALL:
		refuse_hypercall(machine);
		break;
	case WISP_EXIT_DEBUG:
		if (machine->gdb)
			gdb_take_exit(machine->gdb);
		break;
	case WISP_EXIT_SHUTDOWN:
		crash(machine, "triple fault at 0x%" PRIx64,
		      (uint64_t)exit->rip);
		break;
	case WISP_EXIT_NOMEM:
		end_without_memory(machine);
		break;
	default:
		crash(machine, "exit %s at 0x%" PRIx64,
		      wisp_exit_name(exit->reason), (uint64_t)exit->rip);
		break;
	}
}

static void run_failed(struct machine *machine, int error)
{
	if (error == -EINVAL || error == -EOPNOTSUPP)
		crash(machine, "the driver refused %s",
		      wisp_field_name(machine->page->field));
	else if (error == -ENOMEM)
		end_without_memory(machine);
	else if (error == -EBUSY)
		ending_set(machine->ending, ENDING_ERROR, "%s",
			   "the guest cannot run on: the CPU's virtualization is in use: unload or stop the other hypervisor");
	else
		ending_set(machine->ending, ENDING_ERROR,
			   "the guest cannot run on: %s: see the host's dmesg",
			   strerror(-error));
}

/*
 * Has the driver take what waits in the page for the next run, so that the
 * vCPU's state is what the guest will see: a kick ends that run before any
 * instruction.
 */
static void settle(struct machine *machine)
{
	struct wisp_vcpu_page *page = machine->page;
	int ret;

	if (!page->complete && !page->dirty && !page->inject.type)
		return;
	page->flags = 0;
	do {
		wisp_kick(machine->vm, 0);
		ret = wisp_run(machine->vm, 0);
	} while (ret == -EINTR);
	if (ret)
		run_failed(machine, ret);
	else
		note_acceptance(machine);
}

static void set_deadline(struct machine *machine, uint64_t deadline)
{
	machine->deadline = deadline;
	if (deadline != UINT64_MAX)
		deadline -= machine->clock_offset;
	machine->console->deadline = deadline;
}

/* The time that the guest stands for its debugger is not counted. */
static void serve_debugger(struct machine *machine)
{
	uint64_t start = machine_now(machine);
	enum gdb_wish wish = GDB_WAIT;
	eventfd_t count;

	settle(machine);
	console_flush(machine->console);
	/* Whoever has it saved is not kept waiting by gdb, nor by there being none. */
	while (!machine->ending->ended && !save_is_due(machine)) {
		struct pollfd fds[] = {
			{ .fd = machine->wake_fd, .events = POLLIN },
			{ .events = POLLIN },
		};

		wish = gdb_serve(machine->gdb);
		if (wish != GDB_WAIT)
			break;
		fds[1].fd = gdb_fd(machine->gdb);
		poll(fds, 2, gdb_has_input(machine->gdb) ? 0 : -1);
		if (fds[0].revents)
			eventfd_read(machine->wake_fd, &count);
		check_ending(machine, start);
	}
	if (wish == GDB_KILL)
		ending_set(machine->ending, ENDING_QUIT, "%s",
			   "killed by gdb");
	if (machine->deadline != UINT64_MAX)
		set_deadline(machine, machine->deadline +
			     machine_now(machine) - start);
	/* That was of an exit completed, which it need not be now, and gdb changes RFLAGS. */
	machine->accepts = false;
}

static int run_once(struct machine *machine, uint64_t now)
{
	struct wisp_vcpu_page *page = machine->page;
	int ret;

	page->flags = 0;
	/* An exception of ours goes first; it is delivered at once. */
	if (!page->inject.type)
		deliver(machine);
	if (machine->gdb)
		gdb_prepare(machine->gdb);
	set_budget(machine, now);
	ret = wisp_run(machine->vm, 0);
	machine->ending->runs++;
	if (machine->trace)
		trace_exit(machine->trace, machine_now(machine), &page->exit);
	return ret;
}

void machine_run(struct machine *machine)
{
	uint64_t start = machine_now(machine), now = start;
	struct ending *ending = machine->ending;

	set_deadline(machine, machine->deadline);
	if (machine->trace)
		machine->trace->start = start;
	while (!ending->ended) {
		int ret;

		if (save_is_due(machine)) {
			settle(machine);
			if (machine->gdb)
				gdb_remove_breakpoints(machine->gdb);
			if (!ending->ended)
				machine_save(machine);
			break;
		}
		if (machine->gdb && gdb_is_due(machine->gdb)) {
			serve_debugger(machine);
			now = machine_now(machine);
			check_ending(machine, now);
			continue;
		}
		update_devices(machine, now);
		ret = run_once(machine, now);
		if (ret && ret != -EINTR)
			run_failed(machine, ret);
		else
			handle_exit(machine);
		if (machine->gdb)
			gdb_take_assist(machine->gdb);
		now = machine_now(machine);
		check_ending(machine, now);
	}
	console_flush(machine->console);
	ending->duration_ns = machine_now(machine) - start;
}
