/* SPDX-License-Identifier: BSD-2-Clause */
/* How connections come up: non-blocking connect in its idioms, Fast Open, TCP_DEFER_ACCEPT, self-connect, accept. */
#include "semantics.h"

#include <sys/epoll.h>
#include <sys/select.h>

static int client(int type)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | type, 0);
}

static void note_so_error(const char *field, int fd)
{
	int error = -1;
	socklen_t length = sizeof(error);

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
	note(field, "%s", error ? errno_text(error) : "0");
}

static void use(int a, int b)
{
	struct pair pair = { a, b };

	fcntl(a, F_SETFL, 0);
	fcntl(b, F_SETFL, 0);
	round_trip("cold", &pair);
	note("armed", "%s", pair_warm_up(&pair) ? "yes" : "no");
	round_trip("warm", &pair);
}

/* 0 poll, 1 select, 2 epoll, 3 connect again at once, 4 send at once */
static void nonblocking(struct pair *pair, int idiom)
{
	uint16_t port_h;
	int listener = listen_any(&port_h), a = client(SOCK_NONBLOCK);
	struct sockaddr_in address = loopback_at(port_h);
	struct epoll_event event = { .events = EPOLLOUT | EPOLLET };
	struct timeval second = { .tv_sec = 1 };
	fd_set writable;

	(void)pair;
	TRY("connect", connect(a, (struct sockaddr *)&address, sizeof(address)));
	if (idiom == 0) {
		note_poll("poll", a, POLLOUT, 1000);
	} else if (idiom == 1) {
		FD_ZERO(&writable);
		FD_SET(a, &writable);
		TRY("select", select(a + 1, NULL, &writable, NULL, &second));
	} else if (idiom == 2) {
		int epoll = epoll_create1(EPOLL_CLOEXEC);
		epoll_ctl(epoll, EPOLL_CTL_ADD, a, &event);
		int count = epoll_wait(epoll, &event, 1, 1000);
		note_events("epoll", count, event.events, errno);
	} else if (idiom == 4) {
		settle();
		TRY("send", send(a, "early", 5, 0));
	}
	note_so_error("so_error", a);
	settle();
	TRY("connect-again", connect(a, (struct sockaddr *)&address, sizeof(address)));
	TRY("connect-third", connect(a, (struct sockaddr *)&address, sizeof(address)));
	int b = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	note("flags", "%x", fcntl(b, F_GETFL));
	if (idiom == 4)
		get("early", b, 5, 0);
	use(a, b);
}

static void refused(struct pair *pair, int type)
{
	uint16_t port_h;
	int listener = listen_any(&port_h), a = client(type);
	struct sockaddr_in address = loopback_at(port_h);

	(void)pair;
	close(listener);
	TRY("connect", connect(a, (struct sockaddr *)&address, sizeof(address)));
	settle();
	note_poll("poll", a, POLLIN | POLLOUT | POLLRDHUP, 500);
	note_so_error("so_error", a);
	get("receive", a, 64, MSG_DONTWAIT);
	TRY("send", send(a, "x", 1, MSG_NOSIGNAL));
	listener = listen_any(&port_h);
	address = loopback_at(port_h);
	if (type == SOCK_NONBLOCK) /* tells of the failed attempt once more */
		TRY("connect-first", connect(a, (struct sockaddr *)&address, sizeof(address)));
	int result = connect(a, (struct sockaddr *)&address, sizeof(address));
	note("connect-other", "%s", result == 0 || errno == EINPROGRESS ? "ok" : errno_text(errno));
	note_poll("poll-other", a, POLLOUT, 500);
	use(a, accept4(listener, NULL, NULL, SOCK_CLOEXEC));
}

static void backlog_full(struct pair *pair, int unused)
{
	uint16_t port_h;
	int listener = listen_any(&port_h), clients[3];
	struct sockaddr_in address = loopback_at(port_h);

	(void)pair;
	(void)unused;
	TRY("listen", listen(listener, 0));
	for (int i = 0; i < 3; i++) {
		clients[i] = client(SOCK_NONBLOCK);
		TRY("connect", connect(clients[i], (struct sockaddr *)&address, sizeof(address)));
		if (i == 0)
			note_poll("poll", clients[i], POLLOUT, 60);
	}
	note_poll("poll-last", clients[2], POLLOUT, 60);
	TRY("connect-again", connect(clients[2], (struct sockaddr *)&address, sizeof(address)));
	use(clients[0], accept4(listener, NULL, NULL, SOCK_CLOEXEC));
}

/* 0 MSG_FASTOPEN blocking, 1 non-blocking, 2 TCP_FASTOPEN_CONNECT */
static void fast_open(struct pair *pair, int how)
{
	uint16_t port_h;
	int listener = listen_any(&port_h), a = client(how == 1 ? SOCK_NONBLOCK : 0);
	struct sockaddr_in address = loopback_at(port_h);

	(void)pair;
	TRY("option", set_int(listener, IPPROTO_TCP, TCP_FASTOPEN, 5));
	if (how == 2) {
		TRY("connect-option", set_int(a, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1));
		TRY("connect", connect(a, (struct sockaddr *)&address, sizeof(address)));
		TRY("send", send(a, "hello", 5, 0));
	} else {
		TRY("sendto", sendto(a, "hello", 5, MSG_FASTOPEN, (struct sockaddr *)&address, sizeof(address)));
	}
	note_poll("poll", a, POLLOUT, 500);
	int b = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	settle();
	get("early", b, 5, MSG_DONTWAIT);
	use(a, b);
}

static void defer_accept(struct pair *pair, int unused)
{
	uint16_t port_h;
	int listener = listen_any(&port_h), a = client(0);
	struct sockaddr_in address = loopback_at(port_h);

	(void)pair;
	(void)unused;
	TRY("option", set_int(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, 2));
	TRY("connect", connect(a, (struct sockaddr *)&address, sizeof(address)));
	note_poll("not-yet", listener, POLLIN, 40);
	put(a, "hello");
	note_poll("now", listener, POLLIN, 1000);
	int b = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	get("data", b, 64, MSG_DONTWAIT);
	use(a, b);
}

/* A socket connected to itself: what it sends it receives. */
static void self_connect(struct pair *pair, int unused)
{
	struct sockaddr_in address = loopback_at(0);
	socklen_t length = sizeof(address);
	int fd = client(0);
	char text[16];

	(void)pair;
	(void)unused;
	TRY("bind", bind(fd, (struct sockaddr *)&address, sizeof(address)));
	getsockname(fd, (struct sockaddr *)&address, &length);
	TRY("connect", connect(fd, (struct sockaddr *)&address, sizeof(address)));
	for (int i = 0; i < 8; i++) {
		put(fd, "myself");
		GET("receive", text, recv(fd, text, 6, MSG_WAITALL));
	}
	shutdown(fd, SHUT_WR);
	get("end", fd, 64, 0);
}

static void reuse_port(struct pair *pair, int unused)
{
	struct sockaddr_in address = loopback_at(0);
	socklen_t length = sizeof(address);
	int listeners[2], accepted = 0, wrong = 0;

	(void)pair;
	(void)unused;
	for (int i = 0; i < 2; i++) {
		listeners[i] = client(SOCK_NONBLOCK);
		set_int(listeners[i], SOL_SOCKET, SO_REUSEPORT, 1);
		TRY("bind", bind(listeners[i], (struct sockaddr *)&address, sizeof(address)));
		listen(listeners[i], 16);
		getsockname(listeners[i], (struct sockaddr *)&address, &length);
	}
	for (int i = 0; i < 10; i++) {
		int a = client(0), b = -1;

		connect(a, (struct sockaddr *)&address, sizeof(address));
		settle();
		for (int l = 0; l < 2 && b < 0; l++)
			b = accept4(listeners[l], NULL, NULL, SOCK_CLOEXEC);
		accepted += b >= 0;
		char text[8] = "";
		for (int turn = 0; turn < 6; turn++) {
			put(a, "there");
			wrong += recv(b, text, 5, MSG_WAITALL) != 5;
			put(b, "back!");
			wrong += recv(a, text, 5, MSG_WAITALL) != 5;
		}
		close(a);
		close(b);
	}
	note("accepted", "%d", accepted);
	note("wrong", "%d", wrong);
}

/* What accept gives when the client has gone: 0 closed after sending, 1 reset */
static void gone_before_accept(struct pair *pair, int reset)
{
	uint16_t port_h;
	int listener = listen_any(&port_h), a = client(0);
	struct sockaddr_in address = loopback_at(port_h);

	(void)pair;
	TRY("connect", connect(a, (struct sockaddr *)&address, sizeof(address)));
	put(a, "last words");
	if (reset)
		later_reset(0, a);
	else
		later_close(0, a);
	later_join();
	settle();
	int b = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	note("accepted", "%s", b >= 0 ? "yes" : errno_text(errno));
	get("data", b, 64, MSG_DONTWAIT);
	get("end", b, 64, MSG_DONTWAIT);
	TRY("send", send(b, "x", 1, MSG_NOSIGNAL));
}

static void accept_waits(struct pair *pair, int how)
{
	uint16_t port_h;
	int listener = listen_any(&port_h);
	struct sockaddr_in address = loopback_at(port_h), from;
	socklen_t length = sizeof(from);
	struct timeval timeout = { .tv_usec = 60000 };

	(void)pair;
	if (how == 0) {
		fcntl(listener, F_SETFL, O_NONBLOCK);
		TRY("accept", accept(listener, NULL, NULL));
	} else if (how == 1) {
		handle(SIGUSR1, 0);
		later_signal(SOON_MS, SIGUSR1);
		TRY("accept", accept(listener, NULL, NULL));
	} else {
		setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
		TRY("accept", accept(listener, NULL, NULL));
	}
	int a = client(0);
	TRY("bad-length", connect(a, (struct sockaddr *)&address, 3));
	TRY("connect", connect(a, (struct sockaddr *)&address, sizeof(address)));
	note_poll("listener", listener, POLLIN, 500);
	int b = accept(listener, (struct sockaddr *)&from, &length);
	note("from", "%u %s", length, from.sin_addr.s_addr == address.sin_addr.s_addr ? "loopback" : "other");
	use(a, b);
}

static void other_family(struct pair *pair, int mapped)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), a = client(0);
	int off = 0;

	(void)pair;
	setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (mapped)
		address.sin6_addr = in6addr_any;
	TRY("bind", bind(listener, (struct sockaddr *)&address, sizeof(address)));
	listen(listener, 4);
	getsockname(listener, (struct sockaddr *)&address, &length);
	struct sockaddr_in four = loopback_at(ntohs(address.sin6_port));
	if (!mapped)
		a = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	TRY("connect", mapped ? connect(a, (struct sockaddr *)&four, sizeof(four))
			      : connect(a, (struct sockaddr *)&address, sizeof(address)));
	use(a, accept(listener, NULL, NULL));
}

static const struct semantics_case cases[] = {
	{ "connect-nonblocking-poll", nonblocking, 0, CASE_BARE },
	{ "connect-nonblocking-select", nonblocking, 1, CASE_BARE },
	{ "connect-nonblocking-epoll", nonblocking, 2, CASE_BARE },
	{ "connect-nonblocking-again", nonblocking, 3, CASE_BARE },
	{ "connect-nonblocking-send", nonblocking, 4, CASE_BARE },
	{ "connect-refused", refused, 0, CASE_BARE },
	{ "connect-refused-nonblocking", refused, SOCK_NONBLOCK, CASE_BARE },
	{ "connect-backlog-full", backlog_full, 0, CASE_BARE },
	{ "fast-open", fast_open, 0, CASE_BARE },
	{ "fast-open-nonblocking", fast_open, 1, CASE_BARE },
	{ "fast-open-connect", fast_open, 2, CASE_BARE },
	{ "defer-accept", defer_accept, 0, CASE_BARE },
	{ "self-connect", self_connect, 0, CASE_BARE },
	{ "reuse-port", reuse_port, 0, CASE_BARE },
	{ "accept-closed-client", gone_before_accept, 0, CASE_BARE },
	{ "accept-reset-client", gone_before_accept, 1, CASE_BARE },
	{ "accept-nonblocking", accept_waits, 0, CASE_BARE },
	{ "accept-interrupted", accept_waits, 1, CASE_BARE },
	{ "accept-timeout", accept_waits, 2, CASE_BARE },
	{ "connect-ipv6", other_family, 0, CASE_BARE },
	{ "connect-v4-mapped", other_family, 1, CASE_BARE },
};
FAMILY(connects);
