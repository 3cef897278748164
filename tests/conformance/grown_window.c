/* SPDX-License-Identifier: BSD-2-Clause */
/* A connection whose receive window has grown to all that tcp_rmem[2] allows, and that comes under acceleration only then.
 *
 *   grown_window [bulk_mebi=N] [deadline=S]
 *
 * Grows the window by plain TCP, makes turns, then streams by blocking writes of 64 KiB to a thread that reads, again and
 * again until most of a stream is redirected. Then has the
 * receiver leave by an option. Prints what TCP_WINDOW_CLAMP is and what it is said to be, before, after the stream and after
 * the end has left. One line of JSON. Exit status: 0; 1 wrong bytes; 2 set-up; 3 deadline.
 */
#define _GNU_SOURCE
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/syscall.h>

#include "../support/growing.h"
#include "../support/pattern.h"
#include "../support/redirecting.h"
#include "../support/watchdog.h"

#define WRITE_BYTES (64u << 10)
#define STREAMS_MAX 100

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

int main(int argc, char **argv)
{
	unsigned deadline_s = 60;
	uint64_t by_tcp;
	int one = 1, streams = 0, before, told_after, real_after;

	for (int i = 1; i < argc; i++) {
		if (!strncmp(argv[i], "bulk_mebi=", 10))
			bulk = strtoull(argv[i] + 10, NULL, 0) << 20;
		else if (!strncmp(argv[i], "deadline=", 9))
			deadline_s = (unsigned)strtoul(argv[i] + 9, NULL, 0);
		else
			return EXIT_USAGE;
	}
	pattern = pattern_make(78, 0, 0, 0);
	watchdog_start(deadline_s, NULL);
	growing_pair(&sender_fd, &receiver_fd);
	before = real();
	growing_turns(sender_fd, receiver_fd);
	do { /* a busy helper lets the ends join later; and a stay may be over, to measure plain TCP */
		by_tcp = received_by_tcp(receiver_fd);
		stream();
		by_tcp = received_by_tcp(receiver_fd) - by_tcp;
	} while (is_preloaded() && by_tcp > bulk / 2 && ++streams < STREAMS_MAX);
	told_after = told();
	real_after = real();
	/* Cannot be honoured on a joined end. */
	if (setsockopt(receiver_fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one)))
		die("SO_OOBINLINE");
	printf("{\"bulk\": %llu, \"by_tcp\": %llu, \"before\": %d, \"told\": %d, \"real\": %d, \"told_left\": %d, "
	       "\"real_left\": %d}\n",
	       (unsigned long long)bulk, (unsigned long long)by_tcp, before, told_after, real_after, told(), real());
	return 0;
}
