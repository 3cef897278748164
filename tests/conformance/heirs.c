/* SPDX-License-Identifier: BSD-2-Clause */
/* A connection that goes on in another program or process than the one that accepted it.
 *
 *   heirs executed          the server forks and executes another program, with FD_CLOEXEC; its child closes with bytes unread
 *   heirs spawned NUMBER    the server spawns a program, which gets the connection as that number and answers, in the midst of signals
 *
 * Prints one JSON line, of the client: how many of its words were answered, and how the connection ended.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "../support/watchdog.h"

#define TURNS 200
#define WORDS 10
#define WORD_BYTES 8
#define DEADLINE_S 20

static const char *how;
/* Pipes. The first one's end comes when the server has become another program, a byte on the other when the client has sent. */
static int executed[2], sent[2];

static void answer(int fd, int turns)
{
	char word[WORD_BYTES];

	for (int i = 0; i < turns; i++)
		if (recv(fd, word, sizeof(word), MSG_WAITALL) != sizeof(word) ||
		    send(fd, word, sizeof(word), MSG_NOSIGNAL) != sizeof(word))
			return;
}

static bool ask(int fd)
{
	char word[WORD_BYTES] = "word";

	return send(fd, word, sizeof(word), MSG_NOSIGNAL) == sizeof(word) &&
	       recv(fd, word, sizeof(word), MSG_WAITALL) == sizeof(word);
}

static void be_client(const struct sockaddr_in *address)
{
	const struct timeval limit = { DEADLINE_S / 2, 0 };
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1, answers = 0;
	char byte;

	if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0)
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	for (int i = 0; i < TURNS; i++)
		if (!ask(fd))
			die("a turn");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (!strcmp(how, "executed")) {
		close(executed[1]);
		if (read(executed[0], &byte, 1) != 0 || send(fd, "unread", 6, 0) != 6 || write(sent[1], "s", 1) != 1)
			die("send");
	} else {
		pause_us(300000); /* the other program has begun */
	}
	for (int i = 0; strcmp(how, "executed") && i < WORDS; i++) {
		pause_us(50000); /* the other sleeps, and signals wake it */
		answers += ask(fd);
	}
	shutdown(fd, SHUT_WR);
	ssize_t end = recv(fd, &byte, 1, 0);
	printf("{\"answers\": %d, \"end\": \"%s\"}\n", answers,
	       end == 0                         ? "end"
	       : end < 0 && errno == ECONNRESET ? "reset"
						: "none");
}

static void ignore(int number)
{
	(void)number;
}

/* The program that is spawned. */
static int be_spawned(int fd)
{
	const struct itimerval often = { { 0, 10000 }, { 0, 10000 } };
	struct sigaction action = { .sa_handler = ignore, .sa_flags = SA_RESTART };

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	answer(fd, WORDS);
	return 0;
}

static void spawn(int fd, char *number)
{
	posix_spawn_file_actions_t actions;
	char *arguments[] = { "heirs", "answer", number, NULL };
	pid_t child;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fd, atoi(number));
	if (posix_spawn(&child, "/proc/self/exe", &actions, NULL, arguments, environ) != 0)
		die("posix_spawn");
	close(fd);
	waitpid(child, NULL, 0);
}

static void execute(int fd)
{
	char byte;

	if (fork() == 0) {
		close(executed[1]);
		if (read(executed[0], &byte, 1) != 0 || read(sent[0], &byte, 1) != 1)
			die("the client");
		pause_us(20000); /* what it has sent has come */
		close(fd);
		_exit(0);
	}
	execl("/bin/sleep", "sleep", "2", (char *)NULL);
	die("execl");
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);

	how = argc > 1 ? argv[1] : "";
	if (!strcmp(how, "answer") && argc == 3)
		return be_spawned(atoi(argv[2]));
	if (strcmp(how, "executed") && (strcmp(how, "spawned") || argc != 3))
		return EXIT_USAGE;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&address, &length))
		die("listen");
	if (pipe2(executed, O_CLOEXEC) || pipe2(sent, O_CLOEXEC))
		die("pipe2");
	pid_t client = fork();
	if (client == 0) {
		watchdog_start(DEADLINE_S, NULL);
		be_client(&address);
		return 0;
	}
	watchdog_start(DEADLINE_S, NULL);
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	answer(fd, TURNS);
	if (!strcmp(how, "executed"))
		execute(fd);
	spawn(fd, argv[2]);
	waitpid(client, NULL, 0);
	return 0;
}
