/* SPDX-License-Identifier: BSD-2-Clause */
/* Log-linear histograms of durations: 3 significant digits from 1 ns to 137 s, laid out as HdrHistogram does it.
 *
 * Values up to 2047 ns have a bucket each; above, each power of two is cut into 1024 equal buckets, so that a bucket is never
 * wider than a thousandth of what is in it. The index of a bucket is HdrHistogram's own index into its array of counts (lowest
 * discernible value 1, 3 significant digits, highest trackable value 2^37 - 1): counts by index can be given to its tools
 * as they are. Pure functions on the caller's memory: the shim counts into memory shared with the helper, helper and command
 * line keep a struct histogram.
 */
#ifndef SMACCEL_WIRE_HISTOGRAM_H
#define SMACCEL_WIRE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_HALF_BITS 10u /* 1024 buckets a power of two: 3 digits */
#define HISTOGRAM_HALF (1u << HISTOGRAM_HALF_BITS)
#define HISTOGRAM_VALUE_BITS 37u
#define HISTOGRAM_VALUE_MAX ((UINT64_C(1) << HISTOGRAM_VALUE_BITS) - 1)
#define HISTOGRAM_BUCKETS ((HISTOGRAM_VALUE_BITS - HISTOGRAM_HALF_BITS + 1) * HISTOGRAM_HALF)

struct histogram {
	uint64_t count;
	uint64_t sum_ns; /* of the values themselves, not of their buckets */
	uint64_t max_ns;
	uint64_t counts[HISTOGRAM_BUCKETS];
};

/* The bucket of a value; one that is too large counts as HISTOGRAM_VALUE_MAX. */
static inline uint32_t histogram_index(uint64_t value_ns)
{
	uint32_t shift;

	if (value_ns > HISTOGRAM_VALUE_MAX)
		value_ns = HISTOGRAM_VALUE_MAX;
	shift = 63u - (uint32_t)__builtin_clzll(value_ns | (2 * HISTOGRAM_HALF - 1)) - HISTOGRAM_HALF_BITS;
	return (shift << HISTOGRAM_HALF_BITS) + (uint32_t)(value_ns >> shift);
}

/* The lowest and the highest value of a bucket. index < HISTOGRAM_BUCKETS. */
uint64_t histogram_lowest(uint32_t index);
uint64_t histogram_highest(uint32_t index);

/* `count` times one value, or values of one bucket, whose sum and greatest the caller knows, or not (then the middle of the
 * bucket, and its highest, stand for them). Sums stay at their greatest value instead of running over. */
void histogram_add(struct histogram *histogram, uint64_t value_ns, uint64_t count);
void histogram_add_bucket(struct histogram *histogram, uint32_t index, uint64_t count);
void histogram_add_counts(struct histogram *histogram, uint32_t index, uint64_t count); /* leaves sum and max alone */
void histogram_add_sum(struct histogram *histogram, uint64_t sum_ns, uint64_t max_ns);
void histogram_merge(struct histogram *into, const struct histogram *from);

/* The smallest value that at least `part` (0 .. 1) of all values do not exceed: the highest value of its bucket, but never
 * above max_ns. 0 if the histogram is empty. */
uint64_t histogram_percentile(const struct histogram *histogram, double part);
/* The same for the value that `rank` values (from 1) do not exceed. */
uint64_t histogram_at_rank(const struct histogram *histogram, uint64_t rank);

#endif
