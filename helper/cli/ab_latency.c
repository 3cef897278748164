/* SPDX-License-Identifier: BSD-2-Clause */
/* The latencies that the shim saw. */
#include "ab_latency.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../wire/histogram.h"
#include "buckets.h"
#include "fields.h"
#include "values.h"

static const char *const role_names[AB_ROLES] = { "client", "server" }; /* as the helper calls them */
static const char *const families[AB_ROLES] = { "response time", "service time" };

const char *ab_latency_name(enum ab_role role)
{
	return families[role];
}

/* Percentiles that the run has enough values for: beyond them there is only the maximum. */
static void put_metrics(struct ab_trial *trial, struct ab_run *run, const char *family,
			const struct histogram *histogram)
{
	static const double quantiles[] = { 0.5, 0.9, 0.99, 0.999, 1 };
	struct ab_metric metric = { .unit = "us", .origin = AB_FROM_SHIM };
	char name[QUANTILE_BYTES];

	snprintf(metric.family, sizeof(metric.family), "%s", family);
	for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
		metric.quantile = quantiles[i];
		if (metric.quantile < 1 && (double)histogram->count * (1 - metric.quantile) < 1)
			continue;
		snprintf(metric.name, sizeof(metric.name), "%.40s %s", family, value_quantile_name(name, quantiles[i]));
		ab_metrics_set(&trial->metrics, &run->values, &metric,
			       (double)histogram_percentile(histogram, quantiles[i]) / 1000);
	}
}

void ab_latency_take(struct ab_trial *trial, struct ab_run *run, const json_t *rows)
{
	static struct histogram histogram;
	const json_t *row;
	size_t i;

	for (int role = 0; role < AB_ROLES; role++) {
		struct histogram **whole = &trial->latency[run->arm][role];

		memset(&histogram, 0, sizeof(histogram));
		json_array_foreach (rows, i, row) {
			if (!strcmp(fields_text(row, "role"), role_names[role]))
				buckets_add(&histogram, row);
		}
		if (!histogram.count)
			continue;
		put_metrics(trial, run, families[role], &histogram);
		if (run->round < 0 || !run->good)
			continue;
		if (!*whole)
			*whole = calloc(1, sizeof(**whole));
		if (*whole)
			histogram_merge(*whole, &histogram);
	}
}

void ab_latency_of_role(const struct ab_trial *trial, enum ab_role role, const struct histogram *arms[ARMS])
{
	for (int arm = 0; arm < ARMS; arm++)
		arms[arm] = trial->latency[arm][role];
}
