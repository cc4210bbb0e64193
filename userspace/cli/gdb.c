// SPDX-License-Identifier: MIT
/* "Remote Protocol" of gdb's manual; the one thread is the vCPU. */
#include "gdb.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "host.h"
#include "registers.h"

#define RFLAGS_RF	(1ULL << 16)
#define DR6_HITS	0xfU
#define DR6_STEP	(1U << 14)
#define BP_VECTOR	3

/* Numbers of gdb's own. */
#define SIGNAL_INT	2
#define SIGNAL_TRAP	5

/* Memory per packet: two digits a byte. */
#define CHUNK		4096
#define PACKETS_MAX	64

#define OK		"OK"
#define BAD_PACKET	"E16"	/* EINVAL */

__attribute__((format(printf, 3, 4)))
static void stop(struct gdb *gdb, int signal, const char *format, ...)
{
	va_list args;
	int n = snprintf(gdb->reason, sizeof(gdb->reason), "T%02xthread:1;",
			 signal);

	va_start(args, format);
	vsnprintf(gdb->reason + n, sizeof(gdb->reason) - (size_t)n, format,
		  args);
	va_end(args);
	gdb->stands = true;
	gdb->is_stepping = false;
}

/* ---- the connection's watcher --------------------------------------------- */

static void *watch(void *opaque)
{
	struct gdb *gdb = opaque;
	eventfd_t count;

	for (;;) {
		struct pollfd fds[] = {
			{ .fd = gdb->watch_fd, .events = POLLIN },
			{ .fd = atomic_load(&gdb->watched), .events = POLLIN },
		};

		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[0].revents)
			eventfd_read(gdb->watch_fd, &count);
		if (atomic_load(&gdb->is_ended))
			return NULL;
		if (!fds[1].revents)
			continue;
		/* The runner looks at it, and then has it watched again. */
		atomic_compare_exchange_strong(&gdb->watched, &fds[1].fd, -1);
		atomic_store(&gdb->is_due, true);
		gdb->wake(gdb->opaque);
	}
}

/* What was read already nobody would be woken for. */
static void watch_on(struct gdb *gdb)
{
	atomic_store(&gdb->is_due, rsp_has_input(&gdb->rsp));
	atomic_store(&gdb->watched, gdb_fd(gdb));
	eventfd_write(gdb->watch_fd, 1);
}

int gdb_start(struct gdb *gdb, uint16_t *port, int vm,
	      struct wisp_vcpu_page *page, void (*wake)(void *opaque),
	      void *opaque)
{
	int ret;

	memset(gdb, 0, sizeof(*gdb));
	gdb->vm = vm;
	gdb->breakpoints.vm = vm;
	/* There, an INT3 of a guest does not exit. */
	gdb->breakpoints.trap = host_is_tcg() ? BREAKPOINT_HLT : BREAKPOINT_INT3;
	gdb->page = page;
	gdb->wake = wake;
	gdb->opaque = opaque;
	atomic_store(&gdb->watched, -1);
	atomic_store(&gdb->is_due, true);
	stop(gdb, SIGNAL_TRAP, "%s", "");
	ret = rsp_listen(&gdb->rsp, port);
	if (ret)
		return ret;
	gdb->watch_fd = eventfd(0, EFD_CLOEXEC);
	if (gdb->watch_fd < 0)
		ret = -errno;
	else
		ret = -pthread_create(&gdb->thread, NULL, watch, gdb);
	if (!ret)
		return 0;
	if (gdb->watch_fd >= 0)
		close(gdb->watch_fd);
	rsp_close(&gdb->rsp);
	return ret;
}

void gdb_end(struct gdb *gdb, int status)
{
	char text[8];

	snprintf(text, sizeof(text), "W%02x", status & 0xff);
	if (gdb->rsp.fd >= 0 && gdb->awaits_reply)
		rsp_send_text(&gdb->rsp, text);
	atomic_store(&gdb->is_ended, true);
	eventfd_write(gdb->watch_fd, 1);
	pthread_join(gdb->thread, NULL);
	close(gdb->watch_fd);
	rsp_close(&gdb->rsp);
}

void gdb_remove_breakpoints(struct gdb *gdb)
{
	breakpoints_clear(&gdb->breakpoints);
}

bool gdb_is_due(const struct gdb *gdb)
{
	return gdb->stands || atomic_load(&gdb->is_due);
}

int gdb_fd(const struct gdb *gdb)
{
	return rsp_fd(&gdb->rsp);
}

/* ---- stopping and going on ------------------------------------------------- */

static int get_state(struct gdb *gdb)
{
	return wisp_get_state(gdb->vm, 0, REGISTERS_GROUPS, &gdb->state);
}

static uint64_t linear_rip(const struct wisp_state *state)
{
	uint64_t gva = state->segments.cs.base + state->general.rip;

	return state->control.efer & 0x400 ? gva : (uint32_t)gva;
}

static bool is_at_hardware(const struct gdb *gdb)
{
	const struct breakpoints *breakpoints = &gdb->breakpoints;

	for (unsigned int i = 0; i < BREAKPOINTS_HARDWARE; i++)
		if (breakpoints->hardware[i].used &&
		    breakpoints->hardware[i].kind == BREAKPOINT_HARDWARE &&
		    breakpoints->registers.address[i] == linear_rip(&gdb->state))
			return true;
	return false;
}

static void go_on(struct gdb *gdb, bool step)
{
	/* Or it would stop where it stands. */
	if (is_at_hardware(gdb)) {
		gdb->state.general.rflags |= RFLAGS_RF;
		wisp_set_state(gdb->vm, 0, WISP_STATE_GENERAL, &gdb->state,
			       NULL);
	}
	gdb->stands = false;
	gdb->is_stepping = step;
	gdb->awaits_reply = true;
}

static void let_go(struct gdb *gdb)
{
	breakpoints_clear(&gdb->breakpoints);
	gdb->stands = false;
	gdb->is_stepping = false;
	gdb->awaits_reply = false;
}

void gdb_prepare(struct gdb *gdb)
{
	struct wisp_vcpu_page *page = gdb->page;

	if (gdb->is_stepping)
		page->flags |= WISP_RUN_STEP;
	if (gdb->breakpoints.count && gdb->breakpoints.trap == BREAKPOINT_INT3)
		page->flags |= WISP_RUN_TRAP_INT3;
	if (breakpoints_has_hardware(&gdb->breakpoints)) {
		page->flags |= WISP_RUN_BREAKPOINTS;
		page->breakpoints = gdb->breakpoints.registers;
	}
}

/* An INT3 of the guest's own: as without us, RIP is behind it. */
static void give_back_int3(struct gdb *gdb)
{
	struct wisp_vcpu_page *page = gdb->page;

	page->state.general = gdb->state.general;
	page->state.general.rip++;
	page->dirty |= WISP_STATE_GENERAL;
	page->inject = (struct wisp_event){
		.type = WISP_EVENT_EXCEPTION,
		.vector = BP_VECTOR,
	};
}

/*
 * Whether the guest is at a trap of ours: then it has stopped. As when that was put
 * there, rights do not count: SMEP keeps who is no user from fetching there.
 */
static bool take_trap(struct gdb *gdb)
{
	uint64_t gpa;

	if (wisp_translate(gdb->vm, &gdb->state, linear_rip(&gdb->state),
			   WISP_PROT_READ, 0, &gpa) ||
	    !breakpoints_at(&gdb->breakpoints, gpa))
		return false;
	stop(gdb, SIGNAL_TRAP, "swbreak:;");
	return true;
}

static void take_int3(struct gdb *gdb)
{
	if (!get_state(gdb) && !take_trap(gdb))
		give_back_int3(gdb);
}

bool gdb_take_halt(struct gdb *gdb)
{
	return gdb->breakpoints.trap == BREAKPOINT_HLT &&
	       gdb->breakpoints.count && !get_state(gdb) && take_trap(gdb);
}

static void take_hardware(struct gdb *gdb, unsigned int i)
{
	uint64_t gva = gdb->breakpoints.registers.address[i];

	switch (gdb->breakpoints.hardware[i].kind) {
	case BREAKPOINT_WRITE:
		stop(gdb, SIGNAL_TRAP, "watch:%" PRIx64 ";", gva);
		break;
	case BREAKPOINT_READ:
		stop(gdb, SIGNAL_TRAP, "rwatch:%" PRIx64 ";", gva);
		break;
	case BREAKPOINT_ACCESS:
		stop(gdb, SIGNAL_TRAP, "awatch:%" PRIx64 ";", gva);
		break;
	default:
		stop(gdb, SIGNAL_TRAP, "hwbreak:;");
		break;
	}
}

void gdb_take_exit(struct gdb *gdb)
{
	const struct wisp_exit *exit = &gdb->page->exit;

	if (exit->debug.vector == BP_VECTOR) {
		take_int3(gdb);
		return;
	}
	for (unsigned int i = 0; i < BREAKPOINTS_HARDWARE; i++) {
		if (exit->debug.dr6 & DR6_HITS & 1U << i &&
		    gdb->breakpoints.hardware[i].used) {
			take_hardware(gdb, i);
			return;
		}
	}
	if (exit->debug.dr6 & DR6_STEP)
		stop(gdb, SIGNAL_TRAP, "%s", "");
}

/* Completed by the driver, a step is reported; by an assist, it is not. */
void gdb_take_assist(struct gdb *gdb)
{
	if (gdb->is_stepping && gdb->page->dirty & WISP_STATE_GENERAL &&
	    !gdb->page->inject.type)
		stop(gdb, SIGNAL_TRAP, "%s", "");
}

/* ---- packets ----------------------------------------------------------------- */

static void reply(struct gdb *gdb, const char *text)
{
	rsp_send_text(&gdb->rsp, text);
}

static void reply_result(struct gdb *gdb, int ret)
{
	char text[8];

	if (!ret) {
		reply(gdb, OK);
		return;
	}
	snprintf(text, sizeof(text), "E%02x", -ret & 0xff);
	reply(gdb, text);
}

/* One hexadecimal number, and what follows it. */
static bool parse_number(char **text, char separator, uint64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoull(*text, &end, 16);
	if (end == *text || errno || *end != separator)
		return false;
	*text = separator ? end + 1 : end;
	return true;
}

static void read_registers(struct gdb *gdb)
{
	char hex[2 * REGISTERS_MAX + 1];
	char *to = hex;

	for (unsigned int i = 0; i < registers_count(); i++) {
		uint8_t value[REGISTER_MAX];

		register_get(&gdb->state, i, value);
		rsp_to_hex(value, register_size(i), to);
		to += 2 * register_size(i);
	}
	reply(gdb, hex);
}

static int store(struct gdb *gdb, uint32_t groups)
{
	int ret = wisp_set_state(gdb->vm, 0, groups, &gdb->state, NULL);

	/* What was refused must not be shown. */
	if (ret)
		get_state(gdb);
	return ret;
}

static void write_registers(struct gdb *gdb, const char *hex)
{
	size_t left = strlen(hex);
	uint32_t groups = 0;

	for (unsigned int i = 0; i < registers_count(); i++) {
		unsigned int size = register_size(i);
		uint8_t value[REGISTER_MAX];

		if (left < 2 * size)
			break;
		/* 'x' digits: as it is. */
		if (rsp_from_hex(hex, value, size))
			groups |= register_set(&gdb->state, i, value);
		hex += 2 * size;
		left -= 2 * size;
	}
	reply_result(gdb, store(gdb, groups));
}

static void read_register(struct gdb *gdb, char *args)
{
	char hex[2 * REGISTER_MAX + 1];
	uint8_t value[REGISTER_MAX];
	uint64_t number;

	if (!parse_number(&args, 0, &number) || number >= registers_count()) {
		reply(gdb, BAD_PACKET);
		return;
	}
	register_get(&gdb->state, (unsigned int)number, value);
	rsp_to_hex(value, register_size((unsigned int)number), hex);
	reply(gdb, hex);
}

static void write_register(struct gdb *gdb, char *args)
{
	uint8_t value[REGISTER_MAX];
	uint64_t number;

	if (!parse_number(&args, '=', &number) || number >= registers_count() ||
	    strlen(args) < 2 * register_size((unsigned int)number) ||
	    !rsp_from_hex(args, value, register_size((unsigned int)number))) {
		reply(gdb, BAD_PACKET);
		return;
	}
	reply_result(gdb, store(gdb, register_set(&gdb->state,
						  (unsigned int)number,
						  value)));
}

/*
 * In parts that lie in one page each, by the guest's own tables; its rights
 * do not count. Returns how many bytes went.
 */
static size_t copy_memory(struct gdb *gdb, uint64_t gva, uint8_t *data,
			  size_t size, bool write)
{
	size_t done = 0;

	while (done < size) {
		size_t n = WISP_PAGE_SIZE - (gva + done) % WISP_PAGE_SIZE;
		uint64_t gpa;
		int ret;

		if (n > size - done)
			n = size - done;
		ret = wisp_translate(gdb->vm, &gdb->state, gva + done,
				     WISP_PROT_READ, 0, &gpa);
		if (!ret && write)
			ret = breakpoints_write(&gdb->breakpoints, gpa,
						data + done, n);
		else if (!ret)
			ret = breakpoints_read(&gdb->breakpoints, gpa,
					       data + done, n);
		if (ret)
			break;
		done += n;
	}
	return done;
}

static void read_memory(struct gdb *gdb, char *args)
{
	char hex[2 * CHUNK + 1];
	uint8_t data[CHUNK];
	uint64_t gva, size;
	size_t n;

	if (!parse_number(&args, ',', &gva) || !parse_number(&args, 0, &size)) {
		reply(gdb, BAD_PACKET);
		return;
	}
	if (size > CHUNK)
		size = CHUNK;
	n = copy_memory(gdb, gva, data, size, false);
	if (size && !n) {
		reply_result(gdb, -EFAULT);
		return;
	}
	rsp_to_hex(data, n, hex);
	reply(gdb, hex);
}

static void write_memory(struct gdb *gdb, char *args, bool is_binary)
{
	uint8_t data[RSP_PACKET_MAX];
	uint64_t gva, size;
	size_t given;

	if (!parse_number(&args, ',', &gva) ||
	    !parse_number(&args, ':', &size)) {
		reply(gdb, BAD_PACKET);
		return;
	}
	given = (size_t)(gdb->rsp.packet + gdb->rsp.packet_size - args);
	if (size > sizeof(data) || given != (is_binary ? size : 2 * size) ||
	    (!is_binary && !rsp_from_hex(args, data, size))) {
		reply(gdb, BAD_PACKET);
		return;
	}
	if (is_binary)
		memcpy(data, args, size);
	reply_result(gdb, copy_memory(gdb, gva, data, size, true) == size ?
				  0 : -EFAULT);
}

static void change_breakpoint(struct gdb *gdb, char *args, bool add)
{
	uint64_t kind, gva, size;
	int ret;

	/* What follows a ';' would be conditions, which we do not announce. */
	if (!parse_number(&args, ',', &kind) ||
	    !parse_number(&args, ',', &gva) || !parse_number(&args, 0, &size)) {
		reply(gdb, BAD_PACKET);
		return;
	}
	if (kind > BREAKPOINT_ACCESS) {
		reply(gdb, "");
		return;
	}
	if (add)
		ret = breakpoints_add(&gdb->breakpoints, &gdb->state,
				      (enum breakpoint_kind)kind, gva,
				      (unsigned int)size);
	else
		ret = breakpoints_remove(&gdb->breakpoints,
					 (enum breakpoint_kind)kind, gva,
					 (unsigned int)size);
	reply_result(gdb, ret);
}

/* A part of a text: 'm' more follows, 'l' the last. */
static void transfer(struct gdb *gdb, const char *text, char *args)
{
	char part[CHUNK + 1];
	uint64_t offset, size, left;

	if (!parse_number(&args, ',', &offset) ||
	    !parse_number(&args, 0, &size) || offset > strlen(text)) {
		reply(gdb, BAD_PACKET);
		return;
	}
	left = strlen(text) - offset;
	if (size > CHUNK)
		size = CHUNK;
	part[0] = left > size ? 'm' : 'l';
	if (size > left)
		size = left;
	memcpy(part + 1, text + offset, size);
	rsp_send(&gdb->rsp, part, size + 1);
}

static bool starts(const char *text, const char *with, char **rest)
{
	size_t n = strlen(with);

	if (strncmp(text, with, n))
		return false;
	*rest = (char *)text + n;
	return true;
}

static void take_query(struct gdb *gdb, char *packet)
{
	char text[128];
	char *rest;

	if (starts(packet, "qSupported", &rest)) {
		snprintf(text, sizeof(text),
			 "PacketSize=%x;QStartNoAckMode+;qXfer:features:read+;swbreak+;hwbreak+;vContSupported+",
			 2 * CHUNK);
		reply(gdb, text);
	} else if (starts(packet, "qXfer:features:read:target.xml:", &rest)) {
		transfer(gdb, registers_xml, rest);
	} else if (starts(packet, "QStartNoAckMode", &rest)) {
		reply(gdb, OK);
		gdb->rsp.no_ack = true;
	} else if (starts(packet, "qfThreadInfo", &rest)) {
		reply(gdb, "m1");
	} else if (starts(packet, "qsThreadInfo", &rest)) {
		reply(gdb, "l");
	} else if (!strcmp(packet, "qC")) {
		reply(gdb, "QC1");
	} else if (starts(packet, "qAttached", &rest)) {
		/* So that gdb detaches when it quits. */
		reply(gdb, "1");
	} else {
		reply(gdb, "");
	}
}

/* vCont;s:1;c and the like: the first action is the vCPU's. */
static void take_continue(struct gdb *gdb, const char *action)
{
	switch (*action) {
	case 'c':
	case 'C':
		go_on(gdb, false);
		break;
	case 's':
	case 'S':
		go_on(gdb, true);
		break;
	default:
		reply(gdb, BAD_PACKET);
		break;
	}
}

static void take_long(struct gdb *gdb, char *packet)
{
	char *rest;

	if (!strcmp(packet, "vCont?")) {
		reply(gdb, "vCont;c;C;s;S");
	} else if (starts(packet, "vCont;", &rest)) {
		take_continue(gdb, rest);
	} else if (starts(packet, "vKill", &rest)) {
		reply(gdb, OK);
		gdb->is_killed = true;
	} else {
		reply(gdb, "");
	}
}

/* c and s may bring an address; with a signal it stands behind a ';'. */
static void take_old_continue(struct gdb *gdb, char *packet)
{
	char *args = packet + 1;
	uint64_t rip;

	if (*packet == 'C' || *packet == 'S')
		args = strchr(packet, ';') ? strchr(packet, ';') + 1 : NULL;
	if (args && *args) {
		if (!parse_number(&args, 0, &rip)) {
			reply(gdb, BAD_PACKET);
			return;
		}
		gdb->state.general.rip = rip;
		if (store(gdb, WISP_STATE_GENERAL)) {
			reply_result(gdb, -EINVAL);
			return;
		}
	}
	take_continue(gdb, packet);
}

static void take_packet(struct gdb *gdb)
{
	char *packet = gdb->rsp.packet;

	switch (*packet) {
	case '?':
		reply(gdb, gdb->reason);
		break;
	case 'g':
		read_registers(gdb);
		break;
	case 'G':
		write_registers(gdb, packet + 1);
		break;
	case 'p':
		read_register(gdb, packet + 1);
		break;
	case 'P':
		write_register(gdb, packet + 1);
		break;
	case 'm':
		read_memory(gdb, packet + 1);
		break;
	case 'M':
		write_memory(gdb, packet + 1, false);
		break;
	case 'X':
		write_memory(gdb, packet + 1, true);
		break;
	case 'Z':
		change_breakpoint(gdb, packet + 1, true);
		break;
	case 'z':
		change_breakpoint(gdb, packet + 1, false);
		break;
	case 'c':
	case 's':
	case 'C':
	case 'S':
		take_old_continue(gdb, packet);
		break;
	case 'v':
		take_long(gdb, packet);
		break;
	case 'q':
	case 'Q':
		take_query(gdb, packet);
		break;
	case 'H':
	case 'T':
		reply(gdb, OK);
		break;
	case 'D':
		reply(gdb, OK);
		let_go(gdb);
		rsp_hang_up(&gdb->rsp);
		break;
	case 'k':
		gdb->is_killed = true;
		break;
	default:
		reply(gdb, "");
		break;
	}
}

/* While the guest runs, only Ctrl-C is for us; a new gdb stops it, too. */
static void look(struct gdb *gdb)
{
	bool was_there = gdb->rsp.fd >= 0;

	if (!rsp_accept(&gdb->rsp))
		return;
	if (!was_there) {
		stop(gdb, SIGNAL_TRAP, "%s", "");
		gdb->awaits_reply = false;
		return;
	}
	switch (rsp_read(&gdb->rsp)) {
	case RSP_INTERRUPT:
		stop(gdb, SIGNAL_INT, "%s", "");
		break;
	case RSP_GONE:
		let_go(gdb);
		break;
	default:
		break;
	}
}

/* Some at a time: who looks at signals has a turn, too. */
static enum gdb_wish serve_packets(struct gdb *gdb)
{
	for (int i = 0; gdb->stands && !gdb->is_killed; i++) {
		if (i == PACKETS_MAX)
			return GDB_WAIT;
		switch (rsp_read(&gdb->rsp)) {
		case RSP_PACKET:
			take_packet(gdb);
			break;
		case RSP_INTERRUPT:
			break;
		case RSP_GONE:
			let_go(gdb);
			break;
		case RSP_NOTHING:
			return GDB_WAIT;
		}
	}
	return gdb->is_killed ? GDB_KILL : GDB_RUN;
}

bool gdb_has_input(const struct gdb *gdb)
{
	return rsp_has_input(&gdb->rsp);
}

enum gdb_wish gdb_serve(struct gdb *gdb)
{
	enum gdb_wish wish;

	if (!gdb->stands || gdb->rsp.fd < 0)
		look(gdb);
	if (gdb->stands && gdb->rsp.fd < 0)
		return GDB_WAIT;
	if (gdb->stands) {
		get_state(gdb);
		if (gdb->awaits_reply)
			reply(gdb, gdb->reason);
		gdb->awaits_reply = false;
	}
	wish = serve_packets(gdb);
	if (wish == GDB_RUN)
		watch_on(gdb);
	return wish;
}
