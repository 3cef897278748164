/* SPDX-License-Identifier: BSD-2-Clause */
/* smaccel, the command line: finds the command in one table and hands over to its file. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

static const struct cli_command commands[] = {
	{ "run", "smaccel run", "run a program with its local TCP accelerated", cli_run_main },
	{ "ab", "smaccel ab", "is it faster? a program with and without acceleration, side by side", cli_ab_main },
	{ "status", "smaccel status", "the helper, the kernel, totals", cli_status_main },
	{ "ss", "smaccel ss", "one row an end of a connection, with its state and the reason for it",
	  cli_connections_main },
	{ "explain", "smaccel explain", "why a process's connections are accelerated, or not", cli_explain_main },
	{ "probe", "smaccel probe", "test what this kernel does; takes root", cli_probe_main },
	{ "trial", "smaccel trial",
	  "accelerate some connections of a running service, at random, and compare; takes root", cli_trial_main },
	{ "semantics", "smaccel semantics", "how each behaviour of TCP is kept", cli_semantics_main },
	{ "off", "smaccel off", "kill switch: every connection on plain TCP, at once", cli_off_main },
	{ "on", "smaccel on", "takes the kill switch back", cli_on_main },
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static void print_help(FILE *out)
{
	fputs("Usage: smaccel COMMAND [OPTION...]\n"
	      "TCP between two processes of one host as fast as a socketpair.\n\n",
	      out);
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
	fputs("\n  smaccel COMMAND --help    its options\n"
	      "  smaccel --version\n",
	      out);
}

static int dispatch(int argc, const char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;

	if (!name) {
		print_help(stderr);
		return CLI_USAGE;
	}
	if (!strcmp(name, "--help") || !strcmp(name, "-?") || !strcmp(name, "-h") || !strcmp(name, "help")) {
		print_help(stdout);
		return CLI_OK;
	}
	if (!strcmp(name, "--version") || !strcmp(name, "-V")) {
		puts("smaccel " SMACCEL_VERSION);
		return CLI_OK;
	}
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		if (strcmp(name, commands[i].name))
			continue;
		argv[1] = commands[i].title;
		return commands[i].run(argc - 1, argv + 1);
	}
	fprintf(stderr, "smaccel: no command \"%s\"; see `smaccel --help`\n", name);
	return CLI_USAGE;
}

static int status;

/* A full disk or a closed pipe must not look like success to a script. At exit, which popt calls after --help. */
static void finish_output(void)
{
	if (fflush(stdout) || ferror(stdout)) {
		perror("smaccel: standard output");
		_exit(status ? status : CLI_FAILURE);
	}
}

/* Else the first files that are opened would be taken for them. For reading only: an output that is closed stays one that fails.
 * Closed again at exec: what `smaccel run` becomes has them as they were. */
static void fill_standard_descriptors(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, const char **argv)
{
	fill_standard_descriptors();
	if (atexit(finish_output))
		return CLI_FAILURE;
	status = dispatch(argc, argv);
	return status;
}
