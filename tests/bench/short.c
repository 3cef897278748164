/* SPDX-License-Identifier: BSD-2-Clause */
/* Short connections, against an epoll server: connect, one request, its answer, close; one after the other. Or, with
 * --burst N, storms: N non-blocking connects at once, a request on each as it comes up, its answer, close.
 * Prints connections a second and the distribution of what one took (in a storm: from the storm's begin).
 *   short [--size BYTES] [--burst N] [arguments of peers.h] */
#include "epoll_server.h"

#define EVENTS 256

struct storm {
	const struct peers *peers;
	int epoll, burst;
	char *buffer;
	size_t size;
};

static void one_connection(const struct storm *storm)
{
	int fd = peers_connect(storm->peers);

	write_message(fd, storm->buffer, storm->size);
	if (!read_message(fd, storm->buffer, storm->size))
		exit(1);
	must(close(fd));
}

static void storm_connect(const struct storm *storm)
{
	const struct sockaddr *address = (const struct sockaddr *)&storm->peers->address;
	struct epoll_event event = { .events = EPOLLOUT };
	int fd = must(socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));

	if (connect(fd, address, storm->peers->length) < 0 && errno != EINPROGRESS)
		die("connect");
	event.data.fd = fd;
	must(epoll_ctl(storm->epoll, EPOLL_CTL_ADD, fd, &event));
}

/* Up: the request goes out. Answered: closed. True if it was closed. */
static bool storm_step(const struct storm *storm, struct epoll_event *event)
{
	if (event->events & EPOLLOUT) {
		write_message(event->data.fd, storm->buffer, storm->size);
		event->events = EPOLLIN;
		must(epoll_ctl(storm->epoll, EPOLL_CTL_MOD, event->data.fd, event));
		return false;
	}
	if (!read_message(event->data.fd, storm->buffer, storm->size))
		exit(1);
	must(close(event->data.fd));
	return true;
}

static void one_storm(const struct storm *storm, struct samples *samples)
{
	struct epoll_event events[EVENTS];
	uint64_t begin = now_ns();
	int open = storm->burst;

	for (int i = 0; i < storm->burst; i++)
		storm_connect(storm);
	while (open > 0) {
		int ready = must(epoll_wait(storm->epoll, events, EVENTS, -1));

		for (int i = 0; i < ready; i++)
			if (storm_step(storm, &events[i])) {
				samples_add(samples, now_ns() - begin);
				open--;
			}
	}
}

static void play(const struct storm *storm, double seconds, struct samples *samples)
{
	uint64_t before = now_ns(), until = before + (uint64_t)(seconds * 1e9);

	while (before < until) {
		uint64_t after;

		if (storm->burst)
			one_storm(storm, samples);
		else
			one_connection(storm);
		after = now_ns();
		if (!storm->burst)
			samples_add(samples, after - before);
		before = after;
	}
}

int main(int argc, char **argv)
{
	struct samples samples = { .ns = allocate(SAMPLES_MAX, sizeof(uint64_t)) };
	struct storm storm = { .size = (size_t)argument(argc, argv, "size", 64),
			       .burst = (int)argument(argc, argv, "burst", 0) };
	struct peers peers;
	uint64_t begin, elapsed;
	size_t warm_ups;

	if (!storm.size || storm.size > SERVER_BUFFER_BYTES)
		return 2;
	if (peers_control(argc, argv) >= 0)
		return epoll_serve(argc, argv);
	peers = peers_start(argc, argv, 10);
	storm.peers = &peers;
	storm.buffer = allocate(1, storm.size);
	storm.epoll = must(epoll_create1(EPOLL_CLOEXEC));
	play(&storm, peers.warm_up, &samples);
	warm_ups = samples.count;
	samples.count = 0;
	begin = now_ns();
	play(&storm, peers.seconds, &samples);
	elapsed = now_ns() - begin;
	peers_stop(&peers);
	printf("{\"per_second\": %.1f, \"cpu_ns\": %.1f, ", (double)samples.count * 1e9 / (double)elapsed,
	       peers_cpu_ns((double)(warm_ups + samples.count)));
	samples_print(&samples);
	printf("}\n");
	return 0;
}
