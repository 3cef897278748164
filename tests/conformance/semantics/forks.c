/* SPDX-License-Identifier: BSD-2-Clause */
/* Forks that run no atfork handlers. */
#include "semantics.h"

#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum way { BY_FORK, BY_CALL, BY_CALLED_CLONE, BY_CLONE, BY_INSTRUCTION };

#define STACK_BYTES (256u << 10)

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

/* A child that does `begin` with the pair, and ends with what that returns. */
static pid_t begin_child(enum way way, int (*begin)(void *), struct pair *pair)
{
	static char stack[STACK_BYTES] __attribute__((aligned(64)));
	pid_t child;

	if (way == BY_CLONE)
		return clone(begin, stack + STACK_BYTES, SIGCHLD, pair);
	child = way == BY_FORK           ? _Fork()
		: way == BY_CALLED_CLONE ? (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL)
		: way == BY_INSTRUCTION  ? (pid_t)fork_by_instruction()
					 : (pid_t)syscall(SYS_fork);
	if (child == 0)
		_exit(begin(pair));
	return child;
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

static const struct semantics_case cases[] = {
	{ "fork-unseen", by_turns, BY_INSTRUCTION, 0 },
	{ "fork-bare", by_turns, BY_FORK, 0 },
	{ "fork-raw", by_turns, BY_CALL, 0 },
	{ "fork-clone", by_turns, BY_CLONE, 0 },
	{ "fork-left-bare", left_to_child, BY_FORK, 0 },
	{ "fork-left-raw", left_to_child, BY_CALL, 0 },
	{ "fork-left-raw-clone", left_to_child, BY_CALLED_CLONE, 0 },
	{ "fork-left-clone", left_to_child, BY_CLONE, 0 },
};
FAMILY(forks);
