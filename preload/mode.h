/* SPDX-License-Identifier: BSD-2-Clause */
/* O_NONBLOCK of a connection's file.
 *
 * recv on an end that is or was in the sockhash says EAGAIN to who sleeps there, too (fact 4), so that after each EAGAIN it matters whether the
 * file blocks: of an event loop's it is one a turn, and an fcntl for each is one system call more than TCP's. "It does not" is
 * noted in conn->options. It lasts until a wrapper of this process sees the mode changed, and counts only while no other
 * process can have the file.
 */
#ifndef SMACCEL_MODE_H
#define SMACCEL_MODE_H

#include <stdbool.h>

#include "conn.h"

/* Whether calls on the connection do not wait. `fd`: its, or a duplicate of it. */
bool mode_is_nonblocking(struct conn *conn, int fd);

/* After a call that may have changed it, F_SETFL or FIONBIO. */
static inline void mode_may_change(int fd)
{
	struct conn *conn = conn_get(fd);

	if (conn && conn_has_option(conn, CONN_NONBLOCKING))
		atomic_fetch_and(&conn->options, (uint8_t)~CONN_NONBLOCKING);
}

/* Before such a call past the wrappers, whose end they do not see. */
static inline void mode_changes_unseen(int fd)
{
	struct conn *conn = conn_get(fd);

	if (conn)
		atomic_fetch_or(&conn->options, CONN_MODE_UNSEEN);
}

#endif
