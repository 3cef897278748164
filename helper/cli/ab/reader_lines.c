/* SPDX-License-Identifier: BSD-2-Clause */
/* Readers that are a list of lines to look for: wrk, ab, pgbench, sockperf. */
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reader.h"

enum kind {
	VALUE,    /* (number) */
	TIME,     /* (number)(us|ms|s) */
	QUANTILE, /* (percent) ... (number)(unit, may be missing) */
	MAXIMUM,  /* (number)(unit, may be missing): of the latency */
};

struct line {
	const char *reader;
	const char *pattern; /* POSIX extended, for one line */
	enum kind kind;
	const char *name; /* of a quantile: its family */
	const char *unit;
	double scale; /* of a value; of a quantile without a unit: to us */
	bool higher_is_better, is_headline;
};

#define NUMBER "([0-9]+\\.?[0-9]*)"

static const struct line lines[] = {
	{ "wrk", "^Requests/sec: +" NUMBER, VALUE, "requests", "1/s", 1, true, true },
	{ "wrk", "^ +Latency +" NUMBER "(us|ms|s|m)", TIME, "latency mean", "us", 1, false, false },
	{ "wrk", "^ +Latency +[0-9.]+[a-z]+ +[0-9.]+[a-z]+ +" NUMBER "(us|ms|s|m)", MAXIMUM, "latency", "us", 1, false,
	  false },
	{ "wrk", "^ +" NUMBER "% +" NUMBER "(us|ms|s|m)", QUANTILE, "latency", "us", 1, false, false },
	{ "ab", "^Requests per second: +" NUMBER, VALUE, "requests", "1/s", 1, true, true },
	{ "ab", "^Time per request: +" NUMBER " \\[ms\\] \\(mean\\)$", VALUE, "latency mean", "us", 1000, false,
	  false },
	{ "ab", "^Failed requests: +" NUMBER, VALUE, "failed requests", "", 1, false, false },
	{ "ab", "^ *" NUMBER "% +" NUMBER, QUANTILE, "latency", "us", 1000, false, false },
	{ "pgbench", "^tps = " NUMBER, VALUE, "transactions", "1/s", 1, true, true },
	{ "pgbench", "^latency average = " NUMBER " ms", VALUE, "latency mean", "us", 1000, false, false },
	{ "pgbench", "^latency stddev = " NUMBER " ms", VALUE, "latency deviation", "us", 1000, false, false },
	{ "sockperf", "Summary: Latency is " NUMBER " usec", VALUE, "latency mean", "us", 1, false, true },
	{ "sockperf", "Summary: Round trip is " NUMBER " usec", VALUE, "round trip mean", "us", 1, false, true },
	{ "sockperf", "Summary: Message Rate is " NUMBER, VALUE, "messages", "1/s", 1, true, true },
	{ "sockperf", "Summary: BandWidth is " NUMBER, VALUE, "bandwidth", "MB/s", 1, true, false },
	{ "sockperf", "---> percentile +" NUMBER " *= *" NUMBER, QUANTILE, "latency", "us", 1, false, false },
	{ "sockperf", "---> <MAX> observation *= *" NUMBER, MAXIMUM, "latency", "us", 1, false, false },
};

#define LINE_COUNT (sizeof(lines) / sizeof(lines[0]))
#define MATCHES 4
#define WORD_BYTES 32

static const char *word(char buffer[WORD_BYTES], const char *text, const regmatch_t *match)
{
	buffer[0] = '\0';
	if (match->rm_so >= 0)
		snprintf(buffer, WORD_BYTES, "%.*s", (int)(match->rm_eo - match->rm_so), text + match->rm_so);
	return buffer;
}

/* What one unit of time is in us; `otherwise` if the text names none. */
static double unit_us(const char *unit, double otherwise)
{
	static const struct {
		const char *name;
		double us;
	} units[] = { { "us", 1 }, { "ms", 1000 }, { "s", 1e6 }, { "m", 60e6 } };

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (!strcmp(unit, units[i].name))
			return units[i].us;
	return otherwise;
}

static void take(const struct line *line, const char *text, const regmatch_t *match, const struct ab_sink *sink)
{
	char first[WORD_BYTES], second[WORD_BYTES], third[WORD_BYTES];
	double number = strtod(word(first, text, &match[1]), NULL);

	word(second, text, &match[2]);
	word(third, text, &match[3]);
	switch (line->kind) {
	case VALUE:
		number *= line->scale;
		ab_sink_value(sink, line->name, line->unit, line->higher_is_better, line->is_headline, number);
		break;
	case TIME:
		number *= unit_us(second, line->scale);
		ab_sink_value(sink, line->name, line->unit, line->higher_is_better, line->is_headline, number);
		break;
	case QUANTILE:
		ab_sink_quantile(sink, line->name, number / 100, strtod(second, NULL) * unit_us(third, line->scale));
		break;
	case MAXIMUM:
		ab_sink_quantile(sink, line->name, 1, number * unit_us(second, line->scale));
		break;
	}
}

static void look(const struct line *line, const char *text, const struct ab_sink *sink)
{
	regmatch_t match[MATCHES];
	regex_t regex;

	if (regcomp(&regex, line->pattern, REG_EXTENDED | REG_NEWLINE))
		return; /* the unit test reads each of them */
	for (const char *at = text; !regexec(&regex, at, MATCHES, match, at > text ? REG_NOTBOL : 0);) {
		take(line, at, match, sink);
		at += match[0].rm_eo;
		if (!*at)
			break;
	}
	regfree(&regex);
}

void ab_reader_lines(const struct ab_reader *self, const char *text, const struct ab_sink *sink)
{
	for (size_t i = 0; i < LINE_COUNT; i++)
		if (!strcmp(lines[i].reader, self->name))
			look(&lines[i], text, sink);
}
