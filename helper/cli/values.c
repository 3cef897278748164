/* SPDX-License-Identifier: BSD-2-Clause */
#include "values.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "table.h"
#include "words.h"

/* Three digits that mean something. */
static void add_number(char *buffer, size_t bytes, double value)
{
	char count[TABLE_NUMBER_BYTES];
	double size = fabs(value);

	if (size >= 1000 && size < 1e18)
		words_add(buffer, bytes, "%s%s", value < 0 ? "-" : "",
			  table_format_count(count, (uint64_t)(size + 0.5)));
	else
		words_add(buffer, bytes,
			  size >= 100 || size == 0 ? "%.0f"
			  : size >= 10             ? "%.1f"
			  : size >= 0.1            ? "%.2f"
						   : "%.3g",
			  value);
}

const char *value_text(char buffer[VALUE_BYTES], double value, const char *unit)
{
	static const struct {
		const char *unit, *shown;
		double least, factor;
	} scales[] = {
		{ "us", "s", 1e6, 1e-6 },
		{ "us", "ms", 1e3, 1e-3 },
		{ "us", "us", 0, 1 },
		{ "s", "s", 1, 1 },
		{ "s", "ms", 1e-3, 1e3 },
		{ "s", "us", 0, 1e6 },
		{ "bit/s", "Gbit/s", 1e9, 1e-9 },
		{ "bit/s", "Mbit/s", 0, 1e-6 },
		{ "B/s", "MB/s", 0, 1e-6 },
		{ "1/s", "/s", 0, 1 },
	};

	buffer[0] = '\0';
	if (!isfinite(value)) {
		words_add(buffer, VALUE_BYTES, "-");
		return buffer;
	}
	for (size_t i = 0; i < sizeof(scales) / sizeof(scales[0]); i++) {
		if (strcmp(unit, scales[i].unit) != 0 || fabs(value) < scales[i].least)
			continue;
		add_number(buffer, VALUE_BYTES, value * scales[i].factor);
		words_add(buffer, VALUE_BYTES, "%s%s", *scales[i].shown == '/' ? "" : " ", scales[i].shown);
		return buffer;
	}
	add_number(buffer, VALUE_BYTES, value);
	words_add(buffer, VALUE_BYTES, "%s%.16s", *unit ? " " : "", unit);
	return buffer;
}

const char *value_text_p(char buffer[VALUE_BYTES], double p)
{
	snprintf(buffer, VALUE_BYTES, p < 0.0005 ? "<0.001" : "%.3f", p);
	return buffer;
}

const char *value_quantile_name(char buffer[QUANTILE_BYTES], double quantile)
{
	if (quantile >= 1)
		return strcpy(buffer, "max");
	if (quantile <= 0)
		return strcpy(buffer, "min");
	snprintf(buffer, QUANTILE_BYTES, "p%.6g", quantile * 100);
	return buffer;
}
