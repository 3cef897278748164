/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests and their answers over one TCP connection, each timed: prints "p50 X us", "mean X us", "p99 X us".
 *
 *   round_trips --port P [--count 40] [--warm-up 3]
 */
#include "../bench/bench.h"

#define MESSAGE_BYTES 64
#define LIFETIME_S 60

static uint64_t round_trip_ns(int fd)
{
	char request[MESSAGE_BYTES] = "request", answer[MESSAGE_BYTES];
	uint64_t asked_ns = now_ns();

	write_message(fd, request, sizeof(request));
	if (!read_message(fd, answer, sizeof(answer)) || memcmp(request, answer, sizeof(request)) != 0)
		die("not the answer");
	return now_ns() - asked_ns;
}

int main(int argc, char **argv)
{
	size_t count = (size_t)argument(argc, argv, "count", 40), warm_up = (size_t)argument(argc, argv, "warm-up", 3);
	struct samples samples = { .ns = allocate(count, sizeof(uint64_t)) };
	double sum_ns = 0;
	int fd, one = 1;

	bound_lifetime(LIFETIME_S);
	fd = loopback_connect("127.0.0.1", (unsigned)argument(argc, argv, "port", 0));
	must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
	for (size_t i = 0; i < warm_up; i++)
		round_trip_ns(fd);
	for (size_t i = 0; i < count; i++)
		samples_add(&samples, round_trip_ns(fd));
	for (size_t i = 0; i < count; i++)
		sum_ns += (double)samples.ns[i];
	samples_sort(&samples);
	printf("p50 %.3f us\nmean %.3f us\np99 %.3f us\n", (double)samples_at(&samples, 0.5) / 1000,
	       sum_ns / (double)count / 1000, (double)samples_at(&samples, 0.99) / 1000);
	return 0;
}
