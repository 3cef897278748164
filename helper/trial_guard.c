/* SPDX-License-Identifier: BSD-2-Clause */
/* The guard of a trial: see trial_guard.h. It is asked every second, so that an interval of the usual width would be
 * missed by chance sooner or later; and it need not fire for a difference that more data would show. */
#include "trial_guard.h"

#define DEVIATIONS 3.29

static double square_root(double value)
{
	double root = value > 1 ? value : 1;

	for (int i = 0; i < 64; i++) /* Newton; from above, so it falls until it is right */
		root = (root + value / root) / 2;
	return root;
}

bool trial_guard_bounds(const struct histogram *histogram, double part, uint64_t *lower_ns, uint64_t *upper_ns)
{
	double count = (double)histogram->count, middle = count * part;
	double width = DEVIATIONS * square_root(count * part * (1 - part));

	if (middle - width < 1 || middle + width + 1 > count)
		return false;
	*lower_ns = histogram_at_rank(histogram, (uint64_t)(middle - width));
	*upper_ns = histogram_at_rank(histogram, (uint64_t)(middle + width) + 1);
	return true;
}

bool trial_guard_is_worse(const struct histogram *accelerated, const struct histogram *plain, double part,
			  double percent)
{
	uint64_t lower_ns, upper_ns, ignored;

	return trial_guard_bounds(accelerated, part, &lower_ns, &ignored) &&
	       trial_guard_bounds(plain, part, &ignored, &upper_ns) &&
	       (double)lower_ns > (double)upper_ns * (1 + percent / 100);
}
