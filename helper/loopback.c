/* SPDX-License-Identifier: BSD-2-Clause */
/* A TCP connection with oneself over loopback: the guinea pig of self-tests. */
#define _GNU_SOURCE
#include "loopback.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

static const socklen_t address_bytes = sizeof(struct sockaddr_in);

static int listener_open(struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
	socklen_t bytes = address_bytes;
	int error;

	if (fd < 0)
		return -errno;
	*address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (bind(fd, (struct sockaddr *)address, bytes) == 0 && listen(fd, 1) == 0 &&
	    getsockname(fd, (struct sockaddr *)address, &bytes) == 0)
		return fd;
	error = -errno;
	close(fd);
	return error;
}

int loopback_pair_open(int ends[2])
{
	struct timeval patience = { .tv_sec = 1 };
	struct sockaddr_in address, local, remote;
	socklen_t bytes = address_bytes;
	int one = 1, error = 0;
	int listener;

	ends[0] = ends[1] = -1;
	listener = listener_open(&address);
	if (listener < 0)
		return listener;
	setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
	if (ends[0] < 0)
		goto fail;
	setsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)); /* bounds connect() too */
	if (connect(ends[0], (struct sockaddr *)&address, address_bytes) < 0 ||
	    getsockname(ends[0], (struct sockaddr *)&local, &bytes) < 0)
		goto fail;
	bytes = address_bytes;
	ends[1] = accept4(listener, (struct sockaddr *)&remote, &bytes, SOCK_CLOEXEC);
	if (ends[1] < 0)
		goto fail;
	errno = ECONNABORTED;
	if (local.sin_port != remote.sin_port || local.sin_addr.s_addr != remote.sin_addr.s_addr)
		goto fail;
	for (int i = 0; i < 2; i++)
		setsockopt(ends[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	close(listener);
	return 0;
fail:
	error = -errno;
	close(listener);
	loopback_pair_close(ends);
	return error;
}

void loopback_pair_close(int ends[2])
{
	for (int i = 0; i < 2; i++) {
		if (ends[i] >= 0)
			close(ends[i]);
		ends[i] = -1;
	}
}

uint64_t loopback_cookie(int fd)
{
	socklen_t bytes = sizeof(uint64_t);
	uint64_t cookie = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &bytes) < 0)
		return 0;
	return cookie;
}
