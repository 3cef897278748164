/* SPDX-License-Identifier: BSD-2-Clause */
/* A handler of a signal that is installed before any library's constructor runs: a receive of a connection, whose ends are both here,
 * ends with EINTR when it has run. Prints how many bytes each end has sent before.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/time.h>

#include "../support/loopback.h"

#define TURNS 50
#define EVERY_US 20000
#define IGNORED_MAX 40

static volatile sig_atomic_t handled;

static void handler(int number)
{
	(void)number;
	if (++handled > IGNORED_MAX)
		die("the receive goes on");
}

static void install(void)
{
	const struct sigaction action = { .sa_handler = handler };

	sigaction(SIGALRM, &action, NULL);
}

__attribute__((section(".preinit_array"), used)) static void (*before_constructors)(void) = install;

int main(void)
{
	const struct itimerval often = { { 0, EVERY_US }, { 0, EVERY_US } };
	int one, other;
	char byte = 0;

	loopback_pair(&one, &other);
	for (int i = 0; i < TURNS; i++)
		if (send(one, &byte, 1, 0) != 1 || recv(other, &byte, 1, 0) != 1 || send(other, &byte, 1, 0) != 1 ||
		    recv(one, &byte, 1, 0) != 1)
			die("turn");
	setitimer(ITIMER_REAL, &often, NULL);
	if (recv(one, &byte, 1, 0) != -1 || errno != EINTR)
		die("recv");
	printf("{\"bytes\": %d}\n", TURNS);
	return 0;
}
