/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of trials share among themselves. */
#ifndef SMACCEL_HELPER_TRIAL_INTERNAL_H
#define SMACCEL_HELPER_TRIAL_INTERNAL_H

#include <time.h>

#include "../bpf/shared.h"
#include "latency.h"
#include "loop.h"
#include "trial.h"
#include "trial_window.h"
#include "wire/latency.h"
#include "wire/protocol.h"

/* TRIAL_STARTING: pairs are assigned; those that are armed already too, a share at a time, then sessions learn of it.
 * TRIAL_RUNNING: sessions are collected from every second. TRIAL_ENDING: nothing is assigned any more; sessions are told and
 * collected from for the last time. TRIAL_ENDED: the report is kept until the next one starts. */
enum trial_state { TRIAL_NONE, TRIAL_STARTING, TRIAL_RUNNING, TRIAL_ENDING, TRIAL_ENDED, TRIAL_STATE_COUNT };

enum trial_end {
	TRIAL_END_NOT_YET,
	TRIAL_END_STOPPED,
	TRIAL_END_DURATION,
	TRIAL_END_GUARD,
	TRIAL_END_SWITCH,
	TRIAL_END_COUNT
};

/* What made the guard fire: all requests since the trial began, or those of its window. */
enum trial_seen { GUARD_SAW_NOTHING, GUARD_SAW_ALL, GUARD_SAW_WINDOW, GUARD_SEEN_COUNT };

struct trial_arm {
	uint64_t assigned; /* pairs */
	uint64_t armed;    /* of them, pairs that were armed at one time or another */
	struct sm_direction sums;
};

struct trials {
	struct helper *helper;
	struct loop_timer timer;
	enum trial_state state;
	enum trial_end end;
	struct wire_trial settings;
	uint32_t number; /* of the trial, from 1 */
	uint64_t key[2]; /* of the assignment; fresh for each */
	/* The guard has fired: what settings select is not accelerated until `stop` lifts it, or another trial of the same selection. */
	bool off;
	bool fired;
	enum trial_seen seen;
	struct trial_window window;
	struct timespec started, ended; /* CLOCK_REALTIME, for display */
	uint64_t started_ns, ended_ns;
	struct trial_arm arms[LATENCY_ARM_COUNT];
	struct sm_direction live[LATENCY_ARM_COUNT]; /* what slots have counted so far, of the request being answered */
	struct latency_set requests;                 /* by request */
	struct latency_set parts;                    /* the same by part, all ports together */
	struct latency_set connections;              /* of each connection its mean */
	struct latency_set scratch;                  /* what earlier trials left in session memories */
	uint64_t unassigned[REASON_COUNT]; /* ends closed meanwhile that were in no arm, by their last reason */
	uint64_t
		stuck; /* pairs that cannot be taken out for the plain arm yet: in neither; of the request being answered */
	uint64_t sessions_ended; /* processes that ended meanwhile */
	uint64_t cursor;         /* of the sweep under way: the last session's id, then slots */
	uint32_t slot_cursor;
};

/* ---- trial_assign.c ---- */
bool trial_selects(const struct trials *trials, const struct registry_end *a, const struct registry_end *b);
#define TRIAL_ARM_BITS ((uint32_t)(CELL_TRIAL_ACCELERATED | CELL_TRIAL_PLAIN))
/* Of a slot that was armed before: into an arm, or out of the sockhash. */
void trial_slot_found(struct helper *helper, struct slot *slot);
void trial_slot_sums(const struct slot *slot, struct sm_direction *sums);

/* ---- trial_connections.c ---- */
/* Adds the open connections of that process, which go on. */
void trial_connections_add_open(struct session *session);
/* The trial is over for its connections, or they are over: what was recorded is taken, their cells no longer name an arm. How many
 * there were. */
uint32_t trial_connections_end(struct session *session);

/* ---- trial_report.c ---- */
char *trial_report_text(const struct request *request); /* JSON; runs in a child process. NULL: out of memory */

/* ---- trial.c ---- */
const char *trial_state_name(enum trial_state state);
static inline bool trial_is_assigning(const struct trials *trials)
{
	return trials->state == TRIAL_STARTING || trials->state == TRIAL_RUNNING;
}
static inline bool trial_is_collecting(const struct trials *trials)
{
	return trial_is_assigning(trials) || trials->state == TRIAL_ENDING;
}

/* ---- trial_watch.c: the guard, asked once a second ---- */
/* Before a trial. False: no memory for what those settings need. */
bool trial_watch_begin(struct trials *trials, const struct wire_trial *settings);
/* Whether the trial must not go on; trials->seen says what has shown it. */
bool trial_watch(struct trials *trials, uint64_t now_ns);
uint16_t trial_window_s(const struct wire_trial *settings);

#endif
