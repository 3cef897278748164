/* SPDX-License-Identifier: BSD-2-Clause */
/* A service whose answers take a known time: what lies behind the proxy of the planted differences (delaying_proxy.c).
 *
 *   slow_service [--us 500] [--spread 0.03] [--seed 1] [--cpu -1]
 *
 * One connection at a time, requests of 64 bytes, each answered with its own bytes after a time drawn anew: normal around --us with a
 * relative deviation of --spread, from a seeded sequence that goes on over all connections. Prints its port; ends with its parent.
 */
#include <math.h>
#include <sys/prctl.h>

#include "../support/random.h"
#include "wait_until_ns.h"

#define REQUEST_BYTES 64
#define LIFETIME_S 600

static double normal(struct rng *rng)
{
	double first = ((double)(rng_next(rng) >> 8) + 1) / 0x1p48, second = (double)(rng_next(rng) >> 8) / 0x1p48;

	return sqrt(-2 * log(first)) * cos(2 * M_PI * second);
}

int main(int argc, char **argv)
{
	double us = argument(argc, argv, "us", 500), spread = argument(argc, argv, "spread", 0.03);
	struct rng rng = rng_make((uint64_t)argument(argc, argv, "seed", 1), 0);
	int listener = loopback_listen("127.0.0.1", 0, 4, 0), one = 1;
	char request[REQUEST_BYTES];

	bound_lifetime(LIFETIME_S);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin_to_cpu((int)argument(argc, argv, "cpu", -1));
	printf("%u\n", loopback_port(listener));
	fflush(stdout);
	for (;;) {
		int fd = must(accept(listener, NULL, NULL));

		must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
		while (read_message(fd, request, sizeof(request))) {
			uint64_t came_ns = now_ns();

			wait_until_ns(came_ns + (uint64_t)(fmax(0.1, 1 + spread * normal(&rng)) * us * 1000));
			write_message(fd, request, sizeof(request));
		}
		close(fd);
	}
}
