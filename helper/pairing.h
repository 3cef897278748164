/* SPDX-License-Identifier: BSD-2-Clause */
/* Pairing: how two ends become an armed pair, and stop being one. The order of the steps is the design's.
 *
 *   pairing.c   offers, and what all parts share      join.c    one end into the sockhash, commit or abandon
 *   arm.c       both joined: proof, ledger, armed     pin.c, leave.c   back to plain TCP
 *   retire.c    closed sockets, lonely ends, sweeps   takeover.c  what an earlier helper left
 *   withdraw.c  pairs that do not pay go back to plain TCP    holders.c  who else holds a socket that is being closed
 */
#ifndef SMACCEL_HELPER_PAIRING_H
#define SMACCEL_HELPER_PAIRING_H

#include <stdbool.h>
#include <stdint.h>

struct helper;
struct pairing;
struct request;
struct session;

int pairing_open(struct helper *helper); /* sets helper->pairing. 0 or -errno */
/* The helper ends: ends that are not armed are taken out, the others run on. */
void pairing_close(struct helper *helper);
void pairing_free(struct helper *helper); /* after the sessions are closed */
/* Looks at every slot an earlier helper left. Before the first request. */
void pairing_take_over(struct helper *helper);
/* Takes up to `count` ends from a session that was closed. True if none is left. */
bool pairing_session_closed(struct helper *helper, struct session *session, uint32_t count);

/* Takes notice of the ends that a process says, in its session's memory, to have closed; and of those of all processes. */
void pairing_look_for_closed(struct helper *helper, struct session *session);
void pairing_look_for_all_closed(struct helper *helper);

/* What passed while all was switched off says nothing of the pairs. */
void pairing_switched_on(struct helper *helper);

int pairing_handle_offer(struct request *request);
int pairing_handle_join(struct request *request);
int pairing_handle_pin(struct request *request);
int pairing_handle_leave(struct request *request);
int pairing_handle_withdraw(struct request *request);
int pairing_handle_holders(struct request *request);
int pairing_handle_retire(struct request *request);

#endif
