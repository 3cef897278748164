/* SPDX-License-Identifier: BSD-2-Clause */
/* The short way of a call on a connection that is only watched and has nothing else to do: marked, made, counted, all in the
 * wrapper. What is here is what transfer_receive() and transfer_send() do for such a connection, step by step; whoever needs
 * more than that takes the way through them. It halves what a watched connection costs.
 */
#ifndef SMACCEL_TRANSFER_BRIEF_H
#define SMACCEL_TRANSFER_BRIEF_H

#include "latency.h"
#include "transfer_internal.h"

/* Flags of recv and send that change nothing about how a call is counted. */
#define TRANSFER_BRIEF_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL)

struct transfer_brief {
	struct thread_slot *slot; /* NULL: not marked */
	uint32_t generation;
};

static inline bool transfer_brief_is_same(const struct conn *conn, const struct transfer_brief *brief)
{
	return atomic_load_explicit(&((struct conn *)conn)->generation, memory_order_relaxed) == brief->generation;
}

/* Marks the thread as inside. Not one without a slot, nor a signal handler that interrupted another call: so there is nothing
 * to put back. */
static inline bool transfer_brief_mark(struct conn *conn, int fd, struct transfer_brief *brief)
{
	struct thread_slot *slot = thread_self;

	if (!slot || atomic_load_explicit(&slot->inside, memory_order_relaxed) != 0)
		return false;
	thread_mark(slot, conn->index);
	/* Only now: a join that began before has not seen the mark. */
	if (__builtin_expect(conn_state(conn) == CONN_WATCHING && conn_get(fd) == conn, 1)) {
		brief->slot = slot;
		return true;
	}
	thread_mark_end(slot, 0);
	return false;
}

/* True: the caller makes the call itself, through libc, and ends with one of the two below. The only thread of a process needs no
 * mark: nobody looks for it. */
static inline __attribute__((always_inline)) bool transfer_brief_begin(struct conn *conn, int fd, size_t bytes,
								       int flags, struct transfer_brief *brief)
{
	if (conn->turns >= conn->retry_at_turn || conn_is_joined(conn) || bytes == 0 ||
	    (flags & ~TRANSFER_BRIEF_FLAGS) != 0 || latency_is_on())
		return false;
	brief->slot = NULL;
	brief->generation = atomic_load_explicit(&conn->generation, memory_order_relaxed);
	if (libc_single_threaded())
		return conn_state(conn) == CONN_WATCHING;
	return transfer_brief_mark(conn, fd, brief);
}

static inline void transfer_brief_end(const struct transfer_brief *brief)
{
	if (__builtin_expect(brief->slot != NULL, 0))
		thread_mark_end(brief->slot, 0);
}

static inline ssize_t transfer_brief_received(struct conn *conn, const struct transfer_brief *brief, ssize_t result)
{
	if (__builtin_expect(result > 0 && transfer_brief_is_same(conn, brief), 1)) {
		transfer_add(&conn->received, (size_t)result);
		transfer_count_received(conn, (size_t)result);
	}
	transfer_brief_end(brief);
	return result;
}

static inline ssize_t transfer_brief_sent(struct conn *conn, const struct transfer_brief *brief, ssize_t result)
{
	size_t sent = result > 0 ? (size_t)result : 0;

	if (__builtin_expect(transfer_brief_is_same(conn, brief), 1)) {
		transfer_add(&conn->sent, sent);
		transfer_count_sent(conn, sent);
	}
	transfer_brief_end(brief);
	return result;
}

#endif
