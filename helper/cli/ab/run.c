/* SPDX-License-Identifier: BSD-2-Clause */
/* One run: the server up, CMD in it, the numbers out, everything down again. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>

#include "ab.h"
#include "../utf8.h"
#include "sweep.h"

#define SERVER_GRACE_MS 10000
#define COMMAND_GRACE_MS 500

static uint64_t new_group(void)
{
	uint64_t group = 0;

	if (getrandom(&group, sizeof(group), 0) != (ssize_t)sizeof(group) || !group)
		group = (uint64_t)ab_now_ns();
	return group;
}

__attribute__((format(printf, 2, 3))) static void bad(struct ab_run *run, const char *format, ...)
{
	va_list arguments;
	int wanted;

	if (!run->good)
		return; /* the first reason is the cause */
	va_start(arguments, format);
	wanted = vsnprintf(run->why, sizeof(run->why), format, arguments);
	va_end(arguments);
	if (wanted >= (int)sizeof(run->why))
		utf8_end_whole(run->why);
	run->good = false;
}

static void put(struct ab_trial *trial, struct ab_run *run, const char *name, double seconds)
{
	struct ab_metric metric = { .unit = "s", .quantile = -1, .origin = AB_FROM_KERNEL };

	snprintf(metric.name, sizeof(metric.name), "%s", name);
	ab_metrics_set(&trial->metrics, &run->values, &metric, seconds);
}

/* CPU time of the helper so far; NAN where it cannot be seen. Field 1 of schedstat, in ns, of its one busy thread. */
static double helper_cpu_s(const struct ab_options *options)
{
	char path[64];
	unsigned long long ns;
	FILE *file;
	bool good;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)options->helper_pid);
	file = options->helper_pid ? fopen(path, "re") : NULL;
	if (!file)
		return NAN;
	good = fscanf(file, "%llu", &ns) == 1; // NOLINT(cert-err34-c): the kernel's number
	fclose(file);
	return good ? (double)ns / 1e9 : NAN;
}

static void read_numbers(struct ab_trial *trial, struct ab_run *run, const struct ab_process *client)
{
	const struct ab_options *options = trial->options;
	struct ab_sink sink = { &trial->metrics, &run->values };
	const char *out = ab_text(&client->text[AB_STDOUT]), *err = ab_text(&client->text[AB_STDERR]);

	for (unsigned i = 0; i < options->pattern_count; i++) {
		const struct ab_pattern *pattern = &options->patterns[i];
		char odd[AB_ODD_BYTES];
		enum ab_found found = ab_pattern_read(pattern, out, &sink, odd);

		if (found == AB_FOUND_NONE)
			found = ab_pattern_read(pattern, err, &sink, odd);
		if (found == AB_FOUND_NONE)
			bad(run, "no \"%s\" in what CMD printed", pattern->metric.name);
		else if (found == AB_FOUND_ODD)
			bad(run, "no \"%s\" in what CMD printed: \"%s\" is no number, or not all of it",
			    pattern->metric.name, odd);
	}
	if (options->reader)
		options->reader->read(options->reader, out, &sink);
}

/* Waits for CMD; what goes wrong makes the run a bad one. */
static void watch_command(const struct ab_options *options, struct ab_run *run, struct ab_process *client,
			  struct ab_process *server)
{
	int64_t deadline_ns = ab_now_ns() + (int64_t)(options->timeout_s * 1e9);
	enum ab_event event;
	char status[AB_STATUS_BYTES];

	do {
		event = ab_process_wait(client, server->pid ? server : NULL, deadline_ns);
	} while (event == AB_EVENT_OUTPUT);
	if (event == AB_EVENT_SERVER_ENDED)
		bad(run, "the server ended while CMD ran");
	else if (event == AB_EVENT_TIMEOUT)
		bad(run, "CMD was not done after %.0f s (--timeout)", options->timeout_s);
	else if (event == AB_EVENT_SIGNAL)
		bad(run, "interrupted");
	ab_process_end(client, COMMAND_GRACE_MS);
	if (client->status)
		bad(run, "CMD: %s: %s", ab_status_text(status, client->status), ab_process_last_words(client));
}

/* Returns the number of a process that goes on, or 0. */
static pid_t finish(struct ab_trial *trial, struct ab_run *run, struct ab_process *client, struct ab_process *server,
		    uint64_t group)
{
	double swept_s = 0, helper_s = helper_cpu_s(trial->options) - run->helper_cpu_s;
	int err;

	read_numbers(trial, run, client);
	err = ab_proof_take(trial, run, group); /* while the server lives, which may hold connections */
	if (server->pid)
		ab_process_end(server, SERVER_GRACE_MS);
	pid_t stays = ab_sweep(&swept_s);
	if (err && trial->options->kind == AB_TREATMENT)
		bad(run, "the helper does not answer (%s)", strerror(-err));
	put(trial, run, "wall time", (double)(client->end_ns - client->start_ns) / 1e9);
	put(trial, run, "CPU time of CMD", client->cpu_s);
	if (server->pid)
		put(trial, run, "CPU time of the server", server->cpu_s + swept_s);
	put(trial, run, "CPU time with the helper's", client->cpu_s + server->cpu_s + swept_s + helper_s);
	return stays;
}

static int start_command(struct ab_trial *trial, struct ab_process *client, const struct ab_arm_context *context)
{
	const struct ab_options *options = trial->options;
	struct ab_spawn spawn = { .argv = (char *const *)options->command,
				  .cpus = options->pin ? &options->cpus : NULL,
				  .prepare = ab_arm_prepare,
				  .context = context };
	int err = ab_process_start(client, &spawn);

	if (err)
		snprintf(trial->failure, sizeof(trial->failure), "%s cannot be started: %s%s%.200s",
			 options->command[0], strerror(-err), err == -ECANCELED ? ": " : "",
			 err == -ECANCELED ? ab_process_last_words(client) : "");
	return err;
}

struct ab_run *ab_run_make(struct ab_trial *trial, enum ab_arm arm, int round)
{
	const struct ab_options *options = trial->options;
	struct ab_process client = { .pidfd = -1, .output = { -1, -1 } }, server = client;
	struct ab_run *run = calloc(1, sizeof(*run));
	struct ab_arm_context context = { options, &options->program, arm, new_group() };
	struct ab_arm_context server_context = { options, &options->server_program, arm, context.group };
	char why[REASON_BYTES * 2];
	bool done = false;
	pid_t stays = 0;

	if (!run) {
		snprintf(trial->failure, sizeof(trial->failure), "out of memory");
		return NULL;
	}
	*run = (struct ab_run){ .arm = arm, .round = round, .good = true };
	run->helper_cpu_s = helper_cpu_s(options);
	ab_values_clear(&run->values);
	if (options->server && ab_server_start(&server, options, &server_context, why)) {
		if (!ab_process_signal())
			snprintf(trial->failure, sizeof(trial->failure), "%s", why);
		goto out;
	}
	run->start_s = (double)(ab_now_ns() - trial->start_ns) / 1e9;
	if (start_command(trial, &client, &context))
		goto out;
	watch_command(options, run, &client, &server);
	stays = finish(trial, run, &client, &server, context.group);
	done = true;
out:
	if (server.pid && !done)
		ab_process_end(&server, SERVER_GRACE_MS);
	ab_process_free(&client);
	ab_process_free(&server);
	stays = stays ? stays : ab_sweep(&(double){ 0 });
	if (stays && !trial->failure[0])
		snprintf(trial->failure, sizeof(trial->failure),
			 "process %d, which CMD or the server has started, cannot be ended (is it another user's?): it "
			 "goes on running",
			 (int)stays);
	if (!done) {
		ab_run_free(run);
		run = NULL;
	}
	return run;
}

void ab_run_free(struct ab_run *run)
{
	if (run)
		json_decref(run->proof.reasons);
	free(run);
}
