/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs over time, and percentile curves. */
#include "ab_plots.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ab_report.h"
#include "svg.h"

#define WIDTH 760
#define HEIGHT 320
#define NINES_MAX 1e6 /* where "max" is drawn at the latest */

static const char *const arm_class[ARMS] = { "a", "b" };

static void include(struct svg_axis *axis, double value)
{
	if (!isfinite(value) || (axis->logarithmic && value <= 0))
		return;
	axis->low = fmin(axis->low, value);
	axis->high = fmax(axis->high, value);
}

bool ab_plot_runs(FILE *out, const struct ab_trial *trial, const struct ab_result *result)
{
	const struct ab_metric *metric = &trial->metrics.list[result->metric];
	struct svg_plot plot = { .out = out,
				 .width = WIDTH,
				 .height = HEIGHT,
				 .x = { INFINITY, -INFINITY, false, "s", "time since the trial began", NULL, NULL, 0 },
				 .y = { INFINITY, -INFINITY, false, metric->unit, metric->name, NULL, NULL, 0 } };
	char tip[AB_NAME_BYTES + AB_VALUE_BYTES + 40], value[AB_VALUE_BYTES];

	for (size_t i = 0; i < trial->run_count; i++)
		if (isfinite(trial->runs[i]->values.value[result->metric])) {
			include(&plot.x, trial->runs[i]->start_s);
			include(&plot.y, trial->runs[i]->values.value[result->metric]);
		}
	if (!(plot.x.low <= plot.x.high))
		return false;
	svg_begin(&plot, "runs over time");
	for (size_t i = 0; i < trial->run_count; i++) {
		const struct ab_run *run = trial->runs[i];
		char class[8];

		snprintf(class, sizeof(class), "%s%s", arm_class[run->arm], ab_run_counts(trial, run) ? "" : " out");
		snprintf(tip, sizeof(tip), "%c, %s %d: %s", ARM_LETTER(run->arm), run->round < 0 ? "warm-up" : "round",
			 run->round < 0 ? 0 : run->round + 1,
			 ab_words_value(value, run->values.value[result->metric], metric->unit));
		svg_dot(&plot, class, run->start_s, run->values.value[result->metric], tip);
	}
	svg_end(&plot);
	return true;
}

struct point {
	double quantile, value[ARMS];
};

static int compare_points(const void *left, const void *right)
{
	double a = ((const struct point *)left)->quantile, b = ((const struct point *)right)->quantile;

	return (a > b) - (a < b);
}

static size_t gather(const struct ab_trial *trial, const struct ab_analysis *analysis, const char *family,
		     struct point points[AB_METRICS_MAX])
{
	size_t count = 0;

	for (size_t i = 0; i < analysis->count; i++) {
		const struct ab_result *result = &analysis->results[i];
		const struct ab_metric *metric = &trial->metrics.list[result->metric];

		if (metric->quantile >= 0 && !strcmp(metric->family, family))
			points[count++] =
				(struct point){ metric->quantile, { result->median[ARM_A], result->median[ARM_B] } };
	}
	qsort(points, count, sizeof(points[0]), compare_points);
	return count;
}

/* The maximum has no nines of its own: a step behind the last quantile. */
static double nines(const struct point *points, size_t i)
{
	double before = i ? 1 / (1 - points[i - 1].quantile) : 1;

	return fmin(points[i].quantile < 1 ? 1 / (1 - points[i].quantile) : before * 4, NINES_MAX);
}

bool ab_plot_quantiles(FILE *out, const struct ab_trial *trial, const struct ab_analysis *analysis, const char *family)
{
	double ticks[] = { 1, 2, 10, 100, 1000, 1e4, 1e5, 0 };
	const char *labels[] = { "min", "50 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "" };
	struct point points[AB_METRICS_MAX];
	double x[AB_METRICS_MAX], y[AB_METRICS_MAX];
	size_t count = gather(trial, analysis, family, points);
	struct svg_plot plot = { .out = out,
				 .width = WIDTH,
				 .height = HEIGHT,
				 .x = { INFINITY, -INFINITY, true, "",
					"part of the requests that were at least as fast", ticks, labels, 0 },
				 .y = { INFINITY, -INFINITY, true, "us", family, NULL, NULL, 0 } };

	if (count < 3)
		return false;
	for (size_t i = 0; i < count; i++) {
		x[i] = nines(points, i);
		include(&plot.x, x[i]);
		include(&plot.y, points[i].value[ARM_A]);
		include(&plot.y, points[i].value[ARM_B]);
	}
	if (!(plot.y.low <= plot.y.high))
		return false;
	while (ticks[plot.x.tick_count] > 0 && ticks[plot.x.tick_count] <= plot.x.high * 1.01)
		plot.x.tick_count++;
	if (points[count - 1].quantile >= 1) { /* the maximum, in the place of a label that would stand close to it */
		if (plot.x.tick_count && ticks[plot.x.tick_count - 1] * 2 > x[count - 1])
			plot.x.tick_count--;
		ticks[plot.x.tick_count] = x[count - 1];
		labels[plot.x.tick_count++] = "max";
	}
	plot.x.low = fmin(plot.x.low, ticks[0]);
	svg_begin(&plot, family);
	for (int arm = 0; arm < ARMS; arm++) {
		for (size_t i = 0; i < count; i++)
			y[i] = points[i].value[arm] > 0 ? points[i].value[arm] : NAN;
		svg_line(&plot, arm_class[arm], x, y, count);
		for (size_t i = 0; i < count; i++) {
			char name[AB_QUANTILE_BYTES], value[AB_VALUE_BYTES], tip[80];

			snprintf(tip, sizeof(tip), "%c, %s: %s", ARM_LETTER(arm),
				 ab_quantile_name(name, points[i].quantile), ab_words_value(value, y[i], "us"));
			svg_dot(&plot, arm_class[arm], x[i], y[i], tip);
		}
	}
	svg_end(&plot);
	return true;
}
