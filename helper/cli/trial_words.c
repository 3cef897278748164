/* SPDX-License-Identifier: BSD-2-Clause */
/* What the terminal and the page say alike of a trial. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "fields.h"
#include "trial.h"

static void add(char buffer[TRIAL_WORDS_BYTES], const char *format, const char *text)
{
	size_t used = strlen(buffer);

	snprintf(buffer + used, TRIAL_WORDS_BYTES - used, format, text);
}

static void add_number(char buffer[TRIAL_WORDS_BYTES], const char *format, uint64_t number)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, number);
	add(buffer, format, text);
}

const char *trial_words_selection(char buffer[TRIAL_WORDS_BYTES], const json_t *report)
{
	const json_t *settings = json_object_get(report, "settings");

	snprintf(buffer, TRIAL_WORDS_BYTES, "%g %% accelerated",
		 json_number_value(json_object_get(settings, "percent")));
	if (fields_number(settings, "port"))
		add_number(buffer, ", port %s", fields_number(settings, "port"));
	if (strcmp(fields_text(settings, "comm"), "-") != 0)
		add(buffer, ", programs named %s", fields_text(settings, "comm"));
	if (json_object_get(settings, "uid"))
		add_number(buffer, ", uid %s", fields_number(settings, "uid"));
	if (fields_number(settings, "duration_s"))
		add_number(buffer, ", for %s s", fields_number(settings, "duration_s"));
	return buffer;
}

const char *trial_words_connections(char buffer[TRIAL_WORDS_BYTES], const struct trial_statistics *statistics)
{
	const struct statistics_interval *ratio = &statistics->log_ratio;
	int used = snprintf(buffer, TRIAL_WORDS_BYTES, "%" PRIu64 " accelerated, %" PRIu64 " plain",
			    statistics->connections_seen[TRIAL_ACCELERATED], statistics->connections_seen[TRIAL_PLAIN]);

	if (ratio->is_interval)
		snprintf(buffer + used, TRIAL_WORDS_BYTES - (size_t)used,
			 "; ratio of the medians %.3f, 95 %% interval %.3f to %.3f, p = %.2g", exp(ratio->value),
			 exp(ratio->low), exp(ratio->high), statistics->p);
	return buffer;
}

const char *trial_words_verdict(const struct trial_statistics *statistics)
{
	static const char *const sentences[VERDICT_COUNT] = {
		[VERDICT_NOT_ENOUGH_DATA] = "acceleration is not decided: not enough data",
		[VERDICT_FASTER] = "acceleration is faster",
		[VERDICT_SLOWER] = "acceleration is slower",
		[VERDICT_NO_DIFFERENCE] = "acceleration is no difference worth having (within 2 %)",
	};

	return sentences[statistics->verdict];
}
