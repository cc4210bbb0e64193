/* SPDX-License-Identifier: GPL-2.0 */
/* Numbers that a seed determines, and those that find mistakes. */
#ifndef WISP_SELFTESTS_RANDOM_H
#define WISP_SELFTESTS_RANDOM_H

#include <linux/types.h>

/* splitmix64, by Sebastiano Vigna, public domain */
static inline __u64 random_next(__u64 *state)
{
	__u64 z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

/* From 0 to @limit - 1. */
static inline __u64 random_below(__u64 *state, __u64 limit)
{
	return random_next(state) % limit;
}

/* Near a limit of some field more often than not. */
static inline __u64 random_hostile(__u64 *state)
{
	__u64 r = random_next(state);

	switch (r & 7) {
	case 0:
		return 0;
	case 1:
		return r >> 60;
	case 2:
		return 1ULL << (r >> 58);
	case 3:
		return (1ULL << (r >> 58)) - 1;
	case 4:
		return -(r >> 60);
	case 5:
		return r >> 50 << 12;
	case 6:
		return 0xffff800000000000ULL + (r >> 20);
	default:
		return random_next(state);
	}
}

#endif
