/* SPDX-License-Identifier: BSD-2-Clause */
/* Building, sending, receiving and checking messages. No state; async-signal-safe; used by shim, helper and CLI. */
#ifndef SMACCEL_WIRE_WIRE_H
#define SMACCEL_WIRE_WIRE_H

#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "protocol.h"

struct ucred; /* <sys/socket.h> with _GNU_SOURCE */

/* Fills `header` for a message of `type` and `size` bytes. */
void wire_header_init(struct wire_header *header, enum wire_type type, size_t size, uint32_t cell, uint32_t generation);

/* The exact size of messages of `type`; 0 for a type that does not exist. */
size_t wire_type_size(unsigned type);

/* 0 if `bytes` bytes at `message` are one well-formed message of this version, else -EPROTO, -EPROTONOSUPPORT
 * (version) or -EMSGSIZE. */
int wire_check(const void *message, size_t bytes);

/* Sends one message and, if fd >= 0, a duplicate of fd with it (fd stays the caller's). Never blocks
 * (MSG_DONTWAIT | MSG_NOSIGNAL). 0 or -errno. */
int wire_send(int socket, const void *message, size_t bytes, int fd);

/* Receives one message without blocking. *fd_out is -1 or an fd that the caller then owns (CLOEXEC). *creds (may be
 * NULL) is filled when the kernel attached SCM_CREDENTIALS, else its pid is 0 and its uid -1. Surplus fds are closed; a
 * truncated message or control block gives -EMSGSIZE with every fd closed. Returns the number of bytes, 0 at end of
 * file, or -errno (-EAGAIN: nothing there). */
ssize_t wire_receive(int socket, void *message, size_t bytes, int *fd_out, struct ucred *creds);

/* As wire_receive(), but closes nothing: every fd that came is in fds[0 .. *fd_count) and the caller's, also with a
 * return of 0 or -EMSGSIZE. For a caller that must not call close() on an unknown fd (it may block). */
#define WIRE_FDS_MAX 16
ssize_t wire_receive_fds(int socket, void *message, size_t bytes, int fds[WIRE_FDS_MAX], size_t *fd_count,
			 struct ucred *creds);

/* Room for all the control data that a message of ours may bring: an fd and credentials. Without credentials the kernel may
 * fill all of it with fds, and WIRE_FDS_MAX covers that. */
struct wire_control {
	_Alignas(struct cmsghdr) char space[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(3 * sizeof(int) /* struct ucred */)];
};
/* Takes fds and credentials out of a message that was received with such room. Every fd is in fds[0 .. *fd_count) and the
 * caller's; *creds (may be NULL) as with wire_receive(). */
void wire_control_parse(struct msghdr *header, int fds[WIRE_FDS_MAX], size_t *fd_count, struct ucred *creds);

#endif
