/* SPDX-License-Identifier: BSD-2-Clause */
/* Trials: connections that qualify are accelerated or left on plain TCP at random, and their latencies compared.
 *
 * One trial at a time; it ends with the helper. A pair is assigned when both of its ends would join: by a keyed hash of the two
 * socket cookies, so that both ends, and every later question about the pair, come to the same answer. Pairs that are armed
 * already when the trial starts are assigned too; those of the plain arm are taken out of the sockhash, as in a LEAVE.
 *
 *   trial.c         state: start, collecting, end       trial_assign.c  which arm; what pairing asks and tells
 *   trial_guard.c   when it must not go on              trial_report.c  what there is to say
 *   trial_connections.c  what a connection has recorded
 */
#ifndef SMACCEL_HELPER_TRIAL_H
#define SMACCEL_HELPER_TRIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/reason.h"

struct helper;
struct latency_sinks;
struct registry_end;
struct request;
struct session;
struct slot;
struct trials;

struct trials *trials_new(struct helper *helper); /* NULL: out of memory */
void trials_free(struct trials *trials);

/* Answers as protocol.h says, and -ECANCELED while a guard has turned another selection off. The three return 0. */
int trial_handle_start(struct request *request);
int trial_handle_stop(struct request *request);
int trial_handle_report(struct request *request);

/* The kill switch was set: from now on nothing that is measured is acceleration's. */
void trial_switched_off(struct helper *helper);

/* ---- sessions ---- */
/* What session_memory.recording is to say, but for RECORDING_GROUP. */
uint32_t trial_recording(const struct helper *helper);
void trial_session_closed(struct helper *helper, struct session *session); /* its memory is still mapped */
/* Where latencies of an arm go; NULL: nowhere. Leaves sinks->group alone. */
void trial_sinks(struct helper *helper, struct latency_sinks *sinks);

/* ---- pairs ---- */
/* The ends have found each other (an offer's word is enough: what a liar can do is to spoil a trial).
 * REASON_NONE: they may join. REASON_TRIAL_PLAIN, REASON_TRIAL_STOPPED: they must not. Their cells say which arm it is. */
enum sm_reason trial_assign(struct helper *helper, struct registry_end *a, struct registry_end *b);
static inline bool trial_refuses(enum sm_reason reason)
{
	return reason == REASON_TRIAL_PLAIN || reason == REASON_TRIAL_STOPPED;
}
bool trial_is_plain(const struct helper *helper, const struct registry_end *end);
/* Whether a guard keeps that end out: its shim knows only that it waits. */
bool trial_keeps_out(const struct helper *helper, const struct registry_end *end);
bool trial_is_off(const struct helper *helper); /* a guard has turned acceleration off for a selection */
/* Its process has closed the connection of that cell: what was recorded is taken. The lower half of its generation. */
void trial_connection_closed(struct session *session, uint32_t cell, uint16_t generation);
void trial_slot_armed(struct helper *helper, struct slot *slot);
void trial_slot_released(struct helper *helper, struct slot *slot);
/* A pair that had to leave for the trial has left. NULL: that end was closed meanwhile, or is nobody's. */
void trial_pair_left(struct helper *helper, struct registry_end *a, struct registry_end *b);

#endif
