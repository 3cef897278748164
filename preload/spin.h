/* SPDX-License-Identifier: BSD-2-Clause */
/* Waiting awake for what is known to be coming, before going to sleep: a wake-up of an idle CPU costs more than a message.
 *
 * These two need nobody's leave: they wait for a peer that is at work on this connection at this very moment, on another CPU,
 * and for some microseconds at the most. A connection on which that brought nothing does it less and less often.
 */
#ifndef SMACCEL_SPIN_H
#define SMACCEL_SPIN_H

#include <stdbool.h>
#include <stddef.h>

#include "conn.h"

/* The peer's wrapper is inside a send whose bytes are not here yet. True: the fd is readable now. */
bool spin_for_announced(struct conn *conn, struct ledger_cell *ledger, int fd);

/* The peer is reading what keeps this sender from sending on (ledger_should_pace). True: there is room now. */
bool spin_for_room(struct conn *conn, struct ledger_cell *ledger, size_t bytes);

#endif
