/* SPDX-License-Identifier: BSD-2-Clause */
/* smaccel ab: a program with and without acceleration, side by side, and what can be said about the difference. */
#include "ab.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "../cli.h"
#include "../client.h"
#include "../output.h"

struct outputs {
	struct output html, save;
};

/* False after a message, if `err` is one. */
static bool went_well(const struct ab_options *options, const char *path, int err)
{
	if (err)
		fprintf(stderr, "%s: %s: %s\n", options->title, path, strerror(-err));
	return !err;
}

/* Acceleration can be had at all: better said now than after the first run. */
static bool check_helper(struct ab_options *options)
{
	char *text = NULL;
	json_t *status;
	bool off;

	if (options->kind != AB_TREATMENT)
		return true;
	status = client_ask_json(options->title, options->socket_path, WIRE_STATUS, &text);
	free(text);
	if (!status)
		return false;
	options->helper_pid = (pid_t)json_integer_value(json_object_get(json_object_get(status, "helper"), "pid"));
	off = json_is_true(json_object_get(json_object_get(status, "switches"), "off"));
	json_decref(status);
	if (off)
		fprintf(stderr,
			"%s: the kill switch is set: nothing would be accelerated. `smaccel on` takes it back\n",
			options->title);
	return !off;
}

struct report {
	const struct ab_trial *trial;
	const struct ab_analysis *analysis;
};

static void print_page(FILE *out, const void *context)
{
	const struct report *report = context;

	ab_report_html(out, report->trial, report->analysis);
}

/* With a line's end; NULL: it could not be made. */
static char *json_text(const struct ab_trial *trial, const struct ab_analysis *analysis)
{
	json_t *json = ab_report_json(trial, analysis);
	char *dump = json ? json_dumps(json, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : NULL;
	char *text = NULL;

	if (dump && asprintf(&text, "%s\n", dump) < 0)
		text = NULL;
	free(dump);
	json_decref(json);
	return text;
}

/* The files first: who reads standard output may have gone. */
static bool report(const struct ab_trial *trial, struct outputs *outputs, const struct ab_analysis *analysis)
{
	const struct ab_options *options = trial->options;
	size_t page_bytes = 0;
	char *json, *html = NULL;
	bool good;

	json = json_text(trial, analysis);
	if (options->html_path)
		html = output_text(print_page, &(struct report){ trial, analysis }, &page_bytes);
	good = json && (html || !options->html_path);
	if (!good)
		fprintf(stderr, "%s: the report cannot be made: %s\n", options->title, strerror(ENOMEM));
	if (json)
		good &= went_well(options, options->save_path, output_write(&outputs->save, json, strlen(json)));
	if (html)
		good &= went_well(options, options->html_path, output_write(&outputs->html, html, page_bytes));
	if (!options->json)
		ab_report_text(stdout, trial, analysis);
	else if (json)
		fputs(json, stdout);
	free(json);
	free(html);
	return good;
}

static int status_of(const struct ab_trial *trial, const struct ab_analysis *analysis)
{
	bool is_slower =
		analysis->primary < AB_METRICS_MAX && analysis->results[analysis->primary].verdict == VERDICT_SLOWER;

	if (trial->ended_by)
		return 128 + trial->ended_by;
	if (trial->invalid[0])
		return AB_EXIT_INVALID;
	if (trial->failure[0])
		return CLI_FAILURE;
	return is_slower && trial->options->fails_if_slower ? AB_EXIT_SLOWER : CLI_OK;
}

int cli_ab_main(int argc, const char **argv)
{
	static struct ab_options options;
	static struct ab_trial trial;
	static struct ab_analysis analysis;
	struct outputs outputs;
	int status = ab_options_parse(&options, argc, argv);
	int err;

	if (status)
		return status;
	/* Better said now than after an hour of measuring: a folder that is not there, a helper that is not. */
	if (!check_helper(&options) ||
	    !went_well(&options, options.html_path, output_prepare(&outputs.html, options.html_path)) ||
	    !went_well(&options, options.save_path, output_prepare(&outputs.save, options.save_path)))
		return CLI_FAILURE;
	err = ab_process_init();
	if (err) {
		fprintf(stderr, "%s: %s\n", options.title, strerror(-err));
		return CLI_FAILURE;
	}
	trial.options = &options;
	ab_trial_run(&trial);
	ab_analyze(&trial, &analysis);
	status = status_of(&trial, &analysis);
	if (!report(&trial, &outputs, &analysis) && (!status || status == AB_EXIT_SLOWER))
		status = CLI_FAILURE;
	if (!options.json && (trial.invalid[0] || trial.failure[0]) && !trial.ended_by)
		fprintf(stderr, "%s: %s\n", options.title, trial.invalid[0] ? trial.invalid : trial.failure);
	ab_trial_free(&trial);
	return status;
}
