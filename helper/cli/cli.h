/* SPDX-License-Identifier: BSD-2-Clause */
/* What the commands of `smaccel` share: the table's entry, exit statuses, the common options. */
#ifndef SMACCEL_CLI_H
#define SMACCEL_CLI_H

#include <popt.h>
#include <stdbool.h>

/* Exit statuses; `run` adds those of env(1): 126 (found, cannot be run so), 127 (not found). */
enum cli_exit {
	CLI_OK = 0,
	CLI_FAILURE = 1,
	CLI_USAGE = 2,
	CLI_CANNOT_RUN = 126,
	CLI_NOT_FOUND = 127,
};

struct cli_command {
	const char *name;
	const char *title;   /* "smaccel NAME": argv[0] of the command, and so of its messages */
	const char *summary; /* one line of `smaccel --help` */
	/* argv[0] is the title. Returns an exit status. */
	int (*run)(int argc, const char **argv);
};

int cli_run_main(int argc, const char **argv);
int cli_ab_main(int argc, const char **argv);
int cli_status_main(int argc, const char **argv);
int cli_connections_main(int argc, const char **argv);
int cli_explain_main(int argc, const char **argv);
int cli_probe_main(int argc, const char **argv);
int cli_semantics_main(int argc, const char **argv);
int cli_off_main(int argc, const char **argv);
int cli_on_main(int argc, const char **argv);
int cli_trial_main(int argc, const char **argv);

struct cli_options {
	const char *socket_path; /* never NULL after parsing; lives as long as the process */
	const char *html_path;   /* NULL: not given; lives as long as the process */
	bool json;
};

enum cli_accepts {
	CLI_ACCEPTS_SOCKET = 1 << 0,
	CLI_ACCEPTS_JSON = 1 << 1,
	CLI_ACCEPTS_HTML = 1 << 2,
};

/* Parses the options of a command that takes no other arguments. `accepts`: bits of enum cli_accepts. True, or false
 * after a message on stderr (the command then ends with CLI_USAGE). --help prints and exits. */
bool cli_options_parse(struct cli_options *options, int argc, const char **argv, unsigned accepts, const char *about);

/* A context for the options of a table, with -h beside popt's own -?. */
poptContext cli_context(int argc, const char **argv, const struct poptOption *table, unsigned flags);
/* Reads the options of a table; argv is the context's. True, or false after a message on stderr. */
bool cli_options_read(poptContext context, const char **argv);
/* Whether no word is left that is no option; false after a message on stderr. */
bool cli_no_arguments(poptContext context, const char *title);

/* Whether --socket is no empty path, as of a shell's variable that was not set: the usual helper is not what was meant then. False after a message
 * on stderr; NULL (not given) is fine. */
bool cli_socket_is_named(const char *option, const char *title);
/* The helper's socket: `option` if not NULL, else SMACCEL_SOCKET, else the default. */
const char *cli_socket_path(const char *option);

#endif
