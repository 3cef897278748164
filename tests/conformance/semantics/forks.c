/* SPDX-License-Identifier: BSD-2-Clause */
/* Forks that run no atfork handlers. */
#include "semantics.h"

#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum way { BY_FORK, BY_CALL, BY_CALLED_CLONE, BY_CLONE, BY_INSTRUCTION };

/* A table of fds shared with the parent, which the child takes for gone. */
#define SHARING (CLONE_FILES | CLONE_NEWPID)

#define STACK_BYTES (256u << 10)
#define LONG_BYTES (12u << 20)
#define CHILD_MS 400

/* Some machines have clone(2) alone. */
static long fork_by_call(void)
{
#ifdef SYS_fork
	return syscall(SYS_fork);
#else
	return syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
#endif
}

static long fork_by_instruction(void)
{
#if defined(__x86_64__)
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(SYS_fork) : "rcx", "r11", "memory");
	return result;
#else
	return _Fork();
#endif
}

static char stack[STACK_BYTES] __attribute__((aligned(64)));

/* A child that does `begin` with the pair, and ends with what that returns. Flags: of a clone. */
static pid_t begin_child_with(int flags, enum way way, int (*begin)(void *), struct pair *pair)
{
	pid_t child;

	if (way == BY_CLONE)
		return clone(begin, stack + STACK_BYTES, SIGCHLD | flags, pair);
	child = way == BY_FORK           ? _Fork()
		: way == BY_CALLED_CLONE ? (pid_t)syscall(SYS_clone, SIGCHLD | flags, NULL, NULL, NULL, NULL)
		: way == BY_INSTRUCTION  ? (pid_t)fork_by_instruction()
					 : (pid_t)fork_by_call();
	if (child == 0)
		_exit(begin(pair));
	return child;
}

static pid_t begin_child(enum way way, int (*begin)(void *), struct pair *pair)
{
	return begin_child_with(0, way, begin, pair);
}

static void await(pid_t child)
{
	int status = 0;

	waitpid(child, &status, 0);
	note("status", "%d", status);
}

static int take_turns(void *of)
{
	struct pair *pair = of;

	for (int i = 0; i < 3; i++) {
		get("child", pair->b, 5, MSG_WAITALL);
		put(pair->b, "child");
	}
	close(pair->b);
	return 0;
}

/* Parent and child use the connection by turns. */
static void by_turns(struct pair *pair, int way)
{
	pid_t child = begin_child((enum way)way, take_turns, pair);

	for (int i = 0; i < 3; i++) {
		put(pair->a, "there");
		get("answer", pair->a, 5, MSG_WAITALL);
	}
	await(child);
	note_poll("open", pair->a, POLLIN | POLLRDHUP, 20);
	round_trip("trip", pair);
	put(pair->a, "unread");
	settle();
	close(pair->b);
	settle();
	get("reset", pair->a, 64, MSG_DONTWAIT);
}

static int go_on(void *of)
{
	struct pair *pair = of;
	int bytes = 0;
	socklen_t length = sizeof(bytes);

	get("go", pair->b, 2, MSG_WAITALL);
	TRY("buffer", getsockopt(pair->b, SOL_SOCKET, SO_RCVBUF, &bytes, &length));
	note("whole", "%s", bytes != 2 * 65535 ? "yes" : "it was cut");
	put(pair->b, "answer");
	get("unread", pair->b, 3, MSG_WAITALL);
	put(pair->b, "last");
	return 0; /* with bytes unread */
}

/* The parent closes what it shares, and the child goes on, until it ends with bytes unread. */
static void left_to_child(struct pair *pair, int way)
{
	pid_t child = begin_child((enum way)way, go_on, pair);

	TRY("close", close(pair->b));
	put(pair->a, "go");
	get("answer", pair->a, 6, MSG_WAITALL);
	put(pair->a, "unread");
	get("last", pair->a, 4, MSG_WAITALL);
	await(child);
	settle();
	get("reset", pair->a, 64, MSG_DONTWAIT);
}

static int do_nothing(void *unused)
{
	(void)unused;
	return 0;
}

/* The end of a child that shares the table of fds closes nothing. */
static void ends_beside(struct pair *pair, int way)
{
	struct linger linger = { 0 };
	socklen_t length = sizeof(linger);

	put(pair->a, "unread");
	await(begin_child_with(SHARING, (enum way)way, do_nothing, pair));
	TRY("linger", getsockopt(pair->b, SOL_SOCKET, SO_LINGER, &linger, &length));
	note("lingers", "%d", linger.l_onoff);
	get("unread", pair->b, 64, 0);
	round_trip("trip", pair);
	close(pair->b);
	settle();
	get("end", pair->a, 64, MSG_DONTWAIT);
}

static int close_it(void *of)
{
	close(((struct pair *)of)->b);
	return 0;
}

/* And what it closes is closed for all. */
static void closed_beside(struct pair *pair, int way)
{
	put(pair->a, "unread");
	await(begin_child_with(SHARING, (enum way)way, close_it, pair));
	settle();
	get("reset", pair->a, 64, MSG_DONTWAIT);
	get("gone", pair->b, 64, MSG_DONTWAIT);
}

static void *go_on_alone(void *of)
{
	struct pair *pair = of;

	pause_ms(SOON_MS);
	get("unread", pair->b, 64, MSG_DONTWAIT);
	put(pair->b, "answer");
	settle();
	close(pair->b);
	_exit(0);
}

static int leave_to_thread(void *of)
{
	pthread_t thread;

	pthread_create(&thread, NULL, go_on_alone, of);
	return 1;
}

/* clone() ends the thread that it has begun, and no other. */
static void thread_stays(struct pair *pair, int unused)
{
	pid_t child;

	(void)unused;
	put(pair->a, "unread");
	child = begin_child(BY_CLONE, leave_to_thread, pair);
	close(pair->b);
	get("answer", pair->a, 6, MSG_WAITALL);
	get("end", pair->a, 64, 0);
	await(child);
}

static int go[2];

static int wait_for_go(void *unused)
{
	char byte;

	(void)unused;
	read_whole(go[0], &byte, 1);
	return 0;
}

static void begin_slowly(void *way)
{
	await(begin_child_with(CLONE_VFORK, *(enum way *)way, wait_for_go, NULL));
}

/* Only the thread that began the child sleeps until that is another program. */
static void others_go_on(struct pair *pair, int by)
{
	const struct timeval patience = { .tv_sec = 30 };
	enum way way = (enum way)by;
	uint64_t start_ms;

	TRY("pipe", pipe(go));
	TRY("time-out", setsockopt(pair->a, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)));
	later_put_bytes(0, pair->a, LONG_BYTES, 1);
	note_poll("begun", pair->b, POLLIN, 5000);
	pause_ms(2 * SOON_MS);
	later_call(0, begin_slowly, &way);
	pause_ms(2 * SOON_MS);
	start_ms = clock_ms();
	TRY("close", close(pair->a)); /* while the send sleeps */
	note("at-once", "%s", clock_ms() - start_ms < 900 ? "yes" : "no");
	TRY("go", write(go[1], "g", 1));
	drain("data", pair->b, LONG_BYTES);
	later_join();
}

static int close_both(void *of)
{
	struct pair *pair = of;

	close(pair->a);
	close(pair->b);
	return 0;
}

/* Process 1 of its namespace lends its memory to process 1 of another, which has fds of its own. */
static int lend_memory(void *of)
{
	struct pair *pair = of;

	wait_for_go(NULL);
	put(pair->a, "unread");
	await(clone(close_both, stack + STACK_BYTES, SIGCHLD | CLONE_VM | CLONE_VFORK | CLONE_NEWPID, pair));
	get("unread", pair->b, 64, MSG_PEEK);
	close(pair->b);
	settle();
	get("reset", pair->a, 64, MSG_DONTWAIT);
	return 0;
}

static void same_number(struct pair *pair, int unused)
{
	pid_t child;

	(void)unused;
	TRY("pipe", pipe(go));
	child = begin_child_with(CLONE_NEWPID, BY_CALLED_CLONE, lend_memory, pair);
	close_both(pair);
	TRY("go", write(go[1], "g", 1));
	await(child);
}

#if defined(__x86_64__)
static int end_by_instruction(void *unused)
{
	(void)unused;
	__asm__ volatile("syscall" : : "a"(SYS_exit_group), "D"(7) : "rcx", "r11", "memory");
	return 0;
}

/* The child has thread-local storage of which libc knows nothing, and calls nothing. */
static void own_storage(struct pair *pair, int way)
{
	static char storage[4096] __attribute__((aligned(64)));
	void *middle = storage + sizeof(storage) / 2;
	pid_t child;

	if (way == BY_CLONE) {
		child = clone(end_by_instruction, stack + STACK_BYTES, SIGCHLD | CLONE_SETTLS, NULL, NULL, middle,
			      NULL);
	} else {
		child = (pid_t)syscall(SYS_clone, SIGCHLD | CLONE_SETTLS, NULL, NULL, NULL, middle);
		if (child == 0)
			end_by_instruction(NULL);
	}
	await(child);
	round_trip("trip", pair);
}
#endif

enum later { LATER_SIGNAL, LATER_URGENT, LATER_SPLICE, LATER_WHOLE };

#define LATER_TURNS 60
#define LATER_BYTES 1000

/* A child makes turns on one end, so that it may join; the parent, which has done nothing with that, goes on with it. */
static void joins_beside(struct pair *pair, int later)
{
	int sides[2];
	pid_t child;

	pair_connect(pair);
	child = fork();
	if (child == 0) {
		char byte;

		close(pair->b);
		for (int i = 0; i < LATER_TURNS; i++)
			if (recv(pair->a, &byte, 1, 0) != 1 || send(pair->a, &byte, 1, 0) != 1)
				_exit(1);
		pause_ms(CHILD_MS);
		_exit(0);
	}
	for (int i = 0; i < LATER_TURNS; i++) {
		char byte = 'x';

		if (send(pair->b, &byte, 1, 0) != 1 || recv(pair->b, &byte, 1, 0) != 1)
			note("turn", "%d", i);
	}
	handle(SIGUSR1, SA_RESTART);
	switch ((enum later)later) {
	case LATER_SIGNAL:
		later_signal(20, SIGUSR1);
		later_put(60, pair->b, "after the signal");
		get("over-signal", pair->a, 64, 0);
		break;
	case LATER_URGENT:
		TRY("urgent", send(pair->a, "u", 1, MSG_OOB));
		note_poll("urgent-poll", pair->b, POLLPRI, 200);
		get("urgent-read", pair->b, 1, MSG_OOB);
		break;
	case LATER_SPLICE:
		TRY("pipe", pipe(sides));
		put_bytes(pair->b, LATER_BYTES, 1);
		note_poll("spliced-poll", pair->a, POLLIN, 200);
		TRY("spliced", splice(pair->a, NULL, sides[1], NULL, LATER_BYTES, SPLICE_F_NONBLOCK));
		close(sides[0]);
		close(sides[1]);
		break;
	case LATER_WHOLE:
		put_bytes(pair->b, LATER_BYTES / 2, 1);
		later_put_bytes(40, pair->b, LATER_BYTES / 2, 2);
		get("whole", pair->a, LATER_BYTES, MSG_WAITALL);
		break;
	}
	later_join();
	await(child);
}

static const struct semantics_case cases[] = {
	{ "fork-joins-later-signal", joins_beside, LATER_SIGNAL, CASE_BARE },
	{ "fork-joins-later-urgent", joins_beside, LATER_URGENT, CASE_BARE },
	{ "fork-joins-later-splice", joins_beside, LATER_SPLICE, CASE_BARE },
	{ "fork-joins-later-whole", joins_beside, LATER_WHOLE, CASE_BARE },
	{ "fork-unseen", by_turns, BY_INSTRUCTION, 0 },
	{ "fork-bare", by_turns, BY_FORK, 0 },
	{ "fork-raw", by_turns, BY_CALL, 0 },
	{ "fork-clone", by_turns, BY_CLONE, 0 },
	{ "fork-left-bare", left_to_child, BY_FORK, 0 },
	{ "fork-left-raw", left_to_child, BY_CALL, 0 },
	{ "fork-left-raw-clone", left_to_child, BY_CALLED_CLONE, 0 },
	{ "fork-left-clone", left_to_child, BY_CLONE, 0 },
	{ "fork-files-raw-clone", ends_beside, BY_CALLED_CLONE, 0 },
	{ "fork-files-clone", ends_beside, BY_CLONE, 0 },
	{ "fork-files-closed-raw-clone", closed_beside, BY_CALLED_CLONE, 0 },
	{ "fork-files-closed-clone", closed_beside, BY_CLONE, 0 },
	{ "fork-thread-clone", thread_stays, 0, 0 },
	{ "fork-slow-raw-clone", others_go_on, BY_CALLED_CLONE, 0 },
	{ "fork-slow-clone", others_go_on, BY_CLONE, 0 },
	{ "fork-same-number", same_number, 0, 0 },
#if defined(__x86_64__)
	{ "fork-storage-raw-clone", own_storage, BY_CALLED_CLONE, 0 },
	{ "fork-storage-clone", own_storage, BY_CLONE, 0 },
#endif
};
FAMILY(forks);
