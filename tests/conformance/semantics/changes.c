/* SPDX-License-Identifier: BSD-2-Clause */
/* What another thread does to the time-out, or to the send buffer, while a receive sleeps. */
#include "semantics.h"

#include <sys/time.h>

#define TIMEOUT_MS 120

static void set_timeout(int fd, int name, unsigned ms)
{
	struct timeval timeout = { .tv_sec = ms / 1000, .tv_usec = (long)(ms % 1000) * 1000 };

	if (setsockopt(fd, SOL_SOCKET, name, &timeout, sizeof(timeout)) < 0)
		note("FAILED", "setting a timeout");
}

/* A receive sleeps, and what wakes it is room in the send buffer: 0 its size was set, 1 it was full and empties, 2 of bytes that
 * wait to be sent, with TCP_NOTSENT_LOWAT. No EINTR. */
static struct pair room_pair;
static void change_room(void *unused)
{
	(void)unused;
	set_int(room_pair.b, SOL_SOCKET, SO_SNDBUF, 1 << 20);
	set_int(room_pair.b, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 1 << 20);
}

static uint64_t room_bytes;
static void make_room(void *unused)
{
	static char sink[1 << 16];
	ssize_t got = 1;

	(void)unused;
	for (uint64_t done = 0; done < room_bytes && got > 0; done += (uint64_t)got)
		got = recv(room_pair.a, sink, sizeof(sink), 0);
}

static void room_while_blocked(struct pair *pair, int full)
{
	room_pair = *pair;
	if (full == 2)
		set_int(pair->b, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 4096);
	set_timeout(pair->b, SO_RCVTIMEO, 20 * TIMEOUT_MS);
	if (full) {
		fcntl(pair->b, F_SETFL, O_NONBLOCK);
		room_bytes = fill_pipe(pair->b);
		fcntl(pair->b, F_SETFL, 0);
	}
	later_call(SOON_MS, full ? make_room : change_room, NULL);
	later_put(10 * SOON_MS, pair->a, "hello");
	get("receive", pair->b, 64, 0);
	later_join();
}

/* Another thread sets it while a receive sleeps, which keeps what it began with. 1: to none, instead of longer; 2: MSG_WAITALL, a part is there */
static int changed_fd;
static void change_timeout(void *to_ms)
{
	set_timeout(changed_fd, SO_RCVTIMEO, (unsigned)(intptr_t)to_ms);
}

static void timeout_changed(struct pair *pair, int how)
{
	changed_fd = pair->b;
	set_timeout(pair->b, SO_RCVTIMEO, 2 * TIMEOUT_MS);
	if (how & 2)
		put(pair->a, "part");
	later_call(SOON_MS, change_timeout, (void *)(intptr_t)(how & 1 ? 0 : 20 * TIMEOUT_MS));
	get("receive", pair->b, 64, how & 2 ? MSG_WAITALL : 0);
	later_join();
	put(pair->a, "next");
	get("next", pair->b, 64, 0);
}

/* A receive that a handler has begun anew has the time-out of that moment. */
static void timeout_set_and_restarted(struct pair *pair, int flags)
{
	uint64_t start_ms = clock_ms();

	changed_fd = pair->b;
	handle(SIGUSR1, SA_RESTART);
	later_call(SOON_MS, change_timeout, (void *)(intptr_t)TIMEOUT_MS);
	later_signal(3 * SOON_MS, SIGUSR1);
	later_put(20 * SOON_MS, pair->a, "late");
	get("receive", pair->b, 64, flags);
	note_waited("waited", start_ms, 3 * SOON_MS + TIMEOUT_MS);
	later_join();
	get("late", pair->b, 64, MSG_DONTWAIT);
}

static const struct semantics_case cases[] = {
	{ "rcvtimeo-raised", timeout_changed, 0, 0 },
	{ "rcvtimeo-taken-away", timeout_changed, 1, 0 },
	{ "rcvtimeo-raised-waitall", timeout_changed, 2, 0 },
	{ "rcvtimeo-taken-away-waitall", timeout_changed, 3, 0 },
	{ "rcvtimeo-room-set", room_while_blocked, 0, 0 },
	{ "rcvtimeo-room-made", room_while_blocked, 1, 0 },
	{ "rcvtimeo-room-made-lowat", room_while_blocked, 2, 0 },
	{ "rcvtimeo-set-restarted", timeout_set_and_restarted, 0, 0 },
	{ "rcvtimeo-set-restarted-waitall", timeout_set_and_restarted, MSG_WAITALL, 0 },
};
FAMILY(changes);
