/* SPDX-License-Identifier: BSD-2-Clause */
/* What a process wants to know of a socket that it is about to close: who else holds it, with redirected bytes unread? And are any still
 * on their way to it?
 *
 * The last one to close it has to reset the connection (fact 20); before that, a reset would hit the others. The kernel's own
 * count of the references to the file answers that. The fd that comes with the question shows that the asker has the
 * socket; it is put away before the count is read, so that all that counts is the asker's fds, which it says, threads of its
 * own that sleep in a call on it, or in a poll, which the wait queue tells, and others.
 *
 * Two processes that close at the same time would each be told of the other, and nobody would reset. So who was told of
 * others is remembered for a moment: he closes. The next one is told so, and asks again until that has happened.
 *
 * A message that has passed the verdict may take its time to the receiver's queue: its sender is preempted, or its CPU stolen. As long as
 * it is inside it holds references to the psocks of both ends, awake (fact 19a).
 */
#include <errno.h>

#include "datapath.h"
#include "pairing_internal.h"
#include "sockfacts.h"

#define CLOSING_NS (50 * LOOP_NS_PER_MS)

static uint32_t judge(struct request *request, const struct registry_end *end)
{
	const struct wire_holders *message = &request->message.holders;
	struct slot *slot = slot_at(request->helper->slots, end->slot);
	struct slot_closing *closing = &slot->closing[end->side];
	uint32_t generation = slot->shared->generation;
	uint32_t pid = request->session->pid;
	uint64_t now_ns = loop_now_ns();
	struct sm_facts facts;
	uint32_t own_calls;
	bool another_closes;

	if (datapath_inspect_for(request->helper->datapath, slot->shared->end[end->side].sk, end->cookie, pid,
				 &facts) ||
	    !facts.found || facts.holders < message->own)
		return CELL_HOLDERS_UNKNOWN;
	own_calls = facts.blocked_own + facts.polling_own;
	if (facts.holders - message->own <= own_calls)
		return 0;
	another_closes = closing->generation == generation && closing->session_id != request->session->id &&
			 closing->at_ns + CLOSING_NS > now_ns;
	if (another_closes && !message->is_final)
		return CELL_HOLDERS_CLOSING;
	*closing = (struct slot_closing){ request->session->id, now_ns, generation };
	return facts.holders - message->own - own_calls;
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
	struct request_end found = { NULL, NULL };
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
