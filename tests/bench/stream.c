/* SPDX-License-Identifier: BSD-2-Clause */
/* Stream: one end writes, the other reads as much as it gets. A few turns may come first, as on a connection where somebody
 * asked for the data. Prints bytes a second as the reader saw them.
 *   stream [--size BYTES] [--nonblocking 1] [--turns N] [arguments of peers.h]
 * --nonblocking 1: the writer's socket is non-blocking; it writes until EAGAIN and then waits in epoll_wait. */
#include <sys/epoll.h>

#include "peers.h"

#define READ_BYTES (256u << 10)
#define SIZE_MAX_BYTES (1u << 20)

static void write_nonblocking(int fd, int epoll, const char *buffer, size_t bytes)
{
	struct epoll_event event;

	for (size_t done = 0; done < bytes;) {
		ssize_t sent = send(fd, buffer + done, bytes - done, MSG_NOSIGNAL);

		if (sent < 0 && errno != EAGAIN)
			die("send");
		if (sent < 0)
			must(epoll_wait(epoll, &event, 1, -1));
		else
			done += (size_t)sent;
	}
}

/* Turns, then the stream, for its time. */
static int produce(int argc, char **argv)
{
	size_t size = (size_t)argument(argc, argv, "size", 65536);
	double seconds = argument(argc, argv, "warm-up", 0.1) + argument(argc, argv, "seconds", 1);
	bool nonblocking = argument(argc, argv, "nonblocking", 0) != 0;
	struct epoll_event event = { .events = EPOLLOUT };
	int fd = peers_accept_one(argc, argv), epoll = must(epoll_create1(EPOLL_CLOEXEC));
	char *buffer = allocate(1, SIZE_MAX_BYTES);
	uint64_t end;

	for (int turns = (int)argument(argc, argv, "turns", 64); turns > 0; turns--) {
		if (!read_message(fd, buffer, 1))
			exit(1);
		write_message(fd, buffer, 1);
	}
	if (nonblocking) {
		must(fcntl(fd, F_SETFL, O_NONBLOCK));
		must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
	}
	end = now_ns() + (uint64_t)(seconds * 1e9);
	while (now_ns() < end) {
		if (nonblocking)
			write_nonblocking(fd, epoll, buffer, size);
		else
			write_message(fd, buffer, size);
	}
	return 0;
}

struct seen {
	uint64_t bytes, reads, all_bytes; /* all: the warm-up included */
	double seconds;
};

static struct seen consume(int fd, double warm_up)
{
	char *buffer = allocate(1, READ_BYTES);
	uint64_t measured_from = now_ns() + (uint64_t)(warm_up * 1e9), begin = 0, last;
	struct seen seen = { 0 };

	for (;;) {
		ssize_t got = must(recv(fd, buffer, READ_BYTES, 0));

		last = now_ns();
		if (!got)
			break;
		seen.all_bytes += (uint64_t)got;
		if (begin) {
			seen.bytes += (uint64_t)got;
			seen.reads++;
		} else if (last >= measured_from) {
			begin = last;
		}
	}
	seen.seconds = (double)(last - begin) / 1e9;
	return seen;
}

int main(int argc, char **argv)
{
	size_t size = (size_t)argument(argc, argv, "size", 65536);
	struct peers peers;
	struct seen seen;
	char byte = 0;
	int fd;

	if (!size || size > SIZE_MAX_BYTES)
		return 2;
	if (peers_control(argc, argv) >= 0)
		return produce(argc, argv);
	peers = peers_start(argc, argv, 10);
	fd = peers_connect(&peers);
	for (int turns = (int)argument(argc, argv, "turns", 64); turns > 0; turns--) {
		write_message(fd, &byte, 1);
		if (!read_message(fd, &byte, 1))
			return 1;
	}
	seen = consume(fd, peers.warm_up);
	must(close(fd));
	peers_stop(&peers);
	if (!seen.reads || seen.seconds <= 0) {
		fprintf(stderr, "stream: nothing was measured\n");
		return 1;
	}
	printf("{\"bytes\": %llu, \"bytes_per_second\": %.0f, \"bytes_per_read\": %.0f, \"cpu_ns\": %.2f}\n",
	       (unsigned long long)seen.bytes, (double)seen.bytes / seen.seconds,
	       (double)seen.bytes / (double)seen.reads, peers_cpu_ns((double)seen.all_bytes / 1024)); /* per KiB */
	return 0;
}
