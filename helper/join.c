/* SPDX-License-Identifier: BSD-2-Clause */
/* JOIN: one end goes into the sockhash, all in one turn of the loop.
 *
 *   held -> the kernel's facts of the fd -> stranded? -> accounts -> slot INSERTING -> insert -> stranded? -> accounts
 *        -> duplicate closed -> compare-and-swap of the word -> slot JOINED -> the peer is there too: arm
 *
 * Nothing is redirected before the pair is armed, so every failure on the way is undone by a plain removal, and a helper
 * that dies anywhere in between leaves only what the next one deletes (takeover.c). The word is answered after the
 * duplicate is closed (invariant 6): an application that goes on has its socket to itself.
 */
#include <errno.h>
#include <string.h>

#include "datapath.h"
#include "group.h"
#include "join_internal.h"
#include "log.h"
#include "proof.h"
#include "shares.h"
#include "sockfacts.h"
#include "trial.h"
#include "wakes.h"

/* An entry with our cookie or our name: what is left of it after its socket is gone must go first. */
static enum sm_reason check_earlier(struct join *join)
{
	struct helper *helper = join->helper;
	struct registry_end *earlier = registry_find_cookie(helper->registry, join->cookie);

	if (earlier) {
		retire_check(helper, slot_at(helper->slots, earlier->slot));
		if (registry_find_cookie(helper->registry, join->cookie))
			return REASON_BUSY;
	}
	/* Two sockets with one name: the kernel has only one of them connected now, and that is ours. */
	earlier = registry_find_joined(helper->registry, &join->key);
	if (earlier) {
		retire_check(helper, slot_at(helper->slots, earlier->slot));
		if (registry_find_joined(helper->registry, &join->key))
			return REASON_BUSY;
	}
	return REASON_NONE;
}

/* The end's own entry: the offer that led here, or a new one. */
static enum sm_reason take_end(struct join *join)
{
	const struct wire_header *header = &join->message->header;
	const struct registry_owner owner = { .session_id = join->session->id, .cell = header->cell };
	struct helper *helper = join->helper;

	join->end = registry_find_owner(helper->registry, owner);
	if (join->end && (join->end->state != END_OFFERED || join->end->generation != header->generation)) {
		pairing_forget_owner(helper, join->session, header->cell);
		join->end = NULL;
	}
	if (join->end)
		return registry_rename(helper->registry, join->end, &join->key) ? REASON_TABLE_FULL : REASON_NONE;
	join->end = pairing_end_add(helper, join->session, &join->key, header->cell, header->generation);
	join->end_is_new = true;
	return join->end ? REASON_NONE : REASON_TABLE_FULL;
}

/* Across namespaces only the sequence numbers prove a pair, and two connections of one name have correlated ones: they can
 * be made alike by trying. So a user pairs with himself only. */
static bool may_cross(const struct join *join, const struct registry_end *peer)
{
	return join->look.facts.netns_cookie == peer->netns_cookie || join->session->channel.uid == peer->uid;
}

/* The other half of the peer's slot, or a slot of its own. */
static enum sm_reason take_slot(struct join *join)
{
	const struct registry_owner owner = { .session_id = join->session->id, .cell = join->message->header.cell };
	const struct registry_key mirror = registry_key_mirror(&join->key);
	struct helper *helper = join->helper;
	struct registry_end *peer = registry_find_joined(helper->registry, &mirror);
	enum sm_reason reason;

	if (peer) {
		retire_check(helper, slot_at(helper->slots, peer->slot)); /* may be left from an earlier connection */
		peer = registry_find_joined(helper->registry, &mirror);
	}
	/* A slot that is armed, or was, is its pair's alone. */
	if (peer && slot_at(helper->slots, peer->slot)->shared->state == SM_SLOT_JOINED &&
	    !slot_at(helper->slots, peer->slot)->end[!peer->side]) {
		if (!may_cross(join, peer))
			return REASON_NETNS;
		join->end->cookie = join->cookie;
		reason = trial_assign(helper, join->end, peer);
		if (reason) {
			retire_take_out(helper, peer, reason, true);
			return reason;
		}
		join->slot = slot_at(helper->slots, peer->slot);
		join->side = !peer->side;
		slot_state_set(join->slot, SM_SLOT_INSERTING);
		return REASON_NONE;
	}
	join->slot = slot_take(helper->slots, join->session->channel.uid);
	if (!join->slot) {
		const bool has_room = retire_make_room(helper);

		/* That took notice of what processes say to have closed: perhaps this very end, which is freed then. */
		join->end = registry_find_owner(helper->registry, owner);
		if (!join->end)
			return REASON_ABANDONED;
		if (has_room)
			join->slot = slot_take(helper->slots, join->session->channel.uid);
	}
	join->side = 0;
	return join->slot ? REASON_NONE : REASON_TABLE_FULL;
}

static void fill_shared_end(const struct join *join)
{
	struct sm_end *end = &join->slot->shared->end[join->side];

	memset(end, 0, sizeof(*end));
	end->sk = join->look.facts.sk;
	end->sent_initial = proof_sent_initial(&join->look.facts);
	end->recv_initial = proof_recv_initial(&join->look.facts);
	end->pid = join->session->pid;
	end->uid = join->session->channel.uid;
	end->family = join->look.family;
	end->port_n = join->key.local.port_n;
	memcpy(end->address, join->key.local.address, sizeof(end->address));
	end->cookie = join->cookie; /* before the insertion: a successor knows by it what to delete */
	join->slot->shared->netns_cookie = join->key.netns_cookie;
	join->slot->shared->joined_at_ns = loop_now_ns();
	join->slot->octet[join->side] = join->octet;
	join->slot->counts_syn[join->side] = join->message->flags & WIRE_JOIN_ALONE;
	join->end->netns_cookie = join->look.facts.netns_cookie;
}

/* The insertion takes the socket's lock. Who takes it in the moments since it was asked for the last time still makes the loop wait:
 * not again soon. */
static enum sm_reason insert_unlocked(struct join *join, const struct sm_endref *ref)
{
	struct helper *helper = join->helper;
	const uint32_t uid = join->session->channel.uid;
	uint64_t begin_ns;
	int error;

	if (shares_are_held_back(helper->shares, uid))
		return REASON_BUSY;
	if (!join_ask_again(join))
		return REASON_NOT_ESTABLISHED;
	if (join_is_locked(join))
		return REASON_BUSY;
	begin_ns = loop_now_ns();
	error = datapath_insert(helper->datapath, join->fd, join->cookie, ref);
	shares_hold_back(helper->shares, uid, begin_ns);
	return sockfacts_reason_of_insert(error);
}

static enum sm_reason insert(struct join *join)
{
	const struct sm_endref ref = {
		.slot = join->slot->index,
		.side = join->side,
		.generation = join->slot->shared->generation,
	};
	enum sm_reason reason;

	if (registry_join(join->helper->registry, join->end, join->cookie, join->slot->index, join->side))
		return REASON_INTERNAL;
	fill_shared_end(join);
	reason = insert_unlocked(join, &ref);
	if (reason)
		return reason;
	join->inserted = true;
	if (!join_ask_again(join))
		return REASON_NOT_ESTABLISHED;
	join->slot->settled[join->side] = proof_is_held_once(&join->look.facts, 1);
	/* Again: the insertion may have waited for a call that moved bytes. */
	return join_check_calls(join, PROOF_REFS_JOINED);
}

/* The offer that led here: goes, or is as it was before CELL_MATCHED was lowered. */
static void undo_offer(struct join *join, enum sm_reason reason)
{
	const struct wire_header *header = &join->message->header;
	const struct registry_owner owner = { .session_id = join->session->id, .cell = header->cell };
	struct registry_end *end = registry_find_owner(join->helper->registry, owner);

	if (!end || end->state != END_OFFERED || end->generation != header->generation)
		return;
	end->is_shared = reason == REASON_SHARED;
	if (reason_is_transient(reason))
		pairing_match(join->helper, end);
	else if (!trial_refuses(reason)) /* else it is matched when the trial is over */
		pairing_end_remove(join->helper, end);
}

/* Best while the fd is held: a removal that meets the last close of its socket, a reset, can make the kernel skip what TCP
 * does at its end. sk_psock_put() of the removal has left nobody a psock, but not yet put TCP's functions back, and
 * sock_map_destroy() then finds neither (seen under emulation, 2 of 60,000 aimed at it; a WARNING, and memory that stays). */
static void take_back(struct join *join)
{
	if (join->inserted)
		datapath_remove(join->helper->datapath, join->cookie);
	join->inserted = false;
}

static void undo(struct join *join, enum sm_reason reason)
{
	struct helper *helper = join->helper;

	take_back(join);
	if (join->slot) {
		join->slot->shared->end[join->side].cookie = 0;
		if (join->slot->end[!join->side])
			slot_state_set(join->slot, SM_SLOT_JOINED); /* the peer's place in it stays */
		else
			slot_release(helper->slots, join->slot);
	}
	if (join->end)
		registry_unjoin(helper->registry, join->end);
	if (reason == REASON_SHARED)
		retire_spare_peer(helper, &join->key);
	if (join->end && join->end_is_new && !trial_refuses(reason))
		pairing_end_remove(helper, join->end);
	else
		undo_offer(join, reason);
}

/* The word was won: from here on the end is in. */
static void joined(struct join *join)
{
	struct helper *helper = join->helper;
	struct slot *slot = join->slot;

	slot->end[join->side] = join->end;
	join->end->is_shared = false;
	group_slot_taken(slot, join->side, join->session->group);
	slot_state_set(slot, SM_SLOT_JOINED);
	helper->switches->sockets_joined_total++;
	retire_sweep_start(helper);
	if (slot->end[!join->side]) {
		arm_begin(helper, slot);
		return;
	}
	retire_await_peer(helper, slot);
	pairing_match(helper, join->end);
	if (trial_is_plain(helper, join->end)) /* as its peer's offer, which came before, has shown */
		retire_take_out(helper, join->end, REASON_TRIAL_PLAIN, true);
}

static enum sm_reason try_join(struct join *join)
{
	enum sm_reason reason = join_check_before(join);

	if (!reason)
		reason = check_earlier(join);
	if (!reason)
		reason = take_end(join);
	if (!reason)
		reason = take_slot(join);
	if (!reason)
		reason = insert(join);
	return reason;
}

int pairing_handle_join(struct request *request)
{
	const struct wire_header *header = &request->message.header;
	const struct reaper_tag tag = { request->session->id, header->cell, header->generation };
	struct join join = {
		.helper = request->helper,
		.session = request->session,
		.message = &request->message.join,
		.cell = session_cell(request->session, header->cell),
		.fd = request->fd,
	};
	enum sm_reason reason = REASON_ABANDONED;

	if (!join.cell || header->generation > CELL_GENERATION_MASK) {
		request->helper->refusals[REASON_BAD_REQUEST]++;
		return -EPROTO;
	}
	session_status_change(join.session, header->cell, header->generation,
			      0xff & ~(uint32_t)(CELL_TRIAL_ACCELERATED | CELL_TRIAL_PLAIN), CELL_HELD);
	if (session_word_pending(join.cell, header->generation))
		reason = try_join(&join);
	if (reason)
		take_back(&join);
	request->fd = -1;
	if (dispatch_put_away(join.helper, join.fd,
			      (join.look.is_tcp && join.look.remote_port_n) || sockfacts_closes_quickly(join.fd),
			      request->channel->uid, &tag))
		session_fd_closed(join.helper->sessions, &tag);
	if (!reason) {
		join.cell->slot = join.slot->index;
		join.cell->side = join.side;
		join.cell->holders = join.look.facts.holders ? join.look.facts.holders - 1 : 0; /* one is ours */
		if (session_word_settle(join.cell, header->generation, CELL_DONE, REASON_NONE)) {
			joined(&join);
			/* Only now: who slept finds the pair armed already, if it can be. */
			wakes_add(join.helper->wakes, &join.cell->word);
			return 0;
		}
		reason = REASON_ABANDONED;
		session_word_clear(join.cell, header->generation);
	} else {
		session_word_answer(join.cell, header->generation, CELL_REFUSED, reason);
	}
	log_debug("pid %u fd %u: refused: %s", join.session->pid, join.message->fd_number, reason_name(reason));
	join.helper->refusals[reason]++;
	group_refused(join.session->group, reason);
	undo(&join, reason);
	return 0;
}
