/* SPDX-License-Identifier: BSD-2-Clause */
/* A file descriptor in a message over a unix socket (SCM_RIGHTS). */
#ifndef SMACCEL_SUPPORT_RIGHTS_H
#define SMACCEL_SUPPORT_RIGHTS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define RIGHTS_MAX 64

/* True: the fds, RIGHTS_MAX at the most, are in one message, and still the caller's, too. */
static inline bool rights_give_all(int channel, const int *fds, size_t count)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(RIGHTS_MAX * sizeof(int))];
	} control = { .header = { .cmsg_level = SOL_SOCKET,
				  .cmsg_type = SCM_RIGHTS,
				  .cmsg_len = CMSG_LEN(count * sizeof(int)) } };
	struct iovec vector = { "x", 1 };
	struct msghdr message = { .msg_iov = &vector,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = CMSG_SPACE(count * sizeof(int)) };

	memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
	return sendmsg(channel, &message, 0) == 1;
}

static inline bool rights_give(int channel, int fd)
{
	return rights_give_all(channel, &fd, 1);
}

/* The fd, close-on-exec where recvmsg() brings it; -1: none has come. */
static inline int rights_take(int channel, bool by_recvmmsg)
{
	char byte, room[CMSG_SPACE(4 * sizeof(int))];
	struct iovec vector = { &byte, 1 };
	struct mmsghdr many = {
		.msg_hdr = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) }
	};
	int fd = -1;
	ssize_t got =
		by_recvmmsg ? recvmmsg(channel, &many, 1, 0, NULL) : recvmsg(channel, &many.msg_hdr, MSG_CMSG_CLOEXEC);

	if (got == 1 && CMSG_FIRSTHDR(&many.msg_hdr))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&many.msg_hdr)), sizeof(fd));
	return fd;
}

/* Another number of the same file, by way of a message to oneself. -1: it failed. */
static inline int rights_copy(int fd)
{
	int channel[2], copy = -1;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) < 0)
		return -1;
	if (rights_give(channel[0], fd))
		copy = rights_take(channel[1], false);
	close(channel[0]);
	close(channel[1]);
	return copy;
}

#endif
