/* SPDX-License-Identifier: BSD-2-Clause */
/* The ratios of all metrics on one logarithmic axis, best to be read from the line at 1. */
#include <math.h>

#include "plots.h"

#define ROW 22.0
#define NAMES 210.0
#define NUMBERS 165.0
#define TOP 14.0
#define FOOT 40.0
#define RATIO_MAX 10.0 /* what lies outside is cut: one wild metric must not press the others together */

struct frame {
	double reach; /* the axis goes from 1/reach to reach */
	double left, right, bottom;
};

static double at(const struct frame *frame, double ratio)
{
	double part = (log(fmin(fmax(ratio, 1 / frame->reach), frame->reach)) / log(frame->reach) + 1) / 2;

	return frame->left + part * (frame->right - frame->left);
}

static bool is_drawn(const struct plot_ratio *row)
{
	return isfinite(row->ratio.value);
}

static const char *class_of(enum statistics_verdict verdict)
{
	static const char *const classes[VERDICT_COUNT] = { "unknown", "faster", "slower", "same" };

	return classes[verdict];
}

static void draw_axis(FILE *out, const struct frame *frame, const char *title)
{
	static const double ticks[] = { 0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 0.98, 1, 1.02, 1.05, 1.1, 1.25, 2, 5, 10 };
	double last = -100;

	for (size_t i = 0; i < sizeof(ticks) / sizeof(ticks[0]); i++) {
		double x = at(frame, ticks[i]), one = at(frame, 1);

		/* 1 always has its label; the others where there is room. */
		if (ticks[i] > frame->reach || ticks[i] < 1 / frame->reach ||
		    (ticks[i] != 1 && (x - last < 40 || fabs(x - one) < 40)))
			continue;
		last = x;
		fprintf(out,
			"<line class=\"%s\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>"
			"<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%g</text>\n",
			ticks[i] == 1 ? "one" : "grid", x, x, TOP, frame->bottom, x, frame->bottom + 16, ticks[i]);
	}
	fprintf(out, "<text class=\"title\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n", at(frame, 1),
		frame->bottom + 34, title);
}

static void draw_row(FILE *out, const struct plot_ratio *row, const struct frame *frame, double y)
{
	const struct statistics_interval *ratio = &row->ratio;
	const char *class = class_of(row->verdict);

	fprintf(out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">", row->decides ? "strong" : "",
		NAMES - 8, y + 4);
	svg_text(out, row->name);
	fprintf(out, "<tspan class=\"direction\">%s</tspan></text>\n", row->higher_is_better ? " &#8593;" : " &#8595;");
	if (ratio->is_interval)
		fprintf(out, "<line class=\"interval %s\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>", class,
			at(frame, ratio->low), at(frame, ratio->high), y, y);
	fprintf(out, "<circle class=\"estimate %s\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>", class, at(frame, ratio->value),
		y);
	fprintf(out, "<text x=\"%.1f\" y=\"%.1f\">%.3f", frame->right + 10, y + 4, ratio->value);
	if (ratio->is_interval)
		fprintf(out, " (%.3g..%.3g)", ratio->low, ratio->high);
	fputs("</text>\n", out);
}

bool plot_ratios(FILE *out, const struct plot_ratio *rows, size_t count, double margin, const char *title)
{
	struct frame frame = { .reach = 1.1, .left = NAMES, .right = PLOT_WIDTH - NUMBERS };
	double y = TOP + ROW / 2;
	size_t drawn = 0;

	for (size_t i = 0; i < count; i++) {
		if (!is_drawn(&rows[i]))
			continue;
		drawn++;
		frame.reach = fmax(frame.reach, fmax(rows[i].ratio.high, 1 / rows[i].ratio.low) * 1.05);
	}
	if (!drawn)
		return false;
	frame.reach = fmin(fmax(frame.reach, margin * 1.5), RATIO_MAX);
	frame.bottom = TOP + (double)drawn * ROW;
	fprintf(out, "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"ratios\">\n", PLOT_WIDTH,
		frame.bottom + FOOT);
	fprintf(out, "<rect class=\"margin\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n",
		at(&frame, 1 / margin), TOP, at(&frame, margin) - at(&frame, 1 / margin), frame.bottom - TOP);
	draw_axis(out, &frame, title);
	for (size_t i = 0; i < count; i++) {
		if (!is_drawn(&rows[i]))
			continue;
		draw_row(out, &rows[i], &frame, y);
		y += ROW;
	}
	fputs("</svg>\n", out);
	return true;
}
