/* SPDX-License-Identifier: BSD-2-Clause */
/* Statistics of trials in blocks: pure functions, no I/O, no allocation, every random choice seeded.
 *
 * A *block* is one balanced round of runs, A B B A or B A A B. What drifts linearly over it falls on both arms alike, so the
 * unit of all inference is the block: the logarithm of mean(B runs) / mean(A runs). Runs are never pooled: the runs of one
 * block are not independent, and an interval that pretends so is too narrow.
 *
 * `smaccel ab`, `smaccel trial` and the benchmark (tests/bench, through a shared object of these files) use this one module.
 */
#ifndef SMACCEL_CLI_STATISTICS_H
#define SMACCEL_CLI_STATISTICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STATISTICS_BLOCKS_MAX 10000u
/* Fewer blocks decide nothing: with 5 the rank test cannot fall below 2/32 = 0.06. */
#define STATISTICS_BLOCKS_MIN 6u
#define STATISTICS_RESAMPLES 2000u
#define STATISTICS_RESAMPLES_MAX 10000u

/* ---- statistics.c: order ---- */
void statistics_sort(double *values, size_t count);
/* The value that `part` (0..1) of all do not exceed, of sorted values; no interpolation. NAN for none. */
double statistics_quantile(const double *sorted, size_t count, double part);
/* Of sorted values; the mean of the middle two for an even count. NAN for none. */
double statistics_median(const double *sorted, size_t count);
/* ln(mean(b) / mean(a)); NAN unless all means are positive. */
double statistics_log_ratio(const double *a, size_t count_a, const double *b, size_t count_b);

/* ---- statistics_interval.c: what the blocks say together ---- */
struct statistics_interval {
	double value, low, high;
	double error; /* standard error of `value`; 0 where there is none */
	/* False: fewer than STATISTICS_BLOCKS_MIN blocks; low and high are then only the smallest and the largest block. */
	bool is_interval;
};

/* How many blocks the mean puts aside at each end. */
size_t statistics_trim(size_t count);

/* Trimmed mean with a symmetric bootstrap-t interval at `confidence` (0.5..0.999). In the units of `values`: of logarithms of
 * ratios, take exp() of the three. count <= STATISTICS_BLOCKS_MAX; resamples <= STATISTICS_RESAMPLES_MAX. */
struct statistics_interval statistics_interval(const double *values, size_t count, double confidence,
					       unsigned resamples, uint64_t seed);

/* ---- statistics_rank.c: tests that assume no distribution ---- */
/* Wilcoxon's signed rank test, two-sided: that `differences` lie symmetrically around 0. Exact up to 50, with ties, too. 1 for none. */
double statistics_signed_rank(const double *differences, size_t count);
/* Mann and Whitney's, two-sided, for two independent samples; normal approximation with correction for ties. Both sorted. */
double statistics_mann_whitney(const double *a, size_t count_a, const double *b, size_t count_b);
/* Holm's correction of `count` (<= STATISTICS_TESTS_MAX) p values for being that many, in place. */
#define STATISTICS_TESTS_MAX 256u
void statistics_holm(double *p, size_t count);

/* ---- statistics_verdict.c ---- */
enum statistics_verdict {
	VERDICT_NOT_ENOUGH_DATA = 0,
	VERDICT_FASTER,
	VERDICT_SLOWER,
	VERDICT_NO_DIFFERENCE, /* the whole interval lies within the margin: no difference worth having */
	VERDICT_COUNT
};
const char *statistics_verdict_name(enum statistics_verdict verdict); /* "faster" ...: as in JSON */
const char *statistics_verdict_text(enum statistics_verdict verdict); /* for a person */

struct statistics_rule {
	double confidence; /* 0.95 */
	double margin;     /* 0.02: differences within 1/1.02 .. 1.02 are not worth having */
	bool higher_is_better;
};

/* `log_ratio`: the interval over the blocks; p: of the rank test, corrected if need be. A difference takes both. */
enum statistics_verdict statistics_decide(const struct statistics_interval *log_ratio, double p,
					  const struct statistics_rule *rule);

/* About how many more blocks would decide, in 4 of 5 trials, if what was seen is the truth. 0: decided. STATISTICS_BLOCKS_MAX: that
 * many or more, or nothing to tell from. */
unsigned statistics_blocks_missing(const struct statistics_interval *log_ratio, size_t count, double p,
				   const struct statistics_rule *rule);

/* ---- statistics_normal.c ---- */
double statistics_normal_tail(double z);     /* P(Z > z) */
double statistics_normal_quantile(double p); /* |error| < 4.5e-4 */
double statistics_student_quantile(double p,
				   double freedom); /* good to 1 % for p <= 0.975 from 3 degrees of freedom on */

/* xoshiro-like quality is not needed, reproducibility is: splitmix64. */
uint64_t statistics_random(uint64_t *state);

#endif
