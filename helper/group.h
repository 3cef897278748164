/* SPDX-License-Identifier: BSD-2-Clause */
/* Groups: the accounts of the processes that run with one SMACCEL_GROUP, which outlive their sessions.
 *
 * A group is named by a number of the user's choice and by the user: two users' groups of one number have nothing to do with
 * each other. Its accounts are kept until the user's quota or the table is full; then those that nobody uses go, the ones not
 * used for the longest time first. A helper that starts knows of none.
 */
#ifndef SMACCEL_HELPER_GROUP_H
#define SMACCEL_HELPER_GROUP_H

#include <stdint.h>

#include "wire/reason.h"

struct group;
struct groups;
struct helper;
struct latency_set;
struct request;
struct session;
struct slot;

#define GROUPS_MAX 1024u

struct groups *groups_new(struct helper *helper); /* NULL: out of memory */
void groups_free(struct groups *groups);          /* after the sessions and slots */

/* For a session that begins. NULL: number 0, or no room: it is not accounted for. Ended with group_session_closed(). */
struct group *group_enter(struct groups *groups, uint32_t uid, uint64_t number);
/* What the session's memory says is added to its group's accounts. */
void group_session_closed(struct helper *helper, struct session *session);

/* All that follows takes NULL for "no group". */
void group_refused(struct group *group, enum sm_reason reason);
/* An end has taken that side of the slot: what it sends from now on is its group's. */
void group_slot_taken(struct slot *slot, uint32_t side, struct group *group);
void group_slot_armed(struct slot *slot);
/* The slot is about to be freed: its counters go to the groups. */
void group_slot_released(struct slot *slot);

struct latency_set *group_latencies(struct group *group);

int group_handle(struct request *request); /* WIRE_GROUP */

#endif
