/* SPDX-License-Identifier: BSD-2-Clause */
/* smaccel trial: accelerates some connections of a running service, at random, and compares them with the others. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../wire/wire.h"
#include "cli.h"
#include "client.h"
#include "fields.h"
#include "output.h"
#include "trial.h"

/* Exit status of `report`: what it found is not worth a comparison. */
#define TRIAL_INVALID 3
/* An earlier trial is just ending. */
#define ENDING_POLL_MS 20

static const char usage[] =
	"Usage: smaccel trial start [--percent=50] [--port=P] [--comm=NAME] [--uid=U] [--duration=T] "
	"[--stop-if=GUARD [--window=T]]\n"
	"       smaccel trial status [--json]\n"
	"       smaccel trial report [--json] [--html=FILE]\n"
	"       smaccel trial stop\n"
	"Each takes --socket=PATH as well.\n"
	"Accelerates some connections of a running service, at random, and compares their latencies with the others'.\n"
	"Takes part: connections between processes that run under smaccel and whose traffic qualifies. One trial at a\n"
	"time; it ends with the helper. GUARD, such as 'p99 worse by 20%', ends it and turns acceleration off for "
	"what\n"
	"was selected, until `smaccel trial stop` or the helper's restart.\n\n"
	"  smaccel trial COMMAND --help    its options\n";

struct start_words {
	char *socket_path, *percent, *port, *comm, *uid, *duration, *guard, *window;
};

static bool complain(const char *title, const char *option, const char *value, const char *wanted)
{
	fprintf(stderr, "%s: --%s=%s: not %s\n", title, option, value, wanted);
	return false;
}

static bool understand(const char *title, const struct start_words *words, struct wire_trial *out)
{
	wire_header_init(&out->header, WIRE_TRIAL_START, sizeof(*out), 0, 0);
	out->accelerated_permyriad = 5000;
	out->uid = WIRE_TRIAL_ANY_UID;
	if (words->percent && !trial_parse_percent(words->percent, &out->accelerated_permyriad))
		return complain(title, "percent", words->percent, "a number above 0 and below 100");
	if (words->port && !trial_parse_port(words->port, &out->port_h))
		return complain(title, "port", words->port, "a port, from 1 to 65535");
	if (words->uid && !trial_parse_uid(words->uid, &out->uid))
		return complain(title, "uid", words->uid, "a user's name or number");
	if (words->duration && !trial_parse_duration(words->duration, &out->duration_s))
		return complain(title, "duration", words->duration, "a time, such as 90s, 5m or 2h");
	if (words->guard && !trial_parse_guard(words->guard, out))
		return complain(title, "stop-if", words->guard, "a guard, such as 'p99 worse by 20%'");
	if (words->window && !words->guard)
		return complain(title, "window", words->window, "of any use without --stop-if");
	if (words->window && !trial_parse_window(words->window, &out->window_s))
		return complain(title, "window", words->window, "a time from 3s to 18h");
	if (words->comm && (!*words->comm || strlen(words->comm) >= sizeof(out->comm)))
		return complain(title, "comm", words->comm, "a program's name of 1 to 15 characters");
	if (words->comm)
		strcpy(out->comm, words->comm);
	return true;
}

static bool parse_start(struct start_words *w, int argc, const char **argv)
{
	const struct poptOption table[] = {
		{ "percent", 0, POPT_ARG_STRING, &w->percent, 0, "how many of the connections are accelerated (50)",
		  "N" },
		{ "port", 0, POPT_ARG_STRING, &w->port, 0, "only connections of this port", "P" },
		{ "comm", 0, POPT_ARG_STRING, &w->comm, 0, "only those of programs of this name, at either end",
		  "NAME" },
		{ "uid", 0, POPT_ARG_STRING, &w->uid, 0, "only those of this user, at either end", "U" },
		{ "duration", 0, POPT_ARG_STRING, &w->duration, 0, "when it ends by itself: 90s, 5m, 2h (never)", "T" },
		{ "stop-if", 0, POPT_ARG_STRING, &w->guard, 0,
		  "ends it, and turns acceleration off for what it selects: 'p99 worse by 20%'", "GUARD" },
		{ "window", 0, POPT_ARG_STRING, &w->window, 0,
		  "the guard also looks at the last so much time by itself (60s)", "T" },
		{ "socket", 0, POPT_ARG_STRING, &w->socket_path, 0, "the helper's socket (also: SMACCEL_SOCKET)",
		  "PATH" },
		POPT_AUTOHELP POPT_TABLEEND
	};
	poptContext context = cli_context(argc, argv, table, 0);
	bool good = cli_options_read(context, argv) && cli_no_arguments(context, argv[0]) &&
		    cli_socket_is_named(w->socket_path, argv[0]);

	poptFreeContext(context);
	return good;
}

static void words_free(struct start_words *words)
{
	free(words->percent);
	free(words->port);
	free(words->comm);
	free(words->uid);
	free(words->duration);
	free(words->guard);
	free(words->window);
	free(words->socket_path);
}

/* What the helper says of a trial in particular. */
static int answered(const char *title, const char *socket_path, int err)
{
	switch (err) {
	case 0:
		return CLI_OK;
	case -EBUSY:
		fprintf(stderr, "%s: a trial is running; `smaccel trial status` shows it\n", title);
		break;
	case -ESHUTDOWN:
		fprintf(stderr, "%s: the kill switch is set; `smaccel on` takes it back\n", title);
		break;
	case -ECANCELED:
		fprintf(stderr,
			"%s: a guard has turned acceleration off for another selection (`smaccel trial status` shows "
			"it); "
			"`smaccel trial stop` first, which takes that back\n",
			title);
		break;
	case -EALREADY:
		fprintf(stderr, "%s: no trial is running\n", title);
		break;
	default:
		client_complain(title, socket_path, err);
	}
	return CLI_FAILURE;
}

static int ask_to_start(const char *socket_path, const struct wire_trial *message)
{
	int err = client_exchange(socket_path, message, sizeof(*message), NULL);

	for (int i = 0; err == -EAGAIN && i < CLIENT_WAIT_MS / ENDING_POLL_MS; i++) {
		poll(NULL, 0, ENDING_POLL_MS);
		err = client_exchange(socket_path, message, sizeof(*message), NULL);
	}
	return err;
}

static int start_main(int argc, const char **argv)
{
	struct start_words words = { 0 };
	struct wire_trial message = { 0 };
	const char *socket_path;
	int status = CLI_USAGE;

	if (parse_start(&words, argc, argv) && understand(argv[0], &words, &message)) {
		socket_path = cli_socket_path(words.socket_path);
		status = answered(argv[0], socket_path, ask_to_start(socket_path, &message));
		if (status == CLI_OK)
			puts("started; `smaccel trial report` shows what there is, `smaccel trial stop` ends it");
	}
	words_free(&words);
	return status;
}

static int stop_main(int argc, const char **argv)
{
	struct cli_options options;
	int status;

	if (!cli_options_parse(&options, argc, argv, CLI_ACCEPTS_SOCKET, "[--socket=PATH]"))
		return CLI_USAGE;
	status = answered(argv[0], options.socket_path, client_request(options.socket_path, WIRE_TRIAL_STOP, NULL));
	if (status == CLI_OK)
		puts("stopped; every connection that qualifies is accelerated again, and `smaccel trial report` shows "
		     "the result");
	return status;
}

/* Parses the options and asks for the report. *status is what to return if that is NULL. */
static json_t *ask(struct cli_options *options, int argc, const char **argv, unsigned accepts, int *status)
{
	struct wire_request message = { 0 };

	*status = CLI_USAGE;
	if (!cli_options_parse(options, argc, argv, CLI_ACCEPTS_SOCKET | CLI_ACCEPTS_JSON | accepts, "[OPTION...]"))
		return NULL;
	*status = CLI_FAILURE;
	wire_header_init(&message.header, WIRE_TRIAL_REPORT, sizeof(message), 0, 0);
	return client_ask_long(argv[0], options->socket_path, &message, sizeof(message));
}

static int status_main(int argc, const char **argv)
{
	struct cli_options options;
	int status;
	json_t *report = ask(&options, argc, argv, 0, &status);

	if (!report)
		return status;
	if (options.json) {
		json_object_del(report, "requests");
		json_object_del(report, "parts");
		json_object_del(report, "connections");
		json_dumpf(report, stdout, JSON_COMPACT);
		putchar('\n');
	} else {
		trial_print_summary(report);
	}
	json_decref(report);
	return CLI_OK;
}

struct page {
	const json_t *report;
	const struct trial_statistics *statistics;
};

static void print_page(FILE *out, const void *context)
{
	const struct page *page = context;

	trial_report_html(out, page->report, page->statistics);
}

static bool write_page(const char *title, const char *path, const json_t *report,
		       const struct trial_statistics *statistics)
{
	struct output output;
	size_t bytes = 0;
	char *text = output_text(print_page, &(struct page){ report, statistics }, &bytes);
	int err = text ? output_prepare(&output, path) : -ENOMEM;

	if (!err)
		err = output_write(&output, text, bytes);
	free(text);
	if (err)
		fprintf(stderr, "%s: %s: %s\n", title, path, strerror(-err));
	return !err;
}

static int show_report(const struct cli_options *options, const char *title, json_t *report,
		       const struct trial_statistics *statistics)
{
	bool written = !options->html_path || write_page(title, options->html_path, report, statistics);

	if (options->json) {
		trial_add_statistics(report, statistics);
		json_dumpf(report, stdout, JSON_COMPACT);
		putchar('\n');
	} else {
		trial_print_report(report, statistics);
	}
	if (!written)
		return CLI_FAILURE;
	return trial_invalid_why(report) ? TRIAL_INVALID : CLI_OK;
}

static int report_main(int argc, const char **argv)
{
	struct trial_statistics *statistics;
	struct cli_options options;
	int status;
	json_t *report = ask(&options, argc, argv, CLI_ACCEPTS_HTML, &status);

	if (!report)
		return status;
	if (!strcmp(fields_text(report, "state"), "none")) {
		if (options.json)
			puts("{\"state\":\"none\"}");
		else
			trial_print_summary(report);
		json_decref(report);
		return CLI_FAILURE;
	}
	statistics = malloc(sizeof(*statistics));
	if (!statistics || !trial_statistics_make(statistics, report))
		fprintf(stderr, "%s: out of memory\n", argv[0]);
	else
		status = show_report(&options, argv[0], report, statistics);
	free(statistics);
	json_decref(report);
	return status;
}

int cli_trial_main(int argc, const char **argv)
{
	static const struct {
		const char *name, *title;
		int (*run)(int argc, const char **argv);
	} commands[] = {
		{ "start", "smaccel trial start", start_main },
		{ "status", "smaccel trial status", status_main },
		{ "report", "smaccel trial report", report_main },
		{ "stop", "smaccel trial stop", stop_main },
	};
	const char *name = argc > 1 ? argv[1] : NULL;

	for (size_t i = 0; name && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(name, commands[i].name))
			continue;
		argv[1] = commands[i].title;
		return commands[i].run(argc - 1, argv + 1);
	}
	if (name && (!strcmp(name, "--help") || !strcmp(name, "-?") || !strcmp(name, "-h") || !strcmp(name, "help"))) {
		fputs(usage, stdout);
		return CLI_OK;
	}
	if (name)
		fprintf(stderr, "smaccel trial: no command \"%s\"\n", name);
	fputs(usage, stderr);
	return CLI_USAGE;
}
