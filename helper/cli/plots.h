/* SPDX-License-Identifier: BSD-2-Clause */
/* Plots that compare two arms, in the page's colours "a" and "b". Each returns false if there is nothing to draw, and then has written
 * nothing. */
#ifndef SMACCEL_CLI_PLOTS_H
#define SMACCEL_CLI_PLOTS_H

#include "bins.h"
#include "statistics.h"
#include "svg.h"

#define PLOT_ARMS BINS_ARMS
#define PLOT_WIDTH 760.0
#define PLOT_HEIGHT 320.0
extern const char *const plot_arm_class[PLOT_ARMS];
/* Widens the axis to hold a value that can be drawn; begin with low INFINITY, high -INFINITY. */
void plot_include(struct svg_axis *axis, double value);

/* ---- plot_ratios.c: ratios with their intervals on one logarithmic axis ---- */
struct plot_ratio {
	const char *name;
	bool higher_is_better, decides;
	struct statistics_interval ratio; /* value NAN: not drawn */
	enum statistics_verdict verdict;
};
/* margin: 1.02. title: of the axis, "B/A". */
bool plot_ratios(FILE *out, const struct plot_ratio *rows, size_t count, double margin, const char *title);

/* ---- plot_quantiles.c: percentile curves ---- */
#define PLOT_QUANTILES_MAX 160u
struct plot_quantile {
	double quantile, value[PLOT_ARMS]; /* us */
};
/* At most PLOT_QUANTILES_MAX points, which it sorts. names: of the arms. */
bool plot_quantiles(FILE *out, const char *title, struct plot_quantile *points, size_t count,
		    const char *const names[PLOT_ARMS]);

/* ---- plot_distribution.c ---- */
bool plot_distribution(FILE *out, const char *title, const struct histogram *const arms[PLOT_ARMS]);

#endif
