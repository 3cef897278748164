/* SPDX-License-Identifier: BSD-2-Clause */
/* The slots: one per pair, in memory that the verdict reads; and the helper's own half of each. */
#ifndef SMACCEL_HELPER_SLOTS_H
#define SMACCEL_HELPER_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "../bpf/shared.h"
#include "paying.h"

struct group;
struct helper;
struct ledger;
struct registry_end;
struct slots;

/* Queues a slot can stand in; pairing's timers serve them. */
enum slot_queue {
	SLOT_QUEUE_LONELY, /* one end joined, waiting for the other */
	SLOT_QUEUE_ARM,    /* both joined, not armed: to be tried again */
	SLOT_QUEUE_CHECK,  /* a socket of it is being closed: is it gone? */
	SLOT_QUEUE_COUNT
};

struct slot_link {
	struct slot *next, *prev;
	uint64_t due_ns; /* 0: not in the queue */
	uint32_t tries;
};

#define SLOT_CLOSERS_MAX 32u /* of more at once the last may be told of others that are about to go */
#define SLOT_CLOSER_FDS_MAX 0x7fffu

struct slot {
	uint32_t index;
	struct sm_slot *shared;
	struct registry_end *end[SM_SIDES]; /* NULL: not joined (yet), or gone */
	struct ledger *ledger;              /* NULL: none */
	uint32_t ledger_cell;
	int8_t octet[SM_SIDES];        /* proof_accounts() of each end, to be confirmed when there are two */
	bool counts_syn[SM_SIDES];     /* the accounts are the kernel's (WIRE_JOIN_ALONE), with the SYN if E is one */
	bool settled[SM_SIDES];        /* proof_is_held_once() of each end, asked after its insertion */
	struct group *group[SM_SIDES]; /* whose accounts get what that side sends; NULL: none */
	struct sm_direction group_base[SM_SIDES];
	uint32_t trial, trial_arm; /* of the trial of that number; 0: none */
	struct sm_direction trial_base[SM_SIDES];
	uint32_t charged_uid;
	bool charged;
	bool adopted;
	/* Who were told that others hold the socket of that side, and close it (holders.c). */
	struct slot_closing {
		uint64_t at_ns;      /* the last of them */
		uint32_t generation; /* of the slot */
		uint32_t count;
		struct slot_closer {
			uint32_t session;     /* its id, the low half */
			uint16_t own : 15;    /* fds that it closes together */
			uint16_t is_gone : 1; /* it has closed them */
			uint16_t at_ms;       /* it was told, or seen to have closed */
		} told[SLOT_CLOSERS_MAX];
	} closing[SM_SIDES];
	struct paying_counts seen[SM_SIDES]; /* as the sweep last saw them */
	struct slot_link queued[SLOT_QUEUE_COUNT];
	struct slot *used_next, *used_prev;
};

struct slots *slots_new(struct helper *helper, struct sm_slot *shared, uint32_t count); /* NULL: out of memory */
void slots_free(struct slots *slots);

/* A free slot, charged to uid, with a fresh generation. NULL: none is left, or the user's limit is reached. It becomes
 * SM_SLOT_INSERTING. */
struct slot *slot_take(struct slots *slots, uint32_t uid);
/* Marks a slot as used that an earlier helper left. */
struct slot *slot_adopt(struct slots *slots, uint32_t index, uint32_t uid);
/* Neither socket is in the sockhash (or their verdicts have nothing to redirect any more): counters go to the totals, the
 * slot, its ledger cell and its quota are free again. */
void slot_release(struct slots *slots, struct slot *slot);
/* Adds one direction's counters. */
void slot_sums_add(struct sm_direction *sums, const struct sm_direction *one);
/* What it has redirected and passed since `then`, alone. */
void slot_sums_add_since(struct sm_direction *sums, const struct sm_direction *now, const struct sm_direction *then);

void slot_state_set(struct slot *slot, enum sm_slot_state state);
const char *slot_state_name(unsigned state);
const struct sm_slot *slot_shared_at(const struct slots *slots, uint32_t index); /* leaves an unused slot untouched */
struct slot *slot_at(struct slots *slots, uint32_t index);
uint32_t slots_used(const struct slots *slots);
uint32_t slots_adopted(const struct slots *slots); /* of those used */
uint32_t slots_count(const struct slots *slots);

/* The used slots, those used for the longest time first. */
struct slot *slots_first(const struct slots *slots);
/* Puts the first one last: a sweep's way round. */
void slots_rotate(struct slots *slots);

/* Queues. due_ns is on loop_now_ns()'s scale. A slot that stands in the queue already is moved. */
void slot_queue_add(struct slots *slots, struct slot *slot, enum slot_queue queue, uint64_t due_ns);
void slot_queue_remove(struct slots *slots, struct slot *slot, enum slot_queue queue);
/* The first slot of the queue; it is not taken out. */
struct slot *slot_queue_first(const struct slots *slots, enum slot_queue queue);

#endif
