/* SPDX-License-Identifier: BSD-2-Clause */
/* A connection whose receive window has grown to all that tcp_rmem[2] allows, or that SO_RCVBUF says, and that comes under acceleration only
 * then.
 *
 *   grown_window [bulk_mebi=N] [rcvbuf=BYTES] [way=option|pinned|lifted|shared] [deadline=S]
 *
 * Grows the window by plain TCP, makes turns, then streams by blocking writes of 64 KiB to a thread that reads, again and
 * again until most of a stream is redirected. Then the receiver's end goes a way:
 *
 *   option   it leaves, by an option
 *   pinned   it cannot leave, as bytes are unread, when its fd is passed on
 *   lifted   it leaves after the kernel has lifted the clamp, as it does when it enlarges the buffer
 *   shared   nothing: but a child was forked before the streams, and is asked as well
 *
 * Prints what TCP_WINDOW_CLAMP is and what it is said to be, before, after the stream and after that, and whether a shorter answer is the
 * beginning of the whole one. One line of JSON. Exit status: 0; 1 wrong bytes; 2 set-up; 3 deadline.
 */
#define _GNU_SOURCE
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "../support/growing.h"
#include "../support/pattern.h"
#include "../support/redirecting.h"
#include "../support/watchdog.h"

#define WRITE_BYTES (64u << 10)
#define STREAMS_MAX 30
#define PAIRS_MAX 10 /* one may find in its first stream that it does not pay, and keep away for a while */
#define SHARED_STREAMS 4
#define LIFTED_BYTES (64 << 20)

static uint64_t bulk = 64u << 20;
static int sender_fd, receiver_fd;
static struct pattern pattern;

static void *reader_main(void *argument)
{
	unsigned char *buffer = malloc(2 * WRITE_BYTES);
	uint64_t total = 0;

	while (buffer && total < bulk) {
		ssize_t got = recv(receiver_fd, buffer, 2 * WRITE_BYTES, 0);

		if (got <= 0)
			die("receive: %zd", got);
		if (pattern_verify(&pattern, total, buffer, (size_t)got) >= 0)
			_exit(EXIT_WRONG);
		total += (uint64_t)got;
	}
	free(buffer);
	return argument;
}

static void stream(void)
{
	unsigned char *buffer = malloc(WRITE_BYTES);
	pthread_t reader;

	if (!buffer || pthread_create(&reader, NULL, reader_main, NULL))
		die("pthread_create");
	for (uint64_t sent = 0; sent < bulk; sent += WRITE_BYTES) {
		pattern_fill(&pattern, sent, buffer, WRITE_BYTES);
		if (write_whole(sender_fd, buffer, WRITE_BYTES))
			die("send");
	}
	pthread_join(reader, NULL);
	free(buffer);
}

static int told(void)
{
	int value = 0;
	socklen_t length = sizeof(value);

	if (getsockopt(receiver_fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &value, &length))
		die("TCP_WINDOW_CLAMP");
	return value;
}

/* Past the wrappers. */
static int real(void)
{
	int value = 0;
	socklen_t length = sizeof(value);

	if (syscall(SYS_getsockopt, receiver_fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &value, &length))
		die("TCP_WINDOW_CLAMP");
	return value;
}

static bool short_is_beginning(socklen_t length)
{
	int whole = told(), part = 0;
	socklen_t got = length;

	return getsockopt(receiver_fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &part, &got) == 0 && got == length &&
	       memcmp(&whole, &part, length) == 0;
}

static void leave_by_option(void)
{
	int one = 1;

	/* Cannot be honoured on a joined end. */
	if (setsockopt(receiver_fd, SOL_SOCKET, SO_TIMESTAMP, &one, sizeof(one)))
		die("SO_TIMESTAMP");
}

static void pass_on_unread(void)
{
	static char unread[WRITE_BYTES];
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .header = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec byte = { unread, 1 };
	struct msghdr message = {
		.msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	int ways[2];

	memcpy(CMSG_DATA(&control.header), &receiver_fd, sizeof(receiver_fd));
	if (write_whole(sender_fd, unread, sizeof(unread)) || socketpair(AF_UNIX, SOCK_STREAM, 0, ways) ||
	    sendmsg(ways[0], &message, 0) != 1)
		die("SCM_RIGHTS");
}

/* Past the wrappers. */
static void lift(void)
{
	int bytes = LIFTED_BYTES;

	if (syscall(SYS_setsockopt, receiver_fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &bytes, sizeof(bytes)))
		die("TCP_WINDOW_CLAMP");
	leave_by_option();
}

/* It answers each byte. */
static int fork_who_tells(void)
{
	int ways[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ways))
		die("socketpair");
	pid_t child = fork();
	if (child < 0)
		die("fork");
	if (child > 0) {
		close(ways[1]);
		return ways[0];
	}
	close(ways[0]);
	for (char byte; read(ways[1], &byte, 1) == 1;) {
		int answer = told();

		if (write_whole(ways[1], &answer, sizeof(answer)))
			break;
	}
	_exit(0);
}

static int told_by(int child)
{
	int answer = 0;

	if (write_whole(child, "?", 1) || read_whole(child, &answer, sizeof(answer)))
		die("the child");
	return answer;
}

/* Returns how much of the last one came by TCP. */
static uint64_t streams(int most)
{
	uint64_t by_tcp;

	do { /* a busy helper lets the ends join later; and a stay may be over, to measure plain TCP */
		by_tcp = received_by_tcp(receiver_fd);
		stream();
		by_tcp = received_by_tcp(receiver_fd) - by_tcp;
	} while (is_preloaded() && by_tcp > bulk / 2 && --most > 0);
	return by_tcp;
}

int main(int argc, char **argv)
{
	const char *way = "option";
	unsigned deadline_s = 60;
	uint64_t by_tcp = 0;
	int before = 0, rcvbuf = 0, told_after, real_after, child = -1;

	for (int i = 1; i < argc; i++) {
		if (!strncmp(argv[i], "bulk_mebi=", 10))
			bulk = strtoull(argv[i] + 10, NULL, 0) << 20;
		else if (!strncmp(argv[i], "rcvbuf=", 7))
			rcvbuf = (int)strtol(argv[i] + 7, NULL, 0);
		else if (!strncmp(argv[i], "way=", 4))
			way = argv[i] + 4;
		else if (!strncmp(argv[i], "deadline=", 9))
			deadline_s = (unsigned)strtoul(argv[i] + 9, NULL, 0);
		else
			return EXIT_USAGE;
	}
	pattern = pattern_make(78, 0, 0, 0);
	watchdog_start(deadline_s, NULL);
	bool is_shared = !strcmp(way, "shared");
	for (int i = 0; i == 0 || (is_preloaded() && !is_shared && by_tcp > bulk / 2 && i < PAIRS_MAX); i++) {
		growing_pair(&sender_fd, &receiver_fd, rcvbuf);
		before = real();
		growing_turns(sender_fd, receiver_fd);
		if (is_shared)
			child = fork_who_tells();
		by_tcp = streams(is_shared ? SHARED_STREAMS : STREAMS_MAX);
	}
	told_after = is_shared ? told_by(child) : told();
	real_after = real();
	bool parts = short_is_beginning(1) && short_is_beginning(2) && short_is_beginning(3);
	if (!strcmp(way, "pinned"))
		pass_on_unread();
	else if (!strcmp(way, "lifted"))
		lift();
	else if (!is_shared)
		leave_by_option();
	printf("{\"bulk\": %llu, \"by_tcp\": %llu, \"before\": %d, \"told\": %d, \"real\": %d, \"told_left\": %d, "
	       "\"real_left\": %d, \"parts\": %d}\n",
	       (unsigned long long)bulk, (unsigned long long)by_tcp, before, told_after, real_after, told(), real(),
	       parts);
	return 0;
}
