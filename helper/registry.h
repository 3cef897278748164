/* SPDX-License-Identifier: BSD-2-Clause */
/* The registry: which ends of connections are known, by name (namespace and addresses), by cookie, by session and cell.
 *
 * Pure: no I/O, so that it is tested without root. It decides nothing: who is whose peer, who is gone, who may join is
 * pairing's business.
 */
#ifndef SMACCEL_HELPER_REGISTRY_H
#define SMACCEL_HELPER_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hash.h"
#include "wire/protocol.h"

/* The name of an end. All bytes count: `reserved` must be zero. netns_cookie 0: the addresses are the same in every
 * namespace (policy_are_peers()). Of an offer it is a claim, of a joined end it came from
 * the kernel. */
struct registry_key {
	uint64_t netns_cookie;
	struct wire_endpoint local;
	struct wire_endpoint remote;
};
_Static_assert(sizeof(struct registry_key) == 48, "hashed and compared as bytes: no padding");

/* END_OFFERED: a claim; may be matched, holds no slot, has session and cell.
 * END_JOINED: its socket is (or was until just now) in the sockhash; has a slot and a side, and its cookie is indexed. It may
 * have no session any more: the process ended, or an earlier helper joined it. */
enum end_state {
	END_OFFERED,
	END_JOINED,
};

struct registry_owner {
	uint64_t session_id; /* 0: nobody */
	uint32_t cell;
};
_Static_assert(offsetof(struct registry_owner, cell) == sizeof(uint64_t), "hashed without the padding at its end");

struct registry_name;

struct registry_end {
	struct registry_key key;
	uint64_t cookie;       /* END_JOINED: the kernel's */
	uint64_t netns_cookie; /* END_JOINED: the kernel's, also where its name has none */
	struct registry_owner owner;
	uint32_t generation; /* of the owner's cell */
	enum end_state state;
	uint32_t uid, pid;
	uint32_t slot, side;         /* END_JOINED */
	uint8_t arm;                 /* enum latency_arm, of the trial of that number */
	uint32_t trial, trial_armed; /* and in which it was armed */
	uint8_t lonely_times;        /* how often it was taken out because no peer came */
	bool is_shared;              /* it offers, but its last join was refused because others have its socket */
	bool charged;                /* policy: POLICY_OFFERS */
	int lost;                    /* an index had no memory for it */
	struct registry_name *name;
	struct registry_end *name_next, *name_prev;       /* ends of the same name */
	struct registry_end *session_next, *session_prev; /* ends of the same session */
	UT_hash_handle hh_cookie;
	UT_hash_handle hh_owner;
};

struct registry;

/* NULL: out of memory. `seed` is random: clients choose the names they claim, and must not be able to make them collide. It
 * is shared by all registries of the process, and only the first one's counts. */
struct registry *registry_new(const uint64_t seed[2]);
void registry_free(struct registry *registry);

/* Adds an offered end. *session_ends is the head of its session's list. NULL: out of memory. The caller has made sure
 * that the owner has no end yet. Owner 0 (nobody) is fine: then it is found by key and cookie only. */
struct registry_end *registry_add(struct registry *registry, const struct registry_key *key,
				  struct registry_owner owner, struct registry_end **session_ends);
/* Takes the end out of all indexes and frees it. */
void registry_remove(struct registry *registry, struct registry_end *end, struct registry_end **session_ends);
/* The owner is gone, the end stays. */
void registry_disown(struct registry *registry, struct registry_end *end, struct registry_end **session_ends);

/* Gives an offered end another name. 0 or -ENOMEM (then it keeps the old one). */
int registry_rename(struct registry *registry, struct registry_end *end, const struct registry_key *key);
/* END_OFFERED -> END_JOINED. 0, -ENOMEM, or -EEXIST when the cookie has joined already. */
int registry_join(struct registry *registry, struct registry_end *end, uint64_t cookie, uint32_t slot, uint32_t side);
/* END_JOINED -> END_OFFERED. */
void registry_unjoin(struct registry *registry, struct registry_end *end);

struct registry_end *registry_find_owner(const struct registry *registry, struct registry_owner owner);
struct registry_end *registry_find_cookie(const struct registry *registry, uint64_t cookie); /* joined ends only */
struct registry_end *registry_find_joined(const struct registry *registry, const struct registry_key *key);
/* The first of the ends of that name; the others by name_next. */
struct registry_end *registry_first(const struct registry *registry, const struct registry_key *key);
/* Calls visit for each end of the peer's name. visit must not add or remove ends. */
void registry_each_peer(const struct registry *registry, const struct registry_key *key,
			void (*visit)(struct registry_end *peer, void *context), void *context);
size_t registry_count(const struct registry *registry);

/* The name of the other end. */
struct registry_key registry_key_mirror(const struct registry_key *key);
/* A connection whose two ends have one name is connected to itself. */
bool registry_key_is_own_mirror(const struct registry_key *key);

#endif
