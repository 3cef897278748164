/* SPDX-License-Identifier: BSD-2-Clause */
/* thrown_out SOCKET N: has N sessions, "ready" on stdout; then, once there is a line on stdin, sends more fds that do not close than the
 * helper keeps for one user (helper/reaper.c), "sent": the helper is stopped meanwhile, so that its fds of them are the last. It waits for
 * the hang-up of all sessions, "out", and for the end of stdin. */
#include "../support/rights.h"
#include "../support/watchdog.h"
#include "hostile.h"

#include <signal.h>

#define LIMIT_S 80
#define OUT_MS 30000
#define LINGERING 2 /* as many as there are threads for one user */
#define WAITING 80

/* What lingers when it is closed, in the queue of the socket that is returned. */
static int make_slow(void)
{
	int ends[2], pair[2];

	hostile_lingering_pair(ends); /* its other end stays open */
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 || !rights_give(pair[1], ends[0]))
		die("socketpair");
	close(ends[0]);
	close(pair[1]);
	return pair[0];
}

static void send_all(struct hostile *client)
{
	for (uint32_t i = 1; i <= LINGERING + WAITING; i++) {
		int pipe_ends[2] = { -1, -1 }, fd;

		if (i > LINGERING && pipe(pipe_ends) < 0)
			die("pipe");
		fd = i > LINGERING ? pipe_ends[0] : make_slow();
		if (hostile_join(client, fd, i, 1, cell_word(1, CELL_PENDING)))
			die("JOIN");
		close(fd);
		if (pipe_ends[1] >= 0)
			close(pipe_ends[1]);
	}
}

int main(int argc, char **argv)
{
	uint32_t sessions = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
	int *near = calloc(sessions + 1, sizeof(*near));
	struct hostile client;
	char byte;

	if (argc < 3 || !near)
		return EXIT_USAGE;
	hostile_path = argv[1];
	watchdog_start(LIMIT_S, NULL);
	signal(SIGPIPE, SIG_IGN);
	if (!hostile_open(&client))
		die("no session");
	for (uint32_t i = 0; i < sessions; i++) {
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 ||
		    hostile_hello(client.door, pair[1]))
			die("no session");
		near[i] = pair[0];
		if (!hostile_wait(near[i]))
			die("no answer");
		close(pair[1]);
	}
	printf("ready\n");
	fflush(stdout);
	(void)!read(STDIN_FILENO, &byte, 1);
	send_all(&client);
	printf("sent\n");
	fflush(stdout);
	for (uint32_t i = 0; i < sessions; i++) {
		struct pollfd hang_up = { .fd = near[i], .events = POLLRDHUP };

		if (poll(&hang_up, 1, OUT_MS) != 1)
			die("it has not been thrown out");
	}
	printf("out\n");
	fflush(stdout);
	(void)!read(STDIN_FILENO, &byte, 1);
	return 0;
}
