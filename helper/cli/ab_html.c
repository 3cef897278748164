/* SPDX-License-Identifier: BSD-2-Clause */
/* The report as one page: no script, no other file, no network. */
#include <math.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "ab_plots.h"
#include "ab_report.h"
#include "svg.h"
#include "table.h"

static const char style[] =
	":root{color-scheme:light "
	"dark;--a:#3b6fd4;--b:#d9631e;--good:#1a7f4b;--bad:#c0322b;--soft:#8884;--text:#222;--back:#fff}"
	"@media(prefers-color-scheme:dark){:root{--a:#7aa5ff;--b:#ff9a5c;--good:#4cc38a;--bad:#ff7b72;--text:#ddd;--"
	"back:#161616}}"
	"body{font:15px/1.5 system-ui,sans-serif;color:var(--text);background:var(--back);max-width:60rem;margin:2rem "
	"auto;padding:0 1rem}"
	"h1{font-size:1.3rem}h2{font-size:1.05rem;margin:2.2rem 0 .4rem}code,td,svg{font-variant-numeric:tabular-nums}"
	".verdict{border-left:6px solid #888;padding:.7rem 1rem;background:var(--soft);font-size:1.1rem}"
	".verdict.faster{border-color:var(--good)}.verdict.slower,.verdict.bad{border-color:var(--bad)}"
	"table{border-collapse:collapse;width:100%;font-size:.9rem}th,td{padding:.25rem "
	".6rem;text-align:right;border-bottom:1px solid var(--soft)}"
	"th:first-child,td:first-child,th:last-child,td:last-child{text-align:left}tr.decides{font-weight:600}"
	".wide{overflow-x:auto}svg{width:100%;height:auto;font:12px system-ui,sans-serif;fill:var(--text)}svg "
	".title{font-size:13px}"
	".grid{stroke:var(--soft)}.one{stroke:var(--text);stroke-width:1.2}.frame{fill:none;stroke:#8888}.margin{fill:"
	"var(--soft)}"
	".line{fill:none;stroke-width:2}.line.a{stroke:var(--a)}.line.b{stroke:var(--b)}"
	".dot.a{fill:var(--a)}.dot.b{fill:var(--b)}.dot{fill-opacity:.85}.dot.out{fill-opacity:.25}"
	".interval{stroke:#888;stroke-width:3;stroke-linecap:round}.estimate{fill:#888}.interval.faster{stroke:var(--"
	"good)}.estimate.faster{fill:var(--good)}"
	".interval.slower{stroke:var(--bad)}.estimate.slower{fill:var(--bad)}.interval.same{stroke:var(--a)}.estimate."
	"same{fill:var(--a)}"
	".strong{font-weight:600}.key{font-weight:600}.key.a{color:var(--a)}.key.b{color:var(--b)}.note{font-size:."
	"88rem;opacity:.85}";

static void paragraph(FILE *out, const char *title, const char *text)
{
	fprintf(out, "<p><b>%s</b> <code>", title);
	svg_text(out, text);
	fputs("</code></p>\n", out);
}

static void write_head(FILE *out, const struct ab_trial *trial, const struct ab_analysis *analysis)
{
	char words[AB_WORDS_BYTES], missing[AB_WORDS_BYTES] = "";
	const struct ab_result *primary =
		analysis->primary < AB_METRICS_MAX ? &analysis->results[analysis->primary] : NULL;
	bool stands = !trial->invalid[0] && !trial->failure[0];

	fprintf(out,
		"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><meta name=\"viewport\" "
		"content=\"width=device-width\"/><title>smaccel "
		"ab</title>\n<style>%s</style></head><body>\n<h1>smaccel "
		"ab: ",
		style);
	svg_text(out, ab_words_command(words, trial->options->command));
	fprintf(out, "</h1>\n<p class=\"verdict %s\">",
		!stands   ? "bad"
		: primary ? statistics_verdict_name(primary->verdict)
			  : "");
	svg_text(out, ab_words_verdict(words, trial, analysis));
	if (stands && primary && *ab_words_missing(missing, primary)) {
		fputs("<br/>", out);
		svg_text(out, missing);
	}
	fputs("</p>\n", out);
}

static void write_setting(FILE *out, const struct ab_trial *trial, const struct ab_analysis *analysis)
{
	const struct ab_options *options = trial->options;
	char words[AB_WORDS_BYTES], took[TABLE_NUMBER_BYTES], date[40] = "";
	struct utsname name = { 0 };
	time_t now = time(NULL);
	struct tm broken;

	if (options->server)
		paragraph(out, "Server", ab_words_command(words, options->server));
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
	uname(&name);
	if (localtime_r(&now, &broken))
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M", &broken);
	fprintf(out,
		"<p class=\"note\">Rounds of four runs (A B B A, B A A B): %u valid, %u invalid; %u warm-up runs left "
		"out; %s; %s, "
		"Linux %s, %ld CPUs%s.</p>\n",
		analysis->rounds_good, trial->rounds_bad, options->warmup * ARMS,
		table_format_seconds(took, (uint64_t)(trial->elapsed_s + 0.5)), date, name.release,
		sysconf(_SC_NPROCESSORS_ONLN), trial->ended_by ? "; ended early by a signal" : "");
}

static void cell(FILE *out, const char *text)
{
	fputs("<td>", out);
	svg_text(out, text);
	fputs("</td>", out);
}

static void write_table(FILE *out, const struct ab_trial *trial, const struct ab_analysis *analysis)
{
	char text[AB_VALUE_BYTES];

	fprintf(out,
		"<h2>Numbers</h2><div class=\"wide\"><table><tr><th>metric</th><th>A</th><th>B</th><th>B/A</th>"
		"<th>%g %% of it</th><th>rank p</th><th>B is</th></tr>\n",
		trial->options->confidence * 100);
	for (size_t i = 0; i < analysis->count; i++) {
		const struct ab_result *result = &analysis->results[i];
		const struct ab_metric *metric = &trial->metrics.list[result->metric];

		fprintf(out, "<tr%s>", i == analysis->primary ? " class=\"decides\"" : "");
		cell(out, metric->name);
		cell(out, ab_words_value(text, result->median[ARM_A], metric->unit));
		cell(out, ab_words_value(text, result->median[ARM_B], metric->unit));
		snprintf(text, sizeof(text), isfinite(result->ratio.value) ? "%.3f" : "-", result->ratio.value);
		cell(out, text);
		snprintf(text, sizeof(text), result->ratio.is_interval ? "%.3f .. %.3f" : "-", result->ratio.low,
			 result->ratio.high);
		cell(out, text);
		cell(out, result->blocks ? ab_words_p(text, result->p) : "-");
		cell(out, result->blocks ? statistics_verdict_text(result->verdict) : "-");
		fputs("</tr>\n", out);
	}
	fputs("</table></div>\n<p class=\"note\">The bold line decides. A and B: medians of the runs. B/A: trimmed "
	      "mean of the rounds' "
	      "ratios with its bootstrap-t interval. p: Wilcoxon's signed rank test over the rounds; of all but the "
	      "deciding metric "
	      "corrected for their number (Holm). A difference takes both.</p>\n",
	      out);
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
	fputs("<h2>Percentiles</h2>\n", out);
	write_quantiles(out, trial, analysis);
	write_table(out, trial, analysis);
	write_bad(out, trial);
	fputs("</body></html>\n", out);
}
