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
	_Atomic int32_t users; /* who may have looked fd up and not made the call yet, without the channel's lock */
};

/* The three that the channel has: see channel.h. */
enum { CHANNEL_DOOR, CHANNEL_SESSION, CHANNEL_MAILBOX, CHANNEL_FDS };
extern struct channel_fd channel_fds[CHANNEL_FDS];

/* channel.c's lock, which nobody waits for but for a bounded time: false if another has it, or a handler's thread itself. */
bool channel_lock(void);
void channel_unlock(void);

/* A duplicate of fd at such a number, with CLOEXEC; -1 with errno. */
int channel_fd_duplicate(int fd);
/* Moves fd (consumed) to a high number with CLOEXEC and remembers its cookie. 0 or -errno (fd is closed then). */
int channel_fd_set_consume(struct channel_fd *own, int fd);
/* A connection to the helper's socket, likewise. */
int channel_fd_connect(struct channel_fd *own);
/* The fd, if it still names the socket that was put there; -1 if the application closed it (it is then forgotten). */
int channel_fd_get(struct channel_fd *own);
/* Left open if a user of it does not come back: who has the number would send what is the helper's to the file that comes there next. */
void channel_fd_close(struct channel_fd *own);
/* The fd for a call without the channel's lock: until _used(), which is due for -1 as well, it keeps its number. */
int channel_fd_use(struct channel_fd *own);
void channel_fd_used(struct channel_fd *own);
/* With the channel's lock: gives it another number, and frees the one that it had. False: it keeps that, as there is no other, or a user of it
 * has not come back within some ms (it may be the very thread, under a handler). */
bool channel_fd_move(struct channel_fd *own);

#endif
