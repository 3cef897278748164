/* SPDX-License-Identifier: BSD-2-Clause */
/* O_NONBLOCK of a connection's file.
 *
 * recv on an end that is or was in the sockhash says EAGAIN to who sleeps there, too (fact 4), so that after each EAGAIN it matters whether the
 * file blocks: of an event loop's it is one a turn, and an fcntl for each is one system call more than TCP's. "It does not" is
 * noted in conn->mode. It lasts until a wrapper of this process sees the mode changed, and counts only while no other
 * process can have the file.
 *
 * conn->mode: MODE_NONBLOCKING, and above it a count of changes. What was asked of the kernel is noted only where there was no change
 * since before the question.
 */
#ifndef SMACCEL_MODE_H
#define SMACCEL_MODE_H

#include <stdbool.h>

#include "conn.h"

#define MODE_NONBLOCKING 1u
#define MODE_CHANGE 2u

/* Whether calls on the connection do not wait. `fd`: its, or a duplicate of it. */
bool mode_is_nonblocking(struct conn *conn, int fd);

/* After a call that may have changed it, F_SETFL or FIONBIO. */
static inline void mode_may_change(int fd)
{
	struct conn *conn = conn_get(fd);

	uint8_t mode = conn ? atomic_load(&conn->mode) : 0;

	while (conn &&
	       !atomic_compare_exchange_weak(&conn->mode, &mode, (uint8_t)((mode & ~MODE_NONBLOCKING) + MODE_CHANGE)))
		;
}

/* Before such a call past the wrappers, whose end they do not see. */
static inline void mode_changes_unseen(int fd)
{
	struct conn *conn = conn_get(fd);

	if (conn)
		atomic_fetch_or(&conn->options, CONN_MODE_UNSEEN);
}

#endif
