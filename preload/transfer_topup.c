/* SPDX-License-Identifier: BSD-2-Clause */
/* What may wait behind a short read of an end in the sockhash (fact 2): a receive that does not wait, and topping up. */
#include <errno.h>
#include <pthread.h>

#include "endpoint.h"
#include "lifecycle_internal.h"
#include "queue.h"
#include "reader.h"
#include "transfer_internal.h"

#define TOP_UPS_MAX (2 * TRANSFER_WINDOWS)

ssize_t transfer_receive_now(const struct receive_call *call, size_t done)
{
	int flags = (call->flags & ~MSG_WAITALL) | MSG_DONTWAIT;
	struct iovec window[TRANSFER_WINDOW_IOVECS];
	struct msghdr rest = { .msg_iov = window };

	if (call->now)
		return call->now(call, done);
	if (done == 0)
		return real_recvmsg(call->fd, call->message, flags);
	rest.msg_iovlen = transfer_iov_window(call->message->msg_iov, call->message->msg_iovlen, done, SIZE_MAX, window,
					      TRANSFER_WINDOW_IOVECS);
	return rest.msg_iovlen ? real_recvmsg(call->fd, &rest, flags) : 0;
}

/* Nobody claims from then on: not in the middle of another's receive, which may be topped up. */
static void let_go_as_reader(struct conn *conn)
{
	struct memory_cell *cell = conn_cell(conn);
	bool is_reader = reader_is_self(cell);

	if (!cell || is_reader || reader_claim(cell))
		lifecycle_let_go(conn);
	if (cell && !is_reader)
		reader_release(cell);
}

void transfer_let_go(struct conn *conn, int fd)
{
	int saved = errno;

	if (atomic_load_explicit(&conn->adopted, memory_order_relaxed) && conn_state(conn) == CONN_PINNED &&
	    !queue_may_be_joined(fd))
		let_go_as_reader(conn);
	errno = saved;
}

/* Not another file at the number of a connection that was closed where no wrapper saw it: one message would be taken for two. */
static bool is_of(const struct conn *conn, const struct receive_call *call)
{
	return call->held || !conn->cookie || endpoint_cookie(call->fd) == conn->cookie;
}

/* Else what is behind is another reader's. Kept, or one that has waited for long takes it between this look and the receive. */
static bool keep_for_more(struct memory_cell *cell, bool is_reader)
{
	return !reader_was_seized(cell) && (is_reader || reader_claim(cell)) && reader_keep(cell);
}

/* One receive more. Nobody puts another file there between the look and the call. False: there is none to be made. */
static bool take_more(const struct conn *conn, const struct receive_call *call, const struct held *held,
		      struct memory_cell *cell, bool is_reader, size_t done, ssize_t *result_out)
{
	int cancel_state;

	held_calling(held, HELD_CALL_BRIEF);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state); /* nobody else may end what is kept */
	bool goes = held_file(held) == call->fd && is_of(conn, call) && !transfer_must_end(call->fd) &&
		    (!cell || keep_for_more(cell, is_reader));
	if (goes)
		*result_out = transfer_receive_now(call, done);
	if (goes && cell)
		reader_keep_end(cell);
	if (goes && cell && !is_reader)
		reader_release(cell);
	pthread_setcancelstate(cancel_state, NULL);
	held_calling(held, HELD_CALL_OVER);
	return goes;
}

/* Passed bytes may wait behind the redirected ones of a short read (fact 2). The ledger spares a look when it says that
 * these bytes are all; less than that it says when the peer sends past its wrappers. */
static ssize_t take_rest(struct conn *conn, const struct receive_call *call, struct ledger_cell *ledger,
			 struct memory_cell *cell, bool is_reader, size_t done)
{
	uint32_t generation = atomic_load(&conn->generation);
	int saved = errno;

	for (int i = 0; i < TOP_UPS_MAX && done < call->bytes && !quiet_is_on(); i++) {
		if (ledger && atomic_load(&conn->ledger) == ledger && ledger_unread_in(conn, ledger) == (int64_t)done)
			break;
		struct held own = call->held ? (struct held){ .conn = NULL } : held_begin(conn, call->fd, generation);
		ssize_t more = -1;
		bool goes = take_more(conn, call, call->held ? call->held : &own, cell, is_reader, done, &more);
		if (own.conn)
			held_end(&own);
		if (!goes)
			break;
		if (more < 0 && !call->held) {
			transfer_owe_error(conn, errno); /* likewise */
			transfer_let_go(conn, call->fd);
		}
		if (more <= 0)
			break;
		done += (size_t)more;
	}
	errno = saved;
	return (ssize_t)done;
}

/* Who else receives asks for the same claim. Not in a join that may come to nothing yet, because one is inside that has not; nor if this
 * process has taken another cell meanwhile (leave.c), or lost it. */
static bool others_claim(const struct conn *conn, const struct memory_cell *cell)
{
	return atomic_load(&((struct conn *)conn)->touched) == CONN_TOUCHED && (!cell || cell == conn_cell(conn));
}

ssize_t transfer_top_up(struct conn *conn, const struct receive_call *call, struct ledger_cell *ledger,
			struct memory_cell *cell, bool was_joined, size_t done)
{
	bool is_wanted = was_joined || call->held || lifecycle_may_be_redirected_to(conn);
	bool is_reader = reader_is_self(cell);

	/* A session has ended while it slept: it may have become the reader in the cell of the next. */
	if (cell && !is_reader && reader_is_self(conn_cell(conn))) {
		cell = conn_cell(conn);
		is_reader = true;
	}
	if (cell && !is_reader && !(call->flags & MSG_WAITALL))
		return (ssize_t)done; /* seized: another has received meanwhile */
	if (is_wanted && !call->held) {
		transfer_let_go(conn, call->fd); /* another process that has it may have done so, and claims no more */
		is_wanted = others_claim(conn, cell);
	}
	ssize_t result =
		is_wanted ? take_rest(conn, call, ledger, call->held ? NULL : cell, is_reader, done) : (ssize_t)done;

	if (is_reader)
		reader_release(cell);
	return result;
}
