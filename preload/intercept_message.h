/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by the wrappers of one message, of many, and of messages that carry fds. */
#ifndef SMACCEL_INTERCEPT_MESSAGE_H
#define SMACCEL_INTERCEPT_MESSAGE_H

#include "transfer.h"

/* One message on a tracked connection, its header not looked at yet: recvmsg's and sendmsg's result. `perform` makes the
 * application's own call. */
ssize_t intercept_receive_message(struct conn *conn, int fd, struct msghdr *message, int flags);
ssize_t intercept_send_message(struct conn *conn, int fd, const struct msghdr *message, int flags,
			       ssize_t (*perform)(const struct send_call *call));

/* A message on a socket that is not tracked (intercept_rights.c): fds of connections that it is about to carry away, for
 * whatever process; fds that it has brought, after the kernel has filled it in. errno is kept. */
void intercept_rights_given(const struct msghdr *message);
void intercept_rights_received(const struct msghdr *message);

#endif
