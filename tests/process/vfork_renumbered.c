/* SPDX-License-Identifier: BSD-2-Clause */
/* The first process of a PID namespace makes another one, in which a vfork child has its number, too, and closes its copy of a connection.
 * What that process receives afterwards, with MSG_WAITALL, while a handler's signal restarts it, comes in two parts. Prints the bytes. */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "../support/loopback.h"

#define TURNS 100
#define PART 8
#define PAUSE_US 100000

static void handle(int number)
{
	(void)number;
}

static void turn(int fd, bool is_first)
{
	char part[PART] = { 0 };

	if (is_first && send(fd, part, PART, 0) != PART)
		die("send");
	if (recv(fd, part, PART, MSG_WAITALL) != PART)
		die("recv");
	if (!is_first && send(fd, part, PART, 0) != PART)
		die("send");
}

static int peer(const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char part[PART] = { 0 };

	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)))
		die("connect");
	for (int i = 0; i < TURNS; i++)
		turn(fd, true);
	if (recv(fd, part, 1, 0) != 1) /* the child has been there */
		die("recv");
	for (int i = 0; i < 2; i++) {
		usleep(3 * PAUSE_US);
		send(fd, part, PART, MSG_NOSIGNAL);
	}
	return recv(fd, part, 1, 0) != 0;
}

int main(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const struct sigaction action = { .sa_handler = handle, .sa_flags = SA_RESTART };
	const struct itimerval soon = { .it_value.tv_usec = PAUSE_US };
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd;
	char parts[2 * PART];
	pid_t child;

	if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&address, &length))
		die("listen");
	if (fork() == 0)
		_exit(peer(&address));
	fd = accept(listener, NULL, NULL);
	for (int i = 0; i < TURNS; i++)
		turn(fd, false);
	if (unshare(CLONE_NEWPID))
		die("unshare");
	child = vfork();
	if (child == 0) {
		close(fd);
		_exit(getpid());
	}
	int status;
	if (waitpid(child, &status, 0) != child || WEXITSTATUS(status) != getpid())
		die("the child has another number");
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	if (send(fd, parts, 1, 0) != 1)
		die("send");
	ssize_t bytes = recv(fd, parts, sizeof(parts), MSG_WAITALL);
	printf("%zd\n", bytes < 0 ? -errno : bytes);
	return 0;
}
