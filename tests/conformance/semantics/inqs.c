/* SPDX-License-Identifier: BSD-2-Clause */
/* TCP_INQ set while bytes wait: the control message of each receive, until all that came before is read and long after. */
#include "semantics.h"

#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>

#ifndef TCP_INQ
#define TCP_INQ 36
#define TCP_CM_INQ TCP_INQ
#endif

#define ROOM_BYTES 256

static char control[ROOM_BYTES + 16] __attribute__((aligned(16)));

static void note_controls(const char *field, struct msghdr *message)
{
	note(field, "flags %x, %zu bytes of control", message->msg_flags, (size_t)message->msg_controllen);
	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(message); cmsg; cmsg = CMSG_NXTHDR(message, cmsg)) {
		int number = 0;
		size_t bytes = cmsg->cmsg_len - CMSG_LEN(0);
		bool stamp = cmsg->cmsg_level == SOL_SOCKET;

		memcpy(&number, CMSG_DATA(cmsg), bytes < sizeof(number) ? bytes : sizeof(number));
		note(field, "level %d type %d length %zu: %d", cmsg->cmsg_level, cmsg->cmsg_type,
		     (size_t)cmsg->cmsg_len, stamp ? 0 : number);
	}
}

static void receive_at(const char *field, int fd, size_t bytes, int flags, void *room, size_t room_bytes)
{
	static char data[100000];
	struct iovec vector = { data, bytes };
	struct msghdr message = { .msg_name = control,
				  .msg_namelen = 77,
				  .msg_iov = &vector,
				  .msg_iovlen = 1,
				  .msg_control = room,
				  .msg_controllen = room_bytes,
				  .msg_flags = 0x55 };
	struct sockaddr_storage name;

	message.msg_name = &name;
	memset(control, 'c', sizeof(control));
	if (flags & MSG_TRUNC)
		TRY(field, recvmsg(fd, &message, flags));
	else
		GET(field, data, recvmsg(fd, &message, flags));
	note(field, "name %u", message.msg_namelen);
	note_controls(field, &message);
}

static void receive(const char *field, int fd, size_t bytes, int flags)
{
	receive_at(field, fd, bytes, flags, control, ROOM_BYTES);
}

static void set_inq(int fd, int value)
{
	int now = -1;
	socklen_t length = sizeof(now);

	TRY("set", set_int(fd, IPPROTO_TCP, TCP_INQ, value));
	TRY("get", getsockopt(fd, IPPROTO_TCP, TCP_INQ, &now, &length));
	note("value", "%d", now);
}

/* What was there when it was set, what came later, and what comes when all that is read. */
static void in_parts(struct pair *pair, int bytes)
{
	put(pair->a, "0123456789");
	settle();
	set_inq(pair->b, 1);
	receive("three", pair->b, 3, 0);
	put_bytes(pair->a, (size_t)bytes, 1);
	settle();
	receive("behind", pair->b, 2, 0);
	receive("across", pair->b, 8, 0);
	receive("half", pair->b, (size_t)bytes / 2, 0);
	receive("rest", pair->b, (size_t)bytes, 0);
	receive("nothing", pair->b, 64, MSG_DONTWAIT);
	for (int i = 0; i < 3; i++) {
		round_trip("trip", pair);
		put(pair->a, "later");
		settle();
		receive("later", pair->b, 2, 0);
		receive("later-rest", pair->b, 64, 0);
	}
}

/* Several sends wait, small and large, so that redirected and passed ones are among them before the option is set. */
static void mixture(struct pair *pair, int unused)
{
	(void)unused;
	for (int i = 0; i < 4; i++) {
		put_bytes(pair->a, 5, 1);
		put_bytes(pair->a, 3000, 2);
	}
	settle();
	set_inq(pair->b, 1);
	for (int left = 4 * 3005; left > 0; left -= 1202)
		receive("part", pair->b, 1202, MSG_WAITALL);
	receive("last", pair->b, 1202, MSG_DONTWAIT);
	put(pair->a, "more");
	settle();
	receive("more", pair->b, 3, 0);
}

static void peeked(struct pair *pair, int unused)
{
	(void)unused;
	put(pair->a, "abcdef");
	settle();
	set_inq(pair->b, 1);
	receive("peek", pair->b, 2, MSG_PEEK);
	receive("peek-length", pair->b, 4, MSG_PEEK | MSG_TRUNC);
	put(pair->a, "ghi");
	settle();
	receive("peek-again", pair->b, 2, MSG_PEEK);
	receive("discard", pair->b, 2, MSG_TRUNC);
	receive("nothing", pair->b, 0, 0);
	receive("data", pair->b, 5, 0);
	receive("last", pair->b, 64, 0);
	receive("none", pair->b, 64, MSG_DONTWAIT);
}

static void little_room(struct pair *pair, int unused)
{
	static const size_t rooms[] = { 0, 1, 8, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 40 };
	const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, 2 * page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)unused;
	put(pair->a, "0123456789");
	put(pair->a, "0123456789");
	settle();
	set_inq(pair->b, 1);
	for (int after = 0; after < 2; after++) {
		for (size_t i = 0; i < sizeof(rooms) / sizeof(rooms[0]); i++)
			receive_at("room", pair->b, 1, 0, control, rooms[i]);
		receive_at("null", pair->b, 1, 0, NULL, 0);
		receive_at("null-with-length", pair->b, 1, 0, NULL, 64);
		mprotect(pages, 2 * page_bytes, PROT_READ);
		receive_at("not-writable", pair->b, 1, 0, pages, 64);
		mprotect(pages, page_bytes, PROT_READ | PROT_WRITE);
		receive_at("writable-in-part", pair->b, 1, 0, pages + page_bytes - 16, 64);
		receive_at("bad-address", pair->b, 1, 0, (void *)8, 64);
		receive("rest", pair->b, 64, MSG_DONTWAIT);
		put(pair->a, "0123456789");
		put(pair->a, "0123456789");
		settle();
	}
}

static void at_the_end(struct pair *pair, int half_closed)
{
	put(pair->a, "abcdef");
	settle();
	set_inq(pair->b, 1);
	if (half_closed)
		shutdown(pair->b, SHUT_WR);
	put_bytes(pair->a, 30000, 1);
	shutdown(pair->a, SHUT_WR);
	settle();
	receive("part", pair->b, 2, 0);
	receive("across", pair->b, 6, 0);
	receive("most", pair->b, 20000, 0);
	receive("rest", pair->b, 20000, 0);
	receive("end", pair->b, 64, 0);
	receive("again", pair->b, 64, 0);
}

/* The end of the stream has come before the option is set. */
static void after_the_end(struct pair *pair, int half_closed)
{
	put(pair->a, "abcdef");
	if (half_closed)
		shutdown(pair->b, SHUT_WR);
	shutdown(pair->a, SHUT_WR);
	settle();
	set_inq(pair->b, 1);
	receive("part", pair->b, 2, 0);
	receive("rest", pair->b, 64, 0);
	receive("end", pair->b, 64, 0);
}

/* A reset is no end: it does not count as one, also when its error has been taken. */
static void after_reset(struct pair *pair, int error_first)
{
	int error = 0;
	socklen_t length = sizeof(error);

	put(pair->a, "abcdef");
	settle();
	set_inq(pair->b, 1);
	later_reset(0, pair->a);
	later_join();
	settle();
	if (error_first)
		TRY("error", getsockopt(pair->b, SOL_SOCKET, SO_ERROR, &error, &length));
	receive("part", pair->b, 2, 0);
	receive("peek", pair->b, 2, MSG_PEEK);
	receive("rest", pair->b, 64, 0);
	receive("reset", pair->b, 64, 0);
	receive("end", pair->b, 64, 0);
	receive("discard", pair->b, 64, MSG_TRUNC);
	receive("nothing", pair->b, 0, 0);
}

static void undone(struct pair *pair, int unused)
{
	(void)unused;
	put(pair->a, "abcdefgh");
	settle();
	set_inq(pair->b, 1);
	receive("with", pair->b, 2, 0);
	set_inq(pair->b, 0);
	receive("without", pair->b, 2, 0);
	set_inq(pair->b, 1);
	receive("again", pair->b, 2, 0);
	TRY("bad-value", set_int(pair->b, IPPROTO_TCP, TCP_INQ, 2));
	set_inq(pair->b, 0);
	receive("rest", pair->b, 64, 0);
	put(pair->a, "later");
	settle();
	receive("later", pair->b, 2, 0);
}

/* Sleeping in the receive, which more than one send ends. */
static void waited(struct pair *pair, int unused)
{
	(void)unused;
	put(pair->a, "abc");
	settle();
	set_inq(pair->b, 1);
	later_put(SOON_MS, pair->a, "def");
	later_put(2 * SOON_MS, pair->a, "ghij");
	receive("all", pair->b, 8, MSG_WAITALL);
	later_join();
	receive("rest", pair->b, 64, 0);
	later_put(SOON_MS, pair->a, "klm");
	receive("slept", pair->b, 64, 0);
	later_join();
}

static void many_messages(struct pair *pair, int unused)
{
	char data[4][3], rooms[4][64];
	struct iovec vectors[4];
	struct mmsghdr messages[4] = { 0 };

	(void)unused;
	put(pair->a, "abcdefgh");
	settle();
	set_inq(pair->b, 1);
	for (int i = 0; i < 4; i++) {
		vectors[i] = (struct iovec){ data[i], sizeof(data[i]) };
		messages[i].msg_hdr = (struct msghdr){
			.msg_iov = &vectors[i], .msg_iovlen = 1, .msg_control = rooms[i], .msg_controllen = 64
		};
	}
	int result = (int)TRY("recvmmsg", recvmmsg(pair->b, messages, 4, MSG_WAITFORONE, NULL));
	for (int i = 0; i < result; i++) {
		note_data("data", data[i], (ssize_t)messages[i].msg_len, 0);
		note_controls("control", &messages[i].msg_hdr);
	}
}

/* The last control message, behind those of the socket. What waited when time-stamping was turned on has a stamp if another socket
 * of the machine had turned it on. */
static void with_timestamps(struct pair *pair, int unused)
{
	(void)unused;
	put(pair->a, "abcdef");
	settle();
	set_inq(pair->b, 1);
	TRY("timestamp", set_int(pair->b, SOL_SOCKET, SO_TIMESTAMP, 1));
	pause_ms(150); /* the kernel turns time-stamping on in the background */
	get("before", pair->b, 64, 0);
	put(pair->a, "ghi");
	settle();
	receive("after", pair->b, 2, 0);
	receive_at("little-room", pair->b, 1, 0, control, CMSG_SPACE(sizeof(struct timeval)) + 17);
}

/* Set by one process, seen by the other: the option is the socket's. */
static void shared(struct pair *pair, int child_sets)
{
	int status;

	put(pair->a, "abcdefgh");
	settle();
	if (!child_sets)
		set_inq(pair->b, 1);
	pid_t child = fork();
	if (child == 0) {
		if (child_sets)
			set_inq(pair->b, 1);
		receive("child", pair->b, 2, 0);
		_exit(0);
	}
	waitpid(child, &status, 0);
	receive("parent", pair->b, 2, 0);
	put(pair->a, "ijk");
	settle();
	receive("across", pair->b, 6, 0);
	receive("rest", pair->b, 64, 0);
	put(pair->a, "lmn");
	settle();
	receive("later", pair->b, 2, 0);
}

#define EDGE_SENDS 400

static void send_at_random(void *fd)
{
	unsigned state = 1;

	for (int i = 0; i < EDGE_SENDS; i++) {
		state = state * 1103515245 + 12345;
		put_bytes(*(int *)fd, 1 + (state >> 16) % 2500, 1);
		if (state >> 16 & 1)
			usleep(state >> 20 & 127);
	}
	shutdown(*(int *)fd, SHUT_WR);
}

/* As gRPC reads: an edge, then as long as bytes are said to wait, but not to EAGAIN. One byte too few told is a hang. */
static void edges(struct pair *pair, int unused)
{
	static char data[4096];
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int poller = epoll_create1(EPOLL_CLOEXEC), reads_of_nothing = 0;
	uint64_t sum = 0;
	ssize_t got = 1;

	(void)unused;
	set_inq(pair->b, 1);
	epoll_ctl(poller, EPOLL_CTL_ADD, pair->b, &event);
	later_call(0, send_at_random, &pair->a);
	while (got != 0 && epoll_wait(poller, &event, 1, 2000) == 1) {
		int waiting = 1;

		while (waiting > 0 && got != 0) {
			struct iovec vector = { data, sizeof(data) };
			struct msghdr message = {
				.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = 64
			};

			got = recvmsg(pair->b, &message, MSG_DONTWAIT);
			reads_of_nothing += got < 0;
			sum += got > 0 ? (uint64_t)got : 0;
			struct cmsghdr *cmsg = got >= 0 ? CMSG_FIRSTHDR(&message) : NULL;
			if (got > 0 && (!cmsg || cmsg->cmsg_type != TCP_CM_INQ))
				note("FAILED", "it does not say what waits");
			waiting = 0;
			if (cmsg)
				memcpy(&waiting, CMSG_DATA(cmsg), sizeof(waiting));
		}
	}
	later_join();
	note("sum", "%llu", (unsigned long long)sum);
	note("end", "%zd", got);
	note("in-vain", "%s", reads_of_nothing > EDGE_SENDS / 4 ? "often" : "rarely");
}

static const struct semantics_case cases[] = {
	{ "option-inq-parts-100", in_parts, 100, 0 },
	{ "option-inq-parts-30000", in_parts, 30000, 0 },
	{ "option-inq-mixture", mixture, 0, 0 },
	{ "option-inq-peek", peeked, 0, 0 },
	{ "option-inq-room", little_room, 0, 0 },
	{ "option-inq-end", at_the_end, 0, 0 },
	{ "option-inq-end-half-closed", at_the_end, 1, 0 },
	{ "option-inq-after-end", after_the_end, 0, 0 },
	{ "option-inq-after-end-closed", after_the_end, 1, 0 },
	{ "option-inq-reset", after_reset, 0, 0 },
	{ "option-inq-reset-taken", after_reset, 1, 0 },
	{ "option-inq-undone", undone, 0, 0 },
	{ "option-inq-waits", waited, 0, 0 },
	{ "option-inq-recvmmsg", many_messages, 0, 0 },
	{ "option-inq-timestamp", with_timestamps, 0, 0 },
	{ "option-inq-fork-parent", shared, 0, 0 },
	{ "option-inq-fork-child", shared, 1, 0 },
	{ "option-inq-edges", edges, 0, 0 },
};
FAMILY(inqs);
