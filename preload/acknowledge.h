/* SPDX-License-Identifier: BSD-2-Clause */
/* Acknowledging, when an end is armed, what came by TCP before.
 *
 * TCP sends an acknowledgement along with the answer. A redirected answer carries none: it comes by the timer of delayed ones, 40 ms later. Until
 * then Nagle's algorithm holds what the peer, whose end has no TCP_NODELAY, may have to send by TCP again.
 */
#ifndef SMACCEL_ACKNOWLEDGE_H
#define SMACCEL_ACKNOWLEDGE_H

#include <stdbool.h>

#include "conn.h"

/* Sets TCP_QUICKACK: the acknowledgement that is owed goes now, or when what is unread is read. fd is that connection's, or was a moment ago. Keeps
 * errno. */
void acknowledge_now(struct conn *conn, int fd);

/* The application has set TCP_QUICKACK itself. */
void acknowledge_set_by_application(struct conn *conn);
/* To the application TCP_QUICKACK is 0, whatever the kernel says. */
static inline bool acknowledge_is_hidden(const struct conn *conn)
{
	return conn_has_option(conn, CONN_QUICKACK);
}

#endif
