/* SPDX-License-Identifier: BSD-2-Clause */
/* Arming: both ends are in the sockhash; are they each other's peers, and is nobody blocked outside of it?
 *
 * Facts are samples without a lock, and a blocked reader may be gone in a moment. So a "no" is asked again every RETRY_NS, up to
 * TRIES times; then both ends are taken out, which is clean. ARMED is stored last: whatever the verdict then
 * reads is in place. The sequence numbers are proof of the pair beyond its name (invariant 2): names repeat.
 */
#include <string.h>

#include "datapath.h"
#include "group.h"
#include "ledger.h"
#include "log.h"
#include "pairing_internal.h"
#include "proof.h"
#include "shares.h"
#include "sockfacts.h"
#include "trial.h"
#include "wire/wire.h"

#define RETRY_NS (2 * LOOP_NS_PER_MS)
#define TRIES 50
#define TURN_NS LOOP_NS_PER_MS /* of tries at once: a socket may have many waiters, and there may be many sockets */
#define SETTLE_TRIES 8
#define LEDGERS_UNREAD_BYTES 32768 /* some forty: their memory is the helper's */

enum arm_result {
	ARM_DONE,
	ARM_GONE,     /* a socket was closed meanwhile */
	ARM_BLOCKED,  /* a thread is blocked where redirected data would not wake it */
	ARM_NO_PROOF, /* the sequence numbers do not fit, or a sample was torn */
	ARM_UNSEEN,   /* a byte that no wrapper saw (proof_accounts()) */
	ARM_SETTLING, /* somebody may be on his way into a receive that began before the join */
};

/* A thread that went for a plain receive as its end was inserted may have been let in after that, or wait for a CPU: it shows
 * only when it sleeps. That there was none is seen from the references to the file. Where these cannot tell,
 * because processes share the socket, it is given time. */
static bool is_settled(struct slot *slot, const struct sm_facts facts[SM_SIDES])
{
	for (int side = 0; side < SM_SIDES; side++)
		slot->settled[side] |= proof_is_held_once(&facts[side], 0);
	return (slot->settled[0] && slot->settled[1]) || slot->queued[SLOT_QUEUE_ARM].tries >= SETTLE_TRIES;
}

static bool accounts_agree(const struct slot *slot, const struct sm_facts facts[SM_SIDES], int side)
{
	return slot->octet[side] == (slot->counts_syn[side] ? 0 : proof_octet_expected(&facts[side], &facts[!side]));
}

static enum arm_result examine(struct helper *helper, struct slot *slot, struct sm_facts facts[SM_SIDES])
{
	if (datapath_inspect_pair(helper->datapath, slot->shared->end, facts))
		return ARM_NO_PROOF;
	for (int side = 0; side < SM_SIDES; side++)
		if (!facts[side].found)
			return datapath_present(helper->datapath, slot->shared->end[side].cookie) ? ARM_NO_PROOF
												  : ARM_GONE;
	if (!proof_are_peers(&facts[0], &facts[1]))
		return ARM_NO_PROOF;
	for (int side = 0; side < SM_SIDES; side++) {
		if (!accounts_agree(slot, facts, side))
			return ARM_UNSEEN;
		if (proof_may_be_stranded(&facts[side], PROOF_REFS_JOINED))
			return ARM_BLOCKED;
	}
	return is_settled(slot, facts) ? ARM_DONE : ARM_SETTLING;
}

/* The processes learn of a ledger before a cell refers to it. */
static bool ledger_send(struct ledger *ledger, struct session *session)
{
	const int which = session->id == ledger->session_id[0] ? 0 : 1;
	struct wire_ledger message = { .ledger_id = ledger->id, .ledger_cells = LEDGER_CELLS };

	if (ledger->sent[which])
		return true;
	if (sockfacts_unread_bytes(session->channel.source.fd) > LEDGERS_UNREAD_BYTES)
		return false;
	wire_header_init(&message.header, WIRE_LEDGER, sizeof(message), 0, 0);
	if (wire_send(session->channel.source.fd, &message, sizeof(message), ledger->fd))
		return false; /* its queue is full: this pair does without */
	ledger->sent[which] = true;
	return true;
}

static void ledger_assign(struct helper *helper, struct slot *slot)
{
	struct session *a = session_find(helper->sessions, slot->end[0]->owner.session_id);
	struct session *b = session_find(helper->sessions, slot->end[1]->owner.session_id);

	if (!a || !b || ledger_take(helper->ledgers, a->id, b->id, &slot->ledger, &slot->ledger_cell)) {
		slot->ledger = NULL;
		return;
	}
	if (ledger_send(slot->ledger, a) && ledger_send(slot->ledger, b))
		return;
	ledger_give(helper->ledgers, slot->ledger, slot->ledger_cell);
	slot->ledger = NULL;
}

static void fill_cell(struct helper *helper, const struct slot *slot, const struct registry_end *end, bool counts_syn)
{
	struct session *session = session_find(helper->sessions, end->owner.session_id);
	struct memory_cell *cell = session ? session_cell(session, end->owner.cell) : NULL;

	if (!cell)
		return;
	cell->slot = slot->index;
	cell->side = end->side | (counts_syn ? CELL_SIDE_SYN : 0);
	cell->ledger_cell = slot->ledger ? slot->ledger_cell : 0;
	cell->ledger_id = slot->ledger ? slot->ledger->id : 0;
}

static void arm(struct helper *helper, struct slot *slot, const struct sm_facts facts[SM_SIDES])
{
	slot_queue_remove(helper->slots, slot, SLOT_QUEUE_LONELY);
	ledger_assign(helper, slot);
	for (int side = 0; side < SM_SIDES; side++) {
		slot->shared->end[side].sent_initial = proof_sent_initial(&facts[side]);
		slot->shared->end[side].recv_initial = proof_recv_initial(&facts[side]);
		/* What went before went by TCP and may wait for its ACK. */
		slot->shared->direction[side].last_held = 1;
		slot->end[side]->lonely_times = 0;
		fill_cell(helper, slot, slot->end[side],
			  slot->counts_syn[side] && proof_octet_expected(&facts[side], &facts[!side]));
	}
	slot_state_set(slot, SM_SLOT_ARMED);
	helper->switches->pairs_armed_total++;
	group_slot_armed(slot);
	trial_slot_armed(helper, slot);
	for (int side = 0; side < SM_SIDES; side++)
		pairing_notify(helper, slot->end[side], 0, CELL_ARMED);
}

static void give_up(struct helper *helper, struct slot *slot, enum sm_reason reason)
{
	struct registry_end *ends[SM_SIDES] = { slot->end[0], slot->end[1] };

	log_debug("slot %u: not armed: %s", slot->index, reason_name(reason));
	helper->refusals[reason]++;
	for (int side = 0; side < SM_SIDES; side++)
		group_refused(slot->group[side], reason);
	for (int side = 0; side < SM_SIDES; side++)
		if (ends[side])
			retire_take_out(helper, ends[side], reason,
					reason == REASON_BLOCKED_READER || trial_refuses(reason));
}

/* Whether it has to be tried again. */
static bool try_once(struct helper *helper, struct slot *slot)
{
	struct sm_facts facts[SM_SIDES];
	enum arm_result result = examine(helper, slot, facts);
	enum sm_reason reason;

	switch (result) {
	case ARM_DONE:
		reason = trial_assign(helper, slot->end[0], slot->end[1]); /* one may have begun or ended meanwhile */
		if (reason)
			give_up(helper, slot, reason);
		else
			arm(helper, slot, facts);
		return false;
	case ARM_GONE:
		retire_check(helper, slot); /* frees it, or leaves one end, which is then lonely */
		return false;
	default:
		break;
	}
	if (++slot->queued[SLOT_QUEUE_ARM].tries < TRIES)
		return true;
	give_up(helper, slot,
		result == ARM_BLOCKED  ? REASON_BLOCKED_READER
		: result == ARM_UNSEEN ? REASON_UNSEEN_TRAFFIC
				       : REASON_NOT_PEERS);
	return false;
}

/* The same, on the account of who joined. Who has had his share is tried no more but for the last time. */
static bool try_again(struct helper *helper, struct slot *slot)
{
	const uint32_t uid = slot->charged_uid;
	uint64_t begin_ns = loop_now_ns();
	bool again;

	if (slot->queued[SLOT_QUEUE_ARM].tries + 1 < TRIES && shares_are_used_up(helper->shares, uid)) {
		slot->queued[SLOT_QUEUE_ARM].tries++;
		return true;
	}
	again = try_once(helper, slot);
	if (uid)
		shares_charge(helper->shares, uid, begin_ns);
	return again;
}

void arm_begin(struct helper *helper, struct slot *slot)
{
	uint64_t due_ns;

	slot_queue_remove(helper->slots, slot, SLOT_QUEUE_LONELY);
	slot->queued[SLOT_QUEUE_ARM].tries = 0;
	if (!try_once(helper, slot))
		return;
	due_ns = loop_now_ns() + RETRY_NS;
	slot_queue_add(helper->slots, slot, SLOT_QUEUE_ARM, due_ns);
	loop_timer_set(helper->loop, &helper->pairing->arm, due_ns);
}

void arm_expired(struct loop_timer *timer)
{
	struct helper *helper = loop_container(timer, struct pairing, arm)->helper;
	uint64_t begin_ns = loop_now_ns(), now_ns = begin_ns;
	struct slot *slot;

	while ((slot = slot_queue_first(helper->slots, SLOT_QUEUE_ARM))) {
		uint64_t due_ns = slot->queued[SLOT_QUEUE_ARM].due_ns;

		if (due_ns > begin_ns || now_ns > begin_ns + TURN_NS) {
			loop_timer_set(helper->loop, timer, due_ns > begin_ns ? due_ns : now_ns + TURN_NS);
			return;
		}
		slot_queue_remove(helper->slots, slot, SLOT_QUEUE_ARM);
		if (slot->end[0] && slot->end[1] && try_again(helper, slot))
			slot_queue_add(helper->slots, slot, SLOT_QUEUE_ARM, loop_now_ns() + RETRY_NS);
		now_ns = loop_now_ns();
	}
}
