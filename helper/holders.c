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
 * others is remembered: he closes, as soon as he gets a CPU. Whoever asks when all others are such, and the kernel has the socket still in
 * their tables of files, is told so, and asks again until that has happened. Never two at once: each is one of the others' others, and was not
 * told.
 *
 * A message that has passed the verdict may take its time to the receiver's queue: its sender is preempted, or its CPU stolen. As long as
 * it is inside it holds references to the psocks of both ends, awake (fact 19a).
 */
#include <errno.h>

#include "datapath.h"
#include "pairing_internal.h"
#include "sockfacts.h"

#define CLOSING_MS 300u /* a quota of CPU time stalls for up to 100 */
#define LEAVING_MS 2u   /* from the table of files to the count of references */
/* Where the kernel does not say who still has it. */
#define UNSEEN_MS 50u
#define UNSEEN_FINAL_MS 5u
#define LOOKS_MOST 4 /* of a question: one takes 0.1 ms where the table has 20,000 fds */

static uint16_t to_ms(uint64_t ns)
{
	return (uint16_t)(ns / LOOP_NS_PER_MS);
}

/* References that go with one who was told. */
static uint32_t going_with(const struct request *request, const struct sm_end *end, struct slot_closer *closer,
			   uint16_t now_ms, int *looks)
{
	struct helper *helper = request->helper;
	const struct session *session =
		session_find(helper->sessions, (request->session->id & ~(uint64_t)UINT32_MAX) | closer->session);
	uint16_t past_ms = (uint16_t)(now_ms - closer->at_ms);
	uint32_t fds = 0;

	if (closer->is_gone)
		return past_ms < LEAVING_MS ? closer->own : 0;
	if (session && channel_is_open(&session->channel) &&
	    (--*looks < 0 ||
	     datapath_count_fds(helper->datapath, end->sk, end->cookie, session->channel.source.fd, closer->own, &fds)))
		return past_ms < (request->message.holders.is_final ? UNSEEN_FINAL_MS : UNSEEN_MS) ? closer->own : 0;
	if (fds)
		return past_ms < CLOSING_MS ? fds : 0;
	closer->is_gone = 1;
	closer->at_ms = now_ms;
	return closer->own;
}

/* That of all who were told is enough for so many. Not of this asker, who asks anew. */
static bool all_go(struct slot_closing *closing, const struct request *request, const struct sm_end *end,
		   uint32_t others, uint64_t now_ns)
{
	uint32_t going = 0;
	int looks = LOOKS_MOST;

	for (uint32_t i = 0; i < closing->count && going < others; i++)
		if (closing->told[i].session != (uint32_t)request->session->id)
			going += going_with(request, end, &closing->told[i], to_ms(now_ns), &looks);
	return going >= others;
}

static void note_closer(struct slot_closing *closing, const struct request *request, uint64_t now_ns)
{
	uint32_t session = (uint32_t)request->session->id, own = request->message.holders.own;
	uint32_t place = closing->count;

	for (uint32_t i = 0; i < closing->count; i++)
		if (closing->told[i].session == session || (closing->told[i].is_gone && place == SLOT_CLOSERS_MAX))
			place = i;
	if (place == SLOT_CLOSERS_MAX)
		return;
	closing->told[place] =
		(struct slot_closer){ .session = session,
				      .own = (uint16_t)(own < SLOT_CLOSER_FDS_MAX ? own : SLOT_CLOSER_FDS_MAX),
				      .at_ms = to_ms(now_ns) };
	closing->count += place == closing->count;
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
	if (closing->generation != generation || closing->at_ns + CLOSING_MS * LOOP_NS_PER_MS <= now_ns)
		*closing = (struct slot_closing){ .generation = generation };
	if (all_go(closing, request, &slot->shared->end[end->side], others, now_ns))
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
