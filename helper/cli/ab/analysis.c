/* SPDX-License-Identifier: BSD-2-Clause */
/* From runs to results: rounds, ratios, intervals, verdicts. */
#include "analysis.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The runs of a round lie side by side: the first of them, or NULL if the round is not complete and good. */
static struct ab_run *const *round_runs(const struct ab_trial *trial, size_t at)
{
	struct ab_run *const *first = trial->runs + at;

	if (at + ROUND_RUNS > trial->run_count || first[0]->round < 0)
		return NULL;
	for (unsigned i = 0; i < ROUND_RUNS; i++)
		if (first[i]->round != first[0]->round || !first[i]->good)
			return NULL;
	return first;
}

/* The start of the next round (or the next warm-up run) after the one at `at`. */
static size_t next_round(const struct ab_trial *trial, size_t at)
{
	size_t next = at + 1;

	if (trial->runs[at]->round >= 0)
		while (next < trial->run_count && trial->runs[next]->round == trial->runs[at]->round)
			next++;
	return next;
}

bool ab_run_counts(const struct ab_trial *trial, const struct ab_run *run)
{
	for (size_t at = 0; at < trial->run_count; at = next_round(trial, at))
		if (trial->runs[at]->round == run->round)
			return round_runs(trial, at) != NULL;
	return false;
}

/* Every value of a metric, by arm, and the ratio of each round. */
struct series {
	double *values[ARMS], *log_ratios;
	size_t counts[ARMS], blocks;
};

static void collect(const struct ab_trial *trial, size_t metric, struct series *series)
{
	series->counts[ARM_A] = series->counts[ARM_B] = series->blocks = 0;
	for (size_t at = 0; at < trial->run_count; at = next_round(trial, at)) {
		struct ab_run *const *runs = round_runs(trial, at);
		double block[ARMS][ROUND_RUNS], log_ratio;
		size_t counts[ARMS] = { 0, 0 };

		for (unsigned i = 0; runs && i < ROUND_RUNS; i++) {
			double value = runs[i]->values.value[metric];
			enum ab_arm arm = runs[i]->arm;

			if (!isfinite(value))
				continue;
			block[arm][counts[arm]++] = value;
			series->values[arm][series->counts[arm]++] = value;
		}
		if (counts[ARM_A] != ROUND_RUNS / 2 || counts[ARM_B] != ROUND_RUNS / 2)
			continue;
		log_ratio = statistics_log_ratio(block[ARM_A], counts[ARM_A], block[ARM_B], counts[ARM_B]);
		if (isfinite(log_ratio) && series->blocks < STATISTICS_BLOCKS_MAX)
			series->log_ratios[series->blocks++] = log_ratio;
	}
}

/* Between any two of the sorted values, of either arm: two arms of one value each are apart by a step, too. 0: all are the same. */
static double smallest_step(const struct series *series, const double median[ARMS])
{
	size_t next[ARMS] = { 0, 0 };
	double step = 0, before = NAN;

	while (next[ARM_A] < series->counts[ARM_A] || next[ARM_B] < series->counts[ARM_B]) {
		bool none_of_a = next[ARM_A] == series->counts[ARM_A];
		bool none_of_b = next[ARM_B] == series->counts[ARM_B];
		enum ab_arm arm = none_of_a || (!none_of_b &&
						series->values[ARM_B][next[ARM_B]] < series->values[ARM_A][next[ARM_A]])
					  ? ARM_B
					  : ARM_A;
		double value = series->values[arm][next[arm]++];
		double gap = (value - before) / fabs(median[arm]);

		if (gap > 0 && isfinite(gap) && (step == 0 || gap < step))
			step = gap;
		before = value;
	}
	return step;
}

static void estimate(const struct ab_trial *trial, struct series *series, struct ab_result *result)
{
	const struct ab_options *options = trial->options;
	struct statistics_interval *ratio = &result->ratio;

	collect(trial, result->metric, series);
	for (int arm = 0; arm < ARMS; arm++) {
		statistics_sort(series->values[arm], series->counts[arm]);
		result->median[arm] = statistics_median(series->values[arm], series->counts[arm]);
	}
	result->resolution = smallest_step(series, result->median);
	result->blocks = (unsigned)series->blocks;
	result->log_ratio = statistics_interval(series->log_ratios, series->blocks, options->confidence,
						STATISTICS_RESAMPLES, options->seed + result->metric);
	result->p = statistics_signed_rank(series->log_ratios, series->blocks);
	*ratio = result->log_ratio;
	ratio->value = exp(ratio->value);
	ratio->low = exp(ratio->low);
	ratio->high = exp(ratio->high);
}

/* Percentiles of one family in their order, whatever the order in which a program printed them; all else stays where it was. */
static void sort_families(const struct ab_trial *trial, struct ab_analysis *analysis)
{
	for (size_t i = 1; i < analysis->count; i++) {
		struct ab_result moving = analysis->results[i];
		const struct ab_metric *metric = &trial->metrics.list[moving.metric];
		size_t place = i;

		for (; place > 0 && metric->quantile >= 0; place--) {
			const struct ab_metric *before = &trial->metrics.list[analysis->results[place - 1].metric];

			if (strcmp(before->family, metric->family) != 0 || before->quantile <= metric->quantile)
				break;
			analysis->results[place] = analysis->results[place - 1];
		}
		analysis->results[place] = moving;
	}
}

static void decide(const struct ab_trial *trial, struct ab_result *result)
{
	struct statistics_rule rule = { .confidence = trial->options->confidence,
					.margin = trial->options->margin,
					.higher_is_better = trial->metrics.list[result->metric].higher_is_better };

	result->verdict = statistics_decide(&result->log_ratio, result->p, &rule);
	result->missing = statistics_blocks_missing(&result->log_ratio, result->blocks, result->p, &rule);
	/* Equal values prove a difference within the margin only if such a difference would have shown. */
	if (result->verdict == VERDICT_NO_DIFFERENCE &&
	    (result->resolution == 0 || result->resolution > trial->options->margin)) {
		result->is_coarse = true;
		result->verdict = VERDICT_NOT_ENOUGH_DATA;
		result->missing = STATISTICS_BLOCKS_MAX;
	}
}

static int rank_of(const struct ab_metric *metric)
{
	static const char *const by_shim = "response time p50", *const last = "wall time";

	if (metric->origin == AB_FROM_USER)
		return 4;
	if (metric->is_headline)
		return 3;
	if (!strcmp(metric->name, by_shim))
		return 2;
	return !strcmp(metric->name, last);
}

/* The user's choice, else --metric, the reader's headline, the shim's median, the wall time. */
static size_t choose_primary(const struct ab_trial *trial, const struct ab_analysis *analysis)
{
	size_t best = AB_METRICS_MAX;
	int best_rank = 0;

	for (size_t i = 0; i < analysis->count; i++) {
		const struct ab_metric *metric = &trial->metrics.list[analysis->results[i].metric];
		const char *wanted = trial->options->primary;
		int rank = wanted ? !strcmp(metric->name, wanted) : rank_of(metric);

		if (rank > best_rank) {
			best = i;
			best_rank = rank;
		}
	}
	return best;
}

static void count_runs(const struct ab_trial *trial, struct ab_analysis *analysis)
{
	for (size_t at = 0; at < trial->run_count; at = next_round(trial, at)) {
		struct ab_run *const *runs = round_runs(trial, at);

		analysis->rounds_good += runs != NULL;
		for (unsigned i = 0; runs && i < ROUND_RUNS; i++) {
			const struct ab_proof *proof = &runs[i]->proof;
			enum ab_arm arm = runs[i]->arm;

			analysis->runs_good++;
			analysis->proof[arm].known |= proof->known;
			analysis->proof[arm].redirected_bytes += proof->redirected_bytes;
			analysis->proof[arm].redirected_msgs += proof->redirected_msgs;
			analysis->proof[arm].passed_bytes += proof->passed_bytes;
			analysis->proof[arm].passed_msgs += proof->passed_msgs;
			if (!analysis->proof[arm].runs++ || proof->redirected_bytes < analysis->proof[arm].least_bytes)
				analysis->proof[arm].least_bytes = proof->redirected_bytes;
		}
	}
}

/* One verdict decides; the others are looked at as well, and would err more often the more there are: Holm. */
static void correct(struct ab_analysis *analysis)
{
	double p[AB_METRICS_MAX];
	size_t count = 0;

	for (size_t i = 0; i < analysis->count; i++)
		if (i != analysis->primary)
			p[count++] = analysis->results[i].p;
	statistics_holm(p, count);
	count = 0;
	for (size_t i = 0; i < analysis->count; i++)
		if (i != analysis->primary)
			analysis->results[i].p = p[count++];
}

void ab_analyze(const struct ab_trial *trial, struct ab_analysis *analysis)
{
	size_t room = trial->run_count + 1;
	double *memory = calloc(room * 3, sizeof(double));
	struct series series = { .values = { memory, memory + room }, .log_ratios = memory + 2 * room };

	*analysis = (struct ab_analysis){ .primary = AB_METRICS_MAX };
	if (!memory)
		return;
	count_runs(trial, analysis);
	for (size_t i = 0; i < trial->metrics.count; i++) {
		struct ab_result *result = &analysis->results[analysis->count];

		result->metric = i;
		estimate(trial, &series, result);
		analysis->count += series.counts[ARM_A] || series.counts[ARM_B];
	}
	sort_families(trial, analysis);
	analysis->primary = choose_primary(trial, analysis);
	correct(analysis);
	for (size_t i = 0; i < analysis->count; i++)
		decide(trial, &analysis->results[i]);
	free(memory);
}

_Static_assert(STATISTICS_TESTS_MAX >= AB_METRICS_MAX, "Holm takes them all");
