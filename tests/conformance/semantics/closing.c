/* SPDX-License-Identifier: BSD-2-Clause */
/* Orderly ends: shutdown in every order, half-close, simultaneous close, duplicates, lingering. */
#include "../../support/withheld_page.h"
#include "semantics.h"

#include <sys/wait.h>

/* Data, then the end, in one direction; the other goes on. */
static void half_close(struct pair *pair, int large)
{
	size_t bytes = large ? 300000 : 5;

	later_put_bytes(0, pair->a, bytes, 1);
	later_shutdown(large ? 3 * SOON_MS : SOON_MS, pair->a, SHUT_WR);
	drain("there", pair->b, bytes + 1);
	later_join();
	TRY("still-back", send(pair->b, "still", 5, 0));
	get("back", pair->a, 64, 0);
	later_put_bytes(0, pair->b, bytes, 2);
	drain("back-large", pair->a, bytes);
	later_join();
	TRY("shut", shutdown(pair->b, SHUT_WR));
	get("end", pair->a, 64, 0);
	TRY("send", send(pair->a, "x", 1, MSG_NOSIGNAL));
	TRY("close-a", close(pair->a));
	TRY("close-b", close(pair->b));
}

/* argument: two shutdowns of b, four bits each: how + 1; bit 8: a's first */
static void orders(struct pair *pair, int how)
{
	int first = (how & 15) - 1, second = (how >> 4 & 15) - 1;

	put(pair->a, "to-b");
	put(pair->b, "to-a");
	settle();
	TRY("first", shutdown(pair->b, first));
	settle();
	TRY("a-sends", send(pair->a, "more", 4, MSG_NOSIGNAL));
	TRY("b-sends", send(pair->b, "more", 4, MSG_NOSIGNAL));
	settle();
	get("b-receives", pair->b, 4, MSG_DONTWAIT);
	get("b-receives2", pair->b, 64, MSG_DONTWAIT);
	TRY("second", shutdown(how & 256 ? pair->a : pair->b, second));
	settle();
	get("a-receives", pair->a, 64, MSG_DONTWAIT);
	get("a-end", pair->a, 64, MSG_DONTWAIT);
	get("b-end", pair->b, 64, MSG_DONTWAIT);
	TRY("again", shutdown(pair->b, second));
	TRY("bad", shutdown(pair->b, 7));
	TRY("a-sends-last", send(pair->a, "last", 4, MSG_NOSIGNAL));
	note_poll("poll-b", pair->b, POLLIN | POLLOUT | POLLRDHUP, 0);
}

static void send_after_shutdown(struct pair *pair, int unused)
{
	struct iovec vector = { "x", 1 };

	(void)unused;
	handle(SIGPIPE, 0);
	put(pair->a, "before");
	TRY("shutdown", shutdown(pair->a, SHUT_WR));
	TRY("send", send(pair->a, "x", 1, 0));
	note("signals", "%d", handled);
	TRY("send-nosignal", send(pair->a, "x", 1, MSG_NOSIGNAL));
	note("signals-nosignal", "%d", handled);
	TRY("write", write(pair->a, "x", 1));
	note("signals-write", "%d", handled);
	TRY("writev", writev(pair->a, &vector, 1));
	TRY("sendto", sendto(pair->a, "x", 1, 0, NULL, 0));
	note("signals-all", "%d", handled);
	TRY("send-bad-address", send(pair->a, (void *)8, 10, 0));
	note("signals-bad-address", "%d", handled);
	settle();
	get("peer", pair->b, 64, 0);
	get("peer-end", pair->b, 64, 0);
}

static void simultaneous(struct pair *pair, int with_data)
{
	if (with_data) {
		put(pair->a, "to-b");
		put(pair->b, "to-a");
	}
	shutdown(pair->a, SHUT_WR);
	shutdown(pair->b, SHUT_WR);
	settle();
	get("a", pair->a, 64, MSG_DONTWAIT);
	get("a-end", pair->a, 64, MSG_DONTWAIT);
	get("b", pair->b, 64, MSG_DONTWAIT);
	get("b-end", pair->b, 64, MSG_DONTWAIT);
	note_poll("a-poll", pair->a, POLLIN | POLLOUT | POLLRDHUP, 0);
	note_poll("b-poll", pair->b, POLLIN | POLLOUT | POLLRDHUP, 0);
	TRY("close-a", close(pair->a));
	TRY("close-b", close(pair->b));
}

/* The sender closes at once: every byte arrives, then the end. */
static void close_after_send(struct pair *pair, int bytes)
{
	later_put_bytes(0, pair->a, (size_t)bytes, 1);
	if (bytes <= 100000) {
		later_join();
		TRY("close", close(pair->a));
	}
	drain("data", pair->b, (size_t)bytes);
	if (bytes > 100000) {
		later_join();
		TRY("close", close(pair->a));
	}
	get("end", pair->b, 64, 0);
	get("end-again", pair->b, 64, 0);
}

static void linger(struct pair *pair, int seconds)
{
	struct linger value = { .l_onoff = 1, .l_linger = seconds };
	uint64_t start_ms;

	TRY("set", setsockopt(pair->a, SOL_SOCKET, SO_LINGER, &value, sizeof(value)));
	put_bytes(pair->a, 50000, 1);
	start_ms = clock_ms();
	TRY("close", close(pair->a));
	note("quick", "%s", clock_ms() - start_ms < 900 ? "yes" : "no");
	drain("data", pair->b, 50000);
	get("end", pair->b, 64, 0);
}

/* More than the pipe holds, and nobody reads: close waits its second. */
static void linger_full(struct pair *pair, int unused)
{
	struct linger value = { .l_onoff = 1, .l_linger = 1 };
	uint64_t start_ms;

	(void)unused;
	setsockopt(pair->a, SOL_SOCKET, SO_LINGER, &value, sizeof(value));
	fill_pipe(pair->a);
	start_ms = clock_ms();
	TRY("close", close(pair->a));
	note_waited("waited", start_ms, 950);
}

static void duplicates(struct pair *pair, int how)
{
	int copy = how == 0 ? dup(pair->b) : how == 1 ? fcntl(pair->b, F_DUPFD_CLOEXEC, 100) : dup2(pair->b, 77);

	note("copied", "%s", copy >= 0 ? "yes" : "no");
	put(pair->a, "one");
	get("through-copy", copy, 64, 0);
	TRY("close", close(pair->b));
	put(pair->a, "two");
	get("after-close", copy, 64, 0);
	note_poll("peer", pair->a, POLLIN | POLLRDHUP, 20);
	TRY("closed", recv(pair->b, &how, 1, MSG_DONTWAIT));
	TRY("send-copy", send(copy, "three", 5, 0));
	get("peer-receives", pair->a, 64, 0);
	TRY("close-copy", close(copy));
	settle();
	get("peer-end", pair->a, 64, MSG_DONTWAIT);
	TRY("close-again", close(copy));
}

/* A blocking receive through one name, the bytes taken through the other before. */
static void duplicates_share(struct pair *pair, int unused)
{
	int copy = dup(pair->b);

	(void)unused;
	put(pair->a, "abcdef");
	settle();
	get("first", pair->b, 2, 0);
	get("second", copy, 2, 0);
	get("third", pair->b, 2, 0);
	TRY("nonblock", fcntl(copy, F_SETFL, O_NONBLOCK));
	get("shared-flag", pair->b, 2, 0);
	TRY("shutdown", shutdown(copy, SHUT_WR));
	TRY("send", send(pair->b, "x", 1, MSG_NOSIGNAL));
	get("peer-end", pair->a, 2, 0);
}

/* Another file, or another connection, is put over the fd. argument 1: that too is a connection */
static void overwritten(struct pair *pair, int connection)
{
	struct pair other;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (connection)
		pair_make(&other, true);
	TRY("dup2", dup2(connection ? other.b : null, pair->b) == pair->b);
	settle();
	get("peer-end", pair->a, 64, MSG_DONTWAIT);
	if (connection) {
		put(other.a, "other");
		get("other", pair->b, 64, 0);
		put(other.a, "same");
		get("same", other.b, 64, 0);
	} else {
		TRY("read-null", read(pair->b, &other, 4));
	}
}

/* Closed by the other calls that close. */
static void closed_by(struct pair *pair, int how)
{
	put(pair->b, "last");
	if (how == 0) {
		TRY("close_range", close_range((unsigned)pair->b, (unsigned)pair->b, 0));
	} else {
		int copy = dup2(pair->b, 900);
		close(pair->b);
		closefrom(900);
		pair->b = copy;
	}
	settle();
	get("data", pair->a, 64, MSG_DONTWAIT);
	get("end", pair->a, 64, MSG_DONTWAIT);
	TRY("closed", read(pair->b, &how, 1));
}

#define MUCH_BYTES                                                                                                     \
	(9u << 19) /* more than a receive buffer is at first, and what the kernel lets wait for a reader beside it */

struct withheld {
	int fd;
	struct withheld_page page;
};

static void *receive_withheld(void *argument)
{
	const struct withheld *withheld = argument;

	TRY("withheld", recv(withheld->fd, withheld->page.memory, WITHHELD_BYTES, 0));
	return NULL;
}

/* The peer ends while a receive is in the middle of its copying, with much unread behind that: what comes then has to wait. */
static void end_behind_much(struct pair *pair, int resets)
{
	static char chunk[65536];
	struct withheld withheld = { .fd = pair->b };
	struct withheld_page *page = &withheld.page;
	pthread_t thread;
	ssize_t got;

	if (!withheld_page_open(page)) {
		note("userfaultfd", "%s", errno_text(errno));
		return;
	}
	for (size_t sent = 0; sent < MUCH_BYTES; sent += sizeof(chunk))
		if (send(pair->a, chunk, sizeof(chunk), MSG_DONTWAIT | MSG_NOSIGNAL) <= 0)
			break;
	pthread_create(&thread, NULL, receive_withheld, &withheld);
	note("copies", "%s", withheld_page_is_awaited(page, 2000) ? "yes" : "no");
	if (resets)
		setsockopt(pair->a, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
	TRY("close", close(pair->a));
	pause_ms(SOON_MS);
	withheld_page_give(page);
	pthread_join(thread, NULL);
	while ((got = recv(pair->b, chunk, sizeof(chunk), 0)) > 0)
		;
	note_result("end", got, errno);
	withheld_page_close(page);
}

static const struct semantics_case cases[] = {
	{ "half-close", half_close, 0, 0 },
	{ "half-close-large", half_close, 1, 0 },
	{ "shutdown-rd-wr", orders, 1 | 2 << 4, 0 },
	{ "shutdown-wr-rd", orders, 2 | 1 << 4, 0 },
	{ "shutdown-rdwr", orders, 3 | 3 << 4, 0 },
	{ "shutdown-wr-peer-wr", orders, 2 | 2 << 4 | 256, 0 },
	{ "shutdown-rd-peer-wr", orders, 1 | 2 << 4 | 256, 0 },
	{ "shutdown-wr-peer-rd", orders, 2 | 1 << 4 | 256, 0 },
	{ "shutdown-rd-peer-rd", orders, 1 | 1 << 4 | 256, 0 },
	{ "shutdown-rdwr-peer-rdwr", orders, 3 | 3 << 4 | 256, 0 },
	{ "send-after-shutdown", send_after_shutdown, 0, 0 },
	{ "simultaneous-shutdown", simultaneous, 0, 0 },
	{ "simultaneous-shutdown-data", simultaneous, 1, 0 },
	{ "close-after-send", close_after_send, 5, 0 },
	{ "close-after-send-100k", close_after_send, 100000, 0 },
	{ "close-after-send-1m", close_after_send, 1000000, 0 },
	{ "linger", linger, 1, 0 },
	{ "linger-full", linger_full, 0, 0 },
	{ "dup", duplicates, 0, 0 },
	{ "dup-fcntl", duplicates, 1, 0 },
	{ "dup2", duplicates, 2, 0 },
	{ "dup-shares", duplicates_share, 0, 0 },
	{ "dup2-over-null", overwritten, 0, 0 },
	{ "dup2-over-connection", overwritten, 1, 0 },
	{ "close-range", closed_by, 0, 0 },
	{ "closefrom", closed_by, 1, 0 },
	{ "reset-behind-much", end_behind_much, 1, 0 },
	{ "end-behind-much", end_behind_much, 0, 0 },
};
FAMILY(closing);
