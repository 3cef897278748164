/* SPDX-License-Identifier: BSD-2-Clause */
/* smaccel ab: a program with and without acceleration, side by side, and what can be said about the difference. */
#include "ab.h"

#include <errno.h>
#include <string.h>

#include "report.h"
#include "../cli.h"
#include "../client.h"

struct outputs {
	FILE *html, *save;
};

/* Opened before the trial: an hour of measuring must not end at a folder that is not there. */
static bool open_output(const struct ab_options *options, const char *path, FILE **file)
{
	if (!path)
		return true;
	*file = fopen(path, "we");
	if (!*file)
		fprintf(stderr, "%s: %s: %s\n", options->title, path, strerror(errno));
	return *file != NULL;
}

static bool close_output(const struct ab_options *options, const char *path, FILE *file)
{
	bool good = !file || !ferror(file);

	if (file && fclose(file))
		good = false;
	if (!good)
		fprintf(stderr, "%s: %s: %s\n", options->title, path, strerror(errno));
	return good;
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

static bool report(const struct ab_trial *trial, const struct outputs *outputs)
{
	static struct ab_analysis analysis;
	const struct ab_options *options = trial->options;
	json_t *json;
	bool good;

	ab_analyze(trial, &analysis);
	json = ab_report_json(trial, &analysis);
	if (options->json) {
		json_dumpf(json, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
		fputc('\n', stdout);
	} else {
		ab_report_text(stdout, trial, &analysis);
	}
	if (outputs->save) {
		json_dumpf(json, outputs->save, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
		fputc('\n', outputs->save);
	}
	json_decref(json);
	if (outputs->html)
		ab_report_html(outputs->html, trial, &analysis);
	good = close_output(options, options->save_path, outputs->save);
	return close_output(options, options->html_path, outputs->html) && good;
}

static int status_of(const struct ab_trial *trial)
{
	if (trial->ended_by)
		return 128 + trial->ended_by;
	if (trial->invalid[0])
		return AB_EXIT_INVALID;
	return trial->failure[0] ? CLI_FAILURE : CLI_OK;
}

int cli_ab_main(int argc, const char **argv)
{
	static struct ab_options options;
	static struct ab_trial trial;
	struct outputs outputs = { NULL, NULL };
	int status = ab_options_parse(&options, argc, argv);
	int err;

	if (status)
		return status;
	if (!check_helper(&options) || !open_output(&options, options.html_path, &outputs.html) ||
	    !open_output(&options, options.save_path, &outputs.save))
		return CLI_FAILURE;
	err = ab_process_init();
	if (err) {
		fprintf(stderr, "%s: %s\n", options.title, strerror(-err));
		return CLI_FAILURE;
	}
	trial.options = &options;
	ab_trial_run(&trial);
	status = status_of(&trial);
	if (!report(&trial, &outputs) && !status)
		status = CLI_FAILURE;
	if (!options.json && status && status != 128 + trial.ended_by)
		fprintf(stderr, "%s: %s\n", options.title, trial.invalid[0] ? trial.invalid : trial.failure);
	ab_trial_free(&trial);
	return status;
}
