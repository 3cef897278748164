/* SPDX-License-Identifier: BSD-2-Clause */
/* smaccel probe: what this kernel does with a joined socket. Runs the self-test in this process, on private maps: a helper
 * that runs is not touched and none is needed. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "../selftest.h"
#include "../wire/protocol.h"
#include "cli.h"
#include "table.h"

static const struct table_column columns[] = {
	{ "FACT", TABLE_LEFT },
	{ "BEHAVIOUR", TABLE_LEFT },
	{ "OUTCOME", TABLE_LEFT },
	{ "SEEN", TABLE_LEFT },
};

/* What ends the list, refused or not tried; NULL: all is well. */
static const struct selftest_result *failure_of(const struct selftest_result *results, int count)
{
	const struct selftest_result *last = count ? &results[count - 1] : NULL;

	return last && last->outcome >= SELFTEST_REFUSED ? last : NULL;
}

static int print_json(const char *title, const struct selftest_result *results, int count, uint32_t features)
{
	json_t *list = json_array(), *root;
	struct utsname kernel;
	char *text;

	uname(&kernel);
	for (int i = 0; i < count; i++)
		json_array_append_new(list,
				      json_pack("{s:s, s:s, s:s, s:s}", "name", results[i].name, "fact",
						results[i].fact, "outcome", selftest_outcome_name(results[i].outcome),
						"detail", results[i].detail));
	root = json_pack("{s:s, s:b, s:b, s:b, s:o}", "release", kernel.release, "usable", !failure_of(results, count),
			 "fionread_counts_tcp", !!(features & WIRE_FEATURE_FIONREAD_COUNTS_TCP),
			 "fionread_counts_psock", !!(features & WIRE_FEATURE_FIONREAD_COUNTS_PSOCK), "results", list);
	text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
	if (text)
		puts(text);
	else
		fprintf(stderr, "%s: out of memory\n", title);
	free(text);
	json_decref(root);
	return text ? CLI_OK : CLI_FAILURE;
}

static int print_table(const char *title, const struct selftest_result *results, int count)
{
	struct table *table = table_new(columns, sizeof(columns) / sizeof(columns[0]));
	const struct selftest_result *failure = failure_of(results, count);
	struct utsname kernel;
	bool good = table != NULL;

	for (int i = 0; good && i < count; i++) {
		const char *cells[] = { results[i].fact, results[i].name, selftest_outcome_name(results[i].outcome),
					results[i].detail };

		good = !table_add(table, cells);
	}
	if (good) {
		table_print(table, stdout);
		uname(&kernel);
		if (failure && failure->outcome == SELFTEST_NOT_TRIED)
			printf("\nLinux %s: not known; %s\n", kernel.release, selftest_advice(failure->error));
		else
			printf("\nLinux %s: %s\n", kernel.release, failure ? "nothing can be accelerated" : "usable");
	} else {
		fprintf(stderr, "%s: out of memory\n", title);
	}
	table_free(table);
	return good ? CLI_OK : CLI_FAILURE;
}

int cli_probe_main(int argc, const char **argv)
{
	struct selftest_result results[SELFTEST_RESULTS_MAX];
	struct cli_options options;
	uint32_t features = 0;
	int count, status;

	if (!cli_options_parse(&options, argc, argv, CLI_ACCEPTS_JSON, "[--json]"))
		return CLI_USAGE;
	if (geteuid() != 0) {
		fprintf(stderr, "%s: needs root: it loads BPF programs\n", argv[0]);
		return CLI_FAILURE;
	}
	count = selftest_run(NULL, results, SELFTEST_RESULTS_MAX, &features);
	if (count < 0) {
		fprintf(stderr, "%s: the self-test cannot run: %s; %s\n", argv[0], strerror(-count),
			selftest_advice(count));
		return CLI_FAILURE;
	}
	if (options.json)
		status = print_json(argv[0], results, count, features);
	else
		status = print_table(argv[0], results, count);
	return status ? status : failure_of(results, count) ? CLI_FAILURE : CLI_OK;
}
