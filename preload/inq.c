/* SPDX-License-Identifier: BSD-2-Clause */
/* The control message of TCP_INQ: see inq.h. It is tcp_recvmsg()'s last one. */
#include "inq.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "endpoint.h"
#include "queue.h"
#include "quiet.h"
#include "raw_syscall.h"
#include "readable.h"
#include "real.h"
#include "transfer.h"

#define PAGE_BYTES 4096u /* the smallest there is */

bool inq_ask(int fd)
{
	return endpoint_has_option(fd, IPPROTO_TCP, TCP_INQ);
}

void inq_was_set(struct conn *conn, int fd)
{
	if (inq_ask(fd))
		atomic_fetch_or(&conn->options, CONN_TELLS_INQ);
	else
		atomic_fetch_and(&conn->options, (uint8_t)~CONN_TELLS_INQ);
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
	char *last = at + bytes - sizeof(int);

	if (writable_int(fd, at) != 0 ||
	    ((uintptr_t)at / PAGE_BYTES != (uintptr_t)last / PAGE_BYTES && writable_int(fd, last) != 0))
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

/* Not a cancellation point: bytes have been received. */
static int look(int fd)
{
	const struct timespec at_once = { 0 };
	struct pollfd poller = { .fd = fd, .events = POLLIN | POLLPRI | POLLRDHUP };

	return raw_syscall(SYS_ppoll, &poller, 1, &at_once, NULL, SIGNAL_MASK_BYTES) > 0 ? poller.revents : 0;
}

/* In both queues. By far the most frequent case is one system call: nothing, nor an end. False: not known. */
static bool count_unread(struct conn *conn, int fd, int *unread)
{
	int events = look(fd);

	*unread = 0;
	if (!events)
		return true;
	if (transfer_unread(conn, fd, unread) != 0)
		return false;
	if (*unread < INT_MAX && (events & (POLLRDHUP | POLLHUP | POLLPRI)))
		*unread += (int)queue_beyond_bytes(fd);
	return true;
}

void inq_tell(struct conn *conn, int fd, struct msghdr *message, size_t room)
{
	int unread, saved = errno;

	if (!quiet_is_on() && conn_get(fd) == conn && count_unread(conn, fd, &unread)) {
		take_back(message);
		put(fd, message, room, unread);
	}
	errno = saved;
}
