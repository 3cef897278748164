/* SPDX-License-Identifier: BSD-2-Clause */
/* How much waits: FIONREAD (SIOCINQ), SIOCOUTQ, SIOCOUTQNSD, in mixtures of redirected and passed bytes. */
#include "semantics.h"

#include <linux/sockios.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void note_unread(const char *field, int fd)
{
	int bytes = -7, result;

	errno = 0;
	result = ioctl(fd, FIONREAD, &bytes);
	if (result < 0)
		note_result(field, result, errno);
	else
		note(field, "%d", bytes);
}

static void simple(struct pair *pair, int unused)
{
	(void)unused;
	note_unread("empty", pair->b);
	put(pair->a, "hello");
	settle();
	note_unread("five", pair->b);
	get("part", pair->b, 2, 0);
	note_unread("three", pair->b);
	get("peek", pair->b, 64, MSG_PEEK);
	note_unread("peeked", pair->b);
	get("rest", pair->b, 64, 0);
	note_unread("drained", pair->b);
	put(pair->b, "back");
	settle();
	note_unread("other-end", pair->a);
}

/* Sends of changing size, reads of other sizes, the sum looked at between. */
static void mixture(struct pair *pair, int bytes)
{
	char *buffer = malloc((size_t)bytes);
	char field[32];
	int left = 0;

	fill(buffer, (size_t)bytes, 5);
	for (int i = 0; i < 6; i++) {
		int count = i % 2 ? bytes : 3;

		if (send(pair->a, buffer, (size_t)count, 0) != count)
			note("FAILED", "send");
		left += count;
		settle();
		snprintf(field, sizeof(field), "sent%d", i);
		note_unread(field, pair->b);
	}
	for (int i = 0; left > 0 && i < 20; i++) {
		size_t want = i % 2 ? 7 : (size_t)bytes;
		ssize_t got = recv(pair->b, buffer, want < (size_t)left ? want : (size_t)left, MSG_WAITALL);

		if (got <= 0)
			break;
		left -= (int)got;
		snprintf(field, sizeof(field), "read%d", i);
		note_unread(field, pair->b);
	}
	free(buffer);
}

static void many_small(struct pair *pair, int unused)
{
	(void)unused;
	for (int i = 0; i < 100; i++)
		put(pair->a, "s");
	/* On 6.1 passed bytes come in packets of 17, and those beyond the congestion window after a delayed acknowledgement. */
	for (int i = 0, bytes = 0; i < 300 && bytes < 100; i++) {
		pause_ms(1);
		ioctl(pair->b, FIONREAD, &bytes);
	}
	note_unread("hundred", pair->b);
	drain("data", pair->b, 60);
	note_unread("forty", pair->b);
	drain("rest", pair->b, 40);
	note_unread("none", pair->b);
}

static void at_the_end(struct pair *pair, int unused)
{
	(void)unused;
	put(pair->a, "abc");
	shutdown(pair->a, SHUT_WR);
	settle();
	note_unread("with-end", pair->b);
	get("data", pair->b, 64, 0);
	note_unread("at-end", pair->b);
	get("end", pair->b, 64, 0);
	note_unread("after-end", pair->b);
}

static void after_reset(struct pair *pair, int unused)
{
	(void)unused;
	put(pair->a, "abc");
	later_reset(0, pair->a);
	later_join();
	settle();
	note_unread("unread", pair->b);
	get("data", pair->b, 64, 0);
	note_unread("reset", pair->b);
}

static void bad_arguments(struct pair *pair, int unused)
{
	(void)unused;
	put(pair->a, "abc");
	settle();
	TRY("null", ioctl(pair->b, FIONREAD, NULL));
	TRY("bad", ioctl(pair->b, FIONREAD, (void *)8));
	TRY("unknown", ioctl(pair->b, 0x1234567, NULL));
	TRY("closed", ioctl(4000, FIONREAD, NULL));
	note_unread("still", pair->b);
	get("data", pair->b, 64, 0);
}

/* What is not acknowledged yet: 0 soon after the peer's kernel has it, read or not. */
static void outgoing(struct pair *pair, int request)
{
	int bytes = -1, tries = 0;

	TRY("idle", ioctl(pair->a, (unsigned long)request, &bytes));
	note("idle-bytes", "%d", bytes);
	put(pair->a, "hello");
	do {
		pause_ms(5);
		bytes = -1;
		ioctl(pair->a, (unsigned long)request, &bytes);
	} while (bytes != 0 && ++tries < 100);
	note("acknowledged", "%d", bytes);
	get("data", pair->b, 64, 0);
}

/* With a reader that does not read, what is not sent yet counts. */
static void outgoing_full(struct pair *pair, int unused)
{
	int bytes = 0;

	(void)unused;
	fill_pipe(pair->a);
	note("full", "%s", errno_text(errno));
	TRY("ioctl", ioctl(pair->a, SIOCOUTQ, &bytes));
	note("waiting", "%s", bytes > 100000 ? "much" : "little");
	note_poll("poll", pair->a, POLLOUT, 0);
}

/* The idiom of "read exactly what there is". */
static void read_what_is_there(struct pair *pair, int unused)
{
	size_t total = 0;
	char *buffer = malloc(400000);

	(void)unused;
	later_put_bytes(0, pair->a, 5, 1);
	later_put_bytes(5, pair->a, 200000, 2);
	later_put_bytes(60, pair->a, 77, 3);
	while (total < 200082) {
		struct pollfd poller = { .fd = pair->b, .events = POLLIN };
		int bytes = 0;

		if (poll(&poller, 1, 1000) != 1 || ioctl(pair->b, FIONREAD, &bytes) < 0 || bytes <= 0) {
			note("stalled", "%zu bytes, FIONREAD %d", total, bytes);
			break;
		}
		ssize_t got = recv(pair->b, buffer, (size_t)bytes < 400000 ? (size_t)bytes : 400000, MSG_DONTWAIT);
		if (got < bytes && got < 200000)
			note("less-than-said", "%zd of %d", got, bytes);
		total += got > 0 ? (size_t)got : 0;
	}
	note("total", "%zu", total);
	free(buffer);
}

enum ending { ENDING_FIN_LAST, ENDING_FIN_FIRST, ENDING_RESET, ENDING_FIN_RESET };

/* Closed both ways while much is unread: the last of the kernel's sequence numbers may be a FIN's, which is no byte. Sent past the
 * wrappers, so that no account says how much there was. */
static void closed(struct pair *pair, int ending)
{
	const int large = 30000;

	TRY("small", syscall(SYS_sendto, pair->a, "small", 5, 0, NULL, 0));
	char *buffer = calloc(1, (size_t)large);
	TRY("large", syscall(SYS_sendto, pair->a, buffer, large, 0, NULL, 0));
	free(buffer);
	settle();
	if (ending == ENDING_FIN_FIRST)
		shutdown(pair->b, SHUT_WR);
	if (ending != ENDING_RESET)
		shutdown(pair->a, SHUT_WR);
	if (ending == ENDING_FIN_LAST)
		shutdown(pair->b, SHUT_WR);
	if (ending == ENDING_RESET || ending == ENDING_FIN_RESET)
		later_reset(0, pair->a);
	later_join();
	settle();
	for (int left = large + 5; left >= 0; left -= left > large ? 5 : large / 3) {
		note_unread("unread", pair->b);
		TRY("length", recv(pair->b, NULL, 1 << 20, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT));
		drain("data", pair->b, left > large ? 5 : (size_t)large / 3);
	}
}

/* TCP counts up to an urgent byte that has not been read, if it is not to be read in its place. */
static void urgent_behind(struct pair *pair, int bytes)
{
	put(pair->a, "small");
	put_bytes(pair->a, (size_t)bytes, 1);
	TRY("urgent", send(pair->a, "X", 1, MSG_OOB));
	put(pair->a, "after");
	settle();
	note_unread("unread", pair->b);
	TRY("length", recv(pair->b, NULL, 1 << 20, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT));
	drain("small", pair->b, 5);
	note_unread("less", pair->b);
	drain("large", pair->b, (size_t)bytes);
	note_unread("at-mark", pair->b);
}

/* A peer that sends past its wrappers: small, large, and then the end. Nothing of it is in any account. */
static void raw_mixture(struct pair *pair, int large)
{
	char *buffer = malloc((size_t)large);

	fill(buffer, (size_t)large, 7);
	for (int i = 0; i < 3; i++) {
		TRY("small", syscall(SYS_sendto, pair->a, buffer, 5, 0, NULL, 0));
		TRY("large", syscall(SYS_sendto, pair->a, buffer, large, 0, NULL, 0));
		settle();
		note_unread("unread", pair->b);
		TRY("length", recv(pair->b, NULL, 1 << 20, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT));
		drain("part", pair->b, 3);
		note_unread("less", pair->b);
		drain("rest", pair->b, (size_t)large + 2);
		note_unread("none", pair->b);
	}
	syscall(SYS_sendto, pair->a, buffer, 5, 0, NULL, 0);
	syscall(SYS_sendto, pair->a, buffer, large, 0, NULL, 0);
	shutdown(pair->a, SHUT_WR);
	settle();
	note_unread("with-end", pair->b);
	drain("all", pair->b, (size_t)large + 5);
	note_unread("at-end", pair->b);
	free(buffer);
}

/* An end that has gone back to plain TCP, nothing unread then: what waits is counted once. */
static void after_leaving(struct pair *pair, int bytes)
{
	TRY("leave", set_int(pair->b, SOL_SOCKET, SO_TIMESTAMP, 1));
	for (int i = 0; i < 2; i++) {
		put_bytes(pair->a, (size_t)bytes, 3);
		settle();
		note_unread("unread", pair->b);
		drain("part", pair->b, 3);
		note_unread("less", pair->b);
		drain("rest", pair->b, (size_t)bytes - 3);
		note_unread("none", pair->b);
	}
	put_bytes(pair->b, (size_t)bytes, 3);
	settle();
	note_unread("other-end", pair->a);
}

/* A peek that wants more than there is, behind a few bytes. */
static void peek_all(struct pair *pair, int unused)
{
	struct timeval timeout = { .tv_usec = 300000 };

	(void)unused;
	setsockopt(pair->b, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	put(pair->a, "abc");
	put(pair->a, "defghijklmnop");
	settle();
	get("peek", pair->b, 16, MSG_PEEK | MSG_WAITALL);
	get("peek-more", pair->b, 20, MSG_PEEK | MSG_WAITALL);
	get("data", pair->b, 64, 0);
}

/* What the wrappers have accounted for agrees with the queue of redirected bytes, and behind it are others. */
static void raw_behind(struct pair *pair, int unused)
{
	char field[32], raw[10];

	(void)unused;
	fill(raw, sizeof(raw), 7);
	for (int i = 0; i < 8; i++) {
		put(pair->a, "small");
		TRY("raw", syscall(SYS_sendto, pair->a, raw, sizeof(raw), 0, NULL, 0));
		settle();
		snprintf(field, sizeof(field), "unread%d", i);
		note_unread(field, pair->b);
		drain("data", pair->b, 15);
	}
}

static void mixed_behind(struct pair *pair, int bytes)
{
	char text[64];

	for (int i = 0; i < 2; i++) {
		put(pair->a, "a word__");
		put_bytes(pair->a, (size_t)bytes, 2);
		settle();
		note_unread("unread", pair->b);
		GET("data", text, recv(pair->b, text, sizeof(text), 0));
		put(pair->a, "a word__");
		put_bytes(pair->a, (size_t)bytes, 3);
		settle();
		GET("read", text, read(pair->b, text, sizeof(text)));
	}
}

/* A child sends before either end has made a call, so that its parent's accounts lack so many bytes. Then as many are passed behind
 * redirected ones: together with those that is what the accounts say is redirected. */
static void forked_early(struct pair *pair, int bytes)
{
	pair_connect(pair);
	set_int(pair->a, IPPROTO_TCP, TCP_NODELAY, 1);
	pid_t child = fork();
	if (child == 0) {
		put_bytes(pair->a, (size_t)bytes, 1);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	drain("of-the-child", pair->b, (size_t)bytes);
	pair_warm_up(pair);
	mixed_behind(pair, bytes);
}

/* As above, but the child was forked before either end has joined, and sends when both have. */
static void forked_before(struct pair *pair, int bytes)
{
	int gate[2];
	char go;

	pair_connect(pair);
	set_int(pair->a, IPPROTO_TCP, TCP_NODELAY, 1);
	TRY("gate", pipe2(gate, O_CLOEXEC));
	pid_t child = fork();
	if (child == 0) {
		read_whole(gate[0], &go, 1);
		put_bytes(pair->a, (size_t)bytes, 1);
		_exit(0);
	}
	pair_warm_up(pair);
	TRY("open", write(gate[1], "x", 1));
	waitpid(child, NULL, 0);
	drain("of-the-child", pair->b, (size_t)bytes);
	mixed_behind(pair, bytes);
}

static const struct semantics_case cases[] = {
	{ "fionread", simple, 0, 0 },
	{ "fionread-mixture-100", mixture, 100, 0 },
	{ "fionread-mixture-5000", mixture, 5000, 0 },
	{ "fionread-mixture-30000", mixture, 30000, 0 },
	{ "fionread-many-small", many_small, 0, 0 },
	{ "fionread-end", at_the_end, 0, 0 },
	{ "fionread-reset", after_reset, 0, 0 },
	{ "fionread-bad-arguments", bad_arguments, 0, 0 },
	{ "fionread-loop", read_what_is_there, 0, 0 },
	{ "fionread-raw-1000", raw_mixture, 1000, 0 },
	{ "fionread-raw-30000", raw_mixture, 30000, 0 },
	{ "fionread-raw-behind", raw_behind, 0, 0 },
	{ "fionread-closed-last", closed, ENDING_FIN_LAST, 0 },
	{ "fionread-closed-first", closed, ENDING_FIN_FIRST, 0 },
	{ "fionread-closed-reset", closed, ENDING_RESET, 0 },
	{ "fionread-closed-fin-reset", closed, ENDING_FIN_RESET, 0 },
	{ "oob-fionread-1000", urgent_behind, 1000, 0 },
	{ "oob-fionread-30000", urgent_behind, 30000, 0 },
	{ "fionread-left-10", after_leaving, 10, 0 },
	{ "fionread-left-30000", after_leaving, 30000, 0 },
	{ "forked-early-3", forked_early, 3, CASE_BARE },
	{ "forked-early-7", forked_early, 7, CASE_BARE },
	{ "forked-before-3", forked_before, 3, CASE_BARE },
	{ "forked-before-7", forked_before, 7, CASE_BARE },
	{ "peek-waitall-behind", peek_all, 0, 0 },
	{ "outq", outgoing, SIOCOUTQ, 0 },
	{ "outqnsd", outgoing, SIOCOUTQNSD, 0 },
	{ "outq-full", outgoing_full, 0, 0 },
};
FAMILY(unread);
