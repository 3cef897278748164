/* SPDX-License-Identifier: BSD-2-Clause */
/* Order statistics and the ratio of one block: see statistics.h. */
#include "statistics.h"

#include <math.h>
#include <stdlib.h>

static int compare(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

void statistics_sort(double *values, size_t count)
{
	qsort(values, count, sizeof(*values), compare);
}

double statistics_quantile(const double *sorted, size_t count, double part)
{
	/* Rounding must not push 0.99 of 100 values to the hundredth. */
	double rank = ceil(part * (double)count * (1 - 1e-12));

	if (!count)
		return NAN;
	return sorted[rank < 1 ? 0 : rank < (double)count ? (size_t)rank - 1 : count - 1];
}

double statistics_median(const double *sorted, size_t count)
{
	if (!count)
		return NAN;
	return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

static double mean(const double *values, size_t count)
{
	double sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += values[i];
	return count ? sum / (double)count : NAN;
}

double statistics_log_ratio(const double *a, size_t count_a, const double *b, size_t count_b)
{
	double mean_a = mean(a, count_a), mean_b = mean(b, count_b);

	return mean_a > 0 && mean_b > 0 ? log(mean_b / mean_a) : NAN;
}

/* Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014): one 64-bit state, any seed is good. */
uint64_t statistics_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}
