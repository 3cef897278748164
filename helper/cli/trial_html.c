/* SPDX-License-Identifier: BSD-2-Clause */
/* The report of a trial as one page. Arm "a" is plain, arm "b" accelerated, as in the page of `smaccel ab`. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "fields.h"
#include "page.h"
#include "plots.h"
#include "svg.h"
#include "table.h"
#include "trial.h"
#include "values.h"

#define BY_CONNECTION TRIAL_METRICS /* the row after those by request */
#define ROWS (TRIAL_METRICS + 1)

static const char *const arm_names[TRIAL_ARMS] = { [TRIAL_PLAIN] = "plain", [TRIAL_ACCELERATED] = "accelerated" };
static const char key_line[] = "<p class=\"note\"><span class=\"key a\">plain</span> <span class=\"key "
			       "b\">accelerated</span>: all requests.</p>\n";

_Static_assert(TRIAL_PLAIN == 0 && TRIAL_ACCELERATED == 1, "the order of the plots' arms");

static void write_head(FILE *out, const json_t *report, const struct trial_statistics *statistics)
{
	const char *invalid = trial_invalid_why(report);
	char words[TRIAL_WORDS_BYTES];

	page_begin(out, "smaccel trial", trial_words_selection(words, report));
	page_verdict_begin(out, invalid ? "bad" : statistics_verdict_name(statistics->verdict));
	if (invalid) {
		fputs("not valid: ", out);
		svg_text(out, invalid);
	} else {
		svg_text(out, trial_words_verdict(statistics));
		fputs("<br/>", out);
		svg_text(out, trial_words_connections(words, statistics));
	}
	page_verdict_end(out);
}

static void write_arms(FILE *out, const json_t *report)
{
	const json_t *arms = json_object_get(report, "arms");
	char took[TABLE_NUMBER_BYTES], bytes[TABLE_NUMBER_BYTES];

	for (int arm = 0; arm < TRIAL_ARMS; arm++) {
		const json_t *one = json_object_get(arms, arm_names[arm]);

		fprintf(out,
			"<p><span class=\"key %s\">%s</span> %" PRIu64 " connections, %" PRIu64
			" of them armed; %s redirected</p>\n",
			plot_arm_class[arm], arm_names[arm], fields_number(one, "pairs"), fields_number(one, "armed"),
			table_format_bytes(bytes, fields_number(one, "redirected_bytes")));
	}
	fprintf(out, "<p class=\"note\">Connections were assigned at random while the service ran, for %s; state: ",
		table_format_seconds(took, (uint64_t)json_number_value(json_object_get(report, "elapsed_s"))));
	svg_text(out, fields_text(report, "state"));
	if (strcmp(fields_text(report, "ended_by"), "-") != 0) {
		fputs(", ended by: ", out);
		svg_text(out, fields_text(report, "ended_by"));
	}
	fputs("; ", out);
	page_machine(out);
	fprintf(out,
		". Processes that ended meanwhile: %" PRIu64
		"; latencies that found no room in their processes: %" PRIu64
		"; latencies of ports beyond those that there is room for, left out of both arms: %" PRIu64 ".</p>\n",
		fields_number(report, "processes_ended"), fields_number(report, "latencies_lost"),
		fields_number(report, "latencies_left_out"));
}

static struct statistics_interval ratio_of(const struct statistics_interval *log_ratio)
{
	return (struct statistics_interval){ .value = exp(log_ratio->value),
					     .low = exp(log_ratio->low),
					     .high = exp(log_ratio->high),
					     .is_interval = log_ratio->is_interval };
}

/* By request a colour is what the interval alone says: no test goes with it. */
static struct plot_ratio row_of(const struct trial_statistics *statistics, unsigned index)
{
	static const struct statistics_rule rule = { .confidence = 0.95, .margin = TRIAL_MARGIN };
	double plain, accelerated;
	struct plot_ratio row;

	if (index == BY_CONNECTION)
		return (struct plot_ratio){ .name = "by connection",
					    .decides = true,
					    .ratio = ratio_of(&statistics->log_ratio),
					    .verdict = statistics->verdict };
	plain = trial_metric(&statistics->requests[TRIAL_PLAIN], index);
	accelerated = trial_metric(&statistics->requests[TRIAL_ACCELERATED], index);
	row = (struct plot_ratio){ .name = trial_metric_name(index),
				   .ratio = ratio_of(&statistics->request_ratio[index]),
				   .verdict = statistics_decide(&statistics->request_ratio[index], 0, &rule) };
	if (!row.ratio.is_interval)
		row.ratio.value = plain > 0 && accelerated > 0 ? accelerated / plain : NAN;
	return row;
}

static void write_ratios(FILE *out, const struct trial_statistics *statistics)
{
	struct plot_ratio rows[ROWS];

	for (unsigned i = 0; i < ROWS; i++) {
		rows[i] = row_of(statistics, i);
		if (!rows[i].ratio.is_interval) /* one wild figure, the maximum, must not press the others together */
			rows[i].ratio.value = NAN;
	}
	fputs("<h2>Ratios</h2>\n", out);
	if (plot_ratios(out, rows, ROWS, 1 + TRIAL_MARGIN, "accelerated / plain"))
		fputs("<p class=\"note\">Left of 1: acceleration is faster. Shaded: within 2 %, not worth having. The "
		      "last line decides: the "
		      "medians over connections, each with the mean of its latencies. The others are of all requests, "
		      "each interval at 95 % by "
		      "itself, from eight parts into which connections fall at random.</p>\n",
		      out);
}

static void write_distribution(FILE *out, const struct trial_statistics *statistics)
{
	const struct histogram *const arms[TRIAL_ARMS] = { &statistics->requests[TRIAL_PLAIN],
							   &statistics->requests[TRIAL_ACCELERATED] };

	fprintf(out, "<h2>%s</h2>\n", statistics->is_client ? "Response times" : "Service times");
	if (plot_distribution(out, statistics->is_client ? "response time" : "service time", arms))
		fputs(key_line, out);
}

static void write_quantiles(FILE *out, const struct trial_statistics *statistics)
{
	static const double quantiles[] = { 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999, 1 };
	struct plot_quantile points[sizeof(quantiles) / sizeof(quantiles[0])];
	size_t count = 0;

	for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
		struct plot_quantile *point = &points[count];

		point->quantile = quantiles[i];
		for (int arm = 0; arm < TRIAL_ARMS; arm++) {
			const struct histogram *histogram = &statistics->requests[arm];
			/* Beyond what there are values for there is only the maximum. */
			bool has = histogram->count &&
				   (quantiles[i] >= 1 || (double)histogram->count * (1 - quantiles[i]) >= 1);

			point->value[arm] = has ? (double)histogram_percentile(histogram, quantiles[i]) / 1000 : NAN;
		}
		count += isfinite(point->value[0]) || isfinite(point->value[1]);
	}
	fputs("<h2>Percentiles</h2>\n", out);
	if (plot_quantiles(out, statistics->is_client ? "response time" : "service time", points, count, arm_names))
		fputs(key_line, out);
}

static void write_table(FILE *out, const struct trial_statistics *statistics)
{
	char text[VALUE_BYTES];

	fprintf(out,
		"<h2>Numbers</h2><div class=\"wide\"><table><tr><th>by request</th><th>plain (%" PRIu64
		")</th><th>accelerated (%" PRIu64 ")</th><th>ratio</th><th>95 %% of it</th></tr>\n",
		statistics->requests[TRIAL_PLAIN].count, statistics->requests[TRIAL_ACCELERATED].count);
	for (unsigned metric = 0; metric < TRIAL_METRICS; metric++) {
		struct plot_ratio row = row_of(statistics, metric);

		fputs("<tr>", out);
		page_cell(out, row.name);
		for (int arm = 0; arm < TRIAL_ARMS; arm++)
			page_cell(out, value_text(text, trial_metric(&statistics->requests[arm], metric) / 1000, "us"));
		snprintf(text, sizeof(text), isfinite(row.ratio.value) ? "%.3f" : "-", row.ratio.value);
		page_cell(out, text);
		snprintf(text, sizeof(text), row.ratio.is_interval ? "%.3f .. %.3f" : "-", row.ratio.low,
			 row.ratio.high);
		page_cell(out, text);
		fputs("</tr>\n", out);
	}
	fputs("</table></div>\n", out);
}

void trial_report_html(FILE *out, const json_t *report, const struct trial_statistics *statistics)
{
	write_head(out, report, statistics);
	write_arms(out, report);
	write_ratios(out, statistics);
	write_distribution(out, statistics);
	write_quantiles(out, statistics);
	write_table(out, statistics);
	page_end(out);
}
