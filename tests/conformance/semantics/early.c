/* SPDX-License-Identifier: BSD-2-Clause */
/* Options set before the connection is up: on the connecting socket, or on the listener, from which the accepted end inherits
 * most of them. The connection works, on plain TCP if need be. */
#include "semantics.h"

#include <linux/filter.h>

struct early_option {
	int level, name, value;
};

static const struct early_option options[] = {
	{ SOL_SOCKET, SO_TIMESTAMP, 1 },
	{ SOL_SOCKET, SO_TIMESTAMPING, 0x18 },
	{ SOL_SOCKET, SO_ZEROCOPY, 1 },
	{ SOL_SOCKET, SO_BUSY_POLL, 50 },
	{ SOL_SOCKET, SO_MARK, 7 },
	{ SOL_SOCKET, SO_RCVLOWAT, 3 },
	{ SOL_SOCKET, SO_OOBINLINE, 1 },
	{ SOL_SOCKET, SO_RCVBUF, 16384 },
	{ SOL_SOCKET, SO_SNDBUF, 16384 },
	{ SOL_SOCKET, SO_KEEPALIVE, 1 },
	{ SOL_SOCKET, SO_LINGER, 0 }, /* with a second, below */
	{ SOL_SOCKET, SO_ATTACH_FILTER, 0 },
	{ IPPROTO_TCP, 36, 1 }, /* TCP_INQ */
	{ IPPROTO_TCP, TCP_CORK, 1 },
	{ IPPROTO_TCP, TCP_QUICKACK, 0 },
	{ IPPROTO_TCP, TCP_MAXSEG, 500 },
	{ IPPROTO_TCP, TCP_USER_TIMEOUT, 3000 },
	{ SOL_SOCKET, SO_MAX_PACING_RATE, 1000000 },
	{ IPPROTO_IP, IP_RECVERR, 1 },
};

static int set(int fd, const struct early_option *option)
{
	struct sock_filter accept_all = BPF_STMT(BPF_RET | BPF_K, 0xffffffff);
	struct sock_fprog program = { 1, &accept_all };
	struct linger linger = { 1, 1 };

	if (option->name == SO_ATTACH_FILTER && option->level == SOL_SOCKET)
		return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
	if (option->name == SO_LINGER && option->level == SOL_SOCKET)
		return setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	return set_int(fd, option->level, option->name, option->value);
}

static void note_int(const char *field, int fd, const struct early_option *option)
{
	int value = -1;
	socklen_t length = sizeof(value);

	TRY(field, getsockopt(fd, option->level, option->name, &value, &length));
	note(field, "%d", value);
}

/* index, and bit 8: on the listener */
static void before_it_is_up(struct pair *unused, int argument)
{
	const struct early_option *option = &options[argument & 255];
	uint16_t port_h;
	int listener = listen_any(&port_h), a = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = loopback_at(port_h);
	struct pair pair;

	(void)unused;
	TRY("set", set(argument & 256 ? listener : a, option));
	TRY("connect", connect(a, (struct sockaddr *)&address, sizeof(address)));
	pair = (struct pair){ a, accept(listener, NULL, NULL) };
	if (option->name != SO_ATTACH_FILTER || option->level != SOL_SOCKET)
		note_int("read-back", argument & 256 ? pair.b : pair.a, option);
	set_int(pair.a, IPPROTO_TCP, TCP_NODELAY, 1);
	set_int(pair.b, IPPROTO_TCP, TCP_NODELAY, 1);
	for (int i = 0; i < 20; i++) {
		put(pair.a, "request");
		if (recv(pair.b, (char[8]){ 0 }, 7, MSG_WAITALL) != 7)
			note("FAILED", "request");
		put(pair.b, "answer");
		if (recv(pair.a, (char[8]){ 0 }, 6, MSG_WAITALL) != 6)
			note("FAILED", "answer");
		if (i == 1) { /* corked: 200 ms each time */
			set_int(pair.a, IPPROTO_TCP, TCP_CORK, 0);
			set_int(pair.b, IPPROTO_TCP, TCP_CORK, 0);
		}
	}
	note("armed", "%s", pair_warm_up(&pair) ? "yes" : "no");
	later_put_bytes(0, pair.a, 100000, 1);
	drain("large", pair.b, 100000);
	later_join();
	round_trip("trip", &pair);
	close(pair.a);
	get("end", pair.b, 64, 0);
}

#define BOTH(name, index)                                                                                              \
	{ "early-" name, before_it_is_up, index, CASE_BARE },                                                          \
	{                                                                                                              \
		"early-" name "-listener", before_it_is_up, (index) | 256, CASE_BARE                                   \
	}

static const struct semantics_case cases[] = {
	BOTH("timestamp", 0),     BOTH("timestamping", 1), BOTH("zerocopy", 2),  BOTH("busy-poll", 3),
	BOTH("mark", 4),          BOTH("rcvlowat", 5),     BOTH("oobinline", 6), BOTH("rcvbuf", 7),
	BOTH("sndbuf", 8),        BOTH("keepalive", 9),    BOTH("linger", 10),   BOTH("filter", 11),
	BOTH("inq", 12),          BOTH("cork", 13),        BOTH("quickack", 14), BOTH("maxseg", 15),
	BOTH("user-timeout", 16), BOTH("pacing-rate", 17), BOTH("recverr", 18),
};
FAMILY(early);
