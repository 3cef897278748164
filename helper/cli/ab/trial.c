/* SPDX-License-Identifier: BSD-2-Clause */
/* The order of runs, and when it ends. */
#include <stdlib.h>
#include <string.h>

#include "ab.h"

#define BAD_ROUNDS_IN_A_ROW 3u

/* Which arm: A B B A, then B A A B. Linear drift falls on both alike; neither arm always comes first. */
enum ab_arm ab_trial_arm(unsigned round, unsigned place)
{
	bool inner = place == 1 || place == 2;

	return inner != (round % 2 == 1) ? ARM_B : ARM_A;
}

static bool keep(struct ab_trial *trial, struct ab_run *run)
{
	if (trial->run_count == trial->run_room) {
		size_t room = trial->run_room ? trial->run_room * 2 : 64;
		struct ab_run **larger = realloc(trial->runs, room * sizeof(struct ab_run *));

		if (!larger) {
			snprintf(trial->failure, sizeof(trial->failure), "out of memory");
			ab_run_free(run);
			return false;
		}
		trial->runs = larger;
		trial->run_room = room;
	}
	trial->runs[trial->run_count++] = run;
	return true;
}

/* The user's choice is one of the numbers that the runs have brought; false: better said now than at the end. */
static bool knows_primary(struct ab_trial *trial)
{
	const char *wanted = trial->options->primary;
	size_t length;

	if (!wanted || ab_metrics_find(&trial->metrics, wanted) < AB_METRICS_MAX)
		return true;
	snprintf(trial->failure, sizeof(trial->failure), "--primary: there is no metric \"%.64s\", but", wanted);
	for (size_t i = 0; i < trial->metrics.count; i++) {
		length = strlen(trial->failure);
		snprintf(trial->failure + length, sizeof(trial->failure) - length, "%s \"%s\"", i ? "," : "",
			 trial->metrics.list[i].name);
	}
	return false;
}

/* One run, kept and checked. False: the trial is over. */
static bool one(struct ab_trial *trial, enum ab_arm arm, int round)
{
	char why[REASON_BYTES * 2];
	struct ab_run *run = ab_run_make(trial, arm, round);

	trial->elapsed_s = (double)(ab_now_ns() - trial->start_ns) / 1e9;
	trial->ended_by = ab_process_signal();
	if (!run || !keep(trial, run))
		return false;
	if (trial->ended_by) {
		run->good = false;
		snprintf(run->why, sizeof(run->why), "interrupted");
		return false;
	}
	trial->warmups_done += round < 0;
	if (trial->failure[0])
		return false;
	/* A run that failed may have had no traffic: that is its own story. */
	if (run->good && !ab_proof_holds(trial->options, run, why)) {
		snprintf(trial->invalid, sizeof(trial->invalid), "%s", why);
		return false;
	}
	ab_progress_run(trial, run);
	return true;
}

static bool warm_up(struct ab_trial *trial)
{
	unsigned failed = 0, all = trial->options->warmup * ARMS;

	for (unsigned i = 0; i < all; i++) {
		if (!one(trial, i % 2 ? ARM_B : ARM_A, -1))
			return false;
		failed += !trial->runs[trial->run_count - 1]->good;
	}
	if (all && failed == all)
		snprintf(trial->failure, sizeof(trial->failure), "each warm-up run failed: %s",
			 trial->runs[trial->run_count - 1]->why);
	return all == 0 || (failed < all && knows_primary(trial));
}

/* False: the trial is over. */
static bool round_of_runs(struct ab_trial *trial, unsigned round, bool *good)
{
	*good = true;
	for (unsigned place = 0; place < ROUND_RUNS; place++) {
		if (!one(trial, ab_trial_arm(round, place), (int)round))
			return false;
		*good &= trial->runs[trial->run_count - 1]->good;
	}
	return true;
}

void ab_trial_run(struct ab_trial *trial)
{
	const struct ab_options *options = trial->options;
	unsigned bad_in_a_row = 0;
	bool good;

	ab_machine_read(&trial->machine);
	trial->start_ns = ab_now_ns();
	ab_progress_begin(trial);
	if (!warm_up(trial))
		goto out;
	for (unsigned round = 0; round < options->rounds; round++) {
		if (options->seconds > 0 && trial->elapsed_s >= options->seconds)
			break;
		if (!round_of_runs(trial, round, &good))
			break;
		trial->rounds_done++;
		trial->rounds_bad += !good;
		if (good && !knows_primary(trial))
			break;
		bad_in_a_row = good ? 0 : bad_in_a_row + 1;
		if (bad_in_a_row == BAD_ROUNDS_IN_A_ROW) {
			snprintf(trial->failure, sizeof(trial->failure), "%u rounds in a row were invalid",
				 BAD_ROUNDS_IN_A_ROW);
			break;
		}
	}
	if (trial->rounds_done > 0 && trial->rounds_bad == trial->rounds_done && !trial->failure[0])
		snprintf(trial->failure, sizeof(trial->failure), "none of %u rounds was valid", trial->rounds_done);
out:
	ab_progress_end(trial);
}

void ab_trial_free(struct ab_trial *trial)
{
	for (size_t i = 0; i < trial->run_count; i++)
		ab_run_free(trial->runs[i]);
	free(trial->runs);
	for (int arm = 0; arm < ARMS; arm++)
		for (int role = 0; role < AB_ROLES; role++)
			free(trial->latency[arm][role]);
}
