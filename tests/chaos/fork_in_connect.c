/* SPDX-License-Identifier: BSD-2-Clause */
/* A handler that forks in the middle of connect(), where the connection joins; parent and child close it, and end.
 *
 *   fork_in_connect PORT
 *
 * Connects once before, so that the process has its session; "ready" on stdout, and goes on after a line on stdin. "closed" when both have.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "../support/watchdog.h"

#define DEADLINE_S 20
#define FORK_US 10000 /* a join waits for a helper that is stopped for five times as long */

static volatile pid_t child = -1;

static void fork_once(int number)
{
	(void)number;
	if (child == -1)
		child = fork();
}

static void say(const char *word)
{
	printf("%s\n", word);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct itimerval timer = { .it_value = { .tv_usec = FORK_US } };
	struct sigaction action = { .sa_handler = fork_once };
	unsigned port = argc > 1 ? (unsigned)atoi(argv[1]) : 0;
	char line[8];

	if (!port) {
		fprintf(stderr, "usage: fork_in_connect PORT\n");
		return EXIT_USAGE;
	}
	watchdog_start(DEADLINE_S, NULL);
	loopback_connect("127.0.0.1", port);
	say("ready");
	if (!fgets(line, sizeof(line), stdin))
		return EXIT_USAGE;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	int fd = loopback_connect("127.0.0.1", port);
	pause_us(2 * FORK_US);
	close(fd);
	if (child <= 0)
		_exit(child ? EXIT_WRONG : 0);
	waitpid(child, NULL, 0);
	say("closed");
	(void)!fgets(line, sizeof(line), stdin);
	return 0;
}
