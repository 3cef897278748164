/* SPDX-License-Identifier: BSD-2-Clause */
/* Whether what an application points to can be read. A wrapper that looks at a header, vector or time before the kernel
 * does asks here first: where the kernel would say EFAULT, this library must not fault (invariant 7).
 *
 * Cost: some 5 ns for a pointer into the caller's stack near the current frame, 15 ns for another page that was asked about a
 * moment ago, else the kernel is asked: 140 ns here. Async-signal-safe; errno is kept.
 */
#ifndef SMACCEL_READABLE_H
#define SMACCEL_READABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/uio.h>

bool readable_bytes(const void *pointer, size_t bytes);

/* The bytes that a vector has or has room for. False for one that the kernel refuses: unreadable, too long, too many. */
bool readable_vector(const struct iovec *vector, size_t count, size_t *bytes_out);
/* The same for the vector of a message, and the header itself. */
bool readable_message(const struct msghdr *message, size_t *bytes_out);
#define CONTROL_BYTES_MAX (1u << 20) /* of a message: the kernel refuses more */
/* Whether header and control data of a message can be read. */
bool readable_control(const struct msghdr *message);
/* Whether the address and the control data of a message that is sent can be read, whose header can. The kernel copies both before it looks at the
 * connection, and the bytes after that. */
bool readable_beside(const struct msghdr *message);
bool readable_address(const void *address, socklen_t length);

/* Whether an int can be written there. Where it could be a moment ago (the pages are remembered as those that can be read), or where the kernel has
 * just written one (SIOCATMARK): 0. Else EFAULT, or another errno where nobody knows, because fd is no TCP socket any more. */
int writable_int(int fd, void *pointer);

#endif
