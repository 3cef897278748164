/* SPDX-License-Identifier: BSD-2-Clause */
/* Distributions of latencies: both arms on one logarithmic axis. */
#include <math.h>

#include "ab_latency.h"
#include "ab_plots.h"
#include "svg.h"

#define WIDTH 760
#define HEIGHT 280
#define BINS 120

bool ab_plot_distribution(FILE *out, const struct ab_trial *trial, enum ab_role role)
{
	struct svg_plot plot = { .out = out,
				 .width = WIDTH,
				 .height = HEIGHT,
				 .x = { 0, 0, true, "us", ab_latency_name(role), NULL, NULL, 0 },
				 .y = { 0, 0, false, "%", "part of the requests", NULL, NULL, 0 } };
	double bins[ARMS][BINS], low_ns, high_ns, x[2 * BINS], y[2 * BINS];

	if (!ab_latency_range(trial, role, &low_ns, &high_ns))
		return false;
	for (int arm = 0; arm < ARMS; arm++)
		for (size_t i = 0; trial->latency[arm][role] && i < BINS; i++) {
			if (!i)
				ab_latency_bins(trial->latency[arm][role], low_ns, high_ns, bins[arm], BINS);
			plot.y.high = fmax(plot.y.high, bins[arm][i] * 100);
		}
	plot.x.low = low_ns / 1000;
	plot.x.high = high_ns / 1000;
	svg_begin(&plot, ab_latency_name(role));
	for (int arm = 0; arm < ARMS; arm++) {
		for (size_t i = 0; i < BINS; i++) { /* steps: a bin is as wide as it is */
			double step = log(high_ns / low_ns) / BINS;

			x[2 * i] = low_ns / 1000 * exp(step * (double)i);
			x[2 * i + 1] = low_ns / 1000 * exp(step * (double)(i + 1));
			y[2 * i] = y[2 * i + 1] = trial->latency[arm][role] ? bins[arm][i] * 100 : NAN;
		}
		svg_line(&plot, arm == ARM_A ? "a" : "b", x, y, 2 * (size_t)BINS);
	}
	svg_end(&plot);
	return true;
}
