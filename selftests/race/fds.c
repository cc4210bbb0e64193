// SPDX-License-Identifier: GPL-2.0
/*
 * A second thread guesses the number of the fd that is being made, closes it,
 * calls it and puts another in its place. The maker must not care: what it made
 * is whole, or gone.
 */
#include <stdlib.h>

#include "../harness.h"
#include "../life/life.h"
#include "random.h"

#define OBJECTS		1000
/* So many have to go under the maker's hands, however long that takes. */
#define CLOSED		50

struct guesser {
	int first;		/* below it are fds that stay */
	int last;
	bool done;
	int closed;
	pthread_t thread;
};

static void *guess(void *data)
{
	struct guesser *s = data;
	__u64 seed = 1;

	while (!__atomic_load_n(&s->done, __ATOMIC_ACQUIRE)) {
		int fd = s->first + random_next(&seed) % (s->last - s->first);
		struct wisp_create_vcpu vcpu = { .size = sizeof(vcpu) };

		switch (random_next(&seed) % 3) {
		case 0:
			raw(fd, WISP_CREATE_VCPU, &vcpu);
			break;
		case 1:
			pwrite(fd, &seed, sizeof(seed), 0);
			break;
		default:
			if (!close(fd))
				__atomic_add_fetch(&s->closed, 1, __ATOMIC_RELEASE);
		}
	}
	return NULL;
}

/* What can come of a call on an fd that is another's by then. */
static bool expected(int ret)
{
	return ret >= 0 || ret == -EBADF || ret == -EINVAL || ret == -ENOTTY ||
	       ret == -EEXIST;
}

TEST(numbers_are_guessed)
{
	int sys = raw_open(), refs = module_refs(), odd = 0;
	struct guesser s = { .first = sys + 1, .last = sys + 5 };

	ASSERT_LE(0, sys);
	ASSERT_EQ(0, pthread_create(&s.thread, NULL, guess, &s));
	for (int i = 0; i < OBJECTS || __atomic_load_n(&s.closed, __ATOMIC_ACQUIRE) <
					      CLOSED; i++) {
		int memory = raw_create_memory(sys, 16 * PAGE);
		int vm = raw_create_vm(sys);
		int ret = raw_set_slot(vm, 0, 0, 16 * PAGE, memory, 0, PROT_RWX);

		if (memory < 0 || vm < 0 || !expected(ret))
			odd = memory < 0 ? memory : vm < 0 ? vm : ret;
		close(vm);
		close(memory);
	}
	__atomic_store_n(&s.done, true, __ATOMIC_RELEASE);
	pthread_join(s.thread, NULL);
	EXPECT_EQ(0, odd);
	for (int fd = s.first; fd < s.last; fd++)
		close(fd);
	EXPECT_EQ(refs, wait_refs(refs));
	close(sys);
}

TEST_HARNESS_MAIN
