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
 *
 * A stop without a signal (PTRACE_INTERRUPT, as by strace -p; the freezer) is noted nowhere: no tracepoint tells of it. A receive that
 * slept in recv can tell it only from what it was not, transfer_was_trapped().
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "config.h"
#include "fork.h"
#include "lifecycle_internal.h"
#include "queue.h"
#include "raw_syscall.h"
#include "transfer_internal.h"

#define PEEK_STEP_MS 1
#define LOOK_AGAIN_MS 1000
#define MS_PER_S 1000
#define FOR_EVER_S 1000000000
#define STEPS 10
#define NOTSENT_LOWAT_PATH "/proc/sys/net/ipv4/tcp_notsent_lowat"

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

/* TCP takes the time-out when the call begins. One that another process may set is asked for when it matters. */
static int timeout_of(const struct conn *conn)
{
	int timeout_ms = conn_has_option(conn, CONN_TIMES_OUT)
				 ? atomic_load_explicit(&((struct conn *)conn)->timeout_ms, memory_order_relaxed)
				 : -1;

	return timeout_ms && lifecycle_alone_by_forks(conn) ? timeout_ms : RECEIVE_ASKS;
}

struct receive_wait receive_wait_begin(const struct conn *conn)
{
	return (struct receive_wait){ .started_ms = transfer_now_ms(),
				      .timeout_ms = timeout_of(conn),
				      .ran = signals_ran,
				      .stopped = stops_mark() };
}

/* musl cancels by this signal. */
#define MUSL_SIGCANCEL 33

/* With a part to return musl's sleeps are no cancellation points: the call ends, and the next one is cancelled. A cancellation that came
 * between two steps of the call is found, too: musl's handler has blocked its signal then, and sent it again. */
static int ppoll_until_cancelled(struct pollfd *entries, size_t count, const void *timeout)
{
	uint64_t mask = 0;

	_Static_assert(sizeof(mask) == SIGNAL_MASK_BYTES, "the kernel's sigset_t");
	raw_syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, SIGNAL_MASK_BYTES);
	mask &= ~(1ULL << (MUSL_SIGCANCEL - 1));
	return (int)raw_syscall(SYS_ppoll, entries, count, timeout, &mask, SIGNAL_MASK_BYTES);
}

/* Past libc, which would put the time-out into memory of its own; so that here is made a cancellation point as libc makes its. */
static int ppoll_here(struct pollfd *entries, size_t count, const void *timeout, bool has_part)
{
	int type = 0;

	if (has_part && libc_is_musl())
		return ppoll_until_cancelled(entries, count, timeout);
	if (libc_single_threaded())
		return (int)raw_syscall(SYS_ppoll, entries, count, timeout, NULL, SIGNAL_MASK_BYTES);
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
	signals_cancel_at_once = type == PTHREAD_CANCEL_DEFERRED;
	int ready = (int)raw_syscall(SYS_ppoll, entries, count, timeout, NULL, SIGNAL_MASK_BYTES);
	signals_cancel_at_once = false;
	pthread_setcanceltype(type, NULL);
	return ready;
}

int transfer_poll_stoppable(int fd, short events, int timeout_ms, bool has_part)
{
	struct seconds_poll poll = { .seconds = timeout_ms < 0 ? FOR_EVER_S : timeout_ms / MS_PER_S,
				     .trap = { .fd = fd },
				     .entry = { .fd = fd, .events = events } };
	int ready;

	if (config.trusts_filter) /* it may not allow ppoll(2) */
		return real_poll(&poll.entry, 1, timeout_ms);
	if (poll.seconds == 0)
		return ppoll_here(&poll.entry, 1, &steps[31 - __builtin_clz((unsigned)timeout_ms)], has_part);
	ready = ppoll_here(&poll.trap, 2, &poll, has_part);
	/* An error, or the end, would show in both. */
	if (ready <= 0 || poll.entry.revents)
		return ready;
	errno = EINTR;
	return -1;
}

int receive_wait_timeout_ms(const struct receive_wait *wait, int fd)
{
	if (wait->started_ms == RECEIVE_UNBOUNDED)
		return -1;
	return wait->timeout_ms == RECEIVE_ASKS ? transfer_timeout_ms(fd, SO_RCVTIMEO) : wait->timeout_ms;
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

void receive_wait_anew(struct receive_wait *wait, int fd)
{
	wait->ran.restarting = signals_ran.restarting;
	wait->timeout_ms = transfer_timeout_ms(fd, SO_RCVTIMEO);
	if (wait->timeout_ms < 0)
		return;
	if (wait->started_ms == RECEIVE_UNBOUNDED) /* no stop has mattered so far, so that none was marked */
		wait->stopped = stops_mark();
	wait->started_ms = transfer_now_ms();
}

bool transfer_is_error_queues(int fd, short events)
{
	struct pollfd poller = { .fd = fd, .events = events };

	return real_poll(&poller, 1, 0) == 1 && poller.revents == POLLERR && !queue_has_error(fd);
}

/* poll(2) ends with EINTR after any handler, TCP's recv only after some. */
enum wait_result receive_wait_readable(int fd, struct receive_wait *wait)
{
	int timeout_ms = receive_wait_timeout_ms(wait, fd), left_ms = time_left_ms(wait, timeout_ms);
	struct pollfd poller = { .fd = fd, .events = POLLIN };
	bool bounded = wait->any_handler || timeout_ms >= 0; /* any handler ends it, and a stop */

	/* A stop while there was nothing has nothing to do with a part that came later, unless there is a time-out. */
	if (signals_interrupted(wait->ran, bounded) || receive_wait_interrupted(wait, timeout_ms >= 0))
		return WAIT_INTERRUPTED;
	if (left_ms == 0)
		return WAIT_TIMED_OUT;
	if (wait->may_lose_fd && (left_ms < 0 || left_ms > LOOK_AGAIN_MS))
		left_ms = LOOK_AGAIN_MS;
	int ready = bounded ? transfer_poll_stoppable(fd, POLLIN, left_ms, wait->any_handler)
			    : real_poll(&poller, 1, left_ms);
	if (ready < 0 && errno == EINTR && (bounded || signals_interrupted(wait->ran, false)))
		return WAIT_INTERRUPTED;
	/* Another process has taken the files away (RLIMIT_NOFILE), or the error queue has something: not all the CPU for that. */
	if ((ready < 0 && errno == EINVAL) ||
	    (ready > 0 && (bounded || poller.revents == POLLERR) && transfer_is_error_queues(fd, POLLIN)))
		real_poll(NULL, 0, PEEK_STEP_MS);
	/* Nor a handler. */
	if (ready < 0 && !bounded)
		receive_wait_anew(wait, fd);
	return WAIT_AGAIN;
}

/* The kernel's struct tcp_info as far as is looked at; libc's may end before. */
struct sent_by_tcp {
	uint8_t state, before[55];
	uint32_t since_acknowledgement_ms, between[15];
	uint64_t acknowledged_bytes, received_bytes;
	uint32_t segments[4];
	uint32_t data_segments_in, data_segments_out;
};
_Static_assert(offsetof(struct sent_by_tcp, since_acknowledgement_ms) == 56, "tcpi_last_ack_recv");
_Static_assert(offsetof(struct sent_by_tcp, acknowledged_bytes) == 120, "tcpi_bytes_acked");
_Static_assert(offsetof(struct sent_by_tcp, data_segments_out) == 156, "tcpi_data_segs_out");
#define CLOCKS_APART_MS (3 * TRANSFER_NOW_STEP_MS) /* jiffies and the coarse clock, at the beginning and the end */
#define SEGMENT_MEMORY_BYTES                                                                                           \
	4096 /* more than a segment takes beside its bytes, which take less than twice their number */

/* TCP_NOTSENT_LOWAT, the socket's or the system's: so much that has not been sent leaves no room, too. */
static uint32_t lowat_of_unsent(int fd)
{
	uint32_t bytes = 0;
	socklen_t length = sizeof(bytes);
	char text[16] = "";
	int file;

	if (real_getsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, &length) != 0 || bytes)
		return bytes;
	file = (int)raw_syscall(SYS_openat, AT_FDCWD, NOTSENT_LOWAT_PATH, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return UINT32_MAX;
	raw_syscall(SYS_read, file, text, sizeof(text) - 1);
	raw_syscall(SYS_close, file);
	return (uint32_t)strtoul(text, NULL, 10);
}

/* A wake-up for room needs an acknowledgement: no, if none has come since the receive began, or about then. It needs one of a third of the
 * send buffer (sk_stream_is_writeable()), too: no, if all that TCP ever sent is less; but a send that memory was short for is waked by
 * any. And one for the acknowledgement of a FIN needs a FIN. */
static bool is_woken_by_no_acknowledgement(int fd, int64_t started_ms)
{
	struct sent_by_tcp sent = { 0 };
	socklen_t length = sizeof(sent), int_length = sizeof(int);
	int buffer_bytes = 0, queued_bytes = 0;

	return real_getsockopt(fd, IPPROTO_TCP, TCP_INFO, &sent, &length) == 0 && length == sizeof(sent) &&
	       sent.state == TCP_ESTABLISHED &&
	       sent.since_acknowledgement_ms + CLOCKS_APART_MS >= transfer_now_ms() - started_ms &&
	       real_getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer_bytes, &int_length) == 0 &&
	       2 * sent.acknowledged_bytes + (uint64_t)SEGMENT_MEMORY_BYTES * sent.data_segments_out <
		       (uint64_t)buffer_bytes / 3 &&
	       real_ioctl(fd, SIOCOUTQ, &queued_bytes) == 0 &&
	       sent.acknowledged_bytes + (uint64_t)queued_bytes < lowat_of_unsent(fd);
}

/* Other threads have not taken what woke it: who receives by a wrapper waits until the sleeper is back (reader.h), and who does not leaves
 * the ledger with bytes that were never read. Nor was it SO_SNDBUF, which wakes, too. */
static bool is_no_other_threads_doing(struct conn *conn, int fd)
{
	struct ledger_cell *ledger = atomic_load_explicit(&conn->ledger, memory_order_acquire);
	socklen_t length = sizeof(int);
	int locked = 0;

	return ledger && ledger_unread_in(conn, ledger) == 0 && atomic_load(&conn->cell) &&
	       real_getsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &locked, &length) == 0 && !(locked & SOCK_SNDBUF_LOCK);
}

/* And no other process has the socket. */
bool transfer_was_trapped(struct conn *conn, int fd, const struct receive_wait *wait)
{
	struct pollfd poller = { .fd = fd, .events = POLLIN | POLLPRI | POLLRDHUP };

	return !config.trusts_filter && lifecycle_never_shared(conn) &&
	       (libc_single_threaded() || is_no_other_threads_doing(conn, fd)) && real_poll(&poller, 1, 0) == 0 &&
	       is_woken_by_no_acknowledgement(fd, wait->started_ms);
}

/* What there is makes poll() say "readable" all the while. Not worth another look when more is there, behind the redirected bytes, where no
 * peek reaches. */
bool receive_wait_for_more(int fd, const struct receive_wait *wait)
{
	struct pollfd poller = { .fd = fd, .events = POLLRDHUP };
	int timeout_ms = receive_wait_timeout_ms(wait, fd);

	if (queue_has_redirected(fd) && queue_tcp_bytes(fd) > 0)
		return false;
	return real_poll(&poller, 1, PEEK_STEP_MS) == 0 && !signals_interrupted(wait->ran, true) &&
	       time_left_ms(wait, timeout_ms) != 0;
}
