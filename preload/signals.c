/* SPDX-License-Identifier: BSD-2-Clause */
/* The application's handlers, called through one of ours: see signals.h.
 *
 * After libc has installed a handler, in whatever way (sigaction, signal, sigset ...), the kernel's record is read, the
 * handler's address remembered and ours put in its place: flags, mask and restorer stay as they are. A signal that arrives
 * in between meets the application's handler itself and is merely not counted. The kernel passes three arguments
 * whether SA_SIGINFO is set or not, so one function stands for both kinds.
 *
 * Left alone: the two signals that libc keeps for itself. A fault, which wakes no sleeping call, and which crash reporters own, is passed on
 * at once; one that was sent, as SIGABRT always is, is a signal like any other.
 */
#include "signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "held.h"
#include "raw_syscall.h"

#define SIGNALS 64
#define MASK_BYTES (SIGNALS / 8)
#define PIPE_BIT (1ul << (SIGPIPE - 1))
#ifdef __riscv
#define MASK_AT 0 /* of kernel_action.rest: the only one that has no restorer */
#else
#define MASK_AT 1
#endif
#define LIBC_SIGNAL_FIRST 32
#define LIBC_SIGNAL_LAST 33

/* As the kernel has it; the restorer, where there is one, and the mask follow. */
struct kernel_action {
	void *handler;
	unsigned long flags;
	unsigned long rest[2 + MASK_BYTES / sizeof(unsigned long)];
};

typedef void (*handler_function)(int number, siginfo_t *information, void *context);

static struct {
	_Atomic(void *) handler;
	_Atomic bool restarts;
	_Atomic bool is_informed; /* SA_SIGINFO */
	_Atomic bool blocks_pipe; /* while it runs: its own mask says so */
} installed[SIGNALS + 1];

__thread struct signals_mark signals_ran __attribute__((tls_model("initial-exec")));
__thread bool signals_cancel_at_once __attribute__((tls_model("initial-exec")));
__thread bool signals_holds_pipe __attribute__((tls_model("initial-exec")));

/* One that waits is of the interrupted call, which says afterwards whether it is to be raised. */
static void release_pipe(int number)
{
	const unsigned long pipe_only = PIPE_BIT;
	unsigned long pending = 0;

	if (number == SIGPIPE || atomic_load_explicit(&installed[number].blocks_pipe, memory_order_relaxed) ||
	    raw_syscall(SYS_rt_sigpending, &pending, MASK_BYTES) != 0 || (pending & PIPE_BIT))
		return;
	raw_syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &pipe_only, NULL, MASK_BYTES);
}

/* The kernel's own si_codes are positive, those of kill(2) and its kin are not. Without SA_SIGINFO it tells none. */
static bool is_fault(int number, const siginfo_t *information)
{
	return (number == SIGSEGV || number == SIGBUS || number == SIGILL || number == SIGFPE || number == SIGTRAP ||
		number == SIGSYS) &&
	       atomic_load_explicit(&installed[number].is_informed, memory_order_relaxed) && information->si_code > 0;
}

static void call_handler(int number, siginfo_t *information, void *context)
{
	void *handler = atomic_load(&installed[number].handler);

	if (is_fault(number, information)) {
		if (handler)
			((handler_function)handler)(number, information, context);
		return;
	}
	if (atomic_load_explicit(&installed[number].restarts, memory_order_relaxed))
		signals_ran.restarting++;
	else
		signals_ran.interrupting++;
	if (__builtin_expect(signals_cancel_at_once, 0)) {
		signals_cancel_at_once = false;
		pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
	}
	held_handler_runs();
	bool held_pipe = signals_holds_pipe;
	if (__builtin_expect(held_pipe, 0)) {
		signals_holds_pipe = false;
		release_pipe(number);
	}
	if (handler)
		((handler_function)handler)(number, information, context);
	if (__builtin_expect(held_pipe, 0))
		signals_holds_pipe = true; /* the mask comes back with the return */
}

static bool is_left_alone(int number)
{
	return number < 1 || number > SIGNALS || (number >= LIBC_SIGNAL_FIRST && number <= LIBC_SIGNAL_LAST);
}

void signals_changed(int number)
{
	struct kernel_action action = { 0 };
	int saved = errno;

	/* Raw: libc would go through its own records. */
	if (is_left_alone(number) || raw_syscall(SYS_rt_sigaction, number, NULL, &action, MASK_BYTES) != 0)
		goto out;
	atomic_store(&installed[number].restarts, (action.flags & SA_RESTART) != 0);
	atomic_store(&installed[number].is_informed, (action.flags & SA_SIGINFO) != 0);
	atomic_store(&installed[number].blocks_pipe, (action.rest[MASK_AT] & PIPE_BIT) != 0);
	if (action.handler == (void *)SIG_DFL || action.handler == (void *)SIG_IGN ||
	    action.handler == (void *)call_handler)
		goto out;
	atomic_store(&installed[number].handler, action.handler);
	action.handler = (void *)call_handler;
	raw_syscall(SYS_rt_sigaction, number, &action, NULL, MASK_BYTES);
out:
	errno = saved;
}

void signals_init(uint64_t caught)
{
	for (int number = 1; number <= SIGNALS; number++)
		if (caught >> (number - 1) & 1)
			signals_changed(number);
}

void *signals_installed(int number)
{
	return number >= 1 && number <= SIGNALS ? atomic_load(&installed[number].handler) : NULL;
}

void *signals_shown(void *handler, void *before)
{
	return handler == (void *)call_handler ? before : handler;
}
