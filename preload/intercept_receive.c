/* SPDX-License-Identifier: BSD-2-Clause */
/* Receives: each wrapper describes the call (transfer.h) and says how to perform it through libc.
 *
 * An argument that the kernel would refuse, or that cannot be read, goes to the real function, which says so. recvmmsg is in
 * intercept_many.c.
 */
#include "intercept.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>

#include "direct.h"
#include "inq.h"
#include "intercept_message.h"
#include "libc.h"
#include "lifecycle.h"
#include "queue.h"
#include "readable.h"
#include "threads.h"
#include "transfer_short.h"

/* To the real function: it takes nothing from the stream, or urgent data, which only plain TCP (or a pinned direction) has. */
static bool goes_past(size_t bytes, int flags)
{
	return bytes == 0 || (flags & (MSG_OOB | MSG_ERRQUEUE)) != 0;
}

static ssize_t receive_buffer(struct conn *conn, struct receive_call *call, void *buffer)
{
	struct iovec vector = { .iov_base = buffer, .iov_len = transfer_cut(call->bytes) };

	call->bytes = vector.iov_len;
	call->flags &=
		INT_MAX; /* MSG_CMSG_COMPAT: recv() ignores it, recvmsg(), which may be called in its place, says EINVAL */
	call->message = &(struct msghdr){ .msg_iov = &vector, .msg_iovlen = 1 };
	return transfer_receive(conn, call);
}

/* The whole count: beyond the end of the address space it is EFAULT, however little comes. */
static ssize_t perform_read(const struct receive_call *call)
{
	return real_read(call->fd, call->message->msg_iov->iov_base, *(const size_t *)call->arguments);
}

static ssize_t receive_read(struct conn *conn, int fd, void *buffer, size_t count)
{
	return receive_buffer(
		conn, &(struct receive_call){ .fd = fd, .bytes = count, .perform = perform_read, .arguments = &count },
		buffer);
}

static __attribute__((noinline)) ssize_t long_read(struct conn *conn, int fd, void *buffer, size_t count)
{
	if (!conn || goes_past(count, 0))
		return REAL(read)(fd, buffer, count);
	return receive_read(conn, fd, buffer, count);
}

ssize_t wrap___read_chk(int fd, void *buffer, size_t count, size_t room)
{
	struct conn *conn = conn_get(fd);

	/* With too little room the real one ends the program, as it should. */
	if (!conn || count > room || goes_past(count, 0))
		return REAL(__read_chk)(fd, buffer, count, room);
	return receive_read(conn, fd, buffer, count);
}

static ssize_t perform_recv(const struct receive_call *call)
{
	return real_recv(call->fd, call->message->msg_iov->iov_base, call->bytes, call->flags);
}

static ssize_t receive_recv(struct conn *conn, int fd, void *buffer, size_t count, int flags)
{
	return receive_buffer(
		conn, &(struct receive_call){ .fd = fd, .flags = flags, .bytes = count, .perform = perform_recv },
		buffer);
}

/* The end could not leave: a receive of urgent data would sleep, or take redirected bytes that wait (fact 15). Without urgent
 * data, or where it is part of the stream, TCP says EINVAL. Behind redirected bytes it is told what TCP says as long as the urgent byte has not arrived. */
static bool urgent_is_hidden(struct conn *conn, int fd, int flags)
{
	struct pollfd poller = { .fd = fd, .events = POLLPRI };
	int saved = errno;

	/* Under another thread's call an end that has left keeps the sockhash's functions (fact 19). */
	if (!(flags & MSG_OOB) || (flags & MSG_ERRQUEUE) ||
	    (lifecycle_make_plain(conn, fd, REASON_OOB) && !(conn->touched && threads_count_inside(conn->index))))
		return false;
	bool waits = real_poll(&poller, 1, 0) == 1 && (poller.revents & POLLPRI);
	errno = saved;
	if (waits && !queue_has_redirected(fd))
		return false;
	errno = waits && !queue_takes_urgent(fd) ? EAGAIN : EINVAL;
	return true;
}

/* A receive of no bytes waits for data, or takes an error, as any other; of an end in the sockhash the kernel says 0 at once. */
static bool is_empty_receive(const struct conn *conn, size_t bytes, int flags)
{
	return bytes == 0 && conn_is_joined(conn) && !(flags & (MSG_OOB | MSG_ERRQUEUE));
}

static ssize_t receive_nothing(struct conn *conn, int fd, int flags)
{
	char byte;
	ssize_t result = receive_recv(conn, fd, &byte, 1, (flags & ~(MSG_WAITALL | MSG_TRUNC)) | MSG_PEEK);

	return result > 0 ? 0 : result;
}

static __attribute__((noinline)) ssize_t long_recv(struct conn *conn, int fd, void *buffer, size_t count, int flags)
{
	if (conn && is_empty_receive(conn, count, flags))
		return receive_nothing(conn, fd, flags);
	if (conn && urgent_is_hidden(conn, fd, flags))
		return -1;
	if (!conn || goes_past(count, flags))
		return REAL(recv)(fd, buffer, count, intercept_flags_past(fd, flags));
	return receive_recv(conn, fd, buffer, count, flags);
}

enum short_receive { AS_READ, AS_RECV };

/* Goes on with a call that the short way began. */
static __attribute__((noinline)) ssize_t rest_of_receive(enum short_receive as, struct conn *conn, int fd, void *buffer,
							 size_t count, int flags, struct transfer_short *way,
							 ssize_t result)
{
	struct iovec vector = { .iov_base = buffer, .iov_len = transfer_cut(count) };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };

	return transfer_short_receive_rest(conn,
					   &(struct receive_call){ .fd = fd,
								   .flags = flags,
								   .bytes = vector.iov_len,
								   .message = &message,
								   .perform =
									   as == AS_READ ? perform_read : perform_recv,
								   .arguments = &count },
					   way, result);
}

static inline __attribute__((always_inline)) ssize_t receive_short(enum short_receive as, int fd, void *buffer,
								   size_t count, int flags)
{
	struct conn *conn = conn_get(fd);
	struct transfer_short way;

	if (__builtin_expect(conn != NULL, 1) && transfer_short_receive(conn, fd, count, flags, &way)) {
		ssize_t result = as == AS_READ ? direct_read(fd, buffer, count) : direct_recv(fd, buffer, count, flags);

		if (transfer_short_received(conn, fd, count, &way, result))
			return result;
		struct transfer_short rest = way;
		return rest_of_receive(as, conn, fd, buffer, count, flags, &rest, result);
	}
	return as == AS_READ ? long_read(conn, fd, buffer, count) : long_recv(conn, fd, buffer, count, flags);
}

static __attribute__((noinline)) ssize_t short_read(int fd, void *buffer, size_t count)
{
	return receive_short(AS_READ, fd, buffer, count, 0);
}

static __attribute__((noinline)) ssize_t short_recv(int fd, void *buffer, size_t count, int flags)
{
	return receive_short(AS_RECV, fd, buffer, count, flags);
}

static __attribute__((noinline)) ssize_t failed(long result)
{
	return direct_result(result);
}

/* The two calls most connections live on, each a function of its own. */
static inline __attribute__((always_inline)) ssize_t receive_watched(enum short_receive as, struct conn *conn, int fd,
								     void *buffer, size_t count, int flags)
{
	uint32_t generation = atomic_load_explicit(&conn->generation, memory_order_relaxed);
	long result = as == AS_READ ? direct_raw_read(fd, buffer, count) : direct_raw_recv(fd, buffer, count, flags);

	if (__builtin_expect(result < 0, 0))
		return failed(result);
	if (__builtin_expect(result == 0 || !transfer_short_is_of(conn, generation), 0))
		return result;
	transfer_add(&conn->received, (size_t)result);
	transfer_count_received(conn, (size_t)result);
	return result;
}

ssize_t wrap_read(int fd, void *buffer, size_t count)
{
	struct conn *conn = conn_get(fd);

	if (!conn)
		return direct_receive_is_allowed() ? direct_result(direct_raw_read(fd, buffer, count))
						   : REAL(read)(fd, buffer, count);
	if (__builtin_expect(transfer_short_is_watched(conn, count, 0), 1))
		return receive_watched(AS_READ, conn, fd, buffer, count, 0);
	return short_read(fd, buffer, count);
}

static inline __attribute__((always_inline)) ssize_t any_recv(int fd, void *buffer, size_t count, int flags)
{
	struct conn *conn = conn_get(fd);

	if (!conn) {
		flags = intercept_flags_past(fd, flags);
		return direct_receive_is_allowed() ? direct_result(direct_raw_recv(fd, buffer, count, flags))
						   : REAL(recv)(fd, buffer, count, flags);
	}
	if (__builtin_expect(transfer_short_is_watched(conn, count, flags), 1))
		return receive_watched(AS_RECV, conn, fd, buffer, count, flags);
	return short_recv(fd, buffer, count, flags);
}

ssize_t wrap_recv(int fd, void *buffer, size_t count, int flags)
{
	return any_recv(fd, buffer, count, flags);
}

ssize_t wrap___recv_chk(int fd, void *buffer, size_t count, size_t room, int flags)
{
	struct conn *conn = conn_get(fd);

	if (conn && is_empty_receive(conn, count, flags))
		return receive_nothing(conn, fd, flags);
	if (conn && urgent_is_hidden(conn, fd, flags))
		return -1;
	if (!conn || count > room || goes_past(count, flags))
		return REAL(__recv_chk)(fd, buffer, count, room, intercept_flags_past(fd, flags));
	return receive_recv(conn, fd, buffer, count, flags);
}

struct recvfrom_arguments {
	void *buffer;
	struct sockaddr *address;
	socklen_t *length;
	bool *performed;
};

static ssize_t perform_recvfrom(const struct receive_call *call)
{
	const struct recvfrom_arguments *arguments = call->arguments;
	ssize_t result = real_recvfrom(call->fd, arguments->buffer, call->bytes, call->flags, arguments->address,
				       arguments->length);

	*arguments->performed = result >= 0;
	return result;
}

static ssize_t receive_recvfrom(struct conn *conn, int fd, void *buffer, size_t count, int flags,
				struct sockaddr *address, socklen_t *length)
{
	bool performed = false;
	struct recvfrom_arguments arguments = {
		.buffer = buffer, .address = address, .length = length, .performed = &performed
	};
	struct receive_call call = {
		.fd = fd, .flags = flags, .bytes = count, .perform = perform_recvfrom, .arguments = &arguments
	};
	ssize_t result = receive_buffer(conn, &call, buffer);

	if (result >= 0 && address && !performed && transfer_name_nobody(fd, length) != 0)
		return -1;
	return result;
}

static ssize_t receive_nothing_from(struct conn *conn, int fd, int flags, const struct sockaddr *address,
				    socklen_t *length)
{
	ssize_t result = receive_nothing(conn, fd, flags);

	return result >= 0 && address && transfer_name_nobody(fd, length) != 0 ? -1 : result;
}

ssize_t wrap_recvfrom(int fd, void *buffer, size_t count, int flags, struct sockaddr *address, socklen_t *length)
{
	struct conn *conn = conn_get(fd);

	if (!address && hot.direct)
		return any_recv(fd, buffer, count, flags); /* glibc's recv() is no more than that */
	if (conn && is_empty_receive(conn, count, flags))
		return receive_nothing_from(conn, fd, flags, address, length);
	if (conn && urgent_is_hidden(conn, fd, flags))
		return -1;
	if (!conn || goes_past(count, flags))
		return REAL(recvfrom)(fd, buffer, count, intercept_flags_past(fd, flags), address, length);
	return receive_recvfrom(conn, fd, buffer, count, flags, address, length);
}

ssize_t wrap___recvfrom_chk(int fd, void *buffer, size_t count, size_t room, int flags, struct sockaddr *address,
			    socklen_t *length)
{
	struct conn *conn = conn_get(fd);

	if (conn && is_empty_receive(conn, count, flags))
		return receive_nothing_from(conn, fd, flags, address, length);
	if (conn && urgent_is_hidden(conn, fd, flags))
		return -1;
	if (!conn || count > room || goes_past(count, flags))
		return REAL(__recvfrom_chk)(fd, buffer, count, room, intercept_flags_past(fd, flags), address, length);
	return receive_recvfrom(conn, fd, buffer, count, flags, address, length);
}

static ssize_t perform_recvmsg(const struct receive_call *call)
{
	return real_recvmsg(call->fd, call->message, call->flags);
}

static ssize_t receive_message(struct conn *conn, int fd, struct msghdr *message, size_t bytes, int flags)
{
	if (is_empty_receive(conn, bytes, flags)) {
		ssize_t result = receive_nothing(conn, fd, flags);

		return result == 0 ? transfer_clear_results(fd, message) : result;
	}
	if (urgent_is_hidden(conn, fd, flags))
		return -1;
	if (goes_past(bytes, flags))
		return real_recvmsg(fd, message, flags);
	return transfer_receive(
		conn,
		&(struct receive_call){
			.fd = fd, .flags = flags, .bytes = bytes, .message = message, .perform = perform_recvmsg });
}

ssize_t intercept_receive_message(struct conn *conn, int fd, struct msghdr *message, int flags)
{
	size_t bytes;

	if (!readable_message(message, &bytes))
		return real_recvmsg(fd, message, flags);
	struct inq_call inq = inq_begin(conn, fd, message);
	ssize_t result = receive_message(conn, fd, message, bytes, flags);
	inq_end(&inq, conn, fd, message, bytes, flags, result);
	return result;
}

static __attribute__((noinline)) ssize_t long_recvmsg(struct conn *conn, int fd, struct msghdr *message, int flags)
{
	if (conn && libc_is_musl())
		libc_clear_padding(message);
	if (conn)
		return intercept_receive_message(conn, fd, message, flags);
	ssize_t result = REAL(recvmsg)(fd, message, intercept_flags_past(fd, flags));
	if (result >= 0 && conn_table())
		intercept_rights_received(message);
	return result;
}

static __attribute__((noinline)) ssize_t rest_of_message(struct conn *conn, int fd, struct msghdr *message,
							 size_t bytes, int flags, struct transfer_short *way,
							 ssize_t result)
{
	return transfer_short_receive_rest(
		conn,
		&(struct receive_call){
			.fd = fd, .flags = flags, .bytes = bytes, .message = message, .perform = perform_recvmsg },
		way, result);
}

ssize_t wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
	struct conn *conn = conn_get(fd);
	struct transfer_short way;
	size_t bytes;

	if (conn && hot.direct && readable_message(message, &bytes)) {
		struct inq_call inq = inq_begin(conn, fd, message);

		if (transfer_short_receive(conn, fd, bytes, flags, &way)) {
			ssize_t result = direct_recvmsg(fd, message, flags);

			if (!transfer_short_received(conn, fd, bytes, &way, result)) {
				struct transfer_short rest = way;
				result = rest_of_message(conn, fd, message, bytes, flags, &rest, result);
			}
			if (way.cell)
				inq_end(&inq, conn, fd, message, bytes, flags, result);
			return result;
		}
	}
	return long_recvmsg(conn, fd, message, flags);
}
