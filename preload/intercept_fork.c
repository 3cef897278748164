/* SPDX-License-Identifier: BSD-2-Clause */
/* The forks that run no atfork handlers: _Fork, clone, and both by syscall(). Their parents and children are told here. A fork by an
 * instruction of the program's own is found out in the child alone (fork.h).
 *
 * Whoever shares the memory (a thread, CLONE_VM) is passed on as it is. A child with thread-local storage that the program has made
 * (CLONE_SETTLS) is one that runs nothing of libc, nor of ours, unless it calls it: only its parent is told. */
#include "intercept.h"

#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "config.h"
#include "fork.h"
#include "intercept_fork.h"
#include "libc.h"
#include "lifecycle.h"
#include "quiet.h"
#include "raw_syscall.h"

#define NO_TASKS_LINKS 2 /* of /proc/PID/task: "." and the entry itself */

struct beginning {
	int (*begin)(void *);
	void *argument;
	bool shares_files;
};

/* The thread that is about to end is the last of its process. Not if that cannot be known: /proc may be another namespace's, or a filter of
 * system calls, that this program has come with, may not allow the question. */
static bool is_last_thread(void)
{
	struct stat tasks; /* the kernel's own, on 64-bit machines */

	if (libc_single_threaded())
		return true;
	return !quiet_is_on() && !config.trusts_filter &&
	       raw_syscall(SYS_newfstatat, AT_FDCWD, "/proc/self/task", &tasks, 0) == 0 &&
	       tasks.st_nlink == NO_TASKS_LINKS + 1;
}

/* clone() ends its child by a system call of its own: exit(2), which is one thread's. */
static int begin_child(void *of)
{
	const struct beginning beginning = *(const struct beginning *)of;
	int status;

	fork_in_child();
	if (beginning.shares_files)
		fork_shares_files();
	status = beginning.begin(beginning.argument);
	if (is_last_thread())
		lifecycle_before_exit(false);
	return status;
}

/* Other threads wait while the memory is copied, but not for as long as this one sleeps (CLONE_VFORK). Then a duplicate that is just being
 * made (held.h) may stay open in the child, as in one of fork(2) by an instruction. */
static void parent_before(long flags)
{
	fork_before();
	if (flags & CLONE_VFORK)
		fork_in_parent();
}

static void parent_after(long flags)
{
	if (!(flags & CLONE_VFORK))
		fork_in_parent();
}

int wrap_clone(int (*begin)(void *), void *stack, int flags, void *argument, ...)
{
	struct beginning beginning = { begin, argument, (flags & CLONE_FILES) != 0 };
	void *parent_tid, *tls, *child_tid;
	va_list list;
	int child;

	/* What was not passed is garbage that the kernel ignores, as in libc. */
	va_start(list, argument);
	parent_tid = va_arg(list, void *);
	tls = va_arg(list, void *);
	child_tid = va_arg(list, void *);
	va_end(list);
	if ((flags & CLONE_VM) || !begin || !stack) {
		bool lent = fork_memory_is_lent();

		fork_lend_memory(lent || ((flags & CLONE_VM) && (flags & CLONE_VFORK)));
		child = REAL(clone)(begin, stack, flags, argument, parent_tid, tls, child_tid);
		fork_lend_memory(lent);
		return child;
	}
	parent_before(flags);
	child = (flags & CLONE_SETTLS) ? REAL(clone)(begin, stack, flags, argument, parent_tid, tls, child_tid)
				       : REAL(clone)(begin_child, stack, flags, &beginning, parent_tid, tls, child_tid);
	parent_after(flags);
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
	long flags = number == SYS_clone ? a : 0;

	parent_before(flags);
	long child = REAL(syscall)(number, a, b, c, d, e, 0L);
	if (child != 0) {
		parent_after(flags);
		return child;
	}
	fork_in_child();
	if (flags & CLONE_FILES)
		fork_shares_files();
	return child;
}
