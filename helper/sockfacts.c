/* SPDX-License-Identifier: BSD-2-Clause */
/* Facts of a received fd: what it is, and the name of the connection it belongs to. */
#include "sockfacts.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

static int option_int(int fd, int option)
{
	int value = -1;
	socklen_t bytes = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &bytes) < 0 ? -1 : value;
}

bool sockfacts_is_tcp(int fd)
{
	int domain = option_int(fd, SO_DOMAIN);

	return (domain == AF_INET || domain == AF_INET6) && option_int(fd, SO_PROTOCOL) == IPPROTO_TCP;
}

bool sockfacts_is_channel(int fd)
{
	return option_int(fd, SO_DOMAIN) == AF_UNIX && option_int(fd, SO_TYPE) == SOCK_SEQPACKET &&
	       option_int(fd, SO_ACCEPTCONN) == 0;
}

bool sockfacts_closes_quickly(int fd)
{
	return sockfacts_is_tcp(fd) || sockfacts_is_channel(fd);
}

static uint64_t option_u64(int fd, int option)
{
	uint64_t value = 0;
	socklen_t bytes = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &bytes) < 0 || bytes != sizeof(value) ? 0 : value;
}

uint64_t sockfacts_cookie(int fd)
{
	return option_u64(fd, SO_COOKIE);
}

/* IPv4 as v4-mapped: one name for the two ends of a connection of an AF_INET and an AF_INET6 socket. */
static int endpoint_from(struct wire_endpoint *endpoint, const struct sockaddr_storage *address)
{
	memset(endpoint, 0, sizeof(*endpoint));
	if (address->ss_family == AF_INET) {
		const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;

		endpoint->address[10] = endpoint->address[11] = 0xff;
		memcpy(endpoint->address + 12, &v4->sin_addr, sizeof(v4->sin_addr));
		endpoint->port_n = v4->sin_port;
		return 0;
	}
	if (address->ss_family == AF_INET6) {
		const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;

		memcpy(endpoint->address, &v6->sin6_addr, sizeof(endpoint->address));
		endpoint->port_n = v6->sin6_port;
		return 0;
	}
	return -EAFNOSUPPORT;
}

enum sm_reason sockfacts_read(int fd, struct sockfacts *facts)
{
	struct sockaddr_storage local = { 0 }, remote = { 0 };
	socklen_t local_bytes = sizeof(local), remote_bytes = sizeof(remote);
	memset(facts, 0, sizeof(*facts));
	facts->family = option_int(fd, SO_DOMAIN);
	facts->is_tcp =
		(facts->family == AF_INET || facts->family == AF_INET6) && option_int(fd, SO_PROTOCOL) == IPPROTO_TCP;
	if (!facts->is_tcp)
		return REASON_NOT_TCP;
	facts->cookie = sockfacts_cookie(fd);
	facts->key.netns_cookie = option_u64(fd, SO_NETNS_COOKIE);
	if (!facts->cookie)
		return REASON_INTERNAL;
	if (getsockname(fd, (struct sockaddr *)&local, &local_bytes) < 0 ||
	    getpeername(fd, (struct sockaddr *)&remote, &remote_bytes) < 0)
		return REASON_NOT_ESTABLISHED;
	if (endpoint_from(&facts->key.local, &local) || endpoint_from(&facts->key.remote, &remote))
		return REASON_NOT_TCP;
	return REASON_NONE;
}
