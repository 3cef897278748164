/* SPDX-License-Identifier: BSD-2-Clause */
/* The readers' table, and what they share. */
#include "ab_reader.h"

#include <stdio.h>
#include <string.h>

#include "values.h"

static const struct ab_reader readers[] = {
	{ "ab", ab_reader_lines },
	{ "fio", ab_reader_fio },
	{ "iperf3", ab_reader_iperf3 },
	{ "pgbench", ab_reader_lines },
	{ "redis-benchmark", ab_reader_redis },
	{ "sockperf", ab_reader_lines },
	{ "wrk", ab_reader_lines },
};

#define READER_COUNT (sizeof(readers) / sizeof(readers[0]))

const struct ab_reader *ab_reader_find(const char *name)
{
	for (size_t i = 0; i < READER_COUNT; i++)
		if (!strcmp(readers[i].name, name))
			return &readers[i];
	return NULL;
}

const struct ab_reader *ab_reader_for(const char *const *argv)
{
	for (; *argv; argv++) {
		const char *base = strrchr(*argv, '/');
		const struct ab_reader *found = ab_reader_find(base ? base + 1 : *argv);

		if (found)
			return found;
	}
	return NULL;
}

const char *ab_reader_names(void)
{
	return "ab, fio, iperf3, pgbench, redis-benchmark, sockperf, wrk";
}

void ab_sink_quantile(const struct ab_sink *sink, const char *family, double quantile, double value_us)
{
	struct ab_metric metric = { .unit = "us", .quantile = quantile, .origin = AB_FROM_READER };
	char name[QUANTILE_BYTES];

	value_quantile_name(name, quantile);
	snprintf(metric.family, sizeof(metric.family), "%.40s", family);
	snprintf(metric.name, sizeof(metric.name), "%.40s %s", metric.family, name);
	ab_metrics_set(sink->metrics, sink->values, &metric, value_us);
}

void ab_sink_value(const struct ab_sink *sink, const char *name, const char *unit, bool higher_is_better,
		   bool is_headline, double value)
{
	struct ab_metric metric = { .quantile = -1,
				    .higher_is_better = higher_is_better,
				    .is_headline = is_headline,
				    .origin = AB_FROM_READER };

	snprintf(metric.name, sizeof(metric.name), "%.60s", name);
	snprintf(metric.unit, sizeof(metric.unit), "%s", unit);
	ab_metrics_set(sink->metrics, sink->values, &metric, value);
}
