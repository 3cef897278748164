/* SPDX-License-Identifier: BSD-2-Clause */
/* The guard of a trial: is a quantile of the accelerated arm's latencies worse than the plain arm's by so much? Pure. */
#ifndef SMACCEL_HELPER_TRIAL_GUARD_H
#define SMACCEL_HELPER_TRIAL_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/histogram.h"

/* The values between which the true quantile lies, if the samples are independent: order statistics, 3.29 standard deviations
 * of the binomial to either side (one in 2,000 a side). False: too few samples to say. */
bool trial_guard_bounds(const struct histogram *histogram, double part, uint64_t *lower_ns, uint64_t *upper_ns);

/* Whether even the lower bound of `accelerated` is above the upper bound of `plain` by `percent`. */
bool trial_guard_is_worse(const struct histogram *accelerated, const struct histogram *plain, double part,
			  double percent);

#endif
