/* SPDX-License-Identifier: BSD-2-Clause */
/* The latencies that the shim saw in a run: percentiles as metrics, and one distribution an arm for the plots. */
#ifndef SMACCEL_CLI_AB_LATENCY_H
#define SMACCEL_CLI_AB_LATENCY_H

#include "ab.h"

/* `rows`: "latency" of the helper's answer. Adds them to the run's values and, if it is in a round, to the trial's distributions. */
void ab_latency_take(struct ab_trial *trial, struct ab_run *run, const json_t *rows);

/* "response time", "service time": the family of a role's metrics. */
const char *ab_latency_name(enum ab_role role);

/* Of all good runs in rounds; NULL: none. */
void ab_latency_of_role(const struct ab_trial *trial, enum ab_role role, const struct histogram *arms[ARMS]);

#endif
