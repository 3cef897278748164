/* SPDX-License-Identifier: BSD-2-Clause */
/* As wire_receive_fds(), of which each message here has the rules, for several at once: where many threads join, most
 * of a wake-up is the way into the kernel and back. */
#define _GNU_SOURCE
#include "inbox.h"

#include <errno.h>
#include <string.h>

int inbox_receive(int socket, struct inbox_message messages[INBOX_MAX], int room)
{
	struct wire_control control[INBOX_MAX];
	struct mmsghdr headers[INBOX_MAX];
	struct iovec iov[INBOX_MAX];
	int count;

	for (int i = 0; i < room; i++) {
		iov[i] = (struct iovec){ &messages[i].content, sizeof(messages[i].content) };
		headers[i] = (struct mmsghdr){ .msg_hdr = {
						       .msg_iov = &iov[i],
						       .msg_iovlen = 1,
						       .msg_control = &control[i],
						       .msg_controllen = sizeof(control[i]),
					       } };
	}
	count = recvmmsg(socket, headers, (unsigned)room, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, NULL);
	if (count < 0)
		return -errno;
	for (int i = 0; i < count; i++) {
		messages[i].bytes = headers[i].msg_len;
		wire_control_parse(&headers[i].msg_hdr, messages[i].fds, &messages[i].fd_count, &messages[i].creds);
		if (headers[i].msg_hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
			messages[i].bytes = -EMSGSIZE;
	}
	return count;
}
