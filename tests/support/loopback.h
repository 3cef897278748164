/* SPDX-License-Identifier: BSD-2-Clause */
/* What every workload needs: listening and connecting on this host's addresses, whole-buffer transfers, failing loudly. */
#ifndef SMACCEL_TEST_LOOPBACK_H
#define SMACCEL_TEST_LOOPBACK_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define EXIT_WRONG 1    /* wrong bytes, errors */
#define EXIT_USAGE 2    /* the test could not be set up */
#define EXIT_DEADLINE 3 /* something hangs */

#define die(...)                                                                                                       \
	do {                                                                                                           \
		int die_errno = errno;                                                                                 \
		fprintf(stderr, __VA_ARGS__);                                                                          \
		fprintf(stderr, " (%s)\n", strerror(die_errno));                                                       \
		_exit(EXIT_USAGE);                                                                                     \
	} while (0)

/* "127.0.0.1", "::1", "::ffff:127.0.0.1" and a port in host order to a socket address; its length. */
static inline socklen_t loopback_address(const char *text, unsigned port_h, struct sockaddr_storage *address)
{
	struct sockaddr_in *four = (struct sockaddr_in *)address;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)address;

	memset(address, 0, sizeof(*address));
	if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons((uint16_t)port_h);
		return sizeof(*four);
	}
	if (inet_pton(AF_INET6, text, &six->sin6_addr) == 1) {
		six->sin6_family = AF_INET6;
		six->sin6_port = htons((uint16_t)port_h);
		return sizeof(*six);
	}
	errno = EINVAL;
	die("not an address: %s", text);
}

static inline unsigned loopback_port(int fd)
{
	struct sockaddr_in6 address = { 0 };
	socklen_t length = sizeof(address);

	if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
		die("getsockname");
	return ntohs(address.sin6_port); /* the same place in sockaddr_in */
}

/* A listening socket; dual-stack where `text` is IPv6. rcvbuf_bytes 0: auto-tuned. port 0: any. */
static inline int loopback_listen(const char *text, unsigned port_h, int backlog, int rcvbuf_bytes)
{
	struct sockaddr_storage address;
	socklen_t length = loopback_address(text, port_h, &address);
	int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, no = 0;

	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (address.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no));
	if (rcvbuf_bytes && setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf_bytes, sizeof(rcvbuf_bytes)) < 0)
		die("SO_RCVBUF");
	if (bind(fd, (struct sockaddr *)&address, length) < 0)
		die("bind %s port %u", text, port_h);
	if (listen(fd, backlog) < 0)
		die("listen");
	return fd;
}

/* connect() made non-blocking and waited for; the fd is blocking again afterwards. 0 or -1 with errno. */
static inline int loopback_connect_nonblocking(int fd, const struct sockaddr *address, socklen_t length)
{
	struct pollfd wait = { .fd = fd, .events = POLLOUT };
	int flags = fcntl(fd, F_GETFL), error = 0;
	socklen_t size = sizeof(error);

	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	if (connect(fd, address, length) < 0 && errno != EINPROGRESS)
		return -1;
	if (poll(&wait, 1, 5000) != 1) {
		errno = ETIMEDOUT;
		return -1;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 || error) {
		errno = error;
		return -1;
	}
	return fcntl(fd, F_SETFL, flags);
}

/* rcvbuf_bytes 0: auto-tuned. */
static inline int loopback_connect_with(const char *text, unsigned port_h, int rcvbuf_bytes)
{
	struct sockaddr_storage address;
	socklen_t length = loopback_address(text, port_h, &address);
	int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	if (rcvbuf_bytes && setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf_bytes, sizeof(rcvbuf_bytes)) < 0)
		die("SO_RCVBUF");
	if (connect(fd, (struct sockaddr *)&address, length) < 0)
		die("connect %s port %u", text, port_h);
	return fd;
}

static inline int loopback_connect(const char *text, unsigned port_h)
{
	return loopback_connect_with(text, port_h, 0);
}

/* Both ends of a connection in this process: that which has connected, and that which was accepted. The listener stays open. */
static inline void loopback_pair(int *connected, int *accepted)
{
	int listener = loopback_listen("127.0.0.1", 0, 1, 0);

	*connected = loopback_connect("127.0.0.1", loopback_port(listener));
	*accepted = accept(listener, NULL, NULL);
	if (*accepted < 0)
		die("accept");
}

/* Blocking; 0, or -1 with errno (0 in errno: end of file). */
static inline int read_whole(int fd, void *buffer, size_t bytes)
{
	for (size_t done = 0; done < bytes;) {
		ssize_t got = recv(fd, (char *)buffer + done, bytes - done, 0);

		if (got <= 0) {
			if (got == 0)
				errno = 0;
			return -1;
		}
		done += (size_t)got;
	}
	return 0;
}

static inline int write_whole(int fd, const void *buffer, size_t bytes)
{
	for (size_t done = 0; done < bytes;) {
		ssize_t got = send(fd, (const char *)buffer + done, bytes - done, MSG_NOSIGNAL);

		if (got <= 0)
			return -1;
		done += (size_t)got;
	}
	return 0;
}

#endif
