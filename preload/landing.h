/* SPDX-License-Identifier: BSD-2-Clause */
/* What has passed the gate and is not in the queue yet: of an end that is about to be closed, or has been told of the end of the stream. */
#ifndef SMACCEL_LANDING_H
#define SMACCEL_LANDING_H

#include <stdbool.h>

#include "conn.h"

/* What tells that something is on its way. No pointer: nothing does. */
struct landing {
	struct ledger_half *peer;
	_Atomic uint64_t *received;
};

/* Before a question is asked of the helper: an end that a child has of its parent's has another cell afterwards. */
struct landing landing_find(struct conn *conn);

/* Waits for what is on its way, so that it finds an end that is open, or is seen. True if redirected bytes wait now. */
bool landing_waits(struct conn *conn, int fd, const struct landing *landing);

/* A receive has been told of the end of the stream. The peer has shut down while another of its threads was sending (turn.h keeps that apart, but
 * not sendfile, nor a sender that went on without the turn): what it had sent is here, or comes. True if it can be received now. Costs
 * nothing where everything announced has been read. */
bool landing_follows_end(struct conn *conn, int fd);

#endif
