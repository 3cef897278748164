/* SPDX-License-Identifier: BSD-2-Clause */
/* The server of workloads with many connections: one epoll loop that accepts what comes and sends back what it reads. */
#ifndef SMACCEL_BENCH_EPOLL_SERVER_H
#define SMACCEL_BENCH_EPOLL_SERVER_H

#include <sys/epoll.h>

#include "peers.h"

#define SERVER_EVENTS 256
#define SERVER_BUFFER_BYTES (64u << 10)

static inline void epoll_add(int epoll, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.fd = fd };

	must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}

static inline void server_accept_all(int epoll, int listener, bool is_unix)
{
	int fd, one = 1;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		if (!is_unix)
			must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
		epoll_add(epoll, fd, EPOLLIN);
	}
	if (errno != EAGAIN)
		die("accept4");
}

/* Answers are as long as their requests and fit the send buffer: the client waits for each before the next. */
static inline void server_answer(int fd)
{
	static char buffer[SERVER_BUFFER_BYTES];
	ssize_t got = recv(fd, buffer, sizeof(buffer), 0);

	if (got < 0 && errno == EAGAIN)
		return;
	if (got <= 0 || (size_t)must(send(fd, buffer, (size_t)got, MSG_NOSIGNAL)) != (size_t)got)
		must(close(fd));
}

static inline int epoll_serve(int argc, char **argv)
{
	int control = peers_control(argc, argv), listener = peers_listen(argc, argv);
	int epoll = must(epoll_create1(EPOLL_CLOEXEC));
	bool is_unix = argument(argc, argv, "unix", 0) != 0;
	struct epoll_event events[SERVER_EVENTS];

	must(fcntl(listener, F_SETFL, O_NONBLOCK));
	epoll_add(epoll, listener, EPOLLIN);
	epoll_add(epoll, control, EPOLLIN);
	for (;;) {
		int count = must(epoll_wait(epoll, events, SERVER_EVENTS, -1));

		for (int i = 0; i < count; i++) {
			if (events[i].data.fd == control)
				return 0;
			if (events[i].data.fd == listener)
				server_accept_all(epoll, listener, is_unix);
			else
				server_answer(events[i].data.fd);
		}
	}
}

#endif
