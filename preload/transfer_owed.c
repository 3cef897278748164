/* SPDX-License-Identifier: BSD-2-Clause */
/* The error of a connection, which TCP reports once: to the call that fails of it, or to the next one, if this has a count to return. A
 * joined end reports it too early, or leaves it where it was; what the next call is owed is kept with the connection. */
#include <errno.h>
#include <sys/socket.h>

#include "conn.h"
#include "endpoint.h"
#include "real.h"
#include "transfer_internal.h"

bool transfer_is_connections_error(int error)
{
	return error == ECONNRESET || error == ETIMEDOUT || error == EHOSTUNREACH || error == ENETUNREACH ||
	       error == ECONNABORTED;
}

int transfer_take_owed_error(struct conn *conn)
{
	if (__builtin_expect(atomic_load_explicit(&conn->owed_error, memory_order_relaxed) == 0, 1))
		return 0;
	return atomic_exchange(&conn->owed_error, 0);
}

/* Touched: the short way, which knows no such error, is not taken any more. */
static void owe(struct conn *conn, int error)
{
	conn_touch(conn);
	atomic_store(&conn->owed_error, (uint8_t)error);
	atomic_store(&hot.owes, true);
}

void transfer_owe_error(struct conn *conn, int error)
{
	if (transfer_is_connections_error(error))
		owe(conn, error);
}

/* Which error it was the kernel has told nobody: that of an abort (ss -K) or of TCP_USER_TIMEOUT becomes a reset, too. */
void transfer_owe_reset(struct conn *conn, uint32_t generation)
{
	if (atomic_load_explicit(&conn->generation, memory_order_relaxed) == generation)
		owe(conn, transfer_peer_has_ended(conn) ? EPIPE : ECONNRESET);
}

void transfer_owe_if_same(struct conn *conn, uint32_t generation, int error)
{
	if (atomic_load_explicit(&conn->generation, memory_order_relaxed) == generation)
		transfer_owe_error(conn, error);
}

/* tcp_bpf_sendmsg returns the error that waits on the socket and leaves it there; TCP reports it once. */
void transfer_take_reported_error(int fd)
{
	int error = errno, taken;
	socklen_t length = sizeof(taken);

	if (transfer_is_connections_error(error))
		real_getsockopt(fd, SOL_SOCKET, SO_ERROR, &taken, &length);
	errno = error;
}

bool transfer_has_no_connection(const struct conn *conn, int fd)
{
	if (__builtin_expect(!(atomic_load(&conn->marks) & CONN_DISSOLVED), 1) || !endpoint_is_dissolved(fd))
		return false;
	int error = endpoint_option(fd, SOL_SOCKET, SO_ERROR);
	errno = error ? error : ENOTCONN;
	return true;
}
