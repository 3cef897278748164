/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of pairing share among themselves. */
#ifndef SMACCEL_HELPER_PAIRING_INTERNAL_H
#define SMACCEL_HELPER_PAIRING_INTERNAL_H

#include "helper.h"
#include "loop.h"
#include "pairing.h"
#include "proof.h"
#include "registry.h"
#include "session.h"
#include "slots.h"

struct leave;

struct pairing {
	struct helper *helper;
	struct loop_timer lonely, arm, check, sweep, leave; /* each serves the queue of its name */
	uint64_t looked_for_closed_ns;                      /* in the memory of all sessions */
	struct leave *leaves;
	uint32_t leave_count;
};

#define LEAVES_MAX 4096u          /* of all users: policy.c has how many of one */
#define LEAVE_OF_SWEEP UINT32_MAX /* the helper itself wants it */

/* ---- pairing.c ---- */
/* The namespace of an end's name: its own, or 0 for a name that is one and the same in all of them. */
uint64_t pairing_name_netns(const struct helper *helper, uint64_t netns_cookie, const struct wire_endpoint *local,
			    const struct wire_endpoint *remote);
/* Sets and clears status bits in the cell of the end's owner, if it has one. */
void pairing_notify(struct helper *helper, const struct registry_end *end, uint32_t clear, uint32_t set);
/* The same with a reason, for an end that was taken out of that slot: CELL_TAKEN_OUT. */
void pairing_notify_taken_out(struct helper *helper, const struct registry_end *end, const struct slot *slot,
			      enum sm_reason reason);
/* Adds an end for the owner, charged to its session's user. NULL: quota or memory. */
struct registry_end *pairing_end_add(struct helper *helper, struct session *session, const struct registry_key *key,
				     uint32_t cell, uint32_t generation);
/* Forgets an end: registry, quota. Not its place in a slot. */
void pairing_end_remove(struct helper *helper, struct registry_end *end);
void pairing_end_disown(struct helper *helper, struct registry_end *end);
/* Raises CELL_MATCHED where `end` and the ends of its peer's name have found each other. */
void pairing_match(struct helper *helper, struct registry_end *end);
/* The owner's earlier end (another generation, closed without a RETIRE) makes room. */
void pairing_forget_owner(struct helper *helper, struct session *session, uint32_t cell);

/* ---- arm.c ---- */
void arm_begin(struct helper *helper, struct slot *slot); /* both ends have joined */
void arm_expired(struct loop_timer *timer);

/* ---- pin.c ---- */
/* What an fd in a request says: it is put away, and the end found by the cookie that the kernel tells. */
struct request_end {
	struct memory_cell *cell;
	struct registry_end *end; /* NULL: not in the sockhash */
	bool is_elsewhere; /* but in that of an earlier helper, of another layout, and redirected bytes are unread there */
};
/* cookie: what the client claims. 1; 0: answered, or there is nobody to be answered; negative: a client that does not speak the
 * protocol. */
int pin_identify_as(struct request *request, uint64_t cookie, struct request_end *out);
/* The same for a message that begins as a PIN does. */
int pin_identify(struct request *request, struct request_end *out);
/* Whether a client may give that reason: those of trials are the helper's. If not it does not speak the protocol, which is counted. */
bool pin_may_say(struct helper *helper, uint32_t reason);
/* Verdicts of both directions pass from now on; both owners see CELL_PINNED. */
void pin_both(struct helper *helper, struct slot *slot, enum sm_reason reason);

/* ---- leave.c ---- */
/* Who is inside a call on one of the two ends: the worst of both. */
enum proof_inside leave_inspect(struct helper *helper, const struct slot *slot, struct sm_facts facts[SM_SIDES]);
void leave_expired(struct loop_timer *timer);
void leave_session_closed(struct helper *helper, uint64_t session_id);
void leave_refuse_all(struct helper *helper);
/* Pins the pair, and takes it out as soon as it is drained, for which nobody waits. The owners of its ends find `told` in
 * their cells; keep_offer: whether an end stays known as an offer. uid: who wants it, or LEAVE_OF_SWEEP. */
void leave_unwaited(struct helper *helper, struct slot *slot, uint32_t uid, enum sm_reason reason, enum sm_reason told,
		    const bool keep_offer[SM_SIDES]);

/* ---- withdraw.c ---- */
/* The sweep looks at a slot: does it still pay? */
void withdraw_consider(struct helper *helper, struct slot *slot);
/* What was sent before this moment does not count then: it says nothing of the pair, or was looked at by an earlier helper. */
void withdraw_look(struct slot *slot);

/* ---- retire.c ---- */
/* The end's socket left the sockhash by itself: it was closed or reset. Frees the slot when nobody is left in it. */
void retire_end_gone(struct helper *helper, struct registry_end *end);
/* Takes an end out of the sockhash: one that was never armed (clean: nothing was redirected to it), or is drained. It stays
 * known as an offer, which is returned, if its peer may still come. NULL: it is freed. */
struct registry_end *retire_take_out(struct helper *helper, struct registry_end *end, enum sm_reason reason,
				     bool keep_offer);
/* Something of that slot is being closed: look again soon. */
void retire_check_soon(struct helper *helper, struct slot *slot);
/* A slot is needed: takes notice of what all processes say to have closed, which frees ends, and looks at some of those slots. True if any
 * became free. */
bool retire_make_room(struct helper *helper);
/* Looks now. */
void retire_check(struct helper *helper, struct slot *slot);
/* One end has joined and waits for the other. */
void retire_await_peer(struct helper *helper, struct slot *slot);
/* The end of that name cannot join now: its peer, should it wait for that, is taken out, and offers. */
void retire_spare_peer(struct helper *helper, const struct registry_key *key);
/* A slot is in use: the sweep has work. */
void retire_sweep_start(struct helper *helper);
void retire_lonely_expired(struct loop_timer *timer);
void retire_check_expired(struct loop_timer *timer);
void retire_sweep_expired(struct loop_timer *timer);

#endif
