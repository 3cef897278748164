/* SPDX-License-Identifier: BSD-2-Clause */
/* Sends: coalescing (MSG_MORE, TCP_CORK, Nagle), odd flags, bulk in all sizes, the buffer reused at once. */
#include "semantics.h"

#include <sys/time.h>

static void more(struct pair *pair, int unused)
{
	(void)unused;
	TRY("more", send(pair->a, "abc", 3, MSG_MORE));
	note_poll("held", pair->b, POLLIN, 60);
	TRY("last", send(pair->a, "def", 3, 0));
	settle();
	get("data", pair->b, 64, 0);
}

static void cork(struct pair *pair, int unused)
{
	(void)unused;
	TRY("cork", set_int(pair->a, IPPROTO_TCP, TCP_CORK, 1));
	put(pair->a, "abc");
	put(pair->a, "def");
	note_poll("held", pair->b, POLLIN, 60);
	TRY("uncork", set_int(pair->a, IPPROTO_TCP, TCP_CORK, 0));
	settle();
	get("data", pair->b, 64, 0);
}

/* Never uncorked: comes by itself after 200 ms. */
static void cork_forgotten(struct pair *pair, int unused)
{
	(void)unused;
	set_int(pair->a, IPPROTO_TCP, TCP_CORK, 1);
	put(pair->a, "abc");
	get("data", pair->b, 64, 0);
	put(pair->a, "def");
	shutdown(pair->a, SHUT_WR);
	get("more", pair->b, 64, 0);
	get("end", pair->b, 64, 0);
}

static void cork_nodelay(struct pair *pair, int unused)
{
	(void)unused;
	set_int(pair->a, IPPROTO_TCP, TCP_NODELAY, 0);
	set_int(pair->a, IPPROTO_TCP, TCP_CORK, 1);
	put(pair->a, "abc");
	TRY("nodelay", set_int(pair->a, IPPROTO_TCP, TCP_NODELAY, 1));
	put(pair->a, "def");
	set_int(pair->a, IPPROTO_TCP, TCP_CORK, 0);
	settle();
	get("data", pair->b, 64, 0);
}

/* Between ends that answer each other TCP delays acknowledgements, and Nagle's algorithm holds back what follows an unacknowledged send. */
static void nagle(struct pair *pair, int unused)
{
	(void)unused;
	for (int i = 0; i < 20; i++) {
		put(pair->a, "ask");
		get("asked", pair->b, 64, 0);
		put(pair->b, "answer");
		get("answered", pair->a, 64, 0);
	}
	put(pair->a, "abc");
	put(pair->a, "def");
	put(pair->a, "ghi");
	get("held", pair->b, 64, MSG_PEEK | MSG_DONTWAIT);
	put(pair->b, "answer");
	settle();
	drain("data", pair->b, 9);
	get("answer", pair->a, 64, 0);
}

static void bulk(struct pair *pair, int bytes)
{
	later_put_bytes(0, pair->a, (size_t)bytes, 1);
	drain("there", pair->b, (size_t)bytes);
	later_join();
	later_put_bytes(0, pair->b, (size_t)bytes, 2);
	later_put_bytes(0, pair->a, (size_t)bytes, 3);
	later_drain(0, "back", pair->a, (size_t)bytes);
	later_join();
	drain("both", pair->b, (size_t)bytes);
}

static void bulk_both(struct pair *pair, int bytes)
{
	later_put_bytes(0, pair->b, (size_t)bytes, 2);
	later_put_bytes(0, pair->a, (size_t)bytes, 3);
	later_drain(0, "back", pair->a, (size_t)bytes);
	later_drain(0, "there", pair->b, (size_t)bytes);
	later_join();
}

static void every_size(struct pair *pair, int unused)
{
	static char buffer[3000], sink[3000];
	size_t wrong = 0;

	(void)unused;
	for (size_t size = 1; size < sizeof(buffer); size += 1 + size / 13) {
		fill(buffer, size, (unsigned)size);
		if (send(pair->a, buffer, size, 0) != (ssize_t)size ||
		    recv(pair->b, sink, size, MSG_WAITALL) != (ssize_t)size || memcmp(buffer, sink, size))
			wrong++;
	}
	note("wrong", "%zu", wrong);
}

static void buffer_reused(struct pair *pair, int bytes)
{
	char *buffer = big_buffer((size_t)bytes);

	fill(buffer, (size_t)bytes, 1);
	TRY("send", send(pair->a, buffer, (size_t)bytes, 0));
	memset(buffer, 'x', (size_t)bytes);
	settle();
	drain("data", pair->b, (size_t)bytes);
}

static void odd_flags(struct pair *pair, int unused)
{
	static const int flags[] = { MSG_EOR,  MSG_DONTROUTE, MSG_CONFIRM, MSG_NOSIGNAL, MSG_DONTWAIT,
				     MSG_PEEK, MSG_WAITALL,   MSG_TRUNC,   MSG_PROXY,    MSG_ERRQUEUE };

	(void)unused;
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		char field[32];

		snprintf(field, sizeof(field), "send-%x", (unsigned)flags[i]);
		TRY(field, send(pair->a, "abc", 3, flags[i]));
	}
	settle();
	get("data", pair->b, 64, 0);
}

static void nonblocking_full(struct pair *pair, int flags)
{
	char *buffer = calloc(1, 1 << 20);
	uint64_t sent = 0, taken = 0;
	ssize_t moved = 0;
	int full = 0;

	if (!flags)
		fcntl(pair->a, F_SETFL, O_NONBLOCK);
	for (int i = 0; i < 300 && full < 5; i++) {
		moved = send(pair->a, buffer, 1 << 20, flags);
		full = moved < 0 ? full + 1 : 0;
		sent += moved > 0 ? (uint64_t)moved : 0;
		pause_ms(2);
	}
	note_result("full", moved, errno);
	shutdown(pair->a, SHUT_WR);
	while ((moved = recv(pair->b, buffer, 1 << 20, 0)) > 0)
		taken += (uint64_t)moved;
	note("all", "%s", sent == taken ? "yes" : "no");
	note_result("end", moved, errno);
}

/* A sender sleeps in a full pipe; the other direction works all the while. */
static void blocked_sender_other_direction(struct pair *pair, int unused)
{
	const size_t bytes = 12 << 20;

	(void)unused;
	later_put_bytes(0, pair->a, bytes, 1);
	pause_ms(2 * SOON_MS);
	for (int i = 0; i < 3; i++) {
		put(pair->b, "back");
		get("back", pair->a, 4, MSG_WAITALL);
	}
	drain("there", pair->b, bytes);
	later_join();
}

/* A sender sleeps in a full pipe when: 0 the peer closes, 1 the peer resets, 2 its own side is shut down */
static void blocked_sender_ends(struct pair *pair, int how)
{
	char *buffer = big_buffer(64 << 20);
	ssize_t sent;

	handle(SIGPIPE, SA_RESTART);
	if (how == 0)
		later_close(3 * SOON_MS, pair->b);
	else if (how == 1)
		later_reset(3 * SOON_MS, pair->b);
	else
		later_shutdown(3 * SOON_MS, pair->a, SHUT_WR);
	sent = send(pair->a, buffer, 64 << 20, 0);
	note("first", "%s", sent > 0 ? "part" : errno_text(errno));
	note("sigpipe", "%d", handled);
	TRY("next", send(pair->a, buffer, 1, 0));
	note("sigpipe-next", "%d", handled);
	later_join();
}

/* The sender's thread is asleep in a full pipe when the fd is closed elsewhere: it goes on. */
static void sender_fd_closed(struct pair *pair, int unused)
{
	const size_t bytes = 12 << 20;
	char *buffer = big_buffer(bytes);

	(void)unused;
	later_close(2 * SOON_MS, pair->a);
	later_drain(4 * SOON_MS, "drained", pair->b, bytes);
	ssize_t sent = send(pair->a, buffer, bytes, MSG_NOSIGNAL);
	note("sent", "%s", sent == (ssize_t)bytes ? "all" : sent < 0 ? errno_text(errno) : "part");
	later_join();
}

static int replacement[2];
static void replace(void *unused)
{
	(void)unused;
	dup2(replacement[0], replacement[1]);
}

/* The same, and the number then names another connection, which must get none of the bytes. */
static void sender_fd_replaced(struct pair *pair, int unused)
{
	const size_t bytes = 12 << 20;
	char *buffer = big_buffer(bytes);
	struct pair other;

	(void)unused;
	pair_make(&other, true);
	replacement[0] = other.a;
	replacement[1] = pair->a;
	later_call(2 * SOON_MS, replace, NULL);
	later_drain(4 * SOON_MS, "drained", pair->b, bytes);
	ssize_t sent = send(pair->a, buffer, bytes, MSG_NOSIGNAL);
	note("sent", "%s", sent == (ssize_t)bytes ? "all" : sent < 0 ? errno_text(errno) : "part");
	settle();
	note_poll("other", other.b, POLLIN, 20);
	get("other-bytes", other.b, 16, MSG_DONTWAIT);
}

/* Nobody reads: no send takes longer than its time-out, whatever its size, and wherever in a segment the pipe is full. Twice that is no
 * busy machine. */
#define EACH_TIMEOUT_MS 500

static void each_expires(struct pair *pair, int bytes)
{
	struct timeval timeout = { .tv_usec = EACH_TIMEOUT_MS * 1000 };
	char *buffer = big_buffer((size_t)bytes);
	uint64_t longest_ms = 0;
	int error = 0;

	TRY("set", setsockopt(pair->a, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)));
	while (error == 0) {
		uint64_t start_ms = clock_ms();

		error = send(pair->a, buffer, (size_t)bytes, MSG_NOSIGNAL) < 0 ? errno : 0;
		uint64_t took_ms = clock_ms() - start_ms;
		longest_ms = took_ms > longest_ms ? took_ms : longest_ms;
	}
	note("last", "%s", errno_text(error));
	note("waited", "%s", longest_ms + 20 >= EACH_TIMEOUT_MS ? "yes" : "no");
	note("twice", "%s", longest_ms + 20 >= (uint64_t)2 * EACH_TIMEOUT_MS ? "yes" : "no");
}

static const struct semantics_case cases[] = {
	{ "msg-more", more, 0, 0 },
	{ "cork", cork, 0, 0 },
	{ "cork-forgotten", cork_forgotten, 0, 0 },
	{ "cork-nodelay", cork_nodelay, 0, 0 },
	{ "nagle", nagle, 0, CASE_NAGLE },
	{ "bulk-1k", bulk, 1000, 0 },
	{ "bulk-100k", bulk, 100000, 0 },
	{ "bulk-3m", bulk_both, 3000000, 0 },
	{ "bulk-20m", bulk_both, 20000000, 0 },
	{ "bulk-nagle", bulk_both, 300000, CASE_NAGLE },
	{ "every-size", every_size, 0, 0 },
	{ "buffer-reused", buffer_reused, 100, 0 },
	{ "buffer-reused-large", buffer_reused, 50000, 0 },
	{ "send-odd-flags", odd_flags, 0, 0 },
	{ "send-full-nonblocking", nonblocking_full, 0, 0 },
	{ "send-full-dontwait", nonblocking_full, MSG_DONTWAIT, 0 },
	{ "send-full-other-direction", blocked_sender_other_direction, 0, 0 },
	{ "send-full-peer-closes", blocked_sender_ends, 0, 0 },
	{ "send-full-peer-resets", blocked_sender_ends, 1, 0 },
	{ "send-full-own-shutdown", blocked_sender_ends, 2, 0 },
	{ "send-full-fd-closed", sender_fd_closed, 0, 0 },
	{ "send-full-fd-replaced", sender_fd_replaced, 0, 0 },
	{ "sndtimeo-each-1500", each_expires, 1500, 0 },
	{ "sndtimeo-each-9000", each_expires, 9000, 0 },
	{ "sndtimeo-each-16000", each_expires, 16000, 0 },
	{ "sndtimeo-each-24000", each_expires, 24000, 0 },
	{ "sndtimeo-each-32768", each_expires, 32768, 0 },
	{ "sndtimeo-each-40000", each_expires, 40000, 0 },
	{ "sndtimeo-each-60000", each_expires, 60000, 0 },
	{ "sndtimeo-each-65536", each_expires, 65536, 0 },
	{ "sndtimeo-each-131072", each_expires, 131072, 0 },
};
FAMILY(sends);
