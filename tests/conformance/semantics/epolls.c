/* SPDX-License-Identifier: BSD-2-Clause */
/* epoll: edge-triggered with short reads, hang-ups, one-shot, exclusive; and SIGIO. */
#include "semantics.h"

#include <stdatomic.h>
#include <sys/epoll.h>

static int watch(int fd, unsigned events)
{
	struct epoll_event event = { .events = events, .data.fd = fd };
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		note("FAILED", "epoll %s", errno_text(errno));
	return epoll;
}

static int wait_for(const char *field, int epoll, int timeout_ms)
{
	struct epoll_event event = { 0 };
	int count = epoll_wait(epoll, &event, 1, timeout_ms);

	note_events(field, count, event.events, errno);
	return count;
}

static void level(struct pair *pair, int unused)
{
	int epoll = watch(pair->b, EPOLLIN | EPOLLRDHUP);

	(void)unused;
	wait_for("empty", epoll, 20);
	put(pair->a, "hello");
	wait_for("data", epoll, 1000);
	wait_for("still", epoll, 20);
	get("part", pair->b, 3, 0);
	wait_for("rest", epoll, 20);
	get("drained", pair->b, 64, 0);
	wait_for("none", epoll, 20);
	shutdown(pair->a, SHUT_WR);
	wait_for("end", epoll, 1000);
}

static void edge(struct pair *pair, int unused)
{
	int epoll = watch(pair->b, EPOLLIN | EPOLLET);

	(void)unused;
	wait_for("empty", epoll, 20);
	put(pair->a, "hello");
	wait_for("data", epoll, 1000);
	wait_for("no-new-edge", epoll, 20);
	get("part", pair->b, 2, 0);
	wait_for("no-edge-for-rest", epoll, 20);
	put(pair->a, "more");
	wait_for("edge-without-drain", epoll, 1000);
	get("all", pair->b, 64, 0);
	wait_for("drained", epoll, 20);
	put(pair->a, "again");
	wait_for("next", epoll, 1000);
	get("last", pair->b, 64, 0);
}

/* An application that takes a short read for "drained" and waits for the next edge. Argument: the size of the second send. */
static void edge_short_read(struct pair *pair, int bytes)
{
	int epoll = watch(pair->b, EPOLLIN | EPOLLET);
	size_t expected = 0, total = 0;
	char *buffer = malloc(1 << 20);

	for (int round = 0; round < 5; round++) {
		put_bytes(pair->a, 5, 1);
		put_bytes(pair->a, (size_t)bytes, 2);
		put_bytes(pair->a, 3, 3);
		expected += (size_t)bytes + 8;
		settle();
		for (int i = 0; total < expected && i < 1000; i++) {
			struct epoll_event event;

			if (epoll_wait(epoll, &event, 1, 300) != 1) {
				note("stalled", "round %d, %zu of %zu", round, total, expected);
				return;
			}
			for (ssize_t got = 1 << 20; got == 1 << 20; total += got > 0 ? (size_t)got : 0)
				got = recv(pair->b, buffer, 1 << 20, MSG_DONTWAIT);
		}
	}
	note("total", "%zu", total);
}

/* The same while the sender keeps sending. */
static void edge_short_read_stream(struct pair *pair, int unused)
{
	const size_t expected = 5 * 70005;
	int epoll = watch(pair->b, EPOLLIN | EPOLLET);
	char *buffer = malloc(1 << 20);
	size_t total = 0;

	(void)unused;
	for (unsigned i = 0; i < 5; i++) {
		later_put_bytes(i * 10, pair->a, 5, i);
		later_put_bytes(i * 10, pair->a, 70000, i);
	}
	while (total < expected) {
		struct epoll_event event;

		if (epoll_wait(epoll, &event, 1, 500) != 1) {
			note("stalled", "%zu of %zu", total, expected);
			break;
		}
		ssize_t got = recv(pair->b, buffer, 1 << 20, MSG_DONTWAIT);
		total += got > 0 ? (size_t)got : 0;
	}
	note("total", "%zu", total);
	free(buffer);
}

/* Each end knows all there is, when one of them goes back to plain TCP, is closed, or cannot leave: the other's news, and nothing else. */
#define ALL_EDGES (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)
#define EDGES_MAX 8
#define ACKNOWLEDGED_MS 80 /* also where that is delayed */
enum leave { BY_STAMPS, BY_MARK, BY_PEEK_OFFSET, BY_PEER_STAMPS, BY_PEER_CLOSE, UNREAD = 8, HALF_CLOSED = 16 };

static void leave_by(const struct pair *pair, enum leave how)
{
	switch (how) {
	case BY_MARK:
		TRY("option", set_int(pair->b, SOL_SOCKET, SO_RCVLOWAT, 3));
		return;
	case BY_PEEK_OFFSET:
		TRY("option", set_int(pair->b, SOL_SOCKET, SO_PEEK_OFF, 0));
		return;
	case BY_PEER_CLOSE:
		TRY("close", close(pair->a));
		settle();
		return;
	default:
		TRY("option", set_int(how == BY_PEER_STAMPS ? pair->a : pair->b, SOL_SOCKET, SO_TIMESTAMP, 1));
	}
}

static void forget_edges(int epoll)
{
	struct epoll_event event;

	for (int i = 0; i < EDGES_MAX && epoll_wait(epoll, &event, 1, 0) == 1; i++)
		;
}

static void edge_leaves(struct pair *pair, int how)
{
	int near = watch(pair->b, ALL_EDGES), far = watch(pair->a, ALL_EDGES);

	if (how & HALF_CLOSED) { /* the peer's acknowledgement of the end wakes, too, and may be delayed */
		shutdown(pair->b, SHUT_WR);
		pause_ms(ACKNOWLEDGED_MS);
	}
	forget_edges(near);
	forget_edges(far);
	for (int i = 0; i < 3; i++) {
		put(pair->a, "there");
		wait_for("near", near, 1000);
		get("data", pair->b, 64, MSG_DONTWAIT);
		get("drained", pair->b, 64, MSG_DONTWAIT);
	}
	if (how & UNREAD) {
		put(pair->a, "unread");
		wait_for("unread", near, 1000);
	}
	settle();
	wait_for("near-quiet", near, 0);
	wait_for("far-quiet", far, 0);
	leave_by(pair, (enum leave)(how & ~(UNREAD | HALF_CLOSED)));
	wait_for("near-left", near, 0);
	wait_for("far-left", far, 0);
	wait_for("near-later", near, 20);
	wait_for("far-later", far, 20);
	if (how == BY_PEER_CLOSE)
		return;
	get("data", pair->b, 64, MSG_DONTWAIT);
	put(pair->a, "there");
	wait_for("near-next", near, 1000);
	get("data", pair->b, 64, MSG_DONTWAIT);
}

static void edge_output(struct pair *pair, int unused)
{
	int epoll = watch(pair->a, EPOLLOUT | EPOLLET);
	char *sink = malloc(1 << 20);

	(void)unused;
	wait_for("at-first", epoll, 100);
	wait_for("no-new-edge", epoll, 20);
	fill_pipe(pair->a);
	note("full", "%s", errno_text(errno));
	note_poll("poll-full", pair->a, POLLOUT, 0);
	while (recv(pair->b, sink, 1 << 20, MSG_DONTWAIT) > 0 ||
	       (settle(), recv(pair->b, sink, 1 << 20, MSG_DONTWAIT) > 0))
		;
	wait_for("room-again", epoll, 1000);
	note_poll("poll-room", pair->a, POLLOUT, 0);
}

/* What each way to end a connection looks like. 0: peer's SHUT_WR, 1: peer's close, 2: both directions shut down, 3: reset,
 * 4: own SHUT_RD, 5: own SHUT_WR, 6: own SHUT_RDWR. With data unread before. */
static void endings(struct pair *pair, int how)
{
	int epoll = watch(pair->b, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI);

	put(pair->a, "data");
	settle();
	switch (how) {
	case 0:
		shutdown(pair->a, SHUT_WR);
		break;
	case 1:
		close(pair->a);
		break;
	case 2:
		shutdown(pair->a, SHUT_WR);
		settle();
		shutdown(pair->b, SHUT_WR);
		break;
	case 3:
		later_reset(0, pair->a);
		later_join();
		break;
	default:
		shutdown(pair->b, how - 4);
		break;
	}
	settle();
	wait_for("events", epoll, 100);
	note_poll("poll", pair->b, POLLIN | POLLOUT | POLLRDHUP, 0);
	get("data", pair->b, 64, MSG_DONTWAIT);
	get("end", pair->b, 64, MSG_DONTWAIT);
	wait_for("events-drained", epoll, 20);
	note_poll("poll-peer", pair->a, POLLIN | POLLRDHUP, 0);
}

static void one_shot(struct pair *pair, int unused)
{
	struct epoll_event again = { .events = EPOLLIN | EPOLLONESHOT };
	int epoll = watch(pair->b, EPOLLIN | EPOLLONESHOT);

	(void)unused;
	put(pair->a, "one");
	wait_for("first", epoll, 1000);
	put(pair->a, "two");
	wait_for("disabled", epoll, 20);
	TRY("rearm", epoll_ctl(epoll, EPOLL_CTL_MOD, pair->b, &again));
	wait_for("second", epoll, 1000);
	settle();
	get("data", pair->b, 64, 0);
	epoll_ctl(epoll, EPOLL_CTL_MOD, pair->b, &again);
	wait_for("empty", epoll, 20);
	put(pair->a, "three");
	wait_for("third", epoll, 1000);
}

static void added_late(struct pair *pair, int events)
{
	put(pair->a, "hello");
	settle();
	int epoll = watch(pair->b, (unsigned)events);
	wait_for("data", epoll, 100);
	get("data", pair->b, 64, 0);
	TRY("delete", epoll_ctl(epoll, EPOLL_CTL_DEL, pair->b, NULL));
	put(pair->a, "more");
	wait_for("deleted", epoll, 20);
}

#define EXCLUSIVE_SENDS 5
#define EXCLUSIVE_BYTES 5
static _Atomic int exclusive_bytes;
static void *exclusive_waiter(void *argument)
{
	int fd = *(int *)argument, epoll = watch(fd, EPOLLIN | EPOLLEXCLUSIVE);
	struct epoll_event event;
	char buffer[64];

	/* Until all has come: or the case hangs. */
	while (exclusive_bytes < EXCLUSIVE_SENDS * EXCLUSIVE_BYTES) {
		ssize_t got =
			epoll_wait(epoll, &event, 1, 50) == 1 ? recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT) : 0;

		if (got > 0)
			exclusive_bytes += (int)got;
	}
	return NULL;
}

static void exclusive(struct pair *pair, int unused)
{
	pthread_t waiters[3];

	(void)unused;
	for (int i = 0; i < 3; i++)
		pthread_create(&waiters[i], NULL, exclusive_waiter, &pair->b);
	pause_ms(SOON_MS);
	for (int i = 0; i < EXCLUSIVE_SENDS; i++) {
		put(pair->a, "12345");
		pause_ms(10);
	}
	for (int i = 0; i < 3; i++)
		pthread_join(waiters[i], NULL);
	note("bytes", "%d", exclusive_bytes);
}

/* Closing the last fd takes it out of the set. */
static void closed_while_watched(struct pair *pair, int unused)
{
	int epoll = watch(pair->b, EPOLLIN), copy = dup(pair->b);

	(void)unused;
	close(pair->b);
	put(pair->a, "hello");
	wait_for("copy-lives", epoll, 1000);
	get("data", copy, 64, 0);
	close(copy);
	wait_for("gone", epoll, 20);
}

static void nested(struct pair *pair, int unused)
{
	int inner = watch(pair->b, EPOLLIN), outer = watch(inner, EPOLLIN | EPOLLET);

	(void)unused;
	wait_for("empty", outer, 20);
	put(pair->a, "hello");
	wait_for("outer", outer, 1000);
	wait_for("inner", inner, 0);
	get("data", pair->b, 64, 0);
}

static const struct semantics_case cases[] = {
	{ "epoll-level", level, 0, 0 },
	{ "epoll-edge", edge, 0, 0 },
	{ "epoll-edge-short-read-20", edge_short_read, 20, 0 },
	{ "epoll-edge-short-read-3000", edge_short_read, 3000, 0 },
	{ "epoll-edge-short-read-100000", edge_short_read, 100000, 0 },
	{ "epoll-edge-stream", edge_short_read_stream, 0, 0 },
	{ "edge-leaves", edge_leaves, BY_STAMPS, 0 },
	{ "edge-leaves-unread", edge_leaves, BY_STAMPS | UNREAD, 0 },
	{ "edge-leaves-half-closed", edge_leaves, BY_STAMPS | HALF_CLOSED, 0 },
	{ "edge-leaves-mark", edge_leaves, BY_MARK, 0 },
	{ "edge-leaves-peek-offset", edge_leaves, BY_PEEK_OFFSET, 0 },
	{ "edge-leaves-peer", edge_leaves, BY_PEER_STAMPS, 0 },
	{ "edge-leaves-peer-unread", edge_leaves, BY_PEER_STAMPS | UNREAD, 0 },
	{ "edge-leaves-peer-half-closed", edge_leaves, BY_PEER_STAMPS | HALF_CLOSED, 0 },
	{ "epoll-edge-peer-closes", edge_leaves, BY_PEER_CLOSE, 0 },
	{ "epoll-edge-output", edge_output, 0, 0 },
	{ "epoll-end-peer-shutdown", endings, 0, 0 },
	{ "epoll-end-peer-close", endings, 1, 0 },
	{ "epoll-end-both-shutdown", endings, 2, 0 },
	{ "epoll-end-reset", endings, 3, 0 },
	{ "epoll-end-own-shutdown-rd", endings, 4, 0 },
	{ "epoll-end-own-shutdown-wr", endings, 5, 0 },
	{ "epoll-end-own-shutdown-rdwr", endings, 6, 0 },
	{ "epoll-one-shot", one_shot, 0, 0 },
	{ "epoll-added-late", added_late, EPOLLIN, 0 },
	{ "epoll-added-late-edge", added_late, (int)(EPOLLIN | EPOLLET), 0 },
	{ "epoll-exclusive", exclusive, 0, 0 },
	{ "epoll-closed", closed_while_watched, 0, 0 },
	{ "epoll-nested", nested, 0, 0 },
};
FAMILY(epolls);
