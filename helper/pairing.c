/* SPDX-License-Identifier: BSD-2-Clause */
/* Pairing: offers, and what its parts share.
 *
 * An end is known from its OFFER or JOIN to its RETIRE, its socket's close or its session's end. An offer is a claim that
 * nobody has checked; all it can do is to raise CELL_MATCHED in cells: in the peer's, if the claim is a lie, for nothing.
 * The peer then joins, waits alone for a while and is taken out. After LONELY_TRUST such times an end is only matched by
 * a peer that has itself joined, which cannot be faked (invariant 9).
 */
#include "pairing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "group.h"
#include "pairing_internal.h"
#include "policy.h"
#include "trial.h"

#define LONELY_TRUST 2
/* Offers of one name by one user: forked processes share connections. The oldest makes room for the next. */
#define SAME_NAME_MAX 4

int pairing_open(struct helper *helper)
{
	struct pairing *pairing = calloc(1, sizeof(*pairing));

	if (!pairing)
		return -ENOMEM;
	pairing->helper = helper;
	loop_timer_add(helper->loop, &pairing->lonely, retire_lonely_expired);
	loop_timer_add(helper->loop, &pairing->arm, arm_expired);
	loop_timer_add(helper->loop, &pairing->check, retire_check_expired);
	loop_timer_add(helper->loop, &pairing->sweep, retire_sweep_expired);
	loop_timer_add(helper->loop, &pairing->leave, leave_expired);
	helper->pairing = pairing;
	return 0;
}

void pairing_close(struct helper *helper)
{
	struct slot *slot, *next;

	leave_refuse_all(helper);
	for (slot = slots_first(helper->slots); slot; slot = next) {
		next = slot->used_next;
		if (slot->shared->state == SM_SLOT_ARMED)
			continue;
		for (int side = 0; side < SM_SIDES; side++)
			if (slot->end[side]) /* the last one frees the slot: `next` is not it */
				retire_take_out(helper, slot->end[side], REASON_NO_HELPER, false);
	}
}

void pairing_free(struct helper *helper)
{
	free(helper->pairing);
	helper->pairing = NULL;
}

/* ---- cells ---- */

void pairing_notify(struct helper *helper, const struct registry_end *end, uint32_t clear, uint32_t set)
{
	struct session *session = session_find(helper->sessions, end->owner.session_id);

	if (session)
		session_status_change(session, end->owner.cell, end->generation, clear, set);
}

void pairing_notify_taken_out(struct helper *helper, const struct registry_end *end, const struct slot *slot,
			      enum sm_reason reason)
{
	struct session *session = session_find(helper->sessions, end->owner.session_id);
	struct memory_cell *cell = session ? session_cell(session, end->owner.cell) : NULL;

	if (!cell)
		return;
	cell->reason = reason;
	cell->redirected_out = slot->shared->direction[end->side].redirected_bytes;
	cell->redirected_in = slot->shared->direction[!end->side].redirected_bytes;
	session_status_change(session, end->owner.cell, end->generation, CELL_MATCHED | CELL_ARMED | CELL_PINNED,
			      CELL_TAKEN_OUT);
	session_status_wake(session, end->owner.cell);
}

/* ---- ends ---- */

static struct registry_end **session_ends(struct helper *helper, const struct registry_end *end)
{
	struct session *session = session_find(helper->sessions, end->owner.session_id);

	return session ? &session->ends : NULL;
}

static void make_room(struct helper *helper, const struct registry_key *key, uint32_t uid)
{
	struct registry_end *end, *oldest = NULL;
	unsigned count = 0;

	for (end = registry_first(helper->registry, key); end; end = end->name_next) {
		if (end->uid != uid || end->state != END_OFFERED)
			continue;
		if (!oldest)
			oldest = end;
		count++;
	}
	if (count >= SAME_NAME_MAX)
		pairing_end_remove(helper, oldest);
}

struct registry_end *pairing_end_add(struct helper *helper, struct session *session, const struct registry_key *key,
				     uint32_t cell, uint32_t generation)
{
	const struct registry_owner owner = { .session_id = session->id, .cell = cell };
	struct registry_end *end;

	make_room(helper, key, session->channel.uid);
	if (policy_take(helper->policy, session->channel.uid, POLICY_OFFERS))
		return NULL;
	end = registry_add(helper->registry, key, owner, &session->ends);
	if (!end) {
		policy_give(helper->policy, session->channel.uid, POLICY_OFFERS);
		return NULL;
	}
	end->charged = true;
	end->generation = generation;
	end->uid = session->channel.uid;
	end->pid = session->pid;
	return end;
}

void pairing_end_remove(struct helper *helper, struct registry_end *end)
{
	if (end->charged)
		policy_give(helper->policy, end->uid, POLICY_OFFERS);
	registry_remove(helper->registry, end, session_ends(helper, end));
}

void pairing_end_disown(struct helper *helper, struct registry_end *end)
{
	end->arm = LATENCY_ALL;
	registry_disown(helper->registry, end, session_ends(helper, end));
}

void pairing_forget_owner(struct helper *helper, struct session *session, uint32_t cell)
{
	const struct registry_owner owner = { .session_id = session->id, .cell = cell };
	struct registry_end *end = registry_find_owner(helper->registry, owner);

	if (!end)
		return;
	if (end->state == END_OFFERED) {
		pairing_end_remove(helper, end);
		return;
	}
	pairing_end_disown(helper, end);
	retire_check_soon(helper, slot_at(helper->slots, end->slot));
}

bool pairing_session_closed(struct helper *helper, struct session *session, uint32_t count)
{
	leave_session_closed(helper, session->id);
	for (; session->ends && count; count--)
		pairing_forget_owner(helper, session, session->ends->owner.cell);
	return !session->ends;
}

/* ---- matching ---- */

struct match {
	struct helper *helper;
	struct registry_end *end;
	bool found;
};

/* `a` learns of `b`. */
static bool may_trust(const struct registry_end *a, const struct registry_end *b)
{
	return b->state == END_JOINED || (!b->is_shared && a->lonely_times < LONELY_TRUST);
}

static void match_visit(struct registry_end *peer, void *context)
{
	struct match *match = context;
	bool learns = may_trust(match->end, peer);
	bool peer_learns = peer->state == END_OFFERED && may_trust(peer, match->end);

	if ((!learns && !peer_learns) || trial_assign(match->helper, match->end, peer))
		return;
	if (learns)
		match->found = true;
	if (peer_learns)
		pairing_notify(match->helper, peer, 0, CELL_MATCHED);
}

void pairing_match(struct helper *helper, struct registry_end *end)
{
	struct match match = { .helper = helper, .end = end };

	registry_each_peer(helper->registry, &end->key, match_visit, &match);
	if (match.found && end->state == END_OFFERED)
		pairing_notify(helper, end, 0, CELL_MATCHED);
}

/* ---- OFFER ---- */

uint64_t pairing_name_netns(const struct helper *helper, uint64_t netns_cookie, const struct wire_endpoint *local,
			    const struct wire_endpoint *remote)
{
	return policy_are_peers(&helper->options.settings, local->address, remote->address) ? 0 : netns_cookie;
}

static bool is_repetition(const struct registry_end *end, const struct wire_offer *offer,
			  const struct registry_key *key)
{
	return end->generation == offer->header.generation && end->cookie == offer->cookie &&
	       !memcmp(&end->key, key, sizeof(*key));
}

int pairing_handle_offer(struct request *request)
{
	const struct wire_offer *offer = &request->message.offer;
	const struct registry_owner owner = { .session_id = request->session->id, .cell = offer->header.cell };
	struct helper *helper = request->helper;
	const struct registry_key key = {
		.netns_cookie = pairing_name_netns(helper, offer->netns_cookie, &offer->local, &offer->remote),
		.local = offer->local,
		.remote = offer->remote,
	};
	struct registry_end *end;

	if (owner.cell == 0 || owner.cell >= MEMORY_CELLS || offer->header.generation > CELL_GENERATION_MASK ||
	    key.local.reserved || key.remote.reserved) {
		helper->refusals[REASON_BAD_REQUEST]++;
		return -EPROTO;
	}
	end = registry_find_owner(helper->registry, owner);
	if (end && !is_repetition(end, offer, &key)) {
		pairing_forget_owner(helper, request->session, owner.cell);
		end = NULL;
	}
	if (!end) {
		end = pairing_end_add(helper, request->session, &key, owner.cell, offer->header.generation);
		if (!end) { /* there is no answer to an offer: it is never matched */
			helper->refusals[REASON_TABLE_FULL]++;
			group_refused(request->session->group, REASON_TABLE_FULL);
			return 0;
		}
		end->cookie = offer->cookie;
	}
	if (end->state == END_OFFERED)
		pairing_match(helper, end);
	return 0;
}
