/* SPDX-License-Identifier: BSD-2-Clause */
/* Bad addresses: EFAULT, and no byte lost. */
#include "semantics.h"

#include <sys/mman.h>

/* Volatile: the compiler is not to see through it. */
static void *volatile bad_address = (void *)8;
#define BAD bad_address

enum { UNMAPPED = 64 }; /* in the argument of a case: not in the first page, but where a page was */

static void choose_bad_address(int argument)
{
	char *page;

	if (!(argument & UNMAPPED))
		return;
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(page, 0, 4096);
	munmap(page, 4096);
	bad_address = page + 64;
}

/* The last `bytes` of a page that is followed by one that is not there. */
static char *at_the_edge(size_t bytes)
{
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(pages + 4096, 4096);
	return pages + 4096 - bytes;
}

static void receive_bad(struct pair *pair, int flags)
{
	TRY("empty", recv(pair->b, BAD, 64, flags | MSG_DONTWAIT));
	put(pair->a, "hello");
	settle();
	TRY("bad", recv(pair->b, BAD, 64, flags));
	TRY("null", recv(pair->b, NULL, 64, flags));
	TRY("read-bad", read(pair->b, BAD, 64));
	get("data", pair->b, 64, MSG_DONTWAIT);
	round_trip("trip", pair);
}

/* A bad address while the receive sleeps. */
static void receive_bad_later(struct pair *pair, int unused)
{
	(void)unused;
	later_put(SOON_MS, pair->a, "hello");
	TRY("bad", recv(pair->b, BAD, 64, 0));
	later_join();
	settle();
	get("data", pair->b, 64, MSG_DONTWAIT);
}

static void receive_read_only(struct pair *pair, int unused)
{
	char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)unused;
	put(pair->a, "hello");
	settle();
	TRY("read-only", recv(pair->b, page, 64, 0));
	get("data", pair->b, 64, MSG_DONTWAIT);
}

/* The buffer has room for four of the six bytes. */
static void receive_edge(struct pair *pair, int unused)
{
	char *edge = at_the_edge(4);

	(void)unused;
	put(pair->a, "abcdef");
	settle();
	TRY("edge", recv(pair->b, edge, 64, MSG_DONTWAIT));
	get("data", pair->b, 64, MSG_DONTWAIT);
	put(pair->a, "abcd");
	settle();
	GET("fits", edge, recv(pair->b, edge, 64, MSG_DONTWAIT));
}

static void receive_bad_vector(struct pair *pair, int unused)
{
	char good[3];
	struct iovec vector[] = { { good, 3 }, { BAD, 3 } };
	struct msghdr message = { .msg_iov = vector, .msg_iovlen = 2 };

	(void)unused;
	put(pair->a, "abcdef");
	settle();
	TRY("readv", readv(pair->b, vector, 2));
	TRY("recvmsg", recvmsg(pair->b, &message, MSG_DONTWAIT));
	get("data", pair->b, 64, MSG_DONTWAIT);
	put(pair->a, "abc");
	settle();
	TRY("fits", readv(pair->b, vector, 2));
}

static void bad_pointers_receive(struct pair *pair, int what)
{
	choose_bad_address(what);
	struct msghdr message = { .msg_iov = BAD, .msg_iovlen = 1 };
	struct mmsghdr many = { .msg_hdr = { .msg_iov = BAD, .msg_iovlen = 1 } };
	struct mmsghdr *edge = (struct mmsghdr *)(void *)at_the_edge(sizeof(many) + 8);
	char text[16];
	socklen_t length = 4;

	put(pair->a, "hello");
	settle();
	switch (what & ~UNMAPPED) {
	case 0:
		TRY("recvmsg-header", recvmsg(pair->b, BAD, 0));
		break;
	case 1:
		TRY("recvmsg-vector", recvmsg(pair->b, &message, 0));
		break;
	case 2:
		TRY("readv-vector", readv(pair->b, BAD, 1));
		break;
	case 3:
		TRY("recvmmsg-headers", recvmmsg(pair->b, BAD, 1, 0, NULL));
		break;
	case 4:
		TRY("recvmmsg-vector", recvmmsg(pair->b, &many, 1, 0, NULL));
		break;
	case 5:
		TRY("recvfrom-length", recvfrom(pair->b, text, 2, 0, (struct sockaddr *)text, BAD));
		break;
	case 6:
		TRY("recvfrom-address", recvfrom(pair->b, text, 2, 0, BAD, &length));
		break;
	case 7:
		TRY("recvmmsg-time", recvmmsg(pair->b, &many, 1, 0, BAD));
		break;
	case 8:
		TRY("recvfrom-waitall", recvfrom(pair->b, text, 2, MSG_WAITALL, (struct sockaddr *)text, BAD));
		break;
	default: /* the second header is not there whole */
		*edge = (struct mmsghdr){ .msg_hdr = { .msg_iov = &(struct iovec){ text, 2 }, .msg_iovlen = 1 } };
		TRY("recvmmsg-edge", recvmmsg(pair->b, edge, 2, 0, NULL));
		break;
	}
	get("data", pair->b, 64, MSG_DONTWAIT);
}

static void bad_pointers_send(struct pair *pair, int what)
{
	choose_bad_address(what);
	struct msghdr message = { .msg_iov = BAD, .msg_iovlen = 1 };
	struct iovec vector = { "x", 1 };
	struct msghdr control = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = BAD, .msg_controllen = 64 };
	int ends[2];

	switch (what & ~UNMAPPED) {
	case 0:
		TRY("sendmsg-header", sendmsg(pair->a, BAD, 0));
		break;
	case 1:
		TRY("sendmsg-vector", sendmsg(pair->a, &message, 0));
		break;
	case 2:
		TRY("writev-vector", writev(pair->a, BAD, 1));
		break;
	case 3:
		TRY("sendmmsg-headers", sendmmsg(pair->a, BAD, 1, 0));
		break;
	case 4:
		TRY("sendto-address", sendto(pair->a, "x", 1, 0, BAD, 16));
		break;
	case 5:
		TRY("sendmsg-control", sendmsg(pair->a, &control, 0));
		break;
	default: /* on a socket that is no connection of TCP */
		TRY("socketpair", socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
		TRY("unix-header", sendmsg(ends[0], BAD, 0));
		TRY("unix-control", sendmsg(ends[0], &control, 0));
		TRY("unix-headers", sendmmsg(ends[0], BAD, 1, 0));
		TRY("unix-receive", recvmsg(ends[1], BAD, MSG_DONTWAIT));
		break;
	}
	settle();
	get("arrived", pair->b, 64, MSG_DONTWAIT);
	round_trip("trip", pair);
}

static void send_bad(struct pair *pair, int unused)
{
	struct iovec vector[] = { { "good", 4 }, { BAD, 4 } };

	(void)unused;
	TRY("send", send(pair->a, BAD, 5, 0));
	TRY("write", write(pair->a, BAD, 5));
	TRY("send-null", send(pair->a, NULL, 5, 0));
	TRY("writev", writev(pair->a, vector, 2));
	TRY("send-edge", send(pair->a, at_the_edge(3), 6, 0));
	settle();
	get("arrived", pair->b, 64, MSG_DONTWAIT);
	round_trip("trip", pair);
}

/* A large send of which the end is not there: what the sender is told is what arrives. */
static void send_bad_large(struct pair *pair, int unused)
{
	const size_t bytes = 1 << 20;
	char *good = malloc(bytes), *sink = malloc(bytes);
	struct iovec vector[] = { { good, bytes }, { BAD, 4 } };
	size_t total = 0;
	ssize_t got;

	(void)unused;
	fill(good, bytes, 1);
	fcntl(pair->a, F_SETFL, O_NONBLOCK);
	ssize_t sent = writev(pair->a, vector, 2);
	note("sent", "%s", sent > 0 ? "some" : errno_text(errno));
	shutdown(pair->a, SHUT_WR);
	while ((got = recv(pair->b, sink + total, bytes - total, 0)) > 0)
		total += (size_t)got;
	note("same", "%s", (ssize_t)total == (sent > 0 ? sent : 0) && !memcmp(good, sink, total) ? "yes" : "no");
}

static void bad_options(struct pair *pair, int what)
{
	int value = 0;
	socklen_t length = sizeof(value);

	choose_bad_address(what);
	TRY("set", setsockopt(pair->a, SOL_SOCKET, SO_KEEPALIVE, BAD, 4));
	TRY("set-rcvlowat", setsockopt(pair->a, SOL_SOCKET, SO_RCVBUF, BAD, 4));
	TRY("set-lowat", setsockopt(pair->a, SOL_SOCKET, SO_RCVLOWAT, BAD, 4));
	TRY("connect", connect(pair->a, BAD, sizeof(struct sockaddr_in)));
	TRY("set-short", setsockopt(pair->a, SOL_SOCKET, SO_KEEPALIVE, &value, 1));
	TRY("get", getsockopt(pair->a, SOL_SOCKET, SO_KEEPALIVE, BAD, &length));
	TRY("get-length", getsockopt(pair->a, SOL_SOCKET, SO_KEEPALIVE, &value, BAD));
	TRY("get-unknown", getsockopt(pair->a, SOL_SOCKET, 9999, &value, &length));
	/* IPv6 has another error for it. */
	note("get-level", "%d", getsockopt(pair->a, 9999, 1, &value, &length));
	round_trip("trip", pair);
}

/* After SHUT_WR: what stands beside the bytes is copied before TCP looks at the connection. */
static void bad_pointers_shut(struct pair *pair, int unused)
{
	char bytes[] = "hello", *bad = (char *)8;
	struct iovec vector = { bytes, 5 };
	struct msghdr control = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = bad, .msg_controllen = 24 };
	struct msghdr nowhere = { .msg_iov = &vector, .msg_iovlen = 1, .msg_controllen = 24 };
	struct msghdr name = { .msg_iov = &vector, .msg_iovlen = 1, .msg_name = bad, .msg_namelen = 16 };
	struct mmsghdr many = { .msg_hdr = control };

	(void)unused;
	put(pair->b, "unread");
	settle();
	shutdown(pair->a, SHUT_WR);
	TRY("control", sendmsg(pair->a, &control, MSG_NOSIGNAL));
	TRY("no-control", sendmsg(pair->a, &nowhere, MSG_NOSIGNAL));
	TRY("name", sendmsg(pair->a, &name, MSG_NOSIGNAL));
	TRY("many", sendmmsg(pair->a, &many, 1, MSG_NOSIGNAL));
	TRY("sendto", sendto(pair->a, bytes, 5, MSG_NOSIGNAL, (struct sockaddr *)bad, 16));
	TRY("bytes", send(pair->a, bad, 5, MSG_NOSIGNAL));
	get("receive", pair->a, 64, MSG_DONTWAIT);
}

static const struct semantics_case cases[] = {
	{ "fault-recv", receive_bad, 0, 0 },
	{ "fault-recv-peek", receive_bad, MSG_PEEK, 0 },
	{ "fault-recv-blocked", receive_bad_later, 0, 0 },
	{ "fault-recv-read-only", receive_read_only, 0, 0 },
	{ "fault-recv-edge", receive_edge, 0, 0 },
	{ "fault-readv-second", receive_bad_vector, 0, 0 },
	{ "fault-recvmsg-header", bad_pointers_receive, 0, 0 },
	{ "fault-recvmsg-header-unmapped", bad_pointers_receive, 0 | UNMAPPED, 0 },
	{ "fault-recvmsg-vector", bad_pointers_receive, 1, 0 },
	{ "fault-recvmsg-vector-unmapped", bad_pointers_receive, 1 | UNMAPPED, 0 },
	{ "fault-readv-vector", bad_pointers_receive, 2, 0 },
	{ "fault-readv-vector-unmapped", bad_pointers_receive, 2 | UNMAPPED, 0 },
	{ "fault-recvmmsg-headers", bad_pointers_receive, 3, 0 },
	{ "fault-recvmmsg-headers-unmapped", bad_pointers_receive, 3 | UNMAPPED, 0 },
	{ "fault-recvmmsg-vector", bad_pointers_receive, 4, 0 },
	{ "fault-recvmmsg-vector-unmapped", bad_pointers_receive, 4 | UNMAPPED, 0 },
	{ "fault-recvfrom-length", bad_pointers_receive, 5, 0 },
	{ "fault-recvfrom-length-unmapped", bad_pointers_receive, 5 | UNMAPPED, 0 },
	{ "fault-recvfrom-address", bad_pointers_receive, 6, 0 },
	{ "fault-recvfrom-address-unmapped", bad_pointers_receive, 6 | UNMAPPED, 0 },
	{ "fault-recvmmsg-time", bad_pointers_receive, 7, 0 },
	{ "fault-recvmmsg-time-unmapped", bad_pointers_receive, 7 | UNMAPPED, 0 },
	{ "fault-recvfrom-waitall", bad_pointers_receive, 8, 0 },
	{ "fault-recvfrom-waitall-unmapped", bad_pointers_receive, 8 | UNMAPPED, 0 },
	{ "fault-recvmmsg-edge", bad_pointers_receive, 9, 0 },
	{ "fault-sendmsg-header", bad_pointers_send, 0, 0 },
	{ "fault-sendmsg-header-unmapped", bad_pointers_send, 0 | UNMAPPED, 0 },
	{ "fault-sendmsg-vector", bad_pointers_send, 1, 0 },
	{ "fault-sendmsg-vector-unmapped", bad_pointers_send, 1 | UNMAPPED, 0 },
	{ "fault-writev-vector", bad_pointers_send, 2, 0 },
	{ "fault-writev-vector-unmapped", bad_pointers_send, 2 | UNMAPPED, 0 },
	{ "fault-sendmmsg-headers", bad_pointers_send, 3, 0 },
	{ "fault-sendmmsg-headers-unmapped", bad_pointers_send, 3 | UNMAPPED, 0 },
	{ "fault-sendto-address", bad_pointers_send, 4, 0 },
	{ "fault-sendto-address-unmapped", bad_pointers_send, 4 | UNMAPPED, 0 },
	{ "fault-send-shut", bad_pointers_shut, 0, 0 },
	{ "fault-sendmsg-control", bad_pointers_send, 5, 0 },
	{ "fault-sendmsg-control-unmapped", bad_pointers_send, 5 | UNMAPPED, 0 },
	{ "fault-unix", bad_pointers_send, 6, 0 },
	{ "fault-unix-unmapped", bad_pointers_send, 6 | UNMAPPED, 0 },
	{ "fault-send", send_bad, 0, 0 },
	{ "fault-send-large", send_bad_large, 0, 0 },
	{ "fault-options", bad_options, 0, 0 },
	{ "fault-options-unmapped", bad_options, UNMAPPED, 0 },
};
FAMILY(faults);
