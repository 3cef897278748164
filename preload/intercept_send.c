/* SPDX-License-Identifier: BSD-2-Clause */
/* Sends: each wrapper describes the call (transfer.h) and says how to perform it through libc. And fds of connections that
 * leave through SCM_RIGHTS on any socket.
 */
#include "intercept.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "libc.h"
#include "lifecycle.h"
#include "transfer.h"

#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x00000100 /* Linux 6.18 */
#endif
#define RIGHTS_MAX 253 /* fds in one message; the kernel's SCM_MAX_FD */

/* Flags that a joined end cannot honour. True if the call goes to the real function; then, where it could not leave, TCP
 * carries the urgent byte of a pinned direction as it should. */
static bool goes_past(struct conn *conn, int fd, size_t bytes, int flags)
{
	if (bytes == 0)
		return true;
	if (__builtin_expect(flags & (MSG_OOB | MSG_ZEROCOPY | MSG_FASTOPEN), 0) == 0)
		return false;
	(void)lifecycle_make_plain(conn, fd,
				   flags & MSG_OOB        ? REASON_OOB
				   : flags & MSG_ZEROCOPY ? REASON_ZEROCOPY
							  : REASON_OPTION);
	return (flags & MSG_OOB) != 0;
}

static ssize_t send_buffer(struct conn *conn, struct send_call *call, const void *buffer)
{
	struct iovec vector = { .iov_base = (void *)buffer, .iov_len = call->bytes };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };

	call->message = &message;
	return transfer_send(conn, call);
}

static ssize_t perform_write(const struct send_call *call)
{
	return real_write(call->fd, call->arguments, call->bytes);
}

ssize_t wrap_write(int fd, const void *buffer, size_t count)
{
	struct conn *conn = conn_get(fd);

	if (!conn || goes_past(conn, fd, count, 0))
		return REAL(write)(fd, buffer, count);
	return send_buffer(
		conn, &(struct send_call){ .fd = fd, .bytes = count, .perform = perform_write, .arguments = buffer },
		buffer);
}

static ssize_t perform_send(const struct send_call *call)
{
	return real_send(call->fd, call->arguments, call->bytes, call->flags);
}

ssize_t wrap_send(int fd, const void *buffer, size_t count, int flags)
{
	struct conn *conn = conn_get(fd);

	if (!conn || goes_past(conn, fd, count, flags))
		return REAL(send)(fd, buffer, count, flags);
	return send_buffer(
		conn,
		&(struct send_call){
			.fd = fd, .flags = flags, .bytes = count, .perform = perform_send, .arguments = buffer },
		buffer);
}

struct sendto_arguments {
	const void *buffer;
	const struct sockaddr *address;
	socklen_t length;
};

static ssize_t perform_sendto(const struct send_call *call)
{
	const struct sendto_arguments *arguments = call->arguments;

	return real_sendto(call->fd, arguments->buffer, call->bytes, call->flags, arguments->address,
			   arguments->length);
}

ssize_t wrap_sendto(int fd, const void *buffer, size_t count, int flags, const struct sockaddr *address,
		    socklen_t length)
{
	struct conn *conn = conn_get(fd);

	if (!conn || goes_past(conn, fd, count, flags))
		return REAL(sendto)(fd, buffer, count, flags, address, length);
	return send_buffer(conn,
			   &(struct send_call){ .fd = fd,
						.flags = flags,
						.bytes = count,
						.perform = perform_sendto,
						.arguments = &(struct sendto_arguments){ buffer, address, length } },
			   buffer);
}

static ssize_t send_vector(struct conn *conn, struct send_call *call, const struct iovec *vector, int count)
{
	struct msghdr message = { .msg_iov = (struct iovec *)vector, .msg_iovlen = (size_t)count };

	call->message = &message;
	return transfer_send(conn, call);
}

static ssize_t perform_writev(const struct send_call *call)
{
	return real_writev(call->fd, call->message->msg_iov, (int)call->message->msg_iovlen);
}

ssize_t wrap_writev(int fd, const struct iovec *vector, int count)
{
	struct conn *conn = conn_get(fd);

	if (!conn)
		return REAL(writev)(fd, vector, count);
	size_t bytes = intercept_vector_bytes(vector, (size_t)count); /* a negative count is far above IOV_MAX */
	if (goes_past(conn, fd, bytes, 0))
		return real_writev(fd, vector, count);
	return send_vector(conn, &(struct send_call){ .fd = fd, .bytes = bytes, .perform = perform_writev }, vector,
			   count);
}

static ssize_t perform_pwritev2(const struct send_call *call)
{
	const struct msghdr *message = call->message;

	return real_pwritev2(call->fd, message->msg_iov, (int)message->msg_iovlen, -1, *(const int *)call->arguments);
}

/* Offset -1: the file position, which is the only one a socket has. */
static ssize_t send_pwritev2(struct conn *conn, int fd, const struct iovec *vector, int count, int flags)
{
	size_t bytes = intercept_vector_bytes(vector, (size_t)count);

	if (goes_past(conn, fd, bytes, 0))
		return real_pwritev2(fd, vector, count, -1, flags);
	return send_vector(conn,
			   &(struct send_call){ .fd = fd,
						.flags = (flags & RWF_NOWAIT ? MSG_DONTWAIT : 0) |
							 (flags & RWF_NOSIGNAL ? MSG_NOSIGNAL : 0),
						.bytes = bytes,
						.perform = perform_pwritev2,
						.arguments = &flags },
			   vector, count);
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

/* Connections whose fds this message carries away: the receiver of the fd may be no process of ours. */
static void give_rights_away(const struct msghdr *message)
{
	struct msghdr *header = (struct msghdr *)message; /* CMSG_NXTHDR wants no const; it reads only */

	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(header); cmsg; cmsg = CMSG_NXTHDR(header, cmsg)) {
		size_t room = (size_t)((char *)message->msg_control + message->msg_controllen - (char *)cmsg);
		size_t bytes = cmsg->cmsg_len < room ? cmsg->cmsg_len : room;

		if (bytes < CMSG_LEN(0))
			return;
		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (bytes - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count && i < RIGHTS_MAX; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(fd), sizeof(fd));
			struct conn *conn = conn_get(fd);
			if (conn)
				lifecycle_give_away(conn, fd, REASON_PASSED_FD);
		}
	}
}

static ssize_t perform_sendmsg(const struct send_call *call)
{
	return real_sendmsg(call->fd, call->message, call->flags);
}

static ssize_t send_message(struct conn *conn, int fd, const struct msghdr *message, int flags)
{
	size_t bytes = intercept_readable(message) ? intercept_vector_bytes(message->msg_iov, message->msg_iovlen) : 0;

	if (goes_past(conn, fd, bytes, flags))
		return real_sendmsg(fd, message, flags);
	return transfer_send(
		conn,
		&(struct send_call){
			.fd = fd, .flags = flags, .bytes = bytes, .message = message, .perform = perform_sendmsg });
}

ssize_t wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
	struct conn *conn = conn_get(fd);
	struct msghdr clean;

	if (conn_table && libc_is_musl())
		message = libc_clean_message(message, &clean);
	if (conn)
		return send_message(conn, fd, message, flags);
	if (conn_table && intercept_readable(message) && message->msg_controllen > 0)
		give_rights_away(message);
	return REAL(sendmsg)(fd, message, flags);
}

/* As the kernel's __sys_sendmmsg: ends after a message that did not fit whole; an error counts only if nothing was sent. */
static int send_messages(struct conn *conn, int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
	int saved = errno;
	unsigned int done = 0;

	count = count > IOV_MAX ? IOV_MAX : count;
	while (done < count) {
		const struct msghdr *message = &messages[done].msg_hdr;
		ssize_t result = send_message(conn, fd, message, flags);

		if (result < 0 && done == 0)
			return -1;
		if (result < 0)
			break;
		messages[done++].msg_len = (unsigned int)result;
		if ((size_t)result < intercept_vector_bytes(message->msg_iov, message->msg_iovlen))
			break;
	}
	errno = saved;
	return (int)done;
}

int wrap_sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
	struct conn *conn = conn_get(fd);

	for (unsigned int i = 0; conn_table && libc_is_musl() && messages && i < count && i < IOV_MAX; i++)
		libc_clear_padding(&messages[i].msg_hdr);
	if (conn && messages && count > 0)
		return send_messages(conn, fd, messages, count, flags);
	for (unsigned int i = 0; conn_table && messages && i < count && i < IOV_MAX; i++)
		if (messages[i].msg_hdr.msg_controllen > 0)
			give_rights_away(&messages[i].msg_hdr);
	return REAL(sendmmsg)(fd, messages, count, flags);
}
