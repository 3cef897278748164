/* SPDX-License-Identifier: BSD-2-Clause */
/* wire.c's system calls in the shim: see wire_calls.h. Raw, so that they are no cancellation points: a thread that
 * is cancelled in the middle of an exchange with the helper would leave it half done. */
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "raw_syscall.h"

#include "wire_calls.h"

ssize_t WIRE_SENDMSG(int socket, const struct msghdr *header, int flags);
ssize_t WIRE_RECVMSG(int socket, struct msghdr *header, int flags);
int WIRE_CLOSE(int fd);

ssize_t WIRE_SENDMSG(int socket, const struct msghdr *header, int flags)
{
	return raw_syscall(SYS_sendmsg, socket, header, flags);
}

ssize_t WIRE_RECVMSG(int socket, struct msghdr *header, int flags)
{
	return raw_syscall(SYS_recvmsg, socket, header, flags);
}

int WIRE_CLOSE(int fd)
{
	return (int)raw_syscall(SYS_close, fd);
}
