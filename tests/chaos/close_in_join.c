/* SPDX-License-Identifier: BSD-2-Clause */
/* A signal handler in the middle of a join: after the helper has done it, before the thread knows.
 *
 * The peer is another process. The test stops the helper when told "connected", continues it at "handler", and answers each line with one
 * of its own when that is done; before "handler" is answered both ends are armed.
 *
 *	close    the handler closes the connection. At last the peer tells what it saw: {"end": errno}
 *	jump     it leaves by siglongjmp. How long another thread's sends then take: {"us": the median}
 *	early    likewise, while the library waits for its session. How long the other thread's connects take
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HANDLER_US 10000 /* the join waits 50 ms */
#define SENDS 21

static int next_fd, to_peer[2], from_peer[2];
static bool jumps, is_early;
static struct sockaddr_in address = { .sin_family = AF_INET };
static sigjmp_buf before;

static void tell(const char *line)
{
	char answer[16];

	if (write(STDOUT_FILENO, line, strlen(line)) < 0 || read(STDIN_FILENO, answer, sizeof(answer)) <= 0)
		_exit(1);
}

static void pass(int pipe[2])
{
	if (write(pipe[1], "x", 1) != 1)
		_exit(1);
}

static void await(int pipe[2])
{
	char byte;

	if (read(pipe[0], &byte, 1) != 1)
		_exit(1);
}

static void handler(int number)
{
	(void)number;
	tell("\"handler\"\n");
	if (jumps)
		siglongjmp(before, 1);
	pass(to_peer);
	await(from_peer); /* it has sent */
	tell("\"sent\"\n");
	close(next_fd);
	pass(to_peer);
}

static int connected(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (connect(fd, (const void *)&address, sizeof(address)) < 0)
		_exit(1);
	return fd;
}

static void peer(void)
{
	int fd = connected();
	char byte;

	pass(from_peer);
	await(to_peer);
	if (jumps)
		_exit(0);
	if (send(fd, "unread", 6, 0) != 6)
		_exit(1);
	pass(from_peer);
	await(to_peer);
	ssize_t got = recv(fd, &byte, 1, 0);
	printf("{\"end\": %d}\n", got < 0 ? errno : 0);
	fflush(stdout);
	_exit(0);
}

static int by_value(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void *send_some(void *unused)
{
	struct timespec start, end;
	int us[SENDS];

	for (int i = 0; i < SENDS; i++) {
		clock_gettime(CLOCK_MONOTONIC, &start);
		if (is_early)
			(void)connected();
		else if (send(next_fd, "x", 1, MSG_NOSIGNAL) != 1)
			_exit(1);
		clock_gettime(CLOCK_MONOTONIC, &end);
		us[i] = (int)((end.tv_sec - start.tv_sec) * 1000000 + (end.tv_nsec - start.tv_nsec) / 1000);
	}
	qsort(us, SENDS, sizeof(us[0]), by_value);
	printf("{\"us\": %d}\n", us[SENDS / 2]);
	fflush(stdout);
	return unused;
}

/* So that the library has its session with the helper. */
static void connect_to_oneself(int listener)
{
	int fd = connected();

	close(accept(listener, NULL, NULL));
	close(fd);
}

int main(int count, char **arguments)
{
	const struct itimerval soon = { .it_value.tv_usec = HANDLER_US };
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	pthread_t thread;

	is_early = count > 1 && strcmp(arguments[1], "early") == 0;
	jumps = is_early || (count > 1 && strcmp(arguments[1], "jump") == 0);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(listener, (void *)&address, length) < 0 || listen(listener, 2 * SENDS) < 0 ||
	    getsockname(listener, (void *)&address, &length) < 0 || pipe(to_peer) < 0 || pipe(from_peer) < 0)
		return 1;
	if (fork() == 0) {
		await(to_peer);
		peer();
	}
	if (!is_early)
		connect_to_oneself(listener);
	pass(to_peer);
	await(from_peer);
	signal(SIGALRM, handler);
	tell("\"connected\"\n");
	next_fd = dup(listener);
	close(next_fd);
	if (sigsetjmp(before, 1) == 0) {
		setitimer(ITIMER_REAL, &soon, NULL);
		accept(listener, NULL, NULL);
	}
	if (jumps && pthread_create(&thread, NULL, send_some, NULL) == 0) {
		pthread_join(thread, NULL);
		pass(to_peer);
	}
	wait(NULL);
	return 0;
}
