/* SPDX-License-Identifier: BSD-2-Clause */
/* What the kernel says of a connection's two addresses. */
#ifndef SMACCEL_ENDPOINT_H
#define SMACCEL_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "../helper/wire/protocol.h"

/* Which buffers have the size that the application has set. Younger than the headers of some systems that we build on. */
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif
#define SOCK_SNDBUF_LOCK 1 /* linux/socket.h */
#define SOCK_RCVBUF_LOCK 2

struct endpoints {
	struct wire_endpoint local;
	struct wire_endpoint remote;
	uint16_t family; /* AF_INET, AF_INET6: of the socket */
};

/* 0, or -errno: -ENOTCONN while a non-blocking connect has not come up, -EAFNOSUPPORT. */
int endpoint_query(int fd, struct endpoints *out);
/* Whether the other end is on this host: loopback, its own address, or an address that a socket may be bound to. */
bool endpoint_is_local(const struct endpoints *ends);
uint8_t endpoint_tcp_state(int fd);                    /* TCP_ESTABLISHED ...; 0: not a TCP socket. errno is kept */
int endpoint_option(int fd, int level, int name);      /* an int; 0: the kernel does not say. errno is kept */
bool endpoint_has_option(int fd, int level, int name); /* it is not 0 */
bool endpoint_is_tcp(int fd);       /* MPTCP, SCTP and SMC are streams too, but other protocols. errno is kept */
bool endpoint_is_connected(int fd); /* not while it is connecting. errno is kept */
bool endpoint_is_dissolved(int fd); /* it has no connection, nor the end of one. errno is kept */
/* What has gone out and come in since the connection began, as the kernel counts: the end that made the connection has sent one
 * more, its SYN. False: it is not established, or bytes come and go. errno is kept. */
bool endpoint_sums(int fd, uint64_t *sent, uint64_t *received);
/* What TCP has been given to send since the connection began, the last such bytes perhaps not; 0: the kernel does not say. errno is kept */
uint64_t endpoint_bytes_sent(int fd);
uint64_t endpoint_cookie(int fd);       /* SO_COOKIE; 0 if the kernel does not say */
uint64_t endpoint_netns_cookie(int fd); /* SO_NETNS_COOKIE; 0 on kernels without it */

#endif
