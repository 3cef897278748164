/* SPDX-License-Identifier: BSD-2-Clause */
/* The options that several commands have in common. */
#include <stdio.h>
#include <stdlib.h>

#include "../wire/protocol.h"
#include "cli.h"

bool cli_socket_is_named(const char *option, const char *title)
{
	if (!option || *option)
		return true;
	fprintf(stderr, "%s: --socket: the path is empty\n", title);
	return false;
}

const char *cli_socket_path(const char *option)
{
	const char *path = option ? option : getenv("SMACCEL_SOCKET");

	return path && *path ? path : WIRE_SOCKET_DEFAULT;
}

poptContext cli_context(int argc, const char **argv, const struct poptOption *table, unsigned flags)
{
	poptContext context = poptGetContext(NULL, argc, argv, table, flags);
	struct poptAlias alias = { .shortName = 'h' };

	if (!poptParseArgvString("--help", &alias.argc, &alias.argv))
		poptAddAlias(context, alias, 0);
	return context;
}

bool cli_options_read(poptContext context, const char **argv)
{
	int outcome = poptGetNextOpt(context);
	const char *bad = outcome < -1 ? poptBadOption(context, POPT_BADOPTION_NOALIAS) : NULL;

	if (outcome >= -1)
		return true;
	/* Of a value that is a word of its own popt does not say whose it is. */
	for (size_t i = 1; *bad != '-' && argv[i]; i++)
		if (argv[i + 1] == bad) {
			fprintf(stderr, "%s: %s %s: %s; see `%s --help`\n", argv[0], argv[i], bad,
				poptStrerror(outcome), argv[0]);
			return false;
		}
	fprintf(stderr, "%s: %s: %s; see `%s --help`\n", argv[0], bad, poptStrerror(outcome), argv[0]);
	return false;
}

bool cli_no_arguments(poptContext context, const char *title)
{
	const char *argument = poptPeekArg(context);

	if (argument)
		fprintf(stderr, "%s: takes no argument \"%s\"; see `%s --help`\n", title, argument, title);
	return !argument;
}

bool cli_options_parse(struct cli_options *options, int argc, const char **argv, unsigned accepts, const char *about)
{
	static char *socket_path, *html_path; /* live as long as the process */
	int json = 0;
	struct poptOption table[5] = { 0 };
	poptContext context;
	int entries = 0;
	bool good;

	if (accepts & CLI_ACCEPTS_SOCKET)
		table[entries++] = (struct poptOption){ "socket",     0, POPT_ARG_STRING,
							&socket_path, 0, "the helper's socket (also: SMACCEL_SOCKET)",
							"PATH" };
	if (accepts & CLI_ACCEPTS_JSON)
		table[entries++] =
			(struct poptOption){ "json", 0, POPT_ARG_NONE, &json, 0, "print JSON, for programs", NULL };
	if (accepts & CLI_ACCEPTS_HTML)
		table[entries++] = (struct poptOption){ "html",     0, POPT_ARG_STRING,
							&html_path, 0, "a page with plots, complete in itself",
							"FILE" };
	table[entries++] =
		(struct poptOption){ NULL, 0, POPT_ARG_INCLUDE_TABLE, poptHelpOptions, 0, "Help options:", NULL };

	context = cli_context(argc, argv, table, 0);
	poptSetOtherOptionHelp(context, about);
	good = cli_options_read(context, argv) && cli_no_arguments(context, argv[0]) &&
	       cli_socket_is_named(socket_path, argv[0]);
	if (good && html_path && !*html_path) {
		fprintf(stderr, "%s: --html is empty: name a file\n", argv[0]);
		good = false;
	}
	options->socket_path = cli_socket_path(socket_path);
	options->html_path = html_path;
	options->json = json;
	poptFreeContext(context);
	return good;
}
