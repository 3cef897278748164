/* SPDX-License-Identifier: BSD-2-Clause */
#include "bins.h"

#include <math.h>

void bins_fill(const struct histogram *histogram, double low_ns, double high_ns, double *bins, size_t count)
{
	double width = log(high_ns / low_ns) / (double)count;

	for (size_t i = 0; i < count; i++)
		bins[i] = 0;
	for (uint32_t index = 0; index < HISTOGRAM_BUCKETS; index++) {
		double middle, place;

		if (!histogram->counts[index])
			continue;
		middle = ((double)histogram_lowest(index) + (double)histogram_highest(index)) / 2;
		place = log(fmax(middle, 1) / low_ns) / width;
		if (place >= 0 && place < (double)count)
			bins[(size_t)place] += (double)histogram->counts[index] / (double)histogram->count;
	}
}

bool bins_range(const struct histogram *const arms[BINS_ARMS], double *low_ns, double *high_ns)
{
	*low_ns = INFINITY;
	*high_ns = 0;
	for (int arm = 0; arm < BINS_ARMS; arm++) {
		if (!arms[arm] || !arms[arm]->count)
			continue;
		*low_ns = fmin(*low_ns, fmax((double)histogram_percentile(arms[arm], 0.001), 1));
		*high_ns = fmax(*high_ns, (double)histogram_percentile(arms[arm], 0.999));
	}
	*low_ns /= 1.02;
	*high_ns *= 1.02;
	return isfinite(*low_ns) && *high_ns > *low_ns;
}
