/* SPDX-License-Identifier: BSD-2-Clause */
/* Where connections come from: socket, listen, connect, accept, accept4. */
#include "intercept.h"

#include <errno.h>
#include <netinet/in.h>

#include "endpoint.h"
#include "fork.h"
#include "ledger.h"
#include "lifecycle.h"
#include "queue.h"
#include "readable.h"

#define LEAVES_MAX 2 /* what was on its way into the queue at the first has got there */

void intercept_forget_stale(int fd)
{
	int saved = errno;

	/* A vfork child's numbers are its own, the table is its parent's. The answer of conn_fd_drop() is about the socket
	 * that had the number before: it is closed, there is nothing to shut down. */
	if (!fork_in_vfork_child()) {
		fork_notice();
		(void)conn_fd_drop(fd);
		conn_mark_closed(fd);
	}
	errno = saved;
}

int wrap_socket(int domain, int type, int protocol)
{
	int fd = REAL(socket)(domain, type, protocol);

	if (fd < 0 || !conn_table())
		return fd;
	intercept_new_fd(fd);
	/* Low bits: SOCK_NONBLOCK and SOCK_CLOEXEC are in the same word. */
	bool is_tcp = (domain == AF_INET || domain == AF_INET6) && (type & 0xf) == SOCK_STREAM &&
		      (protocol == 0 || protocol == IPPROTO_TCP);
	conn_mark_set(fd, is_tcp ? CONN_MARK_TCP : 0);
	if (is_tcp)
		lifecycle_open_door();
	return fd;
}

int wrap_listen(int fd, int backlog)
{
	int result = REAL(listen)(fd, backlog);

	if (result == 0 && conn_table() && endpoint_is_tcp(fd)) {
		conn_mark_set(fd, CONN_MARK_LISTENER);
		lifecycle_open_door();
	}
	return result;
}

/* The socket has no connection any more. Of several numbers one cannot say later that the others are the same socket. */
static void forget_everywhere(struct conn *conn, int fd)
{
	bool is_alone = atomic_load(&conn->fds) == 1;
	uint32_t high = atomic_load(&conn_fd_high);

	for (uint32_t other = 0; !is_alone && other <= high && other < CONN_FD_MAX; other++)
		if (other != (uint32_t)fd && conn_get((int)other) == conn) {
			intercept_forget_stale((int)other);
			conn_mark_set((int)other, CONN_MARK_DUPLICATED);
		}
	intercept_forget_stale(fd);
	if (!is_alone)
		conn_mark_set(fd, CONN_MARK_DUPLICATED);
}

/* Of no interest but for what their numbers were, if that was closed where no wrapper saw it: of such a connection bytes are topped up, and these
 * have messages, which are not. */
int wrap_socketpair(int domain, int type, int protocol, int fds[2])
{
	int result = REAL(socketpair)(domain, type, protocol, fds);

	if (result == 0 && conn_table())
		for (int i = 0; i < 2; i++) {
			intercept_new_fd(fds[i]);
			conn_mark_set(fds[i], 0);
		}
	return result;
}

/* The kernel has thrown away what TCP's queue had, but leaves the socket in the sockhash with its redirected bytes; and so does the helper, as
 * long as it had a connection and the peer has not read. What cannot leave stays known: its receives and its next connection need care.
 * True: it is forgotten. */
static bool dissolved(struct conn *conn, int fd)
{
	bool is_plain = false;

	for (int i = 0; i < LEAVES_MAX && !is_plain; i++) {
		queue_discard(fd);
		is_plain = lifecycle_make_plain(conn, fd, REASON_OPTION);
	}
	if (is_plain) {
		forget_everywhere(conn, fd);
	} else {
		ledger_detach(conn);
		atomic_store(&conn->owed_error, 0);
		atomic_fetch_or(&conn->marks, CONN_DISSOLVED);
	}
	return conn_get(fd) != conn; /* not so in a vfork child */
}

/* The connection has been dissolved, by whichever call. One that never was up is still the same, with accounts of 0. */
static bool is_dissolved(const struct conn *conn, int fd)
{
	bool was_up = conn_is_joined(conn) || conn_state(conn) != CONN_WATCHING ||
		      atomic_load(&((struct conn *)conn)->sent) || atomic_load(&((struct conn *)conn)->received);

	return was_up && endpoint_is_dissolved(fd) && (!conn->cookie || endpoint_cookie(fd) == conn->cookie);
}

/* connect() on a socket that is tracked. The second call of a non-blocking connect (0, EALREADY, EISCONN), and a call after
 * a failed one, concern the same socket: its entry and its accounts, 0 until now, stay right. */
static int connect_again(struct conn *conn, int fd, const struct sockaddr *address, socklen_t length)
{
	/* AF_UNSPEC dissolves the connection; the socket can make a new one then, which is none of ours yet. */
	bool dissolves = length >= sizeof(address->sa_family) && readable_bytes(address, sizeof(address->sa_family)) &&
			 address->sa_family == AF_UNSPEC;

	if (dissolves && !lifecycle_make_plain(conn, fd, REASON_OPTION)) {
		queue_discard(fd); /* unread, they would turn up in the socket's next connection */
		(void)lifecycle_make_plain(conn, fd, REASON_OPTION);
	}
	int result = real_connect(fd, address, length), saved = errno;
	/* If the connection has ended, and no call of connect() has told yet that it had come up, the kernel tells how it ended, and dissolves
	 * what is left of it (__inet_stream_connect(): tcp_disconnect()). Not so with other errors, as EISCONN or what a filter says. */
	if (result == 0 ? dissolves : is_dissolved(conn, fd))
		(void)dissolved(conn, fd);
	errno = saved;
	return result;
}

int wrap_connect(int fd, const struct sockaddr *address, socklen_t length)
{
	struct conn *conn = conn_get(fd);

	/* By a call that no wrapper saw; or by one that did, but it could not leave the sockhash. */
	if (conn && !(is_dissolved(conn, fd) && dissolved(conn, fd)))
		return connect_again(conn, fd, address, length);
	int result = REAL(connect)(fd, address, length);
	if (!conn_table() || (result != 0 && errno != EINPROGRESS && errno != EINTR))
		return result;
	/* An interrupted connect goes on in the background, as one that is in progress. The kernel has read the address by now, so
	 * this cannot fault; it costs a connect to a unix socket nothing. */
	if (length < sizeof(address->sa_family) || (address->sa_family != AF_INET && address->sa_family != AF_INET6) ||
	    conn_mark(fd) == CONN_MARK_DUPLICATED)
		return result;
	int saved = errno;
	/* A raw socket may have the protocol number of TCP. In a vfork child this tracks a number of the child's in its parent's
	 * table, where it is stale at once, and forgotten as such when the number is given out. */
	if (conn_mark(fd) == CONN_MARK_TCP ||
	    (endpoint_is_tcp(fd) && endpoint_option(fd, SOL_SOCKET, SO_TYPE) == SOCK_STREAM)) {
		fork_notice();
		lifecycle_connected(fd);
	}
	errno = saved;
	return result;
}

/* One getsockopt, unless the listener is known: one that was inherited, or came in a message, is not. */
static int accepted(int listener, int fd)
{
	if (fd < 0 || !conn_table())
		return fd;
	intercept_new_fd(fd);
	if (conn_mark(listener) == CONN_MARK_LISTENER || endpoint_is_tcp(fd)) {
		int saved = errno;

		fork_notice();
		lifecycle_accepted(fd);
		errno = saved;
	}
	return fd;
}

int wrap_accept(int fd, struct sockaddr *address, socklen_t *length)
{
	return accepted(fd, REAL(accept)(fd, address, length));
}

int wrap_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
	return accepted(fd, REAL(accept4)(fd, address, length, flags));
}
