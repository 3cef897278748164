/* SPDX-License-Identifier: BSD-2-Clause */
/* TCP_INQ of an end that is or was in the sockhash: a control message of recvmsg says how many bytes wait behind those that it
 * returned.
 *
 * The option is set on the kernel's socket, which answers getsockopt and which all processes share. TCP tells of its own queue, and
 * only in a receive that finds no redirected bytes; of such an end the wrappers receive in pieces, too, and by other calls. So the
 * message is written here, of both queues. gRPC sets it on each connection that it has.
 */
#ifndef SMACCEL_INQ_H
#define SMACCEL_INQ_H

#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "conn.h"
#include "fork.h"

/* Younger than the headers of some systems that we build on. */
#ifndef TCP_INQ
#define TCP_INQ 36
#define TCP_CM_INQ TCP_INQ
#endif

/* The kernel's answer whether it is set. Keeps errno. */
bool inq_ask(int fd);
/* After the application has set it, or taken it off. */
void inq_was_set(struct conn *conn, int fd);

/* To be asked before a receive, as the kernel does. Where no other process may have set it, the wrappers know. */
static inline bool inq_is_wanted(const struct conn *conn, int fd)
{
	if (!conn_is_joined(conn))
		return false;
	if (__builtin_expect(conn->fork_count == fork_count() &&
				     !atomic_load_explicit(&((struct conn *)conn)->adopted, memory_order_relaxed),
			     1))
		return conn_has_option(conn, CONN_TELLS_INQ);
	return inq_ask(fd);
}

/* After a receive: adds the control message, or puts the right number in the kernel's. `room`: what msg_controllen was before the call.
 * errno is kept. */
void inq_tell(struct conn *conn, int fd, struct msghdr *message, size_t room);

/* A recvmsg under way. */
struct inq_call {
	size_t room;
	bool was_joined, tells;
};
static inline struct inq_call inq_begin(const struct conn *conn, int fd, const struct msghdr *message)
{
	return (struct inq_call){ .room = message->msg_controllen,
				  .was_joined = conn_is_joined(conn),
				  .tells = inq_is_wanted(conn, fd) };
}
static inline void inq_end(const struct inq_call *call, struct conn *conn, int fd, struct msghdr *message, size_t bytes,
			   int flags, ssize_t result)
{
	bool tells = call->tells;

	if (__builtin_expect(!call->was_joined, 0)) /* by now it may be */
		tells = inq_is_wanted(conn, fd);
	if (__builtin_expect(!tells, 1) || result < 0 || (flags & (MSG_OOB | MSG_ERRQUEUE)))
		return;
	if (result > 0 || bytes == 0 || (flags & MSG_TRUNC)) /* the end of the stream is TCP's own: it tells */
		inq_tell(conn, fd, message, call->room);
}

#endif
