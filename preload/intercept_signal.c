/* SPDX-License-Identifier: BSD-2-Clause */
/* The functions that install signal handlers: what they do is libc's. signals.c then puts its own handler in front, and
 * what the application is told is turned back here. */
#include "intercept.h"

#include "fork.h"
#include "intercept_signal.h"
#include "signals.h"

/* there is no table of connections before the constructor, which takes over all signals, and with SMACCEL=off. A vfork child has handlers
 * of its own but its parent's memory (Python's subprocess resets some there). */
static void notice(bool done, int number)
{
	if (done && conn_table() && !fork_in_vfork_child())
		signals_changed(number);
}

/* An application may hand back, unseen, an address that it was shown by another way than these functions; ours is never
 * remembered as its own (signals_changed), so that the handler cannot come to call itself. */
static int install(int (*real)(int, const struct sigaction *, struct sigaction *), int number,
		   const struct sigaction *action, struct sigaction *old)
{
	void *before = signals_installed(number);
	int result = real(number, action, old);

	if (result == 0 && old)
		old->sa_handler = (sighandler_t)signals_shown((void *)old->sa_handler, before);
	notice(result == 0 && action, number);
	return result;
}

int wrap_sigaction(int number, const struct sigaction *action, struct sigaction *old)
{
	return install(REAL(sigaction), number, action, old);
}

int wrap___sigaction(int number, const struct sigaction *action, struct sigaction *old)
{
	return install(REAL(__sigaction), number, action, old);
}

/* signal() and its relatives: the old handler is the result. */
#define SIGNAL(name)                                                                                                   \
	sighandler_t wrap_##name(int number, sighandler_t handler)                                                     \
	{                                                                                                              \
		void *before = signals_installed(number);                                                              \
		sighandler_t result = REAL(name)(number, handler);                                                     \
                                                                                                                       \
		notice(result != SIG_ERR, number);                                                                     \
		return (sighandler_t)signals_shown((void *)result, before);                                            \
	}
SIGNAL(signal)
SIGNAL(bsd_signal)
SIGNAL(ssignal)
SIGNAL(sysv_signal)
SIGNAL(__sysv_signal)
SIGNAL(sigset)

int wrap_sigignore(int number)
{
	int result = REAL(sigignore)(number);

	notice(result == 0, number);
	return result;
}

int wrap_siginterrupt(int number, int interrupts)
{
	int result = REAL(siginterrupt)(number, interrupts);

	notice(result == 0, number);
	return result;
}

/* The handler is the first word of the kernel's record. */
long intercept_sigaction_by_call(long number, long signal, long action, long old, long bytes)
{
	void *before = signals_installed((int)signal);
	long result = REAL(syscall)(number, signal, action, old, bytes, 0L, 0L);
	void **handler = (void **)old; /* NOLINT(performance-no-int-to-ptr) */

	if (result == 0 && handler)
		*handler = signals_shown(*handler, before);
	notice(result == 0 && action, (int)signal);
	return result;
}
