/* SPDX-License-Identifier: BSD-2-Clause */
/* Stream: one end writes, the other reads as much as it gets. A few turns may come first, as on a connection where somebody
 * asked for the data. Prints bytes a second as the reader saw them.
 *   stream [--size BYTES] [--nonblocking 1] [--turns N] [arguments of peers.h]
 * --nonblocking 1: the writer's socket is non-blocking; it writes until EAGAIN and then waits in epoll_wait. */
#include <sys/epoll.h>

#include "peers.h"

#define READ_BYTES (256u << 10)
#define SIZE_MAX_BYTES (1u << 20)
#define STOP_SIGNAL SIGUSR1
#define READS_MIN 32

static volatile sig_atomic_t stop; /* of the writer */

static void write_nonblocking(int fd, int epoll, const char *buffer, size_t bytes)
{
	struct epoll_event event;

	for (size_t done = 0; done < bytes;) {
		ssize_t sent = send(fd, buffer + done, bytes - done, MSG_NOSIGNAL);

		if (sent < 0 && errno != EAGAIN)
			die("send");
		if (sent < 0 && epoll_wait(epoll, &event, 1, -1) < 0 && errno != EINTR)
			die("epoll_wait");
		if (sent > 0)
			done += (size_t)sent;
	}
}

static void on_stop(int number)
{
	(void)number;
	stop = 1;
}

/* Turns, then the stream, until the reader has had its time (restarted calls: a send under way is finished). */
static int produce(int argc, char **argv)
{
	size_t size = (size_t)argument(argc, argv, "size", 65536);
	bool nonblocking = argument(argc, argv, "nonblocking", 0) != 0;
	struct epoll_event event = { .events = EPOLLOUT };
	int epoll = must(epoll_create1(EPOLL_CLOEXEC)), fd;
	char *buffer = allocate(1, SIZE_MAX_BYTES);

	signal(STOP_SIGNAL, on_stop);
	fd = peers_accept_one(argc, argv);
	for (int turns = (int)argument(argc, argv, "turns", 64); turns > 0; turns--) {
		if (!read_message(fd, buffer, 1))
			exit(1);
		write_message(fd, buffer, 1);
	}
	if (nonblocking) {
		must(fcntl(fd, F_SETFL, O_NONBLOCK));
		must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
	}
	while (!stop) {
		if (nonblocking)
			write_nonblocking(fd, epoll, buffer, size);
		else
			write_message(fd, buffer, size);
	}
	return 0;
}

struct seen {
	uint64_t bytes, reads, all_bytes; /* all: those before and after the measured ones too */
	double seconds;
};

/* Reads to the end of the stream, which comes some time after the writer was told to stop. */
static struct seen consume(int fd, const struct peers *peers)
{
	char *buffer = allocate(1, READ_BYTES);
	uint64_t begin = 0, last, measured_from = now_ns() + (uint64_t)(peers->warm_up * 1e9);
	struct seen seen = { 0 };
	bool stopped = false;
	ssize_t got;

	while ((got = must(recv(fd, buffer, READ_BYTES, 0))) > 0) {
		seen.all_bytes += (uint64_t)got;
		if (stopped)
			continue;
		last = now_ns();
		if (!begin) {
			if (last >= measured_from)
				begin = last;
			continue;
		}
		seen.bytes += (uint64_t)got;
		seen.seconds = (double)(last - begin) / 1e9;
		if (++seen.reads >= READS_MIN && seen.seconds >= peers->seconds) {
			must(kill(peers->server, STOP_SIGNAL));
			stopped = true;
		}
	}
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
	seen = consume(fd, &peers);
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
