/* SPDX-License-Identifier: BSD-2-Clause */
/* redis-benchmark, in its three forms: text, -q and --csv. Each of its tests ("GET") has numbers of its own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reader.h"

#define LINE_BYTES 512
#define TEST_BYTES 33
#define SUMMARY_COLUMNS 6 /* avg min p50 p95 p99 max */
#define CSV_COLUMNS 8     /* test rps avg min p50 p95 p99 max */

/* Of the summary's columns, as quantiles; negative: none. */
static const double summary_quantiles[SUMMARY_COLUMNS] = { -1, 0, 0.5, 0.95, 0.99, 1 };

static void put_rate(const struct ab_sink *sink, const char *test, double rate)
{
	char name[AB_NAME_BYTES];

	snprintf(name, sizeof(name), "%s requests", test);
	ab_sink_value(sink, name, "1/s", true, true, rate);
}

static void put_latency(const struct ab_sink *sink, const char *test, unsigned column, double value_ms)
{
	char name[AB_NAME_BYTES];

	if (summary_quantiles[column] >= 0) {
		snprintf(name, sizeof(name), "%s latency", test);
		ab_sink_quantile(sink, name, summary_quantiles[column], value_ms * 1000);
	} else {
		snprintf(name, sizeof(name), "%s latency mean", test);
		ab_sink_value(sink, name, "us", false, false, value_ms * 1000);
	}
}

/* "GET","12345.67","0.101",... : true if the line is one, the header aside. */
static bool read_csv(const char *line, const struct ab_sink *sink)
{
	char copy[LINE_BYTES], test[TEST_BYTES] = "", *rest = NULL;
	unsigned column = 0;

	if (line[0] != '"' || !strncmp(line, "\"test\"", 6))
		return line[0] == '"';
	snprintf(copy, sizeof(copy), "%s", line);
	for (char *field = strtok_r(copy, "\"", &rest); field && column < CSV_COLUMNS;
	     field = strtok_r(NULL, "\"", &rest)) {
		if (!strcmp(field, ","))
			continue;
		if (column == 0)
			snprintf(test, sizeof(test), "%.32s", field);
		else if (column == 1)
			put_rate(sink, test, strtod(field, NULL));
		else
			put_latency(sink, test, column - 2, strtod(field, NULL));
		column++;
	}
	return true;
}

/* "GET: 12345.67 requests per second, p50=0.215 msec" */
static bool read_quiet(const char *line, const struct ab_sink *sink)
{
	const char *end = strstr(line, " requests per second, p50="), *colon = strstr(line, ": ");
	char test[TEST_BYTES];

	if (!end || !colon || colon > end)
		return false;
	snprintf(test, sizeof(test), "%.*s", (int)(colon - line > 32 ? 32 : colon - line), line);
	put_rate(sink, test, strtod(colon + 2, NULL));
	put_latency(sink, test, 2, strtod(strchr(end, '=') + 1, NULL));
	return true;
}

static void read_summary(const char *line, const char *test, const struct ab_sink *sink)
{
	double values[SUMMARY_COLUMNS];
	char *next;

	for (unsigned i = 0; i < SUMMARY_COLUMNS; i++, line = next) {
		values[i] = strtod(line, &next);
		if (next == line)
			return;
	}
	for (unsigned i = 0; i < SUMMARY_COLUMNS; i++)
		put_latency(sink, test, i, values[i]);
}

/* The long form; `test` is the section, *below: lines since the title of the latency summary. */
static void read_text(const char *line, char test[TEST_BYTES], int *below, const struct ab_sink *sink)
{
	double rate;

	if (!strncmp(line, "====== ", 7)) {
		const char *end = strstr(line + 7, " ======");
		int bytes = end ? (int)(end - line - 7) : 0;

		snprintf(test, TEST_BYTES, "%.*s", bytes > 32 ? 32 : bytes, line + 7);
	} else if (strstr(line, "throughput summary: ")) {
		rate = strtod(strstr(line, "summary: ") + 9, NULL);
		put_rate(sink, test, rate);
	} else if (strstr(line, "latency summary (msec):")) {
		*below = 0;
	} else if (*below >= 0 && ++*below == 2) {
		read_summary(line, test, sink);
		*below = -1;
	}
}

void ab_reader_redis(const struct ab_reader *self, const char *text, const struct ab_sink *sink)
{
	char line[LINE_BYTES], test[TEST_BYTES] = "";
	int below = -1;

	(void)self;
	while (*text) {
		size_t bytes = strcspn(text, "\r\n"); /* progress is written over itself */
		const char *start;

		snprintf(line, sizeof(line), "%.*s", (int)(bytes < LINE_BYTES ? bytes : LINE_BYTES - 1), text);
		start = line + strspn(line, " ");
		if (bytes && !read_csv(start, sink) && !read_quiet(start, sink))
			read_text(start, test, &below, sink);
		text += bytes + (text[bytes] != '\0');
	}
}
