/* SPDX-License-Identifier: BSD-2-Clause */
/* A file is put to the numbers that the library has for itself, again and again, while threads connect, accept and close: each time the library has
 * to make room, and nothing that is the helper's may come to the file.
 *
 *   renumber [seconds=N] [threads=N] [deadline=S]
 *
 * The file is one end of a pair of sockets that takes messages as the library's own do. Prints one JSON line.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>

#include "../support/watchdog.h"

/* The library takes the lowest from 1000 on: two ranges by turns, so that it goes to and fro between them. */
#define FIRST 998
#define RANGE 16
#define THREADS_MAX 8
#define PAUSE_US 300
#define NICE (-20)

static _Atomic bool ended;
static _Atomic unsigned connections;
static int listener;

static void *connect_and_close(void *unused)
{
	while (!ended) {
		char byte = 'x';
		int connected = loopback_connect("127.0.0.1", loopback_port(listener));
		int accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC); /* some thread's */

		if (connected < 0 || accepted < 0)
			die("a connection");
		if (write(accepted, &byte, 1) != 1 || read(connected, &byte, 1) != 1)
			die("a byte");
		close(connected);
		close(accepted);
		connections++;
	}
	return unused;
}

int main(int argc, char **argv)
{
	unsigned seconds = 5, count = 2, deadline_s = 30, puts = 0, refused = 0, foreign = 0;
	pthread_t threads[THREADS_MAX];
	char message[512];
	int pair[2];

	for (int i = 1; i < argc; i++) {
		if (!strncmp(argv[i], "seconds=", 8))
			seconds = (unsigned)strtoul(argv[i] + 8, NULL, 0);
		else if (!strncmp(argv[i], "threads=", 8))
			count = (unsigned)strtoul(argv[i] + 8, NULL, 0);
		else if (!strncmp(argv[i], "deadline=", 9))
			deadline_s = (unsigned)strtoul(argv[i] + 9, NULL, 0);
	}
	if (!count || count > THREADS_MAX)
		return EXIT_USAGE;
	watchdog_start(deadline_s, NULL);
	listener = loopback_listen("127.0.0.1", 0, 64, 0);
	if (listener < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair))
		die("sockets");
	for (unsigned i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, connect_and_close, NULL))
			die("pthread_create");
	/* This thread alone: it wakes up and interrupts another wherever that is. */
	if (setpriority(PRIO_PROCESS, (id_t)gettid(), NICE) != 0)
		die("setpriority");
	int first = FIRST;
	for (uint64_t until = now_us() + seconds * 1000000ull; now_us() < until; first = 2 * FIRST + RANGE - first) {
		for (int number = first; number < first + RANGE; number++, puts++)
			refused += dup2(pair[0], number) != number;
		pause_us(PAUSE_US); /* who has been stopped on its way to one of these numbers goes on */
		for (int number = first; number < first + RANGE; number++)
			close(number);
		while (recv(pair[1], message, sizeof(message), MSG_DONTWAIT) >= 0)
			foreign++;
	}
	ended = true;
	for (unsigned i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	printf("{\"connections\": %u, \"puts\": %u, \"refused\": %u, \"foreign\": %u}\n", connections, puts, refused,
	       foreign);
	return 0;
}
