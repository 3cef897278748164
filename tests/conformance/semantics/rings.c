/* SPDX-License-Identifier: BSD-2-Clause */
/* io_uring, which goes past the wrappers: on an accelerated pair, and on connections that it has had to itself. Where the
 * kernel has none every case notes "unavailable", and the runner counts that as skipped. */
#include "semantics.h"

#include "ring.h"

#define LARGE_BYTES 200000

static bool have_ring(struct ring *ring)
{
	bool result = ring_open(ring);

	if (!result)
		note("io_uring", "unavailable");
	return result;
}

static void note_ring(const char *field, const void *data, int result)
{
	note_data(field, data, result < 0 ? -1 : result, result < 0 ? -result : 0);
}

/* argument 1: by read and write instead of recv and send */
static void waiting_data(struct pair *pair, int plain)
{
	struct ring ring;
	char text[64] = "";

	if (!have_ring(&ring))
		return;
	put(pair->a, "there already");
	settle();
	note_ring("data", text, ring_do(&ring, plain ? IORING_OP_READ : IORING_OP_RECV, pair->b, text, 5, 0));
	get("wrapped", pair->b, 64, MSG_DONTWAIT);
	note_ring("empty", text, ring_do(&ring, IORING_OP_RECV, pair->b, text, 5, MSG_DONTWAIT));
	ring_submit(&ring, plain ? IORING_OP_READ : IORING_OP_RECV, pair->b, text, 64, 0);
	pause_ms(SOON_MS);
	put(pair->a, "comes later");
	note_ring("later", text, ring_wait(&ring));
	note("sent", "%d", ring_do(&ring, plain ? IORING_OP_WRITE : IORING_OP_SEND, pair->b, "answer", 6, 0));
	get("answer", pair->a, 6, MSG_WAITALL);
	round_trip("trip", pair);
	round_trip("trip-again", pair);
}

/* A stream out of the ring against a wrapped reader, and back. */
static void streams(struct pair *pair, int unused)
{
	static char buffer[LARGE_BYTES];
	struct ring ring;
	size_t done = 0;

	(void)unused;
	if (!have_ring(&ring))
		return;
	fill(buffer, sizeof(buffer), 1);
	later_drain(0, "there", pair->b, sizeof(buffer));
	while (done < sizeof(buffer)) {
		int sent = ring_do(&ring, IORING_OP_SEND, pair->a, buffer + done, sizeof(buffer) - done, 0);
		if (sent <= 0)
			break;
		done += (size_t)sent;
	}
	note("sent", "%zu", done);
	later_join();
	later_put_bytes(0, pair->b, sizeof(buffer), 2);
	for (done = 0; done < sizeof(buffer);) {
		int got = ring_do(&ring, IORING_OP_RECV, pair->a, buffer + done, sizeof(buffer) - done, 0);
		if (got <= 0)
			break;
		done += (size_t)got;
	}
	note_data("back", buffer, (ssize_t)done, 0);
	later_join();
	round_trip("trip", pair);
}

static void ends(struct pair *pair, int how)
{
	struct ring ring;
	char text[64];

	if (!have_ring(&ring))
		return;
	ring_submit(&ring, IORING_OP_RECV, pair->b, text, sizeof(text), 0);
	pause_ms(SOON_MS);
	if (how == 0)
		shutdown(pair->a, SHUT_WR);
	else
		later_reset(0, pair->a);
	note_ring("end", text, ring_wait(&ring));
	later_join();
	note("send", "%d", ring_do(&ring, IORING_OP_SEND, pair->b, "x", 1, MSG_NOSIGNAL) == 1 ? 1 : -1);
}

enum { SEND_ZC = 47 }; /* IORING_OP_SEND_ZC, Linux 6.0 */

/* Sent without a copy: two completions, of which the second says that the buffer is free. */
static void without_copy(struct pair *pair, int bytes)
{
	static char buffer[20000];
	struct ring ring;

	if (!have_ring(&ring))
		return;
	fill(buffer, (size_t)bytes, 1);
	for (int i = 0; i < 3; i++) {
		int sent = ring_do(&ring, SEND_ZC, pair->a, buffer, (size_t)bytes, 0);

		note("sent", "%d", sent);
		if (sent < 0)
			return;
		drain("data", pair->b, (size_t)bytes);
		note("free", "%d", ring_wait(&ring));
	}
	round_trip("trip", pair);
}

/* Other operations on an accelerated pair: poll, shutdown, and close with nothing unread. */
static void other_operations(struct pair *pair, int unused)
{
	struct ring ring;
	char text[64];

	(void)unused;
	if (!have_ring(&ring))
		return;
	ring_submit(&ring, IORING_OP_POLL_ADD, pair->b, NULL, 0, POLLIN);
	pause_ms(SOON_MS);
	put(pair->a, "hello");
	note_events("poll", 1, (unsigned)ring_wait(&ring), 0);
	get("data", pair->b, 64, MSG_DONTWAIT);
	put(pair->b, "last");
	note("shutdown", "%d", ring_do(&ring, IORING_OP_SHUTDOWN, pair->b, NULL, SHUT_WR, 0));
	TRY("send", send(pair->b, "x", 1, MSG_NOSIGNAL));
	get("last", pair->a, 64, 0);
	get("end", pair->a, 64, 0);
	put(pair->a, "back");
	note_ring("back", text, ring_do(&ring, IORING_OP_RECV, pair->b, text, sizeof(text), 0));
	note("close", "%d", ring_do(&ring, IORING_OP_CLOSE, pair->b, NULL, 0, 0));
	settle();
	note_poll("peer", pair->a, POLLIN | POLLRDHUP, 100);
}

/* Connections that no wrapper has seen a byte of: 0 the ring on the connecting end, 1 on the accepted one, 2 on both. Then
 * wrapped traffic on them. */
static void from_the_start(struct pair *unused, int which)
{
	uint16_t port_h;
	int listener = listen_any(&port_h), a = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = loopback_at(port_h);
	struct pair pair;
	struct ring ring;
	char text[64];
	int wrong = 0;

	(void)unused;
	if (!have_ring(&ring))
		return;
	TRY("connect", connect(a, (struct sockaddr *)&address, sizeof(address)));
	pair = (struct pair){ a, accept(listener, NULL, NULL) };
	for (int i = 0; i < 20; i++) {
		ssize_t sent = which != 1 ? ring_do(&ring, IORING_OP_SEND, pair.a, "request", 7, 0)
					  : send(pair.a, "request", 7, 0);
		ssize_t got =
			which != 0 ? ring_do(&ring, IORING_OP_RECV, pair.b, text, 64, 0) : recv(pair.b, text, 64, 0);
		wrong += sent != 7 || got != 7 || memcmp(text, "request", 7) != 0;
		sent = which != 0 ? ring_do(&ring, IORING_OP_SEND, pair.b, "answer", 6, 0)
				  : send(pair.b, "answer", 6, 0);
		got = which != 1 ? ring_do(&ring, IORING_OP_RECV, pair.a, text, 64, 0) : recv(pair.a, text, 64, 0);
		wrong += sent != 6 || got != 6 || memcmp(text, "answer", 6) != 0;
	}
	note("wrong", "%d", wrong);
	pair_warm_up(&pair);
	round_trip("trip", &pair);
	close(pair.a);
	get("end", pair.b, 64, 0);
}

static const struct semantics_case cases[] = {
	{ "uring-recv", waiting_data, 0, 0 },
	{ "uring-read", waiting_data, 1, 0 },
	{ "uring-streams", streams, 0, 0 },
	{ "uring-end", ends, 0, 0 },
	{ "uring-reset", ends, 1, 0 },
	{ "uring-send-zc", without_copy, 20000, 0 },
	{ "uring-send-zc-small", without_copy, 5, 0 },
	{ "uring-others", other_operations, 0, 0 },
	{ "uring-from-connect", from_the_start, 0, CASE_BARE },
	{ "uring-from-accept", from_the_start, 1, CASE_BARE },
	{ "uring-both-ends", from_the_start, 2, CASE_BARE },
};
FAMILY(rings);
