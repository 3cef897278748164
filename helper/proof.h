/* SPDX-License-Identifier: BSD-2-Clause */
/* What follows from the kernel's facts about one or two sockets. Pure functions: the invariants' arithmetic, unit-tested.
 *
 * Facts are read without a lock, so one sample may be torn: a "no" is asked again before it is believed.
 */
#ifndef SMACCEL_HELPER_PROOF_H
#define SMACCEL_HELPER_PROOF_H

#include <stdbool.h>
#include <stdint.h>

#include "../bpf/shared.h"

/* psock references that are not a thread's: one for each map the socket is in. */
#define PROOF_REFS_OUTSIDE 0u
#define PROOF_REFS_JOINED 1u /* the sockhash */

/* facts->blocked_threads when the kernel does not let itself be asked. */
#define PROOF_BLOCKED_UNKNOWN 0xffffffffu

/* E and R of the design: constant for the life of a connection. */
uint32_t proof_sent_initial(const struct sm_facts *facts);
uint32_t proof_recv_initial(const struct sm_facts *facts);

/* Invariant 2: whether a and b are the two ends of one connection. (Addresses and namespace are compared by key.) */
bool proof_are_peers(const struct sm_facts *a, const struct sm_facts *b);

/* Invariant 8: whether all bytes since the connection began are those that the wrappers saw. -1: no. Else how many octets
 * E lies before the first byte sent: 1 (the SYN) on the connecting end, 0 on the accepting end. Measured on 6.18, both
 * families; the kernel counts the SYN's acknowledgement in bytes_acked on the former only. One end alone cannot tell
 * a SYN from one unseen byte: proof_octet_expected() does, as soon as there are two. */
int proof_accounts(const struct sm_facts *facts, uint64_t sent_bytes, uint64_t received_bytes);
int proof_octet_expected(const struct sm_facts *own, const struct sm_facts *peer);

/* Invariant 3: whether a thread may be blocked outside of tcp_bpf_recvmsg() and tcp_bpf_sendmsg(), where redirected data
 * does not wake it. A thread inside these holds a psock reference; `map_refs` are the others. */
bool proof_may_be_stranded(const struct sm_facts *facts, uint32_t map_refs);

/* Whether nobody can be on his way into a receive that began before the end was joined: awake, and so not seen by
 * proof_may_be_stranded(), but soon asleep where redirected data does not wake him. Where a table of fds has several users a call
 * holds a reference to the file; where it has one, he is the one who joined. `own_fds` are the helper's. False
 * says nothing: another process may have the socket, too. */
bool proof_is_held_once(const struct sm_facts *facts, uint32_t own_fds);

/* Fact 19a: who is inside a call that holds a psock reference, and could be between verdict and enqueue.
 * ASLEEP is weaker than it looks: a thread blocked outside (a receive with MSG_WAITALL) counts as asleep without holding a
 * reference, and may hide one that moves. It is believed only when it lasts. */
enum proof_inside {
	PROOF_NOBODY,
	PROOF_ASLEEP, /* as many threads asleep as are inside */
	PROOF_MOVING,
};
enum proof_inside proof_inside(const struct sm_facts *facts, uint32_t map_refs);

#endif
