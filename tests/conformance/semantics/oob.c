/* SPDX-License-Identifier: BSD-2-Clause */
/* Urgent data: MSG_OOB, the mark, SIGURG, SO_OOBINLINE, and the events that tell of it. */
#include "semantics.h"

#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/select.h>

/* What a program that is built with _FORTIFY_SOURCE calls. */
extern ssize_t __recv_chk(int fd, void *buffer, size_t bytes, size_t room, int flags);

static int at_mark(int fd)
{
	int mark = -1;

	return ioctl(fd, SIOCATMARK, &mark) < 0 ? -1 : mark;
}

static void out_of_line(struct pair *pair, int before)
{
	if (before)
		put(pair->a, "abc");
	TRY("send", send(pair->a, "X", 1, MSG_OOB));
	put(pair->a, "def");
	settle();
	note_poll("poll", pair->b, POLLIN | POLLPRI, 0);
	note("mark-before", "%d", at_mark(pair->b));
	get("urgent", pair->b, 1, MSG_OOB);
	get("urgent-again", pair->b, 1, MSG_OOB);
	note_poll("poll-after", pair->b, POLLPRI, 0);
	get("first", pair->b, 64, MSG_DONTWAIT);
	note("mark", "%d", at_mark(pair->b));
	note("sockatmark", "%d", sockatmark(pair->b));
	get("second", pair->b, 64, MSG_DONTWAIT);
	note("mark-after", "%d", at_mark(pair->b));
	round_trip("trip", pair);
}

static void several_bytes(struct pair *pair, int unused)
{
	(void)unused;
	TRY("send", send(pair->a, "abcX", 4, MSG_OOB));
	settle();
	get("plain", pair->b, 64, MSG_DONTWAIT);
	get("urgent", pair->b, 8, MSG_OOB);
	get("plain-rest", pair->b, 64, MSG_DONTWAIT);
}

static void read_past_mark(struct pair *pair, size_t bytes, int flags)
{
	settle();
	get("urgent", pair->b, 1, MSG_OOB);
	get("first", pair->b, bytes, flags);
	note("mark", "%d", at_mark(pair->b));
	get("second", pair->b, bytes, flags);
	round_trip("trip", pair);
}

/* The urgent byte is taken; a receive that waits for all ends at the mark all the same. */
static void taken_before(struct pair *pair, int unused)
{
	(void)unused;
	TRY("send", send(pair->a, "abcX", 4, MSG_OOB));
	put(pair->a, "defghi");
	read_past_mark(pair, 6, MSG_WAITALL);
}

static void in_line(struct pair *pair, int unused)
{
	(void)unused;
	TRY("set", set_int(pair->b, SOL_SOCKET, SO_OOBINLINE, 1));
	put(pair->a, "abc");
	send(pair->a, "X", 1, MSG_OOB);
	put(pair->a, "def");
	read_past_mark(pair, 64, MSG_DONTWAIT);
}

static void none(struct pair *pair, int unused)
{
	(void)unused;
	get("urgent", pair->b, 1, MSG_OOB);
	note("mark", "%d", at_mark(pair->b));
	note_poll("poll", pair->b, POLLPRI, 0);
	put(pair->a, "abc");
	settle();
	get("urgent-with-data", pair->b, 1, MSG_OOB);
	get("data", pair->b, 64, MSG_DONTWAIT);
	get("urgent-peek", pair->b, 1, MSG_OOB | MSG_PEEK);
}

static void peeked(struct pair *pair, int unused)
{
	(void)unused;
	send(pair->a, "X", 1, MSG_OOB);
	settle();
	get("peek", pair->b, 1, MSG_OOB | MSG_PEEK);
	get("urgent", pair->b, 1, MSG_OOB);
}

static void twice(struct pair *pair, int unused)
{
	(void)unused;
	send(pair->a, "X", 1, MSG_OOB);
	put(pair->a, "abc");
	send(pair->a, "Y", 1, MSG_OOB);
	settle();
	get("urgent", pair->b, 1, MSG_OOB);
	get("plain", pair->b, 64, MSG_DONTWAIT);
	get("more", pair->b, 64, MSG_DONTWAIT);
}

static void urgent_signal(struct pair *pair, int unused)
{
	(void)unused;
	handle(SIGURG, SA_RESTART);
	TRY("owner", fcntl(pair->b, F_SETOWN, getpid()));
	put(pair->a, "abc");
	settle();
	note("before", "%d", handled);
	send(pair->a, "X", 1, MSG_OOB);
	settle();
	note("after", "%d", handled);
	get("urgent", pair->b, 1, MSG_OOB);
	get("plain", pair->b, 64, MSG_DONTWAIT);
}

static void urgent_events(struct pair *pair, int unused)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLPRI | EPOLLET };
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	fd_set exceptional, readable;
	struct timeval now = { 0 };

	(void)unused;
	epoll_ctl(epoll, EPOLL_CTL_ADD, pair->b, &event);
	send(pair->a, "X", 1, MSG_OOB);
	settle();
	int count = epoll_wait(epoll, &event, 1, 100);
	note_events("epoll", count, event.events, errno);
	FD_ZERO(&exceptional);
	FD_ZERO(&readable);
	FD_SET(pair->b, &exceptional);
	FD_SET(pair->b, &readable);
	TRY("select", select(pair->b + 1, &readable, NULL, &exceptional, &now));
	note("exceptional", "%d", FD_ISSET(pair->b, &exceptional) != 0);
	note("readable", "%d", FD_ISSET(pair->b, &readable) != 0);
	get("urgent", pair->b, 1, MSG_OOB);
}

/* A thread asleep in recv is not woken by the urgent byte's data, but it goes on. */
static void while_blocked(struct pair *pair, int unused)
{
	(void)unused;
	send(pair->b, "Y", 1, MSG_OOB);
	later_put(2 * SOON_MS, pair->a, "abc");
	get("receive", pair->b, 64, 0);
	settle();
	get("urgent-back", pair->a, 1, MSG_OOB);
}

static void both_ways(struct pair *pair, int unused)
{
	(void)unused;
	send(pair->a, "X", 1, MSG_OOB);
	send(pair->b, "Y", 1, MSG_OOB);
	settle();
	get("there", pair->b, 1, MSG_OOB);
	get("back", pair->a, 1, MSG_OOB);
	round_trip("trip", pair);
	round_trip("trip2", pair);
}

/* Unread redirected bytes are before the urgent one. */
static void behind_unread(struct pair *pair, int in_line)
{
	if (in_line)
		TRY("set", set_int(pair->b, SOL_SOCKET, SO_OOBINLINE, 1));
	put(pair->a, "unread");
	TRY("send", send(pair->a, "X", 1, MSG_OOB));
	settle();
	note_poll("poll", pair->b, POLLIN | POLLPRI, 0);
	get("part", pair->b, 3, 0);
	get("urgent", pair->b, 1, MSG_OOB);
	get("rest", pair->b, 64, MSG_DONTWAIT);
	note("mark", "%d", at_mark(pair->b));
	get("behind", pair->b, 64, MSG_DONTWAIT);
	round_trip("trip", pair);
}

/* The other calls that send with MSG_OOB, and that receive with it. 0: sendto, recvfrom; 1: sendmsg, recvmsg; 2: sendmmsg, recvmmsg;
 * 3: send, and what a fortified program calls */
static void by_call(struct pair *pair, int call)
{
	char text[8] = "~~~~~~~";
	struct iovec out = { "abX", 3 }, in = { text, 1 };
	struct mmsghdr message = { .msg_hdr = { .msg_iov = &out, .msg_iovlen = 1 } };

	if (call == 0)
		TRY("send", sendto(pair->a, "abX", 3, MSG_OOB, NULL, 0));
	else if (call == 1)
		TRY("send", sendmsg(pair->a, &message.msg_hdr, MSG_OOB));
	else if (call == 2)
		TRY("send", sendmmsg(pair->a, &message, 1, MSG_OOB));
	else
		TRY("send", send(pair->a, "abX", 3, MSG_OOB));
	settle();
	note_poll("poll", pair->b, POLLIN | POLLPRI, 0);
	message.msg_hdr = (struct msghdr){ .msg_iov = &in, .msg_iovlen = 1 };
	if (call == 0)
		GET("urgent", text, recvfrom(pair->b, text, 1, MSG_OOB, NULL, NULL));
	else if (call == 1)
		GET("urgent", text, recvmsg(pair->b, &message.msg_hdr, MSG_OOB));
	else if (call == 2)
		TRY("urgent", recvmmsg(pair->b, &message, 1, MSG_OOB, NULL));
	else
		GET("urgent", text, __recv_chk(pair->b, text, 1, sizeof(text), MSG_OOB));
	note("byte", "%.1s flags %x", text, (unsigned)message.msg_hdr.msg_flags);
	get("plain", pair->b, 64, MSG_DONTWAIT);
	round_trip("trip", pair);
}

static void ask_urgent(void *fd)
{
	char byte;

	TRY("urgent", recv(*(int *)fd, &byte, 1, MSG_OOB));
	TRY("urgent-at-once", recv(*(int *)fd, &byte, 1, MSG_OOB | MSG_DONTWAIT));
	TRY("urgent-nothing", recv(*(int *)fd, &byte, 0, MSG_OOB));
}

/* Another thread asks for urgent data while this one sleeps in recv: there is none. Or there is. */
static void urgent_while_asleep(struct pair *pair, int there)
{
	later_call(SOON_MS, ask_urgent, &pair->b);
	later_put(8 * SOON_MS, pair->a, "hello");
	if (there)
		TRY("send-urgent", send(pair->a, "!", 1, MSG_OOB));
	get("receive", pair->b, 64, 0);
	later_join();
	round_trip("trip", pair);
}

/* The first of them is part of the stream then. */
static void two_behind_unread(struct pair *pair, int unused)
{
	(void)unused;
	put(pair->a, "123");
	TRY("first", send(pair->a, "a", 1, MSG_OOB));
	settle();
	TRY("second", send(pair->a, "b", 1, MSG_OOB));
	settle();
	get("receive", pair->b, 64, MSG_DONTWAIT);
}

static const struct semantics_case cases[] = {
	{ "oob-none-while-asleep", urgent_while_asleep, 0, 0 },
	{ "oob-while-asleep", urgent_while_asleep, 1, 0 },
	{ "oob-by-sendto", by_call, 0, 0 },
	{ "oob-by-sendmsg", by_call, 1, 0 },
	{ "oob-by-sendmmsg", by_call, 2, 0 },
	{ "oob-by-fortified", by_call, 3, 0 },
	{ "oob-out-of-line", out_of_line, 0, 0 },
	{ "oob-behind-data", out_of_line, 1, 0 },
	{ "oob-several-bytes", several_bytes, 0, 0 },
	{ "oob-taken-waitall", taken_before, 0, 0 },
	{ "oob-inline", in_line, 0, 0 },
	{ "oob-none", none, 0, 0 },
	{ "oob-peek", peeked, 0, 0 },
	{ "oob-two-behind-unread", two_behind_unread, 0, 0 },
	{ "oob-twice", twice, 0, 0 },
	{ "oob-sigurg", urgent_signal, 0, 0 },
	{ "oob-epoll-select", urgent_events, 0, 0 },
	{ "oob-then-blocked", while_blocked, 0, 0 },
	{ "oob-both-ways", both_ways, 0, 0 },
	{ "oob-behind-unread", behind_unread, 0, 0 },
	{ "oob-inline-behind-unread", behind_unread, 1, 0 },
};
FAMILY(oob);
