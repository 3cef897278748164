/* SPDX-License-Identifier: BSD-2-Clause */
/* Receives: each wrapper describes the call (transfer.h) and says how to perform it through libc.
 *
 * An argument that the kernel would refuse goes to the real function, which says so. A message header is read here before the
 * kernel does: a bad pointer in it faults in this library where it would have been EFAULT.
 */
#include "intercept.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/syscall.h>

#include "clock.h"
#include "libc.h"
#include "lifecycle.h"
#include "raw_syscall.h"
#include "transfer.h"

/* Whether the call goes to the real function: it takes nothing from the stream, or urgent data, which only plain TCP
 * (or a pinned direction) has. */
static bool goes_past(struct conn *conn, int fd, size_t bytes, int flags)
{
	if (flags & MSG_OOB)
		(void)lifecycle_make_plain(conn, fd, REASON_OOB);
	return bytes == 0 || (flags & (MSG_OOB | MSG_ERRQUEUE)) != 0;
}

static ssize_t receive_buffer(struct conn *conn, struct receive_call *call, void *buffer)
{
	struct iovec vector = { .iov_base = buffer, .iov_len = call->bytes };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };

	call->message = &message;
	return transfer_receive(conn, call);
}

static ssize_t perform_read(const struct receive_call *call)
{
	return real_read(call->fd, (void *)call->arguments, call->bytes);
}

ssize_t wrap_read(int fd, void *buffer, size_t count)
{
	struct conn *conn = conn_get(fd);

	if (!conn || goes_past(conn, fd, count, 0))
		return REAL(read)(fd, buffer, count);
	return receive_buffer(
		conn, &(struct receive_call){ .fd = fd, .bytes = count, .perform = perform_read, .arguments = buffer },
		buffer);
}

ssize_t wrap___read_chk(int fd, void *buffer, size_t count, size_t room)
{
	struct conn *conn = conn_get(fd);

	/* With too little room the real one ends the program, as it should. */
	if (!conn || count > room || goes_past(conn, fd, count, 0))
		return REAL(__read_chk)(fd, buffer, count, room);
	return receive_buffer(
		conn, &(struct receive_call){ .fd = fd, .bytes = count, .perform = perform_read, .arguments = buffer },
		buffer);
}

static ssize_t perform_recv(const struct receive_call *call)
{
	return real_recv(call->fd, (void *)call->arguments, call->bytes, call->flags);
}

static ssize_t receive_recv(struct conn *conn, int fd, void *buffer, size_t count, int flags)
{
	return receive_buffer(
		conn,
		&(struct receive_call){
			.fd = fd, .flags = flags, .bytes = count, .perform = perform_recv, .arguments = buffer },
		buffer);
}

/* The end could not leave, redirected bytes wait unread: a receive of urgent data would take those (fact 15). It is told
 * what TCP says as long as the urgent byte has not arrived. MSG_TRUNC of redirected bytes is EFAULT (fact 7). */
static bool urgent_is_hidden(struct conn *conn, int fd, int flags)
{
	int saved = errno;

	if (!(flags & MSG_OOB) || lifecycle_make_plain(conn, fd, REASON_OOB))
		return false;
	bool hidden = real_recv(fd, NULL, 1, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT) < 0 && errno == EFAULT;
	errno = hidden ? EAGAIN : saved;
	return hidden;
}

/* A receive of no bytes waits for data, or takes an error, as any other; of an end in the sockhash the kernel says 0 at
 * once. */
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

ssize_t wrap_recv(int fd, void *buffer, size_t count, int flags)
{
	struct conn *conn = conn_get(fd);

	if (conn && is_empty_receive(conn, count, flags))
		return receive_nothing(conn, fd, flags);
	if (conn && urgent_is_hidden(conn, fd, flags))
		return -1;
	if (!conn || goes_past(conn, fd, count, flags))
		return REAL(recv)(fd, buffer, count, flags);
	return receive_recv(conn, fd, buffer, count, flags);
}

ssize_t wrap___recv_chk(int fd, void *buffer, size_t count, size_t room, int flags)
{
	struct conn *conn = conn_get(fd);

	if (!conn || count > room || goes_past(conn, fd, count, flags))
		return REAL(__recv_chk)(fd, buffer, count, room, flags);
	return receive_recv(conn, fd, buffer, count, flags);
}

struct recvfrom_arguments {
	void *buffer;
	struct sockaddr *address;
	socklen_t *length;
};

static ssize_t perform_recvfrom(const struct receive_call *call)
{
	const struct recvfrom_arguments *arguments = call->arguments;

	return real_recvfrom(call->fd, arguments->buffer, call->bytes, call->flags, arguments->address,
			     arguments->length);
}

static ssize_t receive_recvfrom(struct conn *conn, int fd, void *buffer, size_t count, int flags,
				struct sockaddr *address, socklen_t *length)
{
	struct recvfrom_arguments arguments = { .buffer = buffer, .address = address, .length = length };
	struct receive_call call = {
		.fd = fd, .flags = flags, .bytes = count, .perform = perform_recvfrom, .arguments = &arguments
	};
	ssize_t result = receive_buffer(conn, &call, buffer);

	/* TCP names no sender. Said here too, in case that the bytes came by another call than the application's. */
	if (result >= 0 && address && length)
		*length = 0;
	return result;
}

ssize_t wrap_recvfrom(int fd, void *buffer, size_t count, int flags, struct sockaddr *address, socklen_t *length)
{
	struct conn *conn = conn_get(fd);

	if (conn && is_empty_receive(conn, count, flags))
		return receive_nothing(conn, fd, flags);
	if (conn && urgent_is_hidden(conn, fd, flags))
		return -1;
	if (!conn || goes_past(conn, fd, count, flags))
		return REAL(recvfrom)(fd, buffer, count, flags, address, length);
	return receive_recvfrom(conn, fd, buffer, count, flags, address, length);
}

ssize_t wrap___recvfrom_chk(int fd, void *buffer, size_t count, size_t room, int flags, struct sockaddr *address,
			    socklen_t *length)
{
	struct conn *conn = conn_get(fd);

	if (!conn || count > room || goes_past(conn, fd, count, flags))
		return REAL(__recvfrom_chk)(fd, buffer, count, room, flags, address, length);
	return receive_recvfrom(conn, fd, buffer, count, flags, address, length);
}

static ssize_t receive_vector(struct conn *conn, struct receive_call *call, const struct iovec *vector, int count)
{
	struct msghdr message = { .msg_iov = (struct iovec *)vector, .msg_iovlen = (size_t)count };

	call->message = &message;
	return transfer_receive(conn, call);
}

static ssize_t perform_readv(const struct receive_call *call)
{
	return real_readv(call->fd, call->message->msg_iov, (int)call->message->msg_iovlen);
}

ssize_t wrap_readv(int fd, const struct iovec *vector, int count)
{
	struct conn *conn = conn_get(fd);

	if (!conn)
		return REAL(readv)(fd, vector, count);
	size_t bytes = intercept_vector_bytes(vector, (size_t)count); /* a negative count is far above IOV_MAX */
	if (goes_past(conn, fd, bytes, 0))
		return real_readv(fd, vector, count);
	return receive_vector(conn, &(struct receive_call){ .fd = fd, .bytes = bytes, .perform = perform_readv },
			      vector, count);
}

static ssize_t perform_preadv2(const struct receive_call *call)
{
	const struct msghdr *message = call->message;

	return real_preadv2(call->fd, message->msg_iov, (int)message->msg_iovlen, -1, *(const int *)call->arguments);
}

/* Offset -1: the file position, which is the only one a socket has. */
static ssize_t receive_preadv2(struct conn *conn, int fd, const struct iovec *vector, int count, int flags)
{
	size_t bytes = intercept_vector_bytes(vector, (size_t)count);

	if (goes_past(conn, fd, bytes, 0))
		return real_preadv2(fd, vector, count, -1, flags);
	return receive_vector(conn,
			      &(struct receive_call){ .fd = fd,
						      .flags = flags & RWF_NOWAIT ? MSG_DONTWAIT : 0,
						      .bytes = bytes,
						      .perform = perform_preadv2,
						      .arguments = &flags },
			      vector, count);
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

static ssize_t perform_recvmsg(const struct receive_call *call)
{
	return real_recvmsg(call->fd, call->message, call->flags);
}

static ssize_t receive_message(struct conn *conn, int fd, struct msghdr *message, int flags)
{
	size_t bytes = intercept_readable(message) ? intercept_vector_bytes(message->msg_iov, message->msg_iovlen) : 0;

	if (intercept_readable(message) && message->msg_iovlen <= IOV_MAX && is_empty_receive(conn, bytes, flags))
		return receive_nothing(conn, fd, flags);
	if (urgent_is_hidden(conn, fd, flags))
		return -1;
	if (goes_past(conn, fd, bytes, flags))
		return real_recvmsg(fd, message, flags);
	return transfer_receive(
		conn,
		&(struct receive_call){
			.fd = fd, .flags = flags, .bytes = bytes, .message = message, .perform = perform_recvmsg });
}

ssize_t wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
	struct conn *conn = conn_get(fd);

	if (conn && libc_is_musl())
		libc_clear_padding(message);
	if (!conn)
		return REAL(recvmsg)(fd, message, flags);
	return receive_message(conn, fd, message, flags);
}

/* An error that waits on the socket is the next call's: the kernel's recvmmsg puts it back, which a wrapper cannot. (One
 * that arrives while a later message of this call is waited for is lost: the next call then finds the end of the stream.) */
static bool has_error(int fd)
{
	struct pollfd poller = { .fd = fd };
	struct timespec now = { 0 };
	int saved = errno;
	bool result = raw_syscall(SYS_ppoll, &poller, 1, &now, NULL, 0) > 0 && (poller.revents & POLLERR);

	errno = saved;
	return result;
}

/* What is left of `timeout` since `start`; true if nothing is. */
static bool time_is_up(struct timespec *left, const struct timespec *timeout, const struct timespec *start)
{
	struct timespec now;

	clock_read(CLOCK_MONOTONIC, &now);
	int64_t nanoseconds = (timeout->tv_sec - (now.tv_sec - start->tv_sec)) * INT64_C(1000000000) +
			      timeout->tv_nsec - (now.tv_nsec - start->tv_nsec);
	if (nanoseconds < 0)
		nanoseconds = 0;
	left->tv_sec = nanoseconds / 1000000000;
	left->tv_nsec = nanoseconds % 1000000000;
	return nanoseconds == 0;
}

/* As the kernel's do_recvmmsg: MSG_WAITFORONE turns into MSG_DONTWAIT after the first message, the time is looked at
 * only between messages, an error after the first message ends the call with what there is. */
static int receive_messages(struct conn *conn, int fd, struct mmsghdr *messages, unsigned int count, int flags,
			    struct timespec *timeout)
{
	struct timespec start, whole = timeout ? *timeout : (struct timespec){ 0 };
	int saved = errno;
	unsigned int done = 0;

	clock_read(CLOCK_MONOTONIC, &start);
	for (count = count > IOV_MAX ? IOV_MAX : count; done < count; done++) {
		struct msghdr *message = &messages[done].msg_hdr;

		if (done > 0 && has_error(fd))
			break;
		ssize_t result = receive_message(conn, fd, message, flags & ~MSG_WAITFORONE);
		if (result < 0 && done == 0)
			return -1;
		if (result < 0)
			break;
		messages[done].msg_len = (unsigned int)result;
		if (flags & MSG_WAITFORONE)
			flags |= MSG_DONTWAIT;
		if ((timeout && time_is_up(timeout, &whole, &start)) || (message->msg_flags & MSG_OOB)) {
			done++;
			break;
		}
	}
	errno = saved;
	return (int)done;
}

int wrap_recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *timeout)
{
	struct conn *conn = conn_get(fd);
	bool bad_time = timeout && (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec > 999999999);

	for (unsigned int i = 0; conn && libc_is_musl() && i < count && i < IOV_MAX; i++)
		libc_clear_padding(&messages[i].msg_hdr);
	if (!conn || bad_time || !intercept_readable(messages) || goes_past(conn, fd, count, flags))
		return REAL(recvmmsg)(fd, messages, count, flags, timeout);
	return receive_messages(conn, fd, messages, count, flags, timeout);
}
