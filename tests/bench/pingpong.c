/* SPDX-License-Identifier: BSD-2-Clause */
/* Ping-pong: one message there, one back. Prints the distribution of round trips.
 *   pingpong [--size BYTES] [--wait block|poll|epoll|spin] [--exchange 1] [--timeout S] [--commands 1] [arguments of peers.h]
 * --exchange: both ends send, and then both receive. --timeout: SO_RCVTIMEO, on both ends.
 * --commands 1: after the warm-up reads numbers from standard input, makes so many round trips each and prints a line with
 * the ns that they took: two such processes, one an arm, are compared in turns of some milliseconds. */
#include <sys/epoll.h>

#include "peers.h"

#define SIZE_MAX_BYTES (1u << 20)
#define COMMANDED_LIMIT_S 120

/* How one end waits before it receives: in recv itself, in poll or epoll_wait, or by asking poll() again and again. */
enum wait { WAIT_BLOCK, WAIT_POLL, WAIT_EPOLL, WAIT_SPIN };
static const char *const WAIT_NAMES[] = { "block", "poll", "epoll", "spin" };

struct end {
	int fd, epoll;
	enum wait wait;
	char *buffer;
	size_t size;
};

static struct end end_open(int fd, int argc, char **argv)
{
	struct end end = { .fd = fd, .epoll = -1, .size = (size_t)argument(argc, argv, "size", 64) };
	const char *wait = text_argument(argc, argv, "wait", "block");
	struct timeval timeout = { .tv_sec = (time_t)argument(argc, argv, "timeout", 0) };
	struct epoll_event event = { .events = EPOLLIN };

	while (strcmp(wait, WAIT_NAMES[end.wait]))
		if (++end.wait > WAIT_SPIN)
			exit(2);
	if (!end.size || end.size > SIZE_MAX_BYTES)
		exit(2);
	end.buffer = allocate(1, end.size);
	if (timeout.tv_sec)
		must(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)));
	if (end.wait != WAIT_BLOCK)
		must(fcntl(fd, F_SETFL, O_NONBLOCK));
	if (end.wait == WAIT_EPOLL) {
		end.epoll = must(epoll_create1(EPOLL_CLOEXEC));
		must(epoll_ctl(end.epoll, EPOLL_CTL_ADD, fd, &event));
	}
	return end;
}

static void wait_readable(const struct end *end)
{
	struct pollfd entry = { .fd = end->fd, .events = POLLIN };
	struct epoll_event event;

	switch (end->wait) {
	case WAIT_BLOCK:
		return;
	case WAIT_POLL:
		must(poll(&entry, 1, -1));
		return;
	case WAIT_EPOLL:
		must(epoll_wait(end->epoll, &event, 1, -1));
		return;
	case WAIT_SPIN:
		while (!must(poll(&entry, 1, 0)))
			;
	}
}

/* False at the end of the stream. */
static bool end_receive(const struct end *end)
{
	for (size_t done = 0; done < end->size;) {
		ssize_t got;

		wait_readable(end);
		got = recv(end->fd, end->buffer + done, end->size - done, 0);
		if (got < 0 && errno != EAGAIN && errno != ECONNRESET)
			die("recv");
		if (!got || (got < 0 && errno == ECONNRESET))
			return false;
		if (got > 0)
			done += (size_t)got;
	}
	return true;
}

/* False if the peer has closed. */
static bool end_send(const struct end *end)
{
	struct pollfd entry = { .fd = end->fd, .events = POLLOUT };

	for (size_t done = 0; done < end->size;) {
		ssize_t sent = send(end->fd, end->buffer + done, end->size - done, MSG_NOSIGNAL);

		if (sent < 0 && (errno == EPIPE || errno == ECONNRESET))
			return false;
		if (sent < 0 && errno != EAGAIN)
			die("send");
		if (sent < 0)
			must(poll(&entry, 1, -1));
		else
			done += (size_t)sent;
	}
	return true;
}

static void round_trip(const struct end *end)
{
	if (!end_send(end) || !end_receive(end))
		exit(1);
}

/* Round trips until the time is over; their durations go to samples (NULL: nowhere). Returns how many. */
static size_t play(const struct end *end, double seconds, struct samples *samples)
{
	uint64_t before = now_ns(), until = before + (uint64_t)(seconds * 1e9);
	size_t count = 0;

	while (before < until) {
		uint64_t after;

		round_trip(end);
		after = now_ns();
		if (samples)
			samples_add(samples, after - before);
		count++;
		before = after;
	}
	return count;
}

static void obey(const struct end *end)
{
	char line[32];

	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		uint64_t begin = now_ns();

		for (int left = atoi(line); left > 0; left--)
			round_trip(end);
		printf("%llu\n", (unsigned long long)(now_ns() - begin));
		fflush(stdout);
	}
}

static int serve(int argc, char **argv)
{
	struct end end = end_open(peers_accept_one(argc, argv), argc, argv);

	bool goes_on = !argument(argc, argv, "exchange", 0) || end_send(&end);

	while (goes_on)
		goes_on = end_receive(&end) && end_send(&end);
	return 0;
}

int main(int argc, char **argv)
{
	struct samples samples = { .ns = NULL };
	bool commanded = argument(argc, argv, "commands", 0) != 0;
	size_t warm_ups, count;
	struct peers peers;
	uint64_t begin, elapsed;
	struct end end;

	if (peers_control(argc, argv) >= 0)
		return serve(argc, argv);
	peers = peers_start(argc, argv, commanded ? COMMANDED_LIMIT_S : 10);
	end = end_open(peers_connect(&peers), argc, argv);
	warm_ups = play(&end, peers.warm_up, NULL);
	if (commanded) {
		obey(&end);
		must(close(end.fd));
		peers_stop(&peers);
		return 0;
	}
	samples.ns = allocate(SAMPLES_MAX, sizeof(*samples.ns));
	begin = now_ns();
	count = play(&end, peers.seconds, &samples);
	elapsed = now_ns() - begin;
	must(close(end.fd));
	peers_stop(&peers);
	printf("{\"per_second\": %.1f, \"cpu_ns\": %.1f, ", (double)count * 1e9 / (double)elapsed,
	       peers_cpu_ns((double)(warm_ups + count)));
	samples_print(&samples);
	printf("}\n");
	return 0;
}
