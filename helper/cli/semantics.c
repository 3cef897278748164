/* SPDX-License-Identifier: BSD-2-Clause */
/* smaccel semantics: how each behaviour of TCP is kept on an accelerated connection. The table is semantics.def. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"
#include "table.h"

enum kept { KEPT_NATIVE, KEPT_REPAIRED, KEPT_LEAVES, KEPT_PINNED, KEPT_NEVER_JOINS, KEPT_DIFFERS, KEPT_COUNT };

static const struct {
	const char *name;
	const char *meaning;
} kept_names[] = {
	[KEPT_NATIVE] = { "native", "the kernel does on redirected bytes what TCP does" },
	[KEPT_REPAIRED] = { "repaired", "the library gives the results that TCP would give" },
	[KEPT_LEAVES] = { "leaves first", "the connection goes back to plain TCP" },
	[KEPT_PINNED] = { "pinned", "every message passes through TCP from then on" },
	[KEPT_NEVER_JOINS] = { "never joins", "the connection is plain TCP from the start" },
	[KEPT_DIFFERS] = { "differs", "an application can tell" },
};
_Static_assert(sizeof(kept_names) / sizeof(kept_names[0]) == KEPT_COUNT, "each way has a name");

static const struct behaviour {
	const char *area;
	const char *text;
	enum kept kept;
	const char *how;
	const char *cases;
} behaviours[] = {
#define BEHAVIOUR(area, text, kept, how, cases) { area, text, kept, how, cases },
#include "semantics.def"
#undef BEHAVIOUR
};
#define BEHAVIOURS (sizeof(behaviours) / sizeof(behaviours[0]))

static const struct table_column columns[] = {
	{ "AREA", TABLE_LEFT },
	{ "BEHAVIOUR", TABLE_LEFT },
	{ "KEPT", TABLE_LEFT },
	{ "HOW", TABLE_LEFT },
};

static int print_json(void)
{
	json_t *list = json_array();
	char *text;

	for (size_t i = 0; i < BEHAVIOURS; i++)
		json_array_append_new(list,
				      json_pack("{s:s, s:s, s:s, s:s, s:s}", "area", behaviours[i].area, "behaviour",
						behaviours[i].text, "kept", kept_names[behaviours[i].kept].name, "how",
						behaviours[i].how, "cases", behaviours[i].cases));
	text = list ? json_dumps(list, JSON_INDENT(1)) : NULL;
	if (text)
		puts(text);
	free(text);
	json_decref(list);
	return text ? CLI_OK : CLI_FAILURE;
}

static int print_table(void)
{
	struct table *table = table_new(columns, sizeof(columns) / sizeof(columns[0]));
	bool good = table != NULL;

	for (size_t i = 0; good && i < BEHAVIOURS; i++) {
		const struct behaviour *row = &behaviours[i];
		const char *cells[] = { row->area, row->text, kept_names[row->kept].name, row->how };

		good = !table_add(table, cells);
	}
	if (good) {
		table_print(table, stdout);
		puts("");
		for (size_t i = 0; i < KEPT_COUNT; i++)
			printf("%-12s  %s\n", kept_names[i].name, kept_names[i].meaning);
	}
	table_free(table);
	return good ? CLI_OK : CLI_FAILURE;
}

int cli_semantics_main(int argc, const char **argv)
{
	struct cli_options options;
	int status;

	if (!cli_options_parse(&options, argc, argv, CLI_ACCEPTS_JSON, "[--json]"))
		return CLI_USAGE;
	status = options.json ? print_json() : print_table();
	if (status)
		fprintf(stderr, "%s: out of memory\n", argv[0]);
	return status;
}
