/* SPDX-License-Identifier: BSD-2-Clause */
/* The control message of TCP_INQ: see inq.h. It is tcp_recvmsg()'s last one. */
#include "inq.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <string.h>

#include "fork.h"
#include "queue.h"
#include "quiet.h"
#include "readable.h"
#include "real.h"
#include "transfer.h"

bool inq_is_wanted(struct conn *conn, int fd)
{
	int value = 0, saved = errno;
	socklen_t length = sizeof(value);

	if (!conn_is_joined(conn))
		return false;
	/* Or another process may have set it. */
	if (__builtin_expect(!atomic_load_explicit(&conn->tells_inq, memory_order_relaxed) &&
				     !atomic_load_explicit(&conn->adopted, memory_order_relaxed) &&
				     conn->fork_count == fork_count(),
			     1))
		return false;
	bool result = real_getsockopt(fd, IPPROTO_TCP, TCP_INQ, &value, &length) == 0 && value != 0;
	errno = saved;
	return result;
}

/* The kernel's put_cmsg(): cut short, with MSG_CTRUNC, where there is too little room; nothing where it cannot write. */
static void put(int fd, struct msghdr *message, size_t room, int number)
{
	struct cmsghdr header = { .cmsg_level = IPPROTO_TCP, .cmsg_type = TCP_CM_INQ };
	size_t used = message->msg_controllen, bytes = CMSG_LEN(sizeof(number)), space = CMSG_SPACE(sizeof(number));
	char *at = (char *)message->msg_control + used;

	room -= used;
	if (!message->msg_control || room < sizeof(header)) {
		message->msg_flags |= MSG_CTRUNC;
		return;
	}
	if (room < bytes) {
		message->msg_flags |= MSG_CTRUNC;
		bytes = room;
	}
	if (writable_int(fd, at) != 0 || writable_int(fd, at + bytes - sizeof(int)) != 0)
		return;
	header.cmsg_len = bytes;
	memcpy(at, &header, sizeof(header));
	memcpy(at + CMSG_LEN(0), &number, bytes - CMSG_LEN(0));
	message->msg_controllen = used + (room < space ? room : space);
}

/* What the kernel said of its own queue, last, is out of date as soon as another receive has added to this one. */
static void take_back(struct msghdr *message)
{
	struct cmsghdr *last = NULL;

	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(message); cmsg; cmsg = CMSG_NXTHDR(message, cmsg))
		last = cmsg;
	if (last && last->cmsg_level == IPPROTO_TCP && last->cmsg_type == TCP_CM_INQ)
		message->msg_controllen = (size_t)((char *)last - (char *)message->msg_control);
}

void inq_tell(struct conn *conn, int fd, struct msghdr *message, size_t room)
{
	int unread = 0, saved = errno;

	if (!quiet_is_on() && conn_get(fd) == conn && transfer_unread(conn, fd, &unread) == 0) {
		/* The end of the stream counts as one: it is worth a receive. */
		if (unread < INT_MAX && (queue_has_end(fd) || transfer_peer_has_ended(conn)))
			unread++;
		take_back(message);
		put(fd, message, room, unread);
	}
	errno = saved;
}
