/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of options, which is the whole policy; and option_check(). Options that are not in it pass: they act on the socket or on its TCP side
 * and harm no redirected byte.
 */
#include "option_rules.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/socket.h>

#include "direct.h"
#include "option.h"

/* Younger than the headers of some systems that we build on. */
#define OPTION_TCP_AO_ADD_KEY 38
#define OPTION_TCP_AO_DEL_KEY 39
#define OPTION_TCP_AO_INFO 40
#define OPTION_TCP_AO_REPAIR 42
#define OPTION_SO_TIMESTAMP_NEW 63
#define OPTION_SO_TIMESTAMPNS_NEW 64
#define OPTION_SO_TIMESTAMPING_NEW 65

static const struct option_rule rules[] = {
	{ SOL_SOCKET, SO_RCVLOWAT, ABOVE_ONE, REASON_LOWAT, EMPTY, true, false },
	{ SOL_SOCKET, SO_PEEK_OFF, NOT_NEGATIVE, REASON_OPTION, EMPTY, true, false },
	{ SOL_SOCKET, SO_TIMESTAMP, NOT_ZERO, REASON_OPTION, FILTER, true, false },
	{ SOL_SOCKET, SO_TIMESTAMPNS, NOT_ZERO, REASON_OPTION, FILTER, true, false },
	{ SOL_SOCKET, SO_TIMESTAMPING, NOT_ZERO, REASON_OPTION, REFUSE, true, true },
	{ SOL_SOCKET, OPTION_SO_TIMESTAMP_NEW, NOT_ZERO, REASON_OPTION, FILTER, true, false },
	{ SOL_SOCKET, OPTION_SO_TIMESTAMPNS_NEW, NOT_ZERO, REASON_OPTION, FILTER, true, false },
	{ SOL_SOCKET, OPTION_SO_TIMESTAMPING_NEW, NOT_ZERO, REASON_OPTION, REFUSE, true, true },
	{ SOL_SOCKET, SO_ATTACH_FILTER, ANY_VALUE, REASON_OPTION, FILTER, false, false },
	{ SOL_SOCKET, SO_ATTACH_BPF, ANY_VALUE, REASON_OPTION, FILTER, false, false },
	/* Loopback has no queue to poll, so that a default of the system (net.core.busy_read) is no reason. */
	{ SOL_SOCKET, SO_BUSY_POLL, NOT_ZERO, REASON_OPTION, PASS, false, false },
	/* How fast, and how late, TCP sends what it is given. */
	{ SOL_SOCKET, SO_MAX_PACING_RATE, NOT_ALL_ONES, REASON_OPTION, PASS, true, false },
	{ IPPROTO_TCP, TCP_TX_DELAY, NOT_ZERO, REASON_OPTION, PASS, true, false },
	/* Which segments TCP takes, and where they go. */
	{ SOL_SOCKET, SO_BINDTODEVICE, ANY_VALUE, REASON_OPTION, PASS, false, false },
	{ SOL_SOCKET, SO_BINDTOIFINDEX, ANY_VALUE, REASON_OPTION, PASS, false, false },
	{ IPPROTO_IP, IP_MINTTL, NOT_ZERO, REASON_OPTION, PASS, true, false },
	{ IPPROTO_IPV6, IPV6_MINHOPCOUNT, NOT_ZERO, REASON_OPTION, PASS, true, false },
	/* An error by ICMP, which does not end the connection: a receive that sleeps in the sockhash is not told. */
	{ IPPROTO_IP, IP_RECVERR, NOT_ZERO, REASON_OPTION, PASS, true, false },
	{ IPPROTO_IPV6, IPV6_RECVERR, NOT_ZERO, REASON_OPTION, PASS, true, false },
	{ IPPROTO_TCP, TCP_ULP, ANY_VALUE, REASON_ULP, REFUSE, false, false },
	{ IPPROTO_TCP, TCP_REPAIR, NOT_ZERO, REASON_OPTION, REFUSE, true, false },
	{ IPPROTO_TCP, TCP_INQ, NOT_ZERO, REASON_OPTION, STAY, true, false },
	{ IPPROTO_TCP, TCP_MD5SIG, ANY_VALUE, REASON_OPTION, PASS, false, false },
	{ IPPROTO_TCP, TCP_MD5SIG_EXT, ANY_VALUE, REASON_OPTION, PASS, false, false },
	{ IPPROTO_TCP, OPTION_TCP_AO_ADD_KEY, ANY_VALUE, REASON_OPTION, PASS, false, false },
	{ IPPROTO_TCP, OPTION_TCP_AO_DEL_KEY, ANY_VALUE, REASON_OPTION, PASS, false, false },
	{ IPPROTO_TCP, OPTION_TCP_AO_INFO, ANY_VALUE, REASON_OPTION, PASS, false, false },
	{ IPPROTO_TCP, OPTION_TCP_AO_REPAIR, ANY_VALUE, REASON_OPTION, PASS, false, false },
	/* Turns a v4-mapped socket into an IPv4 one; the kernel says EBUSY to a joined socket. */
	{ IPPROTO_IPV6, IPV6_ADDRFORM, ANY_VALUE, REASON_OPTION, PASS, false, false },
};
#define RULES (sizeof(rules) / sizeof(rules[0]))

bool option_rule_holds(const struct option_rule *rule, int value)
{
	switch (rule->condition) {
	case NOT_ZERO:
		return value != 0;
	case ABOVE_ONE:
		return value > 1 || value < 0; /* INT_MAX to the kernel (sk_set_rcvlowat) */
	case NOT_NEGATIVE:
		return value >= 0;
	case NOT_ALL_ONES:
		return value != -1;
	case ANY_VALUE:
		break;
	}
	return true;
}

const struct option_rule *option_rule_find(int level, int name)
{
	for (size_t i = 0; i < RULES; i++)
		if (rules[i].name == name && rules[i].level == level)
			return &rules[i];
	return NULL;
}

static bool has_ulp(int fd)
{
	char ulp[16];
	socklen_t length = sizeof(ulp);

	return real_getsockopt(fd, IPPROTO_TCP, TCP_ULP, ulp, &length) == 0 && length > 0;
}

static bool has_filter(int fd)
{
	socklen_t length = 0;

	/* The length is a number of instructions; of an eBPF filter it says nothing but that it is there. */
	if (real_getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &length) != 0)
		return errno == EACCES;
	return length > 0;
}

enum sm_reason option_check(int fd)
{
	enum sm_reason reason = REASON_NONE;
	int saved = errno;

	for (size_t i = 0; i < RULES && reason == REASON_NONE; i++) {
		int value = 0;
		socklen_t length = sizeof(value);

		/* A kernel that does not know the option has not got it set. */
		if (rules[i].can_be_asked && real_getsockopt(fd, rules[i].level, rules[i].name, &value, &length) == 0 &&
		    length > 0 && option_rule_holds(&rules[i], value))
			reason = rules[i].reason;
	}
	if (reason == REASON_NONE && has_ulp(fd))
		reason = REASON_ULP;
	if (reason == REASON_NONE && has_filter(fd))
		reason = REASON_OPTION;
	errno = saved;
	return reason;
}
