/* SPDX-License-Identifier: BSD-2-Clause */
/* The normal and Student's distribution, as far as the tests need them. */
#include <math.h>

#include "statistics.h"

double statistics_normal_tail(double z)
{
	return erfc(z / M_SQRT2) / 2;
}

/* Abramowitz and Stegun, Handbook of Mathematical Functions, 26.2.23. */
double statistics_normal_quantile(double p)
{
	double tail = p < 0.5 ? p : 1 - p;
	double t, z;

	if (!(tail > 0))
		return p < 0.5 ? -INFINITY : INFINITY;
	t = sqrt(-2 * log(tail));
	z = t - (2.515517 + t * (0.802853 + t * 0.010328)) / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308)));
	return p < 0.5 ? -z : z;
}

/* Abramowitz and Stegun 26.7.5: the expansion about the normal quantile. */
double statistics_student_quantile(double p, double freedom)
{
	double z = statistics_normal_quantile(p);
	double z2 = z * z;
	double first = z * (z2 + 1) / 4;
	double second = z * (z2 * (5 * z2 + 16) + 3) / 96;
	double third = z * (z2 * (z2 * (3 * z2 + 19) + 17) - 15) / 384;

	return z + (first + (second + third / freedom) / freedom) / freedom;
}
