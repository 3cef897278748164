/* SPDX-License-Identifier: BSD-2-Clause */
/* smaccel ss: one row a connection's end, with its state and the reason for it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../wire/wire.h"
#include "cli.h"
#include "client.h"
#include "fields.h"
#include "filter.h"
#include "table.h"

static const struct table_column columns[] = {
	{ "STATE", TABLE_LEFT },   { "REASON", TABLE_LEFT },  { "LOCAL", TABLE_LEFT }, { "REMOTE", TABLE_LEFT },
	{ "PROCESS", TABLE_LEFT }, { "FD", TABLE_RIGHT },     { "PEER", TABLE_RIGHT }, { "REDIRECTED", TABLE_RIGHT },
	{ "MSGS", TABLE_RIGHT },   { "PASSED", TABLE_RIGHT }, { "MSGS", TABLE_RIGHT }, { "SPILLS", TABLE_RIGHT },
};

#define COLUMN_COUNT (sizeof(columns) / sizeof(columns[0]))

/* A number that may be unknown: null, missing or negative. */
static const char *count_or_dash(char buffer[TABLE_NUMBER_BYTES], const json_t *row, const char *key)
{
	const json_t *value = json_object_get(row, key);

	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return "-";
	snprintf(buffer, TABLE_NUMBER_BYTES, "%" PRId64, (int64_t)json_integer_value(value));
	return buffer;
}

static int add_row(struct table *table, const json_t *row)
{
	char process[64], fd[TABLE_NUMBER_BYTES], peer[TABLE_NUMBER_BYTES], spills[TABLE_NUMBER_BYTES];
	char redirected[TABLE_NUMBER_BYTES], redirected_msgs[TABLE_NUMBER_BYTES];
	char passed[TABLE_NUMBER_BYTES], passed_msgs[TABLE_NUMBER_BYTES];
	const char *cells[COLUMN_COUNT];

	snprintf(process, sizeof(process), "%s/%" PRIu64, fields_text(row, "comm"), fields_number(row, "pid"));
	cells[0] = fields_text(row, "state");
	cells[1] = fields_text(row, "reason");
	cells[2] = fields_text(row, "local");
	cells[3] = fields_text(row, "remote");
	cells[4] = process;
	cells[5] = count_or_dash(fd, row, "fd");
	cells[6] = fields_number(row, "peer_pid") ? count_or_dash(peer, row, "peer_pid") : "-";
	cells[7] = table_format_bytes(redirected, fields_number(row, "redirected_bytes"));
	cells[8] = table_format_count(redirected_msgs, fields_number(row, "redirected_msgs"));
	cells[9] = table_format_bytes(passed, fields_number(row, "passed_bytes"));
	cells[10] = table_format_count(passed_msgs, fields_number(row, "passed_msgs"));
	cells[11] = table_format_count(spills, fields_number(row, "spills"));
	return table_add(table, cells);
}

static int print_rows(const char *title, const json_t *rows)
{
	struct table *table = table_new(columns, COLUMN_COUNT);
	const json_t *row;
	size_t i;
	bool good = table != NULL;

	json_array_foreach (rows, i, row) {
		good = good && !add_row(table, row);
	}
	if (good)
		table_print(table, stdout);
	else
		fprintf(stderr, "%s: out of memory\n", title);
	table_free(table);
	return good ? CLI_OK : CLI_FAILURE;
}

/* The kill switch changes no state, which would make a table of armed ends misleading. */
static void say_off(const char *title, const char *socket_path)
{
	char *text = NULL;
	json_t *status = client_ask_json(title, socket_path, WIRE_STATUS, &text);

	if (json_is_true(json_object_get(json_object_get(status, "switches"), "off")))
		fprintf(stderr, "%s: the kill switch is set: armed ends, too, send by TCP until `smaccel on`\n", title);
	json_decref(status);
	free(text);
}

/* Texts live as long as the process. */
static bool parse(struct cli_options *options, struct filter *filter, int argc, const char **argv)
{
	static char *socket_path;
	int json = 0;
	const struct poptOption table[] = {
		{ "pid", 0, POPT_ARG_STRING, &filter->pid, 0, "only that process's ends", "N" },
		{ "port", 0, POPT_ARG_STRING, &filter->port, 0, "only connections with that port, of either end", "P" },
		{ "state", 0, POPT_ARG_STRING, &filter->state, 0, "only ends in that state", "NAME" },
		{ "reason", 0, POPT_ARG_STRING, &filter->reason, 0, "only ends with that reason", "NAME" },
		{ "json", 0, POPT_ARG_NONE, &json, 0, "print JSON, for programs", NULL },
		{ "socket", 0, POPT_ARG_STRING, &socket_path, 0, "the helper's socket (also: SMACCEL_SOCKET)", "PATH" },
		POPT_AUTOHELP POPT_TABLEEND,
	};
	poptContext context = cli_context(argc, argv, table, 0);
	bool good = cli_options_read(context, argv) && cli_no_arguments(context, argv[0]) &&
		    cli_socket_is_named(socket_path, argv[0]) && filter_is_good(filter, argv[0]);

	options->socket_path = cli_socket_path(socket_path);
	options->json = json;
	poptFreeContext(context);
	return good;
}

int cli_connections_main(int argc, const char **argv)
{
	struct wire_request message = { 0 };
	struct filter filter = { 0 };
	struct cli_options options;
	int status = CLI_OK;
	json_t *answer;

	if (!parse(&options, &filter, argc, argv))
		return CLI_USAGE;
	wire_header_init(&message.header, WIRE_CONNECTIONS, sizeof(message), 0, 0);
	answer = client_ask_long(argv[0], options.socket_path, &message, sizeof(message));
	if (!answer)
		return CLI_FAILURE;
	filter_rows(&filter, json_is_array(answer) ? answer : json_object_get(answer, "connections"));
	if (options.json) {
		json_dumpf(answer, stdout, JSON_COMPACT);
		putchar('\n');
	} else {
		say_off(argv[0], options.socket_path);
		/* REDIRECTED, PASSED: what this end sent */
		status = print_rows(argv[0], json_is_array(answer) ? answer : json_object_get(answer, "connections"));
	}
	json_decref(answer);
	return status;
}
