/* SPDX-License-Identifier: BSD-2-Clause */
/* The two processes of a workload. The client starts the server: the same program, executed anew with "--serve FD", so
 * that neither inherits anything from the other, least of all a preloaded library: SMACCEL_BENCH_SERVER_PRELOAD in the
 * environment is the server's LD_PRELOAD where it differs from the client's (empty: none).
 *
 * FD is a socketpair to the client: the server sends its address over it, and its end of file is the end of the server.
 * Common arguments: --unix 1 (a unix stream socket instead of TCP), --client-cpu N, --server-cpu N (-1: anywhere),
 * --seconds S, --warm-up S.
 */
#ifndef SMACCEL_BENCH_PEERS_H
#define SMACCEL_BENCH_PEERS_H

#include <sys/un.h>

#include "bench.h"

#define SERVER_PRELOAD "SMACCEL_BENCH_SERVER_PRELOAD"
#define ARGUMENTS_MAX 64

struct peers {
	struct sockaddr_storage address;
	socklen_t length;
	pid_t server;
	int control;
	double seconds, warm_up;
};

/* ---- the server's side ----------------------------------------------------------------------------------------------- */
static inline int peers_control(int argc, char **argv)
{
	return (int)argument(argc, argv, "serve", -1);
}

/* A listening socket, its address told to the client. */
static inline int peers_listen(int argc, char **argv)
{
	struct sockaddr_storage address = { 0 };
	socklen_t length = sizeof(address);
	int listener;

	pin_to_cpu((int)argument(argc, argv, "server-cpu", 0));
	if (argument(argc, argv, "unix", 0) != 0) {
		struct sockaddr_un any = { .sun_family = AF_UNIX };

		listener = must(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
		must(bind(listener, (struct sockaddr *)&any, sizeof(any.sun_family))); /* autobind: an abstract name */
		must(listen(listener, SOMAXCONN));
	} else {
		listener = loopback_listen("127.0.0.1", 0, SOMAXCONN, 0);
	}
	must(getsockname(listener, (struct sockaddr *)&address, &length));
	must(write(peers_control(argc, argv), &address, length));
	return listener;
}

static inline void no_delay(int fd, const struct sockaddr_storage *address)
{
	int one = 1;

	if (address->ss_family != AF_UNIX)
		must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
}

/* The one connection of a server that has one; the listener is closed. */
static inline int peers_accept_one(int argc, char **argv)
{
	struct sockaddr_storage address = { 0 };
	socklen_t length = sizeof(address);
	int listener = peers_listen(argc, argv), fd = must(accept(listener, (struct sockaddr *)&address, &length));

	must(close(listener));
	no_delay(fd, &address);
	return fd;
}

/* ---- the client's side ----------------------------------------------------------------------------------------------- */
static inline void peers_exec_server(int argc, char **argv, int control)
{
	const char *preload = getenv(SERVER_PRELOAD);
	char number[16], *arguments[ARGUMENTS_MAX + 3], option[] = "--serve";

	if (preload && *preload)
		setenv("LD_PRELOAD", preload, 1);
	else if (preload)
		unsetenv("LD_PRELOAD");
	snprintf(number, sizeof(number), "%d", control);
	memcpy(arguments, argv, (size_t)argc * sizeof(*argv));
	arguments[argc] = option;
	arguments[argc + 1] = number;
	arguments[argc + 2] = NULL;
	execv("/proc/self/exe", arguments);
	die("execv");
}

/* Starts the server and learns its address; pins the client. limit_s: what either may take beside warm-up and measuring. */
static inline struct peers peers_start(int argc, char **argv, double limit_s)
{
	struct peers peers = { .seconds = argument(argc, argv, "seconds", 1),
			       .warm_up = argument(argc, argv, "warm-up", 0.1) };
	int control[2];
	ssize_t got;

	if (argc > ARGUMENTS_MAX)
		exit(2);
	must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, control));
	peers.server = must(fork());
	if (!peers.server) {
		close(control[0]);
		bound_lifetime(peers.seconds + peers.warm_up + limit_s); /* an alarm outlives exec */
		peers_exec_server(argc, argv, control[1]);
	}
	must(close(control[1]));
	peers.control = control[0];
	must(fcntl(peers.control, F_SETFD, FD_CLOEXEC));
	bound_lifetime(peers.seconds + peers.warm_up + limit_s);
	pin_to_cpu((int)argument(argc, argv, "client-cpu", 0));
	got = must(read(peers.control, &peers.address, sizeof(peers.address)));
	if (!got) {
		fprintf(stderr, "the server does not listen\n");
		exit(1);
	}
	peers.length = (socklen_t)got;
	return peers;
}

static inline int peers_connect(const struct peers *peers)
{
	int fd = must(socket(peers->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));

	must(connect(fd, (const struct sockaddr *)&peers->address, peers->length));
	no_delay(fd, &peers->address);
	return fd;
}

/* The server, whose connections the client has closed, must end well. */
static inline void peers_stop(struct peers *peers)
{
	int status;

	must(close(peers->control));
	must(waitpid(peers->server, &status, 0));
	if (status) {
		fprintf(stderr, "the server ended with status %#x\n", status);
		exit(1);
	}
}

/* CPU time of both processes since `before` (of the client, when it began) per operation; after peers_stop(). */
static inline double peers_cpu_ns(double operations)
{
	return (double)(cpu_ns(RUSAGE_SELF) + cpu_ns(RUSAGE_CHILDREN)) / operations;
}

#endif
