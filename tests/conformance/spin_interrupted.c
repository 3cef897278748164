/* SPDX-License-Identifier: BSD-2-Clause */
/* A handler that meets a receive with SO_RCVTIMEO some 100 us after its beginning, where a spinning one has not gone to sleep yet.
 *
 * spin_interrupted ROUNDS HANDLER_US ANSWER_US: in each round some exchanges, of which an answer takes so long, and then a receive to which
 * nothing comes but SIGALRM, whose handler has SA_RESTART. Prints one JSON line: how many ended with EINTR at once, and how many late.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "../support/loopback.h"
#include "../support/random.h"

#define EXCHANGES 20
#define TIMEOUT_US 600000
#define LATE_US (TIMEOUT_US / 2)

static void handle(int number)
{
	(void)number;
}

static void run_on(int cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

static void answer(int fd, uint64_t answer_us)
{
	char byte;

	while (recv(fd, &byte, 1, 0) == 1) {
		uint64_t until_us = now_us() + answer_us;

		while (now_us() < until_us)
			;
		if (send(fd, &byte, 1, 0) != 1)
			die("answer");
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	const struct sigaction action = { .sa_handler = handle, .sa_flags = SA_RESTART };
	struct timeval timeout = { .tv_usec = TIMEOUT_US };
	int connected, accepted, interrupted = 0, late = 0;
	char byte = 'b';

	if (argc != 4)
		return EXIT_USAGE;
	loopback_pair(&connected, &accepted);
	if (fork() == 0) {
		close(accepted);
		run_on(1);
		answer(connected, strtoul(argv[3], NULL, 10));
	}
	close(connected);
	run_on(0);
	sigaction(SIGALRM, &action, NULL);
	setsockopt(accepted, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	for (int i = 0; i < atoi(argv[1]); i++) {
		const struct itimerval once = { .it_value.tv_usec = atoi(argv[2]) };

		for (int j = 0; j < EXCHANGES; j++)
			if (send(accepted, &byte, 1, 0) != 1 || recv(accepted, &byte, 1, 0) != 1)
				die("exchange");
		uint64_t begun_us = now_us();
		setitimer(ITIMER_REAL, &once, NULL);
		ssize_t result = recv(accepted, &byte, 1, 0);
		bool is_interrupted = result < 0 && errno == EINTR, is_late = now_us() - begun_us > LATE_US;
		interrupted += is_interrupted && !is_late;
		late += is_late;
	}
	close(accepted);
	wait(NULL);
	printf("{\"interrupted\": %d, \"late\": %d}\n", interrupted, late);
	return 0;
}
