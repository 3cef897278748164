/* SPDX-License-Identifier: BSD-2-Clause */
/* A random walk over what can be done with the two ends of a connection: one call after the other, each with what it returned, as
 * a line. The same seed makes the same calls, whatever the arm, as long as they return the same: test_walk.py compares.
 *
 *   walk [first=SEED] [count=N] [calls=N] [split=1] [large=0] [forks=0] [urgent=0] [signals=US]
 *
 * split=1: the accepted end is in a process of its own, which makes its calls when it is told to; one end may then sleep in a call
 * that the other's next call ends. Some calls are made by a child that is forked for it, in every third walk some by a thread. In every
 * fourth walk TCP_INQ is set, in every seventh SO_OOBINLINE, and a few sends are urgent; in every fifth one end's fd is passed on by
 * SCM_RIGHTS before the calls, as in any walk by a call. large=0: sends stay small. forks=0: no process is forked once there is a
 * connection, and no fd is passed on, so that nobody but who closes it can have the socket: what a helper that does not answer cannot
 * say. urgent=0: nothing is. signals=US: a signal comes so often, to a handler with SA_RESTART, so that only polls tell of it, and are made again.
 */
#include "walk_calls.h"

#define UNREAD_MAX 20000 /* all of it fits the first window: no send need wait, none is held back */
#define WALK_SECONDS 20
#define WARM_UP_TURNS 40
#define WAIT_MS 60
#define PIPE_BYTES (1 << 20) /* a slot for each piece that waits: how TCP cut them depends on where its pages ended */

static bool asks_what_waits, takes_urgent;
static unsigned passed_end; /* 2: neither */
static uint64_t first = 1, count = 1, calls = 150, split, large = 1, forks = 1, urgent = 1, signals;

/* ---- which calls ---- */

struct walk {
	struct rng rng;
	ssize_t unread[2]; /* of what that end is to receive */
	bool closed[2], ended[2], nonblocking[2];
	int peer; /* the socket to the other process, or -1 */
	pid_t process;
	bool threads;
};

static struct call choose(struct walk *walk)
{
	static const int receive_flags[] = { 0, 0, 0, MSG_PEEK, MSG_TRUNC, MSG_PEEK | MSG_TRUNC, MSG_WAITALL };
	struct call call = { .end = rng_next(&walk->rng) & 1, .random = rng_next(&walk->rng) };
	unsigned at = (unsigned)rng_below(&walk->rng, 113);

	while (at >= kinds[call.kind].weight)
		at -= kinds[call.kind++].weight;
	call.bytes = rng_size(&walk->rng, large ? SIZE_MAX_BYTES : 2000);
	call.forked = kinds[call.kind].can_fork && rng_below(&walk->rng, 24) == 0 && forks;
	call.threaded = !call.forked && walk->threads && rng_below(&walk->rng, 3) == 0;
	if (call.kind == SEND)
		call.flags = MSG_NOSIGNAL | (rng_below(&walk->rng, 4) ? 0 : MSG_DONTWAIT) |
			     (takes_urgent && rng_below(&walk->rng, 16) == 0 ? MSG_OOB : 0);
	if (call.kind == RECEIVE) {
		call.flags = receive_flags[rng_below(&walk->rng, 7)];
		if (takes_urgent && call.flags == (MSG_PEEK | MSG_TRUNC))
			call.flags = MSG_TRUNC; /* what is behind the mark is among it */
		if (call.flags == MSG_PEEK)
			call.bytes = 1; /* more than redirected bytes a peek does not show */
		if (walk->unread[call.end] <= (call.flags & MSG_WAITALL ? (ssize_t)call.bytes : 0))
			call.flags |= MSG_DONTWAIT;
	}
	return call;
}

/* What one end sleeps in, and what the other end then does that wakes it. */
static void choose_pair(struct walk *walk, struct call *sleeper, struct call *waker)
{
	static const uint64_t receives[] = { 0, 1, 2, 3, 5 }, endings[] = { 1, 2, 5, 7 };

	*sleeper =
		(struct call){ .kind = RECEIVE, .end = rng_next(&walk->rng) & 1, .bytes = rng_size(&walk->rng, 3000) };
	sleeper->random = receives[rng_below(&walk->rng, 5)] + 30 * rng_below(&walk->rng, 1000);
	if (rng_below(&walk->rng, 4) == 0) {
		sleeper->kind = ASK;
		sleeper->wait_ms = WAIT_MS;
		sleeper->random = 1 + rng_below(&walk->rng, 2);
	}
	sleeper->role = SLEEPER;
	*waker = (struct call){ .kind = SEND,
				.end = !sleeper->end,
				.bytes = rng_size(&walk->rng, 2000),
				.flags = MSG_NOSIGNAL,
				.random = 7 * rng_below(&walk->rng, 1000),
				.role = WAKER };
	if (rng_below(&walk->rng, 12) == 0) {
		waker->kind = END;
		sleeper->wakes_often = true;
		waker->random = endings[rng_below(&walk->rng, 4)];
	}
}

static bool is_possible(const struct walk *walk, const struct call *call)
{
	if (walk->closed[call->end])
		return false;
	if (call->kind == SPLICE && walk->unread[call->end] <= 0)
		return false; /* it would wait: SPLICE_F_NONBLOCK is about the pipe */
	return call->kind != SEND || walk->unread[!call->end] + (ssize_t)call->bytes < UNREAD_MAX;
}

static void follow(struct walk *walk, const struct call *call, const struct answer *answer)
{
	if (call->kind == SEND && answer->result > 0)
		walk->unread[!call->end] += answer->result;
	if ((call->kind == RECEIVE && answer->result > 0 && !(call->flags & MSG_PEEK)) ||
	    (call->kind == SPLICE && answer->result > 0))
		walk->unread[call->end] -= answer->result;
	if (call->kind == END && call->random % 8 >= 5)
		walk->closed[call->end] = true;
}

/* ---- one walk ---- */

static void on_signal(int number)
{
	(void)number;
}

/* A child has none of its parent's timers. */
static void start_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct timespec period = { (time_t)(signals / 1000000), (long)(signals % 1000000 * 1000) };
	timer_t timer;

	if (signals && (sigaction(SIGUSR1, &action, NULL) < 0 || timer_create(CLOCK_MONOTONIC, &event, &timer) < 0 ||
			timer_settime(timer, 0, &(struct itimerspec){ period, period }, NULL) < 0))
		die("a timer");
}

static void serve_peer(int socket)
{
	struct answer answer = { 0 };
	struct call call;

	start_signals();
	if (write(socket, &answer, sizeof(answer)) != sizeof(answer)) /* the copies of the other's end are closed */
		_exit(1);
	while (read(socket, &call, sizeof(call)) == sizeof(call)) {
		make_call(&call, &answer);
		if (write(socket, &answer, sizeof(answer)) != sizeof(answer))
			break;
	}
	_exit(0);
}

static void exchange(int fd, bool asks)
{
	char byte = 'w';

	if ((asks && send(fd, &byte, 1, 0) != 1) || recv(fd, &byte, 1, 0) != 1 || (!asks && send(fd, &byte, 1, 0) != 1))
		die("warm-up");
}

static void set_up(unsigned end, int fd)
{
	int on = 1;

	fds[end] = fd;
	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
	    (asks_what_waits && setsockopt(fd, IPPROTO_TCP, TCP_INQ, &on, sizeof(on)) < 0) ||
	    (takes_urgent && setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on)) < 0))
		die("set-up");
	if (end != passed_end)
		return;
	fds[end] = rights_copy(fd);
	close(fd);
}

/* Both ends in this process. */
static void connect_here(int listener)
{
	char byte = 'w';

	set_up(0, loopback_connect("127.0.0.1", loopback_port(listener)));
	set_up(1, accept(listener, NULL, NULL));
	for (int i = 0; i < 2 * WARM_UP_TURNS; i++)
		if (send(fds[i & 1], &byte, 1, 0) != 1 || recv(fds[!(i & 1)], &byte, 1, 0) != 1)
			die("warm-up");
}

/* This process's end alone. */
static void connect_across(int listener, bool accepts)
{
	if (accepts)
		set_up(1, accept(listener, NULL, NULL));
	else
		set_up(0, loopback_connect("127.0.0.1", loopback_port(listener)));
	for (int i = 0; i < WARM_UP_TURNS; i++)
		exchange(fds[accepts], !accepts);
}

static void begin(struct walk *walk)
{
	struct answer answer;
	int listener = loopback_listen("127.0.0.1", 0, 4, 0), sockets[2];

	stage_begin();
	fds[0] = fds[1] = -1;
	walk->peer = -1;
	if (!split || forks)
		connect_here(listener);
	if (split && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		die("socketpair");
	walk->process = split ? fork() : -1;
	if (split && !forks)
		connect_across(listener, walk->process == 0);
	close(listener);
	for (unsigned end = 0; end < 2; end++) {
		if (split && (walk->process == 0) != (end == 1)) {
			close(sockets[end]);
			if (fds[end] >= 0)
				close(fds[end]);
			fds[end] = -1;
		} else {
			watch(end);
		}
	}
	if (walk->process == 0)
		serve_peer(sockets[1]);
	if (!split)
		return;
	walk->peer = sockets[0];
	if (read(walk->peer, &answer, sizeof(answer)) != sizeof(answer))
		die("the other process");
}

/* One after the other; or the first, which sleeps, and the second, which wakes it. */
static void make_calls(struct walk *walk, const struct call *call, int number, uint64_t seed, uint64_t at)
{
	struct answer answers[2];

	stage_clear();
	for (int i = 0; i < number; i++)
		if (split && call[i].end == 1 && write(walk->peer, &call[i], sizeof(call[i])) != sizeof(call[i]))
			die("the other process");
	for (int i = 0; i < number; i++)
		if (!split || call[i].end == 0)
			make_call(&call[i], &answers[i]);
	for (int i = 0; i < number; i++) {
		if (split && call[i].end == 1 &&
		    read(walk->peer, &answers[i], sizeof(answers[i])) != sizeof(answers[i]))
			die("the other process");
		printf("%llu %llu %c %s\n", (unsigned long long)seed, (unsigned long long)at, "ab"[call[i].end],
		       answers[i].line);
		follow(walk, &call[i], &answers[i]);
	}
	fflush(stdout);
}

static void one_walk(uint64_t seed)
{
	struct walk walk = { .rng = rng_make(seed, 0), .threads = seed % 3 == 0 };

	asks_what_waits = seed % 4 == 1;
	takes_urgent = urgent && seed % 7 == 3;
	passes = forks;
	passed_end = passes && seed % 5 == 2 ? seed & 1 : 2;
	alarm(WALK_SECONDS);
	begin(&walk);
	for (uint64_t i = 0; i < calls; i++) {
		struct call call[2];
		bool two = split && rng_below(&walk.rng, 8) == 0;

		if (two)
			choose_pair(&walk, &call[0], &call[1]);
		else
			call[0] = choose(&walk);
		if (!is_possible(&walk, &call[0]) ||
		    (two && (walk.unread[call[0].end] > 0 || !is_possible(&walk, &call[1]))))
			continue;
		make_calls(&walk, call, two ? 2 : 1, seed, i);
	}
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (walk.peer >= 0) {
		close(walk.peer);
		waitpid(walk.process, NULL, 0);
	}
}

int main(int argc, char **argv)
{
	struct {
		const char *name;
		uint64_t *value;
	} settings[] = { { "first=", &first }, { "count=", &count }, { "calls=", &calls },   { "split=", &split },
			 { "large=", &large }, { "forks=", &forks }, { "urgent=", &urgent }, { "signals=", &signals } };

	for (int i = 1; i < argc; i++) {
		size_t j = 0, names = sizeof(settings) / sizeof(settings[0]);

		while (j < names && strncmp(argv[i], settings[j].name, strlen(settings[j].name)) != 0)
			j++;
		if (j == names)
			die(argv[i]);
		*settings[j].value = strtoull(argv[i] + strlen(settings[j].name), NULL, 10);
	}
	signal(SIGPIPE, SIG_IGN);
	buffer = malloc(SIZE_MAX_BYTES + 64);
	file_fd = memfd_create("walk", MFD_CLOEXEC);
	if (!buffer || file_fd < 0 || pipe2(pipe_fds, O_CLOEXEC) < 0 ||
	    fcntl(pipe_fds[0], F_SETPIPE_SZ, PIPE_BYTES) < 0)
		die("set-up");
	stage_init();
	start_signals();
	for (uint64_t seed = first; seed < first + count; seed++)
		one_walk(seed);
	return 0;
}
