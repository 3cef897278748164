/* SPDX-License-Identifier: BSD-2-Clause */
/* The short way of a call: what transfer_receive() and transfer_send() do for a connection with which nothing is unusual, before
 * the call and after it, in the wrapper. Where something is unusual before it, the wrapper takes the long way, through
 * them; where something was after it, they take over in the middle. Each function less that the call returns through is
 * worth it: direct.h.
 */
#ifndef SMACCEL_TRANSFER_SHORT_H
#define SMACCEL_TRANSFER_SHORT_H

#include <errno.h>

#include "config.h"
#include "direct.h"
#include "reader.h"
#include "spin.h"
#include "transfer_internal.h"
#include "turn.h"
#include "window.h"

/* Flags of recv and send that change nothing about how a call is counted. */
#define TRANSFER_SHORT_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL)

/* In place, so that `way` stays in registers: who goes on with a call gets a copy, whose address may be told. */
#define SHORT_INLINE static inline __attribute__((always_inline))

struct transfer_short {
	struct thread_slot *slot; /* NULL: not marked */
	uint32_t generation;
	struct ledger_cell *ledger; /* NULL: not armed */
	struct memory_cell *cell;   /* of an end that is or was in the sockhash: this thread is its reader */
	struct turn turn;           /* of a send */
	int no_signal; /* of a send on such an end: MSG_NOSIGNAL, for SIGPIPE is raised here (transfer_send.c); or 0 */
	struct receive_wait wait; /* likewise */
	int saved_errno; /* of either, on such an end: a call that succeeds in several steps leaves errno alone */
};

/* The shortest way, of an end that is plain TCP's (again), in a process with one thread: the call, and what admission learns from it, in
 * some forty instructions that lie in a row. After a system call each line of code that lies apart is fetched anew. */
SHORT_INLINE bool transfer_short_is_watched(const struct conn *conn, size_t bytes, int flags)
{
	if (!conn)
		return false;
	uint32_t state = conn_state(conn);
	return (state == CONN_WATCHING || state == CONN_LEFT) && conn->turns < conn->retry_at_turn && bytes &&
	       !(flags & ~TRANSFER_SHORT_FLAGS) && !conn_is_joined(conn) && direct_is_allowed() && !latency_is_on();
}

static inline bool transfer_short_is_of(const struct conn *conn, uint32_t generation)
{
	return atomic_load_explicit(&((struct conn *)conn)->generation, memory_order_relaxed) == generation;
}
static inline bool transfer_short_is_same(const struct conn *conn, const struct transfer_short *way)
{
	return transfer_short_is_of(conn, way->generation);
}

/* Marks the thread as inside. Not one without a slot, nor a signal handler that interrupted another call: so there is nothing
 * to put back. */
SHORT_INLINE bool transfer_short_mark(struct conn *conn, int fd, uint32_t state, struct transfer_short *way)
{
	struct thread_slot *slot = thread_self;

	if (!slot || atomic_load_explicit(&slot->inside, memory_order_relaxed) != 0)
		return false;
	thread_mark(slot, conn->index);
	/* Only now: a join that began before has not seen the mark. */
	if (__builtin_expect(conn_state(conn) == state && conn_get(fd) == conn, 1)) {
		way->slot = slot;
		return true;
	}
	thread_mark_end(slot, 0);
	return false;
}

SHORT_INLINE void transfer_short_end(const struct transfer_short *way)
{
	if (__builtin_expect(way->slot != NULL, 0))
		thread_mark_end(way->slot, 0);
}

/* False: something is to be done first, or the state is one of those that need care. The only thread of a process needs no mark:
 * nobody looks for it. */
SHORT_INLINE bool transfer_short_enter(struct conn *conn, int fd, size_t bytes, int flags, struct transfer_short *way)
{
	uint32_t state = conn_state(conn);

	if (lifecycle_due(conn) || bytes == 0 || (flags & ~TRANSFER_SHORT_FLAGS) != 0 || latency_is_on())
		return false;
	way->slot = NULL;
	way->ledger = NULL;
	way->generation = atomic_load_explicit(&conn->generation, memory_order_relaxed);
	if (__builtin_expect(state != CONN_WATCHING, 0)) {
		if (state == CONN_ARMED)
			way->ledger = atomic_load_explicit(&conn->ledger, memory_order_acquire);
		if (state != CONN_OFFERED && state != CONN_LEFT && !way->ledger)
			return false;
	}
	if (__builtin_expect(!libc_single_threaded(), 0))
		return transfer_short_mark(conn, fd, state, way);
	return true;
}

/* How often a receive has looked in vain whether bytes are announced until only some look. The line that the peer writes with each send
 * comes from its CPU for a look, and its next send has to fetch it back: 1 to 2 % of a round trip of 64 B on two cores. */
#define LOOKS_IN_VAIN 8u
#define LOOKS_THEN_EVERY 8u

/* Bytes are on their way from another CPU, which are waited for awake (spin.h). */
SHORT_INLINE bool transfer_short_is_owed(struct conn *conn, struct ledger_cell *ledger)
{
	uint8_t looks = conn->looks_in_vain++; /* once in 256 anew */

	if ((looks >= LOOKS_IN_VAIN && looks % LOOKS_THEN_EVERY) ||
	    !ledger_cpu_is_other(&ledger_peer(conn, ledger)->send_cpu) || !ledger_is_owed(conn, ledger))
		return false;
	conn->looks_in_vain = 0;
	return true;
}

/* Makes the thread the reader of an end that is or was in the sockhash. */
SHORT_INLINE bool transfer_short_claim(struct conn *conn, int flags, struct transfer_short *way)
{
	struct memory_cell *cell = conn_cell(conn);

	if (!cell || config.spin_ns)
		return false;
	if (way->ledger && transfer_short_is_owed(conn, way->ledger) && spin_may_help(conn, flags))
		return false;
	if (!reader_claim(cell))
		return false;
	way->cell = cell;
	way->saved_errno = errno;
	way->wait = conn_has_option(conn, CONN_TIMES_OUT) ? receive_wait_begin(conn) : receive_wait_begin_unbounded();
	return true;
}

/* True: the caller makes the call itself (direct.h); then transfer_short_received(). */
SHORT_INLINE bool transfer_short_receive(struct conn *conn, int fd, size_t bytes, int flags, struct transfer_short *way)
{
	if (!transfer_short_enter(conn, fd, bytes, flags, way))
		return false;
	way->cell = NULL;
	if (__builtin_expect(!conn_is_joined(conn), 1) || transfer_short_claim(conn, flags, way))
		return true;
	transfer_short_end(way);
	return false;
}

/* False: transfer_short_receive_rest() goes on. */
SHORT_INLINE bool transfer_short_received(struct conn *conn, int fd, size_t bytes, const struct transfer_short *way,
					  ssize_t result)
{
	bool has_bytes = __builtin_expect(result > 0, 1) && __builtin_expect(transfer_short_is_same(conn, way), 1);

	/* The most frequent case first, and in one piece: what lies apart is fetched anew after each system call. */
	if (__builtin_expect(has_bytes, 1) && __builtin_expect(!way->cell, 1) && __builtin_expect(!way->ledger, 1)) {
		transfer_add(&conn->received, (size_t)result);
		transfer_count_received(conn, (size_t)result);
		transfer_short_end(way);
		return true;
	}
	if (way->cell) {
		/* Still the reader: what lies behind these bytes must not be another's. */
		if (has_bytes && way->ledger && (size_t)result < bytes && !quiet_is_on() &&
		    ledger_unread_in(conn, way->ledger) != result)
			return false;
		reader_release(way->cell);
		if (!has_bytes || quiet_is_on())
			return false;
	}
	if (way->ledger) {
		if ((size_t)result < bytes && ledger_unread_in(conn, way->ledger) != result)
			return false;
		if (window_look_is_due(ledger_consumed(conn, way->ledger, (uint64_t)result), (uint64_t)result))
			window_look(conn, fd);
	} else if (has_bytes) {
		transfer_add(&conn->received, (size_t)result);
	}
	if (has_bytes)
		transfer_count_received(conn, (size_t)result);
	transfer_short_end(way);
	return true;
}

ssize_t transfer_short_receive_rest(struct conn *conn, const struct receive_call *call, struct transfer_short *way,
				    ssize_t result);

/* True: the caller makes the call itself (direct.h), with `no_signal` among the flags; then transfer_short_sent(). */
SHORT_INLINE bool transfer_short_send(struct conn *conn, int fd, size_t bytes, int flags, struct transfer_short *way)
{
	if (!transfer_short_enter(conn, fd, bytes, flags, way))
		return false;
	way->no_signal = 0;
	way->turn.word = NULL;
	way->turn.own = NULL;
	if (__builtin_expect(!conn_is_joined(conn), 1))
		return true;
	way->no_signal = MSG_NOSIGNAL;
	way->saved_errno = errno;
	/* An end that has left sends by TCP, which leaves an error to the next call by itself. */
	if ((bytes >= TRANSFER_CUT_SHORT_BYTES && conn_state(conn) != CONN_LEFT) ||
	    atomic_load_explicit(&conn->owed_error, memory_order_relaxed) ||
	    (way->ledger && !(flags & MSG_DONTWAIT) && ledger_should_pace(conn, way->ledger, bytes))) {
		transfer_short_end(way);
		return false;
	}
	if (way->ledger) {
		if (!turn_begin(conn, way->ledger, &way->turn)) {
			transfer_short_end(way);
			return false;
		}
		ledger_announce(conn, way->ledger, bytes);
	}
	return true;
}

/* False: transfer_short_send_rest() goes on. */
SHORT_INLINE bool transfer_short_sent(struct conn *conn, size_t bytes, const struct transfer_short *way, ssize_t result)
{
	turn_end(&way->turn);
	if (__builtin_expect(result != (ssize_t)bytes, 0))
		return false;
	if (__builtin_expect(!way->ledger, 1)) {
		if (__builtin_expect(!transfer_short_is_same(conn, way), 0))
			goto out;
		transfer_add(&conn->sent, bytes);
	}
	transfer_count_sent(conn, bytes);
out:
	transfer_short_end(way);
	return true;
}

ssize_t transfer_short_send_rest(struct conn *conn, const struct send_call *call, struct transfer_short *way,
				 ssize_t result);

#endif
