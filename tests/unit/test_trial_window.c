/* SPDX-License-Identifier: BSD-2-Clause */
/* The window of a trial's guard: what begins late, what is over soon, and chance. Time is the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "trial_guard.h"
#include "trial_window.h"

#define SECOND_NS UINT64_C(1000000000)
#define WINDOW_S 60u
#define P99 0.99

enum { ROLE_CLIENT, ROLE_SERVER };

static uint64_t random_state;
static struct histogram of_parts[WINDOW_ARMS][LATENCY_PARTS];
static struct guard_arm arms[WINDOW_ARMS];
static struct trial_window window;

static double uniform(void)
{
	random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (double)(random_state >> 11) / (double)(UINT64_C(1) << 53);
}

/* One second of requests, with a tail; the accelerated arm's are `factor` times as long. */
static void second_of_requests(unsigned count, double factor)
{
	for (unsigned i = 0; i < count; i++) {
		histogram_add(&of_parts[WINDOW_PLAIN][i % LATENCY_PARTS], (uint64_t)(100000 / (1.05 - uniform())), 1);
		histogram_add(&of_parts[WINDOW_ACCELERATED][i % LATENCY_PARTS],
			      (uint64_t)(factor * 100000 / (1.05 - uniform())), 1);
	}
}

static void begin(uint64_t seed, unsigned window_s)
{
	random_state = seed;
	memset(of_parts, 0, sizeof(of_parts));
	for (unsigned arm = 0; arm < WINDOW_ARMS; arm++)
		for (unsigned i = 0; i < LATENCY_PARTS; i++)
			arms[arm].parts[i] = &of_parts[arm][i];
	assert_true(trial_window_open(&window, window_s * SECOND_NS));
}

/* As the helper does it. */
static bool look(unsigned second, double percent)
{
	uint64_t now_ns = (second + 1000) * SECOND_NS;

	trial_window_note(&window, now_ns, ROLE_CLIENT, arms);
	return trial_window_is_worse(&window, now_ns, arms, P99, percent);
}

static int teardown(void **state)
{
	(void)state;
	trial_window_close(&window);
	return 0;
}

static void test_what_begins_late_is_seen_within_the_window(void **state)
{
	const unsigned good_s = 1800;
	unsigned second = 0;

	(void)state;
	begin(1, WINDOW_S);
	for (; second < good_s; second++) {
		second_of_requests(100, 1);
		assert_false(look(second, 20));
	}
	do {
		second_of_requests(100, 1.6);
		assert_in_range(second, good_s, good_s + WINDOW_S * 4 / 3);
	} while (!look(second++, 20));
	assert_true(second > good_s + WINDOW_S * 2 / 3);
	assert_false(trial_guard_is_worse(&arms[WINDOW_ACCELERATED], &arms[WINDOW_PLAIN], P99,
					  20)); /* all requests do not show it yet */
}

/* Less than a third of a window of hard work does not end a trial, although the window as a whole would show it. */
static void test_what_is_over_soon_is_not(void **state)
{
	static struct histogram before[WINDOW_ARMS][LATENCY_PARTS], between[WINDOW_ARMS][LATENCY_PARTS];
	struct guard_arm of_window[WINDOW_ARMS];
	bool shows = false;

	(void)state;
	begin(2, WINDOW_S);
	for (unsigned second = 0; second < 200; second++) {
		if (second == 100)
			memcpy(before, of_parts, sizeof(before));
		second_of_requests(100, second >= 110 && second < 128 ? 20 : 1);
		assert_false(look(second, 20));
		if (second != 100 + WINDOW_S)
			continue;
		for (unsigned arm = 0; arm < WINDOW_ARMS; arm++)
			for (unsigned part = 0; part < LATENCY_PARTS; part++) {
				of_window[arm].parts[part] = &between[arm][part];
				for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
					histogram_add_bucket(&between[arm][part], i,
							     of_parts[arm][part].counts[i] -
								     before[arm][part].counts[i]);
			}
		shows = trial_guard_is_worse(&of_window[WINDOW_ACCELERATED], &of_window[WINDOW_PLAIN], P99, 20);
	}
	assert_true(shows);
}

/* Equal arms, looked at 3,000 times, with no allowance at all for how much worse it may be. */
static void test_chance_does_not_set_it_off(void **state)
{
	(void)state;
	begin(3, 30);
	for (unsigned second = 0; second < 3000; second++) {
		second_of_requests(150, 1);
		assert_false(look(second, 0));
	}
}

static void test_a_third_with_too_few_requests_says_nothing(void **state)
{
	(void)state;
	begin(4, WINDOW_S);
	for (unsigned second = 0; second < 200; second++) {
		second_of_requests(10, 10); /* 200 a third: too few for p99 */
		assert_false(look(second, 20));
	}
}

static void test_the_shortest_window_and_an_irregular_clock(void **state)
{
	uint64_t now_ns = SECOND_NS;
	unsigned looks = 0;

	(void)state;
	begin(5, 3);
	do {
		second_of_requests(2000, 3);
		now_ns += SECOND_NS + looks % 7 * 30000000;
		trial_window_note(&window, now_ns, ROLE_CLIENT, arms);
		assert_in_range(++looks, 1, 5);
	} while (!trial_window_is_worse(&window, now_ns, arms, P99, 20));
	assert_in_range(looks, 4, 5);
}

static void test_another_role_begins_anew(void **state)
{
	(void)state;
	begin(6, 4);
	for (unsigned second = 0; second < 20; second++) {
		uint64_t now_ns = (second + 1) * SECOND_NS;

		second_of_requests(2000, 3);
		trial_window_note(&window, now_ns, second % 4 < 2 ? ROLE_CLIENT : ROLE_SERVER, arms);
		assert_false(trial_window_is_worse(&window, now_ns, arms, P99, 20));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_what_begins_late_is_seen_within_the_window, teardown),
		cmocka_unit_test_teardown(test_what_is_over_soon_is_not, teardown),
		cmocka_unit_test_teardown(test_chance_does_not_set_it_off, teardown),
		cmocka_unit_test_teardown(test_a_third_with_too_few_requests_says_nothing, teardown),
		cmocka_unit_test_teardown(test_the_shortest_window_and_an_irregular_clock, teardown),
		cmocka_unit_test_teardown(test_another_role_begins_anew, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
