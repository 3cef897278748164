/* SPDX-License-Identifier: BSD-2-Clause */
/* One JOIN on its way: join.c, join_checks.c. */
#ifndef SMACCEL_HELPER_JOIN_INTERNAL_H
#define SMACCEL_HELPER_JOIN_INTERNAL_H

#include "pairing_internal.h"

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

/* Facts anew. False: the socket is gone. */
bool join_ask_again(struct join *join);
/* Whether a call holds the socket's lock. */
bool join_is_locked(struct join *join);
/* Is anybody in a call that must not be, does anybody else have it, and do the accounts add up? map_refs: PROOF_REFS_... */
enum sm_reason join_check_calls(struct join *join, uint32_t map_refs);
/* All that is asked before anything is done; fills in look, cookie and key. */
enum sm_reason join_check_before(struct join *join);

#endif
