/* SPDX-License-Identifier: BSD-2-Clause */
/* Sentences and numbers that the reports have in common. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "report.h"
#include "../table.h"
#include "../utf8.h"
#include "../words.h"

static void add_primary(char *buffer, const struct ab_trial *trial, const struct ab_result *result)
{
	const struct statistics_interval *ratio = &result->ratio;
	const struct ab_metric *metric = &trial->metrics.list[result->metric];
	char p[VALUE_BYTES];

	if (!isfinite(ratio->value)) {
		words_add(buffer, AB_WORDS_BYTES, "%s has no ratio", metric->name);
		return;
	}
	words_add(buffer, AB_WORDS_BYTES, "%s, B/A %.3f (", metric->name, ratio->value);
	if (ratio->is_interval)
		words_add(buffer, AB_WORDS_BYTES, "%.3f .. %.3f at %g %%, rank test p %s%s)", ratio->low, ratio->high,
			  trial->options->confidence * 100, result->p < 0.0005 ? "" : "= ", value_text_p(p, result->p));
	else
		words_add(buffer, AB_WORDS_BYTES, "%u round%s: too few for an interval)", result->blocks,
			  result->blocks == 1 ? "" : "s");
}

const char *ab_words_verdict(char buffer[AB_WORDS_BYTES], const struct ab_trial *trial,
			     const struct ab_analysis *analysis)
{
	const struct ab_result *result;

	buffer[0] = '\0';
	if (trial->invalid[0] || trial->failure[0]) {
		words_add(buffer, AB_WORDS_BYTES,
			  trial->invalid[0] ? "the trial is invalid: %s" : "the trial failed: %s",
			  trial->invalid[0] ? trial->invalid : trial->failure);
		return buffer;
	}
	if (analysis->primary == AB_METRICS_MAX) {
		words_add(buffer, AB_WORDS_BYTES, "%s", statistics_verdict_text(VERDICT_NOT_ENOUGH_DATA));
		if (trial->options->primary)
			words_add(buffer, AB_WORDS_BYTES, ": there is no metric \"%.64s\"", trial->options->primary);
		return buffer;
	}
	result = &analysis->results[analysis->primary];
	switch (result->verdict) {
	case VERDICT_FASTER:
	case VERDICT_SLOWER:
		words_add(buffer, AB_WORDS_BYTES, "B is %s: ", statistics_verdict_text(result->verdict));
		break;
	case VERDICT_NO_DIFFERENCE:
		words_add(buffer, AB_WORDS_BYTES,
			  "no difference worth having (within %g %%): ", trial->options->margin * 100);
		break;
	default:
		words_add(buffer, AB_WORDS_BYTES, "%s: ", statistics_verdict_text(result->verdict));
	}
	add_primary(buffer, trial, result);
	return buffer;
}

const char *ab_words_missing(char buffer[AB_WORDS_BYTES], const struct ab_result *result)
{
	buffer[0] = '\0';
	if (result->verdict != VERDICT_NOT_ENOUGH_DATA)
		return buffer;
	if (result->is_coarse && result->resolution == 0)
		words_add(buffer, AB_WORDS_BYTES,
			  "all its values are the same: whether they are too coarse for the margin cannot be told, and "
			  "more rounds do not help");
	else if (result->is_coarse)
		words_add(buffer, AB_WORDS_BYTES,
			  "its values come in steps of %.1f %%, which is coarser than the margin: more rounds do not "
			  "help",
			  result->resolution * 100);
	else if (!result->missing || result->missing >= STATISTICS_BLOCKS_MAX)
		words_add(buffer, AB_WORDS_BYTES, "how many more rounds would decide cannot be told");
	else if (result->blocks < STATISTICS_BLOCKS_MIN)
		words_add(buffer, AB_WORDS_BYTES, "at least %u more rounds", result->missing);
	else
		words_add(buffer, AB_WORDS_BYTES, "about %u more round%s would decide", result->missing,
			  result->missing == 1 ? "" : "s");
	return buffer;
}

const char *ab_words_proof(char buffer[AB_WORDS_BYTES], const struct ab_trial *trial,
			   const struct ab_analysis *analysis, enum ab_arm arm)
{
	char bytes[TABLE_NUMBER_BYTES], least[TABLE_NUMBER_BYTES], messages[TABLE_NUMBER_BYTES],
		passed[TABLE_NUMBER_BYTES];

	buffer[0] = '\0';
	(void)trial;
	if (!analysis->proof[arm].known)
		words_add(buffer, AB_WORDS_BYTES, "no proof: no helper was asked");
	else if (!analysis->proof[arm].redirected_bytes)
		words_add(buffer, AB_WORDS_BYTES, "0 bytes redirected in %" PRIu64 " runs", analysis->proof[arm].runs);
	else
		words_add(buffer, AB_WORDS_BYTES,
			  "%s redirected in %" PRIu64
			  " runs (at least %s in each), %s messages; %s messages of joined connections passed",
			  table_format_bytes(bytes, analysis->proof[arm].redirected_bytes), analysis->proof[arm].runs,
			  table_format_bytes(least, analysis->proof[arm].least_bytes),
			  table_format_count(messages, analysis->proof[arm].redirected_msgs),
			  table_format_count(passed, analysis->proof[arm].passed_msgs));
	return buffer;
}

static bool is_plain(const char *word)
{
	return *word &&
	       strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./,:@%") == strlen(word);
}

const char *ab_words_command(char buffer[AB_WORDS_BYTES], const char *const *argv)
{
	buffer[0] = '\0';
	for (; *argv; argv++) {
		if (buffer[0])
			words_add(buffer, AB_WORDS_BYTES, " ");
		if (is_plain(*argv)) {
			words_add(buffer, AB_WORDS_BYTES, "%s", *argv);
			continue;
		}
		words_add(buffer, AB_WORDS_BYTES, "'");
		for (const char *c = *argv; *c; c += utf8_length(c) ? utf8_length(c) : 1)
			words_add(buffer, AB_WORDS_BYTES,
				  *c == '\''                ? "'\\''"
				  : (unsigned char)*c < ' ' ? "?"
							    : "%.*s",
				  utf8_length(c) ? (int)utf8_length(c) : 1, c);
		words_add(buffer, AB_WORDS_BYTES, "'");
	}
	return buffer;
}
