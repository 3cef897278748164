/* SPDX-License-Identifier: BSD-2-Clause */
/* Histograms as the helper sends them (latency_set_write): {"sum_ns", "max_ns", "buckets": [[index, count], ...]}. */
#ifndef SMACCEL_CLI_BUCKETS_H
#define SMACCEL_CLI_BUCKETS_H

#include <jansson.h>

#include "../wire/histogram.h"

/* Adds a row to the histogram. What makes no sense is left out. */
void buckets_add(struct histogram *histogram, const json_t *row);

#endif
