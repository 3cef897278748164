/* SPDX-License-Identifier: BSD-2-Clause */
/* The trimmed mean over blocks and its bootstrap-t interval.
 *
 * Why not the usual percentile bootstrap of the median: over 6 to 20 blocks it holds the truth in 92 to 94 of 100 instead of
 * 95. The symmetric bootstrap-t of a slightly trimmed mean held it in 95 to 98 of 100 at 6, 8, 10, 12, 16 and 20 blocks for normal, t(3)
 * and contaminated data (one block in ten 10 or 50 times as wild), and for log-normal and one-sided data from 8 blocks on (at 6 or 7,
 * without trimming, 90 to 94; but ratios of exchangeable arms are symmetric). Trimming more costs width: 2.0 standard deviations
 * instead of 1.6 at 10 blocks. tests/unit/test_cli_statistics.c repeats that in small.
 *
 * Sources: Tukey and McLaughlin 1963 (trimmed mean, its error from the winsorized variance); Efron and Tibshirani, "An Introduction to
 * the Bootstrap", 12.5 (bootstrap-t); Hall 1988 (the symmetric form); Wilcox, "Introduction to Robust Estimation", 4.4 (the two together).
 */
#include <math.h>
#include <string.h>

#include "statistics.h"

/* A tenth at each end; one from 8 blocks on, where enough are left to tell the scale from. */
size_t statistics_trim(size_t count)
{
	size_t tenth = count / 10;

	return count < 8 ? 0 : tenth ? tenth : 1;
}

/* Insertion: resamples are short, and calls through a pointer cost more than the moves. */
static void sort_short(double *values, size_t count)
{
	if (count > 64) {
		statistics_sort(values, count);
		return;
	}
	for (size_t i = 1; i < count; i++) {
		double value = values[i];
		size_t place = i;

		for (; place > 0 && values[place - 1] > value; place--)
			values[place] = values[place - 1];
		values[place] = value;
	}
}

/* Sorts. Mean of what is left when the `trim` smallest and largest are put aside; *error: its standard error. */
static double trimmed_mean(double *values, size_t count, size_t trim, double *error)
{
	size_t kept = count - 2 * trim;
	double sum = 0, winsorized = 0, squares = 0, mean;

	sort_short(values, count);
	for (size_t i = trim; i < count - trim; i++)
		sum += values[i];
	winsorized = (sum + (double)trim * (values[trim] + values[count - trim - 1])) / (double)count;
	for (size_t i = 0; i < count; i++) {
		size_t place = i < trim ? trim : i >= count - trim ? count - trim - 1 : i;

		squares += (values[place] - winsorized) * (values[place] - winsorized);
	}
	mean = sum / (double)kept;
	*error = sqrt(squares / (double)(count - 1) * (double)count) / (double)kept;
	return mean;
}

/* How many standard errors (its own) the mean of a resample lies from `center`; negative: it has no error, being of equal values, as
 * happens with numbers that a program rounds. Such a resample says nothing about the scale and is left out. */
static double resampled_distance(const double *values, double *scratch, size_t count, size_t trim, double center,
				 uint64_t *random)
{
	double error, mean;

	for (size_t i = 0; i < count; i++)
		scratch[i] = values[statistics_random(random) % count];
	mean = trimmed_mean(scratch, count, trim, &error);
	/* Values that are equal but for the last bit have an "error" of that size. */
	return error > 1e-12 * fabs(mean) ? fabs(mean - center) / error : -1;
}

struct statistics_interval statistics_interval(const double *values, size_t count, double confidence,
					       unsigned resamples, uint64_t seed)
{
	static double sorted[STATISTICS_BLOCKS_MAX], scratch[STATISTICS_BLOCKS_MAX];
	static double distances[STATISTICS_RESAMPLES_MAX];
	struct statistics_interval result = { .value = NAN, .low = NAN, .high = NAN };
	uint64_t random = seed;
	unsigned used = 0;
	size_t trim;
	double far;

	if (!count || count > STATISTICS_BLOCKS_MAX || !resamples || resamples > STATISTICS_RESAMPLES_MAX)
		return result;
	memcpy(sorted, values, count * sizeof(*values));
	if (count < STATISTICS_BLOCKS_MIN) {
		statistics_sort(sorted, count);
		result.value = statistics_median(sorted, count);
		result.low = sorted[0];
		result.high = sorted[count - 1];
		return result;
	}
	trim = statistics_trim(count);
	result.value = trimmed_mean(sorted, count, trim, &result.error);
	for (unsigned i = 0; i < resamples; i++) {
		distances[used] = resampled_distance(sorted, scratch, count, trim, result.value, &random);
		used += distances[used] >= 0;
	}
	statistics_sort(distances, used);
	far = used ? statistics_quantile(distances, used, confidence) * result.error : 0;
	result.low = result.value - far;
	result.high = result.value + far;
	result.is_interval = true;
	return result;
}
