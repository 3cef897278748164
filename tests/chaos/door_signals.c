/* SPDX-License-Identifier: BSD-2-Clause */
/* A program with a fast timer: a handler of its own may run in each call that the shim makes for it.
 *
 * door_signals CONNECTIONS PERIOD_US: so many connections, one after the other, with a message each; each socket has the shim look
 * whether the helper is still there. Prints one JSON line, with how often the handler ran.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <time.h>

#include "../support/loopback.h"

#define DEADLINE_S 20

static volatile sig_atomic_t ticks;

static void tick(int number)
{
	(void)number;
	ticks = ticks + 1;
}

static void start_timer(long period_us)
{
	struct sigaction action = { .sa_handler = tick, .sa_flags = SA_RESTART };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct timespec period = { .tv_nsec = period_us * 1000 };
	struct itimerspec every = { period, period };
	timer_t timer;

	if (sigaction(SIGUSR1, &action, NULL) || timer_create(CLOCK_MONOTONIC, &event, &timer) ||
	    timer_settime(timer, 0, &every, NULL))
		die("timer");
}

int main(int argc, char **argv)
{
	char message[64] = "x";

	if (argc != 3)
		return EXIT_USAGE;
	alarm(DEADLINE_S);
	int connections = atoi(argv[1]), listener = loopback_listen("127.0.0.1", 0, 8, 0);
	start_timer(atol(argv[2]));
	for (int i = 0; i < connections; i++) {
		int one = loopback_connect("127.0.0.1", loopback_port(listener)), other = accept(listener, NULL, NULL);

		if (other < 0)
			die("accept");
		if (write_whole(one, message, sizeof(message)) || read_whole(other, message, sizeof(message)))
			die("message");
		close(one);
		close(other);
	}
	printf("{\"connections\": %d, \"ticks\": %d}\n", connections, (int)ticks);
	return 0;
}
