/* SPDX-License-Identifier: BSD-2-Clause */
/* Options: popt for the command line, "name = value" lines in the file of --config. The command line wins. */
#include "options.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <popt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "wire/protocol.h"

#define PIN_DIR_DEFAULT "/sys/fs/bpf/smaccel"
#define CONFIG_DEFAULT "/etc/smaccel/smacceld.conf"

/* As given; NULL: not given. */
struct arguments {
	char *socket_path, *pin_dir, *config, *slots, *socket_mode, *socket_group, *lonely_ms, *test_bound;
	int verbose, version, test_no_order, test_no_memory, test_wait_for_locks;
};

/* The line may go on: print_wanted(). */
#define complain(format, ...) fprintf(stderr, "%ssmacceld: " format, log_error_mark, ##__VA_ARGS__)

/* What would be right in a line "name = value". */
static void print_wanted(const char *line)
{
	size_t blanks = strspn(line, " \t");
	char *name = strndup(line + blanks, strcspn(line + blanks, " \t=#\n"));
	const struct policy_number *number = name ? policy_number_find(name) : NULL;

	if (number && number->base == 8)
		fprintf(stderr, "%s is an octal number up to %" PRIo32 "\n", name, number->maximum);
	else if (number)
		fprintf(stderr, "%s is a number from %" PRIu32 " to %" PRIu32 "\n", name, number->minimum,
			number->maximum);
	else if (name && !strcmp(name, "peers"))
		fprintf(stderr,
			"peers are at most %u networks as 10.0.0.0/24, no bit set behind the prefix, in lines of at "
			"most %u characters\n",
			POLICY_PEERS_MAX, POLICY_VALUE_BYTES - 1);
	else if (name && !strcmp(name, "socket-group"))
		fputs("socket-group is the name of a group, or its number\n", stderr);
	else
		fputs("smacceld(8) names the settings, \"name = value\"\n", stderr);
	free(name);
}

/* A missing file is an error only if it was asked for. */
static int read_config(struct policy_settings *settings, const char *path, bool required)
{
	FILE *file = fopen(path, "re");
	char *line = NULL;
	size_t room = 0;
	int number = 0, error = 0;

	if (!file) {
		error = -errno;
		if (!required && error == -ENOENT)
			return 0;
		complain("cannot read %s: %s\n", path, strerror(-error));
		return error;
	}
	while (!error && getline(&line, &room, file) >= 0) {
		number++;
		error = policy_settings_parse(settings, line);
	}
	if (error) {
		complain("%s:%d: not a setting, or its value is not right: ", path, number);
		print_wanted(line);
	} else if (ferror(file)) { /* a folder, for example: what it says must not be taken for nothing */
		error = -errno;
		complain("cannot read %s: %s\n", path, strerror(-error));
	}
	free(line);
	fclose(file);
	return error;
}

/* An option that is a setting too goes the same way as a line of the file. */
static int apply(struct policy_settings *settings, const char *name, const char *value)
{
	char line[160];
	int length;

	if (!value)
		return 0;
	length = snprintf(line, sizeof(line), "%s = %s", name, value);
	if (length < 0 || (size_t)length >= sizeof(line) || strpbrk(value, "#\n=") ||
	    policy_settings_parse(settings, line)) {
		complain("--%s: bad value '%s': ", name, value);
		print_wanted(name);
		return -EINVAL;
	}
	return 0;
}

/* By name or by number. Now, not when the socket is there: a group that does not exist is a wrong setting, and nothing is touched yet. */
static int find_group(const char *name, gid_t *group_out)
{
	const struct group *group = *name ? getgrnam(name) : NULL;
	unsigned long number;
	char *end;

	*group_out = group ? group->gr_gid : (gid_t)-1;
	if (group || !*name)
		return 0;
	errno = 0;
	number = strtoul(name, &end, 10);
	if (*name < '0' || *name > '9' || *end || errno || number >= UINT32_MAX) {
		complain("socket-group: there is no group '%s'\n", name);
		return -EINVAL;
	}
	*group_out = (gid_t)number;
	return 0;
}

/* An empty path is a variable that was not set. What would be made of it is not what was meant: files where we happen to be. */
static int refuse_empty(const char *name, const char *path)
{
	if (!path || *path)
		return 0;
	complain("--%s: the path is empty\n", name);
	return -EINVAL;
}

static int apply_all(struct options *options, struct arguments *arguments)
{
	struct policy_settings *settings = &options->settings;
	char *end;
	int error;

	error = refuse_empty("socket", arguments->socket_path);
	if (!error)
		error = refuse_empty("pin-dir", arguments->pin_dir);
	if (error)
		return error;
	error = read_config(settings, arguments->config ? arguments->config : CONFIG_DEFAULT,
			    arguments->config != NULL);
	if (!error)
		error = apply(settings, "slots", arguments->slots);
	if (!error)
		error = apply(settings, "socket-mode", arguments->socket_mode);
	if (!error)
		error = apply(settings, "socket-group", arguments->socket_group);
	if (!error)
		error = apply(settings, "lonely-ms", arguments->lonely_ms);
	if (!error)
		error = find_group(settings->socket_group, &options->socket_group);
	if (error)
		return error;
	if (arguments->test_bound) {
		options->test_bound_bytes = strtoul(arguments->test_bound, &end, 10);
		if (*end || !*arguments->test_bound) {
			complain("--test-bound: not a number: %s\n", arguments->test_bound);
			return -EINVAL;
		}
	}
	options->test_no_order = arguments->test_no_order;
	options->test_no_memory = arguments->test_no_memory;
	options->test_wait_for_locks = arguments->test_wait_for_locks;
	options->verbose = arguments->verbose;
	options->socket_path = arguments->socket_path ? arguments->socket_path : strdup(WIRE_SOCKET_DEFAULT);
	options->pin_dir = arguments->pin_dir ? arguments->pin_dir : strdup(PIN_DIR_DEFAULT);
	arguments->socket_path = arguments->pin_dir = NULL;
	return options->socket_path && options->pin_dir ? 0 : -ENOMEM;
}

/* -h, beside popt's own -?. */
static void add_h(poptContext context)
{
	struct poptAlias alias = { .shortName = 'h' };

	if (!poptParseArgvString("--help", &alias.argc, &alias.argv))
		poptAddAlias(context, alias, 0);
}

static int parse_command_line(struct arguments *a, int argc, const char **argv)
{
	const struct poptOption table[] = {
		{ "socket", 0, POPT_ARG_STRING, &a->socket_path, 0, "where to listen (" WIRE_SOCKET_DEFAULT ")",
		  "PATH" },
		{ "pin-dir", 0, POPT_ARG_STRING, &a->pin_dir, 0, "folder of the pinned maps (" PIN_DIR_DEFAULT ")",
		  "DIR" },
		{ "config", 0, POPT_ARG_STRING, &a->config, 0, "settings (" CONFIG_DEFAULT ", if it is there)",
		  "FILE" },
		{ "verbose", 'v', POPT_ARG_NONE, &a->verbose, 0, "say on stderr what happens", NULL },
		{ "slots", 0, POPT_ARG_STRING, &a->slots, 0, "how many pairs there is room for (32768)", "N" },
		{ "socket-mode", 0, POPT_ARG_STRING, &a->socket_mode, 0, "permissions of the socket, octal (666)",
		  "MODE" },
		{ "socket-group", 0, POPT_ARG_STRING, &a->socket_group, 0, "group of the socket", "GROUP" },
		{ "lonely-ms", 0, POPT_ARG_STRING, &a->lonely_ms, 0, "how long a joined end waits for its peer (2000)",
		  "N" },
		{ "version", 'V', POPT_ARG_NONE, &a->version, 0, "print the version and exit", NULL },
		{ "test-no-order", 0, POPT_ARG_NONE | POPT_ARGFLAG_DOC_HIDDEN, &a->test_no_order, 0, NULL, NULL },
		{ "test-no-memory", 0, POPT_ARG_NONE | POPT_ARGFLAG_DOC_HIDDEN, &a->test_no_memory, 0, NULL, NULL },
		{ "test-wait-for-locks", 0, POPT_ARG_NONE | POPT_ARGFLAG_DOC_HIDDEN, &a->test_wait_for_locks, 0, NULL,
		  NULL },
		{ "test-bound", 0, POPT_ARG_STRING | POPT_ARGFLAG_DOC_HIDDEN, &a->test_bound, 0, NULL, NULL },
		POPT_AUTOHELP POPT_TABLEEND
	};
	poptContext context = poptGetContext("smacceld", argc, argv, table, 0);
	int result, error = 0;

	add_h(context);
	result = poptGetNextOpt(context);

	if (result < -1) {
		complain("%s: %s; see smacceld --help\n", poptBadOption(context, POPT_BADOPTION_NOALIAS),
			 poptStrerror(result));
		error = -EINVAL;
	} else if (poptPeekArg(context)) {
		complain("unexpected argument '%s'; see smacceld --help\n", poptPeekArg(context));
		error = -EINVAL;
	}
	poptFreeContext(context);
	return error;
}

int options_parse(struct options *options, int argc, const char **argv)
{
	struct arguments arguments = { 0 };
	int error;

	memset(options, 0, sizeof(*options));
	policy_settings_init(&options->settings);
	error = parse_command_line(&arguments, argc, argv);
	if (!error && arguments.version)
		printf("smacceld %s\n", SMACCEL_VERSION);
	else if (!error)
		error = apply_all(options, &arguments);
	free(arguments.socket_path);
	free(arguments.pin_dir);
	free(arguments.config);
	free(arguments.slots);
	free(arguments.socket_mode);
	free(arguments.socket_group);
	free(arguments.lonely_ms);
	free(arguments.test_bound);
	if (error)
		return error;
	return arguments.version ? OPTIONS_EXIT : OPTIONS_RUN;
}

void options_free(struct options *options)
{
	free(options->socket_path);
	free(options->pin_dir);
}
