/* SPDX-License-Identifier: BSD-2-Clause */
/* Ping-pong: one message there, one back, blocking calls. Prints the distribution of round trips.
 *   pingpong [--size BYTES] [--seconds S] [--warm-up S] [--client-cpu N] [--server-cpu N] */
#include "bench.h"

#define SAMPLES_MAX 4000000u
#define SIZE_MAX_BYTES (1u << 20)

static void echo(int fd, void *context)
{
	size_t size = *(size_t *)context;
	char *buffer = malloc(size);

	while (read_message(fd, buffer, size))
		write_message(fd, buffer, size);
}

/* Round trips until the time is over; their durations go to samples (NULL: nowhere). Returns how many. */
static size_t play(int fd, char *buffer, size_t size, double seconds, uint64_t *samples)
{
	uint64_t begin = now_ns(), end = begin + (uint64_t)(seconds * 1e9), before = begin;
	size_t count = 0;

	while (before < end && count < SAMPLES_MAX) {
		uint64_t after;

		write_message(fd, buffer, size);
		if (!read_message(fd, buffer, size))
			exit(1);
		after = now_ns();
		if (samples)
			samples[count] = after - before;
		count++;
		before = after;
	}
	return count;
}

int main(int argc, char **argv)
{
	size_t size = (size_t)argument(argc, argv, "size", 64), count;
	double seconds = argument(argc, argv, "seconds", 1), warm_up = argument(argc, argv, "warm-up", 0.2);
	uint64_t *samples = calloc(SAMPLES_MAX, sizeof(*samples));
	uint64_t cpu_before, begin, elapsed;
	char *buffer = calloc(1, SIZE_MAX_BYTES);
	struct peers peers;

	if (!size || size > SIZE_MAX_BYTES || !samples || !buffer)
		return 2;
	peers = peers_start((int)argument(argc, argv, "client-cpu", 0), (int)argument(argc, argv, "server-cpu", 0),
			    seconds + warm_up + 10, echo, &size);
	play(peers.client, buffer, size, warm_up, NULL);
	cpu_before = cpu_ns(RUSAGE_SELF);
	begin = now_ns();
	count = play(peers.client, buffer, size, seconds, samples);
	elapsed = now_ns() - begin;
	cpu_before = cpu_ns(RUSAGE_SELF) - cpu_before;
	peers_stop(&peers);

	qsort(samples, count, sizeof(*samples), compare_samples);
	printf("{\"count\": %zu, \"per_second\": %.1f, \"median_ns\": %llu, \"p99_ns\": %llu, \"p999_ns\": %llu, "
	       "\"max_ns\": %llu, \"client_cpu_ns\": %.1f}\n",
	       count, (double)count * 1e9 / (double)elapsed, (unsigned long long)percentile(samples, count, 0.5),
	       (unsigned long long)percentile(samples, count, 0.99),
	       (unsigned long long)percentile(samples, count, 0.999), (unsigned long long)samples[count - 1],
	       (double)cpu_before / (double)count);
	return 0;
}
