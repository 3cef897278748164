/* SPDX-License-Identifier: BSD-2-Clause */
/* Ledgers: memory shared with the process at the other end of a connection (memory.h says what is in it).
 *
 * What the peer writes there is a hint: a wrong value costs the liar's own connection speed, or the reader one more
 * MSG_DONTWAIT receive; every wait on it is bounded.
 */
#ifndef SMACCEL_LEDGER_H
#define SMACCEL_LEDGER_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "conn.h"

/* Maps a ledger that the helper announced; consumes fd. Async-signal-safe. */
void ledger_add_consume(uint32_t id, int fd);
/* The cell, or NULL if that ledger has not been announced (or there was no room for it). */
struct ledger_cell *ledger_find(uint32_t id, uint32_t cell_index);

/* Whether the cell of a session still says that this is the connection's ledger. In a child, `inherited`: of the session of the process that
 * forked it (ledger_inherit). */
bool ledger_may_attach(const struct conn *conn, const struct memory_cell *cell, struct ledger_cell *ledger,
		       bool inherited);
/* Stores this side's sums (without the SYN: CELL_SIDE_SYN) and makes the ledger the connection's accounts. The caller has made sure that no other
 * thread is inside a call on the connection, and says whether the sums are all of it. */
void ledger_attach(struct conn *conn, struct ledger_cell *cell, uint32_t side, enum ledger_attached how);
/* What was sent past it while it was being attached. */
void ledger_add_late(struct conn *conn);
/* Takes the sums back into the connection (it leaves, or is closed). */
void ledger_detach(struct conn *conn);

/* A child has the connections of the process that forked it, and both add to the same half of a ledger, which stays exact. But only that
 * one is told when the pair leaves; its cell is another connection's one day, and what the child went on adding would make that one's
 * sums wrong: a short read that is not topped up, while bytes wait behind it. So the child says that it is there, in the ledger, and the
 * helper never gives such a cell to another. It says so when it first uses the connection (most children never do), and uses it
 * only if by then the parent's session still shows it armed: the helper shows there that a pair is taken out before it frees the cell.
 *
 * In the child, of each connection: */
void ledger_forked(struct conn *conn);
/* Before the first use of the ledger, or instead of it. */
void ledger_inherit(struct conn *conn);
/* The last fd of this process is closed: what the parent's half says goes on to be true. */
void ledger_close(struct conn *conn);

static inline struct ledger_half *ledger_own(const struct conn *conn, struct ledger_cell *cell)
{
	return &cell->half[conn->ledger_side];
}
static inline struct ledger_half *ledger_peer(const struct conn *conn, struct ledger_cell *cell)
{
	return &cell->half[!conn->ledger_side];
}

/* Bytes the peer has sent, or is about to, that this application has not read. Positive whenever something may be
 * behind a short read; INT64_MAX while it is not known: the peer has not attached, or its sums are inexact. */
int64_t ledger_unread_in(const struct conn *conn, struct ledger_cell *cell);

/* The peer has sent, or is about to, what this application has not read. False also while it is not known. */
static inline bool ledger_is_owed(const struct conn *conn, struct ledger_cell *cell)
{
	int64_t unread = ledger_unread_in(conn, cell);

	return unread > 0 && unread != INT64_MAX;
}

/* The application has read `bytes`: raises `consumed` and wakes a paced sender when enough room is there. Returns what it was before. */
uint64_t ledger_consumed(const struct conn *conn, struct ledger_cell *cell, uint64_t bytes);

/* This side is about to send, or to read: notes the CPU. */
static inline void ledger_note_cpu(_Atomic uint32_t *cpu)
{
	atomic_store_explicit(cpu, (uint32_t)sched_getcpu() + 1, memory_order_relaxed);
}
/* This side is about to send so many bytes at the most. */
static inline void ledger_announce(const struct conn *conn, struct ledger_cell *cell, uint64_t bytes)
{
	struct ledger_half *own = ledger_own(conn, cell);

	ledger_note_cpu(&own->send_cpu);
	atomic_fetch_add_explicit(&own->sent, bytes, memory_order_release);
}
/* FIN. What TCP says of a reset is another error behind one. */
static inline void ledger_end(const struct conn *conn, struct ledger_cell *cell)
{
	atomic_store(&ledger_own(conn, cell)->ended, 1);
}
static inline bool ledger_has_ended(const struct conn *conn, struct ledger_cell *cell)
{
	return atomic_load(&ledger_peer(conn, cell)->ended) != 0;
}
static inline bool ledger_cpu_is_own(_Atomic uint32_t *cpu)
{
	return atomic_load_explicit(cpu, memory_order_relaxed) == (uint32_t)sched_getcpu() + 1;
}
/* A cpu noted by the peer is known, and another than the caller's. */
static inline bool ledger_cpu_is_other(_Atomic uint32_t *cpu)
{
	uint32_t noted = atomic_load_explicit(cpu, memory_order_relaxed);

	return noted != 0 && noted != (uint32_t)sched_getcpu() + 1;
}

/* Waits until there is room again (ledger_should_pace), at most LEDGER_PACE_STEPS * LEDGER_PACE_STEP_MS: for
 * senders on blocking fds. A reader that did not get there in that time is slow, and then TCP's buffers, larger than
 * what is paced to, are the better ones: no pacing until everything was read once. */
void ledger_pace(struct conn *conn, struct ledger_cell *cell, size_t bytes);

/* What stays in flight before a blocking sender pauses: below the gate's bound, so that it never spills, and in the caches. Two
 * messages at least: with one, writer and reader take turns, and each waits for the other's wake-up (writes of 256 KiB on two CPUs
 * at a limit of 256 KiB: 0.75 to 1.06 x TCP, at 512 KiB 3.1 x).
 * Measured on a CPU with 1 MiB of L2 each. On one CPU each pause is two context switches: 256 KiB give 1.3 x TCP, 1 MiB
 * 1.7 x, more no more. */
#define LEDGER_PACE_APART_BYTES (512u << 10)
#define LEDGER_PACE_BYTES (1u << 20)
#define LEDGER_PACE_MAX_BYTES (2u << 20)
#define LEDGER_PACE_STEP_MS 2
#define LEDGER_PACE_STEPS 2

/* More than the limit would be in flight with so many bytes. The peer's account is looked at only if it may be so: it is in the cache of
 * another CPU. */
bool ledger_is_full(struct conn *conn, struct ledger_cell *cell, size_t bytes);
static inline bool ledger_should_pace(struct conn *conn, struct ledger_cell *cell, size_t bytes)
{
	struct ledger_half *own = ledger_own(conn, cell);
	uint64_t after = atomic_load_explicit(&own->sent, memory_order_relaxed) + bytes;

	if (__builtin_expect(after <= atomic_load_explicit(&own->room_until, memory_order_relaxed), 1) &&
	    !conn->pacing_off)
		return false;
	return ledger_is_full(conn, cell, bytes);
}

#endif
