/* SPDX-License-Identifier: BSD-2-Clause */
/* `smaccel ab`: the order of runs, and from runs to results. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../helper/cli/ab/report.h"

static void test_order_is_balanced(void **state)
{
	char order[3 * ROUND_RUNS + 1] = "";

	(void)state;
	for (unsigned i = 0; i < 3 * ROUND_RUNS; i++)
		order[i] = ARM_LETTER(ab_trial_arm(i / ROUND_RUNS, i % ROUND_RUNS));
	assert_string_equal(order, "ABBABAABABBA");
}

#define ROUNDS 8u

/* A trial of ROUNDS rounds; arm B's value of the metric is `factor` times A's, with a wobble. */
static void fill(struct ab_trial *trial, struct ab_run runs[ROUNDS * ROUND_RUNS],
		 struct ab_run *list[ROUNDS * ROUND_RUNS], double factor, double wobble)
{
	struct ab_metric metric = { .name = "latency", .unit = "us", .quantile = -1, .origin = AB_FROM_USER };

	trial->runs = list;
	trial->run_count = ROUNDS * ROUND_RUNS;
	for (unsigned i = 0; i < ROUNDS * ROUND_RUNS; i++) {
		struct ab_run *run = &runs[i];

		*run = (struct ab_run){ .round = (int)(i / ROUND_RUNS), .good = true };
		run->arm = ab_trial_arm(i / ROUND_RUNS, i % ROUND_RUNS);
		ab_values_clear(&run->values);
		ab_metrics_set(&trial->metrics, &run->values, &metric,
			       (100 + wobble * (double)(i * 7 % 5)) * (run->arm == ARM_B ? factor : 1));
		list[i] = run;
	}
}

static void test_analysis(void **state)
{
	static struct ab_run runs[ROUNDS * ROUND_RUNS];
	static struct ab_run *list[ROUNDS * ROUND_RUNS];
	static struct ab_analysis analysis;
	static struct ab_options options = { .margin = 0.02, .confidence = 0.95, .seed = 1 };
	struct ab_trial trial = { .options = &options };

	(void)state;
	fill(&trial, runs, list, 0.8, 0.1);
	runs[5].good = false; /* its whole round goes */
	ab_analyze(&trial, &analysis);
	assert_int_equal(analysis.rounds_good, ROUNDS - 1);
	assert_int_equal(analysis.primary, 0);
	assert_int_equal(analysis.results[0].blocks, ROUNDS - 1);
	assert_int_equal(analysis.results[0].verdict, VERDICT_FASTER);
	assert_true(fabs(analysis.results[0].ratio.value - 0.8) < 0.005);
	assert_false(ab_run_counts(&trial, &runs[4]));
	assert_true(ab_run_counts(&trial, &runs[8]));

	trial.metrics.count = 0;
	fill(&trial, runs, list, 1, 0.1);
	ab_analyze(&trial, &analysis);
	assert_int_equal(analysis.results[0].verdict, VERDICT_NO_DIFFERENCE);

	/* Equal to the digit, but in steps of 5 %: that is no proof of being equal within 2 %. */
	trial.metrics.count = 0;
	fill(&trial, runs, list, 1, 0);
	for (unsigned i = 0; i < 2; i++)
		runs[i].values.value[0] = 105;
	ab_analyze(&trial, &analysis);
	assert_true(analysis.results[0].is_coarse);
	assert_int_equal(analysis.results[0].verdict, VERDICT_NOT_ENOUGH_DATA);

	trial.run_count = 3; /* ended in the first round */
	ab_analyze(&trial, &analysis);
	assert_int_equal(analysis.primary, AB_METRICS_MAX);
	trial.run_count = 0;
	ab_analyze(&trial, &analysis);
	assert_int_equal(analysis.count, 0);
}

/* One value an arm: B's is `factor` times A's. */
static const struct ab_result *analyze_constants(double factor)
{
	static struct ab_run runs[ROUNDS * ROUND_RUNS];
	static struct ab_run *list[ROUNDS * ROUND_RUNS];
	static struct ab_analysis analysis;
	static struct ab_options options = { .margin = 0.02, .confidence = 0.95, .seed = 1 };
	struct ab_trial trial = { .options = &options };

	fill(&trial, runs, list, factor, 0);
	ab_analyze(&trial, &analysis);
	return &analysis.results[0];
}

static void test_constants_are_no_proof_of_being_equal(void **state)
{
	const struct ab_result *result = analyze_constants(1); /* "1 ms" each time: it may have been 0.6 and 1.4 */
	char words[AB_WORDS_BYTES];

	(void)state;
	assert_true(result->is_coarse && result->resolution == 0);
	assert_int_equal(result->verdict, VERDICT_NOT_ENOUGH_DATA);
	assert_int_equal(result->missing, STATISTICS_BLOCKS_MAX);
	assert_non_null(strstr(ab_words_missing(words, result), "all its values are the same"));
	assert_null(strchr(words, '%'));

	result = analyze_constants(1.001); /* the arms differ by a step, which is fine enough */
	assert_false(result->is_coarse);
	assert_true(fabs(result->resolution - 0.001) < 1e-5);
	assert_int_equal(result->verdict, VERDICT_NO_DIFFERENCE);
}

#define REDIS_METRICS 28u /* what `redis-benchmark -t set,get` and the shim say of a run */
#define SECONDARY 9u

/* A trial of so many rounds and REDIS_METRICS metrics, all alike in both arms but for one that does not decide. */
static void fill_like_redis(struct ab_trial *trial, struct ab_run *runs, struct ab_run **list, unsigned rounds)
{
	uint64_t random = 7;

	memset(&trial->metrics, 0, sizeof(trial->metrics));
	trial->runs = list;
	trial->run_count = (size_t)rounds * ROUND_RUNS;
	for (unsigned i = 0; i < rounds * ROUND_RUNS; i++) {
		runs[i] = (struct ab_run){ .arm = ab_trial_arm(i / ROUND_RUNS, i % ROUND_RUNS),
					   .round = (int)(i / ROUND_RUNS),
					   .good = true };
		ab_values_clear(&runs[i].values);
		list[i] = &runs[i];
		for (unsigned m = 0; m < REDIS_METRICS; m++) {
			struct ab_metric metric = { .unit = "us", .quantile = -1, .origin = AB_FROM_USER };
			double factor = m == SECONDARY && runs[i].arm == ARM_B ? 0.8 : 1;

			snprintf(metric.name, sizeof(metric.name), "metric %u", m);
			ab_metrics_set(&trial->metrics, &runs[i].values, &metric,
				       factor * (100 + (double)(statistics_random(&random) % 13)));
		}
	}
}

static void test_default_rounds_let_a_secondary_metric_differ(void **state)
{
	static struct ab_run runs[ROUNDS_DEFAULT * ROUND_RUNS];
	static struct ab_run *list[ROUNDS_DEFAULT * ROUND_RUNS];
	static struct ab_analysis analysis;
	static struct ab_options options = { .margin = 0.02, .confidence = 0.95, .seed = 1 };
	struct ab_trial trial = { .options = &options };

	(void)state;
	fill_like_redis(&trial, runs, list, 10);
	ab_analyze(&trial, &analysis);
	assert_int_equal(analysis.count, REDIS_METRICS);
	assert_int_not_equal(analysis.primary, SECONDARY);
	assert_true(analysis.results[SECONDARY].ratio.high < 0.9); /* 20 %, in each of ten rounds */
	assert_int_equal(analysis.results[SECONDARY].verdict, VERDICT_NOT_ENOUGH_DATA);

	fill_like_redis(&trial, runs, list, ROUNDS_DEFAULT);
	ab_analyze(&trial, &analysis);
	for (unsigned m = 0; m < REDIS_METRICS; m++) {
		enum statistics_verdict verdict = analysis.results[m].verdict;

		assert_true((verdict == VERDICT_FASTER) == (m == SECONDARY) && verdict != VERDICT_SLOWER);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_is_balanced),
		cmocka_unit_test(test_analysis),
		cmocka_unit_test(test_constants_are_no_proof_of_being_equal),
		cmocka_unit_test(test_default_rounds_let_a_secondary_metric_differ),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
