/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the groups share among themselves. */
#ifndef SMACCEL_HELPER_GROUP_INTERNAL_H
#define SMACCEL_HELPER_GROUP_INTERNAL_H

#include "group.h"
#include "hash.h"
#include "helper.h"
#include "latency.h"
#include "slots.h"

struct memory_cell;

struct group_key {
	uint64_t number;
	uint64_t uid; /* 64 bits: hashed as bytes, no padding */
};

struct group {
	struct group_key key;
	struct groups *groups;
	uint32_t users;
	uint64_t sessions; /* ever */
	struct sm_direction sums;
	uint64_t pairs_armed_total;
	uint64_t refusals[REASON_COUNT]; /* by the helper */
	uint64_t closed[REASON_COUNT];   /* connections that are over, by their last reason */
	uint64_t opened[2];
	struct latency_set latencies;
	/* Of the request being answered: all that its sessions recorded is here; what its slots have counted so far. */
	bool drained;
	struct sm_direction live;
	int lost;
	struct group *idle_next, *idle_prev;
	UT_hash_handle hh;
};

struct groups {
	struct helper *helper;
	struct group *table;
	struct group *idle; /* not used for the longest time first */
};

/* What a session's memory has counted is moved to its group, but for what is still open. False: too much for one go, the
 * rest stays where it is. */
bool group_drain(struct group *group, struct session *session, uint32_t *budget);
/* For session_each_cell(): the context is an array of counters by reason. */
bool group_count_cell(struct session *session, uint32_t index, const struct memory_cell *cell, void *context);
/* Adds what that side has sent since its end joined. */
void group_sums_add(struct sm_direction *sums, const struct slot *slot, uint32_t side);

#endif
