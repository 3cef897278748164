/* SPDX-License-Identifier: BSD-2-Clause */
/* The end of a connection of which a stopped helper has a duplicate: what close() would do, done now (invariant 6).
 *
 *	close() would                     so here
 *	nothing yet: another thread is    nothing: it goes on with its call, and the rest is up to the helper
 *	in a call on it
 *	reset: bytes are unread, or       connect(AF_UNSPEC), whose tcp_disconnect() resets, whoever else has the socket
 *	SO_LINGER says so
 *	send FIN, and answer what comes   shutdown(SHUT_RDWR): what arrives in FIN_WAIT1 and 2 is answered by a reset then,
 *	later by a reset                  as tcp_rcv_state_process() does for an end that nobody has
 *
 * Before that the socket is taken out of what tells of it: epoll and SIGIO, which would go on until the helper lets it go.
 * A FIN before the reset would give the peer EPIPE instead of ECONNRESET, or the end of the stream.
 */
#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#include "epolls.h"
#include "held.h"
#include "held_change.h"
#include "lifecycle_internal.h"
#include "queue.h"
#include "raw_syscall.h"
#include "real.h"
#include "threads.h"

#define WAIT_STEP_NS 1000000
#define CALL_STEPS 100 /* of 0.1 ms */

void lifecycle_take_back(struct conn *conn)
{
	struct memory_cell *cell = atomic_load(&conn->cell);
	bool lent = false;

	/* Not what the parent of this process asks for at this moment: its cell is in memory that both have. */
	if (cell && conn->session_epoch == channel_epoch() &&
	    channel_abandon(cell, conn->index, conn->generation & CELL_GENERATION_MASK, &lent) && lent)
		atomic_store(&conn->lent, CONN_LENT);
}

bool lifecycle_is_lent(const struct conn *conn)
{
	struct memory_cell *cell = atomic_load(&((struct conn *)conn)->cell);

	return atomic_load(&((struct conn *)conn)->lent) && cell &&
	       atomic_load(&cell->word) == cell_word(conn->generation & CELL_GENERATION_MASK, CELL_ABANDONED);
}

void lifecycle_helper_gone(uint32_t epoch)
{
	uint32_t high = atomic_load(&conn_fd_high);

	if (epoch)
		lifecycle_session_over(lifecycle_parent_epoch);
	for (uint32_t fd = 0; epoch && fd <= high && fd < CONN_FD_MAX; fd++) {
		struct conn *conn = conn_get((int)fd);
		uint8_t lent = CONN_LENT;

		if (conn && (conn->session_epoch == epoch || conn->session_epoch == lifecycle_parent_epoch))
			atomic_compare_exchange_strong(&conn->lent, &lent, CONN_LENT_TO_GONE);
	}
}

/* True: it is not to be waited for. */
static bool is_back(struct conn *conn, int fd)
{
	if (!lifecycle_is_lent(conn))
		return true;
	if (atomic_load(&conn->lent) == CONN_LENT)
		return false;
	if (!queue_may_be_joined(fd))
		atomic_store(&conn->lent, CONN_NOT_LENT);
	return true;
}

void lifecycle_wait_lent(struct conn *conn, int fd, int wait_ms)
{
	const struct timespec step = { .tv_nsec = WAIT_STEP_NS };
	struct session_memory *memory;

	if (lifecycle_is_lent(conn))
		(void)channel_session(&memory, 0); /* takes notice of a helper that is gone */
	for (int i = 0; !is_back(conn, fd) && i < wait_ms; i++)
		raw_syscall(SYS_nanosleep, &step, NULL);
}

/* An urgent byte no receive counts. Once it has been read it counts as unread for close(), too, until what follows it is read. */
static bool close_resets(int fd)
{
	struct linger linger = { 0 };
	socklen_t length = sizeof(linger);

	return (real_getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length) == 0 && linger.l_onoff &&
		linger.l_linger == 0) ||
	       queue_tcp_bytes(fd) > 0 || queue_is_at_mark(fd);
}

bool lifecycle_others_call(struct conn *conn)
{
	/* The call that began with a join that was taken back just now goes on by a duplicate: mostly not for long. */
	for (int i = 0; i < CALL_STEPS && held_duplicates(conn) > 0; i++)
		held_pause_briefly();
	uint32_t count = threads_count_inside(conn->index);

	/* Whose join was taken back is on its way out of it. */
	return count > (conn_state(conn) == CONN_JOINING) || held_duplicates(conn) > 0;
}

/* What else hangs on the file, and ends with its last fd. */
static void detach(int fd)
{
	int flags = real_fcntl(fd, F_GETFL);

	epolls_forget(fd);
	if (flags >= 0 && (flags & O_ASYNC))
		real_fcntl(fd, F_SETFL, flags & ~O_ASYNC);
}

bool lifecycle_end_lent(struct conn *conn, int fd, bool resets)
{
	const struct sockaddr nothing = { .sa_family = AF_UNSPEC };

	if (!lifecycle_is_lent(conn) || endpoint_cookie(fd) != conn->cookie)
		return false;
	detach(fd);
	if (!resets && !close_resets(fd))
		return true;
	real_connect(fd, &nothing, sizeof(nothing));
	return false;
}
