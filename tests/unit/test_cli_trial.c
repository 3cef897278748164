/* SPDX-License-Identifier: BSD-2-Clause */
/* smaccel trial: words of the command line, and the statistics of a report. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../helper/cli/trial.h"

static void test_durations(void **state)
{
	static const char *const bad[] = { "", "x", "0", "-1", "1y", "1 s", "1e9d", "nan", "0x10", "400d", "5ss" };
	uint32_t seconds = 0;

	(void)state;
	assert_true(trial_parse_duration("90", &seconds) && seconds == 90);
	assert_true(trial_parse_duration("90s", &seconds) && seconds == 90);
	assert_true(trial_parse_duration("1.5m", &seconds) && seconds == 90);
	assert_true(trial_parse_duration("2h", &seconds) && seconds == 7200);
	assert_true(trial_parse_duration("1d", &seconds) && seconds == 86400);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(trial_parse_duration(bad[i], &seconds));
}

static void test_windows(void **state)
{
	uint16_t seconds = 0;

	(void)state;
	assert_true(trial_parse_window("3", &seconds) && seconds == 3);
	assert_true(trial_parse_window("5m", &seconds) && seconds == 300);
	assert_true(trial_parse_window("18h", &seconds) && seconds == 64800);
	assert_false(trial_parse_window("2", &seconds) || trial_parse_window("1d", &seconds) ||
		     trial_parse_window("x", &seconds));
}

static void test_guards(void **state)
{
	static const char *const bad[] = { "",
					   "p99",
					   "p99 better by 1%",
					   "p0 worse by 1%",
					   "p100 worse by 1%",
					   "p99 worse by 20",
					   "p99 worse by -1%",
					   "p worse by 1%",
					   "p99worse by 1%%",
					   "mean worse by 1%",
					   "p99 worse by 1% " };
	struct wire_trial trial = { 0 };

	(void)state;
	assert_true(trial_parse_guard("p99 worse by 20%", &trial));
	assert_int_equal(trial.guard_ppm, 990000);
	assert_int_equal(trial.guard_permille, 200);
	assert_true(trial_parse_guard("median worse by 2.5 %", &trial));
	assert_int_equal(trial.guard_ppm, 500000);
	assert_int_equal(trial.guard_permille, 25);
	assert_true(trial_parse_guard("p99.9 worse by 0%", &trial));
	assert_int_equal(trial.guard_ppm, 999000);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(trial_parse_guard(bad[i], &trial));
}

static void test_other_words(void **state)
{
	uint32_t number = 0;
	uint16_t port_h = 0;

	(void)state;
	assert_true(trial_parse_percent("50", &number) && number == 5000);
	assert_true(trial_parse_percent("0.5%", &number) && number == 50);
	assert_false(trial_parse_percent("0", &number));
	assert_false(trial_parse_percent("100", &number));
	assert_false(trial_parse_percent("5x", &number));
	assert_true(trial_parse_port("65535", &port_h) && port_h == 65535);
	assert_false(trial_parse_port("0", &port_h));
	assert_false(trial_parse_port("65536", &port_h));
	assert_false(trial_parse_port("1.5", &port_h));
	assert_true(trial_parse_uid("0", &number) && number == 0);
	assert_true(trial_parse_uid("root", &number) && number == 0);
	assert_false(trial_parse_uid("4294967295", &number));
	assert_false(trial_parse_uid("no-such-user-here", &number));
}

/* ---- reports as the helper would make them ---- */

static uint64_t random_state;

static double noise(void)
{
	random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (double)(random_state >> 11) / (double)(UINT64_C(1) << 53);
}

/* A row of `count` connections whose means lie within 20 % around `centre_ns`. */
static json_t *row_of(const char *arm, unsigned count, double centre_ns)
{
	struct histogram *histogram = calloc(1, sizeof(*histogram));
	json_t *buckets = json_array(), *row;

	for (unsigned i = 0; i < count; i++)
		histogram_add(histogram, (uint64_t)(centre_ns * (0.9 + 0.2 * noise())), 1);
	for (uint32_t index = 0; index < HISTOGRAM_BUCKETS; index++)
		if (histogram->counts[index])
			json_array_append_new(buckets,
					      json_pack("[iI]", (int)index, (json_int_t)histogram->counts[index]));
	row = json_pack("{ss si ss sI sI sI so}", "role", "client", "port", 7, "arm", arm, "count",
			(json_int_t)histogram->count, "sum_ns", (json_int_t)histogram->sum_ns, "max_ns",
			(json_int_t)histogram->max_ns, "buckets", buckets);
	free(histogram);
	return row;
}

static struct trial_statistics statistics;

static void make(unsigned count, double ratio)
{
	json_t *report = json_object();

	for (int i = 0; i < 2; i++)
		json_object_set_new(report, i ? "connections" : "requests",
				    json_pack("[oo]", row_of("plain", count, 100000),
					      row_of("accelerated", count, 100000 * ratio)));
	assert_true(trial_statistics_make(&statistics, report));
	json_decref(report);
}

static void test_statistics_of_a_clear_case(void **state)
{
	(void)state;
	random_state = 1;
	make(100, 0.8);
	assert_true(statistics.is_client);
	assert_int_equal(statistics.verdict, VERDICT_FASTER);
	assert_true(exp(statistics.log_ratio.low) < 0.8 && exp(statistics.log_ratio.high) > 0.8);
	assert_int_equal(statistics.connections_seen[TRIAL_PLAIN], 100);
	assert_true(fabs(trial_metric(&statistics.requests[TRIAL_PLAIN], 1) - 100000) < 5000);
	make(100, 1.2);
	assert_int_equal(statistics.verdict, VERDICT_SLOWER);
	make(5, 0.8); /* too few to say anything */
	assert_int_equal(statistics.verdict, VERDICT_NOT_ENOUGH_DATA);
	assert_false(statistics.log_ratio.is_interval);
	make(0, 1);
	assert_int_equal(statistics.verdict, VERDICT_NOT_ENOUGH_DATA);
}

/* Of 100 seeded trials with a planted difference at least 95 find it with the right sign, and with none at most 5 find one;
 * the interval holds the truth in about 95. */
static void test_statistics_keep_their_error_rate(void **state)
{
	int found = 0, wrong = 0, covered = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 100; seed++) {
		random_state = seed * 7919;
		make(100, 0.93);
		found += statistics.verdict == VERDICT_FASTER;
		covered += exp(statistics.log_ratio.low) <= 0.93 && exp(statistics.log_ratio.high) >= 0.93;
		make(100, 1);
		wrong += statistics.verdict == VERDICT_FASTER || statistics.verdict == VERDICT_SLOWER;
	}
	assert_in_range(found, 95, 100);
	assert_in_range(wrong, 0, 5);
	assert_in_range(covered, 90, 100);
}

static void test_validity(void **state)
{
	static const char *const reports[] = {
		"{}",
		"{\"arms\":{\"plain\":{\"pairs\":0},\"accelerated\":{\"pairs\":9,\"redirected_bytes\":9}}}",
		"{\"arms\":{\"plain\":{\"pairs\":9,\"redirected_bytes\":1},\"accelerated\":{\"pairs\":9,\"redirected_"
		"bytes\":9}}}",
		"{\"arms\":{\"plain\":{\"pairs\":9},\"accelerated\":{\"pairs\":9,\"redirected_bytes\":0}}}",
		"{\"arms\":{\"plain\":{\"pairs\":9},\"accelerated\":{\"pairs\":9,\"redirected_bytes\":9}},"
		"\"latencies_lost\":1}",
	};
	static const char *const good[] = {
		"{\"arms\":{\"plain\":{\"pairs\":9},\"accelerated\":{\"pairs\":9,\"redirected_bytes\":9}}}",
		"{\"arms\":{\"plain\":{\"pairs\":9},\"accelerated\":{\"pairs\":9,\"redirected_bytes\":9}},"
		"\"latencies_left_out\":9}", /* of whole ports */
	};
	json_t *report;

	(void)state;
	for (size_t i = 0; i < sizeof(reports) / sizeof(reports[0]); i++) {
		report = json_loads(reports[i], 0, NULL);
		assert_non_null(trial_invalid_why(report));
		json_decref(report);
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		report = json_loads(good[i], 0, NULL);
		assert_null(trial_invalid_why(report));
		json_decref(report);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_windows),
		cmocka_unit_test(test_guards),
		cmocka_unit_test(test_other_words),
		cmocka_unit_test(test_statistics_of_a_clear_case),
		cmocka_unit_test(test_statistics_keep_their_error_rate),
		cmocka_unit_test(test_validity),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
