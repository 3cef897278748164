/* SPDX-License-Identifier: BSD-2-Clause */
/* Receives on an end in the sockhash, with the results that TCP would give.
 *
 * What is repaired (numbers of KERNEL-FACTS):
 *   2  one receive never merges redirected and passed bytes: a short read is topped up when more is behind it
 *   3  two readers can strand one of them: only one thread at a time receives (reader.h), and only that one sleeps in
 *      recv; others poll, and receive with MSG_DONTWAIT
 *   4  EAGAIN on a blocking fd after a wake-up that brought no data: the receive goes on
 *   5  MSG_WAITALL: collected piece by piece
 */
#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>

#include "config.h"
#include "endpoint.h"
#include "landing.h"
#include "lifecycle_internal.h"
#include "mode.h"
#include "queue.h"
#include "reader.h"
#include "spin.h"
#include "transfer_internal.h"

#define READERS_BEFORE_US_MAX 64

/* As transfer_fd_is(), after a long wait: also a close that no wrapper saw is noticed. */
static bool same_connection(struct conn *conn, uint32_t generation, int fd)
{
	return transfer_fd_is(fd, conn, generation) && (conn->cookie == 0 || endpoint_cookie(fd) == conn->cookie);
}

/* The number is another file's by now, or nobody's. TCP's receive goes on, but begins anew after a handler with SA_RESTART. */
static int error_of_lost_number(int fd, uint32_t restarting_before)
{
	return signals_ran.restarting != restarting_before && real_fcntl(fd, F_GETFD) < 0 ? EBADF : EINTR;
}

/* The call's file, between two of its system calls: its fd, or the duplicate that it was left. */
static bool has_file(const struct held *held, struct receive_call *call)
{
	int fd = held_file(held);

	if (fd >= 0 && fd != held->fd)
		call->held = held;
	call->fd = fd;
	return fd >= 0;
}

/* An error waits on the socket, and no bytes before it: it is the next call's, a further receive of this one would take it away. Or
 * what comes next is behind the urgent mark, at which TCP ends a receive, whether the urgent byte was taken or not. */
bool transfer_must_end(int fd)
{
	return (queue_has_error(fd) && queue_tcp_bytes(fd) <= 0) || (queue_is_at_mark(fd) && !queue_has_redirected(fd));
}

static bool is_readable(int fd)
{
	struct pollfd poller = { .fd = fd, .events = POLLIN };

	return real_poll(&poller, 1, 0) == 1;
}

/* The call's first bytes are not all that it has room for: it may be topped up, by the reader that it still is. */
static bool may_want_more(const struct receive_call *call, ssize_t result)
{
	return result > 0 && (size_t)result < call->bytes && !(call->flags & (MSG_PEEK | MSG_WAITALL));
}

/* transfer_receive_now() as the only reader; it goes on to be that if the call may be topped up. While another thread sleeps in recv and something is there, that one has been woken and takes
 * it; should it get no CPU for very long, all bytes go by TCP from then on, which wakes it wherever it sleeps. */
static ssize_t receive_alone(struct conn *conn, const struct receive_call *call, size_t done)
{
	struct memory_cell *cell = conn_cell(conn);
	uint32_t generation = atomic_load(&conn->generation);

	if (!cell || (call->flags & MSG_PEEK) || call->held)
		return transfer_receive_now(call, done);
	for (int i = 0; i < READERS_BEFORE_US_MAX; i++) {
		if (reader_claim(cell)) {
			ssize_t result = transfer_receive_now(call, done);
			if (!may_want_more(call, result))
				reader_release(cell);
			return result;
		}
		if (!is_readable(call->fd))
			break;
		bool was_kept = reader_is_kept(cell);
		if (!reader_await(cell)) {
			(void)lifecycle_make_plain(conn, call->fd, REASON_BLOCKED_READER);
			if (transfer_fd_is(call->fd, conn, generation) && reader_seize(cell, was_kept)) {
				ssize_t result = transfer_receive_now(call, done);
				reader_release(
					cell); /* nor is this one topped up: the other may receive at any moment */
				return result;
			}
		}
		if (!transfer_fd_is(call->fd, conn, generation)) {
			errno = EBADF; /* closed by another thread in the meantime: neither the end of the stream nor to be waited on */
			return -1;
		}
	}
	errno = EAGAIN;
	return -1;
}

/* A system call of a receive has been told of the end of the stream, which may have overtaken what was redirected before. */
static ssize_t before_end(struct conn *conn, const struct receive_call *call, size_t done, ssize_t result)
{
	int saved = errno;

	if (__builtin_expect(result != 0, 1) || call->bytes == 0 || call->held || !conn_is_joined(conn) ||
	    quiet_is_on())
		return result;
	if (landing_follows_end(conn, call->fd))
		result = receive_alone(conn, call, done);
	errno = saved;
	return result < 0 ? 0 : result; /* another reader has it */
}

/* A further system call of a receive, for what is left after `done` bytes. Nobody puts another file there between the look and the call.
 * False: it ends with what it has. */
static bool receive_again(struct conn *conn, const struct held *held, struct receive_call *call, size_t done,
			  ssize_t *result_out)
{
	held_calling(held, HELD_CALL_BRIEF);
	bool goes = has_file(held, call) && !(done && transfer_must_end(call->fd));
	if (goes)
		*result_out = receive_alone(conn, call, done);
	held_calling(held, HELD_CALL_OVER);
	return goes;
}

/* After a receive that brought nothing. */
static bool may_sleep(struct conn *conn, const struct held *held, struct receive_call *call)
{
	if (!call->held)
		transfer_let_go(conn, call->fd);
	held_calling(held, HELD_CALL_BRIEF);
	bool may = has_file(held, call) && !(call->flags & MSG_DONTWAIT) && !mode_is_nonblocking(conn, call->fd);
	held_calling(held, HELD_CALL_OVER);
	return may;
}

/* 0, or why the call ends. */
static int sleep_for_more(struct conn *conn, uint32_t generation, const struct receive_call *call,
			  struct receive_wait *wait)
{
	enum wait_result waited = receive_wait_readable(call->fd, wait);

	/* In this order: with a close that a wrapper has seen it goes on. */
	if (waited == WAIT_AGAIN && conn->cookie && endpoint_cookie(call->fd) != conn->cookie &&
	    transfer_fd_is(call->fd, conn, generation))
		return EINTR;
	return waited == WAIT_AGAIN ? 0 : waited == WAIT_TIMED_OUT ? EAGAIN : EINTR;
}

/* What the call does after a system call of it that brought so much. */
static bool is_enough(const struct receive_call *call, const struct receive_wait *wait, size_t bytes)
{
	if (!(call->flags & MSG_WAITALL) || bytes >= call->bytes)
		return true;
	return (call->flags & MSG_PEEK) && ((call->flags & MSG_DONTWAIT) || transfer_fd_nonblocking(call->fd) ||
					    !receive_wait_for_more(call->fd, wait));
}

/* The file is held from the first sleep on, or the second system call. */
static ssize_t receive_in_steps(struct conn *conn, struct receive_call *call, struct receive_wait *wait,
				struct held *own)
{
	uint32_t generation = atomic_load(&conn->generation);
	bool peek = (call->flags & MSG_PEEK) != 0, blocks = false; /* known to be so, until a handler has run */
	uint32_t restarting = signals_ran.restarting;
	ssize_t result = receive_alone(conn, call, 0);
	size_t done = 0;

	for (;;) {
		result = before_end(conn, call, done, result);
		if (result > 0 && !peek) {
			done += (size_t)result;
			wait->any_handler = true;
		}
		if (result > 0 && is_enough(call, wait, peek ? (size_t)result : done))
			return peek ? result : (ssize_t)done;
		if (result < 0 && errno != EAGAIN && done && !call->held)
			transfer_owe_error(conn, errno); /* it has come since the look at it */
		if (result == 0 || (result < 0 && errno != EAGAIN))
			return done ? (ssize_t)done : result;
		if (!call->held && !own->conn)
			*own = held_begin(conn, call->fd, generation);
		const struct held *held = call->held ? call->held : own;
		int error = 0;
		if (result < 0 && !blocks && !(blocks = may_sleep(conn, held, call)))
			error = call->fd < 0 ? EBADF : EAGAIN;
		else if (result < 0) {
			wait->may_lose_fd = !call->held && own->noted;
			error = sleep_for_more(conn, generation, call, wait);
			blocks = signals_ran.restarting == restarting;
			if (quiet_is_on())
				return done ? (ssize_t)done : call->perform(call);
		}
		if (error || !receive_again(conn, held, call, done, &result)) {
			errno = error ? error : error_of_lost_number(held->fd, restarting);
			return done ? (ssize_t)done : result;
		}
	}
}

/* A blocking receive in which this thread never sleeps in recv. */
static ssize_t receive_polling(struct conn *conn, const struct receive_call *call, struct receive_wait *wait)
{
	struct receive_call here = *call;
	struct held own = { .conn = NULL };
	ssize_t result = receive_in_steps(conn, &here, wait, &own);

	if (own.conn)
		held_end(&own);
	return result;
}

/* May the application's own call be made, by this thread as the reader? It may sleep: not in the middle of a join (fact 3), not for
 * MSG_WAITALL (fact 5). */
static bool claim_for_call(struct conn *conn, const struct receive_call *call, struct memory_cell *cell)
{
	if ((call->flags & MSG_WAITALL) || !cell)
		return false;
	return ((call->flags & MSG_DONTWAIT) || conn_state(conn) != CONN_JOINING) && reader_claim(cell);
}

/* Waits awake for what the peer is sending right now, or as long as the user likes. 0, or the error that the receive ends with
 * instead of going to sleep. */
static int await_awake(struct conn *conn, const struct receive_call *call, struct ledger_cell *ledger,
		       const struct receive_wait *wait)
{
	bool owed = ledger && ledger_is_owed(conn, ledger);
	uint32_t generation = atomic_load(&conn->generation);
	int saved = errno;

	if (!owed && !config.spin_ns)
		return 0;
	if (!(owed && spin_for_announced(conn, ledger, call->fd)) && !spin_for_readable(conn, ledger, call->fd) &&
	    receive_wait_interrupted(wait, receive_wait_timeout_ms(wait, call->fd) >= 0))
		return EINTR;
	errno = saved;
	return transfer_fd_is(call->fd, conn, generation) ? 0 : EBADF; /* closed by another thread in the meantime */
}

/* A time-out that no wrapper of this process has seen set: the EAGAIN is its, or cannot be told from it. */
static bool is_timed_by_others(struct conn *conn, int fd, const struct receive_wait *wait)
{
	if (wait->started_ms != RECEIVE_UNBOUNDED || conn_has_option(conn, CONN_TIMES_OUT) ||
	    transfer_timeout_ms(fd, SO_RCVTIMEO) < 0)
		return false;
	atomic_fetch_or(&conn->options, CONN_TIMES_OUT);
	return true;
}

/* The application's own call has slept in recv while another thread closed its number, or put another file there, and was woken without
 * data (fact 4). The file went with the call, so that nobody can ask it: what is left when neither a handler nor a stop nor the time-out
 * was it is an error of the connection, and of those loopback has the reset. Begun anew it meets what is there now; not as
 * a raw call on another connection in a sockhash. Where no wrapper saw a blocking fd closed it may not have slept at all. */
static ssize_t receive_lost(const struct conn *conn, uint32_t generation, const struct receive_call *call,
			    const struct receive_wait *wait)
{
	bool bounded = wait->started_ms != RECEIVE_UNBOUNDED;
	bool timed = bounded && wait->timeout_ms >= 0, unknown = bounded && wait->timeout_ms == RECEIVE_ASKS;
	bool anew = signals_ran.restarting != wait->ran.restarting || (bounded && stops_since(wait->stopped));

	if (unknown || !held_was_asleep(conn, generation) || receive_wait_interrupted(wait, timed) ||
	    (anew && conn_get(call->fd)))
		errno = EINTR;
	else if (anew && atomic_load(&conn->generation) ==
				 generation) /* by another number: what came would be counted as its */
		errno = error_of_lost_number(call->fd, wait->ran.restarting);
	else if (anew)
		return call->perform(call);
	else if (timed && transfer_precise_ms() + 1 >= wait->started_ms + wait->timeout_ms)
		errno = EAGAIN;
	else
		errno = ECONNRESET;
	return -1;
}

/* After the application's own call: on EAGAIN the polling receive takes over. */
static ssize_t receive_slept(struct conn *conn, const struct receive_call *call, struct receive_wait *wait,
			     uint32_t generation, ssize_t result)
{
	if (result >= 0 || errno != EAGAIN || (call->flags & MSG_DONTWAIT))
		return result;
	if (quiet_is_on())
		return call->perform(call);
	if (!transfer_fd_is(call->fd, conn, generation))
		return receive_lost(conn, generation, call, wait);
	if (mode_is_nonblocking(conn, call->fd))
		return result;
	if (!same_connection(conn, generation, call->fd)) {
		/* It was another file's number before the call, where no wrapper saw it, and that one's time was up. */
		bool is_others = !held_was_asleep(conn, generation) && receive_wait_timeout_ms(wait, call->fd) >= 0;
		errno = EAGAIN;
		return is_others ? result : receive_lost(conn, generation, call, wait);
	}
	bool by_others = is_timed_by_others(conn, call->fd, wait);
	int timeout_ms = receive_wait_timeout_ms(wait, call->fd);
	if (receive_wait_interrupted(wait, timeout_ms >= 0) || (by_others && signals_interrupted(wait->ran, true))) {
		errno = EINTR;
		return -1;
	}
	if (by_others) {
		errno = EAGAIN;
		return -1;
	}
	if (timeout_ms < 0 && signals_ran.restarting != wait->ran.restarting)
		receive_wait_anew(wait, call->fd);
	if (timeout_ms >= 0 && transfer_precise_ms() + 1 >= wait->started_ms + timeout_ms) {
		errno = EAGAIN;
		return -1;
	}
	if (timeout_ms >= 0 && transfer_was_trapped(conn, call->fd, wait)) {
		errno = EINTR;
		return -1;
	}
	return receive_polling(conn, call, wait);
}

/* The application's own call, asleep in recv if need be. The claim ends here, but for one that may be topped up. */
static ssize_t receive_sleeping(struct conn *conn, const struct receive_call *call, struct memory_cell *cell,
				struct ledger_cell *ledger)
{
	uint32_t generation = atomic_load(&conn->generation);
	struct receive_wait wait = receive_wait_begin(conn);
	int error = call->flags & MSG_DONTWAIT ? 0 : await_awake(conn, call, ledger, &wait);
	ssize_t result = error ? -1 : call->perform(call);

	if (!may_want_more(call, result))
		reader_release(cell);
	if (error) {
		errno = error;
		return -1;
	}
	return receive_slept(conn, call, &wait, generation, result);
}

/* Another connection is in its place by now: not topped up from that one. Ends the claim. */
static bool is_over(const struct conn *conn, uint32_t generation, const struct receive_call *call,
		    struct memory_cell *cell)
{
	if (call->held || atomic_load(&((struct conn *)conn)->generation) == generation)
		return false;
	if (cell)
		reader_release(cell);
	return true;
}

ssize_t transfer_receive_repaired(struct conn *conn, const struct receive_call *call, struct ledger_cell *ledger)
{
	struct memory_cell *cell = call->held ? NULL : conn_cell(conn);
	bool was_joined = lifecycle_may_be_redirected_to(conn);
	uint32_t generation = atomic_load(&conn->generation);
	struct receive_wait wait;
	ssize_t result;

	spin_thread_used();
	if (!call->message || (call->flags & (MSG_ERRQUEUE | MSG_OOB)))
		return call->perform(call);
	if (transfer_has_no_connection(conn, call->fd))
		return -1;
	if (call->flags & MSG_TRUNC)
		return transfer_receive_truncated(conn, call, ledger);
	if (claim_for_call(conn, call, cell)) {
		result = receive_sleeping(conn, call, cell, ledger);
	} else if ((call->flags & MSG_DONTWAIT) && !(call->flags & MSG_WAITALL) && !cell) {
		result = call->perform(call);
	} else {
		wait = receive_wait_begin(conn);
		if (call->held)
			wait.timeout_ms = RECEIVE_ASKS; /* conn may be another by now */
		result = receive_polling(conn, call, &wait);
	}
	result = before_end(conn, call, 0, result);
	if (result > 0 && (size_t)result < call->bytes && !(call->flags & MSG_PEEK) &&
	    !is_over(conn, generation, call, cell))
		result = transfer_top_up(conn, call, ledger, cell, was_joined, (size_t)result);
	return result;
}

ssize_t transfer_repair(struct conn *conn, const struct receive_call *call, struct ledger_cell *ledger,
			struct memory_cell *cell, struct receive_wait *wait, uint32_t generation, ssize_t result)
{
	result = before_end(conn, call, 0, receive_slept(conn, call, wait, generation, result));
	if (result <= 0 || (size_t)result >= call->bytes || is_over(conn, generation, call, cell))
		return result;
	if (!cell && !call->held && (cell = conn_cell(conn)) && !reader_claim(cell))
		return result; /* it has joined since, and what lies behind is another reader's */
	return transfer_top_up(conn, call, ledger, cell, ledger != NULL, (size_t)result);
}
