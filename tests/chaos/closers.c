/* SPDX-License-Identifier: BSD-2-Clause */
/* Processes that have one connection close it with bytes unread: the peer gets a reset, as soon as the last one has.
 *
 *   closers together ROUNDS   a chain of four, each forked by the one before, closes within 300 us
 *   closers joining ROUNDS    a thread forks while another one is in accept(), where the connection joins; the child goes on with it
 *   closers doubled ROUNDS    a thread doubles the number that another one closes; who gets a duplicate reads all, and closes that
 *   closers awaited ROUNDS    a thread receives with MSG_WAITALL while another one closes: it reads all, so the peer gets the end
 *   closers starved ROUNDS    of two, the first is without a CPU for 100 ms just before its close()'s system call
 *   closers kept ROUNDS       of three, one goes on with it: the second to close does not wait for the first, which has closed
 *
 * Prints one JSON line: how many of the rounds that count ended for the peer in which way.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "../support/random.h"
#include "closers.h"

#define DEADLINE_S 60
#define CLOSERS 4
#define SPREAD_US 300
#define FORK_DELAY_STEPS 400000
#define CLOSE_DELAY_STEPS 2000
#define DOUBLE_DELAY_STEPS 250000
#define DOUBLE_STEP 50
#define DOUBLE_LEAD_MOST_STEPS 30000000
#define DESCENDANTS_FDS 64
#define STARVED_US 100000
#define STARVED_MOST_US 250000
#define PROMPT_US 25000

/* ---- together ---- */

static bool play_together(int round, struct rng *rng)
{
	uint64_t after_us[CLOSERS];
	int fd, place = 0;
	pid_t child = -1;

	shared->at_us = 0;
	shared->asked = round;
	fd = accept_one();
	if (!take_turns(fd))
		die("a turn");
	await(&shared->sent, round);
	for (int i = 0; i < CLOSERS; i++)
		after_us[i] = rng_below(rng, SPREAD_US);
	while (place < CLOSERS - 1 && (child = fork()) == 0)
		place++;
	if (place == 0) {
		pause_us(3000);
		shared->at_us = now_us() + 1000;
	}
	while (!shared->at_us)
		pause_us(100);
	while (now_us() < shared->at_us + after_us[place])
		;
	close(fd);
	if (place > 0)
		_exit(0);
	waitpid(child, NULL, 0);
	return true;
}

/* ---- starved ---- */

static _Noreturn void be_first_of_two(int round)
{
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0 || raise(SIGSTOP) != 0)
		die("PTRACE_TRACEME");
	int fd = accept_one();
	if (!take_turns(fd))
		die("a turn");
	await(&shared->sent, round);
	if (fork() == 0) {
		await(&shared->parent_closed, round);
		close(fd);
		_exit(0);
	}
	shared->closing_fd = fd;
	close(fd);
	_exit(0);
}

/* It has been told by then whether it is the last. */
static void await_its_close(pid_t first)
{
	struct __ptrace_syscall_info info = { .op = PTRACE_SYSCALL_INFO_NONE };
	int status;

	if (waitpid(first, &status, 0) != first ||
	    ptrace(PTRACE_SETOPTIONS, first, NULL, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD) != 0)
		die("PTRACE_SETOPTIONS");
	while (info.op != PTRACE_SYSCALL_INFO_ENTRY || info.entry.nr != SYS_close || !shared->closing_fd ||
	       info.entry.args[0] != (uint64_t)shared->closing_fd)
		if (ptrace(PTRACE_SYSCALL, first, NULL, NULL) != 0 || waitpid(first, &status, 0) != first ||
		    !WIFSTOPPED(status) || ptrace(PTRACE_GET_SYSCALL_INFO, first, sizeof(info), &info) <= 0)
			die("PTRACE_GET_SYSCALL_INFO");
}

/* Counts if this process had a CPU to end that in time. */
static bool play_starved(int round, struct rng *rng)
{
	(void)rng;
	shared->closing_fd = 0;
	shared->asked = round;
	pid_t first = fork();
	if (first == 0)
		be_first_of_two(round);
	await_its_close(first);
	uint64_t stopped_us = now_us();
	shared->parent_closed = round;
	pause_us(STARVED_US);
	if (ptrace(PTRACE_DETACH, first, NULL, NULL) != 0 || waitpid(first, NULL, 0) != first)
		die("PTRACE_DETACH");
	return now_us() - stopped_us < STARVED_MOST_US;
}

/* ---- kept ---- */

static void close_when(const _Atomic int *word, int round, int fd)
{
	await(word, round);
	uint64_t begun_us = now_us();
	close(fd);
	shared->close_us = now_us() - begun_us;
	_exit(0);
}

/* Counts if nobody waited. */
static bool play_kept(int round, struct rng *rng)
{
	pid_t keeper, second;

	(void)rng;
	shared->asked = round;
	int fd = accept_one();
	if (!take_turns(fd))
		die("a turn");
	await(&shared->sent, round);
	if ((keeper = fork()) == 0)
		close_when(&shared->two_closed, round, fd);
	if ((second = fork()) == 0)
		close_when(&shared->parent_closed, round, fd);
	close(fd);
	shared->parent_closed = round;
	waitpid(second, NULL, 0);
	bool is_prompt = shared->close_us < PROMPT_US;
	shared->two_closed = round;
	waitpid(keeper, NULL, 0);
	return is_prompt;
}

/* ---- joining ---- */

static pthread_barrier_t meeting;
static uint64_t delay_steps;
static bool child_had_it;
static int heirs_round;

/* The child knows the connection by what it was accepted as, or does not have it. */
static int find_connection(void)
{
	struct sockaddr_in name;
	socklen_t bytes = sizeof(name);

	for (int fd = STDERR_FILENO + 1; fd < DESCENDANTS_FDS; fd++, bytes = sizeof(name))
		if (fd != listener && getpeername(fd, (struct sockaddr *)&name, &bytes) == 0 &&
		    name.sin_family == AF_INET)
			return fd;
	return -1;
}

static void be_heir(void)
{
	int fd = find_connection(), unread = 0;

	if (fd < 0)
		_exit(1);
	await(&shared->parent_closed, heirs_round);
	if (!take_turns(fd))
		_exit(1);
	for (int i = 0; unread < UNREAD_BYTES && i < 2000; i++, pause_us(500))
		ioctl(fd, FIONREAD, &unread);
	close(fd);
	_exit(0);
}

static void *fork_in_the_join(void *unused)
{
	for (;;) {
		int status;

		pthread_barrier_wait(&meeting);
		for (volatile uint64_t i = 0; i < delay_steps; i++)
			;
		pid_t child = fork();
		if (child == 0)
			be_heir();
		pthread_barrier_wait(&meeting); /* the parent closes */
		waitpid(child, &status, 0);
		child_had_it = status == 0;
		pthread_barrier_wait(&meeting);
	}
	return unused;
}

static bool play_joining(int round, struct rng *rng)
{
	delay_steps = rng_below(rng, FORK_DELAY_STEPS);
	heirs_round = round;
	shared->asked = round;
	pause_us(200);
	pthread_barrier_wait(&meeting);
	int fd = accept_one();
	pthread_barrier_wait(&meeting);
	close(fd);
	shared->parent_closed = round;
	pthread_barrier_wait(&meeting);
	return child_had_it;
}

/* ---- doubled ---- */

static int to_double, doubled;
static int64_t double_late_steps; /* the duplicate is made so much after the close; negative: before */

/* Odd: the other thread is to double; even: it has. Barriers would wake one of the two much later. */
static _Atomic int phase;

static void spin(int64_t steps)
{
	for (volatile int64_t i = 0; i < steps; i++)
		;
}

static void *double_beside_the_close(void *unused)
{
	for (int round = 1;; round++) {
		while (phase < 2 * round - 1)
			;
		spin(CLOSE_DELAY_STEPS + (double_late_steps > 0 ? double_late_steps : 0));
		doubled = dup(to_double);
		phase = 2 * round;
	}
	return unused;
}

/* To where as many are too late as are not. In ever greater steps as long as nothing changes: where both threads have one CPU, the other
 * one runs when this one's time is over. */
static void lead_the_duplicate(bool was_too_late, struct rng *rng)
{
	static bool last_was_too_late;
	static int64_t step = DOUBLE_STEP;

	step = was_too_late == last_was_too_late ? step * 2 : DOUBLE_STEP;
	last_was_too_late = was_too_late;
	double_late_steps += (was_too_late ? -1 : 1) * (int64_t)rng_below(rng, (uint64_t)step);
	if (double_late_steps < -DOUBLE_LEAD_MOST_STEPS)
		double_late_steps = -DOUBLE_LEAD_MOST_STEPS;
	if (double_late_steps > DOUBLE_LEAD_MOST_STEPS)
		double_late_steps = DOUBLE_LEAD_MOST_STEPS;
	if (step > DOUBLE_LEAD_MOST_STEPS)
		step = DOUBLE_LEAD_MOST_STEPS;
}

/* Counts if there was a duplicate: then the end, for all has been read. */
static bool play_doubled(int round, struct rng *rng)
{
	char bytes[UNREAD_BYTES];
	int again;

	shared->part_us = 2000;
	shared->asked = round;
	to_double = accept_one();
	if (!take_turns(to_double))
		die("a turn");
	await(&shared->sent, round);
	phase++;
	spin(CLOSE_DELAY_STEPS + (double_late_steps < 0 ? -double_late_steps : 0));
	close(to_double);
	while (phase % 2)
		;
	lead_the_duplicate(doubled < 0, rng);
	if (doubled < 0)
		return false;
	again = dup(doubled);
	if (again < 0)
		die("no duplicate of the duplicate");
	close(again);
	if (recv(doubled, bytes, sizeof(bytes), MSG_WAITALL) != sizeof(bytes))
		die("a short receive");
	close(doubled);
	return true;
}

/* ---- awaited ---- */

static ssize_t got_by_the_call;

static void *receive_all(void *unused)
{
	char bytes[UNREAD_BYTES];

	for (;;) {
		pthread_barrier_wait(&meeting);
		got_by_the_call = recv(to_double, bytes, sizeof(bytes), MSG_WAITALL);
		pthread_barrier_wait(&meeting);
	}
	return unused;
}

/* Counts if the call got all of it. */
static bool play_awaited(int round, struct rng *rng)
{
	shared->part_us = 200;
	shared->asked = round;
	to_double = accept_one();
	if (!take_turns(to_double))
		die("a turn");
	pthread_barrier_wait(&meeting);
	await(&shared->sent, round);
	delay_steps = rng_below(rng, DOUBLE_DELAY_STEPS);
	for (volatile uint64_t i = 0; i < delay_steps; i++)
		;
	close(to_double);
	pthread_barrier_wait(&meeting);
	return got_by_the_call == UNREAD_BYTES;
}

static const struct {
	const char *name;
	bool (*play)(int round, struct rng *rng);
	void *(*thread)(void *unused);
} modes[] = {
	{ "together", play_together, NULL },
	{ "starved", play_starved, NULL },
	{ "kept", play_kept, NULL },
	{ "joining", play_joining, fork_in_the_join },
	{ "doubled", play_doubled, double_beside_the_close },
	{ "awaited", play_awaited, receive_all },
};

int main(int argc, char **argv)
{
	struct rng rng = rng_make(1, 0);
	int rounds = argc > 2 ? atoi(argv[2]) : 0, counted = 0, resets = 0, ends = 0;
	size_t mode = 0, count = sizeof(modes) / sizeof(modes[0]);
	pthread_t thread;

	while (argc > 2 && mode < count && strcmp(argv[1], modes[mode].name) != 0)
		mode++;
	if (argc < 3 || mode == count) {
		fprintf(stderr, "usage: closers together|starved|kept|joining|doubled|awaited ROUNDS\n");
		return EXIT_USAGE;
	}
	watchdog_start(DEADLINE_S, NULL);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	listener = loopback_listen("127.0.0.1", 0, 8, 0);
	pid_t peer = fork();
	if (peer == 0)
		be_peer();
	pthread_barrier_init(&meeting, NULL, 2);
	if (modes[mode].thread && pthread_create(&thread, NULL, modes[mode].thread, NULL))
		die("pthread_create");
	for (int round = 1; round <= rounds; round++) {
		bool counts = modes[mode].play(round, &rng);

		await(&shared->ended, round);
		counted += counts;
		resets += counts && shared->end == 'R';
		ends += counts && shared->end == 'F';
	}
	kill(peer, SIGKILL);
	waitpid(peer, NULL, 0);
	printf("{\"counted\": %d, \"resets\": %d, \"ends\": %d}\n", counted, resets, ends);
	fflush(stdout);
	_exit(0);
}
