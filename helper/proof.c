/* SPDX-License-Identifier: BSD-2-Clause */
/* Proofs from the kernel's facts. */
#include "proof.h"

uint32_t proof_sent_initial(const struct sm_facts *facts)
{
	return facts->snd_una - (uint32_t)facts->bytes_acked;
}

uint32_t proof_recv_initial(const struct sm_facts *facts)
{
	return facts->rcv_nxt - (uint32_t)facts->bytes_received;
}

/* Each side's E is its initial sequence number or one more, and the other side's R follows it by one or none: (1, 0), (0, 1),
 * or (1, 1) after a simultaneous open. (0, 0) occurs with no connection. */
bool proof_are_peers(const struct sm_facts *a, const struct sm_facts *b)
{
	uint32_t a_to_b = proof_recv_initial(b) - proof_sent_initial(a);
	uint32_t b_to_a = proof_recv_initial(a) - proof_sent_initial(b);

	return a_to_b <= 1 && b_to_a <= 1 && (a_to_b || b_to_a);
}

int proof_accounts(const struct sm_facts *facts, uint64_t sent_bytes, uint64_t received_bytes)
{
	uint32_t received = facts->copied_seq - proof_recv_initial(facts);
	uint32_t octets = facts->write_seq - proof_sent_initial(facts) - (uint32_t)sent_bytes;

	return received == (uint32_t)received_bytes && octets <= 1 ? (int)octets : -1;
}

/* R is where the peer's first byte begins, so it says how far before its own first byte this end's E lies. */
int proof_octet_expected(const struct sm_facts *own, const struct sm_facts *peer)
{
	return (int)(proof_recv_initial(peer) - proof_sent_initial(own));
}

bool proof_may_be_stranded(const struct sm_facts *facts, uint32_t map_refs)
{
	uint32_t inside = facts->psock_refs > map_refs ? facts->psock_refs - map_refs : 0;

	return facts->blocked_threads > inside; /* PROOF_BLOCKED_UNKNOWN is more than any number */
}

bool proof_is_held_once(const struct sm_facts *facts, uint32_t own_fds)
{
	return facts->holders && facts->holders <= own_fds + 1;
}

enum proof_inside proof_inside(const struct sm_facts *facts, uint32_t map_refs)
{
	uint32_t inside = facts->psock_refs > map_refs ? facts->psock_refs - map_refs : 0;

	if (!inside)
		return PROOF_NOBODY;
	if (facts->blocked_threads == PROOF_BLOCKED_UNKNOWN || inside > facts->blocked_threads)
		return PROOF_MOVING;
	return PROOF_ASLEEP;
}
