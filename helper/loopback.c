/* SPDX-License-Identifier: BSD-2-Clause */
/* A TCP connection with oneself over loopback: the guinea pig of self-tests. */
#define _GNU_SOURCE
#include "loopback.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../bpf/shared.h"

/* The library finds it in the program and is off (preload/init.c): a connection that had joined could not be tried. */
extern const char smaccel_shim[] __attribute__((visibility("default")));
const char smaccel_shim[] = "none";

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

/* tcp_rmem[2] of this network namespace; 0: not known. */
static long rmem_max(void)
{
	FILE *file = fopen("/proc/sys/net/ipv4/tcp_rmem", "re");
	char text[128] = "", *at = text;
	long bytes = 0;

	if (!file)
		return 0;
	if (fgets(text, sizeof(text), file))
		for (int i = 0; i < 3; i++)
			bytes = strtol(at, &at, 10);
	fclose(file);
	return bytes;
}

/* Where the namespace's buffers are too small for anything to be redirected, this one is not. */
static void make_room(int fd)
{
	int bytes = 0;
	socklen_t length = sizeof(bytes);

	if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &length) == 0 && bytes < GATE_RCVBUF_MIN &&
	    rmem_max() < GATE_AUTOTUNE_MIN)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &(int){ GATE_RCVBUF_MIN }, sizeof(int));
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
	for (int i = 0; i < 2; i++) {
		setsockopt(ends[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		make_room(ends[i]);
	}
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
