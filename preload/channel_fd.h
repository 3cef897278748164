/* SPDX-License-Identifier: BSD-2-Clause */
/* The shim's own fds: high, CLOEXEC, recognised by SO_COOKIE. */
#ifndef SMACCEL_CHANNEL_FD_H
#define SMACCEL_CHANNEL_FD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct channel_fd {
	_Atomic int fd; /* -1: none */
	uint64_t cookie;
};

/* A duplicate of fd at such a number, with CLOEXEC; -1 with errno. */
int channel_fd_duplicate(int fd);
/* Moves fd (consumed) to a high number with CLOEXEC and remembers its cookie. 0 or -errno (fd is closed then). */
int channel_fd_set_consume(struct channel_fd *own, int fd);
/* A connection to the helper's socket, likewise. */
int channel_fd_connect(struct channel_fd *own);
/* The fd, if it still names the socket that was put there; -1 if the application closed it (it is then forgotten). */
int channel_fd_get(struct channel_fd *own);
void channel_fd_close(struct channel_fd *own);

#endif
