/* SPDX-License-Identifier: BSD-2-Clause */
/* Log-linear histograms: see histogram.h. */
#include "histogram.h"

/* Of index: (shift + 1) * HALF + (the upper bits of the value - HALF); the first 2 * HALF buckets have shift 0. */
static uint32_t shift_of(uint32_t index)
{
	return index < 2 * HISTOGRAM_HALF ? 0 : (index >> HISTOGRAM_HALF_BITS) - 1;
}

uint64_t histogram_lowest(uint32_t index)
{
	uint32_t shift = shift_of(index);

	return (uint64_t)(index - (shift << HISTOGRAM_HALF_BITS)) << shift;
}

uint64_t histogram_highest(uint32_t index)
{
	return histogram_lowest(index) + (UINT64_C(1) << shift_of(index)) - 1;
}

static uint64_t add_saturated(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static uint64_t multiply_saturated(uint64_t a, uint64_t b)
{
	uint64_t product;

	return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

void histogram_add_counts(struct histogram *histogram, uint32_t index, uint64_t count)
{
	histogram->counts[index] = add_saturated(histogram->counts[index], count);
	histogram->count = add_saturated(histogram->count, count);
}

void histogram_add_sum(struct histogram *histogram, uint64_t sum_ns, uint64_t max_ns)
{
	histogram->sum_ns = add_saturated(histogram->sum_ns, sum_ns);
	if (max_ns > histogram->max_ns)
		histogram->max_ns = max_ns;
}

void histogram_add(struct histogram *histogram, uint64_t value_ns, uint64_t count)
{
	if (!count)
		return;
	histogram_add_counts(histogram, histogram_index(value_ns), count);
	histogram_add_sum(histogram, multiply_saturated(value_ns, count), value_ns);
}

void histogram_add_bucket(struct histogram *histogram, uint32_t index, uint64_t count)
{
	uint64_t lowest = histogram_lowest(index), highest = histogram_highest(index);

	if (!count)
		return;
	histogram_add_counts(histogram, index, count);
	histogram_add_sum(histogram, multiply_saturated(lowest + (highest - lowest) / 2, count), highest);
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
	for (uint32_t index = 0; index < HISTOGRAM_BUCKETS; index++)
		if (from->counts[index])
			histogram_add_counts(into, index, from->counts[index]);
	histogram_add_sum(into, from->sum_ns, from->max_ns);
}

uint64_t histogram_at_rank(const struct histogram *histogram, uint64_t rank)
{
	uint64_t seen = 0;

	for (uint32_t index = 0; index < HISTOGRAM_BUCKETS; index++) {
		seen = add_saturated(seen, histogram->counts[index]);
		if (seen && seen >= rank) {
			uint64_t highest = histogram_highest(index);

			return histogram->max_ns && histogram->max_ns < highest ? histogram->max_ns : highest;
		}
	}
	return histogram->max_ns;
}

uint64_t histogram_percentile(const struct histogram *histogram, double part)
{
	/* Rounding must not push 0.99 of 100 values to the hundredth. */
	double rank = part * (double)histogram->count * (1 - 1e-12);
	uint64_t whole = rank > 0 ? (uint64_t)rank : 0;

	if (!histogram->count)
		return 0;
	if (part >= 1)
		return histogram_at_rank(histogram, histogram->count);
	return histogram_at_rank(histogram, (double)whole < rank || !whole ? whole + 1 : whole);
}
