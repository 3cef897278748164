/* SPDX-License-Identifier: BSD-2-Clause */
/* What a JOIN asks the kernel about the socket, before and after the insertion (join.c). */
#include <netinet/tcp.h>

#include "datapath.h"
#include "join_internal.h"
#include "log.h"
#include "proof.h"
#include "sockfacts.h"

/* A sample that does not add up may be torn: so often is it taken anew. */
#define SAMPLES 3

/* Facts anew, now by its address. */
bool join_ask_again(struct join *join)
{
	struct sm_facts *facts = &join->look.facts;

	return !datapath_inspect(join->helper->datapath, facts->sk, join->cookie, facts) && facts->found;
}

/* Whether a call holds the socket's lock. It may do so for as long as its user likes, asleep in its copying, and the loop would wait for it;
 * the shim's own ends have no calls under way. Most calls are short, so it is asked more than once. */
bool join_is_locked(struct join *join)
{
	for (int i = 1; join->look.facts.lock_owned && i < SAMPLES; i++)
		if (!join_ask_again(join))
			return true;
	return join->look.facts.lock_owned && !join->helper->options.test_wait_for_locks;
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
	join->cookie = look->facts.cookie;
	if (join_is_locked(join))
		return REASON_BUSY;
	if (sockfacts_hears_icmp(join->fd, look))
		return REASON_OPTION;
	join->key = sockfacts_name(look);
	if (registry_key_is_own_mirror(&join->key))
		return REASON_NOT_PEERS; /* connected to itself: both ends are one socket */
	join->key.netns_cookie =
		pairing_name_netns(join->helper, look->facts.netns_cookie, &join->key.local, &join->key.remote);
	return REASON_NONE;
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
		if (!join_ask_again(join))
			return REASON_NOT_ESTABLISHED;
	}
	/* Who no longer waits for the answer has gone on: that the accounts of then do not add up now says nothing. */
	if (!session_word_pending(join->cell, message->header.generation))
		return REASON_ABANDONED;
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

enum sm_reason join_check_calls(struct join *join, uint32_t map_refs)
{
	if (proof_may_be_stranded(&join->look.facts, map_refs))
		return REASON_BLOCKED_READER;
	return is_shared(join) ? REASON_SHARED : check_accounts(join);
}

enum sm_reason join_check_before(struct join *join)
{
	return check_socket(join) ?: join_check_calls(join, PROOF_REFS_OUTSIDE);
}
