/* SPDX-License-Identifier: BSD-2-Clause */
/* The latencies of two arms in bins, for plots. */
#ifndef SMACCEL_CLI_BINS_H
#define SMACCEL_CLI_BINS_H

#include <stdbool.h>
#include <stddef.h>

#include "../wire/histogram.h"

#define BINS_ARMS 2

/* The part of all values in each of `count` bins of equal width on a logarithmic axis from low_ns to high_ns. */
void bins_fill(const struct histogram *histogram, double low_ns, double high_ns, double *bins, size_t count);
/* The range that a plot shows: both arms (NULL: it has none), the outermost thousandths cut off. False: nothing to show. */
bool bins_range(const struct histogram *const arms[BINS_ARMS], double *low_ns, double *high_ns);

#endif
