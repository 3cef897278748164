/* SPDX-License-Identifier: BSD-2-Clause */
/* Facts of a received fd: what it is, and the name of the connection it belongs to. */
#include "sockfacts.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "log.h"

static int option_of(int fd, int level, int option)
{
	int value = -1;
	socklen_t bytes = sizeof(value);

	return getsockopt(fd, level, option, &value, &bytes) < 0 ? -1 : value;
}

static int option_int(int fd, int option)
{
	return option_of(fd, SOL_SOCKET, option);
}

bool sockfacts_hears_icmp(int fd, const struct sm_look *look)
{
	bool is_ipv4 = IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)look->local);

	return is_ipv4 ? option_of(fd, IPPROTO_IP, IP_RECVERR) > 0 : option_of(fd, IPPROTO_IPV6, IPV6_RECVERR) > 0;
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

/* A listening socket resets what nobody has accepted; a unix socket frees what is in its queue, which may be any file. */
bool sockfacts_closes_quickly(int fd)
{
	return sockfacts_is_tcp(fd) && option_int(fd, SO_ACCEPTCONN) == 0;
}

bool sockfacts_has_unread(int channel)
{
	struct msghdr message = { 0 };
	const int on = 1, none = -1;

	/* Whoever made the socket may have set these. With the first a message of no bytes has its credentials, for which there is no room, and which
	 * tell it from the end. */
	if (setsockopt(channel, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
	    setsockopt(channel, SOL_SOCKET, SO_PEEK_OFF, &none, sizeof(none)) < 0)
		return true;
	return recvmsg(channel, &message, MSG_PEEK | MSG_DONTWAIT) >= 0 &&
	       (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
}

uint32_t sockfacts_unread_bytes(int channel)
{
	uint32_t values[SK_MEMINFO_VARS] = { 0 };
	socklen_t bytes = sizeof(values);

	return getsockopt(channel, SOL_SOCKET, SO_MEMINFO, values, &bytes) == 0 ? values[SK_MEMINFO_WMEM_ALLOC] : 0;
}

uint64_t sockfacts_cookie(int fd)
{
	uint64_t value = 0;
	socklen_t bytes = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &value, &bytes) < 0 || bytes != sizeof(value) ? 0 : value;
}

struct registry_key sockfacts_name(const struct sm_look *look)
{
	struct registry_key key = {
		.netns_cookie = look->facts.netns_cookie,
		.local.port_n = look->local_port_n,
		.remote.port_n = look->remote_port_n,
	};

	memcpy(key.local.address, look->local, sizeof(look->local));
	memcpy(key.remote.address, look->remote, sizeof(look->remote));
	return key;
}

enum sm_reason sockfacts_reason_of_options(uint32_t options)
{
	if (options & SM_OPTION_ZEROCOPY)
		return REASON_ZEROCOPY;
	if (options & SM_OPTION_LOWAT)
		return REASON_LOWAT;
	if (options & SM_OPTION_OOB_INLINE)
		return REASON_OOB;
	return options ? REASON_OPTION : REASON_NONE;
}

enum sm_reason sockfacts_reason_of_insert(int error)
{
	switch (error) {
	case 0:
		return REASON_NONE;
	case -EBUSY:
		return REASON_BUSY;
	case -EOPNOTSUPP:
		return REASON_NOT_ESTABLISHED;
	case -EINVAL:
		return REASON_ULP;
	case -E2BIG:
	case -ENOMEM:
		return REASON_TABLE_FULL;
	default:
		log_debug("the kernel does not take a socket: %s", strerror(-error));
		return REASON_INTERNAL;
	}
}
