/* SPDX-License-Identifier: BSD-2-Clause */
/* The report on the terminal. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "latency.h"
#include "../bins.h"
#include "report.h"
#include "../table.h"

#define BINS 48

static void print_machine(FILE *out, const struct ab_machine *machine)
{
	fprintf(out, "  %s on %s: %s%s%d CPUs, Linux %s", machine->started, *machine->host ? machine->host : "?",
		machine->cpu, *machine->cpu ? ", " : "", machine->cpus, machine->kernel.release);
	if (machine->load >= 0)
		fprintf(out, ", load average before %.2f", machine->load);
	fputc('\n', out);
}

static void print_head(FILE *out, const struct ab_trial *trial, const struct ab_analysis *analysis)
{
	const struct ab_options *options = trial->options;
	char words[AB_WORDS_BYTES], time[TABLE_NUMBER_BYTES];
	unsigned begun = trial->run_count ? (unsigned)(trial->runs[trial->run_count - 1]->round + 1) : 0;

	fprintf(out, "%s: %s\n", options->title, ab_words_command(words, options->command));
	print_machine(out, &trial->machine);
	if (options->server)
		fprintf(out, "  server  %s\n", ab_words_command(words, options->server));
	for (int arm = 0; arm < ARMS; arm++)
		fprintf(out, "  %c  %s%s%s\n", ARM_LETTER(arm), ab_arm_text(options, arm),
			arm == ARM_B && options->profile ? ", profile " : "",
			arm == ARM_B && options->profile ? options->profile : "");
	fprintf(out, "  rounds (A B B A, B A A B): %u valid, %u invalid%s; %u warm-up run%s left out; %s\n",
		analysis->rounds_good, trial->rounds_bad, begun > trial->rounds_done ? ", 1 not finished" : "",
		trial->warmups_done, trial->warmups_done == 1 ? "" : "s",
		table_format_seconds(time, (uint64_t)(trial->elapsed_s + 0.5)));
	if (trial->ended_by)
		fprintf(out,
			"  ended early by %s: an end that was chosen by looking at results makes them look better than "
			"they are\n",
			strsignal(trial->ended_by));
}

static void print_bad(FILE *out, const struct ab_trial *trial)
{
	for (size_t i = 0; i < trial->run_count; i++)
		if (!trial->runs[i]->good && trial->runs[i]->round >= 0)
			fprintf(out, "  round %d is invalid: a run of %c: %s\n", trial->runs[i]->round + 1,
				ARM_LETTER(trial->runs[i]->arm), trial->runs[i]->why);
}

static void add_row(struct table *table, const struct ab_trial *trial, const struct ab_result *result, bool decides)
{
	const struct ab_metric *metric = &trial->metrics.list[result->metric];
	char name[AB_NAME_BYTES + 4], plain[VALUE_BYTES], treated[VALUE_BYTES], ratio[VALUE_BYTES];
	char interval[VALUE_BYTES], p[VALUE_BYTES];
	const char *verdict = result->verdict == VERDICT_NO_DIFFERENCE     ? "no difference"
			      : result->verdict == VERDICT_NOT_ENOUGH_DATA ? "not enough data"
									   : statistics_verdict_text(result->verdict);

	snprintf(name, sizeof(name), "%s%s", metric->name, decides ? " *" : "");
	snprintf(ratio, sizeof(ratio), isfinite(result->ratio.value) ? "%.3f" : "-", result->ratio.value);
	snprintf(interval, sizeof(interval), result->ratio.is_interval ? "%.3f..%.3f" : "-", result->ratio.low,
		 result->ratio.high);
	table_add(table, (const char *const[]){ name, value_text(plain, result->median[ARM_A], metric->unit),
						value_text(treated, result->median[ARM_B], metric->unit), ratio,
						interval, result->blocks ? value_text_p(p, result->p) : "-",
						result->blocks ? verdict : "-" });
}

static void print_table(FILE *out, const struct ab_trial *trial, const struct ab_analysis *analysis)
{
	char interval[VALUE_BYTES];
	const struct table_column columns[] = {
		{ "METRIC", TABLE_LEFT },  { "A", TABLE_RIGHT },      { "B", TABLE_RIGHT },   { "B/A", TABLE_RIGHT },
		{ interval, TABLE_RIGHT }, { "RANK P", TABLE_RIGHT }, { "B IS", TABLE_LEFT },
	};
	struct table *table;

	snprintf(interval, sizeof(interval), "%g %% OF IT", trial->options->confidence * 100);
	table = table_new(columns, sizeof(columns) / sizeof(columns[0]));
	if (!table)
		return;
	for (size_t i = 0; i < analysis->count; i++)
		add_row(table, trial, &analysis->results[i], i == analysis->primary);
	table_print(table, out);
	table_free(table);
	fprintf(out, "* decides. A and B: medians of the runs; the p values of the others are corrected for their "
		     "number (Holm).\n");
}

/* Where the runs of the deciding metric lie, by arm. */
static void print_bars(FILE *out, const struct ab_trial *trial, const struct ab_result *result)
{
	const struct ab_metric *metric = &trial->metrics.list[result->metric];
	unsigned counts[ARMS][BINS] = { 0 }, most = 0;
	double least = INFINITY, greatest = -INFINITY;
	char from[VALUE_BYTES], to[VALUE_BYTES];

	for (size_t i = 0; i < trial->run_count; i++) {
		double value = trial->runs[i]->values.value[result->metric];

		if (isfinite(value) && ab_run_counts(trial, trial->runs[i])) {
			least = fmin(least, value);
			greatest = fmax(greatest, value);
		}
	}
	if (!(greatest > least))
		return;
	for (size_t i = 0; i < trial->run_count; i++) {
		double value = trial->runs[i]->values.value[result->metric];
		size_t bin;

		if (!isfinite(value) || !ab_run_counts(trial, trial->runs[i]))
			continue;
		bin = (size_t)((value - least) / (greatest - least) * BINS);
		bin = bin < BINS ? bin : BINS - 1;
		counts[trial->runs[i]->arm][bin]++;
		if (counts[trial->runs[i]->arm][bin] > most)
			most = counts[trial->runs[i]->arm][bin];
	}
	fprintf(out, "\nThe runs by %s, from %s to %s:\n", metric->name, value_text(from, least, metric->unit),
		value_text(to, greatest, metric->unit));
	for (int arm = 0; arm < ARMS; arm++) {
		fprintf(out, "  %c |", ARM_LETTER(arm));
		ab_bars_print(out, counts[arm], BINS, most);
		fprintf(out, "|\n");
	}
}

/* The latencies that the shim saw, both arms on one logarithmic axis. */
static void print_distribution(FILE *out, const struct ab_trial *trial, enum ab_role role)
{
	double bins[ARMS][BINS] = { 0 }, low_ns, high_ns, most = 0;
	const struct histogram *arms[ARMS];
	char from[VALUE_BYTES], to[VALUE_BYTES];

	ab_latency_of_role(trial, role, arms);
	if (!bins_range(arms, &low_ns, &high_ns))
		return;
	for (int arm = 0; arm < ARMS; arm++) {
		if (arms[arm])
			bins_fill(arms[arm], low_ns, high_ns, bins[arm], BINS);
		for (size_t i = 0; i < BINS; i++)
			most = fmax(most, bins[arm][i]);
	}
	fprintf(out, "\nThe requests by %s, from %s to %s, logarithmic:\n", ab_latency_name(role),
		value_text(from, low_ns / 1000, "us"), value_text(to, high_ns / 1000, "us"));
	for (int arm = 0; arm < ARMS; arm++) {
		unsigned counts[BINS];

		for (size_t i = 0; i < BINS; i++)
			counts[i] = (unsigned)ceil(bins[arm][i] / most * 1000);
		fprintf(out, "  %c |", ARM_LETTER(arm));
		ab_bars_print(out, counts, BINS, 1000);
		fprintf(out, "|\n");
	}
}

void ab_report_text(FILE *out, const struct ab_trial *trial, const struct ab_analysis *analysis)
{
	char words[AB_WORDS_BYTES];
	const struct ab_result *primary =
		analysis->primary < AB_METRICS_MAX ? &analysis->results[analysis->primary] : NULL;
	bool stands = !trial->invalid[0] && !trial->failure[0];

	print_head(out, trial, analysis);
	print_bad(out, trial);
	if (analysis->runs_good) {
		for (int arm = 0; arm < ARMS; arm++)
			fprintf(out, "  proof, %c: %s\n", ARM_LETTER(arm), ab_words_proof(words, trial, analysis, arm));
		fputc('\n', out);
		print_table(out, trial, analysis);
		if (primary)
			print_bars(out, trial, primary);
		for (int role = 0; role < AB_ROLES; role++)
			print_distribution(out, trial, (enum ab_role)role);
	}
	fprintf(out, "\nVerdict: %s\n", ab_words_verdict(words, trial, analysis));
	if (stands && primary && *ab_words_missing(words, primary))
		fprintf(out, "         %s\n", words);
}
