/* SPDX-License-Identifier: BSD-2-Clause */
/* Receives on an end in the sockhash, with the results that TCP would give.
 *
 * What is repaired (numbers of KERNEL-FACTS):
 *   2  one receive never merges redirected and passed bytes: a short read is topped up when more is behind it
 *   3  two blocking readers can strand one of them: only one thread at a time sleeps in recv (cell->reader), others
 *      poll and receive with MSG_DONTWAIT
 *   4  EAGAIN on a blocking fd after a wake-up that brought no data: the receive goes on
 *   5  MSG_WAITALL: collected piece by piece
 */
#include <errno.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

#include "clock.h"
#include "config.h"
#include "endpoint.h"
#include "signals.h"
#include "spin.h"
#include "transfer_internal.h"

#define WINDOW_IOVECS 64
#define TOP_UPS_MAX 64
#define SCRATCH_BYTES_MAX ((size_t)8 << 20)
#define PEEK_STEP_MS 1
/* CLOCK_MONOTONIC_COARSE advances in steps of up to 10 ms (CONFIG_HZ=100). */
#define COARSE_STEP_MS 10

static int64_t now_ms(void)
{
	struct timespec now;

	clock_read(CLOCK_MONOTONIC_COARSE, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* One receive that does not wait, of what is left after `done` bytes. */
static ssize_t receive_now(const struct receive_call *call, size_t done)
{
	int flags = (call->flags & ~MSG_WAITALL) | MSG_DONTWAIT;
	struct iovec window[WINDOW_IOVECS];
	struct msghdr rest = { .msg_iov = window };

	if (done == 0)
		return real_recvmsg(call->fd, call->message, flags);
	rest.msg_iovlen = transfer_iov_window(call->message->msg_iov, call->message->msg_iovlen, done, SIZE_MAX, window,
					      WINDOW_IOVECS);
	return rest.msg_iovlen ? real_recvmsg(call->fd, &rest, flags) : 0;
}

/* As transfer_fd_is(), after a long wait: also a close that no wrapper saw is noticed. */
static bool same_connection(struct conn *conn, uint32_t generation, int fd)
{
	return transfer_fd_is(fd, conn, generation) && (conn->cookie == 0 || endpoint_cookie(fd) == conn->cookie);
}

/* An error waits on the socket: it is the next call's, a further receive of this one would take it away. */
static bool has_error(int fd)
{
	struct pollfd poller = { .fd = fd };

	return real_poll(&poller, 1, 0) == 1 && (poller.revents & POLLERR);
}

/* SO_RCVTIMEO in ms; -1: none. */
static int receive_timeout_ms(int fd)
{
	struct timeval timeout = { 0 };
	socklen_t length = sizeof(timeout);

	if (real_getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, &length) != 0 ||
	    (timeout.tv_sec == 0 && timeout.tv_usec == 0))
		return -1;
	if (timeout.tv_sec > 2000000)
		return -1;
	int ms = (int)(timeout.tv_sec * 1000 + (timeout.tv_usec + 999) / 1000);
	return ms;
}

/* A blocking receive under way: when it began, and which handlers had run by then. */
struct receive_wait {
	int64_t started_ms;
	struct signals_mark ran;
	bool any_handler; /* one with SA_RESTART ends it too: there are bytes to return */
};

static struct receive_wait receive_wait_begin(void)
{
	return (struct receive_wait){ .started_ms = now_ms(), .ran = signals_ran };
}

enum wait_result { WAIT_AGAIN, WAIT_TIMED_OUT, WAIT_INTERRUPTED };

/* poll(2) ends with EINTR after any handler, TCP's recv only after some. */
static enum wait_result wait_readable(int fd, const struct receive_wait *wait)
{
	int timeout_ms = receive_timeout_ms(fd), left_ms = -1;
	struct pollfd poller = { .fd = fd, .events = POLLIN };

	if (signals_interrupted(wait->ran, wait->any_handler || timeout_ms >= 0))
		return WAIT_INTERRUPTED;
	if (timeout_ms >= 0) {
		int64_t left = wait->started_ms + timeout_ms + COARSE_STEP_MS - now_ms(); /* never too early */
		if (left <= 0)
			return WAIT_TIMED_OUT;
		left_ms = (int)left;
	}
	int ready = real_poll(&poller, 1, left_ms);
	if (ready == 0)
		return WAIT_TIMED_OUT;
	if (ready < 0 && errno == EINTR && signals_interrupted(wait->ran, wait->any_handler || timeout_ms >= 0))
		return WAIT_INTERRUPTED;
	return WAIT_AGAIN;
}

/* What is there is less than a MSG_PEEK | MSG_WAITALL wants, and makes poll() say "readable" all the while. True when it
 * is worth another look. */
static bool wait_for_more(const struct receive_call *call, const struct receive_wait *wait)
{
	struct pollfd poller = { .fd = call->fd, .events = POLLRDHUP };
	int timeout_ms = receive_timeout_ms(call->fd);

	return real_poll(&poller, 1, PEEK_STEP_MS) == 0 && !signals_interrupted(wait->ran, true) &&
	       (timeout_ms < 0 || now_ms() < wait->started_ms + timeout_ms);
}

/* A blocking receive in which this thread never sleeps in recv. */
static ssize_t receive_polling(struct conn *conn, const struct receive_call *call, struct receive_wait *wait)
{
	uint32_t generation = atomic_load(&conn->generation);
	bool all = (call->flags & MSG_WAITALL) != 0, peek = (call->flags & MSG_PEEK) != 0;
	bool blocks = false; /* known to be so */
	size_t done = 0;

	for (;;) {
		ssize_t result = receive_now(call, done);
		if (result > 0 && peek) {
			if (!all || (size_t)result >= call->bytes || (call->flags & MSG_DONTWAIT) ||
			    transfer_fd_nonblocking(call->fd) || !wait_for_more(call, wait) ||
			    !same_connection(conn, generation, call->fd))
				return result;
			continue;
		}
		if (result > 0) {
			done += (size_t)result;
			wait->any_handler = true;
			if (!all || done >= call->bytes || has_error(call->fd) ||
			    !transfer_fd_is(call->fd, conn, generation))
				return (ssize_t)done;
			continue;
		}
		if (result == 0 || errno != EAGAIN)
			return done ? (ssize_t)done : result;
		if (!blocks && ((call->flags & MSG_DONTWAIT) || transfer_fd_nonblocking(call->fd))) {
			errno = EAGAIN;
			return done ? (ssize_t)done : -1;
		}
		blocks = true;
		enum wait_result waited = wait_readable(call->fd, wait);
		if (quiet_is_on())
			return done ? (ssize_t)done : call->perform(call);
		if (waited == WAIT_AGAIN && same_connection(conn, generation, call->fd) &&
		    !(done && has_error(call->fd)))
			continue;
		errno = waited == WAIT_TIMED_OUT ? EAGAIN : EINTR;
		return done ? (ssize_t)done : -1;
	}
}

/* May this thread sleep in recv itself? Not in the middle of a join (fact 3), not for MSG_WAITALL (fact 5), and not
 * while another thread does. */
static bool reader_claim(struct conn *conn, const struct receive_call *call, struct memory_cell *cell)
{
	uint32_t nobody = 0;

	if ((call->flags & (MSG_WAITALL | MSG_DONTWAIT)) || !cell || conn_state(conn) == CONN_JOINING)
		return false;
	return atomic_compare_exchange_strong_explicit(&cell->reader, &nobody, conn->index, memory_order_acquire,
						       memory_order_relaxed);
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
	    signals_interrupted(wait->ran, false))
		return EINTR;
	errno = saved;
	return transfer_fd_is(call->fd, conn, generation) ? 0 : EBADF; /* closed by another thread in the meantime */
}

/* The application's own call, asleep in recv if need be; on EAGAIN the polling receive takes over. */
static ssize_t receive_sleeping(struct conn *conn, const struct receive_call *call, struct memory_cell *cell,
				struct ledger_cell *ledger)
{
	uint32_t generation = atomic_load(&conn->generation);
	struct receive_wait wait = receive_wait_begin();
	int error = await_awake(conn, call, ledger, &wait);
	ssize_t result = error ? -1 : call->perform(call);

	atomic_store_explicit(&cell->reader, 0, memory_order_release);
	if (error) {
		errno = error;
		return -1;
	}
	if (result >= 0 || errno != EAGAIN)
		return result;
	if (quiet_is_on())
		return call->perform(call);
	if (transfer_fd_nonblocking(call->fd))
		return result;
	int timeout_ms = receive_timeout_ms(call->fd);
	if (!same_connection(conn, generation, call->fd) || signals_interrupted(wait.ran, timeout_ms >= 0)) {
		errno = EINTR;
		return -1;
	}
	if (timeout_ms >= 0 && now_ms() + COARSE_STEP_MS >= wait.started_ms + timeout_ms) {
		errno = EAGAIN;
		return -1;
	}
	return receive_polling(conn, call, &wait);
}

/* Passed bytes may wait behind the redirected ones of a short read (fact 2). */
static ssize_t top_up(struct conn *conn, const struct receive_call *call, struct ledger_cell *ledger, size_t done)
{
	uint32_t state = conn_state(conn), generation = atomic_load(&conn->generation);
	int saved = errno;

	if (state != CONN_JOINED && state != CONN_ARMED && state != CONN_PINNED && state != CONN_LEAVING)
		return (ssize_t)done;
	for (int i = 0; i < TOP_UPS_MAX && done < call->bytes && !quiet_is_on(); i++) {
		if (ledger && ledger_unread_in(conn, ledger) <= (int64_t)done)
			break;
		if (has_error(call->fd) || !transfer_fd_is(call->fd, conn, generation))
			break;
		ssize_t more = receive_now(call, done);
		if (more <= 0)
			break;
		done += (size_t)more;
	}
	errno = saved;
	return (ssize_t)done;
}

static ssize_t perform_scratch(const struct receive_call *call)
{
	return real_recvmsg(call->fd, call->message, call->flags);
}

/* MSG_TRUNC: TCP counts, and without MSG_PEEK throws away, but copies nothing. Of redirected bytes it is ignored, so
 * they are copied to where nobody looks. */
static ssize_t receive_truncated(struct conn *conn, const struct receive_call *call, struct ledger_cell *ledger)
{
	size_t bytes = call->bytes < SCRATCH_BYTES_MAX ? call->bytes : SCRATCH_BYTES_MAX;
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct iovec iov = { memory, bytes };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct receive_call scratch = { .fd = call->fd,
					.flags = call->flags & ~MSG_TRUNC,
					.bytes = bytes,
					.message = &message,
					.perform = perform_scratch };

	if (memory == MAP_FAILED)
		return -1; /* ENOMEM */
	ssize_t result = transfer_receive_repaired(conn, &scratch, ledger);
	int saved = errno;
	munmap(memory, bytes);
	errno = saved;
	return result;
}

ssize_t transfer_receive_repaired(struct conn *conn, const struct receive_call *call, struct ledger_cell *ledger)
{
	struct memory_cell *cell = atomic_load_explicit(&conn->cell, memory_order_acquire);
	struct receive_wait wait;
	ssize_t result;

	spin_thread_used();
	if (!call->message || (call->flags & (MSG_ERRQUEUE | MSG_OOB)))
		return call->perform(call);
	if (call->flags & MSG_TRUNC)
		return receive_truncated(conn, call, ledger);
	if (reader_claim(conn, call, cell)) {
		result = receive_sleeping(conn, call, cell, ledger);
	} else if ((call->flags & MSG_DONTWAIT) && !(call->flags & MSG_WAITALL)) {
		result = call->perform(call);
	} else {
		wait = receive_wait_begin();
		result = receive_polling(conn, call, &wait);
	}
	if (result > 0 && (size_t)result < call->bytes && !(call->flags & MSG_PEEK))
		result = top_up(conn, call, ledger, (size_t)result);
	return result;
}
