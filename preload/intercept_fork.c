/* SPDX-License-Identifier: BSD-2-Clause */
/* The forks that run no atfork handlers: _Fork, clone, and both by syscall(). Their parents and children are told here. A fork by an
 * instruction of the program's own is found out in the child alone (fork.h).
 *
 * Whoever shares the memory (a thread, CLONE_VFORK) is passed on as it is. */
#include "intercept.h"

#include <sched.h>
#include <stdarg.h>

#include "fork.h"
#include "intercept_fork.h"
#include "lifecycle.h"

struct beginning {
	int (*begin)(void *);
	void *argument;
};

/* clone() ends its child by a system call of its own. */
static int begin_child(void *of)
{
	const struct beginning beginning = *(const struct beginning *)of;
	int status;

	fork_in_child();
	status = beginning.begin(beginning.argument);
	lifecycle_before_exit(false);
	return status;
}

int wrap_clone(int (*begin)(void *), void *stack, int flags, void *argument, ...)
{
	struct beginning beginning = { begin, argument };
	void *parent_tid, *tls, *child_tid;
	va_list list;
	int child;

	/* What was not passed is garbage that the kernel ignores, as in libc. */
	va_start(list, argument);
	parent_tid = va_arg(list, void *);
	tls = va_arg(list, void *);
	child_tid = va_arg(list, void *);
	va_end(list);
	if ((flags & CLONE_VM) || !begin || !stack)
		return REAL(clone)(begin, stack, flags, argument, parent_tid, tls, child_tid);
	fork_before();
	child = REAL(clone)(begin_child, stack, flags, &beginning, parent_tid, tls, child_tid);
	fork_in_parent();
	return child;
}

pid_t wrap__Fork(void)
{
	fork_before();
	pid_t child = REAL(_Fork)();
	if (child == 0)
		fork_in_child();
	else
		fork_in_parent();
	return child;
}

long intercept_fork_by_call(long number, long a, long b, long c, long d, long e)
{
	fork_before();
	long child = REAL(syscall)(number, a, b, c, d, e, 0L);
	if (child == 0)
		fork_in_child();
	else
		fork_in_parent();
	return child;
}
