/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections whose fds travel in messages (SCM_RIGHTS).
 *
 * What is given away leaves the sockhash, or is pinned. What is received is adopted (adopt.c).
 */
#include "intercept.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "endpoint.h"
#include "fork.h"
#include "intercept_message.h"
#include "lifecycle.h"
#include "readable.h"
#include "transfer.h"

#define RIGHTS_MAX 253 /* fds in one message; the kernel's SCM_MAX_FD */

static void give_away(int fd)
{
	struct conn *conn = conn_get(fd);

	if (conn)
		lifecycle_give_away(conn, fd, REASON_PASSED_FD);
}

static void adopt(int fd)
{
	intercept_new_fd(fd);
	if (endpoint_is_tcp(fd))
		lifecycle_adopt(fd);
}

/* The message can be read. */
static void each_fd(const struct msghdr *message, void (*function)(int fd))
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
			function(fd);
		}
	}
}

void intercept_rights_given(const struct msghdr *message)
{
	/* Nothing was ever tracked: programs without TCP, the hot paths of QUIC among them, pay a load. */
	if (atomic_load_explicit(&conn_fd_high, memory_order_relaxed) == 0 && !conn_get(0))
		return;
	if (readable_bytes(message, sizeof(*message)) && message->msg_controllen >= CMSG_LEN(sizeof(int)) &&
	    message->msg_controllen <= CONTROL_BYTES_MAX && readable_control(message))
		each_fd(message, give_away);
}

void intercept_rights_received(const struct msghdr *message)
{
	int saved = errno;

	if (message->msg_controllen >= CMSG_LEN(sizeof(int)) && message->msg_control && !fork_in_vfork_child())
		each_fd(message, adopt);
	errno = saved;
}
