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
#include "library.h"
#include "program.h"

#define WARN_WAIT_MS 200 /* the look whether a helper is there */

struct profile {
	const char *name;
	const char *variable;
	const char *value;
};

/* A profile is settings of the shim under one name. Being asked for on the command line, it wins over the environment. */
static const struct profile profiles[] = {
	{ "auto", "SMACCEL_ADMIT", "auto" },
	{ "eager", "SMACCEL_ADMIT", "eager" },
	{ "latency", "SMACCEL_SPIN_US", "50" },
	{ "off", "SMACCEL", "off" },
};

#define PROFILE_COUNT (sizeof(profiles) / sizeof(profiles[0]))

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
	poptContext context = poptGetContext(NULL, argc, argv, table, POPT_CONTEXT_POSIXMEHARDER);
	int outcome;

	poptSetOtherOptionHelp(context, "[--profile=NAME] [--socket=PATH] [--] PROGRAM [ARGUMENT...]");
	outcome = poptGetNextOpt(context);
	if (outcome < -1) {
		fprintf(stderr, "%s: %s: %s\n", argv[0], poptBadOption(context, POPT_BADOPTION_NOALIAS),
			poptStrerror(outcome));
		return false;
	}
	options->command = poptGetArgs(context); /* lives as long as the context: to the exec */
	if (!options->command || !options->command[0]) {
		fprintf(stderr, "%s: which program? See `%s --help`\n", argv[0], argv[0]);
		return false;
	}
	return true;
}

static bool apply_profile(const char *title, const char *name)
{
	for (size_t i = 0; name && i < PROFILE_COUNT; i++) {
		if (!strcmp(name, profiles[i].name))
			return !setenv(profiles[i].variable, profiles[i].value, 1);
	}
	if (name)
		fprintf(stderr, "%s: no profile \"%s\"; there are auto, eager, latency, off\n", title, name);
	return !name;
}

/* CLI_OK, or the status to end with. */
static int examine(const char *title, const char *name, struct program *program)
{
	enum program_verdict verdict = program_examine(name, program);

	switch (verdict) {
	case PROGRAM_GOOD:
	case PROGRAM_UNREADABLE: /* exec may be allowed where reading is not */
		return CLI_OK;
	case PROGRAM_NOT_FOUND:
		fprintf(stderr, "%s: %s: not found\n", title, program->path);
		return CLI_NOT_FOUND;
	case PROGRAM_NOT_EXECUTABLE:
		fprintf(stderr, "%s: %s: not an executable file\n", title, program->path);
		return CLI_CANNOT_RUN;
	default:
		fprintf(stderr, "%s: cannot accelerate %s: %s\n", title, program->path, program_verdict_text(verdict));
		return CLI_CANNOT_RUN;
	}
}

/* ASan refuses to run when another library was preloaded before its runtime. It need not be first for our sake: the shim
 * calls on to ASan's interceptors. (To preload the runtime itself would put it in every child, and its leak check there.) */
static int quiet_asan(void)
{
	const char *current = getenv("ASAN_OPTIONS");
	char *value = NULL;
	int err = -ENOMEM;

	if (asprintf(&value, "verify_asan_link_order=0%s%s", current ? ":" : "", current ? current : "") >= 0)
		err = setenv("ASAN_OPTIONS", value, 1) ? -errno : 0;
	free(value);
	return err;
}

static int set_preload(const char *title, const struct program *program)
{
	char path[LIBRARY_PATH_BYTES];
	int err = library_find(path);
	char *value;

	if (err) {
		fprintf(stderr, "%s: %s\n", title,
			err == -EINVAL
				? "the path of libsmaccel.so has a blank or a colon, which LD_PRELOAD cannot express"
				: "libsmaccel.so is not to be found; SMACCEL_LIBRARY can name it");
		return err;
	}
	value = library_preload_value(getenv("LD_PRELOAD"), path);
	err = value && !setenv("LD_PRELOAD", value, 1) ? 0 : -ENOMEM;
	free(value);
	if (!err && program->links_asan)
		err = quiet_asan();
	return err;
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

	if (!parse_options(&options, argc, argv) || !apply_profile(argv[0], options.profile))
		return CLI_USAGE;
	status = examine(argv[0], options.command[0], &program);
	if (status)
		return status;
	if (set_preload(argv[0], &program) || (options.socket_path && setenv("SMACCEL_SOCKET", options.socket_path, 1)))
		return CLI_FAILURE;
	warn_without_helper(argv[0]);

	execvp(options.command[0], (char *const *)options.command);
	err = errno;
	fprintf(stderr, "%s: %s: %s\n", argv[0], options.command[0], strerror(err));
	return err == ENOENT ? CLI_NOT_FOUND : CLI_CANNOT_RUN;
}
