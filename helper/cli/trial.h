/* SPDX-License-Identifier: BSD-2-Clause */
/* smaccel trial: what its files share. The helper's JSON is described in helper/trial_report.c. */
#ifndef SMACCEL_CLI_TRIAL_H
#define SMACCEL_CLI_TRIAL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "../wire/histogram.h"
#include "../wire/latency.h"
#include "../wire/protocol.h"
#include "statistics.h"

/* ---- trial_settings.c: words into what the helper is told ---- */
/* "90", "90s", "5m", "2h", "1d": seconds, from 1 to a year. */
bool trial_parse_duration(const char *text, uint32_t *seconds);
/* "p99 worse by 20%", "median worse by 5 %". */
bool trial_parse_guard(const char *text, struct wire_trial *settings);
bool trial_parse_window(const char *text, uint16_t *seconds); /* a duration, 3 to 65535 s */
/* A number or a user's name. */
bool trial_parse_uid(const char *text, uint32_t *uid);
bool trial_parse_percent(const char *text, uint32_t *permyriad); /* above 0, below 100 */
bool trial_parse_port(const char *text, uint16_t *port_h);

/* ---- trial_statistics.c ---- */
#define TRIAL_METRICS 6u
#define TRIAL_METRIC_MAX 5u         /* the index of "max" */
#define TRIAL_CONNECTIONS_MAX 1000u /* an arm: what the intervals are made from */

enum { TRIAL_PLAIN, TRIAL_ACCELERATED, TRIAL_ARMS };

struct trial_connections {
	size_t count;                         /* of values; thinned out evenly if there are more connections */
	double values[TRIAL_CONNECTIONS_MAX]; /* the mean latency of each connection, ns, sorted */
};

/* What the report says: of one role, all ports together. */
struct trial_statistics {
	bool is_client; /* request to response, else receive to send */
	struct histogram requests[TRIAL_ARMS];
	struct statistics_interval request_ratio[TRIAL_METRICS]; /* ln of accelerated / plain; of those that have one */
	uint64_t connections_seen[TRIAL_ARMS];
	struct trial_connections connections[TRIAL_ARMS];
	struct statistics_interval log_ratio; /* of the arms' medians over connections, accelerated / plain */
	double p;                             /* Mann and Whitney's, over connections */
	enum statistics_verdict verdict;
};
/* Differences within are not worth having. */
#define TRIAL_MARGIN 0.02

/* From the helper's report. False: out of memory. */
bool trial_statistics_make(struct trial_statistics *out, const json_t *report);
/* Of one arm, by name: "mean", "p50", "p90", "p99", "p99.9", "max"; in ns, 0 if there is nothing. */
const char *trial_metric_name(unsigned metric);
double trial_metric_part(unsigned metric); /* 0.99; 0 for the mean */
double trial_metric(const struct histogram *requests, unsigned metric);
/* Why the trial proves nothing; NULL: treatment is proved in both arms. */
const char *trial_invalid_why(const json_t *report);

/* Of a row of the report: TRIAL_PLAIN, TRIAL_ACCELERATED, or -1; and whether it is the clients', or the servers'. */
int trial_row_arm(const json_t *row);
bool trial_row_has_role(const json_t *row, bool is_client);

/* ---- trial_parts.c: intervals for the figures of all requests ---- */
struct trial_parts {
	struct histogram arms[TRIAL_ARMS][LATENCY_PARTS];
};
/* ln of accelerated / plain; is_interval false where there is none. */
void trial_parts_intervals(const struct trial_parts *parts, struct statistics_interval out[TRIAL_METRICS]);
/* Fills in request_ratio, if the report has the parts of all requests. */
void trial_parts_read(struct trial_statistics *statistics, const json_t *report);

/* ---- trial_words.c: sentences that the terminal and the page have in common ---- */
#define TRIAL_WORDS_BYTES 256
const char *trial_words_selection(char buffer[TRIAL_WORDS_BYTES], const json_t *report);
const char *trial_words_connections(char buffer[TRIAL_WORDS_BYTES], const struct trial_statistics *statistics);
const char *trial_words_verdict(const struct trial_statistics *statistics);

/* ---- trial_html.c ---- */
void trial_report_html(FILE *out, const json_t *report, const struct trial_statistics *statistics);

/* ---- trial_report.c ---- */
void trial_print_summary(const json_t *report);
void trial_print_report(const json_t *report, const struct trial_statistics *statistics);
/* Adds "statistics" to the report. */
void trial_add_statistics(json_t *report, const struct trial_statistics *statistics);

#endif
