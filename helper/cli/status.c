/* SPDX-License-Identifier: BSD-2-Clause */
/* smaccel status: the helper, the kernel, totals. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "client.h"
#include "fields.h"
#include "prometheus.h"
#include "table.h"

static void print_helper(const json_t *helper)
{
	char uptime[TABLE_NUMBER_BYTES], used[TABLE_NUMBER_BYTES], slots[TABLE_NUMBER_BYTES];
	char sessions[TABLE_NUMBER_BYTES];

	printf("helper      pid %llu, version %s, up %s\n", (unsigned long long)fields_number(helper, "pid"),
	       fields_text(helper, "version"), table_format_seconds(uptime, fields_number(helper, "uptime_s")));
	printf("in use      %s of %s slots; %s processes\n",
	       table_format_count(used, fields_number(helper, "slots_used")),
	       table_format_count(slots, fields_number(helper, "slots")),
	       table_format_count(sessions, fields_number(helper, "sessions")));
}

/* features: an array of names, or an object of name: true/false. */
static void print_kernel(const json_t *kernel)
{
	const json_t *features = json_object_get(kernel, "features");
	const json_t *value;
	const char *name, *separator = "; ";
	size_t i;

	printf("kernel      %s", fields_text(kernel, "release"));
	json_array_foreach (features, i, value) {
		printf("%s%s", separator, json_is_string(value) ? json_string_value(value) : "?");
		separator = ", ";
	}
	json_object_foreach ((json_t *)features, name, value) {
		printf("%s%s%s", separator, json_is_false(value) ? "no " : "", name);
		separator = ", ";
	}
	putchar('\n');
}

static void print_traffic(const json_t *totals, const char *title, const char *messages, const char *bytes)
{
	char count[TABLE_NUMBER_BYTES], size[TABLE_NUMBER_BYTES];

	printf("%-11s %s messages, %s\n", title, table_format_count(count, fields_number(totals, messages)),
	       table_format_bytes(size, fields_number(totals, bytes)));
}

static void print_totals(const json_t *totals)
{
	char first[TABLE_NUMBER_BYTES], second[TABLE_NUMBER_BYTES];

	printf("pairs       %s armed now, %s so far; %s sockets joined, %s left\n",
	       table_format_count(first, fields_number(totals, "pairs_armed")),
	       table_format_count(second, fields_number(totals, "pairs_armed_total")),
	       table_format_count((char[TABLE_NUMBER_BYTES]){ 0 }, fields_number(totals, "sockets_joined")),
	       table_format_count((char[TABLE_NUMBER_BYTES]){ 0 }, fields_number(totals, "leaves")));
	print_traffic(totals, "redirected", "redirected_msgs", "redirected_bytes");
	print_traffic(totals, "passed", "passed_msgs", "passed_bytes");
	printf("spills      %s\n", table_format_count(first, fields_number(totals, "spills")));
	printf("awake       %s waits, %s with success, %.3f s of CPU time\n",
	       table_format_count(first, fields_number(totals, "spins")),
	       table_format_count(second, fields_number(totals, "spin_hits")),
	       (double)fields_number(totals, "spin_us") / 1e6);
}

static void print_refusals(json_t *refusals)
{
	const char *reason;
	const json_t *count;
	const char *separator = "";

	printf("refusals    ");
	json_object_foreach (refusals, reason, count) {
		char text[TABLE_NUMBER_BYTES];

		if (json_integer_value(count) <= 0)
			continue;
		printf("%s%s %s", separator, reason, table_format_count(text, (uint64_t)json_integer_value(count)));
		separator = ", ";
	}
	puts(*separator ? "" : "none");
}

/* What a trial does to connections here and now. */
static void print_trial(const json_t *trial)
{
	const char *state = fields_text(trial, "state");

	if (json_is_true(json_object_get(trial, "selection_off")))
		puts("trial       its guard has turned acceleration off for what it selected; `smaccel trial stop` "
		     "takes that "
		     "back");
	else if (!strcmp(state, "starting") || !strcmp(state, "running"))
		puts("trial       running; `smaccel trial status` shows it");
}

static void print_status(json_t *status)
{
	print_helper(json_object_get(status, "helper"));
	print_kernel(json_object_get(status, "kernel"));
	print_totals(json_object_get(status, "totals"));
	print_refusals(json_object_get(status, "refusals"));
	print_trial(json_object_get(status, "trial"));
	if (json_is_true(json_object_get(json_object_get(status, "switches"), "off")))
		puts("The kill switch is set: every message goes through TCP. `smaccel on` takes it back.");
}

/* Texts live as long as the process. */
static bool parse(struct cli_options *options, bool *is_prometheus, int argc, const char **argv)
{
	static char *socket_path;
	int json = 0, prometheus = 0;
	const struct poptOption table[] = {
		{ "json", 0, POPT_ARG_NONE, &json, 0, "print JSON, for programs", NULL },
		{ "prometheus", 0, POPT_ARG_NONE, &prometheus, 0, "print metrics in Prometheus's text format", NULL },
		{ "socket", 0, POPT_ARG_STRING, &socket_path, 0, "the helper's socket (also: SMACCEL_SOCKET)", "PATH" },
		POPT_AUTOHELP POPT_TABLEEND,
	};
	poptContext context = cli_context(argc, argv, table, 0);
	bool good = cli_options_read(context, argv) && cli_no_arguments(context, argv[0]) &&
		    cli_socket_is_named(socket_path, argv[0]);

	if (good && json && prometheus) {
		fprintf(stderr, "%s: --json and --prometheus: one of them\n", argv[0]);
		good = false;
	}
	options->socket_path = cli_socket_path(socket_path);
	options->json = json;
	*is_prometheus = prometheus;
	poptFreeContext(context);
	return good;
}

int cli_status_main(int argc, const char **argv)
{
	struct cli_options options;
	bool is_prometheus;
	char *text = NULL;
	json_t *status;

	if (!parse(&options, &is_prometheus, argc, argv))
		return CLI_USAGE;
	status = client_ask_json(argv[0], options.socket_path, WIRE_STATUS, &text);
	if (!status)
		return CLI_FAILURE;
	if (options.json)
		puts(text);
	else if (is_prometheus)
		prometheus_print(status, stdout);
	else
		print_status(status);
	json_decref(status);
	free(text);
	return CLI_OK;
}
