/* SPDX-License-Identifier: BSD-2-Clause */
/* The verdict, and how much more data it would take.
 *
 * Equivalence is two one-sided tests (Schuirmann 1987) read off the interval: all of it within the margin. It goes before a
 * difference: 0.5 % that is certain is still not worth having. A difference takes both the interval and the rank test, so its
 * error rate is at most that of the better of the two.
 */
#include <math.h>

#include "statistics.h"

#define POWER 0.8

static const char *const names[] = { "not-enough-data", "faster", "slower", "no-difference" };
static const char *const texts[] = { "not enough data", "faster", "slower", "no difference worth having" };

_Static_assert(sizeof(names) / sizeof(names[0]) == VERDICT_COUNT, "a name for each verdict");
_Static_assert(sizeof(texts) / sizeof(texts[0]) == VERDICT_COUNT, "a text for each verdict");

const char *statistics_verdict_name(enum statistics_verdict verdict)
{
	return verdict < VERDICT_COUNT ? names[verdict] : "unknown";
}

const char *statistics_verdict_text(enum statistics_verdict verdict)
{
	return verdict < VERDICT_COUNT ? texts[verdict] : "unknown";
}

enum statistics_verdict statistics_decide(const struct statistics_interval *log_ratio, double p,
					  const struct statistics_rule *rule)
{
	double margin = log1p(rule->margin);

	if (!log_ratio->is_interval || !isfinite(log_ratio->low) || !isfinite(log_ratio->high))
		return VERDICT_NOT_ENOUGH_DATA;
	if (log_ratio->low > -margin && log_ratio->high < margin)
		return VERDICT_NO_DIFFERENCE;
	if ((log_ratio->low <= 0 && log_ratio->high >= 0) || p > 1 - rule->confidence)
		return VERDICT_NOT_ENOUGH_DATA;
	return (log_ratio->low > 0) == rule->higher_is_better ? VERDICT_FASTER : VERDICT_SLOWER;
}

/* Half the width that the interval will have with `count` blocks, and the room that it takes to have it in 4 of 5 trials. */
static double expected_reach(double spread, size_t count, double confidence)
{
	double kept = (double)(count - 2 * statistics_trim(count));
	double reach = statistics_student_quantile((1 + confidence) / 2, kept - 1) + statistics_normal_quantile(POWER);

	return reach * spread / sqrt((double)count);
}

unsigned statistics_blocks_missing(const struct statistics_interval *log_ratio, size_t count, double p,
				   const struct statistics_rule *rule)
{
	double distance = fabs(log_ratio->value), margin = log1p(rule->margin), spread;

	if (count < STATISTICS_BLOCKS_MIN)
		return (unsigned)(STATISTICS_BLOCKS_MIN - count);
	if (statistics_decide(log_ratio, p, rule) != VERDICT_NOT_ENOUGH_DATA)
		return 0;
	if (!(log_ratio->error > 0) || !isfinite(log_ratio->error))
		return STATISTICS_BLOCKS_MAX;
	spread = log_ratio->error * sqrt((double)count);
	for (size_t more = 1; more < STATISTICS_BLOCKS_MAX; more++) {
		double reach = expected_reach(spread, count + more, rule->confidence);

		if (reach < distance || distance + reach < margin)
			return (unsigned)more;
	}
	return STATISTICS_BLOCKS_MAX;
}
