/* SPDX-License-Identifier: BSD-2-Clause */
/* Where fds end and are doubled: close (by libc's syscall(), too), fclose, close_range, closefrom, shutdown, dup, dup2 and dup3
 * (likewise), fcntl.
 *
 * The table forgets a number before the kernel does: afterwards another thread may have it already. The numbers of the shim's
 * own fds do not exist as far as the application can tell. A vfork child's numbers are its own but the table is
 * its parent's: it calls the real functions only.
 */
#include "intercept.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio_ext.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "channel.h"
#include "config.h"
#include "fork.h"
#include "held_change.h"
#include "intercept_close.h"
#include "lifecycle.h"
#include "mode.h"
#include "quiet.h"
#include "raw_syscall.h"
#include "threads.h"
#include "transfer.h"

#define CLOSE_STEPS 500 /* of a tenth of a ms: a close waits for its helper, and others */

/* Not in a vfork child. The caller closes fd, or puts another file in its place, right after. */
static void forget(int fd)
{
	int saved = errno;

	/* A stopped helper may hold a duplicate: FIN must go out now (invariant 6, lent.c). */
	if (conn_fd_drop(fd))
		real_shutdown(fd, SHUT_RDWR);
	errno = saved;
}

/* It is forgotten, so that it is closed whatever comes: close() is a cancellation point, and a thread that ended there, or whose clean-up goes on
 * with the connection, would have one that is prepared for its end. */
static int close_forgotten(int fd)
{
	int state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	forget(fd);
	int result = real_close(fd);
	if (__builtin_expect(conn_mark(fd) == CONN_MARK_CLOSING, 0))
		conn_mark_closed(fd);
	pthread_setcancelstate(state, NULL);
	return result;
}

/* One that is neither a connection nor the shim's own is about to be closed. */
static bool is_foreign(const struct conn *conn, int fd)
{
	if (conn || channel_owns_fd(fd))
		return false;
	if (quiet_is_on())
		quiet_stuck_remove((unsigned int)fd, (unsigned int)fd);
	conn_mark_set(fd, 0);
	return true;
}

int wrap_close(int fd)
{
	struct conn *conn = conn_get(fd);

	if (is_foreign(conn, fd))
		return REAL(close)(fd);
	/* One that never offered needs no look at the pid: the worst a vfork child can do is that its parent forgets a
	 * connection which is plain TCP then, and stays so. */
	if ((conn && !atomic_load_explicit(&conn->cell, memory_order_relaxed)) || !fork_in_vfork_child()) {
		if (!conn) {
			errno = EBADF;
			return -1;
		}
		pthread_testcancel();
		fork_notice();
		return close_forgotten(fd);
	}
	return real_close(fd);
}

long intercept_close_by_call(long number, long fd)
{
	int state;

	if (is_foreign(conn_get((int)fd), (int)fd))
		return REAL(syscall)(number, fd, 0L, 0L, 0L, 0L, 0L);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	int result = wrap_close((int)fd);
	pthread_setcancelstate(state, NULL);
	return result;
}

/* stdio closes inside libc. What it has buffered goes out first: forgetting may shut the connection down. */
int wrap_fclose(FILE *stream)
{
	int saved = errno, fd = stream ? fileno(stream) : -1; /* -1: a stream without a file */
	int failure = 0;

	errno = saved;
	if (quiet_is_on() && fd >= 0)
		quiet_stuck_remove((unsigned int)fd, (unsigned int)fd);
	if (!conn_get(fd) || fork_in_vfork_child())
		return REAL(fclose)(stream);
	fork_notice();
	if (__fpending(stream) > 0 && fflush(stream) != 0) {
		failure = errno;
		__fpurge(stream);
	}
	errno = saved;
	forget(fd);
	int result = REAL(fclose)(stream);
	conn_mark_closed(fd);
	if (failure) {
		errno = failure;
		return EOF;
	}
	return result;
}

/* True if an entry was forgotten for each tracked fd in the range; false if the caller is to call the real function
 * alone, for the shim has no part in it. */
static bool forget_range(unsigned int first, unsigned int last)
{
	if (quiet_is_on())
		quiet_stuck_remove(first, last);
	unsigned int high = conn_table() ? atomic_load_explicit(&conn_fd_high, memory_order_relaxed) : 0;

	if (!conn_table() || fork_in_vfork_child())
		return false;
	fork_notice();
	for (unsigned int fd = first; fd <= last && fd <= high; fd++)
		if (conn_get((int)fd)) {
			forget((int)fd);
			conn_mark_closed((int)fd);
		} else {
			conn_mark_set((int)fd, 0);
		}
	return true;
}

void intercept_unshares(long flags)
{
	if ((flags & CLONE_FILES) && conn_table() && !fork_in_vfork_child() && threads_are_several())
		quiet_begin(REASON_FD_TABLE);
	if (flags & CLONE_NEWPID)
		fork_numbers_anew();
}

int wrap_unshare(int flags)
{
	intercept_unshares(flags);
	return REAL(unshare)(flags);
}

long intercept_close_range_by_call(long number, long first, long last, long flags)
{
	(void)number;
	return wrap_close_range((unsigned int)first, (unsigned int)last, (int)flags);
}

int wrap_close_range(unsigned int first, unsigned int last, int flags)
{
	if (first <= last && (flags & CLOSE_RANGE_UNSHARE)) {
		intercept_unshares(CLONE_FILES);
		/* Its own table first: until then another process's fds are this one's, and it would take itself for the last that closes them.
		 * A filter of system calls may know none but the application's. */
		if (!(flags & ~CLOSE_RANGE_UNSHARE) && conn_table() && !fork_in_vfork_child() && !quiet_is_on() &&
		    !config.trusts_filter) {
			if (REAL(unshare)(CLONE_FILES) != 0)
				return -1;
			flags = 0;
		}
	}
	/* The shim's own fds have CLOEXEC anyway. */
	if (first > last || (flags & ~CLOSE_RANGE_UNSHARE) != 0)
		return REAL(close_range)(first, last, flags);
	/* No such call (old kernel, seccomp): nothing will be closed, and nothing must be forgotten. */
	if (!conn_table() || REAL(close_range)(UINT_MAX, UINT_MAX, 0) != 0 || !forget_range(first, last)) {
		int result = REAL(close_range)(first, last, flags);

		if (result == 0 && quiet_is_on())
			quiet_stuck_remove(first, last);
		return result;
	}
	for (;;) {
		int own = first <= INT_MAX ? channel_next_fd((int)first) : -1;

		if (own < 0 || (unsigned int)own > last)
			return real_close_range(first, last, flags);
		if ((unsigned int)own > first && real_close_range(first, (unsigned int)own - 1, flags) != 0)
			return -1;
		if ((unsigned int)own == last)
			return 0;
		first = (unsigned int)own + 1;
	}
}

void wrap_closefrom(int first)
{
	int own;

	first = first < 0 ? 0 : first;
	if (forget_range((unsigned int)first, UINT_MAX)) {
		while ((own = channel_next_fd(first)) >= 0) {
			if (own > first && real_close_range((unsigned int)first, (unsigned int)own - 1, 0) != 0)
				for (int fd = first; fd < own; fd++)
					real_close(fd);
			first = own + 1;
		}
	}
	REAL(closefrom)(first);
}

/* The gate in the kernel sees an end's own shutdown (fact 14). */
int wrap_shutdown(int fd, int how)
{
	struct conn *conn = conn_get(fd);
	int state;

	if (how == SHUT_RD || !conn || quiet_is_on() || fork_in_vfork_child())
		return REAL(shutdown)(fd, how);
	/* It is no cancellation point, but a wait for the turn would be one. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	int result = transfer_shut_down(conn, fd, how);
	pthread_setcancelstate(state, NULL);
	return result;
}

/* newfd has just become a duplicate of oldfd, which was that connection before, or (NULL) none. False: another thread closes it, and what newfd is
 * now is prepared for its end. */
static bool duplicated(struct conn *before, int oldfd, int newfd)
{
	bool concerns = before || conn_get(oldfd) || conn_get(newfd) || conn_mark(oldfd) || conn_mark(newfd);

	if (newfd >= 0 && quiet_is_on())
		quiet_stuck_copy(oldfd, newfd);
	if (newfd < 0 || oldfd == newfd || !concerns || fork_in_vfork_child())
		return true;
	int saved = errno;
	fork_notice();
	bool lives =
		conn_fd_copy(before ? before : conn_get(oldfd), oldfd, newfd); /* and forgets a stale entry of newfd */
	/* As fdopen: there is a stream that reads it inside libc, where EAGAIN after a signal (fact 4) is an error of the stream. */
	if (newfd == STDIN_FILENO && conn_get(newfd))
		(void)lifecycle_make_plain(conn_get(newfd), newfd, REASON_STDIO);
	errno = saved;
	return lives || quiet_is_on();
}

/* dup(2), and fcntl(2) with F_DUPFD. While another thread's close() of oldfd is under way, or its dup2() to it, the connection is prepared for its end
 * already: that came first, and what is at the number afterwards is doubled, if anything is. */
static int duplicate(int oldfd, int (*perform)(int fd, int command, void *argument), int command, void *argument)
{
	for (int i = 0;; i++) {
		struct conn *before = conn_get(oldfd);
		bool was_closing =
			!before && conn_mark(oldfd) == CONN_MARK_CLOSING && !quiet_is_on() && !fork_in_vfork_child();
		int newfd = perform(oldfd, command, argument);

		if (newfd < 0 || (!was_closing && duplicated(before, oldfd, newfd)))
			return newfd;
		raw_syscall(SYS_close, newfd);
		if (i == CLOSE_STEPS) { /* a handler, perhaps, in the middle of it */
			errno = EBADF;
			return -1;
		}
		held_pause_briefly();
	}
}

static int perform_dup(int fd, int command, void *argument)
{
	(void)command;
	(void)argument;
	return REAL(dup)(fd);
}

int wrap_dup(int oldfd)
{
	return duplicate(oldfd, perform_dup, 0, NULL);
}

/* Before dup2 and dup3: may newfd be overwritten? What is there is forgotten first, because the call closes it; so every
 * cause of a failure is looked at before: an entry forgotten for a connection that lives on would be plain calls on a
 * socket that may be joined. */
static bool make_room(int oldfd, int newfd, int flags)
{
	struct conn *conn = conn_get(newfd);
	struct rlimit limit;

	if ((!conn && !channel_owns_fd(newfd)) || fork_in_vfork_child())
		return true;
	if (!conn) {
		bool is_free = oldfd != newfd && channel_leave_number(newfd);

		if (!is_free)
			errno = EBADF; /* what the kernel says of a number that is out of range */
		return is_free;
	}
	int saved = errno;
	bool fails = oldfd == newfd || (flags & ~O_CLOEXEC) != 0 || real_fcntl(oldfd, F_GETFD) < 0 ||
		     (getrlimit(RLIMIT_NOFILE, &limit) == 0 && (rlim_t)newfd >= limit.rlim_cur);
	errno = saved;
	fork_notice();
	if (!fails)
		forget(newfd);
	return true;
}

static int replaced(struct conn *before, int oldfd, int newfd, int result)
{
	if (result < 0)
		conn_mark_closed(newfd);
	(void)duplicated(before, oldfd, result); /* what was at newfd is gone, whatever came first */
	return result;
}

int wrap_dup2(int oldfd, int newfd)
{
	if (!make_room(oldfd, newfd, 0))
		return -1;
	struct conn *before = conn_get(oldfd);
	return replaced(before, oldfd, newfd, REAL(dup2)(oldfd, newfd));
}

int wrap_dup3(int oldfd, int newfd, int flags)
{
	if (!make_room(oldfd, newfd, flags))
		return -1;
	struct conn *before = conn_get(oldfd);
	return replaced(before, oldfd, newfd, REAL(dup3)(oldfd, newfd, flags));
}

long intercept_dup_by_call(long number, long oldfd, long newfd, long flags)
{
	return number == __NR_dup3 ? wrap_dup3((int)oldfd, (int)newfd, (int)flags) : wrap_dup2((int)oldfd, (int)newfd);
}

#define FCNTL(name)                                                                                                    \
	static int perform_##name(int fd, int command, void *argument)                                                 \
	{                                                                                                              \
		return REAL(name)(fd, command, argument);                                                              \
	}                                                                                                              \
	int wrap_##name(int fd, int command, ...)                                                                      \
	{                                                                                                              \
		va_list list;                                                                                          \
                                                                                                                       \
		va_start(list, command);                                                                               \
		void *argument = va_arg(list, void *);                                                                 \
		va_end(list);                                                                                          \
		if (command == F_DUPFD || command == F_DUPFD_CLOEXEC)                                                  \
			return duplicate(fd, perform_##name, command, argument);                                       \
		int result = REAL(name)(fd, command, argument);                                                        \
		if (command == F_SETFL)                                                                                \
			mode_may_change(fd);                                                                           \
		if (command == F_SETFL && result == 0 && quiet_is_on())                                                \
			quiet_stuck_mode(fd, !((uintptr_t)argument & O_NONBLOCK));                                     \
		return result;                                                                                         \
	}
FCNTL(fcntl)
FCNTL(fcntl64)
