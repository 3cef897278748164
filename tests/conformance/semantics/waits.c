/* SPDX-License-Identifier: BSD-2-Clause */
/* Waiting for events in unusual ways: masks of signals, numbers above FD_SETSIZE, two epolls, an owner that is a thread; and what
 * events say after a send that was cut short. */
#include "semantics.h"

#include <sys/mman.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>

#define HIGH_FD 1500

enum wait { BY_PPOLL, BY_PSELECT, BY_EPOLL_PWAIT, BY_EPOLL_PWAIT2 };

static int wait_masked(enum wait how, int fd, int epoll, const sigset_t *mask, int timeout_ms)
{
	struct timespec timeout = { .tv_sec = timeout_ms / 1000, .tv_nsec = (long)(timeout_ms % 1000) * 1000000 };
	struct pollfd poller = { .fd = fd, .events = POLLIN };
	struct epoll_event event;
	fd_set readable;

	switch (how) {
	case BY_PPOLL:
		return ppoll(&poller, 1, &timeout, mask);
	case BY_PSELECT:
		FD_ZERO(&readable);
		FD_SET(fd, &readable);
		return pselect(fd + 1, &readable, NULL, NULL, &timeout, mask);
	case BY_EPOLL_PWAIT:
		return epoll_pwait(epoll, &event, 1, timeout_ms, mask);
	case BY_EPOLL_PWAIT2:
		break;
	}
	return epoll_pwait2(epoll, &event, 1, &timeout, mask);
}

static int watch(int fd, unsigned events)
{
	struct epoll_event event = { .events = events };
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		note("FAILED", "epoll");
	return epoll;
}

/* A signal that is blocked but during the wait: pending before it, with and without data; and one that comes in the middle. */
static void masked(struct pair *pair, int how)
{
	int epoll = watch(pair->b, EPOLLIN);
	sigset_t blocked, before;

	handle(SIGUSR1, SA_RESTART);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &blocked, &before);
	TRY("expires", wait_masked((enum wait)how, pair->b, epoll, &before, 30));
	pthread_kill(pthread_self(), SIGUSR1);
	TRY("kept-out", wait_masked((enum wait)how, pair->b, epoll, &blocked, 30));
	note("handled", "%d", handled);
	TRY("pending", wait_masked((enum wait)how, pair->b, epoll, &before, 2000));
	note("handled", "%d", handled);
	put(pair->a, "hello");
	settle();
	pthread_kill(pthread_self(), SIGUSR1);
	TRY("with-data", wait_masked((enum wait)how, pair->b, epoll, &before, 2000));
	get("data", pair->b, 64, MSG_DONTWAIT);
	TRY("after-data", wait_masked((enum wait)how, pair->b, epoll, &before, 2000));
	note("handled", "%d", handled);
	later_signal(SOON_MS, SIGUSR1);
	later_put(4 * SOON_MS, pair->a, "later");
	TRY("midway", wait_masked((enum wait)how, pair->b, epoll, &before, 2000));
	note("handled", "%d", handled);
	later_join();
	TRY("data-again", wait_masked((enum wait)how, pair->b, epoll, &blocked, 2000));
	TRY("bad-time", wait_masked((enum wait)how, pair->b, epoll, &before, how == BY_EPOLL_PWAIT ? 0 : -1500));
	get("later", pair->b, 64, MSG_DONTWAIT);
}

/* select(2) itself knows no FD_SETSIZE. */
static void high_number(struct pair *pair, int unused)
{
	struct rlimit limit;
	struct timeval timeout = { .tv_usec = 30000 };
	static unsigned long readable[HIGH_FD / 64 + 1];
	unsigned long bit = 1ul << HIGH_FD % 64;

	(void)unused;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	TRY("dup2", dup2(pair->b, HIGH_FD));
	readable[HIGH_FD / 64] = bit;
	TRY("idle", select(HIGH_FD + 1, (fd_set *)(void *)readable, NULL, NULL, &timeout));
	note("time", "%ld", (long)(timeout.tv_sec * 1000000 + timeout.tv_usec));
	put(pair->a, "hello");
	timeout = (struct timeval){ .tv_sec = 2 };
	readable[HIGH_FD / 64] = bit;
	TRY("data", select(HIGH_FD + 1, (fd_set *)(void *)readable, NULL, NULL, &timeout));
	note("set", "%d", (readable[HIGH_FD / 64] & bit) != 0);
	note("left", "%s", timeout.tv_sec >= 1 ? "some" : "little");
	get("receive", HIGH_FD, 64, 0);
	close(HIGH_FD);
	round_trip("trip", pair);
}

/* One connection in two sets, exclusively; and level and edge side by side. */
static void two_sets(struct pair *pair, int events)
{
	int first = watch(pair->b, EPOLLIN | (unsigned)events), second = watch(pair->b, EPOLLIN | (unsigned)events);
	int edge = watch(pair->b, EPOLLIN | EPOLLET);
	struct epoll_event event;

	for (int i = 0; i < 2; i++) {
		TRY("first-empty", epoll_wait(first, &event, 1, 0));
		put(pair->a, "hello");
		settle();
		TRY("first", epoll_wait(first, &event, 1, 100));
		TRY("second", epoll_wait(second, &event, 1, 100));
		TRY("edge", epoll_wait(edge, &event, 1, 100));
		get("part", pair->b, 2, 0);
		TRY("first-rest", epoll_wait(first, &event, 1, 0));
		TRY("second-rest", epoll_wait(second, &event, 1, 0));
		TRY("edge-rest", epoll_wait(edge, &event, 1, 0));
		get("rest", pair->b, 64, 0);
		TRY("second-drained", epoll_wait(second, &event, 1, 0));
	}
}

/* SIGIO to a thread that owns the fd, asked for by FIOASYNC. */
static void owner_is_a_thread(struct pair *pair, int unused)
{
	struct f_owner_ex owner = { F_OWNER_TID, gettid() };
	int on = 1;

	(void)unused;
	handle(SIGIO, SA_RESTART);
	TRY("owner", fcntl(pair->b, F_SETOWN_EX, &owner));
	TRY("async", ioctl(pair->b, FIOASYNC, &on));
	handled = 0;
	later_put(4 * SOON_MS, pair->a, "hello"); /* surely asleep by then: who waits for data is sent none */
	get("data", pair->b, 64, 0);
	later_join();
	settle();
	note("data", "%s", handled > 0 ? "some" : "none");
	on = 0;
	TRY("no-async", ioctl(pair->b, FIOASYNC, &on));
	handled = 0;
	put(pair->a, "again");
	settle();
	note("off", "%s", handled > 0 ? "some" : "none");
	get("again", pair->b, 64, 0);
}

/* What poll, ppoll, select and epoll say. */
static void note_all_events(const char *when, int fd, int epoll)
{
	struct pollfd pollers[] = { { .fd = -1, .events = POLLIN }, { .fd = fd } };
	struct timespec limit = { .tv_sec = 1 };
	struct epoll_event event = { 0 };
	fd_set sets[3];
	char field[32];

	snprintf(field, sizeof(field), "poll%s", when);
	note_poll(field, fd, POLLIN | POLLOUT | POLLRDHUP, 0);
	snprintf(field, sizeof(field), "ppoll%s", when);
	int ready = ppoll(pollers, 2, &limit, NULL);
	note_events(field, ready, (unsigned short)pollers[1].revents, errno);
	snprintf(field, sizeof(field), "select%s", when);
	for (int i = 0; i < 3; i++) {
		FD_ZERO(&sets[i]);
		FD_SET(fd, &sets[i]);
	}
	TRY(field, select(fd + 1, &sets[0], &sets[1], &sets[2], &(struct timeval){ 0 }));
	snprintf(field, sizeof(field), "epoll%s", when);
	ready = epoll_wait(epoll, &event, 1, 0);
	note_events(field, ready, event.events, errno);
}

/* A blocking send that a reset cuts short: the error waits, and events say so. argument 1: SO_ERROR takes it */
static void cut_short(struct pair *pair, int how)
{
	char *buffer = big_buffer(64 << 20);
	int epoll = watch(pair->a, EPOLLIN | EPOLLOUT | EPOLLRDHUP), error = 0;
	socklen_t length = sizeof(error);

	signal(SIGPIPE, SIG_IGN);
	later_reset(3 * SOON_MS, pair->b);
	ssize_t sent = send(pair->a, buffer, 64 << 20, 0);
	note("first", "%s", sent > 0 ? "part" : errno_text(errno));
	later_join();
	settle();
	note_all_events("", pair->a, epoll);
	if (how == 1) {
		TRY("option", getsockopt(pair->a, SOL_SOCKET, SO_ERROR, &error, &length));
		note("error", "%s", errno_text(error));
	} else {
		TRY("next", recv(pair->a, buffer, 1, 0));
	}
	note_all_events("-after", pair->a, epoll);
	TRY("last", recv(pair->a, buffer, 1, 0));
}

/* A handler that is there for one signal only. */
static void handler_once(struct pair *pair, int flags)
{
	struct sigaction action;

	handle(SIGUSR1, (int)SA_RESETHAND | flags);
	later_signal(SOON_MS, SIGUSR1);
	later_put(3 * SOON_MS, pair->a, "hello");
	get("receive", pair->b, 64, 0);
	sigaction(SIGUSR1, NULL, &action);
	note("handler", "%s", action.sa_handler == SIG_DFL ? "default" : "other");
	note("handled", "%d", handled);
	later_join();
}

/* Volatile: the compiler is not to see through it. */
static void *volatile bad_address = (void *)8;

static void bad_addresses(struct pair *pair, int with_data)
{
	int epoll = watch(pair->b, EPOLLIN);
	struct epoll_event event;
	struct timeval time = { .tv_usec = 40000 };
	fd_set readable;

	if (with_data)
		put(pair->a, "hello");
	settle();
	TRY("poll", poll(bad_address, 1, 40));
	TRY("epoll", epoll_wait(epoll, bad_address, 1, 40));
	TRY("epoll-pwait", epoll_pwait(epoll, bad_address, 1, 40, NULL));
	TRY("epoll-pwait2", epoll_pwait2(epoll, &event, 1, bad_address, NULL));
	TRY("select", select(pair->b + 1, bad_address, NULL, NULL, &time));
	FD_ZERO(&readable);
	FD_SET(pair->b, &readable);
	time = (struct timeval){ .tv_usec = 40000 };
	TRY("select-second", select(pair->b + 1, &readable, bad_address, NULL, &time));
	note("kept", "%d", FD_ISSET(pair->b, &readable) != 0);
	TRY("pselect", pselect(pair->b + 1, NULL, NULL, bad_address, &(struct timespec){ .tv_nsec = 40000000 }, NULL));
	if (with_data)
		get("data", pair->b, 64, 0);
	round_trip("trip", pair);
}

/* Sets that can be read, but not written: the kernel finds out when it has an answer. */
static void read_only_set(struct pair *pair, int unused)
{
	struct timeval limit = { .tv_sec = 1 };
	struct timespec long_limit = { .tv_sec = 1 };
	fd_set *set = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)unused;
	if (set == MAP_FAILED)
		_exit(2);
	FD_SET(pair->b, set);
	mprotect(set, 4096, PROT_READ);
	round_trip("before", pair);
	put(pair->a, "hello");
	TRY("select", select(pair->b + 1, set, NULL, NULL, &limit));
	TRY("pselect", pselect(pair->b + 1, set, NULL, NULL, &long_limit, NULL));
	get("receive", pair->b, 64, 0);
}

static const struct semantics_case cases[] = {
	{ "fault-wait", bad_addresses, 0, 0 },
	{ "fault-wait-data", bad_addresses, 1, 0 },
	{ "fault-wait-read-only", read_only_set, 0, 0 },
	{ "poll-masked", masked, BY_PPOLL, 0 },
	{ "select-masked", masked, BY_PSELECT, 0 },
	{ "epoll-masked", masked, BY_EPOLL_PWAIT, 0 },
	{ "epoll-masked-pwait2", masked, BY_EPOLL_PWAIT2, 0 },
	{ "select-high-number", high_number, 0, 0 },
	{ "epoll-two-sets", two_sets, 0, 0 },
	{ "epoll-two-sets-exclusive", two_sets, EPOLLEXCLUSIVE, 0 },
	{ "sigio-thread", owner_is_a_thread, 0, 0 },
	{ "poll-send-cut-short", cut_short, 0, 0 },
	{ "poll-send-cut-short-option", cut_short, 1, 0 },
	{ "signal-handler-once", handler_once, 0, 0 },
	{ "signal-handler-once-restart", handler_once, SA_RESTART, 0 },
};
FAMILY(waits);
