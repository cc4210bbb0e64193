// SPDX-License-Identifier: GPL-2.0
/* gdb's stub without gdb: what it makes of exits and of packets. */
#include "gdb.h"
#include "guest.h"

#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "tap.h"

#define ROOT		0x1000
#define CODE_GPA	0x5000
#define CODE_GVA	0x400000UL
#define SIZE		0x8000
#define BP_VECTOR	3

static struct gdb gdb;
static struct wisp_vcpu_page page;
static struct wisp_state state;
static int vm = -1;
static int peer = -1;

/* A memfd has none: the linker has the stub call this instead. */
int __wrap_wisp_get_state(int fd, uint32_t vcpu, uint32_t groups,
			  struct wisp_state *to)
{
	*to = state;
	return 0;
}

/* 64-bit code of the user's, on a CPU that has SMEP; gdb is connected. */
static void start(void)
{
	int fds[2];

	if (vm >= 0) {
		close(vm);
		close(peer);
		close(gdb.rsp.fd);
		close(gdb.watch_fd);
	}
	vm = guest_create(SIZE);
	guest_write64(vm, ROOT, 0x2007);
	guest_write64(vm, 0x2000, 0x3007);
	guest_write64(vm, 0x3010, 0x4007);
	guest_write64(vm, 0x4000, CODE_GPA | 7);
	state = (struct wisp_state){
		.general.rip = CODE_GVA,
		.control = {
			.cr0 = CR0_PE | CR0_PG | CR0_WP,
			.cr3 = ROOT,
			.cr4 = CR4_PAE | CR4_SMEP,
			.efer = EFER_LMA | EFER_NXE,
		},
	};
	memset(&page, 0, sizeof(page));
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds)) {
		perror("socketpair");
		exit(1);
	}
	peer = fds[1];
	gdb = (struct gdb){
		.vm = vm,
		.page = &page,
		.watch_fd = eventfd(0, EFD_CLOEXEC),
		.rsp = { .listener = -1, .fd = fds[0] },
		.breakpoints = { .vm = vm, .trap = BREAKPOINT_INT3 },
		.stands = true,
	};
	gdb.watched = -1;
}

static void send_text(const char *text)
{
	if (write(peer, text, strlen(text)) != (ssize_t)strlen(text))
		abort();
}

static bool was_sent(const char *text)
{
	char data[256] = "";

	return recv(peer, data, sizeof(data) - 1, MSG_DONTWAIT) > 0 &&
	       strstr(data, text);
}

static void take_int3(uint64_t rip)
{
	state.general.rip = rip;
	gdb.stands = false;
	page.exit = (struct wisp_exit){
		.reason = WISP_EXIT_DEBUG,
		.debug.vector = BP_VECTOR,
	};
	gdb_take_exit(&gdb);
}

static void stops_in_user_code(void)
{
	start();
	CHECK_EQUAL(breakpoints_add(&gdb.breakpoints, &state,
				    BREAKPOINT_SOFTWARE, CODE_GVA, 1), 0);
	CHECK_EQUAL(guest_read64(vm, CODE_GPA) & 0xff, BREAKPOINT_INT3);
	take_int3(CODE_GVA);
	CHECK(gdb.stands);
	CHECK(strstr(gdb.reason, "swbreak"));
	CHECK_EQUAL(page.inject.type, WISP_EVENT_NONE);
}

static void gives_back_what_is_the_guests(void)
{
	start();
	breakpoints_add(&gdb.breakpoints, &state, BREAKPOINT_SOFTWARE, CODE_GVA,
			1);
	take_int3(CODE_GVA + 1);
	CHECK(!gdb.stands);
	CHECK_EQUAL(page.inject.type, WISP_EVENT_EXCEPTION);
	CHECK_EQUAL(page.inject.vector, BP_VECTOR);
	CHECK_EQUAL(page.state.general.rip, CODE_GVA + 2);
}

static void goes_on(void)
{
	start();
	send_text("$vCont;c#a8");
	CHECK_EQUAL(gdb_serve(&gdb), GDB_RUN);
	CHECK(!gdb.stands);
	CHECK(!gdb_is_due(&gdb));
	CHECK(was_sent("+"));
}

/* In one segment: nothing more comes that could be watched for. */
static void ctrl_c_comes_with_the_continue(void)
{
	start();
	send_text("$vCont;c#a8\003");
	CHECK_EQUAL(gdb_serve(&gdb), GDB_RUN);
	CHECK(!gdb.stands);
	CHECK(gdb_is_due(&gdb));
	CHECK_EQUAL(gdb_serve(&gdb), GDB_WAIT);
	CHECK(gdb.stands);
	CHECK(was_sent("$T02thread:1;#"));
}

/* What is no Ctrl-C is dropped while the guest runs. */
static void noise_comes_with_the_continue(void)
{
	start();
	send_text("$vCont;c#a8+$?#3f+");
	CHECK_EQUAL(gdb_serve(&gdb), GDB_RUN);
	for (int i = 0; i < 3 && gdb_is_due(&gdb); i++)
		CHECK_EQUAL(gdb_serve(&gdb), GDB_RUN);
	CHECK(!gdb_is_due(&gdb));
	CHECK(!gdb.stands);
	CHECK(!was_sent("$"));
}

int main(void)
{
	static const struct tap_test tests[] = {
		TAP_TEST(stops_in_user_code),
		TAP_TEST(gives_back_what_is_the_guests),
		TAP_TEST(goes_on),
		TAP_TEST(ctrl_c_comes_with_the_continue),
		TAP_TEST(noise_comes_with_the_continue),
	};

	return TAP_RUN(tests);
}
