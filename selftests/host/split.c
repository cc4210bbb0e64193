// SPDX-License-Identifier: GPL-2.0
/*
 * An instruction across two pages, of which the second cannot be fetched any more. A CPU
 * faults there, and goes on. It is the emulator's test, and needs no driver: Bochs 3.0
 * does not go on (selftests/lab/bochs.patch), no more than in a guest where EPT lacks
 * the second page.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "../harness.h"

#define ROUNDS	1000
#define PAGE	4096

static sigjmp_buf fault;

static void on_fault(int signal)
{
	siglongjmp(fault, signal);
}

static bool faults(void (*call)(void))
{
	if (sigsetjmp(fault, 1))
		return true;
	call();
	return false;
}

TEST(second_page_gone)
{
	/* mov $0, %eax; ret: two bytes of its five are in the second page. */
	static const unsigned char code[] = { 0xb8, 0, 0, 0, 0, 0xc3 };
	const int rwx = PROT_READ | PROT_WRITE | PROT_EXEC;
	struct sigaction action = { .sa_handler = on_fault };
	unsigned char *pages;
	void (*call)(void);

	ASSERT_EQ(0, sigaction(SIGSEGV, &action, NULL));
	pages = mmap(NULL, 2 * PAGE, rwx, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, pages);
	call = (void (*)(void))(pages + PAGE - 3);

	for (int i = 0; i < ROUNDS; i++) {
		memcpy(pages + PAGE - 3, code, sizeof(code));
		call();
		/* Another instruction (MOV to ECX), so that it is decoded again. */
		pages[PAGE - 3] = 0xb9;
		ASSERT_EQ(0, mprotect(pages + PAGE, PAGE, PROT_NONE));
		ASSERT_TRUE(faults(call));
		ASSERT_EQ(0, mprotect(pages + PAGE, PAGE, rwx));
		pages[PAGE] = 0;
	}
	ASSERT_EQ(0, munmap(pages, 2 * PAGE));
}

TEST_HARNESS_MAIN
