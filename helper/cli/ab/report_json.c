/* SPDX-License-Identifier: BSD-2-Clause */
/* The report as JSON: the verdict, every metric, every run. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "../utf8.h"

/* What is not finite has no number in JSON. */
static json_t *real(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

/* A text from outside: JSON takes only UTF-8, and would lose all that is around another. NULL is null. */
static json_t *text_json(const char *text)
{
	char *repaired = text ? utf8_repair(text) : NULL;
	json_t *json = text ? json_string(repaired ? repaired : "") : json_null();

	free(repaired);
	return json;
}

static json_t *words(const char *const *argv)
{
	json_t *array = json_array();

	for (; argv && *argv; argv++)
		json_array_append_new(array, text_json(*argv));
	return array;
}

static const char *kind_name(enum ab_kind kind)
{
	return kind == AB_SAME ? "aa" : kind == AB_SETTINGS ? "env-only" : "treatment";
}

static json_t *settings(const struct ab_options *options)
{
	return json_pack(
		"{so so ss sb so so so so ss? sI sI sf sf sf sI}", "command", words(options->command), "server",
		options->server ? words(options->server) : json_null(), "kind", kind_name(options->kind), "bare_a",
		(int)options->bare_a, "environment",
		json_pack("{so so}", "A", words(options->environment[ARM_A]), "B", words(options->environment[ARM_B])),
		"profile", text_json(options->profile), "pin", text_json(options->pin), "pin_server",
		text_json(options->pin_server), "reader", options->reader ? options->reader->name : NULL, "rounds",
		(json_int_t)options->rounds, "warmup", (json_int_t)options->warmup, "seconds", options->seconds,
		"margin", options->margin, "confidence", options->confidence, "seed", (json_int_t)options->seed);
}

static json_t *machine_json(const struct ab_machine *machine)
{
	return json_pack("{so ss ss so si so}", "host", text_json(machine->host), "kernel", machine->kernel.release,
			 "architecture", machine->kernel.machine, "cpu", text_json(machine->cpu), "cpus", machine->cpus,
			 "load_before", machine->load < 0 ? json_null() : json_real(machine->load));
}

static json_t *metric(const struct ab_trial *trial, const struct ab_result *result)
{
	static const char *const origins[] = { "metric", "reader", "shim", "kernel" };
	const struct ab_metric *metric = &trial->metrics.list[result->metric];
	json_t *ratio = json_pack("{so so so sb}", "value", real(result->ratio.value), "low", real(result->ratio.low),
				  "high", real(result->ratio.high), "is_interval", (int)result->ratio.is_interval);

	return json_pack("{so so ss sb so so so so si so so sb ss so}", "name", text_json(metric->name), "unit",
			 text_json(metric->unit), "origin", origins[metric->origin], "higher_is_better",
			 (int)metric->higher_is_better, "quantile",
			 metric->quantile < 0 ? json_null() : json_real(metric->quantile), "A",
			 real(result->median[ARM_A]), "B", real(result->median[ARM_B]), "ratio", ratio, "rounds",
			 (int)result->blocks, "p", real(result->p), "resolution", real(result->resolution), "is_coarse",
			 (int)result->is_coarse, "verdict", statistics_verdict_name(result->verdict), "rounds_missing",
			 result->missing < STATISTICS_BLOCKS_MAX ? json_integer(result->missing) : json_null());
}

static json_t *run(const struct ab_trial *trial, const struct ab_run *run)
{
	json_t *values = json_object(), *proof;

	for (size_t i = 0; i < trial->metrics.count; i++) {
		json_t *name = text_json(trial->metrics.list[i].name);

		if (name && isfinite(run->values.value[i]))
			json_object_set_new(values, json_string_value(name), json_real(run->values.value[i]));
		json_decref(name);
	}
	proof = !run->proof.known ? json_null()
				  : json_pack("{sI sI sI sI sI sI sO?}", "sessions", (json_int_t)run->proof.sessions,
					      "connections", (json_int_t)run->proof.connections, "redirected_bytes",
					      (json_int_t)run->proof.redirected_bytes, "redirected_msgs",
					      (json_int_t)run->proof.redirected_msgs, "passed_bytes",
					      (json_int_t)run->proof.passed_bytes, "passed_msgs",
					      (json_int_t)run->proof.passed_msgs, "reasons", run->proof.reasons);
	return json_pack("{ss so sf sb so so so}", "arm", run->arm == ARM_A ? "A" : "B", "round",
			 run->round < 0 ? json_null() : json_integer(run->round), "start_s", run->start_s, "good",
			 (int)run->good, "why", text_json(run->good ? NULL : run->why), "proof", proof, "values",
			 values);
}

static json_t *verdict(const struct ab_trial *trial, const struct ab_analysis *analysis)
{
	const struct ab_result *primary =
		analysis->primary < AB_METRICS_MAX ? &analysis->results[analysis->primary] : NULL;
	bool stands = !trial->invalid[0] && !trial->failure[0];
	char sentence[AB_WORDS_BYTES];

	return json_pack("{ss so so so so si}", "verdict",
			 trial->invalid[0] ? "invalid"
			 : trial->failure[0]
				 ? "failed"
				 : statistics_verdict_name(primary ? primary->verdict : VERDICT_NOT_ENOUGH_DATA),
			 "metric", text_json(stands && primary ? trial->metrics.list[primary->metric].name : NULL),
			 "sentence", text_json(ab_words_verdict(sentence, trial, analysis)), "invalid",
			 text_json(trial->invalid[0] ? trial->invalid : NULL), "failure",
			 text_json(trial->failure[0] ? trial->failure : NULL), "ended_by_signal", trial->ended_by);
}

/* Takes `value`. A part that could not be made is an error, not a report without it. */
static bool put(json_t *object, const char *key, json_t *value)
{
	return !json_object_set_new(object, key, value);
}

json_t *ab_report_json(const struct ab_trial *trial, const struct ab_analysis *analysis)
{
	json_t *root = verdict(trial, analysis), *metrics = json_array(), *runs = json_array();
	bool good = true;

	for (size_t i = 0; i < analysis->count; i++)
		good &= !json_array_append_new(metrics, metric(trial, &analysis->results[i]));
	for (size_t i = 0; i < trial->run_count; i++)
		good &= !json_array_append_new(runs, run(trial, trial->runs[i]));
	good &= put(root, "rounds",
		    json_pack("{si si si}", "valid", (int)analysis->rounds_good, "invalid", (int)trial->rounds_bad,
			      "finished", (int)trial->rounds_done));
	good &= put(root, "elapsed_s", json_real(trial->elapsed_s));
	good &= put(root, "settings", settings(trial->options));
	good &= put(root, "started", json_string(trial->machine.started));
	good &= put(root, "machine", machine_json(&trial->machine));
	good &= put(root, "version", json_string(SMACCEL_VERSION));
	good &= put(root, "metrics", metrics);
	good &= put(root, "runs", runs);
	if (good)
		return root;
	json_decref(root);
	return NULL;
}
