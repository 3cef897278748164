/* SPDX-License-Identifier: BSD-2-Clause */
/* `smaccel ab`: what its files share.
 *
 * A *run* is one execution of CMD in one arm, with a server of its own if there is one. A *round* is one balanced block of four runs,
 * A B B A or B A A B by turns. Warm-up runs belong to no round. A round with a bad run is left out as a whole; a run that lacks
 * the proof of its treatment makes the trial invalid.
 */
#ifndef SMACCEL_CLI_AB_H
#define SMACCEL_CLI_AB_H

#include <jansson.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/utsname.h>

#include "metrics.h"
#include "process.h"
#include "reader.h"
#include "../program.h"
#include "../statistics.h"

enum ab_arm {
	ARM_A = 0, /* plain */
	ARM_B = 1, /* accelerated */
	ARMS
};
#define ARM_LETTER(arm) ((arm) == ARM_A ? 'A' : 'B')

#define ROUND_RUNS 4u
/* With fewer, no metric but the one that decides could ever differ where a program prints many: the smallest p of the rank test over 10
 * rounds, 2/1024, is above 0.05 once Holm has multiplied it by the 27 others of redis-benchmark -t set,get. */
#define ROUNDS_DEFAULT 12u
#define PATTERNS_MAX 32u
#define REASON_BYTES 200

struct histogram;

/* What the arms differ in. */
enum ab_kind {
	AB_TREATMENT, /* B accelerated, A not: both prove it */
	AB_SAME,      /* --aa: two plain arms */
	AB_SETTINGS,  /* --env-only: only what --a-env and --b-env set; nothing to prove */
};

/* Exit statuses beside those of cli.h. Ended by a signal: 128 + its number, as a shell says it. */
enum ab_exit {
	AB_EXIT_INVALID = 3, /* no proof of treatment */
	AB_EXIT_SLOWER = 4,  /* the verdict, with --fail-if slower */
};

struct ab_options {
	const char *title; /* "smaccel ab": of messages */
	const char *const *command;
	const char *const *server; /* NULL: none */
	const char *ready;         /* NULL: it listens on any port; digits: on that port; else a regex for its output */
	uint16_t ready_port_h;
	regex_t ready_regex;
	enum ab_kind kind;
	bool bare_a, json, quiet, fails_if_slower;
	unsigned rounds, warmup;
	double seconds; /* 0: no limit */
	double timeout_s;
	const char *pin, *pin_server; /* as given; NULL: unpinned */
	cpu_set_t cpus, cpus_server;
	struct ab_pattern patterns[PATTERNS_MAX];
	unsigned pattern_count;
	const struct ab_reader *reader; /* NULL: none */
	const char *primary;
	double margin, confidence; /* 0.02, 0.95 */
	uint64_t seed;
	const char **environment[ARMS]; /* NAME=VALUE, NULL-terminated; NULL: none */
	const char *profile;            /* of B */
	const char *socket_path;
	pid_t helper_pid; /* 0: not known */
	const char *html_path, *save_path;
	struct program program, server_program;
};

/* Whose latency: the connecting end's from a request to its response, the accepting end's from a request to its own response. */
enum ab_role { AB_CLIENT = 0, AB_SERVER = 1, AB_ROLES };

/* What the helper says about the connections of one run. */
struct ab_proof {
	bool known;
	uint64_t sessions, connections, redirected_bytes, redirected_msgs, passed_bytes, passed_msgs;
	json_t *reasons; /* {reason: count}, why connections did not join; may be NULL */
};

struct ab_run {
	enum ab_arm arm;
	int round; /* -1: warm-up */
	bool good;
	char why[REASON_BYTES]; /* it is not */
	double start_s;         /* since the trial began */
	double helper_cpu_s;    /* of the helper, before it began; NAN: not known */
	struct ab_proof proof;
	struct ab_values values;
};

/* When it began, and where. */
struct ab_machine {
	char started[32]; /* ISO 8601, UTC */
	char host[65], cpu[128];
	int cpus;
	double load; /* the average of the minute before; -1: not known */
	struct utsname kernel;
};

struct ab_trial {
	const struct ab_options *options;
	struct ab_machine machine;
	int64_t start_ns;
	double elapsed_s;
	struct ab_metrics metrics;
	struct ab_run **runs;
	size_t run_count, run_room;
	unsigned rounds_done, rounds_bad, warmups_done;
	int ended_by;                              /* signal, 0: none */
	struct histogram *latency[ARMS][AB_ROLES]; /* of all good runs in rounds; NULL: none seen */
	char failure[REASON_BYTES * 4];            /* the trial could not go on */
	char invalid[REASON_BYTES * 4];            /* a run lacks its proof */
};

/* ---- options.c: CLI_OK; CLI_USAGE or another status after a message; --help exits ---- */
int ab_options_parse(struct ab_options *options, int argc, const char **argv);
bool ab_cpus_parse(const char *text, cpu_set_t *cpus); /* "0,2-3" */

/* ---- split.c ---- */
/* The words of a command line as a shell would see them, with quotes and backslashes, without expansions. NULL-terminated; free the
 * first word, in whose memory the others are, and the array. NULL: a quote is not closed, or no memory. */
const char *const *ab_split(const char *text);

/* ---- arm.c ---- */
struct ab_arm_context {
	const struct ab_options *options;
	const struct program *program;
	enum ab_arm arm;
	uint64_t group;
};
/* Runs in the child (ab_spawn.prepare): the environment of its arm. */
bool ab_arm_prepare(const void *context);
/* "plain TCP under the shim": for reports. */
const char *ab_arm_text(const struct ab_options *options, enum ab_arm arm);

/* ---- machine.c ---- */
void ab_machine_read(struct ab_machine *machine);

/* ---- server.c: 0, or -1 with why ---- */
int ab_server_start(struct ab_process *server, const struct ab_options *options, const struct ab_arm_context *context,
		    char why[REASON_BYTES * 2]);

/* ---- proof.c ---- */
/* Asks for the run's accounts, its latencies included. 0 or -errno. */
int ab_proof_take(struct ab_trial *trial, struct ab_run *run, uint64_t group);
/* Whether the run was treated as its arm says. False with why. */
bool ab_proof_holds(const struct ab_options *options, const struct ab_run *run, char why[REASON_BYTES * 2]);

/* ---- run.c ---- */
/* One run. The caller frees it with ab_run_free(). NULL: the trial cannot go on, trial->failure says why (or a signal came). */
struct ab_run *ab_run_make(struct ab_trial *trial, enum ab_arm arm, int round);
void ab_run_free(struct ab_run *run);

/* ---- trial.c ---- */
void ab_trial_run(struct ab_trial *trial);
void ab_trial_free(struct ab_trial *trial);
enum ab_arm ab_trial_arm(unsigned round, unsigned place);

/* ---- progress.c: stderr ---- */
void ab_progress_begin(const struct ab_trial *trial);
void ab_progress_run(const struct ab_trial *trial, const struct ab_run *run);
void ab_progress_end(const struct ab_trial *trial);

#endif
