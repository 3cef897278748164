/* SPDX-License-Identifier: BSD-2-Clause */
/* The latencies that the shim saw in a run: percentiles as metrics, and one distribution an arm for the plots. */
#ifndef SMACCEL_CLI_AB_LATENCY_H
#define SMACCEL_CLI_AB_LATENCY_H

#include "ab.h"

/* `rows`: "latency" of the helper's answer. Adds them to the run's values and, if it is in a round, to the trial's distributions. */
void ab_latency_take(struct ab_trial *trial, struct ab_run *run, const json_t *rows);

/* "response time", "service time": the family of a role's metrics. */
const char *ab_latency_name(enum ab_role role);

/* The part of all values in each of `count` bins of equal width on a logarithmic axis from low_ns to high_ns. */
void ab_latency_bins(const struct histogram *histogram, double low_ns, double high_ns, double *bins, size_t count);
/* The range that a plot of a role shows: both arms, the outermost thousandths cut off. False: nothing to show. */
bool ab_latency_range(const struct ab_trial *trial, enum ab_role role, double *low_ns, double *high_ns);

#endif
