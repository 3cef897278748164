/* SPDX-License-Identifier: BSD-2-Clause */
/* Sending on a tracked connection: life steps before, pacing, the call, the accounts after.
 *
 * On an end with a ledger `sent` is raised before the call by all that it may send, so that the reader is never told
 * less than what its queues may hold, and lowered after it by what was not sent. A sender that would block anyway
 * pauses while much is unread (ledger_pace), and large blocking writes go out in pieces for the same reason.
 */
#include <errno.h>

#include "transfer_internal.h"

#define PIECE_BYTES (256u << 10)
#define PIECE_IOVECS 64

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

/* A large write on a blocking fd, paced piece by piece. */
static ssize_t send_pieces(struct conn *conn, const struct send_call *call, struct ledger_cell *ledger)
{
	const struct msghdr *message = call->message;
	struct iovec window[PIECE_IOVECS];
	size_t done = 0;

	while (done < call->bytes) {
		struct msghdr piece = { .msg_iov = window };

		piece.msg_iovlen = transfer_iov_window(message->msg_iov, message->msg_iovlen, done, PIECE_BYTES, window,
						       PIECE_IOVECS);
		size_t bytes = 0;
		for (size_t i = 0; i < piece.msg_iovlen; i++)
			bytes += window[i].iov_len;
		if (bytes == 0)
			break;
		ledger_pace(conn, ledger, bytes);
		announce(conn, ledger, bytes);
		ssize_t result = real_sendmsg(call->fd, &piece, call->flags);
		account(conn, ledger, bytes, result);
		if (result < 0)
			return done ? (ssize_t)done : -1;
		done += (size_t)result;
		if ((size_t)result < bytes)
			break;
	}
	return (ssize_t)done;
}

static ssize_t send_with_ledger(struct conn *conn, const struct send_call *call, struct ledger_cell *ledger)
{
	bool large = call->bytes > PIECE_BYTES;

	/* message NULL: sendfile, splice; `bytes` is then only an upper limit, and the file may be much shorter. */
	if (call->message && !(call->flags & (MSG_DONTWAIT | MSG_OOB)) &&
	    (large || ledger_should_pace(conn, ledger, call->bytes)) && !transfer_fd_nonblocking(call->fd)) {
		if (large && call->message->msg_controllen == 0)
			return send_pieces(conn, call, ledger);
		ledger_pace(conn, ledger, call->bytes);
	}
	announce(conn, ledger, call->bytes);
	ssize_t result = call->perform(call);
	account(conn, ledger, call->bytes, result);
	return result;
}

ssize_t transfer_send(struct conn *conn, const struct send_call *call)
{
	/* A second send in a row: this end may never come to a receive at which it could join. */
	if (__builtin_expect(lifecycle_due(conn), 0))
		lifecycle_step(conn, call->fd, !conn->last_was_receive);

	uint32_t previous = transfer_enter(conn);
	struct ledger_cell *ledger = atomic_load_explicit(&conn->ledger, memory_order_acquire);
	ssize_t result;

	if (ledger) {
		result = send_with_ledger(conn, call, ledger);
	} else {
		uint32_t generation = atomic_load_explicit(&conn->generation, memory_order_relaxed);
		result = call->perform(call);
		if (atomic_load_explicit(&conn->generation, memory_order_relaxed) == generation)
			account(conn, NULL, 0, result);
	}
	thread_leave(previous);
	return result;
}
