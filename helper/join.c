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
#include <netinet/tcp.h>
#include <string.h>

#include "datapath.h"
#include "group.h"
#include "log.h"
#include "pairing_internal.h"
#include "proof.h"
#include "sockfacts.h"
#include "trial.h"
#include "wakes.h"

/* A sample that does not add up may be torn: so often is it taken anew. */
#define SAMPLES 3

struct join {
	struct helper *helper;
	struct session *session;
	const struct wire_join *message;
	struct memory_cell *cell;
	int fd;
	struct sm_look look; /* of the fd; its facts are asked anew on the way */
	struct registry_key key;
	uint64_t cookie; /* the kernel's, as is the name */
	struct registry_end *end;
	struct slot *slot;
	uint32_t side;
	int octet;
	bool end_is_new, inserted;
};

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

/* Those that the shim does not see to. */
static uint32_t forbidding_options(const struct join *join)
{
	const uint32_t flags = join->message->flags;
	uint32_t seen_to = (flags & WIRE_JOIN_ZEROCOPY ? SM_OPTION_ZEROCOPY : 0) |
			   (flags & WIRE_JOIN_INQ ? SM_OPTION_INQ : 0) |
			   (flags & WIRE_JOIN_OOB_INLINE ? SM_OPTION_OOB_INLINE : 0);

	return join->look.options & ~seen_to;
}

/* What is behind the fd, and may it join at all? */
static enum sm_reason check_socket(struct join *join)
{
	const struct sm_look *look = &join->look;

	if (datapath_look(join->helper->datapath, join->fd, &join->look))
		return REASON_INTERNAL;
	if (!look->is_tcp)
		return REASON_NOT_TCP;
	if (!look->remote_port_n)
		return REASON_NOT_ESTABLISHED;
	/* 0: nobody has ever asked for it, so whoever says that he knows it does not. */
	if (!look->facts.cookie || look->facts.cookie != join->message->cookie)
		return REASON_BAD_REQUEST;
	/* A FIN is an octet, too: the accounts would be blamed. */
	if (look->facts.tcp_state != TCP_ESTABLISHED)
		return REASON_NOT_ESTABLISHED;
	if (!look->facts.netns_cookie)
		return REASON_NETNS;
	if (look->has_ulp)
		return REASON_ULP;
	if (forbidding_options(join))
		return sockfacts_reason_of_options(forbidding_options(join));
	if (sockfacts_hears_icmp(join->fd, look))
		return REASON_OPTION;
	join->cookie = look->facts.cookie;
	join->key = sockfacts_name(look);
	if (registry_key_is_own_mirror(&join->key))
		return REASON_NOT_PEERS; /* connected to itself: both ends are one socket */
	join->key.netns_cookie =
		pairing_name_netns(join->helper, look->facts.netns_cookie, &join->key.local, &join->key.remote);
	return REASON_NONE;
}

/* Facts anew, now by its address. */
static bool ask_again(struct join *join)
{
	struct sm_facts *facts = &join->look.facts;

	return !datapath_inspect(join->helper->datapath, facts->sk, join->cookie, facts) && facts->found;
}

/* Has every byte so far gone through the wrappers? */
static enum sm_reason check_accounts(struct join *join)
{
	const struct wire_join *message = join->message;
	const struct sm_facts *facts = &join->look.facts;

	for (int i = 0; i < SAMPLES; i++) {
		join->octet = proof_accounts(facts, message->sent_bytes, message->received_bytes);
		if (join->octet >= 0)
			return REASON_NONE;
		if (!ask_again(join))
			return REASON_NOT_ESTABLISHED;
	}
	log_debug("pid %u fd %u: sent %u of %llu, received %u of %llu seen", join->session->pid, message->fd_number,
		  facts->write_seq - proof_sent_initial(facts), (unsigned long long)message->sent_bytes,
		  facts->copied_seq - proof_recv_initial(facts), (unsigned long long)message->received_bytes);
	return REASON_UNSEEN_TRAFFIC;
}

/* Who else has it may use it past any wrapper, or by one that does not know of the join. */
static bool is_shared(const struct join *join)
{
	uint32_t flags = join->message->flags;

	if (flags & WIRE_JOIN_ALONE)
		return !proof_is_held_once(&join->look.facts, 1);
	return (flags & WIRE_JOIN_FORKED) && !proof_is_held_once(&join->look.facts, flags >> WIRE_JOIN_FDS_SHIFT);
}

static enum sm_reason check_calls(struct join *join, uint32_t map_refs)
{
	if (proof_may_be_stranded(&join->look.facts, map_refs))
		return REASON_BLOCKED_READER;
	return is_shared(join) ? REASON_SHARED : check_accounts(join);
}

static enum sm_reason check_before(struct join *join)
{
	return check_socket(join) ?: check_calls(join, PROOF_REFS_OUTSIDE);
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
	if (!join->slot && retire_check_closing(helper))
		join->slot = slot_take(helper->slots, join->session->channel.uid);
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

static enum sm_reason insert(struct join *join)
{
	const struct sm_endref ref = {
		.slot = join->slot->index,
		.side = join->side,
		.generation = join->slot->shared->generation,
	};
	struct helper *helper = join->helper;
	int error;

	if (registry_join(helper->registry, join->end, join->cookie, join->slot->index, join->side))
		return REASON_INTERNAL;
	fill_shared_end(join);
	error = datapath_insert(helper->datapath, join->fd, join->cookie, &ref);
	if (error)
		return sockfacts_reason_of_insert(error);
	join->inserted = true;
	if (!ask_again(join))
		return REASON_NOT_ESTABLISHED;
	join->slot->settled[join->side] = proof_is_held_once(&join->look.facts, 1);
	/* Again: the insertion may have waited for a call that moved bytes. */
	return check_calls(join, PROOF_REFS_JOINED);
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
	enum sm_reason reason = check_before(join);

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
