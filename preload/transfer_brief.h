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
	uint32_t previous;
	uint32_t generation;
};

/* True: the thread is marked as inside; the caller makes the call itself, through libc, and ends with one of the two below. */
static inline bool transfer_brief_begin(struct conn *conn, int fd, size_t bytes, int flags,
					struct transfer_brief *brief)
{
	if (conn_state(conn) != CONN_WATCHING || conn->turns >= conn->retry_at_turn || conn_is_joined(conn) ||
	    bytes == 0 || (flags & ~TRANSFER_BRIEF_FLAGS) || latency_is_on())
		return false;
	brief->generation = atomic_load_explicit(&conn->generation, memory_order_relaxed);
	brief->previous = thread_enter(conn->index);
	/* Only now: a join that began before has not seen the mark. */
	if (__builtin_expect(conn_state(conn) == CONN_WATCHING && transfer_fd_is(fd, conn, brief->generation), 1))
		return true;
	thread_leave(brief->previous);
	return false;
}

static inline bool transfer_brief_is_same(const struct conn *conn, const struct transfer_brief *brief)
{
	return atomic_load_explicit(&((struct conn *)conn)->generation, memory_order_relaxed) == brief->generation;
}

static inline ssize_t transfer_brief_received(struct conn *conn, const struct transfer_brief *brief, ssize_t result)
{
	if (result > 0 && transfer_brief_is_same(conn, brief)) {
		transfer_add(&conn->received, (size_t)result);
		transfer_count_received(conn, (size_t)result);
	}
	thread_leave(brief->previous);
	return result;
}

static inline ssize_t transfer_brief_sent(struct conn *conn, const struct transfer_brief *brief, ssize_t result)
{
	size_t sent = result > 0 ? (size_t)result : 0;

	if (transfer_brief_is_same(conn, brief)) {
		transfer_add(&conn->sent, sent);
		transfer_count_sent(conn, sent);
	}
	thread_leave(brief->previous);
	return result;
}

#endif
