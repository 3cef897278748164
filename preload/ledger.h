/* SPDX-License-Identifier: BSD-2-Clause */
/* Ledgers: memory shared with the process at the other end of a connection (memory.h says what is in it).
 *
 * What the peer writes there is a hint: a wrong value costs the liar's own connection speed, or the reader one more
 * MSG_DONTWAIT receive; every wait on it is bounded.
 */
#ifndef SMACCEL_LEDGER_H
#define SMACCEL_LEDGER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "conn.h"

/* Maps a ledger that the helper announced; consumes fd. Async-signal-safe. */
void ledger_add_consume(uint32_t id, int fd);
/* The cell, or NULL if that ledger has not been announced (or there was no room for it). */
struct ledger_cell *ledger_find(uint32_t id, uint32_t cell_index);

/* Stores this side's sums and makes the ledger the connection's accounts. The caller has made sure that no other
 * thread is inside a call on the connection. */
void ledger_attach(struct conn *conn, struct ledger_cell *cell, uint32_t side, uint32_t slot_generation);
/* Takes the sums back into the connection (it leaves, or is closed). */
void ledger_detach(struct conn *conn);

static inline struct ledger_half *ledger_own(const struct conn *conn, struct ledger_cell *cell)
{
	return &cell->half[conn->ledger_side];
}
static inline struct ledger_half *ledger_peer(const struct conn *conn, struct ledger_cell *cell)
{
	return &cell->half[!conn->ledger_side];
}

/* Bytes the peer has sent, or is about to, that this application has not read. Positive whenever something may be
 * behind a short read; INT64_MAX while the peer has not attached (unknown). */
int64_t ledger_unread_in(const struct conn *conn, struct ledger_cell *cell);

/* The application has read `bytes`: raises `consumed` and wakes a paced sender when enough room is there. */
void ledger_consumed(const struct conn *conn, struct ledger_cell *cell, uint64_t bytes);

/* Waits until less than LEDGER_PACE_BYTES are unread at the peer, at most LEDGER_PACE_STEPS * LEDGER_PACE_STEP_MS: for
 * senders on blocking fds. A reader that did not get there in that time is slow, and then TCP's buffers, larger than
 * what is paced to, are the better ones: no pacing until everything was read once. */
void ledger_pace(struct conn *conn, struct ledger_cell *cell, size_t bytes);
bool ledger_should_pace(struct conn *conn, struct ledger_cell *cell, size_t bytes);

/* What stays in flight before a blocking sender pauses: below the gate's bound (5 MiB), so that it never spills. Measured
 * with 64 KiB writes against 1 MiB: the same on one core (1.45 x TCP), 1.1 x on two. */
#define LEDGER_PACE_BYTES (4u << 20)
#define LEDGER_WAKE_BYTES (LEDGER_PACE_BYTES / 2)
#define LEDGER_PACE_STEP_MS 2
#define LEDGER_PACE_STEPS 2

#endif
