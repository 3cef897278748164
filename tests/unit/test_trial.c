/* SPDX-License-Identifier: BSD-2-Clause */
/* Trials' pure parts: the hash that assigns, and the guard. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "siphash.h"
#include "trial_guard.h"

/* The vectors of the reference implementation: key 00 01 .. 0f, input 00 01 .. of 0 to 15 bytes. */
static void test_siphash_vectors(void **state)
{
	static const uint64_t expected[] = {
		0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a, 0x85676696d7fb7e2d,
		0xcf2794e0277187b7, 0x18765564cd99a68d, 0xcbc9466e58fee3ce, 0xab0200f58b01d137,
		0x93f5f5799a932462, 0x9e0082df0ba9e4b0, 0x7a5dbbc594ddb9f3, 0xf4b32f46226bada7,
		0x751e8fbc860ee5fb, 0x14ea5627c0843d90, 0xf723ca908e7af2ee, 0xa129ca6149be45e5,
	};
	const uint64_t key[2] = { 0x0706050403020100, 0x0f0e0d0c0b0a0908 };
	unsigned char input[16];

	(void)state;
	for (size_t i = 0; i < sizeof(input); i++)
		input[i] = (unsigned char)i;
	for (size_t count = 0; count < sizeof(input); count++)
		assert_true(siphash(key, input, count) == expected[count]);
}

static uint64_t random_state;

static double uniform(void)
{
	random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (double)(random_state >> 11) / (double)(UINT64_C(1) << 53);
}

/* Durations with a long tail, around 100 us. */
static void fill(struct histogram *histogram, size_t count, double factor)
{
	memset(histogram, 0, sizeof(*histogram));
	for (size_t i = 0; i < count; i++) {
		double one = 1 / (1.0001 - uniform());

		histogram_add(histogram, (uint64_t)(factor * 50000 * (1 + one)), 1);
	}
}

static struct histogram accelerated, plain;

static void test_guard_sees_what_is_much_worse(void **state)
{
	(void)state;
	random_state = 1;
	fill(&plain, 20000, 1);
	fill(&accelerated, 20000, 2);
	assert_true(trial_guard_is_worse(&accelerated, &plain, 0.5, 20));
	assert_true(trial_guard_is_worse(&accelerated, &plain, 0.99, 20));
	assert_false(trial_guard_is_worse(&plain, &accelerated, 0.99, 20));
	assert_false(trial_guard_is_worse(&accelerated, &plain, 0.5, 100)); /* it is twice, not more */
}

static void test_guard_wants_enough_to_say(void **state)
{
	uint64_t lower_ns, upper_ns;

	(void)state;
	random_state = 2;
	fill(&plain, 100, 1);
	fill(&accelerated, 100, 10);
	assert_false(trial_guard_bounds(&plain, 0.999, &lower_ns, &upper_ns));
	assert_false(trial_guard_is_worse(&accelerated, &plain, 0.999, 0));
	memset(&plain, 0, sizeof(plain));
	assert_false(trial_guard_is_worse(&accelerated, &plain, 0.5, 0));
	assert_false(trial_guard_is_worse(&plain, &accelerated, 0.5, 0));
}

/* Asked again and again as data come in, 300 times a trial: of 200 trials of equal arms not one may be stopped. */
static void test_guard_is_not_set_off_by_chance(void **state)
{
	int fired = 0;

	(void)state;
	random_state = 3;
	for (int trial = 0; trial < 200; trial++) {
		bool stopped = false;

		memset(&plain, 0, sizeof(plain));
		memset(&accelerated, 0, sizeof(accelerated));
		for (int look = 0; look < 300 && !stopped; look++) {
			for (int i = 0; i < 20; i++) {
				histogram_add(&plain, (uint64_t)(100000 / (1.001 - uniform())), 1);
				histogram_add(&accelerated, (uint64_t)(100000 / (1.001 - uniform())), 1);
			}
			if (look % 10 == 9) /* each costs a walk over all buckets */
				stopped = trial_guard_is_worse(&accelerated, &plain, 0.99, 5);
		}
		fired += stopped;
	}
	assert_int_equal(fired, 0);
}

/* The bounds hold the true quantile: of 300 samples of 2,000, all but a few in a thousand. */
static void test_guard_bounds_hold_the_quantile(void **state)
{
	const double true_p99 = 50000 * (1 + 1 / (1.0001 - 0.99));
	int outside = 0;

	(void)state;
	random_state = 4;
	for (int i = 0; i < 300; i++) {
		uint64_t lower_ns = 0, upper_ns = 0;

		fill(&plain, 2000, 1);
		assert_true(trial_guard_bounds(&plain, 0.99, &lower_ns, &upper_ns));
		outside += (double)lower_ns > true_p99 * 1.001 || (double)upper_ns < true_p99 * 0.999;
	}
	assert_in_range(outside, 0, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_siphash_vectors),
		cmocka_unit_test(test_guard_sees_what_is_much_worse),
		cmocka_unit_test(test_guard_wants_enough_to_say),
		cmocka_unit_test(test_guard_is_not_set_off_by_chance),
		cmocka_unit_test(test_guard_bounds_hold_the_quantile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
