/* SPDX-License-Identifier: BSD-2-Clause */
/* The numbers of a trial. */
#include "ab_metrics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void ab_values_clear(struct ab_values *values)
{
	for (size_t i = 0; i < AB_METRICS_MAX; i++)
		values->value[i] = NAN;
}

size_t ab_metrics_find(const struct ab_metrics *metrics, const char *name)
{
	for (size_t i = 0; i < metrics->count; i++)
		if (!strcmp(metrics->list[i].name, name))
			return i;
	return AB_METRICS_MAX;
}

size_t ab_metrics_index(struct ab_metrics *metrics, const struct ab_metric *wanted)
{
	size_t found = ab_metrics_find(metrics, wanted->name);

	if (found < AB_METRICS_MAX || metrics->count == AB_METRICS_MAX)
		return found;
	metrics->list[metrics->count] = *wanted;
	return metrics->count++;
}

void ab_metrics_set(struct ab_metrics *metrics, struct ab_values *values, const struct ab_metric *wanted, double value)
{
	size_t index = isfinite(value) ? ab_metrics_index(metrics, wanted) : AB_METRICS_MAX;

	if (index < AB_METRICS_MAX)
		values->value[index] = value;
}
