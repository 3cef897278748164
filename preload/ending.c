/* SPDX-License-Identifier: BSD-2-Clause */
/* The end of a process, or of its program: the kernel closes all its connections. Those that a close() would reset are reset (closing.c).
 *
 * Its threads may still be at work; what is decided then holds for what is unread at that moment.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "closing.h"
#include "fork.h"
#include "holders.h"
#include "landing.h"
#include "lifecycle_internal.h"
#include "queue.h"
#include "quiet.h"
#include "real.h"

/* All the questions of a process that ends together, of those that brought nothing; and those that only the helper can answer: for a
 * session, the first answer, which may both be late, and the others. */
#define EXIT_BUDGET_MS CHANNEL_WAIT_MS
#define EXIT_BUDGET_LONG_MS (2 * CHANNEL_WAIT_LONG_MS)
/* And with all that were answered: a process under a quota is throttled nearly all the time, and its helper may be, too. */
#define EXIT_MOST_MS 5000
#define LINGERS 16
#define PARENT_LOOK_EVERY 64 /* connections: getppid(2) is half the time of one */

/* Calls visit for every connection that would lose bytes if its fds were closed now. */
static void each_losing(bool (*concerns)(struct conn *conn, int fd), void (*visit)(struct conn *conn, int fd))
{
	struct lifecycle_quiet quiet = lifecycle_quiet_begin();
	int64_t started_ms = clock_ms(), spent_ms = 0;
	uint32_t high = atomic_load(&conn_fd_high), looks = 0;
	bool parent_lives = false;

	fork_notice();
	for (uint32_t fd = 0; fd <= high && fd < CONN_FD_MAX; fd++) {
		struct conn *conn = conn_get((int)fd);

		if (!conn)
			continue;
		if (looks++ % PARENT_LOOK_EVERY == 0)
			parent_lives = fork_parent_lives();
		if ((parent_lives && holders_living_parent_has(conn)) || !concerns(conn, (int)fd))
			continue;
		looks = 0; /* the helper is asked, which may take long */
		struct landing landing = landing_find(conn);
		bool is_alone = lifecycle_alone_by_forks(conn), loses;
		int64_t begun_ms = clock_ms();
		if (begun_ms - started_ms < EXIT_MOST_MS &&
		    spent_ms < (is_alone ? EXIT_BUDGET_MS : EXIT_BUDGET_LONG_MS))
			loses = closing_loses_bytes_alone(conn, (int)fd, atomic_load(&conn->fds), &landing);
		else
			loses = is_alone && closing_loses_bytes(conn, (int)fd, NULL);
		if (loses)
			visit(conn, (int)fd);
		else if (clock_ms() > begun_ms && queue_has_redirected((int)fd))
			spent_ms += clock_ms() - begun_ms;
	}
	lifecycle_quiet_end(quiet);
}

static bool has_work(void)
{
	return __builtin_expect(atomic_load_explicit(&conn_ever_touched, memory_order_relaxed), 0) && !quiet_is_on() &&
	       conn_table() && !fork_in_vfork_child() && !fork_files_are_shared();
}

static bool always(struct conn *conn, int fd)
{
	(void)conn;
	(void)fd;
	return true;
}

static void reset_at_exit(struct conn *conn, int fd)
{
	(void)conn;
	closing_set_reset(fd, true);
}

static bool is_flushed(struct conn *conn)
{
	return (atomic_load(&conn->marks) & CONN_HAS_STREAM) || conn_get(STDOUT_FILENO) == conn ||
	       conn_get(STDERR_FILENO) == conn;
}

/* The kernel is about to close all that this process has, but not what the helper has of it. The end of what libc has still to write to is
 * up to the helper. */
static void end_lent_at_exit(bool flushes)
{
	struct lifecycle_quiet quiet = lifecycle_quiet_begin();
	uint32_t high = atomic_load(&conn_fd_high);

	for (uint32_t fd = 0; fd <= high && fd < CONN_FD_MAX; fd++) {
		struct conn *conn = conn_get((int)fd);

		if (!conn || !lifecycle_alone_by_forks(conn))
			continue;
		lifecycle_take_back(conn);
		if (!(flushes && is_flushed(conn)) && lifecycle_end_lent(conn, (int)fd, false))
			real_shutdown((int)fd, SHUT_RDWR);
	}
	lifecycle_quiet_end(quiet);
}

void lifecycle_before_exit(bool flushes)
{
	if (!has_work())
		return;
	each_losing(always, reset_at_exit);
	end_lent_at_exit(flushes);
}

static bool all_go_with_exec(struct conn *conn)
{
	uint32_t high = atomic_load(&conn_fd_high);
	bool all = true;

	for (uint32_t fd = 0; all && fd <= high && fd < CONN_FD_MAX; fd++)
		all = conn_get((int)fd) != conn || (real_fcntl((int)fd, F_GETFD) & FD_CLOEXEC);
	return all;
}

static bool get_linger(int fd, struct linger *linger)
{
	socklen_t length = sizeof(*linger);

	return real_getsockopt(fd, SOL_SOCKET, SO_LINGER, linger, &length) == 0;
}

/* Its fds go with the exec; and it is not reset anyhow. */
static bool ends_at_exec(struct conn *conn, int fd)
{
	struct linger linger;

	return lifecycle_in_sockhash(conn_state(conn)) && (real_fcntl(fd, F_GETFD) & FD_CLOEXEC) &&
	       (atomic_load(&conn->fds) == 1 || all_go_with_exec(conn)) && get_linger(fd, &linger) &&
	       (!linger.l_onoff || linger.l_linger != 0);
}

/* What an exec that fails has to put back, of so many connections with an SO_LINGER of the application's. */
static struct {
	struct conn *_Atomic conn;
	int seconds;
} lingers[LINGERS];

/* False: no room. */
static bool keep_linger(struct conn *conn, const struct linger *linger)
{
	/* Of a connection before it, which was closed by another thread before its exec failed. */
	for (int i = 0; i < LINGERS; i++) {
		struct conn *before = conn;

		atomic_compare_exchange_strong(&lingers[i].conn, &before, NULL);
	}
	for (int i = 0; i < LINGERS && linger->l_onoff; i++) {
		struct conn *before = NULL;

		if (!atomic_compare_exchange_strong(&lingers[i].conn, &before, conn))
			continue;
		lingers[i].seconds = linger->l_linger;
		return true;
	}
	return !linger->l_onoff;
}

static void put_linger_back(struct conn *conn, int fd)
{
	struct linger linger = { 0 };

	for (int i = 0; i < LINGERS && !linger.l_onoff; i++)
		if (atomic_load(&lingers[i].conn) == conn) {
			linger = (struct linger){ .l_onoff = 1, .l_linger = lingers[i].seconds };
			atomic_store(&lingers[i].conn, NULL);
		}
	real_setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

static void reset_at_exec(struct conn *conn, int fd)
{
	struct linger linger;

	if (get_linger(fd, &linger) && (!linger.l_onoff || linger.l_linger) && keep_linger(conn, &linger) &&
	    closing_set_reset(fd, true))
		atomic_fetch_or(&conn->options, CONN_EXEC_RESETS);
}

/* A child that closes one of them later is not to leave that to this process, which keeps its number but not its fds (holders.c). */
static void show_none_that_goes(void)
{
	uint32_t high = atomic_load(&conn_fd_high);
	int saved = errno;

	for (uint32_t fd = 0; fd <= high && fd < CONN_FD_MAX; fd++) {
		struct conn *conn = conn_get((int)fd);
		struct memory_cell *cell =
			conn && channel_is_own(conn->session_epoch) ? atomic_load(&conn->cell) : NULL;

		if (cell && (real_fcntl((int)fd, F_GETFD) & FD_CLOEXEC) &&
		    (atomic_load(&conn->fds) == 1 || all_go_with_exec(conn)))
			atomic_store(&cell->shown, 0);
	}
	errno = saved;
}

void lifecycle_exec_begins(void)
{
	if (!has_work())
		return;
	each_losing(ends_at_exec, reset_at_exec);
	show_none_that_goes();
}

void lifecycle_exec_failed(void)
{
	uint32_t high = atomic_load(&conn_fd_high);
	int saved = errno;
	bool is_ours = has_work();

	for (uint32_t fd = 0; is_ours && fd <= high && fd < CONN_FD_MAX; fd++) {
		struct conn *conn = conn_get((int)fd);

		if (!conn)
			continue;
		if (atomic_fetch_and(&conn->options, (uint8_t)~CONN_EXEC_RESETS) & CONN_EXEC_RESETS)
			put_linger_back(conn, (int)fd);
		conn_publish(conn); /* holders_are_none_but() took it back */
	}
	errno = saved;
}
