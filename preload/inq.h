/* SPDX-License-Identifier: BSD-2-Clause */
/* TCP_INQ of an end that is or was in the sockhash: a control message of recvmsg says how many bytes wait behind those that it
 * returned.
 *
 * The option is set on the kernel's socket, which answers getsockopt and which all processes share. TCP tells of its own queue, and
 * only in a receive that finds no redirected bytes; of such an end the wrappers receive in pieces, too, and by other calls. So the
 * message is written here, of both queues.
 */
#ifndef SMACCEL_INQ_H
#define SMACCEL_INQ_H

#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "conn.h"

/* Younger than the headers of some systems that we build on. */
#ifndef TCP_INQ
#define TCP_INQ 36
#define TCP_CM_INQ TCP_INQ
#endif

/* To be asked before a receive, as the kernel does. A few loads where nobody has set the option. */
bool inq_is_wanted(struct conn *conn, int fd);

/* After a receive that returned 0 or more: adds the control message, or puts the right number in the kernel's. `room`: what
 * msg_controllen was before the call. errno is kept. */
void inq_tell(struct conn *conn, int fd, struct msghdr *message, size_t room);

#endif
