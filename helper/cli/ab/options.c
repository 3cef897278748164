/* SPDX-License-Identifier: BSD-2-Clause */
/* The options of `smaccel ab`, checked as a whole before anything runs. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ab.h"
#include "../output.h"
#include "../cli.h"
#include "../preload.h"

#define TIMEOUT_DEFAULT_S 600
#define NOT_GIVEN (-1e9)

/* What popt fills in; texts live as long as the process. */
struct raw {
	char *server, *ready, *pin, *reader, *primary, *profile, *socket_path, *html, *save, *fail_if;
	char **metrics, **environment[ARMS];
	int warmup, aa, env_only, bare_a, json, quiet;
	long seed;
	double rounds, seconds, timeout_s, margin, confidence;
};

__attribute__((format(printf, 2, 3))) static bool refuse(const struct ab_options *options, const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "%s: ", options->title);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	return false;
}

bool ab_cpus_parse(const char *text, cpu_set_t *cpus)
{
	CPU_ZERO(cpus);
	do {
		char *end;
		unsigned long first = strtoul(text, &end, 10), last = first;

		if (end == text || *text == '-')
			return false;
		if (*end == '-') {
			text = end + 1;
			last = strtoul(text, &end, 10);
			if (end == text)
				return false;
		}
		if (last < first || last >= CPU_SETSIZE || (*end && *end != ','))
			return false;
		for (unsigned long cpu = first; cpu <= last; cpu++)
			CPU_SET(cpu, cpus);
		text = *end ? end + 1 : NULL;
	} while (text);
	return true;
}

/* False after a message: on none of them could the arms run. */
static bool has_cpus(const struct ab_options *options, const cpu_set_t *cpus, const char *text)
{
	cpu_set_t own;
	bool good = sched_getaffinity(0, sizeof(own), &own) == 0 && sched_setaffinity(0, sizeof(*cpus), cpus) == 0;

	if (good)
		sched_setaffinity(0, sizeof(own), &own);
	return good || refuse(options, "--pin: there is no CPU %s here that may be used", text);
}

/* CPUS of both, or CPUS of CMD ":" CPUS of the server. */
static bool parse_pin(struct ab_options *options, const struct raw *raw)
{
	char *colon = raw->pin ? strchr(raw->pin, ':') : NULL;

	if (!raw->pin)
		return true;
	options->pin = raw->pin;
	options->pin_server = colon ? colon + 1 : raw->pin;
	if (colon)
		*colon = '\0';
	if (!ab_cpus_parse(options->pin, &options->cpus) || !ab_cpus_parse(options->pin_server, &options->cpus_server))
		return refuse(options, "--pin: CPUs are given as 0,2-3, or CMD's and the server's as 1:0");
	return has_cpus(options, &options->cpus, options->pin) &&
	       has_cpus(options, &options->cpus_server, options->pin_server);
}

static bool parse_server(struct ab_options *options, const struct raw *raw)
{
	unsigned long port;
	char *end;

	if (!raw->server)
		return !raw->ready || refuse(options, "--ready is about the --server, and there is none");
	options->server = ab_split(raw->server);
	if (!options->server || !options->server[0])
		return refuse(options, "--server: %s", options->server ? "which program?" : "a quote is not closed");
	options->ready = raw->ready;
	if (!raw->ready)
		return true;
	port = strtoul(raw->ready, &end, 10);
	if (end > raw->ready && !*end) {
		options->ready_port_h = (uint16_t)port;
		return (port && port <= 65535) || refuse(options, "--ready: %s is no port", raw->ready);
	}
	if (regcomp(&options->ready_regex, raw->ready, REG_EXTENDED | REG_NEWLINE | REG_NOSUB))
		return refuse(options, "--ready: neither a port nor a regular expression: %s", raw->ready);
	return true;
}

static bool parse_numbers(struct ab_options *options, const struct raw *raw)
{
	bool has_seconds = raw->seconds != NOT_GIVEN;

	if (raw->rounds == NOT_GIVEN)
		options->rounds = has_seconds ? STATISTICS_BLOCKS_MAX : ROUNDS_DEFAULT;
	else if (raw->rounds >= 1 && raw->rounds <= STATISTICS_BLOCKS_MAX && raw->rounds == floor(raw->rounds))
		options->rounds = (unsigned)raw->rounds;
	else
		return refuse(options, "--rounds: 1 to %u", STATISTICS_BLOCKS_MAX);
	options->warmup = (unsigned)raw->warmup;
	options->seconds = has_seconds ? raw->seconds : 0;
	options->timeout_s = raw->timeout_s;
	options->margin = raw->margin / 100;
	options->confidence = raw->confidence / 100;
	options->seed = (uint64_t)raw->seed;
	if (raw->warmup < 0 || raw->warmup > 1000)
		return refuse(options, "--warmup: 0 to 1000 runs an arm");
	if ((has_seconds && !(raw->seconds > 0 && isfinite(raw->seconds))) || !(raw->timeout_s > 0) ||
	    raw->timeout_s > 1e6)
		return refuse(options, "--seconds and --timeout: a positive number of seconds");
	if (!(raw->margin > 0) || raw->margin > 100)
		return refuse(options, "--margin: above 0 to 100 %%");
	if (!(raw->confidence >= 50) || raw->confidence > 99.9)
		return refuse(options, "--confidence: 50 to 99.9 %%");
	return true;
}

static bool parse_kind(struct ab_options *options, const struct raw *raw)
{
	if (raw->aa && raw->env_only)
		return refuse(options, "--aa and --env-only: one of them");
	if (raw->env_only && !raw->environment[ARM_A] && !raw->environment[ARM_B])
		return refuse(options, "--env-only: the arms would be the same; give --a-env or --b-env, or --aa");
	if (raw->bare_a && (raw->aa || raw->env_only))
		return refuse(options, "--bare-a is for trials of acceleration");
	options->kind = raw->aa ? AB_SAME : raw->env_only ? AB_SETTINGS : AB_TREATMENT;
	options->bare_a = raw->bare_a;
	for (int arm = 0; arm < ARMS; arm++) {
		options->environment[arm] = (const char **)raw->environment[arm];
		for (char **entry = raw->environment[arm]; entry && *entry; entry++)
			if (!strchr(*entry, '=') || **entry == '=')
				return refuse(options, "--%c-env: NAME=VALUE, not \"%s\"", arm ? 'b' : 'a', *entry);
	}
	return true;
}

static bool parse_metrics(struct ab_options *options, const struct raw *raw)
{
	char why[160];

	for (char **text = raw->metrics; text && *text; text++) {
		if (options->pattern_count == PATTERNS_MAX)
			return refuse(options, "at most %u --metric", PATTERNS_MAX);
		if (ab_pattern_parse(&options->patterns[options->pattern_count], *text, why))
			return refuse(options, "--metric %s: %s", *text, why);
		options->pattern_count++;
	}
	options->primary = raw->primary;
	if (!raw->reader) {
		options->reader = ab_reader_for(options->command);
	} else if (strcmp(raw->reader, "none") != 0) {
		options->reader = ab_reader_find(raw->reader);
		if (!options->reader)
			return refuse(options, "--reader: none, or one of %s", ab_reader_names());
	}
	return true;
}

static bool parse_outputs(struct ab_options *options, const struct raw *raw)
{
	options->json = raw->json;
	options->quiet = raw->quiet;
	options->fails_if_slower = raw->fail_if != NULL;
	if (raw->fail_if && strcmp(raw->fail_if, "slower") != 0)
		return refuse(options, "--fail-if: slower is the only verdict to fail for, not \"%s\"", raw->fail_if);
	options->html_path = raw->html;
	options->save_path = raw->save;
	if ((raw->html && !*raw->html) || (raw->save && !*raw->save))
		return refuse(options, "--%s: into which file?", raw->save && !*raw->save ? "save" : "html");
	return !output_is_same(raw->save, raw->html) || refuse(options, "--save and --html: one and the same file");
}

static bool parse(struct ab_options *options, struct raw *raw, int argc, const char **argv)
{
	struct poptOption table[] = {
		{ "server", 0, POPT_ARG_STRING, &raw->server, 0, "started before each run, ended after it", "CMD" },
		{ "ready", 0, POPT_ARG_STRING, &raw->ready, 0,
		  "the server is ready when it listens there, or prints that (it listens on any port)", "PORT|REGEX" },
		{ "rounds", 0, POPT_ARG_DOUBLE, &raw->rounds, 0, "rounds of 4 runs (12)", "N" },
		{ "seconds", 0, POPT_ARG_DOUBLE, &raw->seconds, 0, "begin no round after that", "S" },
		{ "warmup", 0, POPT_ARG_INT, &raw->warmup, 0, "runs of each arm that do not count (1)", "N" },
		{ "timeout", 0, POPT_ARG_DOUBLE, &raw->timeout_s, 0, "of one run, and of the server's start (600)",
		  "S" },
		{ "pin", 0, POPT_ARG_STRING, &raw->pin, 0, "CPUs of both, or CMD's:the server's", "CPUS" },
		{ "metric", 0, POPT_ARG_ARGV, &raw->metrics, 0, "a number in CMD's output",
		  "NAME[:UNIT][:higher|lower]=REGEX" },
		{ "reader", 0, POPT_ARG_STRING, &raw->reader, 0,
		  "how to read CMD's output: none, ab, fio, iperf3, pgbench, redis-benchmark, sockperf, wrk", "NAME" },
		{ "primary", 0, POPT_ARG_STRING, &raw->primary, 0, "the metric that decides", "NAME" },
		{ "margin", 0, POPT_ARG_DOUBLE, &raw->margin, 0, "differences within are not worth having (2)",
		  "PERCENT" },
		{ "confidence", 0, POPT_ARG_DOUBLE, &raw->confidence, 0, "of the intervals and the verdict (95)",
		  "PERCENT" },
		{ "profile", 0, POPT_ARG_STRING, &raw->profile, 0, "of arm B, as for `smaccel run`", "NAME" },
		{ "aa", 0, POPT_ARG_NONE, &raw->aa, 0, "both arms plain: how good is the measurement?", NULL },
		{ "bare-a", 0, POPT_ARG_NONE, &raw->bare_a, 0, "arm A without the shim, instead of with it but plain",
		  NULL },
		{ "env-only", 0, POPT_ARG_NONE, &raw->env_only, 0, "the arms differ only in --a-env and --b-env",
		  NULL },
		{ "a-env", 0, POPT_ARG_ARGV, &raw->environment[ARM_A], 0, "environment of arm A", "NAME=VALUE" },
		{ "b-env", 0, POPT_ARG_ARGV, &raw->environment[ARM_B], 0, "environment of arm B", "NAME=VALUE" },
		{ "seed", 0, POPT_ARG_LONG, &raw->seed, 0, "of the bootstrap (1)", "N" },
		{ "fail-if", 0, POPT_ARG_STRING, &raw->fail_if, 0, "status 4 if that is the verdict", "slower" },
		{ "json", 0, POPT_ARG_NONE, &raw->json, 0, "the report as JSON", NULL },
		{ "save", 0, POPT_ARG_STRING, &raw->save, 0, "JSON into a file as well", "FILE" },
		{ "html", 0, POPT_ARG_STRING, &raw->html, 0, "a page with plots, complete in itself", "FILE" },
		{ "quiet", 'q', POPT_ARG_NONE, &raw->quiet, 0, "no progress on stderr", NULL },
		{ "socket", 0, POPT_ARG_STRING, &raw->socket_path, 0, "the helper's socket (also: SMACCEL_SOCKET)",
		  "PATH" },
		POPT_AUTOHELP POPT_TABLEEND,
	};
	static poptContext context; /* lives as long as the process: CMD's words are its */

	context = cli_context(argc, argv, table, POPT_CONTEXT_POSIXMEHARDER);
	poptSetOtherOptionHelp(context, "[OPTION...] [--] CMD [ARGUMENT...]");
	if (!cli_options_read(context, argv) || !cli_socket_is_named(raw->socket_path, options->title))
		return false;
	options->command = (const char *const *)poptGetArgs(context);
	if (!options->command || !options->command[0])
		return refuse(options, "which program? See `%s --help`", options->title);
	return true;
}

int ab_options_parse(struct ab_options *options, int argc, const char **argv)
{
	static struct raw raw = { .rounds = NOT_GIVEN,
				  .seconds = NOT_GIVEN,
				  .timeout_s = TIMEOUT_DEFAULT_S,
				  .warmup = 1,
				  .seed = 1,
				  .margin = 2,
				  .confidence = 95 };
	int status;

	*options = (struct ab_options){ .title = argv[0] };
	if (!parse(options, &raw, argc, argv) || !parse_kind(options, &raw) || !parse_numbers(options, &raw) ||
	    !parse_pin(options, &raw) || !parse_server(options, &raw) || !parse_metrics(options, &raw) ||
	    !parse_outputs(options, &raw))
		return CLI_USAGE;
	options->profile = raw.profile;
	options->socket_path = cli_socket_path(raw.socket_path);
	if (!preload_profile_exists(options->title, raw.profile))
		return CLI_USAGE;
	status = preload_examine(options->title, options->command[0], &options->program);
	if (!status && options->server)
		status = preload_examine(options->title, options->server[0], &options->server_program);
	return status;
}
