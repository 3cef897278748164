/* SPDX-License-Identifier: BSD-2-Clause */
/* Sending on a tracked connection: life steps before, pacing, the call, the accounts after.
 *
 * On an end with a ledger `sent` is raised before the call by all that it may send, so that the reader is never told
 * less than what its queues may hold, and lowered after it by what was not sent. A sender that would block anyway
 * pauses while much is unread (ledger_pace).
 */
#include <errno.h>

#include "transfer_internal.h"

static void account(struct conn *conn, struct ledger_cell *ledger, size_t announced, ssize_t result)
{
	size_t sent = result > 0 ? (size_t)result : 0;

	if (ledger) {
		if (sent != announced)
			atomic_fetch_sub(&ledger_own(conn, ledger)->sent, announced - sent);
	} else {
		atomic_fetch_add_explicit(&conn->sent, sent, memory_order_relaxed);
	}
	if (conn->last_was_receive || sent >= TRANSFER_LARGE_BYTES)
		conn->turns++;
	conn->last_was_receive = 0;
}

static inline void announce(struct conn *conn, struct ledger_cell *ledger, size_t bytes)
{
	atomic_fetch_add_explicit(&ledger_own(conn, ledger)->sent, bytes, memory_order_release);
}

static ssize_t send_with_ledger(struct conn *conn, const struct send_call *call, struct ledger_cell *ledger,
				uint32_t generation)
{
	/* message NULL: sendfile, splice; `bytes` is then only an upper limit, and the file may be much shorter. The call
	 * itself is never cut in pieces: between two system calls the number can become another file's. */
	if (call->message && !(call->flags & (MSG_DONTWAIT | MSG_OOB)) &&
	    ledger_should_pace(conn, ledger, call->bytes) && !transfer_fd_nonblocking(call->fd)) {
		ledger_pace(conn, ledger, call->bytes);
		if (!transfer_fd_is(call->fd, conn, generation)) {
			errno = EBADF;
			return -1;
		}
	}
	ledger_note_cpu(&ledger_own(conn, ledger)->send_cpu);
	announce(conn, ledger, call->bytes);
	ssize_t result = call->perform(call);
	account(conn, ledger, call->bytes, result);
	return result;
}

ssize_t transfer_send(struct conn *conn, const struct send_call *call)
{
	uint32_t generation = atomic_load_explicit(&conn->generation, memory_order_relaxed);

	/* A second send in a row: this end may never come to a receive at which it could join. */
	if (__builtin_expect(lifecycle_due(conn), 0))
		lifecycle_step(conn, call->fd, !conn->last_was_receive);

	uint32_t previous = transfer_enter(conn);
	struct ledger_cell *ledger = atomic_load_explicit(&conn->ledger, memory_order_acquire);
	struct latency_send latency = latency_send_begin(conn);
	ssize_t result = -1;

	if (!transfer_fd_is(call->fd, conn, generation)) {
		errno = EBADF; /* closed by another thread in the meantime */
	} else if (ledger) {
		result = send_with_ledger(conn, call, ledger, generation);
	} else {
		result = call->perform(call);
		if (atomic_load_explicit(&conn->generation, memory_order_relaxed) == generation)
			account(conn, NULL, 0, result);
	}
	latency_send_end(conn, call->fd, &latency, result);
	thread_leave(previous);
	/* A joined end says 0 where TCP says EFAULT: nothing could be copied from the buffer. */
	if (result == 0 && call->bytes > 0 && call->message && conn_is_joined(conn)) {
		errno = EFAULT;
		return -1;
	}
	return result;
}
