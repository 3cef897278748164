/* SPDX-License-Identifier: BSD-2-Clause */
/* LEAVE: an end goes back to plain TCP.
 *
 * In the order that loses nothing (facts 18, 19, 19a):
 *   1. pin both directions: verdicts from now on pass
 *   2. wait until nobody is between verdict and enqueue at either end
 *   3. only then look whether both queues are empty: nothing can enter them any more
 *   4. state JOINED, both entries out, the slot free
 * 2 and 3 are asked every POLL_NS, without holding up the loop, until the requester abandons it, or for LEAVE_MAX_NS. Then the
 * pair stays pinned, which is right as well, only slower; the sweep tries again (withdraw.c).
 *
 * Nobody waits for a leave that is only for speed's sake (withdraw.c): it is asked less and less often, and for longer. That is also
 * what becomes of one whose requester goes ahead pinned, with bytes unread that mostly only another process will read.
 */
#include <netinet/tcp.h>
#include <stdlib.h>
#include <utlist.h>

#include "datapath.h"
#include "log.h"
#include "pairing_internal.h"
#include "policy.h"
#include "proof.h"
#include "trial.h"

#define POLL_NS (500 * LOOP_NS_PER_US)
/* Well below the shim's bound: a queue whose reader is the one that waits for us never drains, and the shim must hear so
 * from us, not from its time-out. */
#define LEAVE_MAX_NS (20 * LOOP_NS_PER_MS)
/* For those who go ahead anyhow, pinned; with bytes unread they do so at once. */
#define LEAVE_GOES_AHEAD_NS (5 * LOOP_NS_PER_MS)
#define LEAVES_PER_TURN 64
#define TURN_NS LOOP_NS_PER_MS /* of steps at once: a socket may have many waiters */
/* Nobody waits: a reader that is slow to drain is asked after at longer and longer intervals. */
#define UNWAITED_MAX_NS (2 * LOOP_NS_PER_S)
#define UNWAITED_POLL_NS (200 * LOOP_NS_PER_US)
#define UNWAITED_POLL_MAX_NS (32 * LOOP_NS_PER_MS)
#define UNWAITED_POLLS_DOUBLE 8
/* Threads asleep inside must look so this often in a row (proof_inside()). */
#define CALM_POLLS 4

struct leave {
	uint64_t session_id; /* 0: nobody waits for an answer */
	uint64_t give_up_ns, due_ns, poll_ns;
	uint32_t uid;              /* charged for it */
	uint32_t cell, generation; /* of the requester */
	uint32_t slot, slot_generation;
	uint32_t calm_polls; /* in a row */
	uint32_t polls;
	bool goes_ahead;
	enum sm_reason reason;
	enum sm_reason told; /* what the owners' cells say */
	bool keep_offer[SM_SIDES];
	struct leave *next, *prev;
};

enum proof_inside leave_inspect(struct helper *helper, const struct slot *slot, struct sm_facts facts[SM_SIDES])
{
	enum proof_inside inside, worst = PROOF_NOBODY;

	if (datapath_inspect_pair(helper->datapath, slot->shared->end, facts))
		return PROOF_MOVING;
	for (int side = 0; side < SM_SIDES; side++) {
		if (!facts[side].found) /* never there, or closed: nobody is inside, nobody will read */
			continue;
		inside = proof_inside(&facts[side], PROOF_REFS_JOINED);
		if (inside > worst)
			worst = inside;
	}
	return worst;
}

static bool goes_ahead(enum sm_reason reason)
{
	return reason == REASON_STDIO || reason == REASON_EXEC || reason == REASON_PASSED_FD ||
	       reason == REASON_NO_MEMORY;
}

enum leave_look {
	LEAVE_DRAINED,
	LEAVE_ALONE,  /* the requester's socket has no connection, and nothing to read; the peer has */
	LEAVE_UNREAD, /* nobody is at work inside, but a queue is not empty */
	LEAVE_MOVING,
};

/* The side of the one that wanted this. */
static int requester(const struct leave *leave)
{
	return leave->keep_offer[0] ? 1 : 0;
}

static bool is_unread(const struct sm_facts *facts)
{
	return facts->found && facts->psock_queued;
}

static enum leave_look look(struct helper *helper, const struct slot *slot, struct leave *leave)
{
	struct sm_facts facts[SM_SIDES];
	enum proof_inside inside;

	if (slot->shared->state != SM_SLOT_ARMED)
		return LEAVE_DRAINED; /* nothing was ever redirected */
	inside = leave_inspect(helper, slot, facts);
	/* Again: a queue seen empty before the last sender of the other end was seen to be out may have filled since. */
	if (inside != PROOF_MOVING)
		inside = leave_inspect(helper, slot, facts);
	leave->calm_polls = inside == PROOF_MOVING ? 0 : leave->calm_polls + 1;
	if (inside == PROOF_MOVING || (inside == PROOF_ASLEEP && leave->calm_polls < CALM_POLLS))
		return LEAVE_MOVING;
	if (!is_unread(&facts[0]) && !is_unread(&facts[1]))
		return LEAVE_DRAINED;
	return leave->session_id && !is_unread(&facts[requester(leave)]) &&
			       facts[requester(leave)].tcp_state == TCP_CLOSE
		       ? LEAVE_ALONE
		       : LEAVE_UNREAD;
}

/* Both ends out, the slot free. Their owners see CELL_TAKEN_OUT. */
static void leave_finish(struct helper *helper, struct slot *slot, const struct leave *leave)
{
	struct registry_end *ends[SM_SIDES] = { slot->end[0], slot->end[1] };
	struct registry_end *offers[SM_SIDES] = { NULL, NULL };

	helper->switches->leaves_total++;
	slot_state_set(slot, SM_SLOT_JOINED); /* for a successor: these may be deleted */
	log_debug("slot %u of pids %u %u: left (%s)", slot->index, slot->shared->end[0].pid, slot->shared->end[1].pid,
		  reason_name(leave->reason));
	for (uint32_t side = 0; side < SM_SIDES; side++)
		if (ends[side])
			offers[side] = retire_take_out(helper, ends[side], leave->told, leave->keep_offer[side]);
	if (trial_refuses(leave->reason))
		trial_pair_left(helper, offers[0], offers[1]);
}

/* As if it had been closed: the other one keeps what it has to read. */
static void leave_alone(struct helper *helper, struct slot *slot, const struct leave *leave)
{
	struct registry_end *end = slot->end[requester(leave)];

	if (!end)
		return;
	log_debug("slot %u of pids %u %u: one end left (%s)", slot->index, slot->shared->end[0].pid,
		  slot->shared->end[1].pid, reason_name(leave->reason));
	retire_take_out(helper, end, leave->told, false);
}

static void answer(struct helper *helper, const struct leave *leave, uint32_t state, enum sm_reason reason)
{
	struct session *session = leave->session_id ? session_find(helper->sessions, leave->session_id) : NULL;
	struct memory_cell *cell = session ? session_cell(session, leave->cell) : NULL;

	if (cell)
		session_word_answer(cell, leave->generation, state, reason);
}

static bool is_abandoned(struct helper *helper, const struct leave *leave)
{
	struct session *session;
	struct memory_cell *cell;

	if (!leave->session_id)
		return false;
	session = session_find(helper->sessions, leave->session_id);
	cell = session ? session_cell(session, leave->cell) : NULL;
	if (cell && session_word_pending(cell, leave->generation))
		return false;
	if (cell)
		session_word_clear(cell, leave->generation);
	return true;
}

/* From now on for speed's sake. */
static void wait_for_nobody(struct leave *leave, uint64_t now_ns)
{
	leave->session_id = 0;
	leave->goes_ahead = false;
	leave->give_up_ns = now_ns + UNWAITED_MAX_NS;
	leave->poll_ns = UNWAITED_POLL_NS;
}

/* True if that leave needs no more attention. */
static bool leave_step(struct helper *helper, struct leave *leave, uint64_t now_ns)
{
	struct slot *slot = slot_at(helper->slots, leave->slot);
	enum leave_look seen;

	if (is_abandoned(helper, leave))
		return true; /* it stays pinned */
	if (slot->shared->state != SM_SLOT_FREE && slot->shared->generation == leave->slot_generation) {
		seen = look(helper, slot, leave);
		if (seen == LEAVE_DRAINED) {
			leave_finish(helper, slot, leave);
		} else if (seen == LEAVE_ALONE) {
			leave_alone(helper, slot, leave);
		} else if (seen == LEAVE_UNREAD && leave->goes_ahead) {
			answer(helper, leave, CELL_REFUSED, REASON_TIMEOUT);
			wait_for_nobody(leave, now_ns);
			return false;
		} else if (now_ns < leave->give_up_ns) {
			return false;
		} else {
			answer(helper, leave, CELL_REFUSED, REASON_TIMEOUT);
			return true;
		}
	}
	answer(helper, leave, CELL_DONE, REASON_NONE);
	return true;
}

static void leave_free(struct pairing *pairing, struct leave *leave)
{
	if (leave->uid != LEAVE_OF_SWEEP)
		policy_give(pairing->helper->policy, leave->uid, POLICY_LEAVES);
	free(leave);
}

static void leave_forget(struct pairing *pairing, struct leave *leave)
{
	DL_DELETE(pairing->leaves, leave);
	pairing->leave_count--;
	leave_free(pairing, leave);
}

static void leave_add(struct pairing *pairing, struct leave *leave, uint64_t now_ns)
{
	leave->due_ns = now_ns + leave->poll_ns;
	DL_APPEND(pairing->leaves, leave); /* at the end: everybody's turn comes */
	pairing->leave_count++;
}

/* The timer goes off when the first of them is due. */
static void leave_timer_set(struct pairing *pairing)
{
	uint64_t first_ns = UINT64_MAX;
	struct leave *leave;

	DL_FOREACH(pairing->leaves, leave)
	if (leave->due_ns < first_ns)
		first_ns = leave->due_ns;
	if (pairing->leaves)
		loop_timer_set(pairing->helper->loop, &pairing->leave, first_ns);
}

void leave_expired(struct loop_timer *timer)
{
	struct pairing *pairing = loop_container(timer, struct pairing, leave);
	uint32_t looked_at = pairing->leave_count, steps = 0;
	uint64_t now_ns = loop_now_ns();

	for (; looked_at && steps < LEAVES_PER_TURN && loop_now_ns() - now_ns < TURN_NS; looked_at--) {
		struct leave *leave = pairing->leaves;

		DL_DELETE(pairing->leaves, leave);
		pairing->leave_count--;
		if (leave->due_ns > now_ns) {
			DL_APPEND(pairing->leaves, leave);
			pairing->leave_count++;
			continue;
		}
		steps++;
		if (leave_step(pairing->helper, leave, now_ns)) {
			leave_free(pairing, leave);
			continue;
		}
		if (!leave->session_id && ++leave->polls % UNWAITED_POLLS_DOUBLE == 0 &&
		    leave->poll_ns < UNWAITED_POLL_MAX_NS)
			leave->poll_ns *= 2;
		leave_add(pairing, leave, now_ns);
	}
	leave_timer_set(pairing);
}

void leave_session_closed(struct helper *helper, uint64_t session_id)
{
	struct leave *leave, *next;

	DL_FOREACH_SAFE(helper->pairing->leaves, leave, next)
	if (leave->session_id == session_id)
		leave_forget(helper->pairing, leave);
}

void leave_refuse_all(struct helper *helper)
{
	while (helper->pairing->leaves) {
		answer(helper, helper->pairing->leaves, CELL_REFUSED, REASON_NO_HELPER);
		leave_forget(helper->pairing, helper->pairing->leaves);
	}
}

/* Steps at once, which is all that most need, and again later. False: no room for that, and somebody waits. */
static bool leave_begin(struct helper *helper, struct leave first)
{
	struct pairing *pairing = helper->pairing;
	struct leave *leave;

	if (leave_step(helper, &first, loop_now_ns()))
		return true;
	leave = pairing->leave_count < LEAVES_MAX ? malloc(sizeof(*leave)) : NULL;
	if (leave && first.uid != LEAVE_OF_SWEEP && policy_take(helper->policy, first.uid, POLICY_LEAVES)) {
		free(leave);
		leave = NULL;
	}
	if (!leave)
		return !first.session_id;
	*leave = first;
	leave_add(pairing, leave, loop_now_ns());
	leave_timer_set(pairing);
	return true;
}

static void leave_start(struct request *request, const struct request_end *found)
{
	const struct wire_pin *message = &request->message.pin;
	struct slot *slot = slot_at(request->helper->slots, found->end->slot);
	struct leave leave = {
		.session_id = request->session->id,
		.uid = request->session->channel.uid,
		.give_up_ns = loop_now_ns() + (goes_ahead(message->reason) ? LEAVE_GOES_AHEAD_NS : LEAVE_MAX_NS),
		.goes_ahead = goes_ahead(message->reason),
		.poll_ns = POLL_NS,
		.cell = message->header.cell,
		.generation = message->header.generation,
		.slot = slot->index,
		.slot_generation = slot->shared->generation,
		.reason = message->reason,
		.told = REASON_LEFT,
	};

	/* The one that wanted this is forgotten, the other is found when that one comes again. */
	leave.keep_offer[!found->end->side] = true;
	pin_both(request->helper, slot, message->reason);
	if (!leave_begin(request->helper, leave)) /* pinned it is, which is what matters */
		session_word_answer(found->cell, message->header.generation, CELL_REFUSED, REASON_TABLE_FULL);
}

void leave_unwaited(struct helper *helper, struct slot *slot, uint32_t uid, enum sm_reason reason, enum sm_reason told,
		    const bool keep_offer[SM_SIDES])
{
	struct leave leave = {
		.uid = uid,
		.give_up_ns = loop_now_ns() + UNWAITED_MAX_NS,
		.poll_ns = UNWAITED_POLL_NS,
		.slot = slot->index,
		.slot_generation = slot->shared->generation,
		.reason = reason,
		.told = told,
		.keep_offer = { keep_offer[0], keep_offer[1] },
	};
	struct leave *other;

	DL_FOREACH(helper->pairing->leaves, other)
	if (other->slot == leave.slot && other->slot_generation == leave.slot_generation)
		return; /* it is on its way already */
	pin_both(helper, slot, reason);
	(void)leave_begin(helper, leave); /* no room: the sweep tries again */
}

int pairing_handle_leave(struct request *request)
{
	struct request_end found = { 0 };
	int result = pin_identify(request, &found);

	if (result <= 0)
		return result;
	if (found.end)
		leave_start(request, &found);
	else if (found.is_elsewhere) /* nobody can take it out */
		session_word_answer(found.cell, request->message.header.generation, CELL_REFUSED, REASON_BUSY);
	else
		session_word_answer(found.cell, request->message.header.generation, CELL_DONE, REASON_NONE);
	return 0;
}
