/* SPDX-License-Identifier: BSD-2-Clause */
/* A connection's last fd is closed.
 *
 * TCP answers a close() with bytes unread by a reset, so that the peer learns of it. Of redirected bytes the kernel knows nothing
 * then, and sends FIN (fact 20). SO_LINGER with 0 gives the reset; but whoever holds the socket beside this process would be
 * hit by it, so that must be the last one (holders.c).
 *
 * Between that look and the kernel's close a send could still redirect, or while another thread's send sleeps on the closed file. So
 * before the look the receive buffer is made so small that the gate redirects nothing any more (fact 12b): what comes later is
 * TCP's, which answers it by a reset. Not where another process has the socket: after a fork the helper is asked before that, which
 * makes a close that meets an open peer 25 us longer. What has passed the gate by then is waited for (landing.c).
 */
#include "closing.h"

#include <sys/socket.h>

#include "endpoint.h"
#include "fork.h"
#include "held.h"
#include "holders.h"
#include "ledger.h"
#include "lifecycle_internal.h"
#include "queue.h"
#include "real.h"

#define CLOSING_RCVBUF_BYTES 65535 /* the kernel doubles it: the most that the gate takes for too small */

/* Redirected bytes are unread, fd is that connection, and the peer has not reset it. */
bool closing_loses_bytes(struct conn *conn, int fd, const struct landing *landing)
{
	return lifecycle_may_be_redirected_to(conn) &&
	       (queue_has_redirected(fd) || (landing && landing_waits(conn, fd, landing))) && !queue_has_error(fd) &&
	       endpoint_cookie(fd) == conn->cookie;
}

/* Asked again at the end: others may have read the bytes, and closed, meanwhile. */
bool closing_loses_bytes_alone(struct conn *conn, int fd, uint32_t own, const struct landing *landing)
{
	return closing_loses_bytes(conn, fd, landing) && holders_are_none_but(conn, fd, own) &&
	       queue_has_redirected(fd);
}

/* More may come, of which nothing that this process can see tells whether another process is to have it. A child that has used nothing has
 * no session, and would need one for that. */
static bool must_ask(struct conn *conn, int fd)
{
	return lifecycle_may_be_redirected_to(conn) &&
	       (conn_state(conn) != CONN_PINNED || atomic_load(&conn->not_pinned)) && channel_epoch() &&
	       channel_is_prompt() && !queue_has_end(fd) && !queue_has_redirected(fd);
}

void closing_stop_redirects(const struct conn *conn, int fd)
{
	if (endpoint_cookie(fd) == conn->cookie)
		real_setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){ CLOSING_RCVBUF_BYTES }, sizeof(int));
}

/* Only while nobody else can be using the connection. What is unread already decides by itself. */
static void stop_redirecting(struct conn *conn, int fd)
{
	if (lifecycle_may_be_redirected_to(conn) && endpoint_cookie(fd) == conn->cookie &&
	    (lifecycle_alone_by_forks(conn) || (must_ask(conn, fd) && holders_are_none_now(conn, fd))))
		closing_stop_redirects(conn, fd);
}

/* Of the last fd of this process. True: its close() is to reset the connection. */
static bool must_reset(struct conn *conn, int fd)
{
	if (holders_parent_has(conn))
		return false;
	/* Before the helper is asked, for which a child takes another cell. */
	struct landing landing = landing_find(conn);
	stop_redirecting(conn, fd);
	return closing_loses_bytes_alone(conn, fd, 1, &landing);
}

bool closing_set_reset(int fd, bool on)
{
	const struct linger reset = { .l_onoff = on, .l_linger = 0 };

	return real_setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0;
}

/* A call of another thread goes on by a duplicate, and may read all of it yet, after the look at what is unread or even before the kernel's
 * close. An application that wants a reset anyhow gets it. */
static bool set_reset_of_close(const struct conn *conn, int fd)
{
	struct linger linger = { 0 };
	socklen_t length = sizeof(linger);
	bool may_be_read = real_getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length) == 0 && !linger.l_onoff &&
			   held_note_reset(conn);

	if (!closing_set_reset(fd, true))
		return false;
	if (!may_be_read || queue_has_redirected(fd))
		return true;
	closing_set_reset(fd, false);
	return false;
}

/* An armed end that is closed is in no hurry: the helper finds it here when it is awake anyhow. Not while latencies are recorded
 * in the cell, which is the next connection's when it looks. */
static bool note_retired(struct conn *conn, struct memory_cell *cell)
{
	struct session_memory *memory = lifecycle_session_of(cell, conn->index);

	if (conn_state(conn) != CONN_ARMED || !(channel_features() & WIRE_FEATURE_RETIRED) ||
	    conn->session_epoch != channel_epoch() || atomic_load(&memory->recording))
		return false;
	for (uint32_t i = 0; i < MEMORY_RETIRED; i++) {
		_Atomic uint32_t *place = &memory->retired[(conn->index + i) % MEMORY_RETIRED];
		uint32_t nobody = 0;

		if (atomic_compare_exchange_strong(place, &nobody, memory_retired(conn->index, conn->generation)))
			return true;
	}
	return false;
}

bool lifecycle_closing(struct conn *conn, int fd)
{
	struct memory_cell *cell = atomic_load(&conn->cell);

	if (!cell && !lifecycle_may_be_redirected_to(conn))
		return false;
	if (cell && !lifecycle_in_plain_arm(conn) && !atomic_load(&conn->given_away)) /* else it goes on elsewhere */
		admission_judge_end(&conn->admission, conn->turns);
	fork_notice();
	struct lifecycle_quiet quiet = lifecycle_quiet_begin();
	lifecycle_take_back(conn);
	bool resets = must_reset(conn, fd) && set_reset_of_close(conn, fd);
	ledger_close(conn);
	cell = atomic_load(&conn->cell);
	if (!cell || !note_retired(conn, cell))
		lifecycle_retire(conn);
	/* Only while nobody else can be using the connection: it would reach them too. */
	bool must_shut_down = lifecycle_alone_by_forks(conn) && atomic_load(&conn->lent) &&
			      !lifecycle_others_call(conn) && lifecycle_end_lent(conn, fd, resets);
	lifecycle_quiet_end(quiet);
	return must_shut_down;
}
