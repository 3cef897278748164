/* SPDX-License-Identifier: BSD-2-Clause */
/* Socket options set on a connection that is up: the call's result, what is read back, and that data still flows. */
#include "semantics.h"

#include <linux/filter.h>
#include <netinet/ip.h>

#define PACED_BYTES 1000000

struct option_case {
	int level, name, value;
};

static const struct option_case option_cases[] = {
	{ SOL_SOCKET, SO_KEEPALIVE, 1 },
	{ SOL_SOCKET, SO_ZEROCOPY, 1 },
	{ SOL_SOCKET, SO_TIMESTAMP, 1 },
	{ SOL_SOCKET, SO_TIMESTAMPNS, 1 },
	{ SOL_SOCKET, SO_TIMESTAMPING, 0x18 },
	{ SOL_SOCKET, SO_BUSY_POLL, 50 },
	{ SOL_SOCKET, SO_PREFER_BUSY_POLL, 1 },
	{ SOL_SOCKET, SO_MARK, 7 },
	{ SOL_SOCKET, SO_PRIORITY, 5 },
	{ SOL_SOCKET, SO_RCVBUF, 100000 },
	{ SOL_SOCKET, SO_SNDBUF, 100000 },
	{ SOL_SOCKET, SO_RCVBUF, 4096 },
	{ SOL_SOCKET, SO_OOBINLINE, 1 },
	{ SOL_SOCKET, SO_RCVLOWAT, 1 },
	{ SOL_SOCKET, SO_RCVLOWAT, 3 },
	{ SOL_SOCKET, SO_REUSEADDR, 1 },
	{ SOL_SOCKET, SO_INCOMING_CPU, 0 },
	{ SOL_SOCKET, SO_MAX_PACING_RATE, 100000000 },
	{ SOL_SOCKET, SO_RXQ_OVFL, 1 },
	{ SOL_SOCKET, SO_LOCK_FILTER, 1 },
	{ SOL_SOCKET, SO_DONTROUTE, 1 },
	{ SOL_SOCKET, SO_DETACH_FILTER, 0 },
	{ IPPROTO_TCP, TCP_NODELAY, 0 },
	{ IPPROTO_TCP, TCP_QUICKACK, 1 },
	{ IPPROTO_TCP, TCP_KEEPIDLE, 100 },
	{ IPPROTO_TCP, TCP_USER_TIMEOUT, 5000 },
	{ IPPROTO_TCP, TCP_MAXSEG, 1000 },
	{ IPPROTO_TCP, TCP_NOTSENT_LOWAT, 16384 },
	{ IPPROTO_TCP, TCP_WINDOW_CLAMP, 60000 },
	{ IPPROTO_TCP, TCP_LINGER2, 3 },
	{ IPPROTO_TCP, TCP_DEFER_ACCEPT, 1 },
	{ IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1 },
	{ IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 1 },
	{ IPPROTO_TCP, TCP_SAVE_SYN, 1 },
	{ IPPROTO_TCP, TCP_INQ, 1 },
	{ IPPROTO_TCP, TCP_TX_DELAY, 1000 },
	{ IPPROTO_TCP, 9999, 1 },
	{ IPPROTO_IP, IP_TOS, 16 },
	{ IPPROTO_IP, IP_TTL, 33 },
	{ IPPROTO_IP, IP_RECVTOS, 1 },
	{ IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1 },
	{ IPPROTO_IP, IP_RECVERR, 1 },
	{ SOL_SOCKET, SO_PEEK_OFF, 0 },
	{ SOL_SOCKET, SO_BINDTOIFINDEX,
	  1 }, /* the loopback interface, which has that number in every network namespace */
};

static void set_and_use(struct pair *pair, int index)
{
	const struct option_case *option = &option_cases[index];
	int value = -1;
	socklen_t length = sizeof(value);

	TRY("set", set_int(pair->b, option->level, option->name, option->value));
	TRY("get", getsockopt(pair->b, option->level, option->name, &value, &length));
	note("value", "%d", value);
	round_trip("one", pair);
	TRY("set-other", set_int(pair->a, option->level, option->name, option->value));
	round_trip("two", pair);
}

/* With data unread when the option is set. */
static void set_with_unread(struct pair *pair, int index)
{
	const struct option_case *option = &option_cases[index];

	put(pair->a, "unread");
	settle();
	TRY("set", set_int(pair->b, option->level, option->name, option->value));
	get("data", pair->b, 64, 0);
	round_trip("one", pair);
}

/* With data unread at the peer, for which it cannot leave either: but none comes past TCP to who sets it. */
static void set_with_peer_unread(struct pair *pair, int index)
{
	const struct option_case *option = &option_cases[index];

	put(pair->b, "unread");
	settle();
	TRY("set", set_int(pair->b, option->level, option->name, option->value));
	put(pair->a, "ab");
	settle();
	note_poll("two", pair->b, POLLIN, 0);
	put(pair->a, "cd");
	settle();
	note_poll("four", pair->b, POLLIN, 0);
	get("peek", pair->b, 2, MSG_PEEK);
	get("peek-again", pair->b, 2, MSG_PEEK);
	get("data", pair->b, 64, 0);
	get("unread", pair->a, 64, 0);
	later_put(SOON_MS, pair->a, "ef");
	later_put(3 * SOON_MS, pair->a, "gh");
	get("asleep", pair->b, 64, 0);
	later_join();
	settle();
	get("rest", pair->b, 64, MSG_DONTWAIT);
}

enum { UNREAD = 16 }; /* bytes wait at the end that sets it */

static void upper_protocol(struct pair *pair, int argument)
{
	int which = argument & ~UNREAD;

	static const char *const names[] = { "tls", "mptcp", "no-such-protocol" };
	char name[16] = "";
	socklen_t length = sizeof(name);

	if (argument & UNREAD) {
		put(pair->b, "unread");
		settle();
	}
	TRY("set", setsockopt(pair->a, IPPROTO_TCP, TCP_ULP, names[which], (socklen_t)strlen(names[which])));
	TRY("get", getsockopt(pair->a, IPPROTO_TCP, TCP_ULP, name, &length));
	note("name", "%.8s", name);
	if (argument & UNREAD)
		get("unread", pair->a, 64, 0);
	round_trip("trip", pair);
}

static void repair_mode(struct pair *pair, int unused)
{
	int sequence = 0;
	socklen_t length = sizeof(sequence);

	(void)unused;
	TRY("on", set_int(pair->a, IPPROTO_TCP, TCP_REPAIR, 1));
	TRY("queue", set_int(pair->a, IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE));
	TRY("sequence", getsockopt(pair->a, IPPROTO_TCP, TCP_QUEUE_SEQ, &sequence, &length));
	TRY("no-queue", set_int(pair->a, IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_NO_QUEUE));
	TRY("off", set_int(pair->a, IPPROTO_TCP, TCP_REPAIR, 0));
	round_trip("trip", pair);
}

static void filter(struct pair *pair, int detach)
{
	struct sock_filter accept_all = BPF_STMT(BPF_RET | BPF_K, 0xffffffff);
	struct sock_fprog program = { 1, &accept_all };
	int none = 0;
	socklen_t length = 0;

	TRY("attach", setsockopt(pair->b, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)));
	TRY("get", getsockopt(pair->b, SOL_SOCKET, SO_GET_FILTER, NULL, &length));
	note("instructions", "%u", length);
	round_trip("one", pair);
	if (detach) {
		TRY("detach", setsockopt(pair->b, SOL_SOCKET, SO_DETACH_FILTER, &none, sizeof(none)));
		TRY("detach-again", setsockopt(pair->b, SOL_SOCKET, SO_DETACH_FILTER, &none, sizeof(none)));
	}
	round_trip("two", pair);
}

/* A filter that drops everything: the peer's bytes do not arrive. */
static void filter_drops(struct pair *pair, int unused)
{
	struct sock_filter drop_all = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog program = { 1, &drop_all };

	(void)unused;
	TRY("attach", setsockopt(pair->b, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)));
	TRY("send", send(pair->a, "hello", 5, 0));
	note_poll("poll", pair->b, POLLIN, 100);
	TRY("detach", setsockopt(pair->b, SOL_SOCKET, SO_DETACH_FILTER, NULL, 0));
}

static void congestion(struct pair *pair, int unused)
{
	char name[16] = "";
	socklen_t length = sizeof(name);

	(void)unused;
	TRY("set", setsockopt(pair->a, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
	TRY("get", getsockopt(pair->a, IPPROTO_TCP, TCP_CONGESTION, name, &length));
	note("name", "%.15s", name);
	TRY("unknown", setsockopt(pair->a, IPPROTO_TCP, TCP_CONGESTION, "no-such", 7));
	TRY("device", setsockopt(pair->a, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
	round_trip("trip", pair);
}

/* What the kernel says of the connection; byte counts are what the documented list excepts. */
static void information(struct pair *pair, int unused)
{
	struct tcp_info before = { 0 }, after = { 0 };
	socklen_t length = sizeof(before);
	int value = -1;

	(void)unused;
	TRY("info", getsockopt(pair->b, IPPROTO_TCP, TCP_INFO, &before, &length));
	note("state", "%d", before.tcpi_state);
	note("options", "%d", before.tcpi_options & 7);
	put(pair->a, "hello");
	get("data", pair->b, 64, 0);
	length = sizeof(after);
	getsockopt(pair->b, IPPROTO_TCP, TCP_INFO, &after, &length);
	note("unacked", "%u", after.tcpi_unacked);
	note("retransmits", "%u", after.tcpi_total_retrans);
	static const int names[] = { SO_TYPE, SO_PROTOCOL, SO_ERROR, SO_ACCEPTCONN, SO_KEEPALIVE, SO_BROADCAST };
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		length = sizeof(value);
		if (getsockopt(pair->b, SOL_SOCKET, names[i], &value, &length) == 0)
			note("option", "%d %d", names[i], value);
	}
	length = sizeof(value);
	getsockopt(pair->b, IPPROTO_TCP, TCP_MAXSEG, &value, &length);
	note("segment-size", "%d", value);
}

/* The byte counts of TCP_INFO, for the documented list: redirected bytes are not in them. */
static void information_bytes(struct pair *pair, int unused)
{
	char info[256] = "";
	socklen_t length = sizeof(info);
	uint64_t before, after;

	(void)unused;
	getsockopt(pair->b, IPPROTO_TCP, TCP_INFO, info, &length);
	memcpy(&before, info + 128, sizeof(before)); /* tcpi_bytes_received */
	put(pair->a, "hello");
	get("data", pair->b, 64, 0);
	getsockopt(pair->b, IPPROTO_TCP, TCP_INFO, info, &length);
	memcpy(&after, info + 128, sizeof(after));
	note("received", "%llu", (unsigned long long)(after - before));
}

static void addresses(struct pair *pair, int unused)
{
	struct sockaddr_in own_a, own_b, peer_a, peer_b;
	socklen_t length = sizeof(own_a);

	(void)unused;
	TRY("own-a", getsockname(pair->a, (struct sockaddr *)&own_a, &length));
	TRY("own-b", getsockname(pair->b, (struct sockaddr *)&own_b, &length));
	TRY("peer-a", getpeername(pair->a, (struct sockaddr *)&peer_a, &length));
	TRY("peer-b", getpeername(pair->b, (struct sockaddr *)&peer_b, &length));
	note("mirrored", "%d", own_a.sin_port == peer_b.sin_port && own_b.sin_port == peer_a.sin_port);
	length = 4;
	TRY("short", getsockname(pair->a, (struct sockaddr *)&own_a, &length));
	note("length", "%s", length > 4 ? "whole" : "short");
	shutdown(pair->a, SHUT_RDWR);
	shutdown(pair->b, SHUT_RDWR);
	settle();
	length = sizeof(peer_a);
	TRY("peer-after-end", getpeername(pair->b, (struct sockaddr *)&peer_b, &length));
}

/* SO_MAX_PACING_RATE is kept without any queueing discipline: PACED_BYTES take a second, but for a first burst. */
static void paced(struct pair *pair, int unused)
{
	uint64_t start_ms = clock_ms();

	(void)unused;
	TRY("set", set_int(pair->a, SOL_SOCKET, SO_MAX_PACING_RATE, PACED_BYTES));
	later_put_bytes(0, pair->a, PACED_BYTES, 1);
	drain("drained", pair->b, PACED_BYTES);
	later_join();
	note("paced", "%s", clock_ms() - start_ms > 300 ? "yes" : "no");
}

/* TCP drops what comes with a lower TTL. */
static void below_minimum(struct pair *pair, int bytes)
{
	int level = pair_is_ipv6 ? IPPROTO_IPV6 : IPPROTO_IP;

	if (pair_is_ipv6)
		bytes = sizeof(int); /* only IP takes a number of one byte, too */
	TRY("set",
	    setsockopt(pair->b, level, pair_is_ipv6 ? IPV6_MINHOPCOUNT : IP_MINTTL, &(int){ 20 }, (socklen_t)bytes));
	round_trip("one", pair);
	TRY("lower", set_int(pair->a, level, pair_is_ipv6 ? IPV6_UNICAST_HOPS : IP_TTL, 10));
	put(pair->a, "lost");
	pause_ms(2 * SOON_MS);
	get("nothing", pair->b, 64, MSG_DONTWAIT);
}

#define OPTION(name, index)                                                                                            \
	{                                                                                                              \
		"option-" name, set_and_use, index, 0                                                                  \
	}
static const struct semantics_case cases[] = {
	OPTION("keepalive", 0),
	OPTION("zerocopy", 1),
	OPTION("timestamp", 2),
	OPTION("timestampns", 3),
	OPTION("timestamping", 4),
	OPTION("busy-poll", 5),
	OPTION("prefer-busy-poll", 6),
	OPTION("mark", 7),
	OPTION("priority", 8),
	OPTION("rcvbuf", 9),
	OPTION("sndbuf", 10),
	OPTION("rcvbuf-small", 11),
	OPTION("oobinline", 12),
	OPTION("rcvlowat-1", 13),
	OPTION("rcvlowat-3", 14),
	OPTION("reuseaddr", 15),
	OPTION("incoming-cpu", 16),
	OPTION("max-pacing-rate", 17),
	OPTION("rxq-ovfl", 18),
	OPTION("lock-filter", 19),
	OPTION("dontroute", 20),
	OPTION("detach-filter", 21),
	OPTION("nodelay-off", 22),
	OPTION("quickack", 23),
	OPTION("keepidle", 24),
	OPTION("user-timeout", 25),
	OPTION("maxseg", 26),
	OPTION("notsent-lowat", 27),
	OPTION("window-clamp", 28),
	OPTION("linger2", 29),
	OPTION("defer-accept", 30),
	OPTION("fastopen-connect", 31),
	OPTION("thin-timeouts", 32),
	OPTION("save-syn", 33),
	OPTION("inq", 34),
	OPTION("tx-delay", 35),
	OPTION("unknown", 36),
	OPTION("tos", 37),
	OPTION("ttl", 38),
	OPTION("recvtos", 39),
	OPTION("bind-no-port", 40),
	OPTION("recverr", 41),
	OPTION("peek-off", 42),
	OPTION("bind-to-ifindex", 43),
	{ "option-zerocopy-unread", set_with_unread, 1, 0 },
	{ "option-timestamp-unread", set_with_unread, 2, 0 },
	{ "option-rcvlowat-unread", set_with_unread, 14, 0 },
	{ "option-timestamping-unread", set_with_unread, 4, 0 },
	{ "option-busy-poll-unread", set_with_unread, 5, 0 },
	{ "option-peek-off-unread", set_with_unread, 42, 0 },
	{ "option-rcvlowat-peer-unread", set_with_peer_unread, 14, 0 },
	{ "option-peek-off-peer-unread", set_with_peer_unread, 42, 0 },
	{ "option-inq-unread", set_with_unread, 34, 0 },
	{ "option-oobinline-unread", set_with_unread, 12, 0 },
	{ "ulp-tls", upper_protocol, 0, 0 },
	{ "ulp-tls-unread", upper_protocol, UNREAD, 0 },
	{ "ulp-mptcp", upper_protocol, 1, 0 },
	{ "ulp-unknown", upper_protocol, 2, 0 },
	{ "repair", repair_mode, 0, 0 },
	{ "paced", paced, 0, 0 },
	{ "below-minimum-ttl", below_minimum, sizeof(int), 0 },
	{ "below-minimum-ttl-byte", below_minimum, 1, 0 },
	{ "filter-accept", filter, 0, 0 },
	{ "filter-detach", filter, 1, 0 },
	{ "filter-drops", filter_drops, 0, 0 },
	{ "congestion", congestion, 0, 0 },
	{ "information", information, 0, 0 },
	{ "information-bytes", information_bytes, 0, 0 },
	{ "addresses", addresses, 0, 0 },
};
FAMILY(options);
