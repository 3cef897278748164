/* SPDX-License-Identifier: BSD-2-Clause */
/* What a call costs on an fd that is no connection: the wrappers' way out; and on a connection that is only watched. Prints
 * ns a call of a few calls that do next to nothing in the kernel; the quietest tenth of many short batches, as interruptions
 * only ever add.
 *   notours [--seconds S] [--client-cpu N] */
#include "bench.h"

#define BATCH 2000
#define CALLS 4 /* that are measured */

static int null_fd, pair[2], connection;

static void do_write(void)
{
	char byte = 0;

	must(write(null_fd, &byte, 1));
}

static void do_read(void)
{
	char byte;

	must(read(null_fd, &byte, 1));
}

/* A socket, but no TCP connection: nothing there, EAGAIN. */
static void do_recv(void)
{
	char byte;

	if (recv(pair[0], &byte, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN)
		exit(1);
}

/* A TCP connection on which nothing has come: EAGAIN. */
static void do_watched(void)
{
	char byte;

	if (recv(connection, &byte, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN)
		exit(1);
}

static double measure(void (*call)(void), double seconds, struct samples *samples)
{
	uint64_t end = now_ns() + (uint64_t)(seconds * 1e9), before = now_ns();

	samples->count = 0;
	while (before < end) {
		uint64_t after;

		for (int i = 0; i < BATCH; i++)
			call();
		after = now_ns();
		samples_add(samples, after - before);
		before = after;
	}
	samples_sort(samples);
	return (double)samples_at(samples, 0.1) / BATCH;
}

int main(int argc, char **argv)
{
	double seconds = argument(argc, argv, "seconds", 1) / CALLS;
	struct samples samples = { .ns = allocate(SAMPLES_MAX, sizeof(uint64_t)) };
	int listener = loopback_listen("127.0.0.1", 0, 1, 0);

	bound_lifetime(seconds * CALLS + 10);
	pin_to_cpu((int)argument(argc, argv, "client-cpu", 0));
	null_fd = must(open("/dev/null", O_RDWR));
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	connection = loopback_connect("127.0.0.1", loopback_port(listener));
	must(accept(listener, NULL, NULL));
	printf("{\"write_ns\": %.2f, ", measure(do_write, seconds, &samples));
	printf("\"read_ns\": %.2f, ", measure(do_read, seconds, &samples));
	printf("\"recv_ns\": %.2f, ", measure(do_recv, seconds, &samples));
	printf("\"watched_recv_ns\": %.2f}\n", measure(do_watched, seconds, &samples));
	return 0;
}
