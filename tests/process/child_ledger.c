/* SPDX-License-Identifier: BSD-2-Clause */
/* A child that was forked while a connection redirected, and uses it when that has gone back to TCP long ago, and its place in the two
 * processes' ledger is another connection's.
 *
 * child_ledger uses|idle|closes: what the child has done with the connection before it goes back. "bytes" is what a receive on the
 * other connection brings after the child has received five bytes: five that were redirected, and five behind them by TCP. Of many such
 * connections the least. Prints one JSON line.
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/wait.h>

#include "../support/loopback.h"
#include "../support/redirecting.h"

/* Of so many others after it, and some that stay, one has its place: the cells of a ledger are used one after the other. */
#define BETWEEN 900
#define OTHERS 300 /* not all of them come to redirect on a busy machine */
#define TURNS 4
#define HALF 5
/* What was sent has come by then, and the receive that begins afterwards finds it: what it does first is what is tested. */
#define SOON_US 20000
#define LEAVE_TRIES 50
#define DEADLINE_S 60

static int control[2];

/* The two processes go on together. */
static void meet(int side)
{
	char byte = 'm';

	if (write(control[side], &byte, 1) != 1 || read(control[side], &byte, 1) != 1)
		die("meet");
}

static void turns(int fd, bool begins, int count)
{
	char byte = 't';

	for (int i = 0; i < 2 * count; i++)
		if (((i & 1) == begins ? read(fd, &byte, 1) : write(fd, &byte, 1)) != 1)
			die("turn");
}

/* The client says whether there is another one; the server answers the same. */
static void warm_turn(void *argument, int i)
{
	char again = i >= 0;
	const int *fd = argument;

	if (write(*fd, &again, 1) != 1 || read(*fd, &again, 1) != 1)
		die("warm-up");
}

/* Some turns, and more until they are redirected: a helper may be late. */
static void begin(int fd, bool is_client)
{
	char again = 1;

	turns(fd, is_client, TURNS);
	if (is_client) {
		await_redirecting(fd, warm_turn, &fd);
		warm_turn(&fd, -1);
	}
	while (!is_client && again)
		if (read(fd, &again, 1) != 1 || write(fd, &again, 1) != 1)
			die("warm-up");
}

static void expect(int fd, const char *text)
{
	char buffer[16] = "";

	if (read_whole(fd, buffer, strlen(text)) || strcmp(buffer, text) != 0)
		die("wrong bytes");
}

/* Back to TCP, by an option that redirection cannot honour. On a busy machine that may be refused as late (smaccel semantics: rcvlowat), and is asked for again. */
static void leave(int fd)
{
	for (int tries = 0; setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &(int){ 2 }, sizeof(int)); tries++) {
		if (tries == LEAVE_TRIES)
			die("SO_RCVLOWAT");
		usleep(SOON_US);
	}
}

static void client(unsigned port)
{
	int old = loopback_connect("127.0.0.1", port), others[OTHERS], fd;

	begin(old, true);
	meet(1); /* the child has been forked */
	turns(old, true, TURNS);
	leave(old);
	if (write(old, "x", 1) != 1)
		die("write");
	for (int i = 0; i < BETWEEN + OTHERS; i++) {
		fd = loopback_connect("127.0.0.1", port);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
		begin(fd, true);
		if (i < BETWEEN)
			close(fd);
		else
			others[i - BETWEEN] = fd;
	}
	if (write(old, "child", HALF) != HALF)
		die("write");
	meet(1); /* the child has received it */
	for (int i = 0; i < OTHERS; i++)
		if (write(others[i], "12345", HALF) != HALF || write(others[i], "67890", HALF) != HALF)
			die("write");
	meet(1);
	meet(1);
	_exit(0);
}

static int accept_one(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		die("accept4");
	return fd;
}

/* In the child: as long as the rope says. */
static void child(int old, int rope, const char *what)
{
	char byte;

	if (strcmp(what, "uses") == 0)
		turns(old, false, TURNS);
	if (strcmp(what, "closes") == 0)
		close(old);
	if (write(rope, "r", 1) != 1 || read(rope, &byte, 1) != 1)
		_exit(1);
	if (strcmp(what, "closes") != 0)
		expect(old, "child");
	_exit(0);
}

int main(int argc, char **argv)
{
	int listener = loopback_listen("127.0.0.1", 0, 8, 0), rope[2], others[OTHERS], status;
	ssize_t least = 2 * HALF;
	char buffer[100];
	pid_t pids[2];

	if (argc != 2)
		return EXIT_USAGE;
	alarm(DEADLINE_S);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, control) || socketpair(AF_UNIX, SOCK_STREAM, 0, rope))
		die("socketpair");
	if ((pids[0] = fork()) == 0)
		client(loopback_port(listener));
	int old = accept_one(listener);
	begin(old, false);
	if ((pids[1] = fork()) == 0)
		child(old, rope[1], argv[1]);
	bool uses = strcmp(argv[1], "uses") == 0;
	meet(0);
	if (read(rope[0], buffer, 1) != 1)
		die("child");
	if (!uses)
		turns(old, false, TURNS);
	usleep(SOON_US);
	expect(old, "x"); /* and learns that it has gone back */
	for (int i = 0; i < BETWEEN + OTHERS; i++) {
		int fd = accept_one(listener);

		begin(fd, false);
		if (i < BETWEEN)
			close(fd);
		else
			others[i - BETWEEN] = fd;
	}
	if (write(rope[0], "g", 1) != 1 || waitpid(pids[1], &status, 0) != pids[1] || status)
		die("child");
	meet(0);
	meet(0);
	usleep(SOON_US);
	for (int i = 0; i < OTHERS; i++) {
		ssize_t got = recv(others[i], buffer, sizeof(buffer), 0);

		least = got < least ? got : least;
	}
	meet(0);
	if (waitpid(pids[0], &status, 0) != pids[0] || status)
		die("client");
	printf("{\"bytes\": %zd}\n", least);
	return 0;
}
