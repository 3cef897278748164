/* SPDX-License-Identifier: BSD-2-Clause */
/* The accounts of a group for the command line (WIRE_GROUP): what has been added up, and what is still running. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"
#include "group_internal.h"
#include "session.h"
#include "stats_internal.h"
#include "wire/latency.h"

/* The accounts of the groups that the asker may see under that number, added up. */
struct account {
	uint64_t sessions, opened[2], pairs_armed_total, lost;
	struct sm_direction sums;
	uint64_t refusals[REASON_COUNT], reasons[REASON_COUNT];
	bool complete;
};

static void account_live(struct account *account, const struct group *group)
{
	struct helper *helper = group->groups->helper;

	for (struct session *session = sessions_first(helper->sessions); session; session = session->hh.next)
		if (session->group == group)
			session_each_cell(session, group_count_cell, account->reasons);
}

static void account_add(struct account *account, const struct group *group)
{
	account_live(account, group);
	account->sessions += group->sessions;
	account->pairs_armed_total += group->pairs_armed_total;
	account->opened[0] += group->opened[0];
	account->opened[1] += group->opened[1];
	account->lost += group->latencies.lost + group->latencies.unrecorded;
	account->complete = account->complete && group->drained;
	account->sums.redirected_msgs += group->sums.redirected_msgs + group->live.redirected_msgs;
	account->sums.redirected_bytes += group->sums.redirected_bytes + group->live.redirected_bytes;
	account->sums.passed_msgs += group->sums.passed_msgs + group->live.passed_msgs;
	account->sums.passed_bytes += group->sums.passed_bytes + group->live.passed_bytes;
	for (unsigned reason = 0; reason < REASON_COUNT; reason++) {
		account->refusals[reason] += group->refusals[reason];
		account->reasons[reason] += group->closed[reason];
	}
}

/* Connections that a process never offered have no cell: their reason is that their traffic has not paid. */
static void reasons_complete(struct account *account)
{
	uint64_t known = 0, opened = account->opened[0] + account->opened[1];

	for (unsigned reason = 0; reason < REASON_COUNT; reason++)
		known += account->reasons[reason];
	if (opened > known)
		account->reasons[REASON_WATCHING] += opened - known;
}

static json_t *reasons_json(const uint64_t counts[REASON_COUNT])
{
	json_t *object = json_object();

	for (unsigned reason = 0; reason < REASON_COUNT; reason++)
		if (counts[reason])
			json_object_set_new(object, reason_name(reason), json_integer((json_int_t)counts[reason]));
	return object;
}

static json_t *account_json(struct account *account, uint64_t number)
{
	const uint64_t *opened = account->opened;
	char text[20];

	snprintf(text, sizeof(text), "%llx", (unsigned long long)number);
	reasons_complete(account);
	/* A connection inside the group has an end of each kind: not counted twice. */
	return json_pack("{ss sI sI sI sI sI sI sI sI sI so so sI sb}", "group", text, "sessions",
			 (json_int_t)account->sessions, "connections",
			 (json_int_t)(opened[0] > opened[1] ? opened[0] : opened[1]), "connected",
			 (json_int_t)opened[LATENCY_CLIENT], "accepted", (json_int_t)opened[LATENCY_SERVER],
			 "redirected_bytes", (json_int_t)account->sums.redirected_bytes, "redirected_msgs",
			 (json_int_t)account->sums.redirected_msgs, "passed_bytes",
			 (json_int_t)account->sums.passed_bytes, "passed_msgs", (json_int_t)account->sums.passed_msgs,
			 "pairs_armed_total", (json_int_t)account->pairs_armed_total, "reasons",
			 reasons_json(account->reasons), "refusals", reasons_json(account->refusals), "latency_lost",
			 (json_int_t)account->lost, "complete", (int)account->complete);
}

static bool may_see(const struct request *request, const struct group *group)
{
	return group->key.number == request->message.group.group &&
	       (request->creds.uid == 0 || group->key.uid == request->creds.uid);
}

/* The account as an object that "latency" is added to as text. */
static void write_answer(const struct request *request, struct account *account, FILE *out)
{
	json_t *json = account_json(account, request->message.group.group);
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	struct group *group, *next;
	bool first = true;

	fprintf(out, "%.*s,\"latency\":[", text ? (int)strlen(text) - 1 : 0, text ? text : "");
	HASH_ITER (hh, request->helper->groups->table, group, next)
		if (may_see(request, group))
			latency_set_write(&group->latencies, &first, out);
	fputs("]}", out);
}

/* In a child process. */
static char *make_answer(const struct request *request)
{
	struct account account = { .complete = true };
	struct group *group, *next;
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	if (!out)
		return NULL;
	HASH_ITER (hh, request->helper->groups->table, group, next) {
		if (may_see(request, group))
			account_add(&account, group);
	}
	write_answer(request, &account, out);
	return fclose(out) ? NULL : text;
}

int group_handle(struct request *request)
{
	struct helper *helper = request->helper;
	uint32_t budget = LATENCY_BUDGET_PAGES;
	struct group *group, *next;

	if (request->creds.uid == (uid_t)-1 || !request->message.group.group) {
		stats_reply(request->channel->source.fd, request->message.group.group ? -EPERM : -EINVAL);
		return 0;
	}
	HASH_ITER (hh, helper->groups->table, group, next) {
		group->drained = true;
		group->live = (struct sm_direction){ 0 };
	}
	/* Here and not in the child: the counters are shared memory, and a slot may be another pair's a moment later. */
	for (struct slot *slot = slots_first(helper->slots); slot; slot = slot->used_next)
		for (uint32_t side = 0; side < SM_SIDES; side++)
			if (slot->group[side])
				group_sums_add(&slot->group[side]->live, slot, side);
	for (struct session *session = sessions_first(helper->sessions); session; session = session->hh.next)
		if (session->group && may_see(request, session->group))
			session->group->drained &= group_drain(session->group, session, &budget);
	stats_reply_by_child(request, make_answer);
	return 0;
}
