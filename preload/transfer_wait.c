/* SPDX-License-Identifier: BSD-2-Clause */
/* Where a blocking receive on an end in the sockhash sleeps, unless in recv itself; and a sleep that a stop ends.
 *
 * TCP's recv that waits with SO_RCVTIMEO, or for more than the part that it has got, ends when its thread was stopped and
 * continued (SIGSTOP and SIGCONT; a debugger and the freezer do the same), although no handler has run. In the sockhash it says EAGAIN
 * then, as it does for other reasons (fact 4), and poll(2) goes on as if nothing had been. So in these two cases a
 * receive sleeps in ppoll(2), which goes on too, but not unseen. Before it is restarted, the kernel notes in the caller's memory
 * how much time is left (poll_select_finish()), and the restarted call reads all its arguments anew:
 *
 *	whole seconds    where the nanoseconds are there is also an entry for a file: as many of them as the socket's number. The
 *	                 restarted call finds a number there that is no file's, and ends with POLLNVAL
 *	less             the time-out cannot be written. Then the kernel says EINTR instead of restarting the call. Each such call
 *	                 takes a page fault when it ends, 0.5 us
 *
 * What is to be waited is put together of these; between two of them a stop goes unnoticed, as it does right before and
 * after recv.
 *
 * Which connections have a time-out a flag tells (CONN_TOUCHED_TIMED), so that the others pay nothing. One that another process sets, or
 * a raw system call, is not known. In a process with several threads only a receive that has got a part sleeps so: asleep in recv a
 * thread still gets the bytes of an fd that another one closes, after a poll it cannot.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "config.h"
#include "queue.h"
#include "raw_syscall.h"
#include "transfer_internal.h"

#define PEEK_STEP_MS 1
#define PRECISE_STEP_MS 1
#define MS_PER_S 1000
#define FOR_EVER_S 1000000000
#define STEPS 10
#define SIGNAL_MASK_BYTES 8

/* The arguments of ppoll(2): a time-out, and two entries from the trap on. */
struct seconds_poll {
	int64_t seconds;
	struct pollfd trap; /* also the nanoseconds, of which there are fewer than 1e9: its events are 0 */
	struct pollfd entry;
};
_Static_assert(sizeof(struct timespec) == offsetof(struct seconds_poll, entry), "struct timespec, and what follows");

/* 2^i ms. */
#define STEP(power)                                                                                                    \
	{                                                                                                              \
		0, (1L << (power)) * 1000000                                                                           \
	}
static const struct timespec steps[STEPS] = { STEP(0), STEP(1), STEP(2), STEP(3), STEP(4),
					      STEP(5), STEP(6), STEP(7), STEP(8), STEP(9) };

struct receive_wait receive_wait_begin(const struct conn *conn, int flags)
{
	bool timed = receive_is_timed(conn, flags);

	return (struct receive_wait){ .started_ms = timed ? transfer_precise_ms() : transfer_now_ms(),
				      .ran = signals_ran,
				      .timed = timed };
}

void transfer_timeout_changed(struct conn *conn, int fd)
{
	int saved = errno;

	/* A filter of system calls that was trusted allows poll(2), and a receive as the application makes it. */
	if (!conn_is_joined(conn) || config.trusts_filter || quiet_is_on())
		return;
	if (transfer_timeout_ms(fd, SO_RCVTIMEO) >= 0)
		atomic_fetch_or(&conn->touched, CONN_TOUCHED_TIMED);
	else
		atomic_fetch_and(&conn->touched, (uint8_t)~CONN_TOUCHED_TIMED);
	errno = saved;
}

/* Past libc, which would put the time-out into memory of its own; so that here is made a cancellation point as libc makes its. */
static int ppoll_here(struct pollfd *entries, size_t count, const void *timeout)
{
	int type = 0;

	if (libc_single_threaded())
		return (int)raw_syscall(SYS_ppoll, entries, count, timeout, NULL, SIGNAL_MASK_BYTES);
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
	signals_cancel_at_once = type == PTHREAD_CANCEL_DEFERRED;
	int ready = (int)raw_syscall(SYS_ppoll, entries, count, timeout, NULL, SIGNAL_MASK_BYTES);
	signals_cancel_at_once = false;
	pthread_setcanceltype(type, NULL);
	return ready;
}

int transfer_poll_stoppable(int fd, short events, int timeout_ms)
{
	struct seconds_poll poll = { .seconds = timeout_ms < 0 ? FOR_EVER_S : timeout_ms / MS_PER_S,
				     .trap = { .fd = fd },
				     .entry = { .fd = fd, .events = events } };
	int ready;

	if (config.trusts_filter) /* it may not allow ppoll(2) */
		return real_poll(&poll.entry, 1, timeout_ms);
	if (poll.seconds == 0)
		return ppoll_here(&poll.entry, 1, &steps[31 - __builtin_clz((unsigned)timeout_ms)]);
	ready = ppoll_here(&poll.trap, 2, &poll);
	/* An error, or the end, would show in both. */
	if (ready <= 0 || poll.entry.revents)
		return ready;
	errno = EINTR;
	return -1;
}

void receive_wait_first(int fd, struct receive_wait *wait)
{
	int saved = errno, timeout_ms = transfer_timeout_ms(fd, SO_RCVTIMEO);

	if (timeout_ms > 0 && !transfer_fd_nonblocking(fd))
		wait->interrupted = transfer_poll_stoppable(fd, POLLIN, timeout_ms) < 0 && errno == EINTR;
	errno = saved;
}

/* How long the receive may go on; 0: its time is over, -1: for ever. */
static int time_left_ms(const struct receive_wait *wait, int timeout_ms)
{
	int64_t left;

	if (timeout_ms < 0)
		return -1;
	/* Never too early. */
	if (wait->timed)
		left = wait->started_ms + timeout_ms + PRECISE_STEP_MS - transfer_precise_ms();
	else
		left = wait->started_ms + timeout_ms + TRANSFER_NOW_STEP_MS - transfer_now_ms();
	return left > 0 ? (int)left : 0;
}

/* poll(2) ends with EINTR after any handler, TCP's recv only after some. */
enum wait_result receive_wait_readable(int fd, struct receive_wait *wait)
{
	int timeout_ms = transfer_timeout_ms(fd, SO_RCVTIMEO), left_ms = time_left_ms(wait, timeout_ms);
	struct pollfd poller = { .fd = fd, .events = POLLIN };
	bool any_signal = wait->any_handler || timeout_ms >= 0; /* ends it */
	bool notices = wait->any_handler || (timeout_ms >= 0 && libc_single_threaded());

	if (signals_interrupted(wait->ran, any_signal))
		return WAIT_INTERRUPTED;
	if (left_ms == 0)
		return WAIT_TIMED_OUT;
	int ready = notices ? transfer_poll_stoppable(fd, POLLIN, left_ms) : real_poll(&poller, 1, left_ms);
	if (ready == 0)
		return notices ? WAIT_AGAIN : WAIT_TIMED_OUT;
	if (ready < 0 && errno == EINTR && (notices || signals_interrupted(wait->ran, any_signal)))
		return WAIT_INTERRUPTED;
	/* A handler that ran while there was nothing has nothing to do with a part that comes later. */
	if (ready < 0 && !any_signal)
		wait->ran.restarting = signals_ran.restarting;
	return WAIT_AGAIN;
}

/* What there is makes poll() say "readable" all the while. Not worth another look when more is there, behind the redirected bytes, where no
 * peek reaches. */
bool receive_wait_for_more(int fd, const struct receive_wait *wait)
{
	struct pollfd poller = { .fd = fd, .events = POLLRDHUP };
	int timeout_ms = transfer_timeout_ms(fd, SO_RCVTIMEO);

	if (queue_has_redirected(fd) && queue_tcp_bytes(fd) > 0)
		return false;
	return real_poll(&poller, 1, PEEK_STEP_MS) == 0 && !signals_interrupted(wait->ran, true) &&
	       time_left_ms(wait, timeout_ms) != 0;
}
