/* SPDX-License-Identifier: BSD-2-Clause */
/* What the figures of a trial say.
 *
 * The arms ran at the same time, on connections assigned at random: the unit that was assigned is the connection, so that is the
 * unit of inference. Requests of one connection are not independent: trial_parts.c makes the intervals of their figures. By
 * connection, each counts with the mean of its latencies. The interval is a bootstrap of the ratio of the two
 * arms' medians over connections, the test is Mann and Whitney's.
 */
#include <math.h>
#include <string.h>

#include "buckets.h"
#include "fields.h"
#include "trial.h"

#define RESAMPLES 2000u
#define CONFIDENCE 0.95
#define CONNECTIONS_MIN 8u /* an arm; fewer decide nothing */
#define SEED 20261124u

int trial_row_arm(const json_t *row)
{
	const char *arm = fields_text(row, "arm");

	return !strcmp(arm, "accelerated") ? TRIAL_ACCELERATED : !strcmp(arm, "plain") ? TRIAL_PLAIN : -1;
}

bool trial_row_has_role(const json_t *row, bool is_client)
{
	return !strcmp(fields_text(row, "role"), "client") == is_client;
}

static void add_rows(struct histogram histograms[TRIAL_ARMS], const json_t *rows, bool is_client)
{
	const json_t *row;
	size_t i;

	json_array_foreach (rows, i, row) {
		int arm = trial_row_arm(row);

		if (arm >= 0 && trial_row_has_role(row, is_client))
			buckets_add(&histograms[arm], row);
	}
}

static bool has_client(const json_t *rows)
{
	const json_t *row;
	size_t i;

	json_array_foreach (rows, i, row) {
		if (trial_row_arm(row) >= 0 && trial_row_has_role(row, true))
			return true;
	}
	return false;
}

static void take_connections(struct trial_connections *out, const struct histogram *histogram)
{
	uint64_t all = histogram->count;

	out->count = all < TRIAL_CONNECTIONS_MAX ? (size_t)all : TRIAL_CONNECTIONS_MAX;
	for (size_t i = 0; i < out->count; i++) {
		uint64_t rank = (uint64_t)(((double)i + 0.5) * (double)all / (double)out->count) + 1;

		out->values[i] = (double)histogram_at_rank(histogram, rank < all ? rank : all);
	}
}

static double resampled_median(const struct trial_connections *from, uint64_t *random)
{
	double values[TRIAL_CONNECTIONS_MAX];

	for (size_t i = 0; i < from->count; i++)
		values[i] = from->values[statistics_random(random) % from->count];
	statistics_sort(values, from->count);
	return statistics_median(values, from->count);
}

static void compare(struct trial_statistics *out)
{
	const struct trial_connections *plain = &out->connections[TRIAL_PLAIN];
	const struct trial_connections *accelerated = &out->connections[TRIAL_ACCELERATED];
	const struct statistics_rule rule = { .confidence = CONFIDENCE, .margin = TRIAL_MARGIN };
	double ratios[RESAMPLES], sum = 0, squares = 0;
	uint64_t random = SEED;

	out->verdict = VERDICT_NOT_ENOUGH_DATA;
	out->p = 1;
	if (!plain->count || !accelerated->count)
		return;
	out->log_ratio.value = log(statistics_median(accelerated->values, accelerated->count) /
				   statistics_median(plain->values, plain->count));
	if (plain->count < CONNECTIONS_MIN || accelerated->count < CONNECTIONS_MIN)
		return;
	for (unsigned i = 0; i < RESAMPLES; i++) {
		ratios[i] = log(resampled_median(accelerated, &random) / resampled_median(plain, &random));
		sum += ratios[i];
		squares += ratios[i] * ratios[i];
	}
	statistics_sort(ratios, RESAMPLES);
	out->log_ratio.low = statistics_quantile(ratios, RESAMPLES, (1 - CONFIDENCE) / 2);
	out->log_ratio.high = statistics_quantile(ratios, RESAMPLES, (1 + CONFIDENCE) / 2);
	out->log_ratio.error = sqrt(fmax(0, squares / RESAMPLES - sum / RESAMPLES * (sum / RESAMPLES)));
	out->log_ratio.is_interval = true;
	out->p = statistics_mann_whitney(plain->values, plain->count, accelerated->values, accelerated->count);
	out->verdict = statistics_decide(&out->log_ratio, out->p, &rule);
}

bool trial_statistics_make(struct trial_statistics *out, const json_t *report)
{
	struct histogram *connections = calloc(TRIAL_ARMS, sizeof(*connections));

	memset(out, 0, sizeof(*out));
	if (!connections)
		return false;
	out->is_client = has_client(json_object_get(report, "requests"));
	add_rows(out->requests, json_object_get(report, "requests"), out->is_client);
	add_rows(connections, json_object_get(report, "connections"), out->is_client);
	trial_parts_read(out, report);
	for (int arm = 0; arm < TRIAL_ARMS; arm++) {
		out->connections_seen[arm] = connections[arm].count;
		take_connections(&out->connections[arm], &connections[arm]);
	}
	free(connections);
	compare(out);
	return true;
}

const char *trial_metric_name(unsigned metric)
{
	static const char *const names[TRIAL_METRICS] = { "mean", "p50", "p90", "p99", "p99.9", "max" };

	return names[metric];
}

double trial_metric_part(unsigned metric)
{
	static const double parts[TRIAL_METRICS] = { 0, 0.5, 0.9, 0.99, 0.999, 1 };

	return parts[metric];
}

double trial_metric(const struct histogram *requests, unsigned metric)
{
	if (!requests->count)
		return 0;
	if (metric == 0)
		return (double)requests->sum_ns / (double)requests->count;
	return (double)histogram_percentile(requests, trial_metric_part(metric));
}

const char *trial_invalid_why(const json_t *report)
{
	const json_t *arms = json_object_get(report, "arms");
	const json_t *plain = json_object_get(arms, "plain"), *accelerated = json_object_get(arms, "accelerated");

	if (!fields_number(plain, "pairs") || !fields_number(accelerated, "pairs"))
		return "one arm has no connection yet";
	if (fields_number(plain, "redirected_bytes") || fields_number(plain, "armed"))
		return "the plain arm was redirected";
	if (!fields_number(accelerated, "redirected_bytes"))
		return "nothing was redirected in the accelerated arm; `smaccel ss` shows the reasons";
	/* Of a port that found room for one arm only the other has nothing to be compared with: the arms would be of different ports. What the
	 * helper has left out is of both. */
	if (fields_number(report, "latencies_lost"))
		return "a process had more ports than it has room for, and some may count in one arm only; choose one "
		       "with --port";
	return NULL;
}
