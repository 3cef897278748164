/* SPDX-License-Identifier: BSD-2-Clause */
/* Distributions of latencies: both arms on one logarithmic axis. */
#include <math.h>

#include "plots.h"

#define HEIGHT 280
#define BINS 120

bool plot_distribution(FILE *out, const char *title, const struct histogram *const arms[PLOT_ARMS])
{
	struct svg_plot plot = { .out = out,
				 .width = PLOT_WIDTH,
				 .height = HEIGHT,
				 .x = { 0, 0, true, "us", title, NULL, NULL, 0 },
				 .y = { 0, 0, false, "%", "part of the requests", NULL, NULL, 0 } };
	double bins[PLOT_ARMS][BINS] = { 0 }, low_ns, high_ns, x[2 * BINS], y[2 * BINS];

	if (!bins_range(arms, &low_ns, &high_ns))
		return false;
	for (int arm = 0; arm < PLOT_ARMS; arm++)
		for (size_t i = 0; arms[arm] && i < BINS; i++) {
			if (!i)
				bins_fill(arms[arm], low_ns, high_ns, bins[arm], BINS);
			plot.y.high = fmax(plot.y.high, bins[arm][i] * 100);
		}
	plot.x.low = low_ns / 1000;
	plot.x.high = high_ns / 1000;
	svg_begin(&plot, title);
	for (int arm = 0; arm < PLOT_ARMS; arm++) {
		for (size_t i = 0; i < BINS; i++) { /* steps: a bin is as wide as it is */
			double step = log(high_ns / low_ns) / BINS;

			x[2 * i] = low_ns / 1000 * exp(step * (double)i);
			x[2 * i + 1] = low_ns / 1000 * exp(step * (double)(i + 1));
			y[2 * i] = y[2 * i + 1] = arms[arm] ? bins[arm][i] * 100 : NAN;
		}
		svg_line(&plot, plot_arm_class[arm], x, y, 2 * (size_t)BINS);
	}
	svg_end(&plot);
	return true;
}
