/* SPDX-License-Identifier: BSD-2-Clause */
/* The report as one page: no script, no other file, no network. */
#include <math.h>
#include <string.h>

#include "latency.h"
#include "plots.h"
#include "report.h"
#include "../bins.h"
#include "../page.h"
#include "../svg.h"
#include "../table.h"

static void write_head(FILE *out, const struct ab_trial *trial, const struct ab_analysis *analysis)
{
	char words[AB_WORDS_BYTES], missing[AB_WORDS_BYTES] = "";
	const struct ab_result *primary =
		analysis->primary < AB_METRICS_MAX ? &analysis->results[analysis->primary] : NULL;
	bool stands = !trial->invalid[0] && !trial->failure[0];

	page_begin(out, "smaccel ab", ab_words_command(words, trial->options->command));
	page_verdict_begin(out, !stands ? "bad" : primary ? statistics_verdict_name(primary->verdict) : "");
	svg_text(out, ab_words_verdict(words, trial, analysis));
	if (stands && primary && *ab_words_missing(missing, primary)) {
		fputs("<br/>", out);
		svg_text(out, missing);
	}
	page_verdict_end(out);
}

static void write_setting(FILE *out, const struct ab_trial *trial, const struct ab_analysis *analysis)
{
	const struct ab_options *options = trial->options;
	char words[AB_WORDS_BYTES], took[TABLE_NUMBER_BYTES];

	if (options->server)
		page_paragraph(out, "Server", ab_words_command(words, options->server));
	for (int arm = 0; arm < ARMS; arm++) {
		fprintf(out, "<p><span class=\"key %c\">%c</span> ", arm == ARM_A ? 'a' : 'b', ARM_LETTER(arm));
		svg_text(out, ab_arm_text(options, arm));
		for (const char **entry = options->environment[arm]; entry && *entry; entry++) {
			fputs(", <code>", out);
			svg_text(out, *entry);
			fputs("</code>", out);
		}
		fputs("<br/>", out);
		svg_text(out, ab_words_proof(words, trial, analysis, arm));
		fputs("</p>\n", out);
	}
	fprintf(out,
		"<p class=\"note\">Rounds of four runs (A B B A, B A A B): %u valid, %u invalid; %u warm-up run%s left "
		"out; %s%s; ",
		analysis->rounds_good, trial->rounds_bad, trial->warmups_done, trial->warmups_done == 1 ? "" : "s",
		table_format_seconds(took, (uint64_t)(trial->elapsed_s + 0.5)),
		trial->ended_by ? ", ended early by a signal" : "");
	page_machine(out);
	fputs(".</p>\n", out);
}

static void write_table(FILE *out, const struct ab_trial *trial, const struct ab_analysis *analysis)
{
	char text[VALUE_BYTES];

	fprintf(out,
		"<h2>Numbers</h2><div class=\"wide\"><table><tr><th>metric</th><th>A</th><th>B</th><th>B/A</th>"
		"<th>%g %% of it</th><th>rank p</th><th>B is</th></tr>\n",
		trial->options->confidence * 100);
	for (size_t i = 0; i < analysis->count; i++) {
		const struct ab_result *result = &analysis->results[i];
		const struct ab_metric *metric = &trial->metrics.list[result->metric];

		fprintf(out, "<tr%s>", i == analysis->primary ? " class=\"decides\"" : "");
		page_cell(out, metric->name);
		page_cell(out, value_text(text, result->median[ARM_A], metric->unit));
		page_cell(out, value_text(text, result->median[ARM_B], metric->unit));
		snprintf(text, sizeof(text), isfinite(result->ratio.value) ? "%.3f" : "-", result->ratio.value);
		page_cell(out, text);
		snprintf(text, sizeof(text), result->ratio.is_interval ? "%.3f .. %.3f" : "-", result->ratio.low,
			 result->ratio.high);
		page_cell(out, text);
		page_cell(out, result->blocks ? value_text_p(text, result->p) : "-");
		page_cell(out, result->blocks ? statistics_verdict_text(result->verdict) : "-");
		fputs("</tr>\n", out);
	}
	fputs("</table></div>\n<p class=\"note\">The bold line decides. A and B: medians of the runs. B/A: trimmed "
	      "mean of the rounds' "
	      "ratios with its bootstrap-t interval. p: Wilcoxon's signed rank test over the rounds; of all but the "
	      "deciding metric "
	      "corrected for their number (Holm). A difference takes both.</p>\n",
	      out);
}

static void write_distributions(FILE *out, const struct ab_trial *trial)
{
	static const char *const titles[AB_ROLES] = {
		"<h2>Response times</h2><p class=\"note\">From the last send of a request to the first byte of its "
		"response, as "
		"the shim saw it in connecting processes.</p>\n",
		"<h2>Service times</h2><p class=\"note\">From the receive that completed a request to the first send "
		"of its "
		"response, as the shim saw it in accepting processes.</p>\n",
	};
	const struct histogram *arms[ARMS];
	double low_ns, high_ns;

	for (int role = 0; role < AB_ROLES; role++) {
		ab_latency_of_role(trial, (enum ab_role)role, arms);
		if (!bins_range(arms, &low_ns, &high_ns))
			continue;
		fputs(titles[role], out);
		ab_plot_distribution(out, trial, (enum ab_role)role);
		fputs("<p class=\"note\"><span class=\"key a\">A</span> <span class=\"key b\">B</span>: all valid "
		      "runs.</p>\n",
		      out);
	}
}

static void write_quantiles(FILE *out, const struct ab_trial *trial, const struct ab_analysis *analysis)
{
	for (size_t i = 0; i < trial->metrics.count; i++) {
		const char *family = trial->metrics.list[i].family;
		bool seen = !*family;

		for (size_t j = 0; j < i && !seen; j++)
			seen = !strcmp(trial->metrics.list[j].family, family);
		if (!seen && ab_plot_quantiles(out, trial, analysis, family))
			fputs("<p class=\"note\"><span class=\"key a\">A</span> <span class=\"key b\">B</span>: "
			      "medians of the runs' "
			      "percentiles.</p>\n",
			      out);
	}
}

static void write_bad(FILE *out, const struct ab_trial *trial)
{
	bool any = false;

	for (size_t i = 0; i < trial->run_count; i++) {
		if (trial->runs[i]->good)
			continue;
		fprintf(out, "%s<li>%s %d, %c: ", any ? "" : "<h2>Invalid runs</h2><ul>",
			trial->runs[i]->round < 0 ? "warm-up" : "round", trial->runs[i]->round + 1,
			ARM_LETTER(trial->runs[i]->arm));
		svg_text(out, trial->runs[i]->why);
		fputs("</li>\n", out);
		any = true;
	}
	fputs(any ? "</ul>\n" : "", out);
}

void ab_report_html(FILE *out, const struct ab_trial *trial, const struct ab_analysis *analysis)
{
	write_head(out, trial, analysis);
	write_setting(out, trial, analysis);
	fputs("<h2>Ratios</h2>\n", out);
	if (ab_plot_ratios(out, trial, analysis))
		fprintf(out,
			"<p class=\"note\">Arrows: what is better. Shaded: within %g %%, not worth having. Green: B is "
			"faster; red: slower; "
			"blue: no difference worth having; grey: not enough data. Right of 1: larger with B.</p>\n",
			trial->options->margin * 100);
	if (analysis->primary < AB_METRICS_MAX) {
		fputs("<h2>Runs over time</h2>\n", out);
		if (ab_plot_runs(out, trial, &analysis->results[analysis->primary]))
			fputs("<p class=\"note\"><span class=\"key a\">A</span> <span class=\"key b\">B</span>; pale: "
			      "warm-up and "
			      "invalid rounds, which do not count.</p>\n",
			      out);
	}
	write_distributions(out, trial);
	fputs("<h2>Percentiles</h2>\n", out);
	write_quantiles(out, trial, analysis);
	write_table(out, trial, analysis);
	write_bad(out, trial);
	page_end(out);
}
