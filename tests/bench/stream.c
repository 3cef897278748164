/* SPDX-License-Identifier: BSD-2-Clause */
/* Stream: one end writes, the other reads as much as it gets; blocking calls. A few turns come first, as on a connection
 * where somebody asked for the data. Prints bytes a second as the reader saw them.
 *   stream [--size BYTES] [--seconds S] [--warm-up S] [--turns N] [--client-cpu N] [--server-cpu N] */
#include "bench.h"

#define READ_BYTES (256u << 10)
#define SIZE_MAX_BYTES (1u << 20)

struct work {
	size_t size;
	double seconds;
	int turns;
};

/* Runs in the child: turns, then the stream, for its time. */
static void produce(int fd, void *context)
{
	const struct work *work = context;
	char *buffer = calloc(1, work->size);
	uint64_t end;

	for (int i = 0; i < work->turns; i++) {
		if (!read_message(fd, buffer, 1))
			exit(1);
		write_message(fd, buffer, 1);
	}
	end = now_ns() + (uint64_t)(work->seconds * 1e9);
	while (now_ns() < end)
		write_message(fd, buffer, work->size);
}

int main(int argc, char **argv)
{
	struct work work = { .size = (size_t)argument(argc, argv, "size", 65536),
			     .turns = (int)argument(argc, argv, "turns", 64) };
	double warm_up = argument(argc, argv, "warm-up", 0.2), seconds = argument(argc, argv, "seconds", 1);
	char *buffer = calloc(1, READ_BYTES);
	uint64_t bytes = 0, reads = 0, begin = 0, last = 0, cpu_before = 0, measured_from;
	struct peers peers;

	if (!work.size || work.size > SIZE_MAX_BYTES || !buffer)
		return 2;
	work.seconds = warm_up + seconds;
	peers = peers_start((int)argument(argc, argv, "client-cpu", 0), (int)argument(argc, argv, "server-cpu", 0),
			    work.seconds + 10, produce, &work);
	for (int i = 0; i < work.turns; i++) {
		write_message(peers.client, buffer, 1);
		if (!read_message(peers.client, buffer, 1))
			return 1;
	}
	measured_from = now_ns() + (uint64_t)(warm_up * 1e9);
	for (;;) {
		ssize_t got = must(recv(peers.client, buffer, READ_BYTES, 0));

		last = now_ns();
		if (!got)
			break;
		if (begin) {
			bytes += (uint64_t)got;
			reads++;
		} else if (last >= measured_from) {
			begin = last;
			cpu_before = cpu_ns(RUSAGE_SELF);
		}
	}
	cpu_before = cpu_ns(RUSAGE_SELF) - cpu_before;
	peers_stop(&peers);
	if (!reads || last <= begin) {
		fprintf(stderr, "stream: nothing was measured\n");
		return 1;
	}
	printf("{\"bytes\": %llu, \"bytes_per_second\": %.0f, \"bytes_per_read\": %.0f, \"reader_cpu_ns_per_kib\": "
	       "%.2f}\n",
	       (unsigned long long)bytes, (double)bytes * 1e9 / (double)(last - begin), (double)bytes / (double)reads,
	       (double)cpu_before * 1024 / (double)bytes);
	return 0;
}
