/* SPDX-License-Identifier: BSD-2-Clause */
/* Plots as inline SVG. */
#include "svg.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

#include "utf8.h"
#include "values.h"

#define TICKS_WANTED 5
#define TICKS_MAX 40
#define MARGIN_LEFT 92
#define MARGIN_RIGHT 16
#define MARGIN_TOP 12
#define MARGIN_BOTTOM 48

void svg_text(FILE *out, const char *text)
{
	for (size_t length; *text; text += length ? length : 1) {
		length = utf8_length(text);
		switch (*text) {
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '&':
			fputs("&amp;", out);
			break;
		case '"':
			fputs("&quot;", out);
			break;
		default:
			if ((unsigned char)*text < ' ')
				fputc(' ', out);
			else
				fprintf(out, "%.*s", (int)(length ? length : sizeof(UTF8_REPLACEMENT) - 1),
					length ? text : UTF8_REPLACEMENT);
		}
	}
}

/* 0..1 along the axis. */
static double place(const struct svg_axis *axis, double value)
{
	if (axis->logarithmic)
		return (log(value) - log(axis->low)) / (log(axis->high) - log(axis->low));
	return (value - axis->low) / (axis->high - axis->low);
}

double svg_x(const struct svg_plot *plot, double value)
{
	return plot->left + place(&plot->x, value) * (plot->right - plot->left);
}

double svg_y(const struct svg_plot *plot, double value)
{
	return plot->bottom - place(&plot->y, value) * (plot->bottom - plot->top);
}

static void widen(struct svg_axis *axis)
{
	if (!(axis->low <= axis->high)) { /* nothing was drawn into it */
		axis->low = axis->logarithmic ? 1 : 0;
		axis->high = axis->logarithmic ? 10 : 1;
	}
	if (axis->logarithmic) {
		double room = pow(axis->high / axis->low, 0.05);

		if (room < 1.001)
			room = 1.05;
		if (!isfinite(axis->high * room))
			return;
		axis->low /= room;
		axis->high *= room;
	} else {
		double room = (axis->high - axis->low) * 0.05;

		if (room <= 0)
			room = axis->high != 0 ? fabs(axis->high) * 0.05 : 1;
		axis->low -= room;
		axis->high += room;
	}
}

/* 1, 2 or 5 times a power of ten: the smallest step that gives at most about TICKS_WANTED of them. */
static double round_step(double range)
{
	double least = range / TICKS_WANTED, power = pow(10, floor(log10(least)));

	for (int i = 0; i < 3; i++) {
		static const double factors[] = { 1, 2, 5 };

		if (factors[i] * power >= least)
			return factors[i] * power;
	}
	return 10 * power;
}

static size_t linear_ticks(const struct svg_axis *axis, double ticks[TICKS_MAX])
{
	double step = round_step(axis->high - axis->low);
	size_t count = 0;

	for (double at = ceil(axis->low / step) * step; at <= axis->high && count < TICKS_MAX; at += step)
		ticks[count++] = fabs(at) < step / 1e6 ? 0 : at;
	return count;
}

static size_t logarithmic_ticks(const struct svg_axis *axis, double ticks[TICKS_MAX])
{
	double decades = log10(axis->high) - log10(axis->low);
	size_t count = 0;

	if (decades < 0.8) /* so narrow that round numbers at even steps are denser */
		return linear_ticks(axis, ticks);
	for (double power = pow(10, floor(log10(axis->low))); power <= axis->high && count < TICKS_MAX; power *= 10)
		for (int i = 0; i < 3; i++) {
			double at = power * (i == 0 ? 1 : i == 1 ? 2 : 5);

			if (at >= axis->low && at <= axis->high && (i == 0 || decades < 3) && count < TICKS_MAX)
				ticks[count++] = at;
		}
	return count;
}

static size_t ticks_of(const struct svg_axis *axis, double ticks[TICKS_MAX])
{
	size_t count = 0;

	if (!axis->ticks)
		return axis->logarithmic ? logarithmic_ticks(axis, ticks) : linear_ticks(axis, ticks);
	for (; count < axis->tick_count && count < TICKS_MAX; count++)
		ticks[count] = axis->ticks[count];
	return count;
}

/* "10 ms" of "10.0 ms", "0" of "0 us". */
static const char *shorten(char label[VALUE_BYTES], double value)
{
	char *point = strchr(label, '.');
	char *end = point;

	if (value == 0)
		return "0";
	while (end && (isdigit((unsigned char)end[1])))
		end++;
	if (!point)
		return label;
	char *rest = end + 1;

	while (end > point && *end == '0')
		end--;
	memmove(end == point ? point : end + 1, rest, strlen(rest) + 1);
	return label;
}

static void draw_ticks(const struct svg_plot *plot, bool is_x)
{
	const struct svg_axis *axis = is_x ? &plot->x : &plot->y;
	double ticks[TICKS_MAX];
	size_t count = ticks_of(axis, ticks);
	char label[VALUE_BYTES];

	for (size_t i = 0; i < count; i++) {
		double at = is_x ? svg_x(plot, ticks[i]) : svg_y(plot, ticks[i]);

		value_text(label, ticks[i], axis->unit);
		if (is_x)
			fprintf(plot->out,
				"<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>"
				"<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">",
				at, at, plot->top, plot->bottom, at, plot->bottom + 17);
		else
			fprintf(plot->out,
				"<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>"
				"<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">",
				plot->left, plot->right, at, at, plot->left - 7, at + 4);
		svg_text(plot->out, axis->labels ? axis->labels[i] : shorten(label, ticks[i]));
		fputs("</text>\n", plot->out);
	}
}

void svg_begin(struct svg_plot *plot, const char *title)
{
	widen(&plot->x);
	widen(&plot->y);
	plot->left = MARGIN_LEFT;
	plot->top = MARGIN_TOP;
	plot->right = plot->width - MARGIN_RIGHT;
	plot->bottom = plot->height - MARGIN_BOTTOM;
	fprintf(plot->out, "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"", plot->width, plot->height);
	svg_text(plot->out, title);
	fputs("\">\n", plot->out);
	draw_ticks(plot, true);
	draw_ticks(plot, false);
	fprintf(plot->out, "<rect class=\"frame\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>", plot->left,
		plot->top, plot->right - plot->left, plot->bottom - plot->top);
	fprintf(plot->out, "<text class=\"title\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">",
		(plot->left + plot->right) / 2, plot->height - 8);
	svg_text(plot->out, plot->x.title);
	fprintf(plot->out,
		"</text><text class=\"title\" transform=\"translate(14 %.1f) rotate(-90)\" text-anchor=\"middle\">",
		(plot->top + plot->bottom) / 2);
	svg_text(plot->out, plot->y.title);
	fputs("</text>\n", plot->out);
}

void svg_end(const struct svg_plot *plot)
{
	fputs("</svg>\n", plot->out);
}

void svg_line(const struct svg_plot *plot, const char *class, const double *x, const double *y, size_t count)
{
	bool down = false;

	fprintf(plot->out, "<path class=\"line %s\" d=\"", class);
	for (size_t i = 0; i < count; i++) {
		bool good = isfinite(x[i]) && isfinite(y[i]);

		if (good)
			fprintf(plot->out, "%c%.1f %.1f", down ? 'L' : 'M', svg_x(plot, x[i]), svg_y(plot, y[i]));
		down = good;
	}
	fputs("\"/>\n", plot->out);
}

void svg_dot(const struct svg_plot *plot, const char *class, double x, double y, const char *tip)
{
	if (!isfinite(x) || !isfinite(y))
		return;
	fprintf(plot->out, "<circle class=\"dot %s\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\"><title>", class, svg_x(plot, x),
		svg_y(plot, y));
	svg_text(plot->out, tip);
	fputs("</title></circle>\n", plot->out);
}
