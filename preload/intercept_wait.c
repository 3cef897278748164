/* SPDX-License-Identifier: BSD-2-Clause */
/* Waits for many fds: poll, select, epoll_wait and their relatives. With SMACCEL_SPIN_US a thread that works on armed ends looks
 * a while, by the same call without a time-out, before it sleeps in it (spin.h); otherwise they only pass by here.
 *
 * A handler that runs in between ends the wait with EINTR, as it would have ended the sleep, with SA_RESTART or without.
 */
#include "intercept.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "config.h"
#include "epolls.h"
#include "readable.h"
#include "signals.h"
#include "spin.h"

#define SETS_FDS_MAX FD_SETSIZE

/* A connection whose error the wrappers keep for the next call, and the kernel no longer knows of, has one all the same: POLLERR. It is
 * over, so that poll(2) has said POLLHUP. epoll is not told: which fd an event is about only the application knows. */
static int with_owed_errors(struct pollfd *fds, nfds_t count, int ready)
{
	for (nfds_t i = 0; ready > 0 && i < count; i++) {
		struct conn *conn = fds[i].revents & POLLHUP ? conn_get(fds[i].fd) : NULL;

		if (conn && atomic_load(&conn->owed_error))
			fds[i].revents |= POLLERR;
	}
	return ready;
}

/* Since the first such error of the process. */
static inline bool nobody_owes(void)
{
	return __builtin_expect(!atomic_load_explicit(&hot.owes, memory_order_relaxed), 1);
}

/* The wrapper then is a jump to libc: nothing is laid out for a spin, and no return of its own follows the system call. */
static inline bool never_spins(void)
{
	return __builtin_expect(config.spin_ns == 0, 1);
}

static bool may_spin(void)
{
	if (spin_thread.waits_left == 0)
		return false;
	spin_thread.waits_left--;
	return true;
}

/* A wait: how to look, what the last look said, and how much of its time is left. */
struct wait {
	int (*perform)(struct wait *wait); /* the call, without waiting */
	int result, error;
	struct signals_mark ran;
	struct timespec start, left; /* left: of the application's time-out */
	bool forever;

	int fd;
	void *items; /* struct pollfd, struct epoll_event */
	size_t count;
	const sigset_t *mask;
	fd_set *sets[3];
};

static int look(void *context)
{
	struct wait *wait = context;

	wait->result = wait->perform(wait);
	wait->error = errno;
	if (wait->result == 0 && signals_interrupted(wait->ran, true)) {
		wait->result = -1;
		wait->error = EINTR;
	}
	return wait->result > 0 ? 1 : wait->result;
}

static int64_t to_ns(const struct timespec *time)
{
	return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

/* `left` becomes what is left of it. */
static void take_passed_time(struct wait *wait)
{
	struct timespec now;

	clock_read(CLOCK_MONOTONIC, &now);
	int64_t left_ns = to_ns(&wait->left) - (to_ns(&now) - to_ns(&wait->start));
	if (left_ns < 0)
		left_ns = 0;
	wait->left.tv_sec = left_ns / 1000000000;
	wait->left.tv_nsec = left_ns % 1000000000;
}

/* True when the wait is over: wait->result and errno are what the application gets. A time-out that is none, or too short to be
 * worth it, goes to the kernel as it is. */
static bool spin(struct wait *wait, const struct timespec *timeout)
{
	int64_t limit_ns = config.spin_ns;
	int saved = errno, found;

	wait->forever = !timeout;
	if (timeout) {
		if (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec > 999999999 ||
		    timeout->tv_sec > 1000000000)
			return false;
		wait->left = *timeout;
		if (to_ns(timeout) <= limit_ns)
			return false;
	}
	wait->ran = signals_ran;
	clock_read(CLOCK_MONOTONIC, &wait->start);
	found = spin_until(&spin_thread.history, limit_ns, look, wait);
	if (timeout)
		take_passed_time(wait);
	errno = found < 0 ? wait->error : saved;
	return found != 0;
}

static const struct timespec no_time = { 0 };

/* ---- poll ---- */

static int perform_poll(struct wait *wait)
{
	return real_ppoll(wait->items, wait->count, &no_time, wait->mask);
}

/* Milliseconds, rounded up: never too early. */
static int left_ms(const struct wait *wait)
{
	return wait->forever ? -1 : (int)((to_ns(&wait->left) + 999999) / 1000000);
}

static int spinning_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	struct wait wait = { .perform = perform_poll, .items = fds, .count = count };
	struct timespec timeout = { timeout_ms / 1000, (long)(timeout_ms % 1000) * 1000000 };

	if (never_spins() || timeout_ms == 0 || !may_spin())
		return REAL(poll)(fds, count, timeout_ms);
	if (spin(&wait, timeout_ms < 0 ? NULL : &timeout))
		return wait.result;
	return real_poll(fds, count, wait.start.tv_sec ? left_ms(&wait) : timeout_ms);
}

static __attribute__((noinline)) int telling_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	return with_owed_errors(fds, count, spinning_poll(fds, count, timeout_ms));
}

int wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	if (never_spins() && nobody_owes())
		return REAL(poll)(fds, count, timeout_ms);
	return telling_poll(fds, count, timeout_ms);
}

int wrap___poll_chk(struct pollfd *fds, nfds_t count, int timeout_ms, size_t room)
{
	if ((never_spins() && nobody_owes()) || room / sizeof(*fds) < count)
		return REAL(__poll_chk)(fds, count, timeout_ms, room);
	return wrap_poll(fds, count, timeout_ms);
}

static int spinning_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
	struct wait wait = { .perform = perform_poll, .items = fds, .count = count, .mask = mask };

	if (never_spins() || !may_spin())
		return REAL(ppoll)(fds, count, timeout, mask);
	if (spin(&wait, timeout))
		return wait.result;
	return real_ppoll(fds, count, timeout && wait.start.tv_sec ? &wait.left : timeout, mask);
}

static __attribute__((noinline)) int telling_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
						   const sigset_t *mask)
{
	return with_owed_errors(fds, count, spinning_ppoll(fds, count, timeout, mask));
}

int wrap_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
	if (never_spins() && nobody_owes())
		return REAL(ppoll)(fds, count, timeout, mask);
	return telling_ppoll(fds, count, timeout, mask);
}

int wrap___ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask,
		     size_t room)
{
	if ((never_spins() && nobody_owes()) || room / sizeof(*fds) < count)
		return REAL(__ppoll_chk)(fds, count, timeout, mask, room);
	return wrap_ppoll(fds, count, timeout, mask);
}

/* ---- select ---- */

static size_t sets_bytes(size_t count)
{
	return (count + 63) / 64 * 8;
}

/* The kernel writes over the sets: each look is made on copies. When one has found something the kernel is asked once more, on the sets
 * themselves, which only it can know whether they can be written. */
static int perform_select(struct wait *wait)
{
	fd_set copies[3], *sets[3];

	for (int i = 0; i < 3; i++)
		sets[i] = wait->sets[i] ? memcpy(&copies[i], wait->sets[i], sets_bytes(wait->count)) : NULL;
	return real_pselect((int)wait->count, sets[0], sets[1], sets[2], &no_time, wait->mask);
}

/* A set that cannot be read is the kernel's to refuse. */
static bool select_may_spin(const struct wait *wait, int count)
{
	if (count <= 0 || count > SETS_FDS_MAX || !may_spin())
		return false;
	for (int i = 0; i < 3; i++)
		if (wait->sets[i] && !readable_bytes(wait->sets[i], sets_bytes(wait->count)))
			return false;
	return true;
}

static __attribute__((noinline)) int spinning_select(int count, fd_set *read_set, fd_set *write_set, fd_set *except_set,
						     struct timeval *timeout)
{
	struct wait wait = { .perform = perform_select,
			     .count = (size_t)count,
			     .sets = { read_set, write_set, except_set } };
	struct timespec time = { 0 };

	if (!select_may_spin(&wait, count) ||
	    (timeout && (timeout->tv_sec < 0 || timeout->tv_usec < 0 || timeout->tv_usec > 999999)))
		return REAL(select)(count, read_set, write_set, except_set, timeout);
	if (timeout)
		time = (struct timespec){ timeout->tv_sec, timeout->tv_usec * 1000 };
	bool over = spin(&wait, timeout ? &time : NULL);
	/* Linux tells what is left. */
	if (timeout && wait.start.tv_sec)
		*timeout = (struct timeval){ wait.left.tv_sec, wait.left.tv_nsec / 1000 };
	return over && wait.result < 0 ? -1 : real_select(count, read_set, write_set, except_set, timeout);
}

int wrap_select(int count, fd_set *read_set, fd_set *write_set, fd_set *except_set, struct timeval *timeout)
{
	if (never_spins())
		return REAL(select)(count, read_set, write_set, except_set, timeout);
	return spinning_select(count, read_set, write_set, except_set, timeout);
}

static __attribute__((noinline)) int spinning_pselect(int count, fd_set *read_set, fd_set *write_set,
						      fd_set *except_set, const struct timespec *timeout,
						      const sigset_t *mask)
{
	struct wait wait = { .perform = perform_select,
			     .count = (size_t)count,
			     .sets = { read_set, write_set, except_set },
			     .mask = mask };

	if (!select_may_spin(&wait, count))
		return REAL(pselect)(count, read_set, write_set, except_set, timeout, mask);
	if (spin(&wait, timeout) && wait.result < 0)
		return -1;
	return real_pselect(count, read_set, write_set, except_set, timeout && wait.start.tv_sec ? &wait.left : timeout,
			    mask);
}

int wrap_pselect(int count, fd_set *read_set, fd_set *write_set, fd_set *except_set, const struct timespec *timeout,
		 const sigset_t *mask)
{
	if (never_spins())
		return REAL(pselect)(count, read_set, write_set, except_set, timeout, mask);
	return spinning_pselect(count, read_set, write_set, except_set, timeout, mask);
}

/* ---- epoll ---- */

int wrap_epoll_create(int size)
{
	int epoll = REAL(epoll_create)(size);

	epolls_note(epoll);
	return epoll;
}

int wrap_epoll_create1(int flags)
{
	int epoll = REAL(epoll_create1)(flags);

	epolls_note(epoll);
	return epoll;
}

static int perform_epoll(struct wait *wait)
{
	return real_epoll_pwait(wait->fd, wait->items, (int)wait->count, 0, wait->mask);
}

static __attribute__((noinline)) int spinning_epoll_pwait(int fd, struct epoll_event *events, int count, int timeout_ms,
							  const sigset_t *mask)
{
	struct wait wait = {
		.perform = perform_epoll, .fd = fd, .items = events, .count = (size_t)count, .mask = mask
	};
	struct timespec timeout = { timeout_ms / 1000, (long)(timeout_ms % 1000) * 1000000 };

	if (timeout_ms == 0 || !may_spin())
		return REAL(epoll_pwait)(fd, events, count, timeout_ms, mask);
	if (spin(&wait, timeout_ms < 0 ? NULL : &timeout))
		return wait.result;
	return real_epoll_pwait(fd, events, count, wait.start.tv_sec ? left_ms(&wait) : timeout_ms, mask);
}

int wrap_epoll_pwait(int fd, struct epoll_event *events, int count, int timeout_ms, const sigset_t *mask)
{
	epolls_note(fd);
	if (never_spins())
		return REAL(epoll_pwait)(fd, events, count, timeout_ms, mask);
	return spinning_epoll_pwait(fd, events, count, timeout_ms, mask);
}

int wrap_epoll_wait(int fd, struct epoll_event *events, int count, int timeout_ms)
{
	epolls_note(fd);
	if (never_spins())
		return REAL(epoll_wait)(fd, events, count, timeout_ms);
	return wrap_epoll_pwait(fd, events, count, timeout_ms, NULL);
}

static __attribute__((noinline)) int spinning_epoll_pwait2(int fd, struct epoll_event *events, int count,
							   const struct timespec *timeout, const sigset_t *mask)
{
	struct wait wait = {
		.perform = perform_epoll, .fd = fd, .items = events, .count = (size_t)count, .mask = mask
	};

	if (!may_spin() || (timeout && !readable_bytes(timeout, sizeof(*timeout))))
		return REAL(epoll_pwait2)(fd, events, count, timeout, mask);
	if (spin(&wait, timeout))
		return wait.result;
	return real_epoll_pwait2(fd, events, count, timeout && wait.start.tv_sec ? &wait.left : timeout, mask);
}

int wrap_epoll_pwait2(int fd, struct epoll_event *events, int count, const struct timespec *timeout,
		      const sigset_t *mask)
{
	epolls_note(fd);
	if (never_spins())
		return REAL(epoll_pwait2)(fd, events, count, timeout, mask);
	return spinning_epoll_pwait2(fd, events, count, timeout, mask);
}
