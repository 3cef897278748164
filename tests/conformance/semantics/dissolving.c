/* SPDX-License-Identifier: BSD-2-Clause */
/* connect() on a socket whose connection has ended: what is left of the old connection must not turn up any more, least of all in the next.
 *
 * Who connects without waiting and learns of the success by poll(2) and SO_ERROR has not called connect() again: the kernel has noted no
 * success, and the next connect() tells of the reset that has come since, and dissolves the connection.
 */
#include "semantics.h"

#include <sys/syscall.h>

static void connect_waitless(struct pair *pair, int listener, const struct any_address *address)
{
	struct pollfd poller = { .events = POLLOUT };
	int error = -1, family = address->any.sa_family;
	socklen_t length = sizeof(error);

	pair->a = poller.fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int result = connect(pair->a, &address->any, address->length);
	if ((result != 0 && errno != EINPROGRESS) || poll(&poller, 1, 1000) != 1 ||
	    getsockopt(pair->a, SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error)
		note("FAILED", "connect");
	pair->b = accept(listener, NULL, NULL);
	fcntl(pair->a, F_SETFL, 0);
	set_int(pair->a, IPPROTO_TCP, TCP_NODELAY, 1);
	set_int(pair->b, IPPROTO_TCP, TCP_NODELAY, 1);
	note("armed", "%s", pair_warm_up(pair) ? "yes" : "no");
}

static void connect_anew(struct pair *pair)
{
	struct any_address address;
	int listener = pair_listen(&address);

	TRY("connect", connect(pair->a, &address.any, address.length));
	pair_meet_anew(pair, listener);
	close(listener);
}

static void note_unread(const char *field, int fd)
{
	int bytes = -1;

	TRY(field, ioctl(fd, FIONREAD, &bytes));
	note(field, "%d", bytes);
}

static void see(int fd, int flags)
{
	note_unread("unread", fd);
	note_poll("poll", fd, POLLIN | POLLOUT | POLLRDHUP, 0);
	get("receive", fd, 64, flags);
	get("receive-next", fd, 64, flags);
	TRY("send", send(fd, "x", 1, MSG_NOSIGNAL));
}

enum reset { UNREAD = 1, LARGE = 2, LOOKS = 4, WAITS = 8, READ_BEFORE = 16, HAS_DUP = 32, ERROR_TAKEN = 64, RAW = 128 };

static int connect_raw(int fd, const struct sockaddr *address, socklen_t length)
{
	return (int)syscall(SYS_connect, fd, address, length);
}

static void reset(struct pair *pair, int how)
{
	struct any_address address;
	int listener = pair_listen(&address), copy = -1;

	connect_waitless(pair, listener, &address);
	if (how & UNREAD)
		put(pair->b, "unread");
	if (how & LARGE)
		put_bytes(pair->b, 60000, 1);
	if (how & HAS_DUP)
		copy = dup(pair->a);
	settle();
	later_reset(0, pair->b);
	later_join();
	settle();
	if (how & READ_BEFORE)
		get("part", pair->a, 2, MSG_DONTWAIT);
	if (how & ERROR_TAKEN) {
		int error = -1;
		socklen_t length = sizeof(error);

		getsockopt(pair->a, SOL_SOCKET, SO_ERROR, &error, &length);
		note("so_error", "%s", errno_text(error));
	}
	TRY("connect-tells", (how & RAW ? connect_raw : connect)(pair->a, &address.any, address.length));
	if (how & LOOKS)
		see(pair->a, how & WAITS ? 0 : MSG_DONTWAIT);
	if (copy >= 0)
		see(copy, MSG_DONTWAIT);
	connect_anew(pair);
	close(copy);
	close(listener);
}

/* A further connect() that fails before it gets there, or says that there is a connection, dissolves nothing. */
static void refused(struct pair *pair, int was_noted)
{
	struct any_address address, other = { .length = 0 };
	int listener = pair_listen(&address);

	connect_waitless(pair, listener, &address);
	if (was_noted)
		TRY("connect-notes", connect(pair->a, &address.any, address.length));
	put(pair->b, "unread");
	settle();
	later_reset(0, pair->b);
	later_join();
	settle();
	TRY("too-short", connect(pair->a, &other.any, 1));
	TRY("bad-address", connect(pair->a, (struct sockaddr *)8, sizeof(struct sockaddr_in)));
	if (was_noted)
		TRY("connect", connect(pair->a, &address.any, address.length));
	see(pair->a, MSG_DONTWAIT);
	close(listener);
}

/* connect(AF_UNSPEC) of an end that the peer has reset leaves the error to the next call. */
static void unspec_reset(struct pair *pair, int how)
{
	struct sockaddr nothing = { .sa_family = AF_UNSPEC };

	if (how & UNREAD)
		put(pair->b, "unread");
	if (how & LARGE)
		put_bytes(pair->b, 60000, 1);
	settle();
	later_reset(0, pair->b);
	later_join();
	settle();
	TRY("dissolve", (how & RAW ? connect_raw : connect)(pair->a, &nothing, sizeof(nothing)));
	if (!(how & RAW))
		see(pair->a, how & WAITS ? 0 : MSG_DONTWAIT);
	connect_anew(pair);
}

/* The same where the peer has been dissolved. */
static void unspec_both(struct pair *pair, int unused)
{
	struct sockaddr nothing = { .sa_family = AF_UNSPEC };

	(void)unused;
	put(pair->a, "unread");
	put(pair->b, "unread, too");
	settle();
	TRY("dissolve", connect(pair->b, &nothing, sizeof(nothing)));
	settle();
	TRY("dissolve", connect(pair->a, &nothing, sizeof(nothing)));
	see(pair->a, MSG_DONTWAIT);
	see(pair->b, MSG_DONTWAIT);
	connect_anew(pair);
}

/* More than one call throws away. */
static void unspec_much(struct pair *pair, int bytes)
{
	struct sockaddr nothing = { .sa_family = AF_UNSPEC };

	put_bytes(pair->b, (size_t)bytes, 1);
	settle();
	TRY("dissolve", connect(pair->a, &nothing, sizeof(nothing)));
	see(pair->a, MSG_DONTWAIT);
	connect_anew(pair);
}

static const struct semantics_case cases[] = {
	{ "connect-reset", reset, LOOKS, CASE_BARE },
	{ "connect-reset-waits", reset, LOOKS | WAITS, CASE_BARE },
	{ "connect-reset-anew", reset, 0, CASE_BARE },
	{ "connect-reset-unread", reset, UNREAD | LOOKS, CASE_BARE },
	{ "connect-reset-unread-waits", reset, UNREAD | LOOKS | WAITS, CASE_BARE },
	{ "connect-reset-unread-anew", reset, UNREAD, CASE_BARE },
	{ "connect-reset-unread-part", reset, UNREAD | READ_BEFORE, CASE_BARE },
	{ "connect-reset-unread-dup", reset, UNREAD | HAS_DUP, CASE_BARE },
	{ "connect-reset-unread-large", reset, LARGE | LOOKS, CASE_BARE },
	{ "connect-reset-unread-raw", reset, UNREAD | RAW, CASE_BARE },
	{ "connect-reset-so-error", reset, UNREAD | LOOKS | ERROR_TAKEN, CASE_BARE },
	{ "connect-reset-refused", refused, 0, CASE_BARE },
	{ "connect-reset-noted", refused, 1, CASE_BARE },
	{ "connect-unspec-reset", unspec_reset, 0, 0 },
	{ "connect-unspec-reset-unread", unspec_reset, UNREAD, 0 },
	{ "connect-unspec-reset-waits", unspec_reset, UNREAD | WAITS, 0 },
	{ "connect-unspec-reset-large", unspec_reset, LARGE, 0 },
	{ "connect-unspec-reset-raw", unspec_reset, UNREAD | RAW, 0 },
	{ "connect-unspec-both", unspec_both, 0, 0 },
	{ "connect-unspec-much", unspec_much, 1 << 20, 0 },
};
FAMILY(dissolving);
