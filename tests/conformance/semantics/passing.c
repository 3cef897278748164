/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections whose fds come over a unix socket, used by the receiver as any other: in this process, which is as good as
 * another one for what the receiver sees. And streams of stdio that are closed with bytes unread or unwritten. */
#include <linux/net_tstamp.h>

#include "../../support/rights.h"
#include "semantics.h"

static int channel[2];

static void give(int fd)
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) < 0 || !rights_give(channel[0], fd))
		note("FAILED", "giving");
	close(fd);
}

static int take(bool by_recvmmsg)
{
	int fd = rights_take(channel[1], by_recvmmsg);

	if (fd < 0)
		note("FAILED", "taking");
	return fd;
}

/* 0: data is unread when it is given; 1: nothing is; bit 1: recvmmsg brings it */
static void receives(struct pair *pair, int how)
{
	struct pair now = *pair;
	int bytes = -1;

	if (!(how & 1))
		put(pair->a, "first ");
	give(pair->b);
	now.b = take(how & 2);
	put(pair->a, "second");
	settle();
	ioctl(now.b, FIONREAD, &bytes);
	note("unread", "%d", bytes);
	get("short-read", now.b, 64, 0);
	get("empty", now.b, 64, MSG_DONTWAIT);
	later_put(SOON_MS, pair->a, "in ");
	later_put(2 * SOON_MS, pair->a, "pieces");
	get("pieces", now.b, 9, MSG_WAITALL);
	later_join();
	round_trip("trip", &now);
	handle(SIGUSR1, SA_RESTART);
	later_signal(SOON_MS, SIGUSR1);
	later_put(3 * SOON_MS, pair->a, "after the signal");
	get("restarted", now.b, 64, 0);
	later_join();
	handle(SIGUSR1, 0);
	later_signal(SOON_MS, SIGUSR1);
	get("interrupted", now.b, 64, 0);
	later_join();
	shutdown(pair->a, SHUT_WR);
	get("end", now.b, 64, 0);
	close(now.b);
	get("peer-end", pair->a, 64, 0);
}

/* The receiver closes it with bytes unread. */
static void closes_unread(struct pair *pair, int unused)
{
	(void)unused;
	put(pair->a, "unread");
	give(pair->b);
	close(take(false));
	settle();
	note_poll("poll", pair->a, POLLIN | POLLOUT | POLLRDHUP, 200);
	get("receive", pair->a, 64, MSG_DONTWAIT);
}

static void *asleep(void *fd)
{
	get("asleep", *(int *)fd, 64, 0);
	return NULL;
}

/* A thread sleeps in a receive on it when a duplicate is given away; stamped: and when the receiver sets an option that a joined end refuses. */
static void passed_while_blocked(struct pair *pair, int stamped)
{
	struct pair now = *pair;
	pthread_t thread;

	pthread_create(&thread, NULL, asleep, &pair->b);
	pause_ms(SOON_MS);
	give(dup(pair->b));
	now.b = take(false);
	if (stamped)
		TRY("stamps", setsockopt(now.b, SOL_SOCKET, SO_TIMESTAMPING, &(int){ SOF_TIMESTAMPING_RX_SOFTWARE },
					 sizeof(int)));
	put(pair->a, "for the thread");
	pthread_join(thread, NULL);
	round_trip("trip", &now);
	close(pair->b);
	round_trip("trip-again", &now);
	later_put(SOON_MS, pair->a, "later");
	get("later", now.b, 64, 0);
}

/* One that was never used before, with and without data. */
static void unused_one(struct pair *unused, int with_data)
{
	uint16_t port_h;
	int listener = listen_any(&port_h);
	struct sockaddr_in address = loopback_at(port_h);
	struct pair now = { socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), -1 };

	(void)unused;
	TRY("connect", connect(now.a, (struct sockaddr *)&address, sizeof(address)));
	now.b = accept(listener, NULL, NULL);
	if (with_data)
		put(now.a, "request");
	settle();
	give(now.b);
	now.b = take(false);
	if (with_data)
		get("data", now.b, 64, 0);
	get("empty", now.b, 64, MSG_DONTWAIT);
	for (int i = 0; i < 20; i++) {
		put(now.a, "request");
		get("request", now.b, 7, MSG_WAITALL);
		put(now.b, "answer");
		get("answer", now.a, 6, MSG_WAITALL);
	}
	give(listener);
	listener = take(false);
	TRY("listener", connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof(address)));
	TRY("accept", accept(listener, NULL, NULL) >= 0 ? 0 : -1);
}

/* 0: bytes in the stream's buffer and unread ones; 1: only buffered; 2: freopen instead */
static void stream_closed(struct pair *pair, int how)
{
	FILE *stream = fdopen(pair->b, "r+");

	if (how == 0)
		put(pair->a, "unread");
	settle();
	TRY("print", fprintf(stream, "buffered"));
	if (how == 2)
		note("reopened", "%d", freopen("/dev/null", "r", stream) != NULL);
	else
		TRY("close", fclose(stream));
	settle();
	note_poll("poll", pair->a, POLLIN | POLLOUT | POLLRDHUP, 200);
	if (how)
		get("data", pair->a, 64, MSG_DONTWAIT);
	if (how)
		get("end", pair->a, 64, MSG_DONTWAIT);
}

/* Streams that are no connection close as ever. */
static void other_streams(struct pair *pair, int unused)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *memory = open_memstream(&text, &bytes);

	(void)unused;
	fputs("memory", memory);
	errno = 0;
	TRY("memory", fclose(memory));
	note("errno", "%d", errno);
	note("text", "%s", text);
	TRY("file", fclose(fopen("/dev/null", "r")));
	round_trip("trip", pair);
}

static const struct semantics_case cases[] = {
	{ "passed-unread", receives, 0, 0 },
	{ "passed-drained", receives, 1, 0 },
	{ "passed-recvmmsg", receives, 2, 0 },
	{ "passed-closes-unread", closes_unread, 0, 0 },
	{ "passed-while-blocked", passed_while_blocked, 0, 0 },
	{ "passed-while-blocked-stamped", passed_while_blocked, 1, 0 },
	{ "passed-unused", unused_one, 0, CASE_BARE },
	{ "passed-unused-data", unused_one, 1, CASE_BARE },
	{ "stream-closed-unread", stream_closed, 0, 0 },
	{ "stream-closed-buffered", stream_closed, 1, 0 },
	{ "stream-reopened", stream_closed, 2, 0 },
	{ "stream-others", other_streams, 0, 0 },
};
FAMILY(passing);
