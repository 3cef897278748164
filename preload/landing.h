/* SPDX-License-Identifier: BSD-2-Clause */
/* What has passed the gate and is not in the queue yet of an end that is about to be closed. */
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

#endif
