/* SPDX-License-Identifier: BSD-2-Clause */
/* What the kernel says of a connection's two addresses: see endpoint.h. */
#include "endpoint.h"

#include <errno.h>
#include <netinet/in.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "real.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

#define SUMS_TRIES 4
#define ESTABLISHED 1 /* TCP_ESTABLISHED is in netinet/tcp.h, which does not go with linux/tcp.h */

static const uint8_t mapped_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static int endpoint_from(const struct sockaddr_storage *address, struct wire_endpoint *out)
{
	memset(out, 0, sizeof(*out));
	if (address->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)address;

		memcpy(out->address, mapped_prefix, sizeof(mapped_prefix));
		memcpy(out->address + 12, &in->sin_addr, 4);
		out->port_n = in->sin_port;
		return 0;
	}
	if (address->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in = (const void *)address;

		memcpy(out->address, &in->sin6_addr, 16);
		out->port_n = in->sin6_port;
		return 0;
	}
	return -EAFNOSUPPORT;
}

int endpoint_query(int fd, struct endpoints *out)
{
	struct sockaddr_storage address = { 0 };
	socklen_t length = sizeof(address);

	if (getpeername(fd, (struct sockaddr *)&address, &length) != 0)
		return -errno;
	int error = endpoint_from(&address, &out->remote);
	length = sizeof(address);
	if (!error && getsockname(fd, (struct sockaddr *)&address, &length) != 0)
		error = -errno;
	out->family = address.ss_family;
	return error ? error : endpoint_from(&address, &out->local);
}

int endpoint_option(int fd, int level, int name)
{
	int value = 0, saved = errno;
	socklen_t length = sizeof(value);
	bool is_told = real_getsockopt(fd, level, name, &value, &length) == 0;

	errno = saved;
	return is_told ? value : 0;
}

bool endpoint_has_option(int fd, int level, int name)
{
	return endpoint_option(fd, level, name) != 0;
}

bool endpoint_is_tcp(int fd)
{
	return endpoint_option(fd, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_TCP;
}

bool endpoint_is_connected(int fd)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	int saved = errno;
	bool result = getpeername(fd, (struct sockaddr *)&address, &length) == 0;

	errno = saved;
	return result;
}

/* An end of whatever kind shows as POLLRDHUP, until tcp_disconnect() takes that back, too. */
bool endpoint_is_dissolved(int fd)
{
	struct pollfd poller = { .fd = fd, .events = POLLRDHUP };
	int saved = errno;
	bool result = real_poll(&poller, 1, 0) == 1 && (poller.revents & (POLLHUP | POLLRDHUP)) == POLLHUP;

	errno = saved;
	return result;
}

static bool is_mapped(const struct wire_endpoint *end)
{
	return memcmp(end->address, mapped_prefix, sizeof(mapped_prefix)) == 0;
}

/* An address of this host is one that a datagram socket can be bound to: the routing table's own answer. Where
 * net.ipv4.ip_nonlocal_bind is set it says yes too often, which costs an offer that is never matched. */
static bool bindable(const struct wire_endpoint *end)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	bool mapped = is_mapped(end);
	int fd = real_socket(mapped ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return false;
	memcpy(&in.sin_addr, end->address + 12, 4);
	memcpy(&in6.sin6_addr, end->address, 16);
	int result =
		mapped ? bind(fd, (struct sockaddr *)&in, sizeof(in)) : bind(fd, (struct sockaddr *)&in6, sizeof(in6));
	real_close(fd);
	return result == 0;
}

bool endpoint_is_local(const struct endpoints *ends)
{
	static const struct in6_addr loopback = IN6ADDR_LOOPBACK_INIT;
	const struct wire_endpoint *remote = &ends->remote;

	if (memcmp(ends->local.address, remote->address, sizeof(remote->address)) == 0)
		return true;
	if (is_mapped(remote) ? remote->address[12] == 127 : memcmp(remote->address, &loopback, 16) == 0)
		return true;
	return bindable(remote);
}

static uint64_t query_u64(int fd, int option)
{
	uint64_t value = 0;
	socklen_t length = sizeof(value);

	return real_getsockopt(fd, SOL_SOCKET, option, &value, &length) == 0 ? value : 0;
}

uint64_t endpoint_cookie(int fd)
{
	return query_u64(fd, SO_COOKIE);
}

uint64_t endpoint_netns_cookie(int fd)
{
	return query_u64(fd, SO_NETNS_COOKIE);
}

static struct tcp_info query_information(int fd)
{
	struct tcp_info information = { 0 };
	socklen_t length = sizeof(information);
	int saved = errno;

	if (real_getsockopt(fd, IPPROTO_TCP, TCP_INFO, &information, &length) != 0)
		memset(&information, 0, sizeof(information));
	errno = saved;
	return information;
}

uint8_t endpoint_tcp_state(int fd)
{
	return query_information(fd).tcpi_state;
}

uint64_t endpoint_bytes_sent(int fd)
{
	struct tcp_info information = query_information(fd);

	return information.tcpi_bytes_sent - information.tcpi_bytes_retrans + information.tcpi_notsent_bytes;
}

/* What is sent and not acknowledged, and what is unread, are asked for apart: right if nothing was acknowledged, and nothing came, between two
 * looks. */
bool endpoint_sums(int fd, uint64_t *sent, uint64_t *received)
{
	struct tcp_info before = query_information(fd), after = before;
	int unacknowledged = 0, unread = 0, saved = errno;
	bool is_right = false;

	for (int i = 0; i < SUMS_TRIES && !is_right && after.tcpi_state == ESTABLISHED; i++) {
		before = after;
		if (real_ioctl(fd, SIOCOUTQ, &unacknowledged) != 0 || real_ioctl(fd, SIOCINQ, &unread) != 0)
			break;
		after = query_information(fd);
		is_right = after.tcpi_state == ESTABLISHED && after.tcpi_bytes_acked == before.tcpi_bytes_acked &&
			   after.tcpi_bytes_received == before.tcpi_bytes_received;
	}
	*sent = after.tcpi_bytes_acked + (uint64_t)unacknowledged;
	*received = after.tcpi_bytes_received - (uint64_t)unread;
	errno = saved;
	return is_right;
}
