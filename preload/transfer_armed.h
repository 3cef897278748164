/* SPDX-License-Identifier: BSD-2-Clause */
/* The short way of a call on an armed connection: what transfer_receive() and transfer_send() do for it when nothing is
 * unusual, before the call and after it, in the wrapper. What was unusual after all is for the functions of the long way, which
 * take over in the middle. Each function less that the call returns through is worth it: direct.h.
 */
#ifndef SMACCEL_TRANSFER_ARMED_H
#define SMACCEL_TRANSFER_ARMED_H

#include "config.h"
#include "reader.h"
#include "transfer_brief.h"

struct transfer_armed {
	struct transfer_brief brief;
	struct ledger_cell *ledger;
	struct memory_cell *cell; /* claimed */
	struct receive_wait wait;
};

/* An armed end with nothing to do before the call: the thread is marked now, if it needs to be. */
static inline bool transfer_armed_begin(struct conn *conn, int fd, size_t bytes, int flags,
					struct transfer_armed *armed)
{
	if (conn_state(conn) != CONN_ARMED || bytes == 0 || (flags & ~TRANSFER_BRIEF_FLAGS) != 0 || latency_is_on() ||
	    lifecycle_due(conn))
		return false;
	armed->ledger = atomic_load_explicit(&conn->ledger, memory_order_acquire);
	return armed->ledger && transfer_brief_enter(conn, fd, CONN_ARMED, &armed->brief);
}

static inline void transfer_armed_end(const struct transfer_armed *armed)
{
	transfer_brief_end(&armed->brief);
}

/* True: the caller makes the call itself; then transfer_armed_received(). */
static inline bool transfer_armed_receive_begin(struct conn *conn, int fd, size_t bytes, int flags,
						struct transfer_armed *armed)
{
	struct memory_cell *cell = atomic_load_explicit(&conn->cell, memory_order_acquire);

	if (!cell || config.spin_ns || !transfer_armed_begin(conn, fd, bytes, flags, armed))
		return false;
	/* Bytes that are on their way from another CPU are waited for awake (spin.h). */
	if (ledger_cpu_is_other(&ledger_peer(conn, armed->ledger)->send_cpu) && ledger_is_owed(conn, armed->ledger)) {
		transfer_armed_end(armed);
		return false;
	}
	if (!reader_claim(cell)) {
		transfer_armed_end(armed);
		return false;
	}
	armed->cell = cell;
	armed->wait = receive_wait_begin();
	return true;
}

/* False: transfer_armed_receive_rest() goes on. */
static inline bool transfer_armed_received(struct conn *conn, size_t bytes, const struct transfer_armed *armed,
					   ssize_t result)
{
	reader_release(armed->cell);
	if (__builtin_expect(result <= 0 || quiet_is_on() || !transfer_brief_is_same(conn, &armed->brief) ||
				     ((size_t)result < bytes && ledger_unread_in(conn, armed->ledger) != result),
			     0))
		return false;
	ledger_consumed(conn, armed->ledger, (uint64_t)result);
	transfer_count_received(conn, (size_t)result);
	transfer_armed_end(armed);
	return true;
}

ssize_t transfer_armed_receive_rest(struct conn *conn, const struct receive_call *call, struct transfer_armed *armed,
				    ssize_t result);

/* True: the caller makes the call itself; then transfer_armed_sent(). */
static inline bool transfer_armed_send_begin(struct conn *conn, int fd, size_t bytes, int flags,
					     struct transfer_armed *armed)
{
	if (bytes >= TRANSFER_CUT_SHORT_BYTES || !transfer_armed_begin(conn, fd, bytes, flags, armed))
		return false;
	if (atomic_load_explicit(&conn->owed_error, memory_order_relaxed) ||
	    (!(flags & MSG_DONTWAIT) && ledger_should_pace(conn, armed->ledger, bytes))) {
		transfer_armed_end(armed);
		return false;
	}
	ledger_announce(conn, armed->ledger, bytes);
	return true;
}

/* False: transfer_armed_send_rest() goes on. */
static inline bool transfer_armed_sent(struct conn *conn, size_t bytes, const struct transfer_armed *armed,
				       ssize_t result)
{
	if (__builtin_expect(result != (ssize_t)bytes, 0))
		return false;
	transfer_count_sent(conn, bytes);
	transfer_armed_end(armed);
	return true;
}

ssize_t transfer_armed_send_rest(struct conn *conn, int fd, size_t bytes, struct transfer_armed *armed, ssize_t result);

#endif
