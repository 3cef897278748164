/* SPDX-License-Identifier: BSD-2-Clause */
/* A sleep outside recv and send that a stop ends.
 *
 * A receive of TCP that waits with SO_RCVTIMEO, or for more than the part that it has got, ends when its thread was stopped and
 * continued (SIGSTOP and SIGCONT; a debugger and the freezer do the same), although no handler has run; so does a send that has got rid
 * of a part. recv on an end in the sockhash says EAGAIN then, as it does for other reasons (fact 4), and stops.h tells them
 * apart; poll(2) goes on as if nothing had been. So where such a call must not sleep in recv it sleeps in ppoll(2), which goes on
 * too, but not unseen. Before it is restarted, the kernel notes in the caller's memory how much time is left
 * (poll_select_finish()), and the restarted call reads all its arguments anew:
 *
 *	whole seconds    where the nanoseconds are there is also an entry for a file: as many of them as the socket's number. The
 *	                 restarted call finds a number there that is no file's, and ends with POLLNVAL
 *	less             the time-out cannot be written. Then the kernel says EINTR instead of restarting the call. Each such call
 *	                 takes a page fault when it ends, 0.5 us
 *
 * What is to be waited is put together of these; between two of them only stops.h notices a stop, and that only with SO_RCVTIMEO.
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

struct receive_wait receive_wait_begin(void)
{
	return (struct receive_wait){ .started_ms = transfer_now_ms(), .ran = signals_ran, .stopped = stops_mark() };
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

/* How long the receive may go on; 0: its time is over, -1: for ever. */
static int time_left_ms(const struct receive_wait *wait, int timeout_ms)
{
	if (timeout_ms < 0)
		return -1;
	/* Never too early. */
	int64_t left = wait->started_ms + timeout_ms + TRANSFER_NOW_STEP_MS - transfer_now_ms();
	return left > 0 ? (int)left : 0;
}

/* poll(2) ends with EINTR after any handler, TCP's recv only after some. */
enum wait_result receive_wait_readable(int fd, struct receive_wait *wait)
{
	int timeout_ms = transfer_timeout_ms(fd, SO_RCVTIMEO), left_ms = time_left_ms(wait, timeout_ms);
	struct pollfd poller = { .fd = fd, .events = POLLIN };
	bool bounded = wait->any_handler || timeout_ms >= 0; /* any handler ends it, and a stop */

	/* A stop while there was nothing has nothing to do with a part that came later, unless there is a time-out. */
	if (signals_interrupted(wait->ran, bounded) || receive_wait_interrupted(wait, timeout_ms >= 0))
		return WAIT_INTERRUPTED;
	if (left_ms == 0)
		return WAIT_TIMED_OUT;
	int ready = bounded ? transfer_poll_stoppable(fd, POLLIN, left_ms) : real_poll(&poller, 1, left_ms);
	if (ready < 0 && errno == EINTR && (bounded || signals_interrupted(wait->ran, false)))
		return WAIT_INTERRUPTED;
	/* Nor a handler. */
	if (ready < 0 && !bounded)
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
