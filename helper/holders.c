/* SPDX-License-Identifier: BSD-2-Clause */
/* What a process wants to know of a socket that it is about to close: who else holds it, with redirected bytes unread? And are any still
 * on their way to it?
 *
 * The last one to close it has to reset the connection (fact 20); before that, a reset would hit the others. The kernel's own
 * count of the references to the file answers that. The fd that comes with the question shows that the asker has the
 * socket; it is put away before the count is read, so that all that counts is the asker's fds, which it says, threads of its
 * own that sleep in a call on it, or in a poll, which the wait queue tells, and others.
 *
 * Processes that close at the same time would each be told of the others, and nobody would reset. So who was told of
 * others is remembered for a moment: he closes. Whoever asks when all others are such is told so, and asks again until that has happened.
 *
 * A message that has passed the verdict may take its time to the receiver's queue: its sender is preempted, or its CPU stolen. As long as
 * it is inside it holds references to the psocks of both ends, awake (fact 19a).
 */
#include <errno.h>

#include "datapath.h"
#include "pairing_internal.h"
#include "sockfacts.h"

#define CLOSING_NS (50 * LOOP_NS_PER_MS)
#define LAST_CLOSING_NS (5 * LOOP_NS_PER_MS)

/* References that go with those who were told, but for this asker, who asks anew. */
static uint32_t told_others(const struct slot_closing *closing, uint64_t session_id)
{
	uint32_t told = 0;

	for (uint32_t i = 0; i < closing->count; i++)
		told += closing->told[i].session == (uint32_t)session_id ? 0 : closing->told[i].own;
	return told;
}

static void note_closer(struct slot_closing *closing, const struct request *request, uint64_t now_ns)
{
	uint32_t session = (uint32_t)request->session->id;
	uint32_t i = 0;

	while (i < closing->count && closing->told[i].session != session)
		i++;
	if (i == SLOT_CLOSERS_MAX)
		return;
	closing->told[i] = (struct slot_closer){ session, request->message.holders.own };
	closing->count += i == closing->count;
	closing->at_ns = now_ns;
}

static uint32_t judge(struct request *request, const struct registry_end *end)
{
	const struct wire_holders *message = &request->message.holders;
	struct slot *slot = slot_at(request->helper->slots, end->slot);
	struct slot_closing *closing = &slot->closing[end->side];
	uint32_t generation = slot->shared->generation;
	uint32_t pid = request->session->pid;
	uint64_t now_ns = loop_now_ns();
	struct sm_facts facts;
	uint32_t own_calls, others;

	if (datapath_inspect_for(request->helper->datapath, slot->shared->end[end->side].sk, end->cookie, pid,
				 &facts) ||
	    !facts.found || facts.holders < message->own)
		return CELL_HOLDERS_UNKNOWN;
	own_calls = facts.blocked_own + facts.polling_own;
	if (facts.holders - message->own <= own_calls)
		return 0;
	others = facts.holders - message->own - own_calls;
	if (closing->generation != generation || closing->at_ns + CLOSING_NS <= now_ns)
		*closing = (struct slot_closing){ .generation = generation };
	/* The one that asks for the last time is told as well, or all would wait for each other; but not in the moment after another was: as soon as
	 * that one has closed this is the last. */
	if (others <= told_others(closing, request->session->id) &&
	    (!message->is_final || closing->at_ns + LAST_CLOSING_NS > now_ns))
		return CELL_HOLDERS_CLOSING;
	note_closer(closing, request, now_ns);
	return others;
}

static uint32_t judge_landing(struct request *request, const struct registry_end *end)
{
	const struct slot *slot = slot_at(request->helper->slots, end->slot);
	struct sm_facts facts[SM_SIDES];

	/* Twice: whoever is asleep may hide one that moves, but hardly at both times. */
	for (int i = 0; i < 2; i++)
		if (leave_inspect(request->helper, slot, facts) == PROOF_MOVING)
			return CELL_HOLDERS_LANDING;
	return 0;
}

int pairing_handle_holders(struct request *request)
{
	const struct wire_holders *message = &request->message.holders;
	struct request_end found = { 0 };
	int result = pin_identify_as(request, message->cookie, &found);
	uint32_t holders = CELL_HOLDERS_UNKNOWN;

	if (result <= 0)
		return result;
	if (found.end)
		holders = message->header.type == WIRE_LANDING ? judge_landing(request, found.end)
							       : judge(request, found.end);
	if (session_word_pending(found.cell, message->header.generation))
		found.cell->holders = holders;
	session_word_answer(found.cell, message->header.generation, CELL_DONE, REASON_NONE);
	return 0;
}
