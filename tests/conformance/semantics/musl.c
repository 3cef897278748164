/* SPDX-License-Identifier: BSD-2-Clause */
/* What glibc's fortified programs call, of which musl has none. */
#include "semantics.h"

#ifndef __GLIBC__

ssize_t __read_chk(int fd, void *buffer, size_t bytes, size_t room);
ssize_t __read_chk(int fd, void *buffer, size_t bytes, size_t room)
{
	(void)room;
	return read(fd, buffer, bytes);
}

ssize_t __recv_chk(int fd, void *buffer, size_t bytes, size_t room, int flags);
ssize_t __recv_chk(int fd, void *buffer, size_t bytes, size_t room, int flags)
{
	(void)room;
	return recv(fd, buffer, bytes, flags);
}

ssize_t __recvfrom_chk(int fd, void *buffer, size_t bytes, size_t room, int flags, struct sockaddr *address,
		       socklen_t *length);
ssize_t __recvfrom_chk(int fd, void *buffer, size_t bytes, size_t room, int flags, struct sockaddr *address,
		       socklen_t *length)
{
	(void)room;
	return recvfrom(fd, buffer, bytes, flags, address, length);
}

#endif
