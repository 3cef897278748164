/* SPDX-License-Identifier: BSD-2-Clause */
/* Repeatable random numbers for workloads: small, seeded, one state a user. */
#ifndef SMACCEL_TEST_RANDOM_H
#define SMACCEL_TEST_RANDOM_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "pattern.h"

struct rng {
	uint64_t state;
};

static inline struct rng rng_make(uint64_t seed, uint64_t stream)
{
	uint64_t state = pattern_mix(pattern_mix(seed + 77) ^ (stream + 1));

	return (struct rng){ .state = state ? state : 1 };
}

static inline uint64_t rng_next(struct rng *rng)
{
	rng->state ^= rng->state >> 12;
	rng->state ^= rng->state << 25;
	rng->state ^= rng->state >> 27;
	return rng->state * 0x2545f4914f6cdd1du >> 8;
}

static inline uint64_t rng_below(struct rng *rng, uint64_t limit)
{
	return limit ? rng_next(rng) % limit : 0;
}

/* 1 to max, every order of magnitude as likely as the others. */
static inline size_t rng_size(struct rng *rng, size_t max)
{
	unsigned bits = 0;
	size_t size;

	while (max >> (bits + 1))
		bits++;
	size = (size_t)1 << rng_below(rng, bits + 1);
	size += rng_below(rng, size);
	return size < max ? size : max;
}

static inline void pause_us(uint64_t us)
{
	struct timespec time = { .tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000 };

	if (us)
		nanosleep(&time, NULL);
}

static inline uint64_t now_us(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000u + (uint64_t)time.tv_nsec / 1000u;
}

#endif
