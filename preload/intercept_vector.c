/* SPDX-License-Identifier: BSD-2-Clause */
/* readv, writev, and those with flags: each wrapper describes the call (transfer.h) and says how to perform it through libc.
 *
 * A vector that the kernel would refuse, or that cannot be read, goes to the real function, which says so; one of no bytes, too:
 * the socket is not told of it. A negative count is far above IOV_MAX.
 */
#include "intercept.h"

#include <errno.h>

#include "direct.h"
#include "readable.h"
#include "transfer_short.h"

#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x00000100 /* Linux 6.18 */
#endif

static inline struct msghdr message_of(const struct iovec *vector, int count)
{
	return (struct msghdr){ .msg_iov = (struct iovec *)vector, .msg_iovlen = (size_t)count };
}

static bool is_for_kernel(const struct iovec *vector, int count, size_t *bytes_out)
{
	return !readable_vector(vector, (size_t)count, bytes_out) || *bytes_out == 0;
}

static ssize_t perform_readv(const struct receive_call *call)
{
	return real_readv(call->fd, call->message->msg_iov, (int)call->message->msg_iovlen);
}

/* `way`: goes on with a call that the short way began; or NULL. */
static __attribute__((noinline)) ssize_t long_readv(struct conn *conn, int fd, struct msghdr *message, size_t bytes,
						    struct transfer_short *way, ssize_t result)
{
	struct receive_call call = { .fd = fd, .bytes = bytes, .message = message, .perform = perform_readv };

	return way ? transfer_short_receive_rest(conn, &call, way, result) : transfer_receive(conn, &call);
}

ssize_t wrap_readv(int fd, const struct iovec *vector, int count)
{
	struct conn *conn = conn_get(fd);
	struct transfer_short way;
	size_t bytes;

	if (!conn)
		return REAL(readv)(fd, vector, count);
	if (is_for_kernel(vector, count, &bytes))
		return real_readv(fd, vector, count);
	struct msghdr message = message_of(vector, count);
	if (!transfer_short_receive(conn, fd, bytes, 0, &way))
		return long_readv(conn, fd, &message, bytes, NULL, 0);
	ssize_t result = direct_readv(fd, vector, count);
	if (transfer_short_received(conn, fd, bytes, &way, result))
		return result;
	struct transfer_short rest = way;
	return long_readv(conn, fd, &message, bytes, &rest, result);
}

static ssize_t perform_writev(const struct send_call *call)
{
	return real_writev(call->fd, call->message->msg_iov, (int)call->message->msg_iovlen);
}

/* The same call without SIGPIPE. */
static ssize_t perform_as_message(const struct send_call *call)
{
	return real_sendmsg(call->fd, call->message, call->flags | MSG_NOSIGNAL);
}

static __attribute__((noinline)) ssize_t long_writev(struct conn *conn, int fd, const struct msghdr *message,
						     size_t bytes, struct transfer_short *way, ssize_t result)
{
	struct send_call call = { .fd = fd,
				  .bytes = bytes,
				  .message = message,
				  .perform = perform_writev,
				  .perform_quietly = perform_as_message };

	return way ? transfer_short_send_rest(conn, &call, way, result) : transfer_send(conn, &call);
}

ssize_t wrap_writev(int fd, const struct iovec *vector, int count)
{
	struct conn *conn = conn_get(fd);
	struct transfer_short way;
	size_t bytes;

	if (!conn)
		return REAL(writev)(fd, vector, count);
	if (is_for_kernel(vector, count, &bytes))
		return real_writev(fd, vector, count);
	struct msghdr message = message_of(vector, count);
	if (!transfer_short_send(conn, fd, bytes, 0, &way))
		return long_writev(conn, fd, &message, bytes, NULL, 0);
	ssize_t result = way.no_signal ? direct_sendmsg(fd, &message, way.no_signal) : direct_writev(fd, vector, count);
	if (transfer_short_sent(conn, bytes, &way, result))
		return result;
	struct transfer_short rest = way;
	return long_writev(conn, fd, &message, bytes, &rest, result);
}

static ssize_t perform_preadv2(const struct receive_call *call)
{
	const struct msghdr *message = call->message;

	return real_preadv2(call->fd, message->msg_iov, (int)message->msg_iovlen, -1, *(const int *)call->arguments);
}

/* Offset -1: the file position, which is the only one a socket has. */
static ssize_t receive_preadv2(struct conn *conn, int fd, const struct iovec *vector, int count, int flags)
{
	struct msghdr message = message_of(vector, count);
	size_t bytes;

	if (is_for_kernel(vector, count, &bytes))
		return real_preadv2(fd, vector, count, -1, flags);
	return transfer_receive(conn, &(struct receive_call){ .fd = fd,
							      .flags = flags & RWF_NOWAIT ? MSG_DONTWAIT : 0,
							      .bytes = bytes,
							      .message = &message,
							      .perform = perform_preadv2,
							      .arguments = &flags });
}

ssize_t wrap_preadv2(int fd, const struct iovec *vector, int count, off_t offset, int flags)
{
	struct conn *conn = conn_get(fd);

	if (!conn || offset != -1)
		return REAL(preadv2)(fd, vector, count, offset, flags);
	return receive_preadv2(conn, fd, vector, count, flags);
}

ssize_t wrap_preadv64v2(int fd, const struct iovec *vector, int count, off64_t offset, int flags)
{
	struct conn *conn = conn_get(fd);

	if (!conn || offset != -1)
		return REAL(preadv64v2)(fd, vector, count, offset, flags);
	return receive_preadv2(conn, fd, vector, count, flags);
}

static ssize_t perform_pwritev2(const struct send_call *call)
{
	const struct msghdr *message = call->message;

	return real_pwritev2(call->fd, message->msg_iov, (int)message->msg_iovlen, -1, *(const int *)call->arguments);
}

static ssize_t send_pwritev2(struct conn *conn, int fd, const struct iovec *vector, int count, int flags)
{
	struct msghdr message = message_of(vector, count);
	size_t bytes;

	if (is_for_kernel(vector, count, &bytes))
		return real_pwritev2(fd, vector, count, -1, flags);
	return transfer_send(
		conn,
		&(struct send_call){
			.fd = fd,
			.flags = (flags & RWF_NOWAIT ? MSG_DONTWAIT : 0) | (flags & RWF_NOSIGNAL ? MSG_NOSIGNAL : 0),
			.bytes = bytes,
			.message = &message,
			.perform = perform_pwritev2,
			.perform_quietly = flags ? NULL : perform_as_message, /* some kernels know not all flags */
			.arguments = &flags });
}

ssize_t wrap_pwritev2(int fd, const struct iovec *vector, int count, off_t offset, int flags)
{
	struct conn *conn = conn_get(fd);

	if (!conn || offset != -1)
		return REAL(pwritev2)(fd, vector, count, offset, flags);
	return send_pwritev2(conn, fd, vector, count, flags);
}

ssize_t wrap_pwritev64v2(int fd, const struct iovec *vector, int count, off64_t offset, int flags)
{
	struct conn *conn = conn_get(fd);

	if (!conn || offset != -1)
		return REAL(pwritev64v2)(fd, vector, count, offset, flags);
	return send_pwritev2(conn, fd, vector, count, flags);
}
