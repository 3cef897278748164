/* SPDX-License-Identifier: BSD-2-Clause */
/* The guard of a trial: see trial_guard.h. It is asked every second, so that an interval of the usual width would be
 * missed by chance sooner or later; and it need not fire for a difference that more data would show. */
#include "trial_guard.h"

#include <string.h>

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

/* Mann and Whitney's U: how many pairs of parts may be the other way round, by the numbers of parts. Exact: 12 of the 12,870 orders of 8 and 8
 * have at most 4, 7 of the 6,435 of 7 and 8 at most 3, and so on. */
static const unsigned char pairs_allowed[LATENCY_PARTS - GUARD_PARTS_MIN + 1][LATENCY_PARTS - GUARD_PARTS_MIN + 1] = {
	{ 0, 0, 1 },
	{ 0, 1, 3 },
	{ 1, 3, 4 },
};

static unsigned quantiles(const struct guard_arm *arm, double part, uint64_t values_ns[LATENCY_PARTS])
{
	unsigned count = 0;

	for (unsigned i = 0; i < LATENCY_PARTS; i++)
		if (arm->parts[i] && arm->parts[i]->count)
			values_ns[count++] = histogram_percentile(arm->parts[i], part);
	return count;
}

bool trial_guard_parts_are_worse(const struct guard_arm *accelerated, const struct guard_arm *plain, double part,
				 double percent)
{
	uint64_t worse_ns[LATENCY_PARTS], better_ns[LATENCY_PARTS];
	unsigned worse = quantiles(accelerated, part, worse_ns), better = quantiles(plain, part, better_ns);
	unsigned others = 0;

	if (worse < GUARD_PARTS_MIN || better < GUARD_PARTS_MIN)
		return false;
	for (unsigned i = 0; i < worse; i++)
		for (unsigned j = 0; j < better; j++)
			others += (double)worse_ns[i] <= (double)better_ns[j] * (1 + percent / 100);
	return others <= pairs_allowed[worse - GUARD_PARTS_MIN][better - GUARD_PARTS_MIN];
}

static void sum(const struct guard_arm *arm, struct histogram *out)
{
	memset(out, 0, sizeof(*out));
	for (unsigned i = 0; i < LATENCY_PARTS; i++)
		if (arm->parts[i])
			histogram_merge(out, arm->parts[i]);
}

bool trial_guard_is_worse(const struct guard_arm *accelerated, const struct guard_arm *plain, double part,
			  double percent)
{
	static struct histogram all; /* too large for the stack; the helper has one thread */
	uint64_t lower_ns, upper_ns, ignored;

	sum(accelerated, &all);
	if (!trial_guard_bounds(&all, part, &lower_ns, &ignored))
		return false;
	sum(plain, &all);
	return trial_guard_bounds(&all, part, &ignored, &upper_ns) &&
	       (double)lower_ns > (double)upper_ns * (1 + percent / 100) &&
	       trial_guard_parts_are_worse(accelerated, plain, part, percent);
}
