/* SPDX-License-Identifier: BSD-2-Clause */
/* The numbers of a trial: what is measured, and the values of each run. */
#ifndef SMACCEL_CLI_AB_METRICS_H
#define SMACCEL_CLI_AB_METRICS_H

#include <stdbool.h>
#include <stddef.h>

#define AB_METRICS_MAX 160u
#define AB_NAME_BYTES 64
#define AB_UNIT_BYTES 16

enum ab_origin {
	AB_FROM_USER = 0, /* --metric */
	AB_FROM_READER,   /* CMD's output */
	AB_FROM_SHIM,     /* the latency that the shim saw */
	AB_FROM_KERNEL    /* wall and CPU time */
};

struct ab_metric {
	char name[AB_NAME_BYTES];
	char unit[AB_UNIT_BYTES];
	char family[AB_NAME_BYTES]; /* what its quantiles have in common: one percentile curve; "" for none */
	double quantile;            /* 0..1 of the family; maximum: 1; negative: none */
	bool higher_is_better;
	bool is_headline; /* its reader's choice of the number that decides */
	enum ab_origin origin;
};

struct ab_metrics {
	struct ab_metric list[AB_METRICS_MAX];
	size_t count;
};

/* The values of one run; NAN: it has none. */
struct ab_values {
	double value[AB_METRICS_MAX];
};

void ab_values_clear(struct ab_values *values);

/* The index of the metric called like `wanted`, added if it is new; AB_METRICS_MAX when there is no room. */
size_t ab_metrics_index(struct ab_metrics *metrics, const struct ab_metric *wanted);
/* Puts a value in its place. What is not finite is left out. */
void ab_metrics_set(struct ab_metrics *metrics, struct ab_values *values, const struct ab_metric *wanted, double value);
/* AB_METRICS_MAX: there is none of that name. */
size_t ab_metrics_find(const struct ab_metrics *metrics, const char *name);

#endif
