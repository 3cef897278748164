/* SPDX-License-Identifier: BSD-2-Clause */
/* Plots as inline SVG: two axes, linear or logarithmic, and marks on them. Colours come from the page's style: classes "a" and "b". */
#ifndef SMACCEL_CLI_SVG_H
#define SMACCEL_CLI_SVG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Writes `text` with what means something to HTML replaced. */
void svg_text(FILE *out, const char *text);

struct svg_axis {
	double low, high; /* of the data; svg_begin() widens a range of nothing */
	bool logarithmic; /* low > 0 */
	const char *unit; /* of the labels, as value_text() takes it */
	const char *title;
	/* Positions and labels of one's own, instead of round numbers; NULL: round numbers. */
	const double *ticks;
	const char *const *labels;
	size_t tick_count;
};

struct svg_plot {
	FILE *out;
	struct svg_axis x, y;
	double width, height;            /* of the picture */
	double left, top, right, bottom; /* the inner frame; set by svg_begin() */
};

void svg_begin(struct svg_plot *plot, const char *title);
void svg_end(const struct svg_plot *plot);
double svg_x(const struct svg_plot *plot, double value);
double svg_y(const struct svg_plot *plot, double value);
/* Points that are not finite break the line. */
void svg_line(const struct svg_plot *plot, const char *class, const double *x, const double *y, size_t count);
void svg_dot(const struct svg_plot *plot, const char *class, double x, double y, const char *tip);

#endif
