/* SPDX-License-Identifier: BSD-2-Clause */
/* What a trial has, as the plots want it, and its runs over time. */
#include "ab_plots.h"

#include <math.h>
#include <string.h>

#include "ab_latency.h"
#include "ab_report.h"
#include "plots.h"

bool ab_plot_runs(FILE *out, const struct ab_trial *trial, const struct ab_result *result)
{
	const struct ab_metric *metric = &trial->metrics.list[result->metric];
	struct svg_plot plot = { .out = out,
				 .width = PLOT_WIDTH,
				 .height = PLOT_HEIGHT,
				 .x = { INFINITY, -INFINITY, false, "s", "time since the trial began", NULL, NULL, 0 },
				 .y = { INFINITY, -INFINITY, false, metric->unit, metric->name, NULL, NULL, 0 } };
	char tip[AB_NAME_BYTES + VALUE_BYTES + 40], value[VALUE_BYTES];

	for (size_t i = 0; i < trial->run_count; i++)
		if (isfinite(trial->runs[i]->values.value[result->metric])) {
			plot_include(&plot.x, trial->runs[i]->start_s);
			plot_include(&plot.y, trial->runs[i]->values.value[result->metric]);
		}
	if (!(plot.x.low <= plot.x.high))
		return false;
	svg_begin(&plot, "runs over time");
	for (size_t i = 0; i < trial->run_count; i++) {
		const struct ab_run *run = trial->runs[i];
		char class[8];

		snprintf(class, sizeof(class), "%s%s", plot_arm_class[run->arm],
			 ab_run_counts(trial, run) ? "" : " out");
		snprintf(tip, sizeof(tip), "%c, %s %d: %s", ARM_LETTER(run->arm), run->round < 0 ? "warm-up" : "round",
			 run->round < 0 ? 0 : run->round + 1,
			 value_text(value, run->values.value[result->metric], metric->unit));
		svg_dot(&plot, class, run->start_s, run->values.value[result->metric], tip);
	}
	svg_end(&plot);
	return true;
}

bool ab_plot_ratios(FILE *out, const struct ab_trial *trial, const struct ab_analysis *analysis)
{
	struct plot_ratio rows[AB_METRICS_MAX];

	for (size_t i = 0; i < analysis->count; i++) {
		const struct ab_result *result = &analysis->results[i];
		const struct ab_metric *metric = &trial->metrics.list[result->metric];

		rows[i] = (struct plot_ratio){ metric->name, metric->higher_is_better, i == analysis->primary,
					       result->ratio, result->verdict };
	}
	return plot_ratios(out, rows, analysis->count, 1 + trial->options->margin, "B/A");
}

bool ab_plot_quantiles(FILE *out, const struct ab_trial *trial, const struct ab_analysis *analysis, const char *family)
{
	static const char *const names[ARMS] = { "A", "B" };
	struct plot_quantile points[AB_METRICS_MAX];
	size_t count = 0;

	for (size_t i = 0; i < analysis->count; i++) {
		const struct ab_result *result = &analysis->results[i];
		const struct ab_metric *metric = &trial->metrics.list[result->metric];

		if (metric->quantile >= 0 && !strcmp(metric->family, family))
			points[count++] = (struct plot_quantile){ metric->quantile,
								  { result->median[ARM_A], result->median[ARM_B] } };
	}
	return plot_quantiles(out, family, points, count, names);
}

bool ab_plot_distribution(FILE *out, const struct ab_trial *trial, enum ab_role role)
{
	const struct histogram *arms[ARMS];

	ab_latency_of_role(trial, role, arms);
	return plot_distribution(out, ab_latency_name(role), arms);
}

_Static_assert((int)ARMS == PLOT_ARMS, "the plots compare two arms");
_Static_assert(AB_METRICS_MAX <= PLOT_QUANTILES_MAX, "there may be as many points");
