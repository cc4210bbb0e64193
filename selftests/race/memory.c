// SPDX-License-Identifier: GPL-2.0
/*
 * A memory object is mapped, touched, unmapped, read and written by some
 * threads while others take its pages back, and through a VM whose slots
 * change.
 */
#include <stdlib.h>

#include "../harness.h"
#include "../guest/guest.h"
#include "random.h"

#define NPAGES		1024
#define SIZE		(NPAGES * PAGE)
#define ROUNDS		100
#define MAGIC		0xabcd000000000000ULL
#define BASE		0x1000000

FIXTURE(memory) {
	int sys;
	int fd;
	int wrong;		/* reads of what nobody wrote, and failed calls */
	bool stop;
};

FIXTURE_VARIANT(memory) {
	__u32 flags;
};

FIXTURE_VARIANT_ADD(memory, small) { .flags = 0 };
FIXTURE_VARIANT_ADD(memory, huge) { .flags = WISP_MEMORY_HUGE };

FIXTURE_SETUP(memory)
{
	struct wisp_create_memory arg = {
		.size = sizeof(arg), .flags = variant->flags,
		.memory_size = SIZE,
	};

	self->sys = raw_open();
	self->fd = raw(self->sys, WISP_CREATE_MEMORY, &arg);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(memory)
{
	EXPECT_EQ(0, self->wrong);
	close(self->fd);
	close(self->sys);
}

static void wrong(struct _test_data_memory *self)
{
	__atomic_fetch_add(&self->wrong, 1, __ATOMIC_RELAXED);
}

/* A word holds the magic number and its own page, or nothing. */
static void look(struct _test_data_memory *self, __u64 word, __u64 index)
{
	if (word && word != (MAGIC | index))
		wrong(self);
}

static int discard(int fd, __u64 first, __u64 npages)
{
	struct wisp_discard arg = {
		.size = sizeof(arg), .offset = first * PAGE,
		.discard_size = npages * PAGE,
	};

	return raw(fd, WISP_DISCARD, &arg);
}

static void *map_and_touch(void *data)
{
	struct _test_data_memory *self = data;
	__u64 seed = 5;

	for (int i = 0; i < ROUNDS; i++) {
		__u64 first = random_below(&seed, NPAGES);
		__u64 npages = 1 + random_below(&seed, NPAGES - first);
		volatile __u64 *p = mmap(NULL, npages * PAGE,
					 PROT_READ | PROT_WRITE, MAP_SHARED,
					 self->fd, first * PAGE);

		if (p == MAP_FAILED) {
			wrong(self);
			break;
		}
		for (__u64 j = 0; j < npages; j += 1 + random_below(&seed, 8)) {
			look(self, p[j * PAGE / 8], first + j);
			p[j * PAGE / 8] = MAGIC | (first + j);
			look(self, p[j * PAGE / 8], first + j);
		}
		munmap((void *)p, npages * PAGE);
	}
	return NULL;
}

static void *read_and_write(void *data)
{
	struct _test_data_memory *self = data;
	__u64 seed = 6, word;

	for (int i = 0; i < 100 * ROUNDS; i++) {
		__u64 index = random_below(&seed, NPAGES);

		word = MAGIC | index;
		if (pwrite(self->fd, &word, 8, index * PAGE) != 8 ||
		    pread(self->fd, &word, 8, index * PAGE) != 8)
			wrong(self);
		else
			look(self, word, index);
	}
	return NULL;
}

static void *discard_all(void *data)
{
	struct _test_data_memory *self = data;
	__u64 seed = 7;

	while (!__atomic_load_n(&self->stop, __ATOMIC_ACQUIRE)) {
		__u64 first = random_below(&seed, NPAGES);

		if (discard(self->fd, first,
			    1 + random_below(&seed, NPAGES - first)))
			wrong(self);
		sched_yield();
	}
	return NULL;
}

TEST_F(memory, discarded_while_in_use)
{
	pthread_t users[2], discarder;
	__u64 word;

	ASSERT_EQ(0, pthread_create(&users[0], NULL, map_and_touch, self));
	ASSERT_EQ(0, pthread_create(&users[1], NULL, read_and_write, self));
	ASSERT_EQ(0, pthread_create(&discarder, NULL, discard_all, self));
	for (int i = 0; i < 2; i++)
		pthread_join(users[i], NULL);
	__atomic_store_n(&self->stop, true, __ATOMIC_RELEASE);
	pthread_join(discarder, NULL);

	ASSERT_EQ(0, discard(self->fd, 0, NPAGES));
	for (__u64 i = 0; i < NPAGES; i++) {
		ASSERT_EQ(8, pread(self->fd, &word, 8, i * PAGE));
		ASSERT_EQ(0UL, word);
	}
}

/* A mapping sees at once that its page was taken, and the next one. */
TEST_F(memory, a_mapping_is_emptied)
{
	volatile __u64 *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
				 self->fd, 0);
	pthread_t user;

	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(0, pthread_create(&user, NULL, map_and_touch, self));
	for (__u64 i = 0; i < 2000; i++) {
		/* Words of the page that the other thread does not use. */
		volatile __u64 *word = &p[i % NPAGES * PAGE / 8 + 9];

		*word = i + 1;
		ASSERT_EQ(i + 1, *word);
		ASSERT_EQ(0, discard(self->fd, i % NPAGES, 1));
		ASSERT_EQ(0UL, *word);
	}
	pthread_join(user, NULL);
	munmap((void *)p, SIZE);
}

struct through_vm {
	struct _test_data_memory *self;
	int vm;
	int done;
	int refused;
};

static void *use_vm(void *data)
{
	struct through_vm *t = data;
	__u64 seed = 8, word;
	ssize_t n;

	for (int i = 0; i < 100 * ROUNDS; i++) {
		__u64 index = random_below(&seed, NPAGES);

		word = MAGIC | index;
		if (i & 1)
			n = pwrite(t->vm, &word, 8, BASE + index * PAGE);
		else
			n = pread(t->vm, &word, 8, BASE + index * PAGE);
		if (n == 8) {
			look(t->self, word, index);
			t->done++;
		} else if (n < 0 && errno == EFAULT) {
			t->refused++;
		} else {
			wrong(t->self);
		}
	}
	__atomic_store_n(&t->self->stop, true, __ATOMIC_RELEASE);
	return NULL;
}

TEST_F(memory, read_and_written_under_changing_slots)
{
	struct through_vm t = { .self = self, .vm = raw_create_vm(self->sys) };
	pthread_t user;
	__u64 seed = 9;

	ASSERT_LE(0, t.vm);
	ASSERT_EQ(0, pthread_create(&user, NULL, use_vm, &t));
	while (!__atomic_load_n(&self->stop, __ATOMIC_ACQUIRE)) {
		/* Two halves, each in step with the object, or not there. */
		__u32 half = random_next(&seed) & 1;
		__u64 at = half * SIZE / 2;
		int ret;

		switch (random_below(&seed, 4)) {
		case 0:
			ret = raw_remove_slot(t.vm, half);
			ret = ret == -ENOENT ? 0 : ret;
			break;
		case 1:
			ret = raw_set_slot(t.vm, half, BASE + at, SIZE / 2,
					   self->fd, at, PROT_R);
			break;
		case 2:
			ret = discard(self->fd, at / PAGE, NPAGES / 2);
			break;
		default:
			ret = raw_set_slot(t.vm, half, BASE + at, SIZE / 2,
					   self->fd, at, PROT_RW);
			break;
		}
		ASSERT_EQ(0, ret);
	}
	pthread_join(user, NULL);
	EXPECT_LT(0, t.done);
	EXPECT_LT(0, t.refused);
	close(t.vm);
}

TEST_HARNESS_MAIN
