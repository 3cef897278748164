/* SPDX-License-Identifier: BSD-2-Clause */
/* A trial for the terminal, and what is computed from it for programs. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "fields.h"
#include "table.h"
#include "trial.h"

static const char *const arm_names[TRIAL_ARMS] = { [TRIAL_PLAIN] = "plain", [TRIAL_ACCELERATED] = "accelerated" };

static double real(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

/* ---- what it is, and how it stands ---- */

static void print_settings(const json_t *report)
{
	const json_t *guard = json_object_get(json_object_get(report, "settings"), "guard");
	char words[TRIAL_WORDS_BYTES];

	printf("selection   %s\n", trial_words_selection(words, report));
	if (guard)
		printf("guard       stops if p%g is worse by %g %%, of all requests or of those of %g s\n",
		       real(guard, "quantile") * 100, real(guard, "percent"), real(guard, "window_s"));
}

static void print_state(const json_t *report)
{
	char elapsed[TABLE_NUMBER_BYTES];
	const char *end = fields_text(report, "ended_by");

	table_format_seconds(elapsed, (uint64_t)real(report, "elapsed_s"));
	if (!strcmp(fields_text(report, "state"), "running") || !strcmp(fields_text(report, "state"), "starting"))
		printf("trial       running for %s\n", elapsed);
	else if (!strcmp(end, "guard"))
		printf("trial       ended by its guard after %s, for what it saw of %s\n", elapsed,
		       !strcmp(fields_text(report, "guard_saw"), "window") ? "the last requests" : "all requests");
	else
		printf("trial       ended after %s (%s)\n", elapsed, strcmp(end, "-") ? end : "the end is not known");
	if (json_is_true(json_object_get(report, "selection_off")))
		puts("            acceleration is off for what it selected; `smaccel trial stop` takes that back");
}

static void print_arms(const json_t *report)
{
	const json_t *arms = json_object_get(report, "arms");

	for (int arm = TRIAL_ARMS - 1; arm >= 0; arm--) {
		const json_t *one = json_object_get(arms, arm_names[arm]);
		char pairs[TABLE_NUMBER_BYTES], armed[TABLE_NUMBER_BYTES], bytes[TABLE_NUMBER_BYTES];

		printf("%-11s %s connections, %s of them armed, %s redirected\n", arm_names[arm],
		       table_format_count(pairs, fields_number(one, "pairs")),
		       table_format_count(armed, fields_number(one, "armed")),
		       table_format_bytes(bytes, fields_number(one, "redirected_bytes")));
	}
}

/* Connections that cannot be in either arm, as far as anybody has seen them. */
static void print_neither(const json_t *report)
{
	const json_t *unassigned = json_object_get(report, "unassigned"), *value;
	const char *reason, *separator = "";

	if (json_object_size(unassigned)) {
		printf("neither     ends closed before they were assigned: ");
		json_object_foreach ((json_t *)unassigned, reason, value) {
			printf("%s%" PRIu64 " %s", separator, (uint64_t)json_integer_value(value), reason);
			separator = ", ";
		}
		putchar('\n');
	}
	puts("            connections too short to qualify count in neither arm; those of processes that never had a\n"
	     "            connection that qualifies have not been seen at all");
	if (fields_number(report, "processes_ended"))
		printf("            %" PRIu64 " processes ended meanwhile; what they had recorded is counted\n",
		       fields_number(report, "processes_ended"));
	if (fields_number(report, "stuck_pairs"))
		printf("            %" PRIu64 " pairs are armed and cannot be made plain yet: in neither arm\n",
		       fields_number(report, "stuck_pairs"));
	if (fields_number(report, "latencies_lost"))
		printf("            %" PRIu64 " latencies found no room in their processes\n",
		       fields_number(report, "latencies_lost"));
	if (fields_number(report, "latencies_left_out"))
		printf("            %" PRIu64
		       " latencies are of ports beyond those that there is room for: left out of both "
		       "arms\n",
		       fields_number(report, "latencies_left_out"));
}

void trial_print_summary(const json_t *report)
{
	if (!strcmp(fields_text(report, "state"), "none")) {
		puts("no trial has run since the helper started (a trial ends with its helper)");
		return;
	}
	print_state(report);
	print_settings(report);
	print_arms(report);
	print_neither(report);
}

/* ---- what it has found ---- */

static const char *format_ns(char buffer[TABLE_NUMBER_BYTES], double ns)
{
	if (ns < 1e6)
		snprintf(buffer, TABLE_NUMBER_BYTES, "%.2f us", ns / 1e3);
	else if (ns < 1e9)
		snprintf(buffer, TABLE_NUMBER_BYTES, "%.2f ms", ns / 1e6);
	else
		snprintf(buffer, TABLE_NUMBER_BYTES, "%.2f s", ns / 1e9);
	return buffer;
}

#define INTERVAL_BYTES 64

static const char *format_interval(char buffer[INTERVAL_BYTES], const struct statistics_interval *log_ratio)
{
	if (log_ratio->is_interval)
		snprintf(buffer, INTERVAL_BYTES, "%.3f to %.3f", exp(log_ratio->low), exp(log_ratio->high));
	else
		strcpy(buffer, "-");
	return buffer;
}

static void print_requests(const struct trial_statistics *statistics)
{
	const struct histogram *plain = &statistics->requests[TRIAL_PLAIN];
	const struct histogram *accelerated = &statistics->requests[TRIAL_ACCELERATED];

	printf("\nby request  %s\n",
	       statistics->is_client
		       ? "from the last send of a request to the first byte of the response"
		       : "in the server, from the receive of a request to the first send of the response");
	printf("            %12s %12s %12s %8s   %s\n", "", "accelerated", "plain", "ratio", "95 % interval");
	printf("            %12s %12" PRIu64 " %12" PRIu64 "\n", "requests", accelerated->count, plain->count);
	for (unsigned metric = 0; metric < TRIAL_METRICS; metric++) {
		double a = trial_metric(plain, metric), b = trial_metric(accelerated, metric);
		char text_a[TABLE_NUMBER_BYTES], text_b[TABLE_NUMBER_BYTES], text[INTERVAL_BYTES];

		if (a > 0 && b > 0)
			printf("            %12s %12s %12s %8.3f   %s\n", trial_metric_name(metric),
			       format_ns(text_b, b), format_ns(text_a, a), b / a,
			       format_interval(text, &statistics->request_ratio[metric]));
	}
}

static void print_connections(const struct trial_statistics *statistics)
{
	char words[TRIAL_WORDS_BYTES];

	printf("\nby connection (each with the mean of its latencies)\n            %s\n            verdict: %s\n",
	       trial_words_connections(words, statistics), trial_words_verdict(statistics));
}

void trial_print_report(const json_t *report, const struct trial_statistics *statistics)
{
	const char *invalid = trial_invalid_why(report);

	trial_print_summary(report);
	if (invalid)
		printf("\nNOT VALID: %s\n", invalid);
	print_requests(statistics);
	print_connections(statistics);
}

/* ---- for programs ---- */

static json_t *requests_json(const struct trial_statistics *statistics, int arm)
{
	json_t *object = json_object();

	json_object_set_new(object, "count", json_integer((json_int_t)statistics->requests[arm].count));
	for (unsigned metric = 0; metric < TRIAL_METRICS; metric++)
		json_object_set_new(object, trial_metric_name(metric),
				    json_real(trial_metric(&statistics->requests[arm], metric)));
	return object;
}

/* {name: {"ratio", "low", "high"}}, of those that have an interval. */
static json_t *ratios_json(const struct trial_statistics *statistics)
{
	json_t *object = json_object();

	for (unsigned metric = 0; metric < TRIAL_METRICS; metric++) {
		const struct statistics_interval *ratio = &statistics->request_ratio[metric];

		if (ratio->is_interval)
			json_object_set_new(object, trial_metric_name(metric),
					    json_pack("{sf sf sf}", "ratio", exp(ratio->value), "low", exp(ratio->low),
						      "high", exp(ratio->high)));
	}
	return object;
}

static json_t *connections_json(const struct trial_statistics *statistics)
{
	const struct statistics_interval *ratio = &statistics->log_ratio;
	json_t *object =
		json_pack("{sI sI sf ss}", "accelerated", (json_int_t)statistics->connections_seen[TRIAL_ACCELERATED],
			  "plain", (json_int_t)statistics->connections_seen[TRIAL_PLAIN], "p", statistics->p, "verdict",
			  statistics_verdict_name(statistics->verdict));

	if (ratio->is_interval)
		json_object_update_new(object, json_pack("{sf sf sf}", "ratio", exp(ratio->value), "low",
							 exp(ratio->low), "high", exp(ratio->high)));
	return object;
}

void trial_add_statistics(json_t *report, const struct trial_statistics *statistics)
{
	const char *invalid = trial_invalid_why(report);
	json_t *object =
		json_pack("{ss so so so so sb}", "role", statistics->is_client ? "client" : "server",
			  "requests_accelerated", requests_json(statistics, TRIAL_ACCELERATED), "requests_plain",
			  requests_json(statistics, TRIAL_PLAIN), "requests_ratio", ratios_json(statistics),
			  "connections", connections_json(statistics), "valid", invalid == NULL);

	if (invalid)
		json_object_set_new(object, "invalid_because", json_string(invalid));
	json_object_set_new(report, "statistics", object);
}
