/* SPDX-License-Identifier: BSD-2-Clause */
/* Building, sending, receiving and checking messages (see wire.h; the layout is in protocol.h).
 *
 * Linked into daemon, command line and shim. In the shim it may run in a signal handler and must not come upon the
 * shim's own wrappers: so no malloc, no stdio, no state, and each system call goes through a macro that the shim's
 * build replaces (preload/wire_calls.h) by the name of a function with the prototype and the conventions of the libc
 * function (-1 and errno on failure).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* struct ucred */
#endif
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "wire.h"

#ifndef WIRE_SENDMSG
#define WIRE_SENDMSG sendmsg
#else
extern ssize_t WIRE_SENDMSG(int socket, const struct msghdr *header, int flags);
#endif
#ifndef WIRE_RECVMSG
#define WIRE_RECVMSG recvmsg
#else
extern ssize_t WIRE_RECVMSG(int socket, struct msghdr *header, int flags);
#endif
#ifndef WIRE_CLOSE
#define WIRE_CLOSE close
#else
extern int WIRE_CLOSE(int fd);
#endif

void wire_header_init(struct wire_header *header, enum wire_type type, size_t size, uint32_t cell, uint32_t generation)
{
	header->magic = WIRE_MAGIC;
	header->version = WIRE_VERSION;
	header->type = type;
	header->size = size;
	header->cell = cell;
	header->generation = generation;
}

size_t wire_type_size(unsigned type)
{
	switch (type) {
	case WIRE_HELLO:
		return sizeof(struct wire_hello);
	case WIRE_WELCOME:
		return sizeof(struct wire_welcome);
	case WIRE_OFFER:
		return sizeof(struct wire_offer);
	case WIRE_JOIN:
		return sizeof(struct wire_join);
	case WIRE_PIN:
	case WIRE_LEAVE:
	case WIRE_WITHDRAW:
		return sizeof(struct wire_pin);
	case WIRE_HOLDERS:
	case WIRE_LANDING:
		return sizeof(struct wire_holders);
	case WIRE_RETIRE:
		return sizeof(struct wire_retire);
	case WIRE_PING:
		return sizeof(struct wire_ping);
	case WIRE_LEDGER:
		return sizeof(struct wire_ledger);
	case WIRE_STOPS:
		return sizeof(struct wire_stops);
	case WIRE_STATUS:
	case WIRE_CONNECTIONS:
	case WIRE_OFF:
	case WIRE_ON:
	case WIRE_TRIAL_STOP:
	case WIRE_TRIAL_REPORT:
		return sizeof(struct wire_request);
	case WIRE_TRIAL_START:
		return sizeof(struct wire_trial);
	case WIRE_GROUP:
		return sizeof(struct wire_group);
	case WIRE_REPLY:
		return sizeof(struct wire_reply);
	default:
		return 0;
	}
}

int wire_check(const void *message, size_t bytes)
{
	struct wire_header header; /* a copy: `message` need not be aligned */
	size_t size;

	if (bytes < sizeof(header))
		return -EPROTO;
	memcpy(&header, message, sizeof(header));
	if (header.magic != WIRE_MAGIC)
		return -EPROTO;
	if (header.version != WIRE_VERSION) /* before type and size, which may mean something else there */
		return -EPROTONOSUPPORT;
	size = wire_type_size(header.type);
	if (!size)
		return -EPROTO;
	if (bytes != size || header.size != size)
		return -EMSGSIZE;
	return 0;
}

int wire_send(int socket, const void *message, size_t bytes, int fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = (void *)message, .iov_len = bytes };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t sent;

	if (fd >= 0) {
		struct cmsghdr *cmsg;

		memset(&control, 0, sizeof(control));
		header.msg_control = &control;
		header.msg_controllen = sizeof(control);
		cmsg = CMSG_FIRSTHDR(&header);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	}
	sent = WIRE_SENDMSG(socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent < 0)
		return -errno;
	return (size_t)sent == bytes ? 0 : -EMSGSIZE;
}

#ifndef SCM_PIDFD
#define SCM_PIDFD 4
#endif

/* Takes fds and credentials out of the control block. An fd beyond WIRE_FDS_MAX cannot occur: there is no room. A pidfd
 * comes last in fds: the sender of a session's far end may set SO_PASSPIDFD on it, and each message then brings one. */
void wire_control_parse(struct msghdr *header, int fds[WIRE_FDS_MAX], size_t *fd_count, struct ucred *creds)
{
	struct cmsghdr *cmsg;
	int pidfd = -1;

	*fd_count = 0;
	if (creds) /* never taken for root's when the kernel attached none */
		*creds = (struct ucred){ .pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1 };

	for (cmsg = CMSG_FIRSTHDR(header); cmsg; cmsg = CMSG_NXTHDR(header, cmsg)) {
		size_t bytes = cmsg->cmsg_len > CMSG_LEN(0) ? cmsg->cmsg_len - CMSG_LEN(0) : 0;

		if (cmsg->cmsg_level != SOL_SOCKET)
			continue;
		if (cmsg->cmsg_type == SCM_RIGHTS) {
			size_t count = bytes / sizeof(int);

			if (count > WIRE_FDS_MAX - *fd_count)
				count = WIRE_FDS_MAX - *fd_count;
			memcpy(fds + *fd_count, CMSG_DATA(cmsg), count * sizeof(int));
			*fd_count += count;
		} else if (cmsg->cmsg_type == SCM_PIDFD && bytes >= sizeof(int)) {
			memcpy(&pidfd, CMSG_DATA(cmsg), sizeof(int)); /* a negative error if it could not be made */
		} else if (cmsg->cmsg_type == SCM_CREDENTIALS && creds && bytes >= sizeof(*creds)) {
			memcpy(creds, CMSG_DATA(cmsg), sizeof(*creds));
		}
	}
	if (pidfd >= 0 && *fd_count < WIRE_FDS_MAX)
		fds[(*fd_count)++] = pidfd;
}

ssize_t wire_receive_fds(int socket, void *message, size_t bytes, int fds[WIRE_FDS_MAX], size_t *fd_count,
			 struct ucred *creds)
{
	struct wire_control control;
	struct iovec iov = { .iov_base = message, .iov_len = bytes };
	struct msghdr header = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t received;

	_Static_assert(sizeof(control) <= CMSG_LEN(0) + WIRE_FDS_MAX * sizeof(int), "every fd that fits must be seen");
	_Static_assert(sizeof(control) >= CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct ucred)), "room for both");
	*fd_count = 0;
	received = WIRE_RECVMSG(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (received < 0)
		return -errno;
	wire_control_parse(&header, fds, fd_count, creds);
	if (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
		return -EMSGSIZE;
	return received;
}

ssize_t wire_receive(int socket, void *message, size_t bytes, int *fd_out, struct ucred *creds)
{
	int fds[WIRE_FDS_MAX];
	size_t count, keep;
	ssize_t received;

	*fd_out = -1;
	received = wire_receive_fds(socket, message, bytes, fds, &count, creds);
	keep = received > 0 && count ? 1 : 0;
	if (keep)
		*fd_out = fds[0];
	for (size_t i = keep; i < count; i++)
		WIRE_CLOSE(fds[i]);
	return received;
}
