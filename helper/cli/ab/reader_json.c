/* SPDX-License-Identifier: BSD-2-Clause */
/* iperf3 -J, and fio --output-format=json. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reader.h"

/* Programs print notes before their JSON. NULL: there is none. The caller owns a reference. */
static json_t *load(const char *text)
{
	const char *start = strchr(text, '{');

	return start ? json_loads(start, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
}

static bool number(const json_t *object, const char *key, double *value)
{
	const json_t *found = json_object_get(object, key);

	if (!json_is_number(found))
		return false;
	*value = json_number_value(found);
	return true;
}

void ab_reader_iperf3(const struct ab_reader *self, const char *text, const struct ab_sink *sink)
{
	json_t *root = load(text);
	const json_t *end = json_object_get(root, "end");
	const json_t *received = json_object_get(end, "sum_received");
	const json_t *sent = json_object_get(end, "sum_sent");
	double value;

	(void)self;
	if (number(received ? received : json_object_get(end, "sum"), "bits_per_second", &value))
		ab_sink_value(sink, "throughput", "bit/s", true, true, value);
	if (number(sent, "retransmits", &value))
		ab_sink_value(sink, "retransmits", "", false, false, value);
	json_decref(root);
}

static void read_fio_direction(const char *name, const json_t *part, const struct ab_sink *sink)
{
	const json_t *latency = json_object_get(part, "clat_ns"), *percent;
	char text[AB_NAME_BYTES];
	const char *key;
	double value;

	if (!number(part, "total_ios", &value) || value <= 0)
		return;
	if (number(part, "iops", &value)) {
		snprintf(text, sizeof(text), "%.40s operations", name);
		ab_sink_value(sink, text, "1/s", true, true, value);
	}
	if (number(part, "bw_bytes", &value)) {
		snprintf(text, sizeof(text), "%.40s throughput", name);
		ab_sink_value(sink, text, "B/s", true, false, value);
	}
	if (number(latency, "mean", &value)) {
		snprintf(text, sizeof(text), "%.40s latency mean", name);
		ab_sink_value(sink, text, "us", false, false, value / 1000);
	}
	snprintf(text, sizeof(text), "%.40s latency", name);
	json_object_foreach (json_object_get(latency, "percentile"), key, percent) {
		ab_sink_quantile(sink, text, strtod(key, NULL) / 100, json_number_value(percent) / 1000);
	}
	if (number(latency, "max", &value))
		ab_sink_quantile(sink, text, 1, value / 1000);
}

void ab_reader_fio(const struct ab_reader *self, const char *text, const struct ab_sink *sink)
{
	static const char *const directions[] = { "read", "write", "trim" };
	json_t *root = load(text);
	const json_t *jobs = json_object_get(root, "jobs"), *job;
	char name[AB_NAME_BYTES];
	size_t index;

	(void)self;
	json_array_foreach (jobs, index, job) {
		for (size_t i = 0; i < sizeof(directions) / sizeof(directions[0]); i++) {
			const char *title = json_string_value(json_object_get(job, "jobname"));

			if (json_array_size(jobs) > 1)
				snprintf(name, sizeof(name), "%.30s %s", title ? title : "job", directions[i]);
			else
				snprintf(name, sizeof(name), "%s", directions[i]);
			read_fio_direction(name, json_object_get(job, directions[i]), sink);
		}
	}
	json_decref(root);
}
