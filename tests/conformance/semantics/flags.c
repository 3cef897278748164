/* SPDX-License-Identifier: BSD-2-Clause */
/* Receive flags: MSG_WAITALL, MSG_PEEK, MSG_DONTWAIT, and SO_RCVLOWAT, SO_PEEK_OFF. */
#include "semantics.h"

#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void two_pieces(int fd)
{
	later_put(SOON_MS, fd, "abc");
	later_put(2 * SOON_MS, fd, "defgh");
}

static void waitall_pieces(struct pair *pair, int flags)
{
	two_pieces(pair->a);
	get("receive", pair->b, 8, MSG_WAITALL | flags);
	later_join();
	settle();
	get("rest", pair->b, 64, MSG_DONTWAIT);
}

static void waitall_end(struct pair *pair, int flags)
{
	later_put(SOON_MS, pair->a, "abc");
	later_shutdown(2 * SOON_MS, pair->a, SHUT_WR);
	get("receive", pair->b, 8, MSG_WAITALL | flags);
	get("next", pair->b, 8, MSG_WAITALL);
}

static void waitall_reset(struct pair *pair, int unused)
{
	(void)unused;
	later_put(SOON_MS, pair->a, "abc");
	later_reset(2 * SOON_MS, pair->a);
	get("receive", pair->b, 8, MSG_WAITALL);
	get("next", pair->b, 8, MSG_WAITALL);
	get("last", pair->b, 8, MSG_WAITALL);
}

/* A signal after part has come: the part is returned, whatever the handler's flags. */
static void waitall_signal(struct pair *pair, int flags)
{
	handle(SIGUSR1, flags);
	later_put(SOON_MS, pair->a, "abc");
	later_signal(2 * SOON_MS, SIGUSR1);
	later_put(4 * SOON_MS, pair->a, "defgh");
	get("receive", pair->b, 8, MSG_WAITALL);
	get("next", pair->b, 5, MSG_WAITALL);
}

static void waitall_signal_first(struct pair *pair, int flags)
{
	handle(SIGUSR1, flags);
	later_signal(SOON_MS, SIGUSR1);
	later_put(3 * SOON_MS, pair->a, "abcdefgh");
	get("receive", pair->b, 8, MSG_WAITALL);
	note("handled", "%d", handled);
}

static void waitall_dontwait(struct pair *pair, int nonblocking)
{
	int flags = MSG_WAITALL | (nonblocking ? 0 : MSG_DONTWAIT);

	if (nonblocking)
		fcntl(pair->b, F_SETFL, O_NONBLOCK);
	get("empty", pair->b, 8, flags);
	put(pair->a, "abc");
	settle();
	get("part", pair->b, 8, flags);
}

static void waitall_large(struct pair *pair, int bytes)
{
	char *buffer = malloc((size_t)bytes);

	later_put_bytes(SOON_MS, pair->a, (size_t)bytes, 7);
	GET("receive", buffer, recv(pair->b, buffer, (size_t)bytes, MSG_WAITALL));
	free(buffer);
}

static void waitall_readv(struct pair *pair, int unused)
{
	char first[3] = "", second[8] = "";
	struct iovec vector[] = { { first, 3 }, { NULL, 0 }, { second, 5 } };
	struct msghdr message = { .msg_iov = vector, .msg_iovlen = 3 };

	(void)unused;
	two_pieces(pair->a);
	TRY("receive", recvmsg(pair->b, &message, MSG_WAITALL));
	note("first", "%.3s", first);
	note("second", "%.5s", second);
	note("flags", "%x", message.msg_flags);
}

static void peek_then_read(struct pair *pair, int unused)
{
	(void)unused;
	put(pair->a, "hello");
	get("peek", pair->b, 64, MSG_PEEK);
	get("peek-again", pair->b, 3, MSG_PEEK);
	get("read", pair->b, 2, 0);
	get("peek-rest", pair->b, 64, MSG_PEEK);
	get("read-rest", pair->b, 64, 0);
	get("peek-empty", pair->b, 64, MSG_PEEK | MSG_DONTWAIT);
}

static void peek_blocks(struct pair *pair, int unused)
{
	(void)unused;
	later_put(SOON_MS, pair->a, "hello");
	get("peek", pair->b, 64, MSG_PEEK);
	get("read", pair->b, 64, 0);
}

/* Two sends: a peek sees the bytes of both. */
static void peek_two_sends(struct pair *pair, int unused)
{
	(void)unused;
	put(pair->a, "abc");
	put(pair->a, "defghijkl");
	settle();
	get("peek", pair->b, 64, MSG_PEEK);
	get("read", pair->b, 64, 0);
}

static void peek_end(struct pair *pair, int unused)
{
	(void)unused;
	put(pair->a, "abc");
	shutdown(pair->a, SHUT_WR);
	settle();
	get("peek", pair->b, 64, MSG_PEEK);
	get("read", pair->b, 64, 0);
	get("peek-end", pair->b, 64, MSG_PEEK);
	get("read-end", pair->b, 64, 0);
}

static void peek_reset(struct pair *pair, int unused)
{
	(void)unused;
	put(pair->a, "abc");
	later_reset(0, pair->a);
	later_join();
	settle();
	get("peek", pair->b, 64, MSG_PEEK);
	get("read", pair->b, 64, 0);
	get("peek-error", pair->b, 64, MSG_PEEK);
	get("after", pair->b, 64, 0);
}

static void peek_large(struct pair *pair, int bytes)
{
	char *buffer = malloc((size_t)bytes);

	put_bytes(pair->a, (size_t)bytes, 9);
	settle();
	GET("peek", buffer, recv(pair->b, buffer, (size_t)bytes, MSG_PEEK));
	drain("read", pair->b, (size_t)bytes);
	free(buffer);
}

static void peek_off(struct pair *pair, int unused)
{
	(void)unused;
	TRY("set", set_int(pair->b, SOL_SOCKET, SO_PEEK_OFF, 0));
	put(pair->a, "abcdefgh");
	get("peek1", pair->b, 3, MSG_PEEK);
	get("peek2", pair->b, 3, MSG_PEEK);
	get("read", pair->b, 2, 0);
	get("peek3", pair->b, 3, MSG_PEEK);
	TRY("unset", set_int(pair->b, SOL_SOCKET, SO_PEEK_OFF, -1));
	get("peek4", pair->b, 3, MSG_PEEK);
	get("rest", pair->b, 64, 0);
}

static void dontwait(struct pair *pair, int nonblocking)
{
	int flags = nonblocking ? 0 : MSG_DONTWAIT;

	if (nonblocking)
		TRY("set", fcntl(pair->b, F_SETFL, O_NONBLOCK));
	get("empty", pair->b, 64, flags);
	put(pair->a, "hello");
	settle();
	get("data", pair->b, 64, flags);
	get("drained", pair->b, 64, flags);
	shutdown(pair->a, SHUT_WR);
	settle();
	get("end", pair->b, 64, flags);
	get("end-again", pair->b, 64, flags);
}

/* O_NONBLOCK is set while a thread sleeps: it sleeps on. */
static void nonblock_while_blocked(struct pair *pair, int unused)
{
	(void)unused;
	later_put(3 * SOON_MS, pair->a, "hello");
	get("receive", pair->b, 64, 0);
	fcntl(pair->b, F_SETFL, O_NONBLOCK);
	get("empty", pair->b, 64, 0);
	fcntl(pair->b, F_SETFL, 0);
	later_put(SOON_MS, pair->a, "world");
	get("blocking-again", pair->b, 64, 0);
}

static void fionbio(struct pair *pair, int unused)
{
	int on = 1, off = 0;

	(void)unused;
	TRY("on", ioctl(pair->b, FIONBIO, &on));
	get("empty", pair->b, 64, 0);
	TRY("off", ioctl(pair->b, FIONBIO, &off));
	later_put(SOON_MS, pair->a, "hello");
	get("blocking", pair->b, 64, 0);
}

enum way_back { BY_FCNTL, BY_IOCTL, BY_DUPLICATE, BY_SYSCALL, BY_CHILD };

static void block_again(int fd, enum way_back way)
{
	int off = 0;

	if (way == BY_FCNTL)
		TRY("fcntl", fcntl(fd, F_SETFL, 0));
	else if (way == BY_IOCTL)
		TRY("ioctl", ioctl(fd, FIONBIO, &off));
	else if (way == BY_DUPLICATE)
		TRY("duplicate", fcntl(dup(fd), F_SETFL, 0));
	else if (way == BY_SYSCALL)
		TRY("syscall", syscall(SYS_fcntl, fd, F_SETFL, 0));
	else if (fork() == 0)
		_exit(fcntl(fd, F_SETFL, 0));
	else
		wait(NULL);
}

/* It was non-blocking, and has found nothing. Blocking again it sleeps on where a handler with SA_RESTART has run. */
static void nonblock_cleared(struct pair *pair, int way)
{
	TRY("set", fcntl(pair->b, F_SETFL, O_NONBLOCK));
	get("empty", pair->b, 64, 0);
	get("empty-again", pair->b, 64, 0);
	block_again(pair->b, (enum way_back)way);
	handle(SIGUSR1, SA_RESTART);
	later_signal(SOON_MS, SIGUSR1);
	later_put(3 * SOON_MS, pair->a, "hello");
	get("receive", pair->b, 64, 0);
	note("handled", "%d", handled);
}

static void lowat(struct pair *pair, int unused)
{
	(void)unused;
	TRY("set", set_int(pair->b, SOL_SOCKET, SO_RCVLOWAT, 8));
	put(pair->a, "abc");
	settle();
	note_poll("poll-below", pair->b, POLLIN, 30);
	get("dontwait-below", pair->b, 2, MSG_DONTWAIT);
	later_put(SOON_MS, pair->a, "defghijkl");
	get("blocking", pair->b, 64, 0);
	put(pair->a, "0123456789");
	settle();
	note_poll("poll-above", pair->b, POLLIN, 30);
	get("short-buffer", pair->b, 4, 0);
	note_poll("poll-rest", pair->b, POLLIN, 30);
	TRY("unset", set_int(pair->b, SOL_SOCKET, SO_RCVLOWAT, 1));
	note_poll("poll-one", pair->b, POLLIN, 30);
	get("rest", pair->b, 64, 0);
}

static void lowat_end(struct pair *pair, int unused)
{
	(void)unused;
	set_int(pair->b, SOL_SOCKET, SO_RCVLOWAT, 8);
	later_put(SOON_MS, pair->a, "abc");
	later_shutdown(2 * SOON_MS, pair->a, SHUT_WR);
	get("receive", pair->b, 64, 0);
	get("end", pair->b, 64, 0);
}

static void odd_flags(struct pair *pair, int flags)
{
	put(pair->a, "abc");
	settle();
	get("receive", pair->b, 64, flags);
	round_trip("trip", pair);
}

/* INT_MAX to the kernel. */
static void lowat_negative(struct pair *pair, int unused)
{
	struct pollfd poller = { .fd = pair->b, .events = POLLIN };

	(void)unused;
	TRY("set", set_int(pair->b, SOL_SOCKET, SO_RCVLOWAT, -1));
	put(pair->a, "abc");
	settle();
	TRY("poll", poll(&poller, 1, 0));
	get("rest", pair->b, 64, MSG_DONTWAIT);
}

/* Every bit that a receive, and a send, may be given, alone and with MSG_PEEK or MSG_NOSIGNAL; but those that wait for something else. */
static void every_flag(struct pair *pair, int with)
{
	char text[64], field[32];
	struct iovec in = { text, sizeof(text) }, out = { "sent", 4 };

	for (int bit = 1; bit < 32; bit++) {
		int flags = (int)(1u << bit) | with;
		struct msghdr receive = { .msg_iov = &in, .msg_iovlen = 1 },
			      send_one = { .msg_iov = &out, .msg_iovlen = 1 };

		if (flags & (MSG_ERRQUEUE | MSG_WAITALL | MSG_FASTOPEN | MSG_ZEROCOPY | MSG_MORE | MSG_TRUNC))
			continue;
		put(pair->a, "bits");
		settle();
		snprintf(field, sizeof(field), "recv-%d", bit);
		GET(field, text, recv(pair->b, text, sizeof(text), flags));
		snprintf(field, sizeof(field), "recvmsg-%d", bit);
		GET(field, text, recvmsg(pair->b, &receive, flags | MSG_DONTWAIT));
		note(field, "%x", (unsigned)receive.msg_flags);
		snprintf(field, sizeof(field), "send-%d", bit);
		TRY(field, send(pair->b, "sent", 4, flags | MSG_NOSIGNAL));
		TRY(field, sendmsg(pair->b, &send_one, flags | MSG_NOSIGNAL));
		settle();
		get(field, pair->a, 64, MSG_DONTWAIT);
		get("rest", pair->b, 64, MSG_DONTWAIT);
	}
}

static const struct semantics_case cases[] = {
	{ "flag-bits", every_flag, 0, 0 },
	{ "flag-bits-peek", every_flag, MSG_PEEK, 0 },
	{ "waitall-pieces", waitall_pieces, 0, 0 },
	{ "waitall-peek-pieces", waitall_pieces, MSG_PEEK, 0 },
	{ "waitall-end", waitall_end, 0, 0 },
	{ "waitall-peek-end", waitall_end, MSG_PEEK, 0 },
	{ "waitall-reset", waitall_reset, 0, 0 },
	{ "waitall-part-signal-interrupts", waitall_signal, 0, 0 },
	{ "waitall-part-signal-restart", waitall_signal, SA_RESTART, 0 },
	{ "waitall-signal-interrupts", waitall_signal_first, 0, 0 },
	{ "waitall-signal-restart", waitall_signal_first, SA_RESTART, 0 },
	{ "waitall-dontwait", waitall_dontwait, 0, 0 },
	{ "waitall-nonblocking", waitall_dontwait, 1, 0 },
	{ "waitall-100k", waitall_large, 100000, 0 },
	{ "waitall-2m", waitall_large, 2000000, 0 },
	{ "waitall-vector", waitall_readv, 0, 0 },
	{ "peek-then-read", peek_then_read, 0, 0 },
	{ "peek-blocks", peek_blocks, 0, 0 },
	{ "peek-two-sends", peek_two_sends, 0, 0 },
	{ "peek-end", peek_end, 0, 0 },
	{ "peek-reset", peek_reset, 0, 0 },
	{ "peek-large", peek_large, 30000, 0 },
	{ "peek-off", peek_off, 0, 0 },
	{ "dontwait", dontwait, 0, 0 },
	{ "nonblocking", dontwait, 1, 0 },
	{ "nonblocking-toggled", nonblock_while_blocked, 0, 0 },
	{ "fionbio", fionbio, 0, 0 },
	{ "nonblock-cleared", nonblock_cleared, BY_FCNTL, 0 },
	{ "nonblock-cleared-ioctl", nonblock_cleared, BY_IOCTL, 0 },
	{ "nonblock-cleared-duplicate", nonblock_cleared, BY_DUPLICATE, 0 },
	{ "nonblock-cleared-syscall", nonblock_cleared, BY_SYSCALL, 0 },
	{ "nonblock-cleared-child", nonblock_cleared, BY_CHILD, 0 },
	{ "lowat", lowat, 0, 0 },
	{ "lowat-end", lowat_end, 0, 0 },
	{ "lowat-negative", lowat_negative, 0, 0 },
	{ "flag-nosignal", odd_flags, MSG_NOSIGNAL, 0 },
	{ "flag-confirm", odd_flags, MSG_CONFIRM, 0 },
	{ "flag-eor", odd_flags, MSG_EOR, 0 },
	{ "flag-cmsg-cloexec", odd_flags, MSG_CMSG_CLOEXEC, 0 },
	{ "flag-waitforone", odd_flags, MSG_WAITFORONE, 0 },
};
FAMILY(flags);
