/* SPDX-License-Identifier: BSD-2-Clause */
/* throughput.c: what is measured, what is held against what, and when it is measured anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../preload/throughput.h"

#define WINDOW_BYTES 4000000u

struct stream {
	struct throughput throughput;
	uint64_t bytes[2]; /* sent so far, plain and joined */
	uint32_t now_us;
};

static enum throughput_says window(struct stream *stream, bool joined, uint32_t took_us)
{
	stream->bytes[joined] += WINDOW_BYTES;
	stream->now_us += took_us;
	return throughput_window(&stream->throughput, joined, stream->bytes[joined], stream->now_us);
}

/* So many windows; the last answer, and all before it must be that it measures. */
static enum throughput_says run(struct stream *stream, bool joined, uint32_t each_us, unsigned windows)
{
	for (unsigned i = 1; i < windows; i++)
		assert_int_equal(window(stream, joined, each_us), THROUGHPUT_MEASURING);
	return window(stream, joined, each_us);
}

static struct stream plain_measured(uint32_t each_us)
{
	struct stream stream = { .now_us = UINT32_MAX - 3 * each_us }; /* the clock wraps */

	assert_int_equal(run(&stream, false, each_us, 1 + THROUGHPUT_RUN_WINDOWS), THROUGHPUT_PLAIN);
	return stream;
}

static void test_throughput_wants_plain_tcp_measured_first(void **state)
{
	struct stream stream = { .now_us = 1 };

	(void)state;
	assert_int_equal(window(&stream, true, 1000), THROUGHPUT_ANEW);
	assert_int_equal(run(&stream, false, 1000, 1 + THROUGHPUT_RUN_WINDOWS), THROUGHPUT_PLAIN);
	assert_int_equal(run(&stream, true, 500, 1 + THROUGHPUT_RUN_WINDOWS), THROUGHPUT_JOINED);
}

static void test_throughput_needs_an_eighth(void **state)
{
	struct stream faster = plain_measured(1000), hardly = faster, slower = faster;

	(void)state;
	assert_int_equal(run(&faster, true, 870, 1 + THROUGHPUT_RUN_WINDOWS), THROUGHPUT_JOINED);
	assert_int_equal(run(&hardly, true, 910, 1 + THROUGHPUT_RUN_WINDOWS), THROUGHPUT_PLAIN);
	assert_int_equal(run(&slower, true, 1200, 1 + THROUGHPUT_RUN_WINDOWS), THROUGHPUT_PLAIN);
}

static void test_throughput_gives_up_early_what_is_hopeless(void **state)
{
	struct stream stream = plain_measured(1000);

	(void)state;
	assert_int_equal(run(&stream, true, 2500, 2), THROUGHPUT_PLAIN);
}

/* A pause of the application is not TCP's speed: else a stream with pauses would seem slow, and then stay joined whatever it lost. */
static void test_throughput_begins_anew_after_a_pause(void **state)
{
	struct stream stream = { .now_us = 1 };

	(void)state;
	for (int i = 0; i < 20; i++) {
		assert_int_equal(run(&stream, false, 1000, THROUGHPUT_RUN_WINDOWS - 1), THROUGHPUT_MEASURING);
		assert_int_equal(window(&stream, false, 50000), THROUGHPUT_MEASURING);
	}
	assert_int_equal(run(&stream, false, 1000, THROUGHPUT_RUN_WINDOWS), THROUGHPUT_PLAIN);
	assert_int_equal(run(&stream, true, 1000, 1 + THROUGHPUT_RUN_WINDOWS), THROUGHPUT_PLAIN);
}

static void test_throughput_mixes_no_states(void **state)
{
	struct stream stream = plain_measured(1000);

	(void)state;
	assert_int_equal(run(&stream, true, 500, THROUGHPUT_RUN_WINDOWS), THROUGHPUT_MEASURING);
	assert_int_equal(run(&stream, false, 1000, THROUGHPUT_RUN_WINDOWS), THROUGHPUT_MEASURING);
	assert_int_equal(run(&stream, true, 500, 1 + THROUGHPUT_RUN_WINDOWS), THROUGHPUT_JOINED);
}

static void test_throughput_does_not_believe_for_ever(void **state)
{
	struct stream stream = plain_measured(1000);
	unsigned windows = 0;

	(void)state;
	while (window(&stream, true, 500) != THROUGHPUT_ANEW)
		assert_true(++windows <= THROUGHPUT_STAY_WINDOWS);
	assert_int_equal(windows, THROUGHPUT_STAY_WINDOWS);
	assert_int_equal(stream.throughput.plain_rate, 0);
	assert_int_equal(window(&stream, true, 500), THROUGHPUT_ANEW);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_throughput_wants_plain_tcp_measured_first),
		cmocka_unit_test(test_throughput_needs_an_eighth),
		cmocka_unit_test(test_throughput_gives_up_early_what_is_hopeless),
		cmocka_unit_test(test_throughput_begins_anew_after_a_pause),
		cmocka_unit_test(test_throughput_mixes_no_states),
		cmocka_unit_test(test_throughput_does_not_believe_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
