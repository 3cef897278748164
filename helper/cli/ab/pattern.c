/* SPDX-License-Identifier: BSD-2-Clause */
/* --metric: a number that the user names. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reader.h"
#include "../statistics.h"
#include "../utf8.h"

#define SAMPLES_MAX 4096u
#define HEAD_BYTES 160

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), tail = strlen(end);

	return length >= tail && !strcmp(text + length - tail, end);
}

/* NAME[:UNIT][:DIRECTION] into the metric. False: too long, or a third part that is no direction. */
static bool parse_head(struct ab_metric *metric, char *head)
{
	char *rest = NULL, *name = strtok_r(head, ":", &rest), *part;
	bool directed = false;

	if (!name || strlen(name) >= sizeof(metric->name))
		return false;
	strcpy(metric->name, name);
	while ((part = strtok_r(NULL, ":", &rest))) {
		bool higher = !strcmp(part, "higher");

		if (directed)
			return false;
		if (higher || !strcmp(part, "lower")) {
			metric->higher_is_better = higher;
			directed = true;
		} else if (metric->unit[0] || strlen(part) >= sizeof(metric->unit)) {
			return false;
		} else {
			strcpy(metric->unit, part);
		}
	}
	if (!directed)
		metric->higher_is_better = ends_with(metric->unit, "/s");
	return true;
}

int ab_pattern_parse(struct ab_pattern *pattern, const char *text, char why[160])
{
	const char *equals = strchr(text, '=');
	char head[HEAD_BYTES];
	int err;

	pattern->metric = (struct ab_metric){ .quantile = -1, .origin = AB_FROM_USER };
	if (!equals || equals == text || !equals[1] || equals - text >= HEAD_BYTES) {
		snprintf(why, 160, "not NAME[:UNIT][:higher|lower]=REGEX");
		return -1;
	}
	snprintf(head, sizeof(head), "%.*s", (int)(equals - text), text);
	if (!parse_head(&pattern->metric, head)) {
		snprintf(why, 160, "not NAME[:UNIT][:higher|lower] before the \"=\"");
		return -1;
	}
	err = regcomp(&pattern->regex, equals + 1, REG_EXTENDED | REG_NEWLINE);
	if (err)
		regerror(err, &pattern->regex, why, 160);
	return err ? -1 : 0;
}

/* The number that a parenthesis matched: all of it, blanks aside. "12,107" is not 12, nor is a "12" in front of ".5"; but "12" in front of
 * the full stop of a sentence is. */
static enum ab_found read_group(const char *text, const regmatch_t *group, double *value, char odd[AB_ODD_BYTES])
{
	char copy[AB_ODD_BYTES], *end;
	int length = (int)(group->rm_eo - group->rm_so);

	snprintf(copy, sizeof(copy), "%.*s", length, text + group->rm_so);
	*value = strtod(copy, &end);
	if (end == copy)
		return AB_FOUND_NONE;
	end += strspn(end, " \t\r");
	if (!*end && length < AB_ODD_BYTES && *value == strtod(text + group->rm_so, NULL))
		return AB_FOUND_NUMBER;
	if (!isfinite(*value))
		return AB_FOUND_NONE;
	if (length >= AB_ODD_BYTES)
		utf8_end_whole(copy);
	strcpy(odd, copy);
	return AB_FOUND_ODD;
}

static enum ab_found read_match(const char *text, const regmatch_t match[2], double *value, char odd[AB_ODD_BYTES])
{
	const char *start = text + match[0].rm_so;
	char *end;

	if (match[1].rm_so >= 0)
		return read_group(text, &match[1], value, odd);
	*value = strtod(start, &end);
	return end > start ? AB_FOUND_NUMBER : AB_FOUND_NONE;
}

enum ab_found ab_pattern_read(const struct ab_pattern *pattern, const char *text, const struct ab_sink *sink,
			      char odd[AB_ODD_BYTES])
{
	static double samples[SAMPLES_MAX];
	regmatch_t match[2];
	const char *at = text;
	size_t count = 0;

	while (count < SAMPLES_MAX && !regexec(&pattern->regex, at, 2, match, at > text ? REG_NOTBOL : 0)) {
		double value;
		enum ab_found found = read_match(at, match, &value, odd);

		if (found == AB_FOUND_ODD)
			return found;
		if (found == AB_FOUND_NUMBER && isfinite(value))
			samples[count++] = value;
		if (match[0].rm_eo == 0 && !*at)
			break;
		at += match[0].rm_eo ? match[0].rm_eo : 1;
	}
	statistics_sort(samples, count);
	if (!count)
		return AB_FOUND_NONE;
	ab_metrics_set(sink->metrics, sink->values, &pattern->metric, statistics_median(samples, count));
	return AB_FOUND_NUMBER;
}

void ab_pattern_free(struct ab_pattern *pattern)
{
	regfree(&pattern->regex);
}
