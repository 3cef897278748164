/* SPDX-License-Identifier: BSD-2-Clause */
/* Readers: numbers out of what a load generator prints. Pure: text in, values out. Latencies come out in us. */
#ifndef SMACCEL_CLI_AB_READER_H
#define SMACCEL_CLI_AB_READER_H

#include <regex.h>

#include "metrics.h"

/* Where a reader puts what it finds. */
struct ab_sink {
	struct ab_metrics *metrics;
	struct ab_values *values;
};

struct ab_reader {
	const char *name; /* of the program, and of --reader */
	void (*read)(const struct ab_reader *self, const char *text, const struct ab_sink *sink);
};

/* NULL: there is none of that name. */
const struct ab_reader *ab_reader_find(const char *name);
/* The reader for a command: the first word of argv whose base name a reader has ("taskset -c 1 wrk ..."). NULL: none. */
const struct ab_reader *ab_reader_for(const char *const *argv);
/* "ab, fio, ..." for messages. */
const char *ab_reader_names(void);

/* ---- one file each ---- */
void ab_reader_lines(const struct ab_reader *self, const char *text, const struct ab_sink *sink);
void ab_reader_redis(const struct ab_reader *self, const char *text, const struct ab_sink *sink);
void ab_reader_iperf3(const struct ab_reader *self, const char *text, const struct ab_sink *sink);
void ab_reader_fio(const struct ab_reader *self, const char *text, const struct ab_sink *sink);

/* What readers share. `family` may be ""; the metric is "FAMILY pNN". */
void ab_sink_quantile(const struct ab_sink *sink, const char *family, double quantile, double value_us);
void ab_sink_value(const struct ab_sink *sink, const char *name, const char *unit, bool higher_is_better,
		   bool is_headline, double value);

/* ---- pattern.c: --metric NAME[:UNIT][:higher|lower]=REGEX ---- */
struct ab_pattern {
	struct ab_metric metric;
	regex_t regex;
};
/* 0, or -1 with what is wrong in `why`. Without a direction, lower is better, but for units that end in "/s". */
int ab_pattern_parse(struct ab_pattern *pattern, const char *text, char why[160]);
enum ab_found {
	AB_FOUND_NONE = 0,
	AB_FOUND_NUMBER, /* it is in the sink */
	AB_FOUND_ODD /* what the parenthesis matched begins as a number, but is none, or goes on as another behind it */
};
#define AB_ODD_BYTES 48
/* The first parenthesis (or the start of the whole match) of each match is a number; several: their median. One odd match spoils all:
 * the others alone would be a biased choice. It is then in `odd`. */
enum ab_found ab_pattern_read(const struct ab_pattern *pattern, const char *text, const struct ab_sink *sink,
			      char odd[AB_ODD_BYTES]);
void ab_pattern_free(struct ab_pattern *pattern);

#endif
