/* SPDX-License-Identifier: BSD-2-Clause */
/* What a sleep makes of SIGSTOP and SIGCONT, for which no handler runs. preload/transfer_wait.c stands on it.
 *
 *	recv of plain TCP with SO_RCVTIMEO      EINTR
 *	the same without                        goes on
 *	poll                                    goes on
 *	ppoll, its time-out in constant memory  EINTR
 *	ppoll, an entry in its nanoseconds      POLLNVAL in that entry, nothing in the other: it was restarted
 *	epoll_wait                              EINTR
 *
 * And that the last ppoll does not take anything else for a stop.
 */
#define _GNU_SOURCE
#include "kernel_test.h"

#include <netinet/in.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "loopback.h"

#define LIMIT_MS 20000 /* of a child that waits for the parent's state */
#define WAIT_S 2
#define GOES_ON_MS 300
#define MASK_BYTES 8

static const struct timespec constant_time = { .tv_sec = WAIT_S };
static int ends[2], epoll;

/* As in preload/transfer_wait.c. */
struct seconds_poll {
	int64_t seconds;
	struct pollfd trap, entry;
};

enum event { STOP, DATA, HANDLER, IGNORED, RESET };

static void handler(int number)
{
	(void)number;
}

static void act(enum event event, pid_t parent)
{
	struct linger none = { .l_onoff = 1 };

	switch (event) {
	case STOP:
		kill(parent, SIGSTOP);
		require(wait_until(process_in_state(parent, 'T'), LIMIT_MS));
		kill(parent, SIGCONT);
		return;
	case DATA:
		require(sent(ends[1], "x"));
		return;
	case HANDLER:
		kill(parent, SIGUSR1);
		return;
	case IGNORED:
		kill(parent, SIGUSR2);
		kill(parent, SIGCONT);
		kill(parent, SIGCHLD);
		return;
	case RESET:
		setsockopt(ends[1], SOL_SOCKET, SO_LINGER, &none, sizeof(none));
		close(ends[1]);
		return;
	}
}

/* Once the parent sleeps. Then, for a sleep that goes on, a byte arrives. */
static pid_t meanwhile(enum event event)
{
	pid_t parent = getpid(), child = fork();

	require(child >= 0);
	if (child) {
		if (event == RESET)
			close(ends[1]);
		return child;
	}
	require(wait_until(process_in_state(parent, 'S'), LIMIT_MS));
	act(event, parent);
	nanosleep(&(struct timespec){ .tv_nsec = GOES_ON_MS * 1000000L }, NULL);
	if (event == STOP || event == IGNORED)
		require(sent(ends[1], "y"));
	_exit(0);
}

static void finish(pid_t child)
{
	char buffer[8];
	int status;

	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	require(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	while (recv(ends[0], buffer, sizeof(buffer), MSG_DONTWAIT) > 0)
		;
}

static int by_recv(void)
{
	char byte;

	return (int)recv(ends[0], &byte, 1, 0);
}

static int by_poll(void)
{
	struct pollfd entry = { .fd = ends[0], .events = POLLIN };

	return poll(&entry, 1, LIMIT_MS);
}

static int by_ppoll_constant(void)
{
	struct pollfd entry = { .fd = ends[0], .events = POLLIN };

	return (int)syscall(SYS_ppoll, &entry, 1, &constant_time, NULL, MASK_BYTES);
}

static short last_events;

/* As poll(), but EINTR if it was restarted. */
static int by_ppoll_trap(void)
{
	struct seconds_poll poll = { .seconds = WAIT_S,
				     .trap = { .fd = ends[0] },
				     .entry = { .fd = ends[0], .events = POLLIN } };
	int ready = (int)syscall(SYS_ppoll, &poll.trap, 2, &poll, NULL, MASK_BYTES);

	last_events = poll.entry.revents;
	if (ready <= 0 || poll.entry.revents)
		return ready;
	errno = EINTR;
	return -1;
}

static int by_epoll(void)
{
	struct epoll_event event;

	return epoll_wait(epoll, &event, 1, LIMIT_MS);
}

static void expect(const char *what, enum event event, int (*sleeps)(void), int wanted, int wanted_errno)
{
	pid_t child = meanwhile(event);
	int result = sleeps(), error = errno;

	check(result == wanted && (result >= 0 || error == wanted_errno), "stopping", what, "%d %s", result,
	      result < 0 ? strerror(error) : "");
	finish(child);
}

int main(void)
{
	struct sigaction restarts = { .sa_handler = handler, .sa_flags = SA_RESTART };
	struct epoll_event event = { .events = EPOLLIN };

	require(loopback_pair_open(ends) == 0);
	require((epoll = epoll_create1(EPOLL_CLOEXEC)) >= 0);
	require(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event) == 0);
	sigaction(SIGUSR1, &restarts, NULL);
	signal(SIGUSR2, SIG_IGN);

	expect("recv-goes-on", STOP, by_recv, 1, 0);
	expect("poll-goes-on", STOP, by_poll, 1, 0);
	expect("epoll-wait-ends", STOP, by_epoll, -1, EINTR);
	expect("ppoll-constant-time-ends", STOP, by_ppoll_constant, -1, EINTR);
	expect("ppoll-trap-ends", STOP, by_ppoll_trap, -1, EINTR);
	expect("ppoll-trap-data", DATA, by_ppoll_trap, 1, 0);
	expect("ppoll-trap-handler", HANDLER, by_ppoll_trap, -1, EINTR);
	expect("ppoll-trap-ignored-signals", IGNORED, by_ppoll_trap, 1, 0);
	check(by_ppoll_trap() == 0, "stopping", "ppoll-trap-expires", "it did not");
	set_receive_limit(ends[0], LIMIT_MS);
	expect("recv-with-timeout-ends", STOP, by_recv, -1, EINTR);
	expect("ppoll-trap-reset", RESET, by_ppoll_trap, 2, 0);
	check(last_events & POLLERR, "stopping", "ppoll-trap-reset-shows", "%x", (unsigned)last_events);
	return kernel_test_finish();
}
