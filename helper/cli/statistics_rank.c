/* SPDX-License-Identifier: BSD-2-Clause */
/* Rank tests: Wilcoxon 1945 (signed ranks), Mann and Whitney 1947, and Holm 1979 for several tests at once. */
#include <math.h>
#include <stdlib.h>

#include "statistics.h"

#define EXACT_MAX 50u
#define EXACT_SUMS (EXACT_MAX * (EXACT_MAX + 1) + 1) /* of twice the ranks: those of ties are halves */

struct signed_value {
	double size;
	unsigned twice_rank;
	bool positive;
};

static int compare_size(const void *left, const void *right)
{
	double a = ((const struct signed_value *)left)->size, b = ((const struct signed_value *)right)->size;

	return (a > b) - (a < b);
}

/* P(sum of the ranks of one sign <= sum), twice: every one of the 2^count signs is equally likely under the hypothesis. */
static double exact_signed_rank(const struct signed_value *values, size_t count, double sum)
{
	double ways[EXACT_SUMS] = { 1 };
	double below = 0;
	size_t top = 0;

	for (size_t i = 0; i < count; i++) {
		const size_t rank = values[i].twice_rank;

		top += rank;
		for (size_t s = top; s >= rank; s--)
			ways[s] += ways[s - rank];
	}
	for (size_t s = 0; s <= top && (double)s <= 2 * sum; s++)
		below += ways[s];
	return fmin(1, 2 * ldexp(below, -(int)count));
}

static double normal_two_sided(double distance, double variance)
{
	if (!(variance > 0))
		return 1;
	/* Continuity: the sum moves by whole ranks. */
	return fmin(1, 2 * statistics_normal_tail(fmax(0, fabs(distance) - 0.5) / sqrt(variance)));
}

double statistics_signed_rank(const double *differences, size_t count)
{
	static struct signed_value values[STATISTICS_BLOCKS_MAX];
	double positive = 0, negative = 0, ties = 0, n;
	size_t used = 0;

	for (size_t i = 0; i < count && used < STATISTICS_BLOCKS_MAX; i++)
		if (differences[i] != 0) /* zeros say nothing about the sign: left out, as Wilcoxon does */
			values[used++] =
				(struct signed_value){ .size = fabs(differences[i]), .positive = differences[i] > 0 };
	if (!used)
		return 1;
	qsort(values, used, sizeof(values[0]), compare_size);
	for (size_t i = 0, end; i < used; i = end) {
		double rank, group;

		for (end = i + 1; end < used && values[end].size <= values[i].size; end++)
			;
		group = (double)(end - i);
		rank = ((double)i + 1 + (double)end) / 2;
		ties += group * group * group - group;
		for (size_t j = i; j < end; j++) {
			values[j].twice_rank = (unsigned)(i + 1 + end);
			*(values[j].positive ? &positive : &negative) += rank;
		}
	}
	if (used <= EXACT_MAX)
		return exact_signed_rank(values, used, fmin(positive, negative));
	n = (double)used;
	return normal_two_sided(positive - n * (n + 1) / 4, n * (n + 1) * (2 * n + 1) / 24 - ties / 48);
}

double statistics_mann_whitney(const double *a, size_t count_a, const double *b, size_t count_b)
{
	double n_a = (double)count_a, n_b = (double)count_b, n = n_a + n_b, rank_sum = 0, ties = 0;
	size_t i = 0, j = 0;

	while (i < count_a || j < count_b) {
		double value = j >= count_b || (i < count_a && a[i] <= b[j]) ? a[i] : b[j];
		size_t from = i + j, of_a = i;
		double group;

		while (i < count_a && a[i] <= value)
			i++;
		while (j < count_b && b[j] <= value)
			j++;
		group = (double)(i + j - from);
		rank_sum += (double)(i - of_a) * ((double)from + (group + 1) / 2);
		ties += group * group * group - group;
	}
	if (!count_a || !count_b || n < 2)
		return 1;
	return normal_two_sided(rank_sum - n_a * (n + 1) / 2, n_a * n_b / 12 * (n + 1 - ties / (n * (n - 1))));
}

void statistics_holm(double *p, size_t count)
{
	size_t order[STATISTICS_TESTS_MAX];
	double least = 0;

	if (count > STATISTICS_TESTS_MAX)
		return;
	for (size_t i = 0; i < count; i++) {
		size_t place = i;

		for (; place > 0 && p[order[place - 1]] > p[i]; place--)
			order[place] = order[place - 1];
		order[place] = i;
	}
	for (size_t i = 0; i < count; i++) {
		least = fmax(least, fmin(1, p[order[i]] * (double)(count - i)));
		p[order[i]] = least;
	}
}
