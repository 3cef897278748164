/* SPDX-License-Identifier: BSD-2-Clause */
/* Groups: see group.h.
 *
 * `users` counts sessions, and sides of slots, that refer to a group; with none it stands in the list of idle ones and may be
 * thrown out. A slot's counters are taken from where they stood when the end joined: a slot that never was armed may have
 * had another end on that side before.
 */
#include "group.h"

#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

#include "group_internal.h"
#include "policy.h"
#include "session.h"
#include "trial.h"
#include "wire/latency.h"

struct groups *groups_new(struct helper *helper)
{
	struct groups *groups = calloc(1, sizeof(*groups));

	if (groups)
		groups->helper = helper;
	return groups;
}

static void group_destroy(struct group *group)
{
	struct groups *groups = group->groups;

	latency_set_clear(&group->latencies);
	policy_give(groups->helper->policy, (uint32_t)group->key.uid, POLICY_GROUPS);
	if (!group->users)
		DL_DELETE2(groups->idle, group, idle_prev, idle_next);
	HASH_DEL(groups->table, group);
	free(group);
}

void groups_free(struct groups *groups)
{
	if (!groups)
		return;
	while (groups->table)
		group_destroy(groups->table);
	free(groups);
}

/* Throws out an idle group of that user; UINT64_MAX: of any. */
static bool evict(struct groups *groups, uint64_t uid)
{
	struct group *group;

	DL_FOREACH2(groups->idle, group, idle_next)
	{
		if (uid != UINT64_MAX && group->key.uid != uid)
			continue;
		group_destroy(group);
		return true;
	}
	return false;
}

static bool make_room(struct latency_set *set)
{
	struct group *group = loop_container(set, struct group, latencies);

	return evict(group->groups, group->key.uid); /* never itself: it is being used */
}

static struct group *group_find(struct groups *groups, const struct group_key *key)
{
	struct group *group;

	HASH_FIND(hh, groups->table, key, sizeof(*key), group);
	return group;
}

static struct group *group_make(struct groups *groups, const struct group_key *key)
{
	struct policy *policy = groups->helper->policy;
	uint32_t uid = (uint32_t)key->uid;
	struct group *group;
	int error;

	if (HASH_COUNT(groups->table) >= GROUPS_MAX && !evict(groups, UINT64_MAX))
		return NULL;
	error = policy_take(policy, uid, POLICY_GROUPS);
	if (error == -EDQUOT && evict(groups, uid))
		error = policy_take(policy, uid, POLICY_GROUPS);
	if (error)
		return NULL;
	group = calloc(1, sizeof(*group));
	if (!group)
		goto out;
	group->key = *key;
	group->groups = groups;
	latency_set_init(&group->latencies, policy, uid);
	group->latencies.make_room = make_room;
	HASH_ADD(hh, groups->table, key, sizeof(group->key), group);
	if (!group->lost) {
		DL_APPEND2(groups->idle, group, idle_prev, idle_next);
		return group;
	}
	free(group);
out:
	policy_give(policy, uid, POLICY_GROUPS);
	return NULL;
}

static void group_use(struct group *group)
{
	if (!group->users++)
		DL_DELETE2(group->groups->idle, group, idle_prev, idle_next);
}

static void group_unuse(struct group *group)
{
	if (!--group->users)
		DL_APPEND2(group->groups->idle, group, idle_prev, idle_next);
}

struct group *group_enter(struct groups *groups, uint32_t uid, uint64_t number)
{
	const struct group_key key = { .number = number, .uid = uid };
	struct group *group = number ? group_find(groups, &key) : NULL;

	if (number && !group)
		group = group_make(groups, &key);
	if (!group)
		return NULL;
	group_use(group);
	group->sessions++;
	return group;
}

/* ---- what a session's memory says ---- */

struct latency_set *group_latencies(struct group *group)
{
	return &group->latencies;
}

/* Everything but what is still open. False: too much for one go, the rest stays where it is. */
bool group_drain(struct group *group, struct session *session, uint32_t *budget)
{
	struct latency_memory *memory = session_latency(session);
	struct latency_sinks sinks = { .group = &group->latencies };

	if (!memory)
		return true;
	for (int role = 0; role < 2; role++)
		group->opened[role] += latency_take(&memory->opened[role]);
	for (unsigned reason = 0; reason < REASON_COUNT; reason++)
		group->closed[reason] += latency_take(&memory->closed[reason]);
	trial_sinks(group->groups->helper, &sinks);
	return latency_drain(session, &sinks, budget);
}

bool group_count_cell(struct session *session, uint32_t index, const struct memory_cell *cell, void *context)
{
	uint64_t *reasons = context;

	(void)session;
	(void)index;
	if (cell->shown_reason < REASON_COUNT)
		reasons[cell->shown_reason]++;
	return true;
}

void group_session_closed(struct helper *helper, struct session *session)
{
	uint32_t budget = LATENCY_BUDGET_PAGES;
	struct group *group = session->group;

	(void)helper;
	if (!group)
		return;
	group_drain(group, session, &budget);
	session_each_cell(session, group_count_cell, group->closed); /* left open by a process that ended */
	session->group = NULL;
	group_unuse(group);
}

/* ---- slots ---- */

void group_refused(struct group *group, enum sm_reason reason)
{
	if (group)
		group->refusals[reason]++;
}

void group_sums_add(struct sm_direction *sums, const struct slot *slot, uint32_t side)
{
	slot_sums_add_since(sums, &slot->shared->direction[side], &slot->group_base[side]);
}

static void side_give(struct slot *slot, uint32_t side)
{
	struct group *group = slot->group[side];

	if (!group)
		return;
	group_sums_add(&group->sums, slot, side);
	slot->group[side] = NULL;
	group_unuse(group);
}

void group_slot_taken(struct slot *slot, uint32_t side, struct group *group)
{
	side_give(slot, side);
	if (!group)
		return;
	group_use(group);
	slot->group[side] = group;
	slot->group_base[side] = slot->shared->direction[side];
}

void group_slot_armed(struct slot *slot)
{
	if (slot->group[0])
		slot->group[0]->pairs_armed_total++;
	if (slot->group[1] && slot->group[1] != slot->group[0])
		slot->group[1]->pairs_armed_total++;
}

void group_slot_released(struct slot *slot)
{
	side_give(slot, 0);
	side_give(slot, 1);
}
