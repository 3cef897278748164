/* SPDX-License-Identifier: BSD-2-Clause */
/* Names of metrics stay: dashboards and alarms hang on them. See prometheus.h. */
#include <inttypes.h>
#include <stdbool.h>

#include "fields.h"
#include "prometheus.h"

static const struct metric {
	const char *object, *key; /* in the status */
	const char *name, *type, *help;
	bool is_us; /* shown in seconds */
} metrics[] = {
	{ "totals", "pairs_armed", "pairs_armed", "gauge", "Pairs whose messages are redirected now.", false },
	{ "totals", "pairs_armed_total", "pairs_armed_total", "counter", "Pairs armed so far.", false },
	{ "totals", "sockets_joined_now", "sockets_joined", "gauge", "Sockets in the sockhash now.", false },
	{ "totals", "sockets_joined", "sockets_joined_total", "counter", "Sockets that joined so far.", false },
	{ "totals", "leaves", "leaves_total", "counter", "Sockets that went back to plain TCP.", false },
	{ "totals", "redirected_msgs", "redirected_msgs_total", "counter", "Messages redirected.", false },
	{ "totals", "redirected_bytes", "redirected_bytes_total", "counter", "Bytes redirected.", false },
	{ "totals", "passed_msgs", "passed_msgs_total", "counter", "Messages of joined sockets sent by TCP.", false },
	{ "totals", "passed_bytes", "passed_bytes_total", "counter", "Bytes of joined sockets sent by TCP.", false },
	{ "totals", "spills", "spills_total", "counter", "Messages sent by TCP for want of room at the receiver.",
	  false },
	{ "totals", "order_passes", "order_passes_total", "counter", "Messages sent by TCP to keep the order.", false },
	{ "totals", "busy_passes", "busy_passes_total", "counter", "Messages sent by TCP as another was under way.",
	  false },
	{ "totals", "spins", "spins_total", "counter", "Waits in which a reader stayed awake.", false },
	{ "totals", "spin_hits", "spin_hits_total", "counter", "Of these, those in which data came.", false },
	{ "totals", "spin_us", "spin_seconds_total", "counter", "CPU time of these.", true },
	{ "helper", "uptime_s", "uptime_seconds", "gauge", "Since the helper was started.", false },
	{ "helper", "sessions", "sessions", "gauge", "Processes that the helper serves.", false },
	{ "helper", "slots_used", "slots_used", "gauge", "Slots in use; each holds a pair.", false },
	{ "helper", "slots", "slots", "gauge", "Slots there are.", false },
	{ "switches", "off", "off", "gauge", "1 while the kill switch is set.", false },
	{ "trial", "selection_off", "trial_selection_off", "gauge",
	  "1 while a trial's guard has turned acceleration off for what the trial selected.", false },
};

static void print_head(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP smaccel_%s %s\n# TYPE smaccel_%s %s\n", name, help, name, type);
}

static void print_metric(const struct metric *metric, const json_t *value, FILE *out)
{
	uint64_t number = json_is_boolean(value) ? json_is_true(value) : (uint64_t)json_integer_value(value);

	print_head(out, metric->name, metric->type, metric->help);
	if (metric->is_us)
		fprintf(out, "smaccel_%s %" PRIu64 ".%06" PRIu64 "\n", metric->name, number / 1000000,
			number % 1000000);
	else
		fprintf(out, "smaccel_%s %" PRIu64 "\n", metric->name, number);
}

/* Versions and reasons: nothing in them must be escaped, but they came from outside this program. */
static void print_label(const char *name, const char *value, FILE *out)
{
	fprintf(out, "%s=\"", name);
	for (; *value; value++)
		fputc(*value > ' ' && *value < 0x7f && *value != '"' && *value != '\\' ? *value : '_', out);
	fputc('"', out);
}

void prometheus_print(const json_t *status, FILE *out)
{
	json_t *refusals = json_object_get(status, "refusals");
	const json_t *count;
	const char *reason;

	print_head(out, "info", "gauge", "The helper's version and the kernel's.");
	fputs("smaccel_info{", out);
	print_label("version", fields_text(json_object_get(status, "helper"), "version"), out);
	fputc(',', out);
	print_label("kernel", fields_text(json_object_get(status, "kernel"), "release"), out);
	fputs("} 1\n", out);
	for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++) {
		const json_t *value = json_object_get(json_object_get(status, metrics[i].object), metrics[i].key);

		if (value) /* of another version's helper it may be missing */
			print_metric(&metrics[i], value, out);
	}
	print_head(out, "refusals_total", "counter", "Connections that were refused since the helper was started.");
	json_object_foreach (refusals, reason, count) {
		fputs("smaccel_refusals_total{", out);
		print_label("reason", reason, out);
		fprintf(out, "} %" PRIu64 "\n", (uint64_t)json_integer_value(count));
	}
}
