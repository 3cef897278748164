/* SPDX-License-Identifier: BSD-2-Clause */
/* smaccel run: looks whether a program can be preloaded into, sets its environment, and becomes it.
 *
 * The helper plays no part: with none running the program runs on plain TCP, so nothing here may fail for that.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "client.h"
#include "environment.h"
#include "preload.h"
#include "program.h"

#define WARN_WAIT_MS 200 /* the look whether a helper is there */

struct run_options {
	char *profile;
	char *socket_path;
	const char **command; /* NULL-terminated */
};

static bool parse_options(struct run_options *options, int argc, const char **argv)
{
	struct poptOption table[] = {
		{ "profile", 0, POPT_ARG_STRING, &options->profile, 0, "auto (the default), eager, latency, off",
		  "NAME" },
		{ "socket", 0, POPT_ARG_STRING, &options->socket_path, 0, "the helper's socket (also: SMACCEL_SOCKET)",
		  "PATH" },
		POPT_AUTOHELP POPT_TABLEEND,
	};
	/* Our options end at the first word that is none: the rest belongs to the program. */
	poptContext context = cli_context(argc, argv, table, POPT_CONTEXT_POSIXMEHARDER);

	poptSetOtherOptionHelp(context, "[--profile=NAME] [--socket=PATH] [--] PROGRAM [ARGUMENT...]");
	if (!cli_options_read(context, argv) || !cli_socket_is_named(options->socket_path, argv[0]))
		return false;
	options->command = poptGetArgs(context); /* lives as long as the context: to the exec */
	if (!options->command || !options->command[0]) {
		fprintf(stderr, "%s: which program? See `%s --help`\n", argv[0], argv[0]);
		return false;
	}
	return true;
}

/* Silent unless the user asked for a log, like the shim itself. */
static void warn_without_helper(const char *title)
{
	const char *log = getenv("SMACCEL_LOG");
	const char *path = cli_socket_path(NULL);
	int door;

	if (!log || !*log)
		return;
	door = client_connect(path, WARN_WAIT_MS);
	if (door < 0)
		fprintf(stderr, "%s: no helper at %s (%s): plain TCP\n", title, path, strerror(-door));
	else
		close(door);
}

int cli_run_main(int argc, const char **argv)
{
	struct run_options options = { 0 };
	struct program program;
	int status, err;

	if (!parse_options(&options, argc, argv) || !preload_profile(argv[0], options.profile))
		return CLI_USAGE;
	status = preload_examine(argv[0], options.command[0], &program);
	if (status)
		return status;
	if (preload_set(argv[0], &program) || (options.socket_path && setenv("SMACCEL_SOCKET", options.socket_path, 1)))
		return CLI_FAILURE;
	environment_examine(argv[0]);
	warn_without_helper(argv[0]);

	execvp(options.command[0], (char *const *)options.command);
	err = errno;
	fprintf(stderr, "%s: %s: %s\n", argv[0], options.command[0], strerror(err));
	return err == ENOENT ? CLI_NOT_FOUND : CLI_CANNOT_RUN;
}
