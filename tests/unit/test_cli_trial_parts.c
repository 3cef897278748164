/* SPDX-License-Identifier: BSD-2-Clause */
/* smaccel trial: the intervals of the figures of all requests hold the truth, although the requests of a connection are alike. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../helper/cli/trial.h"

#define TRIALS 300
#define CONNECTIONS 60
#define REQUESTS 1500 /* of a connection, at the most */

static uint64_t random_state;
static double requests_most = REQUESTS;
static struct trial_parts parts;
static struct statistics_interval intervals[TRIAL_METRICS];
static double sum_of_logs[TRIAL_ARMS], squares_of_logs[TRIAL_ARMS], requests[TRIAL_ARMS];

static double uniform(void)
{
	return ((double)(statistics_random(&random_state) >> 11) + 0.5) * 0x1p-53;
}

static double normal(void)
{
	return sqrt(-2 * log(uniform())) * cos(2 * M_PI * uniform());
}

/* Each connection is slow or fast as a whole, and has its own number of requests. */
static void connection(int arm, double factor)
{
	double level_ns = factor * 100000 * exp(0.2 * normal());
	unsigned count = 100 + (unsigned)(requests_most * uniform() * uniform());
	uint32_t part = latency_part(statistics_random(&random_state));

	for (unsigned i = 0; i < count; i++) {
		double ns = level_ns * (1 + 0.1 / (1.02 - uniform()));

		histogram_add(&parts.arms[arm][part], (uint64_t)ns, 1);
		requests[arm]++;
		sum_of_logs[arm] += log(ns);
		squares_of_logs[arm] += log(ns) * log(ns);
	}
}

static void make(uint64_t seed, unsigned connections, double ratio)
{
	random_state = seed * 7919;
	memset(&parts, 0, sizeof(parts));
	for (int arm = 0; arm < TRIAL_ARMS; arm++) {
		requests[arm] = sum_of_logs[arm] = squares_of_logs[arm] = 0;
		for (unsigned i = 0; i < connections; i++)
			connection(arm, arm == TRIAL_ACCELERATED ? ratio : 1);
	}
	trial_parts_intervals(&parts, intervals);
}

/* What an interval would be that takes each request for a sample. */
static bool naive_holds(double ratio)
{
	double variance = 0;

	for (int arm = 0; arm < TRIAL_ARMS; arm++) {
		double mean = sum_of_logs[arm] / requests[arm];

		variance += (squares_of_logs[arm] / requests[arm] - mean * mean) / requests[arm];
	}
	return fabs(sum_of_logs[TRIAL_ACCELERATED] / requests[TRIAL_ACCELERATED] -
		    sum_of_logs[TRIAL_PLAIN] / requests[TRIAL_PLAIN] - log(ratio)) < 1.96 * sqrt(variance);
}

static void test_the_truth_is_within(void **state)
{
	const double ratio = 0.8;
	int held[TRIAL_METRICS] = { 0 }, naive = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= TRIALS; seed++) {
		make(seed, CONNECTIONS, ratio);
		for (unsigned metric = 0; metric < TRIAL_METRICS; metric++)
			held[metric] += intervals[metric].is_interval && intervals[metric].low <= log(ratio) &&
					intervals[metric].high >= log(ratio);
		naive += naive_holds(ratio);
	}
	for (unsigned metric = 0; metric < TRIAL_METRICS; metric++)
		printf("# %s: %d of %d\n", trial_metric_name(metric), held[metric], TRIALS);
	printf("# as if requests were independent: %d of %d\n", naive, TRIALS);
	for (unsigned metric = 0; metric < TRIAL_METRIC_MAX; metric++)
		assert_in_range(held[metric], TRIALS * 92 / 100, TRIALS);
	assert_int_equal(held[TRIAL_METRIC_MAX], 0);
	assert_in_range(naive, 0, TRIALS * 30 / 100);
}

/* It is not too wide to be of use: 60 connections an arm tell 20 % from nothing. */
static void test_a_difference_shows(void **state)
{
	int shown = 0;

	(void)state;
	for (uint64_t seed = 1001; seed <= 1100; seed++) {
		make(seed, CONNECTIONS, 0.8);
		shown += intervals[1].high < 0;
	}
	assert_in_range(shown, 95, 100);
}

/* A percentile that a handful of requests decide would look sure. */
static void test_few_requests_have_no_interval(void **state)
{
	(void)state;
	requests_most = 20;
	make(1, CONNECTIONS, 1);
	requests_most = REQUESTS;
	assert_true(intervals[0].is_interval && intervals[3].is_interval);
	assert_false(intervals[4].is_interval); /* p99.9 of 6,000 */
}

static void test_few_connections_have_no_interval(void **state)
{
	(void)state;
	make(1, 5, 1); /* not six parts with requests */
	for (unsigned metric = 0; metric < TRIAL_METRICS; metric++)
		assert_false(intervals[metric].is_interval);
	make(1, 0, 1);
	assert_false(intervals[0].is_interval);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_truth_is_within),
		cmocka_unit_test(test_a_difference_shows),
		cmocka_unit_test(test_few_requests_have_no_interval),
		cmocka_unit_test(test_few_connections_have_no_interval),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
