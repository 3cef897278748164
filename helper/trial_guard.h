/* SPDX-License-Identifier: BSD-2-Clause */
/* The guard of a trial: is a quantile of the accelerated arm's latencies worse than the plain arm's by so much? Pure.
 *
 * Two things must hold. Among all requests, even the lower bound of the one is above the upper bound of the other by so much: the bounds are
 * those of independent samples, and say that there are enough requests. And because requests of one connection are alike, the parts into
 * which the connections of an arm are divided at random (wire/latency.h) must say it too, each with one voice: a few slow
 * connections, however many requests they have, are slow in few parts. If arms are equal, every order of their parts is equally likely;
 * the rank test takes what comes about in one of 900 at the most. With fewer than GUARD_PARTS_MIN in an arm there is no such order. */
#ifndef SMACCEL_HELPER_TRIAL_GUARD_H
#define SMACCEL_HELPER_TRIAL_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/latency.h"

#define GUARD_PARTS_MIN 6u
/* As the verdict of the report takes them (helper/cli/trial_statistics.c): fewer connections of an arm decide nothing. */
#define GUARD_CONNECTIONS_MIN 8u

/* What an arm has recorded, by part; NULL: nothing. */
struct guard_arm {
	const struct histogram *parts[LATENCY_PARTS];
};

/* The values between which the true quantile lies, if the samples are independent: order statistics, 3.29 standard deviations
 * of the binomial to either side (one in 2,000 a side). False: too few samples to say. */
bool trial_guard_bounds(const struct histogram *histogram, double part, uint64_t *lower_ns, uint64_t *upper_ns);

/* Whether the arms' parts say it: almost all of `accelerated` are worse by `percent` than almost all of `plain`. */
bool trial_guard_parts_are_worse(const struct guard_arm *accelerated, const struct guard_arm *plain, double part,
				 double percent);

/* Both together. */
bool trial_guard_is_worse(const struct guard_arm *accelerated, const struct guard_arm *plain, double part,
			  double percent);

#endif
