/* SPDX-License-Identifier: BSD-2-Clause */
/* The statistics of trials on numbers whose answer is known, and their error rates by seeded simulation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>

#include <cmocka.h>

#include "../../helper/cli/statistics.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const struct statistics_rule rule = { .confidence = 0.95, .margin = 0.02 };

static void assert_near(double value, double expected, double tolerance)
{
	if (!(fabs(value - expected) <= tolerance))
		fail_msg("%.6g is not within %.2g of %.6g", value, tolerance, expected);
}

static void test_statistics_order(void **state)
{
	double odd[] = { 3, 1, 2 }, even[] = { 4, 1, 3, 2 };

	(void)state;
	statistics_sort(odd, 3);
	statistics_sort(even, 4);
	assert_near(statistics_median(odd, 3), 2, 0);
	assert_near(statistics_median(even, 4), 2.5, 0);
	assert_near(statistics_quantile(even, 4, 0.99), 4, 0);
	assert_near(statistics_quantile(even, 4, 0.76), 4, 0);
	assert_near(statistics_quantile(even, 4, 0.75), 3, 0);
	assert_near(statistics_quantile(even, 4, 0.5), 2, 0);
	assert_near(statistics_quantile(even, 4, 0), 1, 0);
	assert_near(statistics_quantile(even, 4, 1), 4, 0);
	assert_true(isnan(statistics_median(odd, 0)) && isnan(statistics_quantile(odd, 0, 0.5)));
}

static void test_statistics_log_ratio_ignores_linear_drift(void **state)
{
	(void)state;
	/* A B B A with 1 more each run. */
	assert_near(statistics_log_ratio((double[]){ 10, 13 }, 2, (double[]){ 11, 12 }, 2), 0, 1e-12);
	assert_near(exp(statistics_log_ratio((double[]){ 10, 10 }, 2, (double[]){ 20, 20 }, 2)), 2, 1e-12);
	assert_true(isnan(statistics_log_ratio((double[]){ 0 }, 1, (double[]){ 1 }, 1)));
}

/* Tabled values: Abramowitz and Stegun, tables 26.1 and 26.10. */
static void test_statistics_distributions(void **state)
{
	(void)state;
	assert_near(statistics_normal_tail(1.959964), 0.025, 1e-6);
	assert_near(statistics_normal_quantile(0.975), 1.959964, 5e-4);
	assert_near(statistics_normal_quantile(0.2), -0.841621, 5e-4);
	assert_near(statistics_student_quantile(0.975, 3), 3.182, 0.03);
	assert_near(statistics_student_quantile(0.975, 9), 2.262, 0.002);
}

/* Exact: two of the 2^n signs are as extreme. Wilcoxon's table: n = 10, rank sum 8 has p = 0.0488 (two-sided). */
static void test_statistics_signed_rank(void **state)
{
	static const double all[] = { 1, 2, 3, 4, 5, 6 };
	static const double eight[] = { 1, 2, -3, 4, -5, 6, 7, 8, 9, 10 };
	double many[200];

	(void)state;
	assert_near(statistics_signed_rank(all, 6), 2.0 / 64, 1e-12);
	assert_near(statistics_signed_rank(all, 5), 2.0 / 32, 1e-12);
	assert_near(statistics_signed_rank(eight, 10), 0.0488, 0.0001);
	assert_near(statistics_signed_rank(all, 0), 1, 0);
	assert_near(statistics_signed_rank((double[]){ 0, 0 }, 2), 1, 0);
	/* Ties decide no more than other values: by the normal distribution these had 0.037 and 0.020. */
	assert_near(statistics_signed_rank((double[]){ 0, 5, 5, 5, 5, 5 }, 6), 2.0 / 32, 1e-12);
	assert_near(statistics_signed_rank((double[]){ 5, 5, 5, 5, 5, 5 }, 6), 2.0 / 64, 1e-12);
	/* Ranks 1, 2.5, 2.5: of the eight signs -1 and - alone have a sum of 1 or less. */
	assert_near(statistics_signed_rank((double[]){ -1, 2, 2 }, 3), 2 * 2.0 / 8, 1e-12);
	for (int i = 0; i < 200; i++)
		many[i] = (i % 2 ? 1 : -1) * (double)(i + 1);
	assert_true(statistics_signed_rank(many, 200) > 0.9);
	for (int i = 0; i < 200; i++)
		many[i] = i + 1;
	assert_true(statistics_signed_rank(many, 200) < 1e-30);
	for (int i = 0; i < 200; i++)
		many[i] = 1; /* ties only */
	assert_true(statistics_signed_rank(many, 200) < 1e-30);
}

static void test_statistics_mann_whitney(void **state)
{
	static const double low[] = { 1, 2, 3, 4, 5, 6, 7, 8 }, high[] = { 11, 12, 13, 14, 15, 16, 17, 18 };

	(void)state;
	assert_near(statistics_mann_whitney(low, 8, low, 8), 1, 1e-9);
	/* U = 0, mean 32, variance 8 * 8 * 17 / 12: z = 31.5 / 9.522. */
	assert_near(statistics_mann_whitney(low, 8, high, 8), 2 * statistics_normal_tail(31.5 / 9.5219), 1e-6);
	assert_near(statistics_mann_whitney(low, 8, high, 8), statistics_mann_whitney(high, 8, low, 8), 1e-12);
	assert_near(statistics_mann_whitney(low, 0, high, 8), 1, 0);
}

static void test_statistics_holm(void **state)
{
	double p[] = { 0.01, 0.04, 0.03, 0.5 };

	(void)state;
	statistics_holm(p, 4);
	assert_near(p[0], 0.04, 1e-12);
	assert_near(p[2], 0.09, 1e-12);
	assert_near(p[1], 0.09, 1e-12); /* never below a smaller one */
	assert_near(p[3], 0.5, 1e-12);
}

static void test_statistics_few_blocks_are_a_range(void **state)
{
	static const double five[] = { 0.1, 0.3, 0.2, 0.5, 0.4 };
	struct statistics_interval interval = statistics_interval(five, 5, 0.95, 100, 1);

	(void)state;
	assert_false(interval.is_interval);
	assert_near(interval.value, 0.3, 0);
	assert_near(interval.low, 0.1, 0);
	assert_near(interval.high, 0.5, 0);
	assert_int_equal(statistics_decide(&interval, 0.001, &rule), VERDICT_NOT_ENOUGH_DATA);
	assert_int_equal(statistics_blocks_missing(&interval, 5, 1, &rule), 1);
	assert_true(isnan(statistics_interval(five, 0, 0.95, 100, 1).value));
}

static void test_statistics_interval_is_seeded_and_robust(void **state)
{
	static const double calm[] = { 0.10, 0.11, 0.09, 0.10, 0.12, 0.08, 0.10, 0.11, 0.09, 0.10 };
	static const double wild[] = { 0.10, 0.11, 0.09, 0.10, 0.12, 5.00, 0.10, 0.11, -3.0, 0.10 };
	static const double equal[] = { 0.1, 0.1, 0.1, 0.1, 0.1, 0.1 };
	struct statistics_interval first = statistics_interval(calm, 10, 0.95, 2000, 7);
	struct statistics_interval second = statistics_interval(calm, 10, 0.95, 2000, 7);

	(void)state;
	assert_memory_equal(&first.low, &second.low, sizeof(first.low));
	assert_true(first.is_interval && first.low < 0.1 && first.high > 0.1 && first.high - first.low < 0.03);
	first = statistics_interval(wild, 10, 0.95, 2000, 7);
	assert_near(first.value, 0.103, 0.005);
	assert_true(first.low > 0.05 && first.high < 0.16);
	first = statistics_interval(equal, 6, 0.95, 2000, 7);
	assert_near(first.low, 0.1, 1e-9);
	assert_near(first.high, 0.1, 1e-9);
}

static void test_statistics_verdicts(void **state)
{
	static const struct {
		double low, high, p;
		bool higher_is_better;
		enum statistics_verdict verdict;
	} cases[] = {
		{ -0.30, -0.10, 0.01, false, VERDICT_FASTER },
		{ -0.30, -0.10, 0.01, true, VERDICT_SLOWER },
		{ 0.10, 0.30, 0.01, false, VERDICT_SLOWER },
		{ 0.10, 0.30, 0.01, true, VERDICT_FASTER },
		{ -0.01, 0.01, 0.9, false, VERDICT_NO_DIFFERENCE },
		{ 0.005, 0.01, 0.001, false, VERDICT_NO_DIFFERENCE },
		{ 0.01, 0.03, 0.01, false, VERDICT_SLOWER },
		{ -0.01, 0.03, 0.01, false, VERDICT_NOT_ENOUGH_DATA },
		{ 0.10, 0.30, 0.06, false, VERDICT_NOT_ENOUGH_DATA },
		{ -INFINITY, INFINITY, 0.01, false, VERDICT_NOT_ENOUGH_DATA },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct statistics_interval interval = { .value = (cases[i].low + cases[i].high) / 2,
							.low = cases[i].low,
							.high = cases[i].high,
							.is_interval = true };
		struct statistics_rule directed = rule;

		directed.higher_is_better = cases[i].higher_is_better;
		assert_int_equal(statistics_decide(&interval, cases[i].p, &directed), cases[i].verdict);
	}
}

/* ---- simulation ---- */
static double uniform(uint64_t *random)
{
	return ((double)(statistics_random(random) >> 11) + 0.5) * 0x1p-53;
}

static double normal(uint64_t *random)
{
	return sqrt(-2 * log(uniform(random))) * cos(2 * M_PI * uniform(random));
}

enum shape { NORMAL, HEAVY_TAILED, CONTAMINATED, SHAPES };

static double draw(enum shape shape, uint64_t *random)
{
	double value = normal(random), squares = 0;

	switch (shape) {
	case HEAVY_TAILED: /* Student, 3 degrees of freedom */
		for (int i = 0; i < 3; i++) {
			double other = normal(random);

			squares += other * other;
		}
		return value / sqrt(squares / 3);
	case CONTAMINATED: /* one block in ten is disturbed */
		return uniform(random) < 0.1 ? 10 * value : value;
	default:
		return value;
	}
}

/* The interval holds the truth: of 400 at 95 % at least 370 (the lower 3.3 sigma); for 6, 10 and 20 blocks of each shape. */
static void test_statistics_coverage(void **state)
{
	static const size_t counts[] = { 6, 10, 20 };
	uint64_t random = 11;

	(void)state;
	for (enum shape shape = NORMAL; shape < SHAPES; shape++) {
		for (size_t c = 0; c < COUNT_OF(counts); c++) {
			unsigned held = 0;

			for (uint64_t trial = 0; trial < 400; trial++) {
				double values[20];
				struct statistics_interval interval;

				for (size_t i = 0; i < counts[c]; i++)
					values[i] = 0.3 + 0.05 * draw(shape, &random);
				interval = statistics_interval(values, counts[c], 0.95, 400, trial);
				held += interval.low <= 0.3 && 0.3 <= interval.high;
			}
			if (held < 366)
				fail_msg("shape %d, %zu blocks: held %u of 400", (int)shape, counts[c], held);
		}
	}
}

/* 1,000 trials without a difference, blocks so noisy that the margin helps little: at most 5 % are called one. */
static void test_statistics_false_alarms(void **state)
{
	unsigned called = 0;
	uint64_t random = 5;

	(void)state;
	for (uint64_t trial = 0; trial < 1000; trial++) {
		struct statistics_interval interval;
		enum statistics_verdict verdict;
		double values[10];

		for (size_t i = 0; i < 10; i++)
			values[i] = 0.1 * draw((enum shape)(trial % SHAPES), &random);
		interval = statistics_interval(values, 10, 0.95, 400, trial);
		verdict = statistics_decide(&interval, statistics_signed_rank(values, 10), &rule);
		called += verdict == VERDICT_FASTER || verdict == VERDICT_SLOWER;
	}
	if (called > 50)
		fail_msg("%u of 1000", called);
}

/* The number of missing blocks is meant to decide 4 of 5 trials; 60 to 95 of 100 is what an estimate from 8 blocks can keep. */
static void test_statistics_blocks_missing_decide(void **state)
{
	unsigned decided = 0, asked = 0;
	uint64_t random = 3;

	(void)state;
	for (uint64_t trial = 0; asked < 100; trial++) {
		static double values[STATISTICS_BLOCKS_MAX];
		struct statistics_interval interval;
		unsigned missing;
		size_t count = 8;

		for (size_t i = 0; i < count; i++)
			values[i] = 0.03 + 0.05 * normal(&random);
		interval = statistics_interval(values, count, 0.95, 400, trial);
		missing = statistics_blocks_missing(&interval, count, statistics_signed_rank(values, count), &rule);
		if (missing == 0 || missing > 200)
			continue;
		asked++;
		for (unsigned i = 0; i < missing; i++)
			values[count++] = 0.03 + 0.05 * normal(&random);
		interval = statistics_interval(values, count, 0.95, 400, trial);
		decided += statistics_decide(&interval, statistics_signed_rank(values, count), &rule) !=
			   VERDICT_NOT_ENOUGH_DATA;
	}
	if (decided < 60)
		fail_msg("%u of 100", decided);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_statistics_order),
		cmocka_unit_test(test_statistics_log_ratio_ignores_linear_drift),
		cmocka_unit_test(test_statistics_distributions),
		cmocka_unit_test(test_statistics_signed_rank),
		cmocka_unit_test(test_statistics_mann_whitney),
		cmocka_unit_test(test_statistics_holm),
		cmocka_unit_test(test_statistics_few_blocks_are_a_range),
		cmocka_unit_test(test_statistics_interval_is_seeded_and_robust),
		cmocka_unit_test(test_statistics_verdicts),
		cmocka_unit_test(test_statistics_coverage),
		cmocka_unit_test(test_statistics_false_alarms),
		cmocka_unit_test(test_statistics_blocks_missing_decide),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
