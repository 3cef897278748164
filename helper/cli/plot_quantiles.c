/* SPDX-License-Identifier: BSD-2-Clause */
/* Percentile curves, on an axis of nines. */
#include <math.h>
#include <stdlib.h>

#include "plots.h"
#include "values.h"

#define NINES_MAX 1e6 /* where "max" is drawn at the latest */

static int compare_points(const void *left, const void *right)
{
	double a = ((const struct plot_quantile *)left)->quantile, b = ((const struct plot_quantile *)right)->quantile;

	return (a > b) - (a < b);
}

/* The maximum has no nines of its own: a step behind the last quantile. */
static double nines(const struct plot_quantile *points, size_t i)
{
	double before = i ? 1 / (1 - points[i - 1].quantile) : 1;

	return fmin(points[i].quantile < 1 ? 1 / (1 - points[i].quantile) : before * 4, NINES_MAX);
}

bool plot_quantiles(FILE *out, const char *title, struct plot_quantile *points, size_t count,
		    const char *const names[PLOT_ARMS])
{
	double all_ticks[] = { 1, 2, 10, 100, 1000, 1e4, 1e5, 0 }, *ticks = all_ticks;
	const char *all_labels[] = { "min", "50 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "" };
	const char **labels = all_labels;
	double x[PLOT_QUANTILES_MAX], y[PLOT_QUANTILES_MAX];
	struct svg_plot plot = { .out = out,
				 .width = PLOT_WIDTH,
				 .height = PLOT_HEIGHT,
				 .x = { INFINITY, -INFINITY, true, "",
					"part of the requests that were at least as fast", ticks, labels, 0 },
				 .y = { INFINITY, -INFINITY, true, "us", title, NULL, NULL, 0 } };

	if (count < 3 || count > PLOT_QUANTILES_MAX)
		return false;
	qsort(points, count, sizeof(points[0]), compare_points);
	if (points[0].quantile >= 0.5) { /* no minimum */
		plot.x.ticks = ++ticks;
		plot.x.labels = ++labels;
	}
	for (size_t i = 0; i < count; i++) {
		x[i] = nines(points, i);
		plot_include(&plot.x, x[i]);
		plot_include(&plot.y, points[i].value[0]);
		plot_include(&plot.y, points[i].value[1]);
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
	svg_begin(&plot, title);
	for (int arm = 0; arm < PLOT_ARMS; arm++) {
		for (size_t i = 0; i < count; i++)
			y[i] = points[i].value[arm] > 0 ? points[i].value[arm] : NAN;
		svg_line(&plot, plot_arm_class[arm], x, y, count);
		for (size_t i = 0; i < count; i++) {
			char name[QUANTILE_BYTES], value[VALUE_BYTES], tip[80];

			snprintf(tip, sizeof(tip), "%.16s, %s: %s", names[arm],
				 value_quantile_name(name, points[i].quantile), value_text(value, y[i], "us"));
			svg_dot(&plot, plot_arm_class[arm], x[i], y[i], tip);
		}
	}
	svg_end(&plot);
	return true;
}
